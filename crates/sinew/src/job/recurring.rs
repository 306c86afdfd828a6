//! Jobs that recur.

mod at;

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::try_join_all;
use serde::Serialize;

use super::backend::Backend as _;
use super::enqueue::{check_key, check_priority, keeps_changing};
use super::look::at_ms;
use super::model::{
    Body, Declaring, Definition, Dst, Due, JobId, Kept, Missed, Outgoing, Overlap,
    PRIORITY_DEFAULT, Schedule, cut, partition_of,
};
use super::options::Job;
use super::{Expected, Jobs};
use crate::kernel::clock::UnixMillis;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::QueueKeys;
use crate::kernel::name::{KindName, QueueName};

pub use self::at::RecurringAt;

/// The longest name of a recurring job, in bytes.
const NAME_LEN_MAX: usize = 128;
/// How many of the next ticks are told with a recurring job, and how many are worked out at most.
const NEXT_LEN: usize = 5;
const NEXT_LEN_MAX: usize = 1_000;

/// A recurring job being defined: each tick of its schedule makes a job, once, however many workers there are.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sinew::Sinew;
/// use sinew::job::{Dst, Missed};
///
/// let jobs = Sinew::embedded().tenant("acme")?.jobs();
/// let nightly = jobs.recurring("nightly").cron("0 2 * * *").tz("Europe/Berlin").dst(Dst::RunOnce);
/// assert_eq!(nightly.next(5)?.len(), 5);
///
/// let job = r#"{"older_than_days": 30}"#;
/// let kept = nightly.missed(Missed::Skip).job_raw("default", "cleanup", job).upsert().await?;
/// assert_eq!((kept.kind.as_str(), kept.next.len()), ("cleanup", 5));
/// # Ok(()) }
/// ```
#[must_use = "a recurring job is defined by upsert()"]
pub struct Recurring {
    jobs: Jobs,
    name: String,
    cron: Option<String>,
    tz: String,
    every: Option<Duration>,
    dst: Dst,
    missed: Missed,
    overlap: Overlap,
    queue: String,
    kind: String,
    payload: Bytes,
    priority: Option<u8>,
    key: Option<String>,
    is_paused: bool,
    expected: Expected,
}

/// A recurring job, as it is defined in the store.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecurringJob {
    /// Its name.
    pub name: String,
    /// The queue in which it makes jobs.
    pub queue: String,
    /// Greater with every change of it.
    pub revision: u64,
    /// When it recurs; nothing where this process cannot tell: another version, or another time zone database.
    pub schedule: Option<Schedule>,
    /// What becomes of ticks that no worker was there for.
    pub missed: Missed,
    /// What becomes of a tick whose job of the last tick has not ended.
    pub overlap: Overlap,
    /// The kind of its jobs.
    pub kind: String,
    /// What they are given: JSON, as it was written.
    pub payload: Bytes,
    /// Their priority; 5 unless said.
    pub priority: Option<u8>,
    /// Their key.
    pub key: Option<String>,
    /// It makes none.
    pub is_paused: bool,
    /// The last tick that is over, fired or passed over; at first, when it was defined.
    pub last_tick: SystemTime,
    /// The job that was made last.
    pub last_job: Option<JobId>,
    /// The next five ticks; none while it is paused.
    pub next: Vec<SystemTime>,
}

impl Recurring {
    pub(super) fn new(jobs: Jobs, name: &str) -> Self {
        Self {
            jobs,
            name: name.to_owned(),
            cron: None,
            tz: "UTC".to_owned(),
            every: None,
            dst: Dst::default(),
            missed: Missed::default(),
            overlap: Overlap::default(),
            queue: String::new(),
            kind: String::new(),
            payload: Bytes::from_static(b"null"),
            priority: None,
            key: None,
            is_paused: false,
            expected: Expected::Any,
        }
    }

    /// By the clock on the wall: minute, hour, day of the month, month, day of the week; with seconds before them where
    /// there are six; or `@daily` and its like.
    pub fn cron(mut self, expression: &str) -> Self {
        self.cron = Some(expression.to_owned());
        self
    }

    /// The time zone of that clock, like `Europe/Berlin`; UTC unless said.
    pub fn tz(mut self, zone: &str) -> Self {
        zone.clone_into(&mut self.tz);
        self
    }

    /// What becomes of ticks when that clock is put forward or back. [`Dst::RunOnce`] unless said.
    pub fn dst(mut self, dst: Dst) -> Self {
        self.dst = dst;
        self
    }

    /// At all multiples of this since 1970, instead of a cron expression: 1 s to 366 days.
    pub fn every(mut self, interval: Duration) -> Self {
        self.every = Some(interval);
        self
    }

    /// What becomes of ticks that no worker was there for. [`Missed::FireOnce`] unless said.
    pub fn missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }

    /// What becomes of a tick whose job of the last tick has not ended. [`Overlap::Skip`] unless said.
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.overlap = overlap;
        self
    }

    /// The job that each tick makes, in the queue of its type.
    ///
    /// # Errors
    /// `Rejected` for what cannot be written as JSON.
    pub fn job<J: Job + Serialize>(mut self, job: &J) -> Result<Self> {
        let payload = serde_json::to_value(job)
            .map_err(|error| Error::rejected("a job that is not JSON").with_source(error))?;
        self.priority = self.priority.or(J::options().priority);
        Ok(self.job_raw(J::QUEUE, J::NAME, payload.to_string()))
    }

    /// The same, of a job that is no type of this program's. What it is given is JSON, and is kept as it is written.
    pub fn job_raw(mut self, queue: &str, kind: &str, payload: impl Into<Bytes>) -> Self {
        queue.clone_into(&mut self.queue);
        kind.clone_into(&mut self.kind);
        self.payload = payload.into();
        self
    }

    /// Another queue than that of its type; after its job is said.
    pub fn queue(mut self, queue: &str) -> Self {
        queue.clone_into(&mut self.queue);
        self
    }

    /// The priority of its jobs: 0 to 9, 9 is first.
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = Some(priority);
        self
    }

    /// The key of its jobs.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// It is to be there, and to make no jobs.
    pub fn paused(mut self) -> Self {
        self.is_paused = true;
        self
    }

    /// What has to be there now, so that no one's change is undone. [`Expected::Any`] unless said. In a queue of several
    /// partitions, another key is another place, where nothing is yet.
    pub fn expected(mut self, expected: Expected) -> Self {
        self.expected = expected;
        self
    }

    /// Its next ticks from now on, so many, 1,000 at most; by this process alone, without asking the store.
    ///
    /// # Errors
    /// `Rejected` for a bad schedule.
    pub fn next(&self, count: usize) -> Result<Vec<SystemTime>> {
        Ok(next(&self.schedule()?, self.jobs.engine.clock.wall().0, count))
    }

    /// Defines it, or changes what is defined. With another schedule it begins anew: no tick before now fires.
    ///
    /// *Cancellation*: it is defined or not; where its queue is another, it may be in both until the same is done again.
    ///
    /// # Errors
    /// `Conflict` where something else is there than expected; `Unavailable` where its partition has 1,000 of them;
    /// `Rejected` for a bad name or setting; `Unavailable` or `Timeout` when Redis is down.
    pub async fn upsert(self) -> Result<RecurringJob> {
        let (definition, queue) = self.definition()?;
        let Self { jobs, name, expected, .. } = &self;
        let (engine, scope) = (&jobs.engine, &jobs.scope);
        let all = engine.all(scope, &queue).await?;
        if engine.backend.look(&scope.job(&queue, 0)).await?.is_none() {
            // The store has lost it since it was known here.
            let partitions = u16::try_from(all.len()).ok();
            engine.declare(scope, &queue, Declaring { partitions, ..Declaring::default() }).await?;
        }
        let Some(keys) = home(&all, &definition, name) else { return Err(keeps_changing(&queue)) };
        let Some(kept) = jobs.put(keys, name, &definition, expected.revision()).await? else {
            return Err(match expected {
                Expected::Any => too_many(&queue),
                _ => conflict(name),
            });
        };
        // Where it was before: in another partition with another key, or in another queue.
        let others = all.iter().filter(|other| other.partition() != keys.partition());
        try_join_all(others.map(|other| engine.backend.drop_recurring(other, name))).await?;
        let names = scope.job_recurring();
        let before = engine.backend.note_recurring(&names, name, Some(queue.as_str())).await?;
        if let Some(before) = before.filter(|before| before != queue.as_str()) {
            jobs.drop_in(&before, name).await?;
        }
        RecurringJob::read(keys, kept, engine.clock.wall().0)
    }

    fn schedule(&self) -> Result<Schedule> {
        match (&self.cron, self.every) {
            (Some(cron), None) => Schedule::cron(cron, &self.tz, self.dst),
            (None, Some(interval)) => Schedule::every(interval),
            _ => Err(Error::rejected("a recurring job: expected a cron expression or an interval")),
        }
    }

    /// Looks whether it can be defined so, as [`Recurring::upsert`] does, without asking the store.
    ///
    /// # Errors
    /// `Rejected` for a bad name or setting.
    pub fn check(&self) -> Result<()> {
        self.definition().map(|_| ())
    }

    fn definition(&self) -> Result<(Definition, QueueName)> {
        check_name(&self.name)?;
        KindName::new(&self.kind)?;
        check_key(self.key.as_deref())?;
        check_priority(self.priority)?;
        let schedule = self.schedule()?;
        let (missed, overlap, payload) = (self.missed, self.overlap, &self.payload);
        let mut definition = Definition::new(&schedule, &self.kind, payload, missed, overlap)?;
        definition.priority = self.priority;
        definition.key.clone_from(&self.key);
        definition.is_paused = self.is_paused;
        let (len, len_max) = (definition.write().len(), self.jobs.engine.value_len_max);
        if len > len_max {
            return Err(Error::rejected(format!(
                "a recurring job of {len} bytes: expected at most {len_max}"
            )));
        }
        Ok((definition, QueueName::new(&self.queue)?))
    }
}

impl fmt::Debug for Recurring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recurring")
            .field("name", &self.name)
            .field("queue", &self.queue)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl RecurringJob {
    fn read(keys: &QueueKeys, kept: Kept, now_ms: u64) -> Result<Self> {
        let definition = Definition::read(&kept.definition)?;
        let schedule = definition.schedule().ok();
        let comes = schedule.as_ref().filter(|_| !definition.is_paused);
        Ok(Self {
            name: kept.name,
            queue: keys.queue().as_str().to_owned(),
            revision: kept.revision,
            next: comes.map(|schedule| next(schedule, now_ms, NEXT_LEN)).unwrap_or_default(),
            schedule,
            missed: definition.missed,
            overlap: definition.overlap,
            kind: definition.kind,
            payload: definition.payload,
            priority: definition.priority,
            key: definition.key,
            is_paused: definition.is_paused,
            last_tick: at_ms(kept.last_tick_ms),
            last_job: kept.last_job,
        })
    }
}

/// What its jobs are given is not for logs.
impl fmt::Debug for RecurringJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecurringJob")
            .field("name", &self.name)
            .field("queue", &self.queue)
            .field("kind", &self.kind)
            .field("schedule", &self.schedule)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// The job that a tick makes, in the partition where the recurring job is.
///
/// # Errors
/// `Rejected` for a part that is too long; `Misconfigured` where the system has no random bytes.
pub(super) fn job_of(
    definition: &Definition,
    name: &str,
    tick_ms: u64,
    partition: u16,
) -> Result<Outgoing> {
    let priority = definition.priority.unwrap_or(PRIORITY_DEFAULT);
    let body = Body {
        kind: definition.kind.clone(),
        payload: definition.payload.clone(),
        priority,
        key: definition.key.clone(),
        recurring: Some(name.to_owned()),
        ..Body::default()
    };
    Ok(Outgoing {
        id: JobId::new(UnixMillis(tick_ms), partition)?,
        due: Due::Now,
        flags: body.flags(false),
        body: body.write()?,
        priority,
        key: body.key,
        batch: None,
        claim: None,
        next: None,
    })
}

/// The partition in which a recurring job is: that of its jobs.
fn home<'a>(all: &'a [QueueKeys], definition: &Definition, name: &str) -> Option<&'a QueueKeys> {
    let count = u16::try_from(all.len()).unwrap_or(u16::MAX);
    let partition = partition_of(definition.key.as_deref().unwrap_or(name), count);
    all.get(usize::from(partition))
}

fn next(schedule: &Schedule, after_ms: u64, count: usize) -> Vec<SystemTime> {
    let ticks = std::iter::successors(schedule.next_ms(after_ms), |tick| schedule.next_ms(*tick));
    ticks.take(count.min(NEXT_LEN_MAX)).map(at_ms).collect()
}

fn check_name(name: &str) -> Result<()> {
    let is_valid = (1..=NAME_LEN_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    match is_valid {
        true => Ok(()),
        false => Err(Error::rejected(format!(
            "a recurring job called {:?}: expected 1 to {NAME_LEN_MAX} of A-Z a-z 0-9 . _ -",
            cut(name, 40)
        ))),
    }
}

fn conflict(name: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("recurring job {name} is not as it was expected to be: look at it, and try again"),
    )
}

fn too_many(queue: &QueueName) -> Error {
    Error::new(
        ErrorKind::Unavailable { maybe_applied: false },
        format!("queue {} has as many recurring jobs as it may", queue.as_str()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(key: Option<&str>) -> Definition {
        let every = Schedule::every(Duration::from_secs(60)).unwrap();
        let (payload, missed) = (br#"{"a": 1.10}"#, Missed::Skip);
        let mut definition =
            Definition::new(&every, "cleanup", payload, missed, Overlap::Skip).unwrap();
        definition.key = key.map(str::to_owned);
        definition
    }

    #[test]
    fn a_tick_makes_the_job_that_was_defined() {
        let job = job_of(&definition(Some("acme")), "nightly", 1_795_316_265_410, 3).unwrap();
        assert_eq!((job.id.partition(), job.id.made_ms()), (3, 1_795_316_265_410));
        assert_eq!((job.key.as_deref(), job.priority), (Some("acme"), PRIORITY_DEFAULT));
        assert_eq!(job.due, Due::Now);
        assert!(job.body.ends_with(br#"{"a": 1.10}"#), "as it was written");
    }

    #[test]
    fn the_next_ticks_are_told_and_are_bounded() {
        let schedule = definition(None).schedule().unwrap();
        let ticks = next(&schedule, 60_000, 3);
        assert_eq!(ticks, [at_ms(120_000), at_ms(180_000), at_ms(240_000)]);
        assert_eq!(next(&schedule, 0, usize::MAX).len(), NEXT_LEN_MAX);
    }

    #[test]
    fn bad_names_are_rejected() {
        for bad in ["", "a b", "ä", &"a".repeat(129)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(check_name("nightly.clean_up-1").is_ok());
    }
}
