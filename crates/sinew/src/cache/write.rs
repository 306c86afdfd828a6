//! Writes: putting entries, and getting rid of them.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Cache;
use super::backend::{Backend as _, Invalidated};
use super::entry::Sealing;
use super::tags::{self, Tide};
use crate::kernel::envelope::Tagging;
use crate::kernel::errand::to_the_end;
use crate::kernel::error::{Error, Result};
use crate::kernel::key::CacheKey;
use crate::kernel::pattern::{Pattern, Selection};
use crate::kernel::ttl::Ttl;

/// What an entry is stored with, beside its value; see [`Cache::put_with`].
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until they are given to put_with()"]
pub struct PutOptions {
    ttl: Option<Ttl>,
    tags: Vec<Box<str>>,
}

impl PutOptions {
    /// The cache's own TTL, and no tags.
    pub fn new() -> Self {
        Self::default()
    }

    /// A TTL of its own, which the cache's jitter shortens.
    pub fn ttl(mut self, ttl: Ttl) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// A tag, by which [`Cache::invalidate_tag`] finds it. Up to 32, each up to 128 bytes.
    pub fn tag(mut self, tag: impl fmt::Display) -> Self {
        self.tags.push(tag.to_string().into());
        self
    }
}

impl<K: CacheKey + ?Sized, V> Cache<K, V>
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    /// Stores a value for the cache's TTL.
    ///
    /// After it has returned, a load that began before does not overwrite the value. Where
    /// writers race each other, [`Cache::invalidate`] after the commit is the safe choice, or
    /// [`Cache::put_versioned`].
    ///
    /// # Errors
    /// `Rejected` for a key or value over the limit; `Unavailable` or `Timeout` when Redis is
    /// down, and then the value may or may not have been stored. It is never sent twice.
    pub async fn put(&self, key: &K, value: &V) -> Result<()> {
        self.put_with(key, value, PutOptions::new()).await
    }

    /// Stores a value with a TTL or tags of its own. See [`Cache::put`].
    ///
    /// # Errors
    /// As [`Cache::put`]; and `Rejected` for a tag in a cache without tags.
    pub async fn put_with(&self, key: &K, value: &V, options: PutOptions) -> Result<()> {
        let (key, engine) = (self.key(key)?, &self.shared.engine);
        // Whatever becomes of it: what was loaded before is not what the caller means any more.
        engine.close(&key);
        let sealing = self.sealing(options).await?;
        let (entry, ttl) = self.shared.seal(&key, Some(value), sealing)?;
        let stored = engine.backend.put(&key, entry, ttl).await;
        engine.close(&key);
        stored
    }

    /// Stores a value if its version is greater than that of what is there, and says whether it was.
    ///
    /// So writers that race each other may come in any order. For five seconds after an invalidation
    /// of the entry no version is great enough: a write that was on its way could be an older one, and
    /// the next reader loads what is true. A [`Cache::put`] has no version: do not mix the two under
    /// one key.
    ///
    /// # Errors
    /// As [`Cache::put`].
    pub async fn put_versioned(&self, key: &K, value: &V, version: u64) -> Result<bool> {
        if version == u64::MAX {
            return Err(Error::rejected("a version is out of bounds: expected less than 2^64 - 1"));
        }
        let (key, engine) = (self.key(key)?, &self.shared.engine);
        engine.close(&key);
        let sealing = self.sealing(PutOptions::new()).await?;
        let (entry, ttl) = self.shared.seal(&key, Some(value), sealing)?;
        let stored = engine.backend.put_versioned(&key, entry, ttl, version).await;
        engine.close(&key);
        stored
    }

    async fn sealing(&self, options: PutOptions) -> Result<Sealing> {
        let policy = &self.shared.policy;
        let ttl = options.ttl.unwrap_or(policy.ttl);
        if !policy.tagged {
            return match options.tags.is_empty() {
                true => Ok(Sealing::of(ttl)),
                false => Err(tags::untagged(self.name())),
            };
        }
        let tags = tags::checked(options.tags)?;
        let Tide { generation, sequence } = self.shared.tide(ttl).await?;
        let tagging = Tagging { generation, sequence, tags };
        Ok(Sealing { tagging: Some(tagging), ..Sealing::of(ttl) })
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
        to_the_end(async move { engine.invalidate(&key).await }).await
    }

    /// Makes an entry out of date. It is loaded anew by the next caller, and what it was is served
    /// only where that fails or takes too long, as [`CacheBuilder::stale_if_error`](crate::CacheBuilder::stale_if_error) and
    /// [`CacheBuilder::soft_timeout`](crate::CacheBuilder::soft_timeout) say.
    ///
    /// # Errors
    /// As [`Cache::invalidate`].
    ///
    /// # Cancellation
    /// As [`Cache::invalidate`].
    ///
    /// # When Redis is down
    /// As [`Cache::invalidate`].
    pub async fn expire(&self, key: &K) -> Result<Invalidated> {
        let (key, engine) = (self.key(key)?, Arc::clone(&self.shared.engine));
        to_the_end(async move {
            engine.close(&key);
            let expired = engine.backend.expire(&key).await;
            engine.close(&key);
            expired
        })
        .await
    }

    /// Makes every entry of this cache and tenant that has a tag as good as gone, in one step,
    /// however many there are. Loads that have begun are not stored.
    ///
    /// # Errors
    /// `Rejected` for a tag that cannot be, or in a cache without tags; `Denied` when Redis forbids
    /// it.
    ///
    /// # Cancellation
    /// As [`Cache::invalidate`].
    ///
    /// # When Redis is down
    /// [`Invalidated::Queued`]: until it is sent, this process loads all entries of the cache from
    /// their source.
    pub async fn invalidate_tag(&self, tag: impl fmt::Display) -> Result<Invalidated> {
        if !self.shared.policy.tagged {
            return Err(tags::untagged(self.name()));
        }
        self.turn_the_tide(Some(tags::checked_one(tag)?)).await
    }

    /// Removes every entry of this cache and tenant, and keeps loads that have begun from bringing
    /// one back. One step in a [`tagged`](crate::CacheBuilder::tagged) cache; in others it looks at every
    /// key of the deployment, in small steps.
    ///
    /// # Errors
    /// `Denied` when Redis forbids it; `Unavailable` or `Timeout` in a cache without tags, and then
    /// some entries may be gone and others not.
    ///
    /// # When Redis is down
    /// As [`Cache::invalidate_tag`] in a cache with tags.
    pub async fn clear(&self) -> Result<Invalidated> {
        if self.shared.policy.tagged {
            return self.turn_the_tide(None).await;
        }
        self.shared.engine.invalidate_all(&self.shared.all()?).await?;
        Ok(Invalidated::Done)
    }

    async fn turn_the_tide(&self, tag: Option<Box<str>>) -> Result<Invalidated> {
        let (shared, all) = (Arc::clone(&self.shared), self.shared.all()?);
        to_the_end(async move {
            let (engine, key) = (&shared.engine, &shared.tags_key);
            let ttl = shared.tags_ttl(shared.policy.ttl);
            engine.close_tagged(&all, key);
            let invalidated = engine.backend.invalidate_tag(key, tag.as_deref(), ttl).await;
            engine.close_tagged(&all, key);
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
}
