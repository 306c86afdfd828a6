//! One connection, and a call on it: a deadline and an honest error.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, RedisError, ServerErrorKind, Value};
use tokio::task::AbortHandle;

use super::script::{Invocation, Script};
use crate::kernel::error::{Error, ErrorKind, Result};

/// A connection that many callers share. It never reconnects by itself.
#[derive(Clone)]
pub(crate) struct Connection {
    multiplexed: MultiplexedConnection,
    deadline: Duration,
    driver: AbortHandle,
    /// Calls in a row that got no reply.
    unanswered: Arc<AtomicU32>,
}

/// So many in a row, and the server hangs, or the network does: callers had better not wait.
const UNANSWERED_MAX: u32 = 8;

impl Connection {
    pub(super) fn new(
        multiplexed: MultiplexedConnection,
        deadline: Duration,
        driver: AbortHandle,
    ) -> Self {
        Self { multiplexed, deadline, driver, unanswered: Arc::default() }
    }

    /// Sends one command. Dropping the future does not take the command back.
    ///
    /// # Errors
    /// `Timeout` at the deadline whatever the socket does; else what Redis or the socket said.
    pub(crate) async fn call<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        let reply = pin!(self.send(command));
        read(self.within_deadline(reply).await?)
    }

    /// Starts a call of a script on its keys.
    pub(crate) fn script(&self, script: &'static Script, keys: &[&str]) -> Invocation<'_> {
        Invocation::new(self, script, keys)
    }

    /// Takes the calls by reference: moving a future into another makes room for it twice, and
    /// a look-up is boxed.
    pub(super) async fn within_deadline<T>(
        &self,
        calls: Pin<&mut impl Future<Output = Result<T, RedisError>>>,
    ) -> Result<T> {
        let outcome = tokio::time::timeout(self.deadline, calls).await;
        self.count(outcome.is_ok());
        match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                if is_no_primary(&error) {
                    // It was one when we connected. What it reads from now on is old: look anew.
                    self.driver.abort();
                }
                Err(told_by(error))
            }
            Err(_) => Err(Error::new(
                ErrorKind::Timeout { maybe_applied: true },
                format!("no reply from Redis within {:?}", self.deadline),
            )),
        }
    }

    fn count(&self, answered: bool) {
        // Written only when it changes: every call of every thread comes by here.
        if answered {
            if self.unanswered.load(Ordering::Relaxed) != 0 {
                self.unanswered.store(0, Ordering::Relaxed);
            }
        } else if self.unanswered.fetch_add(1, Ordering::Relaxed) + 1 >= UNANSWERED_MAX {
            self.driver.abort();
        }
    }

    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, RedisError> {
        let reply = self.multiplexed.clone().send_packed_command(command).await?;
        // What the server refuses comes as a value.
        reply.extract_error()
    }
}

fn is_no_primary(error: &RedisError) -> bool {
    use ServerErrorKind::{MasterDown, ReadOnly};
    matches!(error.kind(), redis::ErrorKind::Server(ReadOnly | MasterDown))
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

/// Takes a reply apart.
pub(crate) fn read<T: FromRedisValue>(value: Value) -> Result<T> {
    T::from_redis_value(value)
        .map_err(|e| Error::corrupt("unexpected reply from Redis").with_source(RedisError::from(e)))
}

/// What an error of the client means for a caller.
pub(crate) fn told_by(error: RedisError) -> Error {
    let not_executed = ErrorKind::Unavailable { maybe_applied: false };
    let (kind, context) = match error.kind() {
        redis::ErrorKind::AuthenticationFailed
        | redis::ErrorKind::Server(ServerErrorKind::NoPerm) => {
            (ErrorKind::Denied, "Redis refused the permission")
        }
        redis::ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask,
        ) => (not_executed, "Redis cannot serve this now"),
        redis::ErrorKind::Parse => (ErrorKind::Corrupt, "unintelligible reply"),
        redis::ErrorKind::RESP3NotSupported => (
            ErrorKind::Misconfigured,
            "the server does not speak RESP3: expected Redis 7.0 or Valkey 7.2 or newer",
        ),
        _ => match error.code() {
            Some("WRONGPASS" | "NOAUTH" | "NOPERM") => {
                (ErrorKind::Denied, "Redis refused the credentials")
            }
            Some("WRONGTYPE") => (ErrorKind::Conflict, "the key holds another type of data"),
            // Out of memory, persistence in trouble, too few replicas, stuck in a script:
            // refused before anything ran.
            Some("OOM" | "MISCONF" | "NOREPLICAS" | "BUSY") => {
                (not_executed, "Redis refuses writes for now")
            }
            // Too many clients, a killed script, a proxy's own trouble: nothing says for good.
            Some(_) => {
                (ErrorKind::Unavailable { maybe_applied: true }, "Redis refused the command")
            }
            None if error.is_io_error() || error.is_unrecoverable_error() => {
                (ErrorKind::Unavailable { maybe_applied: true }, "the connection to Redis was lost")
            }
            None => (ErrorKind::Corrupt, "unexpected reply from Redis"),
        },
    };
    Error::new(kind, context).with_source(error)
}
