//! Jobs that come next: what is enqueued elsewhere once a job, or a batch, has ended.
//!
//! A queue is in one slot, and the next may be in another. So its jobs are kept with what has to end first, and then in
//! its slot's outbox, until a worker has enqueued them. They have their ids from the beginning: what is paid twice is
//! there once.

use bytes::Bytes;

use super::enqueue::Ids;
use super::model::{CHAIN_MAX, Owed};
use super::{Jobs, NewJob};
use crate::kernel::error::{Error, Result};

/// Jobs each of which comes after the one before, as the first of them, which has the others. From now on they have
/// their ids.
///
/// # Errors
/// `Rejected` for more jobs than a chain may have, payloads that are together longer than one may be, and for what may
/// not be enqueued.
pub(super) fn link(chain: Vec<NewJob>, len_max: usize, ids: &mut Ids) -> Result<Option<NewJob>> {
    let mut jobs = Vec::with_capacity(chain.len());
    flatten(chain, &mut jobs);
    // Beside the one that they come after.
    if jobs.len() >= CHAIN_MAX {
        return Err(Error::rejected(format!(
            "{} jobs come after another: expected at most {} in a chain of {CHAIN_MAX}",
            jobs.len(),
            CHAIN_MAX - 1
        )));
    }
    let len: usize = jobs.iter().map(|job| job.payload.len()).sum();
    if len > len_max {
        return Err(Error::rejected(format!(
            "the payloads of jobs that come after another have {len} bytes: expected at most {len_max}"
        )));
    }
    for job in &mut jobs {
        job.check(len_max, ids.now)?;
        job.unique.as_ref().map(|unique| unique.claim(job.key.as_deref())).transpose()?;
        name(job, ids)?;
    }
    let mut jobs = jobs.into_iter();
    Ok(jobs.next().map(|first| NewJob { next: jobs.collect(), ..first }))
}

/// Has a job, and all that come after it, have their ids.
///
/// # Errors
/// `Misconfigured` where the system has no random bytes.
pub(super) fn name(job: &mut NewJob, ids: &mut Ids) -> Result<()> {
    if job.id.is_none() {
        job.id = Some(ids.draw()?);
    }
    job.next.iter_mut().try_for_each(|next| name(next, ids))
}

fn flatten(chain: Vec<NewJob>, into: &mut Vec<NewJob>) {
    for mut job in chain {
        let after = std::mem::take(&mut job.next);
        into.push(job);
        flatten(after, into);
    }
}

/// As the store keeps them.
///
/// # Errors
/// `Rejected` for what cannot be written as JSON.
pub(super) fn pack(jobs: impl IntoIterator<Item = NewJob>) -> Result<Option<Bytes>> {
    let jobs: Vec<NewJob> = jobs.into_iter().collect();
    if jobs.is_empty() {
        return Ok(None);
    }
    let packed = serde_json::to_vec(&jobs)
        .map_err(|error| Error::rejected("jobs that are not JSON").with_source(error))?;
    Ok(Some(packed.into()))
}

/// Enqueues what is owed. The same again enqueues nothing twice, while its jobs are there.
///
/// *Cancellation*: some may be enqueued.
///
/// # Errors
/// `Corrupt` where it cannot be read: a later version may have written it, so that it stays. Those of
/// [`Jobs::enqueue`] else: it is to be tried again.
pub(super) async fn pay(jobs: &Jobs, owed: &Owed) -> Result<()> {
    let mut ids = Ids::new(jobs.engine.clock.wall());
    // Of what is wrong with it nothing is told: it may have words of a payload.
    let next: Vec<NewJob> = serde_json::from_slice(&owed.jobs)
        .map_err(|_| Error::corrupt("what comes after a job is not what Sinew writes"))?;
    let prepare = |job| {
        // How long it may be was looked at when it was taken; this process may have another bound.
        jobs.prepare(job, usize::MAX, None, &mut ids)
    };
    let ready = next.into_iter().map(prepare).collect::<Result<Vec<_>>>()?;
    jobs.write_all(ready).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::clock::UnixMillis;

    fn link(chain: Vec<NewJob>, len_max: usize) -> Result<Option<NewJob>> {
        super::link(chain, len_max, &mut Ids::new(UnixMillis(1_795_316_265_410)))
    }

    fn job(kind: &str, next: Vec<NewJob>) -> NewJob {
        NewJob { queue: "mail".to_owned(), next, ..NewJob::new(kind, "{}") }
    }

    #[test]
    fn a_chain_is_flat_and_its_jobs_have_their_ids_for_ever() {
        let chain = vec![job("b", vec![job("c", vec![])]), job("d", vec![])];
        let first = link(chain, 100).unwrap().unwrap();
        let kinds: Vec<&str> = first.next.iter().map(|job| job.kind.as_str()).collect();
        assert_eq!((first.kind.as_str(), kinds), ("b", vec!["c", "d"]));
        assert!(first.id.is_some() && first.next.iter().all(|job| job.id.is_some()));
        // And the next of it is what it was, when that is enqueued.
        let ids: Vec<_> = first.next.iter().map(|job| job.id).collect();
        let second = link(first.next, usize::MAX).unwrap().unwrap();
        assert_eq!((second.id, second.next[0].id), (ids[0], ids[1]));
    }

    #[test]
    fn a_chain_is_bounded_and_looked_at_before_its_first_is_enqueued() {
        let of = |count| (0..count).map(|_| job("b", vec![])).collect::<Vec<_>>();
        assert!(link(of(CHAIN_MAX - 1), 100).is_ok());
        assert!(link(of(CHAIN_MAX), 100).is_err());
        assert!(link(of(2), 3).is_err(), "four bytes together");
        assert!(link(vec![job("", vec![])], 100).is_err());
        assert!(link(vec![], 100).unwrap().is_none());
        assert_eq!(pack(None::<NewJob>).unwrap(), None);
    }
}
