//! A process of the fleet: what it does with jobs, and how it tells of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sinew::job::{Job, JobContext, JobError, Queue, Worker as JobWorker};
use sinew::{Jobs, Sinew};
use sinew_outbox::Inbox;
use sqlx::SqlitePool;

use super::history::{Event as Told, Id, What, Worker, brought};
use super::producer::{TASKS, produce};
use super::puller::pull;
use super::{AFTER, ATTEMPTS, GLOBAL, LEASE, PER_KEY, PULLERS, TOPIC, WORKERS};
use crate::laws::keep_for;
use crate::member::setting;
use crate::tortured::{Line, effects, is_told_to_end, now_ns};

/// What all of them are.
#[derive(Job, Serialize, Deserialize)]
#[job(name = "torture", queue = "torture", attempts = 3, backoff = "exp(20ms..500ms)")]
pub struct Torture {
    pub id: u64,
}

/// Not a test by itself: a process of the fleet, where the environment says so.
#[test]
fn worker() {
    let Ok(store) = std::env::var("SINEW_WORKER_STORE") else { return };
    keep_for(Duration::from_secs(7_200), || async move {
        // It may be started while Redis is away.
        let sinew = Sinew::builder().deadline(Duration::from_secs(1)).connect_lazy(&store).unwrap();
        let (jobs, teller) = (sinew.jobs(), Arc::new(Teller::connect().await));
        let running = Arc::new(AtomicBool::new(true));
        let mut tasks = tokio::task::JoinSet::new();
        if teller.by.process < WORKERS + PULLERS {
            let file = std::env::var("SINEW_WORKER_EFFECTS").unwrap();
            let hands = Hands::new(&teller, effects(&file).await);
            let running = Arc::clone(&running);
            match teller.by.process < WORKERS {
                true => tasks.spawn(hands.work(jobs, running)),
                false => tasks.spawn(pull(hands, jobs, running)),
            };
        } else {
            let per_second = setting("SINEW_WORKER_RATE", 100);
            for task in 0..TASKS {
                let (teller, running) = (Arc::clone(&teller), Arc::clone(&running));
                tasks.spawn(produce(jobs.clone(), teller, task, per_second, running));
            }
        }
        // Alone, whatever holds it up is its own fault.
        if setting("SINEW_TORTURE_ALONE", 0) == 0 {
            tokio::spawn(Arc::clone(&teller.line).watch(LEASE));
        }
        is_told_to_end().await;
        running.store(false, Ordering::SeqCst);
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    });
}

/// Tells the register.
pub struct Teller {
    line: Arc<Line>,
    pub by: Worker,
    runs: AtomicU64,
}

impl Teller {
    async fn connect() -> Self {
        let line = Arc::new(Line::connect().await);
        Self { by: line.by, line, runs: AtomicU64::new(0) }
    }

    pub async fn say(&self, what: What, id: Id, run: u64, fence: u64) {
        self.say_of(what, None, id, run, fence).await;
    }

    pub async fn say_of(&self, what: What, at_ns: Option<u64>, id: Id, run: u64, fence: u64) {
        let by = self.by;
        let told = || Told { what, at_ns: at_ns.unwrap_or_else(now_ns), by, id, run, fence };
        self.line.say(told).await;
    }

    pub fn next_run(&self) -> u64 {
        self.runs.fetch_add(1, Ordering::SeqCst)
    }
}

/// What a run comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    Done(String),
    Failed,
    /// For the last time.
    Last,
}

/// What does the work, whoever took it.
#[derive(Clone)]
pub struct Hands {
    pub teller: Arc<Teller>,
    effects: SqlitePool,
    inbox: Inbox,
}

impl Hands {
    fn new(teller: &Arc<Teller>, effects: SqlitePool) -> Self {
        Self { teller: Arc::clone(teller), effects, inbox: Inbox::new("torture") }
    }

    async fn work(self, jobs: Jobs, running: Arc<AtomicBool>) {
        let shutdown = async move {
            while running.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let handler = move |job: Torture, cx: JobContext| self.clone().handle(Id(job.id), cx);
        let queue = Queue::new(TOPIC).lease(LEASE).concurrency(16).global(GLOBAL).per_key(PER_KEY);
        let after = Queue::new(AFTER).lease(LEASE).concurrency(8);
        let worker = JobWorker::new(&jobs).queue(queue).queue(after).register(handler).unwrap();
        let drain = Duration::from_secs(30);
        let _finished =
            worker.run_until(shutdown, drain).await.expect("it runs until it is to end");
    }

    async fn handle(self, id: Id, cx: JobContext) -> Result<String, JobError> {
        let (run, fence) = (self.teller.next_run(), cx.fence().get());
        self.teller.say(What::Begins, id, run, fence).await;
        tokio::select! {
            () = self.works(id) => {}
            () = cx.cancelled() => {
                self.teller.say(What::Told, id, run, fence).await;
                return Err(std::io::Error::other("another has it by now").into());
            }
        }
        match self.comes_to(id, run, fence, cx.failures()).await {
            Came::Done(brought) => Ok(brought),
            Came::Failed | Came::Last => Err(std::io::Error::other("it is to fail").into()),
        }
    }

    /// Has its effect, and tells what it came to, before anyone else is told.
    pub async fn comes_to(&self, id: Id, run: u64, fence: u64, failures: u32) -> Came {
        let fails = id.is_poison() || id.fails_first() && failures == 0;
        let fails = fails || id.has_effect() && self.affect(id).await.is_err();
        let (what, came) = match (fails, failures + 1 >= ATTEMPTS) {
            (false, _) => (What::Done, Came::Done(brought(self.teller.by, run))),
            (true, false) => (What::Failed, Came::Failed),
            (true, true) => (What::Last, Came::Last),
        };
        self.teller.say(what, id, run, fence).await;
        came
    }

    /// Mostly short, now and then for several leases.
    async fn works(&self, id: Id) {
        let work = match id.is_slow() {
            true => LEASE.mul_f64(4.5 + fastrand::f64()),
            false => Duration::from_millis(fastrand::u64(..12)),
        };
        tokio::time::sleep(work).await;
    }

    /// Its effect and the note that it was had, or neither.
    async fn affect(&self, id: Id) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut transaction = self.effects.begin_with("BEGIN IMMEDIATE").await?;
        let name = id.0.to_string();
        if self.inbox.first(&mut *transaction, &name).await? {
            let insert = "INSERT INTO effects (job) VALUES (?)";
            sqlx::query(insert).bind(name).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}
