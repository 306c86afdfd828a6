//! How jobs end, or go on, and what ends with them.

use std::sync::Arc;

use super::jobs::Place;
use super::state::{Claimed, Queue, len};
use crate::job::model::{Cancelled, End, Ended, JobId, KEPT_LEN_MAX, RETAIN_AWAITED, Told, millis};

/// A result that is longer is not told: whoever waits for it looks for it.
const TOLD_LEN_MAX: usize = 64 << 10;

impl Queue {
    /// What becomes of a job that ran. Its key's place is free before it waits again.
    pub(super) fn end(&mut self, id: JobId, end: &End, now_ms: u64) {
        match end {
            End::Done { retain_ms, line, result } => {
                self.count(now_ms, "done", 1);
                let ended = Ended { at_ms: now_ms, line: line.clone(), result: result.clone() };
                self.finish(id, *retain_ms, ended);
            }
            End::Later { delay_ms, note, is_failure } => {
                self.count(now_ms, if *is_failure { "failed" } else { "snoozed" }, 1);
                self.jobs.edit(id, |job| job.record.note = note.clone());
                match delay_ms {
                    0 => self.ready(id),
                    delay_ms => self.schedule(id, now_ms.saturating_add(*delay_ms)),
                }
            }
            End::Dead { fingerprint, sample, note } => {
                self.jobs.edit(id, |job| job.record.note = note.clone());
                self.bury(id, fingerprint, sample, now_ms);
            }
            End::Back => self.give_back(id),
        }
    }

    fn finish(&mut self, id: JobId, retain_ms: u64, ended: Ended) {
        let now_ms = ended.at_ms;
        let Some((next, digest, batch)) =
            self.jobs.edit(id, |job| (job.next.take(), job.digest.clone(), job.batch))
        else {
            return;
        };
        self.size = self.size.saturating_sub(1);
        if let Some(next) = next {
            self.outbox.owe(id.to_string(), next, now_ms);
        }
        self.release(id, digest.as_ref(), now_ms);
        if let Some(batch) = batch {
            self.change_batch(batch, now_ms, |state| state.left = state.left.saturating_sub(1));
        }
        let is_awaited = self.awaited.get(&id, now_ms).is_some();
        let result =
            Some(&ended.result).filter(|result| (1..=TOLD_LEN_MAX).contains(&result.len()));
        self.tell(id, Told::Done(result.cloned()));
        let keep_ms = retain_ms.max(if is_awaited { millis(RETAIN_AWAITED) } else { 0 });
        if keep_ms == 0 {
            self.jobs.remove(id);
            return;
        }
        let until_ms = now_ms.saturating_add(keep_ms);
        self.jobs.put(id, Place::Kept { until_ms, ended });
        self.kept.insert((until_ms, id));
        if len(self.kept.len()) > KEPT_LEN_MAX
            && let Some((_, first)) = self.kept.pop_first()
        {
            self.jobs.remove(first);
        }
    }

    /// Ends a job that has not ended: one that runs is told to stop, and has its key's place until then.
    pub(super) fn cancel(&mut self, id: JobId, now_ms: u64) -> Cancelled {
        let Some(job) = self.there(id, now_ms) else { return Cancelled::Unknown };
        let cancelled = match &job.place {
            Place::Dead { .. } | Place::Kept { .. } => return Cancelled::Ended,
            Place::Running { lane } => {
                let lane = Arc::clone(lane);
                let has = self.lanes.get_mut(&lane).and_then(|lane| lane.held.get_mut(&id));
                if let Some(has) = has {
                    has.is_cancelled = true;
                    self.tombs.insert(id);
                }
                Cancelled::Running
            }
            Place::Waiting { .. } => {
                self.unready(id);
                Cancelled::Waiting
            }
            Place::Scheduled { .. } => {
                self.unready(id);
                Cancelled::Scheduled
            }
        };
        if let Some(job) = self.jobs.remove(id) {
            self.size = self.size.saturating_sub(1);
            // At once, also within its window: it has not come to its end.
            self.unclaim(id, job.digest.as_ref(), now_ms);
            if let Some(batch) = job.batch {
                self.change_batch(batch, now_ms, |state| {
                    state.gone += 1;
                    state.left = state.left.saturating_sub(1);
                });
            }
            self.tell(id, Told::Gone);
        }
        cancelled
    }

    /// A unique name is free again, unless it counts for longer than its job.
    pub(super) fn release(&mut self, id: JobId, digest: Option<&Arc<str>>, now_ms: u64) {
        if let Some(digest) = digest
            && let Some(has) = self.unclaim(id, Some(digest), now_ms)
            && has.until_ms > now_ms
        {
            self.claims.set(digest, has, has.until_ms);
        }
    }

    /// A unique name is free again, if it is this job's.
    fn unclaim(&mut self, id: JobId, digest: Option<&Arc<str>>, now_ms: u64) -> Option<Claimed> {
        let digest = digest?;
        let is_its = self.claims.get(digest, now_ms).is_some_and(|has| has.id == id);
        is_its.then(|| self.claims.remove(digest)).flatten()
    }

    /// Tells of an end whoever waits for it.
    pub(super) fn tell(&mut self, id: JobId, told: Told) {
        if self.awaited.remove(&id).is_some() {
            self.told.push((id, told));
        }
    }
}
