//! What people look at, and how they set a lock free.

use std::time::Duration;

use futures_util::future::try_join_all;

use super::Locks;
use super::backend::Backend as _;
use super::model::{Fence, Kind, Look};
use crate::kernel::error::{ErrorKind, Result};

/// How many locks a list has at most.
const LOCKS_MAX: usize = 10_000;
/// How many holders of a lock it shows at most.
const HOLDERS_MAX: usize = 100;
/// How many locks are looked at together.
const BATCH: usize = 64;

/// A lock that is held, as [`Locks::list`] found it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldLock {
    /// What it is called.
    pub name: String,
    /// How it is held.
    pub mode: LockMode,
    /// The fence of the last grant; [`Fence::NONE`] where there was none of late.
    pub fence: Fence,
    /// Some of those who hold it, a hundred at most: those first that run out first.
    pub holders: Vec<Holder>,
    /// Since when, by Redis's clock, where one holds it alone.
    pub held_for: Option<Duration>,
    /// How many hold it.
    pub holding: u64,
    /// How many wait for it.
    pub waiting: u64,
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockMode {
    /// By one alone.
    Exclusive,
    /// By readers.
    Shared,
    /// By so many at most.
    Semaphore {
        /// As one of its holders has it.
        permits: u32,
    },
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The name of this very grant. Redis has it with a `!` behind it while someone waits for the lock.
    pub token: String,
    /// The process, by a number that it drew when it connected. Its connections have it in their
    /// names: `CLIENT LIST` of Redis shows its address under `sinew:NUMBER`, or `NAME:NUMBER` where
    /// the URL says `name=NAME`.
    pub process: String,
    /// When it runs out, unless it is renewed.
    pub expires_in: Duration,
}

impl Locks {
    /// The locks of this tenant that are held now, by name; ten thousand at most.
    ///
    /// It looks at every key of the deployment in small steps: for people, not for requests. What is no lock
    /// under the keys of one is left out.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down.
    pub async fn list(&self) -> Result<Vec<HeldLock>> {
        let mut names = self.engine.backend.names(&self.scope, LOCKS_MAX).await?;
        names.sort_unstable();
        names.dedup();
        let mut held = Vec::new();
        for batch in names.chunks(BATCH) {
            let looks = batch.iter().map(|name| self.look_unless_other(name));
            held.extend(try_join_all(looks).await?.into_iter().flatten());
        }
        Ok(held)
    }

    /// What is no lock under the keys of one does not hide the others.
    async fn look_unless_other(&self, name: &str) -> Result<Option<HeldLock>> {
        match self.look(name).await {
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Rejected) => {
                Ok(None)
            }
            looked => looked,
        }
    }

    /// A lock, if it is held now.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down.
    pub async fn look(&self, name: &str) -> Result<Option<HeldLock>> {
        let key = self.scope.lock(name)?;
        let Look { now_us, fence, holding, waiting, holders } =
            self.engine.backend.look(&key, HOLDERS_MAX).await?;
        let Some((first, _)) = holders.first() else { return Ok(None) };
        let mode = match first.kind {
            Kind::Alone => LockMode::Exclusive,
            Kind::Shared => LockMode::Shared,
            Kind::Permit { of } => LockMode::Semaphore { permits: of },
        };
        let holders = holders.into_iter().map(|(token, expires_in)| Holder {
            token: token.to_string(),
            process: format!("{:016x}", token.process),
            expires_in,
        });
        Ok(Some(HeldLock {
            name: name.to_owned(),
            mode,
            fence: Fence(fence),
            holders: holders.collect(),
            // A fence is the time of its grant, or just after the fence before.
            held_for: (mode == LockMode::Exclusive && fence > 0)
                .then(|| Duration::from_micros(now_us.saturating_sub(fence))),
            holding,
            waiting,
        }))
    }

    /// Takes a lock away from all who hold it, and says how many did. For people: a holder goes on
    /// until it hears of it, with its next renewal, a third of its TTL later at most. Only the
    /// [`Fence`] keeps it from writing until then.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down.
    pub async fn force_release(&self, name: &str) -> Result<u64> {
        let key = self.scope.lock(name)?;
        let held = self.engine.backend.force_release(&key).await?;
        if held > 0 {
            tracing::warn!(lock = name, held, "a lock was taken away by hand");
        }
        Ok(held)
    }
}
