//! apalis-redis: jobs are taken in batches, and what came of them is told in batches.

use std::task::{Context, Poll};
use std::time::Duration;

use apalis::prelude::{
    BackendExt as _, BoxDynError, PollSnapshot, PollStrategy, TaskSink as _, WorkerBuilder,
    WorkerBuilderExt as _,
};
use apalis_redis::{Config, RedisStorage};
use tokio::runtime::Handle as Runtime;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{Carrier, Doing, Handle, NAME, Payload, Working};

/// As in its own benchmarks.
const BATCH: usize = 1_000;
/// A worker that finds no job asks again so much later.
const ASK_EVERY: Duration = Duration::from_millis(1);

pub struct Apalis {
    storage: RedisStorage<Payload>,
}

impl Apalis {
    pub async fn connect(url: &str) -> Self {
        let connection = apalis_redis::connect(url).await.expect("a connection");
        // A lock is for tasks that take longer than its heartbeat, it says; what it is told of ends is the ack.
        let config = Config::default().queue(NAME).batch_size(BATCH);
        let config = config.lock_tasks(false).emit_events(false).persist_results(true);
        Self { storage: RedisStorage::new(connection).with_config(config) }
    }
}

impl Carrier for Apalis {
    fn enqueue_many(&self, jobs: Vec<Payload>) -> Doing<'_, ()> {
        let mut storage = self.storage.clone();
        Box::pin(async move { storage.push_bulk(jobs).await.expect("enqueued") })
    }

    fn enqueue(&self, job: Payload) -> Doing<'_, ()> {
        let mut storage = self.storage.clone();
        Box::pin(async move { storage.push(job).await.expect("enqueued") })
    }

    fn work(&self, handle: Handle, concurrency: usize) -> Doing<'_, Box<dyn Working>> {
        Box::pin(async move {
            let done = move |job: Payload| {
                handle(&job.text);
                std::future::ready(Ok::<(), BoxDynError>(()))
            };
            // All in one task, which is faster than one each for jobs that take no time.
            let worker = WorkerBuilder::new("bench")
                .backend(self.storage.clone().poll_with_strategy(Ticks::new()))
                .concurrency(concurrency)
                .build(done);
            let (stop, stopped) = oneshot::channel();
            let runtime = Runtime::current();
            // On a thread of its own: its future cannot go from one to another.
            let task = spawn_blocking(move || {
                runtime.block_on(async move {
                    tokio::select! {
                        ended = worker.run() => ended.expect("a worker that goes on"),
                        _ = stopped => {}
                    }
                });
            });
            Box::new(Running { stop, task }) as Box<dyn Working>
        })
    }
}

/// When it asks again. Its own interval is a timer that is made anew when it is over, and watched from the next question on:
/// where the store says at once that there is nothing, nobody asks again until the next heartbeat, half a minute later.
struct Ticks(Interval);

impl Ticks {
    fn new() -> Self {
        let mut ticks = interval(ASK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self(ticks)
    }
}

impl PollStrategy for Ticks {
    fn poll_drive(&mut self, cx: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        let is_over = self.0.poll_tick(cx).is_ready();
        // Until it is pending, or it would wake nobody.
        while is_over && self.0.poll_tick(cx).is_ready() {}
        if is_over { Poll::Ready(Some(())) } else { Poll::Pending }
    }
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Working for Running {
    fn stop(self: Box<Self>) -> Doing<'static, ()> {
        Box::pin(async move {
            // What it has taken and not told of goes with the server's memory.
            let _ = self.stop.send(());
            self.task.await.expect("a thread that does not panic");
        })
    }
}
