//! Workers: who takes jobs, and has handlers do them.
//!
//! ```text
//! waker ── token ──┐                       ┌── run ── handler
//! timer ── due ────┴── lane ── one turn ───┤
//!                       │    after another └── ends, for the next turn
//! keeper: renews the lane's lease, and tells handlers where that fails
//! relay · scheduler · audit: one of each a partition
//! ```
//!
//! Each partition of a queue has some lanes. A lane has at most 128 jobs, and one call to the store under way: it tells of what
//! has ended, and takes as many as it has slots. The lease is the lane's, not the job's: whether a handler is alive only its
//! process knows. A lane that was taken for dead goes on under a name that no one had before, so that what it still says
//! under the old one finds nothing.

mod ends;
mod hold;
mod keeper;
mod lane;
mod part;
mod relay;
mod runs;
mod schedule;
mod settings;
mod shares;
mod suspect;
mod tally;
mod team;
mod tend;
mod tender;
mod vain;
mod waker;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tower_layer::Layer;
use tower_service::Service;

use super::Jobs;
use super::error::JobError;
use super::handler::Handler;
use super::layer::{JobCall, JobDone, JobService};
use super::options::Job;
use crate::kernel::error::{Error, Result};
use crate::kernel::name::KindName;
use crate::kernel::words::{LABEL_LEN_MAX, is_label, this_process};

pub use self::settings::Queue;
use self::settings::{Call, Registered, Settings, check_concurrency};
pub use self::tally::Finished;
pub(super) use self::tally::took_field;
use self::team::{LEAVE_TIME_MAX, Phase, STOP_GRACE, Team};
pub use self::tender::Tender;

/// For how long what runs may go on when a worker ends, unless said.
const DRAIN_DEFAULT: Duration = Duration::from_secs(30);
const DRAIN_MAX: Duration = Duration::from_secs(3_600);
const KINDS_MAX: usize = 1_000;

/// Puts a layer around what is there.
type Layering = Box<dyn FnOnce(JobService) -> JobService + Send>;

/// A worker being put together: its queues, and a handler for each kind of job.
///
/// A job of a kind that it has no handler for is put off for a minute, and is dead after a day of that: while a fleet is
/// renewed, others know it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use serde::{Deserialize, Serialize};
/// use sinew::job::{Job, JobError, Queue, State, Worker};
///
/// #[derive(Job, Serialize, Deserialize)]
/// #[job(name = "greet")]
/// struct Greet {
///     name: String,
/// }
///
/// async fn greet(job: Greet, State(greeting): State<String>) -> Result<String, JobError> {
///     Ok(format!("{greeting}, {}", job.name))
/// }
///
/// let jobs = sinew::Sinew::embedded().tenant("acme")?.jobs();
/// let worker = Worker::new(&jobs)
///     .queue(Queue::new("default").concurrency(64))
///     .register(greet)?
///     .with_state("hello".to_owned());
/// # let shutdown = async {};
/// let finished = worker.run_until(shutdown, std::time::Duration::from_secs(30)).await?;
/// # assert_eq!(finished.done, 0);
/// # Ok(()) }
/// ```
#[must_use = "a worker begins with run_until() or start()"]
pub struct Worker<S = ()> {
    jobs: Jobs,
    label: Option<String>,
    queues: Vec<Queue>,
    concurrency: Option<usize>,
    registered: Vec<Registered<S>>,
    layers: Vec<Layering>,
    allows_eviction: bool,
    drain: Duration,
}

impl<S: Send + Sync + 'static> Worker<S> {
    /// A worker that takes jobs of a tenant.
    pub fn new(jobs: &Jobs) -> Self {
        Self {
            jobs: jobs.clone(),
            label: None,
            queues: Vec::new(),
            concurrency: None,
            registered: Vec::new(),
            layers: Vec::new(),
            allows_eviction: false,
            drain: DRAIN_DEFAULT,
        }
    }

    /// What people know it by: 1 to 64 of `[A-Za-z0-9._:-]`. Host and process id unless said.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.label = Some(name.into());
        self
    }

    /// Takes jobs of this queue, too.
    pub fn queue(mut self, queue: Queue) -> Self {
        self.queues.push(queue);
        self
    }

    /// How many jobs it runs at a time, of all queues: 1 to 1,024. Unless said, as many as all its queues together. Where it is less
    /// than these, each has its part by its weight.
    pub fn concurrency(mut self, jobs: usize) -> Self {
        self.concurrency = Some(jobs);
        self
    }

    /// Does jobs of the handler's kind by this handler.
    ///
    /// # Errors
    /// `Rejected` for a bad name or option of the kind, and for one that is registered twice.
    pub fn register<H, Args>(mut self, handler: H) -> Result<Self>
    where
        H: Handler<Args, S>,
    {
        let kind = KindName::new(<H::Job as Job>::NAME)?;
        let options = <H::Job as Job>::options();
        options.check()?;
        if self.registered.iter().any(|other| other.kind == kind) {
            return Err(Error::rejected(format!(
                "the kind {:?} has a handler already",
                kind.as_str()
            )));
        }
        if self.registered.len() >= KINDS_MAX {
            return Err(Error::rejected(format!(
                "more than {KINDS_MAX} kinds of jobs: expected fewer in one worker"
            )));
        }
        let call: Call<S> = Arc::new(move |call: JobCall, state: Arc<S>| {
            <H as Handler<Args, S>>::call(handler.clone(), call, state)
        });
        self.registered.push(Registered { kind, options, call });
        Ok(self)
    }

    /// Puts a tower layer around all handlers. One that is added later is around those that are there.
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<JobService> + Send + 'static,
        L::Service: Service<JobCall, Response = JobDone> + Clone + Send + Sync + 'static,
        <L::Service as Service<JobCall>>::Error: Into<JobError>,
        <L::Service as Service<JobCall>>::Future: Send + 'static,
    {
        self.layers.push(Box::new(move |inner| JobService::new(layer.layer(inner))));
        self
    }

    /// What handlers may take by [`State`](super::State).
    pub fn with_state(self, state: S) -> Worker<()> {
        let state = Arc::new(state);
        let registered = self.registered.into_iter().map(|Registered { kind, options, call }| {
            let state = Arc::clone(&state);
            let call: Call<()> =
                Arc::new(move |job: JobCall, _: Arc<()>| call(job, Arc::clone(&state)));
            Registered { kind, options, call }
        });
        Worker {
            jobs: self.jobs,
            label: self.label,
            queues: self.queues,
            concurrency: self.concurrency,
            registered: registered.collect(),
            layers: self.layers,
            allows_eviction: self.allows_eviction,
            drain: self.drain,
        }
    }

    /// Takes jobs from a Redis that may remove them when it is full. Unless said, a worker refuses to.
    pub fn allow_eviction(mut self) -> Self {
        self.allows_eviction = true;
        self
    }

    /// For how long handlers may go on after [`RunningWorker::stop`]: up to an hour, 30 s unless said.
    pub fn drain(mut self, time: Duration) -> Self {
        self.drain = time;
        self
    }
}

impl Worker<()> {
    /// Does jobs until `shutdown`. Then it takes no more, and lets handlers come to their end for the time of `drain`. Those that go
    /// on are told by [`JobContext::cancelled`](super::JobContext::cancelled), and dropped a second later; their jobs are handed back,
    /// and others run them at once.
    ///
    /// *When Redis is down*: it waits. Handlers go on until their lease is over, what they came to is told afterwards, and
    /// none of it is a failure of a job's.
    ///
    /// *Cancellation*: dropped, it ends at once, handlers as well. Others have its jobs when the lease is over, and each
    /// counts a crash: end it by `shutdown`.
    ///
    /// # Errors
    /// `Rejected` for a bad name or setting, `Misconfigured` for a Redis that may remove jobs when it is full, `Denied` where it refuses
    /// a command. Once it has begun, nothing ends it.
    pub async fn run_until(
        self,
        shutdown: impl Future<Output = ()> + Send,
        drain: Duration,
    ) -> Result<Finished> {
        let settings = self.drain(drain).settings()?;
        team::work(settings, shutdown).await
    }

    /// The same in a task of its own, until it is stopped or dropped. What else ends it, the log says.
    ///
    /// # Errors
    /// `Rejected` for a bad name or setting.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn start(self) -> Result<RunningWorker> {
        let settings = self.settings()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let shutdown = async {
                // Dropped without a word, the handle aborts this task.
                let _ = stopped.await;
            };
            let finished = team::work(settings, shutdown).await;
            finished.unwrap_or_else(|error| {
                tracing::error!(%error, "a worker has ended");
                Finished::default()
            })
        });
        Ok(RunningWorker { stop: Some(stop), task })
    }

    fn settings(self) -> Result<Settings> {
        if let Some(label) = &self.label
            && !is_label(label)
        {
            return Err(Error::rejected(format!(
                "not a name of a worker: expected 1 to {LABEL_LEN_MAX} of [A-Za-z0-9._:-], and not {label:?}"
            )));
        }
        self.concurrency.map_or(Ok(()), check_concurrency)?;
        if self.drain > DRAIN_MAX {
            return Err(Error::rejected(format!(
                "a drain of {:?} is out of bounds: expected 1 h at most",
                self.drain
            )));
        }
        let label = self.label.unwrap_or_else(this_process);
        let mut settings =
            Settings::new(self.jobs, label, self.queues, self.registered, self.layers)?;
        settings.concurrency = self.concurrency;
        settings.allows_eviction = self.allows_eviction;
        settings.drain = self.drain;
        Ok(settings)
    }
}

impl<S> fmt::Debug for Worker<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<&str> = self.registered.iter().map(|one| one.kind.as_str()).collect();
        f.debug_struct("Worker")
            .field("queues", &self.queues)
            .field("kinds", &kinds)
            .finish_non_exhaustive()
    }
}

/// A worker that runs. Dropped, it ends at once, as [`Worker::run_until`] does.
#[derive(Debug)]
pub struct RunningWorker {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Finished>,
}

impl RunningWorker {
    /// Whether it has ended by itself: the log says why.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Ends it: handlers come to their end first, for as long as [`Worker::drain`] says, and what is left is handed back.
    ///
    /// *Cancellation*: dropped, it ends at once.
    pub async fn stop(mut self) -> Finished {
        if let Some(stop) = self.stop.take() {
            // One that has ended hears nothing.
            let _ = stop.send(());
        }
        // Only a runtime that is stopping does not let it come to its end.
        (&mut self.task).await.unwrap_or_default()
    }
}

impl Drop for RunningWorker {
    fn drop(&mut self) {
        self.task.abort();
    }
}
