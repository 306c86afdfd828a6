//! The breaker's decisions: a pure state machine over (state, outcome, now).

use std::time::Duration;

use super::policy::Policy;
use crate::kernel::clock::Monotonic;

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// Calls are refused until a time has passed.
    Open,
    /// One call passes, to see whether the next ones may.
    HalfOpen,
    /// Calls are refused until someone resets it by hand.
    Isolated,
}

impl BreakerState {
    /// A fixed word for logs, pages and the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::Isolated => "isolated",
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed,
    Open { until: Monotonic },
    HalfOpen { probing: bool },
    Isolated,
}

/// One call's right to be made. What becomes of it counts only for the state that granted it:
/// a call from before an outage says nothing about after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    epoch: u64,
    pub(super) is_probe: bool,
}

#[derive(Debug)]
pub(super) struct Core {
    policy: Policy,
    state: State,
    /// Counts the changes of state.
    epoch: u64,
    in_a_row: u32,
    recent: Window,
    /// Times it opened since it last was closed.
    openings: u32,
}

impl Core {
    pub(super) fn new(policy: Policy) -> Self {
        let recent = Window::new(policy.window);
        Self { policy, state: State::Closed, epoch: 0, in_a_row: 0, recent, openings: 0 }
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
            State::Isolated => BreakerState::Isolated,
        }
    }

    /// A ticket, or how long to wait before asking again.
    pub(super) fn permit(&mut self, now: Monotonic) -> Result<Ticket, Duration> {
        match &mut self.state {
            State::Closed => Ok(self.ticket()),
            State::Open { until } if now < *until => Err(until.since(now)),
            State::Open { .. } => {
                self.enter(State::HalfOpen { probing: true });
                Ok(self.ticket())
            }
            State::HalfOpen { probing: true } => Err(self.policy.open_for),
            State::HalfOpen { probing } => {
                *probing = true;
                Ok(self.ticket())
            }
            State::Isolated => Err(self.policy.open_for_max),
        }
    }

    fn ticket(&self) -> Ticket {
        let is_probe = matches!(self.state, State::HalfOpen { .. });
        Ticket { epoch: self.epoch, is_probe }
    }

    pub(super) fn succeeded(&mut self, ticket: Ticket, now: Monotonic) {
        if ticket.epoch != self.epoch {
            return;
        }
        match self.state {
            State::Closed => {
                self.in_a_row = 0;
                self.recent.count(now, true);
            }
            State::HalfOpen { .. } => self.close(),
            State::Open { .. } | State::Isolated => {}
        }
    }

    /// `random` in 0..1 spreads the breakers of a fleet.
    pub(super) fn failed(&mut self, ticket: Ticket, now: Monotonic, random: f64) {
        if ticket.epoch == self.epoch {
            self.incident(now, random);
        }
    }

    /// Something failed that needed no ticket, or had one of this epoch.
    pub(super) fn incident(&mut self, now: Monotonic, random: f64) {
        match self.state {
            State::Closed => {
                self.in_a_row += 1;
                self.recent.count(now, false);
                if self.in_a_row >= self.policy.in_a_row || self.recent.is_bad(&self.policy) {
                    self.open(now, random);
                }
            }
            State::HalfOpen { .. } => self.open(now, random),
            State::Open { .. } | State::Isolated => {}
        }
    }

    /// A call that was dropped before it came to an end: nothing is known, and the next may probe.
    pub(super) fn dropped(&mut self, ticket: Ticket) {
        if let State::HalfOpen { probing } = &mut self.state
            && ticket.epoch == self.epoch
        {
            *probing = false;
        }
    }

    /// What it guards was seen to be well.
    pub(super) fn recovered(&mut self) {
        if matches!(self.state, State::Open { .. } | State::HalfOpen { .. }) {
            self.close();
        }
    }

    pub(super) fn isolate(&mut self) {
        self.enter(State::Isolated);
    }

    pub(super) fn close(&mut self) {
        self.in_a_row = 0;
        self.openings = 0;
        self.recent = Window::new(self.policy.window);
        self.enter(State::Closed);
    }

    fn open(&mut self, now: Monotonic, random: f64) {
        let doubled = self.policy.open_for.saturating_mul(1 << self.openings.min(16));
        let longest = doubled.min(self.policy.open_for_max);
        self.openings += 1;
        // Up to a quarter less.
        self.enter(State::Open { until: now.after(longest.mul_f64(1.0 - random / 4.0)) });
    }

    fn enter(&mut self, state: State) {
        self.epoch += 1;
        self.state = state;
    }
}

const SLICES: u32 = 10;

/// Outcomes of late, in slices of a tenth of the window.
#[derive(Debug)]
struct Window {
    slice: Duration,
    slices: [Slice; SLICES as usize],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    number: u64,
    good: u64,
    bad: u64,
}

impl Window {
    fn new(length: Duration) -> Self {
        let slice = (length / SLICES).max(Duration::from_millis(1));
        Self { slice, slices: [Slice::default(); SLICES as usize] }
    }

    // A clock that counts nanoseconds overflows neither in centuries.
    #[allow(clippy::cast_possible_truncation)]
    fn count(&mut self, now: Monotonic, is_good: bool) {
        let number = (now.as_nanos() / self.slice.as_nanos()) as u64;
        let slice = &mut self.slices[number as usize % SLICES as usize];
        if slice.number != number {
            *slice = Slice { number, ..Slice::default() };
        }
        match is_good {
            true => slice.good += 1,
            false => slice.bad += 1,
        }
        if !is_good {
            // Only a failure asks for the sums.
            let oldest = (number + 1).saturating_sub(SLICES.into());
            for slice in self.slices.iter_mut().filter(|slice| slice.number < oldest) {
                *slice = Slice::default();
            }
        }
    }

    fn is_bad(&self, policy: &Policy) -> bool {
        let good: u64 = self.slices.iter().map(|slice| slice.good).sum();
        let bad: u64 = self.slices.iter().map(|slice| slice.bad).sum();
        let all = good + bad;
        all >= u64::from(policy.at_least) && bad * 100 >= all * u64::from(policy.percent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Permit,
        Succeed(usize),
        Fail(usize),
        Drop(usize),
        Incident,
        Recover,
        Isolate,
        Reset,
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => Just(Step::Permit),
            3 => any::<usize>().prop_map(Step::Succeed),
            4 => any::<usize>().prop_map(Step::Fail),
            2 => any::<usize>().prop_map(Step::Drop),
            1 => Just(Step::Incident),
            1 => Just(Step::Recover),
            1 => Just(Step::Isolate),
            1 => Just(Step::Reset),
            4 => (0u64..3_000).prop_map(Step::Wait),
        ]
    }

    /// What the rule says, written without states and slices: the outcomes since it last closed.
    #[derive(Default)]
    struct Rule {
        outcomes: Vec<(u64, bool)>,
    }

    impl Rule {
        fn says_open(&self, now: u64, policy: &Policy) -> bool {
            let in_a_row = self.outcomes.iter().rev().take_while(|(_, good)| !good).count();
            let slice = policy.window.as_secs() * 100;
            let recent = self.outcomes.iter().filter(|(at, _)| at / slice + 10 > now / slice);
            let recent: Vec<bool> = recent.map(|(_, good)| *good).collect();
            let bad = recent.iter().filter(|good| !**good).count();
            let by_ratio = recent.len() >= policy.at_least as usize
                && bad * 100 >= recent.len() * usize::from(policy.percent);
            in_a_row >= policy.in_a_row as usize || by_ratio
        }
    }

    fn at(ms: u64) -> Monotonic {
        Monotonic::ZERO.after(Duration::from_millis(ms))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn it_opens_exactly_by_its_rule_and_never_probes_twice_at_once(
            steps in prop::collection::vec(step(), 1..200),
            in_a_row in 2u32..30,
            at_least in 4u32..30,
        ) {
            let policy = Policy { in_a_row, at_least, ..Policy::default() };
            let mut core = Core::new(policy);
            let mut now = 100_000;
            let mut tickets: Vec<Ticket> = Vec::new();
            let mut rule = Rule::default();
            for step in steps {
                let before = core.state();
                let epoch = core.epoch;
                // An outcome counts while the breaker is closed, and only of its own epoch.
                let mut counted = None;
                match step {
                    Step::Permit => if let Ok(ticket) = core.permit(at(now)) {
                        prop_assert!(ticket.epoch == core.epoch);
                        prop_assert!(!matches!(core.state(), BreakerState::Open | BreakerState::Isolated));
                        let probes = tickets.iter().filter(|t| t.is_probe && t.epoch == core.epoch);
                        prop_assert!(!ticket.is_probe || probes.count() == 0, "two probes at once");
                        tickets.push(ticket);
                    },
                    Step::Succeed(n) if !tickets.is_empty() => {
                        let ticket = tickets.swap_remove(n % tickets.len());
                        core.succeeded(ticket, at(now));
                        counted = (ticket.epoch == epoch).then_some(true);
                    }
                    Step::Fail(n) if !tickets.is_empty() => {
                        let ticket = tickets.swap_remove(n % tickets.len());
                        core.failed(ticket, at(now), 0.5);
                        counted = (ticket.epoch == epoch).then_some(false);
                    }
                    Step::Drop(n) if !tickets.is_empty() => {
                        core.dropped(tickets.swap_remove(n % tickets.len()));
                    }
                    Step::Succeed(_) | Step::Fail(_) | Step::Drop(_) => {}
                    Step::Incident => {
                        core.incident(at(now), 0.5);
                        counted = Some(false);
                    }
                    Step::Recover => core.recovered(),
                    Step::Isolate => core.isolate(),
                    Step::Reset => core.close(),
                    Step::Wait(ms) => now += ms,
                }
                if let (BreakerState::Closed, Some(good)) = (before, counted) {
                    rule.outcomes.push((now, good));
                    let opens = !good && rule.says_open(now, &policy);
                    prop_assert_eq!(core.state() == BreakerState::Open, opens);
                }
                if core.epoch != epoch && core.state() == BreakerState::Closed {
                    rule = Rule::default();
                }
            }
        }

        #[test]
        fn it_always_closes_after_a_recovery(
            steps in prop::collection::vec(step(), 1..200),
        ) {
            let mut core = Core::new(Policy::default());
            let mut now = 100_000;
            let mut tickets: Vec<Ticket> = Vec::new();
            for step in steps {
                match step {
                    Step::Permit => tickets.extend(core.permit(at(now)).ok()),
                    Step::Fail(n) if !tickets.is_empty() => {
                        core.failed(tickets.swap_remove(n % tickets.len()), at(now), 0.0);
                    }
                    Step::Drop(n) if !tickets.is_empty() => {
                        core.dropped(tickets.swap_remove(n % tickets.len()));
                    }
                    Step::Incident => core.incident(at(now), 0.0),
                    Step::Wait(ms) => now += ms,
                    _ => {}
                }
            }
            // Calls under way come to an end, and from now on every call succeeds.
            for ticket in tickets {
                core.dropped(ticket);
            }
            now += 60_000;
            for _ in 0..2 {
                let ticket = core.permit(at(now));
                prop_assert!(ticket.is_ok(), "refused after the longest pause");
                core.succeeded(ticket.unwrap(), at(now));
            }
            prop_assert_eq!(core.state(), BreakerState::Closed);
        }
    }

    #[test]
    fn it_stays_open_twice_as_long_after_each_probe_that_failed() {
        let mut core = Core::new(Policy::default());
        let mut now = 0;
        for _ in 0..3 {
            core.incident(at(now), 0.0);
        }
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(core.permit(at(now)), Err(Duration::from_secs(seconds)));
            now += seconds * 1_000;
            let probe = core.permit(at(now)).unwrap();
            assert!(probe.is_probe);
            core.failed(probe, at(now), 0.0);
        }
        core.recovered();
        assert_eq!(core.state(), BreakerState::Closed);
    }

    #[test]
    fn a_call_from_before_an_outage_says_nothing_about_after_it() {
        let mut core = Core::new(Policy::default());
        let old = core.permit(at(0)).unwrap();
        for _ in 0..3 {
            core.incident(at(0), 0.0);
        }
        core.succeeded(old, at(1));
        assert_eq!(core.state(), BreakerState::Open);
        let probe = core.permit(at(1_000)).unwrap();
        core.failed(old, at(1_000), 0.0);
        assert_eq!(core.state(), BreakerState::HalfOpen);
        core.succeeded(probe, at(1_001));
        assert_eq!(core.state(), BreakerState::Closed);
    }
}
