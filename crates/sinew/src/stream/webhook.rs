//! Webhooks: which topics are pushed to which endpoints. They are defined here, and delivered by hubs.

mod definition;
mod secret;
pub(crate) mod store;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::engine::Engine;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::expected::Expected;
use crate::kernel::key::Scope;
use definition::{check, check_name, text_of, webhook_of};
use store::{Change, Changed};

pub(crate) use definition::{WrittenPause, check_url, refuse_fragment, within};
pub use secret::Secret;
pub(crate) use store::Store;

/// So many webhooks may be defined for a tenant.
pub const WEBHOOKS_MAX: usize = 100;
/// So many tenants may have any.
pub(crate) const TENANTS_MAX: usize = 10_000;
/// How often a pause is tried while others change the same webhook.
const TRIES_MAX: u32 = 10;
/// The longest reason of a pause, in characters.
const REASON_LEN_MAX: usize = 200;

/// The webhooks of one tenant. Cheap to clone.
///
/// A webhook is a group of its topic, `webhook.{name}`: what is said of groups holds for it. Hubs deliver its
/// events, as many hubs as there are, each event by one of them.
///
/// They are configuration and have no expiry: a Redis that evicts any key (`allkeys-lru`) may lose them.
#[derive(Clone)]
pub struct Webhooks {
    engine: Arc<Engine>,
    scope: Scope,
}

/// Where the events of a topic are pushed to, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The topic.
    pub topic: String,
    /// The endpoint: `https://…`, or `http://…` where the hubs allow that. Up to 2,048 bytes.
    pub url: String,
    /// What each delivery is signed with: one, or two while the first is replaced.
    pub secrets: Vec<Secret>,
    /// The types of events that are delivered: all where there are none. Up to 64.
    pub kinds: Vec<String>,
    /// How long one delivery may take in all: 1 s to 30 s.
    pub timeout: Duration,
    /// After so many failures an event is a dead letter: 1 to 1,000.
    pub attempts: u32,
    /// How many deliveries a hub has under way at once: 1 to 64.
    pub concurrency: u16,
    /// Whether the events of a key are delivered in order, one at a time.
    pub ordered: bool,
    /// What a delivery looks like.
    pub mode: Mode,
}

/// What a delivery looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A CloudEvent as JSON, `application/cloudevents+json`.
    #[default]
    Structured,
    /// The event's own data as the body, its attributes as `ce-` headers.
    Binary,
}

/// A webhook, as it is defined in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebhookAt {
    /// Its name.
    pub name: String,
    /// Greater with every change of it, and never used again, also not after it was removed.
    pub revision: u64,
    /// The webhook.
    pub webhook: Webhook,
    /// Since when nothing is delivered, and why; `None` while it is.
    pub paused: Option<Paused>,
}

/// That a webhook is paused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Paused {
    /// Since when, in whole milliseconds.
    pub since: SystemTime,
    /// Why.
    pub reason: String,
}

impl Webhook {
    /// All events of a topic, as structured CloudEvents: 10 s a delivery, 8 at once, 20 attempts.
    #[must_use]
    pub fn new(topic: impl Into<String>, url: impl Into<String>, secret: Secret) -> Self {
        Self {
            topic: topic.into(),
            url: url.into(),
            secrets: vec![secret],
            kinds: Vec::new(),
            timeout: Duration::from_secs(10),
            attempts: 20,
            concurrency: 8,
            ordered: false,
            mode: Mode::default(),
        }
    }
}

impl Mode {
    /// Both, for messages.
    pub const ALL: [Self; 2] = [Self::Structured, Self::Binary];

    /// `structured` or `binary`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Structured => "structured",
            Self::Binary => "binary",
        }
    }
}

impl Webhooks {
    pub(crate) fn new(engine: Arc<Engine>, scope: Scope) -> Self {
        Self { engine, scope }
    }

    /// The group that a webhook of this name is.
    #[must_use]
    pub fn group_of(name: &str) -> String {
        format!("webhook.{name}")
    }

    /// Looks whether a webhook is within bounds, as [`Webhooks::put`] does.
    ///
    /// # Errors
    /// `Rejected`, with what was expected.
    pub fn check(name: &str, webhook: &Webhook) -> Result<()> {
        check_name(name)?;
        refuse_fragment(&webhook.url)?;
        check(webhook)
    }

    /// Defines a webhook under its name (1 to 56 of `[A-Za-z0-9._-]`), in place of the one that is expected. One
    /// that is paused stays so.
    ///
    /// What addresses it may have is for the hubs to say, who deliver: here, a URL is only looked at for its form.
    ///
    /// # Errors
    /// `Conflict` where something else is there than is expected. `Rejected` for what is out of bounds, for one
    /// more than 100, and for a tenant more than 10,000. `Corrupt` where what is there cannot be read.
    ///
    /// # Cancellation
    /// Dropping the future does not take back what was sent.
    ///
    /// # When Redis is down
    /// `Unavailable` or `Timeout`: it may or may not be defined, and is never sent twice.
    pub async fn put(
        &self,
        name: &str,
        webhook: &Webhook,
        expected: Expected,
    ) -> Result<WebhookAt> {
        Self::check(name, webhook)?;
        // Before the definition: none is to be there of which no hub is told.
        self.note_tenant().await?;
        // Another endpoint is not answerable for what this one did.
        self.note_success(name).await?;
        for _ in 0..TRIES_MAX {
            let found = self.get(name).await?;
            let paused = found.as_ref().and_then(|found| found.paused.clone());
            // Of what was looked at, or its pause could be lost.
            let over = match expected {
                Expected::Any => {
                    found.map_or(Expected::Absent, |it| Expected::Revision(it.revision))
                }
                said => said,
            };
            match self.write(name, over, Some(text_of(webhook, paused.as_ref())?)).await? {
                Changed::Done { revision, .. } => {
                    // Someone who has removed the last one meanwhile took the tenant for one that has none.
                    self.note_tenant().await?;
                    let (name, webhook) = (name.to_owned(), webhook.clone());
                    return Ok(WebhookAt { name, revision, webhook, paused });
                }
                Changed::Conflict(_) if expected == Expected::Any => {}
                Changed::Conflict(revision) => return Err(conflict(name, expected, revision)),
                Changed::Full => {
                    return Err(Error::rejected(format!(
                        "{WEBHOOKS_MAX} webhooks are defined: expected one to be removed before another is added"
                    )));
                }
            }
        }
        Err(kept_changing(name))
    }

    /// A webhook by its name, as the store has it now.
    ///
    /// # Errors
    /// `Rejected` for a name that none may have, `Corrupt` where it cannot be read; `Unavailable` or `Timeout`
    /// when Redis is down.
    pub async fn get(&self, name: &str) -> Result<Option<WebhookAt>> {
        check_name(name)?;
        let text = self.store().get(&self.scope.stream_webhooks(), name).await?;
        text.map(|text| webhook_of(name, &text)).transpose()
    }

    /// All of them by name, as the store has them now. What this version cannot read is left out, with a line in
    /// the log.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down.
    pub async fn list(&self) -> Result<Vec<WebhookAt>> {
        let rows = self.store().all(&self.scope.stream_webhooks()).await?;
        let read = rows.into_iter().filter_map(|(name, text)| {
            webhook_of(&name, &text)
                .inspect_err(|error| tracing::warn!(%error, "a webhook is left out"))
                .ok()
        });
        Ok(read.collect())
    }

    /// Removes a webhook, and says whether it was there. Its group stays, with what it has not had: see
    /// [`Streams::forget_group`](super::Streams::forget_group).
    ///
    /// # Errors
    /// As [`Webhooks::put`].
    pub async fn remove(&self, name: &str, expected: Expected) -> Result<bool> {
        check_name(name)?;
        match self.write(name, expected, None).await? {
            Changed::Done { was_there, .. } => {
                // It is removed, whatever becomes of what is known beside it.
                if let Err(error) = self.clear_up(name).await {
                    tracing::debug!(%error, "a webhook was removed, and left a note behind");
                }
                Ok(was_there)
            }
            Changed::Conflict(revision) => Err(conflict(name, expected, revision)),
            Changed::Full => Err(Error::corrupt("unexpected reply to a removal")),
        }
    }

    /// Pauses a webhook, for this reason, or goes on with it. `None` where there is no such webhook. One that is
    /// paused already keeps its time and reason.
    ///
    /// # Errors
    /// As [`Webhooks::put`]; `Conflict` where others keep changing it.
    pub async fn set_paused(&self, name: &str, reason: Option<&str>) -> Result<Option<WebhookAt>> {
        for _ in 0..TRIES_MAX {
            let Some(mut at) = self.get(name).await? else { return Ok(None) };
            if at.paused.is_some() == reason.is_some() {
                return Ok(Some(at));
            }
            if reason.is_none() {
                self.note_success(name).await?;
            }
            at.paused = reason.map(Paused::now);
            let text = text_of(&at.webhook, at.paused.as_ref())?;
            let written = self.write(name, Expected::Revision(at.revision), Some(text)).await?;
            if let Changed::Done { revision, .. } = written {
                at.revision = revision;
                return Ok(Some(at));
            }
        }
        Err(kept_changing(name))
    }

    /// Pauses just this definition, for this reason, and says whether it was there still.
    ///
    /// # Errors
    /// As [`Webhooks::put`].
    pub async fn pause_at(&self, at: &WebhookAt, reason: &str) -> Result<bool> {
        check_name(&at.name)?;
        let text = text_of(&at.webhook, Some(&Paused::now(reason)))?;
        let written = self.write(&at.name, Expected::Revision(at.revision), Some(text)).await?;
        Ok(matches!(written, Changed::Done { .. }))
    }

    /// Notes that a delivery has failed, and says for how long none of any hub has succeeded: for no time at all, if none
    /// had failed in the two hours before. By the clock of Redis, in whole milliseconds.
    ///
    /// # Errors
    /// `Rejected` for a name that none may have; `Unavailable` or `Timeout` when Redis is down.
    pub async fn note_failure(&self, name: &str) -> Result<Duration> {
        check_name(name)?;
        self.store().note_failing(&self.scope.stream_webhooks_failing(), name).await
    }

    /// Notes that a delivery has succeeded: what failed before counts no more. So does a definition, and going on after
    /// a pause.
    ///
    /// # Errors
    /// As [`Webhooks::note_failure`].
    pub async fn note_success(&self, name: &str) -> Result<()> {
        check_name(name)?;
        self.store().forget_failing(&self.scope.stream_webhooks_failing(), name).await
    }

    async fn note_tenant(&self) -> Result<()> {
        match self.store().note_tenant(&self.scope).await? {
            true => Ok(()),
            false => Err(Error::rejected(format!(
                "{TENANTS_MAX} tenants have webhooks: expected no more"
            ))),
        }
    }

    /// Removes what is known beside a webhook that was removed, and beside all of them if it was the last.
    async fn clear_up(&self, name: &str) -> Result<()> {
        self.note_success(name).await?;
        let key = self.scope.stream_webhooks();
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

    async fn write(&self, name: &str, expected: Expected, text: Option<String>) -> Result<Changed> {
        let change = Change { name, expected, text: text.as_deref() };
        self.store().put(&self.scope.stream_webhooks(), &change).await
    }
}

impl Paused {
    pub(crate) fn now(reason: &str) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let whole = Duration::from_secs(since.as_secs())
            + Duration::from_millis(u64::from(since.subsec_millis()));
        Self { since: UNIX_EPOCH + whole, reason: reason.chars().take(REASON_LEN_MAX).collect() }
    }
}

fn conflict(name: &str, expected: Expected, revision: u64) -> Error {
    let expected = match expected {
        Expected::Revision(expected) => format!("expected revision {expected}"),
        Expected::Any | Expected::Absent => "expected none".to_owned(),
    };
    let found = match revision {
        0 => "not defined".to_owned(),
        revision => format!("defined as revision {revision}"),
    };
    Error::new(ErrorKind::Conflict, format!("webhook {name:?} is {found}: {expected}"))
}

fn kept_changing(name: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("webhook {name:?} was not written: others keep changing it"),
    )
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").field("scope", &self.scope).finish_non_exhaustive()
    }
}
