//! What brings events in: readers of new ones, the taker of those that are due or orphaned, and the starter of runs.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::super::again::growing;
use super::super::backend::Backend as _;
use super::super::model::{
    Becomes, CLAIM_MAX, Claim, DUE_MAX, Due, Entry, EntryId, Next, READ_MAX, Reply, Taken, Who,
    Whom,
};
use super::super::run::Ended;
use super::{Consumer, Delivery, Part};
use crate::kernel::breaker::BreakerState;
use crate::kernel::clock::Monotonic;
use crate::kernel::error::{Error, Result};
use crate::kernel::key::PartitionKeys;

impl Consumer {
    /// Reads new events of partitions that can be waited for together, until it is aborted.
    pub(super) async fn read(self: Arc<Self>, keys: Vec<PartitionKeys>) {
        // All partitions are there, in their order.
        let indices: Vec<_> = keys.iter().map(|keys| usize::from(keys.partition())).collect();
        let mut reader = self.engine.backend.reader(&keys, &self.settings.group);
        let mut again = growing();
        loop {
            self.follow_moves();
            self.until_joined(&indices).await;
            // In the reader's own task: what its last reply had is known by now.
            for index in &indices {
                self.recover(*index).await;
            }
            self.runs.until_callable().await;
            let max = self.credit(indices.len()).await;
            let name = self.name();
            match reader.next(&name, max).await {
                Ok(Next::Got(entries)) => {
                    again.well();
                    self.take_read(&name, entries).await;
                }
                Ok(Next::Nothing) => again.well(),
                Ok(Next::NoGroup) => {
                    indices.iter().for_each(|index| self.rejoin(&self.parts[*index]));
                    again.pause().await;
                }
                // It may be another server, which knows less: nothing is read before the group is joined.
                Ok(Next::Reopened) => {
                    indices.iter().for_each(|index| self.rejoin(&self.parts[*index]));
                }
                Err(error) => {
                    // The same; and what it gave may not have arrived, which is found once it is joined.
                    indices.iter().for_each(|index| self.rejoin(&self.parts[*index]));
                    self.note_or_end(error);
                    again.pause().await;
                }
            }
        }
    }

    async fn until_joined(&self, indices: &[usize]) {
        loop {
            let joined = self.joined.notified();
            tokio::pin!(joined);
            joined.as_mut().enable();
            if indices.iter().all(|index| self.parts[*index].standing.lock().is_settled()) {
                return;
            }
            joined.await;
        }
    }

    /// How many events may be asked for, of each of so many partitions. Waits until it is one at least.
    async fn credit(&self, partitions: usize) -> usize {
        let concurrency = self.settings.concurrency;
        let unsettled_max = 2 * concurrency.max(READ_MAX);
        self.load
            .until(|load| load.open_len() < concurrency && load.unsettled_len() < unsettled_max)
            .await;
        let free = concurrency.saturating_sub(self.load.open_len());
        (free / partitions).clamp(1, READ_MAX)
    }

    /// Entries that were read under a name, which may be a former one by now.
    async fn take_read(&self, read_as: &Arc<str>, entries: Vec<(u16, Entry)>) {
        let mut by_part: Vec<(usize, Vec<Entry>)> = Vec::new();
        for (partition, entry) in entries {
            let at = self.parts.iter().position(|part| part.keys.partition() == partition);
            let Some(index) = at else { continue };
            match by_part.last_mut().filter(|(last, _)| *last == index) {
                Some((_, entries)) => entries.push(entry),
                None => by_part.push((index, vec![entry])),
            }
        }
        for (index, mut entries) in by_part {
            let part = &self.parts[index];
            if !Arc::ptr_eq(read_as, &self.name()) {
                let ids: Vec<EntryId> = self.follow(part, read_as).await;
                entries.retain(|entry| ids.contains(&entry.id));
            }
            let delivery = self.deliver(part, Taken { entries, lost: Vec::new() });
            self.hand_on(index, delivery).await;
        }
    }

    /// Brings over what was read under a former name, and says which that is. What came over before is not among
    /// them: it is recovered.
    async fn follow(&self, part: &Part, read_as: &Arc<str>) -> Vec<EntryId> {
        let mut again = growing();
        loop {
            let renamed = {
                let _taking = part.held.taking().await;
                let (name, lease_ms) = (self.name(), self.lease_ms());
                let backend = &self.engine.backend;
                backend.rename(&part.keys, &part.group, read_as, &name, lease_ms).await
            };
            match renamed {
                Ok(Reply::Ok(moved)) => {
                    part.standing.lock().must_recover = true;
                    return moved;
                }
                Ok(Reply::NoGroup) => {
                    self.rejoin(part);
                    return Vec::new();
                }
                Err(error) => self.note_or_end(error),
            }
            again.pause().await;
        }
    }

    /// Takes in what the store says is this consumer's and is not known here, if there may be any.
    async fn recover(&self, index: usize) {
        let part = &self.parts[index];
        {
            let mut standing = part.standing.lock();
            if !standing.is_settled() || !std::mem::take(&mut standing.must_recover) {
                return;
            }
        }
        let recovered = {
            let _taking = part.held.taking().await;
            self.try_recover(part).await
        };
        match recovered {
            Ok(Some(delivery)) => self.hand_on(index, delivery).await,
            Ok(None) => self.rejoin(part),
            Err(error) => {
                let mut standing = part.standing.lock();
                standing.must_recover = true;
                standing.recovering.failed(&error);
                drop(standing);
                self.note_or_end(error);
            }
        }
    }

    async fn try_recover(&self, part: &Part) -> Result<Option<Delivery>> {
        self.bring_over(part).await?;
        let (name, known) = (self.name(), part.held.known());
        let (backend, max) = (&self.engine.backend, part.standing.lock().recovering.most());
        Ok(match backend.recover(&part.keys, &part.group, &name, &known, max).await? {
            Reply::Ok(taken) => {
                let mut standing = part.standing.lock();
                standing.recovering.came();
                // There may be more.
                standing.must_recover |= taken.entries.len() + taken.lost.len() >= max;
                drop(standing);
                Some(self.deliver(part, taken))
            }
            Reply::NoGroup => None,
        })
    }

    /// Takes what is due, and what the dead have left, until it is aborted.
    pub(super) async fn take(self: Arc<Self>) {
        let clock = self.engine.clock.clone();
        loop {
            self.runs.until_callable().await;
            // Readers have asked for as much as may run; this much again may wait.
            let held_max = 2 * self.settings.concurrency;
            self.load.until(|load| load.open_len() < held_max).await;
            self.follow_moves();
            let mut next: Option<Monotonic> = None;
            for index in 0..self.parts.len() {
                if !self.parts[index].standing.lock().is_settled() {
                    continue;
                }
                if let Some(from) = self.orphans_of(index) {
                    self.claim(index, from).await;
                }
                let due_at = self.parts[index].standing.lock().due_at;
                if due_at.is_some_and(|due_at| due_at <= clock.now()) {
                    self.take_due(index).await;
                }
                let due_at = self.parts[index].standing.lock().due_at;
                next = [next, due_at].into_iter().flatten().min();
            }
            tokio::select! {
                () = self.to_take.notified() => {}
                () = async {
                    match next {
                        Some(next) => clock.sleep_until(next).await,
                        None => std::future::pending().await,
                    }
                } => {}
            }
        }
    }

    /// One whose events are to be claimed, once everyone had time to be heard.
    fn orphans_of(&self, index: usize) -> Option<String> {
        let mut standing = self.parts[index].standing.lock();
        let may_claim = standing.is_settled() && self.engine.clock.now() >= standing.claim_after;
        if may_claim { standing.fallen.take() } else { None }
    }

    async fn claim(&self, index: usize, from: String) {
        let part = &self.parts[index];
        let claimed = {
            let _taking = part.held.taking().await;
            let name = self.name();
            let ticking = self.ticking(&name, Whom::Members);
            let backend = &self.engine.backend;
            let claim = backend.claim(&part.keys, &part.group, &ticking, &from, CLAIM_MAX).await;
            claim.map(|claim| match claim {
                Claim::Took { taken, has_more } => Some((self.deliver(part, taken), has_more)),
                Claim::Refused => None,
                Claim::NoGroup => {
                    self.rejoin(part);
                    None
                }
            })
        };
        match claimed {
            Ok(Some((delivery, has_more))) => {
                if has_more {
                    part.standing.lock().fallen = Some(from);
                    self.to_take.notify_one();
                }
                self.hand_on(index, delivery).await;
            }
            // The next tick names it again.
            Ok(None) => {}
            Err(error) => self.note_or_end(error),
        }
    }

    async fn take_due(&self, index: usize) {
        let part = &self.parts[index];
        let held_max = 2 * self.settings.concurrency;
        let room = held_max.saturating_sub(self.load.open_len()).clamp(1, DUE_MAX);
        let took = {
            let _taking = part.held.taking().await;
            let name = self.name();
            let due = self.engine.backend.due(&part.keys, &part.group, &name, room).await;
            due.map(|due| self.took_due(part, due))
        };
        match took {
            Ok(Some(delivery)) => self.hand_on(index, delivery).await,
            // A tick comes first, and says when.
            Ok(None) => part.standing.lock().due_at = None,
            Err(error) => {
                part.standing.lock().due_at = None;
                self.note_or_end(error);
            }
        }
    }

    fn took_due(&self, part: &Part, due: Due) -> Option<Delivery> {
        match due {
            Due::Took { taken, next_due_ms, next_later_ms } => {
                let now = self.engine.clock.now();
                let mut standing = part.standing.lock();
                let next_ms = [next_due_ms, next_later_ms].into_iter().flatten().min();
                standing.due_at = next_ms.map(|next_ms| standing.at(next_ms, now));
                drop(standing);
                Some(self.deliver(part, taken))
            }
            Due::Refused => {
                self.to_keep.notify_one();
                None
            }
            Due::NoGroup => {
                self.rejoin(part);
                None
            }
        }
    }

    /// Starts runs, as many at a time as may be, until it is aborted.
    pub(super) async fn start_runs(self: Arc<Self>, mut queue: mpsc::Receiver<(usize, Entry)>) {
        while let Some((index, entry)) = queue.recv().await {
            let part = &self.parts[index];
            self.runs.permit().await;
            let state = self.runs.breaker_state();
            if matches!(state, Some(BreakerState::Open | BreakerState::Isolated)) {
                self.runs.not_needed();
                self.put_back(part, entry.id).await;
                continue;
            }
            let who = Who::Consumer(self.name());
            let (held, ended) = (Arc::clone(&part.held), part.ended.clone());
            let run = self.runs.start(&part.keys, &part.group, who, entry, held, ended);
            if state == Some(BreakerState::HalfOpen) {
                // One at a time, to see whether the others may.
                run.await;
            }
        }
    }

    /// For others to take at once, without a failure: what it needs is known not to be well.
    async fn put_back(&self, part: &Part, id: EntryId) {
        let becomes = match part.held.ended(id) {
            true => Becomes::back(),
            false => Becomes::Abandon,
        };
        let _ = part.ended.send(Ended { id, becomes }).await;
    }

    fn note_or_end(&self, error: Error) {
        match error.is_final() {
            true => self.end_for(error),
            false => self.note_trouble(&error),
        }
    }
}
