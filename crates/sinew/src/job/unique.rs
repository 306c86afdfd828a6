//! Jobs of which there is to be one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::model::{Claim, OnConflict, WINDOW_MAX, in_words, millis, unique_digest};
use crate::kernel::error::{Error, Result};

/// A name that one job of a queue has at a time: from when it is enqueued until it has ended, done or dead.
///
/// ```
/// use std::time::Duration;
/// use sinew::job::{OnConflict, Unique};
///
/// let welcome = Unique::by("welcome:42").within(Duration::from_secs(3_600)).on_conflict(OnConflict::Replace);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "it is given to a job that is enqueued"]
pub struct Unique {
    by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    within: Option<Duration>,
    #[serde(default)]
    on_conflict: OnConflict,
}

impl Unique {
    /// Any text. Beside a key ([`Enqueue::key`](super::Enqueue::key)) it counts among the jobs with that key.
    pub fn by(name: impl Into<String>) -> Self {
        Self { by: name.into(), within: None, on_conflict: OnConflict::default() }
    }

    /// For so long from when its job is enqueued it counts although that has ended: up to 365 days.
    pub fn within(mut self, window: Duration) -> Self {
        self.within = Some(window);
        self
    }

    /// What becomes of a job whose name another has. [`OnConflict::Skip`] unless said.
    pub fn on_conflict(mut self, on_conflict: OnConflict) -> Self {
        self.on_conflict = on_conflict;
        self
    }

    /// # Errors
    /// `Rejected` for no name, or a window out of bounds.
    pub(super) fn claim(&self, key: Option<&str>) -> Result<Claim> {
        let window = self.within.unwrap_or_default();
        if self.by.is_empty() {
            return Err(Error::rejected("an empty unique name: expected some text"));
        }
        if window > WINDOW_MAX {
            return Err(Error::rejected(format!(
                "a unique name that counts for {} is out of bounds: expected up to 365 days",
                in_words(window)
            )));
        }
        Ok(Claim {
            digest: unique_digest(&self.by, key),
            window_ms: millis(window),
            on_conflict: self.on_conflict,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_bounded_and_is_kept_as_it_was_said() {
        let unique =
            Unique::by("a").within(Duration::from_secs(1)).on_conflict(OnConflict::Replace);
        let json = serde_json::to_string(&unique).unwrap();
        assert_eq!(serde_json::from_str::<Unique>(&json).unwrap(), unique);
        let claim = unique.claim(Some("acme")).unwrap();
        assert_eq!((claim.window_ms, claim.on_conflict), (1_000, OnConflict::Replace));
        assert_ne!(claim.digest, unique.claim(None).unwrap().digest);
        assert!(Unique::by("").claim(None).is_err());
        assert!(Unique::by("a").within(WINDOW_MAX * 2).claim(None).is_err());
    }
}
