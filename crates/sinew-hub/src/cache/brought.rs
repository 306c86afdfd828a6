//! Entries that someone brings to fill a cache with.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;
use sinew::Ttl;
use utoipa::ToSchema;

use super::WrittenKey;
use crate::duration;

/// How many entries may come at once.
const ENTRIES_MAX: usize = 10_000;
/// What the library takes for one entry.
const TAGS_MAX: usize = 32;
const TAG_LEN_MAX: usize = 128;
/// What an entry looks like, for messages.
const EXPECTED: &str = r#"expected entries like {"key": "456:list", "value": …}, with "ttl": "10m" and "tags": ["…"] where need be"#;

/// An entry as it is brought.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BroughtEntry {
    /// Segments between colons, like 456:payments:list; a colon in one is %3A
    #[schema(min_length = 1)]
    key: String,
    /// Any JSON document
    #[schema(value_type = serde_json::Value)]
    value: Box<RawValue>,
    /// How long the entry lives at most: `30s`, `10m`, `1h 30m`. The cache's own TTL unless given
    ttl: Option<String>,
    /// For caches with tags: each 1 to 128 bytes
    #[serde(default, deserialize_with = "tags")]
    #[schema(max_items = 32)]
    tags: Vec<String>,
}

/// An entry that some cache could take.
pub(crate) struct Entry {
    pub(crate) key: WrittenKey,
    pub(crate) value: Box<RawValue>,
    /// The cache's own unless given.
    pub(crate) ttl: Option<Ttl>,
    pub(crate) tags: Vec<String>,
}

/// An entry, and where it begins.
pub(crate) struct Placed {
    pub(crate) place: Place,
    pub(crate) entry: Entry,
}

/// A place in a text, counted from 1, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    line: usize,
    column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Reads a JSON array of entries, or one entry after the other, as in a file of JSON lines.
///
/// # Errors
/// A sentence that says what was expected, and where.
pub(crate) fn read(text: &[u8]) -> Result<Vec<Placed>, String> {
    // Without the reader's own words: they may quote what was brought.
    let texts = split(text).map_err(|error| {
        let place = Place { line: error.line(), column: error.column() };
        format!("{place}: not JSON: {EXPECTED}")
    })?;
    if texts.len() > ENTRIES_MAX {
        return Err(format!("more than {ENTRIES_MAX} entries at once: send them in parts"));
    }
    let entries = texts.iter().zip(places(text, &texts)).map(|(text, place)| {
        let entry = read_one(text.get()).map_err(|what| format!("{place}: {what}"));
        entry.map(|entry| Placed { place, entry })
    });
    let entries: Vec<Placed> = entries.collect::<Result<_, String>>()?;
    each_once(&entries)?;
    Ok(entries)
}

/// Reads one entry, which is all that the text holds.
///
/// # Errors
/// A sentence that says what was expected.
pub(crate) fn read_one(text: &str) -> Result<Entry, String> {
    let brought: BroughtEntry =
        serde_json::from_str(text).map_err(|error| match error.classify() {
            Category::Data => EXPECTED.to_owned(),
            _ => format!("not JSON at column {}: {EXPECTED}", error.column()),
        })?;
    check_tags(&brought.tags)?;
    Ok(Entry {
        key: WrittenKey::new(brought.key)?,
        value: brought.value,
        ttl: brought.ttl.as_deref().map(duration::parse_ttl).transpose()?,
        tags: brought.tags,
    })
}

fn check_tags(tags: &[String]) -> Result<(), String> {
    if tags.len() > TAGS_MAX {
        return Err(format!("too many tags: expected at most {TAGS_MAX}"));
    }
    match tags.iter().find(|tag| tag.is_empty() || tag.len() > TAG_LEN_MAX) {
        Some(bad) => Err(format!("a tag of {} bytes: expected 1 to {TAG_LEN_MAX}", bad.len())),
        None => Ok(()),
    }
}

/// Entries are stored in no order: which of two would stay?
fn each_once(entries: &[Placed]) -> Result<(), String> {
    let mut seen = HashMap::with_capacity(entries.len());
    for Placed { place, entry } in entries {
        if let Some(first) = seen.insert(entry.key.as_str(), place) {
            return Err(format!("{place}: the key of {first} again: expected each key once"));
        }
    }
    Ok(())
}

/// The text of each entry; of more than are allowed, one too many.
fn split(text: &[u8]) -> serde_json::Result<Vec<&RawValue>> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => {
            let entries = reader.deserialize_seq(UpTo::<&RawValue>::most(ENTRIES_MAX))?;
            reader.end()?;
            Ok(entries)
        }
        _ => reader.into_iter::<&RawValue>().take(ENTRIES_MAX + 1).collect(),
    }
}

/// Where parts of a text begin, which come in their order.
fn places(text: &[u8], parts: &[&RawValue]) -> impl Iterator<Item = Place> {
    let (mut line, mut line_begins, mut seen) = (1, 0, 0);
    parts.iter().map(move |part| {
        let begins = part.get().as_ptr().addr() - text.as_ptr().addr();
        for (at, byte) in text[seen..begins].iter().enumerate() {
            if *byte == b'\n' {
                (line, line_begins) = (line + 1, seen + at + 1);
            }
        }
        seen = begins;
        Place { line, column: begins - line_begins + 1 }
    })
}

fn tags<'de, D: Deserializer<'de>>(reader: D) -> Result<Vec<String>, D::Error> {
    reader.deserialize_seq(UpTo::<String>::most(TAGS_MAX))
}

/// Reads one more item than is allowed, and passes over the rest.
struct UpTo<T> {
    most: usize,
    items: PhantomData<T>,
}

impl<T> UpTo<T> {
    fn most(most: usize) -> Self {
        Self { most, items: PhantomData }
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for UpTo<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while let Some(item) = items.next_element()? {
            kept.push(item);
            if kept.len() > self.most {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                break;
            }
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Result<Vec<String>, String> {
        let entries = read(text.as_bytes())?;
        Ok(entries.into_iter().map(|placed| placed.entry.key.as_str().to_owned()).collect())
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
    fn an_entry_knows_where_it_begins() {
        let one = r#"{"key": "a", "value": "ü\n"}"#;
        let two = r#"{"key": "b", "value": 1}"#;
        let three = "{\"key\": \"c\",\n\"value\": 1}";
        let text = format!("\n[{one},\n\n  {two},{three}]");
        let entries = read(text.as_bytes()).unwrap();
        let places: Vec<String> = entries.iter().map(|placed| placed.place.to_string()).collect();
        assert_eq!(places, ["line 2, column 2", "line 4, column 3", "line 4, column 28"]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_never_quoted() {
        let shape = "expected entries like";
        for (text, place, expected) in [
            (
                "[{\"key\": \"a\", \"value\": 1},\n{\"key\": 5, \"value\": 1}]",
                "line 2, column 1: ",
                shape,
            ),
            ("{\"key\": \"a\", \"value\": 1}\n {\"key\": \"secret\"}", "line 2, column 2: ", shape),
            (
                "{\"key\": \"a\", \"value\": 1}\n\n{\"key\": \"secret\", \"valu\": 1}",
                "line 3, column 1: ",
                shape,
            ),
            (
                "{\"key\": \"secret\", \"value\": 1}\n{\"key\": \"secret\", \"value\": 2}",
                "line 2, column 1: the key of line 1, column 1 again",
                "expected each key once",
            ),
            ("{\"key\": \"\", \"value\": 1}", "line 1, column 1: ", "expected segments"),
            (
                "{\"key\": \"a\", \"value\": 1, \"tags\": [\"\"]}",
                "line 1, column 1: ",
                "expected 1 to 128",
            ),
            ("[{\"key\": \"a\", \"value\": 1}] secret", "line 1, ", "not JSON"),
            ("\"secret\"", "line 1, column 1: ", shape),
            ("[\"secret\"]", "line 1, column 2: ", shape),
            ("[", "line 1, ", "not JSON"),
        ] {
            let error = keys(text).unwrap_err();
            assert!(error.starts_with(place) && error.contains(expected), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn too_many_are_refused() {
        let lines = |count: usize| -> String {
            (0..count).map(|n| format!("{{\"key\": \"{n}\", \"value\": 1}}\n")).collect()
        };
        assert_eq!(keys(&lines(ENTRIES_MAX)).unwrap().len(), ENTRIES_MAX);
        let more = lines(ENTRIES_MAX + 1);
        let array = format!("[{}]", more.trim_end().replace('\n', ","));
        for text in [more, array] {
            assert!(keys(&text).unwrap_err().contains("more than 10000 entries"), "{}", text.len());
        }
    }

    #[test]
    fn of_too_many_tags_no_more_are_kept_than_show_it() {
        let entry = |count: usize| {
            let tags = vec!["\"t\""; count].join(",");
            format!("{{\"key\": \"a\", \"value\": 1, \"tags\": [{tags}]}}")
        };
        assert_eq!(read_one(&entry(TAGS_MAX)).unwrap().tags.len(), TAGS_MAX);
        let many = entry(100_000);
        let brought: BroughtEntry = serde_json::from_str(&many).unwrap();
        assert_eq!(brought.tags.len(), TAGS_MAX + 1);
        let error = read_one(&many).map(|_| ()).unwrap_err();
        assert_eq!(error, "too many tags: expected at most 32");
    }
}
