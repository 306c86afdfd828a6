//! What a worker does beside running jobs, for a queue whose jobs are all taken by hand.

use std::sync::Arc;

use tokio::task::{JoinHandle, JoinSet};

use super::part::Part;
use super::relay::relay;
use super::schedule::schedule;
use super::settings::{Queue, Settings};
use super::tally::{QueueCounts, Tally};
use super::team::{Team, ready};
use super::tend::tend;
use crate::job::Jobs;
use crate::kernel::error::Result;
use crate::kernel::words::this_process;

/// Looks after a queue until it is dropped; see [`QueueHandle::tend`](crate::job::QueueHandle::tend).
#[derive(Debug)]
#[must_use = "the queue is looked after until this is dropped"]
pub struct Tender {
    task: JoinHandle<()>,
}

impl Tender {
    /// # Errors
    /// `Rejected` for a bad name.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub(in crate::job) fn start(jobs: &Jobs, queue: &str) -> Result<Self> {
        let queues = vec![Queue::new(queue)];
        let mut settings =
            Settings::new(jobs.clone(), this_process(), queues, Vec::new(), Vec::new())?;
        // Whoever takes the jobs relies on the store; this takes none.
        settings.allows_eviction = true;
        let team = Team { settings, tally: Tally::default() };
        Ok(Self { task: tokio::spawn(look_after(Arc::new(team))) })
    }

    /// Whether it has ended by itself: the log says why.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for Tender {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn look_after(team: Arc<Team>) {
    // Ends with this future.
    let mut tending = JoinSet::new();
    for (at, (name, queue)) in team.settings.queues.iter().enumerate() {
        let partitions = match ready(&team, name, queue).await {
            Ok(partitions) => partitions,
            Err(error) => {
                tracing::error!(queue = name.as_str(), %error, "a queue is not looked after");
                return;
            }
        };
        let counts = QueueCounts::new(name.as_str(), &team.settings.kinds);
        for keys in partitions {
            let part = Arc::new(Part::new(keys, at, counts.clone(), team.clock().clone()));
            tending.spawn(relay(Arc::clone(&team), Arc::clone(&part)));
            tending.spawn(schedule(Arc::clone(&team), Arc::clone(&part)));
            tending.spawn(tend(Arc::clone(&team), part));
        }
    }
    while tending.join_next().await.is_some() {}
}
