//! What runs webhooks in a hub, and what it tells of their endpoints.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sinew::Sinew;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::endpoint::{Endpoint, Last};
use super::post::Poster;
use super::settings::WebhookSettings;

/// How often the definitions are looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(5);
/// So many webhooks of a kind one hub runs: each has tasks and connections of its own.
pub(crate) const RUNNING_MAX: usize = 1_000;
/// Of so many tenants at once the definitions are asked for.
pub(crate) const LISTS_AT_ONCE: usize = 16;

/// `None` is what belongs to none.
pub(crate) type Tenant = Option<String>;
/// A webhook by its tenant, and by its name or its queue.
pub(crate) type Whose = (Tenant, String);

/// The webhooks of a kind that a hub runs, for as long as it is held.
pub(crate) struct Runs {
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
    ended: watch::Receiver<bool>,
}

/// What is known of them, also of those that are paused.
#[derive(Default)]
pub(crate) struct Shared {
    endpoints: Mutex<BTreeMap<Whose, Arc<Endpoint>>>,
    /// By which those are chosen that run, where there are too many: each hub chooses otherwise.
    order: RandomState,
    /// That the definitions are to be looked at before their time.
    pub(crate) kicked: Arc<Notify>,
}

impl Runs {
    /// Begins what runs them, unless the configuration says that this hub runs none.
    pub(crate) fn starting<F>(
        settings: &WebhookSettings,
        run: impl FnOnce(Poster, Arc<Shared>) -> F,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shared = Arc::<Shared>::default();
        let (ending, ended) = watch::channel(false);
        let poster = match settings.enabled {
            true => Poster::new(settings.addresses())
                .inspect_err(|error| tracing::error!(error, "no webhook is run"))
                .ok(),
            false => None,
        };
        let task = poster.map(|poster| {
            let running = run(poster, Arc::clone(&shared));
            tokio::spawn(async move {
                running.await;
                ending.send_replace(true);
            })
        });
        Self { shared, task, ended }
    }

    /// What came of the last that this hub has sent to an endpoint.
    pub(crate) fn last(&self, tenant: Option<&str>, name: &str) -> Option<Last> {
        let whose = (tenant.map(str::to_owned), name.to_owned());
        self.shared.endpoints.lock().get(&whose)?.last()
    }

    /// Looks at the definitions at once: one has changed.
    pub(crate) fn look_again(&self) {
        self.shared.kicked.notify_one();
    }

    /// Turns ready when all have ended, after the hub was told to stop.
    pub(crate) async fn ended(&self) {
        // An error is an end too: no one is left who could say so.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Shared {
    /// The endpoint of a definition. That of the same one goes on as it is.
    ///
    /// # Errors
    /// As [`Endpoint::new`].
    pub(crate) fn endpoint(
        &self,
        whose: &Whose,
        breaker: &str,
        revision: u64,
    ) -> sinew::Result<Arc<Endpoint>> {
        let endpoints = &mut self.endpoints.lock();
        if let Some(known) = endpoints.get(whose).filter(|known| known.revision == revision) {
            return Ok(Arc::clone(known));
        }
        let endpoint = Arc::new(Endpoint::new(breaker, revision)?);
        endpoints.insert(whose.clone(), Arc::clone(&endpoint));
        Ok(endpoint)
    }

    /// In the order in which this hub begins them.
    pub(crate) fn in_order<T>(&self, new: impl Iterator<Item = (Whose, T)>) -> Vec<(Whose, T)> {
        let mut new: Vec<(Whose, T)> = new.collect();
        new.sort_by_cached_key(|(whose, _)| self.order.hash_one(whose));
        new
    }

    /// Forgets those that do not run, once there are many. What is paused keeps its last word until then.
    pub(crate) fn forget_others(&self, is_running: impl Fn(&Whose) -> bool) {
        let endpoints = &mut self.endpoints.lock();
        if endpoints.len() > RUNNING_MAX {
            endpoints.retain(|whose, _| is_running(whose));
        }
    }
}

/// All there is of a tenant.
///
/// # Errors
/// As [`Sinew::tenant`].
pub(crate) fn scope_of(sinew: &Sinew, tenant: Option<&str>) -> sinew::Result<Sinew> {
    match tenant {
        None => Ok(sinew.clone()),
        Some(tenant) => sinew.tenant(tenant),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_are_too_many_each_hub_chooses_otherwise() {
        let (one, other) = (Shared::default(), Shared::default());
        let all = || (0..100).map(|n| ((Some(format!("tenant{n:02}")), "mail".to_owned()), ()));
        let (first, second) = (one.in_order(all()), other.in_order(all()));
        assert_eq!(first.len(), 100);
        assert_eq!(one.in_order(all()), first);
        assert_ne!(first, second);
    }
}
