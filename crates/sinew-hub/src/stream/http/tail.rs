//! Events as they come, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _, stream};
use serde::Deserialize;
use sinew::http::{Problem, RequestTenant};
use sinew::stream::{Cursor, EntryId, Place, StoredEvent, Tail};
use sinew::{Streams, Tenant};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::from_path;
use super::{known, problem};
use crate::busy::busy;
use crate::hub::Hub;
use crate::openapi::ProblemBody;
use crate::serve::stopped;
use crate::stream::body::EventBody;

/// With which a client that was cut off says what it was told last.
const LAST_EVENT_ID: &str = "last-event-id";
/// A comment shows that the hub is there.
const COMMENT_EVERY: Duration = Duration::from_secs(15);
const EXPECTED: &str =
    "from=start, from=now or from=CURSOR, partition=N, strict=true and tenant=NAME, or less";

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new().routes(routes!(tail_topic))
}

/// What is listened to.
struct OfTail {
    streams: Streams,
    topic: String,
    query: TailQuery,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TailQuery {
    from: Option<String>,
    partition: Option<u16>,
    #[serde(default)]
    strict: bool,
    tenant: Option<String>,
}

impl FromRequestParts<Hub> for OfTail {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let topic: String = from_path(parts, hub).await?;
        let query = Query::<TailQuery>::try_from_uri(&parts.uri).map_err(|_| {
            Problem::bad_request(format!("the query is not what it should be: expected {EXPECTED}"))
        })?;
        let query = query.0;
        let tenant = Option::<RequestTenant>::from_request_parts(parts, hub).await?;
        let said = query.tenant.as_deref().map(Tenant::new).transpose()?;
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
        let streams = hub.streams(tenant.as_ref()).map_err(Problem::bad_request)?;
        Ok(Self { streams, topic, query })
    }
}

/// Be told of events as they come.
///
/// It takes nothing from any group. Each event has a cursor as its id: who was cut off sends it as
/// `Last-Event-ID`, as browsers do, and misses nothing that is still there. Where some of what follows a cursor
/// may have been trimmed, a comment `gap` comes first; or 410 with `strict=true`. Where it begins comes as an id
/// without data, which is no event. A comment every 15 seconds shows that the hub is there.
#[utoipa::path(get, path = "/v1/streams/{topic}/tail", tag = "stream",
    params(
        ("topic" = String, Path, description = "Name of the topic"),
        ("from" = Option<String>, Query, description = "start: all that there is; now: what comes; or a cursor. now unless said"),
        ("partition" = Option<u16>, Query, description = "The only one to tell of"),
        ("strict" = Option<bool>, Query, description = "true: no event may be missing after the cursor"),
        ("tenant" = Option<String>, Query, description = "Whose topic; browsers cannot send X-Tenant-Id here"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose topic"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that the client has seen, in place of from"),
    ),
    responses(
        (status = 200, body = EventBody, content_type = "text/event-stream", description = "Events, until one of both hangs up"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Two tenants"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such topic"),
        (status = 410, body = ProblemBody, content_type = "application/problem+json", description = "Some of what follows the cursor may have been trimmed"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, or too many listen at once",
            headers(("Retry-After" = u64, description = "When to ask again, in seconds"))),
    ))]
async fn tail_topic(
    State(hub): State<Hub>,
    OfTail { streams, topic, query }: OfTail,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let tailing = hub.tailing_place().ok_or_else(busy)?;
    known(&streams, &topic).await?;
    let TailQuery { from, partition, strict, .. } = query;
    let seen = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    let mut tail = streams.tail(&topic);
    if let Some(partition) = partition {
        tail = tail.partition(partition);
    }
    let mut gap = false;
    match seen.or(from).as_deref() {
        None | Some("now") => {}
        Some("start") => tail = tail.from_start(),
        Some(text) => {
            let cursor: Cursor = text.parse().map_err(|_| {
                Problem::bad_request(
                    "invalid cursor: expected the id of an event that was told, start or now",
                )
            })?;
            gap = may_miss(&streams, &topic, text, partition).await?;
            tail = tail.after(cursor);
        }
    }
    if gap && strict {
        return Err(Problem::new(
            StatusCode::GONE,
            "some of what follows this cursor may have been trimmed: expected a newer one, or from=start",
        ));
    }
    let tail = tail.open().await.map_err(problem)?;
    // Who is cut off before the first event is to miss none.
    let begun = Event::default().id(tail.cursor().to_string());
    let following = stream::unfold((tail, tailing), |(mut tail, tailing)| async move {
        let event = told(tail.next().await?, &tail)?;
        Some((event, (tail, tailing)))
    });
    let first = gap.then(|| Event::default().comment("gap")).into_iter().chain([begun]);
    // An open stream would hold up a stop.
    let events = stream::iter(first).chain(following).take_until(Box::pin(stopped(hub.stopping())));
    Ok(Sse::new(events.map(Ok)).keep_alive(KeepAlive::new().interval(COMMENT_EVERY)))
}

/// Whether the event that a client has seen last is gone, and so perhaps others after it.
async fn may_miss(
    streams: &Streams,
    topic: &str,
    cursor: &str,
    partition: Option<u16>,
) -> Result<bool, Problem> {
    let start = EntryId { ms: 0, seq: 0 };
    let entries: Vec<EntryId> = cursor.split('_').filter_map(|id| id.parse().ok()).collect();
    let only = partition.filter(|_| entries.len() == 1);
    for (number, entry) in (0..).zip(entries) {
        let place = Place { partition: only.unwrap_or(number), entry };
        let is_asked = partition.is_none_or(|partition| partition == place.partition);
        if is_asked && entry != start {
            let event = streams.event(topic, &place).await.map_err(problem)?;
            if event.is_none() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Where it cannot go on, the client is hung up on: it comes again with its cursor.
fn told(next: sinew::Result<StoredEvent>, tail: &Tail) -> Option<Event> {
    let stored = match next {
        Ok(stored) => stored,
        Err(error) => {
            tracing::debug!(error = format!("{error:#}"), "a tail ended");
            return None;
        }
    };
    let data = EventBody::of(&stored).and_then(|body| serde_json::to_string(&body)).ok()?;
    Some(Event::default().event("message").id(tail.cursor().to_string()).data(data))
}
