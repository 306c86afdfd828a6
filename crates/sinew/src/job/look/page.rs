//! Jobs a page at a time, over all partitions: one after the other, each from its shelves.

use std::fmt;
use std::str::FromStr;

use super::{JobInfo, info_of};
use crate::job::backend::{Backend as _, Store};
use crate::job::model::{After, JobState, PAGE_MAX, PRIORITY_MAX, Shelf};
use crate::kernel::error::{Error, Result};
use crate::kernel::key::QueueKeys;

/// How often the store is asked for one page at most: what was removed, or is not meant, may be much.
const STEPS_MAX: usize = 50;

/// Jobs, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobPage {
    /// So many as were asked for at most. There may be fewer, also where it goes on.
    pub jobs: Vec<JobInfo>,
    /// To be given with the next call; nothing where this was the last page.
    pub next: Option<String>,
}

/// What is paged through.
pub(in crate::job) struct PageOf<'a, F> {
    pub(in crate::job) store: &'a Store,
    pub(in crate::job) all: &'a [QueueKeys],
    pub(in crate::job) shelves: &'a [Shelf],
    /// Whether a job is meant.
    pub(in crate::job) is_meant: F,
}

impl<F: Fn(&JobInfo) -> bool> PageOf<'_, F> {
    /// # Errors
    /// `Rejected` for what is no cursor, and those of the store.
    pub(in crate::job) async fn read(&self, after: Option<&str>, count: usize) -> Result<JobPage> {
        let mut at = after.map_or_else(|| Ok(Cursor::default()), str::parse)?;
        let (mut jobs, count) = (Vec::new(), count.clamp(1, PAGE_MAX));
        for _ in 0..STEPS_MAX {
            let Some(keys) = self.all.get(at.partition) else {
                return Ok(JobPage { jobs, next: None });
            };
            let Some(shelf) = self.shelves.get(at.shelf) else {
                at = Cursor { partition: at.partition + 1, ..Cursor::default() };
                continue;
            };
            let page = self.store.page(keys, shelf, &at.after, count - jobs.len()).await?;
            let infos = page.jobs.into_iter().map(|found| info_of(keys.queue(), found));
            jobs.extend(infos.filter(|info| (self.is_meant)(info)));
            at = match page.next {
                Some(after) => Cursor { after, ..at },
                None => Cursor { shelf: at.shelf + 1, after: After::default(), ..at },
            };
            if jobs.len() >= count {
                break;
            }
        }
        let is_over = at.partition >= self.all.len()
            || at.partition + 1 == self.all.len() && at.shelf >= self.shelves.len();
        Ok(JobPage { jobs, next: (!is_over).then(|| at.to_string()) })
    }
}

/// Where the jobs of a state are, those first that are taken first.
pub(in crate::job) fn shelves_of(state: JobState) -> Vec<Shelf> {
    match state {
        JobState::Waiting => {
            let waiting = (0..=PRIORITY_MAX).rev().map(Shelf::Waiting);
            std::iter::once(Shelf::Suspect).chain(waiting).collect()
        }
        JobState::Scheduled => vec![Shelf::Scheduled],
        JobState::Running => vec![Shelf::Running],
        JobState::Done => vec![Shelf::Kept],
        JobState::Dead => vec![Shelf::Dead],
    }
}

/// Where a page ended. As text the numbers of partition and shelf, a score or an index, and an id, with dots between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Cursor {
    partition: usize,
    shelf: usize,
    after: After,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, shelf, after } = self;
        write!(f, "{partition}.{shelf}.{}.", after.at)?;
        match after.id {
            Some(id) => write!(f, "{id}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let read = || {
            let mut parts = text.splitn(4, '.');
            let (partition, shelf) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let at = parts.next()?.parse().ok()?;
            let id = match parts.next()? {
                "" => None,
                id => Some(id.parse().ok()?),
            };
            Some(Self { partition, shelf, after: After { at, id } })
        };
        read().ok_or_else(|| Error::rejected("not a cursor: expected the one that a page gave"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::model::JobId;
    use crate::kernel::clock::UnixMillis;

    #[test]
    fn a_cursor_reads_as_it_is_written() {
        let id = JobId::new(UnixMillis(5), 3).unwrap();
        for id in [None, Some(id)] {
            let cursor = Cursor { partition: 1, shelf: 10, after: After { at: u64::MAX, id } };
            assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        }
        for bad in ["", "1", "1.2.3", "a.0.0.", "0.0.0.x", "0.0.-1."] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_taken_first_is_told_first() {
        let shelves = shelves_of(JobState::Waiting);
        assert_eq!(shelves[..2], [Shelf::Suspect, Shelf::Waiting(9)]);
        assert_eq!(shelves.len(), 11);
    }
}
