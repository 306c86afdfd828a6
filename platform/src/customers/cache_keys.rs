//! What is cached under which key, and what evicts it.

use std::time::Duration;

use sinew::{Cache, CacheKey, Segments, Sinew};

use super::customer::Customer;
use super::error::CustomerError;
use crate::commit::evict;

/// The seed's for lists.
const LIST_TTL: Duration = Duration::from_mins(5);
/// The seed's for what is one.
const TTL: Duration = Duration::from_mins(10);

/// The key of all customers: `list`.
pub(super) struct List;

impl CacheKey for List {
    fn segments(&self, into: &mut Segments<'_>) {
        into.push("list");
    }
}

/// The caches of one tenant.
pub(super) struct Caches {
    /// `{tenant}:customer:{id}`
    pub(super) customer: Cache<i64, Customer>,
    /// `{tenant}:customer:list`
    pub(super) customers: Cache<List, Vec<Customer>>,
}

impl Caches {
    /// `sinew` is one tenant's.
    pub(super) fn of(sinew: &Sinew) -> Result<Self, CustomerError> {
        Ok(Self {
            customer: sinew.cache("customer").ttl(TTL).build()?,
            customers: sinew.cache("customer").ttl(LIST_TTL).build()?,
        })
    }

    pub(super) async fn customer_created(&self) {
        evict(&self.customers, &List).await;
    }

    pub(super) async fn customer_changed(&self, id: i64) {
        evict(&self.customers, &List).await;
        evict(&self.customer, &id).await;
    }
}
