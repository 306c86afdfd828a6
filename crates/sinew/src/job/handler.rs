//! Handlers: plain async functions of a job, and of what else they ask for.

use std::any::type_name;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::JobError;
use super::extract::FromJob;
use super::layer::{JobCall, JobDone};
use super::model::RESULT_LEN_MAX;
use super::options::Job;
use crate::kernel::words::without_values;

/// A function that does jobs of one kind: `async fn(job, …) -> outcome`, where what comes after the job is up to seven of
/// [`State`](super::State), [`JobContext`](super::JobContext), [`Raw`](super::Raw) and whatever else is a [`FromJob`].
///
/// It is called at least once for a job, and may be dropped at any `await`: where its job is lost or cancelled, a second
/// after it was told; and at its time limit.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler of jobs",
    note = "expected an async function whose first argument is a `Job` that can be deserialized, whose others are each a `FromJob`, and which returns `()` or a `Result` whose error becomes a `JobError`"
)]
pub trait Handler<Args, S>: Clone + Send + Sync + Sized + 'static {
    /// What it does.
    type Job: Job;

    /// Does one.
    fn call(self, call: JobCall, state: Arc<S>) -> BoxFuture<'static, Result<JobDone, JobError>>;
}

/// What a handler may return: `()`, or a `Result` of anything that can be serialized, and of an error that becomes a
/// [`JobError`].
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    note = "expected `()`, or a `Result` whose value can be serialized and whose error becomes a `JobError`"
)]
pub trait IntoOutcome {
    /// The result as JSON, and none for `()`.
    ///
    /// # Errors
    /// What the handler says; `Dead` for a result that cannot be kept.
    fn into_outcome(self) -> Result<JobDone, JobError>;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Result<JobDone, JobError> {
        Ok(JobDone::default())
    }
}

impl<R: Serialize, E: Into<JobError>> IntoOutcome for Result<R, E> {
    fn into_outcome(self) -> Result<JobDone, JobError> {
        let result = serde_json::to_vec(&self.map_err(Into::<JobError>::into)?);
        // What was done is done: no other attempt would help.
        let dead = |reason: String| Err(JobError::Dead { reason });
        match result {
            Ok(json) if json == b"null" => Ok(JobDone::default()),
            Ok(json) if json.len() <= RESULT_LEN_MAX => Ok(JobDone { result: Some(json.into()) }),
            Ok(json) => dead(format!(
                "its result of {} bytes is too long: expected at most {RESULT_LEN_MAX}",
                json.len()
            )),
            Err(error) => dead(format!("its result is not to be written as JSON: {error}")),
        }
    }
}

macro_rules! handlers {
    ($(($($argument:ident),*))*) => { $(
        impl<F, Fut, O, S, J, $($argument),*> Handler<(J, $($argument,)*), S> for F
        where
            F: Fn(J, $($argument),*) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output = O> + Send,
            O: IntoOutcome,
            S: Send + Sync + 'static,
            J: Job + DeserializeOwned + Send,
            $($argument: FromJob<S> + Send,)*
        {
            type Job = J;

            // Named as their types; and where there are none, the state is for nothing.
            #[allow(non_snake_case, unused_variables)]
            fn call(
                self,
                call: JobCall,
                state: Arc<S>,
            ) -> BoxFuture<'static, Result<JobDone, JobError>> {
                Box::pin(async move {
                    let state: &S = &state;
                    let job: J = read(&call.payload)?;
                    $(let $argument = <$argument as FromJob<S>>::from_job(&call, state).await?;)*
                    self(job, $($argument),*).await.into_outcome()
                })
            }
        }
    )* };
}

handlers! {
    ()
    (A)
    (A, B)
    (A, B, C)
    (A, B, C, D)
    (A, B, C, D, G)
    (A, B, C, D, G, H)
    (A, B, C, D, G, H, I)
}

/// What is no such job never will be: it is dead at once.
fn read<J: DeserializeOwned>(payload: &[u8]) -> Result<J, JobError> {
    serde_json::from_slice(payload).map_err(|error| {
        let name = type_name::<J>();
        let name = name.rsplit("::").next().unwrap_or(name);
        let reason = format!("not JSON of {name}: {}", without_values(&error.to_string()));
        JobError::Dead { reason }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_result_is_none_and_one_that_is_too_long_is_told() {
        assert_eq!(().into_outcome().unwrap().result, None);
        assert_eq!(Ok::<(), JobError>(()).into_outcome().unwrap().result, None);
        let done = Ok::<_, JobError>(7).into_outcome().unwrap();
        assert_eq!(done.result.as_deref(), Some(&b"7"[..]));
        let long = Ok::<_, JobError>("x".repeat(RESULT_LEN_MAX));
        assert!(matches!(long.into_outcome(), Err(JobError::Dead { .. })));
    }

    #[test]
    fn what_is_told_of_an_unreadable_job_has_none_of_it() {
        let Err(JobError::Dead { reason }) = read::<u32>(b"\"secret\"") else {
            panic!("it is read")
        };
        assert!(reason.starts_with("not JSON of u32") && !reason.contains("secret"), "{reason}");
    }
}
