//! A number beside the entries of a cache.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Cache;
use super::backend::Backend as _;
use super::engine::Engine;
use crate::kernel::error::Result;
use crate::kernel::key::{CacheKey, Key};
use crate::kernel::ttl::Ttl;

/// A number that any process can add to; see [`Cache::counter`]. Cheap to clone.
#[derive(Clone)]
pub struct Counter {
    engine: Arc<Engine>,
    key: Arc<Key>,
}

impl<K: CacheKey + ?Sized, V> Cache<K, V>
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    /// A number of this name, beside the cache's entries: clearing them leaves it.
    ///
    /// # Errors
    /// `Rejected` for a name that cannot be.
    pub fn counter(&self, name: &str) -> Result<Counter> {
        let key = self.shared.scope.counter(&self.shared.policy.space, name)?;
        Ok(Counter { engine: Arc::clone(&self.shared.engine), key: Arc::new(key) })
    }
}

impl Counter {
    /// What the number is: 0 where no one has added to it, or its time is over.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down.
    pub async fn get(&self) -> Result<i64> {
        self.engine.backend.count(&self.key).await
    }

    /// Adds, and says what the number is then. A number that no one has added to is 0; it lives for
    /// `ttl` after the first addition, and is then 0 again.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down: it may or may not have been counted, and is
    /// never sent twice. `Conflict` where it would overflow.
    pub async fn add(&self, by: i64, ttl: Ttl) -> Result<i64> {
        self.engine.backend.add(&self.key, by, ttl).await
    }
}
