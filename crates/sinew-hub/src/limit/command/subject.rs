//! Who is limited, on the command line.

use crate::cache::WrittenKey;
use crate::cli::Outcome;

/// # Errors
/// `BadInput`, and what was expected.
pub(super) fn subject(text: &str) -> Result<WrittenKey, Outcome> {
    WrittenKey::new(text).map_err(|_| {
        Outcome::BadInput(format!(
            "invalid subject {text:?}: expected parts between colons, like ada or 456:export"
        ))
    })
}
