//! A connection for one consumer, whose commands block it: everyone else's would wait behind them.

use std::time::Duration;

use redis::{Cmd, FromRedisValue};

use super::connect::Opened;
use super::reply::{read, told_by};
use crate::kernel::error::{Error, ErrorKind, Result};

/// How much later than the server's own time limit a reply may come.
const GRACE: Duration = Duration::from_secs(2);

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
