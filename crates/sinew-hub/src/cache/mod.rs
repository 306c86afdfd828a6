//! The cache, for services in other languages and for people at a terminal.

pub(crate) mod body;
pub(crate) mod brought;
pub mod command;
pub(crate) mod http;
pub(crate) mod key;
pub(crate) mod removal;
pub(crate) mod rules;
pub mod settings;
pub(crate) mod warm;

use serde_json::value::RawValue;
use sinew::Cache;

pub(crate) use key::WrittenKey;
pub(crate) use settings::documents;

/// A cache whose values are JSON documents, kept to the byte.
pub(crate) type Documents = Cache<WrittenKey, Box<RawValue>>;

/// The library keeps the greatest number for what was invalidated.
const VERSION_MAX: u64 = u64::MAX - 1;

/// The version of an entry.
///
/// # Errors
/// A sentence that says what was expected.
pub(crate) fn version(text: &str) -> Result<u64, String> {
    let version = text.parse().ok().filter(|version| *version <= VERSION_MAX);
    version.ok_or_else(|| {
        format!("invalid version {text:?}: expected a whole number from 0 to {VERSION_MAX}")
    })
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
