//! The monthly run: one instance at a time, and each invoice once, whatever happens in the middle.

use std::time::Duration;

use sinew::{Fence, Locks, Ran, Tenant};

use super::error::BillingError;
use super::month::Month;
use super::repository::Repository;

/// The seed's name for it.
pub(super) const LOCK: &str = "job:generate-invoices:monthly";

/// What came of a monthly run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the run may not have ended, or not have begun"]
pub enum MonthlyRun {
    /// Everyone who used something has an invoice.
    Done {
        /// How many this run wrote.
        written: u64,
    },
    /// It did not run: another instance does.
    Held {
        /// When to ask again.
        retry_after: Duration,
    },
    /// It lost its lock in the middle. What it had written stays; the rest is for another run.
    Lost,
}

/// Writes what is missing of a month's invoices, unless another instance does.
///
/// *Cancellation*: what is written stays, and the next run writes the rest.
pub(super) async fn run_monthly(
    locks: &Locks,
    rows: &Repository,
    tenant: &Tenant,
    month: Month,
) -> Result<MonthlyRun, BillingError> {
    let ran = locks.lock(LOCK).run(|fence| write_all(rows, tenant, month, fence)).await?;
    match ran {
        Ran::Done(outcome) => outcome,
        Ran::Held { retry_after } => Ok(MonthlyRun::Held { retry_after }),
        Ran::Lost => Ok(MonthlyRun::Lost),
    }
}

async fn write_all(
    rows: &Repository,
    tenant: &Tenant,
    month: Month,
    fence: Fence,
) -> Result<MonthlyRun, BillingError> {
    // Before the first look: who held the lock before writes none of what is found missing.
    if !rows.take_over(tenant, fence).await? {
        return Ok(MonthlyRun::Lost);
    }
    let mut written = 0;
    loop {
        let users = rows.next_users(tenant, month).await?;
        if users.is_empty() {
            return Ok(MonthlyRun::Done { written });
        }
        for user in users {
            if !rows.write_invoice(tenant, month, &user, fence).await? {
                return Ok(MonthlyRun::Lost);
            }
            written += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use sinew::{Acquire, Guard, Sinew};

    use super::super::usage::UsageInput;
    use super::*;
    use crate::Database;

    async fn used(rows: &Repository, tenant: &Tenant, user: &str, units: i64) {
        let used_on = "2026-10-07".to_owned();
        let input = UsageInput { user_id: user.to_owned(), used_on, units };
        rows.record_usage(tenant, &input).await.unwrap();
    }

    async fn hold(locks: &Locks) -> Guard {
        match locks.lock(LOCK).acquire().await.unwrap() {
            Acquire::Got(guard) => guard,
            Acquire::Held { .. } => panic!("it is free"),
        }
    }

    #[tokio::test]
    async fn a_holder_that_missed_its_loss_writes_nothing_once_another_has_begun() {
        let rows = Repository::new(Database::open("sqlite::memory:").await.unwrap());
        let tenant = Tenant::new("acme").unwrap();
        let locks = Sinew::embedded().tenant("acme").unwrap().locks();
        let october: Month = "2026-10".parse().unwrap();

        let stale = hold(&locks).await;
        used(&rows, &tenant, "ada", 3).await;
        let written = write_all(&rows, &tenant, october, stale.fence()).await.unwrap();
        assert_eq!(written, MonthlyRun::Done { written: 1 });

        locks.force_release(LOCK).await.unwrap();
        assert!(!stale.is_lost(), "it does not know yet");
        let next = run_monthly(&locks, &rows, &tenant, october).await.unwrap();
        assert_eq!(next, MonthlyRun::Done { written: 0 });

        used(&rows, &tenant, "grace", 5).await;
        let fence = stale.fence();
        let paused = write_all(&rows, &tenant, october, fence).await.unwrap();
        assert_eq!(paused, MonthlyRun::Lost);
        assert!(!rows.write_invoice(&tenant, october, "grace", fence).await.unwrap());
        assert_eq!(rows.invoices(&tenant, "grace").await.unwrap().len(), 0);
        assert_eq!(rows.users_left(&tenant, october).await.unwrap(), 1);

        let next = run_monthly(&locks, &rows, &tenant, october).await.unwrap();
        assert_eq!(next, MonthlyRun::Done { written: 1 });
        let invoices = rows.invoices(&tenant, "grace").await.unwrap();
        assert_eq!((invoices.len(), invoices[0].units, invoices[0].amount_cents), (1, 5, 10));
    }
}
