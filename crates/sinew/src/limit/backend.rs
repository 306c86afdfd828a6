//! The atomic steps that limits need from a store.

use std::time::Duration;

use bytes::Bytes;

use super::algorithm::{Demand, Mode, Receipt, Row, Rule};
use super::definitions::{Edit, Edited, Rows};
use super::memory::MemoryBackend;
#[cfg(feature = "redis")]
use super::redis::RedisBackend;
use crate::kernel::error::Result;
use crate::kernel::key::Key;

/// Names a holder of a place, or a process. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Token(u128);

impl Token {
    pub(crate) fn random() -> Self {
        Self(fastrand::u128(..))
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

/// What all limits of a request said.
#[derive(Debug)]
pub(crate) struct Reply {
    /// By the store's clock.
    pub(crate) now_us: u64,
    pub(crate) admitted: bool,
    /// One for each demand, in order.
    pub(crate) rows: Vec<Row>,
}

/// The answer to a request for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Held,
    /// How long until one ends by itself.
    Full(Duration),
}

macro_rules! backend {
    ($($(#[$doc:meta])* async fn $step:ident(&self $(, $name:ident: $of:ty)*) -> $reply:ty;)*) => {
        /// A store, as limits see it.
        pub(crate) trait Backend: Send + Sync {
            $($(#[$doc])* fn $step(&self $(, $name: $of)*) -> impl Future<Output = $reply> + Send;)*

            /// Whether it is in this process.
            fn is_local(&self) -> bool;

            /// How long a step may take.
            fn deadline(&self) -> Duration;

            /// A number that is the same for keys that one step may name together.
            fn together(&self, key: &Key) -> u16;
        }

        impl Backend for Store {
            $(async fn $step(&self $(, $name: $of)*) -> $reply {
                on_either!(self, backend => backend.$step($($name),*).await)
            })*

            #[inline]
            fn is_local(&self) -> bool {
                on_either!(self, backend => backend.is_local())
            }

            fn deadline(&self) -> Duration {
                on_either!(self, backend => backend.deadline())
            }

            fn together(&self, key: &Key) -> u16 {
                on_either!(self, backend => backend.together(key))
            }
        }
    };
}

/// The stores that there are.
pub(crate) enum Store {
    Memory(Box<MemoryBackend>),
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
    /// Decides on all demands together, and charges all of them or none. The keys differ, and may be
    /// named together.
    async fn check(&self, demands: &[(&Key, Demand)], mode: Mode) -> Result<Reply>;

    /// Replaces what was charged by what it turned out to be.
    async fn settle(&self, key: &Key, rule: Rule, receipt: &Receipt, actual: u64) -> Result<()>;

    /// Forgets all that was charged, and says whether anything was.
    async fn reset(&self, key: &Key) -> Result<bool>;

    async fn acquire(&self, key: &Key, token: Token, places: u64, lease: Duration) -> Result<Place>;

    /// Whether the place was still held.
    async fn renew(&self, key: &Key, token: Token, lease: Duration) -> Result<bool>;

    async fn release(&self, key: &Key, token: Token) -> Result<()>;

    /// Says that a process lives, and how many do.
    async fn beat(&self, process: Token) -> Result<u64>;

    /// The definitions that there are.
    async fn definitions(&self) -> Result<Rows>;

    /// Changes one definition, if what is there is what is expected, and notes the change.
    async fn define(&self, edit: &Edit<'_>) -> Result<Edited>;

    /// The last changes, the newest first.
    async fn changes(&self, count: usize) -> Result<Vec<Bytes>>;
}
