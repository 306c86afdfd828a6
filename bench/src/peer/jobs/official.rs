//! bullmq-official: BullMQ's scripts, called by Rust. A job that is done has the next one taken in the same step.

use std::sync::Arc;

use bullmq::options::RedisConnectionOptions;
use bullmq::types::RemoveOnFinish;
use bullmq::worker::{CancellationToken, ProcessorFn};
use bullmq::{BulkJob, Job, Queue, QueueOptions, Worker, WorkerOptions};

use super::{Carrier, Doing, Handle, NAME, Payload, Working};

/// So that one that is stopped does not take a wake-up from the next for long.
const BLOCK_S: u64 = 1;
/// Its default of 15 s would be what is measured, where it once meets an error.
const AFTER_ERROR_MS: u64 = 100;

pub struct Official {
    connection: RedisConnectionOptions,
    queue: Queue,
}

impl Official {
    pub async fn connect(url: &str) -> Self {
        let connection = RedisConnectionOptions { url: url.to_owned(), ..Default::default() };
        let options = QueueOptions { connection: connection.clone(), ..Default::default() };
        let queue = Queue::with_options(NAME, options).await.expect("a connection");
        Self { connection, queue }
    }
}

impl Carrier for Official {
    fn enqueue_many(&self, jobs: Vec<Payload>) -> Doing<'_, ()> {
        Box::pin(async move {
            // Each is a call of its own, and all of them are under way at once.
            let jobs = jobs.into_iter().map(|job| BulkJob::new(NAME, job)).collect();
            self.queue.add_bulk(jobs).await.expect("enqueued");
        })
    }

    fn enqueue(&self, job: Payload) -> Doing<'_, ()> {
        Box::pin(async move {
            self.queue.add(NAME, job).await.expect("enqueued");
        })
    }

    fn work(&self, handle: Handle, concurrency: usize) -> Doing<'_, Box<dyn Working>> {
        Box::pin(async move {
            let processor: ProcessorFn = Arc::new(move |job: Job, _: CancellationToken| {
                handle(job.data()["text"].as_str().expect("a text"));
                Box::pin(async { Ok(serde_json::Value::Null) })
            });
            let options = WorkerOptions {
                connection: self.connection.clone(),
                concurrency,
                drain_delay: BLOCK_S,
                run_retry_delay: AFTER_ERROR_MS,
                // It keeps them for ever otherwise, which costs time.
                remove_on_complete: Some(RemoveOnFinish::Bool(true)),
                ..Default::default()
            };
            let worker = Worker::with_options(NAME, processor, options).await;
            Box::new(Running(worker.expect("a worker"))) as Box<dyn Working>
        })
    }
}

struct Running(Worker);

impl Working for Running {
    fn stop(self: Box<Self>) -> Doing<'static, ()> {
        Box::pin(async move {
            // It would wait for its own loops, which wait for jobs.
            self.0.close(0).await.expect("an end");
        })
    }
}
