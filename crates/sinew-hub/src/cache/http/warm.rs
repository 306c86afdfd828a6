//! Filling a cache.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt as _;
use serde::Deserialize;
use sinew::ErrorKind;
use sinew::http::{Problem, RequestTenant};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::busy;
use super::extract::{Asked, OfCache, Parameters};
use crate::cache::body::WarmedBody;
use crate::cache::brought::{self, BroughtEntry, Entry, Placed};
use crate::cache::rules::Rules;
use crate::cache::warm::{self, Existing, Tally};
use crate::hub::Hub;
use crate::openapi::ProblemBody;

const BODY_LEN_MAX: usize = 32 << 20;

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new().routes(routes!(warm_cache))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WarmQuery {
    /// `true`: store every entry, also over one that is there
    #[serde(default)]
    replace: bool,
}

impl Parameters for WarmQuery {
    const EXPECTED: &'static str = "nothing, or replace=true";
}

/// Fill a cache with entries, up to 10,000 at once.
///
/// Those that are there already are left as they are, unless `replace` is said. All are checked before any
/// is stored: nothing is, if one of them is not as expected, or if two have one key.
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
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input, told with its line: nothing was stored"),
        (status = 413, body = ProblemBody, content_type = "application/problem+json", description = "More than 32 MiB"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Neither JSON nor JSON lines"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "Others are being warmed, or send too much at once: try again soon"),
    ))]
async fn warm_cache(
    State(hub): State<Hub>,
    OfCache(cache): OfCache,
    tenant: Option<RequestTenant>,
    Asked(query): Asked<WarmQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<WarmedBody>, Problem> {
    expect_json(&headers)?;
    let tenant = tenant.as_ref().map(|RequestTenant(tenant)| tenant);
    let rules = hub.rules(cache.name(), tenant).map_err(Problem::bad_request)?;
    let (text, room) = read(&hub, body).await?;
    // After the body: whoever sends it slowly takes no place from others.
    let place = hub.heavy_place().ok_or_else(busy)?;
    // So many take a while to read, in which others' requests are not to wait.
    let entries = tokio::task::spawn_blocking(move || {
        let checked = Handle::current().block_on(checked(&rules, &text));
        // Room and place are in use until here, whether or not the client is still there.
        (checked.map_err(Problem::bad_request), place, room)
    });
    let (entries, _place, _room) = entries
        .await
        .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error"))?;
    let entries = entries?;
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

/// A body, and the room that it takes among all that are being read.
async fn read(hub: &Hub, body: Body) -> Result<(Vec<u8>, OwnedSemaphorePermit), Problem> {
    let (mut text, mut room) = (Vec::new(), hub.room_for(0).ok_or_else(busy)?);
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk
            .map_err(|_| Problem::bad_request("the body ended too early: expected all of it"))?;
        if text.len() + chunk.len() > BODY_LEN_MAX {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "the body is too large: expected at most {BODY_LEN_MAX} bytes; send the entries in parts"
                ),
            ));
        }
        room.merge(hub.room_for(chunk.len()).ok_or_else(busy)?);
        text.extend_from_slice(&chunk);
    }
    Ok((text, room))
}

/// All entries of a body, or the first fault.
async fn checked(rules: &Rules, text: &[u8]) -> Result<Vec<Entry>, String> {
    let brought = brought::read(text)?;
    let mut entries = Vec::with_capacity(brought.len());
    for Placed { place, entry } in brought {
        rules.check(&entry).await.map_err(|what| format!("{place}: {what}"))?;
        entries.push(entry);
    }
    Ok(entries)
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
