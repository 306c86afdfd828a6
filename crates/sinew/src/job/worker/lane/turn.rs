//! A turn of a lane: what it tells, and what it is given.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::super::super::backend::Backend as _;
use super::super::super::context::{Signal, Stop};
use super::super::super::model::{
    ENQUEUE_LEN_MAX, End, Held, Record, SETTLES_MAX, Settle, Taken, Took, Turn,
};
use super::super::hold::Hold;
use super::super::part::Part;
use super::super::runs::{Ended, Report, Run};
use super::super::shares::Granted;
use super::super::suspect::Suspect;
use super::super::tally::Outcome;
use super::super::{Phase, Team};
use super::Lane;
use crate::kernel::again::Again;
use crate::kernel::clock::Monotonic;
use crate::kernel::error::Error;

/// How often it is said that turns are refused.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// What the store is told with a turn.
pub(super) struct Told {
    settles: Vec<Settle>,
    /// Of each of these, what came of it, and which kind it is.
    outcomes: Vec<(Outcome, Option<usize>)>,
    counts: Vec<(String, u64)>,
    /// One of the jobs was one.
    suspect: Option<Suspect>,
}

impl Lane {
    /// Tells of ends and takes jobs; the same turn again until it is answered.
    pub(super) async fn turn(&mut self, granted: Granted) {
        let mut told = self.unanswered.take().unwrap_or_else(|| self.tell_next());
        // Held until the store has heard of the last one, and until it is known whether there is another.
        let suspect = match told.suspect.take() {
            None if granted.count > 0 => Suspect::ask(),
            suspect => suspect,
        };
        let turn = Turn {
            lane: &self.name,
            request: self.request,
            want: granted.count,
            takes_suspect: granted.count > 0 && suspect.is_some(),
            settles: &told.settles,
            counts: &told.counts,
        };
        let (team, part, refused) = (&self.team, &self.part, &mut self.refused);
        let sent = send(team, part, &self.hold, &turn, &mut self.phase, refused).await;
        let was_passing = std::mem::take(&mut self.passes_on);
        self.is_late = false;
        self.unsent_since = (!self.unsent.is_empty()).then(|| self.team.clock().now());
        match sent {
            Some(Held::Kept(took)) => {
                self.told(&told, &took);
                if was_passing && granted.count == 0 && took.has_more {
                    // Whoever else waits is first to hear of it; where no one does, it comes back here.
                    self.passed.looked();
                }
                self.is_denied = granted.count > 0 && suspect.is_none() && took.has_suspects;
                self.took(took, granted, suspect);
            }
            Some(Held::Fallen) => {
                self.team.tally.lost(told.settles.len());
                self.hold.fell(&self.name);
            }
            // The worker's time is over. The same is asked with its last words: the store may have heard of it.
            None => self.unanswered = Some(Told { suspect, ..told }),
        }
    }

    /// What the next turn tells, which is another request.
    fn tell_next(&mut self) -> Told {
        self.request += 1;
        let count = self.count_to_tell();
        let (mut settles, mut outcomes) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut suspect = None;
        for ended in self.unsent.drain(..count) {
            settles.push(ended.settle);
            outcomes.push((ended.outcome, ended.kind));
            suspect = suspect.or(ended.suspect);
        }
        let counts = self.statistics.take(&self.team.settings.kinds);
        Told { settles, outcomes, counts, suspect }
    }

    /// Of how many ends the next turn tells: so many, and of such a length.
    pub(super) fn count_to_tell(&self) -> usize {
        let mut len = 0;
        let fits = |ended: &&Ended| {
            let has_room = len < ENQUEUE_LEN_MAX;
            len += len_of(&ended.settle.end);
            has_room
        };
        self.unsent.iter().take(SETTLES_MAX).take_while(fits).count()
    }

    /// The store has heard of these.
    fn told(&self, told: &Told, took: &Took) {
        let (tally, counts) = (&self.team.tally, &self.part.counts);
        for (settle, (outcome, kind)) in told.settles.iter().zip(&told.outcomes) {
            let id = settle.id;
            if took.lost.contains(&id) {
                tally.lost(1);
                counts.lost_lease.increment(1);
                tracing::warn!(%id, queue = self.queue(), "what a job came to does not count: it is no longer this worker's");
                continue;
            }
            // It may have been cancelled just before.
            let is_cancelled = took.stop.contains(&id);
            let outcome = if is_cancelled { Outcome::Cancelled } else { *outcome };
            tally.accepted(outcome);
            match &settle.end {
                End::Dead { sample, .. } if outcome == Outcome::Dead => {
                    counts.buried(*kind);
                    let (kind, reason) = sample.split_once('\0').unwrap_or_default();
                    tracing::warn!(%id, queue = self.queue(), kind, reason, "a job is dead");
                }
                _ if outcome == Outcome::Cancelled => counts.lost_cancelled.increment(1),
                _ => {}
            }
        }
    }

    /// Has those run that it was given.
    fn took(&mut self, took: Took, mut granted: Granted, mut suspect: Option<Suspect>) {
        self.part.heard(took.now_ms, took.next_due_ms);
        if took.is_owing {
            self.part.owing.notify_one();
        }
        let Took { fence, jobs, has_more, is_paused, now_ms, next_due_ms, .. } = took;
        // More that are due are on their way to where they are taken from.
        let moves_on = next_due_ms.is_some_and(|due_ms| due_ms <= now_ms);
        let (looked, found) = (granted.count > 0, jobs.len());
        // What was sent before a machine stood still, and is read after it, may be another's by now.
        // And what comes again with its last words is handed back.
        let may_begin = granted.count > 0 && self.hold.is_leased();
        for taken in jobs {
            let granted = granted.one();
            match may_begin {
                true => {
                    let suspect = suspect.take_if(|_| is_suspect(&taken));
                    self.start(taken, fence, granted, suspect);
                }
                false => {
                    let report =
                        Report::new(Arc::clone(&self.ends), self.generation, taken.id, fence);
                    // It tells the lane that the job is handed back.
                    self.running += 1;
                    self.part.counts.running.increment(1.0);
                    drop(report);
                }
            }
        }
        self.hold.tell(&took.stop, Stop::Cancelled);
        let was_woken = std::mem::replace(&mut self.has_work, has_more && !is_paused);
        match (looked, found) {
            (true, 0) if (was_woken || has_more) && !moves_on => self.vain.looked(),
            (true, 1..) => {
                self.vain.found();
                self.passed.found();
            }
            _ => {}
        }
    }

    fn start(
        &mut self,
        taken: Taken,
        fence: u64,
        granted: Option<Granted>,
        suspect: Option<Suspect>,
    ) {
        let Taken { id, record } = taken;
        let signal = Arc::new(Signal::default());
        self.running += 1;
        self.part.counts.running.increment(1.0);
        let end = Report::new(Arc::clone(&self.ends), self.generation, id, fence);
        let mut run = Run {
            team: Arc::clone(&self.team),
            part: Arc::clone(&self.part),
            hold: Arc::clone(&self.hold),
            lane: Arc::clone(&self.name),
            id,
            fence,
            record,
            signal: Arc::clone(&signal),
            _granted: granted,
            end,
        };
        self.hold.begin(id, signal, |place| {
            run.end.begins(place, suspect);
            tokio::spawn(run.until_its_end()).abort_handle()
        });
    }
}

/// Turns that the store refuses, where asking again will not help.
#[derive(Default)]
pub(super) struct Refused {
    /// Since when the turn is that is under way.
    since: Option<Monotonic>,
    /// When it was said last that one is.
    said: Option<Monotonic>,
}

impl Refused {
    /// One was refused once more. Whether it has been for as long as a lease.
    fn note(&mut self, part: &Part, error: &Error, now: Monotonic, lease: Duration) -> bool {
        let queue = part.keys.queue().as_str();
        if self.said.is_none_or(|said| now.since(said) >= SAY_AGAIN) {
            self.said = Some(now);
            tracing::warn!(queue, error = %format!("{error:#}"), "a turn is refused, and sent again");
        }
        now.since(*self.since.get_or_insert(now)) >= lease
    }
}

/// Sends a turn until it is answered; nothing where the worker's time is over before. One that is refused for as long as a
/// lease is given up with its lane, which says no more that it lives: else it would hold its jobs for good.
async fn send(
    team: &Team,
    part: &Part,
    hold: &Hold,
    turn: &Turn<'_>,
    phase: &mut watch::Receiver<Phase>,
    refused: &mut Refused,
) -> Option<Held<Took>> {
    let (_, settings) = &team.settings.queues[part.queue];
    let mut again = Again::new();
    refused.since = None;
    let sending = async {
        loop {
            match team.engine().backend.turn(&part.keys, turn).await {
                Ok(held) => return held,
                Err(error) if !error.is_retryable() => {
                    if refused.note(part, &error, team.clock().now(), settings.lease) {
                        return Held::Fallen;
                    }
                }
                Err(error) => {
                    let queue = part.keys.queue().as_str();
                    tracing::debug!(queue, %error, "a turn is sent again");
                }
            }
            again.pause().await;
        }
    };
    tokio::pin!(sending);
    tokio::select! {
        biased;
        held = &mut sending => return Some(held),
        // Handlers hear of it also where the store hears nothing.
        () = until(phase, Phase::Ending) => {}
    }
    hold.tell_all(Stop::Ending);
    tokio::select! {
        biased;
        held = sending => Some(held),
        () = until(phase, Phase::Over) => None,
    }
}

/// Resolves when the worker is as far as that. Cancel-safe.
async fn until(phase: &mut watch::Receiver<Phase>, far: Phase) {
    if phase.wait_for(|phase| *phase >= far).await.is_err() {
        // Nobody is left to say so.
        std::future::pending::<()>().await;
    }
}

/// Whether it may be what ended a process. One with a key is kept apart by that.
fn is_suspect(taken: &Taken) -> bool {
    if !Record::has_crashed(&taken.record) {
        return false;
    }
    let record = Record::read(taken.record.clone()).ok();
    record.and_then(|record| record.body().ok()).is_some_and(|body| body.key.is_none())
}

fn len_of(end: &End) -> usize {
    match end {
        End::Done { line, result, .. } => line.len() + result.len(),
        End::Later { note, .. } => note.len(),
        End::Dead { sample, note, .. } => sample.len() + note.len(),
        End::Back => 0,
    }
}
