//! A log of all charges of the last period: the only one that is exact for any period's time.

use std::collections::VecDeque;

use super::{Outlook, Receipt};

/// The most that may be charged and owed. Each charge is an entry, and all of them may have to be looked
/// at for one decision.
const CHARGES_MAX: u64 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlidingLog {
    pub(crate) capacity: u64,
    pub(crate) period_us: u64,
    pub(crate) debt_max: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    /// The oldest first.
    charges: VecDeque<Charge>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Charge {
    at_us: u64,
    cost: u64,
}

impl Log {
    fn used(&self) -> u64 {
        self.charges.iter().map(|charge| charge.cost).sum()
    }

    pub(super) fn weight(&self) -> usize {
        self.charges.len() * size_of::<Charge>()
    }
}

impl SlidingLog {
    pub(super) fn new(capacity: u64, period_us: u64, debt_max: u64) -> Result<Self, String> {
        if capacity + debt_max > CHARGES_MAX {
            return Err(format!(
                "a log of {} charges is too long: expected a quota and a debt of at most {CHARGES_MAX} together",
                capacity + debt_max
            ));
        }
        Ok(Self { capacity, period_us, debt_max })
    }

    /// A lowered limit forgets nothing: what was charged was charged, and is over after a period.
    pub(super) fn roll(&self, found: &Log, now_us: u64) -> (Log, bool) {
        let newest_us = found.charges.back().map_or(0, |charge| charge.at_us);
        // All go back as far as the clock did, so that the newest is now.
        let ahead_us = newest_us.saturating_sub(now_us);
        let moved =
            |charge: &Charge| Charge { at_us: charge.at_us.saturating_sub(ahead_us), ..*charge };
        let counts = |charge: &Charge| charge.at_us + self.period_us > now_us;
        let charges = found.charges.iter().map(moved).filter(counts).collect();
        (Log { charges }, ahead_us > 0)
    }

    pub(super) fn outlook(&self, kept: &Log, now_us: u64, cost: u64) -> Outlook {
        let used = kept.used();
        let over_in = |charge: &Charge| charge.at_us + self.period_us - now_us;
        let retry_us = if cost > self.capacity {
            None
        } else {
            let mut over = (used + cost).saturating_sub(self.capacity);
            let mut retry_us = 0;
            for charge in &kept.charges {
                if over == 0 {
                    break;
                }
                (over, retry_us) = (over.saturating_sub(charge.cost), over_in(charge));
            }
            Some(retry_us)
        };
        Outlook {
            remaining: self.capacity.saturating_sub(used),
            reset_us: kept.charges.back().map_or(0, over_in),
            retry_us,
        }
    }

    pub(super) fn charge(&self, kept: &mut Log, now_us: u64, amount: u64) {
        kept.charges.push_back(Charge { at_us: now_us, cost: amount });
    }

    pub(super) fn settle(&self, kept: &mut Log, now_us: u64, receipt: &Receipt, actual: u64) {
        let mut back = receipt.charged.saturating_sub(actual);
        for charge in kept.charges.iter_mut().filter(|charge| charge.at_us == receipt.at_us) {
            let given = charge.cost.min(back);
            charge.cost -= given;
            back -= given;
        }
        kept.charges.retain(|charge| charge.cost > 0);
        let room = (self.capacity + self.debt_max).saturating_sub(kept.used());
        let extra = actual.saturating_sub(receipt.charged).min(room);
        if extra > 0 {
            self.charge(kept, now_us, extra);
        }
    }
}
