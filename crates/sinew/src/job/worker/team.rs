//! All that a worker is made of: its tasks, what they share, and how they end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::super::backend::Backend as _;
use super::super::engine::Engine;
use super::super::model::lanes_of;
use super::lane::Lane;
use super::part::Part;
use super::relay::relay;
use super::schedule::schedule;
use super::settings::{Queue, Settings};
use super::shares::{Claim, Shares};
use super::tally::{Finished, QueueCounts, Tally};
use super::tend::tend;
use super::waker;
use crate::kernel::again::Again;
use crate::kernel::clock::Clock;
use crate::kernel::error::{Error, Result};
use crate::kernel::key::QueueKeys;
use crate::kernel::name::QueueName;

/// How long a handler that was told to stop has for it.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(1);
/// For how long a lane tries to tell its last, and again to leave.
pub(super) const LEAVE_TIME_MAX: Duration = Duration::from_secs(2);

/// How far a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Running,
    /// It takes no more.
    Draining,
    /// Handlers are told to stop.
    Ending,
    /// What has not ended is left.
    Over,
}

/// What the tasks of a worker share.
pub(super) struct Team {
    pub(super) settings: Settings,
    pub(super) tally: Tally,
}

impl Team {
    pub(super) fn engine(&self) -> &Engine {
        &self.settings.jobs.engine
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.engine().clock
    }
}

/// Works until `shutdown`, or until an error that waiting does not help.
pub(super) async fn work(
    settings: Settings,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Finished> {
    let team = Arc::new(Team { settings, tally: Tally::default() });
    let (phase, hears) = watch::channel(Phase::Running);
    tokio::pin!(shutdown);
    let begun = tokio::select! {
        begun = begin(&team, &hears) => begun?,
        () = &mut shutdown => return Ok(team.tally.finished()),
    };
    let (lanes, parts) = begun;
    // Both sets end with this future, however it ends.
    let (mut working, mut tending) = (JoinSet::new(), JoinSet::new());
    for lane in lanes {
        working.spawn(lane.work());
    }
    for part in &parts {
        let timer = Arc::clone(part);
        tending.spawn(async move { timer.time().await });
        tending.spawn(relay(Arc::clone(&team), Arc::clone(part)));
        tending.spawn(schedule(Arc::clone(&team), Arc::clone(part)));
        tending.spawn(tend(Arc::clone(&team), Arc::clone(part)));
    }
    let keys: Vec<QueueKeys> = parts.iter().map(|part| part.keys.clone()).collect();
    for together in team.engine().backend.together(&keys) {
        let parts = parts.iter().filter(|part| together.contains(&part.keys)).cloned();
        // As they are waited for: the waker says which by its index.
        tending.spawn(waker::wait(Arc::clone(&team), parts.collect()));
    }
    shutdown.await;
    tending.shutdown().await;
    end(&team, &phase, working).await;
    Ok(team.tally.finished())
}

/// Lets handlers come to their end, tells the others, and hands back what they had.
async fn end(team: &Team, phase: &watch::Sender<Phase>, mut working: JoinSet<()>) {
    let last = 2 * LEAVE_TIME_MAX + 2 * STOP_GRACE;
    let phases = [
        (Phase::Draining, team.settings.drain),
        // What they said as they stopped is told yet.
        (Phase::Ending, STOP_GRACE + LEAVE_TIME_MAX),
        (Phase::Over, last),
    ];
    for (next, time_max) in phases {
        phase.send_replace(next);
        let all = async { while working.join_next().await.is_some() {} };
        if tokio::time::timeout(time_max, all).await.is_ok() {
            return;
        }
    }
}

type Begun = (Vec<Lane>, Vec<Arc<Part>>);

/// Finds the partitions of all queues, declares what is to be, and joins. It waits an outage out.
async fn begin(team: &Arc<Team>, hears: &watch::Receiver<Phase>) -> Result<Begun> {
    let mut parts: Vec<Arc<Part>> = Vec::new();
    // Of each lane: its partition, and how many slots it has.
    let mut plans: Vec<(usize, usize)> = Vec::new();
    let mut claims: Vec<Claim> = Vec::new();
    for (at, (name, queue)) in team.settings.queues.iter().enumerate() {
        let partitions = ready(team, name, queue).await?;
        let counts = QueueCounts::new(name.as_str(), &team.settings.kinds);
        let slots = slots_of(queue.concurrency, partitions.len());
        let lanes = lanes_of(slots);
        for keys in &partitions {
            let part = Part::new(keys.clone(), at, counts.clone(), team.clock().clone());
            plans.extend(lanes.iter().map(|slots| (parts.len(), *slots)));
            parts.push(Arc::new(part));
        }
        let lanes = lanes.len() * partitions.len();
        let claim = Claim { queue: at, weight: queue.weight, lanes };
        claims.extend(std::iter::repeat_n(claim, lanes));
    }
    let shares = shares_of(team, &plans, &claims);
    let mut lanes = Vec::with_capacity(plans.len());
    for (at, (part, slots)) in plans.into_iter().enumerate() {
        let shares = shares.as_ref().map(|shares| (Arc::clone(shares), at));
        let part = Arc::clone(&parts[part]);
        let mut lane = Lane::new(Arc::clone(team), part, slots, shares, hears.clone())?;
        lane.join_first().await?;
        lanes.push(lane);
    }
    Ok((lanes, parts))
}

/// The slots of a worker where its lanes have more than it may fill, and nothing where each may fill its own.
fn shares_of(team: &Team, plans: &[(usize, usize)], claims: &[Claim]) -> Option<Arc<Shares>> {
    let queues: Vec<usize> =
        team.settings.queues.iter().map(|(_, queue)| queue.concurrency).collect();
    let all: usize = queues.iter().sum();
    let total = team.settings.concurrency.unwrap_or(all);
    let slots: usize = plans.iter().map(|(_, slots)| slots).sum();
    (slots > total.min(all)).then(|| Shares::new(total, queues, claims))
}

/// How many slots the lanes of each partition have: of several, twice an even part, since they hardly ever have as much to
/// do. Never more in all than the queue's own, which they share.
fn slots_of(concurrency: usize, partitions: usize) -> usize {
    match partitions {
        0 | 1 => concurrency,
        more => (2 * concurrency.div_ceil(more)).min(concurrency),
    }
}

/// The partitions of a queue, once they are declared, and are safe where they are.
pub(super) async fn ready(team: &Team, name: &QueueName, queue: &Queue) -> Result<Vec<QueueKeys>> {
    let mut again = Again::new();
    loop {
        match try_ready(team, name, queue).await {
            Err(error) if !error.is_final() => {
                tracing::debug!(queue = name.as_str(), %error, "a queue is asked for again");
                again.pause().await;
            }
            ready => return ready,
        }
    }
}

async fn try_ready(team: &Team, name: &QueueName, queue: &Queue) -> Result<Vec<QueueKeys>> {
    let (engine, scope) = (team.engine(), &team.settings.jobs.scope);
    if let Some(declaring) = queue.declaring() {
        engine.declare(scope, name, declaring).await?;
    }
    let partitions = engine.partitions(scope, name).await?;
    if !team.settings.allows_eviction {
        for keys in &partitions {
            if let Some(policy) = engine.backend.eviction(keys).await? {
                return Err(Error::misconfigured(format!(
                    "Redis may remove jobs when it is full (maxmemory-policy {policy}): expected noeviction, or Worker::allow_eviction"
                )));
            }
        }
    }
    Ok(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_share_the_slots_of_their_queue() {
        assert_eq!(slots_of(64, 1), 64);
        assert_eq!(slots_of(64, 8), 16);
        assert_eq!(slots_of(2, 8), 2);
        assert_eq!(slots_of(1, 32), 1);
    }
}
