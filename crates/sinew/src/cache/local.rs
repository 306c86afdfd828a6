//! The level in this process: values decoded once, and served while the store has told of no change.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache as QuickCache;
use quick_cache::{Equivalent, Weighter};

use super::entry::Opened;
use super::load::Miss;
use super::model::{Freshness, since};
use crate::kernel::clock::{Coarse, UnixMillis};
use crate::kernel::coherence::{Coherence, Note};
use crate::kernel::envelope::{Life, Tagging};
use crate::kernel::error::{Error, Result};
use crate::kernel::key::Key;
use crate::kernel::packed::Packed;

/// However long an entry lives in Redis, this process asks again after so long: the bound of what a
/// connection that leads nowhere can hide.
const UNTIL_MAX: Duration = Duration::from_secs(60);
/// What an entry weighs beside key and payload, about.
const OVERHEAD: usize = 160;
/// And what each of its tags weighs beside its bytes.
const TAG_OVERHEAD: usize = 32;
const BYTES_MIN: usize = 1 << 10;
/// What a typical entry is taken to weigh, for a first allocation.
const ENTRY_BYTES: usize = 512;

/// Whether entries are also kept in this process, decoded.
///
/// What is kept stays coherent: Redis tells this process of every change of what it has read
/// (`CLIENT TRACKING`), and while it cannot, nothing is served from here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Local {
    bytes: usize,
    incoherent: Option<Duration>,
}

impl Local {
    /// Nothing is kept here: every look-up asks Redis.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Keeps up to so many bytes, of all tenants together, counted as they are in Redis before they
    /// are compressed.
    #[must_use]
    pub fn bytes(bytes: usize) -> Self {
        Self { bytes, incoherent: None }
    }

    /// Keeps entries for `ttl` also while no one tells of their changes, or where a server or proxy
    /// refuses to. A change elsewhere then shows after `ttl`. 1 ms to 60 s.
    #[must_use]
    pub fn incoherent(mut self, ttl: Duration) -> Self {
        self.incoherent = Some(ttl);
        self
    }

    pub(super) fn check(self) -> Result<Self> {
        if self.bytes != 0 && self.bytes < BYTES_MIN {
            return Err(Error::rejected(format!(
                "a local level of {} bytes is out of bounds: expected {BYTES_MIN} or more",
                self.bytes
            )));
        }
        match self.incoherent {
            Some(ttl) if self.bytes == 0 || ttl < Duration::from_millis(1) || ttl > UNTIL_MAX => {
                Err(Error::rejected(format!(
                    "an incoherent local level of {} bytes and {ttl:?} is out of bounds: expected bytes, and 1 ms to 60 s",
                    self.bytes
                )))
            }
            _ => Ok(self),
        }
    }

    pub(super) fn is_wanted(self) -> bool {
        self.bytes > 0
    }

    pub(super) fn incoherent_for(self) -> Option<Duration> {
        self.incoherent
    }
}

/// What this process keeps of the caches of one name and type, over all tenants.
pub(super) struct Level<V> {
    entries: QuickCache<LevelKey, Slot<V>, ByWeight>,
    coherence: Arc<Coherence>,
}

/// What all keys of a cache begin with, in one tenant.
#[derive(Clone)]
pub(super) struct Root(Arc<HashedText>);

#[derive(PartialEq, Eq)]
struct HashedText {
    hash: u64,
    text: Box<str>,
}

impl Root {
    pub(super) fn new(text: String) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self(Arc::new(HashedText { hash: hasher.finish(), text: text.into() }))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Where the entry of a key is kept: by a few words, where they are enough for it.
    pub(super) fn place<'a>(&'a self, key: &'a Key) -> Place<'a> {
        match key.packed() {
            Some(packed) => self.packed(packed),
            None => Place { root: self, rest: Rest::Text(&key.as_str()[self.as_str().len()..]) },
        }
    }

    #[inline]
    pub(super) fn packed<'a>(&'a self, packed: &'a Packed) -> Place<'a> {
        Place { root: self, rest: Rest::Packed(packed) }
    }
}

impl PartialEq for Root {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        // Handles that were built twice have a text each.
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

/// The key of an entry. Most fit into the map itself: a hit follows no pointer to compare them.
struct LevelKey {
    root: Root,
    rest: OwnRest,
}

enum OwnRest {
    Packed(Packed),
    Text(Box<str>),
}

/// The same, borrowed.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    root: &'a Root,
    rest: Rest<'a>,
}

/// What the key has after its root.
#[derive(Clone, Copy, PartialEq)]
enum Rest<'a> {
    Packed(&'a Packed),
    Text(&'a str),
}

impl Place<'_> {
    /// Bytes that it takes in the map.
    fn len(&self) -> usize {
        match self.rest {
            Rest::Packed(packed) => size_of_val(packed),
            Rest::Text(text) => text.len(),
        }
    }
}

impl LevelKey {
    fn new(place: Place<'_>) -> Self {
        let rest = match place.rest {
            Rest::Packed(packed) => OwnRest::Packed(*packed),
            Rest::Text(text) => OwnRest::Text(text.into()),
        };
        Self { root: place.root.clone(), rest }
    }

    #[inline]
    fn place(&self) -> Place<'_> {
        let rest = match &self.rest {
            OwnRest::Packed(packed) => Rest::Packed(packed),
            OwnRest::Text(text) => Rest::Text(text),
        };
        Place { root: &self.root, rest }
    }
}

impl Hash for LevelKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.place().hash(state);
    }
}

impl Hash for Place<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.root.0.hash);
        match self.rest {
            Rest::Packed(packed) => packed.hash(state),
            Rest::Text(text) => state.write(text.as_bytes()),
        }
    }
}

impl PartialEq for LevelKey {
    fn eq(&self, other: &Self) -> bool {
        self.place().equivalent(other)
    }
}

impl Eq for LevelKey {}

impl Equivalent<LevelKey> for Place<'_> {
    #[inline]
    fn equivalent(&self, key: &LevelKey) -> bool {
        let other = key.place();
        self.rest == other.rest && self.root == other.root
    }
}

/// An entry that is kept here, and good. With its details where someone wants to know them, or has to.
pub(super) enum Kept<V> {
    Value(Option<Arc<V>>),
    Detailed(Arc<Details<V>>),
    /// It is to be loaded anew, in the background.
    Due(Arc<Details<V>>),
}

/// All that is known of an entry.
pub(super) struct Details<V> {
    value: Option<Arc<V>>,
    nonce: [u8; 8],
    pub(super) created_at: UnixMillis,
    pub(super) tagging: Option<Tagging>,
    weight: u64,
}

impl<V> Kept<V> {
    #[inline]
    pub(super) fn value(&self) -> &Option<Arc<V>> {
        match self {
            Self::Value(value) => value,
            Self::Detailed(details) | Self::Due(details) => &details.value,
        }
    }

    #[inline]
    pub(super) fn into_value(self) -> Option<Arc<V>> {
        match self {
            Self::Value(value) => value,
            Self::Detailed(details) | Self::Due(details) => details.value.clone(),
        }
    }

    #[inline]
    pub(super) fn details(&self) -> Option<&Details<V>> {
        match self {
            Self::Value(_) => None,
            Self::Detailed(details) | Self::Due(details) => Some(details),
        }
    }

    /// Noughts where the details were not wanted.
    #[inline]
    pub(super) fn nonce(&self) -> [u8; 8] {
        self.details().map_or([0; 8], |details| details.nonce)
    }

    /// What a load replaces, where it is time for one in the background.
    #[inline]
    pub(super) fn due(&self) -> Option<Miss<V>> {
        let Self::Due(details) = self else { return None };
        Some(Miss {
            previous: details.value.clone(),
            previous_tags: details.tagging.as_ref().map_or_else(Vec::new, |t| t.tags.clone()),
            ..Miss::of_nonce(details.nonce)
        })
    }
}

/// What a hit wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    Value,
    Details,
}

/// What the map holds. A map gives out clones, made while the entry is locked: the clone of an entry
/// is what a hit needs of it and no more, so that a hit counts up one reference and not four, and
/// moves two words and not ten.
enum Slot<V> {
    Entry(Box<Entry<V>>),
    Good(Kept<V>),
    Old,
}

/// An entry, and the terms on which it was read: one cache line, and that of no other entry.
#[repr(align(64))]
struct Entry<V> {
    value: Option<Arc<V>>,
    until: Coarse,
    /// So many milliseconds before it may be served no more.
    is_due_before: u32,
    note: Note,
    coherence: Arc<Coherence>,
    details: Arc<Details<V>>,
    is_tagged: bool,
}

thread_local! {
    // What the look-up under way has to tell: a clone takes no arguments.
    static NOW: Cell<Coarse> = const { Cell::new(Coarse::LONG_AGO) };
    static WANTS: Cell<Wants> = const { Cell::new(Wants::Value) };
}

impl<V> Clone for Slot<V> {
    #[inline]
    fn clone(&self) -> Self {
        // What is not an entry is never kept, so never cloned.
        let Self::Entry(entry) = self else { return Self::Old };
        let now = NOW.get();
        if now >= entry.until || !entry.coherence.holds(&entry.note) {
            return Self::Old;
        }
        Self::Good(if now.after_ms(entry.is_due_before) >= entry.until {
            Kept::Due(Arc::clone(&entry.details))
        } else if entry.is_tagged || WANTS.get() == Wants::Details {
            Kept::Detailed(Arc::clone(&entry.details))
        } else {
            Kept::Value(entry.value.clone())
        })
    }
}

#[derive(Clone)]
struct ByWeight;

impl<V> Weighter<LevelKey, Slot<V>> for ByWeight {
    fn weight(&self, _: &LevelKey, slot: &Slot<V>) -> u64 {
        match slot {
            Slot::Entry(entry) => entry.details.weight,
            Slot::Good(_) | Slot::Old => 0,
        }
    }
}

impl<V> Level<V> {
    pub(super) fn new(local: Local, coherence: Arc<Coherence>) -> Self {
        let entries =
            QuickCache::with_weighter(local.bytes / ENTRY_BYTES + 1, local.bytes as u64, ByWeight);
        Self { entries, coherence }
    }

    /// An entry that is as fresh as one just read. Its tags are the caller's to check.
    #[inline]
    pub(super) fn get(&self, place: Place<'_>, now: Coarse, wants: Wants) -> Option<Kept<V>> {
        NOW.set(now);
        WANTS.set(wants);
        // Matched in one go: a value that is moved from one `Option` into another, whole, waits for
        // its halves to be written.
        match self.entries.get(&place) {
            Some(Slot::Good(Kept::Value(value))) => Some(Kept::Value(value)),
            Some(Slot::Good(Kept::Detailed(details))) => Some(Kept::Detailed(details)),
            Some(Slot::Good(Kept::Due(details))) => Some(Kept::Due(details)),
            _ => None,
        }
    }

    /// Keeps what was read on the terms of `note`. One that came too late is never served.
    pub(super) fn keep(
        &self,
        place: Place<'_>,
        opened: &Opened<V>,
        note: Note,
        freshness: &Freshness,
        now: Now,
        at_most: Duration,
    ) {
        let Some((until, refresh_at)) = served_for(&opened.life, freshness, now.wall) else {
            return;
        };
        let tags = opened.tagging.iter().flat_map(|tagging| &tagging.tags);
        let tags_len: usize = tags.map(|tag| tag.len() + TAG_OVERHEAD).sum();
        let details = Details {
            value: opened.value.clone(),
            nonce: opened.nonce.0,
            created_at: opened.life.created_at,
            tagging: opened.tagging.clone(),
            weight: (place.len() + opened.len + tags_len + OVERHEAD) as u64,
        };
        let until = until.min(at_most);
        let is_due_before = until.saturating_sub(refresh_at).as_millis();
        let entry = Entry {
            value: opened.value.clone(),
            until: now.coarse.after(until),
            is_due_before: u32::try_from(is_due_before).unwrap_or(u32::MAX),
            note,
            coherence: Arc::clone(&self.coherence),
            is_tagged: details.tagging.is_some(),
            details: Arc::new(details),
        };
        self.entries.insert(LevelKey::new(place), Slot::Entry(Box::new(entry)));
    }
}

/// The same moment, by two clocks.
#[derive(Clone, Copy)]
pub(super) struct Now {
    pub(super) wall: UnixMillis,
    pub(super) coarse: Coarse,
}

/// For how long an entry may be served from here, and after how long it is to be refreshed. `None`
/// where it is fresh no more: then the store decides each time anew.
fn served_for(life: &Life, freshness: &Freshness, now: UnixMillis) -> Option<(Duration, Duration)> {
    let left = since(life.fresh_until, now);
    if life.expired || left.is_zero() {
        return None;
    }
    Some((left.min(UNTIL_MAX), freshness.due_in(life, now, fastrand::f64())))
}
