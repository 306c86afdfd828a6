//! What the caches of one client share, and what the handles of one cache share.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::backend::{Backend as _, Invalidated, Read, Store};
use super::entry::Opened;
use super::flight::{Flights, Terms};
use super::load::Miss;
use super::loader::Source;
use super::local::{Details, Kept, Level, Local, Now, Place, Root, Wants};
use super::model::{Decision, Policy, since};
use super::outage::Copies;
use super::stats::{Recorder, Stats};
use super::tags::{Tags, Tide};
use crate::kernel::clock::{Clock, UnixMillis};
use crate::kernel::codec::Codec;
use crate::kernel::coherence::{Coherence, GENERATIONS, Lane, Note};
use crate::kernel::envelope::Tagging;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::{CacheKey, Key, Scope, TagsKey};
use crate::kernel::packed::Packed;
use crate::kernel::pattern::{Pattern, Selection};
use crate::kernel::ttl::Ttl;

/// Caches beyond this number are counted together, as one of this name.
const RECORDERS_MAX: usize = 1_000;
const OTHER_CACHES: &str = "other";
/// Caches beyond this number keep nothing here: names made up by strangers are not to fill the
/// memory.
const LEVELS_MAX: usize = 1_000;
/// How old the metrics of look-ups can be.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What all caches of one client share.
pub(crate) struct Engine {
    pub(super) backend: Store,
    pub(super) flights: Arc<Flights>,
    pub(super) copies: Copies,
    pub(super) tags: Tags,
    pub(super) clock: Clock,
    pub(super) value_len_max: usize,
    /// Once some cache keeps what it reads.
    coherence: OnceLock<Arc<Coherence>>,
    generations: usize,
    /// Of local levels that need no one to tell of changes.
    alone: Arc<Lane>,
    // By name, over all tenants.
    recorders: DashMap<String, Arc<Recorder>>,
    levels: DashMap<(String, TypeId), Arc<dyn Any + Send + Sync>>,
}

/// What the handles of one cache share.
pub(super) struct Shared<V> {
    pub(super) engine: Arc<Engine>,
    pub(super) scope: Scope,
    /// What its keys begin with.
    pub(super) root: Root,
    pub(super) policy: Policy,
    pub(super) codec: Codec,
    pub(super) local: Local,
    pub(super) level: Option<Arc<Level<V>>>,
    pub(super) tags_key: TagsKey,
    pub(super) recorder: Arc<Recorder>,
}

// Not derived: sharing needs no `V: Clone`.
impl<V> Clone for Shared<V> {
    fn clone(&self) -> Self {
        Self {
            engine: Arc::clone(&self.engine),
            scope: self.scope.clone(),
            root: self.root.clone(),
            policy: self.policy.clone(),
            codec: self.codec.clone(),
            local: self.local,
            level: self.level.clone(),
            tags_key: self.tags_key.clone(),
            recorder: Arc::clone(&self.recorder),
        }
    }
}

/// An entry that is served.
pub(super) struct Hit<V> {
    /// `None`: it is known that the source has no such thing.
    pub(super) value: Option<Arc<V>>,
    pub(super) source: Source,
    pub(super) nonce: [u8; 8],
    /// It is to be loaded anew, in the background.
    pub(super) refresh: Option<Miss<V>>,
}

impl<V> Shared<V>
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    pub(super) fn key<K: CacheKey + ?Sized>(&self, key: &K) -> Result<Key> {
        let whole = self.scope.key_at(self.root.as_str(), key)?;
        Ok(match self.level {
            Some(_) => whole.with_packed(Packed::of(key)),
            None => whole,
        })
    }

    /// What this process has of an entry, as good as one just read. It waits for nothing.
    #[inline]
    pub(super) fn kept_here(&self, place: Place<'_>, wants: Wants) -> Option<Kept<V>> {
        let level = self.level.as_ref()?;
        let wants = match self.policy.freshness.within {
            Some(_) => Wants::Details,
            None => wants,
        };
        let kept = level.get(place, self.engine.clock.coarse(), wants)?;
        kept.details().is_none_or(|details| self.is_allowed_here(details)).then_some(kept)
    }

    /// Whether an entry that is kept here may be served by its tags and its age, as far as is known
    /// without asking.
    fn is_allowed_here(&self, details: &Details<V>) -> bool {
        if let Some(tagging) = details.tagging.as_ref().filter(|_| !planted!(LocalHitsSkipTags)) {
            let Some(coherence) = self.engine.coherence() else { return false };
            let (tags, backend) = (&self.engine.tags, &self.engine.backend);
            if tags.allow_at_once(backend, coherence, &self.tags_key, tagging) != Some(true) {
                return false;
            }
        }
        !self.is_too_old(details.created_at)
    }

    /// For a caller that wants it fresher than others.
    fn is_too_old(&self, created_at: UnixMillis) -> bool {
        let age = || since(self.engine.clock.wall(), created_at);
        self.policy.freshness.within.is_some_and(|within| age() > within)
    }

    /// Asks the store. Counts nothing: whoever asked knows how it ends.
    pub(super) async fn look_up(&self, key: &Key) -> Result<Hit<V>, Miss<V>> {
        let coherence = self.level.as_ref().and_then(|_| self.engine.coherence());
        let alone = self.alone(key);
        let read = self.engine.backend.read(key, coherence.map(|coherence| &**coherence)).await;
        self.found(key, read, alone).await
    }

    /// What is noted, before the question, of an entry that may be kept though no one tells of its
    /// changes.
    pub(super) fn alone(&self, key: &Key) -> Option<Note> {
        self.local.incoherent_for()?;
        self.engine.coherence()?.note(key.as_str().as_bytes(), &self.engine.alone)
    }

    /// What an answer of the store is good for.
    pub(super) async fn found(
        &self,
        key: &Key,
        read: Result<Read>,
        alone: Option<Note>,
    ) -> Result<Hit<V>, Miss<V>> {
        let (stored, note) = match read {
            Ok(read) => {
                // In this order: a flight that keeps its copy in between finds itself closed, or is found.
                self.engine.flights.answered(key);
                self.engine.copies.answered(key, || self.engine.clock.now());
                (read.entry.ok_or_else(Miss::nothing)?, read.note)
            }
            Err(error) => {
                self.recorder.shielded("read", &error);
                return self.copy_of(key);
            }
        };
        let opened = match self.open(key, &stored) {
            Ok(opened) => opened,
            Err(error) => {
                self.recorder.shielded("decode", &error);
                return Err(Miss::unusable(&stored));
            }
        };
        match self.is_allowed(&opened).await {
            Ok(true) => self.decided(key, &stored, opened, note, alone),
            Ok(false) => Err(Miss::unusable(&stored)),
            Err(error) => {
                self.recorder.shielded("tags", &error);
                Err(Miss::store_is_gone())
            }
        }
    }

    fn decided(
        &self,
        key: &Key,
        stored: &Bytes,
        opened: Opened<V>,
        note: Option<Note>,
        alone: Option<Note>,
    ) -> Result<Hit<V>, Miss<V>> {
        let freshness = &self.policy.freshness;
        let decision = freshness.decide(&opened.life, self.engine.clock.wall(), fastrand::f64());
        let replaced = || Miss {
            previous: opened.value.clone(),
            previous_tags: opened.tagging.as_ref().map_or_else(Vec::new, |t| t.tags.clone()),
            ..Miss::unusable(stored)
        };
        let (source, refresh) = match decision {
            Decision::Serve => (self.engine.hit_source(), None),
            Decision::ServeAndRefresh => (self.engine.hit_source(), Some(replaced())),
            Decision::ServeStaleAndRefresh => (Source::Stale, Some(replaced())),
            Decision::LoadOrServeStale => {
                return Err(Miss { stale: opened.value.clone(), ..replaced() });
            }
            Decision::Load => return Err(replaced()),
        };
        if source != Source::Stale {
            self.keep(key, &opened, note, alone);
        }
        Ok(Hit { value: opened.value, source, nonce: opened.nonce.0, refresh })
    }

    fn keep(&self, key: &Key, opened: &Opened<V>, note: Option<Note>, alone: Option<Note>) {
        let Some(level) = &self.level else { return };
        let now = Now { wall: self.engine.clock.wall(), coarse: self.engine.clock.coarse() };
        let (note, at_most) = match (note, alone, self.local.incoherent_for()) {
            (Some(note), _, _) => (note, Duration::MAX),
            (None, Some(alone), Some(ttl)) => (alone, ttl),
            _ => return,
        };
        level.keep(self.root.place(key), opened, note, &self.policy.freshness, now, at_most);
    }

    /// What is kept while the store does not answer.
    fn copy_of(&self, key: &Key) -> Result<Hit<V>, Miss<V>> {
        let copy = self.engine.copies.get(key, self.engine.clock.now());
        let opened = copy.and_then(|copy| self.open(key, &copy).ok());
        let opened = opened.filter(|opened| !self.is_too_old(opened.life.created_at));
        match opened {
            Some(Opened { value, nonce, .. }) => {
                Ok(Hit { value, source: Source::Local, nonce: nonce.0, refresh: None })
            }
            None => Err(Miss::store_is_gone()),
        }
    }

    /// The value of an entry that the store gave instead of a lease, if it is good.
    ///
    /// # Errors
    /// When its tags cannot be looked at.
    pub(super) async fn usable(&self, key: &Key, stored: &Bytes) -> Result<Option<Option<Arc<V>>>> {
        let opened = match self.open(key, stored) {
            Ok(opened) => opened,
            Err(error) => {
                self.recorder.shielded("read", &error);
                return Ok(None);
            }
        };
        let freshness = &self.policy.freshness;
        let is_fresh = matches!(
            freshness.decide(&opened.life, self.engine.clock.wall(), 1.0),
            Decision::Serve | Decision::ServeAndRefresh
        );
        Ok((is_fresh && self.is_allowed(&opened).await?).then_some(opened.value))
    }

    /// Whether it has the tags that its cache wants, and none was invalidated since it was loaded.
    async fn is_allowed(&self, opened: &Opened<V>) -> Result<bool> {
        match &opened.tagging {
            // Whoever stored it knew of no tags, so no invalidation by one would find it.
            None => Ok(!self.policy.tagged),
            Some(tagging) => self.are_current(tagging).await,
        }
    }

    pub(super) async fn are_current(&self, tagging: &Tagging) -> Result<bool> {
        let engine = &self.engine;
        let coherence = engine.coherence().map(|coherence| &**coherence);
        engine.tags.allow(&engine.backend, coherence, &self.tags_key, tagging).await
    }

    /// Generation and sequence of the cache's tags, which will outlive entries of this TTL. Makes them
    /// where there are none.
    pub(super) async fn tide(&self, ttl: Ttl) -> Result<Tide> {
        let engine = &self.engine;
        let coherence = engine.coherence().map(|coherence| &**coherence);
        let lives_for = self.tags_ttl(ttl);
        let read = || engine.tags.read(&engine.backend, coherence, &self.tags_key, &[]);
        let mut said = read().await?;
        let now = engine.clock.now();
        if said.is_none() || engine.tags.is_to_be_extended(&self.tags_key, lives_for, now) {
            engine.touch_tags(&self.tags_key);
            engine.backend.begin_tags(&self.tags_key, lives_for).await?;
            engine.touch_tags(&self.tags_key);
            said = read().await?;
            engine.tags.is_extended(&self.tags_key, lives_for, now);
        }
        said.map(|numbers| numbers.tide).ok_or_else(|| {
            let kind = ErrorKind::Unavailable { maybe_applied: false };
            Error::new(kind, "the tags of a cache are evicted as soon as they are made")
        })
    }

    /// Twice as long as any entry, so that none outlives what it is dated with.
    pub(super) fn tags_ttl(&self, entry: Ttl) -> Ttl {
        let kept_for = self.policy.freshness.kept_for();
        let entry = entry.duration().max(self.policy.ttl.duration()).saturating_add(kept_for);
        Ttl::new(entry.saturating_mul(2)).unwrap_or(Ttl::MAX)
    }

    /// Every entry of this cache, in this tenant.
    pub(super) fn all(&self) -> Result<Selection> {
        Ok(Selection::Matching(Pattern::new(&self.scope, &self.policy.space, "*")?))
    }

    /// What tells whether a key was changed since, where the store tells of changes.
    pub(super) fn note_of(&self, key: &Key) -> Option<Note> {
        self.level.as_ref()?;
        self.engine.backend.note(key.as_str(), self.engine.coherence()?)
    }

    /// The same, for a load that may have to do without the store.
    pub(super) fn terms_of(&self, key: &Key) -> Option<Terms> {
        let coherence = self.engine.coherence()?;
        let of_tags = self.policy.tagged.then(|| self.tags_key.as_str());
        let of_tags = of_tags.and_then(|key| self.engine.backend.note(key, coherence));
        let notes = self.note_of(key).into_iter().chain(of_tags).collect();
        Some(Terms { coherence: Arc::clone(coherence), notes })
    }

    pub(super) fn name(&self) -> &str {
        self.policy.space.as_str()
    }
}

impl Engine {
    pub(crate) fn new(backend: Store, clock: Clock, value_len_max: usize) -> Arc<Self> {
        let engine = Self::with_generations(backend, clock, value_len_max, GENERATIONS);
        let engine = Arc::new(engine);
        engine.keep_telling();
        engine
    }

    pub(super) fn with_generations(
        backend: Store,
        clock: Clock,
        value_len_max: usize,
        generations: usize,
    ) -> Self {
        Self {
            backend,
            flights: Arc::default(),
            copies: Copies::new(),
            tags: Tags::default(),
            clock,
            value_len_max,
            coherence: OnceLock::new(),
            generations,
            alone: Arc::new(Lane::unconnected()),
            recorders: DashMap::new(),
            levels: DashMap::new(),
        }
    }

    /// Removes entries and closes the loads of their keys, before and after: a load without the
    /// store may have begun in between.
    pub(crate) async fn invalidate_all(&self, of: &Selection) -> Result<u64> {
        self.close_all(of);
        let removed = self.backend.invalidate_all(of).await;
        self.close_all(of);
        removed
    }

    pub(super) fn close_all(&self, of: &Selection) {
        self.flights.close_all(of);
        self.copies.remove_all(of);
        // Which of them are kept here is not known by key, and this is rare.
        if self.coherence.get().is_some() {
            self.alone.moved_on();
            self.backend.forget();
        }
    }

    pub(super) async fn invalidate(&self, key: &Key) -> Result<Invalidated> {
        self.close(key);
        let invalidated = self.backend.invalidate(key).await;
        // Again: a load without Redis may have begun in between.
        if !planted!(NoTouchAfterTheReply) {
            self.close(key);
        }
        invalidated
    }

    /// No later caller gets what a load of a cache with tags brings that is under way.
    pub(super) fn close_tagged(&self, all: &Selection, key: &TagsKey) {
        self.flights.close_all(all);
        self.copies.remove_all(all);
        self.touch_tags(key);
    }

    /// No later caller gets what a load under way brings, or what was kept of an earlier one.
    pub(super) fn close(&self, key: &Key) {
        self.flights.close(key);
        self.copies.remove(key);
        self.touch(key);
    }

    /// What this process keeps of an entry is old.
    pub(super) fn touch(&self, key: &Key) {
        if let Some(coherence) = self.coherence.get() {
            coherence.touch(key.as_str().as_bytes());
        }
    }

    pub(super) fn touch_tags(&self, key: &TagsKey) {
        if let Some(coherence) = self.coherence.get() {
            coherence.touch(key.as_str().as_bytes());
        }
    }

    pub(super) fn coherence(&self) -> Option<&Arc<Coherence>> {
        self.coherence.get()
    }

    /// Asks the store to tell of changes, from now on.
    pub(super) fn begin_coherence(&self) -> &Arc<Coherence> {
        self.coherence.get_or_init(|| {
            let coherence = Arc::new(Coherence::new(self.generations));
            self.backend.track(&coherence);
            coherence
        })
    }

    /// The local level of all caches of one name and type. The first one built says how large.
    pub(super) fn level<V: Send + Sync + 'static>(
        &self,
        name: &str,
        local: Local,
    ) -> Option<Arc<Level<V>>> {
        // What is in this process already need not be there twice.
        if !local.is_wanted() || self.backend.is_local() || self.levels.len() >= LEVELS_MAX {
            return None;
        }
        let coherence = Arc::clone(self.begin_coherence());
        let level = self.levels.entry((name.to_owned(), TypeId::of::<V>()));
        let level =
            Arc::clone(&level.or_insert_with(|| Arc::new(Level::<V>::new(local, coherence))));
        level.downcast().ok()
    }

    pub(crate) fn stats(&self) -> BTreeMap<String, Stats> {
        let each = |r: dashmap::mapref::multiple::RefMulti<'_, String, Arc<Recorder>>| {
            (r.key().clone(), r.stats())
        };
        self.recorders.iter().map(each).collect()
    }

    pub(super) fn hit_source(&self) -> Source {
        if self.backend.is_local() { Source::Local } else { Source::Redis }
    }

    /// Brings the metrics up to date for as long as there is an engine.
    pub(super) fn keep_telling(self: &Arc<Self>) {
        let engine = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(TELL_EVERY);
            loop {
                ticks.tick().await;
                let Some(engine) = engine.upgrade() else { return };
                for recorder in &engine.recorders {
                    recorder.tell();
                }
            }
        });
    }

    pub(super) fn recorder(&self, name: &str) -> Arc<Recorder> {
        if let Some(recorder) = self.recorders.get(name) {
            return Arc::clone(&recorder);
        }
        // Each is a set of counters and of metrics: names made up by strangers share one.
        let name = if self.recorders.len() < RECORDERS_MAX { name } else { OTHER_CACHES };
        let recorder = self.recorders.entry(name.to_owned());
        Arc::clone(&recorder.or_insert_with(|| Arc::new(Recorder::new(name))))
    }
}
