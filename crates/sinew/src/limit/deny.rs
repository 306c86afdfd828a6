//! Local denial: who was denied a moment ago is denied again without asking.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::Weighter;
use quick_cache::sync::Cache as QuickCache;

use super::algorithm::Row;
use super::decision::Standing;
use super::whose::{Of, Whose};
use crate::kernel::clock::Monotonic;
use crate::kernel::key::Key;

/// The longest time for which no one asks.
const DENIED_FOR_MAX: Duration = Duration::from_secs(1);
const DENIALS_BYTES_MAX: u64 = 24 << 20;
/// For a first allocation.
const DENIALS_EXPECTED: usize = 65_536;
/// Keys share a count of resets: one too many costs a question.
const STRIPES: u64 = 1_024;

/// Who was denied in this process, over all tenants.
pub(super) struct Denials {
    denials: QuickCache<Whose, Denial, ByBytes>,
    /// How often something was reset, or given back, by its key: a denial that was on its way at the
    /// time says nothing any more.
    resets: Box<[AtomicU64]>,
    hasher: RandomState,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Whose, Denial> for ByBytes {
    fn weight(&self, whose: &Whose, _: &Denial) -> u64 {
        (size_of::<(Whose, Denial)>() + whose.text_len()) as u64
    }
}

#[derive(Clone, Copy)]
struct Denial {
    note: Note,
    lasts: Duration,
    told_at: Monotonic,
    cost: u64,
    row: Row,
}

/// What is noted of a key before its limit is asked.
#[derive(Clone, Copy)]
pub(super) struct Note {
    stripe: usize,
    resets: u64,
    at: Monotonic,
}

impl Note {
    /// Before the question, hence before whatever it is answered for.
    pub(super) fn at(&self) -> Monotonic {
        self.at
    }
}

impl Denials {
    pub(super) fn new() -> Self {
        Self {
            denials: QuickCache::with_weighter(DENIALS_EXPECTED, DENIALS_BYTES_MAX, ByBytes),
            resets: (0..STRIPES).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn note(&self, key: &Key, now: Monotonic) -> Note {
        let stripe = self.stripe(key);
        Note { stripe, resets: self.resets[stripe].load(Ordering::Acquire), at: now }
    }

    /// Remembers a denial that was asked for after `note`.
    ///
    /// It lasts from before the question and waits are told from after the answer, so that neither
    /// is over at the wrong side of what the limit says.
    pub(super) fn learn(&self, of: Of<'_>, note: Note, told_at: Monotonic, cost: u64, row: Row) {
        let wait = row.retry_us.map_or(DENIED_FOR_MAX, Duration::from_micros);
        let lasts = wait.min(DENIED_FOR_MAX);
        self.denials.insert(of.to_whose(), Denial { note, lasts, told_at, cost, row });
    }

    /// How the limit stands, if it has just denied this cost. A lower one may pass, and a higher one has
    /// to wait for longer, or for ever.
    #[inline]
    pub(super) fn find(
        &self,
        of: Of<'_>,
        check: usize,
        cost: u64,
        now: Monotonic,
    ) -> Option<Standing> {
        let denial = self.denials.get(&of)?;
        let is_over = cost != denial.cost
            || now.since(denial.note.at) >= denial.lasts
            || self.resets[denial.note.stripe].load(Ordering::Acquire) != denial.note.resets;
        if is_over {
            return None;
        }
        let passed = now.since(denial.told_at);
        let mut standing = Standing::of_row(check, of.limit(), &denial.row);
        standing.reset_after = standing.reset_after.saturating_sub(passed);
        standing.retry_after = standing.retry_after.map(|after| after.saturating_sub(passed));
        Some(standing)
    }

    /// From now on the limit is asked again.
    pub(super) fn forget(&self, key: &Key) {
        self.resets[self.stripe(key)].fetch_add(1, Ordering::Release);
    }

    fn stripe(&self, key: &Key) -> usize {
        usize::try_from(self.hasher.hash_one(key.as_str()) % STRIPES).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::clock::Clock;
    use crate::kernel::key::Scope;
    use crate::kernel::name::{Prefix, Tenancy};
    use crate::limit::definition::Check;
    use crate::limit::{Limit, MINUTE, Per};

    const DENIED: Row = Row {
        admits: false,
        remaining: 3,
        reset_us: 9_000_000,
        retry_us: Some(600_000),
        granted: 0,
        mark: 0,
    };

    fn key(scope: &Scope, check: &Check<'_>) -> Key {
        scope.limit(check.limit.key_name().unwrap(), &check.subject).unwrap()
    }

    #[test]
    fn a_denial_lasts_as_long_as_its_wait_and_a_second_at_most() {
        let (clock, hands) = Clock::manual();
        let (denials, scope) =
            (Denials::new(), Scope::unscoped(&Prefix::default(), Tenancy::Multi));
        let limit = Limit::gcra("calls", 100.per(MINUTE));
        for (retry_us, lasts_ms) in [(Some(600_000), 600), (Some(9_000_000), 1_000), (None, 1_000)]
        {
            let check = limit.of("ada");
            let of = Of::new(&scope, &check);
            let note = denials.note(&key(&scope, &check), clock.now());
            denials.learn(of, note, clock.now(), 5, Row { retry_us, ..DENIED });
            hands.advance(Duration::from_millis(lasts_ms - 1));
            let passed = Duration::from_millis(lasts_ms - 1);
            let standing = denials.find(of, 2, 5, clock.now()).expect("it lasts");
            assert_eq!((standing.check, standing.remaining, standing.limit), (2, 3, 100));
            let wait = retry_us.map(|us| Duration::from_micros(us) - passed);
            assert_eq!(standing.retry_after, wait);
            assert!(denials.find(of, 0, 6, clock.now()).is_none(), "a higher cost waits longer");
            assert!(denials.find(of, 0, 4, clock.now()).is_none(), "a lower one may pass");
            hands.advance(Duration::from_millis(1));
            assert!(denials.find(of, 0, 5, clock.now()).is_none());
        }
    }

    #[test]
    fn a_denial_is_of_one_subject_tenant_and_definition() {
        let (denials, clock) = (Denials::new(), Clock::manual().0);
        let scope = Scope::unscoped(&Prefix::default(), Tenancy::Multi);
        let other = Scope::unscoped(&Prefix::new("other_").unwrap(), Tenancy::Multi);
        let limit = Limit::gcra("calls", 100.per(MINUTE));
        let check = limit.of(("ada", 7));
        let note = denials.note(&key(&scope, &check), clock.now());
        denials.learn(Of::new(&scope, &check), note, clock.now(), 1, DENIED);
        let finds = |scope: &Scope, check: &Check<'_>| {
            denials.find(Of::new(scope, check), 0, 1, clock.now()).is_some()
        };
        assert!(finds(&scope, &check));
        assert!(finds(&scope, &Limit::gcra("calls", 100.per(MINUTE)).of(("ada", 7))), "said again");
        assert!(!finds(&scope, &limit.of(("ada", 8))));
        assert!(!finds(&other, &check));
        assert!(!finds(&scope, &Limit::gcra("calls", 101.per(MINUTE)).of(("ada", 7))), "changed");
    }

    #[test]
    fn a_reset_ends_it_also_where_the_subject_is_written_otherwise_and_the_denial_comes_late() {
        let (denials, clock) = (Denials::new(), Clock::manual().0);
        let scope = Scope::unscoped(&Prefix::default(), Tenancy::Multi);
        let limit = Limit::gcra("calls", 100.per(MINUTE));
        let (number, text) = (limit.of(7), limit.of("7"));
        let of = Of::new(&scope, &number);
        let note = denials.note(&key(&scope, &number), clock.now());
        denials.learn(of, note, clock.now(), 1, DENIED);
        denials.forget(&key(&scope, &text));
        assert!(denials.find(of, 0, 1, clock.now()).is_none());
        denials.learn(of, note, clock.now(), 1, DENIED);
        assert!(denials.find(of, 0, 1, clock.now()).is_none(), "it was asked for before the reset");
    }
}
