//! Writing jobs to their partitions.

use bytes::Bytes;

use super::new_job::ms_of;
use super::{Enqueued, NewJob};
use crate::job::backend::Backend as _;
use crate::job::handle::JobHandle;
use crate::job::model::{
    Body, Due, JobId, Outgoing, PRIORITY_DEFAULT, Written, Wrote, millis, partition_of,
};
use crate::job::{Jobs, chain};
use crate::kernel::clock::UnixMillis;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::QueueKeys;
use crate::kernel::name::QueueName;
use crate::kernel::telemetry;

/// How often the partitions of a queue are looked at before it is given up.
pub(in crate::job) const LOOKS_MAX: usize = 3;

/// Draws the ids of what is enqueued together: of one moment, so that it is kept together, and in its order.
#[derive(Clone, Debug)]
pub(in crate::job) struct Ids {
    pub(in crate::job) now: UnixMillis,
    last: Option<JobId>,
}

impl Ids {
    pub(in crate::job) fn new(now: UnixMillis) -> Self {
        Self { now, last: None }
    }

    /// Those that follow an id: the same again, whoever draws them.
    pub(in crate::job) fn after(now: UnixMillis, id: JobId) -> Self {
        Self { now, last: Some(id) }
    }

    /// # Errors
    /// `Misconfigured` where the system has no random bytes.
    pub(in crate::job) fn draw(&mut self) -> Result<JobId> {
        let id = match self.last {
            Some(last) => last.following(),
            None => JobId::new(self.now, 0)?,
        };
        self.last = Some(id);
        Ok(id)
    }
}

/// A job that was looked at, and has no partition yet.
#[derive(Clone, Debug)]
pub(in crate::job) struct Ready {
    pub(in crate::job) queue: QueueName,
    pub(in crate::job) outgoing: Outgoing,
    /// Its id was given, and is to bring it to the same partition again.
    has_own_id: bool,
}

impl Ready {
    /// One that has its place.
    pub(in crate::job) fn of(queue: QueueName, outgoing: Outgoing) -> Self {
        Self { queue, outgoing, has_own_id: true }
    }

    /// Where it goes: for ever what has one key or one unique name, since limits rest on it.
    pub(in crate::job) fn partition(&self, partitions: u16, any: u16) -> u16 {
        let Outgoing { id, key, batch, claim, .. } = &self.outgoing;
        match (batch, key, claim) {
            // Where its batch is counted.
            (Some(batch), ..) => batch.partition(),
            _ if partitions <= 1 => 0,
            (None, Some(key), _) => partition_of(key, partitions),
            (None, None, Some(claim)) => partition_of(&claim.digest, partitions),
            (None, None, None) if self.has_own_id => home_of(*id, partitions),
            (None, None, None) => any % partitions,
        }
    }

    /// How long it is, about, in bytes.
    pub(in crate::job) fn len(&self) -> usize {
        self.outgoing.body.len() + self.outgoing.next.as_ref().map_or(0, Bytes::len)
    }
}

/// The partition that an id goes to, in whichever it was before.
pub(in crate::job) fn home_of(id: JobId, partitions: u16) -> u16 {
    partition_of(&id.in_partition(0).to_string(), partitions)
}

impl Jobs {
    /// # Errors
    /// `Rejected` for what may not be enqueued.
    pub(in crate::job) fn prepare(
        &self,
        job: NewJob,
        len_max: usize,
        batch: Option<JobId>,
        ids: &mut Ids,
    ) -> Result<Ready> {
        let queue = job.check(len_max, ids.now)?;
        let claim =
            job.unique.as_ref().map(|unique| unique.claim(job.key.as_deref())).transpose()?;
        let next = chain::pack(chain::link(job.next, len_max, ids)?)?;
        let priority = job.priority.unwrap_or(PRIORITY_DEFAULT);
        let due = match (job.delay, job.at) {
            (Some(delay), _) if !delay.is_zero() => Due::InMs(millis(delay).max(1)),
            (_, Some(at)) => Due::AtMs(ms_of(at)),
            _ => Due::Now,
        };
        let body = Body {
            kind: job.kind,
            payload: job.payload,
            priority,
            key: job.key,
            unique: claim.as_ref().map(|claim| claim.digest.clone()),
            batch,
            traceparent: job.traceparent,
            attempts: job.attempts,
            timeout_ms: job.timeout.map(millis),
            retain_ms: job.retain.map(millis),
            recurring: None,
        };
        let has_own_id = job.id.is_some();
        let id = job.id.map_or_else(|| ids.draw(), |id| Ok(id.given()))?;
        let (flags, written) = (body.flags(next.is_some()), body.write()?);
        let outgoing =
            Outgoing { id, due, flags, body: written, priority, key: body.key, batch, claim, next };
        Ok(Ready { queue, outgoing, has_own_id })
    }

    pub(super) async fn send(&self, job: NewJob) -> Result<Enqueued> {
        let engine = &self.engine;
        let mut ids = Ids::new(engine.clock.wall());
        let ready = self.prepare(job, engine.value_len_max, None, &mut ids)?;
        self.write_one(ready).await
    }

    async fn write_one(&self, ready: Ready) -> Result<Enqueued> {
        let any = fastrand::u16(..);
        for _ in 0..LOOKS_MAX {
            let all = self.engine.all(&self.scope, &ready.queue).await?;
            let count = u16::try_from(all.len()).unwrap_or(u16::MAX);
            let Some(keys) = all.get(usize::from(ready.partition(count, any))) else { break };
            let wrote = self.write(keys, count, std::slice::from_ref(&ready)).await?;
            if let Some(enqueued) = wrote.and_then(|wrote| wrote.into_iter().next()) {
                return Ok(enqueued);
            }
        }
        Err(keeps_changing(&ready.queue))
    }

    /// Writes jobs to one partition, all or none; nothing where the queue turns out to have another number of
    /// partitions, which is known then.
    pub(in crate::job) async fn write(
        &self,
        keys: &QueueKeys,
        partitions: u16,
        jobs: &[Ready],
    ) -> Result<Option<Vec<Enqueued>>> {
        let (queue, count) = (keys.queue(), jobs.len() as u64);
        let in_place = |ready: &Ready| {
            let id = ready.outgoing.id.in_partition(keys.partition());
            Outgoing { id, ..ready.outgoing.clone() }
        };
        let outgoing: Vec<Outgoing> = jobs.iter().map(in_place).collect();
        let ids: Vec<JobId> = outgoing.iter().map(|job| job.id).collect();
        match self.engine.backend.enqueue(keys, partitions, outgoing).await {
            Ok(Written::Done(wrote)) => {
                count_wrote(queue, &wrote);
                let enqueued = ids.into_iter().zip(wrote);
                Ok(Some(enqueued.map(|(id, wrote)| self.enqueued(queue, id, wrote)).collect()))
            }
            Ok(Written::OtherPartitions(partitions)) => {
                self.engine.learn(&self.scope, queue, partitions);
                Ok(None)
            }
            Ok(Written::Full { size, cap }) => {
                count_enqueued(queue, "full", count);
                // All or none: where there is room, but not for as many, there never is for these together.
                Err(match size < cap && count > cap {
                    true => too_many(queue, count, cap),
                    false => full(queue, size, cap),
                })
            }
            Err(error) => {
                count_enqueued(queue, "error", count);
                Err(error)
            }
        }
    }

    fn enqueued(&self, queue: &QueueName, id: JobId, wrote: Wrote) -> Enqueued {
        let handle = |id| JobHandle::new(self.clone(), queue.clone(), id);
        match wrote {
            Wrote::New | Wrote::Exists => Enqueued::New(handle(id)),
            Wrote::Duplicate(other) => Enqueued::Duplicate(handle(other)),
            Wrote::Replaced(old) => Enqueued::Replaced { new: handle(id), old },
        }
    }
}

fn full(queue: &QueueName, size: u64, cap: u64) -> Error {
    Error::new(
        ErrorKind::Unavailable { maybe_applied: false },
        format!(
            "queue {} is full: a partition has {size} unfinished jobs of {cap}",
            queue.as_str()
        ),
    )
}

fn too_many(queue: &QueueName, count: u64, cap: u64) -> Error {
    Error::rejected(format!(
        "{count} jobs at once are more than a partition of queue {} may have: expected at most {cap}",
        queue.as_str()
    ))
}

pub(in crate::job) fn keeps_changing(queue: &QueueName) -> Error {
    Error::new(
        ErrorKind::Unavailable { maybe_applied: false },
        format!("queue {} is being declared anew again and again", queue.as_str()),
    )
}

fn count_wrote(queue: &QueueName, wrote: &[Wrote]) {
    let of = |is: fn(&Wrote) -> bool| wrote.iter().filter(|one| is(one)).count() as u64;
    count_enqueued(queue, "new", of(|one| matches!(one, Wrote::New)));
    count_enqueued(queue, "exists", of(|one| matches!(one, Wrote::Exists)));
    count_enqueued(queue, "duplicate", of(|one| matches!(one, Wrote::Duplicate(_))));
    count_enqueued(queue, "replaced", of(|one| matches!(one, Wrote::Replaced(_))));
}

fn count_enqueued(queue: &QueueName, outcome: &'static str, jobs: u64) {
    if jobs > 0 {
        let queue = queue.as_str().to_owned();
        metrics::counter!(telemetry::JOB_ENQUEUED, "queue" => queue, "outcome" => outcome)
            .increment(jobs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_enqueued_together_sorts_in_its_order() {
        let mut ids = Ids::new(UnixMillis(1_795_316_265_410));
        let drawn: Vec<JobId> = (0..200).map(|_| ids.draw().unwrap()).collect();
        assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]));
        let moved: Vec<JobId> = drawn.iter().map(|id| id.in_partition(31)).collect();
        assert!(moved.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(moved.iter().zip(&drawn).all(|(moved, id)| home_of(*moved, 8) == home_of(*id, 8)));
    }
}
