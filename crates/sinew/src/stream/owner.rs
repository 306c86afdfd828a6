//! A partition that this process owns: its events run in lanes, under the fence that the store gave.
//!
//! What is pending is read first, since a former owner left it, and then what is new. A lane goes on while the store
//! hears of what its last event came to: the store is told in the order in which things ended, so that what
//! a next owner finds unfinished is the end of each lane. Nothing is told once the partition is lost.

mod tell;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};

use super::again::{PAUSE_MAX_MS, pause};
use super::backend::Backend as _;
use super::checkpoint::Checkpoints;
use super::engine::{Engine, Moves};
use super::held::{Delivered, Held};
use super::lanes::Lanes;
use super::model::{
    ACKS_MAX, Becomes, Checkpoint, DUE_MAX, Entry, EntryId, PARKED_MAX, Portion, Read, ReadFrom,
    Tick, Ticked, Trimming, Who, millis, tick_every,
};
use super::run::{Ended, Runs};
use super::share::Wish;
use super::subscribe::Settings;
use super::tally::{Lost, Tally};
use crate::kernel::breaker::BreakerState;
use crate::kernel::clock::Monotonic;
use crate::kernel::error::{Error, Result};
use crate::kernel::key::{GroupKeys, PartitionKeys};
use crate::kernel::telemetry;

/// How often what no group needs is removed, about.
const TRIM_EVERY: Duration = Duration::from_secs(10);
/// Outcomes that the store is still to hear of, beyond which lanes wait.
const UNTOLD_MAX: usize = 4 * ACKS_MAX;

/// What the owners of one subscription share.
pub(super) struct Crew {
    pub(super) engine: Arc<Engine>,
    pub(super) settings: Arc<Settings>,
    pub(super) runs: Arc<Runs>,
    pub(super) checkpoints: Arc<Checkpoints>,
    pub(super) tally: Arc<Tally>,
}

/// A partition, as this process sees it.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) number: u16,
    pub(super) keys: PartitionKeys,
    pub(super) group: GroupKeys,
    pub(super) held: Arc<Held>,
}

/// Why a partition is no longer owned.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// It was given up, and all that ran has ended.
    Released,
    /// Another process has it, or the lease is over.
    Lost,
    /// The store does not know the group.
    Gone,
    /// Trying again does not help.
    Failed(Error),
}

/// The owner of one partition, under one fence.
pub(super) struct Owner {
    crew: Arc<Crew>,
    part: Part,
    fence: u64,
    // A mutex: looked at once an event, and no one waits under it.
    lanes: Mutex<Lanes>,
    /// Lanes have moved.
    turned: Notify,
    /// When the lease is over, by this machine's clock.
    until: Mutex<Monotonic>,
    /// The store's time, and when it was that here.
    clock: Mutex<Option<(u64, Monotonic)>>,
    over: watch::Sender<Option<End>>,
    /// People had the group go elsewhere: what waits here may not be what comes next.
    was_moved: AtomicBool,
}

/// For how long a lease is trusted that was asked for now: clocks differ in their pace.
pub(super) fn trusted(lease: Duration) -> Duration {
    lease.saturating_sub(lease / 100 + Duration::from_millis(2))
}

impl Owner {
    /// Of a partition that was taken under this fence. `until` is when the lease is over, by this machine's clock.
    pub(super) fn new(crew: Arc<Crew>, part: Part, fence: u64, until: Monotonic) -> Self {
        part.held.lease_until(until);
        Self {
            crew,
            part,
            fence,
            lanes: Mutex::default(),
            turned: Notify::new(),
            until: Mutex::new(until),
            clock: Mutex::new(None),
            over: watch::Sender::new(None),
            was_moved: AtomicBool::new(false),
        }
    }

    /// Runs events until the partition is not wanted any more, or lost. Whatever the end: what ran has ended, or
    /// had the time for it. With it: how many events were lost under way.
    ///
    /// *Cancellation*: the lease runs out, and another owner finds everything where it is.
    pub(super) async fn run(
        &self,
        mut wish: watch::Receiver<Wish>,
        mut moves: Moves,
    ) -> (End, usize) {
        let (tell, ended) = mpsc::channel(ACKS_MAX);
        let before = moves.clone();
        let (settle, keep) = (self.settle(ended), self.keep(&before));
        tokio::pin!(settle, keep);
        let mut over = self.over.subscribe();
        let mut has_moved = false;
        let end = tokio::select! {
            biased;
            // Before anything else is read or run, the group has to be moved forward.
            () = moves.next() => {
                has_moved = true;
                End::Released
            }
            end = &mut keep => end,
            end = said(&mut over) => end,
            _ = wish.wait_for(|wish| *wish != Wish::Wanted) => End::Released,
            () = &mut settle => End::Lost,
            end = self.read() => end,
            () = self.start(&tell) => End::Lost,
            () = self.promote_and_trim() => End::Lost,
        };
        // From here on only those have a sender that run.
        drop(tell);
        self.lanes.lock().drop_waiting();
        if !matches!(end, End::Released) {
            return self.lose(end, settle).await;
        }
        // Slow ones are not run by the next owner beside this one, unless the subscription ends.
        let drained = async {
            // Another primary is no hand-over: what outlasts it keeps its own key waiting, here.
            if !has_moved {
                let _ = wish.wait_for(|wish| *wish == Wish::Closed).await;
            }
            tokio::time::sleep(self.crew.settings.drain).await;
        };
        let end = tokio::select! {
            () = &mut settle => return (self.release().await, 0),
            end = &mut keep => end,
            end = said(&mut over) => end,
            () = drained => {
                if !has_moved {
                    let left = self.lanes.lock().running_len();
                    self.crew.tally.given_back(left);
                }
                // They are told before the next owner may run them again.
                self.over.send_replace(Some(End::Lost));
                self.part.held.lose_all();
                return (self.release().await, 0);
            }
        };
        self.lose(end, settle).await
    }

    /// Tells those that run, and leaves them the time to end: the next owner may be in this process.
    async fn lose(&self, end: End, settle: impl Future<Output = ()>) -> (End, usize) {
        self.over.send_replace(Some(end.clone()));
        let lost = self.part.held.lose_all();
        let _ = tokio::time::timeout(self.crew.settings.drain, settle).await;
        (end, lost)
    }

    async fn release(&self) -> End {
        let Part { keys, group, .. } = &self.part;
        while self.crew.engine.clock.now() < *self.until.lock() {
            match self.crew.engine.backend.release(keys, group, self.fence).await {
                Ok(true) => return End::Released,
                Ok(false) => return End::Lost,
                Err(error) if error.is_final() => return End::Failed(error),
                Err(_) => pause().await,
            }
        }
        End::Lost
    }

    /// Renews the lease until it is lost.
    async fn keep(&self, moves: &Moves) -> End {
        let Crew { engine, settings, .. } = &*self.crew;
        let Part { number, keys, group, held } = &self.part;
        let (topic, group_name) = self.crew.settings.names();
        let every = tick_every(settings.lease);
        loop {
            let (sent, until) = (engine.clock.now(), *self.until.lock());
            let hold = engine.backend.hold(keys, group, self.fence, millis(settings.lease));
            let told = tokio::select! {
                told = hold => told,
                () = engine.clock.sleep_until(until) => return End::Lost,
            };
            // An answer that comes too late brings nothing back: the loss may have been acted on.
            if engine.clock.now() >= until {
                return End::Lost;
            }
            match told {
                Ok(Tick::Kept(ticked)) => {
                    let until = sent.after(trusted(settings.lease));
                    *self.until.lock() = until;
                    held.lease_until(until);
                    *self.clock.lock() = Some((ticked.now_ms, engine.clock.now()));
                    // One of a new primary may be behind those that are known.
                    if let Some(checkpoint) = ticked.checkpoint
                        && !moves.is_due()
                    {
                        self.note_seek(&ticked);
                        self.crew.checkpoints.note(*number, checkpoint);
                        held.passed(&checkpoint);
                    }
                    self.crew.tally.stands(*number, ticked.pending, ticked.oldest_ms);
                    engine.clock.sleep_until(sent.after(every)).await;
                }
                Ok(Tick::Fallen) => return End::Lost,
                Ok(Tick::NoGroup) => return End::Gone,
                Err(error) if error.is_final() => return End::Failed(error),
                Err(error) => {
                    tracing::debug!(topic, group = group_name, partition = number, %error, "a partition's lease could not be renewed: trying again");
                    pause().await;
                }
            }
        }
    }

    /// Reads what is pending, and then what comes, for as long as the fence is its own.
    async fn read(&self) -> End {
        let Crew { engine, runs, .. } = &*self.crew;
        let Part { keys, group, held, .. } = &self.part;
        let mut waker = engine.backend.waker(std::slice::from_ref(keys));
        // Up to where all was read here, and from where to wait for more: there may be some that is not read yet.
        let (mut read_to, mut wait_after) = (EntryId::ZERO, EntryId::ZERO);
        // What a lost reply had is pending, too: after all that was read before it.
        let (mut is_behind, mut is_known) = (true, false);
        let mut portion = Portion::default();
        loop {
            if self.was_moved.swap(false, Ordering::AcqRel) {
                self.lanes.lock().drop_waiting();
                // All of it may have been read before this was heard: where to wait is to be asked anew.
                (read_to, is_behind, is_known) = (EntryId::ZERO, true, false);
            }
            self.room().await;
            runs.until_callable().await;
            let from = match is_behind {
                true => ReadFrom::PendingAfter(read_to),
                false => ReadFrom::New,
            };
            if !is_behind && !is_known {
                match self.delivered_to().await {
                    Ok(Some(id)) => (wait_after, is_known) = (id, true),
                    Ok(None) => return End::Lost,
                    Err(error) if error.is_final() => return End::Failed(error),
                    Err(_) => {
                        pause().await;
                        continue;
                    }
                }
            }
            match engine.backend.read(keys, group, self.fence, from, portion.most()).await {
                Ok(Read::Got(mut taken)) => {
                    portion.came();
                    if !taken.lost.is_empty() {
                        self.crew.tally.lost(taken.lost.len(), Lost::Deleted);
                    }
                    if taken.entries.iter().any(|entry| held.was_finished(entry.id)) {
                        let heard = self.hear_of_seek().await;
                        if heard.is_err() {
                            pause().await;
                        }
                        if heard.is_err() || self.was_moved.load(Ordering::Acquire) {
                            // They are pending, and read again.
                            is_behind = true;
                            continue;
                        }
                    }
                    let ids = taken.entries.iter().map(|entry| entry.id);
                    let newest = ids.chain(taken.lost.iter().copied()).max();
                    if is_behind {
                        // Pending until the store hears, which it is about to.
                        taken.entries.retain(|entry| !held.has_ended(entry.id));
                    }
                    self.take_in(taken.entries);
                    match newest {
                        // Below what was read before, where people had the group go back.
                        Some(newest) => read_to = newest,
                        None if is_behind => is_behind = false,
                        // Whether it came or not, the next look tells.
                        None => {
                            if waker.until_new(&[read_to.max(wait_after)]).await.is_err() {
                                pause().await;
                            }
                        }
                    }
                }
                Ok(Read::Fenced) => return End::Lost,
                Ok(Read::NoGroup) => return End::Gone,
                Err(error) if error.is_final() => return End::Failed(error),
                Err(error) => {
                    portion.failed(&error);
                    is_behind = true;
                    pause().await;
                }
            }
        }
    }

    /// Whether people had the group go elsewhere, by what the store says now: then what comes again is a wish.
    async fn hear_of_seek(&self) -> Result<()> {
        let Crew { engine, settings, .. } = &*self.crew;
        let Part { keys, group, .. } = &self.part;
        // What comes of another answer, the next call says, too.
        if let Tick::Kept(ticked) =
            engine.backend.hold(keys, group, self.fence, millis(settings.lease)).await?
        {
            self.note_seek(&ticked);
        }
        Ok(())
    }

    fn note_seek(&self, ticked: &Ticked) {
        if self.part.held.sought(ticked.sought) {
            self.was_moved.store(true, Ordering::Release);
        }
    }

    /// Up to where the group was given entries, at least where nothing new is found after this.
    async fn delivered_to(&self) -> Result<Option<EntryId>> {
        let Crew { engine, settings, .. } = &*self.crew;
        let Part { keys, group, .. } = &self.part;
        match engine.backend.hold(keys, group, self.fence, millis(settings.lease)).await? {
            Tick::Kept(Ticked { checkpoint: Some(Checkpoint::UpTo(id)), .. }) => Ok(Some(id)),
            Tick::Kept(_) => {
                let look = engine.backend.look(keys).await?;
                Ok(Some(look.and_then(|look| look.last).unwrap_or_default()))
            }
            Tick::Fallen | Tick::NoGroup => Ok(None),
        }
    }

    /// Waits until few enough are in memory.
    async fn room(&self) {
        loop {
            let turned = self.turned.notified();
            tokio::pin!(turned);
            // Before the look: what turns after it wakes us.
            turned.as_mut().enable();
            if self.lanes.lock().len() <= PARKED_MAX {
                return;
            }
            turned.await;
        }
    }

    fn take_in(&self, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        let now = self.crew.engine.clock.now();
        let store_ms = self.store_ms(now);
        let mut lanes = self.lanes.lock();
        for entry in entries {
            let due = entry.due_ms.filter(|due_ms| *due_ms > store_ms);
            let at = due.map(|due_ms| now.after(Duration::from_millis(due_ms - store_ms)));
            lanes.push(entry, at);
        }
        drop(lanes);
        self.turned.notify_waiters();
    }

    /// How late it is in the store; by this machine until the store has said so.
    fn store_ms(&self, now: Monotonic) -> u64 {
        let known = *self.clock.lock();
        known.map_or_else(
            || self.crew.engine.clock.wall().0,
            |(store_ms, at)| store_ms.saturating_add(millis(now.since(at))),
        )
    }

    /// Starts what may run, for ever.
    async fn start(&self, tell: &mpsc::Sender<Ended>) {
        let Crew { engine, runs, .. } = &*self.crew;
        let Part { keys, group, held, .. } = &self.part;
        loop {
            let turned = self.turned.notified();
            tokio::pin!(turned);
            turned.as_mut().enable();
            let now = engine.clock.now();
            let (has_next, next_at) = {
                let mut lanes = self.lanes.lock();
                lanes.wake(now);
                (lanes.has_next(), lanes.next_at())
            };
            if !has_next {
                let look = next_at.unwrap_or(now.after(TRIM_EVERY));
                tokio::select! {
                    () = turned => {}
                    () = engine.clock.sleep_until(look) => {}
                }
                continue;
            }
            runs.until_callable().await;
            // Half-open, one at a time of all partitions: to see whether the others may.
            let probing = match runs.breaker_state() {
                Some(BreakerState::HalfOpen) => Some(runs.probing().await),
                _ => None,
            };
            runs.permit().await;
            let (is_probe, must_wait) = match runs.breaker_state() {
                None | Some(BreakerState::Closed) => (false, false),
                Some(BreakerState::HalfOpen) => (true, probing.is_none()),
                Some(BreakerState::Open | BreakerState::Isolated) => (false, true),
            };
            if must_wait {
                runs.not_needed();
                continue;
            }
            let Some(entry) = self.lanes.lock().next() else {
                runs.not_needed();
                continue;
            };
            let id = entry.id;
            match held.deliver_anew(id) {
                Delivered::New => {
                    let who = Who::Fence(self.fence);
                    let run = runs.start(keys, group, who, entry, Arc::clone(held), tell.clone());
                    if is_probe {
                        run.await;
                    }
                }
                Delivered::Finished => {
                    runs.not_needed();
                    // The group has forgotten: it is acked, and not run.
                    let _ = tell.send(Ended { id, becomes: Becomes::Ack { event_id: None } }).await;
                }
                // A run of it that was lost has not ended yet.
                Delivered::Known => {
                    runs.not_needed();
                    let later = now.after(Duration::from_millis(PAUSE_MAX_MS));
                    self.lanes.lock().retry(id, later, None);
                }
            }
        }
    }

    /// Lets lanes go on as their events end, and tells the store. Ends with the last that may end.
    async fn settle(&self, ended: mpsc::Receiver<Ended>) {
        let (put, take) = mpsc::channel(UNTOLD_MAX);
        futures_util::future::join(self.turn(ended, put), self.tell_all(take)).await;
    }

    async fn turn(&self, mut ended: mpsc::Receiver<Ended>, put: mpsc::Sender<Ended>) {
        while let Some(one) = ended.recv().await {
            let id = one.id;
            match &one.becomes {
                Becomes::Ack { .. } => {
                    self.lanes.lock().finish(id);
                }
                Becomes::Park { delay, note } => {
                    let at = self.crew.engine.clock.now().after(*delay);
                    self.part.held.let_go(&[id]);
                    self.lanes.lock().retry(id, at, note.clone());
                }
                // Its lane waits until the store has it among the dead.
                Becomes::Bury { .. } => {}
                Becomes::Abandon => {
                    let now = self.crew.engine.clock.now();
                    self.part.held.let_go(&[id]);
                    self.lanes.lock().retry(id, now, None);
                }
            }
            self.turned.notify_waiters();
            // The other end outlives this one.
            let _ = put.send(one).await;
        }
    }

    fn end(&self, end: End) {
        self.over.send_if_modified(|over| {
            let is_first = over.is_none();
            over.get_or_insert(end);
            is_first
        });
    }

    fn is_over(&self) -> bool {
        self.over.borrow().is_some()
    }

    /// Writes delayed events that are due, removes what no group needs, and tells how many are left, for ever.
    async fn promote_and_trim(&self) {
        let Crew { engine, settings, .. } = &*self.crew;
        let keys = &self.part.keys;
        let spread = |time: Duration| time.mul_f64(0.75 + fastrand::f64() / 2.0);
        let mut look_at = engine.clock.now();
        let mut trim_at = look_at.after(spread(TRIM_EVERY));
        loop {
            let now = engine.clock.now();
            let due = match engine.backend.promote(keys, DUE_MAX).await {
                Ok(promoted) => promoted.next_later_ms,
                Err(_) => None,
            };
            if now >= trim_at {
                trim_at = now.after(spread(TRIM_EVERY));
                let forget_ms = settings.forget_after.map(millis);
                let trimming = Trimming { keep_ms: None, forget_ms };
                if let Err(error) = engine.backend.trim(keys, trimming).await {
                    tracing::debug!(topic = settings.topic.as_str(), %error, "a partition could not be trimmed");
                }
            }
            if now >= look_at {
                look_at = now.after(spread(TRIM_EVERY));
                if let Ok(groups) = engine.backend.look_at_groups(keys).await {
                    let name = settings.group.as_str();
                    let own = groups.into_iter().find(|one| one.name == name);
                    let unfinished = own.map_or(0, |own| own.unfinished());
                    self.crew.tally.lags(keys.partition(), unfinished);
                }
            }
            // One that is due sooner may come any time: whoever publishes it looks after it, too.
            let wait = due.map(|due_ms| due_ms.saturating_sub(self.store_ms(engine.clock.now())));
            let wait = Duration::from_millis(wait.unwrap_or(u64::MAX).clamp(1, 1_000));
            engine.clock.sleep_until(now.after(wait)).await;
        }
    }
}

/// Waits until an end is said.
async fn said(over: &mut watch::Receiver<Option<End>>) -> End {
    match over.wait_for(Option::is_some).await {
        Ok(end) => end.clone().unwrap_or(End::Lost),
        Err(_) => End::Lost,
    }
}

/// How many partitions of a group this process owns.
pub(super) fn owned_gauge(settings: &Settings) -> metrics::Gauge {
    metrics::gauge!(
        telemetry::STREAM_PARTITIONS_OWNED,
        "topic" => settings.topic.as_str().to_owned(),
        "group" => settings.group.as_str().to_owned()
    )
}
