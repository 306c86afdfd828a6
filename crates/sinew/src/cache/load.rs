//! A miss: one load in the fleet, and a fill that no invalidation can lose to.

use std::any::{Any, TypeId};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::backend::{Backend as _, Lease, Token};
use super::engine::Shared;
use super::entry::Sealing;
use super::flight::{Boarding, Departure, Flight, Outcome, Reach, Tick};
use super::lease::Route;
use super::loader::{LoadError, Loaded, Loading, Source};
use super::model::{LEASE, REFRESH_AGAIN_AFTER};
use super::outage::Outage;
use super::tags::{self, Tide};
use crate::kernel::clock::Monotonic;
use crate::kernel::envelope::{Tagging, nonce_of};
use crate::kernel::error::{Error, Result};
use crate::kernel::key::Key;
use crate::kernel::ttl::Ttl;

/// What a loader may bring: `None` where the source has no such thing.
pub(super) type Brought<V, E> = Result<Option<Loaded<V>>, E>;

/// A value, or that there is none, and where that was found.
pub(super) struct Landed<V> {
    pub(super) value: Option<Arc<V>>,
    pub(super) source: Source,
}

/// What the look-up before the load found.
pub(super) struct Miss<V> {
    /// The store did not answer.
    pub(super) store_is_gone: bool,
    /// The nonce of an entry that could not be used.
    pub(super) unusable: Option<Bytes>,
    /// Better than nothing.
    pub(super) stale: Option<Arc<V>>,
    /// What is being replaced, for the loader to compare with, and its tags.
    pub(super) previous: Option<Arc<V>>,
    pub(super) previous_tags: Vec<Box<str>>,
}

impl<V> Miss<V> {
    pub(super) fn nothing() -> Self {
        Self {
            store_is_gone: false,
            unusable: None,
            stale: None,
            previous: None,
            previous_tags: Vec::new(),
        }
    }

    pub(super) fn store_is_gone() -> Self {
        Self { store_is_gone: true, ..Self::nothing() }
    }

    pub(super) fn of_nonce(nonce: [u8; 8]) -> Self {
        Self { unusable: Some(Bytes::copy_from_slice(&nonce)), ..Self::nothing() }
    }

    pub(super) fn unusable(stored: &[u8]) -> Self {
        Self { unusable: Some(Bytes::copy_from_slice(nonce_of(stored))), ..Self::nothing() }
    }
}

/// Joins or begins the load of `key`, and waits for as long as the cache's timeouts say.
pub(super) async fn load<V, E, F, Fut>(
    cache: &Arc<Shared<V>>,
    key: Key,
    began: Tick,
    kind: Kind,
    mut miss: Miss<V>,
    loader: F,
) -> Result<Landed<V>, LoadError<E>>
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
    E: Send + Sync + 'static,
    F: FnOnce(Loading<V>) -> Fut + Send + 'static,
    Fut: Future<Output = Brought<V, E>> + Send + 'static,
{
    let stale = miss.stale.take();
    let flight = board(cache, key, began, kind, miss, loader);
    let outcome = match wait_for(cache, flight.outcome(), stale.is_some()).await {
        Some(outcome) => landed(cache, outcome),
        None => Err(LoadError::TimedOut),
    };
    // What was invalidated while the load ran is given to no one who came later: this caller did not.
    let outcome = match (outcome, stale) {
        (Err(LoadError::Source(_) | LoadError::TimedOut | LoadError::Aborted), Some(stale)) => {
            Ok(Landed { value: Some(stale), source: Source::Stale })
        }
        (outcome, _) => outcome,
    };
    cache.recorder.looked_up(outcome.as_ref().map_or(Source::Loaded, |landed| landed.source));
    outcome
}

/// `None` once the cache's patience is over.
pub(super) async fn wait_for<V>(
    cache: &Shared<V>,
    outcome: impl Future<Output = Outcome>,
    has_stale: bool,
) -> Option<Outcome> {
    let policy = &cache.policy;
    let soft = policy.soft_timeout.filter(|_| has_stale);
    let Some(patience) = soft.into_iter().chain(policy.hard_timeout).min() else {
        return Some(outcome.await);
    };
    let clock = &cache.engine.clock;
    tokio::select! {
        biased;
        outcome = outcome => Some(outcome),
        () = clock.sleep_until(clock.now().after(patience)) => None,
    }
}

pub(super) fn landed<V, E>(cache: &Shared<V>, outcome: Outcome) -> Result<Landed<V>, LoadError<E>>
where
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    match outcome {
        Outcome::Value { value, from_store } => {
            let source = if from_store { cache.engine.hit_source() } else { Source::Loaded };
            match value.map(Arc::downcast).transpose() {
                Ok(value) => Ok(Landed { value, source }),
                Err(_) => Err(LoadError::Aborted),
            }
        }
        Outcome::Failed(error) => match error.downcast() {
            Ok(error) => Err(LoadError::Source(error)),
            Err(_) => Err(LoadError::Aborted),
        },
        Outcome::Rejected(error) => Err(LoadError::Rejected(error)),
        Outcome::Aborted => Err(LoadError::Aborted),
    }
}

fn board<V, E, F, Fut>(
    cache: &Arc<Shared<V>>,
    key: Key,
    began: Tick,
    kind: Kind,
    miss: Miss<V>,
    loader: F,
) -> Arc<Flight>
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
    E: Send + Sync + 'static,
    F: FnOnce(Loading<V>) -> Fut + Send + 'static,
    Fut: Future<Output = Brought<V, E>> + Send + 'static,
{
    let types = kind.types::<V, E>();
    let reach = if miss.store_is_gone { Reach::StoreIsGone } else { Reach::StoreAnswers };
    match cache.engine.flights.board(&key, types, began, reach) {
        Boarding::Joined(flight) => flight,
        Boarding::Lead(departure) => {
            let flight = departure.flight();
            let pilot = Pilot::new(Arc::clone(cache), key, kind, departure);
            // Its own task: a caller that goes away must not end the load that others wait for.
            tokio::spawn(pilot.fly(miss, loader));
            flight
        }
    }
}

/// Loads a newer value in the background, if no one in the fleet does: the entry is still good.
pub(super) fn refresh<V, E, F, Fut>(
    cache: &Arc<Shared<V>>,
    key: Key,
    kind: Kind,
    miss: Miss<V>,
    loader: F,
) where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
    E: Send + Sync + 'static,
    F: FnOnce(Loading<V>) -> Fut + Send + 'static,
    Fut: Future<Output = Brought<V, E>> + Send + 'static,
{
    let engine = &cache.engine;
    let Some(turn) = engine.flights.refresh(&key) else { return };
    let departure = engine.flights.alone(&key, kind.types::<V, E>());
    let pilot = Pilot::new(Arc::clone(cache), key, kind, departure);
    tokio::spawn(async move {
        let clock = pilot.cache.engine.clock.clone();
        if !pilot.refresh(miss, loader).await {
            // A source in trouble is not asked again by the next caller, nor is the store while
            // another process does it.
            clock.sleep_until(clock.now().after(REFRESH_AGAIN_AFTER)).await;
        }
        drop(turn);
    });
}

/// Whether a load may find that there is no such thing. Each kind is joined by its like only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Load,
    Find,
}

impl Kind {
    pub(super) fn types<V: 'static, E: 'static>(self) -> TypeId {
        match self {
            Self::Load => TypeId::of::<(V, E)>(),
            Self::Find => TypeId::of::<(Option<V>, E)>(),
        }
    }
}

pub(super) struct Pilot<V> {
    pub(super) cache: Arc<Shared<V>>,
    pub(super) key: Key,
    pub(super) departure: Departure,
    pub(super) kind: Kind,
    /// Noted before anything else, in a cache with tags.
    pub(super) tide: Option<(Tide, Monotonic)>,
    /// There is an entry, which cannot be served or not for long.
    pub(super) replaces: bool,
}

/// What a loader brought.
pub(super) struct Cargo<V> {
    pub(super) value: Option<Arc<V>>,
    tags: Vec<Box<str>>,
    ttl: Option<Ttl>,
    is_not_to_be_stored: bool,
    took: Duration,
}

impl<V> Cargo<V> {
    /// A value about which its loader said no more.
    pub(super) fn with_tags(value: Option<Arc<V>>, tags: Vec<Box<str>>, took: Duration) -> Self {
        Self { value, tags, ttl: None, is_not_to_be_stored: false, took }
    }
}

/// What came of asking for the lease of an entry that is still good.
pub(super) enum Renewal {
    Granted(Token),
    /// Another has replaced it.
    IsNewer,
    /// Another does it now, or the store does not answer.
    Refused,
}

/// How a loader ended.
enum Arrival<V, E> {
    Brought(Cargo<V>),
    Failed(E),
    Rejected(Error),
    Aborted,
}

impl<V> Pilot<V>
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    pub(super) fn new(cache: Arc<Shared<V>>, key: Key, kind: Kind, departure: Departure) -> Self {
        Self { cache, key, departure, kind, tide: None, replaces: false }
    }

    pub(super) async fn fly<E, F, Fut>(mut self, miss: Miss<V>, loader: F)
    where
        E: Send + Sync + 'static,
        F: FnOnce(Loading<V>) -> Fut + Send + 'static,
        Fut: Future<Output = Brought<V, E>> + Send + 'static,
    {
        let previous = (miss.previous, miss.previous_tags);
        let terms = self.cache.terms_of(&self.key);
        let route = match miss.store_is_gone {
            true => Route::WithoutStore,
            false => self.ask(miss.unusable).await,
        };
        let outcome = match route {
            Route::Land(outcome) => outcome,
            Route::WithoutStore | Route::Impatient => {
                if matches!(route, Route::WithoutStore) {
                    self.departure.goes_without_store(terms);
                }
                self.departure.asks();
                let arrival = self.run(loader, None, previous).await;
                if let (Route::WithoutStore, Arrival::Brought(cargo)) = (route, &arrival) {
                    self.keep_copy(cargo);
                }
                shared(arrival)
            }
            Route::Load(token) => {
                let arrival = self.run(loader, Some(token), previous).await;
                match &arrival {
                    Arrival::Brought(cargo) => self.fill(token, cargo).await,
                    // Others need not wait for the end of a lease that brings nothing.
                    _ => self.give_back(token).await,
                }
                shared(arrival)
            }
        };
        self.departure.lands(outcome);
    }

    /// Whether there is a newer entry now.
    async fn refresh<E, F, Fut>(mut self, miss: Miss<V>, loader: F) -> bool
    where
        E: Send + Sync + 'static,
        F: FnOnce(Loading<V>) -> Fut + Send + 'static,
        Fut: Future<Output = Brought<V, E>> + Send + 'static,
    {
        let token = match self.ask_to_replace(miss.unusable.as_deref()).await {
            Renewal::Granted(token) => token,
            Renewal::IsNewer => return true,
            Renewal::Refused => return false,
        };
        let previous = (miss.previous, miss.previous_tags);
        let arrival = self.run(loader, Some(token), previous).await;
        let is_newer = matches!(arrival, Arrival::Brought(_));
        match &arrival {
            Arrival::Brought(cargo) => self.fill(token, cargo).await,
            _ => self.give_back(token).await,
        }
        // Whoever could not be served meanwhile waits for it.
        self.departure.lands(shared(arrival));
        is_newer
    }

    /// Asks, once, for the lease to replace an entry that is still good.
    pub(super) async fn ask_to_replace(&mut self, replaced: Option<&[u8]>) -> Renewal {
        if self.note_tide().await.is_err() {
            return Renewal::Refused;
        }
        self.replaces = true;
        let (token, engine) = (Token::random(), &self.cache.engine);
        match engine.backend.lease(&self.key, replaced, token, LEASE).await {
            Ok(Lease::Granted) => {
                self.departure.holds(token);
                Renewal::Granted(token)
            }
            Ok(Lease::Entry(_)) => {
                // What is kept here of it is old, though no one may have told.
                engine.touch(&self.key);
                Renewal::IsNewer
            }
            Ok(Lease::Held { .. }) => Renewal::Refused,
            Err(error) => {
                self.cache.recorder.shielded("lease", &error);
                if error.maybe_applied() {
                    self.disown(token);
                }
                Renewal::Refused
            }
        }
    }

    /// Runs the loader in a task of its own, so that its panic stays its own.
    async fn run<E, F, Fut>(
        &self,
        loader: F,
        lease: Option<Token>,
        previous: (Option<Arc<V>>, Vec<Box<str>>),
    ) -> Arrival<V, E>
    where
        E: Send + Sync + 'static,
        F: FnOnce(Loading<V>) -> Fut + Send + 'static,
        Fut: Future<Output = Brought<V, E>> + Send + 'static,
    {
        let began = self.cache.engine.clock.now();
        let loading = Loading::new(previous.0.clone());
        let its_own = loading.clone();
        let load = tokio::spawn(async move { loader(its_own).await });
        let joined = self.renewing(load, lease).await;
        let took = self.cache.engine.clock.now().since(began);
        self.cache.recorder.loaded(matches!(joined, Ok(Ok(_))), took);
        match joined {
            Ok(Ok(brought)) => self.cargo(brought, &loading, previous, took),
            Ok(Err(error)) => Arrival::Failed(error),
            Err(error) => {
                // Not its message: that may hold a value.
                let panicked = error.is_panic();
                tracing::error!(cache = self.cache.name(), panicked, "a loader was aborted");
                Arrival::Aborted
            }
        }
    }

    fn cargo<E>(
        &self,
        brought: Option<Loaded<V>>,
        loading: &Loading<V>,
        (previous, previous_tags): (Option<Arc<V>>, Vec<Box<str>>),
        took: Duration,
    ) -> Arrival<V, E> {
        let mut notes = loading.take_notes();
        let value = match brought {
            Some(Loaded::Value(value)) => Some(Arc::new(value)),
            Some(Loaded::Unchanged) => match previous {
                Some(previous) => {
                    notes.tags.extend(previous_tags);
                    Some(previous)
                }
                None => {
                    let what = "a loader called its value unchanged, and there was none before";
                    return Arrival::Rejected(Error::rejected(what));
                }
            },
            None => None,
        };
        if !notes.tags.is_empty() && !self.cache.policy.tagged {
            return Arrival::Rejected(tags::untagged(self.cache.name()));
        }
        match tags::checked(notes.tags) {
            Err(error) => Arrival::Rejected(error),
            Ok(tags) => Arrival::Brought(Cargo {
                value,
                tags,
                ttl: notes.ttl,
                is_not_to_be_stored: notes.is_not_to_be_stored,
                took,
            }),
        }
    }

    /// Stores what was loaded, if nothing has made it out of date meanwhile.
    pub(super) async fn fill(&self, token: Token, cargo: &Cargo<V>) {
        match self.sealed(cargo).await {
            Ok(Some((entry, ttl))) => {
                let engine = &self.cache.engine;
                engine.touch(&self.key);
                let filled = engine.backend.fill(&self.key, token, entry, ttl).await;
                engine.touch(&self.key);
                if let Err(error) = filled {
                    self.disown(token);
                    self.cache.recorder.shielded("fill", &error);
                }
            }
            // The source has it no more.
            Ok(None) if cargo.value.is_none() && self.replaces => {
                let engine = &self.cache.engine;
                engine.touch(&self.key);
                let gone = engine.backend.vacate(&self.key, token).await;
                engine.touch(&self.key);
                if let Err(error) = gone {
                    self.disown(token);
                    self.cache.recorder.shielded("fill", &error);
                }
            }
            Ok(None) => self.give_back(token).await,
            Err(error) => {
                self.give_back(token).await;
                self.cache.recorder.shielded("fill", &error);
            }
        }
    }

    /// `None` where it is not to be stored.
    async fn sealed(&self, cargo: &Cargo<V>) -> Result<Option<(Bytes, Ttl)>> {
        let policy = &self.cache.policy;
        let ttl = match cargo.value {
            Some(_) => Some(cargo.ttl.unwrap_or(policy.ttl)),
            None => policy.absent_ttl,
        };
        let Some(ttl) = ttl.filter(|_| !cargo.is_not_to_be_stored) else { return Ok(None) };
        let mut tide = self.tide;
        if planted!(TideNotedAfterTheLoad) && tide.is_some() {
            tide = Some((self.cache.tide(ttl).await?, self.cache.engine.clock.now()));
        }
        let tagging = tide.map(|(Tide { generation, sequence }, _)| Tagging {
            generation,
            sequence,
            tags: cargo.tags.clone(),
        });
        if tagging.is_some() && ttl > policy.ttl {
            // The tags are to outlive it too. What it is dated with stays what it was.
            self.cache.tide(ttl).await?;
        }
        if let Some(tagging) = &tagging
            && !self.cache.are_current(tagging).await?
        {
            // Readers would refuse it.
            return Ok(None);
        }
        if let Some((_, noted_at)) = tide {
            // A tag is forgotten once no entry can be older. One that took as long to load as tags are
            // remembered could be, or will be before it expires: it is not stored.
            let took = self.cache.engine.clock.now().since(noted_at);
            let lives_for = ttl.duration().saturating_add(policy.freshness.kept_for());
            let tags_lived_for = self.cache.tags_ttl(policy.ttl).duration();
            let tags_live_for = tags_lived_for.max(lives_for.saturating_mul(2));
            if took >= tags_lived_for || took.saturating_add(lives_for) > tags_live_for {
                return Ok(None);
            }
        }
        let sealing = Sealing { ttl, tagging, load: cargo.took };
        self.cache.seal(&self.key, cargo.value.as_deref(), sealing).map(Some)
    }

    pub(super) fn keep_copy(&self, cargo: &Cargo<V>) {
        let Outage::Local { ttl } = self.cache.policy.outage else { return };
        let (Some(value), false) = (&cargo.value, cargo.is_not_to_be_stored) else { return };
        let engine = &self.cache.engine;
        let sealing = Sealing::of(cargo.ttl.unwrap_or(self.cache.policy.ttl));
        match self.cache.seal(&self.key, Some(value), sealing) {
            Ok((entry, entry_ttl)) => {
                let ttl = ttl.min(entry_ttl.duration());
                engine.copies.keep(&self.key, entry, engine.clock.now(), ttl, &self.departure);
            }
            Err(error) => self.cache.recorder.shielded("keep", &error),
        }
    }
}

pub(super) fn any<V: Send + Sync + 'static>(value: Arc<V>) -> Arc<dyn Any + Send + Sync> {
    value
}

fn shared<V, E>(arrival: Arrival<V, E>) -> Outcome
where
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    match arrival {
        Arrival::Brought(cargo) => {
            Outcome::Value { value: cargo.value.map(any), from_store: false }
        }
        Arrival::Failed(error) => Outcome::Failed(Arc::new(error)),
        Arrival::Rejected(error) => Outcome::Rejected(error),
        Arrival::Aborted => Outcome::Aborted,
    }
}
