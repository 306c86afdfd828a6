//! The accounts of the auth service.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_pk_auto, string, string_len};

pub(super) struct Auth;

impl MigrationName for Auth {
    fn name(&self) -> &'static str {
        "m20261125_000003_auth"
    }
}

#[derive(DeriveIden)]
enum AuthAccount {
    Table,
    Id,
    TenantId,
    UserId,
    Email,
    PasswordHash,
}

#[async_trait::async_trait]
impl MigrationTrait for Auth {
    /// All or nothing: a process that dies in the middle must not lock out the next one.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let account = Table::create()
            .table(AuthAccount::Table)
            .col(big_pk_auto(AuthAccount::Id))
            .col(string_len(AuthAccount::TenantId, 64))
            .col(string_len(AuthAccount::UserId, 64))
            .col(string_len(AuthAccount::Email, 254))
            .col(string(AuthAccount::PasswordHash))
            .to_owned();
        manager.create_table(account).await?;
        let one_of_email = Index::create()
            .name("auth_account_by_email")
            .table(AuthAccount::Table)
            .col(AuthAccount::TenantId)
            .col(AuthAccount::Email)
            .unique()
            .to_owned();
        manager.create_index(one_of_email).await?;
        let one_of_user = Index::create()
            .name("auth_account_by_user")
            .table(AuthAccount::Table)
            .col(AuthAccount::TenantId)
            .col(AuthAccount::UserId)
            .unique()
            .to_owned();
        manager.create_index(one_of_user).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(AuthAccount::Table).to_owned()).await
    }
}
