//! Places for requests of one kind: of a hub, and of each tenant, so that none takes them all.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places for requests of one kind.
pub(crate) struct Places {
    all: Arc<Semaphore>,
    of_tenant_max: usize,
    /// Of those tenants that have some.
    tenants: Mutex<BTreeMap<String, Arc<Semaphore>>>,
}

/// A place; to be dropped when it is free again.
#[derive(Debug)]
pub(crate) struct Place {
    _of_tenant: Option<OwnedSemaphorePermit>,
    _of_all: OwnedSemaphorePermit,
}

impl Places {
    pub(crate) fn new(max: usize, of_tenant_max: usize) -> Self {
        let all = Arc::new(Semaphore::new(max));
        Self { all, of_tenant_max, tenants: Mutex::default() }
    }

    /// One of them, if there is one. Where there are no tenants, there is nobody to leave any to.
    pub(crate) fn take(&self, tenant: Option<&str>) -> Option<Place> {
        let of_tenant = match tenant {
            Some(tenant) => Some(self.of(tenant).try_acquire_owned().ok()?),
            None => None,
        };
        let of_all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Place { _of_tenant: of_tenant, _of_all: of_all })
    }

    fn of(&self, tenant: &str) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock();
        if let Some(known) = tenants.get(tenant) {
            return Arc::clone(known);
        }
        // Each place that is taken holds on to where it is from.
        tenants.retain(|_, places| Arc::strong_count(places) > 1);
        let places = Arc::new(Semaphore::new(self.of_tenant_max));
        tenants.insert(tenant.to_owned(), Arc::clone(&places));
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_that_takes_all_that_it_may_leaves_some_to_others() {
        let places = Places::new(5, 3);
        let mut of_acme: Vec<Place> =
            std::iter::from_fn(|| places.take(Some("acme"))).take(10).collect();
        assert_eq!(of_acme.len(), 3);
        let of_other = [places.take(Some("other")), places.take(Some("other"))];
        assert!(of_other.iter().all(Option::is_some));
        assert!(places.take(Some("third")).is_none() && places.take(None).is_none());
        of_acme.pop();
        assert!(places.take(Some("acme")).is_some());
    }

    #[test]
    fn tenants_that_have_no_place_are_forgotten() {
        let places = Places::new(5, 3);
        let held = places.take(Some("acme"));
        for n in 0..100 {
            drop(places.take(Some(&format!("tenant-{n}"))));
        }
        assert!(held.is_some() && places.tenants.lock().len() <= 2);
        assert!(places.tenants.lock().contains_key("acme"));
    }

    #[test]
    fn without_tenants_one_may_take_them_all() {
        let places = Places::new(5, 3);
        let taken: Vec<Place> = std::iter::from_fn(|| places.take(None)).take(10).collect();
        assert_eq!(taken.len(), 5);
    }
}
