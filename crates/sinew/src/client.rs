//! The handle that everything begins with.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::{self, CacheBuilder, MemoryBackend};
use crate::flag::{self, FlagsBuilder};
use crate::job::{self, Jobs};
use crate::kernel::breaker::Breaker;
use crate::kernel::clock::Clock;
use crate::kernel::error::{Error, Result};
use crate::kernel::key::Scope;
use crate::kernel::name::{Prefix, Space, Tenancy, Tenant};
use crate::kernel::pattern::Selection;
#[cfg(feature = "redis")]
use crate::kernel::redis::{Hook, Link, Target, permission_hook};
use crate::kernel::status::Status;
use crate::limit::{self, LimitDefinitions, Limiter};
use crate::lock::{self, Locks};
use crate::session::{self, SessionsBuilder};
use crate::stream::{self, Streams};

const DEADLINE_DEFAULT: Duration = Duration::from_millis(250);
const DEADLINE_MAX: Duration = Duration::from_secs(60);
const VALUE_LEN_DEFAULT: usize = 1 << 20;
/// What one embedded store keeps, in bytes.
const MEMORY_MAX: usize = 256 << 20;
/// The same of limits.
const LIMITS_MEMORY_MAX: usize = 64 << 20;

/// A deployment of Redis, or the embedded store, seen as one tenant. Cheap to clone.
///
/// [`Sinew::tenant`] gives the same deployment seen as another.
#[derive(Clone)]
pub struct Sinew {
    deployment: Arc<Deployment>,
    scope: Scope,
}

struct Deployment {
    prefix: Prefix,
    tenancy: Tenancy,
    value_len_max: usize,
    store: Store,
    caches: Arc<cache::Engine>,
    locks: Arc<lock::Engine>,
    limits: Arc<limit::Engine>,
    sessions: Arc<session::Engine>,
    flags: Arc<flag::Engine>,
    streams: Arc<stream::Engine>,
    jobs: Arc<job::Engine>,
}

/// What each capability works with.
struct Engines {
    caches: cache::Store,
    locks: Arc<lock::Engine>,
    limits: Arc<limit::Engine>,
    sessions: Arc<session::Engine>,
    flags: Arc<flag::Engine>,
    streams: Arc<stream::Engine>,
    jobs: Arc<job::Engine>,
}

enum Store {
    Embedded,
    #[cfg(feature = "redis")]
    Redis(Link),
}

impl Sinew {
    /// Connects to Redis, or Valkey:
    ///
    /// - `redis://[user:password@]host[:port][/database]`, one server
    /// - `rediss://…`, over TLS, with `?ca=FILE`, `&cert=FILE&key=FILE` and `&server_name=NAME`
    ///   where the system's authorities will not do
    /// - `unix:///path/to/socket`
    /// - `redis-sentinel://host,host,host/primary-name`, whichever server is the primary
    /// - `redis-cluster://host,host,host`, a cluster that one of these is in
    /// - `host:port,password=…,ssl=true`, as StackExchange.Redis has it. With
    ///   `abortConnect=False` it succeeds although Redis is away.
    ///
    /// # Errors
    /// In under two seconds: `Misconfigured` for a bad URL or a server that will not do, `Denied`
    /// for wrong credentials, `Unavailable` when there is no server. Once connected, it
    /// reconnects for ever.
    #[cfg(feature = "redis")]
    pub async fn connect(url: &str) -> Result<Self> {
        Self::builder().connect(url).await
    }

    /// Connects to Redis in the background, for a service that is to start without it.
    ///
    /// # Errors
    /// `Misconfigured` for a bad URL. What else may be wrong, [`Sinew::status`] says.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    #[cfg(feature = "redis")]
    pub fn connect_lazy(url: &str) -> Result<Self> {
        Self::builder().connect_lazy(url)
    }

    /// Keeps everything in this process: for development, tests and single processes. Nothing
    /// is left after a restart. All clones share the store.
    ///
    /// It is bounded: 256 MiB of entries, of which those go first that would expire first; 64 MiB of
    /// what limits count, of which that goes first which was not asked for the longest time; 64 MiB of
    /// sessions, of which those end first that would end first; 64 MiB of events and 64 MiB of jobs, of which none
    /// goes: more are refused.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    #[must_use]
    pub fn embedded() -> Self {
        Self::builder().open_embedded(Prefix::default())
    }

    /// Settings for what differs from the defaults.
    pub fn builder() -> Builder {
        Builder {
            prefix: String::new(),
            tenancy: Tenancy::default(),
            clock: Clock::system(),
            deadline: None,
            value_len_max: VALUE_LEN_DEFAULT,
        }
    }

    /// The same deployment, seen as one tenant: every key of the handle is that tenant's.
    ///
    /// # Errors
    /// `Rejected` for a bad name, `Misconfigured` in a single-tenant deployment.
    pub fn tenant(&self, name: impl AsRef<str>) -> Result<Self> {
        let tenant = Tenant::new(name)?;
        if self.deployment.tenancy == Tenancy::Single {
            return Err(Error::misconfigured(
                "this deployment is single-tenant: expected Tenancy::Multi for tenant()",
            ));
        }
        Ok(Self {
            deployment: Arc::clone(&self.deployment),
            scope: Scope::tenant(&self.deployment.prefix, &tenant),
        })
    }

    /// A cache of this tenant. Its name is also the part of the keys after the tenant, so two
    /// caches of one name are one cache, and its statistics go by it.
    pub fn cache(&self, name: &str) -> CacheBuilder {
        CacheBuilder::new(Arc::clone(&self.deployment.caches), self.scope.clone(), name)
    }

    /// The rate limits of this tenant; see [`crate::limit`].
    #[must_use]
    pub fn limiter(&self) -> Limiter {
        Limiter::new(Arc::clone(&self.deployment.limits), self.scope.clone())
    }

    /// The limits that are defined in the store, for all tenants.
    #[must_use]
    pub fn limit_definitions(&self) -> LimitDefinitions {
        LimitDefinitions::new(Arc::clone(&self.deployment.limits))
    }

    /// The feature flags of this tenant; see [`crate::flag`].
    pub fn flags(&self) -> FlagsBuilder {
        FlagsBuilder::new(Arc::clone(&self.deployment.flags), self.scope.clone())
    }

    /// The locks of this tenant; see [`crate::lock`].
    #[must_use]
    pub fn locks(&self) -> Locks {
        Locks::new(Arc::clone(&self.deployment.locks), self.scope.clone())
    }

    /// The sessions of this tenant; see [`crate::session`].
    pub fn sessions(&self) -> SessionsBuilder {
        SessionsBuilder::new(Arc::clone(&self.deployment.sessions), self.scope.clone())
    }

    /// The event streams of this tenant; see [`crate::stream`].
    #[must_use]
    pub fn streams(&self) -> Streams {
        Streams::new(Arc::clone(&self.deployment.streams), self.scope.clone())
    }

    /// The background jobs of this tenant; see [`crate::job`].
    #[must_use]
    pub fn jobs(&self) -> Jobs {
        Jobs::new(Arc::clone(&self.deployment.jobs), self.scope.clone())
    }

    /// Which tenants have webhooks, for whoever delivers to them; `None` is what belongs to no tenant. 10,000 at most.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down.
    pub async fn webhook_tenants(&self) -> Result<Vec<Option<String>>> {
        self.deployment.streams.webhook_tenants().await
    }

    /// Which tenants have webhooks of queues, for whoever runs them; `None` is what belongs to no tenant. 10,000 at most.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down.
    pub async fn queue_webhook_tenants(&self) -> Result<Vec<Option<String>>> {
        self.deployment.jobs.webhook_tenants().await
    }

    /// Removes every entry of every cache and tenant under this prefix, and says how many there were.
    ///
    /// It looks at every key of the deployment in small steps: for people, not for requests.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down, and then some entries may be gone and
    /// others not.
    pub async fn clear_caches(&self) -> Result<u64> {
        let Deployment { prefix, tenancy, caches, .. } = &*self.deployment;
        let all = Selection::Everything { prefix: prefix.clone(), tenancy: *tenancy };
        caches.invalidate_all(&all).await
    }

    /// Whether a cache may have this name, without making one.
    ///
    /// # Errors
    /// `Rejected` with the rule when it may not.
    pub fn check_cache_name(name: &str) -> Result<()> {
        Space::new(name).map(|_| ())
    }

    /// Whether [`Sinew::connect`] would take this URL, without connecting.
    ///
    /// # Errors
    /// `Misconfigured`, naming the part that is wrong and never the password.
    #[cfg(feature = "redis")]
    pub fn check_url(url: &str) -> Result<()> {
        Target::parse(url).map(|_| ())
    }

    /// What each cache did in this process, by name, over all tenants.
    #[must_use]
    pub fn cache_stats(&self) -> BTreeMap<String, cache::Stats> {
        self.deployment.caches.stats()
    }

    /// Whether the store is connected. One that stopped answering is noticed within seconds; whether
    /// calls are held back meanwhile, [`Sinew::breakers`] say.
    #[must_use]
    pub fn status(&self) -> Status {
        match &self.deployment.store {
            Store::Embedded => Status::Up,
            #[cfg(feature = "redis")]
            Store::Redis(link) => link.status().borrow().clone(),
        }
    }

    /// Waits up to two seconds for the first connection.
    ///
    /// # Errors
    /// Why there is none, as [`Sinew::connect`].
    #[cfg_attr(not(feature = "redis"), allow(clippy::unused_async))]
    pub async fn until_up(&self) -> Result<()> {
        match &self.deployment.store {
            Store::Embedded => Ok(()),
            #[cfg(feature = "redis")]
            Store::Redis(link) => link.until_up().await,
        }
    }

    /// The circuit breakers, one for each primary of Redis that is known now. The embedded store
    /// has none.
    #[must_use]
    pub fn breakers(&self) -> Vec<Breaker> {
        match &self.deployment.store {
            Store::Embedded => Vec::new(),
            #[cfg(feature = "redis")]
            Store::Redis(link) => link.breakers(),
        }
    }

    /// The store in words: `embedded`, or `redis` with host and port. Never a password.
    #[must_use]
    pub fn store(&self) -> String {
        match &self.deployment.store {
            Store::Embedded => "embedded".to_owned(),
            #[cfg(feature = "redis")]
            Store::Redis(link) => format!("redis {}", link.address()),
        }
    }

    /// The largest value in bytes, as JSON.
    #[must_use]
    pub fn value_len_max(&self) -> usize {
        self.deployment.value_len_max
    }
}

impl fmt::Debug for Sinew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sinew")
            .field("store", &self.store())
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// Settings of a [`Sinew`] being put together.
#[derive(Clone, Debug)]
#[must_use = "a handle is made by connect(), connect_lazy() or embedded()"]
pub struct Builder {
    prefix: String,
    tenancy: Tenancy,
    clock: Clock,
    deadline: Option<Duration>,
    value_len_max: usize,
}

impl Builder {
    /// What all keys begin with: empty, or up to 64 of `[A-Za-z0-9_.-]` ending in `_`, e.g.
    /// `BillingService_`. Empty unless said.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Whether keys have a tenant part. [`Tenancy::Multi`] unless said. Redis remembers it.
    pub fn tenancy(mut self, tenancy: Tenancy) -> Self {
        self.tenancy = tenancy;
        self
    }

    /// Where the time comes from.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// How long a call of Redis may take: 1 ms to 60 s. 250 ms unless said.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The largest value in bytes, as JSON: 1 MiB unless said, 512 MiB at most.
    pub fn value_len_max(mut self, bytes: usize) -> Self {
        self.value_len_max = bytes;
        self
    }

    /// Connects, and waits for it; see [`Sinew::connect`].
    ///
    /// # Errors
    /// As [`Sinew::connect`], and `Rejected` for a setting out of bounds.
    #[cfg(feature = "redis")]
    pub async fn connect(self, url: &str) -> Result<Sinew> {
        let target = Target::parse(url)?;
        let sinew = self.open(&target)?;
        match sinew.until_up().await {
            Err(error) if target.starts_without && error.is_retryable() => {}
            outcome => outcome?,
        }
        Ok(sinew)
    }

    /// Connects in the background; see [`Sinew::connect_lazy`].
    ///
    /// # Errors
    /// As [`Sinew::connect_lazy`], and `Rejected` for a setting out of bounds.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    #[cfg(feature = "redis")]
    pub fn connect_lazy(self, url: &str) -> Result<Sinew> {
        self.open(&Target::parse(url)?)
    }

    #[cfg(feature = "redis")]
    fn open(mut self, target: &Target) -> Result<Sinew> {
        self.deadline = self.deadline.or(target.deadline);
        let prefix = self.check()?;
        let deadline = self.deadline.unwrap_or(DEADLINE_DEFAULT);
        let hooks = vec![
            permission_hook(
                target.user().to_owned(),
                prefix.as_str().to_owned(),
                cache::RedisBackend::commands(&Scope::deployment_record(&prefix)),
            ),
            tenancy_hook(&prefix, self.tenancy),
        ];
        let link = Link::open(target, deadline, hooks)?;
        let backend = cache::RedisBackend::new(link.clone(), prefix.clone(), self.tenancy);
        let locks = lock::Engine::on_redis(link.clone(), &prefix);
        let limits = limit::Store::Redis(limit::RedisBackend::new(link.clone(), &prefix));
        let limits = limit::Engine::new(limits, self.clock.clone());
        let flags = flag::Store::Redis(flag::RedisBackend::new(link.clone()));
        let flags = flag::Engine::new(flags, self.clock.clone());
        let caches = cache::Store::Redis(backend);
        let sessions = session::Engine::on_redis(link.clone(), self.value_len_max);
        let streams =
            stream::Engine::on_redis(link.clone(), self.clock.clone(), &prefix, self.value_len_max);
        let jobs =
            job::Engine::on_redis(link.clone(), self.clock.clone(), &prefix, self.value_len_max);
        let engines = Engines { caches, locks, limits, sessions, flags, streams, jobs };
        Ok(self.assemble(prefix, Store::Redis(link), engines))
    }

    /// Keeps everything in this process; see [`Sinew::embedded`].
    ///
    /// # Errors
    /// `Rejected` for a setting out of bounds.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn embedded(self) -> Result<Sinew> {
        let prefix = self.check()?;
        Ok(self.open_embedded(prefix))
    }

    fn open_embedded(self, prefix: Prefix) -> Sinew {
        let backend = MemoryBackend::new(self.clock.clone(), MEMORY_MAX);
        let locks = lock::Engine::embedded(self.clock.clone());
        let limits = limit::MemoryBackend::new(self.clock.clone(), LIMITS_MEMORY_MAX);
        let limits = limit::Engine::new(limit::Store::Memory(Box::new(limits)), self.clock.clone());
        let flags = flag::Store::Memory(flag::MemoryBackend::new(self.clock.clone()));
        let flags = flag::Engine::new(flags, self.clock.clone());
        let caches = cache::Store::Memory(backend);
        let sessions = session::Engine::embedded(self.clock.clone(), self.value_len_max);
        let streams = stream::Engine::embedded(self.clock.clone(), &prefix, self.value_len_max);
        let jobs = job::Engine::embedded(self.clock.clone(), &prefix, self.value_len_max);
        let engines = Engines { caches, locks, limits, sessions, flags, streams, jobs };
        self.assemble(prefix, Store::Embedded, engines)
    }

    fn assemble(self, prefix: Prefix, store: Store, engines: Engines) -> Sinew {
        let Engines { caches, locks, limits, sessions, flags, streams, jobs } = engines;
        let scope = Scope::unscoped(&prefix, self.tenancy);
        let caches = cache::Engine::new(caches, self.clock, self.value_len_max);
        let deployment = Arc::new(Deployment {
            prefix,
            tenancy: self.tenancy,
            value_len_max: self.value_len_max,
            store,
            caches,
            locks,
            limits,
            sessions,
            flags,
            streams,
            jobs,
        });
        Sinew { deployment, scope }
    }

    fn check(&self) -> Result<Prefix> {
        let deadline = self.deadline.unwrap_or(DEADLINE_DEFAULT);
        if deadline < Duration::from_millis(1) || deadline > DEADLINE_MAX {
            return Err(Error::rejected(format!(
                "a deadline of {deadline:?} is out of bounds: expected 1 ms to 60 s"
            )));
        }
        // Redis's own limit for one string.
        if self.value_len_max == 0 || self.value_len_max > 512 << 20 {
            return Err(Error::rejected(format!(
                "a value limit of {} bytes is out of bounds: expected 1 byte to 512 MiB",
                self.value_len_max
            )));
        }
        Prefix::new(&self.prefix)
    }
}

/// Records the tenancy of a deployment at first use, and refuses a client of the other kind:
/// its keys could equal those of a tenant.
#[cfg(feature = "redis")]
fn tenancy_hook(prefix: &Prefix, tenancy: Tenancy) -> Hook {
    let (record, prefix) = (Scope::deployment_record(prefix), prefix.clone());
    Arc::new(move |connection| {
        let (record, prefix) = (record.clone(), prefix.clone());
        Box::pin(async move {
            let recorded = crate::kernel::redis::record_once(&connection, &record, tenancy.name());
            match recorded.await? {
                found if found == tenancy.name() => Ok(()),
                found => Err(Error::misconfigured(format!(
                    "prefix {:?} is used as {found}-tenant in this Redis, and this client expected {}-tenant; where that is a mistake of the past, delete the key {record}",
                    prefix.as_str(),
                    tenancy.name()
                ))),
            }
        })
    })
}
