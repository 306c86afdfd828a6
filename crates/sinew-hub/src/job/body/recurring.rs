//! Jobs that recur.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sinew::job::{Dst, Missed, Overlap, RecurringJob, Schedule};
use utoipa::ToSchema;

use crate::duration::written;
use crate::json;
use crate::stream::body::time;

/// A recurring job, as it is defined.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct RecurringBody {
    #[schema(example = "nightly")]
    pub(crate) name: String,
    pub(crate) revision: u64,
    /// Where it makes jobs
    #[schema(example = "default")]
    pub(crate) queue: String,
    #[schema(example = "cleanup")]
    pub(crate) kind: String,
    /// What its jobs are given, as it was written
    #[schema(value_type = Option<Value>)]
    pub(crate) payload: Option<Box<RawValue>>,
    /// By the clock on the wall; null where it goes by an interval, or cannot be told here
    #[schema(example = "0 2 * * *")]
    pub(crate) cron: Option<String>,
    /// The time zone of that clock
    #[schema(example = "Europe/Berlin")]
    pub(crate) tz: Option<String>,
    /// What becomes of ticks when that clock is put forward or back
    #[schema(value_type = Option<String>, example = "run-once")]
    pub(crate) dst: Option<Dst>,
    /// An interval, instead of a cron expression
    #[schema(example = "15m")]
    pub(crate) every: Option<String>,
    /// What becomes of ticks that no worker was there for: `fire-once`, `fire-all` or `skip`
    #[schema(value_type = String, example = "fire-once")]
    pub(crate) missed: Missed,
    /// What becomes of a tick whose job of the last tick has not ended: `skip`, `allow` or `replace`
    #[schema(value_type = String, example = "skip")]
    pub(crate) overlap: Overlap,
    pub(crate) priority: Option<u8>,
    pub(crate) key: Option<String>,
    /// It makes none
    pub(crate) paused: bool,
    /// The last tick that is over; at first, when it was defined (RFC 3339)
    #[schema(value_type = String, format = DateTime)]
    pub(crate) last_tick: Timestamp,
    /// The job that was made last
    pub(crate) last_job: Option<String>,
    /// The next five ticks (RFC 3339); none while it is paused
    #[schema(value_type = Vec<String>)]
    pub(crate) next: Vec<Timestamp>,
}

impl From<RecurringJob> for RecurringBody {
    fn from(job: RecurringJob) -> Self {
        let (cron, every) = match &job.schedule {
            Some(Schedule::Cron(cron)) => (Some(cron), None),
            Some(Schedule::Every(every_ms)) => (None, Some(Duration::from_millis(*every_ms))),
            None => (None, None),
        };
        Self {
            cron: cron.map(|cron| cron.expression().to_owned()),
            tz: cron.map(|cron| cron.zone().to_owned()),
            dst: cron.map(|cron| cron.dst()),
            every: every.map(written),
            name: job.name,
            revision: job.revision,
            queue: job.queue,
            kind: job.kind,
            payload: json::readable(&job.payload),
            missed: job.missed,
            overlap: job.overlap,
            priority: job.priority,
            key: job.key,
            paused: job.is_paused,
            last_tick: time(job.last_tick),
            last_job: job.last_job.map(String::from),
            next: job.next.into_iter().map(time).collect(),
        }
    }
}
