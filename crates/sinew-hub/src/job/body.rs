//! What is said of jobs: the replies of the hub, which commands read again.

mod counted;
mod recurring;

use std::time::Duration;

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sinew::job::{
    Audited, Cancelled, DeadGroup, DoneJob, Enqueued, JobId, JobInfo, JobPage, LaneInfo, Progress,
    QueueLook, Redriven, Run,
};
use utoipa::ToSchema;

use crate::duration::written;
use crate::job::terms::name_of;
use crate::json;
use crate::stream::body::{millis, time};

pub(crate) use counted::{EndedBody, KindBody, PeriodBody};
pub(crate) use recurring::RecurringBody;

/// A queue in numbers, over all its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct QueueBody {
    #[schema(example = "mail")]
    pub(crate) queue: String,
    pub(crate) partitions: u16,
    /// Nobody takes its jobs
    pub(crate) paused: bool,
    /// How many wait for a worker
    pub(crate) waiting: u64,
    /// How many are in line to begin, by priority, from 0 to 9: jobs without a key, and a place for each key that is not at its
    /// limit. Of each priority no more than wait; one that was cancelled may count until a worker comes to it, and what is
    /// tried again after a crash counts in none
    #[schema(value_type = Vec<u64>)]
    pub(crate) by_priority: [u64; 10],
    /// How many wait for their time, for the first time or again
    pub(crate) scheduled: u64,
    pub(crate) running: u64,
    pub(crate) dead: u64,
    /// How many are done and kept
    pub(crate) kept: u64,
    /// How many are about to be enqueued elsewhere, after what has ended here
    pub(crate) owed: u64,
    /// Of workers, and of pulls
    pub(crate) lanes: u64,
    /// How many may run at a time, everywhere; null is no limit
    pub(crate) global: Option<u64>,
    /// How many of one key may; null is no limit
    pub(crate) per_key: Option<u64>,
    /// How many may start in any window; null is no limit
    pub(crate) rate: Option<RateBody>,
    /// When the oldest that waits was enqueued (RFC 3339)
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) oldest_at: Option<Timestamp>,
    /// How long ago that is, by the store's clock
    pub(crate) oldest_ms: Option<u64>,
}

/// So many starts in any window of this length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateBody {
    pub(crate) starts: u64,
    #[schema(example = "1m")]
    pub(crate) per: String,
}

impl QueueBody {
    pub(crate) fn new(queue: &str, look: &QueueLook) -> Self {
        let limit = |limit: u64| Some(limit).filter(|limit| *limit > 0);
        let (starts, per_ms) = look.rate;
        Self {
            queue: queue.to_owned(),
            partitions: look.partitions,
            paused: look.is_paused,
            waiting: look.waiting,
            by_priority: look.by_priority,
            scheduled: look.scheduled,
            running: look.running,
            dead: look.dead,
            kept: look.kept,
            owed: look.owed,
            lanes: look.lanes,
            global: limit(look.global),
            per_key: limit(look.per_key),
            rate: limit(starts)
                .map(|starts| RateBody { starts, per: written(Duration::from_millis(per_ms)) }),
            oldest_at: look.oldest_ms.map(at),
            oldest_ms: look.oldest_ms.map(|oldest_ms| look.now_ms.saturating_sub(oldest_ms)),
        }
    }
}

/// A job.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct JobBody {
    #[schema(example = "01KAPX2V9QJ7M3B0N8R5T4W6YZ")]
    pub(crate) id: String,
    #[schema(example = "mail")]
    pub(crate) queue: String,
    /// Which handler it is for; empty where what is kept of it cannot be read
    #[schema(example = "email.send")]
    pub(crate) kind: String,
    /// `waiting`, `scheduled`, `running`, `done` or `dead`
    #[schema(example = "waiting")]
    pub(crate) state: String,
    /// 0 to 9; 9 is first
    pub(crate) priority: u8,
    pub(crate) key: Option<String>,
    /// It has a unique name
    pub(crate) unique: bool,
    /// The batch that it is of
    pub(crate) batch: Option<String>,
    /// The recurring job that made it
    pub(crate) recurring: Option<String>,
    /// Of W3C's Trace Context: the span that enqueued it
    pub(crate) traceparent: Option<String>,
    /// How often its handler is called at most, where it says so itself
    pub(crate) attempts: Option<u32>,
    /// How often its handler failed
    pub(crate) failures: u32,
    /// How often its handler put it off
    pub(crate) snoozes: u32,
    /// How many deliveries ended with their process
    pub(crate) crashes: u32,
    /// By the store's clock (RFC 3339)
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) enqueued_at: Option<Timestamp>,
    /// When it is due, has died, or is forgotten, by its state (RFC 3339)
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) at: Option<Timestamp>,
    /// Of one that is done (RFC 3339)
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) ended_at: Option<Timestamp>,
    /// For how long its handler ran in the end, where it is done
    pub(crate) took_ms: Option<u64>,
    /// Who runs it, or has done it
    pub(crate) worker: Option<String>,
    /// Why it is dead
    pub(crate) reason: Option<String>,
    /// The last runs that did not bring it to an end, the oldest of them first
    pub(crate) runs: Vec<RunBody>,
    pub(crate) progress: Option<ProgressBody>,
    /// The newest lines that its handler has told
    pub(crate) log: Vec<LineBody>,
    /// What it was enqueued with, as it was written; null where that was not kept
    #[schema(value_type = Option<Value>)]
    pub(crate) payload: Option<Box<RawValue>>,
    /// The same, where it is no JSON
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) payload_base64: Option<String>,
    /// What its handler brought, while it is kept
    #[schema(value_type = Option<Value>)]
    pub(crate) result: Option<Box<RawValue>>,
}

/// A run that did not bring a job to an end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct RunBody {
    /// When it ended (RFC 3339)
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    pub(crate) took_ms: u64,
    /// The worker
    pub(crate) by: String,
    /// What went wrong; null where it was put off
    pub(crate) error: Option<String>,
}

/// How far a job has come, as its handler tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ProgressBody {
    pub(crate) done: u64,
    pub(crate) total: u64,
    pub(crate) text: String,
}

/// What a handler has told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct LineBody {
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    pub(crate) text: String,
}

impl From<JobInfo> for JobBody {
    fn from(info: JobInfo) -> Self {
        let payload = info.payload.as_deref().and_then(json::readable);
        let other = info.payload.filter(|_| payload.is_none());
        Self {
            id: info.id.to_string(),
            queue: info.queue,
            kind: info.kind,
            state: name_of(info.state).to_owned(),
            priority: info.priority,
            key: info.key,
            unique: info.is_unique,
            batch: info.batch.map(String::from),
            recurring: info.recurring,
            traceparent: info.traceparent,
            attempts: info.attempts,
            failures: info.failures,
            snoozes: info.snoozes,
            crashes: info.crashes,
            enqueued_at: info.enqueued_at.map(time),
            at: info.at.map(time),
            ended_at: info.ended_at.map(time),
            took_ms: info.took.map(millis),
            worker: info.worker,
            reason: info.reason,
            runs: info.runs.into_iter().map(RunBody::from).collect(),
            progress: info.progress.map(ProgressBody::from),
            log: info.log.into_iter().map(|(at, text)| LineBody { at: time(at), text }).collect(),
            payload,
            payload_base64: other.map(|payload| STANDARD.encode(payload)),
            result: info.result.as_deref().and_then(json::readable),
        }
    }
}

impl From<Run> for RunBody {
    fn from(run: Run) -> Self {
        Self { at: time(run.at), took_ms: millis(run.took), by: run.by, error: run.error }
    }
}

impl From<Progress> for ProgressBody {
    fn from(Progress { done, total, text }: Progress) -> Self {
        Self { done, total, text }
    }
}

/// Some jobs, without what is long of each: its payload, its log and its result.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct JobsBody {
    pub(crate) jobs: Vec<JobBody>,
    /// Where the next ones begin, if there are any: as `cursor`. There may be some although this page is short
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

impl From<JobPage> for JobsBody {
    fn from(page: JobPage) -> Self {
        // A hundred of them may be a hundred megabytes.
        let short = |mut info: JobInfo| {
            (info.payload, info.result) = (None, None);
            info.log.clear();
            JobBody::from(info)
        };
        Self { jobs: page.jobs.into_iter().map(short).collect(), next: page.next }
    }
}

/// A job that is done, as that is remembered of each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct DoneBody {
    pub(crate) id: String,
    pub(crate) kind: String,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    pub(crate) took_ms: u64,
    pub(crate) worker: String,
}

impl From<DoneJob> for DoneBody {
    fn from(done: DoneJob) -> Self {
        Self {
            id: done.id.to_string(),
            kind: done.kind,
            at: time(done.at),
            took_ms: millis(done.took),
            worker: done.worker,
        }
    }
}

/// What became of jobs that were to be enqueued, in the order in which they were sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct EnqueuedBody {
    pub(crate) jobs: Vec<EnqueuedJobBody>,
}

/// What became of a job that was to be enqueued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct EnqueuedJobBody {
    /// The job that is there
    #[schema(example = "01KAPX2V9QJ7M3B0N8R5T4W6YZ")]
    pub(crate) id: String,
    /// It was there before, and has the unique name: nothing was enqueued
    pub(crate) duplicate: bool,
    /// The one that will not run, since this one has taken its place
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replaced: Option<String>,
}

impl From<&Enqueued> for EnqueuedJobBody {
    fn from(enqueued: &Enqueued) -> Self {
        let replaced = match enqueued {
            Enqueued::Replaced { old, .. } => Some(old.to_string()),
            Enqueued::New(_) | Enqueued::Duplicate(_) => None,
        };
        let duplicate = matches!(enqueued, Enqueued::Duplicate(_));
        Self { id: enqueued.id().to_string(), duplicate, replaced }
    }
}

/// What a cancellation found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct CancelledBody {
    pub(crate) id: String,
    /// `waiting` or `scheduled`: it did not run, and will not; `running`: its handler is told within a second; `ended`:
    /// it had ended before
    #[schema(value_type = String, example = "waiting")]
    pub(crate) was: String,
}

impl CancelledBody {
    /// Nothing where there is no such job.
    pub(crate) fn of(id: JobId, cancelled: Cancelled) -> Option<Self> {
        let was = match cancelled {
            Cancelled::Waiting => "waiting",
            Cancelled::Scheduled => "scheduled",
            Cancelled::Running => "running",
            Cancelled::Ended => "ended",
            Cancelled::Unknown => return None,
        };
        Some(Self { id: id.to_string(), was: was.to_owned() })
    }
}

/// Dead jobs with the same trouble.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct DeadGroupBody {
    /// By which they are found
    #[schema(example = "IQNj5i7xdtLhtg9G")]
    pub(crate) fingerprint: String,
    pub(crate) kind: String,
    /// What one of them said
    pub(crate) error: String,
    pub(crate) count: u64,
    /// When the newest died (RFC 3339)
    #[schema(value_type = String, format = DateTime)]
    pub(crate) newest_at: Timestamp,
}

impl From<DeadGroup> for DeadGroupBody {
    fn from(group: DeadGroup) -> Self {
        Self {
            fingerprint: group.fingerprint,
            kind: group.kind,
            error: group.error,
            count: group.count,
            newest_at: at(group.newest_ms),
        }
    }
}

/// What came of dead jobs that were to be tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct RetriedBody {
    /// They wait
    pub(crate) retried: u64,
    /// They stay dead: another job has their unique name
    pub(crate) duplicates: u64,
    /// They were not there any more
    pub(crate) gone: u64,
}

impl From<Redriven> for RetriedBody {
    fn from(Redriven { retried, duplicates, gone }: Redriven) -> Self {
        Self { retried, duplicates, gone }
    }
}

/// How many dead jobs were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct DroppedBody {
    pub(crate) dropped: u64,
}

/// How many dead jobs it would be, where nothing is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct CountBody {
    pub(crate) count: u64,
    /// `false`: they may be fewer. So where there are more than 1,000 troubles, or it is of those that died so long ago, and
    /// more than 100 are dead
    #[serde(default)]
    pub(crate) exact: bool,
}

/// Who takes jobs: a part of a worker, or a pull.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct LaneBody {
    /// Its name, which no other had. Of a pull only how it begins: the rest is known to who has the tokens of its jobs
    pub(crate) lane: String,
    /// What people know its worker by
    #[schema(example = "host:Billing")]
    pub(crate) worker: String,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) joined_at: Timestamp,
    /// When its lease is over unless it is heard of (RFC 3339)
    #[schema(value_type = String, format = DateTime)]
    pub(crate) lease_until: Timestamp,
    /// How many jobs it may have
    pub(crate) slots: u64,
    pub(crate) running: u64,
}

impl From<LaneInfo> for LaneBody {
    fn from(info: LaneInfo) -> Self {
        Self {
            lane: info.lane,
            worker: info.worker,
            joined_at: at(info.joined_ms),
            lease_until: at(info.lease_until_ms),
            slots: info.slots,
            running: info.running,
        }
    }
}

/// What an audit found, and put right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct AuditedBody {
    /// Jobs that nobody had, and nobody would have come to: they wait again
    pub(crate) stranded: u64,
    /// Numbers of what runs that were wrong
    pub(crate) miscounted: u64,
    /// Keys with jobs that nobody would have come to
    pub(crate) forgotten_keys: u64,
}

impl From<Audited> for AuditedBody {
    fn from(Audited { stranded, miscounted, forgotten_keys }: Audited) -> Self {
        Self { stranded, miscounted, forgotten_keys }
    }
}

/// What a job is given, as it is written; `null` where nothing is said.
pub(crate) fn payload(json: Option<&RawValue>) -> Bytes {
    json.map_or(Bytes::from_static(b"null"), |json| Bytes::copy_from_slice(json.get().as_bytes()))
}

fn at(ms: u64) -> Timestamp {
    i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_without_limits_says_so() {
        let look = QueueLook {
            partitions: 1,
            rate: (100, 60_000),
            now_ms: 5_000,
            oldest_ms: Some(2_000),
            ..QueueLook::default()
        };
        let body = QueueBody::new("mail", &look);
        assert_eq!((body.global, body.per_key, body.oldest_ms), (None, None, Some(3_000)));
        assert_eq!(body.rate, Some(RateBody { starts: 100, per: "1m".to_owned() }));
        let written = serde_json::to_string(&body).unwrap();
        assert_eq!(serde_json::from_str::<QueueBody>(&written).unwrap(), body);
    }
}
