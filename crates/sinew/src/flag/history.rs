//! Who has changed what, and taking it back.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::backend::{Backend as _, Noted};
use super::document::{Flag, Segment};
use super::known::{Shared, time_of};
use super::write::{Shelf, Unreadable};
use super::{Expected, Flags, Written};
use crate::kernel::clock::UnixMillis;
use crate::kernel::error::{Error, Result};

/// So many changes one call tells.
const COUNT_MAX: usize = 1_000;
/// So many are read at a time.
const PAGE: usize = 100;
/// So many are looked through for those of one flag, and so many bytes of them, and no more than a page beyond.
const LOOKED_MAX: usize = 2_000;
const LOOKED_LEN_MAX: usize = 32 << 20;
/// What the names of segments have before them among the keys of changes. No flag's key has a colon.
const SEGMENT: &str = "segment:";

/// Names a change of [`Flags::history`].
///
/// Its text is what [`FromStr`] reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChangeId(String);

impl ChangeId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ChangeId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let is_number = |text: &str| text.len() <= 20 && text.parse::<u64>().is_ok();
        let parts = text.split_once('-');
        if !parts.is_some_and(|(ms, number)| is_number(ms) && is_number(number)) {
            return Err(Error::rejected(
                "invalid id of a change: expected one like 1795300000000-0, as the flag's history has it",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A change that someone has made.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FlagChange {
    /// Its own id.
    pub id: ChangeId,
    /// When, by the store's clock, in whole milliseconds.
    pub at: SystemTime,
    /// Who has made it, as they said.
    pub by: String,
    /// The key of the flag; of a segment, `segment:` and its name.
    pub key: String,
    /// The flag before, if there was one.
    pub before: Option<Flag>,
    /// The flag from then on; `None` where it was removed.
    pub after: Option<Flag>,
    /// What became of the segment, where it was one that was changed.
    pub segment: Option<SegmentChange>,
    /// How many flags came back with it, where the store had lost them all.
    pub put_back: Option<usize>,
}

/// What became of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentChange {
    /// Its name.
    pub name: String,
    /// The segment before, if there was one.
    pub before: Option<Segment>,
    /// The segment from then on; `None` where it was removed.
    pub after: Option<Segment>,
}

/// A change, as it is written: flags and segments as they were in the document.
#[derive(Deserialize, Serialize)]
struct Entry {
    by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    flag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    segment: Option<String>,
    version: u64,
    before: Option<Box<RawValue>>,
    after: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    put_back: Option<usize>,
}

pub(super) fn text(
    shelf: Shelf,
    key: &str,
    by: &str,
    version: u64,
    before: Option<&RawValue>,
    after: Option<Box<RawValue>>,
    put_back: Option<usize>,
) -> Result<String> {
    let (by, key) = (by.to_owned(), key.to_owned());
    let (flag, segment) = match shelf {
        Shelf::Flags => (Some(key), None),
        Shelf::Segments => (None, Some(key)),
    };
    let before = before.map(ToOwned::to_owned);
    let entry = Entry { by, flag, segment, version, before, after, put_back };
    serde_json::to_string(&entry)
        .map_err(|error| Error::rejected("expected what can be written").with_source(error))
}

impl Noted {
    fn entry(&self) -> Option<Entry> {
        serde_json::from_slice(&self.text).ok()
    }

    /// `None` where it is not ours.
    fn change(&self) -> Option<FlagChange> {
        fn read<'a, T: Deserialize<'a>>(text: &'a Option<Box<RawValue>>) -> Option<T> {
            serde_json::from_str(text.as_ref()?.get()).ok()
        }
        let entry = self.entry()?;
        let at_ms = self.id.split_once('-')?.0.parse().ok()?;
        let change = FlagChange {
            id: ChangeId(self.id.clone()),
            at: time_of(UnixMillis(at_ms)),
            by: entry.by,
            key: String::new(),
            before: None,
            after: None,
            segment: None,
            put_back: entry.put_back,
        };
        match (entry.flag, entry.segment) {
            (Some(key), None) => {
                let (before, after) = (read(&entry.before), read(&entry.after));
                Some(FlagChange { key, before, after, ..change })
            }
            (None, Some(name)) => {
                let key = format!("{SEGMENT}{name}");
                let (before, after) = (read(&entry.before), read(&entry.after));
                Some(FlagChange {
                    key,
                    segment: Some(SegmentChange { name, before, after }),
                    ..change
                })
            }
            _ => None,
        }
    }
}

impl Flags {
    /// The last changes, the newest first: of this flag, or of all flags and segments. 10,000 are
    /// kept of an environment, and fewer where they take more than 256 MiB; 1,000 are told at most, of 32 MiB.
    /// Those of one flag are looked for among the last 2,000 of all: an older one is told by its id alone, by
    /// [`Flags::past_change`].
    ///
    /// # Errors
    /// `Corrupt` where the key holds something of another kind.
    ///
    /// # When Redis is down
    /// `Unavailable` or `Timeout`.
    pub async fn history(&self, key: Option<&str>, count: usize) -> Result<Vec<FlagChange>> {
        let Shared { engine, keys, .. } = &**self.shared();
        let count = count.min(COUNT_MAX);
        let page_len = if key.is_some() { PAGE } else { PAGE.min(count) };
        let mut found = Vec::new();
        let mut last: Option<String> = None;
        let (mut looked, mut looked_len) = (0, 0);
        while found.len() < count && looked < LOOKED_MAX && looked_len < LOOKED_LEN_MAX {
            let page = engine.backend.changes(keys, last.as_deref(), page_len).await?;
            looked += page.len();
            looked_len += page.iter().map(|noted| noted.text.len()).sum::<usize>();
            let changes = page.iter().filter_map(Noted::change);
            found.extend(changes.filter(|change| key.is_none_or(|key| change.key == key)));
            if page.len() < page_len {
                break;
            }
            last = page.last().map(|oldest| oldest.id.clone());
        }
        found.truncate(count);
        Ok(found)
    }

    /// A change of this flag, or of `segment:` and a name, by its id; `None` where there is no such change of
    /// it, or no longer.
    ///
    /// # Errors
    /// `Corrupt` where the key holds something of another kind.
    ///
    /// # When Redis is down
    /// `Unavailable` or `Timeout`.
    pub async fn past_change(&self, key: &str, change: &ChangeId) -> Result<Option<FlagChange>> {
        let Shared { engine, keys, .. } = &**self.shared();
        let noted = engine.backend.change(keys, change.as_str()).await?;
        let told = noted.as_ref().and_then(Noted::change);
        Ok(told.filter(|told| told.key == key))
    }

    /// Makes a flag what it was before a change of it, its kill switch included, whatever it has become since
    /// as long as that is what is expected. Where the change has made it, it is removed.
    ///
    /// # Errors
    /// `Rejected` where there is no such change of this flag, or no longer. Else as [`Flags::put`].
    ///
    /// # When Redis is down
    /// As [`Flags::put`].
    pub async fn roll_back(
        &self,
        key: &str,
        change: &ChangeId,
        expected: Expected,
        by: &str,
    ) -> Result<Written> {
        let Shared { engine, keys, .. } = &**self.shared();
        let noted = engine.backend.change(keys, change.as_str()).await?;
        let entry = noted.and_then(|noted| noted.entry());
        let entry = entry.filter(|entry| entry.flag.as_deref() == Some(key)).ok_or_else(|| {
            Error::rejected(format!(
                "no change {change} of flag {key:?}: expected one of its history"
            ))
        })?;
        let before: Option<Flag> = match entry.before {
            Some(before) => Some(serde_json::from_str(before.get()).map_err(|error| {
                Error::corrupt("expected a flag that this version can read").with_source(error)
            })?),
            None => None,
        };
        let unreadable = match (&before, expected) {
            (Some(_), Expected::Any) => Unreadable::Replaced,
            // It is neither nothing nor a revision that anyone has seen.
            _ => Unreadable::Refused,
        };
        self.write_flag(key, by, unreadable, expected, |_| Ok(before.clone())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_what_history_tells_and_nothing_else() {
        for id in ["1795300000000-0", "0-1", "18446744073709551615-18446744073709551615"] {
            assert_eq!(id.parse::<ChangeId>().unwrap().to_string(), id);
        }
        let long = format!("{}1-0", "0".repeat(20));
        for other in ["", "-", "1", "1-", "-1", "1-2-3", "+", "(1-0", "*", "1-0 ", long.as_str()] {
            assert!(other.parse::<ChangeId>().is_err(), "{other}");
        }
    }
}
