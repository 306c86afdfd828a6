//! Workers that tell what they are given.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sinew::Jobs;
use sinew::job::{Finished, Job, JobContext, JobError, RunningWorker, Worker};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};

use super::jobs;
use crate::laws::LAW_MAX;
use crate::world::Store;

/// The job of most laws. It fails three times, and is tried again soon.
#[derive(Clone, Debug, PartialEq, Eq, Job, Serialize, Deserialize)]
#[job(name = "number", queue = "work", attempts = 3, backoff = "fixed(20ms)")]
pub struct Number {
    pub n: u64,
}

/// What comes after it, in another queue.
#[derive(Clone, Debug, PartialEq, Eq, Job, Serialize, Deserialize)]
#[job(name = "after", queue = "after")]
pub struct After {
    pub n: u64,
}

/// A run of a handler.
#[derive(Clone)]
pub struct Heard {
    pub n: u64,
    pub at: Instant,
    pub cx: JobContext,
}

#[derive(Clone)]
pub struct Tell(UnboundedSender<Heard>);

pub struct Ear(UnboundedReceiver<Heard>);

pub fn channel() -> (Tell, Ear) {
    let (tell, heard) = unbounded_channel();
    (Tell(tell), Ear(heard))
}

impl Tell {
    pub fn say(&self, n: u64, cx: JobContext) -> Heard {
        let heard = Heard { n, at: Instant::now(), cx };
        // The law may have heard enough.
        let _ = self.0.send(heard.clone());
        heard
    }
}

/// One of several who tell the same ear: of each run as it begins. Then it does what `handle` does.
pub fn start<F, Fut>(worker: Worker, tell: &Tell, handle: F) -> RunningWorker
where
    F: Fn(Heard) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), JobError>> + Send + 'static,
{
    telling(worker, tell, handle).start().expect("settings that can be")
}

/// The same, not yet started.
pub fn telling<F, Fut>(worker: Worker, tell: &Tell, handle: F) -> Worker
where
    F: Fn(Heard) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), JobError>> + Send + 'static,
{
    let tell = tell.clone();
    let handler = move |job: Number, cx: JobContext| handle(tell.say(job.n, cx));
    worker.register(handler).expect("a kind that can be")
}

impl Ear {
    pub async fn next(&mut self) -> Heard {
        let next = tokio::time::timeout(LAW_MAX / 2, self.0.recv()).await;
        next.expect("never heard").expect("a worker")
    }

    /// The next ones, sorted.
    pub async fn numbers(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = self.in_turn(count).await;
        numbers.sort_unstable();
        numbers
    }

    /// The next ones, as they begin.
    pub async fn in_turn(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let next = tokio::time::timeout(LAW_MAX / 2, self.0.recv()).await;
            match next {
                Ok(heard) => numbers.push(heard.expect("a worker").n),
                Err(_) => panic!("only {numbers:?}, and not {count}"),
            }
        }
        numbers
    }

    /// Whether there is nothing more by now.
    pub fn is_silent(&mut self) -> bool {
        self.0.try_recv().is_err()
    }

    /// Whether nothing more comes for a while.
    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.0.recv()).await.is_err()
    }
}

/// One worker, and what it tells.
pub struct Hearing {
    worker: Option<RunningWorker>,
    pub ear: Ear,
}

impl Hearing {
    /// Whose handler decides at once.
    pub fn start<F>(worker: Worker, decide: F) -> Self
    where
        F: Fn(&Heard) -> Result<(), JobError> + Clone + Send + Sync + 'static,
    {
        Self::start_with(worker, move |heard| std::future::ready(decide(&heard)))
    }

    pub fn start_with<F, Fut>(worker: Worker, handle: F) -> Self
    where
        F: Fn(Heard) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), JobError>> + Send + 'static,
    {
        let (tell, ear) = channel();
        Self { worker: Some(start(worker, &tell, handle)), ear }
    }

    pub async fn next(&mut self) -> Heard {
        self.ear.next().await
    }

    pub async fn numbers(&mut self, count: usize) -> Vec<u64> {
        self.ear.numbers(count).await
    }

    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        self.ear.is_silent_for(time).await
    }

    pub async fn stop(&mut self) -> Finished {
        self.worker.take().expect("it was not stopped before").stop().await
    }
}

#[allow(clippy::unnecessary_wraps)]
pub fn all_done(_: &Heard) -> Result<(), JobError> {
    Ok(())
}

/// A failure in these words.
pub fn failed(words: impl Into<String>) -> JobError {
    let words: String = words.into();
    std::io::Error::other(words).into()
}

/// A handler that is done once the gate is open, or nobody is there to open it.
pub fn behind(
    gate: watch::Receiver<bool>,
) -> impl Fn(Heard) -> BoxFuture<'static, Result<(), JobError>> + Clone + Send + Sync + 'static {
    move |_| {
        let mut gate = gate.clone();
        Box::pin(async move {
            let _ = gate.wait_for(|is_open| *is_open).await;
            Ok(())
        })
    }
}

/// A worker in a process of its own, as far as the store can see: killed, it says no word more.
pub struct Doomed {
    runtime: Option<Runtime>,
    pub ear: Ear,
}

impl Doomed {
    pub async fn start<W, F, Fut>(store: &Store, worker: W, handle: F) -> Self
    where
        W: FnOnce(&Jobs) -> Worker + Send + 'static,
        F: Fn(Heard) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), JobError>> + Send + 'static,
    {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
        let ((tell, ear), (started, is_started)) = (channel(), oneshot::channel());
        let store = store.clone();
        runtime.spawn(async move {
            let jobs = jobs(&store).await;
            let _running = start(worker(&jobs), &tell, handle);
            let _ = started.send(());
            std::future::pending::<()>().await;
        });
        is_started.await.expect("it begins");
        Self { runtime: Some(runtime), ear }
    }

    /// Between two steps of whatever it does.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        self.kill();
    }
}
