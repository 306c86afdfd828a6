//! SHA-256 of what nobody is to read.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// What is kept of a secret with 256 random bits: it is known by it, and not to be had from it.
#[derive(Clone, Copy)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(crate) fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// From 64 hexadecimal digits.
    pub(crate) fn parse(hex: &str) -> Option<Self> {
        let digits = hex.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let value = |digit: u8| char::from(digit).to_digit(16);
            *byte = u8::try_from((value(pair[0])? << 4) | value(pair[1])?).ok()?;
        }
        Some(Self(bytes))
    }
}

/// In a time that tells nothing of where they differ.
impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_sha_256_in_hexadecimal_and_comes_back_from_it() {
        // As `printf abc | sha256sum` says.
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of("abc").to_string(), hex);
        assert_eq!(Digest::parse(hex), Some(Digest::of("abc")));
        assert_eq!(Digest::parse(&hex.to_uppercase()), Some(Digest::of("abc")));
        assert_ne!(Digest::parse(hex), Some(Digest::of("abd")));
        for bad in ["", "ba", &hex[1..], &format!("{hex}0"), &hex.replace('b', "g"), "ä"] {
            assert_eq!(Digest::parse(bad), None, "{bad}");
        }
        let wide = "ä".repeat(32);
        assert_eq!((wide.len(), Digest::parse(&wide)), (64, None));
        assert!(!format!("{:?}", Digest::of("abc")).contains("ba78"));
    }
}
