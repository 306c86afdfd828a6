//! Keys as they are written outside of Rust.

use percent_encoding::percent_decode_str;
use sinew::{CacheKey, Segments};

/// A key as it is written outside of Rust: segments between colons, so that
/// `456:payments:list` names the entry of a Rust service's `(456, "payments", "list")`.
pub(crate) struct WrittenKey(pub(crate) String);

impl CacheKey for WrittenKey {
    fn segments(&self, into: &mut Segments<'_>) {
        for segment in self.0.split(':') {
            into.push(segment);
        }
    }
}

/// A key that the store shows, as it is written. One that cannot be written, because a segment of
/// a Rust service's key holds a colon, stays as the store shows it.
pub(crate) fn as_written(stored: &str) -> String {
    decoded(stored).unwrap_or_else(|| stored.to_owned())
}

fn decoded(stored: &str) -> Option<String> {
    let segment = |text: &str| {
        let text = percent_decode_str(text).decode_utf8().ok()?.into_owned();
        (!text.contains(':')).then_some(text)
    };
    let segments: Option<Vec<String>> = stored.split(':').map(segment).collect();
    Some(segments?.join(":"))
}

#[cfg(test)]
mod tests {
    use super::as_written;

    #[test]
    fn a_stored_key_is_shown_as_it_is_written() {
        assert_eq!(as_written("456:payments:list"), "456:payments:list");
        assert_eq!(as_written("a%20b:50%25"), "a b:50%");
        assert_eq!(as_written("a::b:"), "a::b:");
        assert_eq!(as_written("a%3Ab"), "a%3Ab", "it would name another entry");
        assert_eq!(as_written("%FF"), "%FF", "no one wrote that");
    }
}
