//! The atomic steps that a cache needs from a store, on bytes.

use std::time::Duration;

use bytes::Bytes;

use super::memory::MemoryBackend;
#[cfg(feature = "redis")]
use super::redis::RedisBackend;
use crate::kernel::error::Result;
use crate::kernel::key::Key;
use crate::kernel::pattern::Selection;
use crate::kernel::ttl::Ttl;

/// Names one request for a lease. A token is never sent twice: a request that arrives
/// late could otherwise revive a lease that an invalidation had revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Token(u128);

impl Token {
    pub(crate) fn random() -> Self {
        Self(fastrand::u128(..))
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(u128::from_be_bytes(bytes.try_into().ok()?)))
    }
}

/// The answer to a request for a lease.
#[derive(Debug)]
pub(crate) enum Lease {
    /// The entry is there, and nothing needs loading.
    Entry(Bytes),
    /// The caller loads.
    Granted,
    /// Another one loads.
    Held {
        left: Duration,
        /// `None` when the holder is not one of ours.
        holder: Option<Token>,
    },
}

/// What became of an invalidation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalidated {
    /// The entry is gone, and no load that began before will bring it back.
    Done,
    /// Redis could not be reached. The invalidation is kept and sent as soon as it can be. Until
    /// then this process loads the entry from its source; others may serve the old value.
    Queued,
}

/// A store, as a cache sees it.
pub(crate) trait Backend: Send + Sync {
    fn read(&self, key: &Key) -> impl Future<Output = Result<Option<Bytes>>> + Send;

    /// Asks for the right to load. `unusable` is the nonce of an entry that was read and
    /// could not be used.
    fn lease(
        &self,
        key: &Key,
        unusable: Option<&[u8]>,
        token: Token,
        lease: Duration,
    ) -> impl Future<Output = Result<Lease>> + Send;

    /// Whether the caller still held the lease, hence whether the value was stored.
    fn fill(
        &self,
        key: &Key,
        token: Token,
        entry: Bytes,
        ttl: Ttl,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Whether the caller still holds the lease.
    fn renew(
        &self,
        key: &Key,
        token: Token,
        lease: Duration,
    ) -> impl Future<Output = Result<bool>> + Send;

    fn release(&self, key: &Key, token: Token) -> impl Future<Output = Result<()>> + Send;

    fn put(&self, key: &Key, entry: Bytes, ttl: Ttl) -> impl Future<Output = Result<()>> + Send;

    fn invalidate(&self, key: &Key) -> impl Future<Output = Result<Invalidated>> + Send;

    /// How many entries were removed.
    fn invalidate_all(&self, of: &Selection) -> impl Future<Output = Result<u64>> + Send;

    /// Whether a hit comes from this process.
    fn is_local(&self) -> bool;
}

/// The stores that there are. Not a trait object: boxing the future of a look-up costs
/// an eighth of the throughput of hits.
pub(crate) enum Store {
    Memory(MemoryBackend),
    #[cfg(feature = "redis")]
    Redis(RedisBackend),
}

macro_rules! on_either {
    ($store:expr, $backend:ident => $step:expr) => {
        match $store {
            Store::Memory($backend) => $step,
            #[cfg(feature = "redis")]
            Store::Redis($backend) => $step,
        }
    };
}

impl Backend for Store {
    async fn read(&self, key: &Key) -> Result<Option<Bytes>> {
        on_either!(self, backend => backend.read(key).await)
    }

    async fn lease(
        &self,
        key: &Key,
        unusable: Option<&[u8]>,
        token: Token,
        lease: Duration,
    ) -> Result<Lease> {
        on_either!(self, backend => backend.lease(key, unusable, token, lease).await)
    }

    async fn fill(&self, key: &Key, token: Token, entry: Bytes, ttl: Ttl) -> Result<bool> {
        on_either!(self, backend => backend.fill(key, token, entry, ttl).await)
    }

    async fn renew(&self, key: &Key, token: Token, lease: Duration) -> Result<bool> {
        on_either!(self, backend => backend.renew(key, token, lease).await)
    }

    async fn release(&self, key: &Key, token: Token) -> Result<()> {
        on_either!(self, backend => backend.release(key, token).await)
    }

    async fn put(&self, key: &Key, entry: Bytes, ttl: Ttl) -> Result<()> {
        on_either!(self, backend => backend.put(key, entry, ttl).await)
    }

    async fn invalidate(&self, key: &Key) -> Result<Invalidated> {
        on_either!(self, backend => backend.invalidate(key).await)
    }

    async fn invalidate_all(&self, of: &Selection) -> Result<u64> {
        on_either!(self, backend => backend.invalidate_all(of).await)
    }

    fn is_local(&self) -> bool {
        on_either!(self, backend => backend.is_local())
    }
}
