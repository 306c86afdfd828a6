//! Where a group was, in case that its store forgets it: kept in this process, and on disk where asked.
//!
//! A checkpoint is a probe: it counts only where its event is still in the stream. So older ones are kept
//! beside the newest, ever further apart: after a failover, what the new primary has is a prefix of the log.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::disk::Disk;
use super::model::{Checkpoint, EntryId, Made};
use crate::kernel::clock::{Clock, Monotonic};

/// How many are kept of a partition.
pub(super) const CHECKPOINTS_MAX: usize = 24;
/// How many of the newest are kept whatever their age.
const NEWEST_LEN: usize = 8;
/// How often they are written to disk at most.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// The checkpoints of one group in this process.
pub(super) struct Checkpoints {
    // A mutex that is held for a look at a few numbers, once a second a partition.
    kept: Mutex<HashMap<u16, Kept>>,
    // A mutex, for the same. Partitions of which something was noted here: of the others, other processes know.
    noted: Mutex<HashSet<u16>>,
    clock: Clock,
    disk: Option<Arc<Disk>>,
    changed: Notify,
}

#[derive(Default)]
struct Kept {
    newest_first: VecDeque<(Option<Monotonic>, Checkpoint)>,
}

/// Whether a group that was joined is one of another stream than was known: no checkpoint is in it, and it was made since.
pub(super) fn is_another_stream(
    was_born_us: Option<u64>,
    born_us: u64,
    made: Made,
    from: Option<EntryId>,
    checkpoints: &[Checkpoint],
) -> bool {
    // One that was never given an entry has lost none.
    let was_begun = || checkpoints.iter().any(|one| one.probe() > EntryId::ZERO);
    from.is_none()
        && match was_born_us {
            Some(was) => was != born_us,
            None => made == Made::New && was_begun(),
        }
}

impl Checkpoints {
    /// Those that were written there, and all that come.
    pub(super) async fn open(clock: Clock, disk: Option<Disk>) -> Self {
        let disk = disk.map(Arc::new);
        let read = match &disk {
            Some(disk) => {
                let disk = Arc::clone(disk);
                // Without them it begins as one that never wrote any.
                tokio::task::spawn_blocking(move || disk.read()).await.unwrap_or_default()
            }
            None => HashMap::new(),
        };
        let kept = read.into_iter().map(|(partition, read)| {
            let newest_first = read.into_iter().take(CHECKPOINTS_MAX).map(|one| (None, one));
            (partition, Kept { newest_first: newest_first.collect() })
        });
        let (kept, noted) = (Mutex::new(kept.collect()), Mutex::default());
        Self { kept, noted, clock, disk, changed: Notify::new() }
    }

    /// Notes how far a partition is.
    pub(super) fn note(&self, partition: u16, checkpoint: Checkpoint) {
        let now = self.clock.now();
        if self.kept.lock().entry(partition).or_default().note(now, checkpoint) {
            self.has_changed(partition);
        }
    }

    /// Those of a partition, the newest first.
    pub(super) fn of(&self, partition: u16) -> Vec<Checkpoint> {
        self.kept.lock().get(&partition).map(Kept::all).unwrap_or_default()
    }

    /// What was noted is of a stream that is gone: nothing of it is to be looked for in the next.
    pub(super) fn forget(&self, partition: u16) {
        if self.kept.lock().remove(&partition).is_some() {
            self.has_changed(partition);
        }
    }

    fn has_changed(&self, partition: u16) {
        self.noted.lock().insert(partition);
        self.changed.notify_one();
    }

    /// Writes them to disk as they change, for ever; where there is none, nothing.
    pub(super) async fn keep_on_disk(&self) {
        loop {
            self.changed.notified().await;
            self.write().await;
            self.clock.sleep_until(self.clock.now().after(WRITE_EVERY)).await;
        }
    }

    /// Writes them to disk now, e.g. at the end.
    pub(super) async fn write(&self) {
        let Some(disk) = &self.disk else { return };
        let noted: Vec<u16> = self.noted.lock().iter().copied().collect();
        let own: HashMap<_, _> =
            noted.into_iter().map(|partition| (partition, self.of(partition))).collect();
        let to = Arc::clone(disk);
        let written = tokio::task::spawn_blocking(move || to.write(&own)).await;
        if let Ok(Err(error)) = written {
            let path = disk.path().display();
            tracing::warn!(%path, %error, "the checkpoints of a group could not be written");
        }
    }
}

impl Kept {
    /// Whether it says anything new.
    fn note(&mut self, now: Monotonic, checkpoint: Checkpoint) -> bool {
        if self.newest_first.front().is_some_and(|(_, newest)| *newest == checkpoint) {
            return false;
        }
        // A group that was moved back is where it is now: what is ahead of it says nothing any more.
        let id = checkpoint.probe();
        self.newest_first.retain(|(_, older)| older.probe() <= id);
        self.newest_first.push_front((Some(now), checkpoint));
        self.thin_out(now);
        true
    }

    /// Of the older ones, drops one that has a neighbour close to it for its age.
    fn thin_out(&mut self, now: Monotonic) {
        if self.newest_first.len() <= CHECKPOINTS_MAX {
            return;
        }
        let age = |at: usize| match self.newest_first.get(at) {
            // Read from disk: older than all of this process.
            None | Some((None, _)) => None,
            Some((Some(noted), _)) => Some(now.since(*noted)),
        };
        let close = (NEWEST_LEN..self.newest_first.len() - 1).find(|at| {
            age(at - 1)
                .zip(age(at + 1))
                .is_some_and(|(newer, older)| older.saturating_sub(newer) < newer)
        });
        let last = self.newest_first.len() - 1;
        self.newest_first.remove(close.unwrap_or(last));
    }

    fn all(&self) -> Vec<Checkpoint> {
        self.newest_first.iter().map(|(_, checkpoint)| *checkpoint).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up_to(ms: u64) -> Checkpoint {
        Checkpoint::UpTo(EntryId { ms, seq: 0 })
    }

    #[tokio::test]
    async fn the_newest_is_first_and_said_once() {
        let checkpoints = Checkpoints::open(Clock::system(), None).await;
        for ms in [1, 2, 2, 3] {
            checkpoints.note(0, up_to(ms));
        }
        checkpoints.note(1, up_to(9));
        assert_eq!(checkpoints.of(0), [up_to(3), up_to(2), up_to(1)]);
        checkpoints.forget(0);
        assert_eq!((checkpoints.of(0), checkpoints.of(1)), (vec![], vec![up_to(9)]));
    }

    #[tokio::test]
    async fn a_group_that_was_moved_back_forgets_what_is_ahead() {
        let checkpoints = Checkpoints::open(Clock::system(), None).await;
        for ms in [1, 5, 9, 4] {
            checkpoints.note(0, up_to(ms));
        }
        assert_eq!(checkpoints.of(0), [up_to(4), up_to(1)]);
    }

    #[test]
    fn a_stream_is_another_where_its_group_was_made_since() {
        let (idle, begun) = (up_to(0), up_to(5));
        let is_another =
            |was, made, known: &[Checkpoint]| is_another_stream(was, 7, made, None, known);
        assert!(!is_another(Some(7), Made::Nothing, &[idle]), "nothing was ever in it");
        assert!(!is_another(Some(7), Made::Nothing, &[begun]), "its group went to no entry");
        assert!(is_another(Some(6), Made::Nothing, &[begun]), "someone else made it");
        assert!(is_another(None, Made::New, &[begun]) && !is_another(None, Made::New, &[idle]));
        assert!(!is_another(None, Made::Nothing, &[begun]));
        let from = Some(EntryId { ms: 5, seq: 0 });
        assert!(!is_another_stream(Some(6), 7, Made::New, from, &[begun]));
    }

    #[test]
    fn older_ones_are_kept_ever_further_apart() {
        let mut kept = Kept::default();
        let day_s = 86_400;
        for second in 1..=day_s {
            kept.note(Monotonic::ZERO.after(Duration::from_secs(second)), up_to(second));
        }
        let ages: Vec<u64> = kept.all().iter().map(|c| day_s - c.probe().ms).collect();
        assert_eq!(ages.len(), CHECKPOINTS_MAX);
        assert_eq!(ages[..4], [0, 1, 2, 3]);
        assert!(ages.last().is_some_and(|oldest| *oldest > 1_800), "{ages:?}");
    }
}
