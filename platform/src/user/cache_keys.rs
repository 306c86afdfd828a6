//! What is cached under which key, and what evicts it.

use std::time::Duration;

use sinew::{Cache, Sinew};

use super::error::UserError;
use super::preferences::Preferences;
use super::profile::Profile;

/// The seed's for profiles at the user service.
const PROFILE_TTL: Duration = Duration::from_mins(30);
/// The seed's for preferences.
const PREFERENCES_TTL: Duration = Duration::from_mins(10);

/// The caches of one tenant.
pub(super) struct Caches {
    /// `{tenant}:profile:{userId}`, evicted by a write of this profile
    pub(super) profile: Cache<str, Profile>,
    /// `{tenant}:preferences:{userId}`, evicted by a write of these preferences
    pub(super) preferences: Cache<str, Preferences>,
}

impl Caches {
    /// `sinew` is one tenant's.
    pub(super) fn of(sinew: &Sinew) -> Result<Self, UserError> {
        Ok(Self {
            profile: sinew.cache("profile").ttl(PROFILE_TTL).build()?,
            preferences: sinew.cache("preferences").ttl(PREFERENCES_TTL).build()?,
        })
    }
}
