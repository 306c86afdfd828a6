//! What a history of sessions has to keep, whoever made it. It goes by what was told alone.

use std::collections::HashMap;
use std::time::Duration;

use super::history::{NONE, Op, Said, What};
use crate::tortured::nanos;

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broken {
    /// It was live, or saved into, for someone who asked after it had ended.
    CameBack,
    /// It was live although nobody had used it for longer than it may go unused.
    OutlivedIdle,
    /// It was live after its absolute end.
    OutlivedAbsolute,
    /// It has its old id after a login or a rotation.
    KeptItsId,
    /// A user had more than may be.
    TooMany,
}

/// How the sessions were set up.
#[derive(Clone, Copy)]
pub struct Bounds {
    pub idle: Duration,
    pub absolute: Duration,
    pub sessions_max: usize,
    /// How far the clocks of Redis and of this machine's processes may be apart after such a time.
    pub drift: Duration,
}

/// What was found, and what was counted.
#[derive(Debug, Default)]
pub struct Report {
    pub found: Vec<(Broken, Op)>,
    pub sessions: usize,
    pub live: usize,
    pub saved: usize,
    pub gone: usize,
    pub failed: usize,
    /// How often one was asked for after it had ended.
    pub asked_after_end: usize,
}

impl Report {
    pub fn kinds(&self) -> Vec<Broken> {
        let mut kinds: Vec<Broken> = self.found.iter().map(|(broken, _)| *broken).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    }
}

impl Op {
    /// Its session was live at some time while this was done.
    fn shows_life(&self) -> bool {
        match self.what {
            What::Reads | What::Saves | What::Listed => self.said == Said::Live,
            What::Rotates => self.said == Said::Done,
            _ => false,
        }
    }

    /// Its session is not live once this is done.
    fn ends_it(&self) -> bool {
        match self.what {
            What::Reads | What::Saves => self.said == Said::Gone,
            What::Rotates | What::LogsIn => matches!(self.said, Said::Gone | Said::Done),
            What::LogsOut | What::Revokes => self.said == Said::Done,
            _ => false,
        }
    }

    fn makes_one(&self) -> bool {
        let may = matches!(self.what, What::Begins | What::Rotates | What::LogsIn);
        may && self.said == Said::Done
    }

    fn ends_others(&self) -> bool {
        let may = matches!(self.what, What::LogsOutAll | What::LogsOutOthers);
        may && self.said == Said::Done
    }

    /// Until when its session may have been used by it, as far as it matters at a time.
    fn used_until(&self, at_ns: u64) -> u64 {
        match self.said {
            // Redis may do it later than the caller waited.
            Said::Nothing | Said::Failed => at_ns,
            _ => self.ended_ns.min(at_ns),
        }
    }
}

/// All that was told of one session.
#[derive(Default)]
struct Life<'a> {
    made: Option<&'a Op>,
    of_it: Vec<&'a Op>,
}

pub fn check(ops: &[Op], bounds: Bounds) -> Report {
    let mut report = Report::default();
    let mut lives: HashMap<&str, Life<'_>> = HashMap::new();
    let mut ends_of: HashMap<&str, Vec<&Op>> = HashMap::new();
    for op in ops {
        report.live += usize::from(op.shows_life());
        report.saved += usize::from(op.what == What::Saves && op.said == Said::Live);
        report.gone += usize::from(op.said == Said::Gone);
        report.failed += usize::from(op.said == Said::Failed);
        if op.session != NONE {
            lives.entry(&op.session).or_default().of_it.push(op);
        }
        if op.makes_one() {
            lives.entry(&op.new).or_default().made = Some(op);
            if op.new == op.session {
                report.found.push((Broken::KeptItsId, op.clone()));
            }
        }
        if op.ends_others() {
            ends_of.entry(&op.user).or_default().push(op);
        }
        if op.what == What::Lists
            && op.new.parse::<usize>().is_ok_and(|count| count > bounds.sessions_max)
        {
            report.found.push((Broken::TooMany, op.clone()));
        }
    }
    report.sessions = lives.len();
    for (id, life) in &lives {
        ends(id, life, &ends_of, &mut report);
        idle_ends(life, bounds, &mut report);
        absolute_ends(life, &lives, bounds, &mut report);
    }
    report
}

/// Nobody who asked after it had ended found it.
fn ends(id: &str, life: &Life<'_>, ends_of: &HashMap<&str, Vec<&Op>>, report: &mut Report) {
    let own = life.of_it.iter().filter(|op| op.ends_it()).map(|op| op.ended_ns);
    let with_others = life.made.into_iter().flat_map(|made| {
        let all = ends_of.get(made.user.as_str()).into_iter().flatten();
        // One that began meanwhile is before it or after it.
        let after = all.filter(move |op| op.began_ns > made.ended_ns && op.session != id);
        after.map(|op| op.ended_ns)
    });
    let Some(ended_ns) = own.chain(with_others).min() else { return };
    for op in life.of_it.iter().filter(|op| op.began_ns > ended_ns) {
        report.asked_after_end += 1;
        if op.shows_life() {
            report.found.push((Broken::CameBack, (*op).clone()));
        }
    }
}

/// Whoever found it, someone had used it not long before.
fn idle_ends(life: &Life<'_>, bounds: Bounds, report: &mut Report) {
    let Some(made) = life.made else { return };
    for op in life.of_it.iter().filter(|op| op.shows_life()) {
        // To be listed is no use.
        let others = life.of_it.iter().filter(|other| other.what != What::Listed);
        let before = others.filter(|other| other.by != op.by && other.began_ns < op.ended_ns);
        let used = before.map(|other| other.used_until(op.ended_ns)).chain([made.ended_ns]);
        let used_ns = used.max().unwrap_or_default();
        if op.began_ns > used_ns.saturating_add(nanos(bounds.idle + bounds.drift)) {
            report.found.push((Broken::OutlivedIdle, (*op).clone()));
        }
    }
}

/// However often it was given another id.
fn absolute_ends(
    life: &Life<'_>,
    lives: &HashMap<&str, Life<'_>>,
    bounds: Bounds,
    report: &mut Report,
) {
    let Some(mut first) = life.made else { return };
    while first.what == What::Rotates {
        let made = lives.get(first.session.as_str()).and_then(|life| life.made);
        let Some(before) = made.filter(|made| made.ended_ns <= first.began_ns) else { return };
        first = before;
    }
    let end_ns = first.ended_ns.saturating_add(nanos(bounds.absolute + bounds.drift));
    let late = life.of_it.iter().filter(|op| op.shows_life() && op.began_ns > end_ns);
    report.found.extend(late.map(|op| (Broken::OutlivedAbsolute, (*op).clone())));
}
