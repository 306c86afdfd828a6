//! Jobs: one of them, those of a state, and those that are done.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use sinew::http::Problem;
use sinew::job::{DeadFilter, JobHandle, JobId, JobState};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{OfJob, OfQueue};
use super::{known, problem, shown};
use crate::auth::Actor;
use crate::busy::busy;
use crate::duration::written;
use crate::hub::Hub;
use crate::job::audit::Act;
use crate::job::body::{CancelledBody, DoneBody, JobBody, JobsBody};
use crate::job::terms;
use crate::openapi::ProblemBody;
use crate::serve::stopped;
use crate::stream::audit::BY;
use crate::stream::http::extract::{asked, count, time};

/// As long as a request may take, nearly.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Of a list: each of them is read.
const PAGE_MAX: usize = 100;

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(get_job, cancel_job))
        .routes(routes!(list_jobs))
        .routes(routes!(list_done))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WaitQuery {
    /// For how long to wait for the end: at most `30s`. Not at all unless said
    #[param(example = "30s")]
    wait: Option<String>,
}

pub(super) fn wait_of(query: WaitQuery) -> Result<Duration, Problem> {
    let wait = query.wait.map_or(Ok(Duration::ZERO), |wait| time("wait", &wait))?;
    match wait <= WAIT_MAX {
        true => Ok(wait),
        false => Err(Problem::bad_request(format!(
            "a wait of {} is out of bounds: expected at most {WAIT_MAX:?}; ask again to wait for longer",
            written(wait)
        ))),
    }
}

/// A job: where it stands, and what it brought.
///
/// One that is done is known for as long as it is retained, for a minute where someone waited for it or it has a result, and
/// after that for some days by its kind and how long it took.
#[utoipa::path(get, path = "/v1/queues/{queue}/jobs/{id}", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("id" = String, Path, description = "What it is called"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
        WaitQuery,
    ),
    responses(
        (status = 200, body = JobBody, description = "As it stands, also at the end of a wait in which it has not ended"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such job, or not any more"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, or too many wait",
            headers(("Retry-After" = u64, description = "When to ask again, in seconds"))),
    ))]
async fn get_job(
    State(hub): State<Hub>,
    of: OfJob,
    query: Result<Query<WaitQuery>, QueryRejection>,
) -> Result<Json<JobBody>, Problem> {
    let wait = wait_of(asked(query, "wait=30s, or none")?)?;
    let handle = of.handle()?;
    if !wait.is_zero() {
        let _place = hub.waiting_place().ok_or_else(busy)?;
        tokio::select! {
            waited = handle.wait::<IgnoredAny>(wait) => {
                waited.map_err(problem)?;
            }
            // Who waits does not hold up the hub's end.
            () = stopped(hub.stopping()) => {}
        }
    }
    found(&handle, of.id).await.map(Json)
}

async fn found(handle: &JobHandle, id: JobId) -> Result<JobBody, Problem> {
    let found = handle.find().await.map_err(problem)?;
    found.map(JobBody::from).ok_or_else(|| no_job(handle.queue(), id))
}

fn no_job(queue: &str, id: JobId) -> Problem {
    let queue = shown(queue);
    Problem::new(
        StatusCode::NOT_FOUND,
        format!(
            "no job {id} in queue {queue:?}, or not any more: GET /v1/queues/{queue}/jobs?state=waiting lists those that wait"
        ),
    )
}

/// Cancel a job that has not ended.
///
/// One that waits will not run. One that runs is told within a second, as `lost` at its next renewal, and what it says does
/// not count.
#[utoipa::path(delete, path = "/v1/queues/{queue}/jobs/{id}", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("id" = String, Path, description = "What it is called"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
    ),
    responses(
        (status = 200, body = CancelledBody, description = "What it found; one that had ended is left as it is"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such job, or not any more"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, or the audit has no room: it may be cancelled or not",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn cancel_job(actor: Actor, of: OfJob) -> Result<Json<CancelledBody>, Problem> {
    let handle = of.handle()?;
    let before = found(&handle, of.id).await?;
    let OfJob { of: OfQueue { of, queue }, id } = of;
    let what = json!({ "queue": queue, "job": id.to_string(), "kind": before.kind });
    let before = json!({ "state": before.state });
    of.note(Act::Cancel, &actor, what, before, json!(null)).await?;
    let cancelled = handle.cancel().await.map_err(problem)?;
    let (by, tenant, job) = (actor.by(BY), of.tenant(), id.to_string());
    tracing::info!(by, tenant, queue, job, found = ?cancelled, "a job was cancelled over HTTP");
    CancelledBody::of(id, cancelled).map(Json).ok_or_else(|| no_job(&queue, id))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct JobsQuery {
    /// `waiting`, `scheduled`, `running`, `done` (and kept) or `dead`
    #[param(example = "waiting")]
    state: String,
    /// As `next` of the page before
    cursor: Option<String>,
    /// How many to tell of: 1 to 100. As many unless said
    #[param(minimum = 1, maximum = 100)]
    count: Option<usize>,
    /// Of dead ones: of which kind
    kind: Option<String>,
    /// Of dead ones: with which trouble, as dead/groups tells it
    fingerprint: Option<String>,
    /// Of dead ones: those that died so long ago at least
    #[param(example = "1h")]
    older_than: Option<String>,
}

/// Which dead jobs are meant.
fn filter(
    kind: Option<&str>,
    fingerprint: Option<&str>,
    older_than: Option<&str>,
) -> Result<DeadFilter, Problem> {
    let mut filter = DeadFilter::new();
    if let Some(kind) = kind {
        filter = filter.kind(kind);
    }
    if let Some(fingerprint) = fingerprint {
        filter = filter.fingerprint(fingerprint);
    }
    if let Some(older_than) = older_than {
        filter = filter.older_than(time("older_than", older_than)?);
    }
    Ok(filter)
}

/// The jobs of a state, a page at a time.
///
/// Waiting ones in the order in which they are taken, and of those with a key the next of each; dead ones newest first, and the
/// others oldest first. Without what is long of each: its payload, its log and its result. There may be fewer than was asked
/// for, also where it goes on.
#[utoipa::path(get, path = "/v1/queues/{queue}/jobs", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
        JobsQuery,
    ),
    responses(
        (status = 200, body = JobsBody, description = "Some of them"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such queue"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, or too many look at lists at once",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn list_jobs(
    State(hub): State<Hub>,
    of: OfQueue,
    query: Result<Query<JobsQuery>, QueryRejection>,
) -> Result<Json<JobsBody>, Problem> {
    let JobsQuery { state, cursor, count, kind, fingerprint, older_than } = asked(
        query,
        "state=waiting, cursor=CURSOR and count=N from 1 to 100, or less; of dead ones also kind, fingerprint and older_than",
    )?;
    let state = terms::state(&state).map_err(Problem::bad_request)?;
    let is_filtered = kind.is_some() || fingerprint.is_some() || older_than.is_some();
    if is_filtered && state != JobState::Dead {
        return Err(Problem::bad_request(
            "kind, fingerprint or older_than: expected state=dead beside them",
        ));
    }
    let count = count.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&count) {
        return Err(Problem::bad_request(format!(
            "a count of {count} is out of bounds: expected 1 to {PAGE_MAX}"
        )));
    }
    let filter = filter(kind.as_deref(), fingerprint.as_deref(), older_than.as_deref())?;
    let _place = hub.heavy_place().ok_or_else(busy)?;
    known(&of).await?;
    let (handle, cursor) = (of.handle(), cursor.as_deref());
    let page = match state {
        JobState::Dead => handle.dead().filter(filter).page(cursor, count).await,
        state => handle.list(state, cursor, count).await,
    };
    Ok(Json(page.map(JobsBody::from).map_err(problem)?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DoneQuery {
    /// How many to tell of: 1 to 1,000. 100 unless said
    #[param(minimum = 1, maximum = 1000)]
    count: Option<usize>,
}

/// The jobs that were done last, retained or not.
///
/// About 10,000 of a partition are remembered, for 7 days.
#[utoipa::path(get, path = "/v1/queues/{queue}/done", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
        DoneQuery,
    ),
    responses(
        (status = 200, body = [DoneBody], description = "The newest first"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such queue"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, or too many look at lists at once",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn list_done(
    State(hub): State<Hub>,
    of: OfQueue,
    query: Result<Query<DoneQuery>, QueryRejection>,
) -> Result<Json<Vec<DoneBody>>, Problem> {
    let DoneQuery { count: said } = asked(query, "count=N from 1 to 1000, or none")?;
    let count = count(said)?;
    let _place = hub.heavy_place().ok_or_else(busy)?;
    known(&of).await?;
    let done = of.handle().done(count).await.map_err(problem)?;
    Ok(Json(done.into_iter().map(DoneBody::from).collect()))
}
