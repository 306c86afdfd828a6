//! The REST routes.

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use sinew::Sinew;
use sinew::http::{Problem, RequestTenant};

use super::customer::CustomerInput;
use super::repository::Repository;
use super::service::Customers;
use crate::database::Database;
use crate::web::{Body, Path, cached, method_not_allowed};

const BODY_LEN_MAX: usize = 64 << 10;

/// The module's routes.
pub(crate) fn router(sinew: Sinew, database: Database) -> Router {
    let customers = Customers::new(sinew, Repository::new(database));
    Router::new()
        .route("/api/customers", get(list).post(create))
        .route("/api/customers/{id}", get(customer))
        .method_not_allowed_fallback(|| async { method_not_allowed() })
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
        .with_state(customers)
}

async fn create(
    State(customers): State<Customers>,
    RequestTenant(tenant): RequestTenant,
    Body(input): Body<CustomerInput>,
) -> Result<Response, Problem> {
    let created = customers.create(tenant, input).await?;
    let location = format!("/api/customers/{}", created.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(created)).into_response())
}

async fn list(
    State(customers): State<Customers>,
    RequestTenant(tenant): RequestTenant,
) -> Result<Response, Problem> {
    cached(customers.customers(tenant).await)
}

async fn customer(
    State(customers): State<Customers>,
    RequestTenant(tenant): RequestTenant,
    Path(id): Path<i64>,
) -> Result<Response, Problem> {
    cached(customers.customer(tenant, id).await)
}
