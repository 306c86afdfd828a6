//! Customers.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, big_pk_auto, string, string_len};

pub(super) struct Customers;

impl MigrationName for Customers {
    fn name(&self) -> &'static str {
        "m20261130_000007_customers"
    }
}

#[derive(DeriveIden)]
enum Customer {
    Table,
    Id,
    TenantId,
    Name,
    Email,
    FortnoxNumber,
    Fence,
}

#[async_trait::async_trait]
impl MigrationTrait for Customers {
    /// All or nothing: a process that dies in the middle must not lock out the next one.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let customer = Table::create()
            .table(Customer::Table)
            .col(big_pk_auto(Customer::Id))
            .col(string_len(Customer::TenantId, 64))
            .col(string(Customer::Name))
            .col(string(Customer::Email))
            .col(big_integer_null(Customer::FortnoxNumber))
            .col(big_integer(Customer::Fence))
            .to_owned();
        manager.create_table(customer).await?;
        let of_tenant = Index::create()
            .name("customer_by_tenant")
            .table(Customer::Table)
            .col(Customer::TenantId)
            .col(Customer::Id)
            .to_owned();
        manager.create_index(of_tenant).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Customer::Table).to_owned()).await
    }
}
