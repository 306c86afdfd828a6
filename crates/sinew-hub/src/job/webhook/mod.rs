//! Webhooks of queues, run: every hub takes jobs for all that are defined, and sends them to their endpoints.

mod deliver;
mod run;
mod under_way;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use sinew::Sinew;
use sinew::job::QueueWebhookAt;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use deliver::{Delivery, LEFT};
use run::run;
use under_way::UnderWay;

use crate::serve::stopped;
use crate::webhook::endpoint::Endpoint;
use crate::webhook::post::Poster;
use crate::webhook::room::Room;
use crate::webhook::runs::{
    LISTS_AT_ONCE, LOOK_EVERY, RUNNING_MAX, Runs, Shared, Tenant, Whose, scope_of,
};
use crate::webhook::settings::WebhookSettings;

/// What one hub runs now.
struct Runner {
    sinew: Sinew,
    settings: WebhookSettings,
    poster: Poster,
    /// Of the hub, and of each tenant.
    room: Room,
    rooms: BTreeMap<Tenant, Room>,
    /// Of each queue, also of what is ending.
    under_way: BTreeMap<Whose, UnderWay>,
    shared: Arc<Shared>,
    running: BTreeMap<Whose, Running>,
    /// What takes no more jobs, and has some under way.
    ending: JoinSet<()>,
    stopping: watch::Receiver<bool>,
    has_told_of_full: bool,
}

/// What is defined and not paused; and whose definitions could not be read now.
#[derive(Default)]
struct Wanted {
    webhooks: BTreeMap<Whose, QueueWebhookAt>,
    unknown: BTreeSet<Tenant>,
}

struct Running {
    endpoint: Arc<Endpoint>,
    /// Told to end when this turns true, or is dropped.
    ending: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Begins to take jobs, unless the configuration says that this hub runs no webhooks.
pub(crate) fn start(
    sinew: Sinew,
    settings: &WebhookSettings,
    stopping: watch::Receiver<bool>,
) -> Runs {
    Runs::starting(settings, |poster, shared| {
        let runner = Runner {
            sinew,
            settings: settings.clone(),
            poster,
            room: Room::new(),
            rooms: BTreeMap::new(),
            under_way: BTreeMap::new(),
            shared,
            running: BTreeMap::new(),
            ending: JoinSet::new(),
            stopping,
            has_told_of_full: false,
        };
        runner.run()
    })
}

impl Runner {
    async fn run(mut self) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let kicked = Arc::clone(&self.shared.kicked);
        let mut over = std::pin::pin!(stopped(self.stopping.clone()));
        loop {
            tokio::select! {
                () = &mut over => break,
                _ = looks.tick() => {}
                () = kicked.notified() => {}
            }
            let wanted = tokio::select! {
                biased;
                () = &mut over => break,
                wanted = self.wanted() => wanted,
            };
            match wanted {
                Ok(wanted) => self.run_those(wanted),
                // A store that is away is told of elsewhere; what runs goes on.
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::debug!(error, "the webhooks of queues could not be looked at");
                }
            }
        }
        let running = std::mem::take(&mut self.running);
        join_all(running.into_values().map(Running::end)).await;
        while self.ending.join_next().await.is_some() {}
    }

    /// Makes what runs what is defined.
    fn run_those(&mut self, wanted: Wanted) {
        self.end_others(&wanted);
        self.rooms.retain(|_, room| !room.is_unused());
        self.under_way.retain(|_, of_queue| !of_queue.is_unused());
        let webhooks = wanted.webhooks.into_iter();
        let new = webhooks.filter(|(whose, _)| !self.running.contains_key(whose));
        let mut is_full = false;
        for (whose, at) in self.shared.in_order(new) {
            is_full = self.running.len() >= RUNNING_MAX;
            if is_full {
                break;
            }
            self.start(whose, &at);
        }
        if is_full && !self.has_told_of_full {
            tracing::error!(
                "more than {RUNNING_MAX} webhooks of queues: those beyond are not run by this hub"
            );
        }
        self.has_told_of_full = is_full;
    }

    async fn wanted(&self) -> sinew::Result<Wanted> {
        let tenants = self.sinew.queue_webhook_tenants().await?;
        let lists = stream::iter(tenants).map(|tenant| listed(self.sinew.clone(), tenant));
        let mut lists = lists.buffer_unordered(LISTS_AT_ONCE);
        let mut wanted = Wanted::default();
        while let Some((tenant, listed)) = lists.next().await {
            match listed {
                Ok(webhooks) => {
                    let running = webhooks.into_iter().filter(|at| at.paused.is_none());
                    wanted
                        .webhooks
                        .extend(running.map(|at| ((tenant.clone(), at.queue.clone()), at)));
                }
                Err(error) => {
                    let (error, whose) = (format!("{error:#}"), tenant.as_deref());
                    // What runs of it goes on, and the others are looked after no less.
                    tracing::warn!(
                        tenant = whose,
                        error,
                        "the webhooks of a tenant's queues cannot be looked at"
                    );
                    wanted.unknown.insert(tenant);
                }
            }
        }
        Ok(wanted)
    }

    /// Ends those that are no longer defined so. What they have under way ends beside those that take their place.
    fn end_others(&mut self, wanted: &Wanted) {
        while self.ending.try_join_next().is_some() {}
        for (whose, one) in std::mem::take(&mut self.running) {
            let is_wanted = wanted.unknown.contains(&whose.0)
                || wanted
                    .webhooks
                    .get(&whose)
                    .is_some_and(|at| at.revision == one.endpoint.revision);
            match is_wanted && !one.task.is_finished() {
                true => {
                    self.running.insert(whose, one);
                }
                false => {
                    self.ending.spawn(one.end());
                }
            }
        }
        self.shared.forget_others(|whose| self.running.contains_key(whose));
    }

    fn start(&mut self, whose: Whose, at: &QueueWebhookAt) {
        let breaker = format!("queue-webhook.{}", at.queue);
        let endpoint = match self.shared.endpoint(&whose, &breaker, at.revision) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                tracing::error!(queue = at.queue, %error, "a queue's webhook has no breaker");
                return;
            }
        };
        // Another hub may be allowed to reach it: its jobs are left to that one.
        if let Err(what) = self.settings.addresses().url(&at.webhook.url) {
            if endpoint.last().is_none() {
                tracing::warn!(queue = at.queue, why = what, "{LEFT}");
            }
            endpoint.note(what, false);
            return;
        }
        let (jobs, streams) = match scope_of(&self.sinew, whose.0.as_deref()) {
            Ok(scope) => (scope.jobs(), scope.streams()),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(queue = at.queue, error, "a queue's webhook is not run");
                return;
            }
        };
        let room = self.rooms.entry(whose.0.clone()).or_insert_with(|| self.room.of_tenant());
        let under_way = self.under_way.entry(whose.clone()).or_insert_with(UnderWay::new);
        let delivery = Delivery {
            queue: at.queue.clone(),
            webhook: at.webhook.clone(),
            jobs,
            streams,
            endpoint: Arc::clone(&endpoint),
            poster: self.poster.clone(),
            room: room.clone(),
            under_way: under_way.clone(),
            kicked: Arc::clone(&self.shared.kicked),
        };
        let (ending, ended) = watch::channel(false);
        let task = tokio::spawn(run(Arc::new(delivery), ended, self.stopping.clone()));
        self.running.insert(whose, Running { endpoint, ending, task });
    }
}

impl Running {
    /// Takes no more jobs, and waits for those that are under way, as long as they may take.
    async fn end(self) {
        self.ending.send_replace(true);
        // One that has panicked has ended.
        let _ = self.task.await;
    }
}

async fn listed(sinew: Sinew, tenant: Tenant) -> (Tenant, sinew::Result<Vec<QueueWebhookAt>>) {
    let listed = match scope_of(&sinew, tenant.as_deref()) {
        Ok(scope) => scope.jobs().webhooks().list().await,
        Err(error) => Err(error),
    };
    (tenant, listed)
}
