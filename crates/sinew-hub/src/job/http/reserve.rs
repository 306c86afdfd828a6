//! Jobs taken on a lease, by workers in any language; renewed, and told of while they run.

use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sinew::http::Problem;
use sinew::job::{JobToken, Progress, PulledJob};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{OfQueue, token};
use super::problem;
use crate::busy::busy;
use crate::duration::written;
use crate::hub::Hub;
use crate::json;
use crate::openapi::ProblemBody;
use crate::serve::stopped;
use crate::stream::body;
use crate::stream::http::extract::time;

const MAX_DEFAULT: usize = 10;
/// As the library has it.
const MAX: usize = 100;
const LEASE_DEFAULT: Duration = Duration::from_secs(30);
/// As long as a request may take, nearly.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// What is renewed or told of at once.
pub(super) const TOKENS_MAX: usize = 256;
/// What people know a worker by that does not say.
pub(super) const LABEL: &str = "http";

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(reserve_jobs))
        .routes(routes!(renew_jobs))
        .routes(routes!(tell_of_job))
}

/// How many jobs, and for how long.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReserveBody {
    /// How many at most: 1 to 100. 10 unless said
    #[schema(example = 10)]
    max: Option<usize>,
    /// For how long they are held unless they are renewed: `1s` to `1h`. `30s` unless said
    #[schema(example = "30s")]
    lease: Option<String>,
    /// For how long to wait for the first: at most `30s`. Not at all unless said
    #[schema(example = "30s")]
    wait: Option<String>,
    /// What people know the worker by
    #[schema(example = "host:mailer")]
    worker: Option<String>,
}

/// Jobs that were taken.
#[derive(Serialize, ToSchema)]
struct ReservedBody {
    /// When others may have them, unless they are renewed; by the hub's clock (RFC 3339)
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    jobs: Vec<ReservedJobBody>,
}

/// A job that was taken.
#[derive(Serialize, ToSchema)]
struct ReservedJobBody {
    /// To be sent with what becomes of it, at any hub. Whoever has it can end the job
    token: String,
    #[schema(example = "01KAPX2V9QJ7M3B0N8R5T4W6YZ")]
    id: String,
    #[schema(example = "email.send")]
    kind: String,
    /// What it was enqueued with, as it was written; null where that is no JSON
    #[schema(value_type = Option<Value>)]
    payload: Option<Box<RawValue>>,
    /// The same, where it is no JSON
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    key: Option<String>,
    /// Which delivery this is: 1 for the first
    attempt: u32,
    /// How often it failed
    failures: u32,
    /// How many deliveries ended with their process
    crashes: u32,
    /// For how long it may run, where it says so itself: that is for the worker to see to
    #[schema(example = "5m")]
    timeout: Option<String>,
    /// By the store's clock (RFC 3339)
    #[schema(value_type = String, format = DateTime)]
    enqueued_at: Timestamp,
    /// Of W3C's Trace Context
    traceparent: Option<String>,
    /// Greater with each delivery of the job: what it writes elsewhere can be refused by it
    fence: u64,
}

impl From<PulledJob> for ReservedJobBody {
    fn from(job: PulledJob) -> Self {
        let payload = json::readable(&job.payload);
        let other = payload.is_none().then(|| STANDARD.encode(&job.payload));
        Self {
            token: job.token.to_string(),
            id: job.id.to_string(),
            kind: job.kind,
            payload,
            payload_base64: other,
            key: job.key,
            attempt: job.attempt,
            failures: job.failures,
            crashes: job.crashes,
            timeout: job.timeout.map(written),
            enqueued_at: body::time(job.enqueued_at),
            traceparent: job.traceparent,
            fence: job.fence.get(),
        }
    }
}

/// Take jobs of a queue, to be run.
///
/// What is not finished by the end of the lease is given to others, and counts as a delivery that ended with its process:
/// after five of them a job is dead. If the reply is lost on its way, it is so, too.
#[utoipa::path(post, path = "/v1/queues/{queue}/reserve", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue, which is made where there is none"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
    ),
    request_body = ReserveBody,
    responses(
        (status = 200, body = ReservedBody, description = "They are held on this lease"),
        (status = 204, description = "There is nothing to run now"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, the hub is stopping, or too many wait",
            headers(("Retry-After" = u64, description = "When to ask again, in seconds"))),
    ))]
async fn reserve_jobs(
    State(hub): State<Hub>,
    found: OfQueue,
    body: Result<Json<json::Object<ReserveBody>>, JsonRejection>,
) -> Result<Response, Problem> {
    let ReserveBody { max, lease, wait, worker } =
        json::object(body, r#"like {"max": 10, "lease": "30s", "wait": "30s"}"#)?;
    let max = max.unwrap_or(MAX_DEFAULT);
    if !(1..=MAX).contains(&max) {
        return Err(Problem::bad_request(format!(
            "max: {max} is out of bounds: expected 1 to {MAX}"
        )));
    }
    let lease = lease.map_or(Ok(LEASE_DEFAULT), |lease| time("lease", &lease))?;
    let wait = wait.map_or(Ok(Duration::ZERO), |wait| time("wait", &wait))?;
    if wait > WAIT_MAX {
        return Err(Problem::bad_request(format!(
            "a wait of {} is out of bounds: expected at most {WAIT_MAX:?}; ask again to wait for longer",
            written(wait)
        )));
    }
    hub.tended().asked(found.of.tenant(), &found.queue, &found.handle());
    let place = match wait.is_zero() {
        true => None,
        false => hub.reserving_place(found.of.tenant()),
    };
    // What is there it is given all the same.
    let has_no_place = place.is_none() && !wait.is_zero();
    let wait = if has_no_place { Duration::ZERO } else { wait };
    let OfQueue { of, queue } = found;
    let puller = of.jobs.pull(&queue).label(worker.as_deref().unwrap_or(LABEL)).wait(wait);
    // What it is given waits again where this is dropped, as it is when its caller hangs up.
    let reserved = tokio::select! {
        biased;
        // Who waits does not hold up the hub's end, and none begins any more.
        () = stopped(hub.stopping()) => {
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "this hub is stopping: ask another one, or again soon",
            ));
        }
        reserved = puller.reserve(max, lease) => reserved.map_err(problem)?,
    };
    let Some(until) = reserved.iter().map(|job| job.until).min() else {
        return match has_no_place {
            true => Err(busy()),
            false => Ok(StatusCode::NO_CONTENT.into_response()),
        };
    };
    let jobs = reserved.into_iter().map(ReservedJobBody::from).collect();
    Ok(Json(ReservedBody { until: body::time(until), jobs }).into_response())
}

/// Jobs that are to be held for longer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RenewJobsBody {
    /// Of up to 256 jobs
    tokens: Vec<String>,
    /// For so long from now: `1s` to `1h`. `30s` unless said
    #[schema(example = "30s")]
    lease: Option<String>,
}

/// Which jobs are held for longer.
#[derive(Serialize, ToSchema)]
struct RenewedJobsBody {
    /// Until when, by the hub's clock (RFC 3339)
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    /// The tokens of those that are not the caller's any more: they have ended, others have them, or they were cancelled. They
    /// are to be left alone
    lost: Vec<String>,
}

/// Hold jobs for longer.
///
/// All jobs of one reserve are renewed with any of them. Renew at a third of the lease, and stop what is `lost`: it has ended, is
/// another's, or was cancelled.
#[utoipa::path(post, path = "/v1/queues/{queue}/renew", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
    ),
    request_body = RenewJobsBody,
    responses(
        (status = 200, body = RenewedJobsBody, description = "Those that are not lost are held for so long"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: say it again",
            headers(("Retry-After" = u64, description = "When to say it again, in seconds"))),
    ))]
async fn renew_jobs(
    OfQueue { of, queue }: OfQueue,
    body: Result<Json<json::Object<RenewJobsBody>>, JsonRejection>,
) -> Result<Json<RenewedJobsBody>, Problem> {
    let RenewJobsBody { tokens, lease } =
        json::object(body, r#"like {"tokens": ["mail:pull-…"], "lease": "30s"}"#)?;
    bounded("tokens", tokens.len())?;
    let lease = lease.map_or(Ok(LEASE_DEFAULT), |lease| time("lease", &lease))?;
    let tokens: Vec<JobToken> = tokens.iter().map(|text| token(text)).collect::<Result<_, _>>()?;
    // From before it was asked: it is never told to last for longer than it does.
    let until = SystemTime::now().checked_add(lease);
    let until = until.ok_or_else(|| Problem::bad_request("lease: expected 1s to 1h"))?;
    let lost = of.jobs.pull(&queue).renew(&tokens, lease).await.map_err(problem)?;
    let lost = lost.iter().map(ToString::to_string).collect();
    Ok(Json(RenewedJobsBody { until: body::time(until), lost }))
}

pub(super) fn bounded(name: &str, count: usize) -> Result<(), Problem> {
    match (1..=TOKENS_MAX).contains(&count) {
        true => Ok(()),
        false => Err(Problem::bad_request(format!(
            "{name}: {count} of them are out of bounds: expected 1 to {TOKENS_MAX}"
        ))),
    }
}

/// What a worker tells of a job while it has it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TellBody {
    token: String,
    /// How far it has come
    progress: Option<TellProgressBody>,
    /// Lines for its log: up to 16, each of which is cut at 1 KiB
    #[serde(default)]
    log: Vec<String>,
}

/// How far a job has come.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TellProgressBody {
    done: u64,
    /// 0 where it is not known
    #[serde(default)]
    total: u64,
    /// What it is doing: up to 1 KiB
    #[serde(default)]
    text: String,
}

/// Tell how far a job has come, and add to its log.
#[utoipa::path(post, path = "/v1/queues/{queue}/progress", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
    ),
    request_body = TellBody,
    responses(
        (status = 204, description = "It is told"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 410, body = ProblemBody, content_type = "application/problem+json", description = "The job is not the caller's any more, and is to be left alone"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away",
            headers(("Retry-After" = u64, description = "When to tell it again, in seconds"))),
    ))]
async fn tell_of_job(
    OfQueue { of, queue }: OfQueue,
    body: Result<Json<json::Object<TellBody>>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    let TellBody { token: text, progress, log } = json::object(
        body,
        r#"like {"token": "mail:pull-…", "progress": {"done": 1, "total": 3}}"#,
    )?;
    let token = token(&text)?;
    let progress =
        progress.map(|TellProgressBody { done, total, text }| Progress { done, total, text });
    let told = of.jobs.pull(&queue).tell(&token, progress.as_ref(), &log).await;
    match told.map_err(problem)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::new(
            StatusCode::GONE,
            "the job is not yours any more: others have it, or it was cancelled, or has ended",
        )),
    }
}
