//! Rate limits with promises.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use sinew::Sinew;
//! use sinew::limit::{DAY, Down, HOUR, Limit, Per};
//!
//! let per_user = Limit::gcra("per-user", 100.per(HOUR)).burst(2).on_down(Down::Local);
//! let daily = Limit::fixed_window("daily", 1_000.per(DAY));
//!
//! let sinew = Sinew::embedded();
//! let limiter = sinew.tenant("acme")?.limiter();
//! for _ in 0..2 {
//!     let decision = limiter.check([per_user.of("ada"), daily.of("203.0.113.7")]).await?;
//!     assert!(decision.is_allowed());
//! }
//! let denied = limiter.check([per_user.of("ada"), daily.of("203.0.113.7")]).await?;
//! assert!(denied.retry_after().is_some_and(|after| after <= HOUR / 100));
//! // A request that is denied is charged to none of its limits.
//! let standing = limiter.peek([daily.of("203.0.113.7")]).await?.limits()[0];
//! assert_eq!(standing.remaining, 998);
//! # Ok(()) }
//! ```
//!
//! # What it promises
//!
//! 1. **Exact.** Over the whole fleet a limit admits what the definition of its algorithm says, never
//!    more, whatever the concurrency, the number of processes or their clocks: the time is Redis's. A
//!    failover that loses acknowledged writes forgets the charges in them; nothing else does.
//! 2. **All or nothing.** A check of several limits admits only if all of them do, and one that is
//!    denied is charged to none. Where the subjects lie in different slots of a cluster, they are
//!    charged one after the other, within one deadline, and given back after a denial, once: it may deny
//!    too much for a moment, and never admits too much.
//! 3. **Cheap.** A check is one command, however many limits it names, or one for each slot of a
//!    cluster. Who was denied is denied again in this process, without asking, until they could pass
//!    and for a second at most: another cost is asked for, and so is everything after a reset or a
//!    change of the limit.
//! 4. **Degrades as said.** While Redis does not answer, each limit answers as its [`Down`] says, and
//!    the answer says so: [`Decision::is_degraded`].
//! 5. **Tenants never meet.** A subject of one tenant is another one than the same of another.
//!
//! # What each algorithm admits
//!
//! | | keeps, of each subject | admits within a period's time, at worst |
//! | --- | --- | --- |
//! | [`Limit::gcra`] | two numbers | its burst and its quota |
//! | [`Limit::fixed_window`] | a number | twice its quota |
//! | [`Limit::sliding_window`] | two numbers | twice its quota, where it comes in bursts |
//! | [`Limit::sliding_log`] | every charge, 1,000 at most | its quota |
//! | [`Limit::concurrency`] | who holds a place | so many at the same time |
//!
//! Each of them counts in whole numbers that are exact from 1 to 10 million a period, and from a
//! microsecond to a year; a limit whose numbers would not be is rejected.
//!
//! A clock of Redis that is set back forgets nothing, and is caught up with at once. One that is set
//! forward passes that much time.
//!
//! Definitions of one limit that are used side by side admit no more than the larger of them: see
//! [`Limit`].
//!
//! # Limits that are defined at run time
//!
//! A [`Limit`] is a value in a program. Where people are to change it while programs run, they define it
//! in the store, by [`LimitDefinitions`], and programs ask for it by its name.
//!
//! # Where it is kept
//!
//! Under `{prefix}{tenant}:rate-limit:{limit}:{subject}`, for as long as it counts; who holds a place
//! under a concurrency limit, under `rate-limit-places` likewise. What is not Sinew's there, or was left by
//! another algorithm, is as good as nothing.
//!
//! On the embedded store, in 64 MiB: some 80,000 subjects. When it is full, those are forgotten first that
//! were not asked for the longest time, and have all of their limit again; `sinew_limit_evicted_total`
//! counts them. Where strangers choose the subject, have a limit of all together beside it.

// Without Redis, a rule need not travel.
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
mod algorithm;
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
mod backend;
mod concurrency;
mod decision;
mod definition;
mod definitions;
mod deny;
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
mod down;
mod engine;
#[cfg(feature = "axum")]
pub mod http;
mod memory;
mod quota;
#[cfg(feature = "redis")]
mod redis;
mod reserve;
mod stats;
mod stock;
#[cfg(all(test, feature = "redis"))]
mod twins;
mod whose;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::kernel::error::Result;
use crate::kernel::key::Scope;

pub use crate::kernel::expected::Expected;
pub use algorithm::Algorithm;
pub(crate) use backend::Store;
pub use concurrency::{Acquired, Concurrency, Entry, Held};
pub use decision::{Decision, Report, Standing};
pub use definition::{Check, Limit};
pub use definitions::{Change, Defined, DefinedLimit, LimitDefinitions};
pub use down::Down;
pub(crate) use engine::Engine;
pub(crate) use memory::MemoryBackend;
pub use quota::{DAY, HOUR, MINUTE, Per, Quota, SECOND};
#[cfg(feature = "redis")]
pub(crate) use redis::RedisBackend;
pub use reserve::{Reservation, Reserve};
pub use stats::{BusySubject, LimitStats};

/// The limits of one tenant. Cheap to clone.
#[derive(Clone)]
pub struct Limiter {
    engine: Arc<Engine>,
    scope: Scope,
}

impl Limiter {
    pub(crate) fn new(engine: Arc<Engine>, scope: Scope) -> Self {
        Self { engine, scope }
    }

    /// Asks all of these limits for leave, 16 at most, and charges all of them if all admit it.
    ///
    /// # Errors
    /// `Rejected` for a limit that cannot be, a subject whose key is too long, a cost of 0, or a limit
    /// of one subject that is named twice. `Denied` where Redis refuses the user.
    ///
    /// # Cancellation
    /// Dropping the future does not take back what was sent: it may be charged.
    ///
    /// # When Redis is down
    /// Each limit answers as [`Limit::on_down`] says.
    pub async fn check<'a>(&self, checks: impl AsRef<[Check<'a>]>) -> Result<Decision> {
        let checks = checks.as_ref();
        match self.engine.answer_here(&self.scope, checks) {
            Some(decision) => Ok(decision),
            None => self.engine.check(&self.scope, checks).await,
        }
    }

    /// What [`Limiter::check`] would answer now. Nothing is charged, or counted.
    ///
    /// # Errors
    /// As [`Limiter::check`]; and `Unavailable` or `Timeout` when Redis is down.
    pub async fn peek<'a>(&self, checks: impl AsRef<[Check<'a>]>) -> Result<Decision> {
        self.engine.peek(&self.scope, checks.as_ref()).await
    }

    /// Forgets all that was charged to a subject under a limit, and says whether anything was. Other
    /// processes may deny it for up to a second more, and hand out what they have leased.
    ///
    /// What was reserved before and is settled after may give back what was charged since, in windows.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down: it may or may not be forgotten, and is never sent
    /// twice.
    ///
    /// # Cancellation
    /// It is reset even if the future is dropped once it was polled.
    pub async fn reset(&self, check: Check<'_>) -> Result<bool> {
        self.engine.reset(&self.scope, &check).await
    }

    /// Charges what something will cost at most, until it is known what it did:
    ///
    /// ```
    /// # use sinew::limit::{Limit, MINUTE, Per, Reserve};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let limiter = sinew::Sinew::embedded().limiter();
    /// let tokens = Limit::gcra("tokens", 100_000.per(MINUTE)).debt_max(20_000);
    /// if let Reserve::Granted(reservation) = limiter.reserve(tokens.of("ada").cost(4_000)).await? {
    ///     let used = 1_250; // as the model says when it has answered
    ///     reservation.settle(used).await?;
    /// }
    /// # assert!(limiter.peek([tokens.of("ada").cost(98_000)]).await?.is_allowed());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Limiter::check`].
    ///
    /// # When Redis is down
    /// The limit answers as [`Limit::on_down`] says; what was reserved so is settled so.
    pub async fn reserve(&self, check: Check<'_>) -> Result<Reserve> {
        let ask = self.engine.ask_of(&self.scope, &check)?;
        let (mut asks, decided) = self.engine.decide(vec![ask]).await?;
        let decision = self.engine.told(&asks, &decided);
        let answer = decided.answers.first().copied().flatten();
        Ok(match (asks.pop(), answer) {
            (Some(ask), Some(answer)) if decision.is_allowed() => {
                let engine = Arc::clone(&self.engine);
                Reserve::Granted(Reservation::new(engine, ask, answer, decision))
            }
            _ => Reserve::Denied(decision),
        })
    }

    /// Takes a place under a concurrency limit, if one is free.
    ///
    /// ```
    /// # use sinew::limit::{Acquired, Limit};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let limiter = sinew::Sinew::embedded().limiter();
    /// let exports = Limit::concurrency("exports", 1);
    /// let first = limiter.acquire(exports.of("ada")).await?;
    /// assert!(matches!(first, Acquired::Held(_)));
    /// assert!(matches!(limiter.acquire(exports.of("ada")).await?, Acquired::Full { .. }));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Rejected` for a limit that cannot be, or a subject whose key is too long. `Denied` where Redis
    /// refuses the user.
    ///
    /// # Cancellation
    /// If the future is dropped, a place that it has taken is given back.
    ///
    /// # When Redis is down
    /// The limit answers as [`Concurrency::on_down`] says.
    pub async fn acquire(&self, entry: Entry<'_>) -> Result<Acquired> {
        concurrency::acquire(&self.engine, &self.scope, entry).await
    }

    /// How many processes share the limits that are [`Down::Local`], as Redis last said: 1 on the
    /// embedded store, and until a limit was asked for the first time.
    #[must_use]
    pub fn processes(&self) -> u64 {
        self.engine.fallback.processes()
    }

    /// What each limit decided in this process, by name, over all tenants.
    #[must_use]
    pub fn stats(&self) -> BTreeMap<String, LimitStats> {
        self.engine.stats()
    }

    /// The subjects of a limit and this tenant that this process decides on most, what it answers
    /// without asking Redis included, by a sample: of the first decisions each, later one in about a
    /// thousand, which counts for as many. Places of a [`Concurrency`] are not among them.
    #[must_use]
    pub fn busiest(&self, limit: &str, count: usize) -> Vec<BusySubject> {
        self.engine.busiest(&self.scope, limit, count)
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("scope", &self.scope).finish_non_exhaustive()
    }
}
