//! The atomic steps that flags need from a store, on bytes.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::memory::MemoryBackend;
#[cfg(feature = "redis")]
use super::redis::RedisBackend;
use crate::kernel::error::Result;
use crate::kernel::key::{FlagKeys, PlainFlags};
#[cfg(feature = "redis")]
use crate::kernel::redis::Watch;

/// So many changes are kept of an environment.
pub(super) const CHANGES_MAX: usize = 10_000;

/// The document, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) version: u64,
    pub(crate) body: Bytes,
}

/// The document, as it is to be kept from now on, and why it changes.
pub(crate) struct Write<'a> {
    /// The version that was read; 0 where there was none.
    pub(crate) read: u64,
    pub(crate) version: u64,
    pub(crate) body: &'a str,
    pub(crate) change: &'a str,
}

/// A change, as it was noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    /// Milliseconds by the store's clock, a hyphen, and a number.
    pub(crate) id: String,
    pub(crate) text: Bytes,
}

/// What a plain key holds, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plain {
    pub(crate) value: Bytes,
    pub(crate) left: Option<Duration>,
}

/// All plain keys.
#[derive(Debug)]
pub(crate) struct PlainKeys {
    pub(crate) by_key: BTreeMap<String, Plain>,
    /// There may be more.
    pub(crate) is_cut: bool,
}

/// Who is told of changes, until dropped.
pub(crate) enum Watching {
    Memory(watch::Receiver<u64>),
    #[cfg(feature = "redis")]
    Redis(Watch),
}

impl Watching {
    /// The keys that were changed since it was asked last; `None` where any may have been. Cancel-safe.
    pub(crate) async fn changed(&mut self) -> Option<HashSet<Box<[u8]>>> {
        match self {
            Self::Memory(changes) => match changes.changed().await {
                Ok(()) => None,
                // The store is gone.
                Err(_) => std::future::pending().await,
            },
            #[cfg(feature = "redis")]
            Self::Redis(watch) => watch.changed().await,
        }
    }
}

macro_rules! backend {
    ($($(#[$doc:meta])* async fn $step:ident(&self $(, $name:ident: $of:ty)*) -> $reply:ty;)*) => {
        /// A store, as flags see it.
        pub(crate) trait Backend: Send + Sync {
            $($(#[$doc])* fn $step(&self $(, $name: $of)*) -> impl Future<Output = $reply> + Send;)*

            /// Who is told of changes of keys that begin so.
            fn watch(&self, prefix: &str) -> Watching;

            /// Whether it is in this process.
            fn is_local(&self) -> bool;

            /// How long a step may take.
            fn deadline(&self) -> Duration;
        }

        impl Backend for Store {
            $(async fn $step(&self $(, $name: $of)*) -> $reply {
                on_either!(self, backend => backend.$step($($name),*).await)
            })*

            fn watch(&self, prefix: &str) -> Watching {
                on_either!(self, backend => backend.watch(prefix))
            }

            fn is_local(&self) -> bool {
                on_either!(self, backend => backend.is_local())
            }

            fn deadline(&self) -> Duration {
                on_either!(self, backend => backend.deadline())
            }
        }
    };
}

/// The stores that there are.
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

backend! {
    /// The document, if there is one.
    async fn document(&self, keys: &FlagKeys) -> Result<Option<Stored>>;

    /// Its version.
    async fn version(&self, keys: &FlagKeys) -> Result<Option<u64>>;

    /// The store's clock.
    async fn now_ms(&self, keys: &FlagKeys) -> Result<u64>;

    /// Writes the document if it is still the one that was read, and notes the change.
    async fn write(&self, keys: &FlagKeys, write: &Write<'_>) -> Result<bool>;

    /// The last changes before one, the newest first.
    async fn changes(&self, keys: &FlagKeys, before: Option<&str>, count: usize) -> Result<Vec<Noted>>;

    /// One change.
    async fn change(&self, keys: &FlagKeys, id: &str) -> Result<Option<Noted>>;

    /// What a plain key holds.
    async fn plain(&self, key: &str) -> Result<Option<Plain>>;

    /// What all of them hold: not many more than `keys_max`. What else begins so is not read.
    async fn plain_keys(&self, plain: &PlainFlags, keys_max: usize) -> Result<PlainKeys>;
}
