//! Who waits: by priority, and of each key in line behind one token.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::jobs::Place;
use super::state::Queue;
use crate::job::model::{JobId, PRIORITY_MAX};

/// What is in the list of a priority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// A job without a key.
    Job(JobId),
    /// The next of a key. It counts only while it is the key's token.
    Key { seq: u64, key: Arc<str> },
}

/// The jobs of one key.
#[derive(Default)]
pub(super) struct Keyed {
    /// Those that wait, the next one first: nine less their priority, their number, and which they are.
    pub(super) waiting: BTreeSet<(u8, u64, JobId)>,
    /// How many run.
    active: u64,
    /// The token that counts, and in which list it is.
    token: Option<(u64, u8)>,
}

impl Keyed {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.active == 0 && self.token.is_none()
    }
}

impl Queue {
    /// Has a job wait, last of its priority or of its key.
    pub(super) fn ready(&mut self, id: JobId) {
        let Some((priority, key)) = self.priority_of(id) else { return };
        let Some(key) = key else {
            self.jobs.put(id, Place::Waiting { seq: 0 });
            self.waiting[usize::from(priority)].push_back(Waiting::Job(id));
            return;
        };
        self.seq += 1;
        self.in_line(id, priority, &key, self.seq);
    }

    /// Has a job wait, first of its priority or of its key.
    pub(super) fn ready_first(&mut self, id: JobId) {
        let Some((priority, key)) = self.priority_of(id) else { return };
        let Some(key) = key else {
            self.jobs.put(id, Place::Waiting { seq: 0 });
            self.waiting[usize::from(priority)].push_front(Waiting::Job(id));
            return;
        };
        self.in_line(id, priority, &key, 0);
    }

    /// Has one wait again as if it had not been taken: apart, if it did before.
    pub(super) fn give_back(&mut self, id: JobId) {
        match self.jobs.get(id).is_some_and(|job| job.record.crashes > 0) {
            true => self.suspect(id),
            false => self.ready_first(id),
        }
    }

    /// Has one wait whose process has ended: apart, or first of its key, whose limit keeps it apart.
    pub(super) fn suspect(&mut self, id: JobId) {
        match self.priority_of(id) {
            Some((_, Some(_))) => self.ready_first(id),
            Some((_, None)) => {
                self.jobs.put(id, Place::Waiting { seq: 0 });
                self.suspects.push_front(id);
            }
            None => {}
        }
    }

    fn priority_of(&self, id: JobId) -> Option<(u8, Option<Arc<str>>)> {
        self.jobs.get(id).map(|job| (job.priority.min(PRIORITY_MAX), job.key.clone()))
    }

    fn in_line(&mut self, id: JobId, priority: u8, key: &Arc<str>, seq: u64) {
        self.jobs.put(id, Place::Waiting { seq });
        let keyed = self.keys.entry(Arc::clone(key)).or_default();
        keyed.waiting.insert((PRIORITY_MAX - priority, seq, id));
        self.token(key);
    }

    /// Takes a job out of where it waits to be run. In a list its id stays until it is come to: it is not looked for.
    pub(super) fn unready(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(id) else { return };
        let priority = job.priority.min(PRIORITY_MAX);
        match (&job.place, &job.key) {
            (Place::Waiting { seq }, Some(key)) => {
                let (seq, key) = (*seq, Arc::clone(key));
                if let Some(keyed) = self.keys.get_mut(&key) {
                    keyed.waiting.remove(&(PRIORITY_MAX - priority, seq, id));
                }
                self.tidy(&key);
            }
            (Place::Waiting { .. }, None) => {
                self.tombs.insert(id);
            }
            (Place::Scheduled { due_ms }, _) => {
                let due = (*due_ms, job.due_mark(), id);
                self.scheduled.remove(&due);
            }
            _ => {}
        }
    }

    /// Puts a token of a key in the list of its next job, unless one is there that is as early, or all its places are
    /// taken. Whether it did.
    pub(super) fn token(&mut self, key: &Arc<str>) -> bool {
        let Some(keyed) = self.keys.get_mut(key) else { return false };
        let is_full = self.limits.per_key > 0 && keyed.active >= self.limits.per_key;
        let Some((rank, _, _)) = keyed.waiting.first().filter(|_| !is_full) else { return false };
        let priority = PRIORITY_MAX - rank;
        if keyed.token.is_some_and(|(_, has)| has >= priority) {
            return false;
        }
        self.seq += 1;
        keyed.token = Some((self.seq, priority));
        let token = Waiting::Key { seq: self.seq, key: Arc::clone(key) };
        self.waiting[usize::from(priority)].push_back(token);
        true
    }

    /// What a token stands for that was taken from its list: the next job of its key, which has a place then.
    pub(super) fn redeem(&mut self, seq: u64, key: &Arc<str>) -> Option<JobId> {
        let keyed = self.keys.get_mut(key)?;
        if keyed.token.is_none_or(|(counts, _)| counts != seq) {
            return None;
        }
        keyed.token = None;
        let is_full = self.limits.per_key > 0 && keyed.active >= self.limits.per_key;
        let next = if is_full { None } else { keyed.waiting.pop_first() };
        keyed.active += u64::from(next.is_some());
        self.token(key);
        self.tidy(key);
        next.map(|(_, _, id)| id)
    }

    /// One of a key does not run any more.
    pub(super) fn free(&mut self, key: Option<&Arc<str>>) {
        let Some(key) = key else { return };
        if let Some(keyed) = self.keys.get_mut(key) {
            keyed.active = keyed.active.saturating_sub(1);
        }
        self.token(key);
        self.tidy(key);
    }

    /// The next of a key, if this is its token.
    pub(super) fn next_of(&self, seq: u64, key: &Arc<str>) -> Option<JobId> {
        let keyed = self.keys.get(key)?;
        let counts = keyed.token.is_some_and(|(counts, _)| counts == seq);
        keyed.waiting.first().filter(|_| counts).map(|(_, _, id)| *id)
    }

    fn tidy(&mut self, key: &Arc<str>) {
        if self.keys.get(key).is_some_and(Keyed::is_idle) {
            self.keys.remove(key);
        }
    }
}
