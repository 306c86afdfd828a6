//! `/v1/redis/…`

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use sinew::Breaker;
use sinew::http::Problem;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::hub::Hub;
use crate::json;
use crate::openapi::ProblemBody;

pub(crate) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new().routes(routes!(breakers)).routes(routes!(set))
}

/// The circuit breaker of one node of Redis, as this hub has it.
#[derive(Serialize, ToSchema)]
pub(crate) struct NodeBreaker {
    /// Host and port, or the name that sentinels know it by
    node: String,
    /// `closed`, `open`, `half-open` or `isolated`
    state: &'static str,
}

impl NodeBreaker {
    fn of(breaker: &Breaker) -> Self {
        Self { node: breaker.name().to_owned(), state: breaker.state().name() }
    }
}

/// Where the circuit breakers stand.
///
/// One for each primary of Redis; none on the embedded store.
#[utoipa::path(get, path = "/v1/redis/breakers", tag = "redis", responses(
    (status = 200, body = [NodeBreaker], description = "By node"),
))]
async fn breakers(State(hub): State<Hub>) -> Json<Vec<NodeBreaker>> {
    Json(hub.sinew().breakers().iter().map(NodeBreaker::of).collect())
}

/// What a breaker is to be.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Wanted {
    /// Calls pass, and what failed is forgotten
    Closed,
    /// Calls are held back until the breaker is closed by hand
    Isolated,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Change {
    state: Wanted,
}

/// Isolate a node from this hub, or close its breaker.
#[utoipa::path(put, path = "/v1/redis/breakers/{node}", tag = "redis",
    params(("node" = String, Path, description = "As the list of breakers names it")),
    request_body = Change,
    responses(
        (status = 200, body = NodeBreaker, description = "Done"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No such node"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
    ))]
async fn set(
    State(hub): State<Hub>,
    node: Result<Path<String>, PathRejection>,
    wanted: Result<Json<Change>, JsonRejection>,
) -> Result<Json<NodeBreaker>, Problem> {
    let wanted = json::read(wanted, r#"{"state": "isolated"} or {"state": "closed"}"#)?;
    change(&hub, node, |breaker| match wanted.state {
        Wanted::Closed => breaker.reset(),
        Wanted::Isolated => breaker.isolate(),
    })
}

fn change(
    hub: &Hub,
    node: Result<Path<String>, PathRejection>,
    change: impl FnOnce(&Breaker),
) -> Result<Json<NodeBreaker>, Problem> {
    let Path(node) =
        node.map_err(|_| Problem::bad_request("the path is not text: expected UTF-8"))?;
    let breakers = hub.sinew().breakers();
    let breaker = breakers.iter().find(|breaker| breaker.name() == node).ok_or_else(|| {
        let names: Vec<&str> = breakers.iter().map(Breaker::name).collect();
        let known = match names.as_slice() {
            [] => "this hub has none: its store is embedded, or was not reached yet".to_owned(),
            names => format!("expected one of {}", names.join(", ")),
        };
        Problem::new(StatusCode::NOT_FOUND, format!("no breaker of a node {node:?}; {known}"))
    })?;
    change(breaker);
    Ok(Json(NodeBreaker::of(breaker)))
}
