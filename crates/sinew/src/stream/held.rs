//! What this process holds of one partition: which events, until when, and which it has finished of late.
//!
//! The store has the last word on who holds an event. This is what a process knows of it without asking: a handler
//! looks here whether its event is still its own, and a reader whether one that comes again is new.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{MutexGuard, Notify};

use super::model::{Checkpoint, EntryId};
use crate::kernel::clock::{Clock, Monotonic};

/// Finished events that are remembered until the checkpoint has passed them.
const FINISHED_MAX: usize = 65_536;
/// How long a machine may have been suspended before a handler that waits for its loss looks again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a process holds of one partition in one group.
pub(super) struct Held {
    clock: Clock,
    load: Arc<Load>,
    // A mutex: looked at by readers, handlers and acks, and none of them waits under it.
    inner: Mutex<Inner>,
    changed: Notify,
    /// Held from before events are asked for until they are known here, by all but readers: what is counted
    /// meanwhile would be missing from either side.
    taking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Inner {
    known: HashMap<EntryId, Mark>,
    /// Since the group was joined last.
    finished: BTreeSet<EntryId>,
    /// Before that: these may come again.
    finished_before: BTreeSet<EntryId>,
    /// The stream's last entry when people had the group go elsewhere, as told last.
    sought: Option<EntryId>,
    /// When the lease is over, by this machine's clock. None yet: nothing is held.
    until: Option<Monotonic>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// Waits for its run, or runs.
    Open,
    /// Its run is over; the store is still to hear of it.
    Ended,
    /// Someone else's by now, though its run may still be under way.
    Lost,
}

/// What an event that was delivered is to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    /// It is to be run.
    New,
    /// It is held already: nothing is to be done.
    Known,
    /// It was finished here, and the group has forgotten: it is to be acked, and not run.
    Finished,
}

/// How much a subscription holds, over all partitions.
#[derive(Default)]
pub(super) struct Load {
    open: AtomicUsize,
    unsettled: AtomicUsize,
    eased: Notify,
}

impl Load {
    /// Events that wait for their run, or run.
    pub(super) fn open_len(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// These, and those whose outcome the store is still to hear of.
    pub(super) fn unsettled_len(&self) -> usize {
        self.unsettled.load(Ordering::Acquire)
    }

    /// Waits until something holds that only becomes true by less being held. Cancel-safe.
    pub(super) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        loop {
            let eased = self.eased.notified();
            tokio::pin!(eased);
            // Before the look: what is notified after it wakes us.
            eased.as_mut().enable();
            if holds(self) {
                return;
            }
            eased.await;
        }
    }

    fn closed_one(&self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
        self.eased.notify_waiters();
    }

    fn settled_one(&self) {
        self.unsettled.fetch_sub(1, Ordering::AcqRel);
        self.eased.notify_waiters();
    }
}

impl Held {
    pub(super) fn new(clock: Clock, load: Arc<Load>) -> Arc<Self> {
        let inner = Inner::default();
        Arc::new(Self {
            clock,
            load,
            inner: Mutex::new(inner),
            changed: Notify::new(),
            taking: tokio::sync::Mutex::new(()),
        })
    }

    /// To be held while events are asked for and until they are known here.
    pub(super) async fn taking(&self) -> MutexGuard<'_, ()> {
        self.taking.lock().await
    }

    /// Notes that an event was delivered, and says what it is to this process.
    pub(super) fn deliver(&self, id: EntryId) -> Delivered {
        let mut inner = self.inner.lock();
        if inner.finished_before.contains(&id) {
            return Delivered::Finished;
        }
        match inner.known.get_mut(&id) {
            // Lost, and given to us once more while its run goes on: ours again, and not to be run beside itself.
            Some(mark @ Mark::Lost) => {
                *mark = Mark::Open;
                Delivered::Known
            }
            Some(_) => Delivered::Known,
            None => self.open(&mut inner, id),
        }
    }

    /// The same for an owner: no one hears what a run under a former fence comes to, so it stays lost until it ends.
    pub(super) fn deliver_anew(&self, id: EntryId) -> Delivered {
        let mut inner = self.inner.lock();
        if inner.finished_before.contains(&id) {
            return Delivered::Finished;
        }
        match inner.known.contains_key(&id) {
            true => Delivered::Known,
            false => self.open(&mut inner, id),
        }
    }

    fn open(&self, inner: &mut Inner, id: EntryId) -> Delivered {
        inner.known.insert(id, Mark::Open);
        self.load.open.fetch_add(1, Ordering::AcqRel);
        self.load.unsettled.fetch_add(1, Ordering::AcqRel);
        Delivered::New
    }

    /// Its run is over, or will not be. Whether the store is to hear of it: it is not where it was lost.
    pub(super) fn ended(&self, id: EntryId) -> bool {
        let mut inner = self.inner.lock();
        match inner.known.get_mut(&id) {
            Some(mark @ Mark::Open) => {
                *mark = Mark::Ended;
                drop(inner);
                self.load.closed_one();
                true
            }
            Some(Mark::Ended) => true,
            Some(Mark::Lost) => {
                inner.known.remove(&id);
                drop(inner);
                self.load.closed_one();
                self.load.settled_one();
                false
            }
            None => false,
        }
    }

    /// The store has heard of these, and they do not come again unless the group is lost.
    pub(super) fn finished(&self, ids: &[EntryId]) {
        let mut inner = self.inner.lock();
        for id in ids {
            inner.finished.insert(*id);
            if inner.finished.len() > FINISHED_MAX {
                inner.finished.pop_first();
            }
        }
        drop(inner);
        self.let_go(ids);
    }

    /// These are not this process's any more: parked, buried, given back, or refused after their run.
    pub(super) fn let_go(&self, ids: &[EntryId]) {
        for id in ids {
            let was = self.inner.lock().known.remove(id);
            match was {
                Some(Mark::Open | Mark::Lost) => {
                    self.load.closed_one();
                    self.load.settled_one();
                }
                Some(Mark::Ended) => self.load.settled_one(),
                None => {}
            }
        }
    }

    /// The store says that someone else has these. How many of them were held here.
    pub(super) fn lose(&self, ids: &[EntryId]) -> usize {
        let mut gone = Vec::new();
        let mut inner = self.inner.lock();
        for id in ids {
            match inner.known.get_mut(id) {
                Some(mark @ Mark::Open) => {
                    *mark = Mark::Lost;
                    gone.push(Mark::Lost);
                }
                Some(Mark::Ended) => {
                    inner.known.remove(id);
                    gone.push(Mark::Ended);
                }
                Some(Mark::Lost) | None => {}
            }
        }
        drop(inner);
        for _ in gone.iter().filter(|mark| **mark == Mark::Ended) {
            self.load.settled_one();
        }
        self.changed.notify_waiters();
        gone.len()
    }

    /// The same of all but these.
    pub(super) fn lose_all_but(&self, kept: &[EntryId]) -> usize {
        let kept: BTreeSet<EntryId> = kept.iter().copied().collect();
        let lost: Vec<EntryId> = self.known().into_iter().filter(|id| !kept.contains(id)).collect();
        self.lose(&lost)
    }

    /// The same of all: another process owns the partition.
    pub(super) fn lose_all(&self) -> usize {
        self.lose_all_but(&[])
    }

    /// Those of which the store is not to hear: they are not held any more, and were not finished before to come again.
    pub(super) fn not_held(&self, ids: &[EntryId]) -> Vec<EntryId> {
        let inner = self.inner.lock();
        let is_held = |id: &EntryId| inner.known.get(id).is_some_and(|mark| *mark != Mark::Lost);
        let is_strange = |id: &EntryId| !is_held(id) && !inner.finished_before.contains(id);
        ids.iter().copied().filter(is_strange).collect()
    }

    /// All that is held and not lost.
    pub(super) fn known(&self) -> Vec<EntryId> {
        let inner = self.inner.lock();
        inner.known.iter().filter(|(_, mark)| **mark != Mark::Lost).map(|(id, _)| *id).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.inner.lock().known.values().filter(|mark| **mark != Mark::Lost).count()
    }

    /// The lease was granted or renewed.
    pub(super) fn lease_until(&self, until: Monotonic) {
        self.inner.lock().until = Some(until);
        self.changed.notify_waiters();
    }

    /// The group was joined, and may know less than this process: what is finished and comes again is not run.
    /// Except where people had the group go back since, which is no loss but a wish. What the stream has no id for yet
    /// was another's: one that will have it is new.
    pub(super) fn joined(&self, sought: Option<EntryId>, last: EntryId) {
        let mut inner = self.inner.lock();
        inner.sought(sought);
        let finished = std::mem::take(&mut inner.finished);
        inner.finished_before.extend(finished);
        inner.finished_before.retain(|id| *id <= last);
        while inner.finished_before.len() > FINISHED_MAX {
            inner.finished_before.pop_first();
        }
    }

    /// Whether people had the group go elsewhere since this was told last. What was finished before they did is to be
    /// run again.
    pub(super) fn sought(&self, sought: Option<EntryId>) -> bool {
        self.inner.lock().sought(sought)
    }

    /// Whether it was finished here before the group was joined last.
    pub(super) fn was_finished(&self, id: EntryId) -> bool {
        self.inner.lock().finished_before.contains(&id)
    }

    /// Whether its run is over here: the store has heard of it, or is about to.
    pub(super) fn has_ended(&self, id: EntryId) -> bool {
        let inner = self.inner.lock();
        inner.finished.contains(&id) || inner.known.get(&id) == Some(&Mark::Ended)
    }

    /// Nothing of what was finished is in the stream any more: it is another.
    pub(super) fn forget_finished(&self) {
        let mut inner = self.inner.lock();
        inner.finished.clear();
        inner.finished_before.clear();
    }

    /// What is finished below a checkpoint need not be remembered.
    pub(super) fn passed(&self, checkpoint: &Checkpoint) {
        let mut inner = self.inner.lock();
        let (Checkpoint::UpTo(id) | Checkpoint::Below(id)) = checkpoint;
        let Inner { finished, finished_before, .. } = &mut *inner;
        for passed in [finished, finished_before] {
            *passed = passed.split_off(id);
            if let Checkpoint::UpTo(id) = checkpoint {
                passed.remove(id);
            }
        }
    }

    /// Whether an event is no longer this process's, as far as it knows.
    pub(super) fn is_lost(&self, id: EntryId) -> bool {
        self.left_of(id).is_none()
    }

    /// Comes back when it is no longer. Cancel-safe.
    pub(super) async fn lost(&self, id: EntryId) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let Some(until) = self.left_of(id) else { return };
            let look = until.min(self.clock.now().after(LOOK_EVERY));
            tokio::select! {
                () = changed => {}
                () = self.clock.sleep_until(look) => {}
            }
        }
    }

    /// Until when it is held; nothing where it is not.
    fn left_of(&self, id: EntryId) -> Option<Monotonic> {
        let now = self.clock.now();
        let inner = self.inner.lock();
        if inner.known.get(&id).is_none_or(|mark| *mark == Mark::Lost) {
            return None;
        }
        inner.until.filter(|until| now < *until)
    }
}

impl Inner {
    fn sought(&mut self, sought: Option<EntryId>) -> bool {
        if self.sought == sought {
            return false;
        }
        self.sought = sought;
        for finished in [&mut self.finished, &mut self.finished_before] {
            finished.retain(|id| sought.is_none_or(|sought| *id > sought));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: EntryId = EntryId { ms: 9, seq: 0 };

    fn id(ms: u64) -> EntryId {
        EntryId { ms, seq: 0 }
    }

    fn held() -> (Arc<Held>, Arc<Load>, crate::ManualClock) {
        let (clock, hands) = Clock::manual();
        let load = Arc::new(Load::default());
        let held = Held::new(clock.clone(), Arc::clone(&load));
        held.lease_until(clock.now().after(Duration::from_secs(30)));
        (held, load, hands)
    }

    #[test]
    fn an_event_that_is_held_is_not_run_beside_itself() {
        let (held, load, _hands) = held();
        assert_eq!(held.deliver(id(1)), Delivered::New);
        assert_eq!(held.deliver(id(1)), Delivered::Known);
        assert_eq!((load.open_len(), load.unsettled_len()), (1, 1));
        assert!(held.ended(id(1)));
        assert_eq!((load.open_len(), load.unsettled_len()), (0, 1));
        held.finished(&[id(1)]);
        assert_eq!((load.open_len(), load.unsettled_len()), (0, 0));
        held.joined(None, LAST);
        assert_eq!(held.deliver(id(1)), Delivered::Finished);
    }

    #[test]
    fn what_people_want_to_see_again_is_run_again() {
        let (held, _load, _hands) = held();
        for n in 1..=4 {
            held.deliver(id(n));
            held.ended(id(n));
        }
        held.finished(&[id(1), id(2)]);
        assert_eq!(held.deliver(id(1)), Delivered::New, "no loss: it was asked for");
        held.finished(&[id(3), id(4)]);
        held.joined(Some(id(3)), LAST);
        assert_eq!(held.deliver(id(2)), Delivered::New);
        assert_eq!(held.deliver(id(4)), Delivered::Finished, "finished after they asked");
        held.finished(&[id(2)]);
        held.joined(Some(id(3)), LAST);
        assert_eq!(held.deliver(id(2)), Delivered::Finished, "asked for once");
        assert!(!held.sought(Some(id(3))) && held.sought(Some(id(5))));
        assert_eq!(held.deliver(id(2)), Delivered::New, "asked for again, and no one joined");
    }

    #[test]
    fn what_people_want_to_see_again_is_not_finished_at_the_next_join_either() {
        let (held, _load, _hands) = held();
        held.finished(&[id(1), id(2), id(3)]);
        assert!(held.sought(Some(id(2))));
        held.joined(Some(id(2)), LAST);
        assert_eq!(held.deliver(id(1)), Delivered::New);
        assert_eq!(held.deliver(id(3)), Delivered::Finished);
    }

    #[test]
    fn what_has_ended_here_has_until_people_want_to_see_it_again() {
        let (held, _load, _hands) = held();
        for n in 1..=4 {
            held.deliver_anew(id(n));
        }
        assert!(!held.has_ended(id(1)), "it runs");
        for n in 1..=3 {
            held.ended(id(n));
        }
        held.finished(&[id(1)]);
        held.let_go(&[id(3)]);
        let ended: Vec<u64> = (1..=4).filter(|n| held.has_ended(id(*n))).collect();
        assert_eq!(ended, [1, 2], "one was put off, and one runs");
        held.sought(Some(LAST));
        assert!(!held.has_ended(id(1)) && held.has_ended(id(2)), "2 is told yet");
        held.finished(&[id(2)]);
        assert!(held.has_ended(id(2)));
    }

    #[test]
    fn what_the_stream_has_no_id_for_yet_is_new() {
        let (held, _load, _hands) = held();
        held.finished(&[id(1), id(2), id(3)]);
        held.joined(None, id(2));
        assert_eq!(held.deliver(id(2)), Delivered::Finished);
        assert_eq!(held.deliver(id(3)), Delivered::New, "it has the id of one that is gone");
    }

    #[test]
    fn what_is_finished_is_remembered_until_the_checkpoint_has_passed_it() {
        let (held, _load, _hands) = held();
        for n in 1..=4 {
            held.deliver(id(n));
            held.ended(id(n));
        }
        held.finished(&[id(1), id(2), id(3), id(4)]);
        held.joined(None, LAST);
        held.passed(&Checkpoint::Below(id(2)));
        assert_eq!(held.deliver(id(1)), Delivered::New);
        assert_eq!(held.deliver(id(2)), Delivered::Finished);
        held.passed(&Checkpoint::UpTo(id(3)));
        assert_eq!(held.deliver(id(3)), Delivered::New);
        assert_eq!(held.deliver(id(4)), Delivered::Finished);
    }

    #[test]
    fn what_was_lost_is_told_and_the_store_hears_nothing_of_it() {
        let (held, load, _hands) = held();
        held.deliver(id(1));
        held.deliver(id(2));
        assert_eq!(held.lose_all_but(&[id(2)]), 1);
        assert!(held.is_lost(id(1)) && !held.is_lost(id(2)));
        assert!(!held.ended(id(1)) && held.ended(id(2)));
        assert_eq!((load.open_len(), load.unsettled_len()), (0, 1));
    }

    #[test]
    fn what_was_lost_after_its_run_is_not_told_either() {
        let (held, _load, _hands) = held();
        for n in 1..=3 {
            held.deliver(id(n));
            held.ended(id(n));
        }
        let all = [id(1), id(2), id(3)];
        assert!(held.not_held(&all).is_empty());
        held.lose_all_but(&[id(3)]);
        assert_eq!(held.not_held(&all), [id(1), id(2)]);
        held.finished(&[id(2), id(3)]);
        held.joined(None, LAST);
        assert_eq!(held.not_held(&all), [id(1)], "the others come again, and are finished");
    }

    #[test]
    fn a_run_under_a_former_fence_ends_unheard_before_the_next_begins() {
        let (held, load, _hands) = held();
        assert_eq!(held.deliver_anew(id(1)), Delivered::New);
        held.lose_all();
        assert_eq!(held.deliver_anew(id(1)), Delivered::Known, "it goes on");
        assert!(!held.ended(id(1)), "no one hears of it");
        assert_eq!(held.deliver_anew(id(1)), Delivered::New);
        assert!(held.ended(id(1)));
        held.finished(&[id(1)]);
        assert_eq!((load.open_len(), load.unsettled_len()), (0, 0));
    }

    #[tokio::test]
    async fn a_lease_that_is_over_by_the_clock_is_a_loss() {
        let (held, _load, hands) = held();
        held.deliver(id(1));
        let waits = tokio::spawn({
            let held = Arc::clone(&held);
            async move { held.lost(id(1)).await }
        });
        assert!(!held.is_lost(id(1)));
        hands.advance(Duration::from_secs(30));
        assert!(held.is_lost(id(1)));
        waits.await.unwrap();
    }
}
