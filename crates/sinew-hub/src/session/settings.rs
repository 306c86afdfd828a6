//! How the sessions of users are kept.

use std::time::Duration;

use sinew::Sinew;
use sinew::session::{Evict, Sessions};

/// Unless the configuration says otherwise.
const IDLE: Duration = Duration::from_secs(30 * 60);
const ABSOLUTE: Duration = Duration::from_secs(12 * 3600);

/// What the configuration says of sessions.
#[derive(Clone, Debug)]
pub(crate) struct SessionSettings {
    /// After so long without use, one ends.
    pub(crate) idle: Duration,
    /// So long after it began, one ends, however much it is used.
    pub(crate) absolute: Duration,
    /// How many a user may have, and what becomes of one more.
    pub(crate) max_per_user: Option<(u32, Evict)>,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self::lasting(None, None)
    }
}

impl SessionSettings {
    /// Without a maximum. Where only the longest time is said, no one is idle for longer than that.
    pub(crate) fn lasting(idle: Option<Duration>, absolute: Option<Duration>) -> Self {
        let absolute = absolute.unwrap_or(ABSOLUTE);
        Self { idle: idle.unwrap_or(IDLE.min(absolute)), absolute, max_per_user: None }
    }

    /// The sessions of a scope.
    ///
    /// # Errors
    /// `Rejected` for settings out of bounds.
    pub(crate) fn open(&self, scope: &Sinew) -> sinew::Result<Sessions> {
        let sessions = scope.sessions().idle(self.idle).absolute(self.absolute);
        match self.max_per_user {
            Some((max, when_full)) => sessions.max_per_user(max, when_full).build(),
            None => sessions.build(),
        }
    }
}
