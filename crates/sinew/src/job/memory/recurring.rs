//! Jobs that recur.

use bytes::Bytes;

use super::jobs::{Job, weight};
use super::state::Queue;
use crate::job::model::{Fired, Firing, JobId, Kept, Overlap, RECURRING_MAX};

/// A recurring job.
pub(super) struct Recurs {
    revision: u64,
    definition: Bytes,
    /// What says whether another schedule is the same.
    schedule: String,
    last_tick_ms: u64,
    last_job: Option<JobId>,
}

impl Recurs {
    fn kept(&self, name: &str) -> Kept {
        Kept {
            name: name.to_owned(),
            revision: self.revision,
            definition: self.definition.clone(),
            last_tick_ms: self.last_tick_ms,
            last_job: self.last_job,
        }
    }
}

impl Queue {
    pub(super) fn put_recurring(
        &mut self,
        name: &str,
        definition: &[u8],
        schedule: &str,
        expected: Option<u64>,
        now_ms: u64,
    ) -> Option<Kept> {
        let known = self.recurring.get(name);
        if let Some(known) = known
            && known.definition == definition
            && known.schedule == schedule
        {
            // It may have been sent again.
            return Some(known.kept(name));
        }
        let revision = known.map_or(0, |known| known.revision);
        let has_room = known.is_some() || self.recurring.len() < RECURRING_MAX;
        if expected.is_some_and(|expected| expected != revision) || !has_room {
            return None;
        }
        let goes_on = known.filter(|known| known.schedule == schedule);
        // Also after it was removed, none is like one before: a scheduler may know that.
        self.revisions += 1;
        let recurs = Recurs {
            revision: self.revisions,
            definition: Bytes::copy_from_slice(definition),
            schedule: schedule.to_owned(),
            last_tick_ms: goes_on.map_or(now_ms, |known| known.last_tick_ms),
            last_job: known.and_then(|known| known.last_job),
        };
        let kept = recurs.kept(name);
        self.recurring.insert(name.to_owned(), recurs);
        Some(kept)
    }

    pub(super) fn recurring(&self) -> Vec<Kept> {
        self.recurring.iter().map(|(name, recurs)| recurs.kept(name)).collect()
    }

    pub(super) fn drop_recurring(&mut self, name: &str) -> bool {
        self.recurring.remove(name).is_some()
    }

    /// Has a tick make its job, into so many bytes.
    pub(super) fn fire(&mut self, firing: &Firing<'_>, room: usize, now_ms: u64) -> Fired {
        let Some(recurs) = self.recurring.get_mut(firing.name) else {
            return Fired::OtherRevision;
        };
        if recurs.revision != firing.revision {
            return Fired::OtherRevision;
        }
        if firing.tick_ms <= recurs.last_tick_ms {
            return Fired::Before;
        }
        if firing.tick_ms > now_ms {
            return Fired::Early { now_ms };
        }
        let last = recurs.last_job;
        let last = last.filter(|id| self.jobs.get(*id).is_some_and(Job::is_unfinished));
        if last.is_some() && firing.overlap == Overlap::Skip {
            recurs.last_tick_ms = firing.tick_ms;
            return Fired::Overlaps;
        }
        if self.size >= self.limits.len_max || weight(&firing.job) > room {
            return Fired::Full;
        }
        recurs.last_tick_ms = firing.tick_ms;
        recurs.last_job = Some(firing.job.id);
        if let Some(last) = last.filter(|_| firing.overlap == Overlap::Replace) {
            self.cancel(last, now_ms);
        }
        let was_next = self.next_scheduled();
        self.write(&firing.job, false, now_ms);
        self.wake(1);
        self.wake_for_earlier(was_next);
        Fired::Done
    }
}
