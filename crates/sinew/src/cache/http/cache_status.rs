//! What the cache did, as `Cache-Status` tells it (RFC 9211).

use std::fmt;

use ::http::header::CACHE_STATUS;
use ::http::{HeaderMap, HeaderValue, StatusCode};

/// Why a request went to the service (RFC 9211, 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fwd {
    /// The cache does not handle such requests.
    Bypass,
    /// Its method has to.
    Method,
    /// Nothing is stored for its URI.
    UriMiss,
    /// Nothing of what is stored for its URI is for it.
    VaryMiss,
    /// What is stored is fresh, and the request does not take it.
    Request,
    /// What is stored is stale.
    Stale,
}

impl Fwd {
    fn name(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
        }
    }
}

/// The member that this cache adds to the list. It never says `stored`: a load is not told whether
/// the store took what it brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CacheStatus {
    /// `None`: answered from the store alone.
    pub(super) fwd: Option<Fwd>,
    /// The status of the service, where it is not the one that is sent.
    pub(super) fwd_status: Option<StatusCode>,
    /// Seconds of freshness that are left.
    pub(super) ttl: Option<i64>,
    /// Whether waiting for another request was of use, where it was tried.
    pub(super) collapsed: Option<bool>,
}

impl CacheStatus {
    pub(super) fn forwarded(fwd: Fwd) -> Self {
        Self { fwd: Some(fwd), ..Self::default() }
    }

    /// Behind those of the caches before this one.
    pub(super) fn append_to(self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::try_from(self.to_string()) {
            headers.append(CACHE_STATUS, value);
        }
    }
}

impl fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sinew")?;
        match self.fwd {
            None => f.write_str("; hit")?,
            Some(fwd) => write!(f, "; fwd={}", fwd.name())?,
        }
        if let Some(status) = self.fwd_status {
            write!(f, "; fwd-status={}", status.as_u16())?;
        }
        match self.collapsed {
            None => {}
            Some(true) => f.write_str("; collapsed")?,
            Some(false) => f.write_str("; collapsed=?0")?,
        }
        if let Some(ttl) = self.ttl {
            write!(f, "; ttl={ttl}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_structured_field() {
        let hit = CacheStatus { ttl: Some(-3), ..CacheStatus::default() };
        assert_eq!(hit.to_string(), "sinew; hit; ttl=-3");
        let miss = CacheStatus {
            ttl: Some(60),
            collapsed: Some(false),
            fwd_status: Some(StatusCode::NOT_MODIFIED),
            ..CacheStatus::forwarded(Fwd::VaryMiss)
        };
        let expected = "sinew; fwd=vary-miss; fwd-status=304; collapsed=?0; ttl=60";
        assert_eq!(miss.to_string(), expected);
    }

    #[test]
    fn it_stands_behind_those_of_other_caches() {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_STATUS, HeaderValue::from_static("origin; hit"));
        CacheStatus::forwarded(Fwd::Bypass).append_to(&mut headers);
        let all: Vec<_> = headers.get_all(CACHE_STATUS).iter().collect();
        assert_eq!(all, ["origin; hit", "sinew; fwd=bypass"]);
    }
}
