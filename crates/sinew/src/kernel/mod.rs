//! What every capability stands on. It knows none of them.

// Without Redis, some of what it needs is left over.
#![cfg_attr(not(feature = "redis"), allow(dead_code))]

pub(crate) mod breaker;
pub(crate) mod clock;
pub(crate) mod envelope;
pub(crate) mod error;
pub(crate) mod key;
pub(crate) mod memory;
pub(crate) mod name;
pub(crate) mod pattern;
#[cfg(feature = "redis")]
pub(crate) mod redis;
pub(crate) mod status;
pub(crate) mod telemetry;
pub(crate) mod ttl;
