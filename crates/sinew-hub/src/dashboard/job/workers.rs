//! Who takes the jobs of a queue.

use std::time::Duration;

use askama::Template;
use axum::response::Response;
use sinew::job::{JobInfo, JobState, LaneInfo, QueueHandle};

use super::extract::{OfQueue, Whose};
use super::live::{Again, Seen, live};
use super::queue::look;
use crate::dashboard::extract::Asked;
use crate::dashboard::show::{Fault, visible};
use crate::duration::shown;

const SHOWN: usize = 200;
/// As stores have it: from then on, its jobs are others'.
const GRACE_MS: u64 = 2_000;

#[derive(Template)]
#[template(path = "job_workers.html")]
struct Workers {
    rows: Vec<Row>,
    running: u64,
    slots: u64,
    more: usize,
}

struct Row {
    worker: String,
    lane: String,
    joined: String,
    lease: String,
    is_over: bool,
    running: u64,
    slots: u64,
}

pub(super) async fn workers(
    OfQueue { queue, whose, .. }: OfQueue,
    Asked(seen): Asked<Seen>,
) -> Response {
    let again = Again { url: whose.at("/workers"), every: "2s", target: "workers" };
    live(table(&queue, &whose).await, again, &seen)
}

async fn table(queue: &QueueHandle, whose: &Whose) -> Result<Workers, Fault> {
    let now_ms = look(queue, whose).await?.now_ms;
    let mut lanes = queue.lanes().await?;
    lanes.sort_by(|a, b| (&a.worker, a.joined_ms, &a.lane).cmp(&(&b.worker, b.joined_ms, &b.lane)));
    Ok(Workers {
        running: lanes.iter().map(|lane| lane.running).sum(),
        slots: lanes.iter().map(|lane| lane.slots).sum(),
        more: lanes.len().saturating_sub(SHOWN),
        rows: lanes.iter().take(SHOWN).map(|lane| Row::of(lane, now_ms)).collect(),
    })
}

/// What runs is known by its lane: people know the worker.
pub(super) async fn name_workers(queue: &QueueHandle, jobs: &mut [JobInfo]) -> sinew::Result<()> {
    if !jobs.iter().any(|job| job.state == JobState::Running) {
        return Ok(());
    }
    let lanes = queue.lanes().await?;
    for job in jobs.iter_mut().filter(|job| job.state == JobState::Running) {
        let found = lanes.iter().find(|lane| job.worker.as_ref() == Some(&lane.lane));
        if let Some(lane) = found {
            job.worker = Some(lane.worker.clone());
        }
    }
    Ok(())
}

impl Row {
    fn of(lane: &LaneInfo, now_ms: u64) -> Self {
        let ms = |ms: u64| shown(Duration::from_millis(ms));
        let over_ms = now_ms.saturating_sub(lane.lease_until_ms);
        Self {
            worker: visible(&lane.worker),
            lane: visible(&lane.lane),
            joined: format!("{} ago", ms(now_ms.saturating_sub(lane.joined_ms))),
            lease: match over_ms {
                0 => format!("{} left", ms(lane.lease_until_ms.saturating_sub(now_ms))),
                1..=GRACE_MS => "just over".to_owned(),
                _ => format!("over for {}: its jobs go to others", ms(over_ms)),
            },
            is_over: over_ms > 0,
            running: lane.running,
            slots: lane.slots,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_is_over_is_told_so() {
        let lane = LaneInfo {
            lane: "l".to_owned(),
            worker: "host".to_owned(),
            joined_ms: 1_000,
            lease_until_ms: 40_000,
            slots: 4,
            running: 2,
        };
        let lease = |now_ms| Row::of(&lane, now_ms).lease;
        assert_eq!((lease(11_000).as_str(), lease(41_000).as_str()), ("29 s left", "just over"));
        assert_eq!(lease(100_000), "over for 1 min 0 s: its jobs go to others");
        assert_eq!(Row::of(&lane, 11_000).joined, "10 s ago");
    }
}
