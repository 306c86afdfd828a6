//! What the routes of all modules share: what they take, and how they answer.

use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sinew::http::Problem;
use sinew::{LoadError, Source, Traced};

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// Path parameters, with a problem reply of ours.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Problem))]
pub(crate) struct Path<T>(pub(crate) T);

/// A JSON object as the body, likewise. An array would be taken by position.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Sync + Send, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Json(object) = Json::<Map<String, Value>>::from_request(request, state).await?;
        let input = serde_json::from_value(Value::Object(object));
        input.map(Self).map_err(|e| Problem::bad_request(format!("invalid body: {e}")))
    }
}

/// Says where a read was answered from.
pub(crate) fn cached<V, E>(read: Result<Traced<V>, LoadError<E>>) -> Result<Response, Problem>
where
    V: Serialize,
    Problem: for<'a> From<&'a E>,
{
    let read = read.map_err(problem_of_load)?;
    let source = match read.source {
        Source::Loaded => "miss",
        _ => "hit",
    };
    Ok(([(X_CACHE, source)], Json(&*read.value)).into_response())
}

/// A load's error is shared by all who waited for it.
pub(crate) fn problem_of_load<E>(error: LoadError<E>) -> Problem
where
    Problem: for<'a> From<&'a E>,
{
    match error {
        LoadError::Source(error) => Problem::from(&*error),
        LoadError::Rejected(error) => error.into(),
        // Of caches without a hard timeout, the second never comes.
        LoadError::Aborted | LoadError::TimedOut => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the load was aborted")
        }
    }
}

/// A route that is there, asked by a method that it does not take.
pub(crate) fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this route does not take this method")
}

/// For `Retry-After`: whole seconds, rounded up, one at least.
pub(crate) fn seconds_up(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}
