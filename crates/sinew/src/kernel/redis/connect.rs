//! Opening a connection: socket, handshake, and whether this is a server to stay with.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, RedisConnectionInfo};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::connection::{Connection, told_by};
use super::target::Target;
use crate::kernel::error::{Error, ErrorKind, Result};

/// Oldest servers that have all that the scripts use.
const REDIS_MIN: (u32, u32) = (7, 0);
const VALKEY_MIN: (u32, u32) = (7, 2);

/// A connection and the task that drives it. The task's end, for whatever reason, is the disconnect.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) driver: Driver,
}

/// Ends the connection when dropped.
pub(super) struct Driver(JoinHandle<()>);

impl Driver {
    pub(super) async fn ended(&mut self) {
        let _ = (&mut self.0).await;
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Opens a connection that is ready for commands.
///
/// # Errors
/// `Unavailable` when trying again may help, `Denied` or `Misconfigured` when it will not.
pub(super) async fn open(target: &Target, deadline: Duration) -> Result<Opened> {
    let socket = TcpStream::connect((target.host.as_str(), target.port))
        .await
        .and_then(|socket| socket.set_nodelay(true).map(|()| socket))
        .map_err(|e| {
            Error::new(
                ErrorKind::Unavailable { maybe_applied: false },
                format!("cannot reach Redis at {target}: {e}"),
            )
        })?;
    // We set deadlines ourselves: the client's would also cut blocking commands.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let (multiplexed, driver) =
        MultiplexedConnection::new_with_config(&handshake(target), socket, config)
            .await
            .map_err(|e| refused(target, told_by(e)))?;
    let driver = Driver(tokio::spawn(driver));
    let connection = Connection::new(multiplexed, deadline, driver.0.abort_handle());
    check(&connection).await.map_err(|error| refused(target, error))?;
    Ok(Opened { connection, driver })
}

fn handshake(target: &Target) -> RedisConnectionInfo {
    let mut info = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP3)
        .set_db(target.database)
        .set_lib_name("sinew", env!("CARGO_PKG_VERSION"));
    if let Some(username) = &target.username {
        info = info.set_username(username);
    }
    if let Some(password) = &target.password {
        info = info.set_password(password);
    }
    info
}

/// Says where, and turns a reply that no Redis gives into a matter of set-up.
fn refused(target: &Target, error: Error) -> Error {
    match error.kind() {
        ErrorKind::Denied => Error::new(
            ErrorKind::Denied,
            format!("Redis at {target} refused user or password, or a permission (it needs PING, ROLE, INFO)"),
        )
        .with_source(error),
        ErrorKind::Corrupt => {
            Error::misconfigured(format!("{target} does not answer like Redis")).with_source(error)
        }
        _ if told_of_database(&error) => Error::misconfigured(format!(
            "{target}: this Redis has no such database; expected a number below its `databases` setting"
        )),
        _ => error,
    }
}

fn told_of_database(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|e| e.to_string().contains("DB index"))
}

/// Takes only a primary that is done loading and new enough.
async fn check(connection: &Connection) -> Result<()> {
    // A server that is still loading calls itself master, and fails PING.
    let _: String = connection.call(&redis::cmd("PING")).await?;
    let role: redis::Value = connection.call(&redis::cmd("ROLE")).await?;
    if role_name(&role) != Some("master") {
        return Err(Error::new(
            ErrorKind::Unavailable { maybe_applied: false },
            "the server is a replica; waiting for it to become primary",
        ));
    }
    let info: String = connection.call(redis::cmd("INFO").arg("server")).await?;
    match (version(&info, "valkey_version"), version(&info, "redis_version")) {
        (Some(found), _) if found < VALKEY_MIN => Err(too_old("Valkey", found)),
        (None, Some(found)) if found < REDIS_MIN => Err(too_old("Redis", found)),
        (None, None) => Err(Error::corrupt("INFO names no version")),
        _ => Ok(()),
    }
}

fn role_name(role: &redis::Value) -> Option<&str> {
    match role {
        redis::Value::Array(parts) => match parts.first()? {
            redis::Value::BulkString(name) => std::str::from_utf8(name).ok(),
            redis::Value::SimpleString(name) => Some(name),
            _ => None,
        },
        _ => None,
    }
}

fn version(info: &str, field: &str) -> Option<(u32, u32)> {
    let line = info.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'))?;
    let mut numbers = line.trim().split('.').map(|n| n.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn too_old(name: &str, (major, minor): (u32, u32)) -> Error {
    Error::misconfigured(format!(
        "{name} {major}.{minor} is too old: expected Redis 7.0 or Valkey 7.2 or newer"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_either_server() {
        let redis = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n";
        assert_eq!(version(redis, "redis_version"), Some((7, 0)));
        assert_eq!(version(redis, "valkey_version"), None);
        let valkey = "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.0.1\r\n";
        assert_eq!(version(valkey, "valkey_version"), Some((8, 0)));
        assert_eq!(version("redis_version:unknown", "redis_version"), None);
    }
}
