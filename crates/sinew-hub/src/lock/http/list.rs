//! Looking at locks.

use axum::Json;
use axum::extract::State;
use sinew::http::Problem;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::OfLocks;
use super::{busy, problem};
use crate::hub::Hub;
use crate::lock::body::HeldLockBody;
use crate::openapi::ProblemBody;

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new().routes(routes!(list_locks))
}

/// The locks of a tenant that are held now.
///
/// By name, ten thousand at most. Every key of the deployment is looked at: for people, not for services.
#[utoipa::path(get, path = "/v1/locks", tag = "lock",
    params(("X-Tenant-Id" = Option<String>, Header, description = "Whose locks")),
    responses(
        (status = 200, body = [HeldLockBody], description = "By name"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, or others are looking: try again soon"),
    ))]
async fn list_locks(
    State(hub): State<Hub>,
    OfLocks { locks, .. }: OfLocks,
) -> Result<Json<Vec<HeldLockBody>>, Problem> {
    let _place = hub.heavy_place().ok_or_else(busy)?;
    let held = locks.list().await.map_err(problem)?;
    Ok(Json(held.into_iter().map(HeldLockBody::from).collect()))
}
