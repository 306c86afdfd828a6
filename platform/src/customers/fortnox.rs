//! The job that makes a customer known to Fortnox: one at a time for a tenant, and nothing written by whoever was overtaken.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sinew::job::{Job, JobError, NewJob, State, Worker};
use sinew::{Fence, Ran, Sinew, Tenant};

use super::cache_keys::Caches;
use super::error::CustomerError;
use super::repository::Repository;
use crate::database::Database;
use crate::jobs::{Hands, dead, tenant_of};
use crate::remote::{Fortnox, NewCustomer, Remote, RemoteError};

/// The seed's name for it.
const LOCK: &str = "job:create-customer";
/// Someone else is at it, or may be.
const AGAIN: Duration = Duration::from_secs(1);

/// Makes a customer known to Fortnox.
#[derive(Job, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[job(name = "customers.create-in-fortnox", queue = "customers", timeout = "5m")]
pub(super) struct CreateInFortnox {
    tenant: String,
    customer_id: i64,
}

impl CreateInFortnox {
    pub(super) fn of(tenant: &Tenant, customer_id: i64) -> sinew::Result<NewJob> {
        let tenant = tenant.as_str().to_owned();
        let job = NewJob::of(&Self { tenant: tenant.clone(), customer_id })?;
        Ok(NewJob { key: Some(tenant), ..job })
    }
}

/// Who keeps the books in order.
#[derive(Clone)]
pub(crate) struct Books {
    sinew: Sinew,
    rows: Repository,
    fortnox: Arc<dyn Fortnox>,
}

/// The job of the customers, of all tenants.
pub(crate) fn register(worker: Worker<Hands>) -> sinew::Result<Worker<Hands>> {
    worker.register(create_in_fortnox)
}

async fn create_in_fortnox(
    job: CreateInFortnox,
    State(books): State<Books>,
) -> Result<(), JobError> {
    let (tenant, id) = (tenant_of(&job.tenant)?, job.customer_id);
    let sinew = books.sinew.tenant(tenant.as_str())?;
    let lock = sinew.locks().lock(LOCK);
    match lock.run(|fence| books.create(&tenant, id, fence)).await? {
        Ran::Done(created) => created?,
        Ran::Held { retry_after } => return Err(JobError::Snooze(retry_after.max(AGAIN))),
        Ran::Lost => return Err(JobError::Snooze(AGAIN)),
    }
    Caches::of(&sinew)?.customer_changed(id).await;
    Ok(())
}

impl Books {
    pub(crate) fn new(sinew: &Sinew, database: &Database, remote: &Remote) -> Self {
        Self {
            sinew: sinew.clone(),
            rows: Repository::new(database.clone()),
            fortnox: Arc::clone(&remote.fortnox),
        }
    }

    async fn create(&self, tenant: &Tenant, id: i64, fence: Fence) -> Result<(), JobError> {
        let customer = match self.rows.customer(tenant, id).await {
            Err(CustomerError::NoCustomer(_)) => return Err(dead("there is no such customer")),
            customer => customer?,
        };
        // An earlier run came so far, and could not say so.
        if customer.fortnox_number.is_some() {
            return Ok(());
        }
        // Before Fortnox is asked: who held the lock before writes nothing of what is asked now.
        if !self.rows.take_over(tenant, id, fence).await? {
            return Err(JobError::Snooze(AGAIN));
        }
        let new = NewCustomer {
            reference: format!("{}/{id}", tenant.as_str()),
            name: customer.name,
            email: customer.email,
        };
        let number = self.fortnox.create_customer(&new).await.map_err(RemoteError::of_job)?;
        match self.rows.write_number(tenant, id, number, fence).await? {
            true => Ok(()),
            false => Err(JobError::Snooze(AGAIN)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicI64, Ordering};

    use async_trait::async_trait;
    use sinew::{Acquire, Guard, Locks};

    use super::super::customer::CustomerInput;
    use super::*;

    /// Fortnox, and somebody else who comes while it is asked.
    struct Overtaken {
        rows: Repository,
        tenant: Tenant,
        by: Mutex<Option<(i64, Fence)>>,
        asked: AtomicI64,
    }

    #[async_trait]
    impl Fortnox for Overtaken {
        async fn create_customer(&self, _: &NewCustomer) -> Result<i64, RemoteError> {
            let by = self.by.lock().unwrap().take();
            if let Some((id, fence)) = by {
                assert!(self.rows.take_over(&self.tenant, id, fence).await.unwrap());
            }
            Ok(self.asked.fetch_add(1, Ordering::Relaxed) + 1)
        }
    }

    async fn hold(locks: &Locks) -> Guard {
        match locks.lock(LOCK).acquire().await.unwrap() {
            Acquire::Got(guard) => guard,
            Acquire::Held { .. } => panic!("it is free"),
        }
    }

    #[tokio::test]
    async fn whoever_was_overtaken_writes_no_number() {
        let rows = Repository::new(Database::open("sqlite::memory:").await.unwrap());
        let tenant = Tenant::new("acme").unwrap();
        let sinew = Sinew::embedded();
        let locks = sinew.tenant("acme").unwrap().locks();
        let input = || CustomerInput { name: "Ada".into(), email: "ada@example.com".into() };
        let customer = rows.create(&tenant, input()).await.unwrap().id;

        let stale = hold(&locks).await;
        locks.force_release(LOCK).await.unwrap();
        let later = hold(&locks).await;
        let fortnox = Arc::new(Overtaken {
            rows: rows.clone(),
            tenant: tenant.clone(),
            by: Mutex::new(Some((customer, later.fence()))),
            asked: AtomicI64::new(0),
        });
        let books = Books { sinew, rows: rows.clone(), fortnox: fortnox.clone() };
        let number = async |id| rows.customer(&tenant, id).await.unwrap().fortnox_number;

        let overtaken = books.create(&tenant, customer, stale.fence()).await;
        assert!(matches!(overtaken, Err(JobError::Snooze(_))), "{overtaken:?}");
        assert_eq!(number(customer).await, None);
        books.create(&tenant, customer, later.fence()).await.unwrap();
        assert_eq!(number(customer).await, Some(2));

        let other = rows.create(&tenant, input()).await.unwrap().id;
        assert!(rows.take_over(&tenant, other, later.fence()).await.unwrap());
        let late = books.create(&tenant, other, stale.fence()).await;
        assert!(matches!(late, Err(JobError::Snooze(_))), "{late:?}");
        assert_eq!(fortnox.asked.load(Ordering::Relaxed), 2, "it was not even asked");
    }
}
