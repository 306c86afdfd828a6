//! What is kept of a subject: what the definition of the limit counts that was charged last and, while
//! another one is in use beside it, what that one counts.
//!
//! Each of them counts all that is charged, by whichever. A lowered limit cuts off what was charged
//! above it, where it is asked itself and nowhere else: the one before still knows, and does not admit
//! it again. So by definitions that take turns no more passes than by the larger of them.

use super::gcra::{Gcra, Level};
use super::log::{Log, SlidingLog};
use super::window::{FixedWindow, SlidingWindow, Window, Windows};
use super::{Outlook, Receipt, Rule};

/// What is kept of a subject under a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    own: Count,
    other: Option<Box<Count>>,
}

/// What one definition of a limit counts.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Count {
    Gcra(Gcra, Level),
    FixedWindow(FixedWindow, Window),
    SlidingWindow(SlidingWindow, Windows),
    SlidingLog(SlidingLog, Log),
}

/// A tally brought up to date.
pub(crate) struct Opened {
    pub(crate) tally: Tally,
    /// The clock was set back since. What is kept has to be set back too, whatever is decided:
    /// otherwise nothing would be forgotten until the clock has caught up.
    pub(crate) is_ahead: bool,
    /// This definition of the limit has charged nothing yet that would still be known.
    is_new: bool,
}

macro_rules! on_each {
    ($count:expr, ($rule:ident, $kept:ident) => $step:expr) => {
        match $count {
            Count::Gcra($rule, $kept) => $step,
            Count::FixedWindow($rule, $kept) => $step,
            Count::SlidingWindow($rule, $kept) => $step,
            Count::SlidingLog($rule, $kept) => $step,
        }
    };
}

impl Rule {
    /// What was found, as it is now by this rule. What another algorithm has left is as good as
    /// nothing.
    pub(crate) fn open(self, found: Option<&Tally>, now_us: u64) -> Opened {
        let (mine, other) = match found.map(|tally| (&tally.own, tally.other.as_deref())) {
            Some((own, other)) if self.counts_like(own) => (Some(own), other),
            Some((own, Some(other))) if self.counts_like(other) => (Some(other), Some(own)),
            Some((own, other)) => (None, other.or(Some(own))),
            None => (None, None),
        };
        let (own, is_ahead) = self.roll(mine, other, now_us);
        let other = other.filter(|other| self.leaves_be(other)).map(|other| other.rolled(now_us));
        let other = other.filter(|other| other.reset_us(now_us) > 0).map(Box::new);
        Opened { tally: Tally { own, other }, is_ahead, is_new: mine.is_none() }
    }

    /// Replaces what was charged by what it turned out to be. Only what is beyond what may be owed is
    /// let off; and what is given back never lets more pass than if it had not been charged.
    ///
    /// What is to be kept from now on; `None` where nothing of this definition's is there to be given
    /// back.
    pub(crate) fn settle(
        self,
        found: Option<&Tally>,
        now_us: u64,
        receipt: &Receipt,
        actual: u64,
    ) -> Option<Tally> {
        let Opened { mut tally, is_new, .. } = self.open(found, now_us);
        let extra = actual.saturating_sub(receipt.charged);
        if is_new && extra == 0 {
            return None;
        }
        on_each!(&mut tally.own, (rule, kept) => rule.settle(kept, now_us, receipt, actual));
        if extra > 0 {
            tally.charge_other(now_us, extra.min(self.capacity() + self.debt_max()));
        }
        Some(tally)
    }

    /// Whether what this counts is what that one counts.
    fn counts_like(&self, count: &Count) -> bool {
        match (self, count) {
            (Self::Gcra(rule), Count::Gcra(other, _)) => rule.counts_like(other),
            (Self::FixedWindow(rule), Count::FixedWindow(other, _)) => rule.counts_like(other),
            (Self::SlidingWindow(rule), Count::SlidingWindow(other, _)) => rule.counts_like(other),
            (Self::SlidingLog(_), Count::SlidingLog(..)) => true,
            _ => false,
        }
    }

    /// What this definition has counted; or else what it takes over of what another one has.
    fn roll(self, mine: Option<&Count>, other: Option<&Count>, now_us: u64) -> (Count, bool) {
        macro_rules! rolled {
            ($algorithm:ident, $rule:ident) => {{
                let (kept, is_ahead) = match (mine, other) {
                    (Some(Count::$algorithm(_, kept)), _) => $rule.roll(kept, now_us),
                    (_, Some(Count::$algorithm(of, kept))) => $rule.take_over(of, kept, now_us),
                    _ => ($rule.empty(now_us), false),
                };
                (Count::$algorithm($rule, kept), is_ahead)
            }};
        }
        match self {
            Self::Gcra(rule) => rolled!(Gcra, rule),
            Self::FixedWindow(rule) => rolled!(FixedWindow, rule),
            Self::SlidingWindow(rule) => rolled!(SlidingWindow, rule),
            Self::SlidingLog(rule) => {
                let (kept, is_ahead) = match mine {
                    Some(Count::SlidingLog(_, kept)) => rule.roll(kept, now_us),
                    _ => (Log::default(), false),
                };
                (Count::SlidingLog(rule, kept), is_ahead)
            }
        }
    }

    /// Whether another definition has to go on counting by itself beside this one. Of a level that a
    /// larger one counts, a smaller one can take over all that it needs.
    fn leaves_be(&self, other: &Count) -> bool {
        match (self, other) {
            (Self::Gcra(rule), Count::Gcra(other, _)) => other.most() > rule.most(),
            (Self::FixedWindow(_), Count::FixedWindow(..))
            | (Self::SlidingWindow(_), Count::SlidingWindow(..)) => true,
            _ => false,
        }
    }
}

impl Count {
    fn rolled(&self, now_us: u64) -> Self {
        match self {
            Self::Gcra(rule, kept) => Self::Gcra(*rule, rule.roll(kept, now_us).0),
            Self::FixedWindow(rule, kept) => Self::FixedWindow(*rule, rule.roll(kept, now_us).0),
            Self::SlidingWindow(rule, kept) => {
                Self::SlidingWindow(*rule, rule.roll(kept, now_us).0)
            }
            Self::SlidingLog(rule, kept) => Self::SlidingLog(*rule, rule.roll(kept, now_us).0),
        }
    }

    fn reset_us(&self, now_us: u64) -> u64 {
        on_each!(self, (rule, kept) => rule.outlook(kept, now_us, 1).reset_us)
    }
}

/// Of a tally that was just opened, hence of now.
impl Tally {
    pub(crate) fn outlook(&self, now_us: u64, cost: u64) -> Outlook {
        on_each!(&self.own, (rule, kept) => rule.outlook(kept, now_us, cost))
    }

    /// Charges what it admits.
    pub(crate) fn charge(&mut self, now_us: u64, amount: u64) {
        on_each!(&mut self.own, (rule, kept) => rule.charge(kept, now_us, amount));
        self.charge_other(now_us, amount);
    }

    fn charge_other(&mut self, now_us: u64, amount: u64) {
        if let Some(other) = self.other.as_deref_mut() {
            on_each!(other, (rule, kept) => rule.charge(kept, now_us, amount));
        }
    }

    /// For the receipt of a charge that is about to be made.
    pub(crate) fn mark(&self) -> u64 {
        match &self.own {
            Count::Gcra(rule, level) => rule.mark(level),
            _ => 0,
        }
    }

    /// Until all of it is over.
    pub(crate) fn lasts_us(&self, now_us: u64) -> u64 {
        let other_us = self.other.as_deref().map_or(0, |other| other.reset_us(now_us));
        self.own.reset_us(now_us).max(other_us)
    }

    /// What it weighs in memory, in bytes, about.
    pub(crate) fn weight(&self) -> usize {
        let log = match &self.own {
            Count::SlidingLog(_, log) => log.weight(),
            _ => 0,
        };
        size_of::<Self>() + self.other.as_ref().map_or(0, |_| size_of::<Count>()) + log
    }
}
