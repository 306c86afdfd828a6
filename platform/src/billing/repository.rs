//! The rows, but for one question always of one tenant.

use sea_orm::sea_query::{Expr, OnConflict, Query};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, Select, TransactionTrait,
};
use sinew::{Fence, Tenant};

use super::error::BillingError;
use super::fence;
use super::invoice::{self, Invoice, UNIT_CENTS};
use super::jobs::MailInvoice;
use super::month::Month;
use super::usage::{self, UsageInput};
use crate::database::Database;
use crate::events::{InvoiceCreated, inbox, outbox};

/// How many users are read together.
const BATCH: u64 = 500;

#[derive(Clone)]
pub(super) struct Repository {
    database: Database,
}

impl Repository {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }

    pub(super) async fn record_usage(
        &self,
        tenant: &Tenant,
        input: &UsageInput,
    ) -> Result<(), BillingError> {
        insert_usage(self.database.query("record_usage"), tenant, input).await?;
        Ok(())
    }

    /// The same for an event of this name. Whether it is the first time: otherwise it is recorded.
    pub(super) async fn record_usage_once(
        &self,
        tenant: &Tenant,
        input: &UsageInput,
        event: &str,
    ) -> Result<bool, BillingError> {
        let transaction = self.database.query("record_usage_once").begin().await?;
        if !inbox::is_first(&transaction, event).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        insert_usage(&transaction, tenant, input).await?;
        transaction.commit().await?;
        Ok(true)
    }

    pub(super) async fn invoices(
        &self,
        tenant: &Tenant,
        user: &str,
    ) -> Result<Vec<Invoice>, BillingError> {
        let rows = invoice::Entity::find()
            .filter(invoice::Column::TenantId.eq(tenant.as_str()))
            .filter(invoice::Column::UserId.eq(user))
            .order_by_asc(invoice::Column::Month)
            .all(self.database.query("invoices"))
            .await?;
        Ok(rows.into_iter().map(Invoice::from).collect())
    }

    pub(super) async fn invoice(
        &self,
        tenant: &Tenant,
        id: i64,
    ) -> Result<Option<Invoice>, BillingError> {
        let row = invoice::Entity::find_by_id(id)
            .filter(invoice::Column::TenantId.eq(tenant.as_str()))
            .one(self.database.query("invoice"))
            .await?;
        Ok(row.map(Invoice::from))
    }

    pub(super) async fn invoices_of_month(
        &self,
        tenant: &Tenant,
        month: Month,
    ) -> Result<u64, BillingError> {
        let invoices = invoice::Entity::find()
            .filter(invoice::Column::TenantId.eq(tenant.as_str()))
            .filter(invoice::Column::Month.eq(month.to_string()));
        Ok(invoices.count(self.database.query("invoices_of_month")).await?)
    }

    pub(super) async fn users_left(
        &self,
        tenant: &Tenant,
        month: Month,
    ) -> Result<u64, BillingError> {
        Ok(users_due(tenant, month).count(self.database.query("users_left")).await?)
    }

    /// The tenants of which anyone used something up to the end of the month that is in no invoice.
    pub(super) async fn tenants_due(&self, month: Month) -> Result<Vec<String>, BillingError> {
        let tenants = usage::Entity::find()
            .select_only()
            .column(usage::Column::TenantId)
            .distinct()
            .filter(usage::Column::InvoiceId.is_null())
            .filter(usage::Column::UsedOn.lt(month.end()));
        Ok(tenants.into_tuple().all(self.database.query("tenants_due")).await?)
    }

    /// Some of the users who have no invoice for the month yet, and used something that is in none.
    pub(super) async fn next_users(
        &self,
        tenant: &Tenant,
        month: Month,
    ) -> Result<Vec<String>, BillingError> {
        let users = users_due(tenant, month).order_by_asc(usage::Column::UserId).limit(BATCH);
        Ok(users.into_tuple().all(self.database.query("next_users")).await?)
    }

    /// Keeps those with an earlier fence from writing from here on. Whether it is the latest: if
    /// not, the caller itself is one of them.
    pub(super) async fn take_over(
        &self,
        tenant: &Tenant,
        fence: Fence,
    ) -> Result<bool, BillingError> {
        Ok(is_latest(self.database.query("take_over"), tenant, fence).await?)
    }

    /// Writes a user's invoice, with all that is in none yet, the event of it, and the job that mails it. Whether it was: not
    /// if someone with a later fence has taken over.
    pub(super) async fn write_invoice(
        &self,
        tenant: &Tenant,
        month: Month,
        user: &str,
        fence: Fence,
    ) -> Result<bool, BillingError> {
        let transaction = self.database.query("write_invoice").begin().await?;
        // First: it locks the tenant's row, so that nobody takes over before the commit.
        if !is_latest(&transaction, tenant, fence).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        let row = invoice::ActiveModel {
            tenant_id: Set(tenant.as_str().to_owned()),
            user_id: Set(user.to_owned()),
            month: Set(month.to_string()),
            units: Set(0),
            amount_cents: Set(0),
            fence: Set(number(fence)),
            ..Default::default()
        };
        let row = invoice::Entity::insert(row).exec_with_returning(&transaction).await?;
        // The very rows that are summed up: others may come in meanwhile.
        usage::Entity::update_many()
            .col_expr(usage::Column::InvoiceId, Expr::value(row.id))
            .filter(usage::Column::TenantId.eq(tenant.as_str()))
            .filter(usage::Column::UserId.eq(user))
            .filter(usage::Column::InvoiceId.is_null())
            .filter(usage::Column::UsedOn.lt(month.end()))
            .exec(&transaction)
            .await?;
        let units: Option<Option<i64>> = usage::Entity::find()
            .select_only()
            // PostgreSQL sums up to a type of its own.
            .expr(Expr::col(usage::Column::Units).sum().cast_as("bigint"))
            .filter(usage::Column::InvoiceId.eq(row.id))
            .into_tuple()
            .one(&transaction)
            .await?;
        let units = units.flatten().unwrap_or_default();
        invoice::Entity::update_many()
            .col_expr(invoice::Column::Units, Expr::value(units))
            .col_expr(invoice::Column::AmountCents, Expr::value(units * UNIT_CENTS))
            .filter(invoice::Column::Id.eq(row.id))
            .exec(&transaction)
            .await?;
        let created = InvoiceCreated {
            invoice_id: row.id,
            user_id: row.user_id,
            month: row.month,
            units,
            amount_cents: units * UNIT_CENTS,
        };
        outbox::tell(&transaction, tenant, &created).await?;
        outbox::enqueue(&transaction, MailInvoice::of(tenant, row.id)?).await?;
        transaction.commit().await?;
        Ok(true)
    }
}

async fn insert_usage(
    connection: &impl ConnectionTrait,
    tenant: &Tenant,
    input: &UsageInput,
) -> Result<(), DbErr> {
    let row = usage::ActiveModel {
        tenant_id: Set(tenant.as_str().to_owned()),
        user_id: Set(input.user_id.clone()),
        used_on: Set(input.used_on.clone()),
        units: Set(input.units),
        invoice_id: Set(None),
        ..Default::default()
    };
    usage::Entity::insert(row).exec_without_returning(connection).await?;
    Ok(())
}

/// Notes the fence, unless a later one was noted. Whether it did.
async fn is_latest(
    connection: &impl ConnectionTrait,
    tenant: &Tenant,
    fence: Fence,
) -> Result<bool, DbErr> {
    let fence = number(fence);
    let row = fence::ActiveModel { tenant_id: Set(tenant.as_str().to_owned()), fence: Set(fence) };
    let unless_later = OnConflict::column(fence::Column::TenantId)
        .update_column(fence::Column::Fence)
        .action_and_where(Expr::col((fence::Entity, fence::Column::Fence)).lte(fence))
        .to_owned();
    let noted = fence::Entity::insert(row)
        .on_conflict(unless_later)
        .exec_without_returning(connection)
        .await;
    match noted {
        Ok(0) | Err(DbErr::RecordNotInserted) => Ok(false),
        Ok(_) => Ok(true),
        Err(error) => Err(error),
    }
}

/// As databases have it: a fence fits their signed 64 bits.
fn number(fence: Fence) -> i64 {
    fence.get().cast_signed()
}

fn users_due(tenant: &Tenant, month: Month) -> Select<usage::Entity> {
    let invoiced = Query::select()
        .column(invoice::Column::UserId)
        .from(invoice::Entity)
        .and_where(Expr::col(invoice::Column::TenantId).eq(tenant.as_str()))
        .and_where(Expr::col(invoice::Column::Month).eq(month.to_string()))
        .to_owned();
    usage::Entity::find()
        .select_only()
        .column(usage::Column::UserId)
        .distinct()
        .filter(usage::Column::TenantId.eq(tenant.as_str()))
        .filter(usage::Column::InvoiceId.is_null())
        .filter(usage::Column::UsedOn.lt(month.end()))
        .filter(usage::Column::UserId.not_in_subquery(invoiced))
}
