//! The REST routes.

use axum::extract::{DefaultBodyLimit, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Serialize;
use sinew::http::{Problem, RequestTenant};
use sinew::limit::http::TrustedProxies;
use sinew::session::Session;
use sinew::session::http::SessionUser;
use sinew::{Result, Sinew};

use super::account::Credentials;
use super::limits;
use super::repository::Repository;
use super::service::{Attempt, Auth};
use super::sessions::IDLE;
use crate::database::Database;
use crate::date::timestamp;
use crate::web::{Body, method_not_allowed, problem_of_load, seconds_up};

const BODY_LEN_MAX: usize = 64 << 10;

/// The module's routes. Around them go the sessions.
pub(crate) fn router(
    sinew: &Sinew,
    database: Database,
    trusted: &TrustedProxies,
) -> Result<Router> {
    let auth = Auth::new(sinew.clone(), Repository::new(database), trusted.clone());
    Ok(Router::new()
        .route("/api/auth/register", post(register))
        .route("/api/auth/login", post(log_in))
        .route("/api/auth/validate-token", get(validate))
        .route("/api/auth/logout", post(log_out))
        .route("/api/auth/logout-all", post(log_out_everywhere))
        .method_not_allowed_fallback(|| async { method_not_allowed() })
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
        .layer(limits::by_address(sinew, trusted)?)
        .with_state(auth))
}

/// What gets a client in. It has no text: the token is in it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Issued {
    access_token: String,
    token_type: &'static str,
    /// Unless it is used.
    expires_in_seconds: u64,
    user_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Valid {
    user_id: String,
    email: String,
    /// If it is not used.
    expires_at: Timestamp,
    /// However much it is used.
    ends_at: Timestamp,
}

async fn register(
    State(auth): State<Auth>,
    RequestTenant(tenant): RequestTenant,
    Body(input): Body<Credentials>,
) -> Result<Response, Problem> {
    let account = auth.register(&tenant, input).await?;
    Ok((StatusCode::CREATED, Json(account)).into_response())
}

async fn log_in(
    State(auth): State<Auth>,
    RequestTenant(tenant): RequestTenant,
    session: Session,
    parts: Parts,
    Body(input): Body<Credentials>,
) -> Result<Response, Problem> {
    // Nobody without one comes as far as this: the limit around has no subject for him.
    let address = auth
        .address_of(&parts)
        .ok_or_else(|| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error"))?;
    match auth.log_in(&tenant, &session, address, input).await? {
        Attempt::In { user_id, token } => {
            let issued = Issued {
                access_token: token.as_str().to_owned(),
                token_type: "Bearer",
                expires_in_seconds: IDLE.as_secs(),
                user_id,
            };
            // Whoever is given this response is given the session.
            Ok(([(header::CACHE_CONTROL, "no-store")], Json(issued)).into_response())
        }
        Attempt::TooMany { retry_after } => {
            let wait = [(header::RETRY_AFTER, HeaderValue::from(seconds_up(retry_after)))];
            let detail = "too many attempts at this account: expected none before Retry-After";
            Ok((wait, Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)).into_response())
        }
    }
}

async fn validate(
    State(auth): State<Auth>,
    RequestTenant(tenant): RequestTenant,
    SessionUser(user): SessionUser,
    session: Session,
) -> Result<Response, Problem> {
    let account = auth.account(tenant, user).await.map_err(problem_of_load)?;
    // It was live a moment ago, and what was read then is kept.
    let info = session.info().await?.ok_or_else(|| {
        Problem::new(StatusCode::UNAUTHORIZED, "the session has ended: expected another token")
    })?;
    let valid = Valid {
        user_id: account.user_id.clone(),
        email: account.email.clone(),
        expires_at: timestamp(info.expires_at),
        ends_at: timestamp(info.ends_at),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(valid)).into_response())
}

async fn log_out(_: SessionUser, session: Session) -> Result<StatusCode, Problem> {
    session.logout().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn log_out_everywhere(
    State(auth): State<Auth>,
    RequestTenant(tenant): RequestTenant,
    SessionUser(user): SessionUser,
) -> Result<StatusCode, Problem> {
    auth.log_out_everywhere(&tenant, &user).await?;
    Ok(StatusCode::NO_CONTENT)
}
