//! The checker finds what is broken, and nothing else.

use std::time::Duration;

use super::checker::{Broken, Margins, check};
use super::history::{Attempt, Event, Fault, FaultKind, History, Register, What};
use super::margins;
use crate::tortured::now_ns;
use crate::world::{SHARED_REDIS, redis_cli, wait_until};

/// A lock as it is mostly written by hand, with a fence beside it.
struct HandWritten {
    key: String,
    release: &'static str,
    register: Register,
}

const TAKE: &str = "if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then \
                    return redis.call('INCR', KEYS[2]) end return 0";
/// Whoever holds it by now: the bug.
const RELEASE_ANYONES: &str = "return redis.call('DEL', KEYS[1])";
const RELEASE_MINE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then \
                            return redis.call('DEL', KEYS[1]) end return 0";

impl HandWritten {
    fn new(name: &str, release: &'static str) -> Self {
        let key = format!("handwritten:{name}:{}", std::process::id());
        Self { key, release, register: Register::default() }
    }

    fn eval(&self, script: &str, by: u64, ttl_ms: u64) -> u64 {
        let (fence, by, ttl) = (format!("{}:fence", self.key), by.to_string(), ttl_ms.to_string());
        let said =
            redis_cli(SHARED_REDIS.port, &["EVAL", script, "2", &self.key, &fence, &by, &ttl]);
        said.parse().expect("a number")
    }

    fn tell(&self, what: What, process: u64, fence: u64) -> bool {
        let by = Attempt { process, life: 0, task: 0, number: 0 };
        self.register.hear(Event { what, at_ns: now_ns(), by, lock: 0, beside: 0, fence })
    }

    /// The fence, if it was free.
    fn take(&self, by: u64, ttl_ms: u64) -> Option<u64> {
        let fence = self.eval(TAKE, by, ttl_ms);
        (fence > 0).then(|| {
            self.tell(What::Asks, by, 0);
            self.tell(What::Got, by, fence);
            self.works(by, fence);
            fence
        })
    }

    fn works(&self, by: u64, fence: u64) -> bool {
        self.tell(What::Sure, by, fence);
        self.tell(What::Writes, by, fence)
    }

    fn free(&self, by: u64, fence: u64) {
        self.tell(What::Ends, by, fence);
        self.eval(self.release, by, 0);
    }

    fn broken(&self) -> Vec<Broken> {
        let report = check(&self.register.history(), margins(Duration::ZERO));
        report.kinds().into_iter().collect()
    }
}

const NOTHING: [Broken; 0] = [];

/// One holds it for longer than its TTL, and frees it when it is another's.
fn played_by_hand(name: &str, release: &'static str) -> Vec<Broken> {
    let lock = HandWritten::new(name, release);
    let slow = lock.take(1, 50).expect("it is free");
    wait_until("its time is over", || lock.eval("return redis.call('EXISTS', KEYS[1])", 0, 0) == 0);
    let second = lock.take(2, 60_000).expect("it is free");
    lock.free(1, slow);
    let third = lock.take(3, 60_000);
    // Nobody told it of anything, and its time is not over.
    let is_taken = lock.works(2, second);
    assert_eq!(is_taken, third.is_none(), "the register refuses what is late");
    lock.free(2, second);
    let third = third.or_else(|| lock.take(3, 60_000)).expect("it is free");
    lock.free(3, third);
    lock.broken()
}

#[test]
fn a_lock_that_anyone_frees_is_found_out_and_one_that_only_its_holder_frees_is_not() {
    assert_eq!(played_by_hand("anyone", RELEASE_ANYONES), [Broken::Overlap]);
    assert_eq!(played_by_hand("holder", RELEASE_MINE), NOTHING);
}

#[test]
fn fences_that_begin_again_are_found_out() {
    let lock = HandWritten::new("again", RELEASE_MINE);
    for by in 1..4 {
        let fence = lock.take(by, 60_000).expect("it is free");
        lock.free(by, fence);
    }
    assert_eq!(lock.broken(), NOTHING);
    redis_cli(SHARED_REDIS.port, &["DEL", &format!("{}:fence", lock.key)]);
    let fence = lock.take(4, 60_000).expect("it is free");
    lock.free(4, fence);
    assert_eq!(lock.broken(), [Broken::FenceNotGreater]);
}

/// `WHAT TIME PROCESS FENCE`, all holding alone.
fn told(lines: &[(What, u64, u64, u64)]) -> History {
    let event = |(what, at_ns, process, fence): &(What, u64, u64, u64)| {
        let by = Attempt { process: *process, life: 0, task: 0, number: 0 };
        Event { what: *what, at_ns: *at_ns, by, lock: 0, beside: 0, fence: *fence }
    };
    History { events: lines.iter().map(event).collect(), faults: Vec::new() }
}

#[test]
fn each_broken_promise_is_found_out_by_its_name() {
    use What::{Asks, Got, Held, Sure, Wrote};
    let kinds = |lines: &[_]| -> Vec<Broken> {
        check(&told(lines), margins(Duration::ZERO)).kinds().into_iter().collect()
    };
    let good = [(Asks, 1, 1, 0), (Got, 2, 1, 5), (Sure, 3, 1, 5), (Wrote, 4, 1, 5)];
    let and = |more: &[(What, u64, u64, u64)]| kinds(&[&good[..], more].concat());
    assert_eq!(and(&[(Asks, 5, 2, 0), (Got, 6, 2, 6), (Wrote, 7, 2, 6)]), NOTHING);
    let late = [(Asks, 2, 2, 0), (Got, 5, 2, 6), (Wrote, 6, 2, 6), (Wrote, 7, 1, 5)];
    assert_eq!(and(&late), [Broken::Stale, Broken::Interleaved]);
    assert_eq!(and(&[(Asks, 5, 2, 0), (Got, 6, 2, 4)]), [Broken::FenceNotGreater]);
    let same = [(Asks, 2, 2, 0), (Got, 6, 2, 5), (Wrote, 7, 2, 5)];
    assert_eq!(and(&same), [Broken::Interleaved, Broken::FenceNotGreater]);
    let both = [(Asks, 1, 2, 0), (Got, 2, 2, 6), (Sure, 4, 2, 6)];
    assert_eq!(and(&both), [Broken::Overlap]);
    assert_eq!(and(&[(Asks, 0, 2, 0), (Got, 5, 2, 6)]), [Broken::Overtaken]);
    assert_eq!(and(&[(Asks, 5, 2, 0)]), [Broken::NeverServed]);
    assert_eq!(and(&[(Asks, 5, 2, 0), (Held, 6, 2, 0)]), [Broken::NeverServed]);
}

#[test]
fn one_that_stood_still_is_overtaken_by_none_that_comes_after_it_is_back() {
    use What::{Asks, Got};
    let of = |late: u64, process| {
        let mut history = told(&[
            (Asks, 1, 1, 0),
            (Asks, late, 2, 0),
            (Got, late + 1, 2, 5),
            (Asks, late + 1, 3, 0),
            (Got, late + 2, 1, 6),
            (Got, late + 3, 3, 7),
        ]);
        let kind = FaultKind::Stopped { process };
        history.faults = vec![Fault { kind, from_ns: 10, to_ns: 20 }];
        let margins = Margins { aftermath: Duration::ZERO, ..margins(Duration::ZERO) };
        check(&history, margins).kinds().into_iter().collect::<Vec<_>>()
    };
    // It stands still while the other one comes, and has come back before that.
    assert_eq!(of(15, 1), NOTHING);
    assert_eq!(of(25, 1), [Broken::Overtaken]);
    // It was there all the time.
    assert_eq!(of(15, 2), [Broken::Overtaken]);
}

#[test]
fn as_many_as_may_hold_together_are_not_found_and_one_more_is() {
    use What::{Asks, Got, Sure};
    let of = |beside: u64, holders: u64| {
        let lines: Vec<_> = (1..=holders).map(|by| (Asks, by, by, 0)).collect();
        let got = (1..=holders).map(|by| (Got, 10 + by, by, 0));
        let sure = (1..=holders).map(|by| (Sure, 50, by, 0));
        let mut history = told(&lines.into_iter().chain(got).chain(sure).collect::<Vec<_>>());
        history.events.iter_mut().for_each(|event| event.beside = beside);
        check(&history, margins(Duration::ZERO)).kinds().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(of(2, 3), NOTHING);
    assert_eq!(of(2, 4), [Broken::Overlap]);
    assert_eq!(of(u64::MAX, 9), NOTHING);
}

#[test]
fn only_a_fault_that_makes_redis_forget_explains_two_holders() {
    use What::{Asks, Got, Sure};
    let mut history = told(&[
        (Asks, 10, 1, 0),
        (Got, 20, 1, 5),
        (Asks, 20, 2, 0),
        (Got, 30, 2, 6),
        (Sure, 40, 1, 5),
        (Sure, 40, 2, 6),
    ]);
    for (kind, expected) in [
        (FaultKind::Cut, vec![Broken::Overlap]),
        (FaultKind::Stopped { process: 1 }, vec![Broken::Overlap]),
        (FaultKind::Full, vec![Broken::Overlap]),
        (FaultKind::Forgot, vec![]),
    ] {
        history.faults = vec![Fault { kind, from_ns: 25, to_ns: 26 }];
        let kinds: Vec<_> = check(&history, margins(Duration::ZERO)).kinds().into_iter().collect();
        assert_eq!(kinds, expected, "{kind:?}");
    }
}
