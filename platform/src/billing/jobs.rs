//! What billing has done in the background: invoices once a month, and the letters that bring them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sinew::job::{
    Expected, Job, JobContext, JobError, Missed, NewJob, Overlap, State, Unique, Worker,
};
use sinew::{ErrorKind, Jobs, Tenant};

use super::month::{Month, ZONE};
use super::repository::Repository;
use super::run::MonthlyRun;
use super::service::Billing;
use crate::auth::{self, AuthError};
use crate::database::Database;
use crate::jobs::{Hands, dead, tenant_of};
use crate::remote::{Letter, Mail, Remote, RemoteError};

/// The seed's name for it.
const MONTHLY: &str = "generate-monthly-invoices";
/// Someone else is at it, or may be.
const AGAIN: Duration = Duration::from_secs(1);

/// Has the invoices of the month written that is over, of all tenants.
#[derive(Job, Serialize, Deserialize)]
#[job(name = "billing.month", queue = "billing")]
struct BillMonth {}

/// Writes a tenant's invoices of a month.
#[derive(Job, Serialize, Deserialize)]
#[job(name = "billing.invoices", queue = "billing", retain = "7d")]
struct BillTenant {
    tenant: String,
    month: Month,
}

/// Sends an invoice to its user.
#[derive(Job, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[job(name = "billing.mail-invoice", queue = "mail", timeout = "1m")]
pub(super) struct MailInvoice {
    tenant: String,
    invoice_id: i64,
}

impl BillTenant {
    /// Of a month, one at a time.
    fn of(tenant: String, month: Month) -> sinew::Result<NewJob> {
        let unique = Some(Unique::by(format!("invoices/{month}")));
        let job = NewJob::of(&Self { tenant: tenant.clone(), month })?;
        Ok(NewJob { key: Some(tenant), unique, ..job })
    }
}

impl MailInvoice {
    /// Of an invoice, one at a time.
    pub(super) fn of(tenant: &Tenant, invoice_id: i64) -> sinew::Result<NewJob> {
        let tenant = tenant.as_str().to_owned();
        let unique = Some(Unique::by(format!("invoice/{invoice_id}")));
        let job = NewJob::of(&Self { tenant: tenant.clone(), invoice_id })?;
        Ok(NewJob { key: Some(tenant), unique, ..job })
    }
}

/// Who writes letters to users.
#[derive(Clone)]
pub(crate) struct Letters {
    rows: Repository,
    accounts: auth::Repository,
    mail: Arc<dyn Mail>,
}

impl Letters {
    pub(crate) fn new(database: &Database, remote: &Remote) -> Self {
        Self {
            rows: Repository::new(database.clone()),
            accounts: auth::Repository::new(database.clone()),
            mail: Arc::clone(&remote.mail),
        }
    }
}

/// Billing's jobs, of all tenants.
pub(crate) fn register(worker: Worker<Hands>) -> sinew::Result<Worker<Hands>> {
    worker.register(bill_month)?.register(bill_tenant)?.register(mail_invoice)
}

/// Defines when months are billed, where nothing says so. What is there is people's by now, and stays as it is.
pub(crate) async fn schedule(jobs: &Jobs) -> sinew::Result<()> {
    if jobs.recurring_at(MONTHLY).look().await?.is_some() {
        return Ok(());
    }
    let monthly = jobs.recurring(MONTHLY).cron("0 0 1 * *").tz(ZONE).job(&BillMonth {})?;
    // Of several months that nobody was there for, the last one's invoices have it all.
    let monthly = monthly.missed(Missed::FireOnce).overlap(Overlap::Skip);
    match monthly.expected(Expected::Absent).upsert().await {
        // Where it is there, another instance was first, and its definition may have been changed already. Where it is not,
        // what the store has under its keys is something else.
        Err(error) if error.kind() == ErrorKind::Conflict => {
            jobs.recurring_at(MONTHLY).look().await?.map(|_| ()).ok_or(error)
        }
        defined => defined.map(|_| ()),
    }
}

async fn bill_month(
    _: BillMonth,
    State(billing): State<Billing>,
    cx: JobContext,
) -> Result<(), JobError> {
    // Its id was made at the tick, however late it runs.
    let tick = SystemTime::UNIX_EPOCH + Duration::from_millis(cx.id().made_ms());
    let month = Month::over_at(tick)?;
    let tenants = billing.tenants_due(month).await?;
    cx.log(&format!("{} tenants have something in {month}", tenants.len()));
    let jobs = tenants.into_iter().map(|tenant| BillTenant::of(tenant, month));
    let jobs = jobs.collect::<sinew::Result<Vec<_>>>()?;
    cx.jobs().enqueue_many_raw(BillTenant::QUEUE, jobs).await?;
    Ok(())
}

/// How many invoices it wrote.
async fn bill_tenant(job: BillTenant, State(billing): State<Billing>) -> Result<u64, JobError> {
    match billing.run_monthly(&tenant_of(&job.tenant)?, job.month).await? {
        MonthlyRun::Done { written } => Ok(written),
        MonthlyRun::Held { retry_after } => Err(JobError::Snooze(retry_after.max(AGAIN))),
        MonthlyRun::Lost => Err(JobError::Snooze(AGAIN)),
    }
}

async fn mail_invoice(
    job: MailInvoice,
    State(letters): State<Letters>,
    cx: JobContext,
) -> Result<(), JobError> {
    let tenant = tenant_of(&job.tenant)?;
    let Some(invoice) = letters.rows.invoice(&tenant, job.invoice_id).await? else {
        return Err(dead("there is no such invoice"));
    };
    let to = match letters.accounts.account(&tenant, &invoice.user_id).await {
        Ok(account) => account.email,
        Err(AuthError::NoAccount) => {
            cx.log("its user has no account, and no address");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let letter = Letter {
        // The same with each attempt.
        id: cx.id().to_string(),
        to,
        subject: format!("Your invoice of {}", invoice.month),
        text: format!("{} units, {} cents", invoice.units, invoice.amount_cents),
    };
    letters.mail.send(&letter).await.map_err(RemoteError::of_job)
}
