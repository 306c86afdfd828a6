//! Whose limit it is, in a map of this process: found by borrowed parts, without writing a key.

use std::hash::{Hash, Hasher};

use quick_cache::Equivalent;

use super::definition::{Check, Limit};
use crate::kernel::key::{Path, Scope};

/// A limit of one subject of one tenant. Another definition of the limit makes another one of it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Whose {
    subject: Path,
    limit: Limit,
    scope: Scope,
}

/// The same, borrowed.
#[derive(Clone, Copy)]
pub(super) struct Of<'a> {
    subject: &'a Path,
    limit: &'a Limit,
    scope: &'a Scope,
}

impl<'a> Of<'a> {
    #[inline]
    pub(super) fn new(scope: &'a Scope, check: &'a Check<'_>) -> Self {
        Self { subject: &check.subject, limit: check.limit, scope }
    }

    pub(super) fn limit(&self) -> &'a Limit {
        self.limit
    }

    pub(super) fn to_whose(self) -> Whose {
        let Self { subject, limit, scope } = self;
        Whose { subject: subject.clone(), limit: limit.clone(), scope: scope.clone() }
    }
}

impl Whose {
    /// The bytes that it has elsewhere.
    pub(super) fn text_len(&self) -> usize {
        self.subject.text_len()
    }
}

impl Hash for Of<'_> {
    /// By all but the rest of the definition, of which there are few, and which is compared.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.subject.hash(state);
        state.write(self.limit.name().as_bytes());
        self.scope.hash(state);
    }
}

impl Hash for Whose {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Of { subject: &self.subject, limit: &self.limit, scope: &self.scope }.hash(state);
    }
}

impl Equivalent<Whose> for Of<'_> {
    #[inline]
    fn equivalent(&self, key: &Whose) -> bool {
        *self.subject == key.subject && *self.limit == key.limit && *self.scope == key.scope
    }
}
