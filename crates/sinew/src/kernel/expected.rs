//! What a change expects to find.

/// What a change expects to find. Where it finds something else, nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Whatever there is.
    Any,
    /// Nothing of this name.
    Absent,
    /// This revision of it.
    Revision(u64),
}

impl Expected {
    /// No revision is 0.
    pub(crate) fn revision(self) -> Option<u64> {
        match self {
            Self::Any => None,
            Self::Absent => Some(0),
            Self::Revision(revision) => Some(revision),
        }
    }
}
