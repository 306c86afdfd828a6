//! The checker finds what is broken, and nothing else.

use std::time::{Duration, Instant};

use super::checker::{Broken, check};
use super::history::{Event, Fault, FaultKind, Group, History, Id, What, Worker};
use super::{CONSUMERS, Fleet, Settings, margins};
use crate::tortured::{is_found_out, now_ns};
use crate::world::redis_cli;

const NOTHING: [Broken; 0] = [];
const MS: u64 = 1_000_000;
const SHORT: Duration = Duration::from_secs(4);

/// What is planted, time and again, beside a fleet that works as it should.
const REMOVES_CONSUMERS: &str = "
    for _, log in ipairs(redis.call('KEYS', '*:log')) do
      for _, one in ipairs(redis.call('XINFO', 'CONSUMERS', log, 'any')) do
        redis.call('XGROUP', 'DELCONSUMER', log, 'any', one[2])
      end
    end";
const TRIMS_WHAT_IS_PENDING: &str = "
    for _, log in ipairs(redis.call('KEYS', '*:log')) do
      redis.call('XTRIM', log, 'MAXLEN', 1)
    end";
// Under another name each second, so that one is soon taken for gone.
const RENAMES_WHAT_IS_OTHERS: &str = "
    local thief = 'thief' .. redis.call('TIME')[1]
    for _, log in ipairs(redis.call('KEYS', '*:log')) do
      for _, held in ipairs(redis.call('XPENDING', log, 'any', '-', '+', 1000)) do
        if string.sub(held[2], 1, 5) ~= 'thief' and held[2] ~= '~parked' then
          redis.call('XCLAIM', log, 'any', thief, 0, held[1], 'JUSTID')
        end
      end
    end";

/// Without a fault but the one that is planted.
fn planted(acks_first: bool, time: Duration, mut plant: impl FnMut(&mut Fleet)) -> Vec<Broken> {
    let settings = Settings { seed: 1, events_per_second: 400, acks_first };
    let mut fleet = Fleet::start(settings);
    let began = Instant::now();
    while began.elapsed() < time {
        plant(&mut fleet);
        std::thread::sleep(Duration::from_millis(200));
    }
    let (history, _) = fleet.finish(Duration::from_secs(15));
    check(&history, margins(Duration::from_secs(2))).kinds()
}

fn planted_script(script: &str, time: Duration) -> Vec<Broken> {
    planted(false, time, |fleet| {
        let said = redis_cli(fleet.stage.port, &["EVAL", script, "0"]);
        assert!(!said.contains("ERR"), "{said}");
    })
}

#[test]
fn an_ack_before_the_work_is_found_out() {
    let mut next = 0;
    is_found_out(Broken::Lost, || {
        planted(true, SHORT, |fleet| {
            // Consumers in turn, each in the middle of what it does.
            let (index, from_ns) = (next, now_ns());
            next = (next + 2) % usize::try_from(CONSUMERS).expect("few");
            let killed = fleet.stage.workers.kill(index);
            let again = fleet.stage.spawn(Worker { life: killed.life + 1, ..killed });
            fleet.stage.workers.begin_again(index, again);
            fleet.register.note(FaultKind::Killed(killed), from_ns);
            std::thread::sleep(Duration::from_millis(600));
        })
    });
}

#[test]
fn a_consumer_that_is_removed_with_its_events_is_found_out() {
    is_found_out(Broken::Lost, || planted_script(REMOVES_CONSUMERS, SHORT));
}

#[test]
fn a_trim_past_what_is_pending_is_found_out() {
    is_found_out(Broken::Lost, || planted_script(TRIMS_WHAT_IS_PENDING, SHORT));
}

#[test]
fn a_rename_of_what_is_others_is_found_out() {
    // Those whom nobody knows are looked for every tenth tick.
    is_found_out(Broken::RunAgain, || planted_script(RENAMES_WHAT_IS_OTHERS, 3 * SHORT));
}

const ADA: Worker = Worker { process: 0, life: 0 };
const BEN: Worker = Worker { process: 1, life: 0 };

/// One that is neither poison nor to have an effect.
fn id(n: u64) -> Id {
    let key = (0..).find(|key| (n..n + 3).all(|n| is_plain(Id { key: *key, n })));
    Id { key: key.expect("there are some"), n }
}

fn is_plain(id: Id) -> bool {
    !id.is_poison() && !id.has_effect()
}

fn event(what: What, at_ms: u64, by: Worker, group: Group, id: Id) -> Event {
    // Of one worker and event, there is one run here.
    let run = id.n;
    Event { what, at_ns: at_ms * MS, by, group, id, run, partition: 3, fence: 5 }
}

/// Published, and handled well by all groups.
fn good(id: Id, at_ms: u64) -> Vec<Event> {
    let mut events = vec![
        event(What::Sends, at_ms, BEN, Group::Any, id),
        event(What::Published, at_ms + 1, BEN, Group::Any, id),
    ];
    for group in [Group::Any, Group::Key] {
        events.push(event(What::Begins, at_ms + 2, ADA, group, id));
        events.push(event(What::Done, at_ms + 4, ADA, group, id));
    }
    events
}

fn kinds(history: &History) -> Vec<Broken> {
    check(history, margins(Duration::ZERO)).kinds()
}

fn told(events: Vec<Event>) -> History {
    History { events, ..History::default() }
}

#[test]
fn an_event_that_a_group_never_handled_is_found_out_unless_it_is_a_dead_letter() {
    let all = good(id(0), 10);
    assert_eq!(kinds(&told(all.clone())), NOTHING);
    for missing in [3, 5] {
        let mut events = all.clone();
        events.remove(missing);
        assert_eq!(kinds(&told(events)), [Broken::Lost]);
    }
    // It was never confirmed: it may be there or not.
    let sent_only = vec![all[0]];
    assert_eq!(kinds(&told(sent_only)), NOTHING);
    assert_eq!(kinds(&told(all[1..].to_vec())), [Broken::Invented]);
    let poison = (0..).map(|n| Id { key: 0, n }).find(|id| id.is_poison() && !id.has_effect());
    let poison = poison.expect("there is one");
    let mut history = told(good(poison, 10)[..2].to_vec());
    assert_eq!(kinds(&history), [Broken::Lost]);
    history.dead = vec![(Group::Any, poison), (Group::Key, poison)];
    assert_eq!(kinds(&history), NOTHING);
    let mut history = told(all);
    history.dead = vec![(Group::Any, id(0))];
    assert_eq!(kinds(&history), [Broken::DeadWithoutCause]);
}

#[test]
fn a_run_again_is_explained_by_what_befell_who_ran_it_and_by_nothing_else() {
    let mut events = good(id(0), 10);
    events.push(event(What::Begins, 7_000, BEN, Group::Any, id(0)));
    events.push(event(What::Done, 7_010, BEN, Group::Any, id(0)));
    let mut history = told(events);
    assert_eq!(kinds(&history), [Broken::RunAgain]);
    let fault =
        |kind, from_ms: u64| Fault { kind, from_ns: from_ms * MS, to_ns: (from_ms + 1) * MS };
    for (kind, at_ms, expected) in [
        (FaultKind::Killed(ADA), 500, vec![]),
        (FaultKind::Stopped { process: 0 }, 500, vec![]),
        (FaultKind::CutOff { process: 0 }, 500, vec![]),
        (FaultKind::Restarted, 500, vec![]),
        (FaultKind::StoodStill, 500, vec![]),
        (FaultKind::StoodStill, 3_020, vec![Broken::RunAgain]),
        // Of another, another life, or long after its ack was there.
        (FaultKind::Killed(BEN), 500, vec![Broken::RunAgain]),
        (FaultKind::Killed(Worker { life: 1, ..ADA }), 500, vec![Broken::RunAgain]),
        (FaultKind::Restarted, 6_000, vec![Broken::RunAgain]),
        (FaultKind::StoodStill, 6_000, vec![Broken::RunAgain]),
    ] {
        history.faults = vec![fault(kind, at_ms)];
        assert_eq!(kinds(&history), expected, "{kind:?} at {at_ms}");
    }
    // One that failed is to be run again.
    history.faults.clear();
    history.events[3].what = What::Failed;
    assert_eq!(kinds(&history), NOTHING);
}

#[test]
fn what_passes_another_of_its_key_is_found_out() {
    let (first, second) = (id(0), Id { n: 1, ..id(0) });
    let in_order = [good(first, 10), good(second, 20)].concat();
    assert_eq!(kinds(&told(in_order)), NOTHING);
    let passed = kinds(&told([good(first, 20), good(second, 10)].concat()));
    assert_eq!(passed, [Broken::OutOfOrder]);
    let both = kinds(&told([good(first, 10), good(second, 11)].concat()));
    assert_eq!(both, [Broken::OutOfOrder, Broken::Overlap]);
}

#[test]
fn an_owner_that_was_succeeded_is_found_out() {
    let with_fences = |fences: [u64; 3], owners: [Worker; 3]| {
        let mut events = Vec::new();
        for (n, (fence, by)) in (0..).zip(fences.into_iter().zip(owners)) {
            let mut of_one = good(Id { n, ..id(0) }, 10 * (n + 1));
            for event in of_one.iter_mut().filter(|event| event.group == Group::Key) {
                (event.fence, event.by) = (fence, by);
            }
            events.extend(of_one);
        }
        kinds(&told(events))
    };
    assert_eq!(with_fences([5, 6, 7], [ADA, BEN, ADA]), NOTHING);
    assert_eq!(with_fences([5, 6, 5], [ADA, BEN, ADA]), [Broken::OldOwner]);
    assert_eq!(with_fences([5, 5, 5], [ADA, BEN, ADA]), [Broken::OldOwner]);
}

#[test]
fn effects_are_there_once() {
    let with = (0..).map(|n| Id { key: 0, n }).find(|id| id.has_effect() && !id.is_poison());
    let with = Id { n: 0, key: with.expect("there is one").n };
    let mut history = told(good(with, 10));
    assert_eq!(kinds(&history), [Broken::NoEffect]);
    history.effects = vec![(Group::Any, with), (Group::Key, with)];
    assert_eq!(kinds(&history), NOTHING);
    history.effects.push((Group::Key, with));
    assert_eq!(kinds(&history), [Broken::DoubleEffect]);
}
