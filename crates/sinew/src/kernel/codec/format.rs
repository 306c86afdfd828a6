//! How a value is written, before it is compressed or encrypted.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::coding::Layout;
use crate::kernel::error::{Error, Result};

/// How a cache writes its values.
///
/// Entries say how they were written, and every cache reads them all: a change of the format is
/// rolled out like any other. [`Format::PlainJson`] is the exception.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// JSON: legible in `redis-cli`, and fields may come and go between versions of a service.
    #[default]
    Json,
    /// MessagePack with the names of fields: smaller than JSON, faster for numbers and bytes, and
    /// as forgiving when fields come and go.
    #[cfg(feature = "formats")]
    MessagePack,
    /// Postcard: the smallest and fastest, because it stores neither names nor types.
    ///
    /// When the fields of a type change, an old entry may be read as a *wrong value*: give the
    /// cache a new name then. Types that use serde's `flatten`, `untagged`, `tag` or
    /// `skip_serializing_if` cannot be read back.
    #[cfg(feature = "formats")]
    Postcard,
    /// The JSON alone, without the envelope, to share entries with services that use plain `GET`
    /// and `SET`. It cannot be compressed or encrypted, and has nothing that needs the envelope.
    PlainJson,
}

impl Format {
    pub(super) fn layout(self) -> Layout {
        match self {
            Self::Json | Self::PlainJson => Layout::Json,
            #[cfg(feature = "formats")]
            Self::MessagePack => Layout::MessagePack,
            #[cfg(feature = "formats")]
            Self::Postcard => Layout::Postcard,
        }
    }

    pub(super) fn write<V: Serialize>(self, value: &V) -> Result<Vec<u8>> {
        let written = match self {
            Self::Json | Self::PlainJson => serde_json::to_vec(value).ok(),
            #[cfg(feature = "formats")]
            Self::MessagePack => rmp_serde::to_vec_named(value).ok(),
            #[cfg(feature = "formats")]
            Self::Postcard => postcard::to_allocvec(value).ok(),
        };
        // Without the cause, here and below: it may quote the value.
        let name = self.layout().name();
        written.ok_or_else(|| Error::rejected(format!("the value cannot be written as {name}")))
    }
}

impl Layout {
    fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::MessagePack => "MessagePack",
            Self::Postcard => "Postcard",
        }
    }

    pub(super) fn read<V: DeserializeOwned>(self, payload: &[u8]) -> Result<V> {
        match self {
            Self::Json => serde_json::from_slice(payload).map_err(|e| {
                let (line, column) = (e.line(), e.column());
                Error::corrupt(format!("the payload is not the expected type at {line}:{column}"))
            }),
            #[cfg(feature = "formats")]
            Self::MessagePack => read_message_pack(payload).ok_or_else(|| self.unexpected()),
            #[cfg(feature = "formats")]
            Self::Postcard => read_postcard(payload).ok_or_else(|| self.unexpected()),
            #[cfg(not(feature = "formats"))]
            Self::MessagePack | Self::Postcard => {
                Err(super::without::needs("formats", self.name()))
            }
        }
    }

    #[cfg(feature = "formats")]
    fn unexpected(self) -> Error {
        Error::corrupt(format!("the payload is not the expected type in {}", self.name()))
    }
}

#[cfg(feature = "formats")]
fn read_message_pack<V: DeserializeOwned>(payload: &[u8]) -> Option<V> {
    use rmp_serde::decode::Error as Unreadable;
    use serde::Deserialize;

    let mut reader = rmp_serde::Deserializer::from_read_ref(payload);
    let value = super::bounded::read(&mut reader, payload.len()).ok()?;
    // The reader does not say what is left, but only where nothing is does one more value lack
    // its first byte.
    let rest = bool::deserialize(&mut reader);
    matches!(rest, Err(Unreadable::InvalidMarkerRead(_))).then_some(value)
}

#[cfg(feature = "formats")]
fn read_postcard<V: DeserializeOwned>(payload: &[u8]) -> Option<V> {
    let mut reader = postcard::Deserializer::from_bytes(payload);
    let value = super::bounded::read(&mut reader, payload.len()).ok()?;
    // Bytes left over are how a value of another type most often shows.
    reader.finalize().is_ok_and(<[u8]>::is_empty).then_some(value)
}
