//! rusty-sidekiq, which pops a job and has it nowhere while it runs: there is no ack, and a crash loses it. It enqueues
//! one at a time.

use std::time::Duration;

use async_trait::async_trait;
use bb8::Pool;
use sidekiq::{Processor, ProcessorConfig, RedisConnectionManager, RedisPool, Worker, WorkerOpts};
use tokio::task::{JoinHandle, JoinSet};

use super::{Carrier, Doing, Handle, NAME, Payload, Working};

/// As many as enqueue at once, where it is about one at a time.
const ENQUEUERS: u32 = 64;
/// What looks after its queues beside its workers, each of which holds a connection while it waits.
const KEEPERS: u32 = 8;
const CONNECTION_WITHIN: Duration = Duration::from_secs(30);

pub struct Sidekiq {
    url: String,
    /// One to enqueue, and another for those who take, as its documentation says.
    pool: RedisPool,
}

impl Sidekiq {
    pub async fn connect(url: &str) -> Self {
        Self { url: url.to_owned(), pool: pool(url, ENQUEUERS).await }
    }
}

async fn pool(url: &str, connections: u32) -> RedisPool {
    let manager = RedisConnectionManager::new(url).expect("a URL");
    // It would ask the server, each time that one is used, whether it is there.
    let pool = Pool::builder().max_size(connections).test_on_check_out(false);
    pool.connection_timeout(CONNECTION_WITHIN).build(manager).await.expect("connections")
}

impl Carrier for Sidekiq {
    fn enqueue_many(&self, jobs: Vec<Payload>) -> Doing<'_, ()> {
        Box::pin(async move {
            let tasks = ENQUEUERS as usize;
            let mut parts: Vec<Vec<Payload>> = (0..tasks).map(|_| Vec::new()).collect();
            for (nth, job) in jobs.into_iter().enumerate() {
                parts[nth % tasks].push(job);
            }
            let mut enqueuing = JoinSet::new();
            for part in parts {
                let pool = self.pool.clone();
                enqueuing.spawn(async move {
                    for job in part {
                        Noop::perform_async(&pool, job).await.expect("enqueued");
                    }
                });
            }
            enqueuing.join_all().await;
        })
    }

    fn enqueue(&self, job: Payload) -> Doing<'_, ()> {
        Box::pin(async move { Noop::perform_async(&self.pool, job).await.expect("enqueued") })
    }

    fn work(&self, handle: Handle, concurrency: usize) -> Doing<'_, Box<dyn Working>> {
        Box::pin(async move {
            let workers = u32::try_from(concurrency).expect("few");
            let pool = pool(&self.url, workers + KEEPERS).await;
            let mut processor = Processor::new(pool, vec![NAME.to_owned()])
                .with_config(ProcessorConfig::default().num_workers(concurrency));
            processor.register(Noop { handle });
            Box::new(Running(tokio::spawn(processor.run()))) as Box<dyn Working>
        })
    }
}

struct Noop {
    handle: Handle,
}

#[async_trait]
impl Worker<Payload> for Noop {
    fn opts() -> WorkerOpts<Payload, Self> {
        WorkerOpts::new().queue(NAME)
    }

    async fn perform(&self, job: Payload) -> sidekiq::Result<()> {
        (self.handle)(&job.text);
        Ok(())
    }
}

struct Running(JoinHandle<()>);

impl Working for Running {
    fn stop(self: Box<Self>) -> Doing<'static, ()> {
        Box::pin(async move {
            // Its workers end with it; by itself each would wait for two seconds first.
            self.0.abort();
            let _ = self.0.await;
        })
    }
}
