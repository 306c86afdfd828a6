//! What goes with a write: it runs to its end, and what was cached of it goes.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sinew::{Cache, CacheKey};
use tokio::task::JoinError;

/// Runs a write to its end although the client may go away in the middle: between the commit
/// and the eviction, the cache is wrong.
pub(crate) async fn to_the_end<T, E>(
    write: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<JoinError> + Send + 'static,
{
    tokio::spawn(write).await?
}

/// The change is committed: a reply that says otherwise would be wrong. `Queued` is made up for
/// by Sinew; what cannot be sent at all is for the log.
pub(crate) async fn evict<K, V>(cache: &Cache<K, V>, key: &K)
where
    K: CacheKey + ?Sized,
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    if let Err(error) = cache.invalidate(key).await {
        tracing::error!(%error, "an entry could not be evicted: it may be stale for its TTL");
    }
}
