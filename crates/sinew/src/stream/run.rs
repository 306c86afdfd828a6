//! One run of a handler: from an entry to what becomes of it. Shared by subscriptions of both kinds.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use metrics::{Counter, Histogram};
use parking_lot::Mutex;
use tokio::sync::{MutexGuard, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::again::growing;
use super::backend::Backend as _;
use super::engine::Engine;
use super::event::Event;
use super::handler::{Ack, Ctx};
use super::held::Held;
use super::model::{Becomes, Entry, EntryId, Note, Place, Who, becomes, crashed_too_often};
use super::subscribe::{Handled, Settings};
use crate::kernel::breaker::{Breaker, BreakerState};
use crate::kernel::key::{GroupKeys, PartitionKeys};
use crate::kernel::telemetry;
use crate::kernel::words::words_of;

/// How long to wait for a breaker before it is looked at again.
const BREAKER_LOOK: Duration = Duration::from_millis(100);

/// What a subscription did, when it has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// Events that were finished, those that were passed over among them.
    pub handled: u64,
    /// Times that an event was put off.
    pub retried: u64,
    /// Events that became dead letters.
    pub dead: u64,
    /// Events that were given back at the end, for others to run.
    pub given_back: u64,
    /// Events that someone else had by the time they were finished, and those that were deleted.
    pub lost: u64,
}

/// What became of an event, for whoever tells the store.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) id: EntryId,
    pub(super) becomes: Becomes,
}

/// The handler's runs of one subscription, so many at a time. They end with this.
pub(super) struct Runs {
    settings: Arc<Settings>,
    engine: Arc<Engine>,
    permits: Arc<Semaphore>,
    /// Held while one run is to show whether the others may.
    probing: tokio::sync::Mutex<()>,
    // A mutex: runs are started by one task, and ended by another.
    tasks: Mutex<JoinSet<()>>,
    counts: Arc<Counts>,
}

/// What came of runs, by outcome.
struct Counts {
    done: Counter,
    dropped: Counter,
    failed: Counter,
    retry: Counter,
    dead: Counter,
    duplicate: Counter,
    lost: Counter,
    duration: Histogram,
}

/// Gives a permit back, however a run ends.
struct Running(Arc<Semaphore>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

impl Runs {
    pub(super) fn new(settings: Arc<Settings>, engine: Arc<Engine>) -> Self {
        let permits = Arc::new(Semaphore::new(settings.concurrency));
        let counts = Arc::new(Counts::new(&settings));
        let (probing, tasks) = (tokio::sync::Mutex::new(()), Mutex::new(JoinSet::new()));
        Self { settings, engine, permits, probing, tasks, counts }
    }

    /// Waits until one more may run. The next [`Runs::start`] is what it is for. Cancel-safe.
    pub(super) async fn permit(&self) {
        // It is never closed.
        if let Ok(permit) = self.permits.acquire().await {
            permit.forget();
        }
    }

    /// Gives back what [`Runs::permit`] gave, where nothing is started.
    pub(super) fn not_needed(&self) {
        self.permits.add_permits(1);
    }

    /// To be held while a half-open breaker is tried, by those of many that start runs. Cancel-safe.
    pub(super) async fn probing(&self) -> MutexGuard<'_, ()> {
        self.probing.lock().await
    }

    /// Where the breaker stands that the handlers call through, if they have one.
    pub(super) fn breaker_state(&self) -> Option<BreakerState> {
        self.settings.breaker.as_ref().map(Breaker::state)
    }

    /// Waits until what the handlers need may be called, or is to be tried. Cancel-safe.
    pub(super) async fn until_callable(&self) {
        let Some(breaker) = &self.settings.breaker else { return };
        loop {
            match breaker.state() {
                BreakerState::Closed | BreakerState::HalfOpen => return,
                // An open one turns half-open by being asked. The handler's own call is the probe.
                BreakerState::Open | BreakerState::Isolated => match breaker.permit() {
                    Ok(permit) => drop(permit),
                    Err(wait) => tokio::time::sleep(wait.min(BREAKER_LOOK)).await,
                },
            }
        }
    }

    /// Waits until none is under way, while none is started. Cancel-safe.
    pub(super) async fn until_idle(&self) {
        let all = u32::try_from(self.settings.concurrency).unwrap_or(u32::MAX);
        drop(self.permits.acquire_many(all).await);
    }

    /// Ends those that are under way, and waits until they have.
    pub(super) async fn abort(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.shutdown().await;
    }

    /// Runs the handler for an event that is known to `held`, and says what becomes of it. What comes back waits for its
    /// end. Cancel-safe.
    pub(super) fn start(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        who: Who,
        entry: Entry,
        held: Arc<Held>,
        ended: mpsc::Sender<Ended>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (over, is_over) = oneshot::channel::<()>();
        let run = Run {
            settings: Arc::clone(&self.settings),
            engine: Arc::clone(&self.engine),
            counts: Arc::clone(&self.counts),
            group: group.clone(),
            place: Place { partition: keys.partition(), entry: entry.id },
            who,
            held,
        };
        let running = Running(Arc::clone(&self.permits));
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let id = entry.id;
            let becomes = run.to_its_end(entry).await;
            // Whoever does not listen any more has given the event back.
            let _ = ended.send(Ended { id, becomes }).await;
            drop((running, over));
        });
        drop(tasks);
        async move {
            // Nothing is ever sent: it is over when the run is, however that ends.
            let _ = is_over.await;
        }
    }
}

struct Run {
    settings: Arc<Settings>,
    engine: Arc<Engine>,
    counts: Arc<Counts>,
    group: GroupKeys,
    place: Place,
    who: Who,
    held: Arc<Held>,
}

impl Run {
    async fn to_its_end(&self, entry: Entry) -> Becomes {
        let becomes = self.becomes(entry).await;
        let is_held = self.held.ended(self.place.entry);
        // Also where it stopped for that reason, and nobody has taken it.
        if !is_held || becomes == Becomes::back() {
            self.counts.lost.increment(1);
        }
        if is_held { becomes } else { Becomes::Abandon }
    }

    async fn becomes(&self, entry: Entry) -> Becomes {
        let note = Note::read(entry.note.as_deref());
        if let Some(reason) = crashed_too_often(entry.crashes) {
            return Becomes::Bury { reason, note: note.write() };
        }
        let crashes = entry.crashes;
        let event = match Event::read(&self.settings.topic, self.place, entry.fields) {
            Ok(event) => event,
            Err(why) => {
                let reason = format!("unreadable: {why}");
                return Becomes::Bury { reason, note: note.write() };
            }
        };
        if !self.is_meant(&event) {
            return Becomes::Ack { event_id: None };
        }
        let event_id = self.settings.inbox.map(|_| event.name());
        if let Some(event_id) = &event_id
            && self.was_finished(event_id).await
        {
            self.counts.duplicate.increment(1);
            return Becomes::Ack { event_id: None };
        }
        if self.held.is_lost(self.place.entry) {
            return Becomes::back();
        }
        let ctx = self.context(&note, crashes);
        self.call(event, ctx, event_id, note).await
    }

    /// Whether this group wants it.
    fn is_meant(&self, event: &Event<Bytes>) -> bool {
        let only = &self.settings.only;
        event.is_for(self.settings.group.as_str())
            && (only.is_empty() || only.iter().any(|kind| kind == event.kind()))
    }

    /// Whether its mark is in the inbox. It waits an outage out: without a look, it could run twice.
    async fn was_finished(&self, event_id: &str) -> bool {
        let mut again = growing();
        loop {
            match self.engine.backend.inbox(&self.group, &[event_id]).await {
                Ok(found) => return found.first().copied().unwrap_or(false),
                Err(_) if self.held.is_lost(self.place.entry) => return false,
                Err(_) => again.pause().await,
            }
        }
    }

    async fn call(
        &self,
        event: Event<Bytes>,
        ctx: Ctx,
        event_id: Option<String>,
        note: Note,
    ) -> Becomes {
        let (began, told) = (Instant::now(), ctx.clone());
        let run = AssertUnwindSafe(async { (self.settings.handler)(event, ctx).await });
        let handled = run.catch_unwind().await.unwrap_or_else(|panic| {
            Handled::Failed(format!("its handler panicked: {}", words_of(&*panic)))
        });
        self.counts.duration.record(began.elapsed());
        let said = match handled {
            Handled::Said(ack) => Ok(ack),
            // An outage is to use up no attempts: it stopped since its lease was over, though no one may have taken it.
            Handled::Failed(_) if told.is_told() => {
                return Becomes::back();
            }
            Handled::Failed(error) => Err(error),
            Handled::Unreadable(reason) => Ok(Ack::DeadLetter { reason }),
        };
        self.counts.count(&said);
        let now_ms = self.engine.clock.wall().0;
        becomes(said, note, &self.settings.backoff, event_id, now_ms, fastrand::f64())
    }

    fn context(&self, note: &Note, crashes: u32) -> Ctx {
        let fence = match self.who {
            Who::Fence(fence) => Some(fence),
            Who::Consumer(_) => None,
        };
        Ctx::new(&self.settings, Arc::clone(&self.held), self.place.entry, note, crashes, fence)
    }
}

impl Counts {
    fn new(settings: &Settings) -> Self {
        let of = |outcome: &'static str| {
            metrics::counter!(
                telemetry::STREAM_HANDLED,
                "topic" => settings.topic.as_str().to_owned(),
                "group" => settings.group.as_str().to_owned(),
                "outcome" => outcome
            )
        };
        Self {
            done: of("done"),
            dropped: of("dropped"),
            failed: of("failed"),
            retry: of("retry"),
            dead: of("dead"),
            duplicate: of("duplicate"),
            lost: of("lost"),
            duration: metrics::histogram!(
                telemetry::STREAM_HANDLE_DURATION,
                "topic" => settings.topic.as_str().to_owned(),
                "group" => settings.group.as_str().to_owned()
            ),
        }
    }

    fn count(&self, said: &Result<Ack, String>) {
        let counter = match said {
            Ok(Ack::Done) => &self.done,
            Ok(Ack::Drop) => &self.dropped,
            Ok(Ack::Retry { .. }) => &self.retry,
            Ok(Ack::DeadLetter { .. }) => &self.dead,
            Err(_) => &self.failed,
        };
        counter.increment(1);
    }
}
