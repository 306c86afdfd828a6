//! The tables, step by step. A step that shipped is never changed.

mod auth;
mod customers;
mod events;
mod generator;
mod images;
mod user;

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, big_pk_auto, string, string_len};

pub(crate) struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(RentTracker),
            Box::new(Billing),
            Box::new(auth::Auth),
            Box::new(user::User),
            Box::new(generator::Generator),
            Box::new(events::Events),
            Box::new(customers::Customers),
            Box::new(images::Images),
        ]
    }
}

struct RentTracker;

impl MigrationName for RentTracker {
    fn name(&self) -> &'static str {
        "m20261121_000001_rent_tracker"
    }
}

#[derive(DeriveIden)]
enum Property {
    Table,
    Id,
    TenantId,
    Address,
    MonthlyRentCents,
    RowVersion,
}

#[derive(DeriveIden)]
enum Payment {
    Table,
    Id,
    TenantId,
    PropertyId,
    AmountCents,
    PaidOn,
    RowVersion,
}

#[derive(DeriveIden)]
enum DemoSeed {
    Table,
    TenantId,
}

#[async_trait::async_trait]
impl MigrationTrait for RentTracker {
    /// All or nothing: a process that dies in the middle must not lock out the next one.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let property = Table::create()
            .table(Property::Table)
            .col(big_pk_auto(Property::Id))
            .col(string_len(Property::TenantId, 64))
            .col(string(Property::Address))
            .col(big_integer(Property::MonthlyRentCents))
            .col(big_integer(Property::RowVersion))
            .to_owned();
        manager.create_table(property).await?;
        let of_tenant = Index::create()
            .name("property_by_tenant")
            .table(Property::Table)
            .col(Property::TenantId)
            .to_owned();
        manager.create_index(of_tenant).await?;

        let payment = Table::create()
            .table(Payment::Table)
            .col(big_pk_auto(Payment::Id))
            .col(string_len(Payment::TenantId, 64))
            .col(big_integer(Payment::PropertyId))
            .col(big_integer(Payment::AmountCents))
            .col(string_len(Payment::PaidOn, 10))
            .col(big_integer(Payment::RowVersion))
            .foreign_key(
                ForeignKey::create()
                    .from(Payment::Table, Payment::PropertyId)
                    .to(Property::Table, Property::Id)
                    .on_delete(ForeignKeyAction::Cascade),
            )
            .to_owned();
        manager.create_table(payment).await?;
        let of_property = Index::create()
            .name("payment_by_property")
            .table(Payment::Table)
            .col(Payment::PropertyId)
            .to_owned();
        manager.create_index(of_property).await?;

        // Which tenants have their demonstration data.
        let seeded = Table::create()
            .table(DemoSeed::Table)
            .col(string_len(DemoSeed::TenantId, 64).primary_key())
            .to_owned();
        manager.create_table(seeded).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Payment::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(Property::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(DemoSeed::Table).to_owned()).await
    }
}

struct Billing;

impl MigrationName for Billing {
    fn name(&self) -> &'static str {
        "m20261124_000002_billing"
    }
}

#[derive(DeriveIden)]
enum BillingUsage {
    Table,
    Id,
    TenantId,
    UserId,
    UsedOn,
    Units,
    InvoiceId,
}

#[derive(DeriveIden)]
enum BillingInvoice {
    Table,
    Id,
    TenantId,
    UserId,
    Month,
    Units,
    AmountCents,
    Fence,
}

#[derive(DeriveIden)]
enum BillingFence {
    Table,
    TenantId,
    Fence,
}

#[async_trait::async_trait]
impl MigrationTrait for Billing {
    /// All or nothing: a process that dies in the middle must not lock out the next one.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let invoice = Table::create()
            .table(BillingInvoice::Table)
            .col(big_pk_auto(BillingInvoice::Id))
            .col(string_len(BillingInvoice::TenantId, 64))
            .col(string_len(BillingInvoice::UserId, 64))
            .col(string_len(BillingInvoice::Month, 7))
            .col(big_integer(BillingInvoice::Units))
            .col(big_integer(BillingInvoice::AmountCents))
            .col(big_integer(BillingInvoice::Fence))
            .to_owned();
        manager.create_table(invoice).await?;
        let once = Index::create()
            .name("billing_invoice_once")
            .table(BillingInvoice::Table)
            .col(BillingInvoice::TenantId)
            .col(BillingInvoice::UserId)
            .col(BillingInvoice::Month)
            .unique()
            .to_owned();
        manager.create_index(once).await?;

        let usage = Table::create()
            .table(BillingUsage::Table)
            .col(big_pk_auto(BillingUsage::Id))
            .col(string_len(BillingUsage::TenantId, 64))
            .col(string_len(BillingUsage::UserId, 64))
            .col(string_len(BillingUsage::UsedOn, 10))
            .col(big_integer(BillingUsage::Units))
            .col(big_integer_null(BillingUsage::InvoiceId))
            .foreign_key(
                ForeignKey::create()
                    .from(BillingUsage::Table, BillingUsage::InvoiceId)
                    .to(BillingInvoice::Table, BillingInvoice::Id),
            )
            .to_owned();
        manager.create_table(usage).await?;
        let due = Index::create()
            .name("billing_usage_due")
            .table(BillingUsage::Table)
            .col(BillingUsage::TenantId)
            .col(BillingUsage::InvoiceId)
            .col(BillingUsage::UserId)
            .to_owned();
        manager.create_index(due).await?;
        let of_invoice = Index::create()
            .name("billing_usage_by_invoice")
            .table(BillingUsage::Table)
            .col(BillingUsage::InvoiceId)
            .to_owned();
        manager.create_index(of_invoice).await?;

        let fence = Table::create()
            .table(BillingFence::Table)
            .col(string_len(BillingFence::TenantId, 64).primary_key())
            .col(big_integer(BillingFence::Fence))
            .to_owned();
        manager.create_table(fence).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(BillingUsage::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(BillingInvoice::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(BillingFence::Table).to_owned()).await
    }
}
