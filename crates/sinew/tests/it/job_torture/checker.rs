//! What a history of jobs has to keep, whoever made it. It goes by what was told alone.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::history::{Event, Fault, FaultKind, History, Id, Name, What, Worker};
use crate::tortured::nanos;

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broken {
    /// It was enqueued, and neither done nor is it among the dead.
    Lost,
    /// Nobody had sent it.
    Invented,
    /// It was run again, and nothing had happened to who ran it before.
    RunAgain,
    /// The word counted of who had lost it to another.
    Stale,
    /// Who had lost it to another was told that it is still his.
    Raised,
    /// More of a key ran at a time than may.
    KeyLimit,
    /// More of the queue ran at a time than may.
    GlobalLimit,
    /// Two had one name at a time.
    Unique,
    /// It began before what it comes after was done.
    TooEarly,
    /// Its effect is there twice.
    DoubleEffect,
    /// It was done, and its effect is not there.
    NoEffect,
    /// It is among the dead, and never failed or crashed as often as that takes.
    DeadWithoutCause,
}

/// What is left open, and for how long; and what the queue was told.
#[derive(Clone, Copy, Debug)]
pub struct Margins {
    /// How long the end of a fault can still show: until all are connected and what they say is there.
    pub aftermath: Duration,
    /// For how long the word of an end may be under way.
    pub word: Duration,
    pub per_key: usize,
    pub global: usize,
    pub crashes_max: u32,
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

    /// Until when the store has certainly held it for him: his end, or the first that befell him.
    fn held_until_ns(&self, faults: &[Fault], margins: Margins) -> u64 {
        let befell = faults.iter().filter(|fault| {
            let over_ns = fault.to_ns.saturating_add(nanos(margins.aftermath));
            fault.befalls(self.began.by) && over_ns >= self.began.at_ns
        });
        let first = befell.map(|fault| fault.from_ns).min().unwrap_or(u64::MAX);
        first.min(self.end_ns(faults))
    }

    fn ended(&self) -> Option<What> {
        self.end.map(|end| end.what)
    }
}

/// A job on its way: from when a producer was about to enqueue it until it heard what came of it.
#[derive(Clone, Copy, Debug)]
struct Sending {
    by: Worker,
    from_ns: u64,
    /// The end of all time, where it never heard.
    to_ns: u64,
}

/// What was found, and what was counted.
#[derive(Debug, Default)]
pub struct Report {
    pub found: Vec<(Broken, Id, Option<Event>)>,
    pub enqueued: usize,
    /// Those whose name another had.
    pub refused: usize,
    pub runs: usize,
    pub retried: usize,
    pub told: usize,
    /// Runs again that a fault explains.
    pub explained: usize,
    pub dead: usize,
    /// Those of them that never failed, and were there each time when a process ended.
    pub crashed: usize,
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
    let runs = runs_of(history);
    report.runs = runs.values().map(Vec::len).sum();
    let sendings = sendings_of(history);
    for of_it in runs.values() {
        // As they were given it: who was first may begin last, since he stood still.
        let mut given: Vec<&Run> = of_it.iter().collect();
        given.sort_by_key(|run| run.began.fence);
        for pair in given.windows(2) {
            let sending = sendings.get(&pair[0].began.id);
            again(pair[0], pair[1], sending, history, margins, &mut report);
        }
    }
    fences(&runs, history, &mut report);
    ends(&runs, history, margins, &mut report);
    limits(&runs, history, margins, &mut report);
    names(&runs, history, &mut report);
    effects(&runs, history, &mut report);
    report
}

/// The runs of each job, in the order in which they began.
fn runs_of(history: &History) -> HashMap<Id, Vec<Run>> {
    let is_end = |e: &&Event| matches!(e.what, What::Done | What::Failed | What::Last | What::Told);
    let ends: HashMap<(Worker, u64), Event> =
        history.events.iter().filter(is_end).map(|event| ((event.by, event.run), *event)).collect();
    let mut runs: HashMap<Id, Vec<Run>> = HashMap::new();
    for began in history.events.iter().filter(|event| event.what == What::Begins) {
        let end = ends.get(&(began.by, began.run)).copied();
        runs.entry(began.id).or_default().push(Run { began: *began, end });
    }
    for of_it in runs.values_mut() {
        of_it.sort_by_key(|run| run.began.at_ns);
    }
    runs
}

/// When each was about to be enqueued, and by whom.
fn sendings_of(history: &History) -> HashMap<Id, Sending> {
    let mut sendings: HashMap<Id, Sending> = HashMap::new();
    for Event { what, at_ns, by, id, .. } in &history.events {
        match what {
            What::Sends => {
                let sending = Sending { by: *by, from_ns: *at_ns, to_ns: u64::MAX };
                sendings.entry(*id).or_insert(sending);
            }
            What::Enqueued | What::Refused => {
                if let Some(sending) = sendings.get_mut(id) {
                    sending.to_ns = *at_ns;
                }
            }
            _ => {}
        }
    }
    sendings
}

/// Who runs it again has a reason.
fn again(
    first: &Run,
    second: &Run,
    sending: Option<&Sending>,
    history: &History,
    margins: Margins,
    report: &mut Report,
) {
    match first.ended() {
        Some(What::Failed) if first.end_ns(&[]) <= second.began.at_ns => {
            report.retried += 1;
            return;
        }
        Some(What::Told) => report.told += 1,
        _ => {}
    }
    // Until its word was there, or it was run again.
    let from_ns = first.began.at_ns;
    let end_ns = first.end_ns(&history.faults).saturating_add(nanos(margins.word));
    let to_ns = end_ns.min(second.began.at_ns);
    let explains = |fault: &Fault| {
        fault.befalls(first.began.by)
            && fault.from_ns <= to_ns
            && fault.to_ns.saturating_add(nanos(margins.aftermath)) >= from_ns
    };
    let is_explained = history.faults.iter().any(explains)
        || sending.is_some_and(|sending| was_sent_again(first, sending, history, margins));
    match is_explained {
        true => report.explained += 1,
        false => report.found.push((Broken::RunAgain, first.began.id, Some(second.began))),
    }
}

/// Whether it was done before its producer heard that it was enqueued, and nothing is kept of it: the call that is sent again,
/// since its reply was lost, enqueues it anew.
fn was_sent_again(first: &Run, sending: &Sending, history: &History, margins: Margins) -> bool {
    let loses_replies = |fault: &Fault| {
        fault.befalls(sending.by)
            && fault.from_ns <= sending.to_ns
            && fault.to_ns.saturating_add(nanos(margins.aftermath)) >= sending.from_ns
    };
    first.ended() == Some(What::Done)
        && !first.began.id.is_kept()
        && first.end_ns(&[]) < sending.to_ns
        && history.faults.iter().any(loses_replies)
}

/// No word of who had lost it counts, and none is told that he has it.
fn fences(runs: &HashMap<Id, Vec<Run>>, history: &History, report: &mut Report) {
    let by_run: HashMap<(Worker, u64), &Run> =
        runs.values().flatten().map(|run| ((run.began.by, run.began.run), run)).collect();
    // Whether another had it, who took it later than this one did.
    let is_anothers = |one: &Run, at_ns: u64| {
        let others = runs.get(&one.began.id).into_iter().flatten();
        let mut later = others.filter(|other| other.began.fence > one.began.fence);
        later.any(|other| other.began.at_ns < at_ns)
    };
    for event in &history.events {
        let Some(&one) = by_run.get(&(event.by, event.run)) else { continue };
        // Of what it has said the end of, it may be told anything.
        let is_at_it = one.end_ns(&[]) > event.at_ns;
        let broken = match event.what {
            What::Renewed if is_at_it && is_anothers(one, event.at_ns) => Broken::Raised,
            What::Accepted if is_anothers(one, one.end_ns(&[])) => Broken::Stale,
            _ => continue,
        };
        report.found.push((broken, one.began.id, Some(*event)));
    }
    for (id, by) in &history.kept {
        if let Some(&one) = by_run.get(by)
            && let Some(end) = one.end
            && is_anothers(one, end.at_ns)
        {
            report.found.push((Broken::Stale, *id, Some(end)));
        }
    }
}

/// Each that was enqueued comes to an end, and what comes after it follows.
fn ends(runs: &HashMap<Id, Vec<Run>>, history: &History, margins: Margins, report: &mut Report) {
    let of = |what: What| history.events.iter().filter(move |event| event.what == what);
    let sent: HashSet<Id> = of(What::Sends).map(|event| event.id).collect();
    let mut enqueued: HashSet<Id> = of(What::Enqueued).map(|event| event.id).collect();
    report.enqueued = enqueued.len();
    report.refused = of(What::Refused).count();
    let dead: HashMap<Id, u32> = history.dead.iter().map(|dead| (dead.id, dead.crashes)).collect();
    report.dead = dead.len();
    let kept: HashSet<Id> = history.kept.iter().map(|(id, _)| *id).collect();
    let done_ns: HashMap<Id, u64> = runs
        .iter()
        .filter_map(|(id, runs)| {
            let done = runs.iter().filter(|run| run.ended() == Some(What::Done));
            Some((*id, done.map(|run| run.end_ns(&[])).min()?))
        })
        .collect();
    // What comes after a job is enqueued by its end.
    let follow = enqueued.iter().filter(|id| done_ns.contains_key(*id) && !dead.contains_key(*id));
    let follow: Vec<Id> = follow.filter_map(|id| id.after()).collect();
    enqueued.extend(follow);
    for (id, of_it) in runs {
        let origin = id.before().unwrap_or(*id);
        if !sent.contains(&origin) {
            report.found.push((Broken::Invented, *id, Some(of_it[0].began)));
        }
        let follows = id.before();
        let is_early = follows
            .is_some_and(|before| done_ns.get(&before).is_none_or(|at| *at > of_it[0].began.at_ns));
        if is_early {
            report.found.push((Broken::TooEarly, *id, Some(of_it[0].began)));
        }
    }
    for id in &enqueued {
        let is_done = match id.is_kept() && !id.is_after() {
            true => kept.contains(id),
            false => done_ns.contains_key(id),
        };
        if !is_done && !dead.contains_key(id) {
            report.found.push((Broken::Lost, *id, None));
        }
    }
    for (id, crashes) in dead.into_iter().filter(|(id, _)| !id.is_poison()) {
        match crashes >= margins.crashes_max {
            true => report.crashed += 1,
            false => report.found.push((Broken::DeadWithoutCause, id, None)),
        }
    }
}

/// So many at a time of a key, and of the queue. A run is counted while the store has certainly held it.
fn limits(runs: &HashMap<Id, Vec<Run>>, history: &History, margins: Margins, report: &mut Report) {
    let mut steps: Vec<(u64, bool, &Run)> = Vec::new();
    for run in runs.values().flatten().filter(|run| !run.began.id.is_after()) {
        let until_ns = run.held_until_ns(&history.faults, margins);
        if until_ns > run.began.at_ns {
            steps.push((run.began.at_ns, true, run));
            steps.push((until_ns, false, run));
        }
    }
    // Ends before what begins at the same moment.
    steps.sort_by_key(|(at_ns, begins, _)| (*at_ns, *begins));
    let (mut all, mut keys) = (0_usize, HashMap::<u64, usize>::new());
    for (_, begins, run) in steps {
        let id = run.began.id;
        let of_key = id.key().map(|key| keys.entry(key).or_default());
        if !begins {
            all -= 1;
            if let Some(of_key) = of_key {
                *of_key -= 1;
            }
            continue;
        }
        all += 1;
        if all > margins.global {
            report.found.push((Broken::GlobalLimit, id, Some(run.began)));
        }
        if let Some(of_key) = of_key {
            *of_key += 1;
            if *of_key > margins.per_key {
                report.found.push((Broken::KeyLimit, id, Some(run.began)));
            }
        }
    }
}

/// A name is one job's until that has ended.
fn names(runs: &HashMap<Id, Vec<Run>>, history: &History, report: &mut Report) {
    let mut sends: HashMap<Id, u64> = HashMap::new();
    let mut of_name: HashMap<Name, Vec<(Id, u64, u64)>> = HashMap::new();
    for event in &history.events {
        match (event.what, event.id.name()) {
            (What::Sends, Some(_)) => {
                sends.entry(event.id).or_insert(event.at_ns);
            }
            (What::Enqueued, Some(name)) => {
                let from_ns = sends.get(&event.id).copied().unwrap_or(event.at_ns);
                of_name.entry(name).or_default().push((event.id, from_ns, event.at_ns));
            }
            _ => {}
        }
    }
    let is_dead = |id: Id| history.dead.iter().any(|dead| dead.id == id);
    // Nothing where it may have ended without a word.
    let first_end_ns = |id: Id| {
        let of_it = runs.get(&id).into_iter().flatten();
        let ends = of_it.filter(|run| matches!(run.ended(), Some(What::Done | What::Last)));
        let first = ends.map(|run| run.end_ns(&[])).min();
        first.or((!is_dead(id)).then_some(u64::MAX))
    };
    for all in of_name.values() {
        for (first, _, written_ns) in all {
            let Some(end_ns) = first_end_ns(*first) else { continue };
            for (second, asked_ns, confirmed_ns) in all {
                if first != second && written_ns < asked_ns && *confirmed_ns < end_ns {
                    report.found.push((Broken::Unique, *second, None));
                }
            }
        }
    }
}

/// One for each that was done and has one; never two.
fn effects(runs: &HashMap<Id, Vec<Run>>, history: &History, report: &mut Report) {
    let mut there: HashMap<Id, usize> = HashMap::new();
    for id in &history.effects {
        *there.entry(*id).or_default() += 1;
    }
    for (id, _) in there.iter().filter(|(_, count)| **count > 1) {
        report.found.push((Broken::DoubleEffect, *id, None));
    }
    for (id, of_it) in runs.iter().filter(|(id, _)| id.has_effect()) {
        let is_done = of_it.iter().any(|run| run.ended() == Some(What::Done));
        if is_done && !there.contains_key(id) {
            report.found.push((Broken::NoEffect, *id, None));
        }
    }
}
