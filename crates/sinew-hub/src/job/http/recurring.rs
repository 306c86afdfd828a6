//! Jobs that recur.

use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sinew::Jobs;
use sinew::http::Problem;
use sinew::job::{Dst, Expected, Missed, Overlap, Recurring};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{NoQuery, OfJobs, OfRecurring};
use super::{problem, problem_of_definition, shown};
use crate::auth::Actor;
use crate::busy::busy;
use crate::duration::{parse, written};
use crate::etag::{condition, refuse_other, tagged};
use crate::hub::Hub;
use crate::job::audit::recurring::{Entry, Outline};
use crate::job::body::{EnqueuedJobBody, RecurringBody, payload};
use crate::json;
use crate::openapi::ProblemBody;
use crate::stream::audit::BY;
use crate::stream::body;
use crate::stream::http::extract::time;

const NEXT_DEFAULT: usize = 5;
const NEXT_MAX: usize = 1_000;
const EXPECTED: &str =
    r#"like {"queue": "mail", "kind": "digest", "cron": "0 7 * * 1-5", "tz": "Europe/Berlin"}"#;

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(list_recurring))
        .routes(routes!(get_recurring, put_recurring, drop_recurring))
        .routes(routes!(fire_recurring))
        .routes(routes!(pause_recurring))
        .routes(routes!(resume_recurring))
        .routes(routes!(preview_recurring))
        // Where ticks are shown by POST: a recurring job may be called that.
        .route(
            "/v1/recurring/preview",
            get(get_recurring).put(put_recurring).delete(drop_recurring),
        )
}

/// When a job is to recur, and what it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PutRecurringBody {
    /// Where it makes jobs
    #[schema(example = "mail")]
    queue: String,
    /// Of which kind they are
    #[schema(example = "digest")]
    kind: String,
    /// What they are given, kept as it is written. `null` unless said
    #[schema(value_type = Option<Value>)]
    payload: Option<Box<RawValue>>,
    /// By the clock on the wall: minute, hour, day of the month, month, day of the week; with seconds before them where there are
    /// six; or `@daily` and its like. This, or `every`
    #[schema(example = "0 7 * * 1-5")]
    cron: Option<String>,
    /// The time zone of that clock: `UTC` unless said
    #[schema(example = "Europe/Berlin")]
    tz: Option<String>,
    /// What becomes of ticks when that clock is put forward or back: `run-once`, `run-twice` or `skip`. `run-once` unless said
    #[schema(value_type = Option<String>, example = "run-once")]
    dst: Option<Dst>,
    /// At all multiples of this since 1970: `1s` to `366d`
    #[schema(example = "15m")]
    every: Option<String>,
    /// What becomes of ticks that no worker was there for: `fire-once`, `fire-all` or `skip`. `fire-once` unless said
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "fire-once")]
    missed: Missed,
    /// What becomes of a tick whose job of the last tick has not ended: `skip`, `allow` or `replace`. `skip` unless said
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "skip")]
    overlap: Overlap,
    /// 0 to 9, 9 is first. 5 unless said
    #[schema(value_type = Option<u8>)]
    priority: Option<json::Within<u8, 0, 9>>,
    key: Option<String>,
    /// `true`: it is there, and makes none
    #[serde(default)]
    paused: bool,
}

/// When a job would recur.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PreviewBody {
    /// This, or `every`
    #[schema(example = "0 2 * * *")]
    cron: Option<String>,
    /// `UTC` unless said
    #[schema(example = "Europe/Berlin")]
    tz: Option<String>,
    /// `run-once`, `run-twice` or `skip`. `run-once` unless said
    #[schema(value_type = Option<String>, example = "run-once")]
    dst: Option<Dst>,
    #[schema(example = "15m")]
    every: Option<String>,
    /// How many to tell of: 1 to 1,000. 5 unless said
    count: Option<usize>,
}

/// The next ticks of a schedule.
#[derive(Serialize, ToSchema)]
struct TicksBody {
    next: Vec<TickBody>,
}

/// A tick.
#[derive(Serialize, ToSchema)]
struct TickBody {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The same by the clock of its time zone
    #[schema(example = "2026-03-29T03:00:00+02:00[Europe/Berlin]")]
    local: String,
}

/// A recurring job with a schedule.
fn scheduled(
    recurring: Recurring,
    cron: Option<&str>,
    tz: Option<&str>,
    dst: Option<Dst>,
    every: Option<&str>,
) -> Result<Recurring, Problem> {
    let mut recurring = recurring.dst(dst.unwrap_or_default());
    if (tz.is_some() || dst.is_some()) && cron.is_none() {
        return Err(Problem::bad_request("tz or dst: expected cron beside them"));
    }
    if let Some(cron) = cron {
        recurring = recurring.cron(cron);
    }
    if let Some(tz) = tz {
        recurring = recurring.tz(tz);
    }
    if let Some(every) = every {
        recurring = recurring.every(time("every", every)?);
    }
    Ok(recurring)
}

impl PutRecurringBody {
    fn read(self, jobs: &Jobs, name: &str, expected: Expected) -> Result<Recurring, Problem> {
        let recurring = scheduled(
            jobs.recurring(name),
            self.cron.as_deref(),
            self.tz.as_deref(),
            self.dst,
            self.every.as_deref(),
        )?;
        let mut recurring = recurring
            .missed(self.missed)
            .overlap(self.overlap)
            .job_raw(&self.queue, &self.kind, payload(self.payload.as_deref()))
            .expected(expected);
        if let Some(json::Within(priority)) = self.priority {
            recurring = recurring.priority(priority);
        }
        if let Some(key) = self.key {
            recurring = recurring.key(key);
        }
        if self.paused {
            recurring = recurring.paused();
        }
        Ok(recurring)
    }

    /// As it will be: what is not said of a clock on a wall is so all the same.
    fn outline(&self) -> Outline<'_> {
        let cron = self.cron.as_deref();
        Outline {
            queue: &self.queue,
            kind: &self.kind,
            cron,
            tz: cron.map(|_| self.tz.as_deref().unwrap_or("UTC")),
            dst: cron.map(|_| self.dst.unwrap_or_default()),
            every: self.every.as_deref().and_then(|every| parse(every).ok()).map(written),
            missed: self.missed,
            overlap: self.overlap,
            priority: self.priority.map(|json::Within(priority)| priority),
            key: self.key.as_deref(),
            paused: self.paused,
        }
    }
}

/// The recurring jobs of a tenant.
#[utoipa::path(get, path = "/v1/recurring", tag = "job",
    params(("X-Tenant-Id" = Option<String>, Header, description = "Whose jobs")),
    responses(
        (status = 200, body = [RecurringBody], description = "By name"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, or too many look at lists at once",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn list_recurring(
    State(hub): State<Hub>,
    _: NoQuery,
    of: OfJobs,
) -> Result<Json<Vec<RecurringBody>>, Problem> {
    let _place = hub.heavy_place().ok_or_else(busy)?;
    let list = of.jobs.recurring_list().await.map_err(problem)?;
    Ok(Json(list.into_iter().map(RecurringBody::from).collect()))
}

/// A recurring job, as it is defined, and its next five ticks.
#[utoipa::path(get, path = "/v1/recurring/{name}", tag = "job",
    params(
        ("name" = String, Path, description = "Name of the recurring job"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose job"),
    ),
    responses(
        (status = 200, body = RecurringBody, description = "As it is defined",
            headers(("ETag" = String, description = "Its revision between quotes, as If-Match takes it"))),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such recurring job"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn get_recurring(_: NoQuery, of: OfRecurring) -> Result<Response, Problem> {
    Ok(told(StatusCode::OK, known(&of).await?))
}

/// Define a recurring job, in place of what is defined under its name.
///
/// Each tick makes one job, however many workers there are. With another schedule it begins anew: no tick before now fires.
#[utoipa::path(put, path = "/v1/recurring/{name}", tag = "job",
    params(
        ("name" = String, Path, description = "Name of the recurring job: 1 to 128 of A-Z a-z 0-9 . _ -"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose job"),
        ("If-Match" = Option<String>, Header, description = "The revision that is to be replaced, between quotes; or `*`: whichever is there"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is none of this name"),
    ),
    request_body = PutRecurringBody,
    responses(
        (status = 200, body = RecurringBody, description = "Changed, or that already",
            headers(("ETag" = String, description = "Its revision between quotes"))),
        (status = 201, body = RecurringBody, description = "Defined for the first time",
            headers(("ETag" = String, description = "Its revision between quotes"))),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 412, body = ProblemBody, content_type = "application/problem+json", description = "Another revision is there, or none"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "Its queue has as many as it may, the audit has no room, or the store is away: it may be defined or not",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn put_recurring(
    actor: Actor,
    OfRecurring { of, name }: OfRecurring,
    headers: HeaderMap,
    body: Result<Json<json::Object<PutRecurringBody>>, JsonRejection>,
) -> Result<Response, Problem> {
    let condition = condition(&headers)?;
    let body = json::object(body, EXPECTED)?;
    body.payload.as_deref().map_or(Ok(()), |given| json::check_readable("payload", given))?;
    let before = found(&of.jobs, &name).await?;
    let found = before.as_ref().map_or(0, |job| job.revision);
    let expected = condition.expected(found, "there is no recurring job of this name")?;
    let given = payload(body.payload.as_deref());
    let entry = Entry::put(&name, before.as_ref(), &body.outline(), &given);
    let recurring = body.read(&of.jobs, &name, expected)?;
    // What is refused is not noted.
    recurring.check()?;
    refuse_other(expected, found, format_args!("recurring job {:?}", shown(&name)))?;
    note(&of, &actor, entry).await?;
    let job = recurring.upsert().await.map_err(problem_of_definition)?;
    let (by, tenant, revision) = (actor.by(BY), of.tenant(), job.revision);
    tracing::info!(by, tenant, recurring = name, revision, "a recurring job was defined over HTTP");
    let status = if before.is_none() { StatusCode::CREATED } else { StatusCode::OK };
    Ok(told(status, job.into()))
}

/// Remove a recurring job. The jobs that it has made stay.
#[utoipa::path(delete, path = "/v1/recurring/{name}", tag = "job",
    params(
        ("name" = String, Path, description = "Name of the recurring job"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose job"),
    ),
    responses(
        (status = 204, description = "Removed"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such recurring job"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The audit has no room, or the store is away: it may be removed or not",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn drop_recurring(actor: Actor, of: OfRecurring) -> Result<StatusCode, Problem> {
    let before = known(&of).await?;
    let OfRecurring { of, name } = of;
    note(&of, &actor, Entry::remove(&before)).await?;
    let was_there = of.jobs.recurring_at(&name).drop().await.map_err(problem)?;
    let (by, tenant) = (actor.by(BY), of.tenant());
    tracing::warn!(
        by,
        tenant,
        recurring = name,
        was_there,
        "a recurring job was removed over HTTP"
    );
    match was_there {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(unknown(&name)),
    }
}

/// Make a job of a recurring one now, beside those of its ticks.
#[utoipa::path(post, path = "/v1/recurring/{name}/fire", tag = "job",
    params(
        ("name" = String, Path, description = "Name of the recurring job"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose job"),
    ),
    responses(
        (status = 202, body = EnqueuedJobBody, description = "It is there"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such recurring job"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The queue is full, the audit has no room, or the store is away: it may be made or not",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn fire_recurring(
    actor: Actor,
    of: OfRecurring,
) -> Result<(StatusCode, Json<EnqueuedJobBody>), Problem> {
    let before = known(&of).await?;
    let OfRecurring { of, name } = of;
    note(&of, &actor, Entry::fire(&before)).await?;
    let fired = of.jobs.recurring_at(&name).fire_now().await.map_err(problem)?;
    let fired = fired.ok_or_else(|| unknown(&name))?;
    let (by, tenant, job) = (actor.by(BY), of.tenant(), fired.id().to_string());
    tracing::info!(by, tenant, recurring = name, job, "a recurring job was fired over HTTP");
    Ok((StatusCode::ACCEPTED, Json(EnqueuedJobBody::from(&fired))))
}

/// Have a recurring job make no jobs.
#[utoipa::path(post, path = "/v1/recurring/{name}/pause", tag = "job",
    params(
        ("name" = String, Path, description = "Name of the recurring job"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose job"),
    ),
    responses(
        (status = 200, body = RecurringBody, description = "It is paused, or was before"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such recurring job"),
        (status = 412, body = ProblemBody, content_type = "application/problem+json", description = "Others keep changing it"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The audit has no room, or the store is away: it may be paused or not",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn pause_recurring(actor: Actor, of: OfRecurring) -> Result<Response, Problem> {
    switch(&actor, of, true).await
}

/// Have a recurring job make jobs again, with its next tick.
#[utoipa::path(post, path = "/v1/recurring/{name}/resume", tag = "job",
    params(
        ("name" = String, Path, description = "Name of the recurring job"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose job"),
    ),
    responses(
        (status = 200, body = RecurringBody, description = "It makes jobs, or did all the time"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such recurring job"),
        (status = 412, body = ProblemBody, content_type = "application/problem+json", description = "Others keep changing it"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The audit has no room, or the store is away: it may be paused or not",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn resume_recurring(actor: Actor, of: OfRecurring) -> Result<Response, Problem> {
    switch(&actor, of, false).await
}

async fn switch(actor: &Actor, of: OfRecurring, is_paused: bool) -> Result<Response, Problem> {
    let before = known(&of).await?;
    if before.paused == is_paused {
        return Ok(told(StatusCode::OK, before));
    }
    note(&of.of, actor, Entry::switch(&before, is_paused)).await?;
    let at = of.of.jobs.recurring_at(&of.name);
    let is_there = match is_paused {
        true => at.pause().await,
        false => at.resume().await,
    };
    match is_there.map_err(problem_of_definition)? {
        true => Ok(told(StatusCode::OK, known(&of).await?)),
        false => Err(unknown(&of.name)),
    }
}

/// The next ticks of a schedule, without defining anything.
#[utoipa::path(post, path = "/v1/recurring/preview", tag = "job",
    params(("X-Tenant-Id" = Option<String>, Header, description = "Anyone's")),
    request_body = PreviewBody,
    responses(
        (status = 200, body = TicksBody, description = "From now on"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
    ))]
async fn preview_recurring(
    of: OfJobs,
    body: Result<Json<json::Object<PreviewBody>>, JsonRejection>,
) -> Result<Json<TicksBody>, Problem> {
    let PreviewBody { cron, tz, dst, every, count } =
        json::object(body, r#"like {"cron": "0 2 * * *", "tz": "Europe/Berlin", "count": 5}"#)?;
    let count = count.unwrap_or(NEXT_DEFAULT);
    if !(1..=NEXT_MAX).contains(&count) {
        return Err(Problem::bad_request(format!(
            "a count of {count} is out of bounds: expected 1 to {NEXT_MAX}"
        )));
    }
    let recurring = of.jobs.recurring("preview");
    let recurring = scheduled(recurring, cron.as_deref(), tz.as_deref(), dst, every.as_deref())?;
    let next = recurring.next(count)?;
    let zone = tz.as_deref().unwrap_or("UTC");
    Ok(Json(TicksBody { next: next.into_iter().map(|at| tick(at, zone)).collect() }))
}

fn tick(at: SystemTime, zone: &str) -> TickBody {
    let at = body::time(at);
    // The library knows the zone by then, by the same database.
    let local = at.in_tz(zone).map_or_else(|_| at.to_string(), |local| local.to_string());
    TickBody { at, local }
}

async fn note(of: &OfJobs, actor: &Actor, entry: Entry) -> Result<(), Problem> {
    let Entry { act, what, before, after } = entry;
    of.note(act, actor, what, before, after).await
}

async fn found(jobs: &Jobs, name: &str) -> Result<Option<RecurringBody>, Problem> {
    let found = jobs.recurring_at(name).look().await.map_err(problem)?;
    Ok(found.map(RecurringBody::from))
}

async fn known(OfRecurring { of, name }: &OfRecurring) -> Result<RecurringBody, Problem> {
    found(&of.jobs, name).await?.ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        format!("no recurring job {:?}: GET /v1/recurring lists those that there are", shown(name)),
    )
}

fn told(status: StatusCode, body: RecurringBody) -> Response {
    tagged(status, body.revision, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_told_by_both_clocks() {
        let at: Timestamp = "2026-03-29T01:00:00Z".parse().unwrap();
        let told = tick(at.into(), "Europe/Berlin");
        assert_eq!(told.at, at);
        assert_eq!(told.local, "2026-03-29T03:00:00+02:00[Europe/Berlin]");
    }

    #[tokio::test]
    async fn what_its_jobs_are_given_stays_as_it_was_written() {
        let jobs = sinew::Sinew::embedded().tenant("acme").unwrap().jobs();
        let payload = r#"{"n": 12345678901234567890123, "by": 1.10}"#;
        let of = format!(r#""queue": "mail", "kind": "a", "every": "1m", "payload": {payload}"#);
        let body: PutRecurringBody = serde_json::from_str(&format!("{{{of}}}")).unwrap();
        let kept = body.read(&jobs, "a", Expected::Any).unwrap().upsert().await.unwrap();
        assert_eq!(RecurringBody::from(kept).payload.unwrap().get(), payload);
    }
}
