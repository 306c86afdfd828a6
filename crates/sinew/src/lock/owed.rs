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
    debt: Debt,
}

/// What it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Debt {
    /// No one knows: the lock, a place in line, or nothing.
    Asked,
    /// The lock.
    Held,
    /// Nothing any more.
    Settled,
}

impl Owed {
    pub(super) fn new(
        engine: &Arc<Engine>,
        key: &Arc<LockKeys>,
        token: Token,
        (debt, lasts): (Debt, Duration),
    ) -> Self {
        Self { engine: Arc::clone(engine), key: Arc::clone(key), token, lasts, debt }
    }

    /// There is nothing to give up, or someone else will.
    pub(super) fn settle(mut self) {
        self.debt = Debt::Settled;
    }

    /// Gives it up. Whether the lock was held.
    ///
    /// *Cancellation*: it is given up all the same.
    ///
    /// # Errors
    /// When the store does not answer. It is tried on in the background.
    pub(super) async fn give_up(self) -> Result<bool> {
        let was_held = give_up(&self.engine, &self.key, self.token, self.debt).await?;
        self.settle();
        Ok(was_held)
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if self.debt == Debt::Settled {
            return;
        }
        if self.engine.owed.fetch_add(1, Ordering::Relaxed) >= OWED_MAX {
            self.engine.owed.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let (engine, key) = (Arc::clone(&self.engine), Arc::clone(&self.key));
        let (token, debt) = (self.token, self.debt);
        // Once more after its end: a request that was on its way may have come just before.
        let ends = engine.clock.now().after(self.lasts).after(PAUSE_LAST);
        self.engine.runtime.spawn(async move {
            give_up_in_the_end(&engine, &key, (token, debt), ends).await;
            engine.owed.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn give_up_in_the_end(
    engine: &Engine,
    key: &LockKeys,
    (token, debt): (Token, Debt),
    ends: Monotonic,
) {
    let mut pause = PAUSE_FIRST;
    loop {
        match give_up(engine, key, token, debt).await {
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

async fn give_up(engine: &Engine, key: &LockKeys, token: Token, debt: Debt) -> Result<bool> {
    match debt {
        Debt::Asked => engine.backend.leave(key, token).await,
        Debt::Held => engine.backend.release(key, token).await,
        Debt::Settled => Ok(false),
    }
}
