//! Publishing: one event or many, as CloudEvents or as plain JSON.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use sinew::ErrorKind;
use sinew::http::Problem;
use sinew::stream::NewEvent;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{OfTopic, asked, time};
use super::{is_full, problem_of_setting};
use crate::body::read;
use crate::hub::Hub;
use crate::json;
use crate::openapi::ProblemBody;
use crate::stream::body::{PublishedBody, PublishedEventBody};

/// Of a batch.
const EVENTS_MAX: usize = 1_000;
const BATCH_LEN_MAX: usize = 4 << 20;
/// Of what an event has beside its data.
const ATTRIBUTES_LEN_MAX: usize = 64 << 10;
const KEY_HEADER: &str = "idempotency-key";
const EXPECTED: &str = r#"like {"data": {"order": 7}, "type": "OrderPlaced", "key": "ada"}"#;

pub(super) fn routes(value_len_max: usize) -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(publish))
        .layer(axum::Extension(LenMax(BATCH_LEN_MAX.max(one_len_max(value_len_max)))))
}

/// How long a body may be.
#[derive(Clone, Copy)]
struct LenMax(usize);

/// Of one event: data that is no JSON is in base64 there.
fn one_len_max(value_len_max: usize) -> usize {
    value_len_max.div_ceil(3).saturating_mul(4).saturating_add(ATTRIBUTES_LEN_MAX)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PublishQuery {
    /// Events of one key go to one partition, where groups can keep their order
    #[param(example = "ada")]
    key: Option<String>,
    /// When they are to come: from now, at most `365d`. At once unless said
    #[param(example = "10m")]
    delay: Option<String>,
}

/// An event as plain JSON.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PlainEventBody {
    /// What happened
    #[schema(value_type = Value)]
    data: Box<RawValue>,
    /// Of which type it is: named as the topic unless said
    #[schema(example = "OrderPlaced")]
    r#type: Option<String>,
    id: Option<String>,
    source: Option<String>,
    subject: Option<String>,
    /// As in the query
    #[schema(example = "ada")]
    key: Option<String>,
    /// As in the query
    #[schema(example = "10m")]
    delay: Option<String>,
}

/// In which form events are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Structured,
    Batch,
    Binary,
    Plain,
}

/// Publish an event, or many.
///
/// What is answered with 202 is handled by every group, or dead-lettered with a reason. A CloudEvent that has
/// an id is published once, by its source and id, however often it is sent within ten minutes; a plain one by
/// its `Idempotency-Key`. A batch is not one step: where it fails, some of it may be published, and those that
/// have an id may be sent again.
#[utoipa::path(post, path = "/v1/streams/{topic}", tag = "stream",
    params(
        ("topic" = String, Path, description = "Name of the topic"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose topic"),
        ("Idempotency-Key" = Option<String>, Header, description = "Of plain JSON alone, since a CloudEvent is known by its source and id: what is sent with the same one again is a duplicate"),
        ("ce-specversion" = Option<String>, Header, description = "1.0: the body is the data of a CloudEvent whose attributes are in headers"),
        PublishQuery,
    ),
    request_body(description = "An event; or its data alone, beside CloudEvents headers; or up to 1,000 events",
        content((PlainEventBody = "application/json"), (Object = "application/cloudevents+json"), (Vec<Object> = "application/cloudevents-batch+json"))),
    responses(
        (status = 202, body = PublishedBody, description = "They are there, or will be"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input: nothing was published"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "The audit is written by hubs alone"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "The topic has another number of partitions"),
        (status = 413, body = ProblemBody, content_type = "application/problem+json", description = "A body of more than 4 MiB, more than 1,000 events, or an event whose data are longer than a value may be: nothing was published"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Neither CloudEvents nor JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The topic is full, or the store is away",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn publish(
    State(hub): State<Hub>,
    axum::Extension(LenMax(len_max)): axum::Extension<LenMax>,
    OfTopic { streams, topic, .. }: OfTopic,
    query: Result<Query<PublishQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let query = asked(query, "key=KEY and delay=10m, or less")?;
    let form = form(&headers)?;
    refuse_key(form, &headers)?;
    // Of many small ones, one value's length would be millions.
    let len_max = if form == Form::Batch { BATCH_LEN_MAX } else { len_max };
    let (body, _room) = read(&hub, len_max, body).await?;
    let events = events(form, &headers, &query, body)?;
    refuse_long(&events, hub.sinew().value_len_max())?;
    let ids: Vec<Option<String>> = events.iter().map(|event| event.id.clone()).collect();
    let published = streams.publish_events(&topic, events).await.map_err(unpublished)?;
    let events = ids.into_iter().zip(&published);
    let events = events.map(|(id, published)| PublishedEventBody::new(id, published)).collect();
    Ok((StatusCode::ACCEPTED, Json(PublishedBody { events })).into_response())
}

/// Where the store fails, whether some of it may be there.
fn unpublished(error: sinew::Error) -> Problem {
    let (ErrorKind::Unavailable { maybe_applied } | ErrorKind::Timeout { maybe_applied }) =
        error.kind()
    else {
        return problem_of_setting(error);
    };
    let what = match is_full(&error) {
        true => error.to_string(),
        false => "the store cannot serve this now".to_owned(),
    };
    let told = match maybe_applied {
        true => "some of it may be published",
        false => "nothing of it was published",
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("{what}; {told}"))
}

/// By `Content-Type`, and whether attributes are in headers.
fn form(headers: &HeaderMap) -> Result<Form, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    match kind.to_ascii_lowercase().as_str() {
        "application/cloudevents+json" => Ok(Form::Structured),
        "application/cloudevents-batch+json" => Ok(Form::Batch),
        _ if headers.contains_key("ce-specversion") => Ok(Form::Binary),
        "application/json" => Ok(Form::Plain),
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "expected Content-Type: application/cloudevents+json, application/cloudevents-batch+json or application/json, or a header ce-specversion beside any other",
        )),
    }
}

/// Whoever sends it relies on it, and a CloudEvent is known by what it says itself.
fn refuse_key(form: Form, headers: &HeaderMap) -> Result<(), Problem> {
    match form != Form::Plain && headers.contains_key(KEY_HEADER) {
        true => Err(Problem::bad_request(
            "Idempotency-Key beside CloudEvents: expected each event to have an id of its own instead, since its source and id are what it is known by",
        )),
        false => Ok(()),
    }
}

fn events(
    form: Form,
    headers: &HeaderMap,
    query: &PublishQuery,
    body: Bytes,
) -> Result<Vec<NewEvent>, Problem> {
    let mut events = match form {
        Form::Structured => vec![NewEvent::from_cloud_json(&body)?],
        Form::Batch => NewEvent::batch_from_cloud_json(&body)?,
        Form::Binary => vec![NewEvent::from_cloud_headers(attributes(headers), body)?],
        Form::Plain => vec![plain(headers, &body)?],
    };
    if events.len() > EVENTS_MAX {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("{} events are too many: expected at most {EVENTS_MAX}", events.len()),
        ));
    }
    for event in &mut events {
        // An extension of a CloudEvent that means as much here.
        if let Some(delay) = event.extensions.remove("delay") {
            event.delay = Some(time("delay", &delay)?);
        }
        if let Some(key) = &query.key {
            event.key = Some(key.clone());
        }
        if let Some(delay) = &query.delay {
            event.delay = Some(time("delay", delay)?);
        }
    }
    Ok(events)
}

/// As a body that is too long: the library calls it bad input.
fn refuse_long(events: &[NewEvent], len_max: usize) -> Result<(), Problem> {
    match events.iter().position(|event| event.data.len() > len_max) {
        Some(at) => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the data of event {} are too large: expected at most {len_max} bytes", at + 1),
        )),
        None => Ok(()),
    }
}

/// Those headers that say something of an event.
fn attributes(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let is_of_it = |name: &str| name.starts_with("ce-") || name == header::CONTENT_TYPE.as_str();
    headers
        .iter()
        .filter(move |(name, _)| is_of_it(name.as_str()))
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
}

fn plain(headers: &HeaderMap, body: &Bytes) -> Result<NewEvent, Problem> {
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::bad_request(format!(
            "an array: expected one event, {EXPECTED}; for many, CloudEvents with Content-Type: application/cloudevents-batch+json"
        )));
    }
    let read = Json::<json::Object<PlainEventBody>>::from_bytes(body);
    let PlainEventBody { data, r#type, id, source, subject, key, delay } =
        json::object(read, EXPECTED)?;
    let dedup = match headers.get(KEY_HEADER) {
        None => None,
        Some(said) => Some(said.to_str().map(str::to_owned).map_err(|_| {
            Problem::bad_request("Idempotency-Key is not text: expected visible ASCII")
        })?),
    };
    Ok(NewEvent {
        id,
        source,
        kind: r#type,
        subject,
        key,
        delay: delay.map(|delay| time("delay", &delay)).transpose()?,
        dedup,
        data: data.get().to_owned().into(),
        ..NewEvent::default()
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(said: &[(&'static str, &'static str)]) -> HeaderMap {
        said.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn read(
        said: &[(&'static str, &'static str)],
        query: (Option<&str>, Option<&str>),
        body: &str,
    ) -> Result<Vec<NewEvent>, StatusCode> {
        let (headers, of) = (headers(said), |text: Option<&str>| text.map(str::to_owned));
        let query = PublishQuery { key: of(query.0), delay: of(query.1) };
        let form = form(&headers).map_err(|problem| problem.status())?;
        let body = Bytes::from(body.to_owned());
        events(form, &headers, &query, body).map_err(|problem| problem.status())
    }

    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");
    const CLOUD: (&str, &str) = ("content-type", "application/cloudevents+json");

    #[test]
    fn a_plain_event_is_its_data_as_it_was_written() {
        let body = r#"{"data": {"n": 1.10}, "type": "OrderPlaced", "key": "ada", "delay": "10m"}"#;
        let read = read(&[JSON, ("idempotency-key", "7")], (None, None), body).unwrap();
        let [event] = &read[..] else { panic!("one event") };
        assert_eq!(event.data, r#"{"n": 1.10}"#);
        assert_eq!(
            (event.kind.as_deref(), event.key.as_deref()),
            (Some("OrderPlaced"), Some("ada"))
        );
        assert_eq!(
            (event.delay.map(|it| it.as_secs()), event.dedup.as_deref()),
            (Some(600), Some("7"))
        );
    }

    #[test]
    fn a_cloud_event_is_known_again_by_its_source_and_id() {
        let of = |source: &str, id: &str| {
            let body = format!(
                r#"{{"specversion": "1.0", "type": "t", "source": "{source}", "id": "{id}", "partitionkey": "ada"}}"#
            );
            let event = read(&[CLOUD], (None, Some("1s")), &body).unwrap().remove(0);
            assert_eq!(event.key.as_deref(), Some("ada"));
            assert_eq!(event.delay.map(|it| it.as_secs()), Some(1));
            event.dedup.unwrap()
        };
        assert_eq!(of("/a", "1"), of("/a", "1"));
        assert_ne!(of("/a", "1"), of("/a1", "1"));
        assert_ne!(of("/a", "11"), of("/a1", "1"));
        assert!(of(&"x".repeat(2_000), "1").len() < 100);
    }

    #[test]
    fn the_query_says_more_than_the_event() {
        let body = r#"{"data": 1, "key": "ada", "delay": "1h"}"#;
        let event = read(&[JSON], (Some("bob"), Some("2s")), body).unwrap().remove(0);
        assert_eq!(
            (event.key.as_deref(), event.delay.map(|it| it.as_secs())),
            (Some("bob"), Some(2))
        );
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let bad = Err(StatusCode::BAD_REQUEST);
        let none = (None, None);
        assert_eq!(read(&[JSON], none, "{}").map(|_| ()), bad);
        assert_eq!(read(&[JSON], none, r#"{"data": 1, "colour": 2}"#).map(|_| ()), bad);
        assert_eq!(read(&[JSON], none, r#"{"data": 1, "delay": "soon"}"#).map(|_| ()), bad);
        assert_eq!(read(&[JSON], none, r#"[1, "t", "i", "s", "x", "k", "1s"]"#).map(|_| ()), bad);
        assert_eq!(read(&[CLOUD], none, "{}").map(|_| ()), bad);
        let strange = Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(read(&[("content-type", "text/plain")], none, "x").map(|_| ()), strange);
        assert_eq!(read(&[], none, "x").map(|_| ()), strange);
    }

    #[test]
    fn headers_with_attributes_take_any_content() {
        let said = headers(&[("content-type", "image/png"), ("ce-specversion", "1.0"), ("x", "y")]);
        assert_eq!(form(&said).ok(), Some(Form::Binary));
        let mut of_it: Vec<&str> = attributes(&said).map(|(name, _)| name).collect();
        of_it.sort_unstable();
        assert_eq!(of_it, ["ce-specversion", "content-type"]);
        let unseen = HeaderValue::from_bytes(b"\xff").unwrap();
        assert_eq!(attributes(&[(header::CONTENT_TYPE, unseen)].into_iter().collect()).count(), 0);
    }
}
