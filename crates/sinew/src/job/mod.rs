//! Background jobs: work that is put aside, to be done later or elsewhere, and tried again until it is.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use serde::{Deserialize, Serialize};
//! use sinew::Sinew;
//! use sinew::job::{Job, JobContext, JobError, Queue, Waited, Worker};
//!
//! #[derive(Job, Serialize, Deserialize)]
//! #[job(name = "greet", queue = "mail")]
//! struct Greet {
//!     name: String,
//! }
//!
//! async fn greet(job: Greet, _: JobContext) -> Result<String, JobError> {
//!     Ok(format!("hello, {}", job.name))
//! }
//!
//! let jobs = Sinew::embedded().tenant("acme")?.jobs();
//! let worker = Worker::new(&jobs).queue(Queue::new("mail")).register(greet)?.start()?;
//!
//! let greeting = jobs.enqueue(&Greet { name: "Ada".to_owned() }).retain(Duration::from_secs(60)).await?;
//! let waited = greeting.handle().wait::<String>(Duration::from_secs(10)).await?;
//! assert_eq!(waited, Waited::Done("hello, Ada".to_owned()));
//! worker.stop().await;
//! # Ok(()) }
//! ```
//!
//! # What it promises
//!
//! 1. **At least once.** A job whose enqueueing returned is run until it is done, or is dead with its errors; through
//!    crashes of workers and, where it writes its log to disk with each command, Redis.
//! 2. **One result counts.** What a worker has is its own while it lives and reaches the store. Where it loses a job, the
//!    handler is told and ended, and its word does not count.
//! 3. **Prompt.** A worker that has nothing to do begins a new job at once, and a delayed one when it is due. Where a
//!    connection is lost together with the news, it looks after five seconds.
//! 4. **A job that ends its process is dead after five deliveries**, counted apart from failures, and the others go on.
//! 5. **A recurring job fires once a tick**, however many schedulers there are.
//! 6. **An outage pauses workers**, ends none, and is no fault of a job's.
//! 7. **A backlog costs nothing**: a step is as fast with ten million jobs waiting.
//! 8. **Limits hold everywhere**: so many at a time of a queue or of a key, so many starts in any window, one of a unique
//!    name.
//! 9. **Tenants never meet.**
//!
//! Effects elsewhere cannot be one step with an end here: a handler is written so that a second run does no harm.
//!
//! # When Redis is down
//!
//! Enqueueing fails with `Unavailable` or `Timeout`. Workers wait; their handlers go on until their lease is over, and what
//! they say is sent afterwards.
//!
//! # Where it is kept
//!
//! Under `{prefix}{tenant}:job:{…}`, each partition of a queue in one slot of a cluster. Its keys have no expiry: a worker
//! does not start on a Redis that evicts them, unless told to. On the embedded store, in 64 MiB: when it is full, more are
//! refused.

// Without Redis, some of what steps are told goes unused.
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
mod backend;
mod batch;
mod chain;
mod context;
mod dead;
mod engine;
mod enqueue;
mod error;
mod extract;
mod handle;
mod handler;
mod layer;
mod look;
mod many;
mod memory;
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
mod model;
mod options;
mod pull;
mod queue;
mod recurring;
#[cfg(feature = "redis")]
mod redis;
#[cfg(all(test, feature = "redis"))]
mod twin;
mod unique;
mod webhook;
mod worker;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::kernel::error::Result;
use crate::kernel::key::Scope;

pub use batch::{Batch, BatchHandle};
pub use context::JobContext;
pub use dead::{DeadFilter, DeadJobs};
pub(crate) use engine::Engine;
pub use enqueue::{Enqueue, Enqueued, NewJob};
pub use error::JobError;
pub use extract::{FromJob, FromRef, Raw, State};
pub use handle::{JobHandle, Waited};
pub use handler::{Handler, IntoOutcome};
pub use layer::{JobCall, JobDone, JobService};
pub use look::{DoneJob, JobInfo, JobPage, Period, Run};
pub use many::EnqueueMany;
pub use model::{
    Audited, Backoff, BatchState, Cancelled, Cron, DeadGroup, Dst, Grain, JobId, JobState,
    LaneInfo, Missed, OnConflict, Overlap, Progress, QueueLook, Redriven, Schedule,
};
pub use options::{Job, JobOptions};
pub use pull::{JobToken, PullEnd, PulledJob, Puller};
pub use queue::{QueueHandle, QueueSettings};
pub use recurring::{Recurring, RecurringAt, RecurringJob};
#[cfg(feature = "macros")]
pub use sinew_macros::Job;
pub use unique::Unique;
pub use webhook::{QueueWebhook, QueueWebhookAt, QueueWebhooks};
pub use worker::{Finished, Queue, RunningWorker, Tender, Worker};

pub use crate::kernel::expected::Expected;
pub use crate::stream::{Paused, Secret};

/// The jobs of one tenant; see [`Sinew::jobs`](crate::Sinew::jobs). Cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    engine: Arc<Engine>,
    scope: Scope,
}

impl Jobs {
    pub(crate) fn new(engine: Arc<Engine>, scope: Scope) -> Self {
        Self { engine, scope }
    }

    /// Enqueues a job when it is awaited.
    ///
    /// *Cancellation*: it is enqueued or not.
    ///
    /// # Errors
    /// When awaited: `Unavailable` where the queue is full, `Rejected` for a bad name or setting or a job that is too long,
    /// `Unavailable` or `Timeout` when Redis is down.
    pub fn enqueue<J: Job + Serialize>(&self, job: &J) -> Enqueue {
        Enqueue::new(self.clone(), NewJob::of(job))
    }

    /// The same, of a job that is no type of this program's.
    pub fn enqueue_raw(&self, queue: &str, job: NewJob) -> Enqueue {
        Enqueue::new(self.clone(), Ok(job)).queue(queue)
    }

    /// Enqueues jobs when it is awaited: many in a round trip. All are taken into memory first.
    ///
    /// *Cancellation*: some of them may be enqueued, in runs of 128 at most.
    ///
    /// # Errors
    /// When awaited, as [`Jobs::enqueue`].
    pub fn enqueue_many<J: Job + Serialize>(
        &self,
        jobs: impl IntoIterator<Item = J>,
    ) -> EnqueueMany {
        let jobs = jobs.into_iter().map(|job| NewJob::of(&job)).collect::<Result<Vec<_>>>();
        EnqueueMany::new(self.clone(), jobs)
    }

    /// Jobs of one queue whose common end has another job follow.
    pub fn batch(&self, name: &str) -> Batch {
        Batch::new(self.clone(), name)
    }

    /// A job that recurs, to be defined.
    pub fn recurring(&self, name: &str) -> Recurring {
        Recurring::new(self.clone(), name)
    }

    /// Takes jobs of a queue by hand, a few at a time: for workers that are no Rust.
    pub fn pull(&self, queue: &str) -> Puller {
        Puller::new(self.clone(), queue)
    }

    /// Turns ready when no call of a [reserve](Puller::reserve) is under way, of any tenant of this client, and what those
    /// had taken that were dropped waits again: a process that ends before leaves it to the end of the lease. With Redis
    /// down, that may take as long as its calls do.
    ///
    /// *Cancellation*: it goes on.
    pub async fn settled(&self) {
        self.engine.lanes.closed().await;
    }

    /// The webhooks of this tenant's queues, which hubs run.
    #[must_use]
    pub fn webhooks(&self) -> QueueWebhooks {
        QueueWebhooks::new(Arc::clone(&self.engine), self.scope.clone())
    }

    /// A queue, for whoever looks after it.
    #[must_use]
    pub fn queue(&self, queue: &str) -> QueueHandle {
        QueueHandle::new(self.clone(), queue)
    }
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").field("scope", &self.scope).finish_non_exhaustive()
    }
}
