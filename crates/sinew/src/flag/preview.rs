//! A draft of a flag, evaluated before it is saved.

use std::fmt;

use super::compiled::Draft;
use super::{EvalContext, Explanation, Flag, Flags};

/// A draft of a flag, ready to be evaluated for many: [`Flags::preview`].
pub struct FlagPreview {
    flags: Flags,
    key: String,
    draft: Draft,
}

impl FlagPreview {
    pub(super) fn new(flags: Flags, key: &str, flag: &Flag) -> Self {
        let draft = {
            let known = flags.shared().known();
            let is_killed = known.book.flags.get(key).is_some_and(|flag| flag.killed);
            let killed = flag.killed || is_killed;
            known.rules.draft(key, &Flag { killed, ..flag.clone() })
        };
        Self { flags, key: key.to_owned(), draft }
    }

    /// What the draft would be for somebody, and step by step how that would come about: with the segments of
    /// when it was made ready, and the plain keys of now.
    #[must_use]
    pub fn explain(&self, cx: &EvalContext) -> Explanation {
        let shared = self.flags.shared();
        shared.known().rules.preview(&self.key, &self.draft, cx, shared.engine.clock.wall())
    }
}

impl fmt::Debug for FlagPreview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlagPreview").field("key", &self.key).finish_non_exhaustive()
    }
}
