//! The events that a topic has.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use sinew::http::Problem;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{OfEvent, OfTopic, asked, count, place};
use super::{known, problem, unreadable};
use crate::busy::busy;
use crate::hub::Hub;
use crate::openapi::ProblemBody;
use crate::stream::body::{EventBody, EventsBody};

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new().routes(routes!(list_events)).routes(routes!(get_event))
}

/// Which part of a list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// As `next` of the page before
    #[param(example = "3:1795316265410-0")]
    pub(super) after: Option<String>,
    /// How many to tell of: 1 to 1,000. 100 unless said
    #[param(minimum = 1, maximum = 1000)]
    pub(super) count: Option<usize>,
}

/// What it looks like, for messages.
pub(super) const PAGE: &str = "after=PLACE and count=N from 1 to 1000, or less";

/// The events of a topic, the oldest first.
///
/// Those are there that a group has not finished, or that have not been trimmed yet. By time over all
/// partitions. A page may be shorter than was asked for, as long events make it: after the last one, `next` is left out.
#[utoipa::path(get, path = "/v1/streams/{topic}/events", tag = "stream",
    params(
        ("topic" = String, Path, description = "Name of the topic"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose topic"),
        PageQuery,
    ),
    responses(
        (status = 200, body = EventsBody, description = "The oldest first"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such topic"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, or too many look at lists at once"),
    ))]
async fn list_events(
    State(hub): State<Hub>,
    OfTopic { streams, topic, .. }: OfTopic,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<EventsBody>, Problem> {
    let PageQuery { after, count: said } = asked(query, PAGE)?;
    let (after, count) = (after.map(|after| place(&after)).transpose()?, count(said)?);
    let _place = hub.heavy_place().ok_or_else(busy)?;
    known(&streams, &topic).await?;
    let found = streams.events(&topic, after.as_ref(), count).await.map_err(problem)?;
    // Long events make a short page: only an empty one is the last.
    let next = found.last().map(|last| last.place.to_string());
    let events: serde_json::Result<_> = found.iter().map(EventBody::of).collect();
    Ok(Json(EventsBody { events: events.map_err(unreadable)?, next }))
}

/// One event, by its place.
#[utoipa::path(get, path = "/v1/streams/{topic}/events/{place}", tag = "stream",
    params(
        ("topic" = String, Path, description = "Name of the topic"),
        ("place" = String, Path, description = "Partition and entry, like 3:1795316265410-0"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose topic"),
    ),
    responses(
        (status = 200, body = EventBody, description = "It is there"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such event, or not any more"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away"),
    ))]
async fn get_event(OfEvent { streams, topic, place }: OfEvent) -> Result<Json<EventBody>, Problem> {
    let found = streams.event(&topic, &place).await.map_err(problem)?;
    let found = found.ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "there is no event at this place, or not any more")
    })?;
    EventBody::of(&found).map(Json).map_err(unreadable)
}
