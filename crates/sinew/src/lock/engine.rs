//! What the locks of one client share.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::backend::Store;
use super::keeper::{self, Keeper};
use super::memory::MemoryBackend;
use super::model::{Kind, Token};
#[cfg(feature = "redis")]
use super::redis::RedisBackend;
use super::wakes::Wakes;
use crate::kernel::clock::Clock;
use crate::kernel::error::{Error, Result};
#[cfg(feature = "redis")]
use crate::kernel::name::Prefix;
#[cfg(feature = "redis")]
use crate::kernel::redis::Link;

/// What the locks of one client share.
pub(crate) struct Engine {
    pub(super) backend: Store,
    pub(super) clock: Clock,
    pub(super) wakes: Arc<Wakes>,
    pub(super) keeper: Arc<Keeper>,
    /// A guard may be dropped where there is no runtime.
    pub(super) runtime: Handle,
    /// How many locks are being given back in the background.
    pub(super) owed: AtomicUsize,
    keeping: AbortHandle,
}

impl Engine {
    /// Locks of this process.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub(crate) fn embedded(clock: Clock) -> Arc<Self> {
        let wakes = Wakes::new(fastrand::u64(..), clock.clone());
        let backend = MemoryBackend::new(clock.clone(), Arc::clone(&wakes));
        Self::new(Store::Memory(backend), clock, wakes)
    }

    /// Locks of all who are connected to this Redis. Their time is Redis's own, which no clock
    /// of a test moves. Tokens have the link's number, so that a holder's connections can be found.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    #[cfg(feature = "redis")]
    pub(crate) fn on_redis(link: Link, prefix: &Prefix) -> Arc<Self> {
        let clock = Clock::system();
        let wakes = Wakes::new(link.process(), clock.clone());
        let backend = RedisBackend::new(link, prefix, Arc::clone(&wakes));
        Self::new(Store::Redis(backend), clock, wakes)
    }

    fn new(backend: Store, clock: Clock, wakes: Arc<Wakes>) -> Arc<Self> {
        let (runtime, keeper) = (Handle::current(), Arc::<Keeper>::default());
        let keeping = runtime.spawn(keeper::keep(Arc::clone(&keeper), clock.clone()));
        let (keeping, owed) = (keeping.abort_handle(), AtomicUsize::new(0));
        Arc::new(Self { backend, clock, wakes, keeper, runtime, owed, keeping })
    }

    /// A token that no one had before. Of the system's randomness, each: processes that were copied
    /// with their memory would draw the same from their own, and hold one lock together.
    ///
    /// # Errors
    /// `Misconfigured` where the system has none.
    pub(super) fn token(&self, kind: Kind) -> Result<Token> {
        let mut own = [0; 8];
        getrandom::fill(&mut own)
            .map_err(|_| Error::misconfigured("the system has no random bytes for a token"))?;
        Ok(Token { kind, process: self.wakes.process, own: u64::from_ne_bytes(own) })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}
