//! The REST routes.

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use sinew::Sinew;
use sinew::http::{Problem, RequestTenant};
use sinew::session::http::SessionUser;

use super::project::ProjectInput;
use super::repository::Repository;
use super::service::Generator;
use crate::database::Database;
use crate::web::{Body, Path, cached, method_not_allowed};

const BODY_LEN_MAX: usize = 64 << 10;

/// The module's routes. Around them go the sessions.
pub(crate) fn router(sinew: Sinew, database: Database) -> Router {
    let generator = Generator::new(sinew, Repository::new(database));
    Router::new()
        .route("/api/generator/projects", get(projects).post(create))
        .route("/api/generator/projects/{id}", get(project))
        .method_not_allowed_fallback(|| async { method_not_allowed() })
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
        .with_state(generator)
}

async fn create(
    State(generator): State<Generator>,
    RequestTenant(tenant): RequestTenant,
    SessionUser(user): SessionUser,
    Body(input): Body<ProjectInput>,
) -> Result<Response, Problem> {
    let created = generator.create(tenant, user, input).await?;
    let location = format!("/api/generator/projects/{}", created.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(created)).into_response())
}

async fn projects(
    State(generator): State<Generator>,
    RequestTenant(tenant): RequestTenant,
    SessionUser(user): SessionUser,
) -> Result<Response, Problem> {
    cached(generator.projects(tenant, user).await)
}

async fn project(
    State(generator): State<Generator>,
    RequestTenant(tenant): RequestTenant,
    SessionUser(user): SessionUser,
    Path(id): Path<i64>,
) -> Result<Response, Problem> {
    cached(generator.project(tenant, &user, id).await)
}
