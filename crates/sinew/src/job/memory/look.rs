//! What people are told of a partition.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::jobs::{Job, Place};
use super::keys::Waiting;
use super::marks::FOR_EVER;
use super::state::{Queue, len};
use super::turn::Lane;
use crate::job::model::{
    ANSWER_LEN_MAX, After, Audited, COUNTERS_MAX, Counted, DAYS_KEEP, Found, Grain, JobId,
    JobState, LaneInfo, MINUTES_KEEP, PAGE_MAX, PAST_KEEP, PAST_LEN_MAX, Page, QueueLook, Shelf,
    millis,
};

/// How many keys an audit looks at; the next one goes on behind them.
const AUDIT_MAX: usize = 256;

/// Counters, by when the minute or the day began.
#[derive(Default)]
pub(super) struct Statistics {
    minutes: BTreeMap<u64, BTreeMap<String, u64>>,
    days: BTreeMap<u64, BTreeMap<String, u64>>,
}

impl Statistics {
    fn of(&self, grain: Grain) -> &BTreeMap<u64, BTreeMap<String, u64>> {
        match grain {
            Grain::Minute => &self.minutes,
            Grain::Day => &self.days,
        }
    }

    fn add(&mut self, now_ms: u64, field: &str, by: u64) {
        let minutes = (&mut self.minutes, Grain::Minute, MINUTES_KEEP);
        for (counts, grain, keep) in [minutes, (&mut self.days, Grain::Day, DAYS_KEEP)] {
            let counters = counts.entry(begin(now_ms, grain)).or_default();
            let has_room = counters.len() < COUNTERS_MAX || counters.contains_key(field);
            let other = if has_room { None } else { of_others(field) };
            *counters.entry(other.unwrap_or_else(|| field.to_owned())).or_default() += by;
            let before_ms = now_ms.saturating_sub(millis(keep));
            while counts.first_key_value().is_some_and(|(at_ms, _)| *at_ms < before_ms) {
                counts.pop_first();
            }
        }
    }
}

/// What counts the same of all other kinds, where it is of one.
fn of_others(field: &str) -> Option<String> {
    let (what, of_kind) = field.split_once(':').filter(|(what, _)| ["k", "h"].contains(what))?;
    let (_, of) = of_kind.rsplit_once(':')?;
    Some(format!("{what}:other:{of}"))
}

/// When a minute or a day began.
fn begin(now_ms: u64, grain: Grain) -> u64 {
    now_ms - now_ms % millis(grain.length())
}

impl Queue {
    pub(super) fn count(&mut self, now_ms: u64, field: &str, by: u64) {
        if by > 0 {
            self.statistics.add(now_ms, field, by);
        }
    }

    /// The newest, oldest first.
    pub(super) fn counted(&self, grain: Grain, count: usize, now_ms: u64) -> Vec<Counted> {
        let span_ms = millis(grain.length()).saturating_mul(len(count.saturating_sub(1)));
        let from_ms = begin(now_ms, grain).saturating_sub(span_ms);
        let counted = |(at_ms, counts): (&u64, &BTreeMap<String, u64>)| {
            let counts = counts.iter().map(|(field, count)| (field.clone(), *count)).collect();
            Counted { at_ms: *at_ms, counts }
        };
        self.statistics.of(grain).range(from_ms..).take(count).map(counted).collect()
    }

    /// Notes what a turn told as done.
    pub(super) fn note_past(&mut self, lines: String, done: u64, now_ms: u64) {
        if done == 0 {
            return;
        }
        self.past.push_back((now_ms, done, lines));
        self.past_len += done;
        let before_ms = now_ms.saturating_sub(millis(PAST_KEEP));
        while let Some((at_ms, count, _)) = self.past.front()
            && (self.past_len > PAST_LEN_MAX || *at_ms < before_ms)
        {
            self.past_len -= count;
            self.past.pop_front();
        }
    }

    /// The newest turn first.
    pub(super) fn past(&self, from: usize, turns: usize) -> Vec<(u64, String)> {
        let past = self.past.iter().rev().skip(from).take(turns);
        past.map(|(at_ms, _, lines)| (*at_ms, lines.clone())).collect()
    }

    pub(super) fn done(&self, id: JobId) -> Option<(u64, String)> {
        let begins = format!("{id} ");
        self.past.iter().rev().find_map(|(at_ms, _, lines)| {
            let line = lines.lines().find(|line| line.starts_with(&begins))?;
            Some((*at_ms, line.to_owned()))
        })
    }

    /// A job that is there, and not kept beyond its time.
    pub(super) fn there(&self, id: JobId, now_ms: u64) -> Option<&Job> {
        let is_over =
            |job: &Job| matches!(job.place, Place::Kept { until_ms, .. } if until_ms <= now_ms);
        self.jobs.get(id).filter(|job| !is_over(job))
    }

    pub(super) fn find(&self, id: JobId, now_ms: u64) -> Option<Found> {
        self.there(id, now_ms).map(|job| job.found(id))
    }

    pub(super) fn find_awaiting(&mut self, id: JobId, for_ms: u64, now_ms: u64) -> Option<Found> {
        let mut found = self.find(id, now_ms)?;
        if found.state == JobState::Running {
            (found.state, found.lane) = (JobState::Waiting, None);
        }
        if self.jobs.get(id).is_some_and(Job::is_unfinished) {
            let until_ms = now_ms.saturating_add(for_ms);
            self.awaited.sweep(now_ms);
            if self.awaited.get(&id, until_ms).is_none() {
                self.awaited.set(&id, (), until_ms.min(FOR_EVER - 1));
            }
        }
        Some(found)
    }

    pub(super) fn page(&self, shelf: &Shelf, after: &After, count: usize, now_ms: u64) -> Page {
        let count = count.clamp(1, PAGE_MAX);
        match shelf {
            Shelf::Waiting(priority) => {
                let list = self.waiting.get(usize::from(*priority));
                let job = |waiting: &Waiting| match waiting {
                    Waiting::Job(id) => Some(*id),
                    Waiting::Key { seq, key } => self.next_of(*seq, key),
                };
                list.map(|list| self.page_of_list(list, after, count, job)).unwrap_or_default()
            }
            Shelf::Suspect => self.page_of_list(&self.suspects, after, count, |id| Some(*id)),
            Shelf::Scheduled => {
                let from = self.after_scheduled(after);
                let later = self.scheduled.range((from, Bound::Unbounded));
                self.page_of(later.map(|(due_ms, _, id)| (*due_ms, *id)), count)
            }
            Shelf::Running => {
                let mut ids: Vec<JobId> =
                    self.lanes.values().flat_map(|lane| lane.held.keys().copied()).collect();
                ids.sort_unstable();
                let is_later = |id: &JobId| after.id.is_none_or(|after| *id > after);
                self.page_of(ids.into_iter().filter(is_later).map(|id| (0, id)), count)
            }
            Shelf::Dead => {
                let until = before(after);
                self.page_of(self.dead.range((Bound::Unbounded, until)).rev().copied(), count)
            }
            Shelf::DeadOf(fingerprint) => {
                let Some(trouble) = self.troubles.get(fingerprint.as_str()) else {
                    return Page::default();
                };
                let until = before(after);
                self.page_of(trouble.dead.range((Bound::Unbounded, until)).rev().copied(), count)
            }
            Shelf::Kept => {
                let from = match after.id {
                    Some(id) => Bound::Excluded((after.at, id)),
                    None => Bound::Unbounded,
                };
                let kept = self.kept.range((from, Bound::Unbounded));
                self.page_of(kept.copied().filter(|(until_ms, _)| *until_ms > now_ms), count)
            }
        }
    }

    /// So many, of a list that moves meanwhile. Those that were cancelled are passed over.
    fn page_of_list<T>(
        &self,
        list: &VecDeque<T>,
        after: &After,
        count: usize,
        job: impl Fn(&T) -> Option<JobId>,
    ) -> Page {
        let from = usize::try_from(after.at).unwrap_or(usize::MAX);
        let waits = |id: &JobId| {
            self.jobs.get(*id).is_some_and(|job| matches!(job.place, Place::Waiting { .. }))
        };
        let (mut jobs, mut page_len, mut next) = (Vec::new(), 0, from);
        for waiting in list.iter().skip(from).take(count) {
            if page_len >= ANSWER_LEN_MAX {
                break;
            }
            let found = job(waiting).filter(waits).and_then(|id| self.found(id));
            page_len += found.as_ref().map_or(0, len_of);
            jobs.extend(found);
            next += 1;
        }
        Page { jobs, next: (next < list.len()).then(|| After { at: len(next), id: None }) }
    }

    fn page_of(&self, mut jobs: impl Iterator<Item = (u64, JobId)>, count: usize) -> Page {
        let (mut page, mut page_len, mut last) = (Vec::new(), 0, None);
        for (at, id) in jobs.by_ref().take(count) {
            last = Some(After { at, id: Some(id) });
            let found = self.found(id);
            page_len += found.as_ref().map_or(0, len_of);
            page.extend(found);
            if page_len >= ANSWER_LEN_MAX {
                break;
            }
        }
        Page { jobs: page, next: last.filter(|_| jobs.next().is_some()) }
    }

    fn found(&self, id: JobId) -> Option<Found> {
        self.jobs.get(id).map(|job| job.found(id))
    }

    /// After one that is not there any more, others of its moment may come again.
    fn after_scheduled(&self, after: &After) -> Bound<(u64, u8, JobId)> {
        let Some(id) = after.id else { return Bound::Unbounded };
        let mark = self.jobs.get(id).map_or(0, Job::due_mark);
        Bound::Excluded((after.at, mark, id))
    }

    pub(super) fn look(&self, now_ms: u64) -> Option<QueueLook> {
        let scheduled = len(self.scheduled.len());
        let waiting = self.size.saturating_sub(scheduled).saturating_sub(self.running);
        // What was cancelled is in its list until it is come to: there are never more in line than wait.
        let lists = self.waiting.each_ref().map(|list| len(list.len()).min(waiting));
        let first = |waiting: &Waiting| match waiting {
            Waiting::Job(id) => Some(*id),
            Waiting::Key { key, .. } => {
                self.keys.get(key).and_then(|keyed| keyed.waiting.first()).map(|(_, _, id)| *id)
            }
        };
        let firsts = self.waiting.iter().filter_map(|list| list.front().and_then(first));
        let firsts = firsts.chain(self.suspects.front().copied());
        let oldest = firsts.filter_map(|id| self.jobs.get(id)).map(|job| job.record.enqueued_ms);
        Some(QueueLook {
            partitions: self.partitions?,
            is_paused: self.is_paused,
            waiting,
            by_priority: lists,
            scheduled,
            running: self.running,
            dead: len(self.dead.len()),
            kept: len(self.kept.len()),
            owed: len(self.outbox.len()),
            lanes: len(self.lanes.len()),
            global: self.limits.global,
            per_key: self.limits.per_key,
            rate: self.limits.rate,
            now_ms,
            oldest_ms: oldest.min(),
        })
    }

    pub(super) fn lane_infos(&self) -> Vec<LaneInfo> {
        let info = |(name, lane): (&Arc<str>, &Lane)| LaneInfo {
            lane: name.to_string(),
            worker: lane.label.clone(),
            joined_ms: lane.joined_ms,
            lease_until_ms: lane.until_ms,
            slots: len(lane.slots),
            running: len(lane.held.len()),
        };
        self.lanes.iter().map(info).collect()
    }

    /// In process nothing is lost between two steps: what is left is what a limit that was changed has held back.
    pub(super) fn audit(&mut self, unless_within_ms: u64, now_ms: u64) -> Audited {
        let since_ms = self.audited_ms.and_then(|audited_ms| now_ms.checked_sub(audited_ms));
        if since_ms.is_some_and(|since_ms| since_ms < unless_within_ms) {
            return Audited::default();
        }
        self.audited_ms = Some(now_ms);
        let after = self.audited_key.take().map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.keys.range::<Arc<str>, _>((after, Bound::Unbounded));
        let keys: Vec<Arc<str>> =
            rest.by_ref().take(AUDIT_MAX).map(|(key, _)| Arc::clone(key)).collect();
        self.audited_key = rest.next().and_then(|_| keys.last().cloned());
        let forgotten = keys.iter().filter(|key| self.token(key)).count();
        self.wake(forgotten);
        Audited { forgotten_keys: len(forgotten), ..Audited::default() }
    }
}

/// How long what is told of a job is.
fn len_of(found: &Found) -> usize {
    let ended = found.ended.as_ref().map_or(0, |ended| ended.line.len() + ended.result.len());
    let beside = [&found.progress, &found.log].into_iter().flatten().map(Bytes::len).sum::<usize>();
    found.record.len() + ended + beside
}

/// Up to where those are that come after, the newest first.
fn before(after: &After) -> Bound<(u64, JobId)> {
    after.id.map_or(Bound::Unbounded, |id| Bound::Excluded((after.at, id)))
}
