//! Jobs taken by hand, a few at a time, under a lease of their own: for workers that are no Rust.

mod end;
mod lane;
mod tell;
mod token;
mod wakers;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::try_join_all;

use super::Jobs;
use super::backend::Backend as _;
use super::look::at_ms;
use super::model::{
    Body, Held, JobId, Note, PAGE_MAX, Record, SETTLES_MAX, Taken, Took, check_lease, cut, millis,
};
use crate::kernel::again::Again;
use crate::kernel::clock::Monotonic;
use crate::kernel::error::{Error, Result};
use crate::kernel::key::QueueKeys;
use crate::kernel::name::QueueName;
use crate::lock::Fence;
use end::unreadable;
use lane::Lane;
use wakers::Wakers;

pub use self::end::PullEnd;
pub use self::token::JobToken;
pub(super) use self::token::shown;

/// How long a reserve waits at most.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How often one that waits looks at most: what is due may be held up by a limit.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const LABEL_LEN_MAX: usize = 64;

/// Takes jobs of a queue by hand. Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use sinew::Sinew;
/// use sinew::job::{NewJob, PullEnd};
///
/// let jobs = Sinew::embedded().tenant("acme")?.jobs();
/// jobs.enqueue_raw("mail", NewJob::new("email.send", r#"{"to":"ada"}"#)).await?;
///
/// let mail = jobs.pull("mail");
/// for job in mail.reserve(10, Duration::from_secs(30)).await? {
///     assert_eq!(job.kind, "email.send");
///     assert!(mail.finish(&job.token, PullEnd::Done(None)).await?);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "jobs are taken by reserve()"]
pub struct Puller {
    jobs: Jobs,
    queue: String,
    label: String,
    wait: Duration,
}

/// A job that was taken by hand.
#[derive(Clone)]
#[non_exhaustive]
pub struct PulledJob {
    /// To be named with what becomes of it.
    pub token: JobToken,
    /// When others may have it, unless its lease is renewed; by this machine's clock.
    pub until: SystemTime,
    /// What it is called.
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// What it was enqueued with.
    pub payload: Bytes,
    /// Its key.
    pub key: Option<String>,
    /// Which delivery this is, as far as is known: 1 for the first.
    pub attempt: u32,
    /// How often it failed.
    pub failures: u32,
    /// How many deliveries ended with their process.
    pub crashes: u32,
    /// For how long it may run, where it says so itself. Nobody sees to it but who has it.
    pub timeout: Option<Duration>,
    /// When it was enqueued, by the store's clock.
    pub enqueued_at: SystemTime,
    /// Of W3C's Trace Context: the span that enqueued it.
    pub traceparent: Option<String>,
    /// Greater with each delivery of the job: what it writes elsewhere can be refused by it.
    pub fence: Fence,
}

impl Puller {
    pub(super) fn new(jobs: Jobs, queue: &str) -> Self {
        Self { jobs, queue: queue.to_owned(), label: "pull".to_owned(), wait: Duration::ZERO }
    }

    /// What people know the worker by: 64 bytes of it.
    pub fn label(mut self, label: &str) -> Self {
        let line = label.replace(char::is_control, " ");
        cut(&line, LABEL_LEN_MAX).clone_into(&mut self.label);
        self
    }

    /// For how long to wait for the first job where there is none: up to a minute, not at all unless said.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait.min(WAIT_MAX);
        self
    }

    /// Takes so many jobs at most, 1 to 100, and fewer where they are a MiB together. They are the caller's for this long,
    /// 1 s to 1 h, and for longer where they are renewed. What has no word by then is another's, and counts as a delivery
    /// that ended with its process. None where there was none in time.
    ///
    /// *Cancellation*: what it was given waits again, which [`Jobs::settled`] waits for.
    ///
    /// # Errors
    /// `Rejected` for a bad name or setting; `Unavailable` or `Timeout` when Redis is down.
    pub async fn reserve(&self, max: usize, lease: Duration) -> Result<Vec<PulledJob>> {
        if !(1..=PAGE_MAX).contains(&max) {
            return Err(Error::rejected(format!(
                "{max} jobs are out of bounds: expected 1 to {PAGE_MAX}"
            )));
        }
        check_lease(lease)?;
        let engine = &self.jobs.engine;
        let all = engine.all(&self.jobs.scope, &self.name()?).await?;
        let until = engine.clock.now().after(self.wait);
        let (mut wakers, mut again) = (None::<Wakers>, Again::new());
        let first = fastrand::usize(..all.len().max(1));
        let (mut due, mut woken_by) = (until, None);
        loop {
            let (taken, next) = match woken_by.take().and_then(|at: usize| all.get(at..=at)) {
                Some(one) => {
                    let (taken, next) = self.take(one, 0, max, lease).await?;
                    (taken, next.min(due))
                }
                None => self.take(&all, first, max, lease).await?,
            };
            due = next;
            if !taken.is_empty() || engine.clock.now() >= until {
                self.pass_on(wakers.map_or_else(Vec::new, Wakers::left), &all, lease);
                return Ok(taken);
            }
            // Only one that waits has connections for it, and one that comes back late looks once more.
            let waiting = wakers.get_or_insert_with(|| Wakers::new(&engine.backend, &all));
            tokio::select! {
                woken = waiting.next() => match woken {
                    Ok(partition) => {
                        again.well();
                        // Of jobs elsewhere it would have heard. Where there is no token, it is time to look at all.
                        woken_by = partition.map(usize::from);
                    }
                    Err(_) => again.pause().await,
                },
                () = engine.clock.sleep_until(due.min(until)) => {}
            }
        }
    }

    /// These are the caller's for this long from now on, as far as they still are. Says which are not: they have ended, were
    /// taken for dead, or cancelled, and are to be left alone. All jobs of one reserve are renewed with any of them.
    ///
    /// *Cancellation*: some may be renewed.
    ///
    /// # Errors
    /// `Rejected` for a lease out of bounds, or the token of another queue; `Unavailable` or `Timeout` when Redis is down.
    pub async fn renew(&self, tokens: &[JobToken], lease: Duration) -> Result<Vec<JobToken>> {
        check_lease(lease)?;
        let queue = self.name()?;
        let mut lanes: BTreeMap<(u16, &str), Vec<&JobToken>> = BTreeMap::new();
        for token in tokens {
            token.check(&queue)?;
            lanes.entry((token.id.partition(), &*token.lane)).or_default().push(token);
        }
        let queue = &queue;
        let calls = lanes.iter().flat_map(|(of, tokens)| {
            tokens.chunks(SETTLES_MAX).map(move |tokens| (*of, tokens.to_vec()))
        });
        let renewals = calls.map(|((partition, lane), tokens)| async move {
            let keys = self.jobs.scope.job(queue, partition);
            let held: Vec<_> = tokens.iter().map(|token| (token.id, token.fence)).collect();
            match self.jobs.engine.backend.renew(&keys, lane, millis(lease), &held).await? {
                Held::Kept(renewed) => {
                    let stopped = tokens.into_iter().filter(|it| renewed.stop.contains(&it.id));
                    Ok(stopped.cloned().collect())
                }
                Held::Fallen => Ok::<Vec<_>, Error>(tokens.into_iter().cloned().collect()),
            }
        });
        Ok(try_join_all(renewals).await?.into_iter().flatten().collect())
    }

    fn name(&self) -> Result<QueueName> {
        QueueName::new(&self.queue)
    }

    /// What is there now, of this partition and the others after it; and when there may be more.
    async fn take(
        &self,
        all: &[QueueKeys],
        first: usize,
        max: usize,
        lease: Duration,
    ) -> Result<(Vec<PulledJob>, Monotonic)> {
        let clock = &self.jobs.engine.clock;
        let (mut jobs, mut lanes) = (Vec::new(), Vec::new());
        let mut due = clock.now().after(WAIT_MAX);
        for keys in all.iter().cycle().skip(first).take(all.len()) {
            if jobs.len() >= max {
                break;
            }
            match self.take_of(keys, max - jobs.len(), lease).await {
                Ok((taken, lane, next)) => {
                    jobs.extend(taken);
                    lanes.extend(lane);
                    due = due.min(clock.now().after(next.max(PAUSE_MIN)));
                }
                // What others gave is not lost for it.
                Err(error) if jobs.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        // From here on they are the caller's. Until then, whoever goes away takes nothing along.
        lanes.into_iter().for_each(Lane::hand_over);
        Ok((jobs, due))
    }

    /// Tells others of partitions of which this has tokens, and does not look at any more: nobody else hears of their jobs.
    fn pass_on(&self, partitions: Vec<u16>, all: &[QueueKeys], lease: Duration) {
        let left = partitions.into_iter().filter_map(|partition| all.get(usize::from(partition)));
        let left: Vec<QueueKeys> = left.cloned().collect();
        if left.is_empty() {
            return;
        }
        let puller = self.clone();
        tokio::spawn(async move {
            for keys in left {
                // A turn that leaves something that may run leaves a token. Without it, whoever waits looks by himself.
                let _ = puller.take_of(&keys, 0, lease).await;
            }
        });
    }

    /// What one partition has, the lane that has it, and how long until there may be more.
    async fn take_of(
        &self,
        keys: &QueueKeys,
        max: usize,
        lease: Duration,
    ) -> Result<(Vec<PulledJob>, Option<Lane>, Duration)> {
        let engine = &self.jobs.engine;
        // Before it begins, so that it is not over there while it is thought to be held here.
        let until = at_ms(engine.clock.wall().0.saturating_add(millis(lease)));
        let lane = Lane::join(engine, keys, &self.label, max, lease).await?;
        let took = lane.take(max).await?;
        let Took { now_ms, fence, jobs, next_due_ms, has_more, .. } = took;
        let next = match (has_more, next_due_ms) {
            (true, _) => Duration::ZERO,
            (false, Some(due_ms)) => Duration::from_millis(due_ms.saturating_sub(now_ms)),
            (false, None) => WAIT_MAX,
        };
        if jobs.is_empty() {
            lane.leave().await?;
            return Ok((Vec::new(), None, next));
        }
        let (mut pulled, mut broken) = (Vec::with_capacity(jobs.len()), Vec::new());
        for Taken { id, record } in jobs {
            let token =
                JobToken { queue: keys.queue().clone(), lane: Arc::clone(lane.name()), id, fence };
            match open(token, until, record) {
                Ok(job) => pulled.push(job),
                Err(_) => broken.push(unreadable(id, fence)),
            }
        }
        if !broken.is_empty() {
            lane.settle(&broken).await?;
        }
        Ok((pulled, Some(lane), next))
    }
}

fn open(token: JobToken, until: SystemTime, record: Bytes) -> Result<PulledJob> {
    let record = Record::read(record)?;
    let Body { kind, payload, key, traceparent, timeout_ms, .. } = record.body()?;
    let note = Note::read(&record.note);
    let before = note.failures.saturating_add(note.snoozes).saturating_add(record.crashes);
    Ok(PulledJob {
        until,
        id: token.id,
        fence: Fence(token.fence),
        token,
        kind,
        payload,
        key,
        attempt: before.saturating_add(1),
        failures: note.failures,
        crashes: record.crashes,
        timeout: timeout_ms.map(Duration::from_millis),
        enqueued_at: at_ms(record.enqueued_ms),
        traceparent,
    })
}

/// What it was enqueued with is not for logs.
impl fmt::Debug for PulledJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PulledJob")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
