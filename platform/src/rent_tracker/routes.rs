//! The REST routes.

use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sinew::http::{Problem, RequestTenant};
use sinew::{LoadError, Source, Traced};

use super::error::{RentError, problem_of_load};
use super::payment::PaymentInput;
use super::property::PropertyInput;
use super::service::RentTracker;

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
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
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this route does not take this method")
        })
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
        .with_state(service)
}

/// Path parameters, with a problem reply of ours.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Problem))]
struct Path<T>(T);

/// A JSON object as the body, likewise. An array would be taken by position.
struct Body<T>(T);

impl<S: Sync + Send, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Json(object) = Json::<Map<String, Value>>::from_request(request, state).await?;
        let input = serde_json::from_value(Value::Object(object));
        input.map(Self).map_err(|e| Problem::bad_request(format!("invalid body: {e}")))
    }
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

/// Says where a read was answered from.
fn cached<V: Serialize>(
    read: Result<Traced<V>, LoadError<RentError>>,
) -> Result<Response, Problem> {
    let read = read.map_err(problem_of_load)?;
    let source = match read.source {
        Source::Loaded => "miss",
        _ => "hit",
    };
    Ok(([(X_CACHE, source)], Json(&*read.value)).into_response())
}
