//! What a caller has, or may have, and has not given up: it is given up when the caller goes away.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::backend::Backend as _;
use super::engine::Engine;
use super::model::Token;
use crate::kernel::clock::Monotonic;
use crate::kernel::error::Result;
use crate::kernel::key::LockKeys;

/// Pauses between attempts grow from the first to the last of these.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LAST: Duration = Duration::from_secs(1);
/// Beyond this number, locks are left to their TTL.
const OWED_MAX: usize = 10_000;

/// A lock that may have been granted, or a place in line. Dropped unsettled, it is given up in the
/// background: for as long as it lasts, so an outage does not make it last longer.
pub(super) struct Owed {
    engine: Arc<Engine>,
    key: Arc<LockKeys>,
    token: Token,
    lasts: Duration,
    is_settled: bool,
}

impl Owed {
    pub(super) fn new(
        engine: &Arc<Engine>,
        key: &Arc<LockKeys>,
        token: Token,
        lasts: Duration,
    ) -> Self {
        Self { engine: Arc::clone(engine), key: Arc::clone(key), token, lasts, is_settled: false }
    }

    /// There is nothing to give up, or someone else will.
    pub(super) fn settle(mut self) {
        self.is_settled = true;
    }

    /// Gives it up. Whether the lock was held.
    ///
    /// *Cancellation*: it is given up all the same.
    ///
    /// # Errors
    /// When the store does not answer. It is tried on in the background.
    pub(super) async fn give_up(self) -> Result<bool> {
        let was_held = self.engine.backend.release(&self.key, self.token).await?;
        self.settle();
        Ok(was_held)
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        if self.engine.owed.fetch_add(1, Ordering::Relaxed) >= OWED_MAX {
            self.engine.owed.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let (engine, key, token) = (Arc::clone(&self.engine), Arc::clone(&self.key), self.token);
        // Once more after its end: a request that was on its way may have come just before.
        let ends = engine.clock.now().after(self.lasts).after(PAUSE_LAST);
        self.engine.runtime.spawn(async move {
            give_up(&engine, &key, token, ends).await;
            engine.owed.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn give_up(engine: &Engine, key: &LockKeys, token: Token, ends: Monotonic) {
    let mut pause = PAUSE_FIRST;
    loop {
        match engine.backend.release(key, token).await {
            Err(error) if error.is_retryable() => {}
            // It is done, or never will be.
            _ => return,
        }
        let next = engine.clock.now().after(pause);
        if next >= ends {
            return;
        }
        engine.clock.sleep_until(next).await;
        pause = (pause * 2).min(PAUSE_LAST);
    }
}
