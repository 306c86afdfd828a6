//! What holds a fleet of services together on Redis, as one library with one set of promises.
//!
//! | Capability | Handle | Read |
//! | --- | --- | --- |
//! | cache-aside, one load in the fleet, invalidation that wins | [`Cache`] | [`cache`] |
//! | a circuit breaker for your own calls | [`Breaker`], [`BreakerLayer`] | [`Breaker`] |
//!
//! Everything begins with a [`Sinew`]: [`Sinew::connect`] for Redis, [`Sinew::embedded`] for this
//! process. [`Sinew::tenant`] narrows it to one tenant.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sinew = sinew::Sinew::embedded();
//! let acme = sinew.tenant("acme")?;
//! let greetings: sinew::Cache<str, String> = acme.cache("greeting").build()?;
//!
//! let load = || async { Ok::<_, std::io::Error>("hello".to_owned()) };
//! assert_eq!(*greetings.get_or_load("en", load).await?, "hello");
//! assert_eq!(greetings.stats().misses, 1);
//! # Ok(()) }
//! ```
//!
//! # Features
//! - `redis` (default): the link to Redis. Without it, everything runs on the embedded store.
//! - `tls`: `rediss://` and its kin, through rustls.
//! - `axum`: the tenant of a request and problem replies, for axum services.

// The tests' servers are shared with the integration tests, which know the crate by its name.
#[cfg(test)]
extern crate self as sinew;

pub mod cache;
mod client;
#[cfg(feature = "axum")]
pub mod http;
mod kernel;

pub use cache::{Cache, CacheBuilder, Invalidated, LoadError, Outage, Source, Stats, Traced};
pub use client::{Builder, Sinew};
pub use kernel::breaker::{
    Breaker, BreakerBuilder, BreakerError, BreakerLayer, BreakerService, BreakerState, Permit,
};
pub use kernel::clock::{Clock, ManualClock};
pub use kernel::error::{Error, ErrorKind, Result};
pub use kernel::key::{CacheKey, KEY_LEN_MAX, Segments};
pub use kernel::name::{Prefix, Tenancy, Tenant};
pub use kernel::status::Status;
pub use kernel::ttl::Ttl;

// The README's example is a test like any other.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
