//! GCRA as a bucket that drains, whose level is in units of cost × period: nothing is divided.
//!
//! The generic cell rate algorithm is ITU-T I.371's. As a theoretical arrival time it moves by the
//! microseconds per request, which above a million a second is none.

use super::{EXACT_MAX, KEPT_MAX_US, Outlook, Receipt};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gcra {
    /// The burst: so much may be in the bucket, in costs.
    pub(crate) capacity: u64,
    pub(crate) debt_max: u64,
    /// What a cost of one adds to the level: the period in µs, or a part of it.
    pub(crate) unit: u64,
    /// What a microsecond takes off it: the quota, or the same part of it.
    pub(crate) drain: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    level: u64,
    at_us: u64,
    /// The cost of all that was given back since the level began.
    returned: u64,
    /// When it was at 0 last, or the clock was set back: what was charged before has drained, or no one
    /// knows how much of it, and it is not given back.
    began_us: u64,
}

impl Gcra {
    pub(super) fn new(
        limit: u64,
        period_us: u64,
        burst: u64,
        debt_max: u64,
    ) -> Result<Self, String> {
        // A full bucket with a debt, and the largest cost on top.
        let costs = u128::from(2 * burst + debt_max);
        let fits = |unit: u64| costs * u128::from(unit) <= u128::from(EXACT_MAX);
        let (unit, drain) = match fits(period_us) {
            // The same for all limits of a period, so that a change of the quota changes no level.
            true => (period_us, limit),
            false => {
                let part = greatest_common_divisor(limit, period_us);
                (period_us / part, limit / part)
            }
        };
        if !fits(unit) {
            return Err(format!(
                "its numbers pass 2^53, up to which they are exact: expected a smaller burst, or a quota that has more in common with the {period_us} µs of its period"
            ));
        }
        let full = u128::from(burst + debt_max) * u128::from(unit);
        if full / u128::from(drain) > u128::from(KEPT_MAX_US) {
            return Err("expected a burst and a debt that are over after 10 years".to_owned());
        }
        Ok(Self { capacity: burst, debt_max, unit, drain })
    }

    pub(super) fn counts_like(&self, other: &Self) -> bool {
        (self.unit, self.drain, self.most()) == (other.unit, other.drain, other.most())
    }

    pub(super) fn empty(&self, now_us: u64) -> Level {
        Level { level: 0, at_us: now_us, returned: 0, began_us: now_us }
    }

    pub(super) fn roll(&self, found: &Level, now_us: u64) -> (Level, bool) {
        let passed_us = now_us.saturating_sub(found.at_us);
        let level = match found.level.saturating_sub(passed_us.saturating_mul(self.drain)) {
            0 => self.empty(now_us),
            level if found.at_us > now_us => {
                Level { level, at_us: now_us, began_us: now_us, ..*found }
            }
            level => Level { level, at_us: now_us, ..*found },
        };
        (level, found.at_us > now_us)
    }

    /// A limit that was lowered is lower at once, also for what was charged before. None of that is
    /// given back: by this definition, it may not be there.
    pub(super) fn take_over(&self, of: &Self, found: &Level, now_us: u64) -> (Level, bool) {
        let level = match of.unit == self.unit {
            true => found.level.min(self.times(self.most())),
            false => self.times(found.level.div_ceil(of.unit).min(self.most())),
        };
        let (level, is_ahead) = self.roll(&Level { level, ..*found }, now_us);
        (Level { returned: 0, began_us: now_us, ..level }, is_ahead)
    }

    pub(super) fn outlook(&self, kept: &Level, _now_us: u64, cost: u64) -> Outlook {
        let full = self.times(self.capacity);
        let remaining = full.saturating_sub(kept.level) / self.unit;
        let retry_us = if cost > self.capacity {
            None
        } else {
            let over = kept.level.saturating_add(self.times(cost)).saturating_sub(full);
            Some(over.div_ceil(self.drain))
        };
        Outlook { remaining, reset_us: kept.level.div_ceil(self.drain), retry_us }
    }

    /// Stands for how full the level is, and falls behind with all that is given back later.
    pub(super) fn mark(&self, kept: &Level) -> u64 {
        kept.level / self.unit + kept.returned
    }

    pub(super) fn charge(&self, kept: &mut Level, now_us: u64, amount: u64) {
        let full = self.times(self.most());
        let level = kept.level.saturating_add(self.times(amount));
        kept.level = level.min(full);
        // What is cut off is not there to be given back.
        if level > full {
            kept.began_us = now_us;
        }
    }

    pub(super) fn settle(&self, kept: &mut Level, now_us: u64, receipt: &Receipt, actual: u64) {
        if actual > receipt.charged {
            self.charge(kept, now_us, (actual - receipt.charged).min(self.most()));
            return;
        }
        if receipt.at_us < kept.began_us || receipt.at_us > now_us {
            return;
        }
        // Had the level been at 0 for a while without the charge, that time would have taken nothing
        // off it, while with the charge it did. It was not at 0 for as long as the mark says at least.
        let busy = self.times(receipt.mark.saturating_sub(kept.returned).min(self.most()));
        let drained = now_us.saturating_sub(receipt.at_us).saturating_mul(self.drain);
        let idle = drained.saturating_sub(busy);
        let back = self.times(receipt.charged - actual).saturating_sub(idle).min(kept.level);
        kept.level -= back;
        kept.returned += back.div_ceil(self.unit);
    }

    pub(super) fn most(&self) -> u64 {
        self.capacity + self.debt_max
    }

    fn times(&self, cost: u64) -> u64 {
        self.unit.saturating_mul(cost)
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
