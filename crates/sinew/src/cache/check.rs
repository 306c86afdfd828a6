//! Comparing what is served with the source, for a share of the hits.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::Cache;
use super::engine::Shared;
use super::local::Wants;
use crate::kernel::error::{Error, Result};
use crate::kernel::key::{CacheKey, Key};

/// How long a difference has to last to count: a change that is being invalidated is none.
const SETTLED_AFTER: Duration = Duration::from_secs(1);
/// Comparisons under way at once; a hit that finds so many is not compared.
const AT_ONCE: usize = 4;

/// Compares a share of the hits.
pub(super) struct Check<K: ?Sized, V> {
    share: f64,
    begin: Arc<Begin<K, V>>,
}

/// Given key, value and nonce of what was served.
type Begin<K, V> = dyn Fn(&K, &Arc<V>, [u8; 8]) + Send + Sync;

impl<K: ?Sized, V> Clone for Check<K, V> {
    fn clone(&self) -> Self {
        Self { share: self.share, begin: Arc::clone(&self.begin) }
    }
}

impl<K: ?Sized, V> Check<K, V> {
    pub(super) fn maybe(&self, key: &K, value: &Arc<V>, nonce: [u8; 8]) {
        if fastrand::f64() < self.share {
            (self.begin)(key, value, nonce);
        }
    }
}

impl<K, V> Cache<K, V>
where
    K: CacheKey + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + PartialEq + Send + Sync + 'static,
{
    /// The same cache, which compares this share of its hits, 0 to 1, with the source, off the path
    /// of the caller.
    ///
    /// A difference counts as an inconsistency when, a second later, the source still differs and the
    /// very same entry is still there. See [`Stats::checked`](crate::Stats::checked) and
    /// [`Stats::inconsistencies`](crate::Stats::inconsistencies), and the metric
    /// `sinew_cache_inconsistencies_total`.
    ///
    /// # Errors
    /// `Rejected` for a share out of bounds.
    pub fn checked<F, Fut, E>(&self, share: f64, source: F) -> Result<Self>
    where
        F: Fn(K) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
        E: Send + 'static,
    {
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::rejected(format!(
                "a share of {share} is out of bounds: expected 0 to 1"
            )));
        }
        let (shared, places) = (Arc::clone(&self.shared), Arc::new(Semaphore::new(AT_ONCE)));
        let source = Arc::new(source);
        let begin = move |key: &K, value: &Arc<V>, nonce: [u8; 8]| {
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else { return };
            let Ok(text) = shared.key(key) else { return };
            let (shared, value, key, source) =
                (Arc::clone(&shared), Arc::clone(value), key.clone(), Arc::clone(&source));
            tokio::spawn(async move {
                let ask = || -> BoxFuture<'static, Option<V>> {
                    let asked = source(key.clone());
                    Box::pin(async move { asked.await.ok() })
                };
                compare(&shared, &text, &value, nonce, ask).await;
                drop(place);
            });
        };
        let check = Check { share, begin: Arc::new(begin) };
        Ok(Self { check: Some(check), ..self.clone() })
    }
}

async fn compare<V>(
    shared: &Shared<V>,
    key: &Key,
    served: &V,
    nonce: [u8; 8],
    ask: impl Fn() -> BoxFuture<'static, Option<V>>,
) where
    V: Serialize + DeserializeOwned + PartialEq + Send + Sync + 'static,
{
    // A source that does not answer says nothing of the cache.
    let Some(true_value) = ask().await else { return };
    shared.recorder.checked();
    if true_value == *served {
        return;
    }
    let clock = &shared.engine.clock;
    clock.sleep_until(clock.now().after(SETTLED_AFTER)).await;
    let Some(true_value) = ask().await else { return };
    // As it would be served again: from here, where it is kept here.
    let (value, found) = match shared.kept_here(shared.root.place(key), Wants::Details) {
        Some(kept) => (kept.value().clone(), kept.nonce()),
        None => match shared.look_up(key).await {
            Ok(hit) => (hit.value, hit.nonce),
            Err(_) => return,
        },
    };
    let is_same_entry = found == nonce && value.as_deref() == Some(served);
    if is_same_entry && true_value != *served {
        shared.recorder.inconsistent();
    }
}
