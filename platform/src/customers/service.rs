//! Cached reads, and a write that evicts after its commit.

use std::sync::Arc;

use sinew::{LoadError, Sinew, Tenant, Traced};

use super::cache_keys::{Caches, List};
use super::customer::{Customer, CustomerInput};
use super::error::CustomerError;
use super::repository::Repository;
use crate::commit::to_the_end;

#[derive(Clone)]
pub(super) struct Customers {
    sinew: Sinew,
    repository: Repository,
}

impl Customers {
    pub(super) fn new(sinew: Sinew, repository: Repository) -> Self {
        Self { sinew, repository }
    }

    pub(super) async fn create(
        &self,
        tenant: Tenant,
        input: CustomerInput,
    ) -> Result<Customer, CustomerError> {
        input.check()?;
        let (caches, rows) = (self.caches(&tenant)?, self.repository.clone());
        to_the_end(async move {
            let created = rows.create(&tenant, input).await;
            // Also where it failed: the database may have committed before it did.
            caches.customer_created().await;
            created
        })
        .await
    }

    pub(super) async fn customers(
        &self,
        tenant: Tenant,
    ) -> Result<Traced<Vec<Customer>>, LoadError<CustomerError>> {
        let caches = self.caches_to_read(&tenant)?;
        let rows = self.repository.clone();
        let load = move || async move { rows.customers(&tenant).await };
        caches.customers.get_or_load_traced(&List, load).await
    }

    pub(super) async fn customer(
        &self,
        tenant: Tenant,
        id: i64,
    ) -> Result<Traced<Customer>, LoadError<CustomerError>> {
        let caches = self.caches_to_read(&tenant)?;
        let rows = self.repository.clone();
        let load = move || async move { rows.customer(&tenant, id).await };
        caches.customer.get_or_load_traced(&id, load).await
    }

    fn caches_to_read(&self, tenant: &Tenant) -> Result<Caches, LoadError<CustomerError>> {
        self.caches(tenant).map_err(|e| LoadError::Source(Arc::new(e)))
    }

    fn caches(&self, tenant: &Tenant) -> Result<Caches, CustomerError> {
        Caches::of(&self.sinew.tenant(tenant.as_str())?)
    }
}
