//! One run of a handler: from what was taken to what becomes of it.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use tracing::Instrument as _;

use super::super::backend::Backend as _;
use super::super::context::{JobContext, Signal, Stop, Which};
use super::super::layer::JobCall;
use super::super::model::{
    Becomes, Body, End, JobId, Note, Noted, PROGRESS_EVERY, Policy, RETAIN_AWAITED, Ran, Record,
    Said, Settle, Telling, becomes, fingerprint, millis,
};
use super::ends::Ends;
use super::hold::Hold;
use super::part::Part;
use super::shares::Granted;
use super::suspect::Suspect;
use super::tally::{OTHER, Outcome};
use super::{STOP_GRACE, Team};
use crate::kernel::clock::Monotonic;
use crate::kernel::words::words_of;

/// For how long the last of what a handler told is tried to be told.
const TELL_TIME_MAX: Duration = Duration::from_secs(1);

/// What became of a job, for the lane that has it.
pub(super) struct Ended {
    /// Of the lane's names, under which it was taken.
    pub(super) generation: u64,
    pub(super) settle: Settle,
    pub(super) outcome: Outcome,
    pub(super) kind: Option<usize>,
    pub(super) took: Duration,
    /// Where it was in the lane's [`Hold`](super::hold::Hold); nothing where it never began.
    pub(super) place: Option<usize>,
    /// Of a suspect, until the store has heard of its end: with its process, the next one would take it along.
    pub(super) suspect: Option<Suspect>,
}

/// A job that was taken.
pub(super) struct Run {
    pub(super) team: Arc<Team>,
    pub(super) part: Arc<Part>,
    pub(super) hold: Arc<Hold>,
    /// What the lane is called.
    pub(super) lane: Arc<str>,
    pub(super) id: JobId,
    pub(super) fence: u64,
    pub(super) record: Bytes,
    pub(super) signal: Arc<Signal>,
    /// What is free again with the end of the run, before the lane hears of that.
    pub(super) _granted: Option<Granted>,
    pub(super) end: Report,
}

/// Tells the lane of the end of a run, however it ends: aborted, the job is handed back.
pub(super) struct Report {
    ends: Arc<Ends>,
    what: Option<Ended>,
}

impl Report {
    pub(super) fn new(ends: Arc<Ends>, generation: u64, id: JobId, fence: u64) -> Self {
        let settle = Settle { id, fence, end: End::Back };
        let (outcome, took) = (Outcome::Back, Duration::ZERO);
        let (kind, place, suspect) = (None, None, None);
        let what = Ended { generation, settle, outcome, kind, took, place, suspect };
        Self { ends, what: Some(what) }
    }

    /// It begins, and is in this place.
    pub(super) fn begins(&mut self, place: usize, suspect: Option<Suspect>) {
        if let Some(what) = &mut self.what {
            what.place = Some(place);
            what.suspect = suspect;
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if let Some(what) = self.what.take() {
            self.ends.push(what);
        }
    }
}

/// What a run has come to.
struct Came {
    kind: Option<usize>,
    said: Said,
    note: Note,
    policy: Policy,
    retain_ms: u64,
}

impl Run {
    pub(super) async fn until_its_end(mut self) {
        let began = self.team.clock().now();
        let came = self.come(began).await;
        let took = self.team.clock().now().since(began);
        let (kind, outcome, end) = self.end_of(came, millis(took));
        self.part.counts.ended(kind, outcome, took);
        if let Some(what) = &mut self.end.what {
            what.settle.end = end;
            what.outcome = outcome;
            what.kind = kind;
            what.took = took;
        }
    }

    async fn come(&self, began: Monotonic) -> Came {
        let read = Record::read(self.record.clone());
        let read = read.and_then(|record| record.body().map(|body| (record, body)));
        let (record, body) = match read {
            Ok(read) => read,
            Err(error) => return Came::dead(format!("unreadable: {error}")),
        };
        let note = match record.note.is_empty() {
            true => Note::default(),
            false => Note::read(&record.note),
        };
        let retain_ms = body.retain_ms.unwrap_or_default();
        let Some(kind_index) = self.team.settings.kind_index(&body.kind) else {
            let policy = Policy::default();
            return Came { kind: None, said: Said::Unknown, note, policy, retain_ms };
        };
        let kind = &self.team.settings.kinds[kind_index];
        let mut policy = kind.policy.clone();
        policy.attempts = body.attempts.unwrap_or(policy.attempts);
        let time_max = body.timeout_ms.map_or(kind.timeout, Duration::from_millis);
        self.note_wait(&record, &note);
        let which = Which {
            keys: self.part.keys.clone(),
            kind: Arc::clone(&kind.name),
            kind_index,
            id: self.id,
            fence: self.fence,
            signal: Arc::clone(&self.signal),
        };
        let ctx = JobContext::new(self.team.settings.jobs.clone(), which, &record, &body, &note);
        // A handler may panic also as it is dropped.
        let calling = self.call(&ctx, body, began.after(time_max), time_max);
        let said = AssertUnwindSafe(calling).catch_unwind().await.unwrap_or_else(|panic| {
            Said::Failed(format!("its handler panicked: {}", words_of(&*panic)))
        });
        let said = match said {
            // It stopped since it was told to: no fault of the job's.
            Said::Failed(_) | Said::FailedFor(..) if self.signal.is_told() => Said::Back,
            said => said,
        };
        self.tell_the_last(&ctx).await;
        Came { kind: Some(kind_index), said, note, policy, retain_ms }
    }

    /// How long it waited for its first run.
    fn note_wait(&self, record: &Record, note: &Note) {
        if record.crashes == 0 && note.first_ms == 0 {
            let waited_ms = self.part.now_ms().saturating_sub(record.enqueued_ms);
            self.part.counts.wait.record(Duration::from_millis(waited_ms));
        }
    }

    /// Calls the handler, until it ends, its time is over, or it was told to stop a second ago. However that comes, it has
    /// been dropped when this ends.
    async fn call(
        &self,
        ctx: &JobContext,
        body: Body,
        over: Monotonic,
        time_max: Duration,
    ) -> Said {
        // Where its process stood still after it was taken, another may have it by now.
        if self.signal.is_told() || !self.hold.is_leased() {
            return Said::Back;
        }
        let span = tracing::info_span!(
            "sinew.job",
            queue = ctx.queue(),
            kind = ctx.kind(),
            id = %self.id,
            attempt = ctx.attempt(),
            traceparent = body.traceparent.as_deref(),
        );
        let call = JobCall { ctx: ctx.clone(), payload: body.payload };
        let calling = self.team.settings.service.run(call).instrument(span);
        tokio::select! {
            biased;
            called = calling => match called {
                Ok(done) => Said::Done(done.result),
                Err(error) => error.said(),
            },
            () = self.team.clock().sleep_until(over) => {
                Said::Failed(format!("it ran for longer than its time limit of {time_max:?}"))
            }
            () = self.until_dropped() => Said::Back,
            never = self.tell_on(ctx) => match never {},
        }
    }

    /// Waits until it was told to stop, and has had its time to do so.
    async fn until_dropped(&self) {
        self.signal.until_told().await;
        tokio::time::sleep(STOP_GRACE).await;
    }

    /// Tells the store what the handler tells, as often as may be.
    async fn tell_on(&self, ctx: &JobContext) -> Infallible {
        loop {
            ctx.until_mail().await;
            // Apart: most jobs tell nothing, and each would be as large as what tells.
            Box::pin(self.tell(ctx)).await;
            tokio::time::sleep(PROGRESS_EVERY).await;
        }
    }

    /// Tells it what is left, before it hears of the end.
    async fn tell_the_last(&self, ctx: &JobContext) {
        if !ctx.has_mail() {
            return;
        }
        let all = async { while !self.signal.is_told() && self.tell(ctx).await {} };
        // What it does not hear in time was not for the effect.
        let _ = Box::pin(tokio::time::timeout(TELL_TIME_MAX, all)).await;
    }

    /// Whether the store has heard something.
    async fn tell(&self, ctx: &JobContext) -> bool {
        let Some(mail) = ctx.mail() else { return false };
        let progress = mail.progress.as_ref().and_then(|told| serde_json::to_vec(told).ok());
        let log: Vec<Bytes> = mail.log.iter().cloned().collect();
        let telling = Telling {
            lane: &self.lane,
            id: self.id,
            fence: self.fence,
            progress: progress.as_deref(),
            log: &log,
        };
        match self.team.engine().backend.tell(&self.part.keys, telling).await {
            Ok(Noted::Kept) => {
                ctx.told(&mail);
                true
            }
            Ok(Noted::Cancelled) => {
                self.signal.tell(Stop::Cancelled);
                false
            }
            Ok(Noted::Lost) => {
                self.signal.tell(Stop::Lost);
                false
            }
            Err(error) => {
                tracing::debug!(id = %self.id, %error, "what a job told is told again");
                ctx.was_not_told();
                false
            }
        }
    }

    /// What the store is told.
    fn end_of(&self, came: Came, took_ms: u64) -> (Option<usize>, Outcome, End) {
        let Came { kind, said, note, policy, retain_ms } = came;
        let is_cancelled = self.signal.is(Stop::Cancelled);
        let kinds = &self.team.settings.kinds;
        let name = kind.and_then(|kind| kinds.get(kind)).map_or(OTHER, |kind| &*kind.name);
        let label = &self.team.settings.label;
        let ran = match &said {
            // As nearly always: nothing is noted of it.
            Said::Done(_) | Said::Back => Ran { now_ms: 0, took_ms, by: String::new(), draw: 0.0 },
            _ => Ran {
                now_ms: self.part.now_ms(),
                took_ms,
                by: String::from(&**label),
                draw: fastrand::f64(),
            },
        };
        let (outcome, end) = match becomes(said, note, &policy, &ran) {
            Becomes::Done { result } => {
                let line = format!("{} {name} {took_ms} {label}\n", self.id).into();
                let awaited_ms = result.as_ref().map_or(0, |_| millis(RETAIN_AWAITED));
                let retain_ms = retain_ms.max(awaited_ms);
                (Outcome::Done, End::Done { retain_ms, line, result: result.unwrap_or_default() })
            }
            Becomes::Later { delay, note, is_failure } => {
                let outcome = if is_failure { Outcome::Failed } else { Outcome::Snoozed };
                (outcome, End::Later { delay_ms: millis(delay), note, is_failure })
            }
            Becomes::Dead { reason, note } => {
                let fingerprint = fingerprint(name, &reason);
                let sample = format!("{name}\0{reason}");
                (Outcome::Dead, End::Dead { fingerprint, sample, note })
            }
            Becomes::Back => (Outcome::Back, End::Back),
        };
        (kind, if is_cancelled { Outcome::Cancelled } else { outcome }, end)
    }
}

impl Came {
    fn dead(reason: String) -> Self {
        Self {
            kind: None,
            said: Said::Dead(reason),
            note: Note::default(),
            policy: Policy::default(),
            retain_ms: 0,
        }
    }
}
