//! The atomics of what is tested under every schedule: tests put a scheduler's own in their place.

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
