//! The sessions of a user, for who looks after users.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserialize;
use sinew::Tenant;
use sinew::http::Problem;
use sinew::session::{SessionId, Sessions};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{OfSessions, OfUser, from_path, id};
use super::problem;
use crate::auth::Actor;
use crate::hub::Hub;
use crate::openapi::ProblemBody;
use crate::session::body::SessionBody;

/// Where nobody has to say who they are.
const BY: &str = "http";

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(list_sessions, end_sessions))
        .routes(routes!(revoke_session))
}

/// The sessions of a user that are live, the one used last first.
///
/// A thousand at most, without their tokens and the values that they keep.
#[utoipa::path(get, path = "/v1/users/{user}/sessions", tag = "session",
    params(
        ("user" = String, Path, description = "Who is logged in"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose user"),
    ),
    responses(
        (status = 200, body = [SessionBody], description = "The one used last first"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away"),
    ))]
async fn list_sessions(
    OfUser { sessions, user, .. }: OfUser,
) -> Result<Json<Vec<SessionBody>>, Problem> {
    let found = sessions.list(&user).await.map_err(problem)?;
    Ok(Json(found.into_iter().map(SessionBody::from).collect()))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EndQuery {
    /// The id of the one session that goes on
    #[param(example = "nq0jYJ2vVZ3r5sT1kX8b4g")]
    except: Option<String>,
}

/// Log a user out everywhere, at once; or everywhere but in one session.
///
/// All of them in one step, however many there are.
#[utoipa::path(delete, path = "/v1/users/{user}/sessions", tag = "session",
    params(
        ("user" = String, Path, description = "Who is to be logged out"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose user"),
        EndQuery,
    ),
    responses(
        (status = 204, description = "None of them is live any more"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: they may be live or not"),
    ))]
async fn end_sessions(
    actor: Actor,
    OfUser { sessions, tenant, user }: OfUser,
    query: Result<Query<EndQuery>, QueryRejection>,
) -> Result<StatusCode, Problem> {
    let Query(EndQuery { except }) = query.map_err(|_| {
        Problem::bad_request(
            "the query is not what it should be: expected nothing, or except=ID with the id of a session",
        )
    })?;
    match except {
        None => sessions.logout_all(&user).await,
        Some(kept) => sessions.logout_others(&user, &id(&kept)?).await,
    }
    .map_err(problem)?;
    let (by, tenant) = (actor.by(BY), tenant.as_ref().map(Tenant::as_str));
    // Not whose: logs outlive the reasons for which one was logged out.
    tracing::warn!(by, tenant, "the sessions of a user were ended over HTTP");
    Ok(StatusCode::NO_CONTENT)
}

/// One session of a user, both from the path.
struct OfOne {
    sessions: Sessions,
    tenant: Option<Tenant>,
    user: String,
    id: SessionId,
}

impl FromRequestParts<Hub> for OfOne {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let (user, text): (String, String) = from_path(parts, hub).await?;
        let OfSessions { sessions, tenant } = OfSessions::from_request_parts(parts, hub).await?;
        Ok(Self { sessions, tenant, user, id: id(&text)? })
    }
}

/// End one session of a user.
#[utoipa::path(delete, path = "/v1/users/{user}/sessions/{id}", tag = "session",
    params(
        ("user" = String, Path, description = "Who is to be logged out there"),
        ("id" = String, Path, description = "The id of the session, as the list has it"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose user"),
    ),
    responses(
        (status = 204, description = "It is not live any more"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "The user has no such session, or not any more"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may be live or not"),
    ))]
async fn revoke_session(
    actor: Actor,
    OfOne { sessions, tenant, user, id }: OfOne,
) -> Result<StatusCode, Problem> {
    if !sessions.revoke(&user, &id).await.map_err(problem)? {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "the user has no session of this id, or not any more",
        ));
    }
    let (by, tenant) = (actor.by(BY), tenant.as_ref().map(Tenant::as_str));
    tracing::warn!(by, tenant, "a session of a user was ended over HTTP");
    Ok(StatusCode::NO_CONTENT)
}
