//! One subscription to a topic whose events go to any consumer: its tasks, and what they share.
//!
//! ```text
//! readers ─┐                        ┌─ runs ── tell ── the store
//! takers  ─┴─ held ── queue ── starter
//! keeper: one tick a second and partition renews the lease, and says what is to be done
//! ```
//!
//! The lease is the consumer's, not the event's: whether a handler is alive only its process knows. A consumer that
//! was taken for dead goes on under a name that no one had before, so that what it still says under the old one
//! finds nothing.

mod keep;
mod take;
mod tell;
#[cfg(all(test, feature = "redis"))]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::again::growing;
use super::backend::Backend as _;
use super::checkpoint::Checkpoints;
use super::engine::{Engine, Moves};
use super::held::{Delivered, Held, Load};
use super::lags::OwnLag;
use super::model::{
    Becomes, Entry, EntryId, LEAVE_MAX, LEAVE_TIME_MAX, Left, Portion, READ_MAX, Reply, Taken,
    Tick, Ticking, Who, Whom, millis, tick_every,
};
use super::run::{Ended, Finished, Runs};
use super::subscribe::Settings;
use super::tally::{Lost, Tally};
use crate::kernel::clock::Monotonic;
use crate::kernel::error::{Error, Result};
use crate::kernel::key::{GroupKeys, PartitionKeys};

use self::tell::settle;

/// Names of its own that a consumer has not heard the end of.
const RENAMES_MAX: usize = 16;

/// What the tasks of a subscription share.
struct Consumer {
    engine: Arc<Engine>,
    settings: Arc<Settings>,
    parts: Vec<Part>,
    tally: Tally,
    // A mutex: the name changes together with what each partition has to do about it.
    name: Mutex<Arc<str>>,
    // A mutex: asked by the keeper and the taker, and neither waits under it.
    moves: Mutex<Moves>,
    load: Arc<Load>,
    runs: Runs,
    checkpoints: Checkpoints,
    queue: mpsc::Sender<(usize, Entry)>,
    /// There is something to take, or the time of the next has changed.
    to_take: Notify,
    /// Something is to be done before the next tick would do it.
    to_keep: Notify,
    /// A partition was joined.
    joined: Notify,
    ends_for: Mutex<Option<Error>>,
    ends: Notify,
}

/// A partition, as a subscription has it.
struct Part {
    keys: PartitionKeys,
    group: GroupKeys,
    held: Arc<Held>,
    ended: mpsc::Sender<Ended>,
    // A mutex: noted by the keeper, looked at by the others, and none of them waits under it.
    standing: Mutex<Standing>,
}

/// How it stands with a partition, as far as it is known.
struct Standing {
    is_joined: bool,
    must_join: bool,
    /// Ever: there may be something to give back.
    was_joined: bool,
    /// When the group was made, in µs.
    born_us: Option<u64>,
    must_recover: bool,
    recovering: Portion,
    /// Ticks in a row at which the store said that there is more than is known here.
    more_there: u32,
    /// Former names whose entries are to come over, with what was held under them.
    renames: Vec<(Arc<str>, Vec<EntryId>)>,
    fallen: Option<String>,
    /// The others are to be heard before any of them is taken for dead.
    claim_after: Monotonic,
    kept_at: Monotonic,
    /// The store's time, and when it was that here.
    clock: Option<(u64, Monotonic)>,
    due_at: Option<Monotonic>,
}

/// Entries that are to be run, and those that were finished here before.
#[derive(Default)]
struct Delivery {
    new: Vec<Entry>,
    finished: Vec<Entry>,
}

/// Runs a subscription until `shutdown`, or until an error that waiting does not help.
pub(super) async fn run(
    engine: Arc<Engine>,
    settings: Arc<Settings>,
    partitions: &[PartitionKeys],
    checkpoints: Checkpoints,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Finished> {
    let (queue, to_start) = mpsc::channel(2 * settings.concurrency + READ_MAX);
    let (consumer, outcomes) = Consumer::new(engine, settings, partitions, checkpoints, queue)?;
    let consumer = Arc::new(consumer);
    let first = async {
        for index in 0..consumer.parts.len() {
            consumer.join_first(index).await?;
        }
        Ok::<(), Error>(())
    };
    tokio::pin!(shutdown);
    tokio::select! {
        joined = first => joined?,
        () = &mut shutdown => return Ok(consumer.leave().await),
    }
    // Both sets end with this future, however it ends.
    let (mut taking, mut keeping) = (JoinSet::new(), JoinSet::new());
    for (index, ended) in outcomes.into_iter().enumerate() {
        keeping.spawn(settle(Arc::clone(&consumer), index, ended));
    }
    keeping.spawn(Arc::clone(&consumer).keep());
    keeping.spawn(Arc::clone(&consumer).tidy());
    taking.spawn(Arc::clone(&consumer).start_runs(to_start));
    taking.spawn(Arc::clone(&consumer).take());
    for together in consumer.engine.backend.together(partitions) {
        taking.spawn(Arc::clone(&consumer).read(together));
    }
    tokio::select! {
        () = &mut shutdown => {}
        () = consumer.ends.notified() => {}
    }
    let finished = consumer.stop(taking, keeping).await;
    let error = consumer.ends_for.lock().take();
    error.map_or(Ok(finished), Err)
}

impl Consumer {
    #[allow(clippy::type_complexity)]
    fn new(
        engine: Arc<Engine>,
        settings: Arc<Settings>,
        partitions: &[PartitionKeys],
        checkpoints: Checkpoints,
        queue: mpsc::Sender<(usize, Entry)>,
    ) -> Result<(Self, Vec<mpsc::Receiver<Ended>>)> {
        let load = Arc::new(Load::default());
        let now = engine.clock.now();
        let (mut parts, mut outcomes) = (Vec::new(), Vec::new());
        for keys in partitions {
            let (ended, outcome) = mpsc::channel(2 * settings.concurrency + READ_MAX);
            outcomes.push(outcome);
            parts.push(Part {
                keys: keys.clone(),
                group: keys.group(&settings.group),
                held: Held::new(engine.clock.clone(), Arc::clone(&load)),
                ended,
                standing: Mutex::new(Standing::new(now)),
            });
        }
        let teller = parts.first().map_or("", |part| part.group.members());
        let lag = OwnLag::new(&engine.lags, settings.names(), teller);
        let consumer = Self {
            name: Mutex::new(settings.new_name()?),
            moves: Mutex::new(Moves::of(&engine)),
            runs: Runs::new(Arc::clone(&settings), Arc::clone(&engine)),
            tally: Tally::new(&settings, lag),
            engine,
            settings,
            parts,
            load,
            checkpoints,
            queue,
            to_take: Notify::new(),
            to_keep: Notify::new(),
            joined: Notify::new(),
            ends_for: Mutex::new(None),
            ends: Notify::new(),
        };
        Ok((consumer, outcomes))
    }

    fn name(&self) -> Arc<str> {
        Arc::clone(&self.name.lock())
    }

    fn lease_ms(&self) -> u64 {
        millis(self.settings.lease)
    }

    fn ticking<'a>(&self, consumer: &'a str, whom: Whom) -> Ticking<'a> {
        let grace_ms = millis(self.settings.grace());
        Ticking { consumer, lease_ms: self.lease_ms(), grace_ms, whom }
    }

    /// Whose the entries of a partition are now, after all that a change of name entails. To be called while nothing
    /// else is taken.
    async fn who_settles(&self, part: &Part) -> Result<Who> {
        loop {
            let name = self.name();
            self.bring_over(part).await?;
            if Arc::ptr_eq(&name, &self.name()) {
                return Ok(Who::Consumer(name));
            }
        }
    }

    /// Moves what is under former names to the present one.
    async fn bring_over(&self, part: &Part) -> Result<()> {
        loop {
            let first = part.standing.lock().renames.first().cloned();
            let Some((old, held)) = first else { return Ok(()) };
            let (name, sent) = (self.name(), self.engine.clock.now());
            let backend = &self.engine.backend;
            let lease_ms = self.lease_ms();
            match backend.rename(&part.keys, &part.group, &old, &name, lease_ms).await? {
                Reply::Ok(moved) => {
                    let lost: Vec<EntryId> =
                        held.into_iter().filter(|id| !moved.contains(id)).collect();
                    self.lose(part, &lost, Lost::Lease);
                    part.held.lease_until(sent.after(self.settings.lease));
                }
                Reply::NoGroup => self.rejoin(part),
            }
            let mut standing = part.standing.lock();
            if standing.renames.first().is_some_and(|(renamed, _)| *renamed == old) {
                standing.renames.remove(0);
            }
        }
    }

    /// Goes on under another name: the present one was taken for dead.
    fn take_new_name(&self) -> Result<()> {
        let new = self.settings.new_name()?;
        let (topic, group) = self.settings.names();
        tracing::warn!(topic, group, old = %self.name(), %new, "taken for dead, and goes on under another name");
        let mut name = self.name.lock();
        for part in &self.parts {
            let mut standing = part.standing.lock();
            if standing.renames.len() == RENAMES_MAX {
                // What was under it has long been taken by others.
                standing.renames.remove(0);
            }
            standing.renames.push((Arc::clone(&name), part.held.known()));
        }
        *name = new;
        Ok(())
    }

    /// Notes entries as held. To be called under [`Held::taking`], or by the reader that was given them.
    fn deliver(&self, part: &Part, taken: Taken) -> Delivery {
        if !taken.lost.is_empty() {
            part.held.lose(&taken.lost);
            self.tally.lost(taken.lost.len(), Lost::Deleted);
        }
        let mut delivery = Delivery::default();
        for entry in taken.entries {
            match part.held.deliver(entry.id) {
                Delivered::New => delivery.new.push(entry),
                Delivered::Known => {}
                Delivered::Finished => delivery.finished.push(entry),
            }
        }
        delivery
    }

    /// Has them run, and acknowledges once more what was finished here before.
    async fn hand_on(&self, index: usize, mut delivery: Delivery) {
        let part = &self.parts[index];
        let name = self.name();
        if !delivery.finished.is_empty() && self.hear_of_seek(part).await {
            let entries = std::mem::take(&mut delivery.finished);
            if Arc::ptr_eq(&name, &self.name()) {
                let again = self.deliver(part, Taken { entries, lost: Vec::new() });
                delivery.new.extend(again.new);
                delivery.finished = again.finished;
            } else {
                // What has come over to the new name is found there; others have the rest.
                part.standing.lock().must_recover = true;
            }
        }
        for entry in delivery.finished {
            let again = Ended { id: entry.id, becomes: Becomes::Ack { event_id: None } };
            let _ = part.ended.send(again).await;
        }
        for entry in delivery.new {
            let _ = self.queue.send((index, entry)).await;
        }
    }

    /// Hears whether people had the group go elsewhere: then what comes again is a wish. Whether the store said so, one
    /// way or the other.
    async fn hear_of_seek(&self, part: &Part) -> bool {
        let mut again = growing();
        loop {
            let name = self.name();
            let ticking = self.ticking(&name, Whom::Members);
            match self.engine.backend.tick(&part.keys, &part.group, &ticking).await {
                Ok(Tick::Kept(ticked)) => {
                    // Whether it is news or not: the keeper may have heard of it first.
                    part.held.sought(ticked.sought);
                    return true;
                }
                // Its acks would count for what it was given since. The keeper takes another name.
                Ok(Tick::Fallen) => self.to_keep.notify_one(),
                Ok(Tick::NoGroup) => return false,
                Err(error) if error.is_final() => self.end_for(error),
                Err(error) => self.note_trouble(&error),
            }
            again.pause().await;
        }
    }

    /// Tells their handlers that events are lost, and counts those that were held.
    fn lose(&self, part: &Part, ids: &[EntryId], how: Lost) {
        let lost = part.held.lose(ids);
        if lost == 0 {
            return;
        }
        self.tally.lost(lost, how);
        let (topic, group) = self.settings.names();
        let partition = part.keys.partition();
        tracing::warn!(topic, group, partition, lost, ?how, "events are no longer held here");
    }

    /// The group is gone: it is to be made again at its checkpoint.
    fn rejoin(&self, part: &Part) {
        let mut standing = part.standing.lock();
        standing.is_joined = false;
        standing.must_join = true;
        drop(standing);
        self.to_keep.notify_one();
    }

    /// Joins anew where another server has taken the place of one that was written to: it may know less.
    fn follow_moves(&self) {
        if self.moves.lock().have_come() {
            self.parts.iter().for_each(|part| self.rejoin(part));
        }
    }

    /// Something of this partition is due by then.
    fn due_in(&self, part: &Part, delay: Duration) {
        let at = self.engine.clock.now().after(delay);
        let mut standing = part.standing.lock();
        standing.due_at = Some(standing.due_at.map_or(at, |due_at| due_at.min(at)));
        drop(standing);
        self.to_take.notify_one();
    }

    /// Ends the subscription: waiting does not help.
    fn end_for(&self, error: Error) {
        self.ends_for.lock().get_or_insert(error);
        self.ends.notify_one();
    }

    /// Takes no more, lets what runs come to its end, and gives back the rest.
    async fn stop(&self, mut taking: JoinSet<()>, mut keeping: JoinSet<()>) -> Finished {
        taking.shutdown().await;
        // After an error that waiting does not help, the store hears of none.
        let is_deaf = self.ends_for.lock().is_some();
        let is_told = |load: &Load| is_deaf || load.unsettled_len() <= load.open_len();
        let drained = async {
            self.runs.until_idle().await;
            self.load.until(is_told).await;
        };
        if tokio::time::timeout(self.settings.drain, drained).await.is_err() {
            // What a handler does after this is not waited for: it may not even listen.
            let _ = tokio::time::timeout(LEAVE_TIME_MAX, self.runs.abort()).await;
        }
        self.tally.given_back(self.load.open_len());
        keeping.shutdown().await;
        self.leave().await
    }

    async fn leave(&self) -> Finished {
        let leaves = async {
            for part in &self.parts {
                if let Err(error) = self.leave_part(part).await {
                    let (topic, group) = self.settings.names();
                    tracing::warn!(topic, group, %error, "others have what is left once the lease is over");
                }
            }
            self.checkpoints.write().await;
        };
        let _ = tokio::time::timeout(LEAVE_TIME_MAX, leaves).await;
        self.tally.finished()
    }

    async fn leave_part(&self, part: &Part) -> Result<()> {
        if !part.standing.lock().was_joined {
            return Ok(());
        }
        self.bring_over(part).await?;
        let name = self.name();
        let backend = &self.engine.backend;
        while let Reply::Ok(Left::More) =
            backend.leave(&part.keys, &part.group, &name, LEAVE_MAX).await?
        {}
        Ok(())
    }

    fn tick_every(&self) -> Duration {
        tick_every(self.settings.lease)
    }
}

impl Standing {
    fn new(now: Monotonic) -> Self {
        Self {
            is_joined: false,
            must_join: false,
            was_joined: false,
            born_us: None,
            must_recover: false,
            recovering: Portion::default(),
            more_there: 0,
            renames: Vec::new(),
            fallen: None,
            claim_after: now,
            kept_at: now,
            clock: None,
            due_at: None,
        }
    }

    /// Whether what the store gives is of a group that knows what was finished here.
    fn is_settled(&self) -> bool {
        self.is_joined && !self.must_join
    }

    /// When it is so late in the store.
    fn at(&self, store_ms: u64, now: Monotonic) -> Monotonic {
        let Some((was_ms, was)) = self.clock else { return now };
        was.after(Duration::from_millis(store_ms.saturating_sub(was_ms)))
    }
}
