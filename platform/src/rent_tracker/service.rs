//! Cached reads, and writes that evict after their commit.

use std::sync::Arc;

use sinew::{LoadError, Sinew, Tenant, Traced};

use super::cache_keys::{Caches, List, PaymentsOf};
use super::error::RentError;
use super::payment::{Payment, PaymentInput};
use super::property::{Property, PropertyInput};
use super::repository::{Repository, no_payment};
use crate::commit::to_the_end;

type Read<V> = Result<Traced<V>, LoadError<RentError>>;

#[derive(Clone)]
pub(super) struct RentTracker {
    sinew: Sinew,
    repository: Repository,
}

impl RentTracker {
    pub(super) fn new(sinew: Sinew, repository: Repository) -> Self {
        Self { sinew, repository }
    }

    pub(super) async fn properties(&self, tenant: Tenant) -> Read<Vec<Property>> {
        let caches = self.caches_to_read(&tenant)?;
        let rows = self.repository.clone();
        caches
            .properties
            .get_or_load_traced(&List, move || async move { rows.properties(&tenant).await })
            .await
    }

    pub(super) async fn property(&self, tenant: Tenant, id: i64) -> Read<Property> {
        let caches = self.caches_to_read(&tenant)?;
        let rows = self.repository.clone();
        caches
            .property
            .get_or_load_traced(&id, move || async move { rows.property(&tenant, id).await })
            .await
    }

    pub(super) async fn payments(&self, tenant: Tenant, property: i64) -> Read<Vec<Payment>> {
        let caches = self.caches_to_read(&tenant)?;
        let rows = self.repository.clone();
        caches
            .payments
            .get_or_load_traced(&PaymentsOf(property), move || async move {
                rows.payments(&tenant, property).await
            })
            .await
    }

    pub(super) async fn payment(&self, tenant: Tenant, property: i64, id: i64) -> Read<Payment> {
        let caches = self.caches_to_read(&tenant)?;
        let rows = self.repository.clone();
        let found = caches
            .payment
            .get_or_load_traced(&id, move || async move { rows.payment(&tenant, id).await })
            .await?;
        // The key does not name the property, so the path could name any.
        if found.value.property_id != property {
            return Err(LoadError::Source(Arc::new(no_payment(id))));
        }
        Ok(found)
    }

    pub(super) async fn create_property(
        &self,
        tenant: Tenant,
        input: PropertyInput,
    ) -> Result<Property, RentError> {
        input.check()?;
        let (caches, rows) = self.to_write(&tenant)?;
        to_the_end(async move {
            let written = rows.create_property(&tenant, &input).await;
            if is_news(&written) {
                caches.property_created().await;
            }
            written
        })
        .await
    }

    pub(super) async fn update_property(
        &self,
        tenant: Tenant,
        id: i64,
        input: PropertyInput,
    ) -> Result<Property, RentError> {
        input.check()?;
        let version = version_read(id, input.id, input.row_version)?;
        let (caches, rows) = self.to_write(&tenant)?;
        to_the_end(async move {
            let written = rows.update_property(&tenant, id, version, &input).await;
            if is_news(&written) {
                caches.property_changed(id).await;
            }
            written
        })
        .await
    }

    pub(super) async fn delete_property(&self, tenant: Tenant, id: i64) -> Result<(), RentError> {
        let (caches, rows) = self.to_write(&tenant)?;
        to_the_end(async move {
            let (payments, deleted) = rows.delete_property(&tenant, id).await?;
            if is_news(&deleted) {
                caches.property_deleted(id, &payments).await;
            }
            deleted
        })
        .await
    }

    pub(super) async fn create_payment(
        &self,
        tenant: Tenant,
        property: i64,
        input: PaymentInput,
    ) -> Result<Payment, RentError> {
        input.check()?;
        same_property(property, input.property_id)?;
        let (caches, rows) = self.to_write(&tenant)?;
        to_the_end(async move {
            let written = rows.create_payment(&tenant, property, &input).await;
            if is_news(&written) {
                caches.payment_created(property).await;
            }
            written
        })
        .await
    }

    pub(super) async fn update_payment(
        &self,
        tenant: Tenant,
        property: i64,
        id: i64,
        input: PaymentInput,
    ) -> Result<Payment, RentError> {
        input.check()?;
        same_property(property, input.property_id)?;
        let version = version_read(id, input.id, input.row_version)?;
        let (caches, rows) = self.to_write(&tenant)?;
        to_the_end(async move {
            let written = rows.update_payment(&tenant, property, id, version, &input).await;
            if is_news(&written) {
                caches.payment_changed(property, id).await;
            }
            written
        })
        .await
    }

    pub(super) async fn delete_payment(
        &self,
        tenant: Tenant,
        property: i64,
        id: i64,
    ) -> Result<(), RentError> {
        let (caches, rows) = self.to_write(&tenant)?;
        to_the_end(async move {
            let deleted = rows.delete_payment(&tenant, property, id).await;
            if is_news(&deleted) {
                caches.payment_changed(property, id).await;
            }
            deleted
        })
        .await
    }

    fn caches_to_read(&self, tenant: &Tenant) -> Result<Caches, LoadError<RentError>> {
        Caches::of(&self.sinew, tenant).map_err(|e| LoadError::Source(Arc::new(e)))
    }

    fn to_write(&self, tenant: &Tenant) -> Result<(Caches, Repository), RentError> {
        Ok((Caches::of(&self.sinew, tenant)?, self.repository.clone()))
    }
}

/// Whether what is cached may be old. A database that fails while it commits may have committed,
/// and a client that lost an update is about to read what it lost against.
fn is_news<T>(written: &Result<T, RentError>) -> bool {
    matches!(written, Ok(_) | Err(RentError::Database(_) | RentError::LostUpdate { .. }))
}

fn version_read(id: i64, sent_id: Option<i64>, version: Option<i64>) -> Result<i64, RentError> {
    if sent_id.is_some_and(|sent| sent != id) {
        return Err(RentError::rejected("id", "none, or the id in the path"));
    }
    match version {
        Some(version @ 1..=i64::MAX) if version < i64::MAX => Ok(version),
        _ => Err(RentError::rejected("rowVersion", "the number that a read of it gave")),
    }
}

fn same_property(property: i64, sent: Option<i64>) -> Result<(), RentError> {
    match sent {
        Some(sent) if sent != property => {
            Err(RentError::rejected("propertyId", "none, or the property in the path"))
        }
        _ => Ok(()),
    }
}
