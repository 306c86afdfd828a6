//! What deliveries are signed with.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::kernel::error::{Error, ErrorKind, Result};

/// What a secret begins with, as Standard Webhooks has it.
const BEGINNING: &str = "whsec_";
const LEN_MIN: usize = 24;
const LEN_MAX: usize = 64;
/// Of one that is made here, in bytes.
const LEN: usize = 32;

/// What deliveries of a webhook are signed with: `whsec_` and 24 to 64 bytes in Base64. It is never shown but by
/// [`Secret::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// A new one, of 32 random bytes.
    ///
    /// # Errors
    /// `Unavailable` where the system has no randomness.
    pub fn generate() -> Result<Self> {
        let mut bytes = [0; LEN];
        getrandom::fill(&mut bytes).map_err(|error| {
            Error::new(
                ErrorKind::Unavailable { maybe_applied: false },
                format!("no secret can be made without randomness: {error}"),
            )
        })?;
        Ok(Self(bytes.as_slice().into()))
    }

    /// Reads a secret.
    ///
    /// # Errors
    /// `Rejected` with the rule, and without the text, where it is none.
    pub fn parse(text: &str) -> Result<Self> {
        let bytes = text.strip_prefix(BEGINNING).and_then(|text| STANDARD.decode(text).ok());
        let bytes = bytes.filter(|bytes| (LEN_MIN..=LEN_MAX).contains(&bytes.len()));
        bytes.map(|bytes| Self(bytes.into())).ok_or_else(|| {
            Error::rejected(format!(
                "invalid secret: expected {BEGINNING} and {LEN_MIN} to {LEN_MAX} bytes in Base64"
            ))
        })
    }

    /// The text, which only its owner is to see.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{BEGINNING}{}", STANDARD.encode(&self.0))
    }

    /// The key for HMAC-SHA256.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_as_it_was_made_and_told_to_no_log() {
        let secret = Secret::generate().unwrap();
        let text = secret.reveal();
        assert_eq!(Secret::parse(&text).unwrap(), secret);
        assert_ne!(Secret::generate().unwrap(), secret);
        assert_eq!(format!("{secret:?}"), "Secret");
        let short = format!("whsec_{}", STANDARD.encode([7; LEN_MIN - 1]));
        let long = format!("whsec_{}", STANDARD.encode([7; LEN_MAX + 1]));
        for bad in ["", "whsec_", "whsec_?", &text[6..], &short, &long] {
            let error = Secret::parse(bad).unwrap_err().to_string();
            assert!(error.contains("expected whsec_ and 24 to 64 bytes"), "{error}");
        }
    }
}
