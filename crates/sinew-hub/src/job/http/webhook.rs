//! Webhooks of queues, as they are defined.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sinew::http::Problem;
use sinew::job::{Expected, QueueWebhook, QueueWebhookAt, QueueWebhooks, Secret};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{NoQuery, OfJobs, OfQueue};
use super::{problem_of_definition, shown};
use crate::auth::Actor;
use crate::duration::written;
use crate::etag::{self, condition, tagged};
use crate::hub::Hub;
use crate::job::audit::Act;
use crate::json;
use crate::openapi::ProblemBody;
use crate::stream::audit::BY;
use crate::stream::http::extract::time;
use crate::webhook::body::{LastBody, PauseBody, PausedBody, Reason, secrets};

const EXPECTED: &str = r#"like {"url": "https://example.com/jobs"}"#;
const NO_WEBHOOK: &str = "the queue has no webhook";

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(list_queue_webhooks))
        .routes(routes!(get_queue_webhook, put_queue_webhook, remove_queue_webhook))
        .routes(routes!(pause_queue_webhook))
        .routes(routes!(resume_queue_webhook))
}

/// The webhook of a queue, as it is defined. Its secrets are shown to no one.
#[derive(Serialize, ToSchema)]
struct QueueWebhookBody {
    #[schema(example = "mail")]
    queue: String,
    url: String,
    /// How long one run may take, unless the job says so itself
    #[schema(example = "30s")]
    timeout: String,
    /// How many jobs a hub has under way at once
    concurrency: u16,
    revision: u64,
    /// Null while jobs are sent
    paused: Option<PausedBody>,
    /// What came of the last job that this hub has sent
    last: Option<LastBody>,
    /// What requests are signed with: told once, where the hub has made it
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl QueueWebhookBody {
    fn of(hub: &Hub, tenant: Option<&str>, at: QueueWebhookAt) -> Self {
        let QueueWebhookAt { queue, revision, webhook, paused, .. } = at;
        let last = hub.queue_runs().last(tenant, &queue);
        Self {
            queue,
            url: webhook.url,
            timeout: written(webhook.timeout),
            concurrency: webhook.concurrency,
            revision,
            paused: paused.map(PausedBody::from),
            last: last.map(LastBody::from),
            secret: None,
        }
    }
}

/// How the webhook of a queue is to be defined.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutQueueWebhook {
    /// `https://…`, to a host that is on the internet, unless the hub's configuration allows others
    #[schema(example = "https://example.com/jobs")]
    url: String,
    /// `whsec_` and 24 to 64 bytes in Base64. Left out, the one that it has stays, and a new webhook gets one
    secret: Option<String>,
    /// With which requests are signed as well, while the endpoint changes to the other
    old_secret: Option<String>,
    /// `1s` to `5m`. `30s` unless said
    timeout: Option<String>,
    /// 1 to 64. 8 unless said
    #[schema(value_type = Option<u16>)]
    concurrency: Option<json::Within<u16, 1, 64>>,
}

impl PutQueueWebhook {
    /// A webhook to be written, and the secret that was made for it.
    fn wanted(
        &self,
        before: Option<&QueueWebhook>,
    ) -> Result<(QueueWebhook, Option<Secret>), Problem> {
        let before = before.map(|before| &before.secrets[..]);
        let (all, made) = secrets(self.secret.as_deref(), self.old_secret.as_deref(), before)?;
        let Some(first) = all.first().cloned() else {
            return Err(Problem::bad_request("no secret: expected one"));
        };
        let mut webhook = QueueWebhook::new(&self.url, first);
        webhook.secrets = all;
        if let Some(timeout) = &self.timeout {
            webhook.timeout = time("timeout", timeout)?;
        }
        if let Some(json::Within(concurrency)) = self.concurrency {
            webhook.concurrency = concurrency;
        }
        Ok((webhook, made))
    }
}

/// For the audit: where the jobs go, without what may be a token in the URL.
fn outline(webhook: &QueueWebhook) -> Value {
    let url = url::Url::parse(&webhook.url).ok();
    let host = url.as_ref().and_then(url::Url::host_str).unwrap_or_default();
    json!({ "host": host, "timeout": written(webhook.timeout), "concurrency": webhook.concurrency })
}

/// For the audit: of what it does not tell, whether it becomes another.
fn changes(before: Option<&QueueWebhook>, after: &QueueWebhook) -> Value {
    let url = before.is_some_and(|before| before.url != after.url);
    let secret = before.is_some_and(|before| before.secrets != after.secrets);
    json!({ "url": url, "secret": secret })
}

/// The webhooks of a tenant's queues.
#[utoipa::path(get, path = "/v1/queue-webhooks", tag = "job",
    params(("X-Tenant-Id" = Option<String>, Header, description = "Whose queues")),
    responses(
        (status = 200, body = [QueueWebhookBody], description = "By queue: 100 at most"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn list_queue_webhooks(
    State(hub): State<Hub>,
    _: NoQuery,
    of: OfJobs,
) -> Result<Json<Vec<QueueWebhookBody>>, Problem> {
    let all = of.jobs.webhooks().list().await.map_err(problem_of_definition)?;
    let all = all.into_iter().map(|at| QueueWebhookBody::of(&hub, of.tenant(), at));
    Ok(Json(all.collect()))
}

/// The webhook of a queue.
#[utoipa::path(get, path = "/v1/queues/{queue}/webhook", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
    ),
    responses(
        (status = 200, body = QueueWebhookBody, description = "As it is defined",
            headers(("ETag" = String, description = "Its revision between quotes, as If-Match takes it"))),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "The queue has no webhook"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn get_queue_webhook(
    State(hub): State<Hub>,
    _: NoQuery,
    of: OfQueue,
) -> Result<Response, Problem> {
    let at = found(&of).await?.ok_or_else(|| unknown(&of.queue))?;
    Ok(told(StatusCode::OK, QueueWebhookBody::of(&hub, of.of.tenant(), at)))
}

/// Have the jobs of a queue sent to an endpoint, in place of what is defined.
///
/// Every hub runs it within seconds, and each job is sent by one of them: a POST of the job as JSON, signed as Standard
/// Webhooks has it, with its id as `webhook-id`. 2xx: it is done. 429 or 503 with `Retry-After`: it is put off for so long.
/// 410: it waits again, and the webhook is paused. Anything else, or nothing in time: it has failed, and is tried again as the
/// job says.
#[utoipa::path(put, path = "/v1/queues/{queue}/webhook", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
        ("If-Match" = Option<String>, Header, description = "The revision that is to be replaced, between quotes; or `*`: whichever is there"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is none"),
    ),
    request_body = PutQueueWebhook,
    responses(
        (status = 200, body = QueueWebhookBody, description = "Changed",
            headers(("ETag" = String, description = "Its revision between quotes"))),
        (status = 201, body = QueueWebhookBody, description = "Defined for the first time, with its secret if the hub has made it",
            headers(("ETag" = String, description = "Its revision between quotes"))),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input, a URL that no webhook may have here, or one webhook more than a hundred"),
        (status = 412, body = ProblemBody, content_type = "application/problem+json", description = "Another revision is there, or none; or someone has changed it meanwhile, and its secret was to stay"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The audit has no room, or the store is away: it may be defined or not",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn put_queue_webhook(
    State(hub): State<Hub>,
    actor: Actor,
    of: OfQueue,
    headers: HeaderMap,
    body: Result<Json<json::Object<PutQueueWebhook>>, JsonRejection>,
) -> Result<Response, Problem> {
    let condition = condition(&headers)?;
    let body = json::object(body, EXPECTED)?;
    hub.addresses().url(&body.url).map_err(Problem::bad_request)?;
    let before = found(&of).await?;
    let found = before.as_ref().map_or(0, |at| at.revision);
    let expected = condition.expected(found, NO_WEBHOOK)?;
    let expected = match (expected, body.secret.is_some(), found) {
        // A secret that stays, or is made, goes with what was looked at.
        (Expected::Any, false, 0) => Expected::Absent,
        (Expected::Any, false, found) => Expected::Revision(found),
        (said, ..) => said,
    };
    let before = before.map(|at| at.webhook);
    let (webhook, made) = body.wanted(before.as_ref())?;
    QueueWebhooks::check(&of.queue, &webhook)?;
    // What is refused is not noted.
    refuse_other(&of.queue, expected, found)?;
    let was = before.as_ref().map_or(Value::Null, outline);
    let what = json!({ "queue": of.queue, "act": "put",
        "changes": changes(before.as_ref(), &webhook) });
    of.of.note(Act::Webhook, &actor, what, was, outline(&webhook)).await?;
    let at = of.of.jobs.webhooks().put(&of.queue, &webhook, expected).await;
    let at = at.map_err(problem_of_definition)?;
    hub.queue_runs().look_again();
    let (by, tenant, queue, revision) = (actor.by(BY), of.of.tenant(), &of.queue, at.revision);
    tracing::info!(by, tenant, queue, revision, "a queue's webhook was defined over HTTP");
    let status = if found == 0 { StatusCode::CREATED } else { StatusCode::OK };
    let mut body = QueueWebhookBody::of(&hub, tenant, at);
    body.secret = made.map(|secret| secret.reveal());
    Ok(told(status, body))
}

/// Remove the webhook of a queue. Its jobs wait for other workers.
#[utoipa::path(delete, path = "/v1/queues/{queue}/webhook", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
        ("If-Match" = Option<String>, Header, description = "The revision that is to be removed, between quotes; or `*`: whichever is there"),
    ),
    responses(
        (status = 204, description = "Removed"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "The queue has no webhook"),
        (status = 412, body = ProblemBody, content_type = "application/problem+json", description = "Another revision is there, or none"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The audit has no room, or the store is away: it may be removed or not",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn remove_queue_webhook(
    State(hub): State<Hub>,
    actor: Actor,
    of: OfQueue,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let condition = condition(&headers)?;
    let before = found(&of).await?;
    let expected = condition.expected(before.as_ref().map_or(0, |at| at.revision), NO_WEBHOOK)?;
    let Some(before) = before else { return Err(unknown(&of.queue)) };
    refuse_other(&of.queue, expected, before.revision)?;
    note(&of, &actor, "remove", outline(&before.webhook), Value::Null).await?;
    let was_there = of.of.jobs.webhooks().remove(&of.queue, expected).await;
    let was_there = was_there.map_err(problem_of_definition)?;
    hub.queue_runs().look_again();
    let (by, tenant, queue) = (actor.by(BY), of.of.tenant(), &of.queue);
    tracing::warn!(by, tenant, queue, was_there, "a queue's webhook was removed over HTTP");
    match was_there {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(unknown(&of.queue)),
    }
}

/// Pause the webhook of a queue: its jobs wait.
#[utoipa::path(post, path = "/v1/queues/{queue}/webhook/pause", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
    ),
    request_body = Option<PauseBody>,
    responses(
        (status = 200, body = QueueWebhookBody, description = "Paused, or it was before"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "The queue has no webhook"),
        (status = 412, body = ProblemBody, content_type = "application/problem+json", description = "Others keep changing it"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The audit has no room, or the store is away: it may be paused or not",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn pause_queue_webhook(
    State(hub): State<Hub>,
    actor: Actor,
    of: OfQueue,
    Reason(reason): Reason,
) -> Result<Response, Problem> {
    switch(&hub, &actor, &of, Some(&reason)).await
}

/// Go on with the webhook of a queue that is paused.
#[utoipa::path(post, path = "/v1/queues/{queue}/webhook/resume", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
    ),
    responses(
        (status = 200, body = QueueWebhookBody, description = "Jobs are sent again, or were all the time"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "The queue has no webhook"),
        (status = 412, body = ProblemBody, content_type = "application/problem+json", description = "Others keep changing it"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The audit has no room, or the store is away: it may be resumed or not",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn resume_queue_webhook(
    State(hub): State<Hub>,
    actor: Actor,
    of: OfQueue,
) -> Result<Response, Problem> {
    switch(&hub, &actor, &of, None).await
}

async fn switch(
    hub: &Hub,
    actor: &Actor,
    of: &OfQueue,
    reason: Option<&str>,
) -> Result<Response, Problem> {
    let before = found(of).await?.ok_or_else(|| unknown(&of.queue))?;
    if before.paused.is_some() == reason.is_some() {
        return Ok(told(StatusCode::OK, QueueWebhookBody::of(hub, of.of.tenant(), before)));
    }
    let act = if reason.is_some() { "pause" } else { "resume" };
    let was = before.paused.map_or(Value::Null, |paused| json!({ "reason": paused.reason }));
    note(of, actor, act, was, json!({ "reason": reason })).await?;
    let at = of.of.jobs.webhooks().set_paused(&of.queue, reason).await;
    let at = at.map_err(problem_of_definition)?.ok_or_else(|| unknown(&of.queue))?;
    hub.queue_runs().look_again();
    Ok(told(StatusCode::OK, QueueWebhookBody::of(hub, of.of.tenant(), at)))
}

async fn note(
    of: &OfQueue,
    actor: &Actor,
    act: &str,
    before: Value,
    after: Value,
) -> Result<(), Problem> {
    let what = json!({ "queue": of.queue, "act": act });
    of.of.note(Act::Webhook, actor, what, before, after).await
}

async fn found(of: &OfQueue) -> Result<Option<QueueWebhookAt>, Problem> {
    of.of.jobs.webhooks().get(&of.queue).await.map_err(problem_of_definition)
}

fn unknown(queue: &str) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        format!(
            "queue {:?} has no webhook: GET /v1/queue-webhooks lists those that there are",
            shown(queue)
        ),
    )
}

fn refuse_other(queue: &str, expected: Expected, found: u64) -> Result<(), Problem> {
    let what = shown(queue);
    etag::refuse_other(expected, found, format_args!("the webhook of queue {what:?}"))
}

fn told(status: StatusCode, body: QueueWebhookBody) -> Response {
    tagged(status, body.revision, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audit_tells_what_becomes_another_and_no_secret() {
        let secret = Secret::generate().unwrap();
        let before = QueueWebhook::new("https://example.com/token", secret.clone());
        let with = |url: &str, secret: &Secret| QueueWebhook::new(url, secret.clone());
        let none = json!({ "url": false, "secret": false });
        assert_eq!(changes(Some(&before), &with(&before.url, &secret)), none);
        assert_eq!(changes(None, &before), none);
        let moved = with("https://example.com/other", &secret);
        assert_eq!(changes(Some(&before), &moved), json!({ "url": true, "secret": false }));
        let signed = with(&before.url, &Secret::generate().unwrap());
        assert_eq!(changes(Some(&before), &signed), json!({ "url": false, "secret": true }));
        let told = json!({ "host": "example.com", "timeout": "30s", "concurrency": 8 });
        assert_eq!(outline(&before), told);
    }
}
