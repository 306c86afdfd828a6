//! The REST routes.

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use sinew::Sinew;
use sinew::http::{Problem, RequestTenant};
use sinew::job::{Enqueued, JobId};
use sinew::session::http::SessionUser;

use super::image::{ImageJob, path_of};
use super::project::ProjectInput;
use super::repository::Repository;
use super::service::Generator;
use crate::database::Database;
use crate::web::{Body, Path, cached, method_not_allowed, problem_of_load};

const BODY_LEN_MAX: usize = 64 << 10;

/// The module's routes. Around them go the sessions.
pub(crate) fn router(sinew: Sinew, database: Database) -> Router {
    let generator = Generator::new(sinew, Repository::new(database));
    Router::new()
        .route("/api/generator/projects", get(projects).post(create))
        .route("/api/generator/projects/{id}", get(project))
        .route("/api/generator/projects/{id}/image", get(image).post(paint))
        .route("/api/generator/images/{id}", get(image_job))
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

async fn paint(
    State(generator): State<Generator>,
    RequestTenant(tenant): RequestTenant,
    SessionUser(user): SessionUser,
    Path(id): Path<i64>,
) -> Result<Response, Problem> {
    generator.project(tenant.clone(), &user, id).await.map_err(problem_of_load)?;
    let Some(enqueued) = generator.paint(&tenant, &user, id).await? else {
        return Ok(Json(json!({ "image": path_of(id) })).into_response());
    };
    let is_new = matches!(enqueued, Enqueued::New(_));
    let location = [(header::LOCATION, format!("/api/generator/images/{}", enqueued.id()))];
    let body = Json(json!({ "jobId": enqueued.id(), "isNew": is_new }));
    Ok((StatusCode::ACCEPTED, location, body).into_response())
}

async fn image(
    State(generator): State<Generator>,
    RequestTenant(tenant): RequestTenant,
    SessionUser(user): SessionUser,
    Path(id): Path<i64>,
) -> Result<Response, Problem> {
    generator.project(tenant, &user, id).await.map_err(problem_of_load)?;
    let svg = generator.image(id).await?;
    Ok(([(header::CONTENT_TYPE, "image/svg+xml")], svg).into_response())
}

async fn image_job(
    State(generator): State<Generator>,
    RequestTenant(tenant): RequestTenant,
    SessionUser(user): SessionUser,
    Path(id): Path<JobId>,
) -> Result<Json<ImageJob>, Problem> {
    Ok(Json(generator.image_job(&tenant, &user, id).await?))
}
