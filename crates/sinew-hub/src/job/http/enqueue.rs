//! Enqueueing: one job or many.

use std::fmt;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sinew::ErrorKind;
use sinew::http::Problem;
use sinew::job::{NewJob, OnConflict, Unique};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{OfQueue, id};
use super::unsent;
use crate::body::read;
use crate::hub::Hub;
use crate::job::body::{self, EnqueuedBody, EnqueuedJobBody};
use crate::job::terms;
use crate::json;
use crate::openapi::ProblemBody;
use crate::stream::http::extract::time;

/// Of those that are sent at once.
pub(super) const JOBS_MAX: usize = 1_000;
pub(super) const MANY_LEN_MAX: usize = 4 << 20;
/// Of those that come after another, one after the other: as the library has it.
const NEXT_MAX: usize = 15;
/// Of what a job has beside its payload.
const REST_LEN_MAX: usize = 64 << 10;
const KEY_HEADER: &str = "idempotency-key";
/// For so long at least, what is sent with the same key again is a duplicate.
const KEY_WINDOW: Duration = Duration::from_secs(600);
const EXPECTED: &str = r#"like {"kind": "email.send", "payload": {"to": "ada"}, "delay": "10m"}"#;

pub(super) fn routes(value_len_max: usize) -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(enqueue_jobs))
        .layer(axum::Extension(LenMax(MANY_LEN_MAX.max(one_len_max(value_len_max)))))
}

/// How long a body may be.
#[derive(Clone, Copy)]
struct LenMax(usize);

/// Of one job: a payload that is no JSON is in base64 there, and as much may come after it.
fn one_len_max(value_len_max: usize) -> usize {
    value_len_max.div_ceil(3).saturating_mul(8).saturating_add(REST_LEN_MAX)
}

/// A job to be enqueued.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewJobBody {
    /// Which handler it is for: 1 to 128 of `A-Z a-z 0-9 . _ -`
    #[schema(example = "email.send")]
    kind: String,
    /// What the handler is given, kept as it is written. `null` unless said
    #[schema(value_type = Option<Value>)]
    payload: Option<Box<RawValue>>,
    /// The same, where it is no JSON
    payload_base64: Option<String>,
    /// What it is called: a ULID, drawn unless said. What is behind its time becomes other characters, the same each time, since
    /// the last says the partition: the answer has the one that counts. One that is there already, also dead, is not enqueued
    /// again, and no `duplicate`
    #[schema(example = "01KAPX2V9QJ7M3B0N8R5T4W6YZ")]
    id: Option<String>,
    /// Of those that come after another: their queue. That one's unless said
    queue: Option<String>,
    /// 0 to 9, 9 is first. 5 unless said
    #[schema(value_type = Option<u8>)]
    priority: Option<json::Within<u8, 0, 9>>,
    /// Jobs with one key have a limit of their own, and take turns with those of others
    #[schema(example = "acme")]
    key: Option<String>,
    /// A name that one job of the queue has at a time, until it has ended. Beside a key: one of those with that key
    #[schema(example = "welcome:42")]
    unique: Option<String>,
    /// For how long that counts from now on although it has ended: up to `365d`
    #[schema(example = "1h")]
    within: Option<String>,
    /// What becomes of it where another has the name: `skip`, or `replace` one that has not begun. `skip` unless said
    #[schema(value_type = Option<String>)]
    on_conflict: Option<OnConflict>,
    /// It is to run so much later: up to `365d`
    #[schema(example = "10m")]
    delay: Option<String>,
    /// It is to run at this time (RFC 3339). Not beside a delay
    #[schema(example = "2026-01-31T12:00:00Z")]
    at: Option<String>,
    /// How often it is run at most: 1 to 1,000. As its worker has it, unless said; 10 where it is pulled
    #[schema(value_type = Option<u32>)]
    attempts: Option<json::Within<u32, 1, 1_000>>,
    /// For how long it may run: `1ms` to `30d`
    #[schema(example = "5m")]
    timeout: Option<String>,
    /// For how long it is kept once it is done, with its payload, log and result: up to `365d`
    #[schema(example = "7d")]
    retain: Option<String>,
    /// Of W3C's Trace Context
    traceparent: Option<String>,
    /// What is enqueued once it is done, each once the one before it is: jobs like this one, up to 15
    #[schema(value_type = Option<Vec<Object>>)]
    next: Option<Next>,
}

/// Jobs that are sent at once.
pub(super) type SentJobs = json::UpTo<json::Object<NewJobBody>, JOBS_MAX>;

/// What comes after a job. No more of it is read than may come.
#[derive(Default)]
struct Next {
    jobs: Vec<json::Object<NewJobBody>>,
    /// With those that come after them in turn.
    count: usize,
}

impl<'de> Deserialize<'de> for Next {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Jobs;

        impl<'de> Visitor<'de> for Jobs {
            type Value = Next;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut jobs: A) -> Result<Next, A::Error> {
                let mut next = Next::default();
                while let Some(job) = jobs.next_element::<json::Object<NewJobBody>>()? {
                    next.count += 1 + job.0.next.as_ref().map_or(0, |next| next.count);
                    if next.count > NEXT_MAX {
                        return Err(A::Error::custom(format!(
                            "too many jobs come after another: expected at most {NEXT_MAX}"
                        )));
                    }
                    next.jobs.push(job);
                }
                Ok(next)
            }
        }

        deserializer.deserialize_seq(Jobs)
    }
}

impl NewJobBody {
    /// A job that is for this queue, unless it says another itself.
    pub(super) fn read(self, queue: &str) -> Result<NewJob, Problem> {
        let queue = self.queue.unwrap_or_else(|| queue.to_owned());
        let payload = payload(self.payload, self.payload_base64)?;
        let unique = unique(self.unique, self.within.as_deref(), self.on_conflict)?;
        let at = self
            .at
            .map(|at| terms::time(&at).map_err(|what| Problem::bad_request(format!("at: {what}"))));
        let of = |name: &str, text: Option<String>| text.map(|text| time(name, &text)).transpose();
        let next = self.next.unwrap_or_default().jobs.into_iter();
        let next = next.map(|json::Object(next)| next.read(&queue));
        let next = next.collect::<Result<_, _>>()?;
        Ok(NewJob {
            id: self.id.map(|text| id(&text)).transpose()?,
            kind: self.kind,
            payload,
            priority: self.priority.map(|json::Within(priority)| priority),
            key: self.key,
            unique,
            delay: of("delay", self.delay)?,
            at: at.transpose()?.map(SystemTime::from),
            attempts: self.attempts.map(|json::Within(attempts)| attempts),
            timeout: of("timeout", self.timeout)?,
            retain: of("retain", self.retain)?,
            traceparent: self.traceparent,
            next,
            queue,
        })
    }
}

fn payload(json: Option<Box<RawValue>>, base64: Option<String>) -> Result<Bytes, Problem> {
    match (json, base64) {
        (Some(_), Some(_)) => Err(Problem::bad_request(
            "payload and payload_base64 beside each other: expected one of them",
        )),
        (None, Some(text)) => STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(|_| Problem::bad_request("payload_base64: expected Base64")),
        (json, None) => {
            json.as_deref().map_or(Ok(()), |json| json::check_readable("payload", json))?;
            Ok(body::payload(json.as_deref()))
        }
    }
}

fn unique(
    name: Option<String>,
    within: Option<&str>,
    on_conflict: Option<OnConflict>,
) -> Result<Option<Unique>, Problem> {
    let Some(name) = name else {
        return match within.is_some() || on_conflict.is_some() {
            true => {
                Err(Problem::bad_request("within or on_conflict alone: expected unique beside it"))
            }
            false => Ok(None),
        };
    };
    let mut unique = Unique::by(name).on_conflict(on_conflict.unwrap_or_default());
    if let Some(within) = within {
        unique = unique.within(time("within", within)?);
    }
    Ok(Some(unique))
}

/// What is sent.
enum Sent {
    One(Box<NewJob>),
    Many(Vec<NewJob>),
    /// On which line each was, beside them.
    OnLines(Vec<NewJob>, Vec<usize>),
}

/// Enqueue a job, or many.
///
/// What is answered with 202 runs until it is done, or is dead with its errors. What is sent again with the same `id`, while
/// that job is there, or with the same `Idempotency-Key` is enqueued once. Many are not one step: where it fails, some of them
/// may be enqueued, and those that have an id or a unique name may be sent again.
#[utoipa::path(post, path = "/v1/queues/{queue}/jobs", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue: 1 to 64 of A-Z a-z 0-9 . _ -"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
        ("Idempotency-Key" = Option<String>, Header, description = "Of one job, without a unique name and an id of its own: what is sent with the same one again within ten minutes, or while that job has not ended, is a duplicate"),
    ),
    request_body(description = "A job; an array of up to 1,000; or as many lines of JSON",
        content((NewJobBody = "application/json"), (Object = "application/x-ndjson"))),
    responses(
        (status = 202, body = EnqueuedBody, description = "They are there, in the order in which they were sent"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input: nothing was enqueued"),
        (status = 413, body = ProblemBody, content_type = "application/problem+json", description = "More than 4 MiB or 1,000 jobs at once, or a payload that is longer than a value may be: nothing was enqueued"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Neither JSON nor lines of JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The queue is full, or the store is away",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn enqueue_jobs(
    State(hub): State<Hub>,
    axum::Extension(LenMax(len_max)): axum::Extension<LenMax>,
    OfQueue { of, queue }: OfQueue,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let is_lines = is_lines(&headers)?;
    let (body, _room) = read(&hub, len_max, body).await?;
    let sent = sent(&queue, &headers, is_lines, &body)?;
    let value_len_max = hub.sinew().value_len_max();
    let enqueued = match sent {
        Sent::One(job) => {
            refuse_long_one(&job, value_len_max)?;
            vec![of.jobs.enqueue_raw(&queue, *job).await.map_err(unsent)?]
        }
        Sent::Many(jobs) => {
            refuse_long(&jobs, value_len_max)?;
            of.jobs.enqueue_many_raw(&queue, jobs).await.map_err(unsent)?
        }
        Sent::OnLines(jobs, lines) => {
            for (job, line) in jobs.iter().zip(&lines) {
                let within = |problem: Problem| problem.within(&format!("line {line}"));
                refuse_long_one(job, value_len_max).map_err(within)?;
            }
            let enqueued = of.jobs.enqueue_many_raw(&queue, jobs).await;
            enqueued.map_err(|error| refused_on(&lines, &error).unwrap_or_else(|| unsent(error)))?
        }
    };
    let jobs = enqueued.iter().map(EnqueuedJobBody::from).collect();
    Ok((StatusCode::ACCEPTED, Json(EnqueuedBody { jobs })).into_response())
}

/// Whether there is a job on each line, by `Content-Type`.
fn is_lines(headers: &HeaderMap) -> Result<bool, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    match kind.to_ascii_lowercase().as_str() {
        "application/json" => Ok(false),
        "application/x-ndjson" | "application/jsonl" => Ok(true),
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "expected Content-Type: application/json, or application/x-ndjson for a job on each line",
        )),
    }
}

fn sent(queue: &str, headers: &HeaderMap, is_lines: bool, body: &Bytes) -> Result<Sent, Problem> {
    if !is_lines && !body.trim_ascii_start().starts_with(b"[") {
        let read = Json::<json::Object<NewJobBody>>::from_bytes(body);
        let job = json::object(read, EXPECTED)?;
        refuse_queue(&job)?;
        let job = with_key(headers, job.read(queue)?)?;
        return Ok(Sent::One(Box::new(job)));
    }
    if headers.contains_key(KEY_HEADER) {
        return Err(Problem::bad_request(
            "Idempotency-Key beside many jobs: expected each to have an id or a unique name of its own instead",
        ));
    }
    if body.len() > MANY_LEN_MAX {
        return Err(too_large(format!(
            "the body is too large: expected at most {MANY_LEN_MAX} bytes for many jobs"
        )));
    }
    let sent = match is_lines {
        true => {
            let (lines, jobs) = on_lines(queue, body)?.into_iter().unzip();
            Sent::OnLines(jobs, lines)
        }
        false => Sent::Many(many(queue, body)?),
    };
    match &sent {
        Sent::Many(jobs) | Sent::OnLines(jobs, _) if jobs.is_empty() => {
            Err(Problem::bad_request("no job: expected at least one"))
        }
        _ => Ok(sent),
    }
}

/// The library says which of many is bad: on which line that was.
fn refused_on(lines: &[usize], error: &sinew::Error) -> Option<Problem> {
    let told = matches!(error.kind(), ErrorKind::Rejected).then(|| error.to_string())?;
    let (at, told) = told.strip_prefix('[')?.split_once("]: ")?;
    let line = lines.get(at.parse::<usize>().ok()?)?;
    Some(Problem::bad_request(format!("line {line}: {told}")))
}

/// An array of jobs.
fn many(queue: &str, body: &[u8]) -> Result<Vec<NewJob>, Problem> {
    let read = Json::<SentJobs>::from_bytes(body);
    let bodies = json::read_up_to(MANY_LEN_MAX, read, &format!("an array of jobs {EXPECTED}"))?;
    jobs_of(queue, bodies)
}

/// A job on each line that is not empty, and which line that is.
fn on_lines(queue: &str, body: &[u8]) -> Result<Vec<(usize, NewJob)>, Problem> {
    let text = std::str::from_utf8(body)
        .map_err(|_| Problem::bad_request("the body is not text: expected lines of JSON"))?;
    let lines = || (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    refuse_many(lines().count())?;
    let jobs = lines().map(|(number, line)| {
        let job: NewJobBody = json::line(number, line, EXPECTED)?;
        let read = refuse_queue(&job).and_then(|()| job.read(queue));
        let read = read.map_err(|problem| problem.within(&format!("line {number}")))?;
        Ok((number, read))
    });
    jobs.collect()
}

/// Jobs that are all for this queue.
pub(super) fn jobs_of(queue: &str, bodies: SentJobs) -> Result<Vec<NewJob>, Problem> {
    let jobs = all(bodies)?.enumerate().map(|(at, job)| {
        let read = refuse_queue(&job).and_then(|()| job.read(queue));
        read.map_err(|problem| problem.within(&format!("[{at}]")))
    });
    jobs.collect()
}

/// All of them, where they are not too many.
pub(super) fn all(bodies: SentJobs) -> Result<impl Iterator<Item = NewJobBody>, Problem> {
    refuse_many(bodies.count)?;
    Ok(bodies.kept.into_iter().map(|json::Object(job)| job))
}

fn refuse_many(count: usize) -> Result<(), Problem> {
    match count {
        0..=JOBS_MAX => Ok(()),
        many => Err(too_large(format!("{many} jobs at once: expected at most {JOBS_MAX}"))),
    }
}

/// The path says it.
fn refuse_queue(job: &NewJobBody) -> Result<(), Problem> {
    match job.queue {
        Some(_) => Err(Problem::bad_request(
            "queue: expected none, since the path names it; only those that come next may say another",
        )),
        None => Ok(()),
    }
}

/// What is sent with the same key again is known by a unique name, which no other job has.
fn with_key(headers: &HeaderMap, job: NewJob) -> Result<NewJob, Problem> {
    let Some(said) = headers.get(KEY_HEADER) else { return Ok(job) };
    let key = said.to_str().ok().filter(|key| !key.trim().is_empty());
    let key = key.ok_or_else(|| {
        Problem::bad_request("Idempotency-Key is not text: expected visible ASCII")
    })?;
    if job.unique.is_some() || job.id.is_some() {
        return Err(Problem::bad_request(
            "Idempotency-Key beside an id or a unique name: expected one of them",
        ));
    }
    let unique = Unique::by(format!("idempotency-key {key}")).within(KEY_WINDOW);
    Ok(NewJob { unique: Some(unique), ..job })
}

/// As a body that is too long: the library calls it bad input.
pub(super) fn refuse_long(jobs: &[NewJob], len_max: usize) -> Result<(), Problem> {
    for (at, job) in jobs.iter().enumerate() {
        let within = |problem: Problem| problem.within(&format!("[{at}]"));
        refuse_long_one(job, len_max).map_err(within)?;
    }
    Ok(())
}

/// In the words of the library.
fn refuse_long_one(job: &NewJob, len_max: usize) -> Result<(), Problem> {
    let len = job.payload.len();
    match len > len_max {
        true => Err(too_large(format!(
            "the payload of a job has {len} bytes: expected at most {len_max}"
        ))),
        false => Ok(()),
    }
}

fn too_large(detail: String) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(said: &[(&'static str, &'static str)]) -> HeaderMap {
        said.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn read(said: &[(&'static str, &'static str)], body: &str) -> Result<Vec<NewJob>, StatusCode> {
        let headers = headers(said);
        let is_lines = is_lines(&headers).map_err(|problem| problem.status())?;
        let body = Bytes::from(body.to_owned());
        match sent("mail", &headers, is_lines, &body).map_err(|problem| problem.status())? {
            Sent::One(job) => Ok(vec![*job]),
            Sent::Many(jobs) | Sent::OnLines(jobs, _) => Ok(jobs),
        }
    }

    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");
    const LINES: (&str, &str) = ("content-type", "application/x-ndjson");

    #[test]
    fn a_job_is_what_was_said_and_its_payload_as_it_was_written() {
        let body = r#"{"kind": "email.send", "payload": {"n": 1.10}, "priority": 9, "key": "acme",
            "unique": "welcome:42", "within": "1h", "on_conflict": "replace", "delay": "10m",
            "attempts": 3, "timeout": "5m", "retain": "7d",
            "next": [{"kind": "log", "queue": "audit"}, {"kind": "done"}]}"#;
        let job = read(&[JSON], body).unwrap().remove(0);
        assert_eq!((job.kind.as_str(), &job.payload[..]), ("email.send", &br#"{"n": 1.10}"#[..]));
        assert_eq!(
            (job.priority, job.key.as_deref(), job.attempts),
            (Some(9), Some("acme"), Some(3))
        );
        assert_eq!(job.delay, Some(Duration::from_secs(600)));
        let unique = Unique::by("welcome:42").within(Duration::from_secs(3_600));
        assert_eq!(job.unique, Some(unique.on_conflict(OnConflict::Replace)));
        let queues: Vec<&str> = job.next.iter().map(|next| next.queue.as_str()).collect();
        assert_eq!((queues, &job.next[1].payload[..]), (vec!["audit", "mail"], &b"null"[..]));
    }

    #[test]
    fn many_come_as_an_array_or_on_lines() {
        let array = read(&[JSON], r#" [{"kind": "a"}, {"kind": "b"}]"#).unwrap();
        let lines = read(&[LINES], "{\"kind\": \"a\"}\n\n{\"kind\": \"b\"}\n").unwrap();
        assert_eq!(array, lines);
        assert_eq!(array.len(), 2);
        let large = Err(StatusCode::PAYLOAD_TOO_LARGE);
        for bad in ["\n", r#"{"kind": "a"}, {"kind": "b"}"#, "{\"kind\": \"a\"}\n[]"] {
            assert_eq!(read(&[LINES], bad).map(|_| ()), Err(StatusCode::BAD_REQUEST), "{bad}");
        }
        let lines = "{\"kind\": \"a\"}\n".repeat(JOBS_MAX + 1);
        assert_eq!(read(&[LINES], &lines).map(|_| ()), large);
        let many = format!("[{}{{\"kind\": \"a\"}}]", "{\"kind\": \"a\"},".repeat(JOBS_MAX));
        assert_eq!(read(&[JSON], &many).map(|_| ()), large);
    }

    #[test]
    fn of_many_it_is_said_which_is_wrong() {
        let body = br#"[{"kind": "a"}, {"kind": "b", "delay": "x"}]"#;
        let problem = many("mail", body).unwrap_err();
        let told = format!("{problem:?}");
        assert!(told.contains("\"[1]: delay"), "{told}");
        let told = |body: &str| format!("{:?}", on_lines("mail", body.as_bytes()).unwrap_err());
        let told_of_broken = told("{\"kind\": \"a\"}\n\n{\"kind\": \n");
        assert!(told_of_broken.contains("line 3, column "), "{told_of_broken}");
        let told_of_bad = told("{\"kind\": \"a\"}\n{\"kind\": \"b\", \"delay\": \"x\"}");
        assert!(told_of_bad.contains("\"line 2: delay"), "{told_of_bad}");
        let told_of_half = told("{\"kind\": \"a\"}\n{\"kind\": \"\\ud800\"}");
        assert!(told_of_half.contains("\"line 2: expected an object"), "{told_of_half}");
    }

    #[test]
    fn no_more_is_read_than_may_come_after_a_job() {
        let some = |count| format!("[{}]", vec![r#"{"kind": "b"}"#; count].join(","));
        let before = |next: &str| format!(r#"{{"kind": "a", "next": {next}}}"#);
        let jobs = read(&[JSON], &before(&some(NEXT_MAX))).unwrap();
        assert_eq!(jobs[0].next.len(), NEXT_MAX);
        assert!(read(&[JSON], &before("null")).unwrap()[0].next.is_empty());
        let bad = Err(StatusCode::BAD_REQUEST);
        assert_eq!(read(&[JSON], &before(&some(NEXT_MAX + 1))).map(|_| ()), bad);
        let in_turn = format!("[{}]", before(&some(NEXT_MAX)));
        assert_eq!(read(&[JSON], &before(&in_turn)).map(|_| ()), bad);
    }

    #[test]
    fn a_key_is_a_name_that_counts_for_a_while() {
        let key = ("idempotency-key", "order-7");
        let of = |body| read(&[JSON, key], body);
        let job = of(r#"{"kind": "a"}"#).unwrap().remove(0);
        assert_eq!(job.unique, of(r#"{"kind": "b"}"#).unwrap()[0].unique);
        assert_ne!(job.unique, None);
        let bad = Err(StatusCode::BAD_REQUEST);
        assert_eq!(of(r#"{"kind": "a", "unique": "x"}"#).map(|_| ()), bad);
        assert_eq!(of(r#"{"kind": "a", "id": "01KAPX2V9QJ7M3B0N8R5T4W6YZ"}"#).map(|_| ()), bad);
        assert_eq!(of(r#"[{"kind": "a"}]"#).map(|_| ()), bad);
    }

    #[test]
    fn what_is_no_job_is_refused() {
        let bad = Err(StatusCode::BAD_REQUEST);
        for body in [
            "{}",
            "7",
            "[7]",
            r#"["email.send"]"#,
            r#"{"kind": "a", "colour": 2}"#,
            r#"{"kind": "a", "delay": "soon"}"#,
            r#"{"kind": "a", "at": "soon"}"#,
            r#"{"kind": "a", "queue": "mail"}"#,
            r#"{"kind": "a", "within": "1h"}"#,
            r#"{"kind": "a", "id": "7"}"#,
            r#"{"kind": "a", "payload": 1, "payload_base64": "AA=="}"#,
            r#"{"kind": "a", "payload": 1e999}"#,
            r#"{"kind": "a", "payload": "\ud800"}"#,
            &format!(r#"{{"kind": "a", "payload": {}1{}}}"#, "[".repeat(200), "]".repeat(200)),
            r#"{"kind": "a", "payload_base64": "?"}"#,
        ] {
            assert_eq!(read(&[JSON], body).map(|_| ()), bad, "{body}");
        }
        let strange = Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(read(&[("content-type", "text/plain")], "x").map(|_| ()), strange);
        assert_eq!(read(&[], "x").map(|_| ()), strange);
    }
}
