//! Locks over a fleet, with fences.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use sinew::{Acquire, Fence, Sinew};
//!
//! # struct Db; impl Db { async fn create_customer(&self, _: Fence) -> Result<(), std::io::Error> { Ok(()) } }
//! # let db = Db;
//! let locks = Sinew::embedded().tenant("acme")?.locks();
//! match locks.lock("create-customer").wait(Duration::from_secs(10)).acquire().await? {
//!     Acquire::Got(guard) => {
//!         db.create_customer(guard.fence()).await?;
//!         guard.release().await?;
//!     }
//!     Acquire::Held { retry_after } => println!("someone else does it; again in {retry_after:?}"),
//! }
//! # Ok(()) }
//! ```
//!
//! # What it promises
//!
//! 1. **One holder.** At most one at a time, while Redis keeps the writes that it acknowledged and clocks
//!    run at normal rates. Of [`Locks::read`] many at a time and no writer, of [`Locks::semaphore`] as many
//!    as it has permits.
//! 2. **A fence.** Every grant of [`Locks::lock`] and [`Locks::write`] carries a [`Fence`] that only grows
//!    for that lock: over a `FLUSHALL` and a failover too, unless Redis's clock steps back by more than
//!    the time that these take. A reader has the last writer's; a permit has none.
//! 3. **Loss is noticed.** A holder learns that it lost the lock ([`Guard::lost`]) by its own clock, which
//!    counts the time that the machine is suspended, measured from before the lock was asked for.
//! 4. **Nothing is held for ever.** A guard that is dropped, and a process that ends, free the lock, at the
//!    latest after its TTL. One that was lost is never brought back.
//! 5. **First come, first served.** Who waits is woken by a message when its turn comes; readers and writers
//!    stand in one line, so neither starves. A waiter that died holds up the next by 50 ms once its turn has come, and
//!    by up to four seconds those behind it who could go beside the holders.
//! 6. **Held is not down.** [`Acquire::Held`] says that someone else holds the lock. Where Redis does not
//!    answer, that is an error, and nobody gets the lock.
//!
//! # A lease saves work; only the fence gives correctness
//!
//! A process may be paused between looking at its lock and writing: by a collector of garbage, a busy host,
//! a suspended machine. When it goes on, its lock may be another's, and nothing on its own side can tell
//! it in time. A Redis that fails over may forget a lock that it had granted. So where two writers would do
//! harm, let the resource remember the largest fence that it has seen, and refuse any smaller one:
//!
//! ```sql
//! UPDATE invoice SET total = $1, fence = $2 WHERE id = $3 AND fence <= $2
//! ```
//!
//! # Renewal
//!
//! A guard renews its lock every third of its TTL, for as long as it lives, or until
//! [`LockBuilder::max_hold`]. So the TTL need not cover the work: it is how long others wait for a process
//! that died. A renewal that fails is tried on until the lock is lost.
//!
//! # Holding it twice
//!
//! A lock is not granted again to who already holds it: it does not know its caller. Hand the guard on, or
//! [`Guard::again`], of which each may be released, and the last one frees the lock.
//!
//! # Held by no process
//!
//! A caller that is not in this process, as one over HTTP, holds a lock by its token:
//! [`LockBuilder::acquire_detached`] has no guard, so nothing renews it and the end of this process
//! does not free it. [`Locks::extend`] and [`Locks::release`] take the token in any process of the fleet.
//!
//! # When Redis is down
//!
//! Locks fail closed. [`LockBuilder::acquire`] fails with `Unavailable` or `Timeout`; who already waits in line
//! waits on. Who holds a lock keeps it until its TTL has run out. A release that does not arrive is tried on
//! in the background. A [`Leader`] steps down when its TTL has run out, and stands again.
//!
//! # Names and kinds
//!
//! A name is one lock, however it is asked for: [`Locks::lock`] and [`Locks::write`] are the same, a reader keeps
//! them out, and so does a permit. Of a semaphore, each caller says how many permits it has: where that
//! differs, each keeps to its own number.

mod backend;
mod builder;
mod detached;
mod engine;
mod guard;
mod hold;
mod keeper;
mod leader;
mod look;
mod memory;
// Without Redis, some of what steps are told goes unused.
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
mod model;
mod owed;
#[cfg(feature = "redis")]
mod redis;
#[cfg(all(test, feature = "redis"))]
mod twin;
mod wait;
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
mod wakes;

use std::fmt;
use std::sync::Arc;

use crate::kernel::error::Result;
use crate::kernel::key::Scope;
use model::Kind;

pub use builder::{Acquire, AcquireDetached, LockBuilder, Ran};
pub use detached::{Detached, LockToken};
pub(crate) use engine::Engine;
pub use guard::{Guard, Loss, Released};
pub use leader::Leader;
pub use look::{HeldLock, Holder, LockMode};
pub use model::Fence;

/// The locks of one tenant; see [`crate::Sinew::locks`]. Cheap to clone.
#[derive(Clone)]
pub struct Locks {
    engine: Arc<Engine>,
    scope: Scope,
}

impl Locks {
    pub(crate) fn new(engine: Arc<Engine>, scope: Scope) -> Self {
        Self { engine, scope }
    }

    /// A lock that one holds at a time.
    pub fn lock(&self, name: &str) -> LockBuilder {
        self.of_kind(name, Kind::Alone)
    }

    /// A lock that many hold at a time, and no writer: the reading half of [`Locks::write`].
    pub fn read(&self, name: &str) -> LockBuilder {
        self.of_kind(name, Kind::Shared)
    }

    /// A lock that one holds at a time, and no reader: the same as [`Locks::lock`].
    pub fn write(&self, name: &str) -> LockBuilder {
        self.of_kind(name, Kind::Alone)
    }

    /// A lock that so many hold at a time: 1 to 100,000.
    pub fn semaphore(&self, name: &str, permits: u32) -> LockBuilder {
        self.of_kind(name, Kind::Permit { of: permits })
    }

    /// Stands for election: one process leads at a time, and another takes over within ten seconds
    /// of its death. [`LockBuilder::elect`] has other settings.
    ///
    /// # Errors
    /// `Rejected` for a bad name.
    pub fn elect(&self, name: &str) -> Result<Leader> {
        self.lock(name).ttl(leader::TTL).elect()
    }

    fn of_kind(&self, name: &str, kind: Kind) -> LockBuilder {
        LockBuilder::new(Arc::clone(&self.engine), self.scope.lock(name), kind)
    }
}

impl fmt::Debug for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locks").field("scope", &self.scope).finish_non_exhaustive()
    }
}
