//! The scheduler of a partition: has the ticks of its recurring jobs make their jobs.
//!
//! Any number of them may do so at once: the store fires each tick once, whoever comes first.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::backend::Backend as _;
use super::super::model::{Definition, Fired, Firing, Kept, Schedule, ticks_due};
use super::super::recurring::job_of;
use super::Team;
use super::part::Part;
use crate::kernel::again::Again;
use crate::kernel::clock::Monotonic;
use crate::kernel::error::Result;
use crate::kernel::telemetry;

/// How often it is looked for other definitions.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Fires the ticks of a partition until it is aborted.
pub(super) async fn schedule(team: Arc<Team>, part: Arc<Part>) {
    let mut scheduler = Scheduler { team, part, known: HashMap::new() };
    let mut again = Again::new();
    loop {
        match scheduler.look_and_fire().await {
            Ok(next) => {
                again.well();
                scheduler.team.clock().sleep_until(next).await;
            }
            Err(error) => {
                tracing::debug!(queue = scheduler.queue(), %error, "recurring jobs are looked at again");
                again.pause().await;
            }
        }
    }
}

struct Scheduler {
    team: Arc<Team>,
    part: Arc<Part>,
    known: HashMap<String, Known>,
}

/// A recurring job, as it is known here.
struct Known {
    revision: u64,
    definition: Definition,
    /// Nothing where this process has no such time zone, or is older than what was written.
    schedule: Option<Schedule>,
    /// The last tick that is settled, one way or the other.
    last_ms: u64,
}

impl Scheduler {
    /// Fires what is due. When to look again.
    async fn look_and_fire(&mut self) -> Result<Monotonic> {
        let backend = &self.team.engine().backend;
        let (kept, now_ms) = backend.recurring(&self.part.keys).await?;
        let looked = self.team.clock().now();
        self.part.sync(now_ms);
        self.learn(kept);
        let names: Vec<String> = self.known.keys().cloned().collect();
        let (mut next, mut failed) = (looked.after(LOOK_EVERY), None);
        for name in names {
            match self.fire_due(&name).await {
                Ok(Some(next_ms)) => {
                    let delay = Duration::from_millis(next_ms.saturating_sub(now_ms));
                    next = next.min(looked.after(delay));
                }
                Ok(None) => {}
                Err(error) if error.is_outage() => return Err(error),
                // Perhaps of this one alone: the others do not wait for it.
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(next), Err)
    }

    fn learn(&mut self, kept: Vec<Kept>) {
        let mut known = HashMap::with_capacity(kept.len());
        for Kept { name, revision, definition, last_tick_ms, .. } in kept {
            let was = self.known.remove(&name).filter(|was| was.revision == revision);
            if let Some(was) = was {
                let last_ms = was.last_ms.max(last_tick_ms);
                known.insert(name, Known { last_ms, ..was });
                continue;
            }
            match Definition::read(&definition) {
                Ok(definition) => {
                    let schedule = self.schedule_of(&name, &definition);
                    let last_ms = last_tick_ms;
                    known.insert(name, Known { revision, definition, schedule, last_ms });
                }
                Err(error) => {
                    let recurring = name.as_str();
                    tracing::error!(queue = self.queue(), recurring, %error, "a recurring job cannot be read");
                }
            }
        }
        self.known = known;
    }

    fn schedule_of(&self, name: &str, definition: &Definition) -> Option<Schedule> {
        match definition.schedule() {
            Ok(schedule) => Some(schedule),
            Err(error) => {
                tracing::error!(queue = self.queue(), recurring = name, %error, "this process does not know when a recurring job is to run");
                None
            }
        }
    }

    /// Fires the ticks of one that are due. When the next one is, by the store's clock.
    async fn fire_due(&mut self, name: &str) -> Result<Option<u64>> {
        let Some(known) = self.known.get(name).filter(|known| !known.definition.is_paused) else {
            return Ok(None);
        };
        let Some(schedule) = &known.schedule else { return Ok(None) };
        let now_ms = self.part.now_ms();
        let missed = known.definition.missed;
        let (due, mut next) = ticks_due(schedule, missed, known.last_ms, now_ms);
        let first = schedule.next_ms(known.last_ms).filter(|first| *first <= now_ms);
        if first != due.first().copied() {
            fired("missed");
            tracing::warn!(
                queue = self.queue(),
                recurring = name,
                "ticks of a recurring job were missed, and are passed over"
            );
        }
        let mut last_ms = if due.is_empty() && first.is_some() { now_ms } else { known.last_ms };
        for tick_ms in due {
            match self.fire(name, tick_ms).await? {
                Settled::Is => last_ms = tick_ms,
                Settled::Not => break,
                Settled::At(at_ms) => {
                    next = Some(at_ms);
                    break;
                }
            }
        }
        if let Some(known) = self.known.get_mut(name) {
            known.last_ms = last_ms;
        }
        Ok(next)
    }

    async fn fire(&self, name: &str, tick_ms: u64) -> Result<Settled> {
        let Some(Known { definition, revision, .. }) = self.known.get(name) else {
            return Ok(Settled::Not);
        };
        let keys = &self.part.keys;
        let job = match job_of(definition, name, tick_ms, keys.partition()) {
            Ok(job) => job,
            Err(error) => {
                fired("error");
                tracing::error!(queue = self.queue(), recurring = name, %error, "a recurring job cannot be made");
                return Ok(Settled::Not);
            }
        };
        let overlap = definition.overlap;
        let firing = Firing { name, revision: *revision, tick_ms, overlap, job };
        let answer = match self.team.engine().backend.fire(keys, &firing).await {
            Err(error) if !error.is_retryable() => {
                fired("error");
                tracing::error!(queue = self.queue(), recurring = name, %error, "a recurring job is refused");
                return Ok(Settled::Not);
            }
            answer => answer?,
        };
        Ok(match answer {
            Fired::Done => {
                fired("fired");
                Settled::Is
            }
            Fired::Before => Settled::Is,
            Fired::Overlaps => {
                fired("overlapped");
                Settled::Is
            }
            Fired::Early { now_ms } => {
                self.part.sync(now_ms);
                Settled::At(tick_ms)
            }
            // The next look brings it.
            Fired::OtherRevision => Settled::Not,
            Fired::Full => {
                fired("error");
                tracing::error!(
                    queue = self.queue(),
                    recurring = name,
                    "a queue is full: a recurring job waits for room"
                );
                Settled::Not
            }
        })
    }

    fn queue(&self) -> &str {
        self.part.keys.queue().as_str()
    }
}

/// What became of a tick.
enum Settled {
    Is,
    /// The next look tries it again.
    Not,
    /// It is not its time yet, by the store's clock.
    At(u64),
}

fn fired(outcome: &'static str) {
    metrics::counter!(telemetry::JOB_FIRED, "outcome" => outcome).increment(1);
}
