//! Filling a cache.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequest as _, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use sinew::ErrorKind;
use sinew::http::{Problem, RequestTenant};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{CachePath, busy, open};
use crate::cache::body::WarmedBody;
use crate::cache::warm::{self, BroughtEntry, CheckedEntry, Existing, Tally};
use crate::hub::Hub;
use crate::openapi::ProblemBody;

const BODY_LEN_MAX: usize = 32 << 20;

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new().routes(routes!(warm_cache)).layer(DefaultBodyLimit::max(BODY_LEN_MAX))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WarmQuery {
    /// `true`: store every entry, also over one that is there
    #[serde(default)]
    replace: bool,
}

/// Fill a cache with entries, up to 10,000 at once.
///
/// Those that are there already are left as they are, unless `replace` is said. Nothing is stored if one
/// of them is not as expected.
#[utoipa::path(post, path = "/v1/cache/{cache}/warm", tag = "cache",
    params(
        ("cache" = String, Path, description = "Name of the cache"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose entries"),
        WarmQuery,
    ),
    request_body(description = "An array of entries, or one a line",
        content((Vec<BroughtEntry> = "application/json"), (BroughtEntry = "application/x-ndjson"))),
    responses(
        (status = 200, body = WarmedBody, description = "What became of them"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input: nothing was stored"),
        (status = 413, body = ProblemBody, content_type = "application/problem+json", description = "More than 32 MiB"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Neither JSON nor JSON lines"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "Others are being warmed: try again soon"),
    ))]
async fn warm_cache(
    State(hub): State<Hub>,
    tenant: Option<RequestTenant>,
    path: CachePath,
    query: Result<Query<WarmQuery>, QueryRejection>,
    request: Request,
) -> Result<Json<WarmedBody>, Problem> {
    let cache = open(&hub, tenant.as_ref(), path)?;
    let Query(query) = query?;
    expect_json(request.headers())?;
    // Before the body is read: only so many of them fit.
    let _place = hub.heavy_place().ok_or_else(busy)?;
    let body = Bytes::from_request(request, &hub).await.map_err(too_large_or)?;
    let entries = {
        let (hub, cache) = (hub.clone(), cache.name().to_owned());
        // So many take a while to read, in which others' requests are not to wait.
        tokio::task::spawn_blocking(move || checked(&hub, &cache, &body))
            .await
            .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error"))??
    };
    let existing = if query.replace { Existing::Replaced } else { Existing::Kept };
    Ok(Json(told(warm::store(cache, entries, existing).await)))
}

/// No page of another site can send one of these without being asked about first, and we refuse then.
fn expect_json(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    let known = ["application/json", "application/x-ndjson"];
    match known.iter().any(|known| kind.eq_ignore_ascii_case(known)) {
        true => Ok(()),
        false => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "expected Content-Type: application/json for an array of entries, or application/x-ndjson for one a line",
        )),
    }
}

fn too_large_or(rejection: BytesRejection) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the body is too large: expected at most {BODY_LEN_MAX} bytes; send the entries in parts"
            ),
        ),
        _ => rejection.into(),
    }
}

fn checked(hub: &Hub, cache: &str, body: &[u8]) -> Result<Vec<CheckedEntry>, Problem> {
    let settings = hub.caches().of(cache);
    let entries = warm::read(body).map_err(Problem::bad_request)?.into_iter().enumerate();
    let checked = entries.map(|(index, entry)| {
        let checked = entry.check(cache, settings);
        checked.map_err(|what| Problem::bad_request(format!("entry {}: {what}", index + 1)))
    });
    checked.collect()
}

fn told(tally: Tally) -> WarmedBody {
    let Tally { stored, found, failed, failure } = tally;
    let failure = failure.map(|error| match error.kind() {
        ErrorKind::Rejected => error.to_string(),
        // The rest may name hosts.
        _ => "the store cannot serve this now".to_owned(),
    });
    WarmedBody { stored, found, failed, failure }
}
