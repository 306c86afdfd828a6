//! What a reply means: for a caller, and for where to go next.

use redis::{FromRedisValue, RedisError, ServerErrorKind, Value};

use super::target::{HostPort, host_port};
use crate::kernel::error::{Error, ErrorKind, Result};

/// What to do about an error of a call.
pub(super) enum Verdict {
    /// Another node serves the slot from now on.
    Moved(String),
    /// Another node has this key already, while its slot is on the move.
    Ask(String),
    /// Not executed, and may be soon.
    NotNow,
    /// Not executed: the server is no primary any more.
    NotPrimary,
    /// Not executed: the server does not know the script.
    NoScript,
    /// The connection ended, and no one knows what became of the call.
    Lost,
    /// The server's last word.
    Final,
}

impl Verdict {
    pub(super) fn on(error: &RedisError) -> Self {
        use ServerErrorKind as Server;
        let redirect = || error.redirect_node().map(|(address, _)| address.to_owned());
        match error.kind() {
            redis::ErrorKind::Server(Server::Moved) => redirect().map_or(Self::Final, Self::Moved),
            redis::ErrorKind::Server(Server::Ask) => redirect().map_or(Self::Final, Self::Ask),
            redis::ErrorKind::Server(
                Server::TryAgain | Server::ClusterDown | Server::BusyLoading,
            ) => Self::NotNow,
            redis::ErrorKind::Server(Server::ReadOnly | Server::MasterDown) => Self::NotPrimary,
            redis::ErrorKind::Server(Server::NoScript) => Self::NoScript,
            _ if error.code().is_some() => Self::Final,
            redis::ErrorKind::Io => Self::Lost,
            _ if error.is_unrecoverable_error() => Self::Lost,
            _ => Self::Final,
        }
    }
}

/// The address in a redirection. A server that does not know its own host leaves it out, and
/// means the one that was asked.
pub(super) fn redirected(address: &str, asked: &HostPort) -> Option<HostPort> {
    let (host, port) = address.rsplit_once(':')?;
    match host {
        "" | "?" => Some(HostPort { host: asked.host.clone(), port: port.parse().ok()? }),
        // An IPv6 address comes without brackets.
        host if host.contains(':') && !host.starts_with('[') => {
            Some(HostPort { host: host.to_owned(), port: port.parse().ok()? })
        }
        _ => host_port(address, 0),
    }
}

/// Whether the error says that another node keeps the key.
pub(super) fn is_elsewhere(error: &Error) -> bool {
    use std::error::Error as _;
    let source = error.source().and_then(|source| source.downcast_ref::<RedisError>());
    source.is_some_and(|e| matches!(Verdict::on(e), Verdict::Moved(_) | Verdict::Ask(_)))
}

/// One error for several, of as many servers. It is final only if every one is: another server
/// may come back and know better.
pub(super) fn all_in_one(errors: Vec<Error>) -> Option<Error> {
    let (passing, last_words): (Vec<Error>, Vec<Error>) =
        errors.into_iter().partition(Error::is_retryable);
    match (passing.into_iter().next(), last_words.into_iter().next()) {
        (Some(passing), Some(last_word)) => {
            let context = format!("{passing}; another said: {last_word}");
            Some(Error::new(passing.kind(), context).with_source(last_word))
        }
        (passing, last_word) => passing.or(last_word),
    }
}

/// Takes a reply apart.
pub(crate) fn read<T: FromRedisValue>(value: Value) -> Result<T> {
    T::from_redis_value(value)
        .map_err(|e| Error::corrupt("unexpected reply from Redis").with_source(RedisError::from(e)))
}

fn says(error: &RedisError, what: &str) -> bool {
    error.detail().is_some_and(|detail| detail.contains(what))
}

/// What an error of the client means for a caller.
pub(super) fn told_by(error: RedisError) -> Error {
    let not_executed = ErrorKind::Unavailable { maybe_applied: false };
    let (kind, context) = match error.kind() {
        redis::ErrorKind::AuthenticationFailed => {
            (ErrorKind::Denied, "Redis refused the credentials")
        }
        redis::ErrorKind::Server(ServerErrorKind::NoPerm) => {
            (ErrorKind::Denied, "Redis refused the permission")
        }
        redis::ErrorKind::Server(ServerErrorKind::ClusterDown) => {
            (not_executed, "the cluster is down (CLUSTERDOWN)")
        }
        redis::ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
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
            Some("DENIED") => (
                ErrorKind::Misconfigured,
                "Redis is in protected mode: it takes calls from its own machine only, until it has a password or `protected-mode no`",
            ),
            Some("WRONGTYPE") => (ErrorKind::Conflict, "the key holds another type of data"),
            // Out of memory, persistence in trouble, too few replicas, stuck in a script:
            // refused before anything ran.
            Some("OOM" | "MISCONF" | "NOREPLICAS") => {
                (not_executed, "Redis refuses writes for now")
            }
            // So says Redis 7.0 in a script.
            Some("ERR") if says(&error, "The user executing the script") => {
                (ErrorKind::Denied, "Redis refused the permission")
            }
            Some("BUSY") => (not_executed, "Redis is busy with a script"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_names_a_node_even_where_it_leaves_the_host_out() {
        let asked = HostPort { host: "10.0.0.1".to_owned(), port: 7000 };
        for (told, meant) in [
            ("10.0.0.2:7001", "10.0.0.2:7001"),
            (":7001", "10.0.0.1:7001"),
            ("?:7001", "10.0.0.1:7001"),
            ("fe80::1:7001", "[fe80::1]:7001"),
            ("node.internal:7001", "node.internal:7001"),
        ] {
            assert_eq!(redirected(told, &asked).unwrap().to_string(), meant);
        }
        assert!(redirected("nowhere", &asked).is_none());
    }
}
