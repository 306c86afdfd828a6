//! A value as the bytes that an entry carries, and back: written in a format, then compressed,
//! then encrypted.
//!
//! Reading goes by what the entry says of itself, not by what this cache would write: a new
//! format or compression is rolled out like any other change. The keyring is the exception. A
//! cache that has one takes nothing that is not encrypted, or whoever can write to Redis could
//! plant values.

#[cfg(feature = "formats")]
mod bounded;
mod coding;
#[cfg(feature = "compression")]
mod compression;
#[cfg(feature = "encryption")]
mod encryption;
mod format;
#[cfg(all(test, feature = "compression", feature = "encryption", feature = "formats"))]
mod tests;
#[cfg(not(all(feature = "compression", feature = "encryption", feature = "formats")))]
mod without;

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Error, Result};

pub(crate) use coding::Coding;
#[cfg(feature = "compression")]
pub use compression::Compression;
#[cfg(feature = "encryption")]
pub use encryption::Keyring;
pub use format::Format;

/// How one cache writes its values, and what it accepts.
#[derive(Clone, Debug)]
pub(crate) struct Codec {
    format: Format,
    /// In bytes, before compression: what is longer is neither written nor unpacked.
    value_len_max: usize,
    #[cfg(feature = "compression")]
    compression: Option<Compression>,
    #[cfg(feature = "encryption")]
    keyring: Option<Keyring>,
}

impl Codec {
    pub(crate) fn new(format: Format, value_len_max: usize) -> Self {
        Self {
            format,
            value_len_max,
            #[cfg(feature = "compression")]
            compression: None,
            #[cfg(feature = "encryption")]
            keyring: None,
        }
    }

    /// Refuses settings that exclude each other.
    ///
    /// # Errors
    /// `Rejected` for bare JSON that is to be compressed or encrypted: nothing would say so.
    pub(crate) fn check(self) -> Result<Self> {
        if self.is_bare() && (self.compresses() || self.encrypts()) {
            return Err(Error::rejected(
                "Format::PlainJson stores the JSON itself: it cannot be compressed or encrypted",
            ));
        }
        Ok(self)
    }

    /// Whether an entry is the payload alone, without an envelope. It is read as [`Coding::JSON`].
    pub(crate) fn is_bare(&self) -> bool {
        self.format == Format::PlainJson
    }

    /// The payload of an entry, and what its header must say about it. `key` is the whole key in
    /// Redis: an encrypted payload opens under no other.
    ///
    /// # Errors
    /// `Rejected` for a value that the format cannot write, or that is over the limit.
    pub(crate) fn encode<V: Serialize>(&self, value: &V, key: &str) -> Result<(Vec<u8>, Coding)> {
        let plain = self.format.write(value)?;
        if plain.len() > self.value_len_max {
            return Err(Error::rejected(format!(
                "value of {} bytes is too large: expected at most {}",
                plain.len(),
                self.value_len_max
            )));
        }
        let (packed, compressed) = self.compress(plain);
        let coding = Coding { layout: self.format.layout(), compressed, encrypted: false };
        self.encrypt(packed, coding, key)
    }

    /// The payload of an entry that says that there is no such thing: none, or, in a cache that
    /// takes only what is encrypted, the proof that one of its own wrote it.
    ///
    /// # Errors
    /// As [`Codec::encode`].
    pub(crate) fn encode_absence(&self, key: &str) -> Result<(Vec<u8>, Coding)> {
        match self.encrypts() {
            true => self.encrypt(Vec::new(), Coding::JSON, &absence_of(key)),
            false => Ok((Vec::new(), Coding::JSON)),
        }
    }

    /// # Errors
    /// `Corrupt` for what another than a cache of this keyring has written.
    pub(crate) fn check_absence(&self, payload: &[u8], coding: Coding, key: &str) -> Result<()> {
        match self.decrypt(payload, coding, &absence_of(key))?.is_empty() {
            true => Ok(()),
            false => Err(Error::corrupt("an absence with a payload")),
        }
    }

    /// The value of an entry whose header says `coding`, and how many bytes it is written in.
    ///
    /// # Errors
    /// `Corrupt` for everything that is not a value of this type which this cache may read. The
    /// message never quotes the payload.
    pub(crate) fn decode<V: DeserializeOwned>(
        &self,
        payload: &[u8],
        coding: Coding,
        key: &str,
    ) -> Result<(V, usize)> {
        let packed = self.decrypt(payload, coding, key)?;
        let plain = match coding.compressed {
            Some(algorithm) => Cow::Owned(self.decompress(&packed, algorithm)?),
            None => packed,
        };
        Ok((coding.layout.read(&plain)?, plain.len()))
    }
}

/// No value is encrypted for a place of this name: a key of a cache has no blank.
fn absence_of(key: &str) -> String {
    format!("{key} absent")
}
