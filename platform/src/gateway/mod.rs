//! The gateway: the door to all modules, with limits that its instances share.
//!
//! | Limit | Of whom | Admits |
//! | --- | --- | --- |
//! | `per-user` | a user who is signed in | 100 a minute |
//! | `anonymous` | an address, where nobody is signed in | 10 a minute |
//! | `flood` | an address, whoever uses it | 50 in 30 seconds |
//!
//! An address is an IPv4 address, or the /64 of an IPv6 address. A request is charged to all of its
//! limits or to none, in one command, or one for each slot of a cluster; every response says how they
//! stand, and what is denied is answered 429. While Redis is away, each instance admits its share.
//!
//! # Who is believed
//!
//! What a peer says of its client (`Forwarded`, `X-Forwarded-*`, `X-Real-IP`) and of its user
//! (`X-User-Id`) counts if the peer is a trusted proxy, and is removed otherwise: then the client is
//! the peer, and nobody is signed in. The same names written with `_` (`X_User_Id`), which many servers
//! take for these, are always removed. `X-User-Id` is for a proxy that knows who is signed in. Where none
//! says so, a bearer token does that opens a session of the tenant in `X-Tenant-Id`, on the gateway's own
//! Redis and prefix, for one more question to Redis. While Redis does not answer, it says nothing, and the
//! address is what is limited. It goes through as it is: the module that it is for looks at it as well.
//!
//! # What goes through
//!
//! Bodies are passed on as they come, both ways, and never held as a whole. Fields that are of one
//! connection only (RFC 9110, 7.6.1) end here, and so do upgrades and trailers. Every request and
//! response has an `X-Correlation-Id`: the client's own, or a new one.
//!
//! | | the client gets |
//! | --- | --- |
//! | a path with `.` or `..` in it; more than one `Host`, or none in HTTP/1.1 | 400 |
//! | a path of no upstream | 404 |
//! | a body that is too large | 413 |
//! | `CONNECT` and `TRACE` | 501 |
//! | an upstream that cannot be reached, or breaks off before it answers | 502 |
//! | one that does not begin to answer in time | 504 |
//!
//! Where an upstream breaks off in the middle of a body, or is silent for too long, so does the gateway.

mod caller;
mod fields;
mod forward;
mod limits;
mod upstream;

use std::time::Duration;

use axum::{Router, middleware};
use sinew::Sinew;
use sinew::limit::http::TrustedProxies;

use caller::Witness;
use forward::Forwarder;
pub use upstream::{Upstream, Upstreams};

/// What differs between deployments.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose word on client and user counts.
    pub trusted: TrustedProxies,
    /// The largest body of a request, in bytes: 10 MiB unless said.
    pub body_len_max: usize,
    /// Until an upstream begins to answer, from the request's beginning to the end of its body: 30
    /// seconds unless said.
    pub answer_max: Duration,
    /// Between two pieces of an answer: 60 seconds unless said.
    pub silence_max: Duration,
}

impl Settings {
    /// The defaults, behind these proxies.
    #[must_use]
    pub fn behind(trusted: TrustedProxies) -> Self {
        Self {
            trusted,
            body_len_max: 10 << 20,
            answer_max: Duration::from_secs(30),
            silence_max: Duration::from_secs(60),
        }
    }
}

/// Why there is no gateway.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// A prefix that is none, or that was given before.
    #[error(
        "invalid prefix {0:?}: expected a path such as /api/properties, without a slash at its end, once"
    )]
    Prefix(String),
    /// An upstream's URL that will not do. Never shown: it may hold a password.
    #[error("invalid upstream: expected http://host:port, and nothing before or behind these")]
    Url,
    /// The limits could not be set up.
    #[error(transparent)]
    Limits(#[from] sinew::Error),
}

/// The gateway to these upstreams. Its limits are those of the deployment, over all tenants.
///
/// Serve it with `into_make_service_with_connect_info::<SocketAddr>()`: it has to know who connects,
/// and answers 500 otherwise.
///
/// # Errors
/// `Limits` where the layer takes no such limits, which is a mistake in this module.
pub fn router(
    sinew: &Sinew,
    upstreams: Upstreams,
    settings: &Settings,
) -> Result<Router, GatewayError> {
    let limits = limits::layer(sinew.limiter(), &settings.trusted)?;
    let witness = Witness { sinew: sinew.clone(), trusted: settings.trusted.clone() };
    let identify = middleware::from_fn_with_state(witness, caller::identify);
    Ok(Router::new()
        .fallback(forward::forward)
        .with_state(Forwarder::new(upstreams, settings))
        .layer(limits)
        // The last is the first to see a request: limits go by who asks.
        .layer(identify))
}
