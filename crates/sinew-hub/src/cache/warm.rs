//! Filling a cache with entries that were brought.

use std::future::ready;

use futures_util::{StreamExt as _, stream};
use sinew::PutOptions;

use super::Documents;
use super::brought::Entry;

/// How many are being stored at a time.
const AT_ONCE_MAX: usize = 16;

/// What to do about entries that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    Kept,
    Replaced,
}

/// What became of entries, and why the first that failed did.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) stored: u64,
    pub(crate) found: u64,
    pub(crate) failed: u64,
    pub(crate) failure: Option<sinew::Error>,
}

enum Fate {
    Stored,
    Found,
    Failed(sinew::Error),
}

/// Stores entries, some at a time.
///
/// Between the look at an entry and its storing, another one's write may come and be replaced.
pub(crate) async fn store(cache: Documents, entries: Vec<Entry>, existing: Existing) -> Tally {
    stream::iter(entries)
        .map(move |entry| store_one(cache.clone(), entry, existing))
        .buffer_unordered(AT_ONCE_MAX)
        .fold(Tally::default(), |tally, fate| ready(tally.and(fate)))
        .await
}

async fn store_one(cache: Documents, entry: Entry, existing: Existing) -> Fate {
    let Entry { key, value, ttl, tags } = entry;
    if existing == Existing::Kept {
        match cache.exists(&key).await {
            Ok(true) => return Fate::Found,
            Ok(false) => {}
            Err(error) => return Fate::Failed(error),
        }
    }
    let options = ttl.map_or_else(PutOptions::new, |ttl| PutOptions::new().ttl(ttl));
    let options = tags.into_iter().fold(options, PutOptions::tag);
    match cache.put_with(&key, &value, options).await {
        Ok(()) => Fate::Stored,
        Err(error) => Fate::Failed(error),
    }
}

impl Tally {
    fn and(mut self, fate: Fate) -> Self {
        match fate {
            Fate::Stored => self.stored += 1,
            Fate::Found => self.found += 1,
            Fate::Failed(error) => {
                self.failed += 1;
                self.failure.get_or_insert(error);
            }
        }
        self
    }
}
