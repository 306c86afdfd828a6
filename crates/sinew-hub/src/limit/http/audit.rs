//! Who has changed what.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use sinew::http::Problem;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem;
use crate::hub::Hub;
use crate::limit::body::ChangeBody;
use crate::openapi::ProblemBody;

const COUNT_DEFAULT: usize = 100;
const COUNT_MAX: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new().routes(routes!(audit))
}

/// What was changed.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Definitions of limits
    Limit,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditQuery {
    /// What was changed: `limit`
    #[param(inline)]
    kind: Kind,
    /// How many to tell of: 1 to 1,000. 100 unless said
    #[param(minimum = 1, maximum = 1000)]
    count: Option<usize>,
}

/// The last changes, the newest first.
///
/// A thousand are kept.
#[utoipa::path(get, path = "/v1/audit", tag = "audit",
    params(AuditQuery),
    responses(
        (status = 200, body = [ChangeBody], description = "The newest first"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away"),
    ))]
async fn audit(
    State(hub): State<Hub>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<Vec<ChangeBody>>, Problem> {
    let asked = query.ok().map(|Query(asked)| asked);
    let asked =
        asked.filter(|asked| asked.count.is_none_or(|count| (1..=COUNT_MAX).contains(&count)));
    let AuditQuery { kind: Kind::Limit, count } = asked.ok_or_else(|| {
        Problem::bad_request(
            "the query is not what it should be: expected kind=limit, and count=N from 1 to 1000 or no count",
        )
    })?;
    let changes = hub.limits().changes(count.unwrap_or(COUNT_DEFAULT)).await.map_err(problem)?;
    Ok(Json(changes.into_iter().map(ChangeBody::from).collect()))
}
