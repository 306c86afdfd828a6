//! The REST routes.

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use sinew::http::{Problem, RequestTenant};

use super::payment::PaymentInput;
use super::property::PropertyInput;
use super::service::RentTracker;
use crate::web::{Body, Path, cached, method_not_allowed};

const BODY_LEN_MAX: usize = 64 << 10;

pub(super) fn router(service: RentTracker) -> Router {
    Router::new()
        .route("/api/properties", get(properties).post(create_property))
        .route("/api/properties/{id}", get(property).put(update_property).delete(delete_property))
        .route("/api/properties/{id}/payments", get(payments).post(create_payment))
        .route(
            "/api/properties/{id}/payments/{payment_id}",
            get(payment).put(update_payment).delete(delete_payment),
        )
        .method_not_allowed_fallback(|| async { method_not_allowed() })
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
        .with_state(service)
}

async fn properties(
    State(service): State<RentTracker>,
    RequestTenant(tenant): RequestTenant,
) -> Result<Response, Problem> {
    cached(service.properties(tenant).await)
}

async fn property(
    State(service): State<RentTracker>,
    RequestTenant(tenant): RequestTenant,
    Path(id): Path<i64>,
) -> Result<Response, Problem> {
    cached(service.property(tenant, id).await)
}

async fn create_property(
    State(service): State<RentTracker>,
    RequestTenant(tenant): RequestTenant,
    Body(input): Body<PropertyInput>,
) -> Result<Response, Problem> {
    let created = service.create_property(tenant, input).await?;
    let location = format!("/api/properties/{}", created.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(created)).into_response())
}

async fn update_property(
    State(service): State<RentTracker>,
    RequestTenant(tenant): RequestTenant,
    Path(id): Path<i64>,
    Body(input): Body<PropertyInput>,
) -> Result<Response, Problem> {
    Ok(Json(service.update_property(tenant, id, input).await?).into_response())
}

async fn delete_property(
    State(service): State<RentTracker>,
    RequestTenant(tenant): RequestTenant,
    Path(id): Path<i64>,
) -> Result<StatusCode, Problem> {
    service.delete_property(tenant, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn payments(
    State(service): State<RentTracker>,
    RequestTenant(tenant): RequestTenant,
    Path(property): Path<i64>,
) -> Result<Response, Problem> {
    cached(service.payments(tenant, property).await)
}

async fn payment(
    State(service): State<RentTracker>,
    RequestTenant(tenant): RequestTenant,
    Path((property, id)): Path<(i64, i64)>,
) -> Result<Response, Problem> {
    cached(service.payment(tenant, property, id).await)
}

async fn create_payment(
    State(service): State<RentTracker>,
    RequestTenant(tenant): RequestTenant,
    Path(property): Path<i64>,
    Body(input): Body<PaymentInput>,
) -> Result<Response, Problem> {
    let created = service.create_payment(tenant, property, input).await?;
    let location = format!("/api/properties/{property}/payments/{}", created.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(created)).into_response())
}

async fn update_payment(
    State(service): State<RentTracker>,
    RequestTenant(tenant): RequestTenant,
    Path((property, id)): Path<(i64, i64)>,
    Body(input): Body<PaymentInput>,
) -> Result<Response, Problem> {
    Ok(Json(service.update_payment(tenant, property, id, input).await?).into_response())
}

async fn delete_payment(
    State(service): State<RentTracker>,
    RequestTenant(tenant): RequestTenant,
    Path((property, id)): Path<(i64, i64)>,
) -> Result<StatusCode, Problem> {
    service.delete_payment(tenant, property, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
