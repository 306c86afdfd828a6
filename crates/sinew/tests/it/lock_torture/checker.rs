//! What a history of locks has to keep, whoever made it. It goes by what was told alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::history::{Attempt, Event, FaultKind, History, What};
use crate::tortured::nanos;

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broken {
    /// A write was taken that came after one with a greater fence.
    Stale,
    /// Two that hold alone have one fence, or a write of one lies between those of another.
    Interleaved,
    /// A later grant has no greater fence.
    FenceNotGreater,
    /// Two hold at once, and nothing explains it.
    Overlap,
    /// One was served before another that had come earlier, and was there.
    Overtaken,
    /// It waited in vain, or was never answered.
    NeverServed,
}

/// How much is forgiven to a machine that is busy.
#[derive(Clone, Copy)]
pub struct Margins {
    /// One that came later than another by no more than this may be served before it.
    pub order: Duration,
    /// How long the end of a fault can still show.
    pub aftermath: Duration,
    /// Nobody waits for longer.
    pub wait: Duration,
}

/// What one attempt came to.
#[derive(Clone, Debug)]
struct Hold {
    by: Attempt,
    lock: u64,
    beside: u64,
    asked: u64,
    answered: Option<u64>,
    got: Option<u64>,
    fence: u64,
    /// When it last took the lock for its own: looked at the time, and then at the lock.
    sure: Option<u64>,
    waits: bool,
    waited_in_vain: bool,
}

impl Hold {
    fn is_alone(&self) -> bool {
        self.beside == 0
    }

    /// When it surely held the lock, if it ever was sure.
    fn span(&self) -> Option<(u64, u64)> {
        Some((self.got?, self.sure?))
    }
}

/// What was found, and what was counted.
#[derive(Debug, Default)]
pub struct Report {
    pub found: Vec<(Broken, String)>,
    pub grants: usize,
    pub calm_grants: usize,
    pub writes: usize,
    pub refused: usize,
    pub failed: usize,
    /// Two held at once, for Redis had forgotten the first.
    pub explained: usize,
    pub longest_wait: Duration,
    /// From the death of a holder to the next grant.
    pub longest_succession: Duration,
}

impl Report {
    fn find(&mut self, broken: Broken, what: String) {
        self.found.push((broken, what));
    }

    pub fn kinds(&self) -> BTreeSet<Broken> {
        self.found.iter().map(|(broken, _)| *broken).collect()
    }
}

pub fn check(history: &History, margins: Margins) -> Report {
    let count = |what| history.events.iter().filter(|event| event.what == what).count();
    let mut report = Report {
        grants: count(What::Got),
        writes: count(What::Wrote),
        refused: count(What::Refused),
        failed: count(What::Failed),
        ..Report::default()
    };
    let calendar = Calendar { history, margins };
    let holds = holds(&history.events);
    writes(&history.events, &mut report);
    waits(&holds, &calendar, &mut report);
    let mut by_lock: BTreeMap<u64, Vec<&Hold>> = BTreeMap::new();
    for hold in holds.values().filter(|hold| hold.got.is_some()) {
        by_lock.entry(hold.lock).or_default().push(hold);
    }
    for granted in by_lock.values_mut() {
        granted.sort_by_key(|hold| hold.got);
        fences(granted, &calendar, &mut report);
        overlaps(granted, &calendar, &mut report);
        order(granted, &calendar, &mut report);
    }
    report.longest_succession = succession(history, &holds);
    report
}

fn holds(events: &[Event]) -> BTreeMap<Attempt, Hold> {
    let mut holds = BTreeMap::new();
    for event in events {
        let hold = holds.entry(event.by).or_insert_with(|| Hold {
            by: event.by,
            lock: event.lock,
            beside: event.beside,
            asked: event.at_ns,
            answered: None,
            got: None,
            fence: 0,
            sure: None,
            waits: event.what == What::Asks,
            waited_in_vain: false,
        });
        match event.what {
            What::Got => {
                (hold.got, hold.fence) = (Some(event.at_ns), event.fence);
                hold.answered = hold.got;
            }
            What::Sure => hold.sure = Some(event.at_ns),
            What::Held => {
                hold.waited_in_vain = hold.waits;
                hold.answered = Some(event.at_ns);
            }
            What::Failed => hold.answered = Some(event.at_ns),
            What::Asks | What::Tries | What::Writes | What::Wrote | What::Refused | What::Ends => {}
        }
    }
    holds
}

/// What the faults say of a time.
struct Calendar<'a> {
    history: &'a History,
    margins: Margins,
}

impl Calendar<'_> {
    fn has(&self, from: u64, to: u64, kind: impl Fn(FaultKind) -> bool) -> bool {
        let aftermath = nanos(self.margins.aftermath);
        self.history.faults.iter().any(|fault| {
            kind(fault.kind) && fault.from_ns <= to && from <= fault.to_ns.saturating_add(aftermath)
        })
    }

    fn is_calm(&self, from: u64, to: u64) -> bool {
        !self.has(from, to, |_| true)
    }

    /// Whether nothing was wrong but that processes stood still.
    fn is_served_in_order(&self, from: u64, to: u64) -> bool {
        !self.has(from, to, |kind| !matches!(kind, FaultKind::Stopped { .. }))
    }

    /// From when on it was there for as long as it waited: since it asked, or since it last stood still.
    fn is_there_since(&self, hold: &Hold) -> u64 {
        let stopped = FaultKind::Stopped { process: hold.by.process };
        let stops = self.history.faults.iter().filter(|fault| fault.kind == stopped);
        let before = stops.filter(|fault| fault.from_ns <= hold.got.unwrap_or(u64::MAX));
        before.map(|fault| fault.to_ns).max().unwrap_or(0).max(hold.asked)
    }

    fn forgot(&self, from: u64, to: u64) -> bool {
        self.has(from, to, |kind| kind == FaultKind::Forgot)
    }

    fn was_killed(&self, by: Attempt) -> bool {
        let killed = FaultKind::Killed { process: by.process, life: by.life };
        self.history.faults.iter().any(|fault| fault.kind == killed)
    }
}

/// The register took nothing stale, and the writes of each hold in one piece.
fn writes(events: &[Event], report: &mut Report) {
    #[derive(Default)]
    struct Seen {
        greatest: u64,
        last: Option<Attempt>,
        over: BTreeSet<Attempt>,
    }
    let mut seen: HashMap<u64, Seen> = HashMap::new();
    for event in events.iter().filter(|event| event.what == What::Wrote) {
        let seen = seen.entry(event.lock).or_default();
        if event.fence < seen.greatest {
            report.find(Broken::Stale, format!("{event} after fence {}", seen.greatest));
        }
        if seen.last != Some(event.by) {
            if seen.over.contains(&event.by) {
                report.find(Broken::Interleaved, format!("{event} after one of {:?}", seen.last));
            } else if event.fence == seen.greatest {
                report.find(Broken::Interleaved, format!("{event} with the fence of another"));
            }
            seen.over.extend(seen.last.replace(event.by));
        }
        seen.greatest = seen.greatest.max(event.fence);
    }
}

/// Everyone is answered, and in time.
fn waits(holds: &BTreeMap<Attempt, Hold>, calendar: &Calendar<'_>, report: &mut Report) {
    for hold in holds.values() {
        let waited = hold.answered.map(|answered| since(hold.asked, answered));
        let is_served = match waited {
            None => calendar.was_killed(hold.by),
            Some(waited) => !hold.waited_in_vain && waited <= calendar.margins.wait,
        };
        if !is_served {
            report.find(Broken::NeverServed, format!("{hold:?}"));
        }
        report.longest_wait = report.longest_wait.max(waited.unwrap_or_default());
    }
}

/// Of two grants of which one surely came after the other, it has the greater fence.
fn fences(granted: &[&Hold], calendar: &Calendar<'_>, report: &mut Report) {
    let mut owners: HashMap<u64, Attempt> = HashMap::new();
    let alone: Vec<&Hold> = granted.iter().filter(|hold| hold.is_alone()).copied().collect();
    for hold in &alone {
        if let Some(other) = owners.insert(hold.fence, hold.by) {
            report.find(Broken::FenceNotGreater, format!("{hold:?} has the fence of {other:?}"));
        }
    }
    let is_calm = |hold: &Hold| calendar.is_calm(hold.asked, hold.sure.or(hold.got).unwrap_or(0));
    let calm: BTreeSet<Attempt> =
        alone.iter().filter(|hold| is_calm(hold)).map(|hold| hold.by).collect();
    for later in granted {
        let got = later.got.unwrap_or(0);
        for earlier in alone.iter().take_while(|earlier| earlier.got < later.got) {
            // It asked after the other had the lock; or, where nothing was wrong, it got it after that.
            let is_later = earlier.got < Some(later.asked)
                || (calm.contains(&later.by)
                    && calm.contains(&earlier.by)
                    && earlier.sure.is_some_and(|sure| sure < got));
            let keeps = match later.is_alone() {
                true => later.fence > earlier.fence,
                // A reader has the last writer's; unless Redis forgot it.
                false => later.fence >= earlier.fence || calendar.forgot(earlier.asked, got),
            };
            if is_later && !keeps {
                report.find(Broken::FenceNotGreater, format!("{later:?} after {earlier:?}"));
            }
        }
    }
}

/// No more hold at once than any of them may have beside it.
fn overlaps(granted: &[&Hold], calendar: &Calendar<'_>, report: &mut Report) {
    // By the beginning of their spans: whenever too many hold, they do when the last of them begins.
    let mut at_once: Vec<((u64, u64), &Hold)> = Vec::new();
    for (span, hold) in granted.iter().filter_map(|hold| Some((hold.span()?, *hold))) {
        at_once.retain(|((_, ended), _)| *ended > span.0);
        at_once.push((span, hold));
        let beside = at_once.iter().map(|(_, hold)| hold.beside).min().unwrap_or(u64::MAX);
        if at_once.len() as u64 - 1 <= beside {
            continue;
        }
        let from = at_once.iter().map(|((from, _), _)| *from).min().unwrap_or(span.0);
        let to = at_once.iter().map(|((_, to), _)| *to).max().unwrap_or(span.1);
        match calendar.forgot(from, to) {
            true => report.explained += 1,
            false => {
                let holds: Vec<&Hold> = at_once.iter().map(|(_, hold)| *hold).collect();
                report.find(Broken::Overlap, format!("{holds:?}"));
            }
        }
    }
}

/// Who came first is served first, unless it was not there when its turn came. Whoever stood still has its old
/// place when it is back: nobody that asks after that is served before it.
fn order(granted: &[&Hold], calendar: &Calendar<'_>, report: &mut Report) {
    let margin = nanos(calendar.margins.order);
    let is_in_order =
        |hold: &&&Hold| calendar.is_served_in_order(hold.asked, hold.got.unwrap_or(0));
    let served: Vec<&Hold> = granted.iter().filter(is_in_order).copied().collect();
    let is_calm = |hold: &&&Hold| calendar.is_calm(hold.asked, hold.got.unwrap_or(0));
    report.calm_grants += served.iter().filter(is_calm).count();
    for (at, late) in served.iter().enumerate() {
        let since = calendar.is_there_since(late).saturating_add(margin);
        // Sorted by when they were served.
        let before = served[..at].iter().rev();
        let while_it_waited = before.take_while(|early| early.got.unwrap_or(0) >= late.asked);
        // Two that may hold together are served at about one time, and say so in any order.
        let is_before = |early: &&&Hold| {
            let slack = if late.is_alone() || early.is_alone() { 0 } else { margin };
            early.got.unwrap_or(0).saturating_add(slack) <= late.got.unwrap_or(0)
        };
        for early in while_it_waited.filter(|early| early.asked > since).filter(is_before) {
            report.find(Broken::Overtaken, format!("{late:?} by {early:?}"));
        }
    }
}

/// The longest time from the death of a holder to the next grant of its lock.
fn succession(history: &History, holds: &BTreeMap<Attempt, Hold>) -> Duration {
    let mut longest = Duration::ZERO;
    let ends: BTreeSet<Attempt> =
        history.events.iter().filter(|e| e.what == What::Ends).map(|e| e.by).collect();
    for fault in &history.faults {
        let FaultKind::Killed { process, life } = fault.kind else { continue };
        let is_of = |hold: &&Hold| hold.by.process == process && hold.by.life == life;
        let held = |hold: &&Hold| hold.got.is_some() && !ends.contains(&hold.by);
        for dead in holds.values().filter(is_of).filter(held) {
            let grants = holds.values().filter(|hold| hold.lock == dead.lock && hold.is_alone());
            let next = grants.filter_map(|hold| hold.got).filter(|got| *got > fault.from_ns).min();
            longest = longest.max(next.map_or(Duration::ZERO, |got| since(fault.from_ns, got)));
        }
    }
    longest
}

fn since(from_ns: u64, to_ns: u64) -> Duration {
    Duration::from_nanos(to_ns.saturating_sub(from_ns))
}
