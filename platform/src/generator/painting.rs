//! The job that paints the image of a project, part by part.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sinew::Tenant;
use sinew::job::{Job, JobContext, JobError, NewJob, State, Unique, Worker};

use super::error::GeneratorError;
use super::repository::Repository;
use crate::database::Database;
use crate::jobs::{Hands, dead, tenant_of};
use crate::remote::{PARTS, Painter, Remote, RemoteError};

/// Paints the image of a project. It is kept for a while once it is done, for whoever asks how far it is.
#[derive(Job, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[job(name = "generator.image", queue = "images", timeout = "10m", retain = "1h")]
pub(super) struct PaintImage {
    tenant: String,
    user_id: String,
    pub(super) project_id: i64,
}

impl PaintImage {
    /// Of a project, one at a time; users take turns.
    pub(super) fn of(tenant: &Tenant, user: &str, project_id: i64) -> sinew::Result<NewJob> {
        let key = format!("{}/{user}", tenant.as_str());
        let (tenant, user_id) = (tenant.as_str().to_owned(), user.to_owned());
        let job = NewJob::of(&Self { tenant, user_id, project_id })?;
        let unique = Some(Unique::by(format!("image/{project_id}")));
        Ok(NewJob { key: Some(key), unique, ..job })
    }

    pub(super) fn is_of(&self, tenant: &Tenant, user: &str) -> bool {
        self.tenant == tenant.as_str() && self.user_id == user
    }
}

/// Who has images painted.
#[derive(Clone)]
pub(crate) struct Painting {
    rows: Repository,
    painter: Arc<dyn Painter>,
}

impl Painting {
    pub(crate) fn new(database: &Database, remote: &Remote) -> Self {
        Self { rows: Repository::new(database.clone()), painter: Arc::clone(&remote.painter) }
    }
}

/// The job of the generator, of all tenants.
pub(crate) fn register(worker: Worker<Hands>) -> sinew::Result<Worker<Hands>> {
    worker.register(paint)
}

async fn paint(
    job: PaintImage,
    State(painting): State<Painting>,
    cx: JobContext,
) -> Result<(), JobError> {
    let tenant = tenant_of(&job.tenant)?;
    let project = match painting.rows.project(&tenant, job.project_id).await {
        Err(GeneratorError::NoProject(_)) => return Err(dead("there is no such project")),
        project => project?,
    };
    let mut svg = r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">"#.to_owned();
    for part in 0..PARTS {
        cx.progress(part, PARTS, "painting").await?;
        let painted = painting.painter.paint(&project.prompt, part).await;
        svg.push_str(&painted.map_err(RemoteError::of_job)?);
    }
    svg.push_str("</svg>");
    painting.rows.write_image(&tenant, &project, svg).await?;
    cx.progress(PARTS, PARTS, "painted").await?;
    Ok(())
}
