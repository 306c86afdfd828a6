//! The REST routes.

use std::net::IpAddr;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{delete, get};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Serialize;
use sinew::Sinew;
use sinew::http::{Problem, RequestTenant};
use sinew::session::http::SessionUser;
use sinew::session::{Session, SessionId, SessionInfo};

use super::notice::Notice;
use super::preferences::Preferences;
use super::profile::{Profile, ProfileInput};
use super::repository::Repository;
use super::service::Users;
use crate::database::Database;
use crate::date::timestamp;
use crate::web::{Body, Path, cached, method_not_allowed};

const BODY_LEN_MAX: usize = 64 << 10;

/// The module's routes. Around them go the sessions.
pub(crate) fn router(sinew: Sinew, database: Database) -> Router {
    let users = Users::new(sinew, Repository::new(database));
    Router::new()
        .route("/api/users/me", get(profile).put(write_profile))
        .route("/api/users/me/preferences", get(preferences).put(write_preferences))
        .route("/api/users/me/notices", get(notices))
        .route("/api/users/me/sessions", get(sessions))
        .route("/api/users/me/sessions/{id}", delete(end_session))
        .method_not_allowed_fallback(|| async { method_not_allowed() })
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
        .with_state(users)
}

/// A session, as its user is shown it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OwnSession {
    id: String,
    /// Whether it is the one that asks.
    is_current: bool,
    device: Option<String>,
    address: Option<IpAddr>,
    created_at: Timestamp,
    seen_at: Timestamp,
    expires_at: Timestamp,
}

impl OwnSession {
    fn of(info: SessionInfo, current: Option<&SessionId>) -> Self {
        Self {
            id: info.id.to_string(),
            is_current: Some(&info.id) == current,
            created_at: timestamp(info.created_at),
            seen_at: timestamp(info.seen_at),
            expires_at: timestamp(info.expires_at),
            device: info.device,
            address: info.address,
        }
    }
}

async fn profile(
    State(users): State<Users>,
    RequestTenant(tenant): RequestTenant,
    SessionUser(user): SessionUser,
) -> Result<Response, Problem> {
    cached(users.profile(tenant, user).await)
}

async fn write_profile(
    State(users): State<Users>,
    RequestTenant(tenant): RequestTenant,
    SessionUser(user): SessionUser,
    Body(input): Body<ProfileInput>,
) -> Result<Json<Profile>, Problem> {
    Ok(Json(users.write_profile(tenant, user, input).await?))
}

async fn preferences(
    State(users): State<Users>,
    RequestTenant(tenant): RequestTenant,
    SessionUser(user): SessionUser,
) -> Result<Response, Problem> {
    cached(users.preferences(tenant, user).await)
}

async fn write_preferences(
    State(users): State<Users>,
    RequestTenant(tenant): RequestTenant,
    SessionUser(user): SessionUser,
    Body(input): Body<Preferences>,
) -> Result<Json<Preferences>, Problem> {
    Ok(Json(users.write_preferences(tenant, user, input).await?))
}

async fn notices(
    State(users): State<Users>,
    RequestTenant(tenant): RequestTenant,
    SessionUser(user): SessionUser,
) -> Result<Json<Vec<Notice>>, Problem> {
    Ok(Json(users.notices(&tenant, &user).await?))
}

async fn sessions(
    State(users): State<Users>,
    RequestTenant(tenant): RequestTenant,
    SessionUser(user): SessionUser,
    session: Session,
) -> Result<Json<Vec<OwnSession>>, Problem> {
    let current = session.id();
    let all = users.sessions(&tenant, &user).await?;
    Ok(Json(all.into_iter().map(|info| OwnSession::of(info, current.as_ref())).collect()))
}

async fn end_session(
    State(users): State<Users>,
    RequestTenant(tenant): RequestTenant,
    SessionUser(user): SessionUser,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    users.end_session(&tenant, &user, &id.parse()?).await?;
    Ok(StatusCode::NO_CONTENT)
}
