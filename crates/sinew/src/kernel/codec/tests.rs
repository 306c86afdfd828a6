//! What holds for every format, compression and keyring together.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::coding::{Algorithm, Layout};
use super::*;
use crate::kernel::error::ErrorKind;

const KEY: &str = "Billing_acme:user:7";
const LEN_MAX: usize = 1 << 20;
const FORMATS: [Format; 4] =
    [Format::Json, Format::MessagePack, Format::Postcard, Format::PlainJson];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    id: u64,
    #[serde(default)]
    delta: i32,
    name: String,
    bytes: Vec<u8>,
    initial: Option<char>,
    counts: BTreeMap<String, i64>,
    units: Vec<()>,
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(u32),
    Line(i8, String),
    Group { members: Vec<Shape>, label: Option<Box<Shape>> },
}

/// The smallest type that can nest without end.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Deep {
    End,
    Down(Box<Deep>),
}

fn deep(levels: usize) -> Deep {
    (0..levels).fold(Deep::End, |inner, _| Deep::Down(Box::new(inner)))
}

fn shape() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        Just(Shape::Point),
        any::<u32>().prop_map(Shape::Circle),
        (any::<i8>(), ".{0,5}").prop_map(|(at, name)| Shape::Line(at, name)),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        (prop::collection::vec(inner.clone(), 0..3), prop::option::of(inner))
            .prop_map(|(members, label)| Shape::Group { members, label: label.map(Box::new) })
    })
}

fn sample() -> impl Strategy<Value = Sample> {
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    let counts = prop::collection::btree_map("[a-z]{1,8}", any::<i64>(), 0..5);
    let named = (any::<u64>(), any::<i32>(), ".{0,40}", prop::option::of(any::<char>()));
    (named, bytes, counts, 0..5_usize, shape()).prop_map(|(named, bytes, counts, units, shape)| {
        let (id, delta, name, initial) = named;
        Sample { id, delta, name, bytes, initial, counts, units: vec![(); units], shape }
    })
}

fn keyring() -> Keyring {
    Keyring::new(1, [1; 32])
}

/// Every codec there is.
fn codecs() -> Vec<Codec> {
    let compressions =
        [None, Some(Compression::lz4().above(0)), Some(Compression::zstd().above(0))];
    let mut codecs = Vec::new();
    for format in FORMATS {
        for compression in compressions {
            for keyring in [None, Some(keyring())] {
                let mut codec = Codec::new(format, LEN_MAX);
                codec.compression = compression;
                codec.keyring = keyring;
                codecs.extend(codec.check());
            }
        }
    }
    codecs
}

fn corrupt<V: std::fmt::Debug>(read: Result<V>) -> String {
    let error = read.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    error.to_string()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_value_comes_back_and_any_cache_reads_it(value in sample()) {
        for codec in codecs() {
            let (payload, coding) = codec.encode(&value, KEY).unwrap();
            let coding = Coding::from_byte(coding.to_byte()).unwrap();
            prop_assert_eq!(codec.decode::<Sample>(&payload, coding, KEY).unwrap().0, value.clone());
            // Its reader may be set to write otherwise.
            let mut other = Codec::new(Format::Json, LEN_MAX);
            other.keyring = codec.keyring.clone();
            prop_assert_eq!(other.decode::<Sample>(&payload, coding, KEY).unwrap().0, value.clone());
        }
    }

    #[test]
    fn a_flipped_bit_does_not_open(value in sample(), at: prop::sample::Index, bit in 0..8_u32) {
        let codec = Codec::new(Format::Postcard, LEN_MAX).with_keyring(keyring());
        let (mut payload, coding) = codec.encode(&value, KEY).unwrap();
        let at = at.index(payload.len());
        payload[at] ^= 1 << bit;
        corrupt(codec.decode::<Sample>(&payload, coding, KEY));
    }

    #[test]
    fn no_bytes_panic_the_reader(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        value in sample(),
        at: prop::sample::Index,
    ) {
        let plain = Codec::new(Format::Json, LEN_MAX);
        for coding in (0..=u8::MAX).filter_map(Coding::from_byte) {
            for codec in [plain.clone(), plain.clone().with_keyring(keyring())] {
                let _ = codec.decode::<Sample>(&bytes, coding, KEY);
                let _ = codec.decode::<Deep>(&bytes, coding, KEY);
                let _ = codec.decode::<serde_json::Value>(&bytes, coding, KEY);
            }
        }
        // Damaged in one place, it gets further.
        for codec in codecs().into_iter().filter(|codec| !codec.encrypts()) {
            let (mut payload, coding) = codec.encode(&value, KEY).unwrap();
            let at = at.index(payload.len());
            payload[at] ^= bytes.first().copied().unwrap_or(0xFF);
            let _ = plain.decode::<Sample>(&payload, coding, KEY);
        }
    }
}

#[test]
fn golden_payloads_read_and_write() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct User {
        id: u8,
        name: String,
    }
    let user = User { id: 7, name: "Ada".to_owned() };
    let golden: [(Format, Layout, &[u8]); 4] = [
        (Format::Json, Layout::Json, br#"{"id":7,"name":"Ada"}"#),
        (Format::PlainJson, Layout::Json, br#"{"id":7,"name":"Ada"}"#),
        (Format::MessagePack, Layout::MessagePack, b"\x82\xA2id\x07\xA4name\xA3Ada"),
        (Format::Postcard, Layout::Postcard, b"\x07\x03Ada"),
    ];
    for (format, layout, bytes) in golden {
        let codec = Codec::new(format, LEN_MAX);
        let coding = Coding { layout, ..Coding::JSON };
        assert_eq!(codec.encode(&user, KEY).unwrap(), (bytes.to_vec(), coding));
        assert_eq!(codec.decode::<User>(bytes, coding, KEY).unwrap().0, user);
        let longer = [bytes, b"\0"].concat();
        corrupt(codec.decode::<User>(&longer, coding, KEY));
    }
}

#[test]
fn a_value_copied_under_another_key_does_not_open() {
    let codec = Codec::new(Format::Json, LEN_MAX).with_keyring(keyring());
    let (payload, coding) = codec.encode(&7_u8, KEY).unwrap();
    assert_eq!(codec.decode::<u8>(&payload, coding, KEY).unwrap().0, 7);
    corrupt(codec.decode::<u8>(&payload, coding, "Billing_other:user:7"));
    // Nor does it under another coding.
    let otherwise = Coding { layout: Layout::Postcard, ..coding };
    corrupt(codec.decode::<u8>(&payload, otherwise, KEY));
    let otherwise = Coding { compressed: Some(Algorithm::Lz4), ..coding };
    corrupt(codec.decode::<u8>(&payload, otherwise, KEY));
}

#[test]
fn an_old_key_reads_and_the_newest_writes() {
    let codec = |keyring| Codec::new(Format::Json, LEN_MAX).with_keyring(keyring);
    let (old, new) = (codec(keyring()), codec(keyring().rotated(2, [2; 32])));
    let (payload, coding) = old.encode(&7_u8, KEY).unwrap();
    assert_eq!(new.decode::<u8>(&payload, coding, KEY).unwrap().0, 7);

    let (payload, coding) = new.encode(&7_u8, KEY).unwrap();
    assert_eq!(payload[..4], [0, 0, 0, 2]);
    let unknown = corrupt(old.decode::<u8>(&payload, coding, KEY));
    assert_eq!(unknown, "encrypted with key 2, which the keyring does not have");
    let same_id = codec(Keyring::new(2, [3; 32]));
    corrupt(same_id.decode::<u8>(&payload, coding, KEY));
}

#[test]
fn what_is_not_encrypted_is_not_taken_for_it_nor_the_reverse() {
    let plain = Codec::new(Format::Json, LEN_MAX);
    let encrypted = plain.clone().with_keyring(keyring());
    let (payload, coding) = plain.encode(&7_u8, KEY).unwrap();
    let planted = corrupt(encrypted.decode::<u8>(&payload, coding, KEY));
    assert_eq!(planted, "the entry is not encrypted, and this cache has a keyring");
    let (payload, coding) = encrypted.encode(&7_u8, KEY).unwrap();
    let sealed = corrupt(plain.decode::<u8>(&payload, coding, KEY));
    assert_eq!(sealed, "the entry is encrypted, and this cache has no keyring");
}

#[test]
fn the_limit_is_on_the_value_before_compression() {
    let codec = Codec::new(Format::Json, 100).with_compression(Compression::zstd().above(0));
    assert!(codec.encode(&"a".repeat(98), KEY).is_ok());
    let error = codec.encode(&"a".repeat(99), KEY).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert_eq!(error.to_string(), "value of 101 bytes is too large: expected at most 100");
}

#[test]
fn bare_json_is_neither_compressed_nor_encrypted() {
    let bare = Codec::new(Format::PlainJson, LEN_MAX);
    assert!(bare.clone().check().is_ok());
    assert!(bare.clone().with_compression(Compression::lz4()).check().is_err());
    assert!(bare.with_keyring(keyring()).check().is_err());
}

#[test]
fn no_message_holds_the_value() {
    for format in FORMATS {
        let codec = Codec::new(format, LEN_MAX);
        let (payload, coding) = codec.encode(&"hunter2", KEY).unwrap();
        let error = codec.decode::<Shape>(&payload, coding, KEY).unwrap_err();
        assert!(!format!("{error:#} {error:?}").contains("hunter2"), "{error:?}");
    }
}

#[test]
fn nesting_has_an_end() {
    let codings = [Layout::Json, Layout::MessagePack, Layout::Postcard]
        .map(|layout| Coding { layout, ..Coding::JSON });
    for (format, coding) in FORMATS.into_iter().zip(codings) {
        let codec = Codec::new(format, LEN_MAX);
        let (payload, _) = codec.encode(&deep(100), KEY).unwrap();
        assert_eq!(codec.decode::<Deep>(&payload, coding, KEY).unwrap().0, deep(100));
        let down: &[u8] = match coding.layout {
            Layout::Json => br#"{"Down":"#,
            Layout::MessagePack => b"\x81\xA4Down",
            Layout::Postcard => b"\x01",
        };
        corrupt(codec.decode::<Deep>(&down.repeat(200_000), coding, KEY));
    }
}

#[test]
fn a_length_that_lies_is_not_believed() {
    let codec = Codec::new(Format::Json, LEN_MAX);
    let packed = Coding { layout: Layout::MessagePack, ..Coding::JSON };
    for lie in [b"\xDD\xFF\xFF\xFF\xFF", b"\xDB\xFF\xFF\xFF\xFF", b"\xC6\xFF\xFF\xFF\xFF"] {
        corrupt(codec.decode::<Vec<u64>>(lie, packed, KEY));
        corrupt(codec.decode::<String>(lie, packed, KEY));
    }
    corrupt(codec.decode::<BTreeMap<u8, u8>>(b"\xDF\xFF\xFF\xFF\xFF", packed, KEY));

    // 2^64 - 1. Units take no bytes: without a bound, reading them would not end in a lifetime.
    let lie = b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01";
    let packed = Coding { layout: Layout::Postcard, ..Coding::JSON };
    corrupt(codec.decode::<Vec<u64>>(lie, packed, KEY));
    corrupt(codec.decode::<Vec<()>>(lie, packed, KEY));
    corrupt(codec.decode::<BTreeMap<(), ()>>(lie, packed, KEY));
    corrupt(codec.decode::<String>(lie, packed, KEY));
}
