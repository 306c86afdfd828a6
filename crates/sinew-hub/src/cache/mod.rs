//! The cache, for services in other languages and for people at a terminal.

pub mod command;
pub(crate) mod http;

use serde_json::value::RawValue;
use sinew::{Cache, CacheKey, Segments, Sinew, Ttl};

/// A key as it is written outside of Rust: segments between colons, so that
/// `456:payments:list` names the entry of a Rust service's `(456, "payments", "list")`.
pub(crate) struct WrittenKey(pub(crate) String);

impl CacheKey for WrittenKey {
    fn segments(&self, into: &mut Segments<'_>) {
        for segment in self.0.split(':') {
            into.push(segment);
        }
    }
}

/// A cache whose values are JSON documents, kept to the byte.
pub(crate) type Documents = Cache<WrittenKey, Box<RawValue>>;

pub(crate) fn documents(scope: &Sinew, name: &str, ttl: Ttl) -> sinew::Result<Documents> {
    scope.cache(name).ttl(ttl.duration()).build()
}

/// Checks that a text is one JSON document.
pub(crate) fn document(text: String) -> Result<Box<RawValue>, String> {
    RawValue::from_string(text).map_err(|error| {
        format!(
            "the value is not JSON at line {}, column {}: expected one JSON document",
            error.line(),
            error.column()
        )
    })
}
