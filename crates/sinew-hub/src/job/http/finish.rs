//! What becomes of jobs that were taken.

use std::collections::HashSet;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use futures_util::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sinew::http::Problem;
use sinew::job::{JobToken, PullEnd};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::batch::refuse_other_than_json;
use super::extract::{OfQueue, token};
use super::problem;
use super::reserve::{LABEL, TOKENS_MAX, bounded};
use crate::body::read;
use crate::duration::written;
use crate::hub::Hub;
use crate::json;
use crate::openapi::ProblemBody;
use crate::stream::http::extract::time;

/// Of results, each of which may have a megabyte.
const BODY_LEN_MAX: usize = 4 << 20;
/// The longest pause before another try.
const AFTER_MAX: Duration = Duration::from_secs(365 * 86_400);
/// How many are told to the store at once.
const AT_ONCE: usize = 16;
/// Where nothing is said.
const NO_ERROR: &str = "failed over HTTP";
const EXPECTED: &str =
    r#"like {"jobs": [{"token": "mail:pull-…", "outcome": "done", "result": {"sent": true}}]}"#;

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new().routes(routes!(finish_jobs))
}

/// Jobs that have ended, or are to go on later.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct FinishBody {
    /// Up to 256
    #[schema(value_type = Vec<FinishedJobBody>)]
    jobs: json::UpTo<json::Object<FinishedJobBody>, TOKENS_MAX>,
    /// What people know the worker by, as in `reserve`: it is kept with what became of the jobs
    #[schema(example = "host:mailer")]
    worker: Option<String>,
}

/// What becomes of a job.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct FinishedJobBody {
    token: String,
    outcome: OutcomeBody,
    /// Of one that is done: what it brought, of up to 1 MiB
    #[schema(value_type = Option<Value>)]
    result: Option<Box<RawValue>>,
    /// Of one that failed, or is dead: why, of which 512 bytes are kept
    error: Option<String>,
    /// When it is to be tried again: from now. After a failure later and later, from `1s` to `1h`, unless said
    #[schema(example = "10s")]
    after: Option<String>,
}

/// What becomes of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum OutcomeBody {
    Done,
    /// It failed: it is tried again, or is dead after its last attempt
    Retry,
    /// It is put off, which is no failure
    Snooze,
    /// It cannot be done
    Dead,
    /// It waits again at once, as if it had not been taken
    Back,
}

impl FinishedJobBody {
    fn read(self) -> Result<(JobToken, PullEnd), Problem> {
        let Self { token: text, outcome, result, error, after } = self;
        let (has_result, has_error, has_after) =
            (result.is_some(), error.is_some(), after.is_some());
        let allowed = match outcome {
            OutcomeBody::Done => !has_error && !has_after,
            OutcomeBody::Retry => !has_result,
            OutcomeBody::Snooze => !has_result && !has_error && has_after,
            OutcomeBody::Dead => !has_result && !has_after,
            OutcomeBody::Back => !has_result && !has_error && !has_after,
        };
        if !allowed {
            return Err(Problem::bad_request(
                "expected result beside done only, error beside retry or dead, and after beside retry or snooze, which needs it",
            ));
        }
        result.as_deref().map_or(Ok(()), |result| json::check_readable("result", result))?;
        let after = after.map(|after| time("after", &after)).transpose()?;
        if let Some(after) = after.filter(|after| *after > AFTER_MAX) {
            return Err(Problem::bad_request(format!(
                "after: {} is out of bounds: expected at most 365d",
                written(after)
            )));
        }
        let error = error.filter(|error| !error.is_empty()).unwrap_or_else(|| NO_ERROR.to_owned());
        let end = match outcome {
            OutcomeBody::Done => PullEnd::Done(result.map(|json| json.get().to_owned().into())),
            OutcomeBody::Retry => PullEnd::Failed { error, after },
            OutcomeBody::Snooze => PullEnd::Snooze(after.unwrap_or_default()),
            OutcomeBody::Dead => PullEnd::Dead(error),
            OutcomeBody::Back => PullEnd::Back,
        };
        Ok((token(&text)?, end))
    }
}

/// What of it counts.
#[derive(Serialize, ToSchema)]
struct FinishedBody {
    /// The tokens of those whose end counts
    accepted: Vec<String>,
    /// The tokens of those that were not the caller's any more: others have them, they were cancelled, or it was told before
    lost: Vec<String>,
}

/// Say what becomes of jobs that were taken.
///
/// Where the reply is lost, the same again does no harm: those of which it was heard are told as lost then.
#[utoipa::path(post, path = "/v1/queues/{queue}/finish", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
    ),
    request_body = FinishBody,
    responses(
        (status = 200, body = FinishedBody, description = "What of it counts"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input: nothing was told"),
        (status = 413, body = ProblemBody, content_type = "application/problem+json", description = "More than 4 MiB, or a result of more than 1 MiB: nothing was told"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: say it again, some of it may count already",
            headers(("Retry-After" = u64, description = "When to say it again, in seconds"))),
    ))]
async fn finish_jobs(
    State(hub): State<Hub>,
    OfQueue { of, queue }: OfQueue,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<FinishedBody>, Problem> {
    refuse_other_than_json(&headers)?;
    let (body, _room) = read(&hub, BODY_LEN_MAX, body).await?;
    let read = Json::<json::Object<FinishBody>>::from_bytes(&body);
    let FinishBody { jobs, worker } = json::object(read, EXPECTED)?;
    bounded("jobs", jobs.count)?;
    let ends = jobs.kept.into_iter().map(|json::Object(job)| job.read());
    let ends = ends.collect::<Result<Vec<_>, _>>()?;
    refuse_long(&queue, &ends)?;
    refuse_twice(&ends)?;
    let puller = of.jobs.pull(&queue).label(worker.as_deref().unwrap_or(LABEL));
    let puller = &puller;
    let told = ends.into_iter().map(|(token, end)| async move {
        let is_accepted = puller.finish(&token, end).await;
        (token, is_accepted)
    });
    // All are told, also after one that could not be.
    let told: Vec<_> = stream::iter(told).buffered(AT_ONCE).collect().await;
    let mut finished = FinishedBody { accepted: Vec::new(), lost: Vec::new() };
    for (token, is_accepted) in told {
        match is_accepted.map_err(problem)? {
            true => finished.accepted.push(token.to_string()),
            false => finished.lost.push(token.to_string()),
        }
    }
    Ok(Json(finished))
}

/// Before anything is told: what the library would refuse among the others.
fn refuse_long(queue: &str, ends: &[(JobToken, PullEnd)]) -> Result<(), Problem> {
    const RESULT_LEN_MAX: usize = 1 << 20;
    for (token, end) in ends {
        if token.queue() != queue {
            return Err(Problem::bad_request(
                "token: expected those of jobs in the queue that the path names",
            ));
        }
        if let PullEnd::Done(Some(result)) = end
            && result.len() > RESULT_LEN_MAX
        {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("a result is too large: expected at most {RESULT_LEN_MAX} bytes"),
            ));
        }
    }
    Ok(())
}

/// Which of two ends would count is by chance.
fn refuse_twice(ends: &[(JobToken, PullEnd)]) -> Result<(), Problem> {
    let tokens: HashSet<&JobToken> = ends.iter().map(|(token, _)| token).collect();
    match tokens.len() == ends.len() {
        true => Ok(()),
        false => Err(Problem::bad_request("token: one is there twice: expected each job once")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "mail:pull-nq0jYJ2vVZ3r5sT1kX8b4g:01KAPX2V9QJ7M3B0N8R5T4W6YZ:7";

    fn read(rest: &str) -> Result<PullEnd, StatusCode> {
        let body = format!(r#"{{"token": "{TOKEN}", {rest}}}"#);
        let read = Json::<json::Object<FinishedJobBody>>::from_bytes(body.as_bytes());
        let job = json::object(read, EXPECTED).map_err(|problem| problem.status())?;
        job.read().map(|(_, end)| end).map_err(|problem| problem.status())
    }

    #[test]
    fn each_outcome_is_read_with_what_belongs_to_it() {
        let done = PullEnd::Done(Some(r#"{"n": 1.10}"#.into()));
        assert!(read(r#""outcome": "done", "result": {"n": 1.10}"#) == Ok(done));
        assert!(read(r#""outcome": "done", "result": null"#) == Ok(PullEnd::Done(None)));
        let failed = PullEnd::Failed { error: "no".to_owned(), after: None };
        assert!(read(r#""outcome": "retry", "error": "no""#) == Ok(failed));
        let after = Some(Duration::from_secs(10));
        let failed = PullEnd::Failed { error: NO_ERROR.to_owned(), after };
        assert!(read(r#""outcome": "retry", "after": "10s""#) == Ok(failed));
        let snoozed = PullEnd::Snooze(Duration::from_secs(60));
        assert!(read(r#""outcome": "snooze", "after": "1m""#) == Ok(snoozed));
        assert!(read(r#""outcome": "back""#) == Ok(PullEnd::Back));
        assert!(read(r#""outcome": "dead", "error": "no""#) == Ok(PullEnd::Dead("no".to_owned())));
    }

    #[test]
    fn a_job_has_one_end() {
        let end = |token: &str| (token.parse::<JobToken>().unwrap(), PullEnd::Back);
        let other = TOKEN.replace(":7", ":8");
        assert!(refuse_twice(&[end(TOKEN), end(&other)]).is_ok());
        assert!(refuse_twice(&[end(TOKEN), end(&other), end(TOKEN)]).is_err());
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        for bad in [
            r#""outcome": "done", "error": "no""#,
            r#""outcome": "retry", "result": 1"#,
            r#""outcome": "retry", "after": "366d""#,
            r#""outcome": "snooze""#,
            r#""outcome": "dead", "after": "1s""#,
            r#""outcome": "back", "error": "no""#,
            r#""outcome": "gone""#,
            r#""result": 1"#,
        ] {
            assert!(read(bad) == Err(StatusCode::BAD_REQUEST), "{bad}");
        }
    }
}
