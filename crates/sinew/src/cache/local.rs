//! The level in this process: values decoded once, and served while the store has told of no change.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use quick_cache::sync::Cache as QuickCache;
use quick_cache::{Equivalent, Weighter};

use super::entry::Opened;
use super::model::{Freshness, since};
use crate::kernel::clock::{Coarse, UnixMillis};
use crate::kernel::coherence::{Coherence, Note};
use crate::kernel::envelope::{Life, Tagging};
use crate::kernel::error::{Error, Result};

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
pub(super) struct Root {
    text: Arc<str>,
    hash: u64,
}

impl Root {
    pub(super) fn new(text: String) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self { text: text.into(), hash: hasher.finish() }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Root {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && (Arc::ptr_eq(&self.text, &other.text) || self.text == other.text)
    }
}

/// The key of an entry. Most fit into the map itself: a hit follows no pointer to compare them.
struct LevelKey {
    root: Root,
    rest: CompactString,
}

/// The same, borrowed.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) root: &'a Root,
    /// What the key has after its root.
    pub(super) rest: &'a str,
}

impl Hash for LevelKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Place { root: &self.root, rest: &self.rest }.hash(state);
    }
}

impl Hash for Place<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.root.hash);
        state.write(self.rest.as_bytes());
    }
}

impl PartialEq for LevelKey {
    fn eq(&self, other: &Self) -> bool {
        self.rest == other.rest && self.root == other.root
    }
}

impl Eq for LevelKey {}

impl Equivalent<LevelKey> for Place<'_> {
    fn equivalent(&self, key: &LevelKey) -> bool {
        self.rest == key.rest && *self.root == key.root
    }
}

/// An entry that is kept here, and good.
pub(super) struct Kept<V> {
    pub(super) value: Option<Arc<V>>,
    /// Where someone wants to know, or has to.
    pub(super) details: Option<Arc<Details>>,
    /// It is to be loaded anew, in the background.
    pub(super) is_due: bool,
}

impl<V> Kept<V> {
    pub(super) fn tags(&self) -> Vec<Box<str>> {
        let tagging = self.details.as_ref().and_then(|details| details.tagging.as_ref());
        tagging.map_or_else(Vec::new, |tagging| tagging.tags.clone())
    }

    /// Noughts where the details were not wanted.
    pub(super) fn nonce(&self) -> [u8; 8] {
        self.details.as_ref().map_or([0; 8], |details| details.nonce)
    }
}

/// What most hits need not know of an entry.
pub(super) struct Details {
    pub(super) nonce: [u8; 8],
    pub(super) created_at: UnixMillis,
    pub(super) tagging: Option<Tagging>,
}

/// What a hit wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    Value,
    Details,
}

/// What the map holds. A map gives out clones, made while the entry is locked: the clone of an entry
/// is what a hit needs of it and no more, so that a hit counts up one reference and not four, and
/// moves two words and not twelve.
enum Slot<V> {
    Entry(Box<Entry<V>>),
    Value(Option<Arc<V>>),
}

/// An entry, and the terms on which it was read.
struct Entry<V> {
    value: Option<Arc<V>>,
    until: Coarse,
    refresh_at: Coarse,
    note: Note,
    coherence: Arc<Coherence>,
    details: Arc<Details>,
    weight: u64,
}

/// The look-up under way: a clone takes no arguments, and gives back no more than itself.
#[derive(Clone, Copy)]
struct LookUp {
    now: Coarse,
    wants: Wants,
    is_good: bool,
    is_due: bool,
}

thread_local! {
    static LOOK_UP: Cell<LookUp> = const {
        Cell::new(LookUp { now: Coarse::LONG_AGO, wants: Wants::Value, is_good: false, is_due: false })
    };
    static DETAILS: Cell<Option<Arc<Details>>> = const { Cell::new(None) };
}

impl<V> Clone for Slot<V> {
    fn clone(&self) -> Self {
        // What is not an entry is never kept, so never cloned.
        let Self::Entry(entry) = self else { return Self::Value(None) };
        let mut look_up = LOOK_UP.get();
        if look_up.now >= entry.until || !entry.coherence.holds(&entry.note) {
            return Self::Value(None);
        }
        look_up.is_good = true;
        look_up.is_due = look_up.now >= entry.refresh_at;
        LOOK_UP.set(look_up);
        let wants_details = look_up.is_due || look_up.wants == Wants::Details;
        if wants_details || entry.details.tagging.is_some() {
            DETAILS.set(Some(Arc::clone(&entry.details)));
        }
        Self::Value(entry.value.clone())
    }
}

#[derive(Clone)]
struct ByWeight;

impl<V> Weighter<LevelKey, Slot<V>> for ByWeight {
    fn weight(&self, _: &LevelKey, slot: &Slot<V>) -> u64 {
        match slot {
            Slot::Entry(entry) => entry.weight,
            Slot::Value(_) => 0,
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
    pub(super) fn get(&self, place: Place<'_>, now: Coarse, wants: Wants) -> Option<Kept<V>> {
        LOOK_UP.set(LookUp { now, wants, is_good: false, is_due: false });
        let Slot::Value(value) = self.entries.get(&place)? else { return None };
        let look_up = LOOK_UP.get();
        look_up.is_good.then(|| Kept { value, details: DETAILS.take(), is_due: look_up.is_due })
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
            nonce: opened.nonce.0,
            created_at: opened.life.created_at,
            tagging: opened.tagging.clone(),
        };
        let entry = Entry {
            value: opened.value.clone(),
            until: now.coarse.after(until.min(at_most)),
            refresh_at: now.coarse.after(refresh_at),
            note,
            coherence: Arc::clone(&self.coherence),
            details: Arc::new(details),
            weight: (place.rest.len() + opened.len + tags_len + OVERHEAD) as u64,
        };
        let key = LevelKey { root: place.root.clone(), rest: place.rest.into() };
        self.entries.insert(key, Slot::Entry(Box::new(entry)));
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
