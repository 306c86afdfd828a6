//! A short key in a few machine words: what a map in this process hashes and compares with every hit,
//! where writing the text of a key would cost more than finding its entry.

use std::fmt::{self, Write as _};
use std::hash::{Hash, Hasher};

use super::key::{CacheKey, Form, Segments};

const WORDS: usize = 5;
const BYTES: usize = WORDS * 8;
/// In the header, for a segment that is a number; text has its length and one.
const NUMBER: u64 = 0xFF;

/// The segments of a key. Two that are equal were written from equal segments.
///
/// A number is a word, and text as many as it fills, the last padded with noughts. The header tells
/// where one segment ends and the next begins: a byte for each, and in its lowest the number of words.
#[derive(Clone, Copy, Debug, Eq)]
pub(crate) struct Packed {
    header: u64,
    words: [u64; WORDS],
}

/// In the header of what does not fit.
const TOO_LONG: u64 = u64::MAX;

impl Packed {
    /// `None` for a key of more than seven segments or about forty bytes, and for one without any.
    #[inline]
    pub(crate) fn of<K: CacheKey + ?Sized>(key: &K) -> Option<Self> {
        let mut packed = Self { header: 0, words: [0; WORDS] };
        key.segments(&mut Segments(Form::Packed(&mut packed)));
        (packed.header != 0 && packed.header != TOO_LONG).then_some(packed)
    }

    #[inline]
    pub(super) fn number(&mut self, number: u64) {
        let used = self.used();
        if self.add(NUMBER, 1) {
            self.words[used] = number;
        }
    }

    #[inline]
    pub(super) fn text(&mut self, text: &[u8]) {
        let used = self.used();
        if text.len() <= BYTES && self.add(text.len() as u64 + 1, text.len().div_ceil(8)) {
            for (word, bytes) in self.words[used..].iter_mut().zip(text.chunks(8)) {
                let mut padded = [0; 8];
                padded[..bytes.len()].copy_from_slice(bytes);
                *word = u64::from_le_bytes(padded);
            }
        } else {
            self.header = TOO_LONG;
        }
    }

    pub(super) fn display(&mut self, segment: &impl fmt::Display) {
        let mut room = Room { bytes: [0; BYTES], len: 0 };
        match write!(room, "{segment}") {
            Ok(()) => self.text(&room.bytes[..room.len]),
            Err(_) => self.header = TOO_LONG,
        }
    }

    #[inline]
    fn used(&self) -> usize {
        (self.header & 0xFF) as usize
    }

    /// Whether there is room for a segment, which then is in the header.
    #[inline]
    fn add(&mut self, kind: u64, words: usize) -> bool {
        let used = self.used() + words;
        let fits = self.header >> 56 == 0 && used <= WORDS;
        self.header = match fits {
            true => (self.header & !0xFF | kind) << 8 | used as u64,
            false => TOO_LONG,
        };
        fits
    }
}

impl CacheKey for Packed {
    /// The segments that it was packed from.
    fn segments(&self, into: &mut Segments<'_>) {
        let mut words = self.words.iter();
        let kinds = self.header.to_be_bytes();
        for kind in kinds[..7].iter().filter(|kind| **kind != 0) {
            if u64::from(*kind) == NUMBER {
                words.next().copied().unwrap_or_default().segments(into);
                continue;
            }
            let (len, mut bytes) = (usize::from(*kind) - 1, [0; BYTES]);
            for (place, word) in bytes.chunks_mut(8).zip(words.by_ref().take(len.div_ceil(8))) {
                place.copy_from_slice(&word.to_le_bytes());
            }
            // It was text.
            std::str::from_utf8(&bytes[..len]).unwrap_or_default().segments(into);
        }
    }
}

impl PartialEq for Packed {
    /// Without the branches, or the call, of comparing arrays.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let words = self.words.iter().zip(&other.words);
        words.fold(self.header ^ other.header, |differences, (a, b)| differences | (a ^ b)) == 0
    }
}

impl Hash for Packed {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.header);
        for word in &self.words[..self.used()] {
            state.write_u64(*word);
        }
    }
}

/// Where a segment is written that has nothing but its `Display`.
struct Room {
    bytes: [u8; BYTES],
    len: usize,
}

impl fmt::Write for Room {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    enum Segment {
        Number(u64),
        Negative(i64),
        Text(String),
        Display(String),
    }

    struct Path<'a>(&'a [Segment]);

    impl CacheKey for Path<'_> {
        fn segments(&self, into: &mut Segments<'_>) {
            for segment in self.0 {
                match segment {
                    Segment::Number(number) => number.segments(into),
                    Segment::Negative(number) => number.segments(into),
                    Segment::Text(text) => text.segments(into),
                    Segment::Display(text) => into.push(format_args!("{text}")),
                }
            }
        }
    }

    fn path() -> impl Strategy<Value = Vec<Segment>> {
        // Few letters, noughts and lengths about a word, so that near-collisions are common.
        let text = || "[a\\x00\\x01:]{0,9}";
        let segment = prop_oneof![
            prop_oneof![0..3_u64, Just(u64::MAX), Just(0x61)].prop_map(Segment::Number),
            (-2..0_i64).prop_map(Segment::Negative),
            text().prop_map(Segment::Text),
            text().prop_map(Segment::Display),
        ];
        prop::collection::vec(segment, 1..4)
    }

    /// Its segments, taken apart again: a number as its bytes, and text as what it is.
    fn taken_apart(packed: &Packed) -> Vec<(bool, Vec<u8>)> {
        let kinds = packed.header.to_be_bytes();
        let mut words = packed.words.iter();
        let mut taken = Vec::new();
        for kind in kinds[..7].iter().skip_while(|kind| **kind == 0) {
            let is_number = u64::from(*kind) == NUMBER;
            let len = if is_number { 8 } else { usize::from(*kind) - 1 };
            let words = words.by_ref().take(len.div_ceil(8));
            let bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
            assert!(bytes[len..].iter().all(|byte| *byte == 0), "padding");
            taken.push((is_number, bytes[..len].to_vec()));
        }
        assert!(words.all(|word| *word == 0), "words that are not used");
        taken
    }

    proptest! {
        /// What can be taken apart again was put together injectively.
        #[test]
        fn a_packed_key_says_what_it_was_packed_from(path in path()) {
            let Some(packed) = Packed::of(&Path(&path)) else { return Ok(()) };
            let expected: Vec<(bool, Vec<u8>)> = path.iter().map(|segment| match segment {
                Segment::Number(number) => (true, number.to_le_bytes().to_vec()),
                Segment::Negative(number) => (false, number.to_string().into_bytes()),
                Segment::Text(text) | Segment::Display(text) => (false, text.clone().into_bytes()),
            }).collect();
            prop_assert_eq!(taken_apart(&packed), expected);
        }
    }

    #[test]
    fn what_fits_is_packed_and_what_does_not_is_not() {
        assert!(Packed::of("x".repeat(40).as_str()).is_some());
        assert_eq!(Packed::of("x".repeat(41).as_str()), None);
        assert!(Packed::of(&Path(&vec![Segment::Number(1); 5])).is_some());
        assert_eq!(Packed::of(&Path(&vec![Segment::Number(1); 6])), None);
        let empty = |count| vec![Segment::Text(String::new()); count];
        assert!(Packed::of(&Path(&empty(7))).is_some());
        assert_eq!(Packed::of(&Path(&empty(8))), None);
        assert_eq!(Packed::of(&Path(&[])), None);
        assert_eq!(Packed::of(&Path(&[Segment::Display("x".repeat(41))])), None);
        let late = [Segment::Text("x".repeat(41)), Segment::Number(1)];
        assert_eq!(Packed::of(&Path(&late)), None, "what follows does not bring it back");
    }
}
