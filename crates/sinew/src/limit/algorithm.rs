//! What limits admit: pure, in whole numbers, with the time as a parameter.
//!
//! `scripts/check.lua` and `scripts/settle.lua` are its twins (`twins.rs` compares them). They count in
//! doubles, so no number may pass 2^53: a limit whose numbers would is rejected when it is defined.
//!
//! Whatever is kept carries the time that it holds for, and time alone brings it up to date: looking at
//! it early, late or in between makes no difference.

mod gcra;
mod log;
mod tally;
mod window;

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) mod vectors;

pub(crate) use gcra::Gcra;
pub(crate) use log::SlidingLog;
pub(crate) use tally::{Opened, Tally};
pub(crate) use window::{FixedWindow, SlidingWindow};

/// Doubles are exact up to here.
pub(crate) const EXACT_MAX: u64 = 1 << 53;
/// The largest limit, burst or debt.
const COUNT_MAX: u64 = 1 << 50;
const DAY_US: u64 = 24 * 3_600 * 1_000_000;
const PERIOD_MAX_US: u64 = 366 * DAY_US;
/// What is charged is forgotten after so long at most, as all that Redis keeps.
const KEPT_MAX_US: u64 = 10 * 365 * DAY_US;

/// How a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// As [`Limit::gcra`](super::Limit::gcra).
    Gcra,
    /// As [`Limit::fixed_window`](super::Limit::fixed_window).
    FixedWindow,
    /// As [`Limit::sliding_window`](super::Limit::sliding_window).
    SlidingWindow,
    /// As [`Limit::sliding_log`](super::Limit::sliding_log).
    SlidingLog,
}

impl Algorithm {
    /// All that there are.
    pub const ALL: [Self; 4] =
        [Self::Gcra, Self::FixedWindow, Self::SlidingWindow, Self::SlidingLog];

    /// The word for it in configurations and in the store.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gcra => "gcra",
            Self::FixedWindow => "fixed-window",
            Self::SlidingWindow => "sliding-window",
            Self::SlidingLog => "sliding-log",
        }
    }
}

/// A limit in the numbers that its algorithm counts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Gcra(Gcra),
    FixedWindow(FixedWindow),
    SlidingWindow(SlidingWindow),
    SlidingLog(SlidingLog),
}

/// What a limit says to a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outlook {
    /// The largest cost that it admits now.
    pub(crate) remaining: u64,
    /// Until all is forgotten that was charged.
    pub(crate) reset_us: u64,
    /// Until it admits the cost, if nothing else is charged: 0 where it does, `None` where it never will.
    pub(crate) retry_us: Option<u64>,
}

impl Outlook {
    pub(crate) fn admits(&self) -> bool {
        self.retry_us == Some(0)
    }
}

/// A charge, to be settled later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) charged: u64,
    pub(crate) at_us: u64,
    /// Of GCRA: how full the level was before the charge, and which one it was; see `gcra.rs`.
    pub(crate) mark: u64,
}

impl Rule {
    /// # Errors
    /// What was expected.
    pub(crate) fn new(
        algorithm: Algorithm,
        limit: u64,
        period_us: u64,
        burst: u64,
        debt_max: u64,
    ) -> Result<Self, String> {
        for (what, count) in [("quota", limit), ("burst", burst)] {
            if count == 0 || count > COUNT_MAX {
                return Err(format!("a {what} of {count} is out of bounds: expected 1 to 2^50"));
            }
        }
        if debt_max > COUNT_MAX {
            return Err(format!("a debt of {debt_max} is out of bounds: expected at most 2^50"));
        }
        if period_us == 0 || period_us > PERIOD_MAX_US {
            return Err("the period is out of bounds: expected 1 µs to 366 days".to_owned());
        }
        match algorithm {
            Algorithm::Gcra => Gcra::new(limit, period_us, burst, debt_max).map(Self::Gcra),
            Algorithm::FixedWindow => {
                Ok(Self::FixedWindow(FixedWindow { capacity: limit, period_us, debt_max }))
            }
            Algorithm::SlidingWindow => {
                SlidingWindow::new(limit, period_us, debt_max).map(Self::SlidingWindow)
            }
            Algorithm::SlidingLog => {
                SlidingLog::new(limit, period_us, debt_max).map(Self::SlidingLog)
            }
        }
    }

    /// The largest cost that it ever admits.
    pub(crate) fn capacity(&self) -> u64 {
        match self {
            Self::Gcra(rule) => rule.capacity,
            Self::FixedWindow(rule) => rule.capacity,
            Self::SlidingWindow(rule) => rule.capacity,
            Self::SlidingLog(rule) => rule.capacity,
        }
    }

    /// How long a limit that is used up takes until all of it is there again.
    pub(crate) fn period_us(&self) -> u64 {
        match self {
            Self::Gcra(rule) => rule.capacity.saturating_mul(rule.unit).div_ceil(rule.drain),
            Self::FixedWindow(rule) => rule.period_us,
            Self::SlidingWindow(rule) => rule.period_us,
            Self::SlidingLog(rule) => rule.period_us,
        }
    }

    /// One of so many equal shares. Never nothing: all shares of a limit that is smaller than their
    /// number come to more than it.
    pub(crate) fn share(self, of: u64) -> Self {
        let of = of.max(1);
        let (capacity, debt_max) = ((self.capacity() / of).max(1), self.debt_max() / of);
        match self {
            Self::Gcra(rule) => {
                let unit = rule.unit.saturating_mul(of);
                Self::Gcra(Gcra { capacity, debt_max, unit, ..rule })
            }
            Self::FixedWindow(rule) => {
                Self::FixedWindow(FixedWindow { capacity, debt_max, ..rule })
            }
            Self::SlidingWindow(rule) => {
                Self::SlidingWindow(SlidingWindow { capacity, debt_max, ..rule })
            }
            Self::SlidingLog(rule) => Self::SlidingLog(SlidingLog { capacity, debt_max, ..rule }),
        }
    }

    /// How far beyond that a subject may owe.
    pub(crate) fn debt_max(&self) -> u64 {
        match self {
            Self::Gcra(rule) => rule.debt_max,
            Self::FixedWindow(rule) => rule.debt_max,
            Self::SlidingWindow(rule) => rule.debt_max,
            Self::SlidingLog(rule) => rule.debt_max,
        }
    }
}

/// A limit, as a request meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    pub(crate) rule: Rule,
    pub(crate) cost: u64,
    /// What is charged where there is room for it: the cost, or more to have in stock.
    pub(crate) want: u64,
    /// It is asked and charged, and stops no one.
    pub(crate) is_shadow: bool,
}

/// Whether a decision has consequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Charge,
    Look,
}

/// What a limit said to a demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) admits: bool,
    /// After the charge, where there was one; as the rest.
    pub(crate) remaining: u64,
    pub(crate) reset_us: u64,
    pub(crate) retry_us: Option<u64>,
    /// What was charged: nothing, or the cost, or up to what was wanted.
    pub(crate) granted: u64,
    pub(crate) mark: u64,
}

/// What all limits said to a request.
pub(crate) struct Verdict {
    pub(crate) admitted: bool,
    pub(crate) rows: Vec<Row>,
    /// What is to be kept of each limit from now on; `None` where nothing has changed but the time.
    pub(crate) kept: Vec<Option<Tally>>,
}

/// Decides on a request by all of its limits together: all of them are charged, or none.
pub(crate) fn decide<'a>(
    demands: impl IntoIterator<Item = (Demand, Option<&'a Tally>)>,
    mode: Mode,
    now_us: u64,
) -> Verdict {
    let opened: Vec<(Demand, Opened)> = demands
        .into_iter()
        .map(|(demand, found)| (demand, demand.rule.open(found, now_us)))
        .collect();
    let outlook = |(demand, opened): &(Demand, Opened)| opened.tally.outlook(now_us, demand.cost);
    let admitted = opened.iter().all(|one| one.0.is_shadow || outlook(one).admits());
    let mut verdict = Verdict { admitted, rows: Vec::new(), kept: Vec::new() };
    for one in opened {
        let Outlook { remaining, reset_us, retry_us } = outlook(&one);
        let (demand, Opened { mut tally, is_ahead, .. }) = one;
        let admits = retry_us == Some(0);
        let mark = tally.mark();
        let mut row = Row { admits, remaining, reset_us, retry_us, granted: 0, mark };
        if admitted && admits && mode == Mode::Charge {
            row.granted = demand.want.min(remaining).max(demand.cost);
            tally.charge(now_us, row.granted);
            let after = tally.outlook(now_us, demand.cost);
            (row.remaining, row.reset_us) = (after.remaining, after.reset_us);
        }
        let is_kept = row.granted > 0 || (is_ahead && mode == Mode::Charge);
        verdict.rows.push(row);
        verdict.kept.push(is_kept.then_some(tally));
    }
    verdict
}
