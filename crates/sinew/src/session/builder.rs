//! The settings of sessions.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::Sessions;
use super::backend::Ending;
use super::engine::Engine;
#[cfg(feature = "axum")]
use super::http::SessionCookie;
use super::model::{Evict, Most, Replicas, SESSIONS_MAX, millis};
use crate::kernel::error::{Error, Result};
use crate::kernel::key::Scope;

const IDLE_DEFAULT: Duration = Duration::from_secs(30 * 60);
const ABSOLUTE_DEFAULT: Duration = Duration::from_secs(12 * 3_600);
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// The longest a session lasts: so long, browsers keep a cookie.
pub(super) const ABSOLUTE_MAX: Duration = Duration::from_secs(400 * 24 * 3_600);
const REPLICAS_WITHIN: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(60);

/// Sessions being set up; see [`Sinew::sessions`](crate::Sinew::sessions).
#[derive(Clone)]
#[must_use = "sessions are made by build()"]
pub struct SessionsBuilder {
    engine: Arc<Engine>,
    scope: Scope,
    idle: Option<Duration>,
    absolute: Duration,
    most: Option<Most>,
    replicas: Option<Replicas>,
    #[cfg(feature = "axum")]
    cookie: SessionCookie,
}

/// What was set, within its bounds.
pub(super) struct Settings {
    pub(super) idle_ms: u64,
    pub(super) absolute: Duration,
    pub(super) most: Option<Most>,
    pub(super) replicas: Option<Replicas>,
    #[cfg(feature = "axum")]
    pub(super) cookie: SessionCookie,
}

impl Settings {
    /// How long the epoch of a user is kept: longer than any of the sessions that began in it.
    pub(super) fn epoch_kept(&self) -> Duration {
        self.absolute + DAY
    }

    pub(super) fn ending(&self) -> Ending {
        Ending { epoch_kept: self.epoch_kept(), replicas: self.replicas }
    }
}

impl SessionsBuilder {
    pub(crate) fn new(engine: Arc<Engine>, scope: Scope) -> Self {
        Self {
            engine,
            scope,
            idle: None,
            absolute: ABSOLUTE_DEFAULT,
            most: None,
            replicas: None,
            #[cfg(feature = "axum")]
            cookie: SessionCookie::host("id"),
        }
    }

    /// For how long a session may go unused before it ends: 1 second to [`SessionsBuilder::absolute`]. 30 minutes
    /// unless said. That it is used is noted when a tenth of this is over, so it may end that much earlier.
    pub fn idle(mut self, time: Duration) -> Self {
        self.idle = Some(time);
        self
    }

    /// After how long a session ends however much it is used: 1 second to 400 days. 12 hours unless said.
    /// Where this changes, it holds for sessions that begin from then on.
    pub fn absolute(mut self, time: Duration) -> Self {
        self.absolute = time;
        self
    }

    /// How many sessions a user has at most, 1 to 1,000, and what happens to one more. Any number unless said.
    ///
    /// Where a user has more from before, a login ends a thousand of them at most.
    pub fn max_per_user(mut self, sessions: u32, evict: Evict) -> Self {
        self.most = Some(Most { sessions, evict });
        self
    }

    /// What ends sessions (a logout, a login, another id, a revocation) succeeds only if so many replicas have it
    /// as well within this time, 1 ms to 60 s: a failover to one of them brings no session back. It costs a
    /// connection and two commands each time.
    ///
    /// Where too few have it in time, that fails with `Unavailable`, and the session has ended all the same, as
    /// long as no failover forgets it.
    pub fn require_replicas(mut self, count: u32, within: Duration) -> Self {
        self.replicas = Some(Replicas { count, within });
        self
    }

    /// In what cookie [`Sessions::layer`] keeps the token: `SessionCookie::host("id")` unless said.
    #[cfg(feature = "axum")]
    pub fn cookie(mut self, cookie: SessionCookie) -> Self {
        self.cookie = cookie;
        self
    }

    /// The sessions with these settings.
    ///
    /// # Errors
    /// `Rejected` for a setting out of bounds; `Misconfigured` for [`SessionsBuilder::require_replicas`] on the embedded
    /// store, which has none.
    pub fn build(self) -> Result<Sessions> {
        bounded("an absolute end", self.absolute, &(SECOND..=ABSOLUTE_MAX), "1 s to 400 days")?;
        let idle = self.idle.unwrap_or_else(|| IDLE_DEFAULT.min(self.absolute));
        bounded("an idle time", idle, &(SECOND..=self.absolute), "1 s to the absolute end")?;
        if let Some(Most { sessions, .. }) = self.most
            && !(1..=SESSIONS_MAX).contains(&(sessions as usize))
        {
            return Err(Error::rejected(format!(
                "{sessions} sessions of a user are out of bounds: expected 1 to {SESSIONS_MAX}"
            )));
        }
        if let Some(Replicas { count, within }) = self.replicas {
            bounded("require_replicas", within, &REPLICAS_WITHIN, "1 ms to 60 s")?;
            if count == 0 {
                return Err(Error::rejected("require_replicas of none: expected 1 or more"));
            }
            if self.engine.is_local() {
                return Err(Error::misconfigured(
                    "the embedded store has no replicas: expected Redis for require_replicas()",
                ));
            }
        }
        #[cfg(feature = "axum")]
        self.cookie.validate()?;
        let settings = Settings {
            idle_ms: millis(idle),
            absolute: self.absolute,
            most: self.most,
            replicas: self.replicas,
            #[cfg(feature = "axum")]
            cookie: self.cookie,
        };
        Ok(Sessions::new(self.engine, self.scope, settings))
    }
}

impl fmt::Debug for SessionsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionsBuilder")
            .field("scope", &self.scope)
            .field("idle", &self.idle)
            .field("absolute", &self.absolute)
            .field("most", &self.most)
            .field("replicas", &self.replicas)
            .finish_non_exhaustive()
    }
}

fn bounded(
    what: &str,
    time: Duration,
    bounds: &RangeInclusive<Duration>,
    expected: &str,
) -> Result<()> {
    match bounds.contains(&time) {
        true => Ok(()),
        false => Err(Error::rejected(format!(
            "{what} of {time:?} is out of bounds: expected {expected}"
        ))),
    }
}
