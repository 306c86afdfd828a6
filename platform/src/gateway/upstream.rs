//! Where requests go, by the beginning of their path.

use axum::Router;
use axum::http::Uri;
use axum::http::uri::{Authority, Scheme};

use super::GatewayError;

/// What is behind the gateway.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// Another process, by host and port. It is asked over HTTP, for the path that the client asked for.
    Url(Authority),
    /// A module in this process.
    Router(Router),
}

impl Upstream {
    /// Another process: `http://host:port`.
    ///
    /// # Errors
    /// `Url` for another scheme, for a port that is none, and for a URL with more than host and port.
    pub fn url(url: &str) -> Result<Self, GatewayError> {
        let parts = url.parse::<Uri>().map_err(|_| GatewayError::Url)?.into_parts();
        let is_bare = parts.path_and_query.is_none_or(|path| path == "/");
        match (parts.scheme, parts.authority) {
            (Some(scheme), Some(authority))
                if scheme == Scheme::HTTP && is_bare && is_address(&authority) =>
            {
                Ok(Self::Url(authority))
            }
            _ => Err(GatewayError::Url),
        }
    }
}

/// Whether it is a host, and a port or none. What is no port would be taken for none: 80.
fn is_address(authority: &Authority) -> bool {
    let host = authority.host();
    let is_port = |text: &str| text.strip_prefix(':').is_some_and(|n| n.parse::<u16>().is_ok());
    let port = authority.as_str().strip_prefix(host);
    !host.is_empty() && port.is_some_and(|port| port.is_empty() || is_port(port))
}

/// Which upstream answers for which paths: of several prefixes of a path, the longest counts.
#[derive(Clone, Debug, Default)]
pub struct Upstreams(Vec<(String, Upstream)>);

impl Upstreams {
    /// None, yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends a path (`/api/properties`), and all below it, to an upstream.
    ///
    /// # Errors
    /// `Prefix` for one that does not begin with a slash, or ends with one, or was given before.
    pub fn with(mut self, prefix: &str, upstream: Upstream) -> Result<Self, GatewayError> {
        let is_path = prefix.starts_with('/') && !prefix.ends_with('/');
        if !is_path || self.0.iter().any(|(other, _)| other == prefix) {
            return Err(GatewayError::Prefix(prefix.to_owned()));
        }
        self.0.push((prefix.to_owned(), upstream));
        self.0.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Ok(self)
    }

    pub(super) fn of(&self, path: &str) -> Option<&Upstream> {
        let found = self.0.iter().find(|(prefix, _)| is_at_or_below(path, prefix));
        found.map(|(_, upstream)| upstream)
    }
}

fn is_at_or_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_of_whole_segments_counts() {
        let to = |port: u16| Upstream::url(&format!("http://127.0.0.1:{port}")).unwrap();
        let upstreams = Upstreams::new().with("/api", to(1)).unwrap();
        let upstreams = upstreams.with("/api/properties", to(2)).unwrap();
        let port = |path: &str| match upstreams.of(path)? {
            Upstream::Url(authority) => authority.port_u16(),
            Upstream::Router(_) => None,
        };
        for (path, expected) in [
            ("/api", Some(1)),
            ("/api/propertiesX", Some(1)),
            ("/api/properties", Some(2)),
            ("/api/properties/7", Some(2)),
            ("/apis", None),
            ("/", None),
            ("*", None),
        ] {
            assert_eq!(port(path), expected, "{path}");
        }
        for bad in ["", "/", "api", "/api/", "/api"] {
            assert!(upstreams.clone().with(bad, to(3)).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_upstream_is_a_host_and_nothing_else() {
        for good in ["http://127.0.0.1:7464", "http://billing", "http://[::1]:80/"] {
            assert!(Upstream::url(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "billing:80",
            "/api",
            "https://billing",
            "http://billing/api",
            "http://billing?x",
            "http://user:secret@billing",
            "http://billing@billing:80",
            "http://billing:",
            "http://billing:https",
            "http://billing:74640",
            "http://:80",
        ] {
            assert!(Upstream::url(bad).is_err(), "{bad}");
        }
    }
}
