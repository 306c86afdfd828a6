//! The steps in process, on the model.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::backend::Backend;
use super::model::{Answer, Ask, Look, Now, State, Token, Wake};
use super::wakes::Wakes;
use crate::kernel::clock::Clock;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::{LockKeys, Scope};
use crate::kernel::ttl::Ttl;

/// With so many locks, those that nobody holds or waits for are forgotten.
const LOCKS_MAX: usize = 65_536;

/// The embedded store of all locks of one `Sinew::embedded()`.
pub(crate) struct MemoryBackend {
    clock: Clock,
    wakes: Arc<Wakes>,
    // A plain mutex: held for a few steps, never over an await.
    shared: Mutex<Shared>,
}

struct Shared {
    /// By the key of its holders.
    locks: HashMap<Box<str>, Entry>,
    /// The calendar's time of the last step.
    last_us: u64,
}

struct Entry {
    name: Box<str>,
    state: State,
}

impl Shared {
    fn now(&mut self, clock: &Clock) -> Now {
        // Always later than the last: a lock that was forgotten goes on with greater fences.
        self.last_us = clock.wall().0.saturating_mul(1_000).max(self.last_us + 1);
        let ms = u64::try_from(clock.now().as_nanos() / 1_000_000).unwrap_or(u64::MAX);
        Now { ms, us: self.last_us }
    }

    /// # Errors
    /// `Unavailable` when there are too many.
    fn make_room(&mut self, clock: &Clock) -> Result<()> {
        if self.locks.len() >= LOCKS_MAX {
            let now = self.now(clock);
            self.locks.retain(|_, entry| !entry.state.is_idle(now));
        }
        match self.locks.len() < LOCKS_MAX {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Unavailable { maybe_applied: false },
                format!("the embedded store has {LOCKS_MAX} locks in use, and keeps no more"),
            )),
        }
    }
}

impl MemoryBackend {
    pub(super) fn new(clock: Clock, wakes: Arc<Wakes>) -> Self {
        let shared = Mutex::new(Shared { locks: HashMap::new(), last_us: 0 });
        Self { clock, wakes, shared }
    }

    /// A step on a lock, if there is one, after which those are woken whose turn it is.
    fn step<T>(
        &self,
        mut shared: MutexGuard<'_, Shared>,
        key: &LockKeys,
        step: impl FnOnce(&mut State, Now, &mut Vec<Wake>) -> T,
    ) -> Option<T> {
        let (now, mut wakes) = (shared.now(&self.clock), Vec::new());
        let entry = shared.locks.get_mut(key.holders());
        let done = entry.map(|entry| step(&mut entry.state, now, &mut wakes));
        drop(shared);
        for wake in wakes {
            self.wakes.wake(wake);
        }
        done
    }
}

impl Backend for MemoryBackend {
    async fn acquire(&self, key: &LockKeys, ask: &Ask) -> Result<Answer> {
        if ask.replicas.is_some() {
            return Err(Error::misconfigured(
                "the embedded store has no replicas: expected Redis for wait_replicas()",
            ));
        }
        let mut shared = self.shared.lock();
        if !shared.locks.contains_key(key.holders()) {
            shared.make_room(&self.clock)?;
            let entry = Entry { name: key.name().into(), state: State::default() };
            shared.locks.insert(key.holders().into(), entry);
        }
        let answer = self.step(shared, key, |state, now, wakes| state.acquire(ask, now, wakes));
        answer.ok_or_else(|| Error::corrupt("a lock that was made is not there"))
    }

    async fn replicate(&self, _: &LockKeys, _: &Ask) -> Result<()> {
        // Nothing is granted that asks for them.
        Ok(())
    }

    async fn extend(&self, key: &LockKeys, token: Token, ttl: Ttl) -> Result<bool> {
        let shared = self.shared.lock();
        let held = self.step(shared, key, |state, now, _| state.extend(token, ttl, now));
        Ok(held.unwrap_or(false))
    }

    async fn leave(&self, key: &LockKeys, token: Token) -> Result<bool> {
        let shared = self.shared.lock();
        let held = self.step(shared, key, |state, now, wakes| state.release(token, now, wakes));
        Ok(held.unwrap_or(false))
    }

    async fn release(&self, key: &LockKeys, token: Token) -> Result<bool> {
        self.leave(key, token).await
    }

    async fn force_release(&self, key: &LockKeys) -> Result<u64> {
        let shared = self.shared.lock();
        let held = self.step(shared, key, super::model::State::force_release);
        Ok(held.unwrap_or(0))
    }

    async fn look(&self, key: &LockKeys, holders_max: usize) -> Result<Look> {
        let look = self.step(self.shared.lock(), key, |state, now, _| state.look(now, holders_max));
        Ok(look.unwrap_or_default())
    }

    async fn names(&self, scope: &Scope, names_max: usize) -> Result<Vec<String>> {
        let mut shared = self.shared.lock();
        let (now, root) = (shared.now(&self.clock), scope.lock_root());
        let in_use = shared
            .locks
            .iter()
            .filter(|(key, entry)| key.starts_with(&root) && !entry.state.is_idle(now));
        Ok(in_use.take(names_max).map(|(_, entry)| entry.name.to_string()).collect())
    }

    fn listen(&self) {}
}
