//! What an entry looks like in the store: a versioned header, its tags, then the payload.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0–3 | magic `F5 53 4E 57`: `F5` occurs in no UTF-8 text, so no JSON is mistaken for an envelope |
//! | 4 | version, 2 |
//! | 5 | coding of the payload: 0 is plain JSON |
//! | 6 | flags: 1 kept past its freshness · 2 expired by hand · 4 absent · 8 tagged |
//! | 7 | number of tags |
//! | 8–15 | nonce: random, at a fixed place so that a script can compare it |
//! | 16–23 | created at, milliseconds since the Unix epoch |
//! | 24–31 | fresh until, likewise |
//! | 32–39 | tag generation |
//! | 40–47 | tag sequence |
//! | 48–51 | milliseconds that the load took |
//! | 52– | each tag as its length, a byte, and its bytes; then the payload |
//!
//! Numbers are big-endian. Version 1 ended at byte 48, had bytes 6 and 7 zero and JSON only; it is
//! still read. A reader takes what it knows and rejects the rest: an unknown version or flag or a
//! cut header is a miss for the caller, never an error.

use bytes::Bytes;

use super::clock::UnixMillis;

const MAGIC: [u8; 4] = [0xF5, b'S', b'N', b'W'];
const VERSION: u8 = 2;
const HEADER_LEN_V1: usize = 48;
const HEADER_LEN: usize = 52;
const NONCE_AT: std::ops::Range<usize> = 8..16;

const KEPT: u8 = 1;
const EXPIRED: u8 = 2;
const ABSENT: u8 = 4;
const TAGGED: u8 = 8;

/// The longest tag, in bytes.
pub(crate) const TAG_LEN_MAX: usize = 128;
/// So many tags an entry can have.
pub(crate) const TAGS_MAX: usize = 32;

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

/// How long an entry is of use, by the clock of whoever wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) created_at: UnixMillis,
    pub(crate) fresh_until: UnixMillis,
    /// Milliseconds that its load took.
    pub(crate) load_ms: u32,
    /// It stays in the store after that, to be served when nothing better can be had. Otherwise the
    /// store's own expiry says how long it lives.
    pub(crate) kept: bool,
    /// Someone has said that it is out of date.
    pub(crate) expired: bool,
}

/// The counters of a cache's tags when an entry was about to be loaded, and the tags it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tagging {
    pub(crate) generation: [u8; 8],
    pub(crate) sequence: u64,
    pub(crate) tags: Vec<Box<str>>,
}

/// An entry, opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope<'a> {
    pub(crate) nonce: Nonce,
    pub(crate) coding: u8,
    pub(crate) life: Life,
    /// `None` for an entry of a cache without tags.
    pub(crate) tagging: Option<Tagging>,
    /// The source has no such thing.
    pub(crate) absent: bool,
    pub(crate) payload: &'a [u8],
}

/// Why stored bytes are not an entry that this version can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    NotAnEnvelope,
    Version(u8),
    Flags(u8),
    Cut,
}

impl<'a> Envelope<'a> {
    pub(crate) fn seal(&self) -> Bytes {
        let mut out = Vec::with_capacity(HEADER_LEN + self.payload.len());
        out.extend_from_slice(&MAGIC);
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        let flags = flag(self.life.kept, KEPT)
            | flag(self.life.expired, EXPIRED)
            | flag(self.absent, ABSENT)
            | flag(self.tagging.is_some(), TAGGED);
        let tagging = self.tagging.as_ref();
        let tags = tagging.map_or(&[][..], |tagging| &tagging.tags);
        // Whoever names tags has counted them.
        let tag_count = u8::try_from(tags.len()).unwrap_or(u8::MAX);
        out.extend_from_slice(&[VERSION, self.coding, flags, tag_count]);
        out.extend_from_slice(&self.nonce.0);
        out.extend_from_slice(&self.life.created_at.0.to_be_bytes());
        out.extend_from_slice(&self.life.fresh_until.0.to_be_bytes());
        out.extend_from_slice(&tagging.map_or([0; 8], |tagging| tagging.generation));
        out.extend_from_slice(&tagging.map_or(0, |tagging| tagging.sequence).to_be_bytes());
        out.extend_from_slice(&self.life.load_ms.to_be_bytes());
        for tag in tags {
            out.push(u8::try_from(tag.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(tag.as_bytes());
        }
        out.extend_from_slice(self.payload);
        out.into()
    }

    pub(crate) fn open(stored: &'a [u8]) -> Result<Self, Unreadable> {
        if stored.get(..4) != Some(&MAGIC) {
            return Err(Unreadable::NotAnEnvelope);
        }
        let version = *stored.get(4).ok_or(Unreadable::Cut)?;
        let header_len = match version {
            1 => HEADER_LEN_V1,
            VERSION => HEADER_LEN,
            other => return Err(Unreadable::Version(other)),
        };
        if stored.len() < header_len {
            return Err(Unreadable::Cut);
        }
        let (coding, flags, tag_count) = (stored[5], stored[6], stored[7]);
        let known = if version == 1 { 0 } else { KEPT | EXPIRED | ABSENT | TAGGED };
        let is_tagged = flags & TAGGED != 0;
        if flags & !known != 0 || (tag_count > 0 && !is_tagged) {
            return Err(Unreadable::Flags(flags));
        }
        let mut rest = &stored[header_len..];
        let mut tags = Vec::new();
        for _ in 0..tag_count {
            let (tag, after) = tag_of(rest).ok_or(Unreadable::Cut)?;
            tags.push(tag.into());
            rest = after;
        }
        let load_ms = if version == 1 { 0 } else { (u64_at(stored, 44) & 0xFFFF_FFFF) as u32 };
        Ok(Self {
            nonce: Nonce(u64_at(stored, 8).to_be_bytes()),
            coding,
            life: Life {
                created_at: UnixMillis(u64_at(stored, 16)),
                fresh_until: UnixMillis(u64_at(stored, 24)),
                load_ms,
                kept: flags & KEPT != 0,
                expired: flags & EXPIRED != 0,
            },
            tagging: is_tagged.then(|| Tagging {
                generation: u64_at(stored, 32).to_be_bytes(),
                sequence: u64_at(stored, 40),
                tags,
            }),
            absent: flags & ABSENT != 0,
            payload: rest,
        })
    }
}

fn tag_of(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (len, rest) = bytes.split_first()?;
    let (tag, rest) = rest.split_at_checked(usize::from(*len))?;
    Some((std::str::from_utf8(tag).ok()?, rest))
}

fn u64_at(stored: &[u8], at: usize) -> u64 {
    stored[at..at + 8].iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As each version ships. These files are never changed, only joined by others.
    const GOLDEN_V1: &[u8] = include_bytes!("../../tests/golden/envelope-v1.bin");
    const GOLDEN_V2: &[u8] = include_bytes!("../../tests/golden/envelope-v2.bin");

    fn of_version_1() -> Envelope<'static> {
        Envelope {
            nonce: Nonce(*b"\x01\x02\x03\x04\x05\x06\x07\x08"),
            coding: 0,
            life: Life {
                created_at: UnixMillis(1_763_700_000_123),
                fresh_until: UnixMillis(1_763_700_300_123),
                load_ms: 0,
                kept: false,
                expired: false,
            },
            tagging: None,
            absent: false,
            payload: br#"{"id":456,"address":"1 Elm St"}"#,
        }
    }

    fn of_version_2() -> Envelope<'static> {
        let life = Life { load_ms: 1_234, kept: true, ..of_version_1().life };
        let tagging = Tagging {
            generation: *b"gen.8byt",
            sequence: 77,
            tags: vec!["team:7".into(), "é".into()],
        };
        Envelope { life, tagging: Some(tagging), coding: 0, ..of_version_1() }
    }

    #[test]
    fn version_1_is_read_from_its_golden_bytes() {
        assert_eq!(Envelope::open(GOLDEN_V1), Ok(of_version_1()));
    }

    #[test]
    fn version_2_reads_and_writes_the_golden_bytes() {
        assert_eq!(of_version_2().seal(), GOLDEN_V2);
        assert_eq!(Envelope::open(GOLDEN_V2), Ok(of_version_2()));
    }

    #[test]
    fn what_is_not_ours_is_named() {
        let open = |bytes: &[u8]| Envelope::open(bytes).unwrap_err();
        assert_eq!(open(b""), Unreadable::NotAnEnvelope);
        assert_eq!(open(br#"{"a":1}"#), Unreadable::NotAnEnvelope);
        assert_eq!(open(&MAGIC), Unreadable::Cut);
        assert_eq!(open(&GOLDEN_V1[..HEADER_LEN_V1 - 1]), Unreadable::Cut);
        assert_eq!(open(&GOLDEN_V2[..HEADER_LEN - 1]), Unreadable::Cut);
        assert_eq!(open(&GOLDEN_V2[..HEADER_LEN + 3]), Unreadable::Cut, "in the middle of a tag");
        let changed = |golden: &[u8], at: usize, to: u8| {
            let mut bytes = golden.to_vec();
            bytes[at] = to;
            open(&bytes)
        };
        assert_eq!(changed(GOLDEN_V2, 4, 9), Unreadable::Version(9));
        assert_eq!(changed(GOLDEN_V2, 6, 128), Unreadable::Flags(128));
        assert_eq!(changed(GOLDEN_V2, 6, KEPT), Unreadable::Flags(KEPT), "tags, and not tagged");
        assert_eq!(changed(GOLDEN_V1, 6, KEPT), Unreadable::Flags(KEPT));
        assert_eq!(changed(GOLDEN_V1, 7, 1), Unreadable::Flags(0));
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_as_it_was(
            times in prop::array::uniform2(any::<u64>()), load_ms: u32, kept: bool, expired: bool,
            nonce: [u8; 8], coding: u8, sequence: u64,
            tags in prop::option::of(prop::collection::vec("[a-zé]{0,9}", 0..TAGS_MAX)),
            payload in prop::collection::vec(any::<u8>(), 0..40), absent: bool,
        ) {
            let [created_at, fresh_until] = times.map(UnixMillis);
            let tags = tags.map(|tags| tags.into_iter().map(String::into_boxed_str).collect());
            let envelope = Envelope {
                nonce: Nonce(nonce),
                coding,
                life: Life { created_at, fresh_until, load_ms, kept, expired },
                tagging: tags.map(|tags| Tagging { generation: nonce, sequence, tags }),
                absent,
                payload: &payload,
            };
            let sealed = envelope.seal();
            prop_assert_eq!(Envelope::open(&sealed), Ok(envelope));
        }

        #[test]
        fn no_bytes_panic_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..90), ours in 0..3u8) {
            let mut bytes = bytes;
            if ours > 0 {
                bytes.splice(..bytes.len().min(5), [0xF5, b'S', b'N', b'W', ours]);
            }
            let _ = Envelope::open(&bytes);
            let _ = nonce_of(&bytes);
        }
    }
}
