//! What handlers take from a request.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use serde_json::Value;
use sinew::http::{Problem, RequestTenant};
use sinew::job::{JobHandle, JobId, JobToken, QueueHandle};
use sinew::{Jobs, Streams, Tenant};

use super::problem;
use crate::auth::Actor;
use crate::hub::Hub;
use crate::job::audit::{self, Act};
use crate::job::terms;
use crate::stream::http::extract::from_path;

/// The jobs of the request's tenant, and the streams, in one of which is what was changed of them.
pub(super) struct OfJobs {
    pub(super) jobs: Jobs,
    streams: Streams,
    tenant: Option<Tenant>,
}

/// The same, and the queue that the path names.
pub(super) struct OfQueue {
    pub(super) of: OfJobs,
    pub(super) queue: String,
}

/// The same, and a job, or a batch.
pub(super) struct OfJob {
    pub(super) of: OfQueue,
    pub(super) id: JobId,
}

/// The jobs of the request's tenant, and the name of a recurring one.
pub(super) struct OfRecurring {
    pub(super) of: OfJobs,
    pub(super) name: String,
}

/// Nothing is asked in the query: what would be passed over is told.
pub(super) struct NoQuery;

impl OfJobs {
    /// Whose they are, for a log.
    pub(super) fn tenant(&self) -> Option<&str> {
        self.tenant.as_ref().map(Tenant::as_str)
    }

    /// Notes what is about to be done. Where it cannot be noted, it is not to be done.
    pub(super) async fn note(
        &self,
        act: Act,
        actor: &Actor,
        what: Value,
        before: Value,
        after: Value,
    ) -> Result<(), Problem> {
        audit::note(&self.streams, act, actor, what, before, after).await
    }
}

impl OfQueue {
    pub(super) fn handle(&self) -> QueueHandle {
        self.of.jobs.queue(&self.queue)
    }
}

impl OfJob {
    pub(super) fn handle(&self) -> Result<JobHandle, Problem> {
        self.of.handle().job(self.id).map_err(problem)
    }
}

impl FromRequestParts<Hub> for OfJobs {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let tenant = Option::<RequestTenant>::from_request_parts(parts, hub).await?;
        let tenant = tenant.map(|RequestTenant(tenant)| tenant);
        let jobs = hub.jobs(tenant.as_ref()).map_err(Problem::bad_request)?;
        let streams = hub.streams(tenant.as_ref()).map_err(Problem::bad_request)?;
        Ok(Self { jobs, streams, tenant })
    }
}

impl FromRequestParts<Hub> for OfQueue {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let queue: String = from_path(parts, hub).await?;
        Ok(Self { of: OfJobs::from_request_parts(parts, hub).await?, queue })
    }
}

impl FromRequestParts<Hub> for OfJob {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let (queue, id): (String, String) = from_path(parts, hub).await?;
        let of = OfJobs::from_request_parts(parts, hub).await?;
        let id = terms::id(&id).map_err(Problem::bad_request)?;
        Ok(Self { of: OfQueue { of, queue }, id })
    }
}

impl FromRequestParts<Hub> for OfRecurring {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let path = RawPathParams::from_request_parts(parts, hub)
            .await
            .map_err(|_| Problem::bad_request("the path is not text: expected UTF-8"))?;
        let name = path.iter().find_map(|(part, value)| (part == "name").then_some(value));
        // The path of previews has no such part, and a recurring job may be called that.
        let name = name.unwrap_or("preview").to_owned();
        Ok(Self { of: OfJobs::from_request_parts(parts, hub).await?, name })
    }
}

impl<S: Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.uri.query().unwrap_or_default() {
            "" => Ok(Self),
            _ => Err(Problem::bad_request("the query is not what it should be: expected none")),
        }
    }
}

/// A token, as a reserve has told it.
pub(super) fn token(text: &str) -> Result<JobToken, Problem> {
    text.parse().map_err(|error: sinew::Error| Problem::bad_request(format!("token: {error}")))
}

/// An id, in a body.
pub(super) fn id(text: &str) -> Result<JobId, Problem> {
    terms::id(text).map_err(|what| Problem::bad_request(format!("id: {what}")))
}
