//! What a history of events has to keep, whoever made it. It goes by what was told alone.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::history::{Event, Fault, FaultKind, GROUPS, Group, History, Id, What, Worker};
use crate::tortured::nanos;

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broken {
    /// It was published, and a group neither handled it nor has it among its dead letters.
    Lost,
    /// Nobody had sent it.
    Invented,
    /// It was run again, and nothing had happened to who ran it before.
    RunAgain,
    /// It began before the one before it, of its key, was finished.
    OutOfOrder,
    /// Two of one key ran at a time.
    Overlap,
    /// Who had lost a partition began with an event of it.
    OldOwner,
    /// Its effect is there twice.
    DoubleEffect,
    /// It was handled, and its effect is not there.
    NoEffect,
    /// It is among the dead letters, and never failed as often as that takes.
    DeadWithoutCause,
}

/// What is left open, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Margins {
    /// How long the end of a fault can still show: until all are connected and their acks are there.
    pub aftermath: Duration,
    /// And the end of a pause of Redis: until those whose leases ended by it are replaced.
    pub lease: Duration,
    /// For how long an ack may be under way.
    pub ack: Duration,
    /// By how much two processes may be late on this machine.
    pub order: Duration,
}

/// One handler's run.
#[derive(Clone, Copy, Debug)]
struct Run {
    began: Event,
    /// How it ended; nothing where its process did.
    end: Option<Event>,
}

impl Run {
    /// When nobody can be in it any more.
    fn end_ns(&self, faults: &[Fault]) -> u64 {
        if let Some(end) = &self.end {
            return end.at_ns;
        }
        let kills = faults.iter().filter(|fault| fault.kind == FaultKind::Killed(self.began.by));
        kills.map(|fault| fault.to_ns).min().unwrap_or(u64::MAX)
    }

    fn ended(&self) -> Option<What> {
        self.end.map(|end| end.what)
    }

    fn is_finished(&self) -> bool {
        matches!(self.ended(), Some(What::Done | What::Last))
    }
}

/// What was found, and what was counted.
#[derive(Debug, Default)]
pub struct Report {
    pub found: Vec<(Broken, Group, Id, Option<Event>)>,
    pub published: usize,
    pub runs: usize,
    pub retried: usize,
    pub told: usize,
    /// Runs again that a fault explains.
    pub explained: usize,
    /// Those that nothing explains but that Redis stood still.
    pub paused: usize,
    pub dead: usize,
    pub effects: usize,
}

impl Report {
    pub fn kinds(&self) -> Vec<Broken> {
        let mut kinds: Vec<Broken> = self.found.iter().map(|(broken, ..)| *broken).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    }
}

pub fn check(history: &History, margins: Margins) -> Report {
    let mut report = Report { effects: history.effects.len(), ..Report::default() };
    let of = |what: What| history.events.iter().filter(move |event| event.what == what);
    let sent: HashSet<Id> = of(What::Sends).map(|event| event.id).collect();
    let published: HashSet<Id> = of(What::Published).map(|event| event.id).collect();
    report.published = published.len();
    for group in GROUPS {
        let runs = runs_of(history, group);
        let dead: HashSet<Id> = history.dead.iter().filter(|d| d.0 == group).map(|d| d.1).collect();
        report.runs += runs.values().map(Vec::len).sum::<usize>();
        report.dead += dead.len();
        for (id, of_it) in &runs {
            let is_known = sent.contains(id);
            if !is_known {
                report.found.push((Broken::Invented, group, *id, Some(of_it[0].began)));
            }
            for pair in of_it.windows(2) {
                again(group, &pair[0], &pair[1], history, margins, &mut report);
            }
        }
        for id in &published {
            let is_handled = runs
                .get(id)
                .is_some_and(|runs| runs.iter().any(|run| run.ended() == Some(What::Done)));
            if !is_handled && !dead.contains(id) {
                report.found.push((Broken::Lost, group, *id, None));
            }
        }
        for id in dead.iter().filter(|id| !id.is_poison()) {
            report.found.push((Broken::DeadWithoutCause, group, *id, None));
        }
        effects(group, &runs, history, &mut report);
        if group == Group::Key {
            order(&runs, history, margins, &mut report);
            owners(&runs, history, margins, &mut report);
        }
    }
    report
}

/// The runs of each event, in the order in which they began.
fn runs_of(history: &History, group: Group) -> HashMap<Id, Vec<Run>> {
    let of_group = || history.events.iter().filter(|event| event.group == group);
    let ends: HashMap<(Worker, u64), Event> = of_group()
        .filter(|e| matches!(e.what, What::Done | What::Failed | What::Last | What::Told))
        .map(|event| ((event.by, event.run), *event))
        .collect();
    let mut runs: HashMap<Id, Vec<Run>> = HashMap::new();
    for began in of_group().filter(|event| event.what == What::Begins) {
        let end = ends.get(&(began.by, began.run)).copied();
        runs.entry(began.id).or_default().push(Run { began: *began, end });
    }
    for of_it in runs.values_mut() {
        of_it.sort_by_key(|run| run.began.at_ns);
    }
    runs
}

/// Who runs it again has a reason.
fn again(
    group: Group,
    first: &Run,
    second: &Run,
    history: &History,
    margins: Margins,
    report: &mut Report,
) {
    match first.ended() {
        Some(What::Failed) => {
            report.retried += 1;
            return;
        }
        Some(What::Told) => report.told += 1,
        _ => {}
    }
    // Until its ack was there, or it was run again.
    let from_ns = first.began.at_ns;
    let end_ns = first.end_ns(&history.faults).saturating_add(nanos(margins.ack));
    let to_ns = end_ns.min(second.began.at_ns);
    let explains = |fault: &&Fault| {
        // No one is cut off by a pause: leases end at most, and who has lost one is told.
        let aftermath = match fault.kind {
            FaultKind::StoodStill => margins.lease,
            _ => margins.aftermath,
        };
        fault.befalls(first.began.by)
            && fault.from_ns <= to_ns
            && fault.to_ns.saturating_add(nanos(aftermath)) >= from_ns
    };
    let mut causes = history.faults.iter().filter(explains).map(|fault| fault.kind).peekable();
    if causes.peek().is_none() {
        report.found.push((Broken::RunAgain, group, first.began.id, Some(second.began)));
    } else if causes.all(|cause| cause == FaultKind::StoodStill) {
        report.paused += 1;
    } else {
        report.explained += 1;
    }
}

/// Each begins when the one before it, of its key, is finished, and no two run at a time.
fn order(runs: &HashMap<Id, Vec<Run>>, history: &History, margins: Margins, report: &mut Report) {
    let mut keys: HashMap<u64, Vec<&Run>> = HashMap::new();
    for (id, of_it) in runs {
        keys.entry(id.key).or_default().extend(of_it);
        let Some(before) = id.n.checked_sub(1).map(|n| Id { n, ..*id }) else { continue };
        let finished = runs.get(&before).into_iter().flatten().filter(|run| run.is_finished());
        let finished_ns = finished.map(|run| run.end_ns(&[])).min().unwrap_or(u64::MAX);
        if of_it[0].began.at_ns < finished_ns {
            report.found.push((Broken::OutOfOrder, Group::Key, *id, Some(of_it[0].began)));
        }
    }
    for of_key in keys.values_mut() {
        of_key.sort_by_key(|run| run.began.at_ns);
        for pair in of_key.windows(2) {
            let (first, second) = (pair[0], pair[1]);
            // Within one process, nothing is late.
            let late = match first.began.by == second.began.by {
                true => 0,
                false => nanos(margins.order),
            };
            let overlaps = first.end_ns(&history.faults) > second.began.at_ns.saturating_add(late);
            if overlaps && !stood_still(first, &history.faults, margins) {
                let id = second.began.id;
                report.found.push((Broken::Overlap, Group::Key, id, Some(second.began)));
            }
        }
    }
}

/// Whether its process was stopped in the middle of it: it cannot have known.
fn stood_still(run: &Run, faults: &[Fault], margins: Margins) -> bool {
    let Worker { process, .. } = run.began.by;
    let (from_ns, to_ns) = (run.began.at_ns, run.end_ns(faults));
    faults.iter().any(|fault| {
        fault.kind == FaultKind::Stopped { process }
            && fault.from_ns <= to_ns
            && fault.to_ns.saturating_add(nanos(margins.order)) >= from_ns
    })
}

/// Fences of a partition grow, and who has an old one begins with nothing.
fn owners(runs: &HashMap<Id, Vec<Run>>, history: &History, margins: Margins, report: &mut Report) {
    let mut partitions: HashMap<u64, Vec<&Run>> = HashMap::new();
    for run in runs.values().flatten() {
        partitions.entry(run.began.partition).or_default().push(run);
    }
    for of_one in partitions.values_mut() {
        of_one.sort_by_key(|run| run.began.at_ns);
        // The greatest fence so far, whose it is, and when it was first seen.
        let mut now: Option<(u64, Worker, u64)> = None;
        for run in of_one {
            let Event { fence, by, at_ns, id, .. } = run.began;
            match now {
                Some((greatest, owner, _)) if fence == greatest && by != owner => {
                    report.found.push((Broken::OldOwner, Group::Key, id, Some(run.began)));
                }
                Some((greatest, _, since_ns)) if fence < greatest => {
                    let is_late = at_ns > since_ns.saturating_add(nanos(margins.order));
                    if is_late && !stood_still(run, &history.faults, margins) {
                        report.found.push((Broken::OldOwner, Group::Key, id, Some(run.began)));
                    }
                }
                Some((greatest, ..)) if fence == greatest => {}
                _ => now = Some((fence, by, at_ns)),
            }
        }
    }
}

/// One for each that was handled and has one; never two.
fn effects(group: Group, runs: &HashMap<Id, Vec<Run>>, history: &History, report: &mut Report) {
    let mut there: HashMap<Id, usize> = HashMap::new();
    for (_, id) in history.effects.iter().filter(|effect| effect.0 == group) {
        *there.entry(*id).or_default() += 1;
    }
    for (id, _) in there.iter().filter(|(_, count)| **count > 1) {
        report.found.push((Broken::DoubleEffect, group, *id, None));
    }
    for (id, of_it) in runs.iter().filter(|(id, _)| id.has_effect()) {
        let is_done = of_it.iter().any(|run| run.ended() == Some(What::Done));
        if is_done && !there.contains_key(id) {
            report.found.push((Broken::NoEffect, group, *id, None));
        }
    }
}
