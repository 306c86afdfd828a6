//! Whether to send this process requests, and whether to end it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sinew::{BreakerState, Status};
use utoipa::ToSchema;

use crate::hub::Hub;

#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ready`, `degraded` (the store is away and comes back by itself), `starting` or `stopping`
    status: &'static str,
    /// The store in words
    store: String,
    /// What is wrong with the store
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The process runs.
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200, description = "The process runs")))]
pub(crate) async fn live() -> Response {
    Json(serde_json::json!({"status": "live"})).into_response()
}

/// The hub can be sent requests.
///
/// Once the store was reached, an outage of it reads `degraded` with 200: otherwise an outage of
/// Redis would take every service out of its load balancer at once.
#[utoipa::path(get, path = "/health/ready", tag = "health", responses(
    (status = 200, body = Health, description = "Ready, or degraded"),
    (status = 503, body = Health, description = "Starting or stopping"),
))]
pub(crate) async fn ready(State(hub): State<Hub>) -> Response {
    let status = hub.sinew().status();
    let is_up = matches!(status, Status::Up);
    let (word, code) = match (*hub.stopping().borrow(), is_up, is_up || hub.was_up()) {
        (true, _, _) => ("stopping", StatusCode::SERVICE_UNAVAILABLE),
        (false, true, _) => ("ready", StatusCode::OK),
        (false, false, true) => ("degraded", StatusCode::OK),
        (false, false, false) => ("starting", StatusCode::SERVICE_UNAVAILABLE),
    };
    let held_back = hub
        .sinew()
        .breakers()
        .into_iter()
        .find(|breaker| matches!(breaker.state(), BreakerState::Open | BreakerState::Isolated));
    let reason = match (status, held_back) {
        (Status::Down(error) | Status::Failed(error), _) => Some(format!("{error:#}")),
        (_, Some(breaker)) => {
            Some(format!("the circuit breaker of {} is {}", breaker.name(), breaker.state().name()))
        }
        _ => None,
    };
    let word = if word == "ready" && reason.is_some() { "degraded" } else { word };
    let health = Health { status: word, store: hub.sinew().store(), reason };
    (code, Json(health)).into_response()
}
