//! The projects of the generator.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_pk_auto, string_len, text};

pub(super) struct Generator;

impl MigrationName for Generator {
    fn name(&self) -> &'static str {
        "m20261125_000005_generator"
    }
}

#[derive(DeriveIden)]
enum GeneratorProject {
    Table,
    Id,
    TenantId,
    UserId,
    Prompt,
    Model,
    Reason,
    Page,
}

#[async_trait::async_trait]
impl MigrationTrait for Generator {
    /// All or nothing: a process that dies in the middle must not lock out the next one.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let project = Table::create()
            .table(GeneratorProject::Table)
            .col(big_pk_auto(GeneratorProject::Id))
            .col(string_len(GeneratorProject::TenantId, 64))
            .col(string_len(GeneratorProject::UserId, 64))
            .col(text(GeneratorProject::Prompt))
            .col(string_len(GeneratorProject::Model, 32))
            .col(string_len(GeneratorProject::Reason, 32))
            .col(text(GeneratorProject::Page))
            .to_owned();
        manager.create_table(project).await?;
        let of_user = Index::create()
            .name("generator_project_by_user")
            .table(GeneratorProject::Table)
            .col(GeneratorProject::TenantId)
            .col(GeneratorProject::UserId)
            .col(GeneratorProject::Id)
            .to_owned();
        manager.create_index(of_user).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(GeneratorProject::Table).to_owned()).await
    }
}
