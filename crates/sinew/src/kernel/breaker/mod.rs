//! A circuit breaker: callers of what is down are told at once, not after a deadline each.

mod core;
mod layer;
mod policy;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

pub use self::core::BreakerState;
pub use layer::{BreakerLayer, BreakerService};

use self::core::{Core, Ticket};
use super::clock::Clock;
use super::error::Result;
use super::telemetry;
use policy::Policy;

/// A circuit breaker. Sinew keeps one for every Redis node; wrap your own database with another.
///
/// It opens after three failures in a row, or when half of at least 20 calls failed within ten
/// seconds. Open, it refuses calls for one second, twice as long after each probe that failed,
/// and a minute at most. Then it lets one call through at a time; the first that succeeds closes
/// it. [`Breaker::builder`] has other numbers.
///
/// Handles are cheap to clone and share one state. Its log lines and its metric
/// `sinew_circuit_breaker_state` carry its name.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use sinew::{Breaker, BreakerError};
///
/// let breaker = Breaker::new("invoices database");
/// let query = || async { Ok::<_, std::io::Error>(7) };
/// match breaker.call(query).await {
///     Ok(found) => assert_eq!(found, 7),
///     Err(BreakerError::Open { retry_after }) => println!("not asked; again in {retry_after:?}"),
///     Err(BreakerError::Inner(error)) => println!("asked, and failed: {error}"),
/// }
/// # });
/// ```
#[derive(Clone)]
pub struct Breaker(Arc<Inner>);

struct Inner {
    name: String,
    clock: Clock,
    // Held for a few instructions: a connection's own queue costs its callers more.
    core: Mutex<Core>,
    state: watch::Sender<BreakerState>,
}

/// Why a call through a [`Breaker`] gave no value.
#[derive(Debug, PartialEq, Eq)]
pub enum BreakerError<E> {
    /// The call was not made.
    Open {
        /// How long calls are refused at least. It closes sooner if what it guards is seen to be well.
        retry_after: Duration,
    },
    /// The call was made and failed, with its own error.
    Inner(E),
}

impl<E: fmt::Display> fmt::Display for BreakerError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { .. } => f.write_str("the circuit breaker is open"),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for BreakerError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open { .. } => None,
            Self::Inner(error) => error.source(),
        }
    }
}

impl Breaker {
    /// A closed breaker with the usual numbers.
    pub fn new(name: impl Into<String>) -> Self {
        Self::of(name.into(), Clock::system(), Policy::default())
    }

    /// A breaker with other numbers.
    pub fn builder(name: impl Into<String>) -> BreakerBuilder {
        BreakerBuilder { name: name.into(), clock: Clock::system(), policy: Policy::default() }
    }

    fn of(name: String, clock: Clock, policy: Policy) -> Self {
        let core = Mutex::new(Core::new(policy));
        let state = watch::Sender::new(BreakerState::Closed);
        let breaker = Self(Arc::new(Inner { name, clock, core, state }));
        breaker.gauge(BreakerState::Closed);
        breaker
    }

    /// Makes a call if the breaker lets it through. Every error counts as a failure; where some
    /// do not (a row that is not there), take a [`Breaker::permit`] and decide.
    ///
    /// Dropping the future counts as nothing, and lets the next call probe.
    ///
    /// # Errors
    /// `Open` without making the call, or the call's own error.
    pub async fn call<T, E, F>(&self, call: impl FnOnce() -> F) -> Result<T, BreakerError<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let permit = self.permit().map_err(|retry_after| BreakerError::Open { retry_after })?;
        match call().await {
            Ok(value) => {
                permit.succeeded();
                Ok(value)
            }
            Err(error) => {
                permit.failed();
                Err(BreakerError::Inner(error))
            }
        }
    }

    /// The right to make one call, or how long calls are refused at least.
    ///
    /// A call must come to an end: half-open, everyone else waits for the outcome of the one that
    /// was let through. Give it a deadline of its own.
    ///
    /// # Errors
    /// The time to wait when it is open or half-open with a probe under way; the longest that it
    /// stays open when it is isolated.
    pub fn permit(&self) -> Result<Permit, Duration> {
        let now = self.0.clock.now();
        let ticket = self.change(|core| core.permit(now))?;
        Ok(Permit { breaker: self.clone(), ticket: Some(ticket) })
    }

    /// What it is about.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Where it stands right now. An open one turns half-open with the first call after its time.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        *self.0.state.borrow()
    }

    /// Every change of state from now on.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<BreakerState> {
        self.0.state.subscribe()
    }

    /// Refuses every call until [`Breaker::reset`]: for maintenance of what it guards.
    pub fn isolate(&self) {
        self.change(Core::isolate);
    }

    /// Closes it and forgets what failed.
    pub fn reset(&self) {
        self.change(Core::close);
    }

    /// Closes it early, unless it is isolated: what it guards was seen to be well.
    pub fn recovered(&self) {
        // Called every second for a node that is well.
        if self.state() != BreakerState::Closed {
            self.change(Core::recovered);
        }
    }

    /// Counts a failure that no permit stands for, like a connection lost with many calls on it.
    pub fn incident(&self) {
        let now = self.0.clock.now();
        self.change(|core| core.incident(now, fastrand::f64()));
    }

    /// What it guarded is there no more: its metric is not to alarm anyone.
    pub(crate) fn retire(&self) {
        self.gauge(BreakerState::Closed);
    }

    fn change<T>(&self, change: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.0.core.lock();
        let before = core.state();
        let result = change(&mut core);
        let after = core.state();
        if before != after {
            // Under the lock, so that the last to be told is the last to come.
            self.0.state.send_replace(after);
            self.gauge(after);
            let (name, from, to) = (&self.0.name, before.name(), after.name());
            match after {
                BreakerState::Closed => tracing::info!(breaker = name, from, to, "breaker"),
                _ => tracing::warn!(breaker = name, from, to, "breaker"),
            }
        }
        result
    }

    fn gauge(&self, state: BreakerState) {
        let value = match state {
            BreakerState::Closed => 0.0,
            BreakerState::HalfOpen => 1.0,
            BreakerState::Open => 2.0,
            BreakerState::Isolated => 3.0,
        };
        metrics::gauge!(telemetry::BREAKER_STATE, "breaker" => self.0.name.clone()).set(value);
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("name", &self.0.name)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// The right to make one call. Dropped without an outcome, it counts as nothing.
#[must_use = "say what became of the call: succeeded() or failed()"]
#[derive(Debug)]
pub struct Permit {
    breaker: Breaker,
    ticket: Option<Ticket>,
}

impl Permit {
    /// The call succeeded, or failed in a way that says nothing against what was called.
    pub fn succeeded(mut self) {
        if let Some(ticket) = self.ticket.take() {
            let now = self.breaker.0.clock.now();
            self.breaker.change(|core| core.succeeded(ticket, now));
        }
    }

    /// The call failed.
    pub fn failed(mut self) {
        if let Some(ticket) = self.ticket.take() {
            let now = self.breaker.0.clock.now();
            self.breaker.change(|core| core.failed(ticket, now, fastrand::f64()));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take().filter(|ticket| ticket.is_probe) {
            self.breaker.change(|core| core.dropped(ticket));
        }
    }
}

/// A [`Breaker`] being put together.
#[derive(Clone, Debug)]
#[must_use = "a breaker is made by build()"]
pub struct BreakerBuilder {
    name: String,
    clock: Clock,
    policy: Policy,
}

impl BreakerBuilder {
    /// Opens after so many failures in a row. 3 unless said.
    pub fn failures_in_a_row(mut self, failures: u32) -> Self {
        self.policy.in_a_row = failures;
        self
    }

    /// Opens when so many percent of at least so many calls failed within the window. 50 % of at
    /// least 20 in 10 s unless said.
    pub fn failure_percent(mut self, percent: u8, at_least: u32, window: Duration) -> Self {
        (self.policy.percent, self.policy.at_least, self.policy.window) =
            (percent, at_least, window);
        self
    }

    /// Stays open so long at first, twice as long after each probe that failed, and never longer
    /// than `longest`; up to a quarter less, so that a fleet does not probe in step. 1 s and 60 s
    /// unless said.
    pub fn open_for(mut self, first: Duration, longest: Duration) -> Self {
        (self.policy.open_for, self.policy.open_for_max) = (first, longest);
        self
    }

    /// Where the time comes from.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// A closed breaker.
    ///
    /// # Errors
    /// `Rejected` for numbers that make no breaker, saying which.
    pub fn build(self) -> Result<Breaker> {
        self.policy.check()?;
        Ok(Breaker::of(self.name, self.clock, self.policy))
    }
}
