//! What one embedded store has of jobs: partitions of queues, and how jobs come into them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::batches::{Batch, Outbox};
use super::dead::DeadOf;
use super::jobs::{Job, Jobs, Place, weight};
use super::keys::{Keyed, Waiting};
use super::look::Statistics;
use super::marks::{FOR_EVER, Marks};
use super::recurring::Recurs;
use super::turn::Lane;
use crate::job::model::{
    Declaring, Due, JobId, OnConflict, Outgoing, QUEUE_LEN_DEFAULT, QUEUES_MAX, Told, WAKES_MAX,
    Written, Wrote,
};
use crate::kernel::key::QueueKeys;

/// What is known of a unique name, a batch or a cancelled job weighs so much, roughly.
const MARK_BYTES: usize = 160;

/// What one embedded store has of jobs.
#[derive(Default)]
pub(super) struct State {
    /// Partitions, by the key of their numbers.
    pub(super) queues: HashMap<String, Queue>,
    names: HashMap<String, BTreeSet<String>>,
    homes: HashMap<String, BTreeMap<String, String>>,
}

/// A partition of a queue.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) partitions: Option<u16>,
    pub(super) limits: Limits,
    pub(super) is_paused: bool,
    /// When a lane has said last that it lives.
    pub(super) alive_ms: Option<u64>,
    /// When a turn that takes jobs has last moved some that were due.
    pub(super) moved_ms: Option<u64>,
    pub(super) audited_ms: Option<u64>,
    /// The last key that was audited, where there are more.
    pub(super) audited_key: Option<Arc<str>>,
    pub(super) jobs: Jobs,
    /// How many have not ended.
    pub(super) size: u64,
    pub(super) running: u64,
    pub(super) fence: u64,
    pub(super) seq: u64,
    /// How many were begun in each part of the rate's time.
    pub(super) begun: VecDeque<(u64, u64)>,
    /// By priority.
    pub(super) waiting: [VecDeque<Waiting>; 10],
    pub(super) suspects: VecDeque<JobId>,
    /// Those that were cancelled and are in a list, or run. Until they are come to, or have ended, none has their id again.
    pub(super) tombs: HashSet<JobId>,
    /// By when they are due, and then by their mark.
    pub(super) scheduled: BTreeSet<(u64, u8, JobId)>,
    pub(super) keys: BTreeMap<Arc<str>, Keyed>,
    pub(super) claims: Marks<Arc<str>, Claimed>,
    pub(super) lanes: BTreeMap<Arc<str>, Lane>,
    pub(super) dead: BTreeSet<(u64, JobId)>,
    pub(super) troubles: BTreeMap<Arc<str>, DeadOf>,
    pub(super) kept: BTreeSet<(u64, JobId)>,
    /// Turns with what was done in them: when, how many, and their lines.
    pub(super) past: VecDeque<(u64, u64, String)>,
    pub(super) past_len: u64,
    pub(super) awaited: Marks<JobId, ()>,
    pub(super) batches: Marks<JobId, Batch>,
    pub(super) outbox: Outbox,
    pub(super) recurring: BTreeMap<String, Recurs>,
    pub(super) revisions: u64,
    pub(super) statistics: Statistics,
    /// Tokens for those who wait for jobs.
    pub(super) wakes: usize,
    /// Ends that someone waits for, and that are not told yet.
    pub(super) told: Vec<(JobId, Told)>,
}

/// How a partition is declared.
pub(super) struct Limits {
    pub(super) len_max: u64,
    pub(super) global: u64,
    pub(super) per_key: u64,
    pub(super) rate: (u64, u64),
}

impl Default for Limits {
    fn default() -> Self {
        Self { len_max: QUEUE_LEN_DEFAULT, global: 0, per_key: 0, rate: (0, 0) }
    }
}

/// Who has a unique name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claimed {
    pub(super) id: JobId,
    /// Until when it counts although its job has ended.
    pub(super) until_ms: u64,
}

/// A length as a number.
pub(super) fn len(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

impl State {
    /// How many bytes there is room for, after what is over went if so many more need it.
    fn room(&mut self, more: usize, bytes_max: usize, now_ms: u64) -> usize {
        if self.bytes().saturating_add(more) > bytes_max {
            for queue in self.queues.values_mut() {
                queue.sweep(now_ms);
            }
        }
        bytes_max.saturating_sub(self.bytes())
    }

    fn bytes(&self) -> usize {
        self.queues.values().map(Queue::bytes).sum()
    }

    /// The partition, and how many bytes there is room for.
    pub(super) fn with_room(
        &mut self,
        keys: &QueueKeys,
        jobs: &[Outgoing],
        bytes_max: usize,
        now_ms: u64,
    ) -> (&mut Queue, usize) {
        let room = self.room(jobs.iter().map(weight).sum(), bytes_max, now_ms);
        (self.queues.entry(keys.meta().to_owned()).or_default(), room)
    }

    pub(super) fn note_queue(&mut self, key: &str, queue: &str) -> bool {
        let names = self.names.entry(key.to_owned()).or_default();
        if !names.contains(queue) {
            if names.len() >= QUEUES_MAX {
                return false;
            }
            names.insert(queue.to_owned());
        }
        true
    }

    pub(super) fn queues(&self, key: &str) -> Vec<String> {
        self.names.get(key).into_iter().flatten().cloned().collect()
    }

    pub(super) fn note_recurring(
        &mut self,
        key: &str,
        name: &str,
        queue: Option<&str>,
    ) -> Option<String> {
        let homes = self.homes.entry(key.to_owned()).or_default();
        match queue {
            Some(queue) => homes.insert(name.to_owned(), queue.to_owned()),
            None => homes.remove(name),
        }
    }

    pub(super) fn recurring_names(&self, key: &str) -> Vec<(String, String)> {
        let homes = self.homes.get(key).into_iter().flatten();
        homes.map(|(name, queue)| (name.clone(), queue.clone())).collect()
    }
}

impl Queue {
    fn bytes(&self) -> usize {
        let marks = self.claims.len() + self.batches.len() + self.tombs.len();
        self.jobs.bytes() + self.outbox.bytes() + MARK_BYTES * marks
    }

    /// Forgets what is over.
    fn sweep(&mut self, now_ms: u64) {
        self.claims.sweep(now_ms);
        self.batches.sweep(now_ms);
        self.awaited.sweep(now_ms);
        self.forget_kept(usize::MAX, now_ms);
    }

    /// Forgets so many done jobs, at most, that are not kept any longer.
    pub(super) fn forget_kept(&mut self, max: usize, now_ms: u64) {
        for _ in 0..max {
            match self.kept.first() {
                Some((until_ms, id)) if *until_ms <= now_ms => {
                    self.jobs.remove(*id);
                    self.kept.pop_first();
                }
                _ => return,
            }
        }
    }

    /// Pushes so many tokens, as far as there is room for them.
    pub(super) fn wake(&mut self, count: usize) {
        self.wakes = self.wakes.saturating_add(count).min(WAKES_MAX);
    }

    /// Whether a list has anything.
    pub(super) fn has_waiting(&self) -> bool {
        self.waiting.iter().any(|list| !list.is_empty())
    }

    /// Wakes as many as there may be something for.
    pub(super) fn wake_all(&mut self) {
        let lists = self.waiting.iter().map(VecDeque::len).sum::<usize>();
        self.wake(lists + self.suspects.len());
    }

    pub(super) fn declare(&mut self, declaring: Declaring) {
        let Declaring { partitions, len_max, global, per_key, rate } = declaring;
        let has = *self.partitions.get_or_insert(partitions.unwrap_or(1));
        if partitions.is_some_and(|partitions| partitions != has) {
            return;
        }
        let limits = &mut self.limits;
        limits.len_max = match len_max {
            Some(0) => QUEUE_LEN_DEFAULT,
            len_max => len_max.unwrap_or(limits.len_max),
        };
        limits.global = global.unwrap_or(limits.global);
        limits.per_key = per_key.unwrap_or(limits.per_key);
        if rate.is_some_and(|rate| rate != limits.rate) {
            // Parts of another time are no measure.
            self.begun.clear();
        }
        limits.rate = rate.unwrap_or(limits.rate);
        if per_key.is_some() {
            // Keys that had no place left may have one now.
            let keys: Vec<Arc<str>> = self.keys.keys().cloned().collect();
            for key in &keys {
                self.token(key);
            }
        }
        if global.or(per_key).is_some() || rate.is_some() {
            self.wake_all();
        }
    }

    pub(super) fn pause(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
        if !is_paused {
            self.wake_all();
        }
    }

    /// Writes jobs, all or none; into so many bytes.
    pub(super) fn enqueue(
        &mut self,
        partitions: u16,
        jobs: &[Outgoing],
        room: usize,
        now_ms: u64,
    ) -> Written {
        let has = *self.partitions.get_or_insert(partitions);
        if has != partitions {
            return Written::OtherPartitions(has);
        }
        let fresh = || jobs.iter().filter(|job| !self.is_known(job.id));
        let (count, bytes) = (len(fresh().count()), fresh().map(weight).sum::<usize>());
        let is_short = count > 0 && bytes > room;
        if (count > 0 && self.size + count > self.limits.len_max) || is_short {
            let cap = if is_short { self.size } else { self.limits.len_max };
            return Written::Full { size: self.size, cap };
        }
        let (was_next, mut named, mut ready) = (self.next_scheduled(), HashSet::new(), 0);
        let mut wrote = Vec::with_capacity(jobs.len());
        for job in jobs {
            let is_again =
                job.claim.as_ref().is_some_and(|claim| !named.insert(claim.digest.as_str()));
            wrote.push(self.write(job, is_again, now_ms));
            let is_new = matches!(wrote.last(), Some(Wrote::New | Wrote::Replaced(_)));
            ready += usize::from(is_new && self.is_waiting(job.id));
        }
        self.wake(ready);
        self.wake_for_earlier(was_next);
        Written::Done(wrote)
    }

    /// Writes a job; `is_again` where another of the same call has named its unique name.
    pub(super) fn write(&mut self, job: &Outgoing, is_again: bool, now_ms: u64) -> Wrote {
        if self.is_known(job.id) {
            return Wrote::Exists;
        }
        let mut wrote = Wrote::New;
        if let Some(claim) = &job.claim {
            let digest = Arc::from(claim.digest.as_str());
            let holder = self.claims.get(&digest, now_ms).map(|has| has.id);
            if let Some(holder) = holder {
                if holder == job.id {
                    // It has ended since an earlier call has written it.
                    return Wrote::Exists;
                }
                let may = claim.on_conflict == OnConflict::Replace && !is_again;
                if !may || !self.jobs.get(holder).is_some_and(Job::is_to_come) {
                    return Wrote::Duplicate(holder);
                }
                self.cancel(holder, now_ms);
                wrote = Wrote::Replaced(holder);
            }
            let until_ms = now_ms.saturating_add(claim.window_ms);
            self.claims.set(&digest, Claimed { id: job.id, until_ms }, FOR_EVER);
        }
        if let Some(batch) = job.batch {
            self.add_to_batch(batch, now_ms);
        }
        self.size += 1;
        self.jobs.insert(job.id, Job::new(job, now_ms));
        let due_ms = match job.due {
            Due::Now => now_ms,
            Due::InMs(in_ms) => now_ms.saturating_add(in_ms),
            Due::AtMs(at_ms) => at_ms,
        };
        match due_ms <= now_ms {
            true => self.ready(job.id),
            false => self.schedule(job.id, due_ms),
        }
        wrote
    }

    /// Has a job wait for its time.
    pub(super) fn schedule(&mut self, id: JobId, due_ms: u64) {
        if let Some(mark) = self.jobs.get(id).map(Job::due_mark) {
            self.jobs.put(id, Place::Scheduled { due_ms });
            self.scheduled.insert((due_ms, mark, id));
        }
    }

    fn is_known(&self, id: JobId) -> bool {
        self.jobs.has(id) || self.tombs.contains(&id)
    }

    fn is_waiting(&self, id: JobId) -> bool {
        self.jobs.get(id).is_some_and(|job| matches!(job.place, Place::Waiting { .. }))
    }

    pub(super) fn next_scheduled(&self) -> Option<u64> {
        self.scheduled.first().map(|(due_ms, _, _)| *due_ms)
    }

    /// Those who wait for the next job's time have to hear of an earlier one.
    pub(super) fn wake_for_earlier(&mut self, was_next: Option<u64>) {
        let next = self.next_scheduled();
        if next.is_some_and(|next| was_next.is_none_or(|was| next < was)) {
            self.wake(1);
        }
    }
}
