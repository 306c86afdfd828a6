//! URLs: `redis://`, `rediss://`, `unix://`, `redis-sentinel://`, `redis-cluster://`.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::target::{
    Access, Address, HostPort, Place, SentinelAccess, Target, TlsSetting, host_port,
};
use crate::kernel::error::{Error, Result};

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// What kind of deployment a scheme is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Unix,
    Sentinel,
    Cluster,
}

struct Scheme {
    kind: Kind,
    tls: bool,
    expected: &'static str,
}

const SINGLE: &str = "expected redis://[user:password@]host[:port][/database]";
const SINGLE_TLS: &str = "expected rediss://[user:password@]host[:port][/database][?ca=FILE&cert=FILE&key=FILE&server_name=NAME]";
const UNIX: &str = "expected unix://[user:password@]/path/to/socket[?database=N]";
const SENTINEL: &str =
    "expected redis-sentinel://[user:password@]host[:port],…/primary-name[/database]";
const CLUSTER: &str = "expected redis-cluster://[user:password@]host[:port],…";
const SCHEMES: &str = "expected redis://, rediss://, unix://, redis-sentinel://, rediss-sentinel://, redis-cluster:// or rediss-cluster:// (or valkey in place of redis)";

pub(super) fn parse(url: &str) -> Result<Target> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let scheme = scheme_of(scheme)?;
    let bad =
        |what: &str| Error::misconfigured(format!("bad Redis URL: {what}; {}", scheme.expected));
    if rest.contains('#') {
        return Err(bad(
            "it takes no #fragment (a special character in a password must be percent-encoded)",
        ));
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    if path.contains('@') || query.contains('@') {
        // What looks like a path is the rest of a password, and the host its beginning.
        return Err(bad("a special character in the user or password must be percent-encoded"));
    }
    let (credentials, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = match credentials.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (credentials, None),
    };
    let decoded = |text: &str, part: &str| {
        let text = percent_decode_str(text).decode_utf8();
        text.map(std::borrow::Cow::into_owned)
            .map_err(|_| bad(&format!("the {part} is not percent-encoded UTF-8")))
    };
    let mut options = Options::read(query, scheme.tls, scheme.kind, &bad)?;
    let path = path.strip_prefix('/').unwrap_or(path);
    let (place, database) = match scheme.kind {
        Kind::Unix => {
            if !hosts.is_empty() || path.is_empty() {
                return Err(bad("the path of the socket is missing"));
            }
            let path = PathBuf::from(format!("/{}", decoded(path, "path")?));
            (Place::Single(Address::Unix(path)), options.database.take())
        }
        Kind::Single => {
            let mut hosts = hosts_of(hosts, REDIS_PORT, &bad)?;
            if hosts.len() > 1 {
                return Err(bad("several hosts need redis-cluster:// or redis-sentinel://"));
            }
            (Place::Single(Address::Tcp(hosts.remove(0))), database_of(path, &bad)?)
        }
        Kind::Cluster => {
            if database_of(path, &bad)?.is_some_and(|database| database != 0) {
                return Err(bad("a cluster has no database but 0"));
            }
            (Place::Cluster { seeds: hosts_of(hosts, REDIS_PORT, &bad)? }, None)
        }
        Kind::Sentinel => {
            let (primary, database) = path.split_once('/').unwrap_or((path, ""));
            let primary = decoded(primary, "name of the primary")?;
            if primary.is_empty() {
                return Err(bad("the name of the primary is missing"));
            }
            let sentinels = hosts_of(hosts, SENTINEL_PORT, &bad)?;
            let access = SentinelAccess {
                user: options.sentinel_user.take(),
                password: options.sentinel_password.take(),
            };
            (Place::Sentinel { sentinels, primary, access }, database_of(database, &bad)?)
        }
    };
    let access = Access {
        user: Some(decoded(user, "user")?).filter(|user| !user.is_empty()),
        password: password.map(|password| decoded(password, "password")).transpose()?,
        database: database.unwrap_or(0),
        client_name: options.name,
        tls: scheme.tls.then_some(options.tls),
    };
    Ok(Target { place, access, starts_without: false, deadline: None })
}

fn scheme_of(scheme: &str) -> Result<Scheme> {
    let lower = scheme.to_ascii_lowercase();
    let plain = lower.replacen("valkey", "redis", 1);
    let (kind, tls, expected) = match plain.as_str() {
        "redis" => (Kind::Single, false, SINGLE),
        "rediss" => (Kind::Single, true, SINGLE_TLS),
        "unix" => (Kind::Unix, false, UNIX),
        "redis-sentinel" => (Kind::Sentinel, false, SENTINEL),
        "rediss-sentinel" => (Kind::Sentinel, true, SENTINEL),
        "redis-cluster" => (Kind::Cluster, false, CLUSTER),
        "rediss-cluster" => (Kind::Cluster, true, CLUSTER),
        _ => {
            return Err(Error::misconfigured(format!(
                "bad Redis URL: unknown scheme {lower}://; {SCHEMES}"
            )));
        }
    };
    Ok(Scheme { kind, tls, expected })
}

fn hosts_of(text: &str, port: u16, bad: &impl Fn(&str) -> Error) -> Result<Vec<HostPort>> {
    if text.is_empty() {
        return Err(bad("the host is missing"));
    }
    let hosts = text.split(',').map(|host| host_port(host, port)).collect::<Option<Vec<_>>>();
    // Not shown: a special character in a password would make its rest look like a host.
    hosts.ok_or_else(|| {
        bad("a host or port is not one (a special character in a password must be percent-encoded)")
    })
}

fn database_of(path: &str, bad: &impl Fn(&str) -> Error) -> Result<Option<u16>> {
    match path {
        "" => Ok(None),
        number => number.parse().map(Some).map_err(|_| bad("the database is not a number")),
    }
}

#[derive(Default)]
struct Options {
    tls: TlsSetting,
    name: Option<String>,
    database: Option<u16>,
    sentinel_user: Option<String>,
    sentinel_password: Option<String>,
}

impl Options {
    fn read(query: &str, tls: bool, kind: Kind, bad: &impl Fn(&str) -> Error) -> Result<Self> {
        let mut options = Self::default();
        let (mut cert, mut key) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value).decode_utf8().map(std::borrow::Cow::into_owned);
            let value = value.ok().filter(|value| !value.is_empty());
            let unknown = || {
                bad(&format!(
                    "unknown or misplaced option {name:?} (known: ca, cert, key and server_name with TLS; sentinel_user and sentinel_password with sentinels; database with unix; name)"
                ))
            };
            let value =
                value.ok_or_else(|| bad(&format!("the option {name:?} has no value in UTF-8")))?;
            match name {
                "ca" if tls => options.tls.ca = Some(value.into()),
                "cert" if tls => cert = Some(PathBuf::from(value)),
                "key" if tls => key = Some(PathBuf::from(value)),
                "server_name" if tls => options.tls.server_name = Some(value),
                "sentinel_user" if kind == Kind::Sentinel => options.sentinel_user = Some(value),
                "sentinel_password" if kind == Kind::Sentinel => {
                    options.sentinel_password = Some(value);
                }
                "database" if kind == Kind::Unix => options.database = database_of(&value, bad)?,
                "name" if may_be_a_name(&value) => options.name = Some(value),
                "name" => return Err(bad("a client's name has no spaces or control characters")),
                _ => return Err(unknown()),
            }
        }
        options.tls.client = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(bad("a client certificate takes both cert and key")),
        };
        Ok(options)
    }
}

/// What `CLIENT SETNAME` takes.
pub(super) fn may_be_a_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| ('!'..='~').contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Target::parse(url).unwrap_or_else(|e| panic!("{url}: {e}"))
    }

    #[test]
    fn every_part_is_read() {
        let single = target("redis://app:p%40ss%2Fword@cache.internal:7000/3");
        assert_eq!(single.to_string(), "cache.internal:7000/3");
        assert_eq!(single.access.user.as_deref(), Some("app"));
        assert_eq!(single.access.password.as_deref(), Some("p@ss/word"));
        assert!(single.access.tls.is_none());
        let v6 = target("valkey://:secret@[::1]");
        assert_eq!(v6.to_string(), "[::1]:6379");
        assert_eq!(v6.access.user, None);
        assert_eq!(target("unix:///run/redis.sock?database=2").to_string(), "/run/redis.sock/2");
        assert_eq!(target("redis://h?name=billing").access.client_name.as_deref(), Some("billing"));
    }

    #[test]
    fn tls_is_read() {
        let tls =
            target("rediss://h:1/2?ca=/etc/ca.pem&cert=c.pem&key=k.pem&server_name=redis.internal");
        assert_eq!(
            tls.access.tls,
            Some(TlsSetting {
                ca: Some("/etc/ca.pem".into()),
                client: Some(("c.pem".into(), "k.pem".into())),
                server_name: Some("redis.internal".to_owned()),
            })
        );
        assert_eq!(target("valkeys://h").access.tls, Some(TlsSetting::default()));
    }

    #[test]
    fn sentinels_and_clusters_are_lists() {
        let sentinel = target("redis-sentinel://u:p@a,b:1,[::2]:3/mymaster/4?sentinel_password=s");
        assert_eq!(sentinel.to_string(), "mymaster by sentinels a:26379,b:1,[::2]:3/4");
        let Place::Sentinel { access, .. } = &sentinel.place else { panic!("not a sentinel") };
        assert_eq!(access.password.as_deref(), Some("s"));
        assert_eq!(target("redis-cluster://a,b:1").to_string(), "cluster a:6379,b:1");
        assert!(target("valkeys-cluster://a").access.tls.is_some());
    }

    #[test]
    fn a_bad_url_names_the_part_and_never_the_password() {
        for (url, part) in [
            ("http://:hunter2@localhost", "unknown scheme"),
            ("redis://", "the host is missing"),
            ("redis://:hunter2@localhost:99999", "port"),
            ("redis://:hunter2@localhost/one", "database"),
            ("redis://:hunter2@localhost?x=1", "unknown or misplaced option"),
            ("redis://:hunter2@localhost?ca=x", "unknown or misplaced option"),
            ("redis://default:7/hunter2@localhost", "percent-encoded"),
            ("redis://default:7#hunter2@localhost", "percent-encoded"),
            ("redis://hunter2/word@localhost", "percent-encoded"),
            ("redis://localhost/hunter2", "not a number"),
            ("redis://:hunter2@local host", "host"),
            ("redis://:hunter2@a,b", "redis-cluster://"),
            ("rediss://:hunter2@h?cert=x", "both cert and key"),
            ("rediss://:hunter2@h?ca=", "\"ca\" has no value"),
            ("redis://:hunt?hunter2@h", "percent-encoded"),
            ("redis://user:hun:hunter2", "host"),
            ("redis://:x@h:1:hunter2", "host"),
            ("redis-sentinel://:hunter2@a,b", "name of the primary"),
            ("redis-cluster://:hunter2@a/1", "no database but 0"),
            ("redis-cluster://:hunter2@a,", "host"),
            ("unix://:hunter2@", "path of the socket"),
            ("redis://h?name=a%20b", "no spaces"),
        ] {
            let error = Target::parse(url).unwrap_err().to_string();
            assert!(error.contains(part), "{url}: {error}");
            assert!(error.contains("expected "), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let secret = target("redis://u:hunter2@h");
        assert!(!format!("{secret:?} {secret}").contains("hunter2"));
    }
}
