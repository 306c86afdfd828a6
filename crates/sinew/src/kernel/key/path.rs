//! The part of a key that a map in this process goes by.

use std::fmt;

use super::{CacheKey, Encoder, Form, KEY_LEN_MAX, Segments};
use crate::kernel::packed::Packed;

/// The segments of a key that may never be written: in a few words where they fit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Path {
    Packed(Packed),
    Text(Box<str>),
}

impl Path {
    #[inline]
    pub(crate) fn of<K: CacheKey + ?Sized>(key: &K) -> Self {
        match Packed::of(key) {
            Some(packed) => Self::Packed(packed),
            None => Self::written(key),
        }
    }

    /// Of a key that is too long, only so much that it shows.
    fn written<K: CacheKey + ?Sized>(key: &K) -> Self {
        let mut text = String::new();
        key.segments(&mut Segments(Form::Start(&mut text)));
        Self::Text(text.into())
    }

    pub(crate) fn text_len(&self) -> usize {
        match self {
            Self::Packed(_) => 0,
            Self::Text(text) => text.len(),
        }
    }

    pub(super) fn write(&self, into: &mut String) {
        match self {
            Self::Packed(packed) => packed.segments(&mut Segments(Form::Text(into))),
            Self::Text(text) => into.push_str(text),
        }
    }
}

/// Writes no more than shows that it is too long: what strangers send may be of any length.
pub(super) struct Start<'a>(pub(super) &'a mut String);

impl fmt::Write for Start<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = (KEY_LEN_MAX + 1).saturating_sub(self.0.len());
        let mut boundaries = text.char_indices().map(|(at, _)| at);
        let end = boundaries.find(|at| *at >= room).unwrap_or(text.len());
        Encoder(self.0).write_str(&text[..end])?;
        if self.0.len() > KEY_LEN_MAX { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_path_that_is_too_long_no_more_is_written_than_shows_it() {
        let plain = "x".repeat(1 << 20);
        let special = "é:".repeat(1 << 19);
        for text in [plain.as_str(), special.as_str()] {
            for len in [Path::of(text).text_len(), Path::of(&(1, text, text, 7)).text_len()] {
                assert!((KEY_LEN_MAX + 1..4 * KEY_LEN_MAX).contains(&len), "{len}");
            }
        }
        let longest = "x".repeat(KEY_LEN_MAX - 1);
        assert_eq!(Path::of(longest.as_str()).text_len(), KEY_LEN_MAX, "all of it, and a colon");
    }
}
