//! One flag, or all of them, for someone.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sinew::Tenant;
use sinew::flag::{EvalContext, EvalError, Flags, FlagsState};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{
    OfrepBulk, OfrepFailure, OfrepRequest, OfrepResult, OfrepStream, OfrepSuccess, Refusal,
};
use super::events::EVENTS;
use super::extract::{OfFlag, OfFlags, Told, context_of};
use crate::etag;
use crate::hub::Hub;

/// Who was told of a change by another hub may be here before this one was.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);
/// By what an answer differs, beside what was sent in the body.
const DIFFERS_BY: &str = "X-Tenant-Id, X-Flags-Env";
const NEVER_KNOWN: &str = "the store is away, and was never asked for these flags";

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new().routes(routes!(evaluate_flag)).routes(routes!(evaluate_flags))
}

/// Evaluate a flag.
///
/// While the store is away, by the flags as they last were: the reason is then `UNKNOWN`.
#[utoipa::path(post, path = "/ofrep/v1/evaluate/flags/{key}", tag = "ofrep",
    params(
        ("key" = String, Path, description = "Key of the flag"),
        ("env" = Option<String>, Query, description = "In which environment; in the configured one unless given"),
        ("X-Flags-Env" = Option<String>, Header, description = "In which environment, in place of the query"),
        ("flagConfigEtag" = Option<String>, Query, description = "As the event had it that led to this request"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose flag"),
    ),
    request_body = OfrepRequest,
    responses(
        (status = 200, body = OfrepSuccess, description = "Its value, or none where the code's own default is to be used"),
        (status = 400, body = OfrepFailure, description = "The context is not what it should be, or says not enough"),
        (status = 404, body = OfrepFailure, description = "No such flag"),
        (status = 413, body = OfrepFailure, description = "The body is too large: more than 64 KiB"),
        (status = 500, body = OfrepFailure, description = "The store is away, and was never asked"),
    ))]
async fn evaluate_flag(
    OfFlag { of, key }: OfFlag,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let (cx, _) = context_of(body, Some(&key), of.tenant.as_ref())?;
    caught_up(&of.flags, of.told.as_ref()).await;
    let about = [(header::CACHE_CONTROL, "no-store")];
    match of.flags.try_evaluate(&key, &cx) {
        Ok(evaluation) => Ok((about, Json(OfrepSuccess::new(&key, evaluation))).into_response()),
        Err(error) => Err(failed(&of.flags, &key, &error)),
    }
}

fn failed(flags: &Flags, key: &str, error: &EvalError) -> Refusal {
    match error {
        EvalError::FlagNotFound if is_unknown(flags) => {
            OfrepFailure::general(Some(key), NEVER_KNOWN).with(StatusCode::INTERNAL_SERVER_ERROR)
        }
        EvalError::FlagNotFound => OfrepFailure::new(Some(key), error).with(StatusCode::NOT_FOUND),
        _ => OfrepFailure::new(Some(key), error).with(StatusCode::BAD_REQUEST),
    }
}

/// Whether nothing is known of any flag, not even that there is none.
fn is_unknown(flags: &Flags) -> bool {
    matches!(flags.state(), FlagsState::Defaults)
}

/// Evaluate all flags.
///
/// For clients that ask seldom and keep what they are told. The tag covers the context and the answer:
/// what it is of does not change where only a flag was changed that is the same for this user.
#[utoipa::path(post, path = "/ofrep/v1/evaluate/flags", tag = "ofrep",
    params(
        ("env" = Option<String>, Query, description = "In which environment; in the configured one unless given"),
        ("X-Flags-Env" = Option<String>, Header, description = "In which environment, in place of the query"),
        ("flagConfigEtag" = Option<String>, Query, description = "As the event had it that led to this request"),
        ("If-None-Match" = Option<String>, Header, description = "ETag of what the client has"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose flags"),
    ),
    request_body = OfrepRequest,
    responses(
        (status = 200, body = OfrepBulk, description = "All flags that are there for this user",
            headers(("ETag" = String, description = "Of the context and the answer"))),
        (status = 304, description = "The client has it"),
        (status = 400, body = OfrepFailure, description = "The context is not what it should be"),
        (status = 413, body = OfrepFailure, description = "The body is too large: more than 64 KiB"),
        (status = 500, body = OfrepFailure, description = "The store is away, and was never asked"),
    ))]
async fn evaluate_flags(
    of: OfFlags,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let (cx, context) = context_of(body, None, of.tenant.as_ref())?;
    caught_up(&of.flags, of.told.as_ref()).await;
    if is_unknown(&of.flags) {
        let failure = OfrepFailure::general(None, NEVER_KNOWN);
        return Err(failure.with(StatusCode::INTERNAL_SERVER_ERROR));
    }
    let reply = OfrepBulk {
        flags: all(&of.flags, &cx),
        event_streams: vec![OfrepStream::at(events_of(of.tenant.as_ref(), of.env.as_deref()))],
    };
    let Ok(reply) = serde_json::to_string(&reply) else {
        let failure = OfrepFailure::general(None, "internal error");
        return Err(failure.with(StatusCode::INTERNAL_SERVER_ERROR));
    };
    // By what it is evaluated to, and not by the version: time changes it, too.
    let tag = etag::of(&format!("{}\n{reply}", serde_json::Value::Object(context)));
    let about = [
        (header::ETAG, tag.as_str()),
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, DIFFERS_BY),
    ];
    if etag::is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, about).into_response());
    }
    let json = [(header::CONTENT_TYPE, "application/json")];
    Ok((about, json, reply).into_response())
}

/// Those of the document, and those that are plain keys only. What there is for others alone is not told.
fn all(flags: &Flags, cx: &EvalContext) -> Vec<OfrepResult> {
    let mut keys: BTreeSet<String> = flags.list().into_iter().map(|(key, _)| key).collect();
    // There may be a hundred thousand, most of them of others.
    let is_theirs = |user: Option<&str>| user.is_none() || user == cx.targeting_key();
    let plain = flags.overlays().into_iter();
    let plain = plain.filter(|overlay| is_theirs(overlay.user.as_deref()));
    keys.extend(plain.map(|overlay| overlay.key));
    let results = keys.into_iter().filter_map(|key| match flags.try_evaluate(&key, cx) {
        Ok(evaluation) => Some(OfrepResult::Success(OfrepSuccess::new(&key, evaluation))),
        Err(EvalError::FlagNotFound) => None,
        Err(error) => Some(OfrepResult::Failure(OfrepFailure::new(Some(&key), &error))),
    });
    results.collect()
}

/// Browsers send no headers along with it: the address says all.
fn events_of(tenant: Option<&Tenant>, env: Option<&str>) -> String {
    let asked = [("tenant", tenant.map(Tenant::as_str)), ("env", env)];
    let words: Vec<String> = asked
        .into_iter()
        .filter_map(|(name, value)| {
            Some(format!("{name}={}", utf8_percent_encode(value?, NON_ALPHANUMERIC)))
        })
        .collect();
    match words.is_empty() {
        true => EVENTS.to_owned(),
        false => format!("{EVENTS}?{}", words.join("&")),
    }
}

/// Waits until the flags are those that the client was told of, or newer, for a second at most.
async fn caught_up(flags: &Flags, told: Option<&Told>) {
    let Some(told) = told else { return };
    // Before the look: no change falls between the two.
    let mut changes = flags.changes();
    let until = async {
        while told.is_ahead_of(flags) {
            if changes.next().await.is_none() {
                return;
            }
        }
    };
    // Then it is answered as it is known here.
    let _ = tokio::time::timeout(CATCH_UP_MAX, until).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_events_says_whose_they_are() {
        let acme = Tenant::new("acme").ok();
        assert_eq!(events_of(None, None), "/ofrep/v1/flags/events");
        assert_eq!(events_of(acme.as_ref(), None), "/ofrep/v1/flags/events?tenant=acme");
        assert_eq!(
            events_of(acme.as_ref(), Some("eu-1")),
            "/ofrep/v1/flags/events?tenant=acme&env=eu%2D1"
        );
    }
}
