//! The cache, for services in other languages and for people at a terminal.

pub(crate) mod body;
pub mod command;
pub(crate) mod http;
pub(crate) mod key;
pub(crate) mod removal;
pub mod settings;
pub(crate) mod warm;

use serde_json::value::RawValue;
use sinew::Cache;

pub(crate) use key::WrittenKey;
pub(crate) use settings::documents;

/// A cache whose values are JSON documents, kept to the byte.
pub(crate) type Documents = Cache<WrittenKey, Box<RawValue>>;

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
