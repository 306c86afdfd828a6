//! Jobs that were given up.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::jobs::Place;
use super::marks::FOR_EVER;
use super::state::{Claimed, Queue, len};
use crate::job::model::{DEAD_KEEP, DEAD_LEN_MAX, DeadGroup, JobId, Redriven, Told, millis};

/// How many that died too long ago are forgotten at a time.
const FORGET_MAX: usize = 32;
/// How many troubles are shown.
const GROUPS_MAX: usize = 1_000;
/// What the note of a job begins with that was taken back.
const AGAIN: &[u8] = b"R";

/// Dead jobs with the same trouble.
#[derive(Default)]
pub(super) struct DeadOf {
    /// Kind, NUL, and what one of them said.
    sample: String,
    /// By when they died.
    pub(super) dead: BTreeSet<(u64, JobId)>,
}

impl Queue {
    /// Gives up a job that is in no list.
    pub(super) fn bury(&mut self, id: JobId, fingerprint: &str, sample: &str, now_ms: u64) {
        let fingerprint: Arc<str> = fingerprint.into();
        let place = Place::Dead { at_ms: now_ms, fingerprint: Arc::clone(&fingerprint) };
        let buried = self.jobs.edit(id, |job| {
            job.place = place;
            (job.digest.clone(), job.batch)
        });
        let Some((digest, batch)) = buried else { return };
        self.count(now_ms, "dead", 1);
        self.size = self.size.saturating_sub(1);
        self.dead.insert((now_ms, id));
        let trouble = self.troubles.entry(fingerprint).or_default();
        sample.clone_into(&mut trouble.sample);
        trouble.dead.insert((now_ms, id));
        self.release(id, digest.as_ref(), now_ms);
        if let Some(batch) = batch {
            self.change_batch(batch, now_ms, |state| {
                state.failed += 1;
                state.left = state.left.saturating_sub(1);
            });
        }
        self.tell(id, Told::Dead);
        if len(self.dead.len()) > DEAD_LEN_MAX
            && let Some((_, oldest)) = self.dead.first().copied()
        {
            self.exhume(oldest);
            self.jobs.remove(oldest);
            self.count(now_ms, "dead_dropped", 1);
        }
    }

    /// Takes a job from among the dead. Whether it was there.
    fn exhume(&mut self, id: JobId) -> bool {
        let Some(Place::Dead { at_ms, fingerprint }) = self.jobs.get(id).map(|job| &job.place)
        else {
            return false;
        };
        let dead = (*at_ms, id);
        self.dead.remove(&dead);
        if let Some(trouble) = self.troubles.get_mut(fingerprint) {
            trouble.dead.remove(&dead);
            if trouble.dead.is_empty() {
                self.troubles.remove(fingerprint);
            }
        }
        true
    }

    /// Forgets those that died too long ago.
    pub(super) fn forget_dead(&mut self, now_ms: u64) {
        let before_ms = now_ms.saturating_sub(millis(DEAD_KEEP));
        let old = self.dead.iter().take_while(|(died_ms, _)| *died_ms < before_ms);
        let old: Vec<JobId> = old.take(FORGET_MAX).map(|(_, id)| *id).collect();
        let dropped = self.drop_dead(&old);
        self.count(now_ms, "dead_dropped", dropped);
    }

    pub(super) fn drop_dead(&mut self, ids: &[JobId]) -> u64 {
        let mut dropped = 0;
        for id in ids {
            if self.exhume(*id) {
                self.jobs.remove(*id);
                dropped += 1;
            }
        }
        dropped
    }

    pub(super) fn redrive(&mut self, ids: &[JobId], now_ms: u64) -> Redriven {
        let mut redriven = Redriven::default();
        for id in ids {
            let Some(job) =
                self.jobs.get(*id).filter(|job| matches!(job.place, Place::Dead { .. }))
            else {
                redriven.gone += 1;
                continue;
            };
            let (digest, batch) = (job.digest.clone(), job.batch);
            if let Some(digest) = digest {
                let has = self.claims.get(&digest, now_ms).copied();
                if has.is_some_and(|has| has.id != *id) {
                    redriven.duplicates += 1;
                    continue;
                }
                let claimed = has.unwrap_or(Claimed { id: *id, until_ms: 0 });
                self.claims.set(&digest, claimed, FOR_EVER);
            }
            self.exhume(*id);
            self.jobs.edit(*id, |job| {
                job.record.crashes = 0;
                if !job.record.note.starts_with(AGAIN) {
                    job.record.note = [AGAIN, &job.record.note[..]].concat().into();
                }
            });
            if let Some(batch) = batch {
                self.change_batch(batch, now_ms, |state| {
                    state.failed = state.failed.saturating_sub(1);
                    state.left += 1;
                });
            }
            self.size += 1;
            self.ready(*id);
            self.wake(1);
            redriven.retried += 1;
        }
        redriven
    }

    pub(super) fn dead_groups(&self) -> Vec<DeadGroup> {
        let group = |(fingerprint, trouble): (&Arc<str>, &DeadOf)| {
            let (kind, error) = trouble.sample.split_once('\0').unwrap_or_default();
            DeadGroup {
                fingerprint: fingerprint.to_string(),
                kind: kind.to_owned(),
                error: error.to_owned(),
                count: len(trouble.dead.len()),
                newest_ms: trouble.dead.last().map_or(0, |(died_ms, _)| *died_ms),
            }
        };
        let mut groups: Vec<DeadGroup> = self.troubles.iter().map(group).collect();
        // Those of the same size stay in the order of their fingerprints.
        groups.sort_by_key(|group| Reverse(group.count));
        groups.truncate(GROUPS_MAX);
        groups
    }
}
