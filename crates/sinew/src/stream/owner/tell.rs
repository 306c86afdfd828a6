//! Telling the store what the events of an owned partition came to: in the order in which they ended, until it has
//! heard, and nothing once the partition is lost.

use tokio::sync::mpsc;

use super::super::again::{Refusals, pause};
use super::super::backend::{Acking, Backend as _, Burying};
use super::super::model::{
    ACK_AFTER, ACKS_MAX, Becomes, Bury, EntryId, FULL_WAIT, Parking, Reply, Settlement, Who, millis,
};
use super::super::run::Ended;
use super::super::tally::Lost;
use super::{Crew, End, Owner, Part};
use crate::kernel::error::{Error, Result};

impl Owner {
    /// Tells the store of all in their order, a batch at a time; of none any more once the partition is lost.
    pub(super) async fn tell_all(&self, mut take: mpsc::Receiver<Ended>) {
        while let Some(first) = take.recv().await {
            let mut batch = vec![first];
            let flush = tokio::time::sleep(ACK_AFTER);
            tokio::pin!(flush);
            while batch.len() < ACKS_MAX {
                tokio::select! {
                    next = take.recv() => match next {
                        Some(next) => batch.push(next),
                        None => break,
                    },
                    () = &mut flush => break,
                }
            }
            // Marks for the inbox are all or none of a call.
            let kind = |one: &Ended| {
                let is_marked = matches!(one.becomes, Becomes::Ack { event_id: Some(_) });
                (std::mem::discriminant(&one.becomes), is_marked)
            };
            for alike in batch.chunk_by(|a, b| kind(a) == kind(b)) {
                self.tell(alike).await;
            }
        }
    }

    /// Tells the store what events of one kind came to; tries on until it heard, or the partition is lost.
    async fn tell(&self, alike: &[Ended]) {
        let ids: Vec<EntryId> = alike.iter().map(|one| one.id).collect();
        match alike.first().map(|one| &one.becomes) {
            Some(Becomes::Ack { .. }) => self.ack(alike, &ids).await,
            Some(Becomes::Park { .. }) => self.park(alike, &ids).await,
            Some(Becomes::Bury { .. }) => {
                for one in alike {
                    self.bury(one).await;
                }
            }
            Some(Becomes::Abandon) | None => {}
        }
    }

    async fn ack(&self, alike: &[Ended], ids: &[EntryId]) {
        let Crew { engine, settings, .. } = &*self.crew;
        let Part { keys, group, held, .. } = &self.part;
        let names: Vec<String> = alike
            .iter()
            .filter_map(|one| match &one.becomes {
                Becomes::Ack { event_id } => event_id.clone(),
                _ => None,
            })
            .collect();
        let inbox = settings.inbox.filter(|_| names.len() == ids.len());
        let inbox = inbox.map(|window| (&names[..], millis(window)));
        while !self.is_over() {
            let who = Who::Fence(self.fence);
            let acking = Acking { ids, inbox };
            let told = engine.backend.ack(keys, group, &who, acking).await;
            if let Some(settled) = self.heard(told).await {
                if self.is_own(&settled) {
                    held.finished(ids);
                    self.crew.tally.handled(ids.len());
                }
                return;
            }
        }
    }

    async fn park(&self, alike: &[Ended], ids: &[EntryId]) {
        let Part { keys, group, .. } = &self.part;
        let parking: Vec<Parking> = alike
            .iter()
            .filter_map(|one| match &one.becomes {
                Becomes::Park { delay, note } => {
                    Some(Parking { id: one.id, delay_ms: millis(*delay), note: note.clone() })
                }
                _ => None,
            })
            .collect();
        while !self.is_over() {
            let who = Who::Fence(self.fence);
            let told = self.crew.engine.backend.park(keys, group, &who, &parking).await;
            if let Some(settled) = self.heard(told).await {
                if self.is_own(&settled) {
                    self.crew.tally.retried(ids.len());
                }
                return;
            }
        }
    }

    async fn bury(&self, one: &Ended) {
        let Becomes::Bury { reason, note } = &one.becomes else { return };
        let Part { keys, group, held, .. } = &self.part;
        let (id, who) = (one.id, Who::Fence(self.fence));
        let refusals = Refusals::default();
        while !self.is_over() {
            let burying = Burying { id, reason, note };
            let told = self.crew.engine.backend.bury(keys, group, &who, burying).await;
            let told = match told {
                Err(error) if refusals.last(&error) => {
                    tracing::warn!(%id, %error, "a dead letter cannot be written: its event waits");
                    Ok(Bury::Full)
                }
                told => told,
            };
            match told {
                Ok(done @ (Bury::Done | Bury::Deleted)) => {
                    match done {
                        Bury::Done => self.crew.tally.dead(),
                        _ => self.crew.tally.lost(1, Lost::Deleted),
                    }
                    held.finished(&[id]);
                    self.lanes.lock().finish(id);
                    self.turned.notify_waiters();
                    return;
                }
                Ok(Bury::Full) => {
                    let (topic, group) = self.crew.settings.names();
                    tracing::error!(
                        topic,
                        group,
                        "the dead letters are full: redrive or remove some"
                    );
                    held.let_go(&[id]);
                    let at = self.crew.engine.clock.now().after(FULL_WAIT);
                    self.lanes.lock().retry(id, at, Some(note.clone()));
                    self.turned.notify_waiters();
                    return;
                }
                Ok(Bury::NotOwn) => self.end(End::Lost),
                Ok(Bury::NoGroup) => self.end(End::Gone),
                Err(error) => self.after(error).await,
            }
        }
    }

    /// What the store said, if it did.
    async fn heard(&self, told: Result<Reply<Settlement>>) -> Option<Settlement> {
        match told {
            Ok(Reply::Ok(settled)) => return Some(settled),
            Ok(Reply::NoGroup) => self.end(End::Gone),
            Err(error) => self.after(error).await,
        }
        None
    }

    async fn after(&self, error: Error) {
        match error.is_final() {
            true => self.end(End::Failed(error)),
            false => pause().await,
        }
    }

    /// Under a fence, all is refused or nothing.
    fn is_own(&self, settled: &Settlement) -> bool {
        if !settled.lost.is_empty() {
            self.end(End::Lost);
        }
        settled.lost.is_empty()
    }
}
