//! The images of projects.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, text};

pub(super) struct Images;

impl MigrationName for Images {
    fn name(&self) -> &'static str {
        "m20261130_000008_images"
    }
}

#[derive(DeriveIden)]
enum GeneratorImage {
    Table,
    ProjectId,
    Svg,
}

#[async_trait::async_trait]
impl MigrationTrait for Images {
    /// All or nothing: a process that dies in the middle must not lock out the next one.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let image = Table::create()
            .table(GeneratorImage::Table)
            .col(big_integer(GeneratorImage::ProjectId).primary_key())
            .col(text(GeneratorImage::Svg))
            .to_owned();
        manager.create_table(image).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(GeneratorImage::Table).to_owned()).await
    }
}
