//! A session, for who has its token.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::extract::rejection::JsonRejection;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use sinew::http::Problem;
use sinew::session::{Saved, Session};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Own, expected_version, from_path};
use super::{come_from, etag, issued, log_in, merge, no_session, not_live, problem};
use crate::hub::Hub;
use crate::json;
use crate::openapi::ProblemBody;
use crate::session::body::{Data, IssuedBody, OpenBody, VersionBody};

/// How often a change is made anew because another one came between.
const TRIES_MAX: usize = 10;

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(get_session, change_session, end_session))
        .routes(routes!(rotate_session))
        .routes(routes!(log_in_session))
        .routes(routes!(take_from_session))
}

/// A session that is live, and what it keeps.
///
/// To look at it is to use it. While the store is away, no one is told that they are logged out.
#[utoipa::path(get, path = "/v1/sessions/self", tag = "session",
    params(
        ("X-Session-Token" = String, Header, description = "The token of the session"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose user"),
    ),
    responses(
        (status = 200, body = OpenBody, description = "It is live",
            headers(("ETag" = String, description = "Its version between quotes, as If-Match takes it"))),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "It is not live, or the header is missing"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may be live or not"),
    ))]
async fn get_session(own: Own) -> Result<Response, Problem> {
    let session = own.open();
    let data = session.data().await.map_err(problem)?;
    let info = session.info().await.map_err(problem)?;
    let (Some(data), Some(info)) = (data, info) else { return Err(not_live()) };
    let tag = etag(info.version);
    Ok(([(header::ETAG, tag)], Json(OpenBody::new(info, data))).into_response())
}

/// Change what a session keeps, by a JSON merge patch (RFC 7396).
///
/// What the patch does not name stays, also what others change at the same time; null removes. Numbers and
/// text that it does not name stay as they were written.
#[utoipa::path(patch, path = "/v1/sessions/self", tag = "session",
    params(
        ("X-Session-Token" = String, Header, description = "The token of the session"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose user"),
        ("If-Match" = Option<String>, Header, description = "The version that is to be changed, between quotes; any unless said"),
    ),
    request_body(description = "What it is to keep, by name", content(
        (Object = "application/merge-patch+json", example = json!({"theme": "dark", "notice": null})),
        (Object = "application/json", example = json!({"theme": "dark", "notice": null})),
    )),
    responses(
        (status = 200, body = VersionBody, description = "Changed",
            headers(("ETag" = String, description = "Its version between quotes"))),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input, or more than a session keeps"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "It is not live: nothing was changed, and nothing is brought back"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "Others change it all the time: nothing was changed"),
        (status = 412, body = ProblemBody, content_type = "application/problem+json", description = "It is of another version"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may be changed or not"),
    ))]
async fn change_session(
    own: Own,
    headers: HeaderMap,
    body: Result<Json<Data>, JsonRejection>,
) -> Result<Response, Problem> {
    let expected = expected_version(&headers)?;
    let patch = json::read(body, r#"an object like {"theme": "dark", "notice": null}"#)?;
    merge::check(&patch)?;
    for _ in 0..TRIES_MAX {
        let session = own.open();
        let data = session.data().await.map_err(problem)?;
        let info = session.info().await.map_err(problem)?;
        let (Some(data), Some(info)) = (data, info) else { return Err(not_live()) };
        if expected.is_some_and(|version| version != info.version) {
            return Err(another_version());
        }
        let follows = change(&session, &data, &patch)?;
        let saved = match follows || expected.is_some() {
            true => session.save_if_unchanged().await,
            // Whatever others change beside it.
            false => session.save().await,
        };
        match saved.map_err(problem)? {
            Saved::Done | Saved::Unchanged => return changed(&session).await,
            Saved::Conflict if expected.is_some() => return Err(another_version()),
            Saved::Conflict => {}
            _ => return Err(not_live()),
        }
    }
    Err(Problem::new(
        StatusCode::CONFLICT,
        "others change the session all the time: nothing was changed, try again",
    ))
}

/// Makes the changes of a patch that was checked, and tells whether one follows from what was there: also
/// from there having been nothing, since another may write it meanwhile.
pub(super) fn change(session: &Session, data: &Data, patch: &Data) -> Result<bool, Problem> {
    let mut follows = false;
    for (name, patch) in patch {
        let value = data.get(name).map(|value| &**value);
        follows |= merge::is_object(patch);
        match merge::merged(value, patch).map_err(|_| no_session())? {
            Some(value) => session.set(name, &value),
            None => session.remove(name),
        }
        .map_err(problem)?;
    }
    Ok(follows)
}

async fn changed(session: &Session) -> Result<Response, Problem> {
    let Some(info) = session.info().await.map_err(problem)? else { return Err(not_live()) };
    let version = info.version;
    Ok(([(header::ETAG, etag(version))], Json(VersionBody { version })).into_response())
}

fn another_version() -> Problem {
    Problem::new(
        StatusCode::PRECONDITION_FAILED,
        "the session is of another version than If-Match says: look at it again",
    )
}

/// Give a session another token: the old one opens nothing from now on.
///
/// Where a user may do more than before. If the reply is lost, so is the session.
#[utoipa::path(post, path = "/v1/sessions/self/rotate", tag = "session",
    params(
        ("X-Session-Token" = String, Header, description = "The token of the session"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose user"),
    ),
    responses(
        (status = 200, body = IssuedBody, description = "The same session under its new token",
            headers(("ETag" = String, description = "Its version between quotes"))),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "It is not live, or the header is missing"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may have another token or not"),
    ))]
async fn rotate_session(own: Own) -> Result<Response, Problem> {
    let session = own.open();
    match session.rotate().await.map_err(problem)? {
        true => issued(StatusCode::OK, &session).await,
        false => Err(not_live()),
    }
}

/// Who logs in, and from where.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"user": "ada", "device": "Firefox on Linux", "address": "203.0.113.9"}))]
struct LogInBody {
    /// 1 to 512 bytes, and neither . nor ..
    user: String,
    /// From where it is used, as people would say it: shown where sessions are listed. 256 bytes of it are kept
    device: Option<String>,
    /// The same: an IP address
    address: Option<String>,
}

/// Log a user in: the session is theirs from now on, under another token, and what it keeps goes along.
///
/// Check who they are before. The old token opens nothing from now on. Of a session that was another user's,
/// nothing goes along.
#[utoipa::path(post, path = "/v1/sessions/self/login", tag = "session",
    params(
        ("X-Session-Token" = String, Header, description = "The token of the session"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose user"),
    ),
    request_body = LogInBody,
    responses(
        (status = 200, body = IssuedBody, description = "The user's session under its new token",
            headers(("ETag" = String, description = "Its version between quotes"))),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "It is not live, or the header is missing"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "The user has as many sessions as may be: nothing has changed"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: the user is not logged in, and the old session may have ended"),
    ))]
async fn log_in_session(
    own: Own,
    body: Result<Json<LogInBody>, JsonRejection>,
) -> Result<Response, Problem> {
    let LogInBody { user, device, address } = json::read(body, r#"like {"user": "ada"}"#)?;
    let session = own.open();
    // What has ended could begin anew by a login.
    if !session.is_live().await.map_err(problem)? {
        return Err(not_live());
    }
    come_from(&session, device.as_deref(), address.as_deref())?;
    log_in(&session, &user).await?;
    issued(StatusCode::OK, &session).await
}

/// Take something out of a session: of all who ask for it, one gets it.
///
/// For what is to be shown once. If the reply is lost, so is the value.
#[utoipa::path(post, path = "/v1/sessions/self/take/{name}", tag = "session",
    params(
        ("name" = String, Path, description = "Of what the session keeps"),
        ("X-Session-Token" = String, Header, description = "The token of the session"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose user"),
    ),
    responses(
        (status = 200, body = serde_json::Value, description = "What it kept, as it was written"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "It is not live, or the header is missing"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "It keeps nothing of this name, or not any more"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may be gone or not"),
    ))]
async fn take_from_session(own: Own, Name(name): Name) -> Result<Response, Problem> {
    let session = own.open();
    if let Some(value) = session.take::<Box<RawValue>>(&name).await.map_err(problem)? {
        let json = [(header::CONTENT_TYPE, "application/json")];
        return Ok((json, value.get().to_owned()).into_response());
    }
    match session.is_live().await.map_err(problem)? {
        true => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "the session keeps nothing of this name: PATCH /v1/sessions/self stores something",
        )),
        false => Err(not_live()),
    }
}

/// Of what a session keeps, from the path.
struct Name(String);

impl FromRequestParts<Hub> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        from_path(parts, hub).await.map(Self)
    }
}

/// End a session: its user is logged out there.
///
/// Sent again, it finds a session that is not live: 401, as everywhere.
#[utoipa::path(delete, path = "/v1/sessions/self", tag = "session",
    params(
        ("X-Session-Token" = String, Header, description = "The token of the session"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose user"),
    ),
    responses(
        (status = 204, description = "It is not live any more"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 401, body = ProblemBody, content_type = "application/problem+json", description = "It is not live, as is one of another tenant, or the header is missing"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may be live or not"),
    ))]
async fn end_session(own: Own) -> Result<StatusCode, Problem> {
    let session = own.open();
    // One that cannot be looked at is ended all the same.
    let was_live = session.is_live().await.unwrap_or(true);
    // Also where its time is over here: at another hub, sessions may go unused for longer.
    session.logout().await.map_err(problem)?;
    match was_live {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(not_live()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use sinew::Sinew;

    use super::*;

    #[tokio::test]
    async fn what_an_object_is_merged_into_must_not_have_changed_also_where_there_was_nothing() {
        let sessions = Sinew::embedded().sessions().build().unwrap();
        let data = |text: &str| -> Data { serde_json::from_str(text).unwrap() };
        for (there, patch, follows, merged) in [
            ("{}", r#"{"n":{"a":1}}"#, true, json!({ "a": 1 })),
            (r#"{"n":7}"#, r#"{"n":{"a":1}}"#, true, json!({ "a": 1 })),
            (r#"{"n":{"b":2}}"#, r#"{"n":{"a":1}}"#, true, json!({ "a": 1, "b": 2 })),
            (r#"{"n":{"b":2}}"#, r#"{"n":[1],"m":null}"#, false, json!([1])),
        ] {
            let session = sessions.begin();
            assert_eq!(change(&session, &data(there), &data(patch)).unwrap(), follows, "{patch}");
            assert_eq!(session.get::<Value>("n").await.unwrap(), Some(merged), "{patch}");
        }
    }
}
