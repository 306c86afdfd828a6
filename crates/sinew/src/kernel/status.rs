//! Whether the store answers.

use super::error::Error;

/// What a handle knows of its store right now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Status {
    /// The first connection is still being made.
    Connecting,
    /// The store answers.
    Up,
    /// The store does not answer, for this reason; it is tried again for ever.
    Down(Error),
    /// The store answers, and will not do: wrong credentials, too old, other tenancy.
    /// It is tried again all the same, since someone may repair it.
    Failed(Error),
}

impl Status {
    /// A fixed word for logs, health replies and pages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Up => "up",
            Self::Down(_) => "down",
            Self::Failed(_) => "failed",
        }
    }
}
