//! Permits that this process has taken in advance, and hands out by itself.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quick_cache::sync::Cache as QuickCache;

use super::algorithm::Row;
use super::decision::Standing;
use super::whose::{Of, Whose};
use crate::kernel::clock::Monotonic;
use crate::kernel::key::Key;

const STOCKS_MAX: usize = 4_096;

/// What this process has in stock, over all tenants.
pub(super) struct Stocks {
    stocks: QuickCache<Whose, Arc<Stock>>,
    // Held to make a stock: of two that come at once, one would be lost, and all that is in it.
    making: Mutex<()>,
}

struct Stock {
    /// Where the permits were taken. The subject may be written otherwise, and the limit be defined
    /// otherwise, for the same.
    key: Key,
    // A mutex: held for a few steps, by whoever asks for this one subject.
    held: Mutex<Held>,
}

struct Held {
    permits: u64,
    /// How the limit stood when they were taken, and when that was.
    row: Row,
    at: Monotonic,
    /// What was taken so long ago is forgotten there, and here.
    until: Monotonic,
    /// Someone asks for more. One at a time: otherwise each of them would have as much in stock.
    is_refilled: bool,
}

impl Stocks {
    pub(super) fn new() -> Self {
        Self { stocks: QuickCache::new(STOCKS_MAX), making: Mutex::new(()) }
    }

    /// Takes permits for a cost, where there are enough of them.
    #[inline]
    pub(super) fn take(&self, of: Of<'_>, cost: u64, now: Monotonic) -> Option<Standing> {
        let stock = self.stocks.get(&of)?;
        let mut held = stock.held.lock();
        if now >= held.until {
            held.permits = 0;
        }
        held.permits = held.permits.checked_sub(cost)?;
        let passed = now.since(held.at);
        let mut standing = Standing::of_row(0, of.limit(), &held.row);
        standing.remaining += held.permits;
        standing.reset_after = standing.reset_after.saturating_sub(passed);
        Some(standing)
    }

    /// The right to fill a stock up, unless another one is about to.
    pub(super) fn refill(&self, of: Of<'_>, key: &Key, now: Monotonic) -> Option<Refill> {
        let stock = self.stocks.get(&of).unwrap_or_else(|| self.make(of, key, now));
        let mut held = stock.held.lock();
        if held.is_refilled {
            return None;
        }
        held.is_refilled = true;
        let left = if now >= held.until { 0 } else { held.permits };
        drop(held);
        Some(Refill { room: of.limit().permits().saturating_sub(left), stock })
    }

    fn make(&self, of: Of<'_>, key: &Key, now: Monotonic) -> Arc<Stock> {
        let _making = self.making.lock();
        self.stocks.get(&of).unwrap_or_else(|| {
            let stock = Arc::new(Stock::new(key.clone(), now));
            self.stocks.insert(of.to_whose(), Arc::clone(&stock));
            stock
        })
    }

    /// What was taken there was reset, or should be: whether any of it was left. Stocks are few, and resets
    /// seldom: all are looked at.
    pub(super) fn forget(&self, key: &Key, now: Monotonic) -> bool {
        let was_any = Cell::new(false);
        self.stocks.retain(|_, stock| {
            let is_other = stock.key != *key;
            was_any.set(was_any.get() || (!is_other && stock.has_any(now)));
            is_other
        });
        was_any.get()
    }
}

impl Stock {
    fn new(key: Key, now: Monotonic) -> Self {
        let row =
            Row { admits: true, remaining: 0, reset_us: 0, retry_us: Some(0), granted: 0, mark: 0 };
        let held = Held { permits: 0, row, at: now, until: now, is_refilled: false };
        Self { key, held: Mutex::new(held) }
    }

    fn has_any(&self, now: Monotonic) -> bool {
        let held = self.held.lock();
        held.permits > 0 && now < held.until
    }
}

/// The right to fill a stock up. Dropped, it passes to the next one.
pub(super) struct Refill {
    stock: Arc<Stock>,
    /// What it may take beside the cost at hand.
    pub(super) room: u64,
}

impl Refill {
    /// Puts into stock what was granted beyond the cost, as of `at`.
    pub(super) fn fill(self, row: Row, cost: u64, at: Monotonic, lasts: Duration) {
        let mut held = self.stock.held.lock();
        if at >= held.until {
            held.permits = 0;
        }
        held.permits += row.granted.saturating_sub(cost);
        (held.row, held.at, held.until) = (row, at, at.after(lasts));
    }
}

impl Drop for Refill {
    fn drop(&mut self) {
        self.stock.held.lock().is_refilled = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::clock::Clock;
    use crate::kernel::key::Scope;
    use crate::kernel::name::{Prefix, Tenancy};
    use crate::limit::{Check, Limit, MINUTE, Per};

    #[test]
    fn a_stock_is_filled_by_one_at_a_time_and_never_over_its_size() {
        let (clock, hands) = Clock::manual();
        let scope = Scope::unscoped(&Prefix::default(), Tenancy::Multi);
        let limit = Limit::gcra("calls", 100.per(MINUTE)).lease(10);
        let check = limit.of(7);
        let key = scope.limit(limit.key_name().unwrap(), &check.subject).unwrap();
        let (of, stocks) = (Of::new(&scope, &check), Stocks::new());
        let now = clock.now();
        assert!(stocks.take(of, 1, now).is_none());
        let refill = stocks.refill(of, &key, now).expect("the first");
        assert!(stocks.refill(of, &key, now).is_none(), "one at a time");
        assert_eq!(refill.room, 10);
        let row = Row {
            admits: true,
            remaining: 80,
            reset_us: 1,
            retry_us: Some(0),
            granted: 11,
            mark: 0,
        };
        refill.fill(row, 1, now, Duration::from_secs(60));
        let standing = stocks.take(of, 4, now).expect("in stock");
        assert_eq!(standing.remaining, 86, "what is there, and what is here");
        assert!(stocks.take(of, 7, now).is_none());
        let refill = stocks.refill(of, &key, now).expect("the last one is done");
        assert_eq!(refill.room, 4, "six are left");
        drop(refill);
        assert!(
            stocks.refill(of, &key, now).is_some(),
            "one that came to nothing is in no one's way"
        );
        hands.advance(Duration::from_secs(60));
        assert!(stocks.take(of, 1, clock.now()).is_none(), "forgotten there, hence here");
    }

    #[test]
    fn a_reset_ends_stocks_of_the_subject_however_it_is_written_and_the_limit_defined() {
        let now = Clock::manual().0.now();
        let scope = Scope::unscoped(&Prefix::default(), Tenancy::Multi);
        let (limit, other) = (
            Limit::gcra("calls", 100.per(MINUTE)).lease(10),
            Limit::gcra("calls", 50.per(MINUTE)).lease(10),
        );
        let (number, text, redefined, of_eve) =
            (limit.of(7), limit.of("7"), other.of(7), limit.of(8));
        let stocks = Stocks::new();
        let row = Row {
            admits: true,
            remaining: 80,
            reset_us: 1,
            retry_us: Some(0),
            granted: 10,
            mark: 0,
        };
        let key = |check: &Check<'_>| {
            scope.limit(check.limit.key_name().unwrap(), &check.subject).unwrap()
        };
        let fill = |check: &Check<'_>| {
            let refill = stocks.refill(Of::new(&scope, check), &key(check), now).unwrap();
            refill.fill(row, 1, now, Duration::from_secs(60));
        };
        let takes = |check: &Check<'_>| stocks.take(Of::new(&scope, check), 1, now).is_some();
        for check in [&number, &text, &redefined, &of_eve] {
            fill(check);
            assert!(takes(check));
        }
        // One that is asked for before the reset comes after it.
        let late = stocks.refill(Of::new(&scope, &number), &key(&number), now).unwrap();
        assert!(stocks.forget(&key(&text), now));
        assert!(!stocks.forget(&key(&text), now), "nothing is left of it");
        late.fill(row, 1, now, Duration::from_secs(60));
        for check in [&number, &text, &redefined] {
            assert!(!takes(check), "{check:?}");
        }
        assert!(takes(&of_eve));
    }
}
