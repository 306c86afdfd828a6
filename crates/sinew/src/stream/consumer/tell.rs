//! Telling the store what became of events: many at a time, in their order, until it has heard.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::again::{Refusals, growing};
use super::super::backend::{Acking, Backend as _, Burying};
use super::super::model::{
    ACK_AFTER, ACKS_MAX, Becomes, Bury, EntryId, FULL_WAIT, Parking, Reply, Settlement, millis,
};
use super::super::run::Ended;
use super::super::tally::Lost;
use super::{Consumer, Part};
use crate::kernel::error::{Error, Result};

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
            // Under a new name no one looks at each: what has not come over to it is another's.
            let lost = part.held.not_held(acking.ids);
            if lost.is_empty() {
                return self.engine.backend.ack(&part.keys, &part.group, &who, acking).await;
            }
            let (ids, names) = without(acking, &lost);
            let inbox = acking.inbox.map(|(_, window_ms)| (names.as_slice(), window_ms));
            let own = Acking { ids: &ids, inbox };
            let mut reply = self.engine.backend.ack(&part.keys, &part.group, &who, own).await?;
            if let Reply::Ok(settled) = &mut reply {
                settled.lost.extend(lost);
            }
            Ok(reply)
        };
        let Some(reply) = self.until_told(part, tell).await else { return };
        let lost = self.settled(part, reply);
        let done: Vec<EntryId> =
            acking.ids.iter().copied().filter(|id| !lost.contains(id)).collect();
        self.tally.handled(done.len());
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
        self.tally.retried(ids.len());
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
            Some(Reply::Ok(Bury::Done)) => {
                self.tally.dead();
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
        let mut again = growing();
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

/// Which are left but for these, and what they are called.
fn without(acking: Acking<'_>, lost: &[EntryId]) -> (Vec<EntryId>, Vec<String>) {
    let names = acking.inbox.map_or(&[][..], |(names, _)| names);
    let names = names.iter().zip(acking.ids).filter(|(_, id)| !lost.contains(*id));
    let ids = acking.ids.iter().filter(|id| !lost.contains(*id));
    (ids.copied().collect(), names.map(|(name, _)| name.clone()).collect())
}
