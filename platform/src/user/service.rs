//! Cached reads, writes that evict after their commit, and the sessions of somebody.

use std::sync::Arc;

use sinew::session::{SessionId, SessionInfo};
use sinew::{LoadError, Sinew, Tenant, Traced};

use super::cache_keys::Caches;
use super::error::UserError;
use super::notice::Notice;
use super::preferences::Preferences;
use super::profile::{Profile, ProfileInput};
use super::repository::Repository;
use crate::auth::sessions;
use crate::commit::{evict, to_the_end};

type Read<V> = Result<Traced<V>, LoadError<UserError>>;

#[derive(Clone)]
pub(super) struct Users {
    sinew: Sinew,
    repository: Repository,
}

impl Users {
    pub(super) fn new(sinew: Sinew, repository: Repository) -> Self {
        Self { sinew, repository }
    }

    pub(super) async fn profile(&self, tenant: Tenant, user: Arc<str>) -> Read<Profile> {
        let caches = self.caches_to_read(&tenant)?;
        let (rows, key) = (self.repository.clone(), Arc::clone(&user));
        let load = move || async move { rows.profile(&tenant, &user).await };
        caches.profile.get_or_load_traced(&key, load).await
    }

    pub(super) async fn write_profile(
        &self,
        tenant: Tenant,
        user: Arc<str>,
        input: ProfileInput,
    ) -> Result<Profile, UserError> {
        input.check()?;
        let (caches, rows) = (self.caches(&tenant)?, self.repository.clone());
        to_the_end(async move {
            let written = rows.write_profile(&tenant, &user, &input).await;
            // Also where it failed: the database may have committed before it did.
            evict(&caches.profile, &user).await;
            written
        })
        .await
    }

    pub(super) async fn preferences(&self, tenant: Tenant, user: Arc<str>) -> Read<Preferences> {
        let caches = self.caches_to_read(&tenant)?;
        let (rows, key) = (self.repository.clone(), Arc::clone(&user));
        let load = move || async move { rows.preferences(&tenant, &user).await };
        caches.preferences.get_or_load_traced(&key, load).await
    }

    pub(super) async fn write_preferences(
        &self,
        tenant: Tenant,
        user: Arc<str>,
        input: Preferences,
    ) -> Result<Preferences, UserError> {
        input.check()?;
        let (caches, rows) = (self.caches(&tenant)?, self.repository.clone());
        to_the_end(async move {
            let written = rows.write_preferences(&tenant, &user, &input).await;
            // Also where it failed: the database may have committed before it did.
            evict(&caches.preferences, &user).await;
            written.map(|()| input)
        })
        .await
    }

    pub(super) async fn notices(
        &self,
        tenant: &Tenant,
        user: &str,
    ) -> Result<Vec<Notice>, UserError> {
        self.repository.notices(tenant, user).await
    }

    pub(super) async fn sessions(
        &self,
        tenant: &Tenant,
        user: &str,
    ) -> Result<Vec<SessionInfo>, UserError> {
        Ok(sessions::of(&self.sinew, tenant)?.list(user).await?)
    }

    pub(super) async fn end_session(
        &self,
        tenant: &Tenant,
        user: &str,
        id: &SessionId,
    ) -> Result<(), UserError> {
        match sessions::of(&self.sinew, tenant)?.revoke(user, id).await? {
            true => Ok(()),
            false => Err(UserError::NoSession),
        }
    }

    fn caches_to_read(&self, tenant: &Tenant) -> Result<Caches, LoadError<UserError>> {
        self.caches(tenant).map_err(|e| LoadError::Source(Arc::new(e)))
    }

    fn caches(&self, tenant: &Tenant) -> Result<Caches, UserError> {
        Caches::of(&self.sinew.tenant(tenant.as_str())?)
    }
}
