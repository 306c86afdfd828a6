//! What the routes of a hub share.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusHandle;
use sinew::flag::Flags;
use sinew::limit::Limiter;
use sinew::session::Sessions;
use sinew::{Jobs, Locks, Sinew, Stats, Streams, Tenancy, Tenant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::auth::Auth;
use crate::cache::rules::Rules;
use crate::cache::settings::CacheTable;
use crate::cache::{Documents, documents};
use crate::config::Config;
use crate::dashboard::{Histories, Series};
use crate::flag::table::FlagTable;
use crate::job::settings::keep_queues_declared;
use crate::job::tend::Tended;
use crate::limit::table::LimitTable;
use crate::places::{Place, Places};
use crate::session::settings::SessionSettings;
use crate::stream::settings::keep_declared;
use crate::webhook::address::Addresses;
use crate::webhook::runs::Runs;
use crate::{job, stream};

const CONTACT_EVERY: Duration = Duration::from_millis(50);
/// Requests that hold megabytes, or look at thousands of keys.
const HEAVY_AT_ONCE_MAX: usize = 4;
/// Requests that change as many jobs as there are: they take their time, and whoever looks meanwhile is not to wait for it.
const BULK_AT_ONCE_MAX: usize = 4;
const BULK_OF_TENANT_MAX: usize = 2;
/// Requests that wait in line for a lock, or for the end of a job: they need little, but a place among all requests.
const WAITING_AT_ONCE_MAX: usize = 1_024;
/// Streams that tell of changed flags, or of lags: each is a connection.
const LISTENING_AT_ONCE_MAX: usize = 1_024;
/// Streams that tell of events: each is a connection to the store, too.
const TAILING_AT_ONCE_MAX: usize = 128;
/// Pulls that wait for the first event: each has connections to the store, too.
const PULLING_AT_ONCE_MAX: usize = 256;
const PULLING_OF_TENANT_MAX: usize = 64;
/// The same of jobs: a worker that has nothing to do waits so all the time.
const RESERVING_AT_ONCE_MAX: usize = 512;
const RESERVING_OF_TENANT_MAX: usize = 128;
/// How long the hub's end waits for jobs to be given back of which nobody was told.
const RESERVES_END_MAX: Duration = Duration::from_secs(3);
/// Of bodies that are read before their request has such a place, in bytes.
const HELD_LEN_MAX: usize = 128 << 20;
/// What is said when there is no place for one more of them.
pub(crate) const BUSY: &str = "too many requests of this kind at once: try again soon";

/// A hub's state. Cheap to clone.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    /// Where someone has to say who they are.
    auth: Option<Auth>,
    sinew: Sinew,
    /// Empty, and under the same names.
    rehearsal: Sinew,
    caches: CacheTable,
    limits: LimitTable,
    sessions: SessionSettings,
    flags: FlagTable,
    deliveries: Runs,
    queue_runs: Runs,
    tended: Tended,
    addresses: Addresses,
    tenancy: Tenancy,
    metrics: PrometheusHandle,
    series: Series,
    histories: Histories,
    heavy: Arc<Semaphore>,
    bulk: Places,
    waiting: Arc<Semaphore>,
    listening: Arc<Semaphore>,
    tailing: Arc<Semaphore>,
    pulling: Places,
    reserving: Places,
    held: Arc<Semaphore>,
    up_since: Instant,
    stopping: watch::Sender<bool>,
    was_up: OnceLock<()>,
}

impl Hub {
    /// A hub on an open store.
    ///
    /// # Errors
    /// As [`Config::open_empty`], and `Rejected` for sessions of the dashboard that cannot be as long as they
    /// are said to be.
    pub fn new(sinew: Sinew, config: &Config, metrics: PrometheusHandle) -> sinew::Result<Self> {
        let stopping = watch::Sender::new(false);
        let hub = Self(Arc::new(Inner {
            auth: Auth::open(&sinew, &config.auth)?,
            series: Series::sampling(sinew.clone()),
            rehearsal: config.open_empty()?,
            limits: LimitTable::new(&sinew, config.limits.clone()),
            flags: FlagTable::new(config.flags_env.clone()),
            deliveries: stream::webhook::start(
                sinew.clone(),
                &config.webhooks,
                stopping.subscribe(),
            ),
            tended: Tended::new(),
            queue_runs: job::webhook::start(sinew.clone(), &config.webhooks, stopping.subscribe()),
            addresses: config.webhooks.addresses(),
            sinew,
            caches: config.caches.clone(),
            sessions: config.sessions.clone(),
            tenancy: config.tenancy(),
            metrics,
            histories: Histories::default(),
            heavy: Arc::new(Semaphore::new(HEAVY_AT_ONCE_MAX)),
            bulk: Places::new(BULK_AT_ONCE_MAX, BULK_OF_TENANT_MAX),
            waiting: Arc::new(Semaphore::new(WAITING_AT_ONCE_MAX)),
            listening: Arc::new(Semaphore::new(LISTENING_AT_ONCE_MAX)),
            tailing: Arc::new(Semaphore::new(TAILING_AT_ONCE_MAX)),
            pulling: Places::new(PULLING_AT_ONCE_MAX, PULLING_OF_TENANT_MAX),
            reserving: Places::new(RESERVING_AT_ONCE_MAX, RESERVING_OF_TENANT_MAX),
            held: Arc::new(Semaphore::new(HELD_LEN_MAX)),
            up_since: Instant::now(),
            stopping,
            was_up: OnceLock::new(),
        }));
        tokio::spawn(hub.clone().note_first_contact());
        tokio::spawn(keep_declared(hub.sinew().clone(), config.topics.clone()));
        tokio::spawn(keep_queues_declared(hub.sinew().clone(), config.queues.clone()));
        Ok(hub)
    }

    async fn note_first_contact(self) {
        while self.0.sinew.until_up().await.is_err() {
            // It returns at once when the store refuses for good, and someone may repair that.
            tokio::time::sleep(CONTACT_EVERY).await;
        }
        let _ = self.0.was_up.set(());
    }

    /// Who may do what; `None` where anyone may do everything.
    pub(crate) fn auth(&self) -> Option<&Auth> {
        self.0.auth.as_ref()
    }

    pub(crate) fn sinew(&self) -> &Sinew {
        &self.0.sinew
    }

    pub(crate) fn series(&self) -> &Series {
        &self.0.series
    }

    /// How far behind groups were, of the topics that are looked at.
    pub(crate) fn histories(&self) -> &Histories {
        &self.0.histories
    }

    pub(crate) fn metrics(&self) -> String {
        self.0.metrics.render()
    }

    pub(crate) fn up_since(&self) -> Instant {
        self.0.up_since
    }

    /// Whether the store ever answered.
    pub(crate) fn was_up(&self) -> bool {
        self.0.was_up.get().is_some()
    }

    /// Turns true when the hub is to stop.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.0.stopping.subscribe()
    }

    pub(crate) fn stop(&self) {
        self.0.stopping.send_replace(true);
    }

    /// A cache as a tenant sees it, kept as the configuration says.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub(crate) fn open(&self, cache: &str, tenant: Option<&Tenant>) -> Result<Documents, String> {
        let scope = scope_of(&self.0.sinew, tenant)?;
        documents(&scope, cache, self.0.caches.of(cache)).map_err(|error| error.to_string())
    }

    /// What the entries of a cache have to be.
    ///
    /// # Errors
    /// As [`Hub::open`].
    pub(crate) fn rules(&self, cache: &str, tenant: Option<&Tenant>) -> Result<Rules, String> {
        let scope = scope_of(&self.0.rehearsal, tenant)?;
        Rules::new(&scope, cache, self.0.caches.of(cache)).map_err(|error| error.to_string())
    }

    /// The locks of a tenant.
    ///
    /// # Errors
    /// As [`Hub::open`].
    pub(crate) fn locks(&self, tenant: Option<&Tenant>) -> Result<Locks, String> {
        Ok(scope_of(&self.0.sinew, tenant)?.locks())
    }

    /// The rate limits of a tenant.
    ///
    /// # Errors
    /// As [`Hub::open`].
    pub(crate) fn limiter(&self, tenant: Option<&Tenant>) -> Result<Limiter, String> {
        Ok(scope_of(&self.0.sinew, tenant)?.limiter())
    }

    /// The sessions of a tenant's users, kept as the configuration says.
    ///
    /// # Errors
    /// As [`Hub::open`].
    pub(crate) fn sessions(&self, tenant: Option<&Tenant>) -> Result<Sessions, String> {
        let scope = scope_of(&self.0.sinew, tenant)?;
        self.0.sessions.open(&scope).map_err(|error| error.to_string())
    }

    /// The limits that are defined.
    pub(crate) fn limits(&self) -> &LimitTable {
        &self.0.limits
    }

    /// The flags of a tenant in an environment: in the configured one where none is named. The first who
    /// asks for them waits until they are known, or until the store has taken too long.
    ///
    /// # Errors
    /// As [`Hub::open`].
    pub(crate) async fn flags(
        &self,
        tenant: Option<&Tenant>,
        env: Option<&str>,
    ) -> Result<Flags, String> {
        let scope = scope_of(&self.0.sinew, tenant)?;
        self.0.flags.open(&scope, tenant, env).await
    }

    /// The streams of a tenant.
    ///
    /// # Errors
    /// As [`Hub::open`].
    pub(crate) fn streams(&self, tenant: Option<&Tenant>) -> Result<Streams, String> {
        Ok(scope_of(&self.0.sinew, tenant)?.streams())
    }

    /// The background jobs of a tenant.
    ///
    /// # Errors
    /// As [`Hub::open`].
    pub(crate) fn jobs(&self, tenant: Option<&Tenant>) -> Result<Jobs, String> {
        Ok(scope_of(&self.0.sinew, tenant)?.jobs())
    }

    /// The environment whose flags are meant where none is named.
    pub(crate) fn flags_env(&self) -> &str {
        self.0.flags.default_env()
    }

    /// The webhooks that this hub delivers.
    pub(crate) fn deliveries(&self) -> &Runs {
        &self.0.deliveries
    }

    /// The webhooks of queues that this hub runs.
    pub(crate) fn queue_runs(&self) -> &Runs {
        &self.0.queue_runs
    }

    /// The queues that this hub looks after.
    pub(crate) fn tended(&self) -> &Tended {
        &self.0.tended
    }

    /// Where webhooks may be delivered to.
    pub(crate) fn addresses(&self) -> &Addresses {
        &self.0.addresses
    }

    /// How caches are kept.
    pub(crate) fn caches(&self) -> &CacheTable {
        &self.0.caches
    }

    /// What each cache did, those that the configuration names and no one has used yet included.
    pub(crate) fn cache_stats(&self) -> BTreeMap<String, Stats> {
        let mut all = self.0.sinew.cache_stats();
        for name in self.0.caches.names() {
            all.entry(name.to_owned()).or_default();
        }
        all
    }

    /// Whether entries belong to tenants.
    pub(crate) fn has_tenants(&self) -> bool {
        self.0.tenancy == Tenancy::Multi
    }

    /// A place among the few requests that are heavy, if there is one.
    pub(crate) fn heavy_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.heavy).try_acquire_owned().ok()
    }

    /// A place among those that change all that there is, if there is one for the tenant.
    pub(crate) fn bulk_place(&self, tenant: Option<&str>) -> Option<Place> {
        self.0.bulk.take(tenant)
    }

    /// A place among the requests that wait in line for a lock, or for the end of a job, if there is one.
    pub(crate) fn waiting_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.waiting).try_acquire_owned().ok()
    }

    /// A place among those who are told of changed flags or of lags, if there is one.
    pub(crate) fn listening_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.listening).try_acquire_owned().ok()
    }

    /// A place among those who are told of events, if there is one.
    pub(crate) fn tailing_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.tailing).try_acquire_owned().ok()
    }

    /// A place among the pulls that wait for an event, if there is one for the tenant.
    pub(crate) fn pulling_place(&self, tenant: Option<&str>) -> Option<Place> {
        self.0.pulling.take(tenant)
    }

    /// A place among those who wait for a job to run, if there is one for the tenant.
    pub(crate) fn reserving_place(&self, tenant: Option<&str>) -> Option<Place> {
        self.0.reserving.take(tenant)
    }

    /// Turns ready when all jobs wait again that were taken for nobody, or after a while.
    pub(crate) async fn reserves_ended(&self) {
        let _ = tokio::time::timeout(RESERVES_END_MAX, self.0.sinew.jobs().settled()).await;
    }

    /// Room for so many bytes of a body, if there is some.
    pub(crate) fn room_for(&self, len: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.held).try_acquire_many_owned(u32::try_from(len).ok()?).ok()
    }
}

fn scope_of(sinew: &Sinew, tenant: Option<&Tenant>) -> Result<Sinew, String> {
    match tenant {
        None => Ok(sinew.clone()),
        // Its name is good: what is left is that there are none.
        Some(tenant) => sinew
            .tenant(tenant.as_str())
            .map_err(|_| "this hub serves a single tenant: expected none to be named".to_owned()),
    }
}
