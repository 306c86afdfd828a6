//! Many entries to be removed at once.

use sinew::{Invalidated, Sinew, Ttl};

use super::settings::CacheSettings;
use super::{Documents, documents};

/// Which entries of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Tagged(String),
    /// By a pattern of keys, with `*` and `?`.
    Matching(String),
    All,
}

/// What became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removed {
    /// So many are gone.
    Counted(u64),
    /// They are gone at once, and nobody counted them.
    Uncounted,
    /// The store is away: they go before this process reads from it again.
    Queued,
}

impl Which {
    /// Whether some cache could be asked this: an empty one of this process is.
    ///
    /// # Errors
    /// `Rejected` for a tag or a pattern that cannot be.
    pub(crate) async fn check(&self) -> sinew::Result<()> {
        let settings = CacheSettings { tagged: true, ..CacheSettings::of(Ttl::MIN) };
        let empty = documents(&Sinew::embedded(), "empty", &settings)?;
        self.remove_from(&empty).await.map(|_| ())
    }

    /// # Errors
    /// As the library's `invalidate_tag`, `invalidate_matching` and `clear`.
    pub(crate) async fn remove_from(&self, cache: &Documents) -> sinew::Result<Removed> {
        let invalidated = match self {
            Self::Matching(pattern) => {
                return cache.invalidate_matching(pattern).await.map(Removed::Counted);
            }
            Self::Tagged(tag) => cache.invalidate_tag(tag).await?,
            Self::All => cache.clear().await?,
        };
        Ok(match invalidated {
            Invalidated::Done => Removed::Uncounted,
            Invalidated::Queued => Removed::Queued,
        })
    }
}
