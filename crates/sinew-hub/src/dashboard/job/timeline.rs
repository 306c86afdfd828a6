//! What has become of a job so far, oldest first.

use sinew::job::{JobInfo, JobState, Run};

use super::{many, took};
use crate::dashboard::show::{time, visible};

/// A state that a job was in, or is in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// What the page colours it by.
    pub(super) class: &'static str,
    pub(super) title: &'static str,
    pub(super) at: String,
    pub(super) words: String,
    /// In the words of its handler.
    pub(super) error: Option<String>,
}

pub(super) fn steps(job: &JobInfo) -> Vec<Step> {
    let runs = job.runs.iter().map(of_run);
    enqueued(job).into_iter().chain(unknown(job)).chain(runs).chain([now(job)]).collect()
}

fn enqueued(job: &JobInfo) -> Option<Step> {
    let at = job.enqueued_at?;
    let by = job.recurring.as_deref().map(|name| format!("by the recurring job {}", visible(name)));
    Some(Step {
        class: "waiting",
        title: "Enqueued",
        at: time(at),
        words: by.unwrap_or_default(),
        error: None,
    })
}

/// Runs that nothing is known of any more, and deliveries that left nothing.
fn unknown(job: &JobInfo) -> Option<Step> {
    let known = job.runs.len().try_into().unwrap_or(u32::MAX);
    let runs = job.failures.saturating_add(job.snoozes).saturating_sub(known);
    let of_runs = (runs > 0).then(|| {
        format!("{} not kept", many(runs.into(), "run before these is", "runs before these are"))
    });
    let of_crashes = (job.crashes > 0).then(|| {
        format!(
            "{} with their process",
            many(job.crashes.into(), "delivery ended", "deliveries ended")
        )
    });
    let words: Vec<String> = [of_runs, of_crashes].into_iter().flatten().collect();
    (!words.is_empty()).then(|| Step {
        class: "failed",
        title: "Meanwhile",
        at: String::new(),
        words: words.join("; "),
        error: None,
    })
}

fn of_run(run: &Run) -> Step {
    let after = format!("after {} by {}", took(run.took), visible(&run.by));
    Step {
        class: if run.error.is_some() { "failed" } else { "scheduled" },
        title: if run.error.is_some() { "Failed" } else { "Put off" },
        at: time(run.at),
        words: after,
        error: run.error.as_deref().map(visible),
    }
}

/// Where it stands.
fn now(job: &JobInfo) -> Step {
    let by = job.worker.as_deref().map(|worker| format!("by {}", visible(worker)));
    let (class, title, at, words) = match job.state {
        JobState::Waiting => ("waiting", "Waits for a worker", None, None),
        JobState::Scheduled if job.runs.is_empty() => {
            ("scheduled", "Waits for its time", job.at, None)
        }
        JobState::Scheduled => ("scheduled", "Waits for its next attempt", job.at, None),
        JobState::Running => ("running", "Runs", None, by),
        JobState::Done => {
            let after = job.took.map(|of| format!("after {}", took(of)));
            let words = [after, by].into_iter().flatten().collect::<Vec<_>>().join(" ");
            ("done", "Done", job.ended_at, Some(words))
        }
        JobState::Dead => ("dead", "Dead", job.at, job.reason.as_deref().map(visible)),
    };
    Step {
        class,
        title,
        at: at.map(time).unwrap_or_default(),
        words: words.unwrap_or_default(),
        error: None,
    }
}
