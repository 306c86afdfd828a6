//! Whether the store answers.

use std::fmt;

use super::error::Error;

/// What a handle knows of its store right now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Status {
    /// A connection is being made: the first, or one that replaces one just lost.
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

/// Its name, and why. The causes too as `{:#}`.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Connecting | Self::Up => Ok(()),
            Self::Down(error) | Self::Failed(error) if f.alternate() => write!(f, ": {error:#}"),
            Self::Down(error) | Self::Failed(error) => write!(f, ": {error}"),
        }
    }
}
