//! Events on their way, events that were heard, and the notices that come of them.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_pk_auto, string, string_len, text};
use sinew_outbox::{Inbox, Outbox};

use crate::events::BILLING;
use crate::events::outbox::dialect_of;

pub(super) struct Events;

impl MigrationName for Events {
    fn name(&self) -> &'static str {
        "m20261129_000006_events"
    }
}

#[derive(DeriveIden)]
enum SinewOutbox {
    Table,
}

#[derive(DeriveIden)]
enum SinewInbox {
    Table,
}

#[derive(DeriveIden)]
enum UserNotice {
    Table,
    Id,
    TenantId,
    UserId,
    Event,
    Kind,
    Words,
    HappenedAt,
}

#[async_trait::async_trait]
impl MigrationTrait for Events {
    /// All or nothing: a process that dies in the middle must not lock out the next one.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let dialect = dialect_of(manager.get_database_backend());
        let statements = [Outbox::new().schema(dialect), Inbox::new(BILLING).schema(dialect)];
        for statement in statements.concat() {
            manager.get_connection().execute_unprepared(&statement).await?;
        }

        let notice = Table::create()
            .table(UserNotice::Table)
            .col(big_pk_auto(UserNotice::Id))
            .col(string_len(UserNotice::TenantId, 64))
            .col(string(UserNotice::UserId))
            .col(text(UserNotice::Event))
            .col(string_len(UserNotice::Kind, 32))
            .col(text(UserNotice::Words))
            .col(string_len(UserNotice::HappenedAt, 32))
            .to_owned();
        manager.create_table(notice).await?;
        let once = Index::create()
            .name("user_notice_once")
            .table(UserNotice::Table)
            .col(UserNotice::Event)
            .unique()
            .to_owned();
        manager.create_index(once).await?;
        let of_user = Index::create()
            .name("user_notice_by_user")
            .table(UserNotice::Table)
            .col(UserNotice::TenantId)
            .col(UserNotice::UserId)
            .col(UserNotice::Id)
            .to_owned();
        manager.create_index(of_user).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(UserNotice::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(SinewInbox::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(SinewOutbox::Table).to_owned()).await
    }
}
