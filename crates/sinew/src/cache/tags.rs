//! Tags: the entries of a cache that something has made out of date, told by a number each.
//!
//! The store keeps a hash for each tagged cache: a random generation, a sequence, and for each tag
//! the sequence's value when it was last invalidated. An entry has the two numbers that were noted
//! before it was loaded. It is valid while the generation is the same and none of its tags has a
//! greater number. So invalidating a tag is one step, however many entries have it, and a hash that is
//! lost takes its entries with it rather than bringing back what was invalidated.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use dashmap::DashMap;
use parking_lot::Mutex;

use super::backend::{Backend as _, Store};
use crate::kernel::clock::Monotonic;
use crate::kernel::coherence::{Coherence, Note};
use crate::kernel::envelope::{TAG_LEN_MAX, TAGS_MAX, Tagging};
use crate::kernel::error::{Error, Result};
use crate::kernel::key::TagsKey;
use crate::kernel::ttl::Ttl;

/// Copies of more hashes than this, and all are read anew.
const PAGES_MAX: usize = 10_000;
/// Copies of more tags of one hash than this, and they are read anew.
const TAGS_KNOWN_MAX: usize = 100_000;

/// A cache's generation and sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tide {
    pub(crate) generation: [u8; 8],
    pub(crate) sequence: u64,
}

/// What the store said: the numbers of the tags that were asked for, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TagNumbers {
    pub(crate) tide: Tide,
    pub(crate) numbers: Vec<u64>,
}

impl TagNumbers {
    /// Whether an entry with these tags, in the order of the numbers, is still good.
    fn allow(&self, tagging: &Tagging) -> bool {
        let Tide { generation, .. } = self.tide;
        generation == tagging.generation
            && self.numbers.iter().all(|number| *number <= tagging.sequence)
    }
}

/// The hashes of all tagged caches, as far as this process knows them.
#[derive(Default)]
pub(super) struct Tags {
    pages: DashMap<TagsKey, Arc<Mutex<Page>>>,
}

/// One hash, good while its note holds.
#[derive(Default)]
struct Page {
    note: Option<Note>,
    tide: Option<Tide>,
    numbers: HashMap<Box<str>, u64>,
    /// What this process last asked the hash to live, and when.
    extended: Option<(Ttl, Monotonic)>,
    /// Of the hash that was asked.
    generation: Option<[u8; 8]>,
}

impl Page {
    fn answer(&self, coherence: &Coherence, tags: &[Box<str>]) -> Option<Option<TagNumbers>> {
        let note = self.note.as_ref()?;
        if !coherence.holds(note) {
            return None;
        }
        let Some(tide) = self.tide else { return Some(None) };
        let numbers: Option<Vec<u64>> =
            tags.iter().map(|tag| self.numbers.get(tag).copied()).collect();
        Some(Some(TagNumbers { tide, numbers: numbers? }))
    }

    /// Another hash than the one that was asked to live long was not asked.
    fn saw(&mut self, said: Option<&TagNumbers>) {
        let generation = said.map(|said| said.tide.generation);
        if self.generation != generation {
            (self.generation, self.extended) = (generation, None);
        }
    }

    fn keep(
        &mut self,
        coherence: &Coherence,
        note: Note,
        tags: &[Box<str>],
        said: Option<&TagNumbers>,
    ) {
        // What was read on other terms may be older or newer: only what holds together is kept.
        let same = self.note.as_ref().is_some_and(|kept| coherence.holds(kept))
            && self.tide == said.map(|said| said.tide);
        if !same || self.numbers.len() > TAGS_KNOWN_MAX {
            self.numbers.clear();
        }
        self.note = Some(note);
        self.tide = said.map(|said| said.tide);
        if let Some(said) = said {
            self.numbers.extend(tags.iter().cloned().zip(said.numbers.iter().copied()));
        }
    }
}

impl Tags {
    /// Generation, sequence and the numbers of some tags, as they are now. `None` where the store
    /// has no hash.
    pub(super) async fn read(
        &self,
        store: &Store,
        coherence: Option<&Coherence>,
        key: &TagsKey,
        tags: &[Box<str>],
    ) -> Result<Option<TagNumbers>> {
        store.permits_tags(key)?;
        let page = self.page(key);
        if let Some(coherence) = coherence
            && let Some(answer) = page.lock().answer(coherence, tags)
        {
            return Ok(answer);
        }
        let (said, note) = store.tags(key, tags, coherence).await?;
        page.lock().saw(said.as_ref());
        if let (Some(coherence), Some(note)) = (coherence, note) {
            page.lock().keep(coherence, note, tags, said.as_ref());
        }
        Ok(said)
    }

    /// Whether an entry is still good.
    pub(super) async fn allow(
        &self,
        store: &Store,
        coherence: Option<&Coherence>,
        key: &TagsKey,
        tagging: &Tagging,
    ) -> Result<bool> {
        let said = self.read(store, coherence, key, &tagging.tags).await?;
        Ok(said.is_some_and(|numbers| numbers.allow(tagging)))
    }

    /// The same from what this process knows; `None` where the store has to be asked.
    pub(super) fn allow_at_once(
        &self,
        store: &Store,
        coherence: &Coherence,
        key: &TagsKey,
        tagging: &Tagging,
    ) -> Option<bool> {
        store.permits_tags(key).ok()?;
        let page = Arc::clone(self.pages.get(key)?.value());
        let answer = page.lock().answer(coherence, &tagging.tags)?;
        Some(answer.is_some_and(|numbers| numbers.allow(tagging)))
    }

    /// Whether a hash that is to live so long has to be told so: not with every entry, and long before
    /// it would die.
    pub(super) fn is_to_be_extended(&self, key: &TagsKey, ttl: Ttl, now: Monotonic) -> bool {
        match self.page(key).lock().extended {
            Some((said, at)) => said < ttl || now.since(at) > said.duration() / 4,
            None => true,
        }
    }

    pub(super) fn is_extended(&self, key: &TagsKey, ttl: Ttl, now: Monotonic) {
        self.page(key).lock().extended = Some((ttl, now));
    }

    fn page(&self, key: &TagsKey) -> Arc<Mutex<Page>> {
        if let Some(page) = self.pages.get(key) {
            return Arc::clone(&page);
        }
        if self.pages.len() >= PAGES_MAX {
            self.pages.clear();
        }
        Arc::clone(&self.pages.entry(key.clone()).or_default())
    }
}

/// Checks what a user calls tags, each once.
///
/// # Errors
/// `Rejected` with the rule.
pub(super) fn checked(mut tags: Vec<Box<str>>) -> Result<Vec<Box<str>>> {
    tags.sort();
    tags.dedup();
    if tags.len() > TAGS_MAX {
        return Err(Error::rejected(format!(
            "{} tags on one entry: expected at most {TAGS_MAX}",
            tags.len()
        )));
    }
    match tags.iter().find(|tag| tag.is_empty() || tag.len() > TAG_LEN_MAX) {
        Some(bad) => Err(Error::rejected(format!(
            "a tag of {} bytes: expected 1 to {TAG_LEN_MAX}",
            bad.len()
        ))),
        None => Ok(tags),
    }
}

/// One tag, checked.
pub(super) fn checked_one(tag: impl fmt::Display) -> Result<Box<str>> {
    let tags = checked(vec![tag.to_string().into()])?;
    // One went in, and it is no duplicate.
    tags.into_iter().next().ok_or_else(|| Error::rejected("no tag"))
}

pub(super) fn untagged(cache: &str) -> Error {
    Error::rejected(format!(
        "cache {cache:?} has no tags: expected .tagged() where it is built, in every process"
    ))
}
