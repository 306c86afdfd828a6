//! Entries that someone brings to fill a cache with.

use std::fmt;
use std::future::ready;

use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde::de::{Deserializer as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sinew::{PutOptions, Ttl};
use utoipa::ToSchema;

use super::settings::CacheSettings;
use super::{Documents, WrittenKey};
use crate::duration;

/// How many entries may come at once.
pub(crate) const ENTRIES_MAX: usize = 10_000;
/// How many are being stored at a time.
const AT_ONCE_MAX: usize = 16;
/// What an entry looks like, for messages.
const EXPECTED: &str = r#"expected entries like {"key": "456:list", "value": …}, with "ttl": "10m" and "tags": ["…"] where need be"#;

/// An entry as it is brought.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BroughtEntry {
    /// Segments between colons, like 456:payments:list
    key: String,
    /// Any JSON document
    #[schema(value_type = serde_json::Value)]
    value: Box<RawValue>,
    /// How long the entry lives at most: `30s`, `10m`, `1h 30m`. The cache's own TTL unless given
    ttl: Option<String>,
    /// For caches with tags
    #[serde(default)]
    tags: Vec<String>,
}

/// An entry that may be stored.
pub(crate) struct CheckedEntry {
    key: WrittenKey,
    value: Box<RawValue>,
    options: PutOptions,
}

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

impl BroughtEntry {
    /// # Errors
    /// A sentence that says what was expected.
    pub(crate) fn check_ttl(&self) -> Result<Option<Ttl>, String> {
        self.ttl.as_deref().map(duration::parse_ttl).transpose()
    }

    /// # Errors
    /// A sentence that says what was expected.
    pub(crate) fn check(
        self,
        cache: &str,
        settings: &CacheSettings,
    ) -> Result<CheckedEntry, String> {
        let ttl = self.check_ttl()?;
        if !self.tags.is_empty() {
            settings.must_be_tagged(cache)?;
        }
        let options = PutOptions::new().ttl(ttl.unwrap_or(settings.ttl));
        let options = self.tags.iter().fold(options, PutOptions::tag);
        Ok(CheckedEntry { key: WrittenKey(self.key), value: self.value, options })
    }
}

/// Reads a JSON array of entries, or one entry after the other, as in a file of JSON lines.
///
/// # Errors
/// A sentence that says what was expected, and where.
pub(crate) fn read(text: &[u8]) -> Result<Vec<BroughtEntry>, String> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let entries: serde_json::Result<Vec<BroughtEntry>> =
        match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'[') => reader
                .deserialize_seq(UpToTheMost)
                .and_then(|entries| reader.end().map(|()| entries)),
            _ => reader.into_iter::<BroughtEntry>().take(ENTRIES_MAX + 1).collect(),
        };
    match entries {
        Ok(entries) if entries.len() > ENTRIES_MAX => {
            Err(format!("more than {ENTRIES_MAX} entries at once: send them in parts"))
        }
        Ok(entries) => Ok(entries),
        // Without the reader's own words: they may quote what was brought.
        Err(error) => Err(format!(
            "line {}, column {} is not what it should be: {EXPECTED}",
            error.line(),
            error.column()
        )),
    }
}

/// Reads one entry, which is all that the text holds.
///
/// # Errors
/// A sentence that says what was expected.
pub(crate) fn read_one(text: &str) -> Result<BroughtEntry, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("column {} is not what it should be: {EXPECTED}", error.column()))
}

/// Reads one more entry than is allowed, and passes over the rest.
struct UpToTheMost;

impl<'de> Visitor<'de> for UpToTheMost {
    type Value = Vec<BroughtEntry>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = items.next_element()? {
            entries.push(entry);
            if entries.len() > ENTRIES_MAX {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                break;
            }
        }
        Ok(entries)
    }
}

/// Stores entries, some at a time.
///
/// Between the look at an entry and its storing, another one's write may come and be replaced.
pub(crate) async fn store(
    cache: Documents,
    entries: Vec<CheckedEntry>,
    existing: Existing,
) -> Tally {
    stream::iter(entries)
        .map(move |entry| store_one(cache.clone(), entry, existing))
        .buffer_unordered(AT_ONCE_MAX)
        .fold(Tally::default(), |tally, fate| ready(tally.and(fate)))
        .await
}

async fn store_one(cache: Documents, entry: CheckedEntry, existing: Existing) -> Fate {
    let CheckedEntry { key, value, options } = entry;
    if existing == Existing::Kept {
        match cache.exists(&key).await {
            Ok(true) => return Fate::Found,
            Ok(false) => {}
            Err(error) => return Fate::Failed(error),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Result<Vec<String>, String> {
        Ok(read(text.as_bytes())?.into_iter().map(|entry| entry.key).collect())
    }

    #[test]
    fn entries_come_as_an_array_or_as_lines() {
        let one = r#"{"key": "a", "value": [1, 2]}"#;
        let two = r#"{"key": "b", "value": "v", "ttl": "1m", "tags": ["t"]}"#;
        for text in
            [format!("[{one},\n{two}]\n"), format!("{one}\n\n{two}\n"), format!(" \n{one}{two}")]
        {
            assert_eq!(keys(&text).unwrap(), ["a", "b"], "{text}");
        }
        for nothing in ["[]", "", " \n "] {
            assert_eq!(keys(nothing).unwrap(), [""; 0], "{nothing:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_never_quoted() {
        for (text, place) in [
            ("[{\"key\": \"a\", \"value\": 1},\n{\"key\": 5, \"value\": 1}]", "line 2"),
            ("{\"key\": \"a\", \"value\": 1}\n{\"key\": \"secret\"}", "line 2"),
            ("{\"key\": \"a\", \"value\": 1}\n\n{\"key\": \"secret\", \"valu\": 1}", "line 3"),
            ("[{\"key\": \"a\", \"value\": 1}] secret", "line 1"),
            ("\"secret\"", "line 1"),
            ("[\"secret\"]", "line 1"),
            ("[", "line 1"),
        ] {
            let error = keys(text).unwrap_err();
            assert!(error.starts_with(place) && error.contains("expected entries like"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn too_many_are_refused() {
        let line = "{\"key\": \"a\", \"value\": 1}\n";
        assert_eq!(keys(&line.repeat(ENTRIES_MAX)).unwrap().len(), ENTRIES_MAX);
        let more = line.repeat(ENTRIES_MAX + 1);
        let array = format!("[{}]", more.trim_end().replace('\n', ","));
        for text in [more, array] {
            assert!(keys(&text).unwrap_err().contains("more than 10000 entries"), "{}", text.len());
        }
    }
}
