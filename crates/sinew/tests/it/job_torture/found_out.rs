//! The checker finds what is broken, and nothing else.

use std::time::{Duration, Instant};

use super::checker::{Broken, Margins, check};
use super::history::{Dead, Event, Fault, FaultKind, History, Id, What, Worker};
use super::planting::Bug;
use super::{Fleet, GRACE, LEASE, PULLERS, Settings, WORKERS, margins};
use crate::tortured::{is_found_out, now_ns};

const NOTHING: [Broken; 0] = [];
const MS: u64 = 1_000_000;
const SHORT: Duration = Duration::from_secs(4);

/// Whoever says that a job is done is believed.
const ACK_WITHOUT_FENCE: Bug = &[
    ("if not call('ZSCORE', LANES, lane) then\n  return {0}\nend\n\nlocal asked", "local asked"),
    ("if digits ~= fence then\n", "if not call('HGET', shard(id), id) then\n"),
    ("end_one, id, flags, how", "end_one, id, flags or 'b', how"),
];
/// A job is handed out, and it is not written to whom. Nor is it counted, or the queue's limit would soon hold up all.
const RESERVE_WITHOUT_LEASE: Bug = &[
    (
        "given[2 * n_took - 1], given[2 * n_took] = id, mark",
        "given[2 * n_took - 1], given[2 * n_took] = 'x' .. id, mark",
    ),
    ("  running = running + n_took\n", ""),
];
/// What is due is taken from where it waits, and whoever is to put it elsewhere is gone, now and then.
const PROMOTE_IN_TWO_STEPS: Bug = &[(
    "call('ZREMRANGEBYRANK', SCHED, 0, #due - 1)\n",
    "call('ZREMRANGEBYRANK', SCHED, 0, #due - 1)\n  if now % 3 == 0 then\n    return\n  end\n",
)];
/// A renewal makes a lease where there is none, and does not look at what is held.
const RENEWAL_THAT_RECREATES: Bug = &[
    ("if not call('ZSCORE', LANES, lane) then\n  return {0}\nend\nlocal asked =", "local asked ="),
    (
        "call('ZADD', LANES, 'XX', int(now + ARGV[2]), lane)",
        "call('ZADD', LANES, int(now + ARGV[2]), lane)",
    ),
    ("if match(has[i] or '', '^!?(%d+)') ~= ARGV[2 * i] then", "if false then"),
];

/// Without a fault but the one that is planted, and what `plant` does.
fn planted(bug: Bug, time: Duration, mut plant: impl FnMut(&mut Fleet)) -> Vec<Broken> {
    let settings = Settings { seed: 1, jobs_per_second: 200, bug: Some(bug) };
    let mut fleet = Fleet::start(settings);
    let began = Instant::now();
    while began.elapsed() < time {
        plant(&mut fleet);
        std::thread::sleep(Duration::from_millis(200));
    }
    let is_planted = fleet.planting.as_ref().is_some_and(super::planting::Planting::has_planted);
    assert!(is_planted, "the scripts are others by now: the bug has to be planted elsewhere");
    let (history, _) = fleet.finish(Duration::from_secs(15));
    check(&history, margins()).kinds()
}

/// Those who take jobs by hand stand still, one after the other, until others have what they had.
fn planted_under_stops(bug: Bug) -> Vec<Broken> {
    let mut round = 0;
    planted(bug, 6 * SHORT, |fleet| {
        let (index, from_ns) = (WORKERS + round % PULLERS, now_ns());
        round += 1;
        let index = usize::try_from(index).expect("few");
        fleet.stage.workers.stop(index, LEASE + GRACE + Duration::from_secs(3));
        fleet.register.note(FaultKind::Stopped { process: index as u64 }, from_ns);
    })
}

#[test]
fn an_ack_without_a_fence_is_found_out() {
    is_found_out(Broken::Stale, || planted_under_stops(ACK_WITHOUT_FENCE));
}

#[test]
fn a_renewal_that_recreates_is_found_out() {
    is_found_out(Broken::Raised, || planted_under_stops(RENEWAL_THAT_RECREATES));
}

#[test]
fn a_reserve_without_a_lease_is_found_out() {
    is_found_out(Broken::Lost, || planted(RESERVE_WITHOUT_LEASE, SHORT, |_| {}));
}

#[test]
fn a_promotion_in_two_steps_is_found_out() {
    is_found_out(Broken::Lost, || planted(PROMOTE_IN_TWO_STEPS, SHORT, |_| {}));
}

const ADA: Worker = Worker { process: 0, life: 0 };
const BEN: Worker = Worker { process: 1, life: 0 };

/// One that is like this, and otherwise as plain as can be.
fn id(is: impl Fn(Id) -> bool) -> Id {
    let count = |id: &Id| {
        u32::from(id.key().is_some())
            + u32::from(id.name().is_some())
            + u32::from(id.after().is_some())
            + u32::from(id.has_effect())
            + u32::from(id.is_kept())
            + u32::from(id.is_poison())
    };
    (0..10_000).map(Id).filter(|id| is(*id)).min_by_key(count).expect("there are some")
}

fn plain() -> Id {
    let plain = id(|_| true);
    assert!(plain.key().is_none() && plain.name().is_none() && !plain.is_kept());
    plain
}

fn event(what: What, at_ms: u64, by: Worker, id: Id) -> Event {
    // Of one worker and job, there is one run here.
    Event { what, at_ns: at_ms * MS, by, id, run: id.0, fence: 5 }
}

fn run(id: Id, by: Worker, from_ms: u64, to_ms: u64, fence: u64) -> Vec<Event> {
    let events = [event(What::Begins, from_ms, by, id), event(What::Done, to_ms, by, id)];
    events.map(|event| Event { fence, ..event }).to_vec()
}

fn sent(id: Id, at_ms: u64) -> Vec<Event> {
    vec![event(What::Sends, at_ms, BEN, id), event(What::Enqueued, at_ms + 1, BEN, id)]
}

/// Enqueued, and done well.
fn good(id: Id, at_ms: u64) -> Vec<Event> {
    [sent(id, at_ms), run(id, ADA, at_ms + 2, at_ms + 4, 5)].concat()
}

fn kinds(history: &History) -> Vec<Broken> {
    let margins = Margins { aftermath: Duration::ZERO, word: Duration::ZERO, ..margins() };
    check(history, margins).kinds()
}

fn told(events: Vec<Event>) -> History {
    History { events, ..History::default() }
}

fn fault(kind: FaultKind, from_ms: u64, to_ms: u64) -> Fault {
    Fault { kind, from_ns: from_ms * MS, to_ns: to_ms * MS }
}

#[test]
fn a_job_that_comes_to_no_end_is_found_out_unless_it_is_dead() {
    let all = good(plain(), 10);
    assert_eq!(kinds(&told(all.clone())), NOTHING);
    assert_eq!(kinds(&told(all[..3].to_vec())), [Broken::Lost]);
    // It was never confirmed: it may be there or not.
    assert_eq!(kinds(&told(all[..1].to_vec())), NOTHING);
    assert_eq!(kinds(&told(all[2..].to_vec())), [Broken::Invented]);
    let poison = id(Id::is_poison);
    let mut history = told(sent(poison, 10));
    assert_eq!(kinds(&history), [Broken::Lost]);
    history.dead = vec![Dead { id: poison, crashes: 0 }];
    assert_eq!(kinds(&history), NOTHING);
    let mut history = told(sent(plain(), 10));
    history.dead = vec![Dead { id: plain(), crashes: 4 }];
    assert_eq!(kinds(&history), [Broken::DeadWithoutCause]);
    history.dead[0].crashes = 5;
    assert_eq!(kinds(&history), NOTHING);
    // What is to be kept is there.
    let kept = id(|id| id.is_kept() && !id.has_effect() && id.after().is_none());
    let mut history = told(good(kept, 10));
    assert_eq!(kinds(&history), [Broken::Lost]);
    history.kept = vec![(kept, (ADA, kept.0))];
    assert_eq!(kinds(&history), NOTHING);
}

#[test]
fn what_comes_after_a_job_comes_and_not_before() {
    let first = id(|id| id.after().is_some());
    let after = first.after().expect("something does");
    let mut history = told(good(first, 10));
    history.kept = vec![(first, (ADA, first.0))];
    assert_eq!(kinds(&history), [Broken::Lost]);
    history.events.extend(run(after, BEN, 20, 21, 1));
    assert_eq!(kinds(&history), NOTHING);
    let begins = history.events.len() - 2;
    history.events[begins].at_ns = 13 * MS;
    assert_eq!(kinds(&history), [Broken::TooEarly]);
}

#[test]
fn a_run_again_is_explained_by_what_befell_who_ran_it_and_by_nothing_else() {
    let mut events = good(plain(), 10);
    events.extend(run(plain(), BEN, 7_000, 7_010, 6));
    let mut history = told(events);
    assert_eq!(kinds(&history), [Broken::RunAgain]);
    for (kind, at_ms, expected) in [
        (FaultKind::Killed(ADA), 12, vec![]),
        (FaultKind::Stopped { process: 0 }, 12, vec![]),
        (FaultKind::CutOff { process: 0 }, 12, vec![]),
        (FaultKind::Restarted, 12, vec![]),
        // Of another, another life, or long after its word was there.
        (FaultKind::Killed(BEN), 12, vec![Broken::RunAgain]),
        (FaultKind::Killed(Worker { life: 1, ..ADA }), 12, vec![Broken::RunAgain]),
        (FaultKind::Restarted, 6_000, vec![Broken::RunAgain]),
    ] {
        history.faults = vec![fault(kind, at_ms, at_ms + 1)];
        assert_eq!(kinds(&history), expected, "{kind:?} at {at_ms}");
    }
    // It was done before its producer heard of it, whose call was sent again: nothing was kept of it.
    history.faults = vec![fault(FaultKind::CutOff { process: 1 }, 11, 12)];
    assert_eq!(kinds(&history), [Broken::RunAgain], "the producer had heard");
    history.events[1].at_ns = 6_990 * MS;
    assert_eq!(kinds(&history), NOTHING);
    history.faults[0].kind = FaultKind::CutOff { process: 2 };
    assert_eq!(kinds(&history), [Broken::RunAgain], "it was another's call");
    // One that failed is to be run again.
    history.faults.clear();
    history.events[3].what = What::Failed;
    assert_eq!(kinds(&history), NOTHING);
}

#[test]
fn who_was_given_a_job_first_and_begins_last_has_stood_still() {
    let mut events = sent(plain(), 10);
    events.extend(run(plain(), BEN, 3_000, 3_010, 6));
    events.extend(run(plain(), ADA, 4_000, 4_010, 5));
    let mut history = told(events);
    assert_eq!(kinds(&history), [Broken::RunAgain]);
    history.faults = vec![fault(FaultKind::Stopped { process: 1 }, 12, 4_001)];
    assert_eq!(kinds(&history), [Broken::RunAgain], "it was the other");
    history.faults = vec![fault(FaultKind::Stopped { process: 0 }, 12, 4_001)];
    assert_eq!(kinds(&history), NOTHING);
    // That it failed in the end is no reason to have begun it elsewhere before.
    history.faults.clear();
    history.events[5].what = What::Failed;
    assert_eq!(kinds(&history), [Broken::RunAgain]);
}

#[test]
fn a_word_that_counts_of_who_had_lost_it_is_found_out() {
    let id = id(|id| id.is_kept() && id.after().is_none() && !id.has_effect());
    // Ada stands still in the middle of it, and says that it is done after Ben has begun.
    let mut events = sent(id, 10);
    events.extend(run(id, ADA, 12, 5_000, 5));
    events.extend(run(id, BEN, 4_000, 4_010, 6));
    let mut history = told(events);
    history.faults = vec![fault(FaultKind::Stopped { process: 0 }, 13, 4_990)];
    history.kept = vec![(id, (BEN, id.0))];
    assert_eq!(kinds(&history), NOTHING);
    history.kept = vec![(id, (ADA, id.0))];
    assert_eq!(kinds(&history), [Broken::Stale]);
    history.kept = vec![(id, (BEN, id.0))];
    let by_hand = |what, at_ms| Event { fence: 5, ..event(what, at_ms, ADA, id) };
    history.events.push(by_hand(What::Accepted, 5_001));
    assert_eq!(kinds(&history), [Broken::Stale]);
    history.events.pop();
    history.events.push(by_hand(What::Renewed, 3_000));
    assert_eq!(kinds(&history), NOTHING, "it was still hers");
    history.events.push(by_hand(What::Renewed, 4_995));
    assert_eq!(kinds(&history), [Broken::Raised]);
}

#[test]
fn more_at_a_time_than_may_be_are_found_out() {
    let key = id(|id| id.key().is_some()).key();
    let same: Vec<Id> = (0..100_000)
        .map(Id)
        .filter(|id| id.key() == key && id.after().is_none() && id.name().is_none())
        .filter(|id| !id.has_effect() && !id.is_kept())
        .take(3)
        .collect();
    let at_once = |begins: [u64; 3]| {
        let mut events = Vec::new();
        for (id, from_ms) in same.iter().zip(begins) {
            events.extend(sent(*id, 1));
            events.extend(run(*id, ADA, from_ms, from_ms + 10, 5));
        }
        told(events)
    };
    assert_eq!(kinds(&at_once([10, 15, 20])), NOTHING, "one ends as another begins");
    let mut history = at_once([10, 15, 19]);
    assert_eq!(kinds(&history), [Broken::KeyLimit]);
    // From then on nobody knows what it had.
    history.faults = vec![fault(FaultKind::CutOff { process: 0 }, 16, 17)];
    assert_eq!(kinds(&history), NOTHING);
    let margins = Margins { global: 2, per_key: 9, aftermath: Duration::ZERO, ..margins() };
    let report = check(&at_once([10, 15, 19]), margins);
    assert_eq!(report.kinds(), [Broken::GlobalLimit]);
}

#[test]
fn two_with_one_name_are_found_out() {
    let name = id(|id| id.name().is_some() && id.key().is_none()).name();
    let same: Vec<Id> = (0..100_000)
        .map(Id)
        .filter(|id| id.name() == name && id.after().is_none() && id.key().is_none())
        .filter(|id| !id.has_effect() && !id.is_kept() && !id.is_poison())
        .take(2)
        .collect();
    let with = |second_at_ms| told([good(same[0], 10), good(same[1], second_at_ms)].concat());
    assert_eq!(kinds(&with(20)), NOTHING);
    assert_eq!(kinds(&with(12)), [Broken::Unique]);
    // It may have been written after the first had ended.
    assert_eq!(kinds(&with(13)), NOTHING);
}

#[test]
fn effects_are_there_once() {
    let with = id(|id| id.has_effect() && !id.is_kept() && id.name().is_none());
    let mut history = told(good(with, 10));
    assert_eq!(kinds(&history), [Broken::NoEffect]);
    history.effects = vec![with];
    assert_eq!(kinds(&history), NOTHING);
    history.effects.push(with);
    assert_eq!(kinds(&history), [Broken::DoubleEffect]);
}
