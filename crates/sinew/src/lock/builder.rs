//! The settings of a lock.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::detached::Detached;
use super::engine::Engine;
use super::guard::Guard;
use super::leader::Leader;
use super::model::{Fence, Kind, Replicas};
use super::wait::{self, Patience, Terms};
use crate::kernel::error::{Error, Result};
use crate::kernel::key::LockKeys;
use crate::kernel::telemetry;
use crate::kernel::ttl::Ttl;

const TTL_DEFAULT: Duration = Duration::from_secs(30);
/// Below, a pause of the runtime would lose the lock; above, renewals do better. A day is also half
/// of how long the fence is kept.
const TTL_MIN: Duration = Duration::from_millis(10);
const TTL_MAX: Duration = Duration::from_secs(24 * 3_600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);
const PERMITS_MAX: u32 = 100_000;
const REPLICAS_WITHIN: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(60);

/// A lock being put together; see [`Locks`](super::Locks).
#[derive(Clone)]
#[must_use = "a lock is taken by acquire() or run()"]
pub struct LockBuilder {
    engine: Arc<Engine>,
    key: Result<Arc<LockKeys>>,
    kind: Kind,
    ttl: Duration,
    wait: Option<Duration>,
    max_hold: Option<Duration>,
    replicas: Option<Replicas>,
}

/// What came of asking for a lock.
#[derive(Debug)]
#[must_use = "the lock may be held by someone else"]
pub enum Acquire {
    /// It is the caller's until the guard is dropped, or lost.
    Got(Guard),
    /// Someone else holds it, or comes first.
    Held {
        /// When to ask again, if nothing happens before.
        retry_after: Duration,
    },
}

impl Acquire {
    /// The guard, if it was granted.
    #[must_use]
    pub fn got(self) -> Option<Guard> {
        match self {
            Self::Got(guard) => Some(guard),
            Self::Held { .. } => None,
        }
    }
}

/// What came of asking for a lock without a guard.
#[derive(Debug)]
#[must_use = "the lock may be held by someone else"]
pub enum AcquireDetached {
    /// It is held with this token, until its time has run out.
    Got(Detached),
    /// Someone else holds it, or comes first.
    Held {
        /// When to ask again, if nothing happens before.
        retry_after: Duration,
    },
}

/// What came of work that was to run under a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the work may not have run"]
pub enum Ran<T> {
    /// It ran to its end under the lock, and this is what it brought.
    Done(T),
    /// It did not run: someone else holds the lock, or comes first.
    Held {
        /// When to ask again, if nothing happens before.
        retry_after: Duration,
    },
    /// It was dropped where it stood, because the lock was lost.
    Lost,
}

impl<T> Ran<T> {
    /// What the work brought, if it ran to its end.
    #[must_use]
    pub fn done(self) -> Option<T> {
        match self {
            Self::Done(brought) => Some(brought),
            Self::Held { .. } | Self::Lost => None,
        }
    }
}

impl LockBuilder {
    pub(super) fn new(engine: Arc<Engine>, key: Result<LockKeys>, kind: Kind) -> Self {
        Self {
            engine,
            key: key.map(Arc::new),
            kind,
            ttl: TTL_DEFAULT,
            wait: None,
            max_hold: None,
            replicas: None,
        }
    }

    /// How long the lock is held unless it is renewed, which a guard does by itself: 10 ms to a
    /// day. 30 seconds unless said. It bounds how long others wait for a process that died.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// For how long to wait in line, if someone else holds it. Not at all unless said.
    pub fn wait(mut self, time: Duration) -> Self {
        self.wait = Some(time);
        self
    }

    /// How long the lock is held at most, renewals included: then it is lost. For ever unless
    /// said. [`Guard::extend`] may go beyond it.
    pub fn max_hold(mut self, time: Duration) -> Self {
        self.max_hold = Some(time);
        self
    }

    /// Takes the lock only if so many replicas have it as well within this time: a failover to one
    /// of them does not forget it. It costs a connection and two commands for each grant, and a failover
    /// to another replica still forgets it: only the [`Fence`] is safe from that.
    ///
    /// Where too few have it in time, [`LockBuilder::acquire`] fails with `Unavailable`, and the lock goes
    /// to the next in line.
    pub fn wait_replicas(mut self, count: u32, within: Duration) -> Self {
        self.replicas = Some(Replicas { count, within });
        self
    }

    /// Takes the lock, or says that someone else holds it.
    ///
    /// # Cancellation
    /// Dropping the future leaves the line, and frees what may have been granted, in the background.
    ///
    /// # Errors
    /// `Rejected` for a name or setting out of bounds.
    ///
    /// # When Redis is down
    /// `Unavailable` or `Timeout`, never [`Acquire::Held`]. One that already waits in line waits on,
    /// for as long as was said.
    pub async fn acquire(self) -> Result<Acquire> {
        let (terms, began) = (self.terms()?, self.engine.clock.now());
        let acquired = wait::acquire(&self.engine, &terms).await;
        let outcome = match &acquired {
            Ok(Acquire::Got(_)) => "got",
            Ok(Acquire::Held { .. }) => "held",
            Err(_) => "error",
        };
        let took = self.engine.clock.now().since(began).as_secs_f64();
        metrics::histogram!(telemetry::LOCK_ACQUIRE_DURATION, "outcome" => outcome).record(took);
        acquired
    }

    /// Takes the lock for whoever has its token, in whatever process: nothing renews it, and neither
    /// the end of this process nor a drop frees it. [`LockBuilder::max_hold`] bounds the first TTL only.
    ///
    /// ```
    /// # use sinew::lock::{AcquireDetached, LockToken};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let locks = sinew::Sinew::embedded().locks();
    /// if let AcquireDetached::Got(held) = locks.lock("import").acquire_detached().await? {
    ///     let sent = held.token.to_string();
    ///     let came_back: LockToken = sent.parse()?;
    ///     assert!(locks.extend("import", came_back, Duration::from_secs(60)).await?);
    ///     locks.release("import", came_back).await?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancellation
    /// As [`LockBuilder::acquire`]: once it has come back, the lock is the token's.
    ///
    /// # Errors
    /// As [`LockBuilder::acquire`].
    pub async fn acquire_detached(self) -> Result<AcquireDetached> {
        let (kind, ttl) = (self.kind, self.ttl.min(self.max_hold.unwrap_or(self.ttl)));
        let began = self.engine.clock.now();
        Ok(match self.acquire().await? {
            Acquire::Got(guard) => AcquireDetached::Got(Detached::of(guard, kind, ttl, began)),
            Acquire::Held { retry_after } => AcquireDetached::Held { retry_after },
        })
    }

    /// Takes the lock, runs the work, and frees it. The work is dropped where it stands if the lock
    /// is lost meanwhile.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let locks = sinew::Sinew::embedded().locks();
    /// let invoices = locks.lock("invoices:2026-11").wait(Duration::from_secs(10));
    /// let ran = invoices.run(|fence| async move { format!("written with {fence}") }).await?;
    /// assert!(ran.done().is_some_and(|brought| brought.starts_with("written")));
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancellation
    /// Dropping the future drops the work, and frees the lock in the background.
    ///
    /// # Errors
    /// As [`LockBuilder::acquire`]. One that cannot be freed is no error: what the work brought counts,
    /// and freeing is tried on in the background.
    pub async fn run<T, F, Fut>(self, work: F) -> Result<Ran<T>>
    where
        F: FnOnce(Fence) -> Fut,
        Fut: Future<Output = T>,
    {
        let guard = match self.acquire().await? {
            Acquire::Got(guard) => guard,
            Acquire::Held { retry_after } => return Ok(Ran::Held { retry_after }),
        };
        let done = tokio::select! {
            biased;
            // First: work is not to go on under a lock that is known to be lost.
            () = guard.lost() => None,
            brought = work(guard.fence()) => Some(brought),
        };
        let Some(brought) = done else { return Ok(Ran::Lost) };
        if let Err(error) = guard.release().await {
            tracing::debug!(%error, "a lock could not be freed: trying again");
        }
        Ok(Ran::Done(brought))
    }

    /// Stands for election: whoever holds the lock leads. It goes on until the [`Leader`] is
    /// dropped, through outages too; [`LockBuilder::wait`] makes no difference.
    ///
    /// # Errors
    /// `Rejected` for a name or setting out of bounds.
    pub fn elect(self) -> Result<Leader> {
        let terms = Terms { patience: Patience::ForEver, ..self.terms()? };
        Ok(Leader::stand(self.engine, terms))
    }

    fn terms(&self) -> Result<Terms> {
        let key = self.key.clone()?;
        let ttl = lock_ttl(self.ttl)?;
        let max_hold = self.max_hold.unwrap_or(TTL_MAX);
        bounded("a max_hold", max_hold, TTL_MIN..=YEAR, "10 ms to a year")?;
        let wait = self.wait.unwrap_or_default();
        bounded("a wait", wait, Duration::ZERO..=YEAR, "at most a year")?;
        if let Kind::Permit { of } = self.kind
            && !(1..=PERMITS_MAX).contains(&of)
        {
            return Err(Error::rejected(format!(
                "a semaphore of {of} permits is out of bounds: expected 1 to {PERMITS_MAX}"
            )));
        }
        if let Some(Replicas { count, within }) = self.replicas {
            bounded("wait_replicas", within, REPLICAS_WITHIN, "1 ms to 60 s")?;
            if count == 0 {
                return Err(Error::rejected("wait_replicas of none: expected 1 or more"));
            }
        }
        Ok(Terms {
            key,
            kind: self.kind,
            ttl: Ttl::new(ttl.duration().min(max_hold))?,
            patience: self.wait.map_or(Patience::OneTry, Patience::For),
            max_hold: self.max_hold,
            replicas: self.replicas,
        })
    }
}

/// A TTL that a lock may have.
///
/// # Errors
/// `Rejected` for one out of bounds.
pub(super) fn lock_ttl(ttl: Duration) -> Result<Ttl> {
    bounded("a lock's TTL", ttl, TTL_MIN..=TTL_MAX, "10 ms to a day")?;
    Ttl::new(ttl)
}

fn bounded(
    what: &str,
    time: Duration,
    bounds: RangeInclusive<Duration>,
    expected: &str,
) -> Result<()> {
    match bounds.contains(&time) {
        true => Ok(()),
        false => Err(Error::rejected(format!(
            "{what} of {time:?} is out of bounds: expected {expected}"
        ))),
    }
}
