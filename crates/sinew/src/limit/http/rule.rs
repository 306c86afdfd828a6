//! Which requests fall under a limit, and as whose.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Once};

use ::http::request::Parts;
use ::http::{Method, StatusCode};

use super::client_ip::{TrustedProxies, client_ip, network_of};
use super::pattern::Pattern;
use crate::http::Problem;
use crate::kernel::error::{Error, Result};
use crate::kernel::key::CacheKey;
use crate::limit::{Check, Limit};

/// Whoever has an IPv6 address has a network of so many bits, and may take any address in it.
const IPV6_BITS: u32 = 64;

/// Which requests fall under a [`Limit`], as whose, and what they cost: a part of a
/// [`RateLimitLayer`](super::RateLimitLayer).
///
/// Unless more is said, each request does, all of them together are its one subject, and each costs 1.
#[derive(Clone)]
#[must_use = "a rule counts when it is given to RateLimitLayer::rule()"]
pub struct Rule {
    limit: Limit,
    subject: Subject,
    cost: Option<Arc<CostOf>>,
    paths: Vec<Pattern>,
    methods: Vec<Method>,
    unless: Vec<Arc<Condition>>,
    fault: Option<Error>,
}

type CheckOf = dyn for<'a> Fn(&'a Limit, &Parts) -> Option<Check<'a>> + Send + Sync;
type CostOf = dyn Fn(&Parts) -> u64 + Send + Sync;
type Condition = dyn Fn(&Parts) -> bool + Send + Sync;

#[derive(Clone)]
enum Subject {
    All,
    By(Arc<CheckOf>),
    ClientIp(TrustedProxies),
}

impl Rule {
    /// A rule of this limit.
    pub fn of(limit: Limit) -> Self {
        Self {
            limit,
            subject: Subject::All,
            cost: None,
            paths: Vec::new(),
            methods: Vec::new(),
            unless: Vec::new(),
            fault: None,
        }
    }

    /// Limits each subject by itself: a user, or a tuple of what makes one. To a request of which this
    /// says `None` the rule does not apply.
    ///
    /// The subjects of a limit are one set, whichever rule names them.
    pub fn by<K: CacheKey + 'static>(
        mut self,
        subject: impl Fn(&Parts) -> Option<K> + Send + Sync + 'static,
    ) -> Self {
        self.subject = Subject::By(Arc::new(move |limit, parts| {
            subject(parts).map(|subject| limit.of(subject))
        }));
        self
    }

    /// Limits each client by itself, by its address as [`client_ip`] finds it: an IPv4 address
    /// (`203.0.113.7`), or the /64 of an IPv6 address (`2001:db8:1:2::/64`).
    ///
    /// Where the server does not tell who connects, there is no telling clients apart: all requests that
    /// fall under the rule are answered 500, and the log says what is missing.
    pub fn by_client_ip(mut self, proxies: TrustedProxies) -> Self {
        self.subject = Subject::ClientIp(proxies);
        self
    }

    /// What a request costs: 1 unless said. At a cost of 0 the rule does not apply.
    pub fn cost(mut self, cost: impl Fn(&Parts) -> u64 + Send + Sync + 'static) -> Self {
        self.cost = Some(Arc::new(cost));
        self
    }

    /// Applies to this path only; said again, to that one too. Written as axum's routes are:
    ///
    /// | | |
    /// | --- | --- |
    /// | `/users` | this one |
    /// | `/users/{id}` | any text in place of `{id}`, without a slash and not empty |
    /// | `/users/{*rest}` | `/users`, and whatever is below |
    ///
    /// It is compared with the path as the client sent it, whole also in a nested router, and not with
    /// a route: where one route takes all, as in a gateway, rules still tell paths apart. So whoever
    /// takes `%61` for `a`, or `//` for `/`, has to write paths in one way before they come here.
    pub fn on(mut self, path: &str) -> Self {
        match Pattern::parse(path) {
            Ok(pattern) => self.paths.push(pattern),
            Err(error) => self.fault = self.fault.or(Some(error)),
        }
        self
    }

    /// Applies to these methods only; said again, to those too. To `HEAD`, where it does to `GET`.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods.extend(methods);
        self
    }

    /// Does not apply where this holds; said again, where either does.
    pub fn unless(mut self, condition: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.unless.push(Arc::new(condition));
        self
    }

    pub(super) fn validate(&self) -> Result<()> {
        match &self.fault {
            Some(error) => Err(error.clone()),
            None => self.limit.validate(),
        }
    }

    pub(super) fn limit(&self) -> &Limit {
        &self.limit
    }

    /// What is asked of the limit for a request to this path; `None` where the rule does not apply.
    pub(super) fn check<'a>(
        &'a self,
        parts: &Parts,
        path: &str,
    ) -> Result<Option<Check<'a>>, Problem> {
        if !self.applies(parts, path) {
            return Ok(None);
        }
        let cost = self.cost.as_ref().map_or(1, |cost| cost(parts));
        if cost == 0 {
            return Ok(None);
        }
        let check = match &self.subject {
            Subject::All => Some(self.limit.of("all")),
            Subject::By(check) => check(&self.limit, parts),
            Subject::ClientIp(proxies) => {
                let address = client_ip(parts, proxies).ok_or_else(peer_is_unknown)?;
                Some(self.limit.of(subject_of(address)))
            }
        };
        Ok(check.map(|check| check.cost(cost)))
    }

    fn applies(&self, parts: &Parts, path: &str) -> bool {
        let is_here = self.paths.is_empty() || self.paths.iter().any(|one| one.matches(path));
        is_here
            && (self.methods.is_empty() || self.methods.iter().any(|one| takes(one, &parts.method)))
            && !self.unless.iter().any(|holds| holds(parts))
    }
}

/// A route for `GET` answers `HEAD` as well, at the same price.
fn takes(method: &Method, asked: &Method) -> bool {
    method == asked || (*method == Method::GET && *asked == Method::HEAD)
}

fn subject_of(address: IpAddr) -> String {
    match address {
        IpAddr::V4(_) => address.to_string(),
        IpAddr::V6(_) => format!("{}/{IPV6_BITS}", network_of(address, IPV6_BITS)),
    }
}

fn peer_is_unknown() -> Problem {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        tracing::error!(
            "requests whose limits go by address are refused: expected a server with into_make_service_with_connect_info::<SocketAddr>()"
        );
    });
    // How the service is built is for the log.
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the address of the client is not known")
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("limit", &self.limit)
            .field("paths", &self.paths)
            .field("methods", &self.methods)
            .finish_non_exhaustive()
    }
}
