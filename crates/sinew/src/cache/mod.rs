//! Cache-aside with promises.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use sinew::{Cache, Sinew};
//!
//! # #[derive(serde::Serialize, serde::Deserialize)] struct User { name: String }
//! # struct Db; impl Db { async fn user(&self, _: u64) -> Result<User, std::io::Error> { Ok(User { name: "Ada".into() }) } }
//! # let db = std::sync::Arc::new(Db);
//! let sinew = Sinew::embedded();
//! let acme = sinew.tenant("acme")?;
//! let users: Cache<u64, User> = acme.cache("user").ttl(Duration::from_secs(300)).build()?;
//!
//! let user = users.get_or_load(&7, move || async move { db.user(7).await }).await?;
//! assert_eq!(user.name, "Ada");
//! users.invalidate(&7).await?;
//! # Ok(()) }
//! ```
//!
//! # What it promises
//!
//! 1. **One load.** Callers in any number of processes that miss the same key cause one load.
//! 2. **Invalidation wins.** After [`Cache::invalidate`] has returned [`Invalidated::Done`], no call
//!    that starts later gets a value whose load began before.
//! 3. **The cache never breaks the caller.** Redis slow, gone or full of garbage is a miss and a
//!    metric. Loads run in tasks of their own: cancelling one caller never cancels the load that
//!    others wait for.
//! 4. **Nothing lives for ever.** Every entry has a TTL, set in the same command.
//! 5. **Tenants never meet.** A key of one tenant cannot equal a key of another.
//!
//! `docs/semantics.md` says what each becomes when Redis is slow, gone or failed over.

// Without Redis, a token need not travel.
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
mod backend;
mod flight;
mod load;
mod memory;
mod model;
mod outage;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod replay;
mod stats;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::kernel::clock::Clock;
use crate::kernel::envelope::Envelope;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::{CacheKey, Key, Scope};
use crate::kernel::name::Space;
use crate::kernel::pattern::{Pattern, Selection};
use crate::kernel::ttl::Ttl;
use flight::Flights;
use load::Miss;
use model::Policy;
use outage::Copies;
use stats::Recorder;

use backend::Backend;
pub use backend::Invalidated;
pub(crate) use backend::Store;
pub use load::{LoadError, Source, Traced};
pub(crate) use memory::MemoryBackend;
pub use outage::Outage;
#[cfg(feature = "redis")]
pub(crate) use redis::RedisBackend;
pub use stats::Stats;

/// Values of type `V` under keys of type `K`, in one tenant. Cheap to clone.
///
/// Two handles of the same name and tenant are the same cache: they share loads and counters.
pub struct Cache<K: ?Sized, V> {
    shared: Arc<Shared>,
    types: PhantomData<fn(&K) -> V>,
}

impl<K: ?Sized, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), types: PhantomData }
    }
}

/// Caches beyond this number are counted together, as one of this name.
const RECORDERS_MAX: usize = 1_000;
const OTHER_CACHES: &str = "other";

/// What all caches of one client share.
pub(crate) struct Engine {
    backend: Store,
    flights: Arc<Flights>,
    copies: Copies,
    clock: Clock,
    value_len_max: usize,
    // By name, over all tenants.
    recorders: DashMap<String, Arc<Recorder>>,
}

struct Shared {
    engine: Arc<Engine>,
    scope: Scope,
    policy: Policy,
    recorder: Arc<Recorder>,
}

impl<K: CacheKey + ?Sized, V> Cache<K, V>
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    /// Looks an entry up, and never loads.
    ///
    /// # Errors
    /// Only `Rejected`, for a key that cannot exist.
    ///
    /// # When Redis is down
    /// `None`, and the failure is counted; with [`Outage::Local`], what this process keeps.
    pub async fn get(&self, key: &K) -> Result<Option<Arc<V>>> {
        let key = self.key(key)?;
        match self.shared.look_up::<V>(&key).await {
            Ok(found) => Ok(Some(found.value)),
            Err(_) => {
                self.shared.recorder.missed();
                Ok(None)
            }
        }
    }

    /// Whether [`Cache::get`] would find the entry now. Not counted as a look-up.
    ///
    /// # Errors
    /// Only `Rejected`, for a key that cannot exist.
    ///
    /// # When Redis is down
    /// `false`, and the failure is counted.
    pub async fn exists(&self, key: &K) -> Result<bool> {
        let key = self.key(key)?;
        Ok(self.shared.read::<V>(&key).await.is_ok())
    }

    /// Looks an entry up; on a miss loads it, once for all callers of the fleet, and stores it.
    ///
    /// The load runs in a task of its own, so the loader has to own what it uses. In a service
    /// struct, clone the parts that it needs:
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # struct Db; impl Db { async fn user(&self, id: u64) -> Result<String, std::io::Error> { Ok(id.to_string()) } }
    /// struct Users {
    ///     db: Arc<Db>,
    ///     cache: sinew::Cache<u64, String>,
    /// }
    ///
    /// impl Users {
    ///     async fn user(&self, id: u64) -> Result<Arc<String>, sinew::LoadError<std::io::Error>> {
    ///         let db = Arc::clone(&self.db);
    ///         self.cache.get_or_load(&id, move || async move { db.user(id).await }).await
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// [`LoadError::Source`] with the loader's own error, which is not cached.
    ///
    /// # Cancellation
    /// Dropping the future leaves a load that has begun running: it still fills the cache.
    ///
    /// # When Redis is down
    /// The value is loaded, once for all callers in this process, and not stored; with
    /// [`Outage::Local`] it is kept in this process for a short time.
    pub async fn get_or_load<F, Fut, E>(&self, key: &K, loader: F) -> Result<Arc<V>, LoadError<E>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
        E: Send + Sync + 'static,
    {
        Ok(self.get_or_load_traced(key, loader).await?.value)
    }

    /// [`Cache::get_or_load`] that also says where the value was found.
    ///
    /// # Errors
    /// As [`Cache::get_or_load`].
    pub async fn get_or_load_traced<F, Fut, E>(
        &self,
        key: &K,
        loader: F,
    ) -> Result<Traced<V>, LoadError<E>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
        E: Send + Sync + 'static,
    {
        let shared = &self.shared;
        let key = self.key(key).map_err(LoadError::Rejected)?;
        let began = shared.engine.flights.now();
        match shared.look_up(&key).await {
            Ok(found) => Ok(found),
            // Boxed: a hit should not carry the room that a load needs.
            Err(miss) => Box::pin(load::load(shared, key, began, miss, loader)).await,
        }
    }

    /// Stores a value for the cache's TTL.
    ///
    /// After it has returned, a load that began before does not overwrite the value. Where
    /// writers race each other, [`Cache::invalidate`] after the commit is the safe choice.
    ///
    /// # Errors
    /// `Rejected` for a key or value over the limit; `Unavailable` or `Timeout` when Redis is
    /// down, and then the value may or may not have been stored. It is never sent twice.
    pub async fn put(&self, key: &K, value: &V) -> Result<()> {
        self.put_with_ttl(key, value, self.shared.policy.ttl).await
    }

    /// Stores a value for a TTL of its own. See [`Cache::put`].
    ///
    /// # Errors
    /// As [`Cache::put`].
    pub async fn put_with_ttl(&self, key: &K, value: &V, ttl: Ttl) -> Result<()> {
        let key = self.key(key)?;
        let (entry, ttl) = self.shared.seal(value, ttl)?;
        // Whatever becomes of it: what was loaded before is not what the caller means any more.
        self.shared.engine.close(&key);
        let stored = self.shared.engine.backend.put(&key, entry, ttl).await;
        self.shared.engine.close(&key);
        stored
    }

    /// Removes an entry, and keeps loads that have begun from bringing it back.
    ///
    /// Call it after the commit of the change, never inside the transaction: in between,
    /// another process could load and store the old value.
    ///
    /// # Errors
    /// `Rejected` for a key that cannot exist; `Denied` when Redis forbids it.
    ///
    /// # Cancellation
    /// Once polled, it runs to its end even if the future is dropped.
    ///
    /// # When Redis is down
    /// [`Invalidated::Queued`]: it is kept, and sent as soon as it can be. Until then this process
    /// loads the entry from its source.
    pub async fn invalidate(&self, key: &K) -> Result<Invalidated> {
        let (key, engine) = (self.key(key)?, Arc::clone(&self.shared.engine));
        to_the_end(async move {
            engine.close(&key);
            let invalidated = engine.backend.invalidate(&key).await;
            // Again: a load without Redis may have begun in between.
            engine.close(&key);
            invalidated
        })
        .await
    }

    /// Removes every entry of this tenant and space whose key matches, and says how many there
    /// were. `*` stands for any text and `?` for one byte, in the key as `redis-cli` shows it,
    /// after the cache's name: `*:list`, `4?6`.
    ///
    /// It looks at every key of the deployment in small steps: for people, not for requests.
    ///
    /// # Errors
    /// `Rejected` for a bad pattern; `Unavailable` or `Timeout` when Redis is down, and then
    /// some entries may be gone and others not.
    pub async fn invalidate_matching(&self, pattern: &str) -> Result<u64> {
        let (scope, space) = (&self.shared.scope, &self.shared.policy.space);
        let pattern = Pattern::new(scope, space, pattern)?;
        self.shared.engine.invalidate_all(&Selection::Matching(pattern)).await
    }

    /// What caches of this name did in this process, over all tenants.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.recorder.stats()
    }

    fn key(&self, key: &K) -> Result<Key> {
        self.shared.scope.key(&self.shared.policy.space, key)
    }
}

impl Shared {
    /// Looks an entry up and counts a hit. A miss is counted by whoever knows how it ends.
    async fn look_up<V: DeserializeOwned>(&self, key: &Key) -> Result<Traced<V>, Miss> {
        let found = self.read(key).await?;
        self.recorder.looked_up(found.source);
        Ok(found)
    }

    async fn read<V: DeserializeOwned>(&self, key: &Key) -> Result<Traced<V>, Miss> {
        let (stored, source) = match self.engine.backend.read(key).await {
            Ok(answer) => {
                self.engine.copies.answered(key, || self.engine.clock.now());
                (answer.ok_or_else(Miss::default)?, self.engine.hit_source())
            }
            Err(error) => {
                self.recorder.shielded("read", &error);
                let copy = self.engine.copies.get(key, self.engine.clock.now());
                (copy.ok_or(Miss { store_is_gone: true, unusable: None })?, Source::Local)
            }
        };
        match self.open(&stored) {
            Ok(value) => Ok(Traced { value, source }),
            Err(error) => {
                self.recorder.shielded("decode", &error);
                Err(Miss::unusable(&stored))
            }
        }
    }

    fn open<V: DeserializeOwned>(&self, stored: &Bytes) -> Result<Arc<V>> {
        let envelope = Envelope::open(stored)
            .map_err(|why| Error::corrupt(format!("unreadable entry: {why:?}")))?;
        let value = serde_json::from_slice(envelope.payload);
        // Line and column only: the message of the codec may quote the value.
        value.map(Arc::new).map_err(|e| {
            let (line, column) = (e.line(), e.column());
            Error::corrupt(format!("the payload is not the expected type at {line}:{column}"))
        })
    }

    fn seal<V: Serialize>(&self, value: &V, ttl: Ttl) -> Result<(Bytes, Ttl)> {
        let payload = serde_json::to_vec(value)
            .map_err(|_| Error::rejected("the value cannot be written as JSON"))?;
        let now = self.engine.clock.wall();
        self.policy.seal(payload, ttl, now, fastrand::f64())
    }

    fn name(&self) -> &str {
        self.policy.space.as_str()
    }
}

impl Engine {
    pub(crate) fn new(backend: Store, clock: Clock, value_len_max: usize) -> Self {
        let (flights, copies, recorders) = (Arc::default(), Copies::new(), DashMap::new());
        Self { backend, flights, copies, clock, value_len_max, recorders }
    }

    /// Removes entries and closes the loads of their keys, before and after: a load without the
    /// store may have begun in between.
    pub(crate) async fn invalidate_all(&self, of: &Selection) -> Result<u64> {
        let close_all = || {
            self.flights.close_all(of);
            self.copies.remove_all(of);
        };
        close_all();
        let removed = self.backend.invalidate_all(of).await;
        close_all();
        removed
    }

    /// No later caller gets what a load under way brings, or what was kept of an earlier one.
    fn close(&self, key: &Key) {
        self.flights.close(key);
        self.copies.remove(key);
    }

    pub(crate) fn stats(&self) -> BTreeMap<String, Stats> {
        let each = |r: dashmap::mapref::multiple::RefMulti<'_, String, Arc<Recorder>>| {
            (r.key().clone(), r.stats())
        };
        self.recorders.iter().map(each).collect()
    }

    fn hit_source(&self) -> Source {
        if self.backend.is_local() { Source::Local } else { Source::Redis }
    }

    fn recorder(&self, name: &str) -> Arc<Recorder> {
        if let Some(recorder) = self.recorders.get(name) {
            return Arc::clone(&recorder);
        }
        // Each is a set of counters and of metrics: names made up by strangers share one.
        let name = if self.recorders.len() < RECORDERS_MAX { name } else { OTHER_CACHES };
        let recorder = self.recorders.entry(name.to_owned());
        Arc::clone(&recorder.or_insert_with(|| Arc::new(Recorder::new(name))))
    }
}

/// Runs to its end even if the caller goes away.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::new(
                ErrorKind::Unavailable { maybe_applied: true },
                "the runtime is stopping",
            )),
        },
    }
}

/// The settings of a cache being put together; see [`crate::Sinew::cache`].
#[must_use = "a cache is made by build()"]
pub struct CacheBuilder {
    engine: Arc<Engine>,
    scope: Scope,
    name: String,
    ttl: Duration,
    jitter: f64,
    outage: Outage,
}

impl CacheBuilder {
    pub(crate) fn new(engine: Arc<Engine>, scope: Scope, name: &str) -> Self {
        Self {
            engine,
            scope,
            name: name.to_owned(),
            ttl: model::TTL_DEFAULT,
            jitter: model::JITTER_DEFAULT,
            outage: Outage::default(),
        }
    }

    /// How long an entry lives at most: 1 ms to 10 years. Five minutes unless said.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// By which share of its TTL, 0 to 1, an entry may die early, so that entries written
    /// together do not die together. 0.1 unless said.
    pub fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// What look-ups and loads do while Redis does not answer. [`Outage::Source`] unless said.
    pub fn on_outage(mut self, outage: Outage) -> Self {
        self.outage = outage;
        self
    }

    /// Makes the cache.
    ///
    /// # Errors
    /// `Rejected` for a name, TTL or jitter out of bounds.
    pub fn build<K: CacheKey + ?Sized, V>(self) -> Result<Cache<K, V>>
    where
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(Error::rejected(format!(
                "a jitter of {} is out of bounds: expected a share from 0 to 1",
                self.jitter
            )));
        }
        let policy = Policy {
            space: Space::new(&self.name)?,
            ttl: Ttl::new(self.ttl)?,
            jitter: self.jitter,
            outage: self.outage.check()?,
            value_len_max: self.engine.value_len_max,
        };
        Ok(Cache {
            shared: Arc::new(Shared {
                recorder: self.engine.recorder(&self.name),
                engine: self.engine,
                scope: self.scope,
                policy,
            }),
            types: PhantomData,
        })
    }
}
