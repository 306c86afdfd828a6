//! The rows, always of one tenant.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, SqlErr, TransactionTrait,
};
use sinew::Tenant;

use super::error::RentError;
use super::payment::{self, Payment, PaymentInput};
use super::property::{self, Property, PropertyInput};
use crate::database::Database;

#[derive(Clone)]
pub(crate) struct Repository {
    database: Database,
}

impl Repository {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }

    pub(crate) async fn properties(&self, tenant: &Tenant) -> Result<Vec<Property>, RentError> {
        let rows = property::Entity::find()
            .filter(property::Column::TenantId.eq(tenant.as_str()))
            .order_by_asc(property::Column::Id)
            .all(self.database.query("properties"))
            .await?;
        Ok(rows.into_iter().map(Property::from).collect())
    }

    pub(crate) async fn property(&self, tenant: &Tenant, id: i64) -> Result<Property, RentError> {
        let row = property::Entity::find_by_id(id)
            .filter(property::Column::TenantId.eq(tenant.as_str()))
            .one(self.database.query("property"))
            .await?;
        row.map(Property::from).ok_or(no_property(id))
    }

    pub(crate) async fn create_property(
        &self,
        tenant: &Tenant,
        input: &PropertyInput,
    ) -> Result<Property, RentError> {
        let row = property::ActiveModel {
            tenant_id: Set(tenant.as_str().to_owned()),
            address: Set(input.address.trim().to_owned()),
            monthly_rent_cents: Set(input.monthly_rent_cents),
            row_version: Set(1),
            ..Default::default()
        };
        let row = property::Entity::insert(row)
            .exec_with_returning(self.database.query("create_property"))
            .await?;
        Ok(row.into())
    }

    /// Changes the row only if it still has the version that the client read.
    pub(crate) async fn update_property(
        &self,
        tenant: &Tenant,
        id: i64,
        version: i64,
        input: &PropertyInput,
    ) -> Result<Property, RentError> {
        let changed = property::Entity::update_many()
            .col_expr(property::Column::Address, Expr::value(input.address.trim()))
            .col_expr(property::Column::MonthlyRentCents, Expr::value(input.monthly_rent_cents))
            .col_expr(property::Column::RowVersion, Expr::value(version + 1))
            .filter(property::Column::Id.eq(id))
            .filter(property::Column::TenantId.eq(tenant.as_str()))
            .filter(property::Column::RowVersion.eq(version))
            .exec(self.database.query("update_property"))
            .await?;
        if changed.rows_affected == 0 {
            // Gone or changed: the two need different words.
            self.property(tenant, id).await?;
            return Err(RentError::LostUpdate { what: "property", id });
        }
        Ok(Property {
            id,
            address: input.address.trim().to_owned(),
            monthly_rent_cents: input.monthly_rent_cents,
            row_version: version + 1,
        })
    }

    /// Gives back the ids of the payments that go with it, however the commit ends.
    pub(crate) async fn delete_property(
        &self,
        tenant: &Tenant,
        id: i64,
    ) -> Result<(Vec<i64>, Result<(), RentError>), RentError> {
        let transaction = self.database.query("delete_property").begin().await?;
        // So that no payment is added between look and delete: on SQLite the first write locks
        // the database, on PostgreSQL the row lock keeps out those who refer to it.
        property::Entity::update_many()
            .col_expr(property::Column::RowVersion, Expr::col(property::Column::RowVersion).add(1))
            .filter(property::Column::Id.eq(id))
            .filter(property::Column::TenantId.eq(tenant.as_str()))
            .exec(&transaction)
            .await?;
        property::Entity::find_by_id(id).lock_exclusive().one(&transaction).await?;
        let payments = payment::Entity::find()
            .select_only()
            .column(payment::Column::Id)
            .filter(payment::Column::PropertyId.eq(id))
            .filter(payment::Column::TenantId.eq(tenant.as_str()))
            .into_tuple()
            .all(&transaction)
            .await?;
        let deleted = property::Entity::delete_many()
            .filter(property::Column::Id.eq(id))
            .filter(property::Column::TenantId.eq(tenant.as_str()))
            .exec(&transaction)
            .await?;
        let committed = match (transaction.commit().await, deleted.rows_affected) {
            (Err(error), _) => Err(error.into()),
            (Ok(()), 0) => Err(no_property(id)),
            (Ok(()), _) => Ok(()),
        };
        Ok((payments, committed))
    }

    pub(crate) async fn payments(
        &self,
        tenant: &Tenant,
        property: i64,
    ) -> Result<Vec<Payment>, RentError> {
        self.require_property(tenant, property).await?;
        let rows = payment::Entity::find()
            .filter(payment::Column::PropertyId.eq(property))
            .filter(payment::Column::TenantId.eq(tenant.as_str()))
            .order_by_asc(payment::Column::Id)
            .all(self.database.query("payments"))
            .await?;
        Ok(rows.into_iter().map(Payment::from).collect())
    }

    pub(crate) async fn payment(&self, tenant: &Tenant, id: i64) -> Result<Payment, RentError> {
        let row = payment::Entity::find_by_id(id)
            .filter(payment::Column::TenantId.eq(tenant.as_str()))
            .one(self.database.query("payment"))
            .await?;
        row.map(Payment::from).ok_or(no_payment(id))
    }

    pub(crate) async fn create_payment(
        &self,
        tenant: &Tenant,
        property: i64,
        input: &PaymentInput,
    ) -> Result<Payment, RentError> {
        self.require_property(tenant, property).await?;
        let row = payment::ActiveModel {
            tenant_id: Set(tenant.as_str().to_owned()),
            property_id: Set(property),
            amount_cents: Set(input.amount_cents),
            paid_on: Set(input.paid_on.clone()),
            row_version: Set(1),
            ..Default::default()
        };
        let row = payment::Entity::insert(row)
            .exec_with_returning(self.database.query("create_payment"))
            .await
            .map_err(|error| match error.sql_err() {
                // Deleted since the look.
                Some(SqlErr::ForeignKeyConstraintViolation(_)) => no_property(property),
                _ => error.into(),
            })?;
        Ok(row.into())
    }

    /// Changes the row only if it still has the version that the client read.
    pub(crate) async fn update_payment(
        &self,
        tenant: &Tenant,
        property: i64,
        id: i64,
        version: i64,
        input: &PaymentInput,
    ) -> Result<Payment, RentError> {
        let paid_on = input.paid_on.clone();
        let changed = payment::Entity::update_many()
            .col_expr(payment::Column::AmountCents, Expr::value(input.amount_cents))
            .col_expr(payment::Column::PaidOn, Expr::value(paid_on.clone()))
            .col_expr(payment::Column::RowVersion, Expr::value(version + 1))
            .filter(payment::Column::Id.eq(id))
            .filter(payment::Column::PropertyId.eq(property))
            .filter(payment::Column::TenantId.eq(tenant.as_str()))
            .filter(payment::Column::RowVersion.eq(version))
            .exec(self.database.query("update_payment"))
            .await?;
        if changed.rows_affected == 0 {
            let there = self.payment(tenant, id).await?;
            return Err(match there.property_id == property {
                true => RentError::LostUpdate { what: "payment", id },
                false => no_payment(id),
            });
        }
        Ok(Payment {
            id,
            property_id: property,
            amount_cents: input.amount_cents,
            paid_on,
            row_version: version + 1,
        })
    }

    pub(crate) async fn delete_payment(
        &self,
        tenant: &Tenant,
        property: i64,
        id: i64,
    ) -> Result<(), RentError> {
        let deleted = payment::Entity::delete_many()
            .filter(payment::Column::Id.eq(id))
            .filter(payment::Column::PropertyId.eq(property))
            .filter(payment::Column::TenantId.eq(tenant.as_str()))
            .exec(self.database.query("delete_payment"))
            .await?;
        match deleted.rows_affected {
            0 => Err(no_payment(id)),
            _ => Ok(()),
        }
    }

    async fn require_property(&self, tenant: &Tenant, id: i64) -> Result<(), RentError> {
        let there = property::Entity::find_by_id(id)
            .filter(property::Column::TenantId.eq(tenant.as_str()))
            .count(self.database.query("property_exists"))
            .await?;
        match there {
            0 => Err(no_property(id)),
            _ => Ok(()),
        }
    }
}

pub(super) fn no_property(id: i64) -> RentError {
    RentError::NotFound { what: "property", id }
}

pub(super) fn no_payment(id: i64) -> RentError {
    RentError::NotFound { what: "payment", id }
}
