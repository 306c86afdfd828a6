//! Looking at a cache, for people.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Cache;
use super::backend::Backend as _;
use super::model::{Decision, since};
use crate::kernel::error::Result;
use crate::kernel::key::CacheKey;

/// An entry, seen from outside; see [`Cache::inspect`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Inspected {
    /// How large it is in the store.
    pub bytes: u64,
    /// How long ago it was loaded or put; `None` for what has no envelope, or another's.
    pub age: Option<Duration>,
    /// For how long it stays fresh; `None` when it is fresh no more, or unreadable.
    pub fresh_for: Option<Duration>,
    /// When the store drops it.
    pub expires_in: Option<Duration>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether a look-up would be served it: it can be read, is not too old, and none of its tags was
    /// invalidated.
    pub is_served: bool,
    /// It says that the source has no such thing.
    pub is_absent: bool,
}

/// A key and how large its entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySize {
    /// As it is written after the cache's name: `456:list`.
    pub key: String,
    /// In the store.
    pub bytes: u64,
}

/// A key and how often it is looked up.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyHeat {
    /// As it is written after the cache's name: `456:list`.
    pub key: String,
    /// Of this process's look-ups in caches of this name and tenant, of late, about.
    pub share: f64,
}

impl<K: CacheKey + ?Sized, V> Cache<K, V>
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    /// What there is to know of an entry. `None` where there is none. Not counted as a look-up.
    ///
    /// # Errors
    /// `Rejected` for a key that cannot exist; `Unavailable` or `Timeout` when Redis is down.
    pub async fn inspect(&self, key: &K) -> Result<Option<Inspected>> {
        let (key, shared) = (self.key(key)?, &self.shared);
        let (entry, expires_in) = shared.engine.backend.look(&key).await?;
        let Some(stored) = entry else { return Ok(None) };
        let mut inspected = Inspected {
            bytes: stored.len() as u64,
            age: None,
            fresh_for: None,
            expires_in,
            tags: Vec::new(),
            is_served: false,
            is_absent: false,
        };
        let Ok(opened) = shared.open(&key, &stored) else { return Ok(Some(inspected)) };
        let now = shared.engine.clock.wall();
        let decision = shared.policy.freshness.decide(&opened.life, now, 1.0);
        inspected.is_absent = opened.value.is_none();
        if opened.life.created_at.0 > 0 {
            inspected.age = Some(since(now, opened.life.created_at));
        }
        inspected.fresh_for = match opened.life.kept || opened.life.expired {
            true => Some(since(opened.life.fresh_until, now)).filter(|left| !left.is_zero()),
            // The store's own clock says it.
            false => expires_in,
        };
        let is_current = match &opened.tagging {
            Some(tagging) => shared.are_current(tagging).await?,
            None => true,
        };
        inspected.is_served =
            is_current && !matches!(decision, Decision::Load | Decision::LoadOrServeStale);
        let tags = opened.tagging.into_iter().flat_map(|tagging| tagging.tags);
        inspected.tags = tags.map(String::from).collect();
        Ok(Some(inspected))
    }

    /// The largest entries of this cache and tenant among the first `keys_max` keys, about, that the
    /// store comes upon: a sample, so that it takes no longer with more keys.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down.
    pub async fn largest(&self, keys_max: usize, top: usize) -> Result<Vec<KeySize>> {
        let shared = &self.shared;
        let mut sizes = shared.engine.backend.sizes(&shared.all()?, keys_max).await?;
        sizes.sort_by(|(a, one), (b, other)| other.cmp(one).then_with(|| a.cmp(b)));
        sizes.dedup();
        sizes.truncate(top);
        let sized = |(key, bytes): (String, u64)| KeySize { key: self.written(&key), bytes };
        Ok(sizes.into_iter().map(sized).collect())
    }

    /// The keys of this cache and tenant that this process looks up most, by a sample: of the first
    /// look-ups nearly each, later one in about a thousand, which counts for as many.
    #[must_use]
    pub fn hottest(&self, top: usize) -> Vec<KeyHeat> {
        let prefix = format!("{}:", self.shared.root.as_str());
        let mut hottest = self.shared.recorder.hottest(&prefix);
        hottest.truncate(top);
        let heat = |(key, share): (String, f64)| KeyHeat { key: self.written(&key), share };
        hottest.into_iter().map(heat).collect()
    }

    /// A key without what all keys of the cache begin with.
    fn written(&self, key: &str) -> String {
        let prefix = format!("{}:", self.shared.root.as_str());
        key.strip_prefix(&prefix).unwrap_or(key).to_owned()
    }
}
