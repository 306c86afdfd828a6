//! The rules against their definitions, and what holds for all of them.

use fastrand::Rng;
use proptest::prelude::*;

use super::reference::Reference;
use super::vectors::{self, ALGORITHMS, Drawn, sequence};
use super::*;

const START_US: u64 = 1_700_000_000_000_000;
const MINUTE_US: u64 = 60_000_000;

fn any_rule() -> impl Strategy<Value = (Drawn, Rng)> {
    (any::<u64>(), 0..ALGORITHMS.len()).prop_map(|(seed, algorithm)| {
        let mut rng = Rng::with_seed(seed);
        (vectors::rule(&mut rng, ALGORITHMS[algorithm]), rng)
    })
}

fn at(rule: Rule, kept: Option<&Tally>, now_us: u64) -> Tally {
    rule.open(kept, now_us).tally
}

fn algorithm_of(rule: Rule) -> Algorithm {
    match rule {
        Rule::Gcra(_) => Algorithm::Gcra,
        Rule::FixedWindow(_) => Algorithm::FixedWindow,
        Rule::SlidingWindow(_) => Algorithm::SlidingWindow,
        Rule::SlidingLog(_) => Algorithm::SlidingLog,
    }
}

fn gcra(limit: u64, period_us: u64) -> Rule {
    Rule::new(Algorithm::Gcra, limit, period_us, limit, 0).unwrap()
}

/// Charges a cost if it is admitted.
fn pass(rule: Rule, kept: &mut Option<Tally>, now_us: u64, cost: u64) -> bool {
    let mut tally = at(rule, kept.as_ref(), now_us);
    let admits = tally.outlook(now_us, cost).admits();
    if admits {
        tally.charge(now_us, cost);
        *kept = Some(tally);
    }
    admits
}

proptest! {
    #[test]
    fn each_decision_is_that_of_the_definition((drawn, mut rng) in any_rule()) {
        let (mut kept, mut reference, mut now_us) = (None, Reference::default(), START_US);
        for _ in 0..60 {
            now_us += vectors::pause_us(&mut rng, drawn);
            let cost = vectors::cost(&mut rng, &drawn.rule);
            let expected = reference.admits(&drawn, now_us, cost);
            prop_assert_eq!(pass(drawn.rule, &mut kept, now_us, cost), expected);
            if expected {
                reference.admit(now_us, cost);
            }
            let (limit, capacity) = (drawn.limit, drawn.rule.capacity());
            let worst = match drawn.rule {
                Rule::Gcra(_) => capacity + limit,
                Rule::FixedWindow(_) | Rule::SlidingWindow(_) => 2 * limit,
                Rule::SlidingLog(_) => limit,
            };
            prop_assert!(reference.since(now_us, drawn.period_us) <= worst);
        }
    }

    #[test]
    fn a_denied_cost_passes_after_its_wait_and_no_sooner((drawn, mut rng) in any_rule()) {
        let (mut kept, mut now_us) = (None, START_US);
        for _ in 0..60 {
            now_us += vectors::pause_us(&mut rng, drawn);
            let cost = vectors::cost(&mut rng, &drawn.rule);
            let outlook = at(drawn.rule, kept.as_ref(), now_us).outlook(now_us, cost);
            prop_assert_eq!(outlook.admits(), cost <= outlook.remaining);
            let passes_at = |now_us| at(drawn.rule, kept.as_ref(), now_us).outlook(now_us, cost).admits();
            match outlook.retry_us {
                None => prop_assert!(cost > drawn.rule.capacity()),
                Some(0) => {}
                Some(wait_us) => {
                    prop_assert!(passes_at(now_us + wait_us));
                    prop_assert!(!passes_at(now_us + wait_us - 1));
                }
            }
            let fresh = at(drawn.rule, None, now_us + outlook.reset_us);
            let then = at(drawn.rule, kept.as_ref(), now_us + outlook.reset_us);
            let all = drawn.rule.capacity();
            prop_assert_eq!(
                then.outlook(now_us + outlook.reset_us, all),
                fresh.outlook(now_us + outlook.reset_us, all)
            );
            pass(drawn.rule, &mut kept, now_us, cost);
        }
    }

    /// As much at once as the burst, and in a period's time as much as the quota.
    #[test]
    fn the_count_is_exact_from_a_microsecond_to_a_year((drawn, mut rng) in any_rule()) {
        let (mut kept, capacity) = (None, drawn.rule.capacity());
        let now_us = START_US - START_US % drawn.period_us;
        let mut left = capacity;
        while left > 0 {
            let cost = rng.u64(1..=left).max(capacity / 100).min(left);
            prop_assert!(pass(drawn.rule, &mut kept, now_us, cost));
            left -= cost;
        }
        prop_assert!(!pass(drawn.rule, &mut kept, now_us, 1));
        let later_us = now_us + drawn.period_us;
        let there = at(drawn.rule, kept.as_ref(), later_us).outlook(later_us, 1).remaining;
        match drawn.rule {
            Rule::Gcra(_) => prop_assert_eq!(there, drawn.limit.min(capacity)),
            // The window before still weighs all that it can.
            Rule::SlidingWindow(_) => prop_assert_eq!(there, 0),
            Rule::FixedWindow(_) | Rule::SlidingLog(_) => prop_assert_eq!(there, capacity),
        }
    }

    #[test]
    fn looking_in_between_changes_nothing((drawn, mut rng) in any_rule()) {
        let (mut kept, mut now_us) = (None, START_US);
        pass(drawn.rule, &mut kept, now_us, 1);
        for _ in 0..20 {
            now_us += vectors::pause_us(&mut rng, drawn);
            pass(drawn.rule, &mut kept, now_us, vectors::cost(&mut rng, &drawn.rule));
            let (first, second) = (vectors::pause_us(&mut rng, drawn), vectors::pause_us(&mut rng, drawn));
            let between = at(drawn.rule, kept.as_ref(), now_us + first);
            let later_us = now_us + first + second;
            prop_assert_eq!(at(drawn.rule, Some(&between), later_us), at(drawn.rule, kept.as_ref(), later_us));
        }
    }

    #[test]
    fn a_clock_that_is_set_back_lets_nothing_more_pass_and_heals((drawn, mut rng) in any_rule()) {
        let (mut kept, mut steady_kept) = (None, None);
        let (mut now_us, mut steady_us, mut was_set_back) = (START_US, START_US, false);
        for _ in 0..40 {
            let pause_us = vectors::pause_us(&mut rng, drawn);
            (now_us, steady_us) = (now_us + pause_us, steady_us + pause_us);
            if rng.u32(0..8) == 0 {
                now_us -= rng.u64(0..=2 * drawn.period_us).min(now_us);
                was_set_back = true;
            }
            let demand = Demand { rule: drawn.rule, cost: vectors::cost(&mut rng, &drawn.rule), want: 0, is_shadow: false };
            let mut verdict = decide([(demand, kept.as_ref())], Mode::Charge, now_us);
            if let Some(changed) = verdict.kept.remove(0) {
                kept = Some(changed);
            }
            // The same charges by a clock that was never set back: at least as much is free there. Windows
            // lie elsewhere on it.
            if matches!(drawn.rule, Rule::Gcra(_) | Rule::SlidingLog(_)) {
                let mut steady = at(drawn.rule, steady_kept.as_ref(), steady_us);
                if verdict.admitted {
                    prop_assert!(steady.outlook(steady_us, demand.cost).admits());
                    steady.charge(steady_us, demand.cost);
                }
                steady_kept = Some(steady);
            }
            // However far it was set back, all is forgotten in the usual time.
            let reset_us = verdict.rows[0].reset_us;
            prop_assert!(reset_us <= drawn.rule.period_us().max(2 * drawn.period_us), "{}", was_set_back);
        }
    }

    #[test]
    fn a_changed_limit_holds_at_once_for_what_was_charged_before((drawn, mut rng) in any_rule()) {
        let mut kept = None;
        pass(drawn.rule, &mut kept, START_US, drawn.rule.capacity());
        let other = vectors::rule(&mut rng, algorithm_of(drawn.rule));
        let outlook = at(other.rule, kept.as_ref(), START_US).outlook(START_US, 1);
        prop_assert!(outlook.remaining <= other.rule.capacity());
        let passes_us = START_US + outlook.retry_us.unwrap_or(0);
        prop_assert!(at(other.rule, kept.as_ref(), passes_us).outlook(passes_us, 1).admits());
        if !matches!(other.rule, Rule::SlidingLog(_)) {
            // A burst and what may be owed are clamped to, hence over in their time.
            let two_periods_us = 2 * other.period_us.max(other.rule.period_us());
            let debt_us = u128::from(other.rule.debt_max()) * u128::from(other.period_us) / u128::from(other.limit);
            prop_assert!(u128::from(outlook.reset_us) <= u128::from(two_periods_us) + debt_us + 1);
        }
        if other.period_us == drawn.period_us {
            let left = other.rule.capacity().saturating_sub(drawn.rule.capacity());
            prop_assert!(outlook.remaining <= left, "what was charged still counts");
        }
    }

    /// Whatever is reserved and then settled at less, no more passes than if the less had been charged
    /// at once.
    #[test]
    fn what_is_given_back_lets_nothing_more_pass((drawn, mut rng) in any_rule()) {
        let (mut kept, mut ideal, mut now_us) = (None, None, START_US);
        let mut reserved: Vec<(Receipt, u64)> = Vec::new();
        for _ in 0..60 {
            now_us += vectors::pause_us(&mut rng, drawn);
            let mut tally = at(drawn.rule, kept.as_ref(), now_us);
            let mut other = at(drawn.rule, ideal.as_ref(), now_us);
            let cost = vectors::cost(&mut rng, &drawn.rule);
            if rng.bool() && !reserved.is_empty() {
                let (receipt, actual) = reserved.swap_remove(rng.usize(0..reserved.len()));
                tally = drawn.rule.settle(kept.as_ref(), now_us, &receipt, actual).unwrap_or(tally);
            } else if tally.outlook(now_us, cost).admits() {
                let (mark, actual) = (tally.mark(), rng.u64(0..=cost));
                tally.charge(now_us, cost);
                other.charge(now_us, actual);
                reserved.push((Receipt { charged: cost, at_us: now_us, mark }, actual));
            }
            prop_assert!(tally.outlook(now_us, 1).remaining <= other.outlook(now_us, 1).remaining);
            // A level that is at 0 is forgotten.
            kept = Some(tally).filter(|tally| tally.lasts_us(now_us) > 0);
            ideal = Some(other);
        }
    }

    /// As old and new processes use them side by side in a rolling deployment, in any proportion.
    #[test]
    fn levels_of_definitions_that_take_turns_admit_no_more_than_the_larger(seed: u64, count in 2..4_usize) {
        let mut rng = Rng::with_seed(seed);
        let turns: Vec<Drawn> = (0..count).map(|_| vectors::rule(&mut rng, Algorithm::Gcra)).collect();
        let rate = |drawn: &Drawn, other: &Drawn| u128::from(drawn.limit) * u128::from(other.period_us);
        let fastest = *turns.iter().max_by(|a, b| rate(a, b).cmp(&rate(b, a))).unwrap();
        let largest = turns.iter().map(|drawn| drawn.rule.capacity()).max().unwrap();
        // What would be in a bucket of the largest burst that drains at the highest rate.
        let (unit, mut level) = (u128::from(fastest.period_us), 0_u128);
        let (mut kept, mut now_us) = (None, START_US);
        for _ in 0..80 {
            let drawn = turns[rng.usize(0..count)];
            let pause_us = vectors::pause_us(&mut rng, drawn);
            now_us += pause_us;
            level = level.saturating_sub(u128::from(pause_us) * u128::from(fastest.limit));
            let cost = vectors::cost(&mut rng, &drawn.rule);
            if pass(drawn.rule, &mut kept, now_us, cost) {
                level += u128::from(cost) * unit;
            }
            prop_assert!(level <= u128::from(largest) * unit);
        }
    }

    /// Windows of one length are of one count, whatever each definition admits.
    #[test]
    fn windows_of_definitions_that_take_turns_count_what_all_of_them_admit(
        (drawn, mut rng) in any_rule(), other_limit in 1..1_000_u64
    ) {
        prop_assume!(!matches!(drawn.rule, Rule::Gcra(_)));
        let limit = if matches!(drawn.rule, Rule::SlidingLog(_)) { other_limit.min(100) } else { other_limit };
        let other = Rule::new(algorithm_of(drawn.rule), limit, drawn.period_us, limit, 0).unwrap();
        let turns = [drawn, Drawn { rule: other, limit, ..drawn }];
        let (mut kept, mut reference, mut now_us) = (None, Reference::default(), START_US);
        for _ in 0..60 {
            let turn = turns[rng.usize(0..2)];
            now_us += vectors::pause_us(&mut rng, turn);
            let cost = vectors::cost(&mut rng, &turn.rule);
            let expected = reference.admits(&turn, now_us, cost);
            prop_assert_eq!(pass(turn.rule, &mut kept, now_us, cost), expected);
            if expected {
                reference.admit(now_us, cost);
            }
        }
    }

    #[test]
    fn no_definition_admits_more_than_its_window_whatever_one_of_another_length_does(
        (drawn, mut rng) in any_rule()
    ) {
        prop_assume!(matches!(drawn.rule, Rule::FixedWindow(_) | Rule::SlidingWindow(_)));
        let turns = [drawn, vectors::rule(&mut rng, algorithm_of(drawn.rule))];
        let mut passed = [Reference::default(), Reference::default()];
        let (mut kept, mut now_us) = (None, START_US);
        for _ in 0..80 {
            let turn = rng.usize(0..2);
            now_us += vectors::pause_us(&mut rng, turns[turn]);
            let cost = vectors::cost(&mut rng, &turns[turn].rule);
            let most = passed[turn].admits(&turns[turn], now_us, cost);
            if pass(turns[turn].rule, &mut kept, now_us, cost) {
                prop_assert!(most, "of what it admitted itself, all is known");
                passed[turn].admit(now_us, cost);
            }
        }
    }

    #[test]
    fn shares_come_to_no_more_than_the_whole((drawn, mut rng) in any_rule(), of in 1..50_u64) {
        prop_assume!(drawn.rule.capacity() >= of);
        let share = drawn.rule.share(of);
        prop_assert!(share.capacity() * of <= drawn.rule.capacity());
        let (mut kept, mut now_us) = (None, START_US);
        let mut passed = Reference::default();
        for _ in 0..40 {
            now_us += vectors::pause_us(&mut rng, drawn);
            let cost = vectors::cost(&mut rng, &share);
            if pass(share, &mut kept, now_us, cost) {
                passed.admit(now_us, cost);
            }
        }
        // Each of them burst and quota at worst, or twice its count.
        let most = (drawn.rule.capacity() + drawn.limit).max(2 * drawn.rule.capacity());
        prop_assert!(passed.since(now_us, drawn.period_us) * of <= most + of);
    }

    #[test]
    fn no_sequence_of_steps_is_more_than_numbers_can_hold(seed: u64) {
        let mut kept: Vec<Option<Tally>> = vec![None; vectors::SUBJECTS];
        for step in sequence(seed) {
            let vectors::What::Check(demands, mode) = step.what else { continue };
            let asked = demands.iter().map(|(subject, demand)| (*demand, kept[*subject].as_ref()));
            let verdict = decide(asked, mode, step.now_us);
            for row in &verdict.rows {
                let numbers = [row.remaining, row.reset_us, row.retry_us.unwrap_or(0), row.granted];
                prop_assert!(numbers.iter().all(|number| *number <= EXACT_MAX));
                prop_assert!(row.granted == 0 || verdict.admitted);
            }
            for ((subject, _), changed) in demands.iter().zip(verdict.kept) {
                if let Some(changed) = changed {
                    kept[*subject] = Some(changed);
                }
            }
        }
    }
}

#[test]
fn a_rate_that_is_no_whole_number_of_microseconds_loses_nothing() {
    // 700,000 a second: with 1.43 µs a request as a step of 1 or 2, 71 of 100 would pass, or 143.
    let rule = Rule::new(Algorithm::Gcra, 700_000, 1_000_000, 1, 0).unwrap();
    let (mut kept, mut passed) = (None, 0);
    for us in 0..100_000 {
        passed += u64::from(pass(rule, &mut kept, START_US + us, 1));
    }
    // One at a time, and time is in µs: each waits for the first that is 10/7 after the last.
    assert_eq!(passed, 50_000);
    let rule = Rule::new(Algorithm::Gcra, 700_000, 1_000_000, 100, 0).unwrap();
    let (mut kept, mut passed) = (None, 0);
    for us in 0..100_000 {
        passed += u64::from(pass(rule, &mut kept, START_US + us, 1));
    }
    assert_eq!(passed, 70_000 + 99);
}

#[test]
fn a_lowered_limit_clamps_what_was_charged() {
    let mut kept = None;
    assert!(pass(gcra(1_000, MINUTE_US), &mut kept, START_US, 1_000));
    let lowered = gcra(10, MINUTE_US);
    let outlook = at(lowered, kept.as_ref(), START_US).outlook(START_US, 1);
    assert_eq!(outlook.remaining, 0);
    assert_eq!(outlook.reset_us, MINUTE_US, "not a hundred minutes");
    // A burst that takes ten minutes to drain, lowered to one that takes one.
    let burst = |burst| Rule::new(Algorithm::Gcra, 60, MINUTE_US, burst, 0).unwrap();
    let mut kept = None;
    assert!(pass(burst(600), &mut kept, START_US, 600));
    assert!(!pass(burst(60), &mut kept, START_US + 999_999, 1));
    let later_us = START_US + 1_000_000;
    assert!(pass(burst(60), &mut kept, later_us, 1));
    // And raised again at once, nothing is forgotten that was charged.
    let raised = at(burst(600), kept.as_ref(), later_us);
    assert_eq!(raised.outlook(later_us, 1).remaining, 0);
}

#[test]
fn what_an_old_definition_gives_back_is_no_more_than_it_took() {
    for algorithm in [Algorithm::Gcra, Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        let of = |limit| Rule::new(algorithm, limit, 1_440 * MINUTE_US, limit, 0).unwrap();
        let (old, new, mut kept) = (of(10), of(1_000), None);
        assert!(pass(old, &mut kept, START_US, 5));
        let receipt = Receipt { charged: 5, at_us: START_US, mark: 0 };
        assert!(pass(new, &mut kept, START_US, 900));
        kept = old.settle(kept.as_ref(), START_US, &receipt, 4).or(kept);
        let left = at(new, kept.as_ref(), START_US).outlook(START_US, 1).remaining;
        assert!((95..=96).contains(&left), "{algorithm:?}: {left}");
        // What it turned out to cost more is charged for both.
        kept = old.settle(kept.as_ref(), START_US, &receipt, 7).or(kept);
        let after = at(new, kept.as_ref(), START_US).outlook(START_US, 1).remaining;
        let charged = if algorithm == Algorithm::Gcra { 2 } else { 0 };
        assert_eq!(left - after, charged, "{algorithm:?}");
        assert!(!at(old, kept.as_ref(), START_US).outlook(START_US, 1).admits());
    }
}

#[test]
fn of_a_level_whose_clock_was_set_back_what_is_charged_since_is_given_back() {
    let (rule, mut kept) = (gcra(100, MINUTE_US), None);
    let before = Receipt { charged: 10, at_us: START_US, mark: 0 };
    assert!(pass(rule, &mut kept, START_US, 10));
    let now_us = START_US - 10 * MINUTE_US;
    let mut tally = at(rule, kept.as_ref(), now_us);
    let since = Receipt { charged: 50, at_us: now_us, mark: tally.mark() };
    tally.charge(now_us, 50);
    let left = |tally: &Tally| tally.outlook(now_us, 1).remaining;
    let settled = rule.settle(Some(&tally), now_us, &before, 0).unwrap();
    assert_eq!(left(&settled), 40, "no one knows how much of it has drained");
    let settled = rule.settle(Some(&settled), now_us, &since, 0).unwrap();
    assert_eq!(left(&settled), 90);
}

#[test]
fn what_was_reserved_by_another_algorithm_gives_nothing_back() {
    let (old, new) =
        (gcra(10, MINUTE_US), Rule::new(Algorithm::FixedWindow, 100, MINUTE_US, 100, 0));
    let mut kept = None;
    assert!(pass(new.unwrap(), &mut kept, START_US, 100));
    let receipt = Receipt { charged: 5, at_us: START_US, mark: 0 };
    assert_eq!(old.settle(kept.as_ref(), START_US, &receipt, 0), None);
    assert_eq!(old.settle(None, START_US, &receipt, 0), None);
}

#[test]
fn what_is_owed_is_paid_before_anything_passes() {
    let rule = Rule::new(Algorithm::Gcra, 60, MINUTE_US, 60, 30).unwrap();
    let mut tally = at(rule, None, START_US);
    let receipt = Receipt { charged: 10, at_us: START_US, mark: tally.mark() };
    tally.charge(START_US, 10);
    let owes = rule.settle(Some(&tally), START_US, &receipt, 1_000_000).unwrap();
    let outlook = owes.outlook(START_US, 1);
    assert_eq!(outlook.reset_us, 90_000_000, "60 and what may be owed, at one a second");
    assert_eq!(outlook.retry_us, Some(31_000_000));
}

#[test]
fn what_was_reserved_in_a_window_that_is_over_is_not_given_back() {
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow, Algorithm::SlidingLog] {
        let rule = Rule::new(algorithm, 10, MINUTE_US, 10, 0).unwrap();
        let first_us = START_US - START_US % MINUTE_US;
        let mut tally = at(rule, None, first_us);
        let receipt = Receipt { charged: 10, at_us: first_us, mark: 0 };
        tally.charge(first_us, 10);
        let later_us = first_us + 2 * MINUTE_US;
        let mut tally = at(rule, Some(&tally), later_us);
        tally.charge(later_us, 10);
        let settled = rule.settle(Some(&tally), later_us, &receipt, 0).unwrap();
        assert_eq!(settled.outlook(later_us, 1).remaining, 0, "{algorithm:?}");
    }
}

#[test]
fn numbers_that_pass_2_to_the_53_are_rejected() {
    let day_us = 24 * 3_600_000_000;
    let year_us = 365 * day_us;
    assert!(Rule::new(Algorithm::Gcra, 10_000_000, year_us, 10_000_000, 0).is_ok());
    assert!(Rule::new(Algorithm::Gcra, 1_000_000, day_us, 1_000_000, 0).is_ok());
    let odd = Rule::new(Algorithm::Gcra, 9_999_991, year_us, 9_999_991, 0);
    assert!(odd.unwrap_err().contains("2^53"));
    assert!(Rule::new(Algorithm::Gcra, 9_999_991, 1_000_000, 9_999_991, 0).is_ok());
    assert!(Rule::new(Algorithm::Gcra, 1, year_us, 20, 0).unwrap_err().contains("10 years"));
    for algorithm in ALGORITHMS {
        for (limit, period_us) in [(0, 1), (1, 0), (u64::MAX, 1), (1, 367 * day_us)] {
            assert!(
                Rule::new(algorithm, limit, period_us, limit, 0).is_err(),
                "{limit} per {period_us}"
            );
        }
        let some = Rule::new(algorithm, 10, MINUTE_US, 10, u64::MAX);
        assert!(some.is_err());
    }
    assert!(Rule::new(Algorithm::SlidingWindow, 4_000_000_000, year_us, 1, 0).is_err());
    assert!(Rule::new(Algorithm::SlidingLog, 1_001, year_us, 1, 0).is_err());
}
