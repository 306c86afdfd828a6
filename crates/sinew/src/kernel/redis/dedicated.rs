//! A connection for one consumer, whose commands block it: everyone else's would wait behind them.

use std::time::Duration;

use redis::{Cmd, FromRedisValue};

use super::connect::Opened;
use super::reply::{read, told_by};
use crate::kernel::error::{Error, ErrorKind, Result};

/// How much later than the server's own time limit a reply may come.
const GRACE: Duration = Duration::from_secs(2);
/// Pauses before a connection is opened again after some that failed.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LAST: Duration = Duration::from_secs(2);

/// Ends when dropped, and with it the command under way.
pub(crate) struct Dedicated(Opened);

impl Dedicated {
    pub(super) fn new(opened: Opened) -> Self {
        Self(opened)
    }

    /// Sends a command that the server answers within `blocks_for`. An error ends the connection: a late
    /// reply would be taken for that of the next command.
    ///
    /// # Errors
    /// `Timeout` two seconds after `blocks_for`; `Unavailable` when the connection is lost.
    pub(crate) async fn call<T: FromRedisValue>(
        self,
        command: &Cmd,
        blocks_for: Duration,
    ) -> Result<(Self, T)> {
        let limit = blocks_for.saturating_add(GRACE);
        match tokio::time::timeout(limit, self.0.connection.send(command)).await {
            Ok(reply) => Ok((self, read(reply.map_err(told_by)?)?)),
            Err(_) => Err(Error::new(
                ErrorKind::Timeout { maybe_applied: true },
                format!("no reply from Redis within {limit:?}"),
            )),
        }
    }
}

/// Waits before a connection is opened again, longer and longer; not at all where none has failed. Cancel-safe.
pub(crate) async fn pause_after(failures: u32) {
    if failures > 0 {
        let doubled = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
        let most = PAUSE_FIRST.saturating_mul(doubled).min(PAUSE_LAST);
        tokio::time::sleep(most.mul_f64(fastrand::f64()).max(PAUSE_FIRST)).await;
    }
}
