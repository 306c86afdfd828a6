//! What people see of jobs and queues.

mod info;
mod page;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::backend::{Backend as _, Store};
use super::model::{Audited, Counted, DeadGroup, JobId, QueueLook};
use crate::kernel::error::Result;
use crate::kernel::key::QueueKeys;

pub use self::info::{JobInfo, Run};
pub(super) use self::info::{info_of, reason_of};
pub use self::page::JobPage;
pub(super) use self::page::{PageOf, shelves_of};

/// How many turns of what is done are read at once at most: all that there are have so many jobs that it is no more than a
/// few hundred kilobytes.
const TURNS_AT_ONCE: usize = 256;

/// A job that is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DoneJob {
    /// What it is called.
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// When that was told, by the store's clock.
    pub at: SystemTime,
    /// For how long its handler ran.
    pub took: Duration,
    /// What people know its worker by.
    pub worker: String,
}

/// What was counted in a minute or a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Period {
    /// When it began.
    pub at: SystemTime,
    /// By name: `done`, `failed`, `dead`, `snoozed`, `crashed` and `lost` are exact; the others are as workers tell them. Of
    /// very many kinds, those that come last are told as `other`.
    pub counts: BTreeMap<String, u64>,
}

impl DoneJob {
    /// As workers write it: the id, the kind, how long it took, and by whom.
    pub(super) fn read(at_ms: u64, line: &str) -> Option<Self> {
        let mut words = line.trim_end_matches('\n').splitn(4, ' ');
        Some(Self {
            id: words.next()?.parse().ok()?,
            kind: words.next()?.to_owned(),
            at: self::at_ms(at_ms),
            took: Duration::from_millis(words.next()?.parse().ok()?),
            worker: words.next().unwrap_or_default().to_owned(),
        })
    }
}

/// The jobs that were done last in a partition, so many at most, the newest turn first.
pub(super) async fn done_last(
    store: &Store,
    keys: &QueueKeys,
    count: usize,
) -> Result<Vec<DoneJob>> {
    let (mut done, mut from) = (Vec::new(), 0);
    while done.len() < count {
        // One job a turn at least.
        let at_once = TURNS_AT_ONCE.min(count - done.len());
        let turns = store.past(keys, from, at_once).await?;
        from += turns.len();
        let is_last = turns.len() < at_once;
        done.extend(turns.iter().flat_map(|(at_ms, lines)| lines_of(*at_ms, lines)));
        if is_last {
            break;
        }
    }
    done.truncate(count);
    Ok(done)
}

/// A job that is done and was not kept, as far as that is remembered.
pub(super) async fn done_before(
    store: &Store,
    keys: &QueueKeys,
    id: JobId,
) -> Result<Option<DoneJob>> {
    let done = store.done(keys, id).await?;
    Ok(done.and_then(|(at_ms, line)| DoneJob::read(at_ms, &line)))
}

fn lines_of(at_ms: u64, lines: &str) -> impl Iterator<Item = DoneJob> {
    lines.lines().filter_map(move |line| DoneJob::read(at_ms, line))
}

/// A queue in numbers, of those of its partitions.
pub(super) fn sum(looks: Vec<QueueLook>) -> Option<QueueLook> {
    looks.into_iter().reduce(|mut whole, part| {
        // Where only some are, that is not over yet, or was broken off.
        whole.is_paused |= part.is_paused;
        whole.waiting += part.waiting;
        for (whole, part) in whole.by_priority.iter_mut().zip(part.by_priority) {
            *whole += part;
        }
        whole.scheduled += part.scheduled;
        whole.running += part.running;
        whole.dead += part.dead;
        whole.kept += part.kept;
        whole.owed += part.owed;
        whole.lanes += part.lanes;
        whole.global += part.global;
        whole.rate.0 += part.rate.0;
        whole.now_ms = whole.now_ms.max(part.now_ms);
        whole.oldest_ms = [whole.oldest_ms, part.oldest_ms].into_iter().flatten().min();
        whole
    })
}

/// What was counted in all partitions, oldest first, so much at most.
pub(super) fn periods(all: Vec<Vec<Counted>>, count: usize) -> Vec<Period> {
    let mut periods: BTreeMap<u64, BTreeMap<String, u64>> = BTreeMap::new();
    for counted in all.into_iter().flatten() {
        let counts = periods.entry(counted.at_ms).or_default();
        for (name, more) in counted.counts {
            *counts.entry(name).or_default() += more;
        }
    }
    let older = periods.len().saturating_sub(count);
    let newest = periods.into_iter().skip(older);
    newest.map(|(at, counts)| Period { at: at_ms(at), counts }).collect()
}

/// What is the trouble in all partitions, those first with most.
pub(super) fn groups(all: Vec<Vec<DeadGroup>>) -> Vec<DeadGroup> {
    let mut groups: BTreeMap<String, DeadGroup> = BTreeMap::new();
    for group in all.into_iter().flatten() {
        let Some(known) = groups.get_mut(&group.fingerprint) else {
            groups.insert(group.fingerprint.clone(), group);
            continue;
        };
        known.count += group.count;
        known.newest_ms = known.newest_ms.max(group.newest_ms);
    }
    let mut groups: Vec<DeadGroup> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse((group.count, group.newest_ms)));
    groups
}

/// What audits of all partitions found.
pub(super) fn audits(all: Vec<Audited>) -> Audited {
    all.into_iter().fold(Audited::default(), |mut whole, part| {
        whole.stranded += part.stranded;
        whole.miscounted += part.miscounted;
        whole.forgotten_keys += part.forgotten_keys;
        whole
    })
}

pub(super) fn at_ms(ms: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(ms)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::clock::UnixMillis;

    #[test]
    fn what_is_done_reads_as_workers_write_it() {
        let id = JobId::new(UnixMillis(5), 0).unwrap();
        let done = DoneJob::read(7, &format!("{id} email.send 20 host: Billing\n")).unwrap();
        assert_eq!((done.id, done.kind.as_str(), done.took.as_millis()), (id, "email.send", 20));
        assert_eq!((done.worker.as_str(), done.at), ("host: Billing", at_ms(7)));
        assert_eq!(DoneJob::read(7, ""), None);
        assert_eq!(DoneJob::read(7, "x y z"), None);
    }

    #[test]
    fn partitions_are_one_queue_in_numbers() {
        let part = |waiting, oldest_ms| QueueLook {
            partitions: 2,
            waiting,
            global: 5,
            per_key: 3,
            oldest_ms,
            ..QueueLook::default()
        };
        let whole = sum(vec![part(1, None), part(2, Some(9))]).unwrap();
        assert_eq!((whole.waiting, whole.global, whole.per_key), (3, 10, 3));
        assert_eq!((whole.partitions, whole.oldest_ms), (2, Some(9)));
        assert_eq!(sum(Vec::new()), None);
    }

    #[test]
    fn periods_are_added_up_and_the_newest_are_told() {
        let counted = |at_ms, done| Counted { at_ms, counts: vec![("done".to_owned(), done)] };
        let all = vec![vec![counted(0, 1), counted(60_000, 2)], vec![counted(60_000, 3)]];
        let newest = periods(all, 1);
        assert_eq!(newest.len(), 1);
        assert_eq!((newest[0].at, newest[0].counts["done"]), (at_ms(60_000), 5));
    }
}
