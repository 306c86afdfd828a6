//! What holds a fleet of services together on Redis, as one library with one set of promises.
//!
//! | Capability | Handle | Read |
//! | --- | --- | --- |
//! | cache-aside, one load in the fleet, invalidation that wins | [`Cache`] | [`cache`] |
//! | rate limits over the whole fleet, exact and all or nothing | [`Limiter`](limit::Limiter) | [`limit`] |
//! | feature flags that ask no one, with history and rollouts | [`Flags`](flag::Flags) | [`flag`] |
//! | locks with fences, readers and writers, semaphores, leader election | [`Locks`], [`Guard`], [`Leader`] | [`lock`] |
//! | sessions: login, logout everywhere, data, devices | [`Sessions`], [`Session`] | [`session`] |
//! | event streams: groups, order per key, retries, dead letters | [`Streams`] | [`stream`] |
//! | background jobs: retries, limits, batches, recurring | [`Jobs`] | [`job`] |
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
//! - `macros` (default): [`macro@cached`], [`macro@evicts`], [`macro@locked`] and [`flags!`].
//! - `redis` (default): the link to Redis. Without it, everything runs on the embedded store.
//! - `tls`: `rediss://` and its kin, through rustls.
//! - `formats`: MessagePack and Postcard beside JSON, as [`Format`]s of a cache.
//! - `compression`: lz4 and zstd. `encryption`: XChaCha20-Poly1305.
//! - `open-feature`: flags as a provider of OpenFeature's SDK.
//! - `axum`: an HTTP cache, rate limits and sessions as layers, the tenant of a request and problem
//!   replies, for axum services.
//! - `tower-sessions`: the store for services that have their sessions from that crate.

// The tests' servers are shared with the integration tests, which know the crate by its name.
#[cfg(test)]
extern crate self as sinew;

#[cfg(feature = "macros")]
#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
pub mod cache;
mod client;
pub mod flag;
#[cfg(feature = "axum")]
pub mod http;
pub mod job;
mod kernel;
pub mod limit;
pub mod lock;
pub mod session;
pub mod stream;

#[cfg(feature = "axum")]
pub use cache::http::{CacheBody, CacheLayer, CacheService, HttpKey, StoredResponse};
pub use cache::{
    Cache, CacheBuilder, Counter, Inspected, Invalidated, KeyHeat, KeySize, LoadError, Loaded,
    Loading, Local, Outage, PutOptions, Source, Stats, Traced, Warmed,
};
pub use client::{Builder, Sinew};
pub use job::Jobs;
pub use kernel::breaker::{
    Breaker, BreakerBuilder, BreakerError, BreakerLayer, BreakerService, BreakerState, Permit,
};
pub use kernel::clock::{Clock, ManualClock};
#[cfg(feature = "compression")]
pub use kernel::codec::Compression;
pub use kernel::codec::Format;
#[cfg(feature = "encryption")]
pub use kernel::codec::Keyring;
pub use kernel::error::{Error, ErrorKind, Result};
pub use kernel::key::{CacheKey, KEY_LEN_MAX, Segments};
pub use kernel::name::{Prefix, Tenancy, Tenant};
pub use kernel::status::Status;
pub use kernel::ttl::Ttl;
#[cfg(feature = "axum")]
pub use limit::http::{RateLimitLayer, RateLimitService};
pub use lock::{
    Acquire, Fence, Guard, HeldLock, Holder, Leader, LockBuilder, LockMode, Locks, Loss, Ran,
    Released,
};
pub use session::{Session, Sessions};
#[cfg(feature = "macros")]
pub use sinew_macros::{cached, evicts, flags, locked};
pub use stream::Streams;

// The README's example is a test like any other.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

// And so are the guide's.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/cache.md")]
struct CacheGuide;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/lock.md")]
struct LockGuide;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/limit.md")]
struct LimitGuide;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/session.md")]
struct SessionGuide;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/stream.md")]
struct StreamGuide;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/job.md")]
struct JobGuide;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/flag.md")]
struct FlagGuide;
