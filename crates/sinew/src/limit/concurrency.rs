//! Limits of how many do something at the same time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::backend::{Backend as _, Place, Token};
use super::definition::Limit;
use super::down::{Down, RETRY_US};
use super::engine::{By, Engine};
use super::stats::{Outcome, Recorder};
use crate::kernel::clock::Monotonic;
use crate::kernel::errand::to_the_end;
use crate::kernel::error::{Error, Result};
use crate::kernel::key::{CacheKey, Key, Path, Scope};
use crate::kernel::name::LimitName;

const PLACES_MAX: u64 = 10_000;
const LEASE_DEFAULT: Duration = Duration::from_secs(30);
const LEASE_MIN: Duration = Duration::from_millis(100);
/// A place is held for so long at most by a process that has died.
pub(crate) const LEASE_MAX: Duration = Duration::from_secs(3_600);

/// A limit of how many do something at the same time: exports of a user, calls of a slow partner.
/// Cheap to clone.
///
/// Whoever is in holds a place, by a lease that is renewed while it is held: a process that dies gives
/// its places back when their leases end. It has nothing to do with a rate limit of its name, but that
/// [`Limiter::stats`](super::Limiter::stats) and the metrics count both as one.
#[derive(Clone, Debug)]
pub struct Concurrency {
    name: Arc<str>,
    places: u64,
    lease: Duration,
    down: Down,
}

impl Limit {
    /// A limit of how many do something at the same time: 1 to 10,000.
    #[must_use]
    pub fn concurrency(name: impl Into<String>, places: u64) -> Concurrency {
        let name: String = name.into();
        Concurrency { name: name.into(), places, lease: LEASE_DEFAULT, down: Down::default() }
    }
}

impl Concurrency {
    /// For how long a place is held by a process that has died: 100 ms to an hour. 30 seconds unless
    /// said. One that lives renews it three times in that time.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// What is answered while Redis does not answer. [`Down::Local`] unless said.
    #[must_use]
    pub fn on_down(mut self, down: Down) -> Self {
        self.down = down;
        self
    }

    /// The places of one subject: a user, an address, or a tuple of what makes one.
    pub fn of<K: CacheKey>(&self, subject: K) -> Entry<'_> {
        Entry { limit: self, subject: Path::of(&subject) }
    }

    /// Whether the limit can be as it is defined.
    ///
    /// # Errors
    /// `Rejected`, and what was expected.
    pub fn validate(&self) -> Result<()> {
        self.key_name().map(|_| ())
    }

    fn key_name(&self) -> Result<LimitName> {
        let name = LimitName::new(&self.name)?;
        if self.places == 0 || self.places > PLACES_MAX {
            return Err(Error::rejected(format!(
                "limit {:?}: {} places are out of bounds: expected 1 to {PLACES_MAX}",
                self.name, self.places
            )));
        }
        if self.lease < LEASE_MIN || self.lease > LEASE_MAX {
            return Err(Error::rejected(format!(
                "limit {:?}: a lease of {:?} is out of bounds: expected 100 ms to 1 h",
                self.name, self.lease
            )));
        }
        Ok(name)
    }
}

/// A place that someone wants. Made by [`Concurrency::of`].
#[derive(Clone, Debug)]
#[must_use = "a place is taken by Limiter::acquire()"]
pub struct Entry<'a> {
    limit: &'a Concurrency,
    subject: Path,
}

/// The answer to a request for a place.
#[derive(Debug)]
#[must_use = "who was not let in should not go on"]
pub enum Acquired {
    /// A place is held, until this is dropped.
    Held(Held),
    /// All places are held.
    Full {
        /// Until the next one ends by itself. It may be given back sooner, or be renewed.
        retry_after: Duration,
        /// Whether this was decided without Redis, as [`Down`] says.
        is_degraded: bool,
    },
}

/// A place under a concurrency limit. It is renewed while it is held, and given back when it is
/// dropped.
#[must_use = "the place is given back at once when this is dropped"]
pub struct Held {
    /// `None` where nothing is counted, by [`Down::Open`].
    lease: Option<Arc<Lease>>,
    renewing: Option<AbortHandle>,
    is_degraded: bool,
}

struct Lease {
    engine: Arc<Engine>,
    key: Key,
    token: Token,
    time: Duration,
    by: By,
    /// Until when it is certain that the place is ours.
    until: Mutex<Monotonic>,
}

/// Takes a place.
pub(super) async fn acquire(
    engine: &Arc<Engine>,
    scope: &Scope,
    entry: Entry<'_>,
) -> Result<Acquired> {
    let Entry { limit, subject } = entry;
    let key = scope.limit_places(&limit.key_name()?, &subject)?;
    engine.be_counted();
    let (token, asked) = (Token::random(), engine.clock.now());
    let lease = |by| Lease {
        engine: Arc::clone(engine),
        key: key.clone(),
        token,
        time: limit.lease,
        by,
        until: Mutex::new(asked.after(limit.lease)),
    };
    // Made before the question: if the caller goes away meanwhile, the place is given back.
    let mut held = Held::new(lease(By::Store));
    let place = engine.backend.acquire(&key, token, limit.places, limit.lease).await;
    let recorder = engine.recorder(&limit.name);
    let place = match place {
        Err(error) if error.is_retryable() => {
            recorder.degraded();
            // The place may have been taken all the same: it is given back.
            held = match limit.down {
                Down::Local => Held::new(lease(By::Fallback)),
                Down::Open | Down::Closed => Held::of_nothing(),
            };
            let places = (limit.places / engine.fallback.processes()).max(1);
            match limit.down {
                Down::Open => Place::Held,
                Down::Closed => Place::Full(Duration::from_micros(RETRY_US)),
                Down::Local => {
                    engine.fallback.local.acquire(&key, token, places, limit.lease).await?
                }
            }
        }
        place => place?,
    };
    Ok(told(place, held, &recorder))
}

fn told(place: Place, mut held: Held, recorder: &Recorder) -> Acquired {
    match place {
        Place::Held => {
            recorder.count(Outcome::Admitted);
            held.renew();
            Acquired::Held(held)
        }
        Place::Full(retry_after) => {
            recorder.count(Outcome::Denied);
            held.forget();
            Acquired::Full { retry_after, is_degraded: held.is_degraded }
        }
    }
}

impl Held {
    fn new(lease: Lease) -> Self {
        let is_degraded = lease.by == By::Fallback;
        Self { lease: Some(Arc::new(lease)), renewing: None, is_degraded }
    }

    fn of_nothing() -> Self {
        Self { lease: None, renewing: None, is_degraded: true }
    }

    /// Whether the place is certainly still held. It is not, once Redis could not be reached for as
    /// long as the lease lasts, or the place was lost there: then someone else may hold it.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let certain = |lease: &Arc<Lease>| lease.engine.clock.now() < *lease.until.lock();
        self.lease.as_ref().is_none_or(certain)
    }

    /// Whether this was decided without Redis, as [`Down`] says.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.is_degraded
    }

    /// Gives the place back, and waits until it is.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down: the place is free again when its lease ends.
    ///
    /// # Cancellation
    /// It is given back even if the future is dropped once it was polled.
    pub async fn release(mut self) -> Result<()> {
        self.stop();
        match self.lease.take() {
            Some(lease) => to_the_end(async move { lease.release().await }).await,
            None => Ok(()),
        }
    }

    fn renew(&mut self) {
        if let Some(lease) = &self.lease {
            let renewing = tokio::spawn(Arc::clone(lease).renew_for_ever());
            self.renewing = Some(renewing.abort_handle());
        }
    }

    /// There is nothing to be given back.
    fn forget(&mut self) {
        self.lease = None;
    }

    fn stop(&mut self) {
        if let Some(renewing) = self.renewing.take() {
            renewing.abort();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.stop();
        // Without a runtime, the lease ends by itself.
        if let (Some(lease), Ok(runtime)) =
            (self.lease.take(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn(async move {
                if let Err(error) = lease.release().await {
                    tracing::debug!(%error, "a place could not be given back: its lease will end");
                }
            });
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("is_held", &self.is_held()).finish_non_exhaustive()
    }
}

impl Lease {
    /// For as long as someone holds it.
    async fn renew_for_ever(self: Arc<Self>) {
        let clock = &self.engine.clock;
        loop {
            clock.sleep_until(clock.now().after(self.time / 3)).await;
            let asked = clock.now();
            let renewed = match self.by {
                By::Store => self.engine.backend.renew(&self.key, self.token, self.time).await,
                By::Fallback => {
                    self.engine.fallback.local.renew(&self.key, self.token, self.time).await
                }
            };
            match renewed {
                Ok(true) => *self.until.lock() = asked.after(self.time),
                Ok(false) => {
                    *self.until.lock() = asked;
                    return;
                }
                // There is time for another attempt.
                Err(_) => {}
            }
        }
    }

    async fn release(&self) -> Result<()> {
        match self.by {
            By::Store => self.engine.backend.release(&self.key, self.token).await,
            By::Fallback => self.engine.fallback.local.release(&self.key, self.token).await,
        }
    }
}
