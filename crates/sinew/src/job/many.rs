//! Enqueueing many jobs.

use std::collections::BTreeMap;
use std::fmt;
use std::future::IntoFuture;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _};

use super::enqueue::{Ids, LOOKS_MAX, Ready, keeps_changing};
use super::model::{ENQUEUE_LEN_MAX, ENQUEUE_MAX};
use super::{Enqueued, Jobs, NewJob};
use crate::kernel::error::{Error, Result};
use crate::kernel::key::QueueKeys;
use crate::kernel::name::QueueName;

/// How many calls are under way at once.
const CALLS_MAX: usize = 4;

/// Jobs on their way; see [`Jobs::enqueue_many`].
#[must_use = "jobs are enqueued when this is awaited"]
pub struct EnqueueMany {
    jobs: Jobs,
    many: Result<Vec<NewJob>>,
}

impl EnqueueMany {
    pub(super) fn new(jobs: Jobs, many: Result<Vec<NewJob>>) -> Self {
        Self { jobs, many }
    }

    fn set(mut self, set: impl Fn(&mut NewJob)) -> Self {
        if let Ok(many) = &mut self.many {
            many.iter_mut().for_each(set);
        }
        self
    }

    /// The queue; that of their type unless said.
    pub fn queue(self, queue: &str) -> Self {
        self.set(|job| queue.clone_into(&mut job.queue))
    }

    /// They are to run so much later: up to 365 days.
    pub fn delay(self, delay: Duration) -> Self {
        self.set(|job| (job.delay, job.at) = (Some(delay), None))
    }

    /// They are to run at this time, by the store's clock.
    pub fn at(self, at: SystemTime) -> Self {
        self.set(|job| (job.delay, job.at) = (None, Some(at)))
    }

    /// 0 to 9; 9 is first.
    pub fn priority(self, priority: u8) -> Self {
        self.set(|job| job.priority = Some(priority))
    }

    /// For how long they are kept once they are done: up to 365 days.
    pub fn retain(self, retain: Duration) -> Self {
        self.set(|job| job.retain = Some(retain))
    }
}

impl IntoFuture for EnqueueMany {
    type Output = Result<Vec<Enqueued>>;
    type IntoFuture = BoxFuture<'static, Result<Vec<Enqueued>>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { jobs, many } = self;
        Box::pin(async move {
            let len_max = jobs.engine.value_len_max;
            let mut ids = Ids::new(jobs.engine.clock.wall());
            let ready = many?.into_iter().enumerate().map(|(at, job)| {
                let ready = jobs.prepare(job, len_max, None, &mut ids);
                ready.map_err(|error| error.within(&format!("[{at}]")))
            });
            let ready = ready.collect::<Result<Vec<_>>>()?;
            jobs.write_all(ready).await
        })
    }
}

impl fmt::Debug for EnqueueMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.many.as_ref().map_or(0, Vec::len);
        f.debug_struct("EnqueueMany").field("len", &len).finish_non_exhaustive()
    }
}

/// A job, and which it is among all.
type Numbered = (usize, Ready);

/// Jobs that are written in one step.
struct Call {
    keys: QueueKeys,
    partitions: u16,
    numbers: Vec<usize>,
    jobs: Vec<Ready>,
}

/// What came of a call.
struct Sent {
    numbers: Vec<usize>,
    jobs: Vec<Ready>,
    /// Nothing where it was not sent, since there are other partitions, or another call has failed.
    wrote: Result<Option<Vec<Enqueued>>>,
}

impl Jobs {
    /// The same as [`Jobs::enqueue_many`], of jobs that are no types of this program's.
    pub fn enqueue_many_raw(&self, queue: &str, jobs: Vec<NewJob>) -> EnqueueMany {
        EnqueueMany::new(self.clone(), Ok(jobs)).queue(queue)
    }

    /// Writes jobs, and says of each what became of it.
    ///
    /// # Errors
    /// Those of a single one; then some of them may be there, and `maybe_applied` says so where the error is one of
    /// Redis's.
    pub(super) async fn write_all(&self, jobs: Vec<Ready>) -> Result<Vec<Enqueued>> {
        let mut enqueued: Vec<Option<Enqueued>> = vec![None; jobs.len()];
        let mut left: Vec<Numbered> = jobs.into_iter().enumerate().collect();
        for _ in 0..LOOKS_MAX {
            if left.is_empty() {
                break;
            }
            let calls = self.calls(std::mem::take(&mut left)).await?;
            let (is_over, mut failed) = (AtomicBool::new(false), None::<Error>);
            let sends = calls.into_iter().map(|call| self.send_call(call, &is_over));
            // In their order, so that what comes first is taken first.
            let mut sends = stream::iter(sends).buffered(CALLS_MAX);
            // After a failure nothing more is begun; what is under way is waited for, to know whether it is there.
            while let Some(Sent { numbers, jobs, wrote }) = sends.next().await {
                match wrote {
                    Ok(Some(wrote)) => {
                        for (at, one) in numbers.into_iter().zip(wrote) {
                            enqueued[at] = Some(one);
                        }
                    }
                    Ok(None) => left.extend(numbers.into_iter().zip(jobs)),
                    Err(error) if failed.as_ref().is_none_or(|first| !first.maybe_applied()) => {
                        failed = Some(error);
                    }
                    Err(_) => {}
                }
            }
            if let Some(error) = failed {
                let some_are_there = enqueued.iter().any(Option::is_some);
                return Err(if some_are_there { error.made_unsure() } else { error });
            }
            left.sort_unstable_by_key(|(at, _)| *at);
        }
        match left.first() {
            Some((_, ready)) => Err(keeps_changing(&ready.queue)),
            None => Ok(enqueued.into_iter().flatten().collect()),
        }
    }

    async fn send_call(&self, call: Call, is_over: &AtomicBool) -> Sent {
        let Call { keys, partitions, numbers, jobs } = call;
        if is_over.load(Ordering::Relaxed) {
            return Sent { numbers, jobs, wrote: Ok(None) };
        }
        let wrote = self.write(&keys, partitions, &jobs).await;
        if wrote.is_err() {
            is_over.store(true, Ordering::Relaxed);
        }
        Sent { numbers, jobs, wrote }
    }

    /// As many jobs in a call as may be, those of a partition together.
    async fn calls(&self, jobs: Vec<Numbered>) -> Result<Vec<Call>> {
        let mut by_queue: BTreeMap<QueueName, Vec<Numbered>> = BTreeMap::new();
        for (at, ready) in jobs {
            match by_queue.get_mut(&ready.queue) {
                Some(of) => of.push((at, ready)),
                None => {
                    by_queue.insert(ready.queue.clone(), vec![(at, ready)]);
                }
            }
        }
        let mut calls = Vec::new();
        for (queue, jobs) in by_queue {
            let all = self.engine.all(&self.scope, &queue).await?;
            let partitions = u16::try_from(all.len()).unwrap_or(u16::MAX);
            for (partition, jobs) in runs(jobs, partitions) {
                // A batch is in a partition that is not there any more.
                let Some(keys) = all.get(usize::from(partition)) else {
                    return Err(keeps_changing(&queue));
                };
                let (numbers, jobs) = jobs.into_iter().unzip();
                calls.push(Call { keys: keys.clone(), partitions, numbers, jobs });
            }
        }
        Ok(calls)
    }
}

/// Jobs of one queue, by partition, in runs of which each may be a call. What goes anywhere changes its partition with
/// each run.
fn runs(jobs: Vec<Numbered>, partitions: u16) -> Vec<(u16, Vec<Numbered>)> {
    let mut open: BTreeMap<u16, (usize, Vec<Numbered>)> = BTreeMap::new();
    let (mut runs, mut any) = (Vec::new(), fastrand::u16(..));
    for (nth, (at, ready)) in jobs.into_iter().enumerate() {
        if nth % ENQUEUE_MAX == 0 {
            any = any.wrapping_add(1);
        }
        let (partition, len) = (ready.partition(partitions, any), ready.len());
        let (run_len, run) = open.entry(partition).or_default();
        let is_full = run.len() == ENQUEUE_MAX || *run_len + len > ENQUEUE_LEN_MAX;
        if is_full && !run.is_empty() {
            runs.push((partition, std::mem::take(run)));
            *run_len = 0;
        }
        *run_len += len;
        run.push((at, ready));
    }
    runs.extend(open.into_iter().map(|(partition, (_, run))| (partition, run)));
    runs
}
