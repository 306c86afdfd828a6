//! What an entry looks like in the store: a versioned header, then the payload.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0–3 | magic `F5 53 4E 57`: `F5` occurs in no UTF-8 text, so no JSON is mistaken for an envelope |
//! | 4 | version, 1 |
//! | 5 | format of the payload: 0 JSON |
//! | 6–7 | number of tags: 0 |
//! | 8–15 | nonce: random, at a fixed place so that a script can compare it |
//! | 16–23 | created at, milliseconds since the Unix epoch |
//! | 24–31 | fresh until, likewise |
//! | 32–39 | tag generation |
//! | 40–47 | tag sequence |
//! | 48– | the payload |
//!
//! Numbers are big-endian. A reader takes what it knows and rejects the rest: an unknown
//! version, an unknown format, tags that it could not check, or a cut header is a miss for the
//! caller, never an error.

use bytes::Bytes;

use super::clock::UnixMillis;

const MAGIC: [u8; 4] = [0xF5, b'S', b'N', b'W'];
const VERSION: u8 = 1;
const FORMAT_JSON: u8 = 0;
const HEADER_LEN: usize = 48;
const NONCE_AT: std::ops::Range<usize> = 8..16;

/// What tells one write of an entry from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nonce(pub(crate) [u8; 8]);

impl Nonce {
    pub(crate) fn random() -> Self {
        Self(fastrand::u64(..).to_be_bytes())
    }
}

/// The bytes where an entry has its nonce, of whatever is stored: fewer than eight when it is too short.
pub(crate) fn nonce_of(stored: &[u8]) -> &[u8] {
    let end = stored.len().min(NONCE_AT.end);
    &stored[NONCE_AT.start.min(end)..end]
}

/// An entry, opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope<'a> {
    pub(crate) nonce: Nonce,
    pub(crate) created_at: UnixMillis,
    pub(crate) fresh_until: UnixMillis,
    pub(crate) payload: &'a [u8],
}

/// Why stored bytes are not an entry that this version can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    NotAnEnvelope,
    Version(u8),
    Format(u8),
    Tagged,
    Cut,
}

impl<'a> Envelope<'a> {
    pub(crate) fn seal(&self) -> Bytes {
        let mut out = Vec::with_capacity(HEADER_LEN + self.payload.len());
        out.extend_from_slice(&MAGIC);
        out.push(VERSION);
        out.push(FORMAT_JSON);
        out.extend_from_slice(&0u16.to_be_bytes());
        out.extend_from_slice(&self.nonce.0);
        out.extend_from_slice(&self.created_at.0.to_be_bytes());
        out.extend_from_slice(&self.fresh_until.0.to_be_bytes());
        // Tag generation and sequence: no tags yet.
        out.extend_from_slice(&[0; 16]);
        out.extend_from_slice(self.payload);
        out.into()
    }

    pub(crate) fn open(stored: &'a [u8]) -> Result<Self, Unreadable> {
        if stored.get(..4) != Some(&MAGIC) {
            return Err(Unreadable::NotAnEnvelope);
        }
        if stored.len() < HEADER_LEN {
            return Err(Unreadable::Cut);
        }
        if stored[4] != VERSION {
            return Err(Unreadable::Version(stored[4]));
        }
        if stored[5] != FORMAT_JSON {
            return Err(Unreadable::Format(stored[5]));
        }
        if stored[6..8] != [0, 0] {
            return Err(Unreadable::Tagged);
        }
        Ok(Self {
            nonce: Nonce(u64_at(stored, 8).to_be_bytes()),
            created_at: UnixMillis(u64_at(stored, 16)),
            fresh_until: UnixMillis(u64_at(stored, 24)),
            payload: &stored[HEADER_LEN..],
        })
    }
}

fn u64_at(stored: &[u8], at: usize) -> u64 {
    stored[at..at + 8].iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Version 1 as it ships. This file is never changed, only joined by others.
    const GOLDEN_V1: &[u8] = include_bytes!("../../tests/golden/envelope-v1.bin");

    fn example() -> Envelope<'static> {
        Envelope {
            nonce: Nonce(*b"\x01\x02\x03\x04\x05\x06\x07\x08"),
            created_at: UnixMillis(1_763_700_000_123),
            fresh_until: UnixMillis(1_763_700_300_123),
            payload: br#"{"id":456,"address":"1 Elm St"}"#,
        }
    }

    #[test]
    fn version_1_reads_and_writes_the_golden_bytes() {
        assert_eq!(example().seal(), GOLDEN_V1);
        assert_eq!(Envelope::open(GOLDEN_V1), Ok(example()));
    }

    #[test]
    fn what_is_not_ours_is_named() {
        let open = |bytes: &[u8]| Envelope::open(bytes).unwrap_err();
        assert_eq!(open(b""), Unreadable::NotAnEnvelope);
        assert_eq!(open(br#"{"a":1}"#), Unreadable::NotAnEnvelope);
        assert_eq!(open(&GOLDEN_V1[..HEADER_LEN - 1]), Unreadable::Cut);
        let mut newer = GOLDEN_V1.to_vec();
        newer[4] = 9;
        assert_eq!(open(&newer), Unreadable::Version(9));
        let mut packed = GOLDEN_V1.to_vec();
        packed[5] = 7;
        assert_eq!(open(&packed), Unreadable::Format(7));
        let mut tagged = GOLDEN_V1.to_vec();
        tagged[7] = 1;
        assert_eq!(open(&tagged), Unreadable::Tagged);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..80), ours: bool) {
            let mut bytes = bytes;
            if ours {
                bytes.splice(..bytes.len().min(6), [0xF5, b'S', b'N', b'W', 1, 0]);
            }
            let _ = Envelope::open(&bytes);
            let _ = nonce_of(&bytes);
        }
    }
}
