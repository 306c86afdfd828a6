//! Webhooks, delivered: every hub runs all that are defined, and shares their events with the others.

mod deliver;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use sinew::stream::{Backoff, Subscription, WebhookAt, Webhooks};
use sinew::{BreakerState, Sinew};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use deliver::{Delivery, LEFT};

use crate::serve::stopped;
use crate::webhook::endpoint::Endpoint;
use crate::webhook::post::Poster;
use crate::webhook::room::Room;
use crate::webhook::runs::{
    LISTS_AT_ONCE, LOOK_EVERY, RUNNING_MAX, Runs, Shared, Tenant, Whose, scope_of,
};
use crate::webhook::settings::WebhookSettings;

/// How often it is said that what is defined and not delivered is not to be forgotten: groups may be after a minute.
const KEEP_EVERY: Duration = Duration::from_secs(20);
/// How often an endpoint that is left alone may be tried again.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// Between tries of one event.
const BACKOFF: std::ops::Range<Duration> = Duration::from_secs(1)..Duration::from_secs(600);
/// How long deliveries under way may take once the hub is to stop: less than the hub itself.
const DRAIN: Duration = Duration::from_secs(8);
/// A topic that is there has its own number, and that one counts.
const PARTITIONS: u16 = 16;

/// What one hub delivers now.
struct Runner {
    sinew: Sinew,
    settings: WebhookSettings,
    poster: Poster,
    /// Of the hub, and of each tenant.
    room: Room,
    rooms: BTreeMap<Tenant, Room>,
    shared: Arc<Shared>,
    running: BTreeMap<Whose, Running>,
    /// What is coming to its end: none begins anew before.
    ending: BTreeMap<Whose, Ending>,
    has_told_of_full: bool,
    /// What says that groups are not to be forgotten, and when it began. Ends with this.
    keeping: JoinSet<()>,
    kept_at: Option<Instant>,
}

/// What is defined and not paused; and whose definitions could not be read now.
#[derive(Default)]
struct Wanted {
    /// Of all that are defined, paused or not.
    topics: BTreeMap<Whose, String>,
    webhooks: BTreeMap<Whose, WebhookAt>,
    unknown: BTreeSet<Tenant>,
}

struct Running {
    endpoint: Arc<Endpoint>,
    subscription: Subscription,
}

struct Ending {
    /// Said before the next look is asked for.
    is_over: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

/// Begins to deliver, unless the configuration says that this hub does not.
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
            shared,
            running: BTreeMap::new(),
            ending: BTreeMap::new(),
            has_told_of_full: false,
            keeping: JoinSet::new(),
            kept_at: None,
        };
        runner.run(stopping)
    })
}

impl Runner {
    async fn run(mut self, stopping: watch::Receiver<bool>) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tries = tokio::time::interval(TRY_EVERY);
        tries.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let kicked = Arc::clone(&self.shared.kicked);
        let mut over = std::pin::pin!(stopped(stopping));
        loop {
            tokio::select! {
                () = &mut over => break,
                _ = tries.tick() => {
                    self.let_probe();
                    continue;
                }
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
                    tracing::debug!(error, "the webhooks could not be looked at");
                }
            }
        }
        let running = std::mem::take(&mut self.running);
        let stopping = join_all(running.into_values().map(|one| one.subscription.stop()));
        let ending = std::mem::take(&mut self.ending).into_values().map(|one| one.task);
        tokio::join!(stopping, join_all(ending));
    }

    /// Its subscription asks for nothing while a breaker is open, and only a call can find it half-open.
    fn let_probe(&self) {
        for one in self.running.values() {
            if one.endpoint.breaker.state() == BreakerState::Open {
                drop(one.endpoint.breaker.permit());
            }
        }
    }

    /// Makes what runs what is defined.
    fn run_those(&mut self, wanted: Wanted) {
        self.end_others(&wanted);
        self.rooms.retain(|_, room| !room.is_unused());
        let new = wanted.webhooks.into_iter().filter(|(whose, _)| {
            !self.running.contains_key(whose) && !self.ending.contains_key(whose)
        });
        let new = self.shared.in_order(new);
        let mut is_full = false;
        for (whose, at) in new {
            is_full = self.running.len() + self.ending.len() >= RUNNING_MAX;
            if is_full {
                break;
            }
            self.start(whose, at);
        }
        if is_full && !self.has_told_of_full {
            tracing::error!(
                "more than {RUNNING_MAX} webhooks: those beyond are not delivered by this hub"
            );
        }
        self.has_told_of_full = is_full;
        self.keep(wanted.topics);
    }

    /// What is defined keeps what it has not had, delivered or not: nobody reads a group that is paused.
    /// Beside the looks, which a slow store is not to hold up.
    fn keep(&mut self, topics: BTreeMap<Whose, String>) {
        while self.keeping.try_join_next().is_some() {}
        if !self.keeping.is_empty() || self.kept_at.is_some_and(|at| at.elapsed() < KEEP_EVERY) {
            return;
        }
        self.kept_at = Some(Instant::now());
        let idle = topics.into_iter().filter(|(whose, _)| !self.running.contains_key(whose));
        let idle: Vec<(Whose, String)> = idle.collect();
        let sinew = self.sinew.clone();
        self.keeping.spawn(async move {
            let kept = stream::iter(idle);
            let kept = kept.map(|(whose, topic)| keep(sinew.clone(), whose, topic));
            kept.buffer_unordered(LISTS_AT_ONCE).for_each(|()| async {}).await;
        });
    }

    async fn wanted(&self) -> sinew::Result<Wanted> {
        let tenants = self.sinew.webhook_tenants().await?;
        let lists = stream::iter(tenants).map(|tenant| listed(self.sinew.clone(), tenant));
        let mut lists = lists.buffer_unordered(LISTS_AT_ONCE);
        let mut wanted = Wanted::default();
        while let Some((tenant, listed)) = lists.next().await {
            match listed {
                Ok(webhooks) => {
                    for at in webhooks {
                        let whose = (tenant.clone(), at.name.clone());
                        wanted.topics.insert(whose.clone(), at.webhook.topic.clone());
                        if at.paused.is_none() {
                            wanted.webhooks.insert(whose, at);
                        }
                    }
                }
                Err(error) => {
                    let (error, whose) = (format!("{error:#}"), tenant.as_deref());
                    // What runs of it goes on, and the others are looked after no less.
                    tracing::warn!(
                        tenant = whose,
                        error,
                        "the webhooks of a tenant cannot be looked at"
                    );
                    wanted.unknown.insert(tenant);
                }
            }
        }
        Ok(wanted)
    }

    /// Ends those that are no longer defined so, with what they have under way.
    fn end_others(&mut self, wanted: &Wanted) {
        let is_over = |one: &Ending| one.is_over.load(Ordering::Acquire) || one.task.is_finished();
        self.ending.retain(|_, one| !is_over(one));
        for (whose, one) in std::mem::take(&mut self.running) {
            let is_wanted = wanted.unknown.contains(&whose.0)
                || wanted
                    .webhooks
                    .get(&whose)
                    .is_some_and(|at| at.revision == one.endpoint.revision);
            // One that has ended by itself begins anew: another hub shared its events otherwise, or the store refused.
            if is_wanted && !one.subscription.has_ended() {
                self.running.insert(whose, one);
                continue;
            }
            let (name, kicked) = (whose.1.clone(), Arc::clone(&self.shared.kicked));
            let is_over = Arc::new(AtomicBool::new(false));
            let over = Arc::clone(&is_over);
            let task = tokio::spawn(async move {
                if let Err(error) = one.subscription.stop().await {
                    let error = format!("{error:#}");
                    tracing::warn!(webhook = name, error, "the deliveries of a webhook had ended");
                    one.endpoint.note(error, false);
                }
                over.store(true, Ordering::Release);
                // One that has ended by itself may do so again: it begins with a later look, not with one it asks for.
                if !is_wanted {
                    kicked.notify_one();
                }
            });
            self.ending.insert(whose, Ending { is_over, task });
        }
        self.shared.forget_others(|whose| self.running.contains_key(whose));
    }

    fn start(&mut self, whose: Whose, at: WebhookAt) {
        let endpoint = match self.shared.endpoint(&whose, &at.name, at.revision) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                tracing::error!(webhook = at.name, %error, "a webhook has no breaker");
                return;
            }
        };
        // Another hub may be allowed to deliver it: its events are left to that one.
        if let Err(what) = self.settings.addresses().url(&at.webhook.url) {
            if endpoint.last().is_none() {
                tracing::warn!(webhook = at.name, why = what, "{LEFT}");
            }
            endpoint.note(what, false);
            return;
        }
        match self.subscribe(&whose.0, &at, &endpoint) {
            Ok(subscription) => {
                self.running.insert(whose, Running { endpoint, subscription });
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(webhook = at.name, error, "a webhook is not delivered");
                endpoint.note(error, false);
            }
        }
    }

    fn subscribe(
        &mut self,
        tenant: &Tenant,
        at: &WebhookAt,
        endpoint: &Arc<Endpoint>,
    ) -> sinew::Result<Subscription> {
        let streams = scope_of(&self.sinew, tenant.as_deref())?.streams();
        let webhook = &at.webhook;
        let mut subscribe = streams
            .subscribe_raw(&webhook.topic, &Webhooks::group_of(&at.name))
            .concurrency(usize::from(webhook.concurrency))
            .retry(Backoff::exponential(BACKOFF).max_attempts(webhook.attempts))
            .pause_while_open(&endpoint.breaker)
            .drain(DRAIN);
        if webhook.ordered {
            subscribe = subscribe.ordered_by_key(PARTITIONS);
        }
        if !webhook.kinds.is_empty() {
            subscribe = subscribe.only(webhook.kinds.iter().map(String::as_str));
        }
        let room = self.rooms.entry(tenant.clone()).or_insert_with(|| self.room.of_tenant());
        let delivery = Arc::new(Delivery {
            tenant: tenant.clone(),
            name: at.name.clone(),
            webhook: webhook.clone(),
            streams,
            endpoint: Arc::clone(endpoint),
            poster: self.poster.clone(),
            room: room.clone(),
            kicked: Arc::clone(&self.shared.kicked),
        });
        subscribe.start(move |event, cx| {
            let delivery = Arc::clone(&delivery);
            async move { delivery.run(event, cx).await }
        })
    }
}

async fn listed(sinew: Sinew, tenant: Tenant) -> (Tenant, sinew::Result<Vec<WebhookAt>>) {
    let listed = match scope_of(&sinew, tenant.as_deref()) {
        Ok(scope) => scope.streams().webhooks().list().await,
        Err(error) => Err(error),
    };
    (tenant, listed)
}

async fn keep(sinew: Sinew, (tenant, name): Whose, topic: String) {
    let kept = match scope_of(&sinew, tenant.as_deref()) {
        Ok(scope) => scope.streams().keep_group(&topic, &Webhooks::group_of(&name)).await,
        Err(error) => Err(error),
    };
    // It is tried again long before it would be forgotten.
    if let Err(error) = kept {
        let error = format!("{error:#}");
        tracing::debug!(webhook = name, error, "a group was not kept from being forgotten");
    }
}
