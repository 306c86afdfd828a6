//! What is cached under which key, and what evicts it: the seed's formats to the letter, so that
//! services which still use the old layer see the same keys.

use std::time::Duration;

use sinew::{Cache, CacheKey, Segments, Sinew, Tenant};

use super::error::RentError;
use super::payment::Payment;
use super::property::Property;
use crate::commit::evict;

/// The seed's InstanceName: what all keys of this service begin with.
pub const PREFIX: &str = "RentTracker_";

/// The seed's `DefaultTimeoutMinutes`.
const TTL: Duration = Duration::from_mins(10);

/// The key of all properties: `list`.
pub(super) struct List;

impl CacheKey for List {
    fn segments(&self, into: &mut Segments<'_>) {
        into.push("list");
    }
}

/// The key of all payments for a property: `{id}:payments:list`.
pub(super) struct PaymentsOf(pub(super) i64);

impl CacheKey for PaymentsOf {
    fn segments(&self, into: &mut Segments<'_>) {
        into.push(self.0);
        into.push("payments");
        into.push("list");
    }
}

/// The caches of one tenant.
pub(super) struct Caches {
    /// `{tenant}:property:{id}`
    pub(super) property: Cache<i64, Property>,
    /// `{tenant}:property:list`
    pub(super) properties: Cache<List, Vec<Property>>,
    /// `{tenant}:payment:{paymentId}`
    pub(super) payment: Cache<i64, Payment>,
    /// `{tenant}:property:{id}:payments:list`
    pub(super) payments: Cache<PaymentsOf, Vec<Payment>>,
}

impl Caches {
    pub(super) fn of(sinew: &Sinew, tenant: &Tenant) -> Result<Self, RentError> {
        let sinew = sinew.tenant(tenant.as_str())?;
        Ok(Self {
            property: sinew.cache("property").ttl(TTL).build()?,
            properties: sinew.cache("property").ttl(TTL).build()?,
            payment: sinew.cache("payment").ttl(TTL).build()?,
            payments: sinew.cache("property").ttl(TTL).build()?,
        })
    }

    pub(super) async fn property_created(&self) {
        evict(&self.properties, &List).await;
    }

    pub(super) async fn property_changed(&self, id: i64) {
        evict(&self.properties, &List).await;
        evict(&self.property, &id).await;
    }

    /// Its payments went with it. The seed's map forgets them, and would serve them for ten minutes.
    pub(super) async fn property_deleted(&self, id: i64, payments: &[i64]) {
        self.property_changed(id).await;
        self.payment_created(id).await;
        for payment in payments {
            evict(&self.payment, payment).await;
        }
    }

    pub(super) async fn payment_created(&self, property: i64) {
        evict(&self.payments, &PaymentsOf(property)).await;
    }

    pub(super) async fn payment_changed(&self, property: i64, id: i64) {
        self.payment_created(property).await;
        evict(&self.payment, &id).await;
    }
}
