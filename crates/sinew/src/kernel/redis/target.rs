//! Where a deployment is and how to get in: what a URL says, taken apart.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::{stack_exchange, url};
use crate::kernel::error::Result;

/// A deployment of Redis.
#[derive(Clone)]
pub(crate) struct Target {
    pub(super) place: Place,
    pub(super) access: Access,
    /// Opening succeeds although Redis is away (StackExchange's `abortConnect=False`).
    pub(crate) starts_without: bool,
    /// How long a call may take, where the URL says so (StackExchange's `syncTimeout`).
    pub(crate) deadline: Option<Duration>,
}

/// Where the servers are.
#[derive(Clone)]
pub(super) enum Place {
    /// One server at a fixed address.
    Single(Address),
    /// The primary that these sentinels name.
    Sentinel { sentinels: Vec<HostPort>, primary: String, access: SentinelAccess },
    /// The masters of a cluster that one of these knows.
    Cluster { seeds: Vec<HostPort> },
    /// A cluster if one of these is a node of one, else whichever of them is a primary.
    Either { seeds: Vec<HostPort> },
}

/// The address of one server.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Address {
    Tcp(HostPort),
    Unix(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct HostPort {
    pub(super) host: String,
    pub(super) port: u16,
}

/// Whom to be, and how to talk.
#[derive(Clone, Default)]
pub(super) struct Access {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: u16,
    /// What stands before the number in the names of connections.
    pub(super) client_name: Option<String>,
    pub(super) tls: Option<TlsSetting>,
}

/// Whom to be with sentinels. Where nothing is said and one asks, the same as with Redis.
#[derive(Clone, Default)]
pub(super) struct SentinelAccess {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

/// What TLS checks and shows.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub(super) struct TlsSetting {
    /// PEM file of the authorities to trust instead of the system's.
    pub(super) ca: Option<PathBuf>,
    /// PEM files of the client's certificate chain and key.
    pub(super) client: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate must have, where it is not the host.
    pub(super) server_name: Option<String>,
}

impl Target {
    /// Reads a URL, or a StackExchange.Redis connection string.
    ///
    /// # Errors
    /// `Misconfigured`, naming the part that is wrong and never the password.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let begins_like_a_url = text.split_once("://").is_some_and(|(scheme, _)| {
            scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        });
        match begins_like_a_url {
            true => url::parse(text),
            false => stack_exchange::parse(text),
        }
    }

    /// Whom Redis will take us for.
    pub(crate) fn user(&self) -> &str {
        self.access.user.as_deref().unwrap_or("default")
    }
}

/// `host:port`, `[v6]:port`, or either without the port.
pub(super) fn host_port(text: &str, default_port: u16) -> Option<HostPort> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        // More than one colon and no brackets: an IPv6 address alone.
        None if text.matches(':').count() > 1 => (text, None),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let may_be_in_a_host = |c: char| c.is_alphanumeric() || "-._:%".contains(c);
    let is_v6 =
        |host: &str| host.split('%').next().is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok());
    // More colons than an address has are those of a password whose @host was forgotten.
    if host.is_empty() || !host.chars().all(may_be_in_a_host) || host.contains(':') && !is_v6(host)
    {
        return None;
    }
    let port = match port {
        None => default_port,
        Some(port) => port.parse().ok().filter(|port| *port != 0)?,
    };
    Some(HostPort { host: host.to_owned(), port })
}

/// The addresses, never the credentials.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |hosts: &[HostPort]| {
            hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        };
        match &self.place {
            Place::Single(address) => write!(f, "{address}")?,
            Place::Sentinel { sentinels, primary, .. } => {
                write!(f, "{primary} by sentinels {}", list(sentinels))?;
            }
            Place::Cluster { seeds } => write!(f, "cluster {}", list(seeds))?,
            Place::Either { seeds } => write!(f, "{}", list(seeds))?,
        }
        match self.access.database {
            0 => Ok(()),
            database => write!(f, "/{database}"),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(at) => at.fmt(f),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}
