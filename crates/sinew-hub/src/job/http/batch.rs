//! Batches: jobs of one queue whose common end has others follow.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sinew::http::Problem;
use sinew::job::{BatchState, JobId, NewJob};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::enqueue::{MANY_LEN_MAX, NewJobBody, SentJobs, all, jobs_of, refuse_long};
use super::extract::{OfJob, OfQueue, id};
use super::job::{WaitQuery, wait_of};
use super::{problem, unsent};
use crate::body::read;
use crate::busy::busy;
use crate::hub::Hub;
use crate::json;
use crate::openapi::ProblemBody;
use crate::serve::stopped;
use crate::stream::http::extract::asked;

const EXPECTED: &str =
    r#"like {"jobs": [{"kind": "import.row"}], "on_success": [{"kind": "import.done"}]}"#;

pub(super) fn routes(value_len_max: usize) -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(submit_batch))
        .layer(axum::Extension(LenMax(MANY_LEN_MAX.max(value_len_max.saturating_mul(2)))))
        .routes(routes!(get_batch))
}

/// How long a body may be.
#[derive(Clone, Copy)]
struct LenMax(usize);

/// Jobs whose common end has others follow.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewBatchBody {
    /// What it is called: a ULID, drawn unless said. What is sent with the same one again is there once
    #[schema(example = "01KAPX2V9QJ7M3B0N8R5T4W6YZ")]
    id: Option<String>,
    /// For people
    name: Option<String>,
    /// Up to 1,000
    #[schema(value_type = Vec<NewJobBody>)]
    jobs: SentJobs,
    /// What is enqueued once all of them are done, in whichever queues: where one is dead and done later after all, then.
    /// Up to 1,000
    #[serde(default)]
    #[schema(value_type = Vec<NewJobBody>)]
    on_success: SentJobs,
    /// What is enqueued once all of them have ended, however. Up to 1,000
    #[serde(default)]
    #[schema(value_type = Vec<NewJobBody>)]
    on_complete: SentJobs,
}

/// A batch that was submitted.
#[derive(Serialize, ToSchema)]
struct SubmittedBatchBody {
    #[schema(example = "01KAPX2V9QJ7M3B0N8R5T4W6YZ")]
    id: String,
}

/// How a batch stands.
#[derive(Serialize, ToSchema)]
struct BatchBody {
    id: String,
    /// How many jobs it has
    total: u64,
    /// How many have not ended
    left: u64,
    /// How many are dead
    failed: u64,
    /// How many were cancelled or removed
    gone: u64,
    /// All of its jobs are enqueued
    sealed: bool,
    /// All of them have ended
    ended: bool,
}

impl BatchBody {
    fn new(id: JobId, state: BatchState) -> Self {
        let BatchState { total, left, failed, gone, is_sealed } = state;
        let ended = is_sealed && left == 0;
        Self { id: id.to_string(), total, left, failed, gone, sealed: is_sealed, ended }
    }
}

/// Enqueue jobs whose common end has others follow.
///
/// With an `id`, the same again is harmless, also where it has failed half-way.
#[utoipa::path(post, path = "/v1/queues/{queue}/batches", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
    ),
    request_body = NewBatchBody,
    responses(
        (status = 202, body = SubmittedBatchBody, description = "They are there"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input; or keys or unique names in a queue of several partitions"),
        (status = 413, body = ProblemBody, content_type = "application/problem+json", description = "More than 4 MiB, or twice as much as a value may have if that is more; more than 1,000 jobs; or a payload that is longer than a value may be"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The queue is full, or the store is away: some of its jobs may be there, and nothing follows them until it is sent again",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn submit_batch(
    State(hub): State<Hub>,
    axum::Extension(LenMax(len_max)): axum::Extension<LenMax>,
    OfQueue { of, queue }: OfQueue,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    refuse_other_than_json(&headers)?;
    let (body, _room) = read(&hub, len_max, body).await?;
    let read = Json::<json::Object<NewBatchBody>>::from_bytes(&body);
    let NewBatchBody { id: said, name, jobs, on_success, on_complete } =
        json::object(read, EXPECTED)?;
    let jobs = jobs_of(&queue, jobs)?;
    let (success, complete) = (follow(&queue, on_success)?, follow(&queue, on_complete)?);
    for some in [&jobs, &success, &complete] {
        refuse_long(some, hub.sinew().value_len_max())?;
    }
    let mut batch = of.jobs.batch(name.as_deref().unwrap_or_default()).queue(&queue);
    if let Some(said) = said {
        batch = batch.id(id(&said)?);
    }
    for job in jobs {
        batch = batch.add_raw(job).map_err(problem)?;
    }
    for job in success {
        batch = batch.on_success_raw(job).map_err(problem)?;
    }
    for job in complete {
        batch = batch.on_complete_raw(job).map_err(problem)?;
    }
    let submitted = batch.submit().await.map_err(unsent)?;
    let body = SubmittedBatchBody { id: submitted.id().to_string() };
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

/// As bodies that are read whole have it.
pub(super) fn refuse_other_than_json(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    match kind.eq_ignore_ascii_case("application/json") {
        true => Ok(()),
        false => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "expected Content-Type: application/json",
        )),
    }
}

fn follow(queue: &str, bodies: SentJobs) -> Result<Vec<NewJob>, Problem> {
    all(bodies)?.map(|job| job.read(queue)).collect()
}

/// How a batch stands.
#[utoipa::path(get, path = "/v1/queues/{queue}/batches/{id}", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("id" = String, Path, description = "What it is called"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
        WaitQuery,
    ),
    responses(
        (status = 200, body = BatchBody, description = "As it stands, also at the end of a wait in which it has not ended"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such batch, or not any more: 90 days after it changed last"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, or too many wait",
            headers(("Retry-After" = u64, description = "When to ask again, in seconds"))),
    ))]
async fn get_batch(
    State(hub): State<Hub>,
    OfJob { of, id }: OfJob,
    query: Result<Query<WaitQuery>, QueryRejection>,
) -> Result<Json<BatchBody>, Problem> {
    let wait = wait_of(asked(query, "wait=30s, or none")?)?;
    let batch = of.handle().batch(id).map_err(problem)?;
    let found = if wait.is_zero() {
        batch.look().await
    } else {
        let _place = hub.waiting_place().ok_or_else(busy)?;
        tokio::select! {
            found = batch.wait(wait) => found,
            // Who waits does not hold up the hub's end.
            () = stopped(hub.stopping()) => batch.look().await,
        }
    };
    let state = found.map_err(problem)?.ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "there is no such batch, or not any more")
    })?;
    Ok(Json(BatchBody::new(id, state)))
}
