//! The rows, always of one tenant: an image is its project's.

use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    TransactionTrait,
};
use sinew::Tenant;

use super::error::GeneratorError;
use super::image;
use super::model::Model;
use super::project::{self, Project};
use crate::database::Database;
use crate::events::{ImageGenerated, outbox};

/// How many projects a list has: the latest.
const LIST_LEN_MAX: u64 = 50;

#[derive(Clone)]
pub(super) struct Repository {
    database: Database,
}

impl Repository {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }

    /// Writes a project, and the event of it.
    pub(super) async fn create(
        &self,
        tenant: &Tenant,
        user: &str,
        prompt: String,
        (model, reason): (Model, &'static str),
    ) -> Result<Project, GeneratorError> {
        let row = project::ActiveModel {
            tenant_id: Set(tenant.as_str().to_owned()),
            user_id: Set(user.to_owned()),
            page: Set(model.generate(&prompt)),
            prompt: Set(prompt),
            model: Set(model.name().to_owned()),
            reason: Set(reason.to_owned()),
            ..Default::default()
        };
        let transaction = self.database.query("create_project").begin().await?;
        let row = project::Entity::insert(row).exec_with_returning(&transaction).await?;
        let generated = ImageGenerated {
            project_id: row.id,
            user_id: row.user_id.clone(),
            model: row.model.clone(),
        };
        outbox::tell(&transaction, tenant, &generated).await?;
        transaction.commit().await?;
        Ok(row.into())
    }

    pub(super) async fn projects(
        &self,
        tenant: &Tenant,
        user: &str,
    ) -> Result<Vec<Project>, GeneratorError> {
        let rows = project::Entity::find()
            .filter(project::Column::TenantId.eq(tenant.as_str()))
            .filter(project::Column::UserId.eq(user))
            .order_by_desc(project::Column::Id)
            .limit(LIST_LEN_MAX)
            .all(self.database.query("projects"))
            .await?;
        Ok(rows.into_iter().map(Project::from).collect())
    }

    pub(super) async fn project(
        &self,
        tenant: &Tenant,
        id: i64,
    ) -> Result<Project, GeneratorError> {
        let row = project::Entity::find_by_id(id)
            .filter(project::Column::TenantId.eq(tenant.as_str()))
            .one(self.database.query("project"))
            .await?;
        row.map(Project::from).ok_or(GeneratorError::NoProject(id))
    }

    /// Writes the image of a project, and the event of it; unless there is one, which is billed already.
    pub(super) async fn write_image(
        &self,
        tenant: &Tenant,
        project: &Project,
        svg: String,
    ) -> Result<(), GeneratorError> {
        let row = image::ActiveModel { project_id: Set(project.id), svg: Set(svg) };
        let once = OnConflict::column(image::Column::ProjectId).do_nothing().to_owned();
        let transaction = self.database.query("write_image").begin().await?;
        let written =
            image::Entity::insert(row).on_conflict(once).exec_without_returning(&transaction).await;
        match written {
            Ok(0) | Err(DbErr::RecordNotInserted) => {
                transaction.rollback().await?;
                return Ok(());
            }
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let generated = ImageGenerated {
            project_id: project.id,
            user_id: project.user_id.clone(),
            model: project.model.clone(),
        };
        outbox::tell(&transaction, tenant, &generated).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The image of a project, as SVG.
    pub(super) async fn image(&self, project: i64) -> Result<Option<String>, GeneratorError> {
        let row = image::Entity::find_by_id(project).one(self.database.query("image")).await?;
        Ok(row.map(|row| row.svg))
    }
}
