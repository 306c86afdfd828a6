//! The atomic steps that a cache needs from a store, on bytes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::memory::MemoryBackend;
#[cfg(feature = "redis")]
use super::redis::RedisBackend;
use super::tags::TagNumbers;
use crate::kernel::coherence::{Coherence, Note};
use crate::kernel::error::Result;
use crate::kernel::key::{Key, TagsKey};
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

/// An answer to a look-up, and on what terms it may be kept in this process.
#[derive(Clone, Default)]
pub(crate) struct Read {
    pub(crate) entry: Option<Bytes>,
    pub(crate) note: Option<Note>,
}

macro_rules! backend {
    ($($(#[$doc:meta])* async fn $step:ident(&self $(, $name:ident: $of:ty)*) -> $reply:ty;)*) => {
        /// A store, as a cache sees it.
        pub(crate) trait Backend: Send + Sync {
            $($(#[$doc])* fn $step(&self $(, $name: $of)*) -> impl Future<Output = $reply> + Send;)*

            /// Whether a hit comes from this process.
            fn is_local(&self) -> bool;

            /// Notes changes of what is read with a coherence, from now on.
            fn track(&self, coherence: &Arc<Coherence>);

            /// What tells whether a key was changed since, as far as anyone tells.
            fn note(&self, key: &str, coherence: &Coherence) -> Option<Note>;

            /// All that was kept of any key is old.
            fn forget(&self);

            /// Refuses to read tags while an invalidation of one waits to be sent.
            ///
            /// # Errors
            /// `Unavailable`.
            fn permits_tags(&self, key: &TagsKey) -> Result<()>;
        }

        impl Backend for Store {
            $(async fn $step(&self $(, $name: $of)*) -> $reply {
                on_either!(self, backend => backend.$step($($name),*).await)
            })*

            fn is_local(&self) -> bool {
                on_either!(self, backend => backend.is_local())
            }

            fn track(&self, coherence: &Arc<Coherence>) {
                on_either!(self, backend => backend.track(coherence));
            }

            fn note(&self, key: &str, coherence: &Coherence) -> Option<Note> {
                on_either!(self, backend => backend.note(key, coherence))
            }

            fn forget(&self) {
                on_either!(self, backend => backend.forget());
            }

            fn permits_tags(&self, key: &TagsKey) -> Result<()> {
                on_either!(self, backend => backend.permits_tags(key))
            }
        }
    };
}

/// The stores that there are. Not a trait object: boxing the future of a look-up costs
/// an eighth of the throughput of hits.
pub(crate) enum Store {
    Memory(MemoryBackend),
    #[cfg(feature = "redis")]
    Redis(RedisBackend),
    /// A store under a random scheduler, for the simulator.
    #[cfg(test)]
    Simulated(super::simulator::Client),
}

macro_rules! on_either {
    ($store:expr, $backend:ident => $step:expr) => {
        match $store {
            Store::Memory($backend) => $step,
            #[cfg(feature = "redis")]
            Store::Redis($backend) => $step,
            #[cfg(test)]
            Store::Simulated($backend) => $step,
        }
    };
}

backend! {
    async fn read(&self, key: &Key, coherence: Option<&Coherence>) -> Result<Read>;

    /// Each key's own answer, in order.
    async fn read_many(&self, keys: &[Key], coherence: Option<&Coherence>) -> Vec<Result<Read>>;

    /// Asks for the right to load. `unusable` is the nonce of an entry that was read and
    /// could not be used.
    async fn lease(&self, key: &Key, unusable: Option<&[u8]>, token: Token, lease: Duration) -> Result<Lease>;

    /// Whether the caller still held the lease, hence whether the value was stored.
    async fn fill(&self, key: &Key, token: Token, entry: Bytes, ttl: Ttl) -> Result<bool>;

    /// The source has it no more: removes the entry, if the caller still holds the lease.
    async fn vacate(&self, key: &Key, token: Token) -> Result<bool>;

    /// Whether the caller still holds the lease.
    async fn renew(&self, key: &Key, token: Token, lease: Duration) -> Result<bool>;

    async fn release(&self, key: &Key, token: Token) -> Result<()>;

    async fn put(&self, key: &Key, entry: Bytes, ttl: Ttl) -> Result<()>;

    /// Whether the version is newer than that of what is there or was invalidated, hence whether the
    /// entry was stored.
    async fn put_versioned(&self, key: &Key, entry: Bytes, ttl: Ttl, version: u64) -> Result<bool>;

    async fn invalidate(&self, key: &Key) -> Result<Invalidated>;

    /// Makes an entry out of date: it is only served where nothing better can be had.
    async fn expire(&self, key: &Key) -> Result<Invalidated>;

    /// How many entries were removed.
    async fn invalidate_all(&self, of: &Selection) -> Result<u64>;

    /// The numbers of tags; `None` where the cache has none yet.
    async fn tags(&self, key: &TagsKey, tags: &[Box<str>], coherence: Option<&Coherence>) -> Result<(Option<TagNumbers>, Option<Note>)>;

    /// Makes the tags of a cache where there are none, to live so long at least.
    async fn begin_tags(&self, key: &TagsKey, ttl: Ttl) -> Result<()>;

    /// Of the entries that are there, none with this tag is good any more; none at all where no tag
    /// is named.
    async fn invalidate_tag(&self, key: &TagsKey, tag: Option<&str>, ttl: Ttl) -> Result<Invalidated>;

    /// An entry and how long the store will keep it.
    async fn look(&self, key: &Key) -> Result<(Option<Bytes>, Option<Duration>)>;

    /// Keys and sizes of entries, among about so many keys.
    async fn sizes(&self, of: &Selection, keys_max: usize) -> Result<Vec<(String, u64)>>;

    async fn count(&self, counter: &Key) -> Result<i64>;

    /// Adds to a number, which is 0 where there is none, and says what it is then. One that is made
    /// lives so long.
    async fn add(&self, counter: &Key, by: i64, ttl: Ttl) -> Result<i64>;
}
