//! The jobs of a queue by their state, a page at a time.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use sinew::job::{DoneJob, JobInfo, JobPage, JobState, QueueHandle};

use super::extract::{OfQueue, Whose};
use super::live::{Again, Seen, live};
use super::workers::name_workers;
use super::{many, time_or_not, took};
use crate::dashboard::extract::Asked;
use crate::dashboard::show::{Fault, time, visible};
use crate::hub::{BUSY, Hub};

/// So many are on a page.
const SHOWN: usize = 50;
/// So many that are done are told of at first, and where more are asked for.
const DONE_SHOWN: usize = 50;
const DONE_MAX: usize = 1_000;
const WORDS_MAX: usize = 160;

/// Which jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Tab {
    #[default]
    Waiting,
    Scheduled,
    Running,
    /// What is remembered of those that are done.
    Done,
    /// Those of them that were kept, with all that belongs to them.
    Kept,
    Dead,
}

impl Tab {
    const ALL: [Self; 6] =
        [Self::Waiting, Self::Scheduled, Self::Running, Self::Done, Self::Kept, Self::Dead];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Done => "done",
            Self::Kept => "kept",
            Self::Dead => "dead",
        }
    }

    /// Nothing of those of which only that is known.
    fn state(self) -> Option<JobState> {
        match self {
            Self::Waiting => Some(JobState::Waiting),
            Self::Scheduled => Some(JobState::Scheduled),
            Self::Running => Some(JobState::Running),
            Self::Kept => Some(JobState::Done),
            Self::Dead => Some(JobState::Dead),
            Self::Done => None,
        }
    }

    /// What their time is.
    fn time_title(self) -> &'static str {
        match self {
            Self::Waiting | Self::Running => "Enqueued",
            Self::Scheduled => "Due",
            Self::Done => "Done",
            Self::Kept => "Forgotten",
            Self::Dead => "Died",
        }
    }

    fn caption(self) -> &'static str {
        match self {
            Self::Waiting => {
                "In the order in which they are taken; of those with a key, only the next of each."
            }
            Self::Scheduled => "For their time, for the first time or again.",
            Self::Running => "Those that were enqueued first come first.",
            Self::Done => {
                "The newest first. Of each partition the last 10,000 are known, for 7 days."
            }
            Self::Kept => {
                "With their payload, log and result, those first that are forgotten first."
            }
            Self::Dead => "Those first that died last.",
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Which {
    #[serde(default)]
    state: Tab,
    /// Where a page goes on. Of those that are done: `all` for as many as are told at once.
    #[serde(default)]
    after: String,
}

#[derive(Template)]
#[template(path = "job_list.html")]
struct List {
    tabs: Vec<Choice>,
    state: &'static str,
    time_title: &'static str,
    caption: &'static str,
    rows: Vec<Row>,
    first: Option<String>,
    next: Option<String>,
    /// What the way on says.
    more: &'static str,
}

struct Choice {
    name: &'static str,
    to: String,
    is_chosen: bool,
}

/// A job, as a line of a table.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) to: String,
    pub(super) kind: String,
    pub(super) key: String,
    pub(super) at: String,
    pub(super) words: String,
}

pub(super) async fn list(
    State(hub): State<Hub>,
    OfQueue { queue, whose, .. }: OfQueue,
    Asked(Which { state, after }): Asked<Which>,
    Asked(seen): Asked<Seen>,
) -> Response {
    let url = at(&whose, state, &after);
    let part = match (state, hub.heavy_place()) {
        (_, None) => Err(Fault::part(BUSY)),
        (Tab::Done, Some(_place)) => done(&queue, &whose, &after).await,
        (_, Some(_place)) => page(&queue, &whose, state, &after).await,
    };
    live(part, Again { url, every: "3s", target: "list" }, &seen)
}

fn at(whose: &Whose, tab: Tab, after: &str) -> String {
    whose.with("/list", &[("state", tab.name()), ("after", after)])
}

async fn page(queue: &QueueHandle, whose: &Whose, tab: Tab, after: &str) -> Result<List, Fault> {
    let state = tab.state().unwrap_or(JobState::Done);
    let from = Some(after).filter(|after| !after.is_empty());
    let JobPage { mut jobs, next } = queue.list(state, from, SHOWN).await?;
    name_workers(queue, &mut jobs).await?;
    Ok(List {
        rows: jobs.iter().map(|job| Row::of(whose, job)).collect(),
        first: from.map(|_| at(whose, tab, "")),
        next: next.map(|next| at(whose, tab, &next)),
        ..List::empty(whose, tab)
    })
}

async fn done(queue: &QueueHandle, whose: &Whose, after: &str) -> Result<List, Fault> {
    let count = if after.is_empty() { DONE_SHOWN } else { DONE_MAX };
    let done = queue.done(count).await?;
    let is_more = after.is_empty() && done.len() == count;
    Ok(List {
        rows: done.iter().map(|job| Row::done(whose, job)).collect(),
        first: (!after.is_empty()).then(|| at(whose, Tab::Done, "")),
        next: is_more.then(|| at(whose, Tab::Done, "all")),
        more: "The last thousand",
        ..List::empty(whose, Tab::Done)
    })
}

impl List {
    fn empty(whose: &Whose, tab: Tab) -> Self {
        let choice =
            |of: Tab| Choice { name: of.name(), to: at(whose, of, ""), is_chosen: of == tab };
        Self {
            tabs: Tab::ALL.into_iter().map(choice).collect(),
            state: tab.name(),
            time_title: tab.time_title(),
            caption: tab.caption(),
            rows: Vec::new(),
            first: None,
            next: None,
            more: "More",
        }
    }
}

impl Row {
    pub(super) fn of(whose: &Whose, job: &JobInfo) -> Self {
        let at = match job.state {
            JobState::Waiting | JobState::Running => job.enqueued_at,
            JobState::Scheduled | JobState::Done | JobState::Dead => job.at,
        };
        Self {
            id: job.id.to_string(),
            to: whose.job(&job.id, ""),
            kind: visible(&job.kind),
            key: visible(job.key.as_deref().unwrap_or_default()),
            at: time_or_not(at),
            words: words(job),
        }
    }

    fn done(whose: &Whose, job: &DoneJob) -> Self {
        Self {
            id: job.id.to_string(),
            to: whose.job(&job.id, ""),
            kind: visible(&job.kind),
            key: String::new(),
            at: time(job.at),
            words: format!("in {} by {}", took(job.took), visible(&job.worker)),
        }
    }
}

/// What else is to be said of a job in a line.
fn words(job: &JobInfo) -> String {
    let failures = (job.failures > 0)
        .then(|| format!("failed {}", many(job.failures.into(), "time", "times")));
    let error = job.runs.last().and_then(|run| run.error.as_deref());
    let of_state = match job.state {
        JobState::Waiting => (job.priority != 5).then(|| format!("priority {}", job.priority)),
        JobState::Scheduled => error.map(short),
        JobState::Running => {
            let progress = job.progress.as_ref().filter(|progress| progress.total > 0);
            let progress = progress
                .map(|progress| format!(", {}", percent(progress.done, progress.total)))
                .unwrap_or_default();
            job.worker.as_deref().map(|worker| format!("by {}{progress}", visible(worker)))
        }
        JobState::Done => job.took.map(|of| format!("in {}", took(of))),
        JobState::Dead => job.reason.as_deref().map(short),
    };
    [of_state, failures].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn short(text: &str) -> String {
    match text.char_indices().nth(WORDS_MAX) {
        Some((end, _)) => format!("{}…", visible(&text[..end])),
        None => visible(text),
    }
}

/// How much of it is done, in whole percent, not more than all.
pub(super) fn percent(done: u64, total: u64) -> String {
    let percent = u128::from(done) * 100 / u128::from(total.max(1));
    format!("{} %", percent.min(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_cut_at_a_character() {
        assert_eq!(short("no\n"), "no\\n");
        let long = "ä".repeat(WORDS_MAX + 1);
        assert_eq!(short(&long).chars().count(), WORDS_MAX + 1);
        assert!(short(&long).ends_with('…'));
    }

    #[test]
    fn no_more_than_all_is_done() {
        assert_eq!((percent(1, 3).as_str(), percent(9, 3).as_str()), ("33 %", "100 %"));
        assert_eq!(percent(1, 0), "100 %");
    }

    #[test]
    fn a_tab_is_read_as_it_is_called() {
        for tab in Tab::ALL {
            let read: Tab = serde_json::from_value(tab.name().into()).unwrap();
            assert_eq!(read, tab);
        }
    }
}
