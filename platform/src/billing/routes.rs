//! The REST routes.

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use sinew::http::{Problem, RequestTenant};
use sinew::job::Enqueued;

use super::error::BillingError;
use super::month::Month;
use super::order::OrderInput;
use super::run::MonthlyRun;
use super::service::Billing;
use super::usage::UsageInput;
use crate::web::{Body, Path, cached, method_not_allowed, seconds_up};

const BODY_LEN_MAX: usize = 64 << 10;

pub(crate) fn router(billing: Billing) -> Router {
    Router::new()
        .route("/api/billing/usage", post(record_usage))
        .route("/api/billing/orders", post(place_order))
        .route("/api/billing/runs", post(run))
        .route("/api/billing/runs/{month}", get(progress))
        .route("/api/billing/users/{user_id}/invoices", get(invoices))
        .route("/api/billing/invoices/{id}/mail", post(mail))
        .method_not_allowed_fallback(|| async { method_not_allowed() })
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
        .with_state(billing)
}

/// Which month to write invoices for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunInput {
    month: Month,
}

async fn record_usage(
    State(billing): State<Billing>,
    RequestTenant(tenant): RequestTenant,
    Body(input): Body<UsageInput>,
) -> Result<StatusCode, Problem> {
    billing.record_usage(&tenant, &input).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn place_order(
    State(billing): State<Billing>,
    RequestTenant(tenant): RequestTenant,
    Body(input): Body<OrderInput>,
) -> Result<Response, Problem> {
    let id = input.order_id.clone();
    let is_new = billing.place_order(&tenant, input).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "orderId": id, "isNew": is_new }))).into_response())
}

async fn run(
    State(billing): State<Billing>,
    RequestTenant(tenant): RequestTenant,
    Body(RunInput { month }): Body<RunInput>,
) -> Result<Response, Problem> {
    // To its end, although the client may go away: it may have more to do than clients wait for.
    let running = tokio::spawn(async move { billing.run_monthly(&tenant, month).await });
    match running.await.unwrap_or(Err(BillingError::Aborted))? {
        MonthlyRun::Done { written } => {
            Ok(Json(json!({ "month": month, "written": written })).into_response())
        }
        MonthlyRun::Held { retry_after } => {
            Ok(not_now(retry_after, "the invoices are being written by another instance"))
        }
        MonthlyRun::Lost => Ok(not_now(
            Duration::ZERO,
            "the run lost its lock in the middle: another one goes on from there",
        )),
    }
}

async fn progress(
    State(billing): State<Billing>,
    RequestTenant(tenant): RequestTenant,
    Path(month): Path<String>,
) -> Result<Response, Problem> {
    let progress = billing.progress(&tenant, month.parse()?).await?;
    Ok(Json(progress).into_response())
}

async fn invoices(
    State(billing): State<Billing>,
    RequestTenant(tenant): RequestTenant,
    Path(user): Path<String>,
) -> Result<Response, Problem> {
    cached(billing.invoices(tenant, user).await)
}

async fn mail(
    State(billing): State<Billing>,
    RequestTenant(tenant): RequestTenant,
    Path(id): Path<i64>,
) -> Result<Response, Problem> {
    let enqueued = billing.mail_invoice(&tenant, id).await?;
    let is_new = matches!(enqueued, Enqueued::New(_));
    let body = Json(json!({ "jobId": enqueued.id(), "isNew": is_new }));
    Ok((StatusCode::ACCEPTED, body).into_response())
}

/// 409, and when to ask again.
fn not_now(retry_after: Duration, detail: &str) -> Response {
    let retry_after = [(header::RETRY_AFTER, HeaderValue::from(seconds_up(retry_after)))];
    (retry_after, Problem::new(StatusCode::CONFLICT, detail)).into_response()
}
