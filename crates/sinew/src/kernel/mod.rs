//! What every capability stands on. It knows none of them.

// Without Redis, some of what it needs is left over.
#![cfg_attr(not(feature = "redis"), allow(dead_code))]

pub(crate) mod again;
pub(crate) mod backend;
pub(crate) mod breaker;
pub(crate) mod clock;
pub(crate) mod codec;
// Tests have it a second time, on atomics of a scheduler.
#[allow(clippy::duplicate_mod)]
pub(crate) mod coherence;
pub(crate) mod envelope;
pub(crate) mod errand;
pub(crate) mod error;
pub(crate) mod expected;
pub(crate) mod heat;
pub(crate) mod key;
pub(crate) mod memory;
pub(crate) mod name;
pub(crate) mod packed;
pub(crate) mod pattern;
#[cfg(feature = "redis")]
pub(crate) mod redis;
#[cfg(test)]
mod shuttled;
pub(crate) mod status;
pub(crate) mod stored_bytes;
pub(crate) mod sync;
pub(crate) mod telemetry;
pub(crate) mod ttl;
pub(crate) mod words;
