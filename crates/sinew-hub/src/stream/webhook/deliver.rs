//! One event to one endpoint.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sinew::Streams;
use sinew::stream::{Ack, Ctx, Event, HandlerError, Mode, Webhook};
use tokio::sync::Notify;

use crate::auth::Actor;
use crate::stream::audit::{self, Act};
use crate::webhook::address::CLOSED;
use crate::webhook::endpoint::Endpoint;
use crate::webhook::post::{Answer, Poster};
use crate::webhook::room::Room;
use crate::webhook::sign::sign;

/// How long an event waits whose webhook is being paused, or whose endpoint is being tried with another.
const ASIDE: Duration = Duration::from_secs(5);
/// However soon an endpoint asks to be tried again.
const PUT_OFF_MIN: Duration = Duration::from_secs(1);
/// After so long without a delivery, by any hub, the webhook is paused.
const GIVES_UP_AFTER: Duration = Duration::from_secs(24 * 3_600);
const GIVEN_UP: &str = "no delivery has succeeded for 24 hours";
/// For the log, once: what this hub may not reach.
pub(super) const LEFT: &str = "this hub leaves the events of a webhook to others";
const DELIVERIES: &str = "sinew_webhook_deliveries_total";

/// What delivers the events of one webhook.
pub(super) struct Delivery {
    pub(super) tenant: Option<String>,
    pub(super) name: String,
    pub(super) webhook: Webhook,
    /// Of the tenant.
    pub(super) streams: Streams,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) poster: Poster,
    pub(super) room: Room,
    /// That something is to be looked at before its time.
    pub(super) kicked: Arc<Notify>,
}

impl Delivery {
    /// Delivers an event.
    ///
    /// # Errors
    /// Why it has failed, for the history of the event.
    pub(super) async fn run(&self, event: Event<Bytes>, cx: Ctx) -> Result<Ack, HandlerError> {
        // Who waits for a place has not begun: it fails no endpoint.
        let (_delivering, looking_up) = self.room.places().await;
        let Ok(permit) = self.endpoint.breaker.permit() else {
            return Ok(counted("held_back", Ack::Retry { after: ASIDE }));
        };
        let (headers, body) = self.request(&event, &cx);
        let (url, within) = (&self.webhook.url, self.webhook.timeout);
        let answer = self.poster.post(url, headers, body, within, looking_up).await;
        let told = match &answer {
            Ok(answer) => answer.status.to_string(),
            Err(what) => what.clone(),
        };
        let is_left = told == CLOSED;
        if is_left && self.endpoint.last().is_none_or(|last| last.told != told) {
            tracing::warn!(webhook = self.name, why = told, "{LEFT}");
        }
        let is_good = matches!(&answer, Ok(answer) if answer.status.is_success());
        self.endpoint.note(told.clone(), is_good);
        match is_good {
            true => permit.succeeded(),
            false => permit.failed(),
        }
        if self.endpoint.is_news(is_good, Instant::now()) {
            self.tell_store(is_good).await;
        }
        match answer {
            Ok(_) if is_good => Ok(counted("delivered", Ack::Done)),
            Ok(Answer { status: StatusCode::GONE, .. }) => {
                self.pause(&told).await;
                Ok(counted("gone", Ack::Retry { after: ASIDE }))
            }
            Ok(Answer {
                status: StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE,
                retry_after: Some(after),
            }) => Ok(counted("put_off", Ack::Retry { after: after.max(PUT_OFF_MIN) })),
            // Its breaker opens, so a hub that may reach it has the event: none of its attempts is used up here.
            Err(_) if is_left => Ok(counted("left", Ack::Retry { after: ASIDE })),
            _ => Err(counted("failed", told).into()),
        }
    }

    /// As all hubs have it: one whose way to the endpoint is closed does not speak for the others.
    async fn tell_store(&self, is_good: bool) {
        let webhooks = self.streams.webhooks();
        let failing_for = match is_good {
            true => webhooks.note_success(&self.name).await.map(|()| None),
            false => webhooks.note_failure(&self.name).await.map(Some),
        };
        match failing_for {
            Ok(Some(failing_for)) if failing_for >= GIVES_UP_AFTER => self.pause(GIVEN_UP).await,
            Ok(_) => {}
            Err(_) => self.endpoint.was_not_heard(),
        }
    }

    /// Pauses the webhook, unless it has another endpoint by now. Where the store is away, or the audit has no room, the
    /// next delivery asks for it again.
    async fn pause(&self, why: &str) {
        let _alone = self.endpoint.pausing.lock().await;
        let webhooks = self.streams.webhooks();
        let at = match webhooks.get(&self.name).await {
            Ok(Some(at)) => at,
            Ok(None) => return,
            Err(_) => return self.endpoint.was_not_heard(),
        };
        if at.paused.is_none() && at.webhook.url == self.webhook.url {
            let what = json!({ "webhook": self.name, "act": "pause" });
            let (actor, after) = (Actor::hub(), json!({ "reason": why }));
            let noted =
                audit::note(&self.streams, Act::Webhook, &actor, what, Value::Null, after).await;
            // Only what was looked at: another definition may have taken its place meanwhile.
            let is_paused = match noted {
                Ok(()) => webhooks.pause_at(&at, why).await.ok(),
                Err(_) => None,
            };
            match is_paused {
                Some(true) => {
                    tracing::warn!(webhook = self.name, why, "a webhook is paused by its hub");
                }
                Some(false) => {}
                None => self.endpoint.was_not_heard(),
            }
        }
        self.kicked.notify_one();
    }

    fn request(&self, event: &Event<Bytes>, cx: &Ctx) -> (HeaderMap, Bytes) {
        let (mut headers, body) = match self.webhook.mode {
            Mode::Structured => {
                let kind = HeaderValue::from_static("application/cloudevents+json; charset=utf-8");
                (HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]), event.to_cloud_json())
            }
            Mode::Binary => (binary(event.cloud_headers()), event.data.clone()),
        };
        let id = self.message_id(event);
        sign(&mut headers, &self.webhook.secrets, id, cx.attempt(), &body);
        (headers, body)
    }

    /// The same at every attempt, and no other event's: an event's own id is one of its source only.
    fn message_id(&self, event: &Event<Bytes>) -> String {
        let mut digest = Sha256::new();
        let tenant = self.tenant.as_deref().unwrap_or_default();
        let (source, id) = (event.source(), event.id());
        for part in [tenant, self.webhook.topic.as_str(), &*source, &*id] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        let digest = digest.finalize();
        let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("msg_{hex}")
    }
}

/// What is no header is left out: attributes are looked at when they are published.
fn binary(attributes: Vec<(String, String)>) -> HeaderMap {
    let json = HeaderValue::from_static("application/json");
    let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
    for (name, text) in attributes {
        let header = (HeaderName::try_from(name), HeaderValue::try_from(text));
        if let (Ok(name), Ok(value)) = header {
            headers.insert(name, value);
        }
    }
    headers
}

fn counted<T>(outcome: &'static str, what: T) -> T {
    metrics::counter!(DELIVERIES, "outcome" => outcome).increment(1);
    what
}
