//! A miss: one load in the fleet, and a fill that no invalidation can lose to.

use std::any::{Any, TypeId};
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Shared;
use super::backend::{Backend as _, Lease, Token};
use super::flight::{Boarding, Departure, Outcome, Reach, Tick};
use super::model::{self, LEASE, WAIT_MAX};
use super::outage::Outage;
use crate::kernel::clock::Monotonic;
use crate::kernel::envelope::nonce_of;
use crate::kernel::error::Error;
use crate::kernel::key::Key;

const DISOWN_EVERY: Duration = Duration::from_millis(100);

/// Why `get_or_load` has no value. Trouble with Redis is never among the reasons.
#[derive(Debug)]
pub enum LoadError<E> {
    /// The loader's own error, shared by all callers that waited for the same load.
    Source(Arc<E>),
    /// The key is not acceptable; nothing was loaded.
    Rejected(Error),
    /// The loader panicked, or the runtime stopped it.
    Aborted,
}

// Not derived: sharing needs no `E: Clone`.
impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Source(error) => Self::Source(Arc::clone(error)),
            Self::Rejected(error) => Self::Rejected(error.clone()),
            Self::Aborted => Self::Aborted,
        }
    }
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => error.fmt(f),
            Self::Rejected(error) => error.fmt(f),
            Self::Aborted => f.write_str("the loader panicked or was stopped"),
        }
    }
}

impl<E: StdError + 'static> StdError for LoadError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            // Displayed as itself, so its cause is ours.
            Self::Source(error) => error.source(),
            Self::Rejected(error) => error.source(),
            Self::Aborted => None,
        }
    }
}

/// A value, and where it was found.
#[derive(Debug)]
pub struct Traced<V> {
    /// The value.
    pub value: Arc<V>,
    /// Where it was found.
    pub source: Source,
}

/// Where a value was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// In this process.
    Local,
    /// In Redis.
    Redis,
    /// Nowhere: it was loaded, by this caller or by one that it waited for.
    Loaded,
}

/// Joins or begins the load of `key`.
pub(super) async fn load<V, E, F, Fut>(
    cache: &Arc<Shared>,
    key: Key,
    began: Tick,
    miss: Miss,
    loader: F,
) -> Result<Traced<V>, LoadError<E>>
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
    E: Send + Sync + 'static,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<V, E>> + Send + 'static,
{
    let engine = &cache.engine;
    let types = TypeId::of::<(V, E)>();
    let reach = if miss.store_is_gone { Reach::StoreIsGone } else { Reach::StoreAnswers };
    let flight = match engine.flights.board(&key, types, began, reach) {
        Boarding::Joined(flight) => flight,
        Boarding::Lead(departure) => {
            let flight = departure.flight();
            let pilot = Pilot { cache: Arc::clone(cache), key, departure };
            // Its own task: a caller that goes away must not end the load that others wait for.
            tokio::spawn(pilot.fly(miss, loader));
            flight
        }
    };
    let outcome = flight.outcome().await;
    let source = match outcome {
        Outcome::Value { from_store: true, .. } => engine.hit_source(),
        _ => Source::Loaded,
    };
    cache.recorder.looked_up(source);
    match outcome {
        Outcome::Value { value, .. } => match value.downcast() {
            Ok(value) => Ok(Traced { value, source }),
            Err(_) => Err(LoadError::Aborted),
        },
        Outcome::Failed(error) => match error.downcast() {
            Ok(error) => Err(LoadError::Source(error)),
            Err(_) => Err(LoadError::Aborted),
        },
        Outcome::Aborted => Err(LoadError::Aborted),
    }
}

/// What the look-up before the load found.
#[derive(Default)]
pub(super) struct Miss {
    /// The store did not answer.
    pub(super) store_is_gone: bool,
    /// The nonce of an entry that could not be read.
    pub(super) unusable: Option<Bytes>,
}

impl Miss {
    pub(super) fn unusable(stored: &Bytes) -> Self {
        Self { store_is_gone: false, unusable: Some(Bytes::copy_from_slice(nonce_of(stored))) }
    }
}

struct Pilot {
    cache: Arc<Shared>,
    key: Key,
    departure: Departure,
}

/// How a flight goes on after asking the store.
enum Route {
    /// Load and store under this lease.
    Load(Token),
    /// Load, and store nothing: the store is gone.
    WithoutStore,
    /// Load, and store nothing: another's load takes too long.
    Impatient,
    Land(Outcome),
}

impl Pilot {
    async fn fly<V, E, F, Fut>(mut self, miss: Miss, loader: F)
    where
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
    {
        let route = if miss.store_is_gone {
            Route::WithoutStore
        } else {
            self.ask::<V>(miss.unusable).await
        };
        let outcome = match route {
            Route::Land(outcome) => outcome,
            Route::WithoutStore | Route::Impatient => {
                if matches!(route, Route::WithoutStore) {
                    self.departure.goes_without_store();
                }
                self.departure.asks();
                let loaded = self.run(loader, None).await;
                if let (Route::WithoutStore, Some(Ok(value))) = (route, &loaded) {
                    self.keep_copy(value.as_ref());
                }
                shared(loaded)
            }
            Route::Load(token) => {
                let loaded = self.run(loader, Some(token)).await;
                match &loaded {
                    Some(Ok(value)) => self.fill(token, value.as_ref()).await,
                    // Others need not wait for the end of a lease that brings nothing.
                    _ => self.give_back(token).await,
                }
                shared(loaded)
            }
        };
        self.departure.lands(outcome);
    }

    /// Asks for the lease until there is an entry, a lease, or no more patience.
    async fn ask<V>(&mut self, mut unusable: Option<Bytes>) -> Route
    where
        V: DeserializeOwned + Send + Sync + 'static,
    {
        let engine = Arc::clone(&self.cache.engine);
        let patience_ends = engine.clock.now().after(WAIT_MAX);
        for round in 0.. {
            let token = Token::random();
            self.departure.asks();
            let asked = engine.backend.lease(&self.key, unusable.as_deref(), token, LEASE);
            match asked.await {
                Ok(Lease::Granted) => {
                    self.departure.holds(token);
                    return Route::Load(token);
                }
                Ok(Lease::Entry(stored)) => match self.cache.open::<V>(&stored) {
                    Ok(value) => {
                        return Route::Land(Outcome::Value { value, from_store: true });
                    }
                    Err(error) => {
                        self.cache.recorder.shielded("read", &error);
                        unusable = Miss::unusable(&stored).unusable;
                    }
                },
                Ok(Lease::Held { left, holder }) => {
                    // The store has just vouched for the lease of a flight of our own.
                    let types = self.departure.types();
                    if let Some(other) = holder.and_then(|h| engine.flights.holding(h, types)) {
                        // Not for ever: its loader may be waiting for this very flight.
                        return tokio::select! {
                            outcome = other.outcome() => Route::Land(outcome),
                            () = engine.clock.sleep_until(patience_ends) => Route::Impatient,
                        };
                    }
                    let now = engine.clock.now();
                    if now >= patience_ends {
                        return Route::Impatient;
                    }
                    self.departure.asks_again_later();
                    self.pause(round, now, left).await;
                }
                Err(error) => {
                    self.cache.recorder.shielded("lease", &error);
                    if error.maybe_applied() {
                        self.disown(token);
                    }
                    return Route::WithoutStore;
                }
            }
        }
        Route::Impatient
    }

    async fn pause(&self, round: u32, now: Monotonic, lease_left: Duration) {
        let pause = model::poll_pause(round, lease_left, fastrand::f64());
        self.cache.engine.clock.sleep_until(now.after(pause)).await;
    }

    /// Runs the loader in a task of its own, so that its panic stays its own.
    /// `None` when it panicked.
    async fn run<V, E, F, Fut>(&self, loader: F, lease: Option<Token>) -> Option<Result<Arc<V>, E>>
    where
        V: Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
    {
        let engine = &self.cache.engine;
        let began = engine.clock.now();
        let mut load = tokio::spawn(async move { loader().await });
        let mut lease = lease;
        let joined = loop {
            let renewal = engine.clock.now().after(LEASE / 2);
            tokio::select! {
                joined = &mut load => break joined,
                () = engine.clock.sleep_until(renewal), if lease.is_some() => {
                    lease = self.renewed(lease).await;
                }
            }
        };
        let took = engine.clock.now().since(began);
        self.cache.recorder.loaded(matches!(joined, Ok(Ok(_))), took);
        match joined {
            Ok(loaded) => Some(loaded.map(Arc::new)),
            Err(error) => {
                // Not its message: that may hold a value.
                let panicked = error.is_panic();
                tracing::error!(cache = self.cache.name(), panicked, "a loader was aborted");
                None
            }
        }
    }

    async fn renewed(&self, lease: Option<Token>) -> Option<Token> {
        let token = lease?;
        match self.cache.engine.backend.renew(&self.key, token, LEASE).await {
            Ok(true) => Some(token),
            // Revoked: the value will go to those who wait, and nowhere else.
            Ok(false) => None,
            Err(error) => {
                self.cache.recorder.shielded("renew", &error);
                Some(token)
            }
        }
    }

    async fn fill<V: Serialize>(&self, token: Token, value: &V) {
        let policy_ttl = self.cache.policy.ttl;
        let sealed = self.cache.seal(value, policy_ttl);
        let filled = match sealed {
            Ok((entry, ttl)) => {
                let filled = self.cache.engine.backend.fill(&self.key, token, entry, ttl).await;
                if filled.is_err() {
                    self.disown(token);
                }
                filled
            }
            Err(error) => {
                self.give_back(token).await;
                Err(error)
            }
        };
        if let Err(error) = filled {
            self.cache.recorder.shielded("fill", &error);
        }
    }

    fn keep_copy<V: Serialize>(&self, value: &V) {
        let Outage::Local { ttl } = self.cache.policy.outage else { return };
        let engine = &self.cache.engine;
        match self.cache.seal(value, self.cache.policy.ttl) {
            Ok((entry, entry_ttl)) => {
                let ttl = ttl.min(entry_ttl.duration());
                engine.copies.keep(&self.key, entry, engine.clock.now(), ttl, &self.departure);
            }
            Err(error) => self.cache.recorder.shielded("keep", &error),
        }
    }

    /// Gives a lease back later, when the store answers again, so that others need not wait for
    /// its end. A lease whose grant was lost can't be used: the request may also run late, after
    /// an invalidation that it then outlives.
    fn disown(&self, token: Token) {
        let (engine, key) = (Arc::clone(&self.cache.engine), self.key.clone());
        let lease_ends = engine.clock.now().after(LEASE);
        tokio::spawn(async move {
            while engine.backend.release(&key, token).await.is_err() {
                let next = engine.clock.now().after(DISOWN_EVERY);
                if next >= lease_ends {
                    break;
                }
                engine.clock.sleep_until(next).await;
            }
        });
    }

    async fn give_back(&self, token: Token) {
        if let Err(error) = self.cache.engine.backend.release(&self.key, token).await {
            self.cache.recorder.shielded("release", &error);
            self.disown(token);
        }
    }
}

fn shared<V, E>(loaded: Option<Result<Arc<V>, E>>) -> Outcome
where
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    let any = |value: Arc<dyn Any + Send + Sync>| value;
    match loaded {
        Some(Ok(value)) => Outcome::Value { value: any(value), from_store: false },
        Some(Err(error)) => Outcome::Failed(any(Arc::new(error))),
        None => Outcome::Aborted,
    }
}
