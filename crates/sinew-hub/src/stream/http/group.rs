//! The groups of a topic.

use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use sinew::Tenant;
use sinew::http::Problem;
use sinew::stream::GroupChange;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{OfGroup, OfTopic, asked};
use super::{group_of, known, known_group, no_group, problem};
use crate::auth::Actor;
use crate::hub::Hub;
use crate::json;
use crate::openapi::ProblemBody;
use crate::stream::audit::{self, Act};
use crate::stream::body::{ConsumerBody, GroupBody};
use crate::stream::terms;

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(list_groups))
        .routes(routes!(get_group, forget_group))
        .routes(routes!(seek_group))
}

/// The groups of a topic, without their consumers.
#[utoipa::path(get, path = "/v1/streams/{topic}/groups", tag = "stream",
    params(
        ("topic" = String, Path, description = "Name of the topic"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose topic"),
    ),
    responses(
        (status = 200, body = [GroupBody], description = "All of them"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such topic"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away"),
    ))]
async fn list_groups(
    OfTopic { streams, topic, .. }: OfTopic,
) -> Result<Json<Vec<GroupBody>>, Problem> {
    Ok(Json(known(&streams, &topic).await?.groups))
}

/// A group, and each of its consumers.
#[utoipa::path(get, path = "/v1/streams/{topic}/groups/{group}", tag = "stream",
    params(
        ("topic" = String, Path, description = "Name of the topic"),
        ("group" = String, Path, description = "Name of the group"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose topic"),
    ),
    responses(
        (status = 200, body = GroupBody, description = "It is there"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such topic, or no such group"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away"),
    ))]
async fn get_group(
    OfGroup { streams, topic, group, .. }: OfGroup,
) -> Result<Json<GroupBody>, Problem> {
    let found = known_group(&streams, &topic, &group).await?;
    let consumers = streams.consumers(&topic, &group).await.map_err(problem)?;
    let consumers = consumers.into_iter().map(ConsumerBody::from).collect();
    Ok(Json(GroupBody { consumers: Some(consumers), ..found }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ForgetQuery {
    /// `true`: also where consumers hold events, which are taken from them
    #[serde(default)]
    force: bool,
}

/// Remove a group, and all that it has not finished.
#[utoipa::path(delete, path = "/v1/streams/{topic}/groups/{group}", tag = "stream",
    params(
        ("topic" = String, Path, description = "Name of the topic"),
        ("group" = String, Path, description = "Name of the group"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose topic"),
        ForgetQuery,
    ),
    responses(
        (status = 204, description = "It is not there any more"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such topic, or no such group"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "Consumers still hold events"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, or the audit has no room"),
    ))]
async fn forget_group(
    actor: Actor,
    OfGroup { streams, tenant, topic, group }: OfGroup,
    query: Result<Query<ForgetQuery>, QueryRejection>,
) -> Result<StatusCode, Problem> {
    let ForgetQuery { force } = asked(query, "nothing, or force=true")?;
    let before = known_group(&streams, &topic, &group).await?;
    refuse_pending(&before, force)?;
    let what = json!({ "topic": topic, "group": group, "force": force });
    audit::note(&streams, Act::Forget, &actor, what, json!(before), json!(null)).await?;
    let change = streams.forget_group(&topic, &group, terms::force(force)).await;
    done(change.map_err(problem)?, &topic, &group)?;
    let (by, tenant) = (actor.by(audit::BY), tenant.as_ref().map(Tenant::as_str));
    tracing::warn!(by, tenant, topic, group, "a group was removed over HTTP");
    Ok(StatusCode::NO_CONTENT)
}

/// Where a group is to go on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SeekBody {
    /// `start`, `end`, a time (RFC 3339), or the place of the first event that it is to handle
    #[schema(example = "2026-01-31T12:00:00Z")]
    to: String,
    /// Also where consumers hold events, which are taken from them
    #[serde(default)]
    force: bool,
}

/// Let a group go on somewhere else: handle events again, or pass over them.
#[utoipa::path(post, path = "/v1/streams/{topic}/groups/{group}/seek", tag = "stream",
    params(
        ("topic" = String, Path, description = "Name of the topic"),
        ("group" = String, Path, description = "Name of the group"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose topic"),
    ),
    request_body = SeekBody,
    responses(
        (status = 200, body = GroupBody, description = "It goes on there"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such topic, or no such group"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "Consumers still hold events"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, or the audit has no room"),
    ))]
async fn seek_group(
    actor: Actor,
    OfGroup { streams, tenant, topic, group }: OfGroup,
    body: Result<Json<json::Object<SeekBody>>, JsonRejection>,
) -> Result<Json<GroupBody>, Problem> {
    let SeekBody { to, force } = json::object(body, r#"like {"to": "start"}"#)?;
    let bad = |what: String| Problem::bad_request(format!("to: {what}"));
    let place = terms::seek(&to).map_err(bad)?;
    let found = known(&streams, &topic).await?;
    terms::within(place, found.partitions).map_err(bad)?;
    let before = group_of(found, &group)?;
    refuse_pending(&before, force)?;
    let what = json!({ "topic": topic, "group": group, "force": force });
    audit::note(&streams, Act::Seek, &actor, what, json!(before), json!({ "to": to })).await?;
    let change = streams.seek(&topic, &group, place, terms::force(force)).await;
    done(change.map_err(problem)?, &topic, &group)?;
    let (by, tenant) = (actor.by(audit::BY), tenant.as_ref().map(Tenant::as_str));
    tracing::warn!(by, tenant, topic, group, to, "a group was moved over HTTP");
    known_group(&streams, &topic, &group).await.map(Json)
}

/// Before it is noted that something was done: the store decides once more.
fn refuse_pending(group: &GroupBody, force: bool) -> Result<(), Problem> {
    match group.leased() {
        leased if leased > 0 && !force => Err(held(&group.group, leased)),
        _ => Ok(()),
    }
}

fn done(change: GroupChange, topic: &str, group: &str) -> Result<(), Problem> {
    match change {
        GroupChange::Done => Ok(()),
        GroupChange::Pending(pending) => Err(held(group, pending)),
        GroupChange::Unknown => Err(no_group(topic, group)),
    }
}

fn held(group: &str, pending: u64) -> Problem {
    Problem::new(StatusCode::CONFLICT, terms::still_holds(group, pending))
}
