//! oxana: one loop takes the jobs of a queue, one at a time, and notes where each is until it is done.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use oxana::{
    BatchItem, FromContext, Job, JobContext, Queue, QueueConfig, Storage, StorageBuilderTimeouts,
    Worker, WorkerBatchConfig,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Carrier, Doing, Handle, NAME, Payload, Working};

/// As in its own benchmarks.
const CONNECTIONS_MAX: usize = 512;
const CONNECTION_WITHIN: Duration = Duration::from_secs(30);
/// How long its loop sleeps where there is no job: what bounds the delay of one that comes then. No timer is finer.
const ASK_EVERY: Duration = Duration::from_millis(1);
/// What its handlers are given at once at most, where they take many, and how long the first of them waits for others.
const BATCH: usize = 100;
const BATCH_WITHIN: Duration = Duration::from_millis(1);
const STOPPED_WITHIN: Duration = Duration::from_secs(1);

pub struct Oxana {
    storage: Storage,
    in_batches: bool,
}

impl Oxana {
    pub fn new(url: &str) -> Self {
        Self { storage: storage(url), in_batches: false }
    }

    /// Whose handler takes many jobs, of which all are done or none is.
    pub fn in_batches(url: &str) -> Self {
        Self { storage: storage(url), in_batches: true }
    }
}

fn storage(url: &str) -> Storage {
    let storage = Storage::builder()
        .max_pool_size(CONNECTIONS_MAX)
        .timeouts(StorageBuilderTimeouts::new(CONNECTION_WITHIN));
    storage.build_from_redis_url(url).expect("a URL")
}

impl Job for Payload {}

struct Noops;

impl Queue for Noops {
    fn to_config() -> QueueConfig {
        QueueConfig::as_static(NAME)
    }
}

impl Carrier for Oxana {
    fn enqueue_many(&self, jobs: Vec<Payload>) -> Doing<'_, ()> {
        Box::pin(async move {
            self.storage.enqueue_list(Noops, jobs).await.expect("enqueued");
        })
    }

    fn enqueue(&self, job: Payload) -> Doing<'_, ()> {
        Box::pin(async move {
            self.storage.enqueue(Noops, job).await.expect("enqueued");
        })
    }

    fn work(&self, handle: Handle, concurrency: usize) -> Doing<'_, Box<dyn Working>> {
        Box::pin(async move {
            let (stop, stopped) = oneshot::channel::<()>();
            let shutdown = async move {
                let _ = stopped.await;
                Ok::<(), std::io::Error>(())
            };
            let runtime = self
                .storage
                .runtime(handle)
                .queue_with_concurrency::<Noops>(concurrency)
                .dequeue_timeout(ASK_EVERY)
                .shutdown_on(shutdown)
                .shutdown_timeout(STOPPED_WITHIN);
            let runtime = match self.in_batches {
                true => runtime.worker::<Batches, Payload>(),
                false => runtime.worker::<One, Payload>(),
            };
            let task = tokio::spawn(async move {
                // What is left where it is stopped is no error of what was measured.
                let _ = runtime.run().await;
            });
            Box::new(Running { stop, task }) as Box<dyn Working>
        })
    }
}

struct One {
    handle: Handle,
}

impl FromContext<Handle> for One {
    fn from_context(handle: &Handle) -> Self {
        Self { handle: Arc::clone(handle) }
    }
}

#[async_trait]
impl Worker<Payload> for One {
    type Error = Infallible;

    async fn process(&self, job: Payload, _: &JobContext) -> Result<(), Infallible> {
        (self.handle)(&job.text);
        Ok(())
    }
}

struct Batches {
    handle: Handle,
}

impl FromContext<Handle> for Batches {
    fn from_context(handle: &Handle) -> Self {
        Self { handle: Arc::clone(handle) }
    }
}

#[async_trait]
impl Worker<Payload> for Batches {
    type Error = Infallible;

    async fn run_batch(&self, jobs: Vec<BatchItem<Payload>>) -> Result<(), Infallible> {
        for item in jobs {
            (self.handle)(&item.job.text);
        }
        Ok(())
    }

    fn batch_config() -> Option<WorkerBatchConfig> {
        Some(WorkerBatchConfig::new(BATCH, BATCH_WITHIN))
    }
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Working for Running {
    fn stop(self: Box<Self>) -> Doing<'static, ()> {
        Box::pin(async move {
            let Self { stop, task } = *self;
            // One that has ended hears nothing.
            let _ = stop.send(());
            let _ = task.await;
        })
    }
}
