//! `/v1/queues/…`, `/v1/recurring/…` and `/v1/queue-webhooks`.

mod batch;
mod dead;
mod enqueue;
mod extract;
mod finish;
mod job;
mod queue;
mod recurring;
mod reserve;
mod webhook;

use axum::http::StatusCode;
use sinew::ErrorKind;
use sinew::http::Problem;
use utoipa_axum::router::OpenApiRouter;

use crate::hub::Hub;
use crate::job::body::QueueBody;
use extract::OfQueue;

pub(crate) fn routes(value_len_max: usize) -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .merge(enqueue::routes(value_len_max))
        .merge(batch::routes(value_len_max))
        .merge(job::routes())
        .merge(queue::routes())
        .merge(reserve::routes())
        .merge(finish::routes())
        .merge(dead::routes())
        .merge(recurring::routes())
        .merge(webhook::routes())
}

/// An error of the library. What conflicts is a key.
pub(crate) fn problem(error: sinew::Error) -> Problem {
    match error.kind() {
        ErrorKind::Conflict => Problem::new(
            StatusCode::BAD_GATEWAY,
            "what the store has under the keys of this queue is no queue",
        ),
        ErrorKind::Unavailable { .. } if is_full(&error) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
        }
        _ => error.into(),
    }
}

/// The same, where another number of partitions is the caller's to know of.
fn problem_of_setting(error: sinew::Error) -> Problem {
    match error.kind() {
        ErrorKind::Misconfigured => Problem::new(StatusCode::CONFLICT, error.to_string()),
        _ => problem(error),
    }
}

/// An error of a definition. There, a conflict is another revision.
fn problem_of_definition(error: sinew::Error) -> Problem {
    match error.kind() {
        ErrorKind::Conflict => Problem::new(StatusCode::PRECONDITION_FAILED, error.to_string()),
        _ => problem(error),
    }
}

/// Where the store fails, whether some of what was sent may be there.
fn unsent(error: sinew::Error) -> Problem {
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
        true => "some of it may be enqueued",
        false => "nothing of it was enqueued",
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("{what}; {told}"))
}

/// Whether there was no room, in the library's words for it, which name no host.
fn is_full(error: &sinew::Error) -> bool {
    let told = error.to_string();
    let full = [" is full", "as many workers as it may", "as many recurring jobs as it may"];
    told.starts_with("queue ") && full.iter().any(|full| told.contains(full))
}

/// A queue that is there.
async fn known(of: &OfQueue) -> Result<QueueBody, Problem> {
    let look = of.handle().look().await.map_err(problem)?;
    look.map(|look| QueueBody::new(&of.queue, &look)).ok_or_else(|| no_queue(&of.queue))
}

fn no_queue(queue: &str) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        format!(
            "no queue {:?}: GET /v1/queues lists those that are, and the first job makes one",
            shown(queue)
        ),
    )
}

/// Names are short; what is not one may be anything.
fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use utoipa::OpenApi as _;

    use super::*;
    use crate::openapi::Api;

    #[test]
    fn each_route_that_may_be_unavailable_says_that_it_tells_when_to_ask_again() {
        let router = OpenApiRouter::with_openapi(Api::openapi()).merge(routes(1 << 20));
        let document = serde_json::to_value(router.into_openapi()).unwrap();
        let paths = document["paths"].as_object().unwrap().values();
        let operations = paths.flat_map(|path| path.as_object().unwrap().values());
        let may_be_unavailable: Vec<_> =
            operations.filter(|operation| operation["responses"]["503"].is_object()).collect();
        assert!(!may_be_unavailable.is_empty());
        for operation in may_be_unavailable {
            let told = &operation["responses"]["503"]["headers"];
            assert!(told["Retry-After"].is_object(), "{}", operation["operationId"]);
        }
    }
}
