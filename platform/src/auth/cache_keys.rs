//! What is cached under which key. Nothing evicts it: no route changes an account.

use std::sync::Arc;
use std::time::Duration;

use sinew::{Cache, CacheKey, Segments, Sinew};

use super::account::Account;
use super::error::AuthError;

/// The seed's for user profiles at the auth service.
const TTL: Duration = Duration::from_mins(5);
/// For how long an address is known from which somebody was let in.
const KNOWN_TTL: Duration = Duration::from_hours(30 * 24);

/// The key of an account: `user:{userId}`.
pub(super) struct UserOf(pub(super) Arc<str>);

impl CacheKey for UserOf {
    fn segments(&self, into: &mut Segments<'_>) {
        into.push("user");
        into.push(&self.0);
    }
}

/// The caches of one tenant.
pub(super) struct Caches {
    /// `{tenant}:auth:user:{userId}`
    pub(super) account: Cache<UserOf, Account>,
    /// `{tenant}:sign-in-known:{digest of account and address}`: somebody was let in to it from there
    pub(super) known: Cache<str, bool>,
}

impl Caches {
    /// `sinew` is one tenant's.
    pub(super) fn of(sinew: &Sinew) -> Result<Self, AuthError> {
        Ok(Self {
            account: sinew.cache("auth").ttl(TTL).build()?,
            known: sinew.cache("sign-in-known").ttl(KNOWN_TTL).build()?,
        })
    }
}
