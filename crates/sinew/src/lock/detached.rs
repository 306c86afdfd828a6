//! A lock without a guard: whoever has its token holds it, through any process.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::Locks;
use super::backend::Backend as _;
use super::builder::lock_ttl;
use super::guard::{Guard, Released};
use super::model::{Fence, Kind, Token};
use crate::kernel::clock::Monotonic;
use crate::kernel::error::{Error, Result};

/// A lock that is held with a token. Nothing renews it, and dropping this frees nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Detached {
    /// With which it is extended and released.
    pub token: LockToken,
    /// As [`Guard::fence`].
    pub fence: Fence,
    /// For how long it is held, from `waited` after it was asked for.
    pub ttl: Duration,
    /// How long it waited in line.
    pub waited: Duration,
}

/// What shows that a lock is one's own. Its text may be sent and stored, and is read back with
/// [`str::parse`]. Whoever has it can release the lock, so the [`fmt::Debug`] output is without it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LockToken(Token);

impl Detached {
    /// Takes over what a guard holds that was asked for at `began`.
    pub(super) fn of(guard: Guard, kind: Kind, ttl: Duration, began: Monotonic) -> Self {
        let hold = Arc::clone(guard.hold());
        let process = hold.engine().wakes.process;
        let token = LockToken(Token { kind, process, own: hold.number() });
        // One more than there are, so that the guard's own end gives nothing up.
        hold.one_guard_more();
        drop(guard);
        if let Some(owed) = hold.one_guard_less() {
            owed.settle();
        }
        Self { token, fence: hold.fence(), ttl, waited: hold.sent().since(began) }
    }
}

impl Locks {
    /// Holds a lock for this long from now at least; never shortens. Whether it is still held with this
    /// token: one that was lost is not brought back.
    ///
    /// *Cancellation*: the lock is held for as long as before, or as was asked.
    ///
    /// # Errors
    /// `Rejected` for a bad name, or a TTL out of bounds: 10 ms to a day. `Unavailable` or `Timeout` when
    /// Redis does not answer: the lock is then held for as long as before, and perhaps longer.
    pub async fn extend(&self, name: &str, token: LockToken, ttl: Duration) -> Result<bool> {
        let (key, ttl) = (self.scope.lock(name)?, lock_ttl(ttl)?);
        self.engine.backend.extend(&key, token.0, ttl).await
    }

    /// Frees a lock that is held with this token, and wakes who is next in line. Never
    /// [`Released::Kept`]: [`Guard::again`] counts guards, and a token has none.
    ///
    /// *Cancellation*: the lock may be freed, or not.
    ///
    /// # Errors
    /// `Rejected` for a bad name. `Unavailable` or `Timeout` when Redis does not answer. It is not tried
    /// on: the TTL frees the lock.
    pub async fn release(&self, name: &str, token: LockToken) -> Result<Released> {
        let key = self.scope.lock(name)?;
        match self.engine.backend.release(&key, token.0).await? {
            true => Ok(Released::Freed),
            false => Ok(Released::Gone),
        }
    }
}

impl FromStr for LockToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // As it was written, and no other way: the store compares tokens as text.
        let token = Token::parse(text).filter(|token| token.to_string() == text);
        let token = token.ok_or_else(|| {
            Error::rejected("this is not a lock's token: expected one as it was granted")
        })?;
        Ok(Self(token))
    }
}

impl fmt::Display for LockToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for LockToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockToken(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_no_other_way() {
        for good in ["x", "r", "s12"] {
            let text = format!("{good}.00000000deadbeef.0000000000000001");
            let token: LockToken = text.parse().unwrap();
            assert_eq!(token.to_string(), text);
            assert_eq!(format!("{token:?}"), "LockToken(..)");
        }
        for bad in [
            "",
            "x",
            "x.1.2",
            "x.00000000deadbeef.0000000000000001.",
            "x.00000000DEADBEEF.0000000000000001",
            "x.+0000000deadbeef.0000000000000001",
            "s012.00000000deadbeef.0000000000000001",
            "y.00000000deadbeef.0000000000000001",
        ] {
            assert!(
                bad.parse::<LockToken>().unwrap_err().to_string().contains("expected"),
                "{bad}"
            );
        }
    }
}
