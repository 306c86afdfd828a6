//! What is cached under which key, and what evicts it.

use std::sync::Arc;
use std::time::Duration;

use sinew::{Cache, CacheKey, Segments, Sinew};

use super::error::GeneratorError;
use super::project::Project;
use crate::commit::evict;

/// The seed's for projects.
const TTL: Duration = Duration::from_mins(10);

/// The key of a user's projects: `user:{userId}:list`.
pub(super) struct ListOf(pub(super) Arc<str>);

impl CacheKey for ListOf {
    fn segments(&self, into: &mut Segments<'_>) {
        into.push("user");
        into.push(&self.0);
        into.push("list");
    }
}

/// The caches of one tenant.
pub(super) struct Caches {
    /// `{tenant}:project:{id}`
    pub(super) project: Cache<i64, Project>,
    /// `{tenant}:project:user:{userId}:list`
    pub(super) projects: Cache<ListOf, Vec<Project>>,
}

impl Caches {
    /// `sinew` is one tenant's.
    pub(super) fn of(sinew: &Sinew) -> Result<Self, GeneratorError> {
        Ok(Self {
            project: sinew.cache("project").ttl(TTL).build()?,
            projects: sinew.cache("project").ttl(TTL).build()?,
        })
    }

    pub(super) async fn project_created(&self, user: Arc<str>) {
        evict(&self.projects, &ListOf(user)).await;
    }
}
