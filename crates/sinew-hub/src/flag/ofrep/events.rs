//! That flags have changed, as server-sent events.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _, stream};
use jiff::Timestamp;
use serde::Deserialize;
use sinew::Tenant;
use sinew::flag::Flags;
use sinew::http::{Problem, RequestTenant};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::OfrepEvent;
use super::extract::Told;
use crate::flag::http::extract::env_of;
use crate::hub::{BUSY, Hub};
use crate::openapi::ProblemBody;
use crate::serve::stopped;

/// Where they are.
pub(super) const EVENTS: &str = "/ofrep/v1/flags/events";
/// With which a browser that was cut off says what it was told last.
const LAST_EVENT_ID: &str = "last-event-id";

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new().routes(routes!(flag_events))
}

/// The flags that are listened to.
struct OfEvents(Flags);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    tenant: Option<String>,
    env: Option<String>,
}

impl FromRequestParts<Hub> for OfEvents {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let query = Query::<Whose>::try_from_uri(&parts.uri).map_err(|_| {
            Problem::bad_request(
                "the query is not what it should be: expected tenant=NAME and env=NAME, or less",
            )
        })?;
        let Whose { tenant: said, env } = query.0;
        let env = env_of(&parts.headers, env)?;
        let tenant = Option::<RequestTenant>::from_request_parts(parts, hub).await?;
        let said = said.map(Tenant::new).transpose()?;
        let tenant = match (tenant.map(|RequestTenant(tenant)| tenant), said) {
            // Whoever may ask for one tenant only has it in the header.
            (Some(tenant), Some(said)) if tenant != said => {
                return Err(Problem::new(
                    StatusCode::FORBIDDEN,
                    "the query names another tenant than X-Tenant-Id: expected one tenant",
                ));
            }
            (tenant, said) => tenant.or(said),
        };
        let flags = hub.flags(tenant.as_ref(), env.as_deref()).await;
        flags.map(Self).map_err(Problem::bad_request)
    }
}

/// Be told when flags change.
///
/// Each event says that they are to be asked for again; the first one comes at once, unless the client
/// says by `Last-Event-ID` that it was told already. A comment every 15 seconds shows that the hub is
/// there.
#[utoipa::path(get, path = "/ofrep/v1/flags/events", tag = "ofrep",
    params(
        ("tenant" = Option<String>, Query, description = "Whose flags; browsers cannot send X-Tenant-Id here"),
        ("env" = Option<String>, Query, description = "In which environment; in the configured one unless given"),
        ("X-Flags-Env" = Option<String>, Header, description = "In which environment, in place of the query"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose flags"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that the client has seen"),
    ),
    responses(
        (status = 200, body = OfrepEvent, content_type = "text/event-stream", description = "Events, until one of both hangs up"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Two tenants"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "Too many listen at once: ask for flags now and then"),
    ))]
async fn flag_events(
    State(hub): State<Hub>,
    OfEvents(flags): OfEvents,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let place = hub.listening_place();
    let place = place.ok_or_else(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, BUSY))?;
    // Before the first look: no change falls between the two.
    let changes = flags.changes();
    let seen = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let first = (seen != Some(flags.revision().as_str())).then(|| event(&flags));
    let following =
        stream::unfold((changes, flags, place), |(mut changes, flags, place)| async move {
            changes.next().await?;
            Some((event(&flags), (changes, flags, place)))
        });
    // An open stream would hold up a stop.
    let events = stream::iter(first).chain(following).take_until(Box::pin(stopped(hub.stopping())));
    Ok(Sse::new(events.map(Ok)).keep_alive(KeepAlive::default()))
}

fn event(flags: &Flags) -> Event {
    let told = OfrepEvent::refetch(Told::of(flags).tag(), Timestamp::now().as_second());
    let data = serde_json::to_string(&told).unwrap_or_default();
    Event::default().event("message").id(flags.revision()).data(data)
}
