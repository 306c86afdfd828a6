//! Limits as they are defined: looked at, changed and removed.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use sinew::http::Problem;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{LimitName, expected};
use super::{problem, unknown};
use crate::auth::Actor;
use crate::etag::tagged;
use crate::hub::Hub;
use crate::json;
use crate::limit::body::{DefineBody, DefinedBody};
use crate::openapi::ProblemBody;

/// Who makes a change, where no one says who they are.
const BY: &str = "http";

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(list_limits))
        .routes(routes!(get_limit, define_limit, remove_limit))
        // Where limits are checked by POST: one may be called that.
        .route("/v1/limits/check", get(get_limit).put(define_limit).delete(remove_limit))
}

/// The limits that are defined, and what they decided in this hub.
///
/// Those of the store and those of this hub's configuration, for all tenants. Within about a second, a change
/// at another hub shows.
#[utoipa::path(get, path = "/v1/limits", tag = "limit",
    responses(
        (status = 200, body = [DefinedBody], description = "By name"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, and was never asked"),
    ))]
async fn list_limits(State(hub): State<Hub>) -> Result<Json<Vec<DefinedBody>>, Problem> {
    let rows = hub.limits().all().await.map_err(problem)?;
    Ok(Json(rows.into_iter().map(DefinedBody::from).collect()))
}

/// A limit, as it is defined.
#[utoipa::path(get, path = "/v1/limits/{name}", tag = "limit",
    params(("name" = String, Path, description = "Name of the limit")),
    responses(
        (status = 200, body = DefinedBody, description = "The definition that holds",
            headers(("ETag" = String, description = "Its revision between quotes, as If-Match takes it: \"0\" where only the configuration defines it"))),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No such limit is defined"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, and was never asked"),
    ))]
async fn get_limit(
    State(hub): State<Hub>,
    LimitName(name): LimitName,
) -> Result<Response, Problem> {
    let row = hub.limits().row(&name).await.map_err(problem)?;
    Ok(shown(StatusCode::OK, row.ok_or_else(|| unknown(&name))?.into()))
}

/// Define a limit for all tenants and hubs, in place of what is defined under its name.
///
/// It holds within about a second, also for what was charged before. By another algorithm it begins anew.
#[utoipa::path(put, path = "/v1/limits/{name}", tag = "limit",
    params(
        ("name" = String, Path, description = "Name of the limit"),
        ("If-Match" = Option<String>, Header, description = "The revision that is to be replaced, between quotes; or `*`: the one that this hub knows, if it knows one"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if no limit of this name is defined"),
    ),
    request_body = DefineBody,
    responses(
        (status = 200, body = DefinedBody, description = "Changed",
            headers(("ETag" = String, description = "Its revision between quotes"))),
        (status = 201, body = DefinedBody, description = "Defined for the first time",
            headers(("ETag" = String, description = "Its revision between quotes"))),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input, or one more than a thousand"),
        (status = 412, body = ProblemBody, content_type = "application/problem+json", description = "Another revision is there, or none"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may be defined or not"),
    ))]
async fn define_limit(
    State(hub): State<Hub>,
    actor: Actor,
    LimitName(name): LimitName,
    headers: HeaderMap,
    body: Result<Json<DefineBody>, JsonRejection>,
) -> Result<Response, Problem> {
    let expected = expected(&hub, &name, &headers).await?;
    let body = json::read(body, r#"like {"algorithm": "gcra", "quota": 100, "per": "1m"}"#)?;
    let limit = body.named(&name).map_err(Problem::bad_request)?;
    let is_filed = hub.limits().is_filed(&name);
    if is_filed && headers.contains_key(header::IF_NONE_MATCH) {
        return Err(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "the configuration of this hub defines this limit: expected If-Match: \"0\" to put another definition before that",
        ));
    }
    let defined = hub.limits().define(&limit, expected, actor.by(BY)).await.map_err(problem)?;
    let revision = defined.revision;
    tracing::info!(limit = name, revision, "a limit was defined over HTTP");
    let is_new = defined.before.is_none() && !is_filed;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(shown(status, hub.limits().row_of(limit, Some(revision)).into()))
}

fn shown(status: StatusCode, body: DefinedBody) -> Response {
    tagged(status, body.revision.unwrap_or(0), body)
}

/// Remove the definition of a limit from the store.
///
/// Where the configuration of a hub defines one of this name, that holds again.
#[utoipa::path(delete, path = "/v1/limits/{name}", tag = "limit",
    params(
        ("name" = String, Path, description = "Name of the limit"),
        ("If-Match" = Option<String>, Header, description = "The revision that is to be removed, between quotes; or `*`: the one that this hub knows, if it knows one"),
    ),
    responses(
        (status = 204, description = "Removed"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "The store has no such limit"),
        (status = 412, body = ProblemBody, content_type = "application/problem+json", description = "Another revision is there, or none"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may be removed or not"),
    ))]
async fn remove_limit(
    State(hub): State<Hub>,
    actor: Actor,
    LimitName(name): LimitName,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let expected = expected(&hub, &name, &headers).await?;
    match hub.limits().remove(&name, expected, actor.by(BY)).await.map_err(problem)? {
        Some(_) => {
            tracing::warn!(limit = name, "the definition of a limit was removed over HTTP");
            Ok(StatusCode::NO_CONTENT)
        }
        None if hub.limits().is_filed(&name) => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "only the configuration of this hub defines this limit: expected it to be removed there",
        )),
        None => Err(unknown(&name)),
    }
}
