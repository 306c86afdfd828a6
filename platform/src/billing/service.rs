//! What billing does, with its lock and its cache.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use sinew::job::{Enqueued, Job as _};
use sinew::stream::{NewEvent, Published};
use sinew::{LoadError, Sinew, Tenant, Traced};

use super::cache_keys::{Caches, InvoicesOf};
use super::error::BillingError;
use super::invoice::Invoice;
use super::jobs::MailInvoice;
use super::month::Month;
use super::order::OrderInput;
use super::repository::Repository;
use super::run::{LOCK, MonthlyRun, run_monthly};
use super::usage::{UsageInput, check_user};
use crate::database::Database;
use crate::events::{self, Fact, OrderPlaced};

/// What users used, and their invoices. Cheap to clone.
#[derive(Clone)]
pub struct Billing {
    sinew: Sinew,
    repository: Repository,
}

/// How far the invoices of a month are.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Progress {
    month: Month,
    /// Written by now.
    invoices: u64,
    users_left: u64,
    /// Whether some instance is at it, for this month or another one.
    is_running: bool,
}

impl Billing {
    /// Billing of all tenants, on a database.
    #[must_use]
    pub fn new(sinew: Sinew, database: Database) -> Self {
        Self { sinew, repository: Repository::new(database) }
    }

    /// Writes an invoice for everyone who used something up to the end of the month and has none for
    /// it, unless another instance is at it. A month may be run again, also before it is over: what
    /// is used after goes into the next one.
    ///
    /// # Errors
    /// `Store` for a tenant that cannot be, `Database` when the database fails: what was written until
    /// then stays.
    ///
    /// # Cancellation
    /// What is written stays, and the next run writes the rest. Cached lists of invoices may be old
    /// until then, or for their TTL.
    ///
    /// # When Redis is down
    /// `Store`, and nothing is written. A run that has begun goes on until its lock has run out.
    pub async fn run_monthly(
        &self,
        tenant: &Tenant,
        month: Month,
    ) -> Result<MonthlyRun, BillingError> {
        let sinew = self.sinew.tenant(tenant.as_str())?;
        let caches = Caches::of(&sinew)?;
        let ran = run_monthly(&sinew.locks(), &self.repository, tenant, month).await;
        // However it ended: what it wrote, or one before that broke off, is committed.
        if !matches!(ran, Ok(MonthlyRun::Held { .. })) {
            caches.invoices_written().await;
        }
        ran
    }

    /// Of all tenants.
    pub(super) async fn tenants_due(&self, month: Month) -> Result<Vec<String>, BillingError> {
        self.repository.tenants_due(month).await
    }

    /// Has an invoice mailed once more, unless it is about to be.
    pub(super) async fn mail_invoice(
        &self,
        tenant: &Tenant,
        id: i64,
    ) -> Result<Enqueued, BillingError> {
        if self.repository.invoice(tenant, id).await?.is_none() {
            return Err(BillingError::NoInvoice(id));
        }
        let job = MailInvoice::of(tenant, id)?;
        Ok(self.sinew.jobs().enqueue_raw(MailInvoice::QUEUE, job).await?)
    }

    pub(super) async fn record_usage(
        &self,
        tenant: &Tenant,
        input: &UsageInput,
    ) -> Result<(), BillingError> {
        input.check()?;
        self.repository.record_usage(tenant, input).await
    }

    /// Publishes an order. Whether it is new: otherwise one of this id was placed before.
    pub(super) async fn place_order(
        &self,
        tenant: &Tenant,
        input: OrderInput,
    ) -> Result<bool, BillingError> {
        input.check()?;
        let OrderInput { order_id, user_id, units } = input;
        let id = Some(order_id.clone());
        let event = events::event(tenant, &OrderPlaced { order_id, user_id, units })?;
        // With it, an order whose reply is lost on the way from Redis is sent again.
        let dedup = id.as_ref().map(|id| format!("{}/{id}", tenant.as_str()));
        // Said, so that it is used on that day also if it is handled on another.
        let event = NewEvent { id, dedup, time: Some(SystemTime::now()), ..event };
        let published = self.sinew.streams().publish_event(OrderPlaced::TOPIC, event).await?;
        Ok(!matches!(published, Published::Duplicate(_)))
    }

    pub(super) async fn invoices(
        &self,
        tenant: Tenant,
        user: String,
    ) -> Result<Traced<Vec<Invoice>>, LoadError<BillingError>> {
        let invoices = self.invoices_to_read(&tenant, &user);
        let invoices = invoices.map_err(|e| LoadError::Source(Arc::new(e)))?.invoices;
        let rows = self.repository.clone();
        let key = InvoicesOf(user.clone());
        invoices
            .get_or_load_traced(&key, move || async move { rows.invoices(&tenant, &user).await })
            .await
    }

    pub(super) async fn progress(
        &self,
        tenant: &Tenant,
        month: Month,
    ) -> Result<Progress, BillingError> {
        let locks = self.sinew.tenant(tenant.as_str())?.locks();
        Ok(Progress {
            month,
            invoices: self.repository.invoices_of_month(tenant, month).await?,
            users_left: self.repository.users_left(tenant, month).await?,
            is_running: locks.look(LOCK).await?.is_some(),
        })
    }

    fn invoices_to_read(&self, tenant: &Tenant, user: &str) -> Result<Caches, BillingError> {
        check_user(user)?;
        Caches::of(&self.sinew.tenant(tenant.as_str())?)
    }
}
