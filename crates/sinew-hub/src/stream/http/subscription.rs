//! `/v1/subscriptions/…`: webhooks as they are defined.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sinew::http::Problem;
use sinew::limit::Expected;
use sinew::stream::{Mode, Secret, Webhook, WebhookAt, Webhooks};
use sinew::{ErrorKind, Streams, Tenant};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{OfStreams, from_path};
use crate::auth::Actor;
use crate::duration;
use crate::etag::{self, condition, tagged};
use crate::hub::Hub;
use crate::json;
use crate::openapi::ProblemBody;
use crate::stream::audit::{self, Act};
use crate::webhook::body::{LastBody, PauseBody, PausedBody, Reason, secrets};

const EXPECTED: &str = r#"like {"topic": "orders", "url": "https://example.com/in"}"#;
const NO_WEBHOOK: &str = "there is no webhook of this name";

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(list_webhooks))
        .routes(routes!(get_webhook, put_webhook, remove_webhook))
        .routes(routes!(pause_webhook))
        .routes(routes!(resume_webhook))
}

/// A webhook that the path names.
struct OfWebhook {
    webhooks: Webhooks,
    streams: Streams,
    tenant: Option<Tenant>,
    name: String,
}

impl FromRequestParts<Hub> for OfWebhook {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let name: String = from_path(parts, hub).await?;
        let OfStreams { streams, tenant } = OfStreams::from_request_parts(parts, hub).await?;
        Ok(Self { webhooks: streams.webhooks(), streams, tenant, name })
    }
}

/// A webhook, as it is defined. Its secrets are shown to no one.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct WebhookBody {
    pub(crate) name: String,
    pub(crate) topic: String,
    pub(crate) url: String,
    /// The types of events that are delivered: all where there are none
    pub(crate) kinds: Vec<String>,
    /// How long one delivery may take
    #[schema(example = "10s")]
    pub(crate) timeout: String,
    /// After so many failures an event is a dead letter
    pub(crate) attempts: u32,
    /// How many deliveries a hub has under way at once
    pub(crate) concurrency: u16,
    /// Whether the events of a key are delivered in order
    pub(crate) ordered: bool,
    /// `structured` or `binary`, as CloudEvents has it
    pub(crate) mode: String,
    /// Of the topic, to which consumers and dead letters belong
    pub(crate) group: String,
    pub(crate) revision: u64,
    /// Null while it is delivered
    pub(crate) paused: Option<PausedBody>,
    /// What came of the last delivery by this hub
    pub(crate) last: Option<LastBody>,
    /// What deliveries are signed with: told once, where the hub has made it
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<String>,
}

/// How a webhook is to be defined.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutWebhook {
    #[schema(example = "orders")]
    topic: String,
    /// `https://…`, to a host that is on the internet, unless the hub's configuration allows others
    #[schema(example = "https://example.com/in")]
    url: String,
    /// `whsec_` and 24 to 64 bytes in Base64. Left out, the one that it has stays, and a new webhook gets one
    secret: Option<String>,
    /// With which deliveries are signed as well, while the receivers change to the other
    old_secret: Option<String>,
    /// The types of events that are delivered: all unless said
    #[serde(default)]
    kinds: Vec<String>,
    /// `1s` to `30s`. `10s` unless said
    timeout: Option<String>,
    /// 1 to 1,000. 20 unless said
    attempts: Option<u32>,
    /// 1 to 64. 8 unless said
    concurrency: Option<u16>,
    /// Whether the events of a key are delivered in order, one at a time. A topic that is not there yet has 16 partitions
    /// then, for ever
    #[serde(default)]
    ordered: bool,
    /// `structured` or `binary`. `structured` unless said
    mode: Option<String>,
}

/// A webhook to be written, and the secret that was made for it.
struct Wanted {
    webhook: Webhook,
    made: Option<Secret>,
}

impl PutWebhook {
    fn wanted(self, before: Option<&Webhook>) -> Result<Wanted, Problem> {
        let before = before.map(|before| &before.secrets[..]);
        let (secrets, made) = secrets(self.secret.as_deref(), self.old_secret.as_deref(), before)?;
        let Some(first) = secrets.first().cloned() else {
            return Err(Problem::bad_request("no secret: expected one"));
        };
        let mut webhook = Webhook::new(self.topic, self.url, first);
        webhook.secrets = secrets;
        webhook.kinds = self.kinds;
        webhook.ordered = self.ordered;
        if let Some(text) = self.timeout {
            webhook.timeout = duration::parse(&text)
                .map_err(|what| Problem::bad_request(format!("timeout: {what}")))?;
        }
        webhook.attempts = self.attempts.unwrap_or(webhook.attempts);
        webhook.concurrency = self.concurrency.unwrap_or(webhook.concurrency);
        if let Some(text) = self.mode {
            let mode = Mode::ALL.into_iter().find(|mode| mode.name() == text);
            webhook.mode = mode.ok_or_else(|| {
                Problem::bad_request("invalid mode: expected structured or binary")
            })?;
        }
        Ok(Wanted { webhook, made })
    }
}

impl WebhookBody {
    pub(crate) fn of(hub: &Hub, tenant: Option<&Tenant>, at: WebhookAt) -> Self {
        let WebhookAt { name, revision, webhook, paused, .. } = at;
        let last = hub.deliveries().last(tenant.map(Tenant::as_str), &name);
        Self {
            group: Webhooks::group_of(&name),
            name,
            topic: webhook.topic,
            url: webhook.url,
            kinds: webhook.kinds,
            timeout: duration::written(webhook.timeout),
            attempts: webhook.attempts,
            concurrency: webhook.concurrency,
            ordered: webhook.ordered,
            mode: webhook.mode.name().to_owned(),
            revision,
            paused: paused.map(PausedBody::from),
            last: last.map(LastBody::from),
            secret: None,
        }
    }

    /// For the audit: where the events go, without what may be a token in the URL.
    fn outline(webhook: &Webhook) -> Value {
        let host = url::Url::parse(&webhook.url).ok();
        let host = host.as_ref().and_then(url::Url::host_str).unwrap_or_default();
        json!({ "topic": webhook.topic, "host": host, "kinds": webhook.kinds })
    }
}

/// The webhooks of a tenant, by name.
#[utoipa::path(get, path = "/v1/subscriptions", tag = "stream",
    responses(
        (status = 200, body = [WebhookBody], description = "By name: 100 at most"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away"),
    ))]
async fn list_webhooks(
    State(hub): State<Hub>,
    OfStreams { streams, tenant }: OfStreams,
) -> Result<Json<Vec<WebhookBody>>, Problem> {
    let all = streams.webhooks().list().await.map_err(problem)?;
    let all = all.into_iter().map(|at| WebhookBody::of(&hub, tenant.as_ref(), at));
    Ok(Json(all.collect()))
}

/// A webhook.
#[utoipa::path(get, path = "/v1/subscriptions/{name}", tag = "stream",
    params(("name" = String, Path, description = "Name of the webhook")),
    responses(
        (status = 200, body = WebhookBody, description = "As it is defined",
            headers(("ETag" = String, description = "Its revision between quotes, as If-Match takes it"))),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No such webhook"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away"),
    ))]
async fn get_webhook(State(hub): State<Hub>, of: OfWebhook) -> Result<Response, Problem> {
    let at = of.webhooks.get(&of.name).await.map_err(problem)?;
    let at = at.ok_or_else(|| unknown(&of.name))?;
    Ok(shown(StatusCode::OK, WebhookBody::of(&hub, of.tenant.as_ref(), at)))
}

/// Define a webhook, in place of what is defined under its name.
///
/// Every hub delivers it within seconds, and each event is delivered by one of them: a POST, signed as Standard
/// Webhooks has it, that counts as delivered when it is answered with 2xx. A new webhook begins with the oldest
/// event that its topic still has. Deliveries of one event have one `webhook-id`, and those of no other have it.
#[utoipa::path(put, path = "/v1/subscriptions/{name}", tag = "stream",
    params(
        ("name" = String, Path, description = "Name of the webhook: 1 to 56 of A-Z a-z 0-9 . _ -"),
        ("If-Match" = Option<String>, Header, description = "The revision that is to be replaced, between quotes; or `*`: whichever is there"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is no webhook of this name"),
    ),
    request_body = PutWebhook,
    responses(
        (status = 200, body = WebhookBody, description = "Changed",
            headers(("ETag" = String, description = "Its revision between quotes"))),
        (status = 201, body = WebhookBody, description = "Defined for the first time, with its secret if the hub has made it",
            headers(("ETag" = String, description = "Its revision between quotes"))),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input, a URL that no webhook may have here, or one webhook more than a hundred"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "The audit is pushed nowhere"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "It is of another topic: remove it first, and its group, if what it has not delivered is not wanted"),
        (status = 412, body = ProblemBody, content_type = "application/problem+json", description = "Another revision is there, or none; or someone has changed it meanwhile, and its secret was to stay"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may be defined or not"),
    ))]
async fn put_webhook(
    State(hub): State<Hub>,
    actor: Actor,
    of: OfWebhook,
    headers: HeaderMap,
    body: Result<Json<json::Object<PutWebhook>>, JsonRejection>,
) -> Result<Response, Problem> {
    let condition = condition(&headers)?;
    let body = json::object(body, EXPECTED)?;
    hub.addresses().url(&body.url).map_err(Problem::bad_request)?;
    refuse_audit(&body.topic)?;
    let before = of.webhooks.get(&of.name).await.map_err(problem)?;
    let found = before.as_ref().map_or(0, |at| at.revision);
    let expected = condition.expected(found, NO_WEBHOOK)?;
    let expected = match (expected, body.secret.is_some(), found) {
        // A secret that stays, or is made, goes with what was looked at.
        (Expected::Any, false, 0) => Expected::Absent,
        (Expected::Any, false, found) => Expected::Revision(found),
        (said, ..) => said,
    };
    let before = before.map(|at| at.webhook);
    let Wanted { webhook, made } = body.wanted(before.as_ref())?;
    Webhooks::check(&of.name, &webhook).map_err(problem)?;
    // What is refused is not noted.
    refuse_other(&of.name, expected, found)?;
    refuse_other_topic(&webhook, before.as_ref())?;
    let outline = before.as_ref().map_or(Value::Null, WebhookBody::outline);
    let after = WebhookBody::outline(&webhook);
    note(&of, &actor, "put", outline, after).await?;
    let at = of.webhooks.put(&of.name, &webhook, expected).await.map_err(problem)?;
    hub.deliveries().look_again();
    let (by, tenant) = (actor.by(audit::BY), of.tenant.as_ref().map(Tenant::as_str));
    let (webhook, revision) = (&of.name, at.revision);
    tracing::info!(by, tenant, webhook, revision, "a webhook was defined over HTTP");
    let status = if found == 0 { StatusCode::CREATED } else { StatusCode::OK };
    let mut body = WebhookBody::of(&hub, of.tenant.as_ref(), at);
    body.secret = made.map(|secret| secret.reveal());
    Ok(shown(status, body))
}

/// Remove a webhook.
///
/// What it has not delivered stays with its group, `webhook.{name}`, until that is removed.
#[utoipa::path(delete, path = "/v1/subscriptions/{name}", tag = "stream",
    params(
        ("name" = String, Path, description = "Name of the webhook"),
        ("If-Match" = Option<String>, Header, description = "The revision that is to be removed, between quotes; or `*`: whichever is there"),
    ),
    responses(
        (status = 204, description = "Removed"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No such webhook"),
        (status = 412, body = ProblemBody, content_type = "application/problem+json", description = "Another revision is there, or none"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may be removed or not"),
    ))]
async fn remove_webhook(
    State(hub): State<Hub>,
    actor: Actor,
    of: OfWebhook,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let condition = condition(&headers)?;
    let before = of.webhooks.get(&of.name).await.map_err(problem)?;
    let expected = condition.expected(before.as_ref().map_or(0, |at| at.revision), NO_WEBHOOK)?;
    let Some(before) = before else { return Err(unknown(&of.name)) };
    refuse_other(&of.name, expected, before.revision)?;
    note(&of, &actor, "remove", WebhookBody::outline(&before.webhook), Value::Null).await?;
    let was_there = of.webhooks.remove(&of.name, expected).await.map_err(problem)?;
    hub.deliveries().look_again();
    let (by, tenant) = (actor.by(audit::BY), of.tenant.as_ref().map(Tenant::as_str));
    tracing::warn!(by, tenant, webhook = of.name, was_there, "a webhook was removed over HTTP");
    match was_there {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(unknown(&of.name)),
    }
}

/// Pause a webhook: its events wait.
#[utoipa::path(post, path = "/v1/subscriptions/{name}/pause", tag = "stream",
    params(("name" = String, Path, description = "Name of the webhook")),
    request_body = Option<PauseBody>,
    responses(
        (status = 200, body = WebhookBody, description = "Paused, or it was before"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No such webhook"),
        (status = 412, body = ProblemBody, content_type = "application/problem+json", description = "Others keep changing it"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may be paused or not"),
    ))]
async fn pause_webhook(
    State(hub): State<Hub>,
    actor: Actor,
    of: OfWebhook,
    Reason(reason): Reason,
) -> Result<Response, Problem> {
    switch(&hub, &actor, of, Some(&reason)).await
}

/// Go on with a webhook that is paused.
#[utoipa::path(post, path = "/v1/subscriptions/{name}/resume", tag = "stream",
    params(("name" = String, Path, description = "Name of the webhook")),
    responses(
        (status = 200, body = WebhookBody, description = "It is delivered again, or was all the time"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No such webhook"),
        (status = 412, body = ProblemBody, content_type = "application/problem+json", description = "Others keep changing it"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may be resumed or not"),
    ))]
async fn resume_webhook(
    State(hub): State<Hub>,
    actor: Actor,
    of: OfWebhook,
) -> Result<Response, Problem> {
    switch(&hub, &actor, of, None).await
}

async fn switch(
    hub: &Hub,
    actor: &Actor,
    of: OfWebhook,
    reason: Option<&str>,
) -> Result<Response, Problem> {
    let Some(before) = of.webhooks.get(&of.name).await.map_err(problem)? else {
        return Err(unknown(&of.name));
    };
    if before.paused.is_some() == reason.is_some() {
        return Ok(shown(StatusCode::OK, WebhookBody::of(hub, of.tenant.as_ref(), before)));
    }
    let what = if reason.is_some() { "pause" } else { "resume" };
    let paused = before.paused.map_or(Value::Null, |paused| json!({ "reason": paused.reason }));
    note(&of, actor, what, paused, json!({ "reason": reason })).await?;
    let at = of.webhooks.set_paused(&of.name, reason).await.map_err(problem)?;
    hub.deliveries().look_again();
    let at = at.ok_or_else(|| unknown(&of.name))?;
    Ok(shown(StatusCode::OK, WebhookBody::of(hub, of.tenant.as_ref(), at)))
}

async fn note(
    of: &OfWebhook,
    actor: &Actor,
    act: &str,
    before: Value,
    after: Value,
) -> Result<(), Problem> {
    let what = json!({ "webhook": of.name, "act": act });
    audit::note(&of.streams, Act::Webhook, actor, what, before, after).await
}

/// One that is paused, or fails, would keep the audit from making room, and so all that is noted there from being done.
fn refuse_audit(topic: &str) -> Result<(), Problem> {
    match audit::is_one(topic) {
        true => Err(Problem::new(
            StatusCode::FORBIDDEN,
            format!("{topic} is an audit, which nobody may hold up: expected another topic"),
        )),
        false => Ok(()),
    }
}

/// Its group would stay on the other topic, and keep what it has not had from being trimmed.
fn refuse_other_topic(webhook: &Webhook, before: Option<&Webhook>) -> Result<(), Problem> {
    match before.filter(|before| before.topic != webhook.topic) {
        Some(before) => Err(Problem::new(
            StatusCode::CONFLICT,
            format!(
                "this webhook is of topic {}: expected the same, or the webhook to be removed first",
                before.topic
            ),
        )),
        None => Ok(()),
    }
}

fn refuse_other(name: &str, expected: Expected, found: u64) -> Result<(), Problem> {
    etag::refuse_other(expected, found, format_args!("webhook {name:?}"))
}

fn shown(status: StatusCode, body: WebhookBody) -> Response {
    tagged(status, body.revision, body)
}

fn unknown(name: &str) -> Problem {
    let shown: String = name.chars().take(56).collect();
    Problem::new(
        StatusCode::NOT_FOUND,
        format!("no webhook {shown:?}: GET /v1/subscriptions lists those that there are"),
    )
}

/// An error of a definition. There, a conflict is another revision.
fn problem(error: sinew::Error) -> Problem {
    match error.kind() {
        ErrorKind::Conflict => Problem::new(StatusCode::PRECONDITION_FAILED, error.to_string()),
        _ => error.into(),
    }
}
