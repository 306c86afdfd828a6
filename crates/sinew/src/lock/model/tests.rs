//! The laws of a lock's state, step by step and at any time.

use proptest::prelude::*;

use super::*;

const PROCESSES: u64 = 3;

/// A lock, the time, and whom it has woken.
struct Lock {
    state: State,
    now: Now,
    wakes: Vec<Wake>,
}

impl Lock {
    fn new() -> Self {
        Self { state: State::default(), now: Now { ms: 1_000, us: 1_000_000 }, wakes: Vec::new() }
    }

    fn ask(&mut self, token: Token, waits: bool) -> Answer {
        self.ask_again(token, waits, None)
    }

    fn ask_again(&mut self, token: Token, waits: bool, arrival: Option<u64>) -> Answer {
        self.now.us += 1;
        let ask = Ask { token, ttl: ttl(1_000), waits, arrival, replicas: None };
        self.state.acquire(&ask, self.now, &mut self.wakes)
    }

    fn takes(&mut self, token: Token) -> Fence {
        match self.ask(token, true) {
            Answer::Granted { fence } => fence,
            answer @ Answer::NotNow { .. } => panic!("{token} is not granted: {answer:?}"),
        }
    }

    fn waits(&mut self, token: Token) -> Option<u64> {
        match self.ask(token, true) {
            Answer::NotNow { arrival, .. } => arrival,
            answer @ Answer::Granted { .. } => panic!("{token} need not wait: {answer:?}"),
        }
    }

    fn releases(&mut self, token: Token) -> Vec<Wake> {
        self.wakes.clear();
        assert!(self.state.release(token, self.now, &mut self.wakes));
        self.wakes.clone()
    }

    fn passes(&mut self, ms: u64) {
        (self.now.ms, self.now.us) = (self.now.ms + ms, self.now.us + ms * 1_000);
    }

    fn holders(&self) -> Vec<Token> {
        self.state.look(self.now, 100).holders.iter().map(|(token, _)| *token).collect()
    }
}

fn ttl(ms: u64) -> Ttl {
    Ttl::new(Duration::from_millis(ms)).unwrap()
}

fn token(kind: Kind, own: u64) -> Token {
    Token { kind, process: own % PROCESSES, own }
}

fn alone(own: u64) -> Token {
    token(Kind::Alone, own)
}

fn shared(own: u64) -> Token {
    token(Kind::Shared, own)
}

fn permit(own: u64) -> Token {
    token(Kind::Permit { of: 2 }, own)
}

fn at_once(token: Token) -> Wake {
    Wake { token, after: Duration::ZERO }
}

#[test]
fn a_token_reads_as_it_was_written() {
    for kind in [Kind::Alone, Kind::Shared, Kind::Permit { of: 12 }] {
        let token = Token { kind, process: u64::MAX, own: 7 };
        assert_eq!(Token::parse(&token.to_string()), Some(token));
    }
    for bad in ["", "x", "x.1", "y.1.2", "s.1.2", "x.g.2"] {
        assert_eq!(Token::parse(bad), None, "{bad}");
    }
}

#[test]
fn a_request_that_runs_twice_is_granted_once_with_one_fence() {
    let mut lock = Lock::new();
    let fence = lock.takes(alone(1));
    assert_eq!(lock.takes(alone(1)), fence);
    assert_eq!(lock.holders(), [alone(1)]);
    lock.waits(alone(2));
    lock.waits(alone(2));
    lock.releases(alone(1));
    assert!(lock.takes(alone(2)) > fence);
}

#[test]
fn a_claim_that_has_run_out_is_not_held_against_who_could_not_come() {
    let mut lock = Lock::new();
    lock.takes(alone(1));
    let place = lock.waits(alone(2));
    lock.releases(alone(1));
    // The writer is late, and a reader takes its turn.
    lock.passes(60);
    lock.takes(shared(3));
    let back = lock.ask_again(alone(2), true, place);
    assert!(matches!(back, Answer::NotNow { arrival, .. } if arrival == place), "in its old place");
    // No other reader goes before it now.
    for reader in 4..8 {
        lock.passes(60);
        lock.waits(shared(reader));
    }
    lock.releases(shared(3));
    lock.takes(alone(2));
}

#[test]
fn a_release_wakes_the_first_in_line_and_tells_one_of_another_process_to_look_later() {
    let mut lock = Lock::new();
    lock.takes(alone(1));
    // The first two are of one process.
    for own in [2, 2 + PROCESSES, 3, 4] {
        lock.waits(alone(own));
    }
    let wakes = lock.releases(alone(1));
    assert_eq!(wakes, [at_once(alone(2)), Wake { token: alone(3), after: CLAIM }]);
    // Nobody else comes first, whether in line or not.
    assert!(
        matches!(lock.ask(alone(9), false), Answer::NotNow { again_in, .. } if again_in >= CLAIM)
    );
    lock.waits(alone(3));
    lock.takes(alone(2));
}

#[test]
fn a_waiter_that_does_not_come_is_passed_over_after_its_claim_and_keeps_its_place() {
    let mut lock = Lock::new();
    lock.takes(alone(1));
    let place = lock.waits(alone(2));
    lock.waits(alone(3));
    lock.releases(alone(1));
    lock.passes(millis(CLAIM) - 1);
    lock.waits(alone(3));
    lock.passes(1);
    lock.takes(alone(3));
    lock.waits(alone(4));
    // It was only slow.
    assert!(matches!(lock.ask_again(alone(2), true, place), Answer::NotNow { .. }));
    assert_eq!(lock.releases(alone(3))[0], at_once(alone(2)));
}

#[test]
fn a_dead_waiter_holds_up_no_one_for_longer_where_the_clock_was_set_back() {
    let mut lock = Lock::new();
    lock.passes(60_000);
    lock.takes(alone(1));
    lock.waits(alone(2));
    lock.waits(alone(3));
    lock.releases(alone(1));
    (lock.now.ms, lock.now.us) = (lock.now.ms - 50_000, lock.now.us - 50_000_000);
    // It has the time of a claim, and no more.
    lock.waits(alone(3));
    lock.passes(millis(CLAIM));
    lock.takes(alone(3));
}

#[test]
fn a_waiter_that_is_not_heard_of_is_forgotten() {
    let mut lock = Lock::new();
    lock.takes(alone(1));
    lock.waits(alone(2));
    lock.passes(500);
    assert!(lock.state.extend(alone(1), ttl(10_000), lock.now));
    lock.waits(alone(3));
    lock.passes(millis(WAITER_ALIVE) - 500);
    assert_eq!(lock.state.look(lock.now, 9).waiting, 1);
    assert_eq!(lock.releases(alone(1)), [at_once(alone(3))]);
}

#[test]
fn a_hold_ends_with_its_ttl_and_is_not_brought_back() {
    let mut lock = Lock::new();
    let fence = lock.takes(alone(1));
    lock.passes(999);
    assert!(lock.state.extend(alone(1), ttl(10), lock.now));
    lock.passes(9);
    assert!(matches!(lock.ask(alone(2), false), Answer::NotNow { .. }));
    lock.passes(1);
    assert!(!lock.state.extend(alone(1), ttl(1_000), lock.now));
    assert!(lock.takes(alone(2)) > fence);
    assert!(!lock.state.release(alone(1), lock.now, &mut Vec::new()));
}

#[test]
fn readers_hold_together_a_writer_alone_and_they_stand_in_one_line() {
    let mut lock = Lock::new();
    let fence = lock.takes(alone(9));
    lock.releases(alone(9));
    assert_eq!(lock.takes(shared(1)), fence, "the last writer's");
    assert_eq!(lock.takes(shared(2)), fence);
    lock.waits(alone(3));
    lock.waits(shared(4));
    lock.waits(shared(5));
    assert!(lock.releases(shared(1)).is_empty());
    assert_eq!(lock.releases(shared(2))[0], at_once(alone(3)));
    lock.waits(shared(4));
    assert!(lock.takes(alone(3)) > fence);
    assert_eq!(lock.releases(alone(3))[0], at_once(shared(4)));
    lock.wakes.clear();
    lock.takes(shared(4));
    assert_eq!(lock.wakes[0], at_once(shared(5)), "each grant wakes the next that fits");
    lock.takes(shared(5));
}

#[test]
fn as_many_hold_a_semaphore_as_it_has_permits() {
    let mut lock = Lock::new();
    assert_eq!(lock.takes(permit(1)), Fence::NONE);
    lock.takes(permit(2));
    lock.waits(permit(3));
    lock.waits(permit(4));
    assert_eq!(lock.releases(permit(1))[0], at_once(permit(3)));
    lock.waits(permit(4));
    lock.takes(permit(3));
    assert_eq!(lock.state.look(lock.now, 9).holding, 2);
    assert!(matches!(lock.ask(alone(5), false), Answer::NotNow { .. }));
}

#[test]
fn what_is_taken_away_is_free_for_who_is_next() {
    let mut lock = Lock::new();
    lock.takes(alone(1));
    lock.waits(alone(2));
    assert_eq!(lock.state.force_release(lock.now, &mut lock.wakes), 1);
    assert_eq!(lock.wakes, [at_once(alone(2))]);
    assert!(!lock.state.extend(alone(1), ttl(1_000), lock.now));
    lock.takes(alone(2));
    assert_eq!(lock.state.force_release(lock.now, &mut lock.wakes), 1);
    assert!(lock.state.is_idle(lock.now));
}

#[derive(Clone, Debug)]
enum Step {
    Ask(Token, bool),
    Extend(Token),
    Release(Token),
    ForceRelease,
    Forget,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![Just(Kind::Alone), Just(Kind::Shared), Just(Kind::Permit { of: 2 })];
    // A token is of one kind: its number says which.
    let token = (kind, 0..3_u64).prop_map(|(kind, n)| {
        let of_kind = match kind {
            Kind::Alone => 0,
            Kind::Shared => 1,
            Kind::Permit { .. } => 2,
        };
        token(kind, n * 3 + of_kind)
    });
    prop_oneof![
        6 => (token.clone(), any::<bool>()).prop_map(|(token, waits)| Step::Ask(token, waits)),
        1 => token.clone().prop_map(Step::Extend),
        4 => token.prop_map(Step::Release),
        1 => Just(Step::ForceRelease),
        1 => Just(Step::Forget),
        2 => prop_oneof![Just(1), Just(30), Just(60), Just(600), Just(2_000)].prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn no_two_hold_what_excludes_them_and_fences_only_grow(
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let (mut lock, mut last) = (Lock::new(), Fence::NONE);
        for step in steps {
            match step {
                Step::Ask(token, waits) => {
                    let held_before = lock.holders().contains(&token);
                    match lock.ask(token, waits) {
                        Answer::Granted { fence } if token.kind == Kind::Alone => {
                            prop_assert!(fence > last || held_before && fence == last);
                            last = fence;
                        }
                        Answer::Granted { fence } if token.kind == Kind::Shared => {
                            prop_assert!(fence >= last);
                            last = fence;
                        }
                        Answer::Granted { fence } => prop_assert_eq!(fence, Fence::NONE),
                        Answer::NotNow { again_in, arrival } => {
                            prop_assert!(!again_in.is_zero());
                            prop_assert_eq!(arrival.is_some(), waits);
                            prop_assert!(!held_before, "a retry is granted again");
                        }
                    }
                }
                Step::Extend(token) => {
                    let held = lock.holders().contains(&token);
                    prop_assert_eq!(lock.state.extend(token, ttl(700), lock.now), held);
                }
                Step::Release(token) => {
                    let now = lock.now;
                    lock.state.release(token, now, &mut lock.wakes);
                    prop_assert!(!lock.holders().contains(&token));
                }
                Step::ForceRelease => {
                    let (now, held) = (lock.now, lock.holders().len() as u64);
                    prop_assert_eq!(lock.state.force_release(now, &mut lock.wakes), held);
                    prop_assert!(lock.holders().is_empty());
                }
                // A FLUSHALL: the time alone keeps fences growing.
                Step::Forget => lock.state = State::default(),
                Step::Pass(ms) => lock.passes(ms),
            }
            let holders = lock.holders();
            let kinds_fit = holders.windows(2).all(|two| {
                two[0].kind == two[1].kind && two[0].kind != Kind::Alone
            });
            prop_assert!(kinds_fit, "{holders:?}");
            let permits = holders.iter().filter(|h| matches!(h.kind, Kind::Permit { .. })).count();
            prop_assert!(permits <= 2);
            let waits_and_holds = lock.state.line.iter().any(|w| holders.contains(&w.token));
            prop_assert!(!waits_and_holds);
            prop_assert!(lock.state.line.is_sorted_by_key(|waiter| waiter.arrival));
        }
    }

    /// Whoever asks as it is told, in whatever order, is granted in the order of its coming.
    #[test]
    fn the_line_is_served_in_order(askers in prop::collection::vec(0..5_usize, 0..60)) {
        let mut lock = Lock::new();
        lock.takes(alone(99));
        let waiters: Vec<Token> = (0..5).map(alone).collect();
        for waiter in &waiters {
            lock.waits(*waiter);
        }
        lock.releases(alone(99));
        let mut served: Vec<Token> = Vec::new();
        let everyone = (0..5).cycle().take(25);
        for asker in askers.into_iter().chain(everyone) {
            let asker = waiters[asker];
            if served.contains(&asker) {
                continue;
            }
            if let Answer::Granted { .. } = lock.ask(asker, true) {
                served.push(asker);
                lock.releases(asker);
            }
        }
        prop_assert_eq!(served, waiters);
    }
}
