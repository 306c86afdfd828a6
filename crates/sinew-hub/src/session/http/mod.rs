//! `/v1/sessions/…`, for who has a session's token, and `/v1/users/…/sessions`, for who looks after users.

mod begin;
mod extract;
mod merge;
mod own;
mod user;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use sinew::ErrorKind;
use sinew::http::Problem;
use sinew::session::{Login, Session};
use utoipa_axum::router::OpenApiRouter;

use super::body::IssuedBody;
use crate::hub::Hub;

/// In which a request has the token of its session.
const TOKEN_HEADER: &str = "X-Session-Token";

pub(crate) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .merge(begin::routes())
        .merge(own::routes())
        .merge(user::routes())
        .layer(middleware::map_response(private))
}

/// No one keeps what is said of sessions; and who has none is told what opens one.
async fn private(mut response: Response) -> Response {
    let is_unknown = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if is_unknown {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(TOKEN_HEADER));
    }
    response
}

/// Notes from where a session is used.
fn come_from(
    session: &Session,
    device: Option<&str>,
    address: Option<&str>,
) -> Result<(), Problem> {
    if let Some(device) = device {
        session.device(device);
    }
    if let Some(address) = address {
        session.address(address.parse().map_err(|_| {
            Problem::bad_request("address: expected an IP address like 203.0.113.9")
        })?);
    }
    Ok(())
}

/// Logs a user in. The session is under another token then.
async fn log_in(session: &Session, user: &str) -> Result<(), Problem> {
    // Their sessions could be neither listed nor ended: who reads a URL takes these for steps.
    if [".", ".."].contains(&user) {
        return Err(Problem::bad_request(
            "user: expected one that a path can hold, and neither . nor ..",
        ));
    }
    match session.login(user).await.map_err(problem)? {
        Login::Done => Ok(()),
        Login::Refused => Err(Problem::new(
            StatusCode::CONFLICT,
            "the user has as many sessions as may be: expected one of them to be ended before",
        )),
        _ => Err(not_live()),
    }
}

/// The token of a session that was begun or has another one now, and what is known of it.
async fn issued(status: StatusCode, session: &Session) -> Result<Response, Problem> {
    let info = session.info().await.map_err(problem)?;
    let (Some(token), Some(info)) = (session.token(), info) else { return Err(not_live()) };
    let tag = etag(info.version);
    Ok((status, [(header::ETAG, tag)], Json(IssuedBody::new(&token, info))).into_response())
}

fn etag(version: u64) -> String {
    format!("\"{version}\"")
}

fn not_live() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "the session is not live: it has ended, or there was none of this token; POST /v1/sessions begins one",
    )
}

/// An error of the library. A 409 means that a user has too many sessions, or that others change one all the
/// time, and nothing else does.
fn problem(error: sinew::Error) -> Problem {
    match error.kind() {
        ErrorKind::Conflict => no_session(),
        _ => error.into(),
    }
}

fn no_session() -> Problem {
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "what the store has under the keys of this session is no session",
    )
}
