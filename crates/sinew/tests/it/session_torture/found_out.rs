//! The checker finds what is broken, and nothing else.

use super::checker::{Broken, check};
use super::history::{NONE, Op, Said, What};
use super::{BOUNDS, Fleet, Saves};
use crate::lock_torture::history::Attempt;
use crate::world::wait_until;

const MS: u64 = 1_000_000;
/// From here on, all that was made first is over.
const IDLE_OVER: u64 = 1_200;
const ABSOLUTE_OVER: u64 = 3_300;

/// From when to when, in milliseconds, of what, and what came of it.
fn op(what: What, times: (u64, u64), session: &str, said: Said) -> Op {
    let (began_ns, ended_ns) = (times.0 * MS, times.1 * MS);
    // No two of a test are at the same times.
    let by = Attempt { process: 0, life: 0, task: began_ns, number: ended_ns };
    let (session, user, new) = (session.to_owned(), "ada".to_owned(), NONE.to_owned());
    Op { by, what, began_ns, ended_ns, said, session, user, new }
}

fn made(what: What, times: (u64, u64), from: &str, new: &str) -> Op {
    Op { new: new.to_owned(), ..op(what, times, from, Said::Done) }
}

fn kinds(ops: &[Op]) -> Vec<Broken> {
    check(ops, BOUNDS).kinds()
}

const NOTHING: [Broken; 0] = [];

#[test]
fn one_that_is_found_live_after_any_end_of_it_is_found_out() {
    use Said::{Done, Gone, Live};
    use What::{
        Begins, Listed, LogsIn, LogsOut, LogsOutAll, LogsOutOthers, Reads, Revokes, Rotates, Saves,
    };
    let begun = made(Begins, (1, 2), NONE, "a");
    let ends = [
        op(LogsOut, (10, 20), "a", Done),
        op(Revokes, (10, 20), "a", Done),
        op(LogsOutAll, (10, 20), NONE, Done),
        op(LogsOutOthers, (10, 20), "b", Done),
        made(Rotates, (10, 20), "a", "b"),
        made(LogsIn, (10, 20), "a", "b"),
        op(Reads, (10, 20), "a", Gone),
        op(Saves, (10, 20), "a", Gone),
        op(Rotates, (10, 20), "a", Gone),
        op(LogsIn, (10, 20), "a", Gone),
    ];
    for end in ends {
        for after in [Reads, Saves, Listed].map(|what| op(what, (21, 22), "a", Live)) {
            let found = check(&[begun.clone(), end.clone(), after.clone()], BOUNDS);
            assert_eq!(found.found, [(Broken::CameBack, after)], "{end}");
        }
        let gone = op(Reads, (21, 22), "a", Gone);
        assert_eq!(kinds(&[begun.clone(), end.clone(), gone]), NOTHING, "{end}");
        // Who asked before it had ended may have been answered before.
        let meanwhile = op(Saves, (19, 40), "a", Live);
        assert_eq!(kinds(&[begun.clone(), end.clone(), meanwhile]), NOTHING, "{end}");
    }
}

#[test]
fn what_does_not_end_one_explains_nothing_and_accuses_no_one() {
    use Said::{Done, Failed, Live, Nothing, Refused};
    use What::{Begins, LogsIn, LogsOut, LogsOutAll, LogsOutOthers, Reads, Rotates};
    let (begun, late) = (made(Begins, (1, 30), NONE, "a"), op(Reads, (50, 51), "a", Live));
    let of_another = Op { user: "ben".to_owned(), ..op(LogsOutAll, (40, 45), NONE, Done) };
    let others = [
        op(LogsOut, (40, 45), "a", Failed),
        op(LogsOut, (40, 0), "a", Nothing),
        op(Rotates, (40, 45), "a", Failed),
        op(LogsIn, (40, 45), "a", Refused),
        op(LogsOutAll, (40, 45), NONE, Failed),
        // It began meanwhile.
        op(LogsOutAll, (29, 45), NONE, Done),
        op(LogsOutOthers, (40, 45), "a", Done),
        of_another,
    ];
    for other in others {
        assert_eq!(kinds(&[begun.clone(), other.clone(), late.clone()]), NOTHING, "{other}");
    }
}

#[test]
fn one_that_outlives_its_times_is_found_out() {
    use Said::{Failed, Live};
    use What::{Begins, Listed, Reads, Rotates};
    let begun = made(Begins, (1, 2), NONE, "a");
    let late = op(Reads, (IDLE_OVER, IDLE_OVER + 1), "a", Live);
    assert_eq!(kinds(&[begun.clone(), late.clone()]), [Broken::OutlivedIdle]);
    let listed = op(Listed, (600, 601), "a", Live);
    assert_eq!(kinds(&[begun.clone(), listed, late.clone()]), [Broken::OutlivedIdle]);
    let used = op(Reads, (600, 601), "a", Live);
    assert_eq!(kinds(&[begun.clone(), used, late.clone()]), NOTHING);
    // It may have been done after all, and late.
    let lost = op(Reads, (600, 601), "a", Failed);
    assert_eq!(kinds(&[begun.clone(), lost, late]), NOTHING);
    let uses = (1..8).map(|n| op(Reads, (n * 500, n * 500 + 1), "a", Live));
    let mut used: Vec<Op> = [begun].into_iter().chain(uses).collect();
    assert_eq!(kinds(&used), [Broken::OutlivedAbsolute]);
    used.retain(|op| op.began_ns < ABSOLUTE_OVER * MS);
    assert_eq!(kinds(&used), NOTHING);
    // Another id makes it no younger.
    used.push(made(Rotates, (3_001, 3_002), "a", "b"));
    used.push(op(Reads, (ABSOLUTE_OVER, ABSOLUTE_OVER + 1), "b", Live));
    assert_eq!(kinds(&used), [Broken::OutlivedAbsolute]);
}

#[test]
fn an_id_that_stays_and_a_session_too_many_are_found_out() {
    use Said::Done;
    use What::{Begins, Lists, LogsIn, Rotates};
    let begun = made(Begins, (1, 2), NONE, "a");
    for what in [Rotates, LogsIn] {
        assert!(kinds(&[begun.clone(), made(what, (3, 4), "a", "a")]).contains(&Broken::KeptItsId));
        assert_eq!(kinds(&[begun.clone(), made(what, (3, 4), "a", "b")]), NOTHING);
    }
    let list = |count: usize| Op { new: count.to_string(), ..op(Lists, (3, 4), NONE, Done) };
    assert_eq!(kinds(&[list(BOUNDS.sessions_max)]), NOTHING);
    assert_eq!(kinds(&[list(BOUNDS.sessions_max + 1)]), [Broken::TooMany]);
}

#[test]
fn a_line_is_read_back_whole_or_not_at_all() {
    let told = made(What::Rotates, (1, 2), "a", "b");
    let line = format!("{told}\n");
    assert_eq!(Op::parse(&line), Some(told));
    for len in 0..line.len() {
        assert_eq!(Op::parse(&line[..len]), None, "{len}");
    }
}

/// The bug of stores that save all of what they have read: it is what the promise is about.
#[test]
fn a_save_that_brings_back_what_had_ended_is_found_out() {
    let mut fleet = Fleet::start(7, Saves::Recreating);
    let is_read =
        |(broken, op): &(Broken, Op)| *broken == Broken::CameBack && op.what == What::Reads;
    wait_until("one that came back is read", || {
        check(&fleet.register.ops(), BOUNDS).found.iter().any(is_read)
    });
    assert_eq!(fleet.end(), 0, "someone waits for ever");
}
