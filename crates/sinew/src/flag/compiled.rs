//! Flags, made ready to be evaluated often: no look-up allocates, and all is decided in one place.

mod ready;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::condition::{Predicate, SegmentTest};
use super::document::Document;
use ready::Ready;

pub(crate) use rules::{Draft, Rules};

/// All flags of a document, ready.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    /// Of the document; 0 where there is none.
    version: u64,
    flags: HashMap<Box<str>, Ready>,
    /// For a draft, which may refer to them.
    segments: BTreeMap<String, Arc<SegmentTest>>,
}

impl Compiled {
    /// Of a document that was read or validated, at its version.
    pub(crate) fn new(document: &Document, version: u64) -> Self {
        let nothing = BTreeMap::new();
        let segments = document.segments.iter().map(|(name, segment)| {
            let ways = segment.any.iter().map(|all| {
                let all = all.iter().map(|condition| Predicate::new(condition, &nothing));
                all.collect::<Box<[_]>>()
            });
            (name.clone(), Arc::new(SegmentTest(ways.collect())))
        });
        let segments: BTreeMap<_, _> = segments.collect();
        let flags = document.flags.iter().filter_map(|(key, flag)| {
            Some((key.as_str().into(), Ready::new(key, flag, &segments)?))
        });
        Self { version, flags: flags.collect(), segments }
    }
}
