//! Telling the store what became of events: many at a time, in their order, until it has heard.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::backend::{Acking, Backend as _, Burying};
use super::consumer::{Consumer, Lost, Part};
use super::model::{
    ACK_AFTER, ACKS_MAX, Becomes, Bury, EntryId, Parking, Reply, Settlement, millis,
};
use super::run::{Ended, Finished};
use crate::kernel::error::{Error, ErrorKind, Result};

/// How long an event waits whose dead letter has no room.
const FULL_WAIT: Duration = Duration::from_secs(60);
/// How long to wait before the store is told once more.
const AGAIN_FIRST: Duration = Duration::from_millis(50);
const AGAIN_LAST: Duration = Duration::from_secs(2);

/// So many times a dead letter is tried that the store refuses.
const REFUSALS_MAX: u32 = 5;

/// How often the store has refused a dead letter: what it says again and again lasts, and is not to hold up the others.
#[derive(Default)]
pub(super) struct Refusals(AtomicU32);

impl Refusals {
    /// Whether it is to wait as if there were no room. An outage is no refusal, as far as it can be told.
    pub(super) fn last(&self, error: &Error) -> bool {
        let is_outage = matches!(
            error.kind(),
            ErrorKind::Timeout { .. } | ErrorKind::Unavailable { maybe_applied: false }
        );
        !is_outage && !error.is_final() && self.0.fetch_add(1, Ordering::Relaxed) >= REFUSALS_MAX
    }
}

/// What became of all events so far.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) handled: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) dead: AtomicU64,
    pub(super) lost: AtomicU64,
}

impl Tally {
    pub(super) fn add(to: &AtomicU64, n: usize) {
        to.fetch_add(u64::try_from(n).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn finished(&self, given_back: usize) -> Finished {
        let read = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Finished {
            handled: read(&self.handled),
            retried: read(&self.retried),
            dead: read(&self.dead),
            given_back: u64::try_from(given_back).unwrap_or(u64::MAX),
            lost: read(&self.lost),
        }
    }
}

/// A pause that grows, drawn anew each time.
pub(super) struct Again {
    bound: Duration,
}

impl Again {
    pub(super) fn new() -> Self {
        Self { bound: AGAIN_FIRST }
    }

    pub(super) fn well(&mut self) {
        self.bound = AGAIN_FIRST;
    }

    pub(super) async fn pause(&mut self) {
        let drawn = self.bound.mul_f64(fastrand::f64());
        self.bound = (self.bound * 2).min(AGAIN_LAST);
        tokio::time::sleep(drawn.max(Duration::from_millis(5))).await;
    }
}

/// Events of one call, by what becomes of them.
#[derive(Default)]
struct Batch {
    acked: Vec<EntryId>,
    /// What these are called, where the group has an inbox: of each of `acked`, or of none.
    names: Vec<String>,
    unseen: Vec<EntryId>,
    parked: Vec<Parking>,
    buried: Vec<(EntryId, String, bytes::Bytes)>,
}

impl Batch {
    fn add(&mut self, Ended { id, becomes }: Ended) {
        match becomes {
            Becomes::Ack { event_id: Some(name) } => {
                self.acked.push(id);
                self.names.push(name);
            }
            Becomes::Ack { event_id: None } => self.unseen.push(id),
            Becomes::Park { delay, note } => {
                let note = (!note.is_empty()).then_some(note);
                self.parked.push(Parking { id, delay_ms: millis(delay), note });
            }
            Becomes::Bury { reason, note } => self.buried.push((id, reason, note)),
            Becomes::Abandon => {}
        }
    }
}

/// Tells the store of one partition's events until it is aborted.
pub(super) async fn settle(
    consumer: Arc<Consumer>,
    index: usize,
    mut ended: mpsc::Receiver<Ended>,
) {
    let part = &consumer.parts[index];
    let mut waiting = Vec::with_capacity(ACKS_MAX);
    loop {
        if ended.recv_many(&mut waiting, ACKS_MAX).await == 0 {
            return;
        }
        let until = Instant::now() + ACK_AFTER;
        while waiting.len() < ACKS_MAX {
            let room = ACKS_MAX - waiting.len();
            match tokio::time::timeout_at(until, ended.recv_many(&mut waiting, room)).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => break,
            }
        }
        let mut batch = Batch::default();
        waiting.drain(..).for_each(|one| batch.add(one));
        consumer.tell(part, batch).await;
    }
}

impl Consumer {
    async fn tell(&self, part: &Part, batch: Batch) {
        let Batch { acked, names, unseen, parked, buried } = batch;
        let inbox_ms = self.settings.inbox.map(millis);
        if !acked.is_empty() {
            let inbox = inbox_ms.map(|window_ms| (names.as_slice(), window_ms));
            self.ack(part, Acking { ids: &acked, inbox }).await;
        }
        if !unseen.is_empty() {
            self.ack(part, Acking { ids: &unseen, inbox: None }).await;
        }
        if !parked.is_empty() {
            self.park(part, &parked).await;
        }
        for (id, reason, note) in &buried {
            self.bury(part, Burying { id: *id, reason, note }).await;
        }
    }

    async fn ack(&self, part: &Part, acking: Acking<'_>) {
        let tell = move || async move {
            let who = self.who_settles(part).await?;
            self.engine.backend.ack(&part.keys, &part.group, &who, acking).await
        };
        let Some(reply) = self.until_told(part, tell).await else { return };
        let lost = self.settled(part, reply);
        let done: Vec<EntryId> =
            acking.ids.iter().copied().filter(|id| !lost.contains(id)).collect();
        Tally::add(&self.tally.handled, done.len());
        // Also where the group is gone: made anew, it may be behind what was finished here.
        part.held.finished(&done);
    }

    async fn park(&self, part: &Part, parking: &[Parking]) {
        let tell = move || async move {
            let who = self.who_settles(part).await?;
            self.engine.backend.park(&part.keys, &part.group, &who, parking).await
        };
        let Some(reply) = self.until_told(part, tell).await else { return };
        let lost = self.settled(part, reply);
        let parked = parking.iter().filter(|one| !lost.contains(&one.id));
        let (ids, delays): (Vec<EntryId>, Vec<u64>) =
            parked.map(|one| (one.id, one.delay_ms)).unzip();
        Tally::add(&self.tally.retried, ids.len());
        part.held.let_go(&ids);
        if let Some(soonest_ms) = delays.into_iter().min() {
            self.due_in(part, Duration::from_millis(soonest_ms));
        }
    }

    async fn bury(&self, part: &Part, burying: Burying<'_>) {
        let refusals = &Refusals::default();
        let tell = move || async move {
            let who = self.who_settles(part).await?;
            match self.engine.backend.bury(&part.keys, &part.group, &who, burying).await {
                Ok(Bury::NoGroup) => Ok(Reply::NoGroup),
                Err(error) if refusals.last(&error) => {
                    self.note_trouble(&error);
                    Ok(Reply::Ok(Bury::Full))
                }
                buried => buried.map(Reply::Ok),
            }
        };
        let (topic, group) = self.settings.names();
        let id = burying.id;
        match self.until_told(part, tell).await {
            Some(Reply::Ok(Bury::Done(_))) => {
                Tally::add(&self.tally.dead, 1);
                self.counts.dead.increment(1);
                let reason = burying.reason;
                tracing::warn!(topic, group, %id, reason, "an event is a dead letter");
                part.held.finished(&[id]);
            }
            Some(Reply::Ok(Bury::Full)) => {
                tracing::error!(topic, group, %id, "there is no room among the dead letters: an event waits for it");
                let note = Some(bytes::Bytes::copy_from_slice(burying.note));
                let parking = Parking { id, delay_ms: millis(FULL_WAIT), note };
                self.park(part, &[parking]).await;
            }
            Some(Reply::Ok(Bury::Deleted)) => {
                self.lose(part, &[id], Lost::Deleted);
                part.held.let_go(&[id]);
            }
            Some(Reply::Ok(Bury::NotOwn)) => self.lose(part, &[id], Lost::Lease),
            Some(Reply::Ok(Bury::NoGroup) | Reply::NoGroup) => {
                self.rejoin(part);
                part.held.let_go(&[id]);
            }
            None => {}
        }
    }

    /// What a call says of those that were not the caller's, also where there is no group any more: then of none.
    fn settled(&self, part: &Part, reply: Reply<Settlement>) -> Vec<EntryId> {
        match reply {
            Reply::Ok(Settlement { lost, .. }) => {
                if !lost.is_empty() {
                    self.lose(part, &lost, Lost::Lease);
                }
                lost
            }
            Reply::NoGroup => {
                self.rejoin(part);
                Vec::new()
            }
        }
    }

    /// Calls until there is an answer. Nothing where there will be none: the subscription ends for it.
    async fn until_told<T, F>(&self, part: &Part, tell: impl Fn() -> F) -> Option<Reply<T>>
    where
        F: Future<Output = Result<Reply<T>>>,
    {
        let mut again = Again::new();
        loop {
            let told = {
                // Not while the consumer changes its name: what is told under the old one would be refused.
                let _taking = part.held.taking().await;
                tell().await
            };
            match told {
                Ok(reply) => return Some(reply),
                Err(error) if error.is_final() => {
                    self.end_for(error);
                    return None;
                }
                Err(error) => self.note_trouble(&error),
            }
            again.pause().await;
        }
    }

    pub(super) fn note_trouble(&self, error: &Error) {
        let (topic, group) = self.settings.names();
        tracing::debug!(topic, group, %error, "the store is told again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_store_refuses_again_and_again_holds_up_no_one() {
        let of = |kind| Error::new(kind, "of another type");
        let (refusals, refused) =
            (Refusals::default(), ErrorKind::Unavailable { maybe_applied: true });
        let others = [
            ErrorKind::Timeout { maybe_applied: true },
            ErrorKind::Unavailable { maybe_applied: false },
            ErrorKind::Denied,
        ];
        for _ in 0..REFUSALS_MAX {
            assert!(!refusals.last(&of(refused)));
            assert!(others.iter().all(|kind| !refusals.last(&of(*kind))));
        }
        assert!(refusals.last(&of(refused)));
        assert!(others.iter().all(|kind| !refusals.last(&of(*kind))), "an outage may end");
    }
}
