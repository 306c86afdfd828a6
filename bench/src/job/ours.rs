//! Ours, as the others are.

use std::time::SystemTime;

use sinew::Sinew;
use sinew::job::{JobError, Jobs, Queue, QueueHandle, QueueSettings, RunningWorker, Worker};
use tokio::task::JoinSet;

use super::{BULK, PRODUCERS};
use crate::peer::jobs::{Carrier, Doing, Handle, NAME, Payload, Working};

/// A queue of ours.
#[derive(Clone)]
pub struct Ours {
    jobs: Jobs,
    queue: String,
    // As long as its jobs are.
    _sinew: Sinew,
}

impl Ours {
    pub async fn connect(url: &str) -> Self {
        let sinew = Sinew::connect(url).await.expect("a connection");
        let jobs = sinew.tenant("acme").expect("a tenant").jobs();
        Self { jobs, queue: NAME.to_owned(), _sinew: sinew }
    }

    /// Another queue.
    pub fn queue(&self, queue: impl Into<String>) -> Self {
        Self { queue: queue.into(), ..self.clone() }
    }

    /// With so many partitions, each in a slot of its own. It stays so when the store is cleared.
    pub async fn in_partitions(self, partitions: u16) -> Self {
        let settings = QueueSettings::new().partitions(partitions);
        self.handle().declare(settings).await.expect("a queue");
        self
    }

    pub fn handle(&self) -> QueueHandle {
        self.jobs.queue(&self.queue)
    }

    /// Has so many jobs wait, or wait for a time.
    pub async fn fill(&self, jobs: u64, due: Option<SystemTime>) {
        let mut producing = JoinSet::new();
        for producer in 0..PRODUCERS {
            let ours = self.clone();
            producing.spawn(async move {
                let firsts = (producer * BULK..jobs).step_by((PRODUCERS * BULK) as usize);
                for first in firsts {
                    let many = Payload::many(first, BULK.min(jobs - first));
                    let many = ours.jobs.enqueue_many(many).queue(&ours.queue);
                    let many = match due {
                        Some(due) => many.at(due),
                        None => many,
                    };
                    many.await.expect("enqueued");
                }
            });
        }
        producing.join_all().await;
    }
}

impl Carrier for Ours {
    fn enqueue_many(&self, jobs: Vec<Payload>) -> Doing<'_, ()> {
        Box::pin(async move {
            self.jobs.enqueue_many(jobs).queue(&self.queue).await.expect("enqueued");
        })
    }

    fn enqueue(&self, job: Payload) -> Doing<'_, ()> {
        Box::pin(async move {
            self.jobs.enqueue(&job).queue(&self.queue).await.expect("enqueued");
        })
    }

    fn work(&self, handle: Handle, concurrency: usize) -> Doing<'_, Box<dyn Working>> {
        Box::pin(async move {
            let done = move |job: Payload| {
                handle(&job.text);
                std::future::ready(Ok::<(), JobError>(()))
            };
            let worker = Worker::<()>::new(&self.jobs)
                .queue(Queue::new(&*self.queue).concurrency(concurrency))
                .register(done)
                .expect("a handler");
            Box::new(Running(worker.start().expect("a worker"))) as Box<dyn Working>
        })
    }
}

struct Running(RunningWorker);

impl Working for Running {
    fn stop(self: Box<Self>) -> Doing<'static, ()> {
        Box::pin(async move {
            let finished = self.0.stop().await;
            assert_eq!((finished.failed, finished.dead, finished.lost), (0, 0, 0), "{finished:?}");
        })
    }
}
