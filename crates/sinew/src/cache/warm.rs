//! Filling a cache before it is asked.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, Stream, StreamExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Cache, Source};
use crate::kernel::key::CacheKey;

/// Loads under way at once.
const AT_ONCE: usize = 16;

/// How far [`Cache::warm`] has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Warmed {
    /// Keys that were there already.
    pub found: u64,
    /// Keys that were loaded.
    pub loaded: u64,
    /// Keys whose load failed.
    pub failed: u64,
}

impl Warmed {
    /// All keys so far.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.found + self.loaded + self.failed
    }
}

impl<K: CacheKey, V> Cache<K, V>
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    /// Looks each key up and loads those that are missing, at most so many a second, so that the
    /// source is not overrun. `progress` is told after each key. A load that fails is counted, and
    /// the rest goes on.
    ///
    /// # Cancellation
    /// Dropping the future stops it; loads that have begun run to their end.
    pub async fn warm<F, Fut, E>(
        &self,
        keys: impl Stream<Item = K>,
        per_second: u32,
        load: F,
        mut progress: impl FnMut(Warmed),
    ) -> Warmed
    where
        F: Fn(&K) -> Fut,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
        E: Send + Sync + 'static,
    {
        let mut keys = std::pin::pin!(keys);
        let pause = (Duration::from_secs(1) / per_second.max(1)).max(Duration::from_nanos(1));
        let mut pace = tokio::time::interval(pause);
        // A pause of the source is not made up for by a rush.
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut warmed, mut under_way) = (Warmed::default(), FuturesUnordered::new());
        let mut is_over = false;
        loop {
            tokio::select! {
                Some(outcome) = under_way.next() => {
                    match outcome {
                        Ok(Source::Loaded) => warmed.loaded += 1,
                        Ok(_) => warmed.found += 1,
                        Err(()) => warmed.failed += 1,
                    }
                    progress(warmed);
                }
                key = async { pace.tick().await; keys.next().await },
                    if !is_over && under_way.len() < AT_ONCE =>
                {
                    match key {
                        None => is_over = true,
                        Some(key) => {
                            let loading = load(&key);
                            under_way.push(async move {
                                let found = self.get_or_load_traced(&key, move || loading).await;
                                found.map(|traced| traced.source).map_err(|_| ())
                            });
                        }
                    }
                }
                else => return warmed,
            }
        }
    }
}
