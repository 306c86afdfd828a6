//! Invalidations that could not be sent, kept until they can; and the latest of those that were, for
//! when a failover has lost them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::{Key, TagsKey};
use crate::kernel::pattern::Selection;
use crate::kernel::status::Status;
use crate::kernel::ttl::Ttl;

/// More waiting keys than this, and all caches of the deployment are cleared.
const KEYS_MAX: usize = 10_000;
const BATCH: usize = 200;
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_WHILE_DOWN: Duration = Duration::from_secs(1);
/// How long what was made is remembered, should a failover lose it.
const RECENT: Duration = Duration::from_secs(30);
/// Of more, the oldest half is forgotten.
const RECENT_MAX: usize = 20_000;

/// One invalidation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Owed {
    Entry(Key),
    Expiry(Key),
    /// Of all entries with a tag, or of all entries.
    Tag {
        key: TagsKey,
        tag: Option<Box<str>>,
        ttl: Ttl,
    },
}

/// What of an entry comes before a write of it: all up to this number.
#[derive(Clone, Copy)]
pub(super) struct BeforeWrite(u64);

/// Where invalidations are sent.
pub(super) trait Recipient: Sized + Send + Sync + 'static {
    type Weak: Send + Sync + 'static;

    /// A handle that keeps no connection.
    fn downgrade(&self) -> Self::Weak;
    fn upgrade(weak: &Self::Weak) -> Option<Self>;
    fn status(&self) -> watch::Receiver<Status>;
    /// Moves on when another server took over, which may have missed the last writes.
    fn successions(&self) -> watch::Receiver<u64>;
    /// Makes one invalidation, even while other calls are held back.
    fn make(&self, owed: &Owed) -> impl Future<Output = Result<()>> + Send;
    fn make_all(&self, of: &Selection) -> impl Future<Output = Result<()>> + Send;
}

/// The bounded list of one process.
pub(crate) struct Replay {
    everything: Selection,
    waiting: Mutex<Waiting>,
    recent: Mutex<Recent>,
    /// Requests and what was made of them are numbered together, in the order of both.
    numbers: AtomicU64,
    // So that a look-up takes the mutex only while something waits.
    anything_waits: AtomicBool,
    running: AtomicBool,
}

/// What was made of late, in order.
#[derive(Default)]
struct Recent {
    made: HashMap<Owed, (u64, Instant)>,
}

impl Recent {
    fn remember(&mut self, owed: &Owed, number: u64) {
        let now = Instant::now();
        if self.made.len() >= RECENT_MAX {
            self.made.retain(|_, (_, made)| now.duration_since(*made) < RECENT);
        }
        if self.made.len() >= RECENT_MAX {
            let mut numbers: Vec<u64> = self.made.values().map(|(number, _)| *number).collect();
            let (_, middle, _) = numbers.select_nth_unstable(RECENT_MAX / 2);
            let middle = *middle;
            self.made.retain(|_, (number, _)| *number > middle);
        }
        self.made.insert(owed.clone(), (number, now));
    }

    fn take(&mut self) -> Vec<(Owed, u64)> {
        let mut made: Vec<_> = self.made.drain().collect();
        made.retain(|(_, (_, made))| made.elapsed() < RECENT);
        made.sort_by_key(|(_, (number, _))| *number);
        made.into_iter().map(|(owed, (number, _))| (owed, number)).collect()
    }
}

/// Each with the number of its latest request: one that comes while an earlier one of the
/// same key is being sent must not be crossed off with it.
#[derive(Default)]
struct Waiting {
    owed: HashMap<Owed, u64>,
    /// How many of them are of tags.
    of_tags: usize,
    everything: Option<u64>,
}

impl Replay {
    pub(super) fn new(everything: Selection) -> Self {
        Self {
            everything,
            waiting: Mutex::default(),
            recent: Mutex::default(),
            numbers: AtomicU64::new(0),
            anything_waits: AtomicBool::new(false),
            running: AtomicBool::new(false),
        }
    }

    pub(super) fn keep(&self, owed: Owed) {
        self.change(|waiting| waiting.keep(owed, self.next_number()));
    }

    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Remembers what was made, for as long as a failover may lose it.
    pub(super) fn made(&self, owed: &Owed) {
        let mut recent = self.recent.lock();
        recent.remember(owed, self.next_number());
    }

    /// When another server takes over, it may never have heard of the last invalidations: they are
    /// made again. To remove what is new costs a load; to keep what is old costs a promise.
    pub(super) fn repeat_after_successions<R: Recipient>(self: &Arc<Self>, to: &R) {
        let (replay, weak, mut successions) =
            (Arc::downgrade(self), to.downgrade(), to.successions());
        tokio::spawn(async move {
            while successions.changed().await.is_ok() {
                let (Some(replay), Some(to)) = (replay.upgrade(), R::upgrade(&weak)) else {
                    return;
                };
                let count = replay.repeat_recent();
                if count > 0 {
                    tracing::info!(
                        count,
                        "another server serves: the latest invalidations are made again"
                    );
                    replay.run_when_up(&to);
                }
            }
        });
    }

    /// What was made of late waits again, under its old number: a write that came after it the first
    /// time comes after it still.
    fn repeat_recent(&self) -> usize {
        let mut recent = self.recent.lock();
        let made = recent.take();
        let count = made.len();
        if count > 0 {
            // Before the lock is let go: a write that ends now is to find it here or there.
            self.change(|waiting| {
                made.into_iter().for_each(|(owed, number)| waiting.keep(owed, number));
                if waiting.everything.is_some() {
                    // What is being cleared right now may have been cleared before it was lost.
                    waiting.everything = Some(self.next_number());
                }
            });
        }
        count
    }

    /// Refuses to read what was invalidated and may still be there.
    ///
    /// # Errors
    /// `Unavailable`: for this entry, Redis is as good as gone.
    pub(super) fn permits(&self, key: &Key) -> Result<()> {
        if !self.anything_waits.load(Ordering::Acquire) || !self.waiting.lock().covers(key) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unavailable { maybe_applied: false },
            "an invalidation of this entry waits to be sent",
        ))
    }

    /// Refuses to read the tags of a cache while an invalidation of one waits.
    ///
    /// # Errors
    /// `Unavailable`: for this cache, Redis is as good as gone.
    pub(super) fn permits_tags(&self, key: &TagsKey) -> Result<()> {
        if !self.anything_waits.load(Ordering::Acquire) || !self.waiting.lock().covers_tags(key) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unavailable { maybe_applied: false },
            "an invalidation by tag waits to be sent",
        ))
    }

    /// Taken before a write is sent, for [`Replay::overwritten`].
    pub(super) fn before_write(&self) -> BeforeWrite {
        BeforeWrite(self.numbers.load(Ordering::SeqCst))
    }

    /// An entry was written. Its invalidations up to then are not needed any more, and a failover need
    /// not repeat those that were made. One that came since may have come after the write.
    pub(super) fn overwritten(&self, key: &Key, BeforeWrite(up_to): BeforeWrite) {
        let mut recent = self.recent.lock();
        if !recent.made.is_empty() {
            for owed in [Owed::Entry(key.clone()), Owed::Expiry(key.clone())] {
                if recent.made.get(&owed).is_some_and(|(number, _)| *number <= up_to) {
                    recent.made.remove(&owed);
                }
            }
        }
        if self.anything_waits.load(Ordering::Acquire) {
            self.change(|waiting| waiting.cross_off_entry(key, up_to));
        }
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.waiting.lock();
        change(&mut waiting);
        self.anything_waits.store(!waiting.is_empty(), Ordering::Release);
    }

    /// Sends what waits. What could not be sent waits on; the rest does not wait for it.
    async fn run(&self, to: &impl Recipient) -> Result<()> {
        let all = self.waiting.lock().all();
        let mut outcome = Ok(());
        for batch in all.chunks(BATCH) {
            // Crossed off only after the reply: a call dropped here loses nothing.
            let sent = join_all(batch.iter().map(|(owed, request)| async {
                // A write may have taken its place while other batches were sent.
                if self.waiting.lock().owed.get(owed) != Some(request) {
                    return Ok(());
                }
                settled(to.make(owed).await)?;
                self.change(|waiting| waiting.cross_off(owed, *request));
                self.made(owed);
                Ok(())
            }));
            outcome = sent.await.into_iter().fold(outcome, Result::and);
        }
        let everything = self.waiting.lock().everything;
        if let Some(request) = everything {
            settled(to.make_all(&self.everything).await)?;
            self.change(|waiting| waiting.cross_off_everything(request));
        }
        outcome
    }

    /// Sees to it that what waits is sent: by one task, which ends when nothing waits.
    pub(super) fn run_when_up<R: Recipient>(self: &Arc<Self>, to: &R) {
        if self.running.swap(true, Ordering::AcqRel) {
            return;
        }
        let (replay, weak, mut status) = (Arc::clone(self), to.downgrade(), to.status());
        tokio::spawn(async move {
            while !replay.waiting.lock().is_empty() {
                // A part of a cluster may be up while another is not for long.
                let up = status.wait_for(|s| matches!(s, Status::Up));
                if let Ok(Err(_)) = tokio::time::timeout(PAUSE_WHILE_DOWN, up).await {
                    // The last handle is gone, and the TTLs have to do.
                    return;
                }
                let Some(to) = R::upgrade(&weak) else { return };
                if let Err(error) = replay.run(&to).await {
                    tracing::debug!(%error, "queued invalidations wait on");
                }
                drop(to);
                tokio::time::sleep(PAUSE).await;
            }
            replay.running.store(false, Ordering::Release);
            // Something may have been kept between the last look and the flag.
            if let Some(to) = R::upgrade(&weak)
                && !replay.waiting.lock().is_empty()
            {
                replay.run_when_up(&to);
            }
        });
    }
}

/// What can never be sent must not hold up the connection for ever.
fn settled<T>(sent: Result<T>) -> Result<()> {
    match sent {
        Err(error) if !error.is_final() => Err(error),
        Err(error) => {
            tracing::error!(%error, "a queued invalidation was refused: its entry may be stale for its TTL");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

impl Waiting {
    fn keep(&mut self, owed: Owed, number: u64) {
        if self.everything.is_none() {
            self.of_tags += usize::from(matches!(owed, Owed::Tag { .. }));
            let latest = self.owed.entry(owed).or_insert(number);
            *latest = number.max(*latest);
        }
        if self.everything.is_some() || self.owed.len() > KEYS_MAX {
            if self.everything.is_none() {
                tracing::warn!("too many invalidations wait for Redis: all caches will be cleared");
            }
            self.everything = self.everything.max(Some(number));
            self.owed.clear();
            self.of_tags = 0;
        }
    }

    fn covers(&self, key: &Key) -> bool {
        self.everything.is_some() || self.request_of(key).is_some()
    }

    fn covers_tags(&self, key: &TagsKey) -> bool {
        let of_it = |owed: &Owed| matches!(owed, Owed::Tag { key: owed, .. } if owed == key);
        self.everything.is_some() || (self.of_tags > 0 && self.owed.keys().any(of_it))
    }

    fn request_of(&self, key: &Key) -> Option<u64> {
        let of = |owed: Owed| self.owed.get(&owed).copied();
        of(Owed::Entry(key.clone())).max(of(Owed::Expiry(key.clone())))
    }

    fn is_empty(&self) -> bool {
        self.everything.is_none() && self.owed.is_empty()
    }

    fn all(&self) -> Vec<(Owed, u64)> {
        let mut all: Vec<_> = self.owed.iter().map(|(owed, n)| (owed.clone(), *n)).collect();
        all.sort_by_key(|(_, request)| *request);
        all
    }

    fn cross_off(&mut self, owed: &Owed, request: u64) {
        if self.owed.get(owed) == Some(&request) {
            self.owed.remove(owed);
            self.count_tags();
        }
    }

    fn cross_off_entry(&mut self, key: &Key, up_to: u64) {
        for owed in [Owed::Entry(key.clone()), Owed::Expiry(key.clone())] {
            if self.owed.get(&owed).is_some_and(|request| *request <= up_to) {
                self.owed.remove(&owed);
            }
        }
    }

    fn count_tags(&mut self) {
        if self.of_tags > 0 {
            self.of_tags = self.owed.keys().filter(|owed| matches!(owed, Owed::Tag { .. })).count();
        }
    }

    fn cross_off_everything(&mut self, request: u64) {
        if self.everything == Some(request) {
            self.everything = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::key::Scope;
    use crate::kernel::name::{Prefix, Space, Tenancy};

    fn key(id: usize) -> Key {
        let scope = Scope::unscoped(&Prefix::default(), Tenancy::Single);
        scope.key(&Space::new("user").unwrap(), &id).unwrap()
    }

    #[test]
    fn a_request_made_while_its_key_is_being_sent_is_not_crossed_off_with_it() {
        let mut waiting = Waiting::default();
        waiting.keep(Owed::Entry(key(1)), 1);
        let batch = waiting.all();
        waiting.keep(Owed::Entry(key(1)), 2);
        waiting.cross_off(&batch[0].0, batch[0].1);
        assert!(waiting.covers(&key(1)));
        let batch = waiting.all();
        waiting.cross_off(&batch[0].0, batch[0].1);
        assert!(waiting.is_empty());
    }

    #[test]
    fn a_write_crosses_off_what_a_failover_repeats_meanwhile() {
        let everything =
            Selection::Everything { prefix: Prefix::default(), tenancy: Tenancy::Single };
        let replay = Replay::new(everything);
        replay.made(&Owed::Entry(key(1)));
        let before = replay.before_write();
        assert_eq!(replay.repeat_recent(), 1);
        assert!(replay.permits(&key(1)).is_err(), "it waits");
        replay.keep(Owed::Expiry(key(1)));
        replay.overwritten(&key(1), before);
        let left: Vec<Owed> =
            replay.waiting.lock().all().into_iter().map(|(owed, _)| owed).collect();
        assert!(matches!(left[..], [Owed::Expiry(_)]), "the later one stays, and no other");
    }

    #[test]
    fn what_a_failover_repeats_while_everything_is_cleared_is_cleared_again() {
        let everything =
            Selection::Everything { prefix: Prefix::default(), tenancy: Tenancy::Single };
        let replay = Replay::new(everything);
        replay.made(&Owed::Entry(key(1)));
        for id in 0..=KEYS_MAX {
            replay.keep(Owed::Entry(key(id)));
        }
        let under_way = replay.waiting.lock().everything.unwrap();
        assert_eq!(replay.repeat_recent(), 1);
        replay.change(|waiting| waiting.cross_off_everything(under_way));
        assert!(replay.permits(&key(1)).is_err(), "it is still to be made again");
    }

    #[test]
    fn overflow_covers_everything_until_all_of_it_is_cleared() {
        let mut waiting = Waiting::default();
        for id in 0..=KEYS_MAX {
            waiting.keep(Owed::Entry(key(id)), id as u64);
        }
        assert!(waiting.all().is_empty());
        assert!(waiting.covers(&key(123_456_789)));
        let first = waiting.everything.unwrap();
        waiting.keep(Owed::Entry(key(7)), first + 1);
        waiting.cross_off_everything(first);
        assert!(!waiting.is_empty(), "one came while everything was being cleared");
        waiting.cross_off_everything(waiting.everything.unwrap());
        assert!(waiting.is_empty());
    }
}
