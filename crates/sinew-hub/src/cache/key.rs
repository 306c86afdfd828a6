//! Keys as they are written outside of Rust.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use sinew::{CacheKey, Segments};

/// A key as it is written outside of Rust: segments between colons, so that
/// `456:payments:list` names the entry of a Rust service's `(456, "payments", "list")`. A colon that
/// is a part of a segment is written `%3A`, and a percent sign before `3A` or `25` is written `%25`.
pub(crate) struct WrittenKey(String);

impl WrittenKey {
    /// # Errors
    /// A sentence that says what was expected.
    pub(crate) fn new(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        // A URL would swallow the other two.
        match text.as_str() {
            "" | "." | ".." => Err(format!(
                "invalid key {text:?}: expected segments between colons, like 456:payments:list"
            )),
            _ => Ok(Self(text)),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The text of each segment.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.0.split(':').map(meant)
    }
}

impl CacheKey for WrittenKey {
    fn segments(&self, into: &mut Segments<'_>) {
        for part in self.parts() {
            into.push(part);
        }
    }
}

/// The text of a segment as it is written.
fn meant(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    let (mut text, mut rest) = (String::with_capacity(segment.len()), segment);
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        let (sign, len) = match rest.get(at + 1..at + 3) {
            Some("3A" | "3a") => (':', 3),
            Some("25") => ('%', 3),
            _ => ('%', 1),
        };
        text.push(sign);
        rest = &rest[at + len..];
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// The other way round.
fn written(text: &str) -> String {
    let (mut segment, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find([':', '%']) {
        segment.push_str(&rest[..at]);
        let is_misread = matches!(rest.get(at + 1..at + 3), Some("3A" | "3a" | "25"));
        segment.push_str(match (rest.as_bytes()[at], is_misread) {
            (b':', _) => "%3A",
            (_, true) => "%25",
            (_, false) => "%",
        });
        rest = &rest[at + 1..];
    }
    segment.push_str(rest);
    segment
}

/// A key that the store shows, as it is written. One that no one wrote stays as the store shows it.
pub(crate) fn as_written(stored: &str) -> String {
    decoded(stored).unwrap_or_else(|| stored.to_owned())
}

fn decoded(stored: &str) -> Option<String> {
    let segment = |text: &str| {
        let text = percent_decode_str(text).decode_utf8().ok()?;
        Some(written(&text))
    };
    let segments: Option<Vec<String>> = stored.split(':').map(segment).collect();
    Some(segments?.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_a_url_cannot_name_is_none() {
        for bad in ["", ".", ".."] {
            let error = WrittenKey::new(bad).map(|_| ()).unwrap_err();
            assert!(error.contains("expected segments between colons"), "{error}");
        }
        for good in [":", "a", "...", "456:payments:list"] {
            assert_eq!(WrittenKey::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn what_is_shown_of_any_segment_names_it() {
        for text in
            ["a:b", "127.0.0.1:80", "%3A", "%253A", "50%", "%25", "%2", "%", "a%3", ":", "é%3aé"]
        {
            let shown = written(text);
            assert!(!shown.contains(':'), "{shown}: a separator");
            assert_eq!(meant(&shown), text, "{shown}");
        }
    }

    #[test]
    fn a_stored_key_is_shown_as_it_is_written() {
        assert_eq!(as_written("456:payments:list"), "456:payments:list");
        assert_eq!(as_written("a%20b:50%25"), "a b:50%");
        assert_eq!(as_written("a::b:"), "a::b:");
        assert_eq!(as_written("a%3Ab"), "a%3Ab", "it is no separator");
        assert_eq!(as_written("a%253Ab"), "a%253Ab", "nor is this a colon");
        assert_eq!(as_written("%FF"), "%FF", "no one wrote that");
    }
}
