//! What each algorithm admits, from its definition alone: all that was ever admitted is remembered, and
//! everything is computed anew each time, in numbers that nothing here can pass.

use super::vectors::Drawn;
use super::{Rule, SlidingWindow};

#[derive(Default)]
pub(super) struct Reference {
    /// When, and how much.
    admitted: Vec<(u64, u64)>,
}

impl Reference {
    pub(super) fn admits(&self, drawn: &Drawn, now_us: u64, cost: u64) -> bool {
        let (capacity, period_us) = (drawn.rule.capacity(), drawn.period_us);
        match drawn.rule {
            Rule::Gcra(_) => {
                let now = u128::from(now_us) * u128::from(drawn.limit);
                let arrival = self.arrival(drawn).max(now);
                let period = u128::from(period_us);
                arrival - now + u128::from(cost) * period <= u128::from(capacity) * period
            }
            Rule::FixedWindow(_) => {
                self.in_window(now_us / period_us, period_us) + cost <= capacity
            }
            Rule::SlidingWindow(rule) => self.slides(&rule, now_us, cost),
            Rule::SlidingLog(_) => self.since(now_us, period_us) + cost <= capacity,
        }
    }

    pub(super) fn admit(&mut self, now_us: u64, cost: u64) {
        self.admitted.push((now_us, cost));
    }

    /// What was admitted in the period that ends now.
    pub(super) fn since(&self, now_us: u64, period_us: u64) -> u64 {
        let recent = self.admitted.iter().filter(|(at_us, _)| at_us + period_us > now_us);
        recent.map(|(_, cost)| cost).sum()
    }

    /// The theoretical arrival time, in parts of a µs of which the quota makes one: each cost moves it
    /// by a period.
    fn arrival(&self, drawn: &Drawn) -> u128 {
        self.admitted.iter().fold(0, |arrival: u128, (at_us, cost)| {
            let at = u128::from(*at_us) * u128::from(drawn.limit);
            arrival.max(at) + u128::from(*cost) * u128::from(drawn.period_us)
        })
    }

    fn in_window(&self, number: u64, period_us: u64) -> u64 {
        let of = self.admitted.iter().filter(|(at_us, _)| at_us / period_us == number);
        of.map(|(_, cost)| cost).sum()
    }

    fn slides(&self, rule: &SlidingWindow, now_us: u64, cost: u64) -> bool {
        let (number, within_us) = (now_us / rule.period_us, now_us % rule.period_us);
        let before = match number {
            0 => 0,
            number => self.in_window(number - 1, rule.period_us),
        };
        let passed = u128::from(within_us / rule.tick_us);
        let (ticks, before) = (u128::from(rule.ticks), u128::from(before));
        let costs = u128::from(self.in_window(number, rule.period_us) + cost);
        let admits = before * (ticks - passed) + costs * ticks <= u128::from(rule.capacity) * ticks;
        // Never more than by the definition without ticks.
        let period_us = u128::from(rule.period_us);
        let left_us = period_us - u128::from(within_us);
        let exactly = before * left_us + costs * period_us <= u128::from(rule.capacity) * period_us;
        assert!(exactly || !admits, "ticks have let something pass");
        admits
    }
}
