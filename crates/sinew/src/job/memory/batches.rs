//! Batches, and what is to be enqueued elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::state::Queue;
use crate::job::model::{
    BATCH_KEEP, BatchState, Callbacks, JobId, OUTBOX_LEASE, OUTBOX_MAX, Owed, millis,
};

/// Jobs whose common end has others follow.
#[derive(Default)]
pub(super) struct Batch {
    state: BatchState,
    is_open: bool,
    /// Those that were not told yet.
    callbacks: Callbacks,
}

/// What is to be enqueued elsewhere.
#[derive(Default)]
pub(super) struct Outbox {
    owed: BTreeMap<String, (u64, Bytes)>,
    /// By when it is no one's.
    by_time: BTreeSet<(u64, String)>,
    bytes: usize,
}

impl Outbox {
    pub(super) fn owe(&mut self, member: String, jobs: Bytes, now_ms: u64) {
        // One that is there keeps its time: it may be on its way.
        let at_ms = self.owed.get(&member).map_or(now_ms, |(at_ms, _)| *at_ms);
        self.pay(&member);
        self.bytes += jobs.len();
        self.by_time.insert((at_ms, member.clone()));
        self.owed.insert(member, (at_ms, jobs));
    }

    fn pay(&mut self, member: &str) {
        if let Some((at_ms, jobs)) = self.owed.remove(member) {
            self.bytes -= jobs.len();
            self.by_time.remove(&(at_ms, member.to_owned()));
        }
    }

    /// Those that are no one's, which are the caller's for a time.
    fn take(&mut self, now_ms: u64) -> Vec<Owed> {
        let (mut taken, later_ms) = (Vec::new(), now_ms.saturating_add(millis(OUTBOX_LEASE)));
        while taken.len() < OUTBOX_MAX && self.is_owing(now_ms) {
            let Some((_, member)) = self.by_time.pop_first() else { break };
            if let Some((at_ms, jobs)) = self.owed.get_mut(&member) {
                *at_ms = later_ms;
                taken.push(Owed { member: member.clone(), jobs: jobs.clone() });
                self.by_time.insert((later_ms, member));
            }
        }
        taken
    }

    /// Whether there is something that is no one's.
    pub(super) fn is_owing(&self, now_ms: u64) -> bool {
        self.by_time.first().is_some_and(|(at_ms, _)| *at_ms <= now_ms)
    }

    pub(super) fn len(&self) -> usize {
        self.owed.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Queue {
    pub(super) fn open_batch(
        &mut self,
        id: JobId,
        callbacks: &Callbacks,
        now_ms: u64,
    ) -> BatchState {
        let mut batch = self.batch(id, now_ms);
        if !batch.is_open {
            batch.is_open = true;
            batch.callbacks = callbacks.clone();
        }
        self.keep_batch(id, batch, now_ms)
    }

    pub(super) fn seal_batch(&mut self, id: JobId, now_ms: u64) -> Option<BatchState> {
        self.batches.get(&id, now_ms)?;
        self.change_batch(id, now_ms, |state| state.is_sealed = true);
        self.look_at_batch(id, now_ms)
    }

    pub(super) fn look_at_batch(&self, id: JobId, now_ms: u64) -> Option<BatchState> {
        self.batches.get(&id, now_ms).map(|batch| batch.state)
    }

    /// There is one more.
    pub(super) fn add_to_batch(&mut self, id: JobId, now_ms: u64) {
        let mut batch = self.batch(id, now_ms);
        batch.state.left += 1;
        batch.state.total += 1;
        self.keep_batch(id, batch, now_ms);
    }

    /// Changes how a batch stands, after which it may have ended. Nothing where it is known no more.
    pub(super) fn change_batch(
        &mut self,
        id: JobId,
        now_ms: u64,
        change: impl FnOnce(&mut BatchState),
    ) {
        if self.batches.get(&id, now_ms).is_none() {
            return;
        }
        let mut batch = self.batch(id, now_ms);
        change(&mut batch.state);
        let BatchState { left, failed, gone, is_sealed, .. } = batch.state;
        if is_sealed && left == 0 {
            // Each is told once. One that failed, and was tried again, may bring the success later.
            if let Some(complete) = batch.callbacks.complete.take() {
                self.outbox.owe(format!("{id}c"), complete, now_ms);
            }
            if failed == 0
                && gone == 0
                && let Some(success) = batch.callbacks.success.take()
            {
                self.outbox.owe(format!("{id}s"), success, now_ms);
            }
        }
        self.keep_batch(id, batch, now_ms);
    }

    fn batch(&mut self, id: JobId, now_ms: u64) -> Batch {
        self.batches.sweep(now_ms);
        self.batches.remove(&id).unwrap_or_default()
    }

    fn keep_batch(&mut self, id: JobId, batch: Batch, now_ms: u64) -> BatchState {
        let state = batch.state;
        self.batches.set(&id, batch, now_ms.saturating_add(millis(BATCH_KEEP)));
        state
    }

    pub(super) fn owed(&mut self, now_ms: u64) -> Vec<Owed> {
        self.outbox.take(now_ms)
    }

    pub(super) fn paid(&mut self, members: &[String]) {
        for member in members {
            self.outbox.pay(member);
        }
    }
}
