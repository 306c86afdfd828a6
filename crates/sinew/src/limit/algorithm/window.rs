//! Windows that begin at multiples of the period: one by itself, or one that slides by way of the one
//! before it.

use super::{EXACT_MAX, Outlook, Receipt};

/// So much in each window. Up to twice as much within a period's time: at the end of one window and
/// the beginning of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FixedWindow {
    pub(crate) capacity: u64,
    pub(crate) period_us: u64,
    pub(crate) debt_max: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    start_us: u64,
    used: u64,
    /// When it was charged last.
    at_us: u64,
}

/// No definition counts more, so what is counted for another one ends here.
const USED_MAX: u64 = EXACT_MAX / 2;

impl FixedWindow {
    /// Whatever the quota: a lowered limit forgets nothing, and all is over with its window.
    pub(super) fn counts_like(&self, other: &Self) -> bool {
        self.period_us == other.period_us
    }

    pub(super) fn empty(&self, now_us: u64) -> Window {
        Window { start_us: now_us - now_us % self.period_us, used: 0, at_us: now_us }
    }

    pub(super) fn roll(&self, found: &Window, now_us: u64) -> (Window, bool) {
        let Window { start_us, .. } = self.empty(now_us);
        let used = if found.start_us >= start_us { found.used } else { 0 };
        let at_us = found.at_us.min(now_us);
        (Window { start_us, used, at_us }, found.start_us > start_us)
    }

    /// All of a window of another length, if some of it was charged in this one.
    pub(super) fn take_over(&self, _of: &Self, found: &Window, now_us: u64) -> (Window, bool) {
        let Window { start_us, .. } = self.empty(now_us);
        let used = if found.at_us >= start_us { found.used.min(self.most()) } else { 0 };
        let at_us = found.at_us.min(now_us);
        (Window { start_us, used, at_us }, found.at_us > now_us)
    }

    pub(super) fn outlook(&self, kept: &Window, now_us: u64, cost: u64) -> Outlook {
        let remaining = self.capacity.saturating_sub(kept.used);
        let left_us = kept.start_us + self.period_us - now_us;
        Outlook {
            remaining,
            reset_us: if kept.used > 0 { left_us } else { 0 },
            retry_us: match cost {
                cost if cost <= remaining => Some(0),
                cost if cost <= self.capacity => Some(left_us),
                _ => None,
            },
        }
    }

    pub(super) fn charge(&self, kept: &mut Window, now_us: u64, amount: u64) {
        kept.used = kept.used.saturating_add(amount).min(USED_MAX);
        kept.at_us = now_us;
    }

    pub(super) fn settle(&self, kept: &mut Window, now_us: u64, receipt: &Receipt, actual: u64) {
        // A window that is over has nothing to give back.
        if is_within(receipt.at_us, kept.start_us, self.period_us) {
            kept.used = kept.used.saturating_sub(receipt.charged.saturating_sub(actual));
        }
        if actual > receipt.charged {
            let room = self.most().saturating_sub(kept.used);
            self.charge(kept, now_us, (actual - receipt.charged).min(room));
        }
    }

    fn most(&self) -> u64 {
        self.capacity + self.debt_max
    }
}

/// In so many steps the window before loses its weight.
const TICKS_MAX: u64 = 1_000_000;

/// A count of the window and of a share of the one before: as much of that as a period's time up to
/// now covers, which falls by steps of a millionth. It takes what was charged then as spread evenly, so
/// up to twice as much may pass within a period's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlidingWindow {
    pub(crate) capacity: u64,
    pub(crate) period_us: u64,
    pub(crate) debt_max: u64,
    pub(crate) tick_us: u64,
    /// Of a period; the last one may be shorter.
    pub(crate) ticks: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    start_us: u64,
    current: u64,
    previous: u64,
    /// When it was charged last.
    at_us: u64,
}

impl SlidingWindow {
    pub(super) fn new(capacity: u64, period_us: u64, debt_max: u64) -> Result<Self, String> {
        let tick_us = period_us.div_ceil(TICKS_MAX);
        let ticks = period_us.div_ceil(tick_us);
        // Both windows with a debt, and the largest cost on top.
        let costs = u128::from(3 * capacity + 2 * debt_max);
        if costs * u128::from(ticks) > u128::from(EXACT_MAX) {
            return Err(
                "its numbers pass 2^53, up to which they are exact: expected a quota and a debt of at most a thousand million"
                    .to_owned(),
            );
        }
        Ok(Self { capacity, period_us, debt_max, tick_us, ticks })
    }

    pub(super) fn counts_like(&self, other: &Self) -> bool {
        self.period_us == other.period_us
    }

    pub(super) fn empty(&self, now_us: u64) -> Windows {
        let start_us = now_us - now_us % self.period_us;
        Windows { start_us, current: 0, previous: 0, at_us: now_us }
    }

    pub(super) fn roll(&self, found: &Windows, now_us: u64) -> (Windows, bool) {
        let Windows { start_us, .. } = self.empty(now_us);
        let (current, previous) = if found.start_us >= start_us {
            (found.current, found.previous)
        } else if start_us - found.start_us <= self.period_us {
            (0, found.current)
        } else {
            (0, 0)
        };
        let at_us = found.at_us.min(now_us);
        (Windows { start_us, current, previous, at_us }, found.start_us > start_us)
    }

    /// All of windows of another length, in the last of these in which some of it was charged.
    pub(super) fn take_over(&self, _of: &Self, found: &Windows, now_us: u64) -> (Windows, bool) {
        let mut kept = Windows { at_us: found.at_us.min(now_us), ..self.empty(now_us) };
        let before_us = found.start_us.saturating_sub(1);
        for (used, until_us) in [(found.current, found.at_us), (found.previous, before_us)] {
            if until_us >= kept.start_us {
                kept.current += used;
            } else if until_us + self.period_us >= kept.start_us {
                kept.previous += used;
            }
        }
        kept.current = kept.current.min(self.most());
        kept.previous = kept.previous.min(self.most());
        (kept, found.at_us > now_us)
    }

    pub(super) fn outlook(&self, kept: &Windows, now_us: u64, cost: u64) -> Outlook {
        let Windows { start_us, current, previous, .. } = *kept;
        let weight = self.ticks - (now_us - start_us) / self.tick_us;
        let used = current * self.ticks + previous * weight;
        let remaining = (self.capacity * self.ticks).saturating_sub(used) / self.ticks;
        let reset_us = match (current, previous) {
            (0, 0) => 0,
            (0, _) => start_us + self.period_us - now_us,
            _ => start_us + 2 * self.period_us - now_us,
        };
        let retry_us = if cost <= remaining {
            Some(0)
        } else {
            let at_us = (cost <= self.capacity).then(|| self.admitted_at(kept, cost));
            at_us.map(|at_us| at_us - now_us)
        };
        Outlook { remaining, reset_us, retry_us }
    }

    /// When a cost will be admitted that is not yet.
    fn admitted_at(&self, kept: &Windows, cost: u64) -> u64 {
        let free = self.capacity - cost;
        // What the window before may weigh then: in this window, or else in the next.
        let (weight, start_us) = if kept.current <= free {
            ((free - kept.current) * self.ticks / kept.previous, kept.start_us)
        } else {
            (free * self.ticks / kept.current, kept.start_us + self.period_us)
        };
        match weight {
            0 => start_us + self.period_us,
            weight => start_us + (self.ticks - weight) * self.tick_us,
        }
    }

    pub(super) fn charge(&self, kept: &mut Windows, now_us: u64, amount: u64) {
        kept.current = kept.current.saturating_add(amount).min(USED_MAX / self.ticks);
        kept.at_us = now_us;
    }

    pub(super) fn settle(&self, kept: &mut Windows, now_us: u64, receipt: &Receipt, actual: u64) {
        let back = receipt.charged.saturating_sub(actual);
        if is_within(receipt.at_us, kept.start_us, self.period_us) {
            kept.current = kept.current.saturating_sub(back);
        } else if is_within(receipt.at_us + self.period_us, kept.start_us, self.period_us) {
            kept.previous = kept.previous.saturating_sub(back);
        }
        if actual > receipt.charged {
            let room = self.most().saturating_sub(kept.current);
            self.charge(kept, now_us, (actual - receipt.charged).min(room));
        }
    }

    fn most(&self) -> u64 {
        self.capacity + self.debt_max
    }
}

fn is_within(at_us: u64, start_us: u64, period_us: u64) -> bool {
    (start_us..start_us + period_us).contains(&at_us)
}
