//! What is cached under which key, and what evicts it.

use std::time::Duration;

use sinew::{Cache, CacheKey, Segments, Sinew};

use super::error::BillingError;
use super::invoice::Invoice;

/// The seed's for invoice lists: they change once a month.
const TTL: Duration = Duration::from_mins(30);

/// The key of a user's invoices: `invoices:{userId}`.
pub(super) struct InvoicesOf(pub(super) String);

impl CacheKey for InvoicesOf {
    fn segments(&self, into: &mut Segments<'_>) {
        into.push("invoices");
        into.push(&self.0);
    }
}

/// The caches of one tenant.
pub(super) struct Caches {
    /// `{tenant}:billing:invoices:{userId}`
    pub(super) invoices: Cache<InvoicesOf, Vec<Invoice>>,
}

impl Caches {
    /// `sinew` is one tenant's.
    pub(super) fn of(sinew: &Sinew) -> Result<Self, BillingError> {
        // Tagged, so that all of them go in one step.
        Ok(Self { invoices: sinew.cache("billing").ttl(TTL).tagged().build()? })
    }

    /// The invoices are committed: a reply that says otherwise would be wrong. `Queued` is made up
    /// for by Sinew; what cannot be sent at all is for the log.
    pub(super) async fn invoices_written(&self) {
        if let Err(error) = self.invoices.clear().await {
            tracing::error!(%error, "invoices could not be evicted: they may be stale for their TTL");
        }
    }
}
