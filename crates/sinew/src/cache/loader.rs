//! What a caller gives to a load, and gets from it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::kernel::error::Error;
use crate::kernel::ttl::Ttl;

/// Why `get_or_load` has no value. Trouble with Redis is never among the reasons.
#[derive(Debug)]
pub enum LoadError<E> {
    /// The loader's own error, shared by all callers that waited for the same load.
    Source(Arc<E>),
    /// The key is not acceptable, and nothing was loaded; or what the loader asked for is not:
    /// a tag in a cache without tags, say.
    Rejected(Error),
    /// The loader panicked, or the runtime stopped it.
    Aborted,
    /// The load took longer than the cache's `hard_timeout`. It goes on in the background.
    TimedOut,
}

// Not derived: sharing needs no `E: Clone`.
impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Source(error) => Self::Source(Arc::clone(error)),
            Self::Rejected(error) => Self::Rejected(error.clone()),
            Self::Aborted => Self::Aborted,
            Self::TimedOut => Self::TimedOut,
        }
    }
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => error.fmt(f),
            Self::Rejected(error) => error.fmt(f),
            Self::Aborted => f.write_str("the loader panicked or was stopped"),
            Self::TimedOut => f.write_str("the load did not end within the cache's hard timeout"),
        }
    }
}

impl<E: StdError + 'static> StdError for LoadError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            // Displayed as itself, so its cause is ours.
            Self::Source(error) => error.source(),
            Self::Rejected(error) => error.source(),
            Self::Aborted | Self::TimedOut => None,
        }
    }
}

/// A value, and where it was found.
#[derive(Debug)]
pub struct Traced<V> {
    /// The value.
    pub value: Arc<V>,
    /// Where it was found.
    pub source: Source,
}

/// Where a value was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// In this process.
    Local,
    /// In Redis.
    Redis,
    /// Nowhere: it was loaded, by this caller or by one that it waited for.
    Loaded,
    /// In Redis, fresh no more: served while it is loaded anew, or because it could not be.
    Stale,
}

/// What a loader brings.
#[derive(Debug)]
pub enum Loaded<V> {
    /// A value.
    Value(V),
    /// [`Loading::previous`] is still right: it is stored again as fresh.
    Unchanged,
}

impl<V> From<V> for Loaded<V> {
    fn from(value: V) -> Self {
        Self::Value(value)
    }
}

/// A load under way, as its loader sees it; see
/// [`Cache::get_or_load_with`](crate::Cache::get_or_load_with). Cheap to clone.
pub struct Loading<V> {
    notes: Arc<Mutex<Notes>>,
    previous: Option<Arc<V>>,
}

/// What a loader said of what it brings.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) tags: Vec<Box<str>>,
    pub(super) ttl: Option<Ttl>,
    pub(super) is_not_to_be_stored: bool,
}

impl<V> Clone for Loading<V> {
    fn clone(&self) -> Self {
        Self { notes: Arc::clone(&self.notes), previous: self.previous.clone() }
    }
}

impl<V> Loading<V> {
    pub(super) fn new(previous: Option<Arc<V>>) -> Self {
        Self { notes: Arc::default(), previous }
    }

    pub(super) fn take_notes(&self) -> Notes {
        std::mem::take(&mut *self.notes.lock())
    }

    /// Gives the entry a tag, by which [`Cache::invalidate_tag`](crate::Cache::invalidate_tag) finds
    /// it. Up to 32, each up to 128 bytes; the cache has to be
    /// [`tagged`](crate::CacheBuilder::tagged).
    pub fn tag(&self, tag: impl fmt::Display) {
        self.notes.lock().tags.push(tag.to_string().into());
    }

    /// Gives the entry a TTL of its own, which the cache's jitter shortens.
    pub fn ttl(&self, ttl: Ttl) {
        self.notes.lock().ttl = Some(ttl);
    }

    /// The value goes to those who wait for it, and is not stored.
    pub fn do_not_store(&self) {
        self.notes.lock().is_not_to_be_stored = true;
    }

    /// The value that is being replaced, where there is one: fresh no more, or about to be. Where it
    /// is still right, [`Loaded::Unchanged`] says so.
    #[must_use]
    pub fn previous(&self) -> Option<Arc<V>> {
        self.previous.clone()
    }
}
