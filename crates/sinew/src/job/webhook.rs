//! Webhooks of queues: whose jobs are sent to an endpoint. They are defined here, and run by hubs.

mod definition;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::expected::Expected;
use crate::kernel::key::Scope;
use crate::kernel::name::QueueName;
use crate::stream::webhook::store::{Change, Changed, Store};
use crate::stream::webhook::{TENANTS_MAX, WEBHOOKS_MAX, refuse_fragment};
use crate::stream::{Paused, Secret};
use definition::{check, text_of, webhook_of};

/// How often a change is tried while others change the same webhook.
const TRIES_MAX: u32 = 10;

/// The webhooks of one tenant's queues. Cheap to clone.
///
/// A queue has one at most: its hubs take the queue's jobs, of whichever kind, and each is sent by one of them. They are
/// configuration and have no expiry: a Redis that evicts any key (`allkeys-lru`) may lose them.
#[derive(Clone)]
pub struct QueueWebhooks {
    engine: Arc<Engine>,
    scope: Scope,
}

/// Where the jobs of a queue are sent to, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueWebhook {
    /// The endpoint: `https://…`, or `http://…` where the hubs allow that. Up to 2,048 bytes.
    pub url: String,
    /// What each request is signed with: one, or two while the first is replaced.
    pub secrets: Vec<Secret>,
    /// How long one run may take in all, unless the job says so itself: 1 s to 5 min.
    pub timeout: Duration,
    /// How many jobs a hub has under way at once: 1 to 64.
    pub concurrency: u16,
}

/// A webhook, as it is defined in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueWebhookAt {
    /// The queue.
    pub queue: String,
    /// Greater with every change of it, and never used again, also not after it was removed.
    pub revision: u64,
    /// The webhook.
    pub webhook: QueueWebhook,
    /// Since when no job is sent, and why; `None` while they are.
    pub paused: Option<Paused>,
}

impl QueueWebhook {
    /// The longest that a run may take.
    pub const TIMEOUT_MAX: Duration = Duration::from_secs(300);

    /// 30 s a run, 8 at once.
    #[must_use]
    pub fn new(url: impl Into<String>, secret: Secret) -> Self {
        Self {
            url: url.into(),
            secrets: vec![secret],
            timeout: Duration::from_secs(30),
            concurrency: 8,
        }
    }
}

impl QueueWebhooks {
    pub(super) fn new(engine: Arc<Engine>, scope: Scope) -> Self {
        Self { engine, scope }
    }

    /// Looks whether a webhook is within bounds, as [`QueueWebhooks::put`] does.
    ///
    /// # Errors
    /// `Rejected`, with what was expected.
    pub fn check(queue: &str, webhook: &QueueWebhook) -> Result<()> {
        QueueName::new(queue)?;
        refuse_fragment(&webhook.url)?;
        check(webhook)
    }

    /// Defines the webhook of a queue, in place of the one that is expected. One that is paused stays so.
    ///
    /// What addresses it may have is for the hubs to say: here, a URL is only looked at for its form.
    ///
    /// *Cancellation*: what was sent is not taken back.
    ///
    /// *When Redis is down*: it may or may not be defined, and is never sent twice.
    ///
    /// # Errors
    /// `Conflict` where something else is there than is expected. `Rejected` for what is out of bounds, for one more than
    /// 100, and for a tenant more than 10,000. `Corrupt` where what is there cannot be read. `Unavailable` or `Timeout`
    /// when Redis is down.
    pub async fn put(
        &self,
        queue: &str,
        webhook: &QueueWebhook,
        expected: Expected,
    ) -> Result<QueueWebhookAt> {
        Self::check(queue, webhook)?;
        // Before the definition: none is to be there of which no hub is told.
        self.note_tenant().await?;
        for _ in 0..TRIES_MAX {
            let found = self.get(queue).await?;
            let paused = found.as_ref().and_then(|found| found.paused.clone());
            // Of what was looked at, or its pause could be lost.
            let over = match expected {
                Expected::Any => {
                    found.map_or(Expected::Absent, |it| Expected::Revision(it.revision))
                }
                said => said,
            };
            match self.write(queue, over, Some(text_of(webhook, paused.as_ref())?)).await? {
                Changed::Done { revision, .. } => {
                    // Someone who has removed the last one meanwhile took the tenant for one that has none.
                    self.note_tenant().await?;
                    let (queue, webhook) = (queue.to_owned(), webhook.clone());
                    return Ok(QueueWebhookAt { queue, revision, webhook, paused });
                }
                Changed::Conflict(_) if expected == Expected::Any => {}
                Changed::Conflict(_) => return Err(conflict(queue)),
                Changed::Full => {
                    return Err(Error::rejected(format!(
                        "{WEBHOOKS_MAX} queues have webhooks: expected one to be removed before another is added"
                    )));
                }
            }
        }
        Err(conflict(queue))
    }

    /// The webhook of a queue, as the store has it now.
    ///
    /// # Errors
    /// `Rejected` for a bad name, `Corrupt` where it cannot be read; `Unavailable` or `Timeout` when Redis is down.
    pub async fn get(&self, queue: &str) -> Result<Option<QueueWebhookAt>> {
        QueueName::new(queue)?;
        let text = self.store().get(&self.scope.job_webhooks(), queue).await?;
        text.map(|text| webhook_of(queue, &text)).transpose()
    }

    /// All of them by queue, as the store has them now. What this version cannot read is left out, with a line in the log.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down.
    pub async fn list(&self) -> Result<Vec<QueueWebhookAt>> {
        let rows = self.store().all(&self.scope.job_webhooks()).await?;
        let read = rows.into_iter().filter_map(|(queue, text)| {
            webhook_of(&queue, &text)
                .inspect_err(|error| tracing::warn!(%error, "a webhook is left out"))
                .ok()
        });
        Ok(read.collect())
    }

    /// Removes the webhook of a queue, and says whether it was there. The queue's jobs wait for other workers.
    ///
    /// # Errors
    /// As [`QueueWebhooks::put`].
    pub async fn remove(&self, queue: &str, expected: Expected) -> Result<bool> {
        QueueName::new(queue)?;
        match self.write(queue, expected, None).await? {
            Changed::Done { was_there, .. } => {
                // It is removed, whatever becomes of what is known beside it.
                if let Err(error) = self.clear_up().await {
                    tracing::debug!(%error, "a webhook was removed, and left a note behind");
                }
                Ok(was_there)
            }
            Changed::Conflict(_) => Err(conflict(queue)),
            Changed::Full => Err(Error::corrupt("unexpected reply to a removal")),
        }
    }

    /// Pauses the webhook of a queue, for this reason, or goes on with it. `None` where there is none. One that is paused
    /// already keeps its time and reason.
    ///
    /// # Errors
    /// As [`QueueWebhooks::put`]; `Conflict` where others keep changing it.
    pub async fn set_paused(
        &self,
        queue: &str,
        reason: Option<&str>,
    ) -> Result<Option<QueueWebhookAt>> {
        for _ in 0..TRIES_MAX {
            let Some(mut at) = self.get(queue).await? else { return Ok(None) };
            if at.paused.is_some() == reason.is_some() {
                return Ok(Some(at));
            }
            at.paused = reason.map(Paused::now);
            let text = text_of(&at.webhook, at.paused.as_ref())?;
            let written = self.write(queue, Expected::Revision(at.revision), Some(text)).await?;
            if let Changed::Done { revision, .. } = written {
                at.revision = revision;
                return Ok(Some(at));
            }
        }
        Err(conflict(queue))
    }

    /// Pauses just this definition, for this reason, and says whether it was there still.
    ///
    /// # Errors
    /// As [`QueueWebhooks::put`].
    pub async fn pause_at(&self, at: &QueueWebhookAt, reason: &str) -> Result<bool> {
        QueueName::new(&at.queue)?;
        let text = text_of(&at.webhook, Some(&Paused::now(reason)))?;
        let written = self.write(&at.queue, Expected::Revision(at.revision), Some(text)).await?;
        Ok(matches!(written, Changed::Done { .. }))
    }

    async fn note_tenant(&self) -> Result<()> {
        match self.store().note_tenant(&self.scope).await? {
            true => Ok(()),
            false => Err(Error::rejected(format!(
                "{TENANTS_MAX} tenants have webhooks of queues: expected no more"
            ))),
        }
    }

    /// A tenant without webhooks leaves its place to another.
    async fn clear_up(&self) -> Result<()> {
        let key = self.scope.job_webhooks();
        if self.store().all(&key).await?.is_empty() {
            self.store().forget_tenant(&self.scope).await?;
            // One that was defined meanwhile.
            if !self.store().all(&key).await?.is_empty() {
                self.note_tenant().await?;
            }
        }
        Ok(())
    }

    fn store(&self) -> &Store {
        &self.engine.webhooks
    }

    async fn write(
        &self,
        queue: &str,
        expected: Expected,
        text: Option<String>,
    ) -> Result<Changed> {
        let change = Change { name: queue, expected, text: text.as_deref() };
        self.store().put(&self.scope.job_webhooks(), &change).await
    }
}

fn conflict(queue: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!(
            "the webhook of queue {queue} is not as it was expected to be: look at it, and try again"
        ),
    )
}

impl fmt::Debug for QueueWebhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueWebhooks").field("scope", &self.scope).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sinew;

    fn webhook() -> QueueWebhook {
        QueueWebhook::new("https://example.com/in", Secret::generate().unwrap())
    }

    #[tokio::test]
    async fn a_webhook_is_changed_by_who_has_seen_it_and_keeps_its_pause() {
        let sinew = Sinew::embedded();
        let webhooks = sinew.tenant("acme").unwrap().jobs().webhooks();
        let first = webhooks.put("mail", &webhook(), Expected::Absent).await.unwrap();
        let again = webhooks.put("mail", &webhook(), Expected::Absent).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Conflict);
        let paused = webhooks.set_paused("mail", Some("410 Gone")).await.unwrap().unwrap();
        assert!(paused.revision > first.revision);
        assert!(!webhooks.pause_at(&first, "late").await.unwrap());
        let changed = webhooks.put("mail", &webhook(), Expected::Any).await.unwrap();
        assert_eq!(changed.paused.unwrap().reason, "410 Gone");
        assert_eq!(sinew.queue_webhook_tenants().await.unwrap(), [Some("acme".to_owned())]);
        // Those of topics are others.
        assert!(sinew.webhook_tenants().await.unwrap().is_empty());
        assert!(webhooks.remove("mail", Expected::Any).await.unwrap());
        assert!(webhooks.list().await.unwrap().is_empty());
        assert!(sinew.queue_webhook_tenants().await.unwrap().is_empty());
    }
}
