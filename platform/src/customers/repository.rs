//! The rows, always of one tenant.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    TransactionTrait,
};
use sinew::{Fence, Tenant};

use super::customer::{self, Customer, CustomerInput};
use super::error::CustomerError;
use super::fortnox::CreateInFortnox;
use crate::database::Database;
use crate::events::outbox;

/// How many customers a list has: the latest.
const LIST_LEN_MAX: u64 = 200;

#[derive(Clone)]
pub(super) struct Repository {
    database: Database,
}

impl Repository {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }

    /// Writes a customer, and the job that makes it known to Fortnox.
    pub(super) async fn create(
        &self,
        tenant: &Tenant,
        input: CustomerInput,
    ) -> Result<Customer, CustomerError> {
        let row = customer::ActiveModel {
            tenant_id: Set(tenant.as_str().to_owned()),
            name: Set(input.name.trim().to_owned()),
            email: Set(input.email),
            fortnox_number: Set(None),
            fence: Set(0),
            ..Default::default()
        };
        let transaction = self.database.query("create_customer").begin().await?;
        let row = customer::Entity::insert(row).exec_with_returning(&transaction).await?;
        outbox::enqueue(&transaction, CreateInFortnox::of(tenant, row.id)?).await?;
        transaction.commit().await?;
        Ok(row.into())
    }

    pub(super) async fn customers(&self, tenant: &Tenant) -> Result<Vec<Customer>, CustomerError> {
        let rows = customer::Entity::find()
            .filter(customer::Column::TenantId.eq(tenant.as_str()))
            .order_by_desc(customer::Column::Id)
            .limit(LIST_LEN_MAX)
            .all(self.database.query("customers"))
            .await?;
        Ok(rows.into_iter().map(Customer::from).collect())
    }

    pub(super) async fn customer(
        &self,
        tenant: &Tenant,
        id: i64,
    ) -> Result<Customer, CustomerError> {
        let row = customer::Entity::find_by_id(id)
            .filter(customer::Column::TenantId.eq(tenant.as_str()))
            .one(self.database.query("customer"))
            .await?;
        row.map(Customer::from).ok_or(CustomerError::NoCustomer(id))
    }

    /// Keeps those with an earlier fence from writing its number from here on. Whether none with a later one has come before.
    pub(super) async fn take_over(
        &self,
        tenant: &Tenant,
        id: i64,
        fence: Fence,
    ) -> Result<bool, CustomerError> {
        let fence = number(fence);
        let taken = customer::Entity::update_many()
            .col_expr(customer::Column::Fence, Expr::value(fence))
            .filter(customer::Column::TenantId.eq(tenant.as_str()))
            .filter(customer::Column::Id.eq(id))
            .filter(customer::Column::Fence.lte(fence))
            .exec(self.database.query("take_over_customer"))
            .await?;
        Ok(taken.rows_affected == 1)
    }

    /// Writes what Fortnox knows it by. Whether it did: not if someone with a later fence has taken over.
    pub(super) async fn write_number(
        &self,
        tenant: &Tenant,
        id: i64,
        fortnox_number: i64,
        fence: Fence,
    ) -> Result<bool, CustomerError> {
        let written = customer::Entity::update_many()
            .col_expr(customer::Column::FortnoxNumber, Expr::value(fortnox_number))
            .filter(customer::Column::TenantId.eq(tenant.as_str()))
            .filter(customer::Column::Id.eq(id))
            .filter(customer::Column::Fence.eq(number(fence)))
            .exec(self.database.query("write_number"))
            .await?;
        Ok(written.rows_affected == 1)
    }
}

/// As databases have it: a fence fits their signed 64 bits.
fn number(fence: Fence) -> i64 {
    fence.get().cast_signed()
}
