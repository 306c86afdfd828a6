//! What a build without some features does instead: it writes plainly, and says which feature
//! an entry takes that it cannot read.

#[cfg(not(all(feature = "compression", feature = "encryption")))]
use super::Codec;
#[cfg(not(all(feature = "compression", feature = "encryption")))]
use crate::kernel::error::Result;

use crate::kernel::error::Error;

pub(super) fn needs(feature: &str, what: &str) -> Error {
    Error::corrupt(format!("the entry is {what}: reading it takes the feature `{feature}`"))
}

#[cfg(not(feature = "compression"))]
impl Codec {
    pub(super) fn compresses(&self) -> bool {
        false
    }

    pub(super) fn compress(&self, plain: Vec<u8>) -> (Vec<u8>, Option<super::coding::Algorithm>) {
        (plain, None)
    }

    pub(super) fn decompress(
        &self,
        _packed: &[u8],
        _algorithm: super::coding::Algorithm,
    ) -> Result<Vec<u8>> {
        Err(needs("compression", "compressed"))
    }
}

#[cfg(not(feature = "encryption"))]
impl Codec {
    pub(super) fn encrypts(&self) -> bool {
        false
    }

    pub(super) fn encrypt(
        &self,
        packed: Vec<u8>,
        coding: super::Coding,
        _key: &str,
    ) -> Result<(Vec<u8>, super::Coding)> {
        Ok((packed, coding))
    }

    pub(super) fn decrypt<'a>(
        &self,
        payload: &'a [u8],
        coding: super::Coding,
        _key: &str,
    ) -> Result<std::borrow::Cow<'a, [u8]>> {
        if coding.encrypted {
            return Err(needs("encryption", "encrypted"));
        }
        Ok(payload.into())
    }
}
