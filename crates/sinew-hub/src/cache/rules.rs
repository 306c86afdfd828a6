//! What entries of a cache have to be.

use sinew::Sinew;

use super::brought::Entry;
use super::settings::CacheSettings;
use super::{Documents, documents};

/// What can be known of entries before any of them is stored.
pub(crate) struct Rules {
    /// Of an empty store under the same names: it refuses the keys that the cache itself would.
    rehearsal: Documents,
    settings: CacheSettings,
    value_len_max: usize,
}

impl Rules {
    /// # Errors
    /// `Rejected` for a name that no cache may have.
    pub(crate) fn new(empty: &Sinew, cache: &str, settings: &CacheSettings) -> sinew::Result<Self> {
        Ok(Self {
            rehearsal: documents(empty, cache, &CacheSettings::of(settings.ttl))?,
            settings: settings.clone(),
            value_len_max: empty.value_len_max(),
        })
    }

    /// # Errors
    /// What to change so that the cache can have tags.
    pub(crate) fn must_be_tagged(&self) -> Result<(), String> {
        self.settings.must_be_tagged(self.rehearsal.name())
    }

    /// Whether an entry may be stored.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub(crate) async fn check(&self, entry: &Entry) -> Result<(), String> {
        if !entry.tags.is_empty() {
            self.must_be_tagged()?;
        }
        let (len, most) = (entry.value.get().len(), self.value_len_max);
        if len > most {
            return Err(format!("value of {len} bytes is too large: expected at most {most}"));
        }
        self.rehearsal.exists(&entry.key).await.map(|_| ()).map_err(|error| error.to_string())
    }
}
