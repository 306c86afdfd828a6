//! The way from a worker to its handlers, for what is to stand in it.

use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tower_service::Service;

use super::context::JobContext;
use super::error::JobError;

/// A job that is to be done.
#[derive(Clone)]
pub struct JobCall {
    /// Which it is.
    pub ctx: JobContext,
    /// As it was written: JSON, unless it was enqueued raw.
    pub payload: Bytes,
}

impl fmt::Debug for JobCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobCall")
            .field("ctx", &self.ctx)
            .field("payload_len", &self.payload.len())
            .finish()
    }
}

/// A job that was done.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct JobDone {
    /// As JSON; nothing where it has none. At most 1 MiB.
    pub result: Option<Bytes>,
}

impl fmt::Debug for JobDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.result.as_ref().map(Bytes::len);
        f.debug_struct("JobDone").field("result_len", &len).finish()
    }
}

/// All handlers of a worker, with the layers that are around them: what a [`tower_layer::Layer`] is given.
pub struct JobService(Box<dyn AnyService>);

/// A service of whichever type.
trait AnyService: Send + Sync {
    fn copy(&self) -> Box<dyn AnyService>;

    fn ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), JobError>>;

    fn run(&mut self, call: JobCall) -> BoxFuture<'static, Result<JobDone, JobError>>;
}

impl<T> AnyService for T
where
    T: Service<JobCall, Response = JobDone> + Clone + Send + Sync + 'static,
    T::Error: Into<JobError>,
    T::Future: Send + 'static,
{
    fn copy(&self) -> Box<dyn AnyService> {
        Box::new(self.clone())
    }

    fn ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), JobError>> {
        <T as Service<JobCall>>::poll_ready(self, cx).map_err(Into::into)
    }

    fn run(&mut self, call: JobCall) -> BoxFuture<'static, Result<JobDone, JobError>> {
        let calling = <T as Service<JobCall>>::call(self, call);
        Box::pin(async move { calling.await.map_err(Into::into) })
    }
}

impl JobService {
    pub(super) fn new<T>(service: T) -> Self
    where
        T: Service<JobCall, Response = JobDone> + Clone + Send + Sync + 'static,
        T::Error: Into<JobError>,
        T::Future: Send + 'static,
    {
        Self(Box::new(service))
    }

    /// Calls it once it is ready.
    pub(super) async fn once(mut self, call: JobCall) -> Result<JobDone, JobError> {
        poll_fn(|cx| (*self.0).ready(cx)).await?;
        (*self.0).run(call).await
    }
}

impl Clone for JobService {
    fn clone(&self) -> Self {
        Self((*self.0).copy())
    }
}

impl Service<JobCall> for JobService {
    type Response = JobDone;
    type Error = JobError;
    type Future = BoxFuture<'static, Result<JobDone, JobError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), JobError>> {
        (*self.0).ready(cx)
    }

    fn call(&mut self, call: JobCall) -> Self::Future {
        (*self.0).run(call)
    }
}

impl fmt::Debug for JobService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobService").finish_non_exhaustive()
    }
}
