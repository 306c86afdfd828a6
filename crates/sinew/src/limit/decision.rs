//! What is answered.

use std::time::Duration;

use super::algorithm::Row;
use super::definition::Limit;
use super::down::Down;

/// The answer to a request for leave.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a request that was denied should not go on"]
pub enum Decision {
    /// All limits admit it, and it was charged to all of them.
    Allowed(Report),
    /// Some limit does not admit it, and it was charged to none.
    Denied(Report),
}

impl Decision {
    /// Whether the request may go on.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }

    /// Whether some limit was decided on without Redis, as [`Down`](super::Down) says.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.report().is_degraded
    }

    /// How each limit stands, in the order of the checks. Where it was denied, only those that were
    /// asked before it was clear: the one that denied it is always among them.
    #[must_use]
    pub fn limits(&self) -> &[Standing] {
        self.report().standings.as_slice()
    }

    /// Until a denied request can pass, if nothing else is charged. `None` where it was allowed, and
    /// where some cost is more than its limit ever admits.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Allowed(_) => None,
            Self::Denied(report) => {
                let standings = report.standings.as_slice().iter();
                let mut denied = standings.filter(|standing| standing.denies());
                denied.try_fold(Duration::ZERO, |longest, standing| {
                    standing.retry_after.map(|after| after.max(longest))
                })
            }
        }
    }

    fn report(&self) -> &Report {
        match self {
            Self::Allowed(report) | Self::Denied(report) => report,
        }
    }
}

/// What a [`Decision`] was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub(super) standings: Standings,
    pub(super) is_degraded: bool,
}

impl Report {
    #[inline]
    pub(super) fn of_one(standing: Standing) -> Self {
        Self { standings: Standings::One([standing]), is_degraded: false }
    }
}

/// One is by far the most frequent, and then nothing is allocated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standings {
    One([Standing; 1]),
    Some(Vec<Standing>),
}

impl Standings {
    fn as_slice(&self) -> &[Standing] {
        match self {
            Self::One(one) => one,
            Self::Some(some) => some,
        }
    }
}

/// How a limit stands for a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// The place of its check in the call, from 0.
    pub check: usize,
    /// Whether it admits the cost.
    pub admits: bool,
    /// Whether it was decided on without Redis, as [`Down`](super::Down) says.
    pub is_degraded: bool,
    /// Whether it is a [`Limit::shadow`], which stops no one.
    pub is_shadow: bool,
    /// The quota.
    pub limit: u64,
    /// The largest cost that it would admit from here on.
    pub remaining: u64,
    /// Until all of it is there again, if nothing else is charged.
    pub reset_after: Duration,
    /// Until it admits the cost, if nothing else is charged: zero where it does. `None` where it never
    /// will, because the cost is more than the limit ever admits at once.
    pub retry_after: Option<Duration>,
}

impl Standing {
    /// Whether the request is denied because of it.
    #[must_use]
    pub fn denies(&self) -> bool {
        !self.admits && !self.is_shadow
    }

    /// Whether it denies because its limit is [`Down::Closed`] and Redis is away: no quota is used up then.
    #[must_use]
    pub fn is_shut(&self, limit: &Limit) -> bool {
        self.denies() && self.is_degraded && limit.down() == Down::Closed
    }

    pub(super) fn of_row(check: usize, limit: &Limit, row: &Row) -> Self {
        Self {
            check,
            admits: row.admits,
            is_degraded: false,
            is_shadow: limit.is_shadow(),
            limit: limit.quota().limit(),
            remaining: row.remaining,
            reset_after: Duration::from_micros(row.reset_us),
            retry_after: row.retry_us.map(Duration::from_micros),
        }
    }
}
