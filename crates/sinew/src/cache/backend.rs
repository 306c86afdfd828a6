//! The atomic steps that a cache needs from a store, on bytes.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::kernel::error::Result;
use crate::kernel::key::{Key, Pattern};
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
    /// Redis could not be reached. The invalidation is kept and runs as soon as it can,
    /// before this process uses Redis again; until then the old value may be served.
    Queued,
}

/// A store, as a cache sees it.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    async fn read(&self, key: &Key) -> Result<Option<Bytes>>;

    /// Asks for the right to load. `unusable` is the nonce of an entry that was read and
    /// could not be used.
    async fn lease(
        &self,
        key: &Key,
        unusable: Option<&[u8]>,
        token: Token,
        lease: Duration,
    ) -> Result<Lease>;

    /// Whether the caller still held the lease, hence whether the value was stored.
    async fn fill(&self, key: &Key, token: Token, entry: Bytes, ttl: Ttl) -> Result<bool>;

    /// Whether the caller still holds the lease.
    async fn renew(&self, key: &Key, token: Token, lease: Duration) -> Result<bool>;

    async fn release(&self, key: &Key, token: Token) -> Result<()>;

    async fn put(&self, key: &Key, entry: Bytes, ttl: Ttl) -> Result<()>;

    async fn invalidate(&self, key: &Key) -> Result<Invalidated>;

    /// How many entries were removed.
    async fn invalidate_matching(&self, pattern: &Pattern) -> Result<u64>;

    /// Whether a hit comes from this process.
    fn is_local(&self) -> bool;
}
