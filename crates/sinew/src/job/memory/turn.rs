//! Who takes jobs, and the step with which that is done.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::jobs::Place;
use super::keys::Waiting;
use super::state::{Queue, len};
use crate::job::model::{
    ALIVE_EVERY, ANSWER_LEN_MAX, AWAY_LEASE, EXTRAS, End, Held, JobId, Joined, Joining,
    LEASE_GRACE, Noted, PROMOTE_MAX, PROMOTE_MIN, PROMOTE_PER_MS, Renewed, STORE_AWAY, Settle,
    Taken, Telling, Took, Turn, crashed_too_often, millis,
};

/// How often lists are looked into for what one turn takes.
const LOOKS_MAX: usize = 8;
/// How many done jobs are forgotten at a time that are not kept any longer.
const FORGET_MAX: usize = 256;
/// In so many parts the time of a rate is counted. One more than that are looked at, so that no time of its length, wherever
/// it begins, has more.
const RATE_PARTS: u64 = 20;

/// Who takes jobs.
pub(super) struct Lane {
    pub(super) label: String,
    pub(super) joined_ms: u64,
    pub(super) until_ms: u64,
    /// It has been given time for a silence of the store, and has not said since that it lives.
    is_spared: bool,
    pub(super) slots: usize,
    pub(super) held: BTreeMap<JobId, Has>,
    last: Answer,
}

/// A job that a lane has.
pub(super) struct Has {
    fence: u64,
    pub(super) is_cancelled: bool,
    key: Option<Arc<str>>,
}

/// What was answered last.
#[derive(Default)]
struct Answer {
    request: u64,
    fence: u64,
    jobs: Vec<JobId>,
    lost: Vec<JobId>,
    /// They were cancelled when their ends were told.
    passed: Vec<JobId>,
}

impl Lane {
    fn stop(&self) -> Vec<JobId> {
        self.held.iter().filter(|(_, has)| has.is_cancelled).map(|(id, _)| *id).collect()
    }

    fn has(&self, id: JobId, fence: u64) -> bool {
        self.held.get(&id).is_some_and(|has| has.fence == fence)
    }
}

impl Queue {
    pub(super) fn join(&mut self, joining: Joining<'_>, now_ms: u64) -> Joined {
        let Joining { lane, label, slots, lease_ms } = joining;
        let until_ms = now_ms.saturating_add(lease_ms);
        if let Some(known) = self.lanes.get_mut(lane) {
            if known.label != label || known.slots != slots {
                return Joined::Taken;
            }
            // It was sent again.
            known.until_ms = until_ms;
            known.is_spared = false;
            return Joined::Done { now_ms };
        }
        if self.lanes.len() >= joining.lanes_max() {
            return Joined::Full;
        }
        let joined = Lane {
            label: label.to_owned(),
            joined_ms: now_ms,
            until_ms,
            is_spared: false,
            slots,
            held: BTreeMap::new(),
            last: Answer::default(),
        };
        self.lanes.insert(lane.into(), joined);
        Joined::Done { now_ms }
    }

    pub(super) fn turn(&mut self, turn: &Turn<'_>, now_ms: u64) -> Held<Took> {
        let Some((name, lane)) = self.lanes.get_key_value(turn.lane) else { return Held::Fallen };
        let (name, is_remembered) = (Arc::clone(name), turn.request > 0);
        if is_remembered && turn.request < lane.last.request {
            return Held::Fallen;
        }
        if is_remembered && turn.request == lane.last.request {
            return Held::Kept(self.repeat(&name, now_ms));
        }
        self.is_here(&name, now_ms);
        let was_next = self.next_scheduled();
        let (lost, passed) = self.settle_all(&name, turn.settles, now_ms);
        // What one tells by hand counts where its end does.
        if is_remembered || lost.is_empty() && passed.is_empty() {
            for (field, by) in turn.counts {
                self.count(now_ms, field, *by);
            }
        }
        self.forget_dead(now_ms);
        self.forget_kept(FORGET_MAX, now_ms);
        let mut took = Vec::new();
        if is_remembered {
            self.reclaim(&name, now_ms);
            took = self.take(&name, turn, now_ms);
        }
        let fence = if took.is_empty() { 0 } else { self.fence };
        let jobs = took.clone();
        let answer = Answer { request: turn.request, fence, jobs, lost: lost.clone(), passed };
        let stop = self.note_answer(&name, answer);
        let has_more = self.pass_on(was_next, now_ms);
        let next_due_ms = self.next_due(now_ms);
        Held::Kept(Took { fence, lost, stop, has_more, next_due_ms, ..self.reply(&took, now_ms) })
    }

    /// Notes what a lane is answered, and says which of its jobs were cancelled. One that only tells of ends has nothing
    /// noted, and goes with its last job.
    fn note_answer(&mut self, name: &str, answer: Answer) -> Vec<JobId> {
        let Some(lane) = self.lanes.get_mut(name) else { return answer.passed };
        let stop = [lane.stop(), answer.passed.clone()].concat();
        if answer.request > 0 {
            lane.last = answer;
        } else if lane.held.is_empty() {
            self.lanes.remove(name);
        }
        stop
    }

    /// What was answered before, as far as it is still so. What was cancelled since has not begun, and is done with.
    fn repeat(&mut self, name: &str, now_ms: u64) -> Took {
        let Some(lane) = self.lanes.get_mut(name) else { return Took::default() };
        let (fence, lost) = (lane.last.fence, lane.last.lost.clone());
        let (mut jobs, mut gone) = (Vec::new(), Vec::new());
        for id in &lane.last.jobs {
            match lane.held.get(id).filter(|has| has.fence == fence) {
                Some(has) if has.is_cancelled => gone.push(*id),
                Some(_) => jobs.push(*id),
                None => {}
            }
        }
        let gone: Vec<(JobId, Has)> =
            gone.into_iter().filter_map(|id| Some((id, lane.held.remove(&id)?))).collect();
        let stop = [lane.stop(), lane.last.passed.clone()].concat();
        for (id, has) in gone {
            self.let_go(id, &has);
        }
        let next_due_ms = self.next_scheduled();
        Took { fence, lost, stop, has_more: true, next_due_ms, ..self.reply(&jobs, now_ms) }
    }

    /// Jobs as they are told, and what else there is to know.
    fn reply(&self, ids: &[JobId], now_ms: u64) -> Took {
        let taken = |id: &JobId| {
            let record = self.jobs.get(*id)?.record.write();
            Some(Taken { id: *id, record })
        };
        Took {
            now_ms,
            jobs: ids.iter().filter_map(taken).collect(),
            is_paused: self.is_paused,
            is_owing: self.outbox.is_owing(now_ms),
            has_suspects: !self.suspects.is_empty(),
            ..Took::default()
        }
    }

    /// Those whose end does not count: they are not the lane's any more, or were cancelled.
    fn settle_all(
        &mut self,
        lane: &Arc<str>,
        settles: &[Settle],
        now_ms: u64,
    ) -> (Vec<JobId>, Vec<JobId>) {
        let (mut lost, mut passed) = (Vec::new(), Vec::new());
        let (mut lines, mut done) = (String::new(), 0);
        for settle in settles {
            let held = self.lanes.get_mut(lane).filter(|lane| lane.has(settle.id, settle.fence));
            let Some(has) = held.and_then(|lane| lane.held.remove(&settle.id)) else {
                lost.push(settle.id);
                continue;
            };
            self.let_go(settle.id, &has);
            if has.is_cancelled {
                passed.push(settle.id);
                continue;
            }
            if let End::Done { line, .. } = &settle.end {
                lines.push_str(&String::from_utf8_lossy(line));
                done += 1;
            }
            self.end(settle.id, &settle.end, now_ms);
        }
        self.note_past(lines, done, now_ms);
        self.count(now_ms, "lost", len(lost.len()));
        (lost, passed)
    }

    /// A lane does not have a job any more.
    fn let_go(&mut self, id: JobId, has: &Has) {
        self.running = self.running.saturating_sub(1);
        self.free(has.key.as_ref());
        if has.is_cancelled {
            self.tombs.remove(&id);
        }
    }

    /// Takes jobs, so many as are wanted and may run, and as there is room for in an answer.
    fn take(&mut self, lane: &Arc<str>, turn: &Turn<'_>, now_ms: u64) -> Vec<JobId> {
        let want = usize::try_from(self.room(len(turn.want), now_ms)).unwrap_or(turn.want);
        let mut took = Vec::new();
        if want > 0 {
            self.promote_for(want, now_ms);
        }
        if want > 0 && turn.takes_suspect {
            for _ in 0..LOOKS_MAX {
                let Some(id) = self.suspects.pop_front() else { break };
                if !self.tombs.remove(&id) {
                    took.push(id);
                    break;
                }
            }
        }
        self.take_from_lists(want, &mut took);
        // None of those can be run now, and one behind them may.
        if took.is_empty() && self.promote(PROMOTE_MAX, now_ms) > 0 {
            self.take_from_lists(want, &mut took);
        }
        self.hand_out(lane, &took, now_ms);
        took
    }

    /// Moves those that are due before a turn takes so many, and some more with each millisecond: an urgent one may be due behind
    /// all of them.
    fn promote_for(&mut self, want: usize, now_ms: u64) {
        if self.next_scheduled().is_none_or(|due_ms| due_ms > now_ms) {
            return;
        }
        let since_ms = self.moved_ms.and_then(|moved_ms| now_ms.checked_sub(moved_ms));
        let more = since_ms.map_or(PROMOTE_MAX, |since_ms| {
            usize::try_from(since_ms).unwrap_or(PROMOTE_MAX).saturating_mul(PROMOTE_PER_MS)
        });
        self.promote(want.max(PROMOTE_MIN).saturating_add(more).min(PROMOTE_MAX), now_ms);
        self.moved_ms = Some(now_ms);
    }

    fn take_from_lists(&mut self, want: usize, took: &mut Vec<JobId>) {
        let mut taken_len = took.iter().map(|id| self.len_of(*id)).sum::<usize>();
        let (mut looks, mut list) = (0, self.waiting.len());
        while took.len() < want && taken_len < ANSWER_LEN_MAX && looks < LOOKS_MAX && list > 0 {
            let wanted = (want - took.len()).min(self.waiting[list - 1].len());
            if wanted == 0 {
                list -= 1;
                continue;
            }
            looks += 1;
            // What is put into the list meanwhile is looked at the next time.
            let mut waiting: VecDeque<Waiting> = self.waiting[list - 1].drain(..wanted).collect();
            while taken_len < ANSWER_LEN_MAX
                && let Some(next) = waiting.pop_front()
            {
                let id = match next {
                    Waiting::Job(id) => Some(id).filter(|id| !self.tombs.remove(id)),
                    Waiting::Key { seq, key } => self.redeem(seq, &key),
                };
                taken_len += id.map_or(0, |id| self.len_of(id));
                took.extend(id);
            }
            // What there is no room for is the first again.
            for left in waiting.into_iter().rev() {
                self.waiting[list - 1].push_front(left);
            }
        }
    }

    /// How long a job is as it is handed out.
    fn len_of(&self, id: JobId) -> usize {
        self.jobs.get(id).map_or(0, |job| job.record.written_len())
    }

    fn hand_out(&mut self, name: &Arc<str>, ids: &[JobId], now_ms: u64) {
        if ids.is_empty() {
            return;
        }
        self.fence = (self.fence + 1).max(now_ms.saturating_mul(1_000));
        self.running += len(ids.len());
        self.note_begun(len(ids.len()), now_ms);
        for id in ids {
            let key = self.jobs.get(*id).and_then(|job| job.key.clone());
            self.jobs.put(*id, Place::Running { lane: Arc::clone(name) });
            if let Some(lane) = self.lanes.get_mut(name) {
                lane.held.insert(*id, Has { fence: self.fence, is_cancelled: false, key });
            }
        }
    }

    /// How many more may be begun now, of so many.
    fn room(&self, want: u64, now_ms: u64) -> u64 {
        if self.is_paused {
            return 0;
        }
        let global = match self.limits.global {
            0 => want,
            global => global.saturating_sub(self.running),
        };
        want.min(global).min(self.rate_room(now_ms).unwrap_or(want))
    }

    /// How many more the rate allows; nothing where there is none.
    fn rate_room(&self, now_ms: u64) -> Option<u64> {
        let (rate, rate_ms) = self.limits.rate;
        let begun = self.counted_begun(now_ms).map(|(_, count)| *count).sum::<u64>();
        (rate > 0 && rate_ms > 0).then(|| rate.saturating_sub(begun))
    }

    /// What was begun, and when, as far as it counts for the rate.
    fn counted_begun(&self, now_ms: u64) -> impl Iterator<Item = &(u64, u64)> {
        let part = self.rate_part(now_ms);
        self.begun.iter().filter(move |(at, _)| at + RATE_PARTS >= part)
    }

    /// In which part of the rate's time a moment is. They are not whole milliseconds: twenty are as long as that time.
    fn rate_part(&self, now_ms: u64) -> u64 {
        now_ms.saturating_mul(RATE_PARTS) / self.limits.rate.1.max(1)
    }

    fn note_begun(&mut self, count: u64, now_ms: u64) {
        if self.limits.rate.0 == 0 {
            self.begun.clear();
            return;
        }
        let part = self.rate_part(now_ms);
        self.begun.retain(|(at, _)| at + RATE_PARTS >= part);
        match self.begun.back_mut() {
            // Also where the clock was put back.
            Some((at, begun)) if *at >= part => *begun += count,
            _ => self.begun.push_back((part, count)),
        }
    }

    /// When there is something to take: the next delayed job, or what a rate holds back.
    fn next_due(&self, now_ms: u64) -> Option<u64> {
        let rate_ms = self.limits.rate.1;
        let has_any = self.has_waiting() || !self.suspects.is_empty();
        let is_held_back = self.rate_room(now_ms) == Some(0) && has_any;
        let oldest = self.counted_begun(now_ms).next().filter(|_| is_held_back);
        let free_ms = |at: u64| (at + RATE_PARTS + 1).saturating_mul(rate_ms).div_ceil(RATE_PARTS);
        let allowed = oldest.map(|(at, _)| free_ms(*at).max(now_ms + 1));
        [self.next_scheduled(), allowed].into_iter().flatten().min()
    }

    /// Whoever leaves something that may run tells another. Whether there is any.
    fn pass_on(&mut self, was_next: Option<u64>, now_ms: u64) -> bool {
        let is_due = self.next_scheduled().is_some_and(|due_ms| due_ms <= now_ms);
        let has_any = self.has_waiting() || is_due;
        let has_more = has_any && self.room(1, now_ms) > 0;
        if has_more {
            // Where one lies there already, nobody waits.
            self.wakes = self.wakes.max(1);
        } else if !has_any && self.suspects.is_empty() {
            self.wakes = 0;
        }
        self.wake_for_earlier(was_next);
        has_more
    }

    /// Has jobs wait whose time has come, so many at most.
    fn promote(&mut self, count_max: usize, now_ms: u64) -> usize {
        let mut promoted = 0;
        while promoted < count_max
            && let Some((due_ms, _, id)) = self.scheduled.first().copied()
            && due_ms <= now_ms
        {
            self.scheduled.pop_first();
            self.ready(id);
            promoted += 1;
        }
        promoted
    }

    /// Takes back what a lane had whose lease is over, and has been for a while; not of `own`.
    fn reclaim(&mut self, own: &str, now_ms: u64) -> usize {
        let over_ms = now_ms.saturating_sub(millis(LEASE_GRACE));
        let is_over = |name: &str, lane: &Lane| name != own && lane.until_ms < over_ms;
        let over = self.lanes.iter().filter(|(name, lane)| is_over(name, lane));
        let first = over.min_by_key(|(_, lane)| lane.until_ms).map(|(name, _)| Arc::clone(name));
        let Some(fallen) = first.and_then(|name| self.lanes.remove(&name)) else { return 0 };
        let count = fallen.held.len();
        // So that the oldest are the first.
        for (id, has) in fallen.held.into_iter().rev() {
            self.let_go(id, &has);
            if !has.is_cancelled {
                self.crashed(id, now_ms);
            }
        }
        self.wake(count);
        count
    }

    /// The process of a job has ended.
    fn crashed(&mut self, id: JobId, now_ms: u64) {
        self.count(now_ms, "crashed", 1);
        let crashed = self.jobs.edit(id, |job| {
            job.record.crashes = job.record.crashes.saturating_add(1);
            (job.record.crashes, job.kind())
        });
        let Some((crashes, kind)) = crashed else { return };
        match crashed_too_often(crashes) {
            Some(reason) => {
                self.bury(id, &format!("crashed-{kind}"), &format!("{kind}\0{reason}"), now_ms);
            }
            None => self.suspect(id),
        }
    }

    /// A lane has said that it lives. Where none has for long, the store was away, and no other is to suffer for it: each
    /// has as long again, once, until it says so itself. Where a queue is asked seldom each call comes after such a
    /// silence, and what a dead lane had would never come back.
    fn is_here(&mut self, own: &str, now_ms: u64) {
        let Some(alive_ms) = self.alive_ms else {
            self.alive_ms = Some(now_ms);
            return;
        };
        let silent_ms = now_ms.saturating_sub(alive_ms);
        if silent_ms > millis(STORE_AWAY) {
            let until_ms = now_ms.saturating_add(silent_ms.min(millis(AWAY_LEASE)));
            for (name, lane) in &mut self.lanes {
                let is_over = **name != *own || lane.until_ms < now_ms;
                if is_over && !lane.is_spared && lane.until_ms < until_ms {
                    lane.until_ms = until_ms;
                    lane.is_spared = true;
                }
            }
        }
        if silent_ms > millis(ALIVE_EVERY) {
            self.alive_ms = Some(now_ms);
        }
    }

    pub(super) fn renew(
        &mut self,
        name: &str,
        lease_ms: u64,
        held: &[(JobId, u64)],
        now_ms: u64,
    ) -> Held<Renewed> {
        if !self.lanes.contains_key(name) {
            return Held::Fallen;
        }
        self.is_here(name, now_ms);
        let mut stop = Vec::new();
        if let Some(lane) = self.lanes.get_mut(name) {
            lane.until_ms = now_ms.saturating_add(lease_ms);
            lane.is_spared = false;
            stop = lane.stop();
            let gone = held.iter().filter(|(id, fence)| !lane.has(*id, *fence));
            stop.extend(gone.map(|(id, _)| *id));
        }
        self.forget_kept(FORGET_MAX, now_ms);
        let promoted = self.promote(PROMOTE_MAX, now_ms);
        self.wake(promoted);
        self.reclaim(name, now_ms);
        let (next_due_ms, is_owing) = (self.next_scheduled(), self.outbox.is_owing(now_ms));
        Held::Kept(Renewed { now_ms, stop, next_due_ms, is_owing })
    }

    pub(super) fn leave(&mut self, name: &str) {
        let Some(left) = self.lanes.remove(name) else { return };
        self.wake(left.held.len());
        // So that the oldest are the first.
        for (id, has) in left.held.into_iter().rev() {
            self.let_go(id, &has);
            if !has.is_cancelled {
                self.give_back(id);
            }
        }
    }

    pub(super) fn tell_of(&mut self, telling: Telling<'_>) -> Noted {
        let Telling { lane, id, fence, progress, log } = telling;
        let has = self.lanes.get(lane).and_then(|lane| lane.held.get(&id));
        match has.filter(|has| has.fence == fence) {
            None => return Noted::Lost,
            Some(has) if has.is_cancelled => return Noted::Cancelled,
            Some(_) => {}
        }
        self.jobs.edit(id, |job| {
            job.record.flags |= EXTRAS;
            if let Some(progress) = progress {
                job.progress = Some(Bytes::copy_from_slice(progress));
            }
            job.add_to_log(log);
        });
        Noted::Kept
    }
}
