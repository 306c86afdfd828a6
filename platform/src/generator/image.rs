//! The image of a project: its row, and what goes over the wire while it is painted.

use sea_orm::entity::prelude::*;
use serde::Serialize;
use sinew::job::{JobId, JobInfo, JobState, Progress};

use super::painting::PaintImage;

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "generator_image")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) project_id: i64,
    pub(crate) svg: String,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// An image that is painted, as whoever has ordered it sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImageJob {
    job_id: JobId,
    project_id: i64,
    state: JobState,
    /// As far as it was told.
    progress: Option<Progress>,
    /// How often it went wrong.
    failures: u32,
    /// Where it is, once it is painted.
    image: Option<String>,
}

impl ImageJob {
    pub(super) fn of(job: &PaintImage, info: JobInfo) -> Self {
        let is_done = info.state == JobState::Done;
        Self {
            job_id: info.id,
            project_id: job.project_id,
            state: info.state,
            progress: info.progress,
            failures: info.failures,
            image: is_done.then(|| path_of(job.project_id)),
        }
    }
}

/// Where the image of a project is.
pub(super) fn path_of(project: i64) -> String {
    format!("/api/generator/projects/{project}/image")
}
