//! The atomic steps that locks need from a store.

use super::memory::MemoryBackend;
use super::model::{Answer, Ask, Look, Token};
#[cfg(feature = "redis")]
use super::redis::RedisBackend;
use crate::kernel::error::Result;
use crate::kernel::key::{LockKeys, Scope};
use crate::kernel::ttl::Ttl;

macro_rules! backend {
    ($($(#[$doc:meta])* async fn $step:ident(&self $(, $name:ident: $of:ty)*) -> $reply:ty;)*) => {
        /// A store, as locks see it.
        pub(crate) trait Backend: Send + Sync {
            $($(#[$doc])* fn $step(&self $(, $name: $of)*) -> impl Future<Output = $reply> + Send;)*

            /// From here on, whoever is woken by another process hears of it.
            fn listen(&self);
        }

        impl Backend for Store {
            $(async fn $step(&self $(, $name: $of)*) -> $reply {
                match self {
                    Self::Memory(backend) => backend.$step($($name),*).await,
                    #[cfg(feature = "redis")]
                    Self::Redis(backend) => backend.$step($($name),*).await,
                }
            })*

            fn listen(&self) {
                match self {
                    Self::Memory(backend) => backend.listen(),
                    #[cfg(feature = "redis")]
                    Self::Redis(backend) => backend.listen(),
                }
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

backend! {
    /// Grants a lock, again to the same token, or puts who waits in line.
    async fn acquire(&self, key: &LockKeys, ask: &Ask) -> Result<Answer>;

    /// Waits until as many replicas have what was granted as were asked for.
    async fn replicate(&self, key: &LockKeys, ask: &Ask) -> Result<()>;

    /// Whether the token still holds the lock, which it then does for this long at least.
    async fn extend(&self, key: &LockKeys, token: Token, ttl: Ttl) -> Result<bool>;

    /// Gives up the lock, or the place in line, in one step: nobody may be there for a second one.
    /// Whether it held the lock.
    async fn leave(&self, key: &LockKeys, token: Token) -> Result<bool>;

    /// The same of one that most likely holds the lock.
    async fn release(&self, key: &LockKeys, token: Token) -> Result<bool>;

    /// How many held it.
    async fn force_release(&self, key: &LockKeys) -> Result<u64>;

    async fn look(&self, key: &LockKeys, holders_max: usize) -> Result<Look>;

    /// The names of locks that are held, so many at most.
    async fn names(&self, scope: &Scope, names_max: usize) -> Result<Vec<String>>;
}
