//! Settings that are one value each, from their text.

use std::net::SocketAddr;
use std::time::Duration;

use sinew::{Sinew, Tenancy};
use toml::de::{DeTable, DeValue};

use super::StoreSetting;
use crate::duration;

const DEFAULT_LISTEN: &str = "127.0.0.1:7463";

/// Text and numbers, as a variable would say them.
pub(super) fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Whether a table has a key, be its value right or wrong.
pub(super) fn is_said(key: &str, table: &DeTable<'_>) -> bool {
    table.iter().any(|(said, _)| said.get_ref() == key)
}

pub(super) fn store(text: &str) -> Result<StoreSetting, String> {
    if text == "embedded" {
        return Ok(StoreSetting::Embedded);
    }
    // A bare word would do as a host, and is more often a slip.
    if text.chars().all(char::is_alphanumeric) {
        return Err(format!(
            "invalid store {text:?}: expected embedded, or a URL like redis://host:6379"
        ));
    }
    match Sinew::check_url(text) {
        Ok(()) => Ok(StoreSetting::Redis(text.to_owned())),
        Err(error) => Err(format!("{error}, or embedded")),
    }
}

/// # Errors
/// A sentence that says what was expected: no names, of which one may have several addresses.
pub(crate) fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("invalid address {text:?}: expected an IP address and port like {DEFAULT_LISTEN}")
    })
}

pub(super) fn tenancy(text: &str) -> Result<Tenancy, String> {
    [Tenancy::Single, Tenancy::Multi]
        .into_iter()
        .find(|tenancy| tenancy.name() == text)
        .ok_or_else(|| format!("invalid tenancy {text:?}: expected single or multi"))
}

pub(super) fn deadline(text: &str) -> Result<Duration, String> {
    let deadline = duration::parse(text)?;
    let allowed = Duration::from_millis(1)..=Duration::from_secs(60);
    if !allowed.contains(&deadline) {
        return Err(format!("a deadline of {text} is out of bounds: expected 1ms to 60s"));
    }
    Ok(deadline)
}

pub(super) fn value_len(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok().filter(|bytes| (1..=512 << 20).contains(bytes));
    bytes.ok_or_else(|| format!("invalid value_len_max {text:?}: expected 1 to 536870912 bytes"))
}
