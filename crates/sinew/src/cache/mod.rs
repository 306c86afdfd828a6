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
//!    that starts later gets a value whose load began before: at once from Redis, and within the
//!    time a message takes from another process's [`Local`] level.
//! 3. **The cache never breaks the caller.** Redis slow, gone or full of garbage is a miss and a
//!    metric. Loads run in tasks of their own: cancelling one caller never cancels the load that
//!    others wait for.
//! 4. **Nothing lives for ever.** Every entry has a TTL, set in the same command.
//! 5. **Tenants never meet.** A key of one tenant cannot equal a key of another.
//!
//! `docs/semantics.md` says what each becomes when Redis is slow, gone or failed over, and
//! `docs/guide/cache.md` how to choose what can be chosen.

#[macro_use]
mod planted;

// Without Redis, a token need not travel.
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
mod backend;
mod batch;
mod builder;
mod check;
mod counter;
mod engine;
mod entry;
mod flight;
#[cfg(feature = "axum")]
pub mod http;
mod lease;
mod load;
mod loader;
mod local;
mod look;
mod memory;
mod model;
mod outage;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod replay;
#[cfg(test)]
mod simulator;
mod stats;
mod tags;
mod warm;
mod write;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::kernel::error::Result;
use crate::kernel::key::{CacheKey, Key};
use crate::kernel::packed::Packed;
use engine::Shared;
use load::{Brought, Kind, Landed, Miss};
use local::{Kept, Wants};

pub use backend::Invalidated;
pub(crate) use backend::Store;
pub use builder::CacheBuilder;
pub use counter::Counter;
pub(crate) use engine::Engine;
pub use loader::{LoadError, Loaded, Loading, Source, Traced};
pub use local::Local;
pub use look::{Inspected, KeyHeat, KeySize};
pub(crate) use memory::MemoryBackend;
pub use outage::Outage;
#[cfg(feature = "redis")]
pub(crate) use redis::RedisBackend;
pub use stats::Stats;
pub use warm::Warmed;
pub use write::PutOptions;

/// Values of type `V` under keys of type `K`, in one tenant. Cheap to clone.
///
/// Two handles of the same name and tenant are the same cache: they share loads and counters, and
/// what is kept in this process.
pub struct Cache<K: ?Sized, V> {
    shared: Arc<Shared<V>>,
    check: Option<check::Check<K, V>>,
    types: PhantomData<fn(&K) -> V>,
}

impl<K: ?Sized, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        let (shared, check) = (Arc::clone(&self.shared), self.check.clone());
        Self { shared, check, types: PhantomData }
    }
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
        if let Some(kept) = self.kept_here(key) {
            self.served_here(key, &kept);
            return Ok(kept.into_value());
        }
        let text = self.key(key)?;
        self.shared.recorder.looks_up(&text);
        match self.shared.look_up(&text).await {
            Ok(hit) => {
                self.served(key, hit.value.as_ref(), hit.nonce, hit.source);
                Ok(hit.value)
            }
            Err(_) => {
                self.shared.recorder.missed();
                Ok(None)
            }
        }
    }

    /// Whether [`Cache::get`] would find a value now. Not counted as a look-up.
    ///
    /// # Errors
    /// Only `Rejected`, for a key that cannot exist.
    ///
    /// # When Redis is down
    /// `false`, and the failure is counted.
    pub async fn exists(&self, key: &K) -> Result<bool> {
        if let Some(kept) = self.kept_here(key) {
            return Ok(kept.value().is_some());
        }
        let key = self.key(key)?;
        Ok(self.shared.look_up(&key).await.is_ok_and(|hit| hit.value.is_some()))
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
    /// [`LoadError::Source`] with the loader's own error, which is not cached. With
    /// [`CacheBuilder::stale_if_error`] a stale value takes its place, where there is one.
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
        let loader = |_| {
            let load = loader();
            async move { load.await.map(|value| Some(Loaded::Value(value))) }
        };
        traced(self.look_up_or_load(key, Kind::Load, loader).await?)
    }

    /// [`Cache::get_or_load`] whose loader has a say in how its value is stored.
    ///
    /// ```
    /// # use sinew::{Cache, Loaded, Sinew};
    /// # #[derive(Clone, serde::Serialize, serde::Deserialize)] struct User { team: u32, etag: String }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let sinew = Sinew::embedded();
    /// let users: Cache<u64, User> = sinew.cache("user").tagged().build()?;
    /// let found = users
    ///     .get_or_load_with(&7, |load| async move {
    ///         let user = User { team: 3, etag: "v1".to_owned() }; // from the source
    ///         load.tag(format_args!("team:{}", user.team));
    ///         Ok::<_, std::io::Error>(match load.previous() {
    ///             Some(previous) if previous.etag == user.etag => Loaded::Unchanged,
    ///             _ => Loaded::Value(user),
    ///         })
    ///     })
    ///     .await?;
    /// # assert_eq!(found.value.team, 3);
    /// users.invalidate_tag("team:3").await?;
    /// assert!(!users.exists(&7).await?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Cache::get_or_load`]; and `Rejected` for a tag in a cache without tags, or for
    /// [`Loaded::Unchanged`] where there was no value before.
    pub async fn get_or_load_with<F, Fut, R, E>(
        &self,
        key: &K,
        loader: F,
    ) -> Result<Traced<V>, LoadError<E>>
    where
        F: FnOnce(Loading<V>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: Into<Loaded<V>>,
        E: Send + Sync + 'static,
    {
        let loader = |loading| {
            let load = loader(loading);
            async move { load.await.map(|loaded| Some(loaded.into())) }
        };
        traced(self.look_up_or_load(key, Kind::Load, loader).await?)
    }

    /// [`Cache::get_or_load`] from a source that may not have the thing.
    ///
    /// That there is none is remembered for [`CacheBuilder::absent_ttl`], where one is set, and
    /// otherwise asked again each time.
    ///
    /// # Errors
    /// As [`Cache::get_or_load`].
    pub async fn get_or_find<F, Fut, E>(
        &self,
        key: &K,
        find: F,
    ) -> Result<Option<Arc<V>>, LoadError<E>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Option<V>, E>> + Send + 'static,
        E: Send + Sync + 'static,
    {
        let finder = |_| {
            let find = find();
            async move { find.await.map(|found| found.map(Loaded::Value)) }
        };
        Ok(self.look_up_or_load(key, Kind::Find, finder).await?.value)
    }

    /// The same cache, whose look-ups take nothing older than this: what is older is loaded.
    #[must_use]
    pub fn fresh_within(&self, age: Duration) -> Self {
        let mut shared = Shared::clone(&self.shared);
        shared.policy.freshness.within = Some(age);
        Self { shared: Arc::new(shared), check: self.check.clone(), types: PhantomData }
    }

    /// What caches of this name did in this process, over all tenants.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.recorder.stats()
    }

    /// The name that the cache was built with.
    #[must_use]
    pub fn name(&self) -> &str {
        self.shared.name()
    }

    async fn look_up_or_load<E, F, Fut>(
        &self,
        key: &K,
        kind: Kind,
        loader: F,
    ) -> Result<Landed<V>, LoadError<E>>
    where
        F: FnOnce(Loading<V>) -> Fut + Send + 'static,
        Fut: Future<Output = Brought<V, E>> + Send + 'static,
        E: Send + Sync + 'static,
    {
        let shared = &self.shared;
        let serves = |value: &Option<Arc<V>>| value.is_some() || kind == Kind::Find;
        if let Some(kept) = self.kept_here(key)
            && serves(kept.value())
        {
            self.served_here(key, &kept);
            if let Some(miss) = kept.due()
                && let Ok(text) = self.key(key)
            {
                load::refresh(shared, text, kind, miss, loader);
            }
            return Ok(Landed { value: kept.into_value(), source: Source::Local });
        }
        let text = self.key(key).map_err(LoadError::Rejected)?;
        shared.recorder.looks_up(&text);
        let began = shared.engine.flights.now();
        let miss = match shared.look_up(&text).await {
            Ok(hit) if serves(&hit.value) => {
                self.served(key, hit.value.as_ref(), hit.nonce, hit.source);
                if let Some(miss) = hit.refresh {
                    load::refresh(shared, text, kind, miss, loader);
                }
                return Ok(Landed { value: hit.value, source: hit.source });
            }
            Ok(absent) => Miss::of_nonce(absent.nonce),
            Err(miss) => miss,
        };
        // Boxed: a hit should not carry the room that a load needs.
        Box::pin(load::load(shared, text, began, kind, miss, loader)).await
    }

    /// An entry of the local level. Nothing is asked; and nothing allocated, for a short key.
    #[inline]
    fn kept_here(&self, key: &K) -> Option<Kept<V>> {
        let shared = &self.shared;
        shared.level.as_ref()?;
        let wants = if self.check.is_some() { Wants::Details } else { Wants::Value };
        match Packed::of(key) {
            Some(packed) => shared.kept_here(shared.root.packed(&packed), wants),
            None => shared.kept_here(shared.root.place(&self.key(key).ok()?), wants),
        }
    }

    #[inline]
    fn served_here(&self, key: &K, kept: &Kept<V>) {
        if let Some(weight) = self.shared.recorder.found_here()
            && let Ok(text) = self.key(key)
        {
            self.shared.recorder.sampled(&text, weight);
        }
        self.maybe_check(key, kept.value().as_ref(), kept.nonce());
    }

    fn served(&self, key: &K, value: Option<&Arc<V>>, nonce: [u8; 8], from: Source) {
        self.shared.recorder.looked_up(from);
        self.maybe_check(key, value, nonce);
    }

    #[inline]
    fn maybe_check(&self, key: &K, value: Option<&Arc<V>>, nonce: [u8; 8]) {
        if let (Some(check), Some(value)) = (&self.check, value) {
            check.maybe(key, value, nonce);
        }
    }

    fn key(&self, key: &K) -> Result<Key> {
        self.shared.key(key)
    }
}

/// Whoever loads always brings a value.
fn traced<V, E>(landed: Landed<V>) -> Result<Traced<V>, LoadError<E>> {
    match landed.value {
        Some(value) => Ok(Traced { value, source: landed.source }),
        None => Err(LoadError::Aborted),
    }
}
