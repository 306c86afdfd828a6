//! Queues: those that are, how one does, its limits, and its workers.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use sinew::http::Problem;
use sinew::job::Grain;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{NoQuery, OfJobs, OfQueue};
use super::{known, problem, problem_of_setting};
use crate::auth::Actor;
use crate::busy::busy;
use crate::hub::Hub;
use crate::job::audit::Act;
use crate::job::audit::recurring::Entry;
use crate::job::body::{AuditedBody, LaneBody, PeriodBody, QueueBody, RateBody};
use crate::job::settings::QueueSetting;
use crate::json;
use crate::openapi::ProblemBody;
use crate::stream::audit::BY;
use crate::stream::http::extract::{COUNT_MAX, asked, count, time};

/// How many queues are looked at at once.
const LOOKS_AT_ONCE: usize = 16;
const PERIODS_DEFAULT: usize = 60;
const PERIODS_MAX: usize = 2_000;

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(list_queues))
        .routes(routes!(get_queue, put_queue))
        .routes(routes!(pause_queue))
        .routes(routes!(resume_queue))
        .routes(routes!(repair_queue))
        .routes(routes!(queue_stats))
        .routes(routes!(queue_workers))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct QueuesQuery {
    /// The name of the last queue of the list before
    after: Option<String>,
    /// How many to tell of: 1 to 1,000. As many unless said
    #[param(minimum = 1, maximum = 1000)]
    count: Option<usize>,
}

/// The queues of a tenant, in numbers.
///
/// By name. Each partition of each is looked at: for people, not for services.
#[utoipa::path(get, path = "/v1/queues", tag = "job",
    params(QueuesQuery, ("X-Tenant-Id" = Option<String>, Header, description = "Whose queues")),
    responses(
        (status = 200, body = [QueueBody], description = "By name"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, or too many look at lists at once",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn list_queues(
    State(hub): State<Hub>,
    of: OfJobs,
    query: Result<Query<QueuesQuery>, QueryRejection>,
) -> Result<Json<Vec<QueueBody>>, Problem> {
    let QueuesQuery { after, count: said } =
        asked(query, "after=NAME and count=N from 1 to 1000, or less")?;
    let count = count(said.or(Some(COUNT_MAX)))?;
    let _place = hub.heavy_place().ok_or_else(busy)?;
    let names = of.jobs.queues().await.map_err(problem)?;
    let is_next = |name: &String| after.as_ref().is_none_or(|after| name > after);
    let names: Vec<String> = names.into_iter().filter(is_next).collect();
    let jobs = &of.jobs;
    let looks = names.into_iter().map(|name| async move {
        let look = jobs.queue(&name).look().await.map_err(problem)?;
        Ok::<_, Problem>(look.map(|look| QueueBody::new(&name, &look)))
    });
    let found = stream::iter(looks).buffered(LOOKS_AT_ONCE);
    // One that is listed may have been lost: a page is as long as it may be all the same, or it would look like the last.
    let there = found.try_filter_map(|found| async move { Ok(found) });
    Ok(Json(there.take(count).try_collect().await?))
}

/// A queue, in numbers.
#[utoipa::path(get, path = "/v1/queues/{queue}", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
    ),
    responses(
        (status = 200, body = QueueBody, description = "It is there"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such queue"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn get_queue(_: NoQuery, of: OfQueue) -> Result<Json<QueueBody>, Problem> {
    known(&of).await.map(Json)
}

/// The limits of a queue. What is left out stays as it is, and 0 removes a limit.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct QueueSettingsBody {
    /// 1 to 32, for ever. 1 unless said
    #[schema(example = 1)]
    #[schema(value_type = Option<u16>)]
    partitions: Option<json::Within<u16, 1, 32>>,
    /// How many unfinished jobs each partition may have: 50,000,000 unless said
    len_max: Option<u64>,
    /// How many jobs run at a time, everywhere: of several partitions each has its part, so it is as many as those at least
    #[schema(example = 200)]
    global: Option<u64>,
    /// How many jobs of one key run at a time, everywhere
    #[schema(example = 3)]
    per_key: Option<u64>,
    /// How many jobs start in any window of a length up to a day, divided as `global` is. 0 `starts` remove it
    rate: Option<RateBody>,
}

impl QueueSettingsBody {
    /// For the audit: what is said.
    fn told(&self) -> Value {
        let said = [
            ("partitions", self.partitions.map(|json::Within(partitions)| json!(partitions))),
            ("len_max", self.len_max.map(Value::from)),
            ("global", self.global.map(Value::from)),
            ("per_key", self.per_key.map(Value::from)),
            ("rate", self.rate.as_ref().map(|rate| json!(rate))),
        ];
        said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// Declare a queue, or change its limits.
///
/// Its number of partitions stays as it was declared first.
#[utoipa::path(put, path = "/v1/queues/{queue}", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
    ),
    request_body = QueueSettingsBody,
    responses(
        (status = 200, body = QueueBody, description = "These are its limits"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "It has another number of partitions"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The audit has no room, or the store is away: it may be declared or not",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn put_queue(
    actor: Actor,
    of: OfQueue,
    body: Result<Json<json::Object<QueueSettingsBody>>, JsonRejection>,
) -> Result<Json<QueueBody>, Problem> {
    let body = json::object(body, r#"like {"global": 200, "rate": {"starts": 100, "per": "1s"}}"#)?;
    let after = body.told();
    let QueueSettingsBody { partitions, len_max, global, per_key, rate } = body;
    let rate = rate.map(|RateBody { starts, per }| Ok::<_, Problem>((starts, time("per", &per)?)));
    let rate = rate.transpose()?;
    let name = of.queue.clone();
    let partitions = partitions.map(|json::Within(partitions)| partitions);
    let setting = QueueSetting { name, partitions, len_max, global, per_key, rate };
    // What is refused is not noted.
    setting.check()?;
    let look = of.handle().look().await.map_err(problem)?;
    let before = look.map(|look| QueueBody::new(&of.queue, &look));
    refuse_other_partitions(&setting, before.as_ref())?;
    let partitions = setting.partitions.or(before.as_ref().map(|found| found.partitions));
    QueueSetting { partitions, ..setting.clone() }.check()?;
    let before = before.map_or(Value::Null, |it| {
        json!({ "partitions": it.partitions, "global": it.global, "per_key": it.per_key,
            "rate": it.rate })
    });
    of.of.note(Act::Queue, &actor, json!({ "queue": of.queue }), before, after).await?;
    setting.declare(&of.of.jobs).await.map_err(problem_of_setting)?;
    known(&of).await.map(Json)
}

/// Before it is noted: the store decides once more.
fn refuse_other_partitions(
    setting: &QueueSetting,
    before: Option<&QueueBody>,
) -> Result<(), Problem> {
    match (setting.partitions, before) {
        (Some(said), Some(found)) if said != found.partitions => {
            let has = match found.partitions {
                1 => "1 partition".to_owned(),
                many => format!("{many} partitions"),
            };
            Err(Problem::new(
                StatusCode::CONFLICT,
                format!(
                    "queue {} has {has}, which cannot be changed, since limits and unique names rest on it: expected as many, or none said",
                    setting.name
                ),
            ))
        }
        _ => Ok(()),
    }
}

/// Have nobody take jobs of a queue. What runs goes on, and jobs may be enqueued.
#[utoipa::path(post, path = "/v1/queues/{queue}/pause", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
    ),
    responses(
        (status = 200, body = QueueBody, description = "It is paused, or was before"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such queue"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The audit has no room, or the store is away: it may be paused or not",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn pause_queue(actor: Actor, of: OfQueue) -> Result<Json<QueueBody>, Problem> {
    switch(&actor, &of, Act::Pause).await
}

/// Have everybody take jobs of a queue again.
#[utoipa::path(post, path = "/v1/queues/{queue}/resume", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
    ),
    responses(
        (status = 200, body = QueueBody, description = "It is not paused"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such queue"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The audit has no room, or the store is away: it may be paused or not",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn resume_queue(actor: Actor, of: OfQueue) -> Result<Json<QueueBody>, Problem> {
    switch(&actor, &of, Act::Resume).await
}

/// Also of a queue that is so already: where it was broken off, some of its partitions may not be.
async fn switch(actor: &Actor, of: &OfQueue, act: Act) -> Result<Json<QueueBody>, Problem> {
    // Either would make one of this name: a slip is to be told.
    let was_paused = known(of).await?.paused;
    let Entry { act, what, before, after } = Entry::switch_queue(act, &of.queue, was_paused);
    of.of.note(act, actor, what, before, after).await?;
    let (by, tenant, queue) = (actor.by(BY), of.of.tenant(), &of.queue);
    if act == Act::Pause {
        of.handle().pause().await.map_err(problem)?;
        tracing::info!(by, tenant, queue, "a queue was paused over HTTP");
    } else {
        of.handle().resume().await.map_err(problem)?;
        tracing::info!(by, tenant, queue, "a queue was resumed over HTTP");
    }
    known(of).await.map(Json)
}

/// Look for what nobody would come to, and put it right.
///
/// Workers do so each minute.
#[utoipa::path(post, path = "/v1/queues/{queue}/audit", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
    ),
    responses(
        (status = 200, body = AuditedBody, description = "What it found: nothing, as a rule"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such queue"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The audit of who has changed what has no room, too many look at lists at once, or the store is away",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn repair_queue(
    State(hub): State<Hub>,
    actor: Actor,
    of: OfQueue,
) -> Result<Json<AuditedBody>, Problem> {
    let _place = hub.heavy_place().ok_or_else(busy)?;
    let before = known(&of).await?;
    let before = json!({ "running": before.running });
    of.of.note(Act::Repair, &actor, json!({ "queue": of.queue }), before, json!(null)).await?;
    let audited = of.handle().audit().await.map_err(problem)?;
    Ok(Json(audited.into()))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StatsQuery {
    /// `minute` (for 26 hours) or `day` (for 400 days). `minute` unless said
    #[param(inline)]
    grain: Option<GrainBody>,
    /// How many to tell of: 1 to 2,000. 60 unless said
    #[param(minimum = 1, maximum = 2000)]
    count: Option<usize>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum GrainBody {
    Minute,
    Day,
}

/// What became of a queue's jobs, by the minute or by the day.
///
/// Those minutes or days in which anything was, the newest of them.
#[utoipa::path(get, path = "/v1/queues/{queue}/stats", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
        StatsQuery,
    ),
    responses(
        (status = 200, body = [PeriodBody], description = "The oldest first"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such queue"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn queue_stats(
    of: OfQueue,
    query: Result<Query<StatsQuery>, QueryRejection>,
) -> Result<Json<Vec<PeriodBody>>, Problem> {
    let StatsQuery { grain, count } =
        asked(query, "grain=minute or grain=day and count=N from 1 to 2000, or less")?;
    let grain = match grain {
        None | Some(GrainBody::Minute) => Grain::Minute,
        Some(GrainBody::Day) => Grain::Day,
    };
    let count = count.unwrap_or(PERIODS_DEFAULT);
    if !(1..=PERIODS_MAX).contains(&count) {
        return Err(Problem::bad_request(format!(
            "a count of {count} is out of bounds: expected 1 to {PERIODS_MAX}"
        )));
    }
    let periods = of.handle().stats(grain, count).await.map_err(problem)?;
    if periods.is_empty() {
        known(&of).await?;
    }
    Ok(Json(periods.into_iter().map(PeriodBody::from).collect()))
}

/// Who takes jobs of a queue.
///
/// A worker has one lane or a few, each with a lease; a pull has one for each reserve, until its last job has ended.
#[utoipa::path(get, path = "/v1/queues/{queue}/workers", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
    ),
    responses(
        (status = 200, body = [LaneBody], description = "All of them"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such queue"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn queue_workers(_: NoQuery, of: OfQueue) -> Result<Json<Vec<LaneBody>>, Problem> {
    let lanes = of.handle().lanes().await.map_err(problem)?;
    if lanes.is_empty() {
        known(&of).await?;
    }
    Ok(Json(lanes.into_iter().map(LaneBody::from).collect()))
}
