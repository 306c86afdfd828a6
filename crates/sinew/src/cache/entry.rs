//! An entry between its bytes in the store and its value in this process.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::engine::Shared;
use crate::kernel::clock::UnixMillis;
use crate::kernel::codec::Coding;
use crate::kernel::envelope::{Envelope, Life, Nonce, Tagging};
use crate::kernel::error::{Error, Result};
use crate::kernel::key::Key;
use crate::kernel::ttl::Ttl;

/// An entry, decoded.
pub(super) struct Opened<V> {
    /// `None`: the source has no such thing.
    pub(super) value: Option<Arc<V>>,
    pub(super) life: Life,
    pub(super) tagging: Option<Tagging>,
    pub(super) nonce: Nonce,
    /// In bytes, neither compressed nor encrypted.
    pub(super) len: usize,
}

/// What an entry is written with, beside its value.
pub(super) struct Sealing {
    pub(super) ttl: Ttl,
    pub(super) tagging: Option<Tagging>,
    pub(super) load: Duration,
}

impl Sealing {
    pub(super) fn of(ttl: Ttl) -> Self {
        Self { ttl, tagging: None, load: Duration::ZERO }
    }
}

impl<V> Shared<V>
where
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    /// Bytes to store, and how long the store is to keep them. `None` stands for what the source
    /// does not have.
    ///
    /// # Errors
    /// `Rejected` when the value cannot be written, or is over the limit.
    pub(super) fn seal(
        &self,
        key: &Key,
        value: Option<&V>,
        sealing: Sealing,
    ) -> Result<(Bytes, Ttl)> {
        let (payload, coding) = match value {
            Some(value) => self.codec.encode(value, key.as_str())?,
            None => self.codec.encode_absence(key.as_str())?,
        };
        let fresh = sealing.ttl.jittered(self.policy.jitter, fastrand::f64());
        // What was not there is not worth keeping.
        let kept_for = match value {
            Some(_) => self.policy.freshness.kept_for(),
            None => Duration::ZERO,
        };
        let now = self.engine.clock.wall();
        if self.codec.is_bare() {
            return Ok((payload.into(), fresh));
        }
        let envelope = Envelope {
            nonce: Nonce::random(),
            coding: coding.to_byte(),
            life: Life {
                created_at: now,
                fresh_until: UnixMillis(now.0.saturating_add(fresh.as_millis())),
                load_ms: u32::try_from(sealing.load.as_millis()).unwrap_or(u32::MAX),
                kept: !kept_for.is_zero(),
                expired: false,
            },
            tagging: sealing.tagging,
            absent: value.is_none(),
            payload: &payload,
        };
        let stored_for = fresh.duration().saturating_add(kept_for);
        Ok((envelope.seal(), Ttl::new(stored_for).unwrap_or(Ttl::MAX)))
    }

    /// # Errors
    /// `Corrupt` for what is no entry of this type.
    pub(super) fn open(&self, key: &Key, stored: &Bytes) -> Result<Opened<V>> {
        if self.codec.is_bare() {
            return self.open_bare(key, stored);
        }
        let envelope = Envelope::open(stored)
            .map_err(|why| Error::corrupt(format!("unreadable entry: {why:?}")))?;
        let coding = Coding::from_byte(envelope.coding)
            .ok_or_else(|| Error::corrupt(format!("an unknown coding: {}", envelope.coding)))?;
        let (value, len) = match envelope.absent {
            true => {
                self.codec.check_absence(envelope.payload, coding, key.as_str())?;
                (None, 0)
            }
            false => {
                let (value, len) = self.codec.decode(envelope.payload, coding, key.as_str())?;
                (Some(Arc::new(value)), len)
            }
        };
        Ok(Opened {
            value,
            life: envelope.life,
            tagging: envelope.tagging,
            nonce: envelope.nonce,
            len,
        })
    }

    /// One without an envelope: the store alone knows how long it lives.
    fn open_bare(&self, key: &Key, stored: &Bytes) -> Result<Opened<V>> {
        let (value, len) = self.codec.decode(stored, Coding::JSON, key.as_str())?;
        let life = Life {
            created_at: UnixMillis(0),
            fresh_until: UnixMillis(0),
            load_ms: 0,
            kept: false,
            expired: false,
        };
        Ok(Opened { value: Some(Arc::new(value)), life, tagging: None, nonce: Nonce([0; 8]), len })
    }
}
#[cfg(all(test, feature = "compression", feature = "encryption", feature = "formats"))]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;
    use proptest::test_runner::TestRunner;
    use serde::Deserialize;

    use super::*;
    use crate::{Cache, Compression, Format, Keyring, Sinew};

    const HOUR: Duration = Duration::from_secs(3_600);
    /// Unless `SINEW_FUZZ_CASES` says how many.
    const CASES: u32 = 2_000;

    /// Text, numbers, what may be missing, and what may nest.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        id: u64,
        name: String,
        marks: Vec<i32>,
        next: Option<Box<Sample>>,
    }

    fn sample() -> Sample {
        let last = Sample { id: 2, name: "é".to_owned(), marks: vec![i32::MIN, 0, 7], next: None };
        Sample { id: 1, name: "ab".repeat(40), marks: Vec::new(), next: Some(Box::new(last)) }
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Kind {
        Bare,
        Open,
        Sealed,
    }

    struct Reader {
        cache: Cache<u64, Sample>,
        kind: Kind,
    }

    /// One of each way to write, with all settings that look at what an entry says of itself.
    fn readers(sinew: &Sinew) -> Vec<Reader> {
        let bare = sinew.cache("row").format(Format::PlainJson).build().expect("a cache");
        let mut readers = vec![Reader { cache: bare, kind: Kind::Bare }];
        let compressions =
            [None, Some(Compression::lz4().above(0)), Some(Compression::zstd().above(0))];
        for format in [Format::Json, Format::MessagePack, Format::Postcard] {
            for compression in compressions {
                for kind in [Kind::Open, Kind::Sealed] {
                    let mut builder = sinew.cache("row").format(format).tagged();
                    builder = builder.refresh_ahead(0.5).early_refresh(1.0);
                    builder = builder.stale_while_revalidate(HOUR).stale_if_error(HOUR);
                    if let Some(compression) = compression {
                        builder = builder.compress(compression);
                    }
                    if kind == Kind::Sealed {
                        builder = builder.encrypt(Keyring::new(1, [1; 32]));
                    }
                    readers.push(Reader { cache: builder.build().expect("a cache"), kind });
                }
            }
        }
        readers
    }

    #[derive(Clone, Debug)]
    enum Input {
        /// Anything.
        Bytes(Vec<u8>),
        /// Anything that says that it is ours.
        Ours(u8, Vec<u8>),
        /// An entry, and what became of it.
        Entry { writer: Index, tags: Option<Vec<String>>, absent: bool, changes: Vec<Change> },
    }

    #[derive(Clone, Debug)]
    struct Change {
        at: Index,
        in_header: bool,
        how: How,
    }

    #[derive(Clone, Debug)]
    enum How {
        Replace(u8),
        Insert(Vec<u8>),
        Cut,
    }

    fn input() -> impl Strategy<Value = Input> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..200);
        let tags = prop::option::of(prop::collection::vec("[a-zé]{1,9}", 0..4));
        let absent = prop::bool::weighted(0.2);
        let changes = prop::collection::vec(change(), 0..6);
        prop_oneof![
            1 => bytes().prop_map(Input::Bytes),
            1 => (1..=2_u8, bytes()).prop_map(|(version, rest)| Input::Ours(version, rest)),
            6 => (any::<Index>(), tags, absent, changes).prop_map(
                |(writer, tags, absent, changes)| Input::Entry { writer, tags, absent, changes }
            ),
        ]
    }

    fn change() -> impl Strategy<Value = Change> {
        let how = prop_oneof![
            4 => any::<u8>().prop_map(How::Replace),
            1 => prop::collection::vec(any::<u8>(), 1..20).prop_map(How::Insert),
            1 => Just(How::Cut),
        ];
        let change = (any::<Index>(), any::<bool>(), how);
        change.prop_map(|(at, in_header, how)| Change { at, in_header, how })
    }

    fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
        for Change { at, in_header, how } in changes {
            if bytes.is_empty() {
                break;
            }
            let within = if *in_header { bytes.len().min(60) } else { bytes.len() };
            let at = at.index(within);
            match how {
                How::Replace(byte) => bytes[at] = *byte,
                How::Insert(more) => {
                    bytes.splice(at..at, more.iter().copied());
                }
                How::Cut => bytes.truncate(at),
            }
        }
        bytes
    }

    /// What is stored, and who wrote it without anyone changing it since.
    fn stored(input: &Input, readers: &[Reader], key: &Key) -> (Bytes, Option<Kind>) {
        match input {
            Input::Bytes(bytes) => (bytes.clone().into(), None),
            Input::Ours(version, rest) => {
                let bytes = [&[0xF5, b'S', b'N', b'W', *version][..], rest.as_slice()].concat();
                (bytes.into(), None)
            }
            Input::Entry { writer, tags, absent, changes } => {
                let Reader { cache, kind } = &readers[writer.index(readers.len())];
                let tags = tags.as_ref().filter(|_| *kind != Kind::Bare);
                let tagging = tags.map(|tags| Tagging {
                    generation: [7; 8],
                    sequence: 9,
                    tags: tags.iter().map(|tag| tag.as_str().into()).collect(),
                });
                let value = sample();
                let value = (!absent || *kind == Kind::Bare).then_some(&value);
                let sealing = Sealing { tagging, ..Sealing::of(Ttl::MAX) };
                let (bytes, _) = cache.shared.seal(key, value, sealing).expect("an entry");
                let bytes = changed(bytes.to_vec(), changes);
                (bytes.into(), changes.is_empty().then_some(*kind))
            }
        }
    }

    /// `SINEW_FUZZ_CASES=1000000 cargo test --release -p sinew no_stored_bytes_break_a_reader` for
    /// longer.
    #[test]
    fn no_stored_bytes_break_a_reader() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let _inside = runtime.enter();
        let readers = readers(&Sinew::embedded());
        let key = readers[0].cache.key(&7).expect("a key");
        let cases = std::env::var("SINEW_FUZZ_CASES").ok();
        let cases = cases.and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
        let config =
            ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
        let outcome = TestRunner::new(config).run(&input(), |input| {
            let (stored, untouched) = stored(&input, &readers, &key);
            for Reader { cache, kind } in &readers {
                let opened = cache.shared.open(&key, &stored);
                if untouched == Some(*kind) {
                    prop_assert!(opened.is_ok(), "its own kind does not read it");
                }
                let Ok(opened) = opened else { continue };
                // Nothing else was ever written with the key.
                let is_true = opened.value.as_deref().is_none_or(|value| *value == sample());
                if *kind == Kind::Sealed || untouched.is_some() {
                    prop_assert!(is_true, "{:?}", opened.value);
                }
                let Life { created_at, fresh_until, .. } = opened.life;
                for now in [UnixMillis(0), created_at, fresh_until, UnixMillis(u64::MAX)] {
                    for random in [0.0, 0.5, 1.0] {
                        // Whatever it decides: it comes to an end.
                        let freshness = &cache.shared.policy.freshness;
                        let _ = freshness.decide(&opened.life, now, random);
                        let _ = freshness.due_in(&opened.life, now, random);
                    }
                }
            }
            // As the embedded store does it to expire an entry.
            if let Ok(mut envelope) = Envelope::open(&stored) {
                (envelope.life.kept, envelope.life.expired) = (true, true);
                let sealed = envelope.seal();
                prop_assert_eq!(Envelope::open(&sealed), Ok(envelope));
            }
            Ok(())
        });
        if let Err(failure) = outcome {
            panic!("{failure}");
        }
    }
}
