//! Where a deployment is, read from its URL.

use std::fmt;

use percent_encoding::percent_decode_str;

use crate::kernel::error::{Error, Result};

const EXPECTED: &str = "expected redis://[user:password@]host[:port][/database]";

/// Address and credentials of a standalone server.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) database: i64,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
}

impl Target {
    /// # Errors
    /// `Misconfigured`, naming the part that is wrong and never the password.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let bad = |part: &str| Error::misconfigured(format!("bad Redis URL: {part}; {EXPECTED}"));
        if !url.contains("://") {
            return Err(bad("it does not begin with redis://"));
        }
        let url = url::Url::parse(url.trim()).map_err(|e| {
            bad(&format!("{e} (a special character in a password must be percent-encoded)"))
        })?;
        match url.scheme() {
            "redis" | "valkey" => {}
            "rediss" | "valkeys" | "unix" | "redis-sentinel" | "redis-cluster" => {
                return Err(bad(&format!("the scheme {}:// is not supported yet", url.scheme())));
            }
            other => return Err(bad(&format!("unknown scheme {other}://"))),
        }
        let host = url.host_str().filter(|h| !h.is_empty());
        let host = host.ok_or_else(|| bad("the host is missing"))?;
        if url.path().contains('@') {
            // What looks like a path is the rest of a password, and the host its beginning.
            return Err(bad("a special character in the user or password must be percent-encoded"));
        }
        let database = match url.path().trim_start_matches('/') {
            "" => 0,
            number => {
                number.parse::<u16>().map_err(|_| bad("the database is not a number"))?.into()
            }
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("it takes no ?options and no #fragment"));
        }
        let decoded = |text: &str, part: &str| {
            percent_decode_str(text)
                .decode_utf8()
                .map(std::borrow::Cow::into_owned)
                .map_err(|_| bad(&format!("the {part} is not percent-encoded UTF-8")))
        };
        let username = match url.username() {
            "" => None,
            name => Some(decoded(name, "user")?),
        };
        let password = match url.password() {
            None => None,
            Some(text) => Some(decoded(text, "password")?),
        };
        Ok(Self {
            // Brackets are URL syntax, not part of an IPv6 address.
            host: decoded(host.trim_matches(['[', ']']), "host")?,
            port: url.port().unwrap_or(6379),
            database,
            username,
            password,
        })
    }
}

/// The address, never the credentials.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port)?,
            false => write!(f, "{}:{}", self.host, self.port)?,
        }
        match self.database {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_read() {
        let target = Target::parse("redis://app:p%40ss%2Fword@cache.internal:7000/3").unwrap();
        assert_eq!(target.to_string(), "cache.internal:7000/3");
        assert_eq!(target.username.as_deref(), Some("app"));
        assert_eq!(target.password.as_deref(), Some("p@ss/word"));
        let target = Target::parse("valkey://:secret@[::1]").unwrap();
        assert_eq!(target.to_string(), "[::1]:6379");
        assert_eq!(target.username, None);
    }

    #[test]
    fn a_bad_url_names_the_part_and_never_the_password() {
        for (url, part) in [
            ("localhost:6379", "does not begin with redis://"),
            ("http://:hunter2@localhost", "unknown scheme"),
            ("redis://", "the host is missing"),
            ("redis://:hunter2@localhost:99999", "port"),
            ("redis://:hunter2@localhost/one", "database"),
            ("redis://:hunter2@localhost?x=1", "no ?options"),
            ("redis://default:7/hunter2@localhost", "percent-encoded"),
            ("redis://hunter2/word@localhost", "percent-encoded"),
            ("redis://localhost/hunter2", "not a number"),
            ("rediss://:hunter2@localhost", "not supported yet"),
            ("redis://:hunter2@local host", "host"),
            ("", "URL"),
        ] {
            let error = Target::parse(url).unwrap_err().to_string();
            assert!(error.contains(part), "{url}: {error}");
            assert!(error.contains("expected redis://"), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let target = Target::parse("redis://u:hunter2@h").unwrap();
        assert!(!format!("{target:?} {target}").contains("hunter2"));
    }
}
