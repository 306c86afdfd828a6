//! A lock that was granted, and for how long this process may take it for its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::backend::Backend as _;
use super::engine::Engine;
use super::guard::Loss;
use super::keeper::LOOK_EVERY;
use super::model::{Fence, Token, validity};
use super::owed::{Debt, Owed};
use crate::kernel::clock::Monotonic;
use crate::kernel::error::Result;
use crate::kernel::key::LockKeys;
use crate::kernel::telemetry;
use crate::kernel::ttl::Ttl;

/// What the guards of one grant share.
pub(super) struct Hold {
    engine: Arc<Engine>,
    key: Arc<LockKeys>,
    token: Token,
    fence: Fence,
    ttl: Ttl,
    /// When the request was sent that was granted.
    sent: Monotonic,
    /// It is not renewed beyond this.
    ends: Option<Monotonic>,
    /// How many guards there are.
    guards: AtomicUsize,
    // A mutex: renewals, releases and questions come from anywhere, and none waits.
    standing: Mutex<Standing>,
    changed: Notify,
}

struct Standing {
    state: State,
    renewal: Option<Monotonic>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Held, by this process's own clock, measured from before it asked.
    Until(Monotonic),
    /// Taken away, or run out. For good.
    Lost(Loss),
    /// Given up.
    Over,
}

impl Hold {
    /// A grant that was asked for at `sent`. Its first guard is counted.
    pub(super) fn new(
        engine: &Arc<Engine>,
        key: &Arc<LockKeys>,
        token: Token,
        fence: Fence,
        (ttl, max_hold): (Ttl, Option<Duration>),
        sent: Monotonic,
    ) -> Arc<Self> {
        let state = State::Until(sent.after(validity(ttl)));
        let hold = Arc::new(Self {
            engine: Arc::clone(engine),
            key: Arc::clone(key),
            token,
            fence,
            ttl,
            sent,
            ends: max_hold.map(|max_hold| sent.after(max_hold)),
            guards: AtomicUsize::new(1),
            standing: Mutex::new(Standing { state, renewal: None }),
            changed: Notify::new(),
        });
        engine.keeper.keep(&hold, sent.after(ttl.duration() / 3));
        hold
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(super) fn name(&self) -> &str {
        self.key.name()
    }

    pub(super) fn fence(&self) -> Fence {
        self.fence
    }

    pub(super) fn ttl(&self) -> Ttl {
        self.ttl
    }

    pub(super) fn sent(&self) -> Monotonic {
        self.sent
    }

    pub(super) fn number(&self) -> u64 {
        self.token.own
    }

    pub(super) fn one_guard_more(&self) {
        self.guards.fetch_add(1, Ordering::Relaxed);
    }

    /// A guard is gone. If it was the last, what is to be given up.
    pub(super) fn one_guard_less(&self) -> Option<Owed> {
        if self.guards.fetch_sub(1, Ordering::AcqRel) > 1 {
            return None;
        }
        let before = std::mem::replace(&mut self.standing.lock().state, State::Over);
        self.engine.keeper.forget(self);
        self.changed.notify_waiters();
        let now = self.engine.clock.now();
        let lasts = match before {
            State::Until(until) => until.since(now).max(self.ttl.duration()),
            State::Lost(_) | State::Over => self.ttl.duration(),
        };
        Some(Owed::new(&self.engine, &self.key, self.token, (Debt::Held, lasts)))
    }

    pub(super) fn is_lost(&self) -> bool {
        self.held_until().is_none_or(|until| self.engine.clock.now() >= until)
    }

    /// Why it is lost; `None` while it is held.
    pub(super) fn loss(&self) -> Option<Loss> {
        let now = self.engine.clock.now();
        match self.standing.lock().state {
            State::Until(until) if now >= until => Some(self.or_over(Loss::NotRenewed, until)),
            State::Lost(loss) => Some(loss),
            State::Until(_) | State::Over => None,
        }
    }

    /// Comes back when it is lost. Cancel-safe.
    pub(super) async fn lost(&self) {
        let clock = &self.engine.clock;
        loop {
            // Before the look: what changes after it wakes us.
            let changed = self.changed.notified();
            let now = clock.now();
            let Some(until) = self.held_until().filter(|until| now < *until) else { return };
            tokio::select! {
                () = changed => {}
                () = clock.sleep_until(until.min(now.after(LOOK_EVERY))) => {}
            }
        }
    }

    /// Holds it for this long from now at least. Whether it is still held.
    ///
    /// # Errors
    /// When the store does not answer. It is then held as long as before, or as was asked.
    pub(super) async fn extend(&self, ttl: Ttl) -> Result<bool> {
        let sent = self.engine.clock.now();
        if self.held_until().is_none_or(|until| sent >= until) {
            self.lose(Loss::NotRenewed);
            return Ok(false);
        }
        if !self.engine.backend.extend(&self.key, self.token, ttl).await? {
            self.lose(Loss::Gone);
            return Ok(false);
        }
        Ok(self.prolong(sent.after(validity(ttl))))
    }

    /// For how long to renew it now; `None` if it is not to be renewed any more.
    pub(super) fn renewable_for(&self, now: Monotonic) -> Option<Ttl> {
        if self.held_until()? <= now {
            self.lose(Loss::NotRenewed);
            return None;
        }
        match self.ends {
            None => Some(self.ttl),
            Some(ends) => Ttl::new(ends.since(now)).ok().map(|left| left.min(self.ttl)),
        }
    }

    /// Notes when it is renewed next. Whether it still has to be.
    pub(super) fn renews_at(&self, at: Monotonic) -> bool {
        let mut standing = self.standing.lock();
        let is_held = matches!(standing.state, State::Until(_));
        standing.renewal = is_held.then_some(at);
        is_held
    }

    /// When it was to be renewed next.
    pub(super) fn renews_no_more(&self) -> Option<Monotonic> {
        self.standing.lock().renewal.take()
    }

    fn held_until(&self) -> Option<Monotonic> {
        match self.standing.lock().state {
            State::Until(until) => Some(until),
            State::Lost(_) | State::Over => None,
        }
    }

    /// Whether it is still held: an answer that comes too late brings nothing back, since the loss
    /// may have been acted on.
    fn prolong(&self, until: Monotonic) -> bool {
        let now = self.engine.clock.now();
        let is_held = {
            let mut standing = self.standing.lock();
            match standing.state {
                State::Until(before) if now < before => {
                    standing.state = State::Until(before.max(until));
                    true
                }
                _ => false,
            }
        };
        match is_held {
            true => self.changed.notify_waiters(),
            false => self.lose(Loss::NotRenewed),
        }
        is_held
    }

    fn lose(&self, loss: Loss) {
        let now = self.engine.clock.now();
        let lost = {
            let mut standing = self.standing.lock();
            match standing.state {
                State::Until(until) => {
                    let loss = self.or_over(loss, until.min(now));
                    standing.state = State::Lost(loss);
                    Some(loss)
                }
                State::Lost(_) | State::Over => None,
            }
        };
        if let Some(loss) = lost {
            self.changed.notify_waiters();
            metrics::counter!(telemetry::LOCK_LOST).increment(1);
            let reason = match loss {
                Loss::MaxHold => "it was held for as long as it may be",
                Loss::Gone => "it was taken away, or ran out",
                Loss::NotRenewed => "it could not be renewed in time",
            };
            tracing::warn!(lock = self.key.name(), reason, "a lock was lost");
        }
    }

    /// Why it was lost at this time: all others come to the same once it may be held no longer.
    fn or_over(&self, loss: Loss, at: Monotonic) -> Loss {
        // What is granted is trusted for a little less than it lasts.
        let distrust = self.ttl.duration().saturating_sub(validity(self.ttl));
        match self.ends {
            Some(ends) if at.after(distrust) >= ends => Loss::MaxHold,
            _ => loss,
        }
    }
}
