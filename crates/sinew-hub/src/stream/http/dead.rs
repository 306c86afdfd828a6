//! What a group has given up.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use sinew::Streams;
use sinew::http::Problem;
use sinew::stream::{DeadLetters, Place};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{OfGroup, asked, count, place};
use super::look::{PAGE, PageQuery};
use super::{known, no_group, problem, unreadable};
use crate::auth::Actor;
use crate::busy::busy;
use crate::hub::Hub;
use crate::json;
use crate::openapi::ProblemBody;
use crate::stream::audit::{self, Act};
use crate::stream::body::{LetterBody, LettersBody, ReasonBody, RedrivenBody, RemovedBody};

/// Of those that are named one by one.
pub(crate) const PLACES_MAX: usize = 256;

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(list_dead, drop_dead))
        .routes(routes!(dead_errors))
        .routes(routes!(redrive_dead))
}

/// The dead letters of a group, the oldest first.
///
/// A page may be shorter than was asked for, as long events make it: after the last one, `next` is left out.
#[utoipa::path(get, path = "/v1/streams/{topic}/groups/{group}/dead", tag = "stream",
    params(
        ("topic" = String, Path, description = "Name of the topic"),
        ("group" = String, Path, description = "Name of the group"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose topic"),
        PageQuery,
    ),
    responses(
        (status = 200, body = LettersBody, description = "The oldest first"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such topic, or neither such a group nor letters of it"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, or too many look at lists at once"),
    ))]
async fn list_dead(
    State(hub): State<Hub>,
    OfGroup { streams, topic, group, .. }: OfGroup,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<LettersBody>, Problem> {
    let PageQuery { after, count: said } = asked(query, PAGE)?;
    let (after, count) = (after.map(|after| place(&after)).transpose()?, count(said)?);
    let _place = hub.heavy_place().ok_or_else(busy)?;
    let found = streams.dead(&topic, &group).list(after.as_ref(), count).await.map_err(problem)?;
    if found.is_empty() && dead_of(&streams, &topic, &group).await?.is_none() {
        match after {
            Some(_) => has_left(&streams, &topic, &group).await?,
            // It was looked for among all.
            None => return Err(no_group(&topic, &group)),
        }
    }
    // Long events make a short page: only an empty one is the last.
    let next = found.last().map(|last| last.place.to_string());
    let letters: serde_json::Result<_> = found.into_iter().map(LetterBody::of).collect();
    Ok(Json(LettersBody { letters: letters.map_err(unreadable)?, next }))
}

/// The dead letters of a group by what went wrong.
///
/// The most frequent first, over ten thousand letters at most.
#[utoipa::path(get, path = "/v1/streams/{topic}/groups/{group}/dead/errors", tag = "stream",
    params(
        ("topic" = String, Path, description = "Name of the topic"),
        ("group" = String, Path, description = "Name of the group"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose topic"),
    ),
    responses(
        (status = 200, body = [ReasonBody], description = "The most frequent first"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such topic, or neither such a group nor letters of it"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, or too many look at lists at once"),
    ))]
async fn dead_errors(
    State(hub): State<Hub>,
    OfGroup { streams, topic, group, .. }: OfGroup,
) -> Result<Json<Vec<ReasonBody>>, Problem> {
    let _place = hub.heavy_place().ok_or_else(busy)?;
    let found = streams.dead(&topic, &group).groups().await.map_err(problem)?;
    if found.is_empty() && dead_of(&streams, &topic, &group).await?.is_none() {
        // Beyond those that were grouped.
        has_left(&streams, &topic, &group).await?;
    }
    Ok(Json(found.into_iter().map(ReasonBody::from).collect()))
}

/// How many letters a group has that is there.
async fn dead_of(streams: &Streams, topic: &str, group: &str) -> Result<Option<u64>, Problem> {
    let groups = known(streams, topic).await?.groups;
    Ok(groups.into_iter().find(|one| one.group == group).map(|found| found.dead))
}

/// Refuses a group that is not there and has left no letter. To be asked in a heavy place: it may look through those of
/// all groups.
async fn has_left(streams: &Streams, topic: &str, group: &str) -> Result<(), Problem> {
    let left = streams.dead(topic, group).list(None, 1).await.map_err(problem)?;
    match left.is_empty() {
        true => Err(no_group(topic, group)),
        false => Ok(()),
    }
}

/// Which letters: one of both.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WhichBody {
    /// 256 at most
    #[schema(example = json!(["3:1795316265410-0"]))]
    places: Option<Vec<String>>,
    /// `true`: all that there are now
    #[serde(default)]
    all: bool,
}

/// Which letters.
pub(crate) enum Which {
    These(Vec<Place>),
    All,
}

impl Which {
    fn read(body: Result<Json<json::Object<WhichBody>>, JsonRejection>) -> Result<Self, Problem> {
        const EXPECTED: &str = r#"like {"places": ["3:1795316265410-0"]} or {"all": true}"#;
        match json::object(body, EXPECTED)? {
            WhichBody { places: None, all: true } => Ok(Self::All),
            WhichBody { places: Some(places), all: false }
                if (1..=PLACES_MAX).contains(&places.len()) =>
            {
                let places = places.iter().map(|text| place(text));
                Ok(Self::These(places.collect::<Result<_, _>>()?))
            }
            _ => Err(Problem::bad_request(format!(
                "expected 1 to {PLACES_MAX} places, or all: {EXPECTED}"
            ))),
        }
    }

    /// For the audit.
    pub(crate) fn told(&self, topic: &str, group: &str) -> Value {
        let places: Option<Vec<String>> = match self {
            Self::These(places) => Some(places.iter().map(ToString::to_string).collect()),
            Self::All => None,
        };
        json!({ "topic": topic, "group": group, "places": places, "all": places.is_none() })
    }
}

/// Letters that somebody may do something with: that he does so is in the audit.
async fn noted(
    hub: &Hub,
    act: Act,
    actor: &Actor,
    OfGroup { streams, topic, group, .. }: &OfGroup,
    body: Result<Json<json::Object<WhichBody>>, JsonRejection>,
) -> Result<(DeadLetters, Which), Problem> {
    let which = Which::read(body)?;
    let dead = dead_of(streams, topic, group).await?;
    if dead.is_none() {
        let _place = hub.heavy_place().ok_or_else(busy)?;
        has_left(streams, topic, group).await?;
    }
    let before = json!({ "dead": dead });
    audit::note(streams, act, actor, which.told(topic, group), before, json!(null)).await?;
    Ok((streams.dead(topic, group), which))
}

/// Give letters back to their group, and to no other: as new events, whose failures are forgotten.
#[utoipa::path(post, path = "/v1/streams/{topic}/groups/{group}/dead/redrive", tag = "stream",
    params(
        ("topic" = String, Path, description = "Name of the topic"),
        ("group" = String, Path, description = "Name of the group"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose topic"),
    ),
    request_body = WhichBody,
    responses(
        (status = 200, body = RedrivenBody, description = "How many of them were there"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such topic, or neither such a group nor letters of it"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The topic is full, the audit has no room, too many look at lists at once, or the store is away: some may be given back"),
    ))]
async fn redrive_dead(
    State(hub): State<Hub>,
    actor: Actor,
    of: OfGroup,
    body: Result<Json<json::Object<WhichBody>>, JsonRejection>,
) -> Result<Json<RedrivenBody>, Problem> {
    let (dead, which) = noted(&hub, Act::Redrive, &actor, &of, body).await?;
    let redriven = match which {
        Which::These(places) => dead.redrive(&places).await,
        Which::All => dead.redrive_all().await,
    }
    .map_err(problem)?;
    let (by, (tenant, topic, group)) = (actor.by(audit::BY), of.names());
    tracing::warn!(by, tenant, topic, group, redriven, "dead letters were redriven over HTTP");
    Ok(Json(RedrivenBody { redriven }))
}

/// Remove letters for good.
#[utoipa::path(delete, path = "/v1/streams/{topic}/groups/{group}/dead", tag = "stream",
    params(
        ("topic" = String, Path, description = "Name of the topic"),
        ("group" = String, Path, description = "Name of the group"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose topic"),
    ),
    request_body = WhichBody,
    responses(
        (status = 200, body = RemovedBody, description = "How many of them were there"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such topic, or neither such a group nor letters of it"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The audit has no room, too many look at lists at once, or the store is away: some may be removed"),
    ))]
async fn drop_dead(
    State(hub): State<Hub>,
    actor: Actor,
    of: OfGroup,
    body: Result<Json<json::Object<WhichBody>>, JsonRejection>,
) -> Result<Json<RemovedBody>, Problem> {
    let (dead, which) = noted(&hub, Act::DropDead, &actor, &of, body).await?;
    let removed = match which {
        Which::These(places) => dead.remove(&places).await,
        Which::All => dead.remove_all().await,
    }
    .map_err(problem)?;
    let (by, (tenant, topic, group)) = (actor.by(audit::BY), of.names());
    tracing::warn!(by, tenant, topic, group, removed, "dead letters were removed over HTTP");
    Ok(Json(RemovedBody { removed }))
}
