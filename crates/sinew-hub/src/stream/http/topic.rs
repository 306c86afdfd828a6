//! Topics: those that are, one of them, and how one is kept.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use sinew::Tenant;
use sinew::http::Problem;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{COUNT_MAX, OfStreams, OfTopic, asked, count, time};
use super::{known, problem, problem_of_setting};
use crate::auth::Actor;
use crate::busy::busy;
use crate::hub::Hub;
use crate::json;
use crate::openapi::ProblemBody;
use crate::stream::audit::{self, Act};
use crate::stream::body::{TopicBody, TrimmedBody};
use crate::stream::settings::TopicSettings;

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(list_topics))
        .routes(routes!(get_topic, put_topic))
        .routes(routes!(trim_topic))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TopicsQuery {
    /// The name of the last topic of the list before
    after: Option<String>,
    /// How many to tell of: 1 to 1,000. As many unless said
    #[param(minimum = 1, maximum = 1000)]
    count: Option<usize>,
}

/// The topics of a tenant, and what their groups have done.
///
/// By name. Each partition of each is looked at: for people, not for services.
#[utoipa::path(get, path = "/v1/streams", tag = "stream",
    params(TopicsQuery, ("X-Tenant-Id" = Option<String>, Header, description = "Whose topics")),
    responses(
        (status = 200, body = [TopicBody], description = "By name"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, or too many look at lists at once"),
    ))]
async fn list_topics(
    State(hub): State<Hub>,
    OfStreams { streams, .. }: OfStreams,
    query: Result<Query<TopicsQuery>, QueryRejection>,
) -> Result<Json<Vec<TopicBody>>, Problem> {
    let TopicsQuery { after, count: said } =
        asked(query, "after=NAME and count=N from 1 to 1000, or less")?;
    let count = count(said.or(Some(COUNT_MAX)))?;
    let _place = hub.heavy_place().ok_or_else(busy)?;
    let topics = streams.topics().await.map_err(problem)?;
    let is_next = |name: &str| after.as_deref().is_none_or(|after| name > after);
    let topics = topics.into_iter().filter(|info| is_next(&info.topic)).take(count);
    Ok(Json(topics.map(TopicBody::from).collect()))
}

/// A topic, and what its groups have done.
#[utoipa::path(get, path = "/v1/streams/{topic}", tag = "stream",
    params(
        ("topic" = String, Path, description = "Name of the topic; with .dead behind it, its dead letters"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose topic"),
    ),
    responses(
        (status = 200, body = TopicBody, description = "It is there"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such topic"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away"),
    ))]
async fn get_topic(OfTopic { streams, topic, .. }: OfTopic) -> Result<Json<TopicBody>, Problem> {
    known(&streams, &topic).await.map(Json)
}

/// How a topic is to be kept. What is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TopicSettingsBody {
    /// 1 to 64, for ever. 1 unless said
    #[schema(example = 16)]
    partitions: Option<u16>,
    /// How many events each partition may have: 1,000,000 unless said
    #[schema(example = 1_000_000)]
    len_max: Option<u64>,
    /// For how long an event stays that every group has finished: `1h` unless said
    #[schema(example = "1h")]
    keep: Option<String>,
}

/// Declare a topic, or change how it is kept.
///
/// Its number of partitions stays as it was declared first.
#[utoipa::path(put, path = "/v1/streams/{topic}", tag = "stream",
    params(
        ("topic" = String, Path, description = "Name of the topic"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose topic"),
    ),
    request_body = TopicSettingsBody,
    responses(
        (status = 200, body = TopicBody, description = "It is kept so"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "It has another number of partitions"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The audit has no room, or the store is away: it may be declared or not"),
    ))]
async fn put_topic(
    actor: Actor,
    OfTopic { streams, topic, .. }: OfTopic,
    body: Result<Json<json::Object<TopicSettingsBody>>, JsonRejection>,
) -> Result<Json<TopicBody>, Problem> {
    let TopicSettingsBody { partitions, len_max, keep } =
        json::object(body, r#"like {"partitions": 16, "keep": "1h"}"#)?;
    let after = json!({ "partitions": partitions, "len_max": len_max, "keep": keep });
    let keep = keep.map(|keep| time("keep", &keep)).transpose()?;
    let settings = TopicSettings { name: topic, partitions, len_max, keep };
    // What is refused is not noted.
    settings.check().map_err(Problem::bad_request)?;
    let before = streams.look(&settings.name).await.map_err(problem)?.map(TopicBody::from);
    refuse_other_partitions(&settings, before.as_ref())?;
    let before = before
        .map(|it| json!({ "partitions": it.partitions, "len_max": it.len_max, "keep": it.keep }));
    let (what, before) = (json!({ "topic": settings.name }), before.unwrap_or_default());
    audit::note(&streams, Act::Topic, &actor, what, before, after).await?;
    settings.declare(&streams).await.map_err(problem_of_setting)?;
    known(&streams, &settings.name).await.map(Json)
}

/// Before it is noted: the store decides once more.
fn refuse_other_partitions(
    settings: &TopicSettings,
    before: Option<&TopicBody>,
) -> Result<(), Problem> {
    match (settings.partitions, before) {
        (Some(said), Some(found)) if said != found.partitions => Err(Problem::new(
            StatusCode::CONFLICT,
            format!(
                "topic {} has {} partitions, which cannot be changed: expected as many, or none said",
                settings.name, found.partitions
            ),
        )),
        _ => Ok(()),
    }
}

/// Remove now what every group has finished for longer than it is kept.
///
/// Who consumes does it every few seconds anyway.
#[utoipa::path(post, path = "/v1/streams/{topic}/trim", tag = "stream",
    params(
        ("topic" = String, Path, description = "Name of the topic"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose topic"),
    ),
    responses(
        (status = 200, body = TrimmedBody, description = "How many were removed"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such topic"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, or the audit has no room: nothing was done"),
    ))]
async fn trim_topic(
    actor: Actor,
    OfTopic { streams, tenant, topic }: OfTopic,
) -> Result<Json<TrimmedBody>, Problem> {
    let before = known(&streams, &topic).await?;
    let what = json!({ "topic": topic });
    audit::note(&streams, Act::Trim, &actor, what, json!({ "len": before.len }), json!(null))
        .await?;
    let trimmed = streams.trim(&topic).await.map_err(problem)?;
    let (by, tenant) = (actor.by(audit::BY), tenant.as_ref().map(Tenant::as_str));
    tracing::info!(by, tenant, topic, removed = trimmed.removed, "a topic was trimmed over HTTP");
    Ok(Json(TrimmedBody { removed: trimmed.removed, held_by: trimmed.held_by }))
}
