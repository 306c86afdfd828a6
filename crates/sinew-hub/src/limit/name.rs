//! Names of limits.

use sinew::limit::{Limit, Per as _, SECOND};

/// The library's own rule, asked of the library.
///
/// # Errors
/// `Rejected`, and what was expected.
pub(crate) fn check_name(name: &str) -> sinew::Result<()> {
    Limit::gcra(name, 1.per(SECOND)).validate()
}
