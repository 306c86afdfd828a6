//! Payloads that only holders of a key can read or write, each bound to its place.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0–3 | id of the key, big-endian |
//! | 4–27 | nonce, random |
//! | 28– | ciphertext and tag of XChaCha20-Poly1305 |
//!
//! What is authenticated with it is the whole key in Redis and the coding byte, so that a value
//! copied under another tenant's key does not open there. The envelope's times are not: an older
//! value of the *same* key can be put back.

use std::borrow::Cow;
use std::fmt;
use std::mem;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{AeadInOut, Key, KeyInit, XChaCha20Poly1305, XNonce};

use super::{Codec, Coding};
use crate::kernel::error::{Error, Result};

const KEY_LEN: usize = 32;
const KEY_ID_LEN: usize = 4;
const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;
const HEAD_LEN: usize = KEY_ID_LEN + NONCE_LEN;

/// The keys of caches that are encrypted: the newest writes, every one reads.
///
/// To change keys without a miss, roll out the new one in front of the old
/// (`"2:NEW,1:OLD"`), which reads it before anyone writes it; then at the end
/// (`"1:OLD,2:NEW"`); and drop the old one when its entries have expired. `openssl rand -base64 32`
/// makes a key.
///
/// ```
/// # fn main() -> sinew::Result<()> {
/// let keyring = sinew::Keyring::parse(
///     "1:q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k=,\
///      2:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
/// )?;
/// assert_eq!(format!("{keyring:?}"), "Keyring { newest: 2, older: [1] }");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Keyring {
    newest: NamedKey,
    older: Vec<NamedKey>,
}

// The cipher wipes its key when it is dropped.
#[derive(Clone)]
struct NamedKey {
    id: u32,
    cipher: XChaCha20Poly1305,
}

/// The ids, never the keys.
impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let older: Vec<u32> = self.older.iter().map(|key| key.id).collect();
        f.debug_struct("Keyring").field("newest", &self.newest.id).field("older", &older).finish()
    }
}

impl Keyring {
    /// A keyring of one key. The id is stored with every entry, so that readers find the key.
    #[must_use]
    pub fn new(id: u32, key: [u8; 32]) -> Self {
        Self { newest: NamedKey::new(id, key), older: Vec::new() }
    }

    /// Adds a key that writes from now on; the others still read. A key of the same id goes.
    #[must_use]
    pub fn rotated(mut self, id: u32, key: [u8; 32]) -> Self {
        let older = mem::replace(&mut self.newest, NamedKey::new(id, key));
        self.older.push(older);
        self.older.retain(|key| key.id != id);
        self
    }

    /// Reads `id:key` pairs with commas between them, the newest last, as they are kept in the
    /// environment or a secret store. A key is 32 bytes as base64 or as 64 hexadecimal digits.
    ///
    /// # Errors
    /// `Rejected`, naming the pair that is wrong, without a word of it.
    pub fn parse(text: &str) -> Result<Self> {
        let mut keyring: Option<Self> = None;
        for (index, pair) in text.split(',').enumerate() {
            let (id, key) = read_pair(pair.trim()).ok_or_else(|| {
                Error::rejected(format!(
                    "invalid key {} of the keyring: expected a number, a colon, and 32 bytes as base64 or 64 hexadecimal digits",
                    index + 1
                ))
            })?;
            if keyring.as_ref().is_some_and(|keyring| keyring.find(id).is_some()) {
                return Err(Error::rejected(format!("the keyring has two keys of the id {id}")));
            }
            keyring = Some(match keyring {
                Some(keyring) => keyring.rotated(id, key),
                None => Self::new(id, key),
            });
        }
        keyring.ok_or_else(|| Error::rejected("the keyring has no key"))
    }

    fn find(&self, id: u32) -> Option<&NamedKey> {
        let newest = (self.newest.id == id).then_some(&self.newest);
        newest.or_else(|| self.older.iter().find(|key| key.id == id))
    }

    fn open(&self, payload: &[u8], place: &[u8]) -> Result<Vec<u8>> {
        let cut = || Error::corrupt("the encrypted payload is cut short");
        let (id, rest) = payload.split_first_chunk::<KEY_ID_LEN>().ok_or_else(cut)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(cut)?;
        let id = u32::from_be_bytes(*id);
        let key = self.find(id).ok_or_else(|| {
            Error::corrupt(format!("encrypted with key {id}, which the keyring does not have"))
        })?;
        let sealed = Payload { msg: sealed, aad: place };
        key.cipher.decrypt(&XNonce::from(*nonce), sealed).map_err(|_| {
            Error::corrupt("the encrypted payload does not open: it was changed, or moved here")
        })
    }
}

impl NamedKey {
    fn new(id: u32, key: [u8; KEY_LEN]) -> Self {
        Self { id, cipher: XChaCha20Poly1305::new(&Key::from(key)) }
    }

    fn seal(&self, plain: &[u8], place: &[u8]) -> Result<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        // From the system: two processes that draw the same nonce would give the key away.
        getrandom::fill(&mut nonce)
            .map_err(|_| Error::misconfigured("the system has no random bytes to encrypt with"))?;
        let mut sealed = Vec::with_capacity(HEAD_LEN + plain.len() + TAG_LEN);
        sealed.extend_from_slice(&self.id.to_be_bytes());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let body = &mut sealed[HEAD_LEN..];
        let tag = self
            .cipher
            .encrypt_inout_detached(&XNonce::from(nonce), place, body.into())
            .map_err(|_| Error::rejected("the value is too large to be encrypted"))?;
        sealed.extend_from_slice(tag.as_slice());
        Ok(sealed)
    }
}

impl Codec {
    pub(crate) fn with_keyring(mut self, keyring: Keyring) -> Self {
        self.keyring = Some(keyring);
        self
    }

    pub(super) fn encrypts(&self) -> bool {
        self.keyring.is_some()
    }

    pub(super) fn encrypt(
        &self,
        packed: Vec<u8>,
        coding: Coding,
        key: &str,
    ) -> Result<(Vec<u8>, Coding)> {
        let Some(keyring) = &self.keyring else { return Ok((packed, coding)) };
        let coding = Coding { encrypted: true, ..coding };
        Ok((keyring.newest.seal(&packed, &place(key, coding))?, coding))
    }

    pub(super) fn decrypt<'a>(
        &self,
        payload: &'a [u8],
        coding: Coding,
        key: &str,
    ) -> Result<Cow<'a, [u8]>> {
        match (&self.keyring, coding.encrypted) {
            (Some(keyring), true) => keyring.open(payload, &place(key, coding)).map(Cow::Owned),
            (Some(_), false) => {
                Err(Error::corrupt("the entry is not encrypted, and this cache has a keyring"))
            }
            (None, true) => {
                Err(Error::corrupt("the entry is encrypted, and this cache has no keyring"))
            }
            (None, false) => Ok(payload.into()),
        }
    }
}

/// Where a payload belongs, and how it is read there. The last byte is always the coding, so no
/// two places have the same bytes.
fn place(key: &str, coding: Coding) -> Vec<u8> {
    let mut place = Vec::with_capacity(key.len() + 1);
    place.extend_from_slice(key.as_bytes());
    place.push(coding.to_byte());
    place
}

fn read_pair(pair: &str) -> Option<(u32, [u8; KEY_LEN])> {
    let (id, key) = pair.split_once(':')?;
    Some((id.parse().ok()?, read_key(key)?))
}

fn read_key(text: &str) -> Option<[u8; KEY_LEN]> {
    if text.len() != 2 * KEY_LEN {
        let bytes = STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
        return bytes.try_into().ok();
    }
    let mut key = [0; KEY_LEN];
    for (index, byte) in key.iter_mut().enumerate() {
        let digit = |at: usize| char::from(text.as_bytes()[2 * index + at]).to_digit(16);
        *byte = u8::try_from((digit(0)? << 4) | digit(1)?).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "Billing_acme:user:7";
    const HEX: &str = "000102030405060708090a0B0C0d0e0f101112131415161718191a1b1c1d1e1f";
    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn sealed_json() -> Coding {
        Coding { encrypted: true, ..Coding::JSON }
    }

    /// Made by another implementation: key 2 of 32 sevens, the nonce 0 to 23, under `KEY`.
    #[test]
    fn golden_payload_opens() {
        let golden = b"\x00\x00\x00\x02\
            \x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\
            \x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\
            \x8a\x56\xcf\xe4\xd8\x30\xda\x18\x2b\xdc\xc2\xe3\x41\x9a\x79\xc2\x91\xa5\xc0\xea\x07";
        let keyring = Keyring::new(2, [7; KEY_LEN]);
        let opened = keyring.open(golden, &place(KEY, sealed_json())).unwrap();
        assert_eq!(opened, b"\"Ada\"");
    }

    #[test]
    fn the_same_value_never_looks_the_same_twice() {
        let (key, place) = (NamedKey::new(1, [7; KEY_LEN]), place(KEY, sealed_json()));
        let (one, two) = (key.seal(b"7", &place).unwrap(), key.seal(b"7", &place).unwrap());
        assert_eq!(one.len(), HEAD_LEN + 1 + TAG_LEN);
        assert_ne!(one[KEY_ID_LEN..], two[KEY_ID_LEN..]);
    }

    #[test]
    fn keys_are_read_from_text_and_never_shown() {
        let key: [u8; KEY_LEN] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        for text in [HEX, BASE64, BASE64.trim_end_matches('=')] {
            assert_eq!(read_key(text), Some(key), "{text}");
        }
        let keyring = Keyring::parse(&format!(" 7:{HEX}, 9:{BASE64} ")).unwrap();
        assert_eq!(format!("{keyring:?}"), "Keyring { newest: 9, older: [7] }");
        let keyring = keyring.rotated(7, [0; KEY_LEN]);
        assert_eq!(format!("{keyring:?}"), "Keyring { newest: 7, older: [9] }");

        let not_hex = HEX.replace('f', "g");
        let not_ascii = format!("{}é", &HEX[2..]);
        let (not_hex, not_ascii) = (not_hex.as_str(), not_ascii.as_str());
        for text in ["", "7", "7:", "x:", &BASE64[..40], &HEX[..62], not_hex, not_ascii] {
            let text = if text.len() > 2 { format!("7:{text}") } else { text.to_owned() };
            let error = Keyring::parse(&text).unwrap_err().to_string();
            assert!(error.starts_with("invalid key 1 of the keyring: expected"), "{error}");
            assert!(!error.contains("0102"), "{error}");
        }
        let error = Keyring::parse(&format!("7:{HEX},7:{BASE64}")).unwrap_err().to_string();
        assert_eq!(error, "the keyring has two keys of the id 7");
    }
}
