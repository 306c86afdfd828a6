//! Which model makes a page, and the pages of somebody.

use std::sync::Arc;

use sinew::flag::{EvalContext, Flags};
use sinew::job::{Enqueued, Job as _, JobId};
use sinew::{LoadError, Sinew, Tenant, Traced};
use tokio::sync::OnceCell;

use super::cache_keys::{Caches, ListOf};
use super::error::GeneratorError;
use super::image::ImageJob;
use super::model::{FLAG, Model};
use super::painting::PaintImage;
use super::project::{Project, ProjectInput};
use super::repository::Repository;
use crate::commit::to_the_end;

#[derive(Clone)]
pub(super) struct Generator {
    sinew: Sinew,
    repository: Repository,
    /// Of all tenants, watched from the first project on.
    flags: Arc<OnceCell<Flags>>,
}

impl Generator {
    pub(super) fn new(sinew: Sinew, repository: Repository) -> Self {
        Self { sinew, repository, flags: Arc::default() }
    }

    /// Has a page made, by the model that the flag has for this user.
    pub(super) async fn create(
        &self,
        tenant: Tenant,
        user: Arc<str>,
        input: ProjectInput,
    ) -> Result<Project, GeneratorError> {
        input.check()?;
        let chosen = self.choose(&tenant, &user).await?;
        let (caches, rows) = (self.caches(&tenant)?, self.repository.clone());
        to_the_end(async move {
            let prompt = input.prompt.trim().to_owned();
            let created = rows.create(&tenant, &user, prompt, chosen).await;
            // Also where it failed: the database may have committed before it did.
            caches.project_created(user).await;
            created
        })
        .await
    }

    pub(super) async fn projects(
        &self,
        tenant: Tenant,
        user: Arc<str>,
    ) -> Result<Traced<Vec<Project>>, LoadError<GeneratorError>> {
        let caches = self.caches_to_read(&tenant)?;
        let (rows, key) = (self.repository.clone(), ListOf(Arc::clone(&user)));
        let load = move || async move { rows.projects(&tenant, &user).await };
        caches.projects.get_or_load_traced(&key, load).await
    }

    pub(super) async fn project(
        &self,
        tenant: Tenant,
        user: &str,
        id: i64,
    ) -> Result<Traced<Project>, LoadError<GeneratorError>> {
        let caches = self.caches_to_read(&tenant)?;
        let rows = self.repository.clone();
        let load = move || async move { rows.project(&tenant, id).await };
        let found = caches.project.get_or_load_traced(&id, load).await?;
        // The key does not name the user, so anyone could name it.
        if found.value.user_id != user {
            return Err(LoadError::Source(Arc::new(GeneratorError::NoProject(id))));
        }
        Ok(found)
    }

    /// Has the image of a project painted, unless it is about to be. The project is the user's. Nothing where there is one.
    pub(super) async fn paint(
        &self,
        tenant: &Tenant,
        user: &str,
        project: i64,
    ) -> Result<Option<Enqueued>, GeneratorError> {
        if self.repository.image(project).await?.is_some() {
            return Ok(None);
        }
        let job = PaintImage::of(tenant, user, project)?;
        Ok(Some(self.sinew.jobs().enqueue_raw(PaintImage::QUEUE, job).await?))
    }

    /// How far the image is that this user has ordered.
    pub(super) async fn image_job(
        &self,
        tenant: &Tenant,
        user: &str,
        id: JobId,
    ) -> Result<ImageJob, GeneratorError> {
        let found = self.sinew.jobs().queue(PaintImage::QUEUE).find(id).await?;
        let payload = found.as_ref().and_then(|info| info.payload.as_deref());
        let job = payload.and_then(|json| serde_json::from_slice::<PaintImage>(json).ok());
        // Anyone could name it.
        match (job.filter(|job| job.is_of(tenant, user)), found) {
            (Some(job), Some(info)) => Ok(ImageJob::of(&job, info)),
            _ => Err(GeneratorError::NoImage),
        }
    }

    /// The image of a project, as SVG. The project is the user's.
    pub(super) async fn image(&self, project: i64) -> Result<String, GeneratorError> {
        self.repository.image(project).await?.ok_or(GeneratorError::NoImage)
    }

    /// The model, and why it is that, in OpenFeature's words.
    async fn choose(
        &self,
        tenant: &Tenant,
        user: &str,
    ) -> Result<(Model, &'static str), GeneratorError> {
        let flags = self.flags.get_or_try_init(|| self.sinew.flags().open()).await?;
        let cx = EvalContext::user(user).tenant(tenant.as_str());
        let is_advanced = flags.evaluate(FLAG, &cx, false);
        Ok((Model::of(is_advanced.value), is_advanced.reason.name()))
    }

    fn caches_to_read(&self, tenant: &Tenant) -> Result<Caches, LoadError<GeneratorError>> {
        self.caches(tenant).map_err(|e| LoadError::Source(Arc::new(e)))
    }

    fn caches(&self, tenant: &Tenant) -> Result<Caches, GeneratorError> {
        Caches::of(&self.sinew.tenant(tenant.as_str())?)
    }
}
