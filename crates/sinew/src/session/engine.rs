//! What the sessions of one client share.

use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;

use super::backend::{Backend as _, Store};
use super::memory::MemoryBackend;
use super::model::{Absence, Beginning, Begun, Found};
#[cfg(feature = "redis")]
use super::redis::RedisBackend;
use crate::kernel::clock::Clock;
use crate::kernel::error::Result;
use crate::kernel::key::SessionKeys;
#[cfg(feature = "redis")]
use crate::kernel::redis::Link;
use crate::kernel::telemetry;

/// What one embedded store keeps of sessions, in bytes.
const MEMORY_MAX: usize = 64 << 20;

/// What the sessions of one client share.
pub(crate) struct Engine {
    pub(super) backend: Store,
    pub(super) value_len_max: usize,
    loads: Loads,
}

/// Loads by what came of them.
struct Loads {
    live: Counter,
    unknown: Counter,
    expired: Counter,
    ended: Counter,
    error: Counter,
}

/// What ended sessions.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cause {
    Logout,
    Login,
    Rotated,
    TooMany,
    Revoked,
    All,
    Others,
}

impl Cause {
    fn name(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Login => "login",
            Self::Rotated => "rotated",
            Self::TooMany => "too_many",
            Self::Revoked => "revoked",
            Self::All => "all",
            Self::Others => "others",
        }
    }
}

impl Engine {
    /// Sessions of this process.
    pub(crate) fn embedded(clock: Clock, value_len_max: usize) -> Arc<Self> {
        Self::new(Store::Memory(MemoryBackend::new(clock, MEMORY_MAX)), value_len_max)
    }

    /// Sessions of all who are connected to this Redis, by its own time.
    #[cfg(feature = "redis")]
    pub(crate) fn on_redis(link: Link, value_len_max: usize) -> Arc<Self> {
        Self::new(Store::Redis(RedisBackend::new(link)), value_len_max)
    }

    fn new(backend: Store, value_len_max: usize) -> Arc<Self> {
        Arc::new(Self { backend, value_len_max, loads: Loads::new() })
    }

    pub(super) fn is_local(&self) -> bool {
        matches!(self.backend, Store::Memory(_))
    }

    /// Looks for a session, and counts what came of it.
    pub(super) async fn load(&self, keys: &SessionKeys, idle_ms: u64) -> Result<Found> {
        let found = self.backend.load(keys, idle_ms).await;
        let counter = match &found {
            Ok(Found::Live { .. }) => &self.loads.live,
            Ok(Found::Not(Absence::Unknown)) => &self.loads.unknown,
            Ok(Found::Not(Absence::Expired)) => &self.loads.expired,
            Ok(Found::Not(Absence::Ended)) => &self.loads.ended,
            Err(_) => &self.loads.error,
        };
        counter.increment(1);
        found
    }

    /// Begins a session, and counts it, and those that were ended for it.
    pub(super) async fn create(
        &self,
        keys: &SessionKeys,
        new: &Beginning,
        epoch_kept: Duration,
    ) -> Result<Begun> {
        let begun = self.backend.create(keys, new, epoch_kept).await?;
        if let Begun::Done { ended, .. } = begun {
            let of = if new.user.is_some() { "user" } else { "nobody" };
            metrics::counter!(telemetry::SESSIONS_BEGUN, "of" => of).increment(1);
            self.count_ended(Cause::TooMany, ended);
        }
        Ok(begun)
    }

    pub(super) fn count_ended(&self, cause: Cause, sessions: u64) {
        metrics::counter!(telemetry::SESSIONS_ENDED, "cause" => cause.name()).increment(sessions);
    }
}

impl Loads {
    fn new() -> Self {
        let of = |outcome: &'static str| metrics::counter!(telemetry::SESSION_LOADS, "outcome" => outcome);
        Self {
            live: of("live"),
            unknown: of("unknown"),
            expired: of("expired"),
            ended: of("ended"),
            error: of("error"),
        }
    }
}
