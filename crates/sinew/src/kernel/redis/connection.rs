//! One connection. It never reconnects by itself.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, Pipeline, RedisError, Value};
use tokio::task::AbortHandle;

use super::reply::{read, told_by};
use super::socket::Received;
use crate::kernel::error::{Error, ErrorKind, Result};

/// A connection that many callers share.
#[derive(Clone)]
pub(crate) struct Connection {
    multiplexed: MultiplexedConnection,
    driver: AbortHandle,
    heard: Received,
    deadline: Duration,
}

impl Connection {
    pub(super) fn new(
        multiplexed: MultiplexedConnection,
        driver: AbortHandle,
        heard: Received,
        deadline: Duration,
    ) -> Self {
        Self { multiplexed, driver, heard, deadline }
    }

    /// Sends one command to this very server: for set-up, and for looking at one server. Calls of
    /// capabilities go through the [`Link`](super::Link).
    ///
    /// # Errors
    /// `Timeout` at the deadline; else what Redis or the socket said.
    pub(crate) async fn call<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        match tokio::time::timeout(self.deadline, self.send(command)).await {
            Ok(reply) => read(reply.map_err(told_by)?),
            Err(_) => Err(Error::new(
                ErrorKind::Timeout { maybe_applied: true },
                format!("no reply from Redis within {:?}", self.deadline),
            )),
        }
    }

    /// Without a deadline. Dropping the future does not take the command back.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, RedisError> {
        let reply = self.multiplexed.clone().send_packed_command(command).await?;
        // What the server refuses comes as a value.
        reply.extract_error()
    }

    /// Each command's own reply or refusal, in order. Without a deadline.
    pub(super) async fn send_all(
        &self,
        commands: &Pipeline,
    ) -> Result<Vec<Result<Value, RedisError>>, RedisError> {
        let mut multiplexed = self.multiplexed.clone();
        let replies = multiplexed.send_packed_commands(commands, 0, commands.len()).await?;
        Ok(replies.into_iter().map(Value::extract_error).collect())
    }

    /// How many bytes the server has sent so far.
    pub(super) fn heard(&self) -> u64 {
        self.heard.bytes()
    }

    /// Ends it now. Every call on it is told that the connection was lost.
    pub(super) fn kill(&self) {
        self.driver.abort();
    }

    pub(super) fn is_dead(&self) -> bool {
        self.driver.is_finished()
    }
}

/// Writes a value that no one has written before, for good, and says what stands there now.
pub(crate) async fn record_once(connection: &Connection, key: &str, value: &str) -> Result<String> {
    // Only read, as a rule: a Redis that is full or fails to save refuses writes.
    if let Some(there) = connection.call(redis::cmd("GET").arg(key)).await? {
        return Ok(there);
    }
    let mut set = redis::cmd("SET");
    set.arg(key).arg(value).arg("NX").arg("GET");
    let before: Option<String> = connection.call(&set).await?;
    Ok(before.unwrap_or_else(|| value.to_owned()))
}
