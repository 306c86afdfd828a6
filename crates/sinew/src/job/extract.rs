//! What a handler may take beside its job.

use bytes::Bytes;

use super::context::JobContext;
use super::error::JobError;
use super::layer::JobCall;

/// What a handler may take as an argument, after its job.
pub trait FromJob<S>: Sized {
    /// Takes it from a call, or from the state of the worker.
    ///
    /// # Errors
    /// What becomes of the job, where it cannot be had: the handler is not called.
    fn from_job(call: &JobCall, state: &S) -> impl Future<Output = Result<Self, JobError>> + Send;
}

/// A part of a worker's state. The whole of it is one, where it can be cloned.
pub trait FromRef<S> {
    /// That part, cloned.
    fn from_ref(state: &S) -> Self;
}

impl<T: Clone> FromRef<T> for T {
    fn from_ref(state: &T) -> Self {
        state.clone()
    }
}

/// The state of the worker, as [`Worker::with_state`](super::Worker::with_state) was given it, or a part of it.
#[derive(Clone, Copy, Debug)]
pub struct State<T>(pub T);

impl<S: Sync, T: FromRef<S>> FromJob<S> for State<T> {
    async fn from_job(_: &JobCall, state: &S) -> Result<Self, JobError> {
        Ok(Self(T::from_ref(state)))
    }
}

/// The job as it was written.
#[derive(Clone)]
pub struct Raw(pub Bytes);

impl<S: Sync> FromJob<S> for Raw {
    async fn from_job(call: &JobCall, _: &S) -> Result<Self, JobError> {
        Ok(Self(call.payload.clone()))
    }
}

impl<S: Sync> FromJob<S> for JobContext {
    async fn from_job(call: &JobCall, _: &S) -> Result<Self, JobError> {
        Ok(call.ctx.clone())
    }
}
