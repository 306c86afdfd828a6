//! A job, as people see it.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::{DoneJob, at_ms};
use crate::job::model::{
    CRASHES_MAX, Found, JobId, JobState, Note, PRIORITY_DEFAULT, Progress, Record, SNOOZES_MAX,
    crashed_too_often,
};
use crate::job::pull::shown;
use crate::kernel::name::QueueName;

/// What is known of a job.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobInfo {
    /// What it is called.
    pub id: JobId,
    /// The queue that it is in.
    pub queue: String,
    /// Its kind; empty where what is kept of it cannot be read.
    pub kind: String,
    /// Where it stands.
    pub state: JobState,
    /// 0 to 9; 9 is first.
    pub priority: u8,
    /// Jobs with one key have a limit of their own.
    pub key: Option<String>,
    /// It has a unique name.
    pub is_unique: bool,
    /// The batch that it is of.
    pub batch: Option<JobId>,
    /// The recurring job that made it.
    pub recurring: Option<String>,
    /// Of W3C's Trace Context: the span that enqueued it.
    pub traceparent: Option<String>,
    /// What its handler is given, as it was enqueued; nothing where that was not kept.
    pub payload: Option<Bytes>,
    /// How often its handler is called at most, where the job says so itself.
    pub attempts: Option<u32>,
    /// When it was enqueued, by the store's clock; nothing where that was not kept.
    pub enqueued_at: Option<SystemTime>,
    /// When it is due, has died, or is forgotten, by its state; where it is done and was not kept, when that was told.
    pub at: Option<SystemTime>,
    /// When it ended, where it is done.
    pub ended_at: Option<SystemTime>,
    /// For how long its handler ran in the end, where it is done.
    pub took: Option<Duration>,
    /// Who runs it, or has done it.
    pub worker: Option<String>,
    /// How often its handler failed.
    pub failures: u32,
    /// How often its handler put it off.
    pub snoozes: u32,
    /// How many deliveries ended with their process.
    pub crashes: u32,
    /// The last runs that did not bring it to an end, the oldest of them first.
    pub runs: Vec<Run>,
    /// Why it is dead.
    pub reason: Option<String>,
    /// How far it has come, as far as its handler tells.
    pub progress: Option<Progress>,
    /// What its handler tells, with when: the newest lines.
    pub log: Vec<(SystemTime, String)>,
    /// What its handler brought, as JSON, while it is kept.
    pub result: Option<Bytes>,
}

/// A run of a job that did not bring it to an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// When it ended.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What people know its worker by.
    pub by: String,
    /// What went wrong; nothing where it was put off.
    pub error: Option<String>,
}

/// A job that is there. Of one that cannot be read, what can be.
pub(in crate::job) fn info_of(queue: &QueueName, found: Found) -> JobInfo {
    let reason = (found.state == JobState::Dead).then(|| reason_of(&found));
    let record = Record::read(found.record).ok();
    let body = record.as_ref().and_then(|record| record.body().ok());
    let is_read = body.is_some();
    let body = body.unwrap_or_default();
    let note = record.as_ref().map(|record| Note::read(&record.note)).unwrap_or_default();
    let done = found.ended.as_ref().and_then(|ended| {
        DoneJob::read(ended.at_ms, std::str::from_utf8(&ended.line).unwrap_or_default())
    });
    let result = found.ended.as_ref().map(|ended| ended.result.clone());
    let runs = note.runs.into_iter().map(|run| Run {
        at: at_ms(run.at_ms),
        took: Duration::from_millis(run.took_ms),
        by: run.by,
        error: run.error,
    });
    JobInfo {
        id: found.id,
        queue: queue.as_str().to_owned(),
        state: found.state,
        priority: body.priority,
        is_unique: body.unique.is_some(),
        batch: body.batch,
        attempts: body.attempts,
        payload: is_read.then_some(body.payload),
        kind: body.kind,
        key: body.key,
        recurring: body.recurring,
        traceparent: body.traceparent,
        enqueued_at: record.as_ref().map(|record| at_ms(record.enqueued_ms)),
        at: found.at_ms.map(at_ms),
        ended_at: found.ended.as_ref().map(|ended| at_ms(ended.at_ms)),
        took: done.as_ref().map(|done| done.took),
        worker: found.lane.as_deref().map(shown).or(done.map(|done| done.worker)),
        failures: note.failures,
        snoozes: note.snoozes,
        crashes: record.as_ref().map_or(0, |record| record.crashes),
        runs: runs.collect(),
        reason,
        progress: found.progress.and_then(|json| serde_json::from_slice(&json).ok()),
        log: found.log.map(|log| lines_of(&log)).unwrap_or_default(),
        result: result.filter(|result| !result.is_empty()),
    }
}

impl JobInfo {
    /// One that is done and was not kept.
    pub(in crate::job) fn of_done(queue: &QueueName, done: DoneJob) -> Self {
        let DoneJob { id, kind, at, took, worker } = done;
        Self {
            id,
            queue: queue.as_str().to_owned(),
            kind,
            state: JobState::Done,
            priority: PRIORITY_DEFAULT,
            key: None,
            is_unique: false,
            batch: None,
            recurring: None,
            traceparent: None,
            payload: None,
            attempts: None,
            enqueued_at: None,
            at: Some(at),
            ended_at: Some(at),
            took: Some(took),
            worker: Some(worker),
            failures: 0,
            snoozes: 0,
            crashes: 0,
            runs: Vec::new(),
            reason: None,
            progress: None,
            log: Vec::new(),
            result: None,
        }
    }
}

/// Its payload, its log and its result are not for logs.
impl fmt::Debug for JobInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobInfo")
            .field("id", &self.id)
            .field("queue", &self.queue)
            .field("kind", &self.kind)
            .field("state", &self.state)
            .field("failures", &self.failures)
            .field("crashes", &self.crashes)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// Why a job is dead: in the words of its last error, or in those of what has buried it without one.
pub(in crate::job) fn reason_of(found: &Found) -> String {
    let Ok(record) = Record::read(found.record.clone()) else {
        return "what is kept of it cannot be read".to_owned();
    };
    if let Some(reason) = crashed_too_often(record.crashes.min(CRASHES_MAX)) {
        return reason;
    }
    let note = Note::read(&record.note);
    match note.runs.last() {
        _ if note.unknown_ms > 0 => "no worker has a handler for its kind".to_owned(),
        _ if note.snoozes >= SNOOZES_MAX => {
            format!("its handler put it off {SNOOZES_MAX} times")
        }
        Some(last) if last.error.is_some() => last.error.clone().unwrap_or_default(),
        _ => "no worker has a handler for its kind".to_owned(),
    }
}

/// What a handler tells: a line each, of the moment and the text.
fn lines_of(log: &[u8]) -> Vec<(SystemTime, String)> {
    let lines = log.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let read = |line: &[u8]| serde_json::from_slice::<(u64, String)>(line).ok();
    lines.filter_map(read).map(|(ms, text)| (at_ms(ms), text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::model::{Body, Ended, PastRun};
    use crate::kernel::clock::UnixMillis;

    fn found(state: JobState, note: Note, crashes: u32) -> Found {
        let body = Body { kind: "mail".to_owned(), payload: Bytes::from("{}"), ..Body::default() };
        let body = body.write().unwrap();
        let record = Record { flags: 0, crashes, enqueued_ms: 5, note: note.write(), body };
        Found {
            id: JobId::new(UnixMillis(5), 0).unwrap(),
            state,
            record: record.write(),
            at_ms: Some(7),
            lane: None,
            ended: None,
            progress: None,
            log: Some(Bytes::from("[9,\"rendered\"]\n[10,\"sent\"]\n")),
        }
    }

    fn note(errors: &[&str]) -> Note {
        let run = |error: &&str| PastRun {
            at_ms: 6,
            took_ms: 1,
            by: "host".to_owned(),
            error: Some((*error).to_owned()),
        };
        Note { failures: 2, runs: errors.iter().map(run).collect(), ..Note::default() }
    }

    #[test]
    fn a_dead_job_says_why() {
        let of = |note, crashes| reason_of(&found(JobState::Dead, note, crashes));
        assert_eq!(of(note(&["first", "no"]), 0), "no");
        assert!(of(note(&["no"]), 5).contains("ended with their process"));
        assert!(of(Note { snoozes: SNOOZES_MAX, ..note(&["no"]) }, 0).contains("put it off"));
        assert!(of(Note::default(), 0).contains("no worker"));
        let broken = Found { record: Bytes::from("x"), ..found(JobState::Dead, note(&[]), 0) };
        let queue = QueueName::new("mail").unwrap();
        let info = info_of(&queue, broken);
        assert_eq!((info.kind.as_str(), info.payload), ("", None));
        assert!(info.reason.unwrap().contains("cannot be read"));
    }

    #[test]
    fn what_is_known_is_told_and_what_is_secret_is_not_logged() {
        let ended = Ended {
            at_ms: 8,
            line: Bytes::from("01KAPX2V9QJ7M3B0N8R5T4W6YZ mail 20 host:1\n"),
            result: Bytes::from("\"secret\""),
        };
        let done = Found { ended: Some(ended), ..found(JobState::Done, note(&["no"]), 1) };
        let info = info_of(&QueueName::new("mail").unwrap(), done);
        assert_eq!((info.failures, info.crashes, info.runs.len()), (2, 1, 1));
        assert_eq!(
            (info.took, info.worker.as_deref()),
            (Some(Duration::from_millis(20)), Some("host:1"))
        );
        assert_eq!(info.log, [(at_ms(9), "rendered".to_owned()), (at_ms(10), "sent".to_owned())]);
        assert_eq!((info.ended_at, info.reason.clone()), (Some(at_ms(8)), None));
        assert!(!format!("{info:?}").contains("secret"));
    }
}
