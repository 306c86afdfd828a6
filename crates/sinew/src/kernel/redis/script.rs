//! Scripts by digest: sent whole only to a server that does not know them.

use std::pin::pin;
use std::sync::OnceLock;

use redis::{Cmd, FromRedisValue, RedisError, ServerErrorKind, ToRedisArgs, Value};

use super::connection::{Connection, read};
use crate::kernel::error::Result;

/// A file in a capability's `scripts/` folder.
pub(crate) struct Script {
    source: &'static str,
    digest: OnceLock<String>,
}

impl Script {
    pub(crate) const fn new(source: &'static str) -> Self {
        Self { source, digest: OnceLock::new() }
    }

    fn digest(&self) -> &str {
        self.digest.get_or_init(|| redis::Script::new(self.source).get_hash().to_owned())
    }
}

/// A call of a script being put together: its keys are there, arguments follow.
pub(crate) struct Invocation<'a> {
    connection: &'a Connection,
    script: &'static Script,
    call: Cmd,
}

impl<'a> Invocation<'a> {
    pub(super) fn new(connection: &'a Connection, script: &'static Script, keys: &[&str]) -> Self {
        let mut call = redis::cmd("EVALSHA");
        call.arg(script.digest()).arg(keys.len()).arg(keys);
        Self { connection, script, call }
    }

    pub(crate) fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        self.call.arg(argument);
        self
    }

    /// Runs it within the connection's deadline.
    pub(crate) async fn run<T: FromRedisValue>(self) -> Result<T> {
        let reply = pin!(self.send_or_load());
        read(self.connection.within_deadline(reply).await?)
    }

    async fn send_or_load(&self) -> Result<Value, RedisError> {
        match self.connection.send(&self.call).await {
            // Refused before it ran, so sending it again runs it once.
            Err(e) if e.kind() == redis::ErrorKind::Server(ServerErrorKind::NoScript) => {
                let mut load = redis::cmd("SCRIPT");
                load.arg("LOAD").arg(self.script.source);
                self.connection.send(&load).await?;
                self.connection.send(&self.call).await
            }
            reply => reply,
        }
    }
}
