//! A process of the fleet: what it does with events, and how it tells of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sinew::stream::{Ack, Backoff, Ctx, Event, HandlerError};
use sinew::{Fence, Sinew, Streams};
use sinew_outbox::Inbox;
use sqlx::SqlitePool;

use super::history::{Event as Told, Group, Id, What, Worker};
use super::producer::{TASKS, produce};
use super::{ATTEMPTS, CONSUMERS, LEASE, PARTITIONS, TOPIC};
use crate::laws::keep_for;
use crate::member::setting;
use crate::tortured::{Line, effects, is_told_to_end, now_ns};

/// How a worker acknowledges.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Acks {
    AfterTheWork,
    /// The bug: what it is killed in the middle of, nobody runs again.
    BeforeTheWork,
}

/// Not a test by itself: a process of the fleet, where the environment says so.
#[test]
fn worker() {
    let Ok(store) = std::env::var("SINEW_WORKER_STORE") else { return };
    keep_for(Duration::from_secs(7_200), || async move {
        // It may be started while Redis is away.
        let sinew = Sinew::builder().deadline(Duration::from_secs(1)).connect_lazy(&store).unwrap();
        let (running, teller) =
            (Arc::new(AtomicBool::new(true)), Arc::new(Teller::connect().await));
        let mut tasks = tokio::task::JoinSet::new();
        if teller.by.process < CONSUMERS {
            let file = std::env::var("SINEW_WORKER_EFFECTS").unwrap();
            let effects = effects(&file).await;
            for group in groups_of(teller.by.process) {
                let consumer = Consumer::new(*group, &teller, &effects);
                tasks.spawn(consumer.consume(sinew.streams(), Arc::clone(&running)));
            }
        } else {
            let per_second = setting("SINEW_WORKER_RATE", 100);
            for task in 0..TASKS {
                let (teller, running) = (Arc::clone(&teller), Arc::clone(&running));
                tasks.spawn(produce(sinew.streams(), teller, task, per_second, running));
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

/// Half of the consumers are in the one, all in the other.
pub fn groups_of(process: u64) -> &'static [Group] {
    match process % 2 {
        0 => &[Group::Any, Group::Key],
        _ => &[Group::Key],
    }
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

    pub async fn say(&self, what: What, group: Group, id: Id, run: u64, at: (u64, u64)) {
        let ((partition, fence), by) = (at, self.by);
        let told = || Told { what, at_ns: now_ns(), by, group, id, run, partition, fence };
        self.line.say(told).await;
    }
}

/// One group's handler.
#[derive(Clone)]
struct Consumer {
    group: Group,
    teller: Arc<Teller>,
    effects: SqlitePool,
    inbox: Inbox,
    acks: Acks,
}

impl Consumer {
    fn new(group: Group, teller: &Arc<Teller>, effects: &SqlitePool) -> Self {
        let acks = match setting("SINEW_STREAM_WORKER_ACKS_FIRST", 0) {
            0 => Acks::AfterTheWork,
            _ => Acks::BeforeTheWork,
        };
        let (teller, effects) = (Arc::clone(teller), effects.clone());
        Self { group, teller, effects, inbox: Inbox::new(group.name()), acks }
    }

    async fn consume(self, streams: Streams, running: Arc<AtomicBool>) {
        let shutdown = async move {
            while running.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let wanted =
            streams.subscribe_raw(TOPIC, self.group.name()).concurrency(64).lease(LEASE).retry(
                Backoff::exponential(Duration::from_millis(20)..Duration::from_millis(500))
                    .max_attempts(ATTEMPTS),
            );
        let wanted = match self.group {
            Group::Any => wanted,
            Group::Key => wanted.ordered_by_key(PARTITIONS),
        };
        let handler = move |event: Event<Bytes>, ctx: Ctx| self.clone().handle(event, ctx);
        let _finished = wanted.run(handler, shutdown).await.expect("it runs until it is to end");
    }

    async fn handle(self, event: Event<Bytes>, ctx: Ctx) -> Result<Ack, HandlerError> {
        let id = Id::parse(&event.id()).ok_or("an event that no one here has sent")?;
        let fence = ctx.fence().map_or(0, Fence::get);
        let at = (u64::from(event.place().partition), fence);
        let run = self.teller.runs.fetch_add(1, Ordering::SeqCst);
        self.say(What::Begins, id, run, at).await;
        if self.acks == Acks::BeforeTheWork {
            tokio::spawn(async move {
                // So long that who is killed has some of it to do.
                tokio::time::sleep(LEASE / 4).await;
                self.works(id).await;
                self.say(What::Done, id, run, at).await;
            });
            return Ok(Ack::Done);
        }
        tokio::select! {
            () = self.works(id) => {}
            () = ctx.lost() => {
                self.say(What::Told, id, run, at).await;
                return Err("another has it by now".into());
            }
        }
        if id.is_poison() || id.fails_first() && ctx.failures() == 0 {
            let is_last = ctx.failures() + 1 >= ATTEMPTS;
            let what = if is_last { What::Last } else { What::Failed };
            self.say(what, id, run, at).await;
            return Err("it is to fail".into());
        }
        if id.has_effect() && self.affect(id).await.is_err() {
            self.say(What::Failed, id, run, at).await;
            return Ok(Ack::Retry { after: Duration::from_millis(100) });
        }
        self.say(What::Done, id, run, at).await;
        Ok(Ack::Done)
    }

    async fn say(&self, what: What, id: Id, run: u64, at: (u64, u64)) {
        self.teller.say(what, self.group, id, run, at).await;
    }

    /// Mostly short, now and then for several leases.
    async fn works(&self, id: Id) {
        let work = match id.is_slow() {
            true => LEASE.mul_f64(5.5 + fastrand::f64()),
            false => Duration::from_millis(fastrand::u64(..8)),
        };
        tokio::time::sleep(work).await;
    }

    /// Its effect and the note that it was had, or neither.
    async fn affect(&self, id: Id) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut transaction = self.effects.begin_with("BEGIN IMMEDIATE").await?;
        let name = id.to_string();
        if self.inbox.first(&mut *transaction, &name).await? {
            let insert = "INSERT INTO effects (consumer, event) VALUES (?, ?)";
            let effect = sqlx::query(insert).bind(self.group.name()).bind(name);
            effect.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}
