//! What a limit is, and what is asked of it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::algorithm::{Algorithm, Rule};
use super::down::Down;
use super::quota::Quota;
use super::stats::Recorder;
use crate::kernel::error::{Error, Result};
use crate::kernel::key::{CacheKey, Path};
use crate::kernel::name::LimitName;

/// So many may be in stock in a process; see [`Limit::lease`].
const LEASE_MAX: u64 = 1_000_000;

/// A limit: how much of what, by which algorithm. Cheap to clone.
///
/// It is a definition, and knows no store: make it once, as a `static` or a field. What is charged goes
/// by its name, tenant and subject.
///
/// A limit that is defined anew under its name holds at once, also for what was charged before: one that
/// was lowered is used up at most, and a subject passes again in the time that the new one says.
///
/// Where two definitions are used side by side, as in a rolling deployment, each of them counts all that is
/// charged, so no more passes than by the larger of them. The smaller one may deny for as long as the
/// larger admits more than it; and what is given back of a reservation may count only for whom it was
/// reserved by. By another algorithm, and of a [`Limit::sliding_log`] by another period, a limit begins
/// anew with every turn: give it another name.
///
/// Numbers that cannot be are told by [`Limit::validate`] and by every call.
#[derive(Clone)]
pub struct Limit(Arc<Definition>);

struct Definition {
    spec: Spec,
    checked: Result<Checked>,
    /// Found once, not with every check: that of the client who asked first.
    recorder: OnceLock<(u64, Arc<Recorder>)>,
}

/// As it was said.
#[derive(Clone, PartialEq, Eq)]
struct Spec {
    name: String,
    algorithm: Algorithm,
    quota: Quota,
    burst: Option<u64>,
    debt_max: u64,
    lease: u64,
    down: Down,
    is_shadow: bool,
}

/// As it is counted.
#[derive(Clone)]
struct Checked {
    name: LimitName,
    rule: Rule,
}

impl Limit {
    /// A limit by GCRA: the quota is given back evenly, and up to a burst may be taken at once.
    ///
    /// At worst a burst and a quota pass within a period's time. This is the one to take unless there
    /// is a reason.
    #[must_use]
    pub fn gcra(name: impl Into<String>, quota: Quota) -> Self {
        Self::new(name, Algorithm::Gcra, quota)
    }

    /// A limit that counts anew in each period, beginning at multiples of it.
    ///
    /// At worst twice the quota passes within a period's time: at the end of one and the beginning of
    /// the next.
    #[must_use]
    pub fn fixed_window(name: impl Into<String>, quota: Quota) -> Self {
        Self::new(name, Algorithm::FixedWindow, quota)
    }

    /// A limit that counts the period under way and a share of the one before: as much of that as a
    /// period's time up to now covers.
    ///
    /// It takes what was charged in the period before as spread evenly. Where it was not, up to twice
    /// the quota passes within a period's time.
    #[must_use]
    pub fn sliding_window(name: impl Into<String>, quota: Quota) -> Self {
        Self::new(name, Algorithm::SlidingWindow, quota)
    }

    /// A limit that remembers every charge of the last period: never more than the quota passes within
    /// a period's time, whenever it begins.
    ///
    /// It keeps up to as many entries as the quota and [`Limit::debt_max`] say, of each subject: 1,000 at
    /// most, because all of them may have to be looked at for one check.
    #[must_use]
    pub fn sliding_log(name: impl Into<String>, quota: Quota) -> Self {
        Self::new(name, Algorithm::SlidingLog, quota)
    }

    /// A limit by an algorithm that is said at run time.
    #[must_use]
    pub fn new(name: impl Into<String>, algorithm: Algorithm, quota: Quota) -> Self {
        Self::of_spec(Spec {
            name: name.into(),
            algorithm,
            quota,
            burst: None,
            debt_max: 0,
            lease: 0,
            down: Down::default(),
            is_shadow: false,
        })
    }

    /// How much may be taken at once, by GCRA: the quota unless said.
    #[must_use]
    pub fn burst(self, burst: u64) -> Self {
        self.with(|spec| spec.burst = Some(burst))
    }

    /// What a subject may owe beyond the burst, or the quota, when a reservation turns out to have cost
    /// more: see [`Limiter::reserve`](super::Limiter::reserve). What is beyond that is let off. Nothing
    /// unless said.
    #[must_use]
    pub fn debt_max(self, debt: u64) -> Self {
        self.with(|spec| spec.debt_max = debt)
    }

    /// What is answered while Redis does not answer. [`Down::Local`] unless said.
    #[must_use]
    pub fn on_down(self, down: Down) -> Self {
        self.with(|spec| spec.down = down)
    }

    /// Decides, charges and counts, and stops no one: to try a limit out.
    #[must_use]
    pub fn shadow(self) -> Self {
        self.with(|spec| spec.is_shadow = true)
    }

    /// Has each process take so much at a time, to hand it out by itself: for subjects that are asked
    /// for more often than one Redis can answer. 0, which is not at all, unless said.
    ///
    /// A check of this limit alone is then mostly answered in this process. The price: what a process
    /// has taken it may hand out later, so within a period's time up to (processes × `permits`) more
    /// may pass. What it has taken is lost until the limit has forgotten it if the process ends, if
    /// the reply of Redis is lost or late, and if it has so many subjects in stock, about 4,000, that one
    /// goes for another. A check that is dropped loses nothing but its cost. A check of several limits
    /// asks Redis, as ever.
    #[must_use]
    pub fn lease(self, permits: u64) -> Self {
        self.with(|spec| spec.lease = permits)
    }

    /// The limit of one subject: a user, an address, or a tuple of what makes one.
    pub fn of<K: CacheKey>(&self, subject: K) -> Check<'_> {
        Check { limit: self, subject: Path::of(&subject), cost: 1 }
    }

    /// Whether the limit can be as it is defined.
    ///
    /// # Errors
    /// `Rejected`, and what was expected: a bad name; numbers out of bounds, or so large that they
    /// could not be counted exactly.
    pub fn validate(&self) -> Result<()> {
        self.checked().map(|_| ())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.spec.name
    }

    /// How it counts.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.0.spec.algorithm
    }

    /// How much it admits per period.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.0.spec.quota
    }

    /// The [`Limit::burst`], where one was said.
    #[must_use]
    pub fn burst_max(&self) -> Option<u64> {
        self.0.spec.burst
    }

    /// What a subject may owe: the [`Limit::debt_max`].
    #[must_use]
    pub fn owed_max(&self) -> u64 {
        self.0.spec.debt_max
    }

    /// How much each process takes at a time: the [`Limit::lease`].
    #[inline]
    #[must_use]
    pub fn permits(&self) -> u64 {
        self.0.spec.lease
    }

    /// What is answered while Redis does not answer: the [`Limit::on_down`].
    #[must_use]
    pub fn down(&self) -> Down {
        self.0.spec.down
    }

    /// Whether it stops no one: a [`Limit::shadow`].
    #[must_use]
    pub fn is_shadow(&self) -> bool {
        self.0.spec.is_shadow
    }

    fn with(self, change: impl FnOnce(&mut Spec)) -> Self {
        let mut spec = self.0.spec.clone();
        change(&mut spec);
        Self::of_spec(spec)
    }

    fn of_spec(spec: Spec) -> Self {
        let checked = spec.check();
        Self(Arc::new(Definition { spec, checked, recorder: OnceLock::new() }))
    }

    fn checked(&self) -> Result<&Checked> {
        self.0.checked.as_ref().map_err(Clone::clone)
    }

    pub(super) fn rule(&self) -> Result<Rule> {
        self.checked().map(|checked| checked.rule)
    }

    pub(super) fn key_name(&self) -> Result<&LimitName> {
        self.checked().map(|checked| &checked.name)
    }

    pub(super) fn recorder(&self) -> &OnceLock<(u64, Arc<Recorder>)> {
        &self.0.recorder
    }
}

impl Spec {
    fn check(&self) -> Result<Checked> {
        let name = LimitName::new(&self.name)?;
        let refused = |why: String| Error::rejected(format!("limit {:?}: {why}", self.name));
        let nanos = self.quota.period.as_nanos();
        let period_us = u64::try_from(nanos / 1_000).unwrap_or(u64::MAX);
        if !nanos.is_multiple_of(1_000) {
            return Err(refused(format!(
                "a period of {:?} is out of bounds: expected whole microseconds",
                self.quota.period
            )));
        }
        if self.burst.is_some() && self.algorithm != Algorithm::Gcra {
            return Err(refused("only GCRA has a burst".to_owned()));
        }
        let (limit, burst) = (self.quota.limit, self.burst.unwrap_or(self.quota.limit));
        let rule = Rule::new(self.algorithm, limit, period_us, burst, self.debt_max);
        let rule = rule.map_err(refused)?;
        let lease_max = LEASE_MAX.min(rule.capacity());
        if self.lease > lease_max {
            return Err(refused(format!(
                "a lease of {} is out of bounds: expected at most {lease_max}",
                self.lease
            )));
        }
        Ok(Checked { name, rule })
    }
}

/// Two definitions that say the same.
impl PartialEq for Limit {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.spec == other.0.spec
    }
}

impl Eq for Limit {}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit")
            .field("name", &self.name())
            .field("quota", &self.quota())
            .finish_non_exhaustive()
    }
}

/// A cost that is to be charged to a subject under a limit. Made by [`Limit::of`].
#[derive(Clone, Debug)]
#[must_use = "a check is made by Limiter::check()"]
pub struct Check<'a> {
    pub(super) limit: &'a Limit,
    pub(super) subject: Path,
    pub(super) cost: u64,
}

impl Check<'_> {
    /// How much is charged: 1 unless said.
    pub fn cost(mut self, cost: u64) -> Self {
        self.cost = cost;
        self
    }
}
