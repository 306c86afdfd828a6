//! Jobs that are enqueued at the same time, in one call.

use bytes::Bytes;

use super::scripts;
use crate::job::model::{Outgoing, Written};
use crate::kernel::error::Result;
use crate::kernel::key::QueueKeys;
use crate::kernel::redis::{Gathered, Gathering, Link, Waiting};

/// How many jobs one call enqueues, and how long each of them may be, in bytes.
const JOBS_MAX: usize = 64;
const LEN_MAX: usize = 16 << 10;

/// A job to enqueue.
pub(super) struct Enqueue {
    keys: QueueKeys,
    partitions: u16,
    job: Outgoing,
}

/// Enqueues jobs, as if they were alone.
///
/// *Cancellation*: they may be enqueued.
pub(super) async fn enqueue(
    link: &Link,
    gathering: &Gathering<Enqueue>,
    keys: &QueueKeys,
    partitions: u16,
    mut jobs: Vec<Outgoing>,
) -> Result<Written> {
    if gathering.is_worth_it()
        && let Some(job) = jobs.pop_if(|job| is_light(job))
    {
        if jobs.is_empty() {
            let keys = keys.clone();
            return gathering.with_others(Enqueue { keys, partitions, job }).await;
        }
        jobs.push(job);
    }
    gathering.alone(scripts::enqueue(link, keys, partitions, &jobs)).await
}

fn is_light(job: &Outgoing) -> bool {
    job.body.len() + job.next.as_ref().map_or(0, Bytes::len) <= LEN_MAX
}

impl Enqueue {
    /// Of two with one unique name in one call, the second would never take the place of the first.
    fn goes_with(&self, call: &[Waiting<Self>]) -> bool {
        let is_of = |one: &Self| self.keys == one.keys && self.partitions == one.partitions;
        let digest = self.job.claim.as_ref().map(|claim| &claim.digest);
        let has_its_name = |one: &Waiting<Self>| {
            one.asked.job.claim.as_ref().is_some_and(|claim| Some(&claim.digest) == digest)
        };
        call.first().is_some_and(|first| is_of(&first.asked))
            && (digest.is_none() || !call.iter().any(has_its_name))
    }
}

impl Gathered for Enqueue {
    type Reply = Written;

    fn parted(waiting: Vec<Waiting<Self>>) -> Vec<Vec<Waiting<Self>>> {
        let mut calls: Vec<Vec<Waiting<Self>>> = Vec::new();
        for one in waiting {
            let open = calls.iter().rposition(|call| one.asked.goes_with(call));
            match open {
                Some(at) if calls[at].len() < JOBS_MAX => calls[at].push(one),
                _ => calls.push(vec![one]),
            }
        }
        calls
    }

    async fn send(link: &Link, call: Vec<Waiting<Self>>) {
        let Some(Waiting { asked: first, .. }) = call.first() else { return };
        let (keys, partitions) = (first.keys.clone(), first.partitions);
        let (asked, tells): (Vec<_>, Vec<_>) = call.into_iter().map(Waiting::split).unzip();
        let jobs: Vec<_> = asked.into_iter().map(|one| one.job).collect();
        match scripts::enqueue(link, &keys, partitions, &jobs).await {
            Ok(Written::Done(wrote)) => {
                for (tell, wrote) in tells.into_iter().zip(wrote) {
                    tell.tell(Ok(Written::Done(vec![wrote])));
                }
            }
            // There may be room for some.
            Ok(Written::Full { .. }) if jobs.len() > 1 => {
                for (tell, job) in tells.into_iter().zip(jobs) {
                    tell.tell(scripts::enqueue(link, &keys, partitions, &[job]).await);
                }
            }
            told => {
                for tell in tells {
                    tell.tell(told.clone());
                }
            }
        }
    }
}
