//! Opening a connection: socket, handshake, and whether this is a server to stay with.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError, Value,
};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use super::connection::Connection;
use super::reply::told_by;
use super::socket::{Socket, Transport};
use super::target::{Access, Address};
use super::task::Task;
use crate::kernel::error::{Error, ErrorKind, Result};

/// Oldest servers that have all that the scripts use.
const REDIS_MIN: (u32, u32) = (7, 0);
const VALKEY_MIN: (u32, u32) = (7, 2);
/// Longest time for socket and handshake together.
const CONNECT_MAX: Duration = Duration::from_millis(1_500);
/// For the last word of a server that hangs up.
const FAREWELL_MAX: Duration = Duration::from_millis(200);
const FAREWELL_LEN_MAX: usize = 4_096;
/// A subscriber that is so far behind starts again, as after a lost connection.
const PUSH_QUEUE_LEN_MAX: usize = 1_000;
/// What the names of our connections begin with, unless the URL says otherwise.
const CLIENT_NAME: &str = "sinew";

/// A connection and the task that drives it. The task's end, for whatever reason, is the disconnect.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) driver: Task,
    /// What the server sends of its own accord. Too much of it ends the connection.
    pub(super) pushes: mpsc::Receiver<PushInfo>,
    pub(super) server: Server,
}

/// What a server says of itself.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) is_primary: bool,
    pub(super) is_in_cluster: bool,
    /// Its name for this very run of itself.
    pub(super) process: String,
}

/// Who is told of pushes by the driver itself, before any later reply: neither waits nor panics.
pub(super) type Hears = Arc<dyn Fn(&PushInfo) + Send + Sync>;

/// What a connection is for, hence what its server must be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Reading and writing: a primary.
    Serve(Mode),
    /// Asking for the map of a cluster: any server.
    Ask,
    /// Asking for a primary: a sentinel.
    Sentinel,
}

/// Whether the server may be a node of a cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Alone,
    Either,
}

/// How to open connections of one link.
#[derive(Clone)]
pub(super) struct Opening {
    pub(super) access: Access,
    pub(super) transport: Transport,
    pub(super) deadline: Duration,
    /// The link's own number, which no other link has.
    pub(super) process: u64,
}

impl Opening {
    /// # Errors
    /// `Misconfigured` for TLS settings that will not do, or a system without random bytes.
    pub(super) fn new(access: Access, deadline: Duration) -> Result<Self> {
        let transport = match &access.tls {
            None => Transport::Plain,
            #[cfg(feature = "tls")]
            Some(setting) => Transport::Tls(super::tls::Tls::new(setting)?),
            #[cfg(not(feature = "tls"))]
            Some(_) => {
                return Err(Error::misconfigured(
                    "this build has no TLS: expected the feature `tls` of the crate `sinew`",
                ));
            }
        };
        let mut process = [0; 8];
        // Of the system's randomness: two processes of one number would be taken for each other.
        getrandom::fill(&mut process)
            .map_err(|_| Error::misconfigured("the system has no random bytes for a process"))?;
        Ok(Self { access, transport, deadline, process: u64::from_ne_bytes(process) })
    }

    /// Opens a connection that is ready for commands.
    ///
    /// # Errors
    /// `Unavailable` when trying again may help, `Denied` or `Misconfigured` when it will not.
    pub(super) async fn open(
        &self,
        address: &Address,
        purpose: Purpose,
        hears: Option<Hears>,
    ) -> Result<Opened> {
        let opening = self.open_unbounded(address, purpose, hears);
        let opened = tokio::time::timeout(CONNECT_MAX, opening).await;
        opened.unwrap_or_else(|_| {
            let over = match self.access.tls {
                None => "",
                Some(_) => " over TLS (is it a port that speaks TLS?)",
            };
            Err(unavailable(format!(
                "no answer from Redis at {address}{over} within {CONNECT_MAX:?}"
            )))
        })
    }

    async fn open_unbounded(
        &self,
        address: &Address,
        purpose: Purpose,
        hears: Option<Hears>,
    ) -> Result<Opened> {
        let socket = Socket::open(address, &self.transport).await?;
        let heard = socket.heard();
        let (pushed, pushes) = mpsc::channel(PUSH_QUEUE_LEN_MAX);
        // The driver's own task calls this: it must neither wait nor panic. It learns its own
        // handle only once it runs, and the set-up before sends no pushes.
        let driving = Arc::new(std::sync::OnceLock::<tokio::task::AbortHandle>::new());
        let overflows = Arc::clone(&driving);
        let push = move |push: PushInfo| {
            if let Some(hears) = &hears {
                hears(&push);
                return Ok(());
            }
            let kept = pushed.try_send(push);
            if let (Err(mpsc::error::TrySendError::Full(_)), Some(driver)) =
                (&kept, overflows.get())
            {
                driver.abort();
            }
            kept
        };
        // We set deadlines ourselves: the client's would also cut blocking commands.
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_push_sender(push);
        let shaken =
            MultiplexedConnection::new_with_config(&self.handshake(), socket, config).await;
        let (multiplexed, driver) = match shaken {
            Ok(shaken) => shaken,
            Err(error) if error.is_io_error() => {
                return Err(match self.farewell(address).await {
                    Some(told) => refused(address, told),
                    None => refused(address, error),
                });
            }
            Err(error) => return Err(refused(address, error)),
        };
        let driver = Task::start(driver);
        let _ = driving.set(driver.abort_handle());
        let connection = Connection::new(multiplexed, driver.abort_handle(), heard, self.deadline);
        let server = self.check(&connection, address, purpose).await?;
        Ok(Opened { connection, driver, pushes, server })
    }

    /// What a server says that hangs up on whoever comes: it is in protected mode, or has too many
    /// clients. Whoever speaks first loses that word to the error of writing to a closed socket.
    async fn farewell(&self, address: &Address) -> Option<RedisError> {
        let mut socket = Socket::open(address, &self.transport).await.ok()?;
        let mut said = vec![0; FAREWELL_LEN_MAX];
        let read = tokio::time::timeout(FAREWELL_MAX, socket.read(&mut said)).await.ok()?.ok()?;
        redis::parse_redis_value(said.get(..read)?).ok()?.extract_error().err()
    }

    fn handshake(&self) -> RedisConnectionInfo {
        let mut info = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(self.access.database.into())
            .set_lib_name("sinew", env!("CARGO_PKG_VERSION"));
        if let Some(user) = &self.access.user {
            info = info.set_username(user);
        }
        if let Some(password) = &self.access.password {
            info = info.set_password(password);
        }
        info
    }

    /// By which `CLIENT LIST` shows the address of a process of which no more is known than its number.
    fn client_name(&self) -> String {
        let name = self.access.client_name.as_deref().unwrap_or(CLIENT_NAME);
        format!("{name}:{:016x}", self.process)
    }

    /// Takes only a server that serves the purpose, is done loading and new enough.
    async fn check(
        &self,
        connection: &Connection,
        address: &Address,
        purpose: Purpose,
    ) -> Result<Server> {
        let mut questions = redis::pipe();
        // A server that is still loading calls itself master, and fails PING.
        questions.cmd("PING").cmd("ROLE").cmd("INFO").arg("server");
        questions.cmd("CLIENT").arg("SETNAME").arg(self.client_name());
        let replies = connection.send_all(&questions).await.map_err(|e| refused(address, e))?;
        let mut replies = replies.into_iter().zip(["PING", "ROLE", "INFO"]).map(|(reply, what)| {
            reply.map_err(|e| refused_command(address, what, &self.access, e))
        });
        let mut next = || replies.next().unwrap_or(Ok(Value::Nil));
        let (_pong, role, info) = (next()?, next()?, next()?);
        let info: String = super::reply::read(info)
            .map_err(|e| misconfigured(address, "does not answer like Redis").with_source(e))?;
        check_version(&info).map_err(|e| misconfigured(address, &e))?;
        let role = role_name(&role);
        let server = Server {
            is_primary: role == Some("master"),
            is_in_cluster: field(&info, "redis_mode") == Some("cluster"),
            process: field(&info, "run_id").unwrap_or_default().to_owned(),
        };
        match purpose {
            Purpose::Sentinel if role != Some("sentinel") => Err(misconfigured(
                address,
                "is not a sentinel: expected one, usually on port 26379",
            )),
            Purpose::Serve(_) | Purpose::Ask if role == Some("sentinel") => Err(misconfigured(
                address,
                "is a sentinel: expected redis-sentinel://host:port/primary-name",
            )),
            Purpose::Serve(Mode::Alone) if server.is_in_cluster => {
                Err(misconfigured(address, "is a node of a cluster: expected redis-cluster://"))
            }
            Purpose::Serve(_) if !server.is_primary => Err(not_primary(address)),
            _ => Ok(server),
        }
    }
}

fn unavailable(context: String) -> Error {
    Error::new(ErrorKind::Unavailable { maybe_applied: false }, context)
}

fn misconfigured(address: &Address, what: &str) -> Error {
    Error::misconfigured(format!("{address} {what}"))
}

/// A replica may become a primary; until then it is of no use.
pub(super) fn not_primary(address: &Address) -> Error {
    unavailable(format!(
        "{address} is a read-only replica: expected the primary; waiting for it to become one"
    ))
}

/// Says where, and turns a reply that no Redis gives into a matter of set-up.
fn refused(address: &Address, error: RedisError) -> Error {
    #[cfg(feature = "tls")]
    if let Some(told) = refused_over_tls(address, &error) {
        return told;
    }
    if let Some(told) = refused_database(address, &error) {
        return told;
    }
    let is_lost = error.is_io_error();
    let wants_password = error.code() == Some("NOAUTH");
    let told = told_by(error);
    let context = match told.kind() {
        ErrorKind::Denied if wants_password => {
            "wants a password, and none was given: expected :password@ or user:password@ before the host"
        }
        ErrorKind::Denied => "refused user or password",
        ErrorKind::Corrupt => "does not answer like Redis",
        ErrorKind::Misconfigured => {
            return misconfigured(address, &told.to_string()).with_source(told);
        }
        _ if is_lost => {
            return unavailable(format!(
                "{address} closed the connection during the handshake (a TLS port wants rediss://)"
            ))
            .with_source(told);
        }
        _ => return told,
    };
    let kind = match told.kind() {
        ErrorKind::Denied => ErrorKind::Denied,
        _ => ErrorKind::Misconfigured,
    };
    Error::new(kind, format!("{address} {context}")).with_source(told)
}

/// The client makes one error of whatever a server has against a database.
fn refused_database(address: &Address, error: &RedisError) -> Option<Error> {
    if !error.to_string().contains("refused to switch database") {
        return None;
    }
    let why = error.detail().unwrap_or_default();
    let denied = why.contains("NOPERM") || why.contains("permission");
    let what = match why {
        _ if denied => "refuses the permission to run SELECT, which a database but 0 needs",
        why if why.contains("cluster") => {
            "is a node of a cluster: expected redis-cluster://, which has no database but 0"
        }
        _ => "has no such database: expected a number below its `databases` setting",
    };
    let kind = if denied { ErrorKind::Denied } else { ErrorKind::Misconfigured };
    Some(Error::new(kind, format!("{address} {what}")).with_source(error.clone()))
}

/// A server refuses a client's certificate only after the client has finished its part.
#[cfg(feature = "tls")]
fn refused_over_tls(address: &Address, error: &RedisError) -> Option<Error> {
    use std::error::Error;
    // The client's error holds its cause in an `Arc`, which is what it shows.
    let cause = error.source()?.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
    let cause = cause.downcast_ref::<std::io::Error>()?.get_ref()?;
    let tls = cause.downcast_ref::<rustls::Error>()?.clone();
    Some(super::tls::told_by(std::io::Error::other(tls), &address.to_string()))
}

/// Names the command that is missing.
pub(super) fn refused_command(
    address: &Address,
    command: &str,
    access: &Access,
    error: RedisError,
) -> Error {
    let user = access.user.as_deref().unwrap_or("default");
    let told = told_by(error);
    match told.kind() {
        ErrorKind::Denied => Error::new(
            ErrorKind::Denied,
            format!("user {user:?} of Redis at {address} may not run {command}, which Sinew needs"),
        )
        .with_source(told),
        _ => told,
    }
}

fn role_name(role: &Value) -> Option<&str> {
    match role {
        Value::Array(parts) => match parts.first()? {
            Value::BulkString(name) => std::str::from_utf8(name).ok(),
            Value::SimpleString(name) => Some(name),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a reply to `ROLE` is a primary's. An error tells nothing.
pub(super) fn is_primary(role: &Value) -> bool {
    role_name(role) == Some("master")
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn version(info: &str, name: &str) -> Option<(u32, u32)> {
    let mut numbers = field(info, name)?.split('.').map(|n| n.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn check_version(info: &str) -> Result<(), String> {
    let too_old = |name, (major, minor)| {
        Err(format!(
            "is {name} {major}.{minor}, too old: expected Redis 7.0 or Valkey 7.2 or newer"
        ))
    };
    match (version(info, "valkey_version"), version(info, "redis_version")) {
        (Some(found), _) if found < VALKEY_MIN => too_old("Valkey", found),
        (None, Some(found)) if found < REDIS_MIN => too_old("Redis", found),
        (None, None) => Err("does not answer like Redis: INFO names no version".to_owned()),
        _ => Ok(()),
    }
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

    #[test]
    fn servers_that_are_too_old_are_told_apart() {
        for (info, verdict) in [
            ("redis_version:6.2.14\r\n", "Redis 6.2, too old"),
            ("redis_version:7.2.4\r\nvalkey_version:7.1.0\r\n", "Valkey 7.1, too old"),
            ("dragonfly_version:1\r\n", "names no version"),
        ] {
            assert!(check_version(info).unwrap_err().contains(verdict), "{info}");
        }
        assert!(check_version("redis_version:7.0.0\r\n").is_ok());
    }
}
