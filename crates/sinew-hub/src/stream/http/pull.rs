//! Handling events over HTTP: pulled on a lease, and acknowledged by it.

use std::time::{Duration, Instant, SystemTime};

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sinew::Tenant;
use sinew::http::Problem;
use sinew::stream::{LeaseToken, Place, Pulled, Puller, Settled, StartFrom};
use tokio::sync::oneshot;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{OfGroup, place, time};
use super::{problem_of_setting, unreadable};
use crate::busy::busy;
use crate::hub::Hub;
use crate::json;
use crate::openapi::ProblemBody;
use crate::serve::stopped;
use crate::stream::body::{self, PulledEventBody};

const EVENTS_DEFAULT: usize = 10;
const EVENTS_MAX: usize = 256;
/// Below what any request may take.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// In such parts: between two, what has come due is looked for, and whether the caller is still there.
const WAIT_PART: Duration = Duration::from_secs(2);
/// The longest pause before another try.
const AFTER_MAX: Duration = Duration::from_secs(365 * 86_400);
/// Of a dead letter, where nothing is said.
const NO_REASON: &str = "given up over HTTP";
const SETTLE_EXPECTED: &str = r#"like {"lease": "pull-…", "places": ["3:1795316265410-0"]}"#;

/// What has come of a wait.
type Waited = sinew::Result<Option<Pulled>>;

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(pull_events))
        .routes(routes!(ack_events))
        .routes(routes!(nack_events))
        .routes(routes!(renew_lease))
}

/// How many events, and on what.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PullBody {
    /// How many at most: 1 to 256. 10 unless said
    #[schema(example = 10)]
    max: Option<usize>,
    /// For how long to wait for the first: at most `20s`. Not at all unless said
    #[schema(example = "20s")]
    wait: Option<String>,
    /// For how long they are held unless it is renewed: `1s` to `1h`. `30s` unless said
    #[schema(example = "30s")]
    lease: Option<String>,
    /// Where a group begins that is not there yet: `start` or `end` of what there is. `start` unless said
    from: Option<BeginBody>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum BeginBody {
    Start,
    End,
}

/// Events, and the lease on which they are held.
#[derive(Serialize, ToSchema)]
struct PulledBody {
    /// By which they are acknowledged, at any hub
    #[schema(example = "pull-nq0jYJ2vVZ3r5sT1kX8b4g")]
    lease: String,
    /// When it ends unless it is renewed (RFC 3339)
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    events: Vec<PulledEventBody>,
}

/// Take events of a topic, to be handled as a member of a group.
///
/// What is not acknowledged by the end of the lease is given to others. If the reply is lost on its way, it is
/// too. A group that keeps the order of keys is not to be pulled from.
#[utoipa::path(post, path = "/v1/streams/{topic}/groups/{group}/pull", tag = "stream",
    params(
        ("topic" = String, Path, description = "Name of the topic"),
        ("group" = String, Path, description = "Name of the group, which is made where there is none"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose topic"),
    ),
    request_body = PullBody,
    responses(
        (status = 200, body = PulledBody, description = "They are held on this lease"),
        (status = 204, description = "There is nothing to handle now"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "The group keeps the order of keys"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, the hub is stopping, or too many wait",
            headers(("Retry-After" = u64, description = "When to ask again, in seconds"))),
    ))]
async fn pull_events(
    State(hub): State<Hub>,
    OfGroup { streams, tenant, topic, group }: OfGroup,
    body: Result<Json<json::Object<PullBody>>, JsonRejection>,
) -> Result<Response, Problem> {
    let PullBody { max, wait, lease, from } =
        json::object(body, r#"like {"max": 10, "wait": "20s", "lease": "30s"}"#)?;
    let max = max.unwrap_or(EVENTS_DEFAULT);
    if !(1..=EVENTS_MAX).contains(&max) {
        return Err(Problem::bad_request(format!(
            "max: {max} is out of bounds: expected 1 to {EVENTS_MAX}"
        )));
    }
    let wait = wait.map_or(Ok(Duration::ZERO), |wait| time("wait", &wait))?;
    if wait > WAIT_MAX {
        return Err(Problem::bad_request(format!(
            "a wait of {wait:?} is out of bounds: expected at most {WAIT_MAX:?}; ask again to wait for longer"
        )));
    }
    let mut puller = streams.pull(&topic, &group);
    if let Some(lease) = lease {
        puller = puller.lease(time("lease", &lease)?);
    }
    if let Some(from) = from {
        puller = puller.from(match from {
            BeginBody::Start => StartFrom::Start,
            BeginBody::End => StartFrom::End,
        });
    }
    let place = match wait.is_zero() {
        true => None,
        false => Some(hub.pulling_place(tenant.as_ref().map(Tenant::as_str)).ok_or_else(busy)?),
    };
    // By itself: whoever hangs up meanwhile takes nothing along that only the end of the lease gives back.
    let (tell, told_of) = oneshot::channel::<Waited>();
    tokio::spawn(async move {
        let _place = place;
        let pulled = pull_in_parts(&puller, max, wait, &tell).await;
        if let Err(Ok(Some(unheard))) = tell.send(pulled) {
            give_back(&puller, &unheard).await;
        }
    });
    let pulled = tokio::select! {
        biased;
        pulled = told_of => pulled.map_err(|_| busy())?.map_err(problem_of_setting)?,
        // Who waits does not hold up the hub's end.
        () = stopped(hub.stopping()) => {
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "this hub is stopping: ask another one, or again soon",
            ));
        }
    };
    match pulled {
        None => Ok(StatusCode::NO_CONTENT.into_response()),
        Some(pulled) => Ok(Json(told(&pulled)?).into_response()),
    }
}

/// Until something is pulled, the wait is over, or no one is there to be told.
async fn pull_in_parts(
    puller: &Puller,
    max: usize,
    wait: Duration,
    tell: &oneshot::Sender<Waited>,
) -> Waited {
    let began = Instant::now();
    loop {
        let left = wait.saturating_sub(began.elapsed());
        let pulled = puller.pull(max, left.min(WAIT_PART)).await;
        if !matches!(pulled, Ok(None)) || left <= WAIT_PART || tell.is_closed() {
            return pulled;
        }
    }
}

/// At once, and without a failure. Where that fails, they come back when the lease is over.
async fn give_back(puller: &Puller, pulled: &Pulled) {
    let back = pulled.events.iter().map(|it| (it.event.place(), None, None));
    if let Err(error) = puller.nack(&pulled.lease, &back.collect::<Vec<_>>()).await {
        let error = format!("{error:#}");
        tracing::debug!(error, "events were pulled by someone who had hung up");
    }
}

fn told(pulled: &Pulled) -> Result<PulledBody, Problem> {
    let events: serde_json::Result<_> = pulled.events.iter().map(PulledEventBody::of).collect();
    Ok(PulledBody {
        lease: pulled.lease.to_string(),
        until: body::time(pulled.until),
        events: events.map_err(unreadable)?,
    })
}

/// Events that were handled.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AckBody {
    /// On which they are held
    lease: String,
    /// 256 at most
    #[schema(example = json!(["3:1795316265410-0"]))]
    places: Vec<String>,
}

/// What became of some events.
#[derive(Serialize, ToSchema)]
struct SettledBody {
    done: Vec<String>,
    /// They were not held any more: others handle them, or have
    lost: Vec<String>,
}

impl From<Settled> for SettledBody {
    fn from(settled: Settled) -> Self {
        let texts = |places: Vec<Place>| places.iter().map(ToString::to_string).collect();
        Self { done: texts(settled.done), lost: texts(settled.lost) }
    }
}

/// Say that events were handled.
#[utoipa::path(post, path = "/v1/streams/{topic}/groups/{group}/ack", tag = "stream",
    params(
        ("topic" = String, Path, description = "Name of the topic"),
        ("group" = String, Path, description = "Name of the group"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose topic"),
    ),
    request_body = AckBody,
    responses(
        (status = 200, body = SettledBody, description = "Which of them are done"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: say it again"),
    ))]
async fn ack_events(
    OfGroup { streams, topic, group, .. }: OfGroup,
    body: Result<Json<json::Object<AckBody>>, JsonRejection>,
) -> Result<Json<SettledBody>, Problem> {
    let AckBody { lease, places } = json::object(body, SETTLE_EXPECTED)?;
    bounded(places.len())?;
    let (lease, places) = (token(&lease)?, places.iter().map(|text| place(text)));
    let places: Vec<Place> = places.collect::<Result<_, _>>()?;
    let settled = streams.pull(&topic, &group).ack(&lease, &places).await;
    settled.map(SettledBody::from).map(Json).map_err(problem_of_setting)
}

/// Events that could not be handled.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NackBody {
    /// On which they are held
    lease: String,
    /// 256 at most
    places: Vec<FailedBody>,
}

/// An event that could not be handled.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct FailedBody {
    #[schema(example = "3:1795316265410-0")]
    place: String,
    /// When it is to be tried again: from now. As failures go on, later and later, unless said
    #[schema(example = "10s")]
    after: Option<String>,
    /// What went wrong, for those who look at it. Without one, it counts as no failure
    error: Option<String>,
    /// `true`: it is a dead letter from now on, with the error as its reason, and is not tried again
    #[serde(default)]
    dead: bool,
}

/// What is to become of an event.
enum Becomes {
    Tried((Place, Option<Duration>, Option<String>)),
    Dead((Place, String)),
}

impl FailedBody {
    fn read(self) -> Result<Becomes, Problem> {
        let Self { place: text, after, error, dead } = self;
        let (place, after) = (place(&text)?, after.map(|it| time("after", &it)).transpose()?);
        match (dead, after) {
            (true, None) => Ok(Becomes::Dead((place, error.unwrap_or_else(|| NO_REASON.into())))),
            (true, Some(_)) => {
                Err(Problem::bad_request("after and dead beside each other: expected one of them"))
            }
            (false, Some(after)) if after > AFTER_MAX => Err(Problem::bad_request(format!(
                "after: {after:?} is out of bounds: expected at most 365d"
            ))),
            (false, after) => Ok(Becomes::Tried((place, after, error))),
        }
    }
}

/// Say that events could not be handled: they are tried again, or are dead after so many failures, or at once.
#[utoipa::path(post, path = "/v1/streams/{topic}/groups/{group}/nack", tag = "stream",
    params(
        ("topic" = String, Path, description = "Name of the topic"),
        ("group" = String, Path, description = "Name of the group"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose topic"),
    ),
    request_body = NackBody,
    responses(
        (status = 200, body = SettledBody, description = "Which of them were still held: those will be tried again, or are dead letters"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The dead letters are full, or the store is away: say it again"),
    ))]
async fn nack_events(
    OfGroup { streams, topic, group, .. }: OfGroup,
    body: Result<Json<json::Object<NackBody>>, JsonRejection>,
) -> Result<Json<SettledBody>, Problem> {
    let NackBody { lease, places } = json::object(
        body,
        r#"like {"lease": "pull-…", "places": [{"place": "3:1795316265410-0", "after": "10s"}]}"#,
    )?;
    bounded(places.len())?;
    let lease = token(&lease)?;
    let (mut failed, mut dead) = (Vec::new(), Vec::new());
    for place in places {
        match place.read()? {
            Becomes::Tried(one) => failed.push(one),
            Becomes::Dead(one) => dead.push(one),
        }
    }
    let (puller, mut settled) = (streams.pull(&topic, &group), Settled::default());
    if !failed.is_empty() {
        settled = puller.nack(&lease, &failed).await.map_err(problem_of_setting)?;
    }
    if !dead.is_empty() {
        let buried = puller.dead_letter(&lease, &dead).await.map_err(problem_of_setting)?;
        settled.done.extend(buried.done);
        settled.lost.extend(buried.lost);
    }
    Ok(Json(settled.into()))
}

/// For how long events are to be held.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RenewBody {
    lease: String,
    /// From now: `1s` to `1h`
    #[schema(example = "30s")]
    r#for: String,
}

/// A lease that was renewed.
#[derive(Serialize, ToSchema)]
struct RenewedBody {
    /// By this hub's clock (RFC 3339)
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
}

/// Hold events for longer.
#[utoipa::path(post, path = "/v1/streams/{topic}/groups/{group}/renew", tag = "stream",
    params(
        ("topic" = String, Path, description = "Name of the topic"),
        ("group" = String, Path, description = "Name of the group"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose topic"),
    ),
    request_body = RenewBody,
    responses(
        (status = 200, body = RenewedBody, description = "They are held for so long"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 410, body = ProblemBody, content_type = "application/problem+json", description = "The lease is over: others have the events, or all were acknowledged"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: say it again"),
    ))]
async fn renew_lease(
    OfGroup { streams, topic, group, .. }: OfGroup,
    body: Result<Json<json::Object<RenewBody>>, JsonRejection>,
) -> Result<Json<RenewedBody>, Problem> {
    let RenewBody { lease, r#for } =
        json::object(body, r#"like {"lease": "pull-…", "for": "30s"}"#)?;
    let (lease, time) = (token(&lease)?, time("for", &r#for)?);
    // From before it was asked: it is never told to last for longer than it does.
    let until = SystemTime::now().checked_add(time);
    let until = until.ok_or_else(|| Problem::bad_request("for: expected 1s to 1h"))?;
    let renewed = streams.pull(&topic, &group).renew(&lease, time).await;
    match renewed.map_err(problem_of_setting)? {
        true => Ok(Json(RenewedBody { until: body::time(until) })),
        false => Err(Problem::new(
            StatusCode::GONE,
            "the lease is over: others have its events, or all of them were acknowledged",
        )),
    }
}

fn token(text: &str) -> Result<LeaseToken, Problem> {
    text.parse().map_err(|_| {
        Problem::bad_request("lease: expected one as events were pulled with, like pull-…")
    })
}

fn bounded(places: usize) -> Result<(), Problem> {
    match (1..=EVENTS_MAX).contains(&places) {
        true => Ok(()),
        false => Err(Problem::bad_request(format!(
            "places: {places} of them are out of bounds: expected 1 to {EVENTS_MAX}"
        ))),
    }
}
