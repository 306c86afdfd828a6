//! How much is under way at once: of a hub, and of one tenant, so that none takes it all.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Deliveries: each is a connection.
const DELIVERIES_MAX: usize = 512;
const DELIVERIES_OF_TENANT_MAX: usize = 64;
/// Names that are looked up: each is a thread, which goes on when its delivery has been given up.
const LOOK_UPS_MAX: usize = 32;
const LOOK_UPS_OF_TENANT_MAX: usize = 8;

/// What the deliveries of a tenant may take. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Room {
    hub: Places,
    tenant: Places,
}

#[derive(Clone)]
struct Places {
    deliveries: Arc<Semaphore>,
    look_ups: Arc<Semaphore>,
}

/// A place of its tenant, and one of the hub; to be dropped when it is free again.
#[derive(Debug, Default)]
pub(crate) struct Place {
    _tenant: Option<OwnedSemaphorePermit>,
    _hub: Option<OwnedSemaphorePermit>,
}

impl Places {
    fn new(deliveries: usize, look_ups: usize) -> Self {
        let places = |places| Arc::new(Semaphore::new(places));
        Self { deliveries: places(deliveries), look_ups: places(look_ups) }
    }
}

impl Room {
    /// Of a hub.
    pub(crate) fn new() -> Self {
        Self {
            hub: Places::new(DELIVERIES_MAX, LOOK_UPS_MAX),
            tenant: Places::new(DELIVERIES_OF_TENANT_MAX, LOOK_UPS_OF_TENANT_MAX),
        }
    }

    /// Of one tenant more of the same hub.
    pub(crate) fn of_tenant(&self) -> Self {
        Self { hub: self.hub.clone(), ..Self::new() }
    }

    /// Places for one delivery, and for the look-up before it; as soon as there are some.
    pub(crate) async fn places(&self) -> (Place, Place) {
        (self.delivering().await, self.looking_up().await)
    }

    /// A place for one delivery, as soon as there is one.
    pub(crate) async fn delivering(&self) -> Place {
        place(&self.tenant.deliveries, &self.hub.deliveries).await
    }

    /// The same, if there is one now.
    pub(crate) fn delivering_now(&self) -> Option<Place> {
        let tenant = Arc::clone(&self.tenant.deliveries).try_acquire_owned().ok()?;
        let hub = Arc::clone(&self.hub.deliveries).try_acquire_owned().ok()?;
        Some(Place { _tenant: Some(tenant), _hub: Some(hub) })
    }

    /// A place for the look-up before a delivery that has its own, as soon as there is one.
    pub(crate) async fn looking_up(&self) -> Place {
        place(&self.tenant.look_ups, &self.hub.look_ups).await
    }

    /// Whether nothing that runs has a part in it.
    pub(crate) fn is_unused(&self) -> bool {
        Arc::strong_count(&self.tenant.deliveries) == 1
    }
}

/// The tenant's own first: who waits for it takes no one's place. They are never closed.
async fn place(tenant: &Arc<Semaphore>, hub: &Arc<Semaphore>) -> Place {
    let tenant = Arc::clone(tenant).acquire_owned().await.ok();
    Place { _tenant: tenant, _hub: Arc::clone(hub).acquire_owned().await.ok() }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_tenant_that_takes_all_it_may_leaves_places_to_others() {
        let hub = Room::new();
        let (one, other) = (hub.of_tenant(), hub.of_tenant());
        let mut taken = Vec::new();
        while let Some((delivering, _)) = one.places().now_or_never() {
            taken.push(delivering);
        }
        assert_eq!(taken.len(), DELIVERIES_OF_TENANT_MAX);
        let (_delivering, looking_up) = other.places().now_or_never().expect("a place");
        drop(taken);
        let mut looking_up = vec![looking_up];
        while let Some((_, place)) = other.places().now_or_never() {
            looking_up.push(place);
        }
        assert_eq!(looking_up.len(), LOOK_UPS_OF_TENANT_MAX);
        assert!(one.places().now_or_never().is_some());
    }
}
