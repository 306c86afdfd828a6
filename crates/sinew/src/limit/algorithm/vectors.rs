//! Random rules and sequences of steps, for everything that has to decide alike: the rules, their
//! references, and the scripts (`twins.rs`).

use fastrand::Rng;

use super::{Algorithm, Demand, Mode, Rule};

pub(crate) const ALGORITHMS: [Algorithm; 4] =
    [Algorithm::Gcra, Algorithm::FixedWindow, Algorithm::SlidingWindow, Algorithm::SlidingLog];

/// A rule and the numbers that it was made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawn {
    pub(crate) rule: Rule,
    pub(crate) limit: u64,
    pub(crate) period_us: u64,
}

/// 1 µs to a year, 1 to 10 million a period: all orders of magnitude alike, and round numbers often.
pub(crate) fn rule(rng: &mut Rng, algorithm: Algorithm) -> Drawn {
    const PERIODS_US: [u64; 6] =
        [1, 1_000, 1_000_000, 60_000_000, 3_600_000_000, 24 * 3_600_000_000];
    loop {
        let limit = match rng.u32(0..3) {
            0 => rng.choice([1, 2, 3, 5, 10, 100, 1_000]).unwrap_or(1),
            _ => magnitude(rng, 10_000_000),
        };
        let period_us = match rng.bool() {
            true => rng.choice(PERIODS_US).unwrap_or(1),
            false => magnitude(rng, 365 * 24 * 3_600_000_000),
        };
        let limit = match algorithm {
            Algorithm::SlidingLog => limit.min(100),
            _ => limit,
        };
        let burst = match algorithm {
            Algorithm::Gcra => rng.choice([limit, limit.div_ceil(3), limit * 2]).unwrap_or(limit),
            _ => limit,
        };
        let debt_max = rng.choice([0, 0, limit / 2, limit]).unwrap_or(0);
        if let Ok(rule) = Rule::new(algorithm, limit, period_us, burst, debt_max) {
            return Drawn { rule, limit, period_us };
        }
    }
}

/// Even in the number of digits.
fn magnitude(rng: &mut Rng, max: u64) -> u64 {
    let bits = rng.u32(0..=u64::BITS - max.leading_zeros());
    rng.u64(1..=(1_u64 << bits).min(max))
}

/// How much time passes before a step that meets a rule near its limit now and then.
pub(crate) fn pause_us(rng: &mut Rng, Drawn { limit, period_us, .. }: Drawn) -> u64 {
    match rng.u32(0..6) {
        0 => 0,
        1 => 1,
        2 => period_us / limit + 1,
        3 => rng.u64(0..=2 * period_us),
        4 => rng.u64(0..=period_us / 10 + 1),
        _ => rng.u64(0..=3 * period_us / limit + 1),
    }
}

pub(crate) fn cost(rng: &mut Rng, rule: &Rule) -> u64 {
    match rng.u32(0..3) {
        0 => rng.u64(1..=rule.capacity() + 1),
        1 => rng.u64(1..=rule.capacity().div_ceil(4)),
        _ => 1,
    }
}

#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) now_us: u64,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// Subjects, all different, and what is demanded of each.
    Check(Vec<(usize, Demand)>, Mode),
    /// One of the charges so far is settled, at so many hundredths of what was charged.
    Settle { nth: usize, hundredths: u64 },
}

pub(crate) const SUBJECTS: usize = 4;

/// Steps on a few subjects, whose limits change now and then or are used in turn, by a clock that is set
/// back now and then.
pub(crate) fn sequence(seed: u64) -> Vec<Step> {
    let rng = &mut Rng::with_seed(seed);
    // Of one algorithm, only the numbers change.
    let one = rng.choice(ALGORITHMS).filter(|_| rng.bool());
    let changes_every = rng.choice([2, 10]).unwrap_or(10);
    let mut rules = Vec::new();
    for _ in 0..4 {
        let algorithm = one.or_else(|| rng.choice(ALGORITHMS)).unwrap_or(Algorithm::Gcra);
        rules.push(rule(rng, algorithm));
    }
    let mut of_subject: Vec<usize> = (0..SUBJECTS).map(|_| rng.usize(0..4)).collect();
    let mut now_us = rng.u64(1_000_000_000_000_000..2_000_000_000_000_000);
    let mut steps = Vec::new();
    for _ in 0..rng.u32(1..40) {
        let subject = rng.usize(0..SUBJECTS);
        let drawn = rules[of_subject[subject]];
        now_us += pause_us(rng, drawn);
        if rng.u32(0..10) == 0 {
            now_us -= rng.u64(0..=3 * drawn.period_us).min(now_us);
        }
        if rng.u32(0..changes_every) == 0 {
            of_subject[subject] = rng.usize(0..4);
        }
        let what = match rng.u32(0..7) {
            0 => What::Settle { nth: rng.usize(..), hundredths: rng.u64(0..=200) },
            _ => check(rng, &rules, &of_subject),
        };
        steps.push(Step { now_us, what });
    }
    steps
}

fn check(rng: &mut Rng, rules: &[Drawn], of_subject: &[usize]) -> What {
    let mut subjects: Vec<usize> = (0..SUBJECTS).collect();
    rng.shuffle(&mut subjects);
    subjects.truncate(rng.usize(1..=SUBJECTS));
    let demands = subjects.into_iter().map(|subject| {
        let rule = rules[of_subject[subject]].rule;
        let cost = cost(rng, &rule);
        let want = match rng.bool() {
            true => cost,
            false => rng.u64(1..=rule.capacity()),
        };
        (subject, Demand { rule, cost, want, is_shadow: rng.u32(0..10) == 0 })
    });
    let demands = demands.collect();
    What::Check(demands, if rng.u32(0..7) == 0 { Mode::Look } else { Mode::Charge })
}
