//! A session that begins.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use sinew::http::Problem;
use sinew::session::{Saved, Session};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::OfSessions;
use super::own::change;
use super::{come_from, issued, log_in, merge, not_live, problem};
use crate::hub::Hub;
use crate::json;
use crate::openapi::ProblemBody;
use crate::session::body::{Data, IssuedBody};

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new().routes(routes!(begin_session))
}

/// A session to begin.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "user": "ada",
    "data": {"cart": {"book": 1}},
    "device": "Firefox on Linux",
    "address": "203.0.113.9",
}))]
struct BeginBody {
    /// Who has logged in: 1 to 512 bytes, and neither . nor .. No one unless said
    user: Option<String>,
    /// What it is to keep: up to 128 names of 1 to 128 bytes that do not begin with _. Null is nothing, as in a
    /// change
    #[serde(default)]
    #[schema(value_type = Object)]
    data: Data,
    /// From where it is used, as people would say it: shown where sessions are listed. 256 bytes of it are kept
    device: Option<String>,
    /// The same: an IP address
    address: Option<String>,
}

/// Begin a session, also for a user who has just logged in.
///
/// A request that is sent again begins another one: of a reply that is lost, no one has the token, and the
/// session ends when it has been idle for long enough.
#[utoipa::path(post, path = "/v1/sessions", tag = "session",
    params(("X-Tenant-Id" = Option<String>, Header, description = "Whose user")),
    request_body = BeginBody,
    responses(
        (status = 201, body = IssuedBody, description = "It has begun",
            headers(
                ("Location" = String, description = "Where it is found with its token"),
                ("ETag" = String, description = "Its version between quotes"),
            )),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input, or a session of no one that would keep nothing"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "It has ended again already: someone has logged the user out"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "The user has as many sessions as may be"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away"),
    ))]
async fn begin_session(
    OfSessions { sessions, .. }: OfSessions,
    body: Result<Json<BeginBody>, JsonRejection>,
) -> Result<Response, Problem> {
    let BeginBody { user, data, device, address } =
        json::read(body, r#"like {"user": "ada", "data": {"theme": "dark"}}"#)?;
    merge::check(&data)?;
    let session = sessions.begin();
    come_from(&session, device.as_deref(), address.as_deref())?;
    // As a patch of a session that keeps nothing.
    change(&session, &Data::new(), &data)?;
    if let Some(user) = &user {
        log_in(&session, user).await?;
    }
    store(&session).await?;
    let mut response = issued(StatusCode::CREATED, &session).await?;
    let found = HeaderValue::from_static("/v1/sessions/self");
    response.headers_mut().insert(header::LOCATION, found);
    Ok(response)
}

/// Stores what a login has not stored yet.
async fn store(session: &Session) -> Result<(), Problem> {
    match session.save().await.map_err(problem)? {
        Saved::Unchanged if session.token().is_none() => Err(Problem::bad_request(
            "a session of no one that keeps nothing is not stored: expected user, or something in data",
        )),
        Saved::Done | Saved::Unchanged => Ok(()),
        _ => Err(not_live()),
    }
}
