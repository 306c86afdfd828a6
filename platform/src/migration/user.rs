//! The profiles and preferences of the user service.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{boolean, string_len, text};

pub(super) struct User;

impl MigrationName for User {
    fn name(&self) -> &'static str {
        "m20261125_000004_user"
    }
}

#[derive(DeriveIden)]
enum UserProfile {
    Table,
    TenantId,
    UserId,
    DisplayName,
    About,
}

#[derive(DeriveIden)]
enum UserPreferences {
    Table,
    TenantId,
    UserId,
    Theme,
    Language,
    Newsletter,
}

#[async_trait::async_trait]
impl MigrationTrait for User {
    /// All or nothing: a process that dies in the middle must not lock out the next one.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let profile = Table::create()
            .table(UserProfile::Table)
            .col(string_len(UserProfile::TenantId, 64))
            .col(string_len(UserProfile::UserId, 64))
            .col(string_len(UserProfile::DisplayName, 100))
            .col(text(UserProfile::About))
            .primary_key(Index::create().col(UserProfile::TenantId).col(UserProfile::UserId))
            .to_owned();
        manager.create_table(profile).await?;

        let preferences = Table::create()
            .table(UserPreferences::Table)
            .col(string_len(UserPreferences::TenantId, 64))
            .col(string_len(UserPreferences::UserId, 64))
            .col(string_len(UserPreferences::Theme, 16))
            .col(string_len(UserPreferences::Language, 35))
            .col(boolean(UserPreferences::Newsletter))
            .primary_key(
                Index::create().col(UserPreferences::TenantId).col(UserPreferences::UserId),
            )
            .to_owned();
        manager.create_table(preferences).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(UserPreferences::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(UserProfile::Table).to_owned()).await
    }
}
