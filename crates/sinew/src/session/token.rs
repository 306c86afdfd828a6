//! What opens a session, and what names it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
#[cfg(feature = "tower-sessions")]
use sha2::{Digest as _, Sha256};

use crate::kernel::error::{Error, Result};
use crate::kernel::key::{Code, SessionSlot};

const SECRET_LEN: usize = 32;
const SECRET_TEXT_LEN: usize = 43;

/// What opens a session: whoever has it is who logged in. It belongs into a cookie or an `Authorization`
/// header, and nowhere else; no store has it, and the [`fmt::Debug`] output is without it.
///
/// Its text is read back with [`str::parse`]. Comparing two takes as long however much of them is alike.
#[derive(Clone)]
pub struct SessionToken {
    text: Arc<str>,
    slot: SessionSlot,
    id: SessionId,
}

/// What names a session: a digest of its token, which opens nothing, and may be shown, logged and put into
/// URLs. 22 characters of base64url; read back with [`str::parse`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub(super) Code);

impl SessionToken {
    /// A new one, of 256 bits that no one can guess.
    ///
    /// # Errors
    /// `Misconfigured` where the system has no random bytes.
    pub(super) fn random(slot: SessionSlot) -> Result<Self> {
        let mut secret = [0; SECRET_LEN];
        getrandom::fill(&mut secret)
            .map_err(|_| Error::misconfigured("the system has no random bytes for a session"))?;
        Ok(Self::new(slot, &secret))
    }

    /// One that is the same for the same bytes, of which no one may be able to guess any.
    #[cfg(feature = "tower-sessions")]
    pub(crate) fn derive(label: &str, bytes: &[u8]) -> Self {
        let part = |of: &[u8]| [label.as_bytes(), b"\0", of, b"\0", bytes].concat();
        let slot = SessionSlot::new(Code::digest(&[&part(b"slot")]));
        let secret: [u8; SECRET_LEN] = Sha256::digest(part(b"secret")).into();
        Self::new(slot, &secret)
    }

    fn new(slot: SessionSlot, secret: &[u8; SECRET_LEN]) -> Self {
        let text = format!("{slot}.{}", URL_SAFE_NO_PAD.encode(secret));
        Self { text: text.into(), slot, id: SessionId(Code::digest(&[secret])) }
    }

    /// The text of it, which is the secret: 66 characters of `[A-Za-z0-9_.-]`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn slot(&self) -> SessionSlot {
        self.slot
    }

    pub(super) fn id(&self) -> &SessionId {
        &self.id
    }
}

impl FromStr for SessionToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        read(text).ok_or_else(|| {
            Error::rejected(
                "not a session's token: expected 22 and 43 of A-Z a-z 0-9 _ - with a dot between",
            )
        })
    }
}

fn read(text: &str) -> Option<SessionToken> {
    let (slot, secret) = text.split_once('.')?;
    let slot = SessionSlot::new(slot.parse().ok()?);
    // What is decoded is taken for longer than it is, by less than three bytes.
    let mut room = [0; SECRET_LEN + 2];
    let decoded = match secret.len() {
        SECRET_TEXT_LEN => URL_SAFE_NO_PAD.decode_slice(secret, &mut room).ok()?,
        _ => return None,
    };
    let secret: &[u8; SECRET_LEN] = room.get(..decoded)?.try_into().ok()?;
    Some(SessionToken::new(slot, secret))
}

impl PartialEq for SessionToken {
    fn eq(&self, other: &Self) -> bool {
        let pairs = self.text.bytes().zip(other.text.bytes());
        // All are of one length, and all of it is looked at.
        pairs.fold(0, |differ, (one, another)| differ | (one ^ another)) == 0
    }
}

impl Eq for SessionToken {}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionToken").finish_non_exhaustive()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

impl FromStr for SessionId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.parse()
            .map(Self)
            .map_err(|()| Error::rejected("not a session's id: expected 22 of A-Z a-z 0-9 _ -"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::error::ErrorKind;

    fn token() -> SessionToken {
        SessionToken::random(SessionSlot::new(Code::random().unwrap())).unwrap()
    }

    #[test]
    fn a_token_is_read_back_from_its_text_and_only_from_that() {
        let token = token();
        let back: SessionToken = token.as_str().parse().unwrap();
        assert!(back == token && back.id() == token.id() && back.slot() == token.slot());
        let text = token.as_str();
        assert_eq!(text.len(), 66);
        let (slot, secret) = text.split_once('.').unwrap();
        for bad in [
            String::new(),
            ".".to_owned(),
            format!("{text}A"),
            format!("{text}="),
            format!("{slot}{secret}"),
            format!("{slot}.{slot}"),
            format!("{slot}..{secret}"),
            format!(" {text}"),
            format!("{slot}.{}ü", &secret[..41]),
            "x".repeat(1 << 20),
        ] {
            let error = bad.parse::<SessionToken>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Rejected);
            assert!(!error.to_string().contains(secret), "{error}");
        }
    }

    #[test]
    fn what_is_printed_of_a_token_does_not_open_its_session() {
        let token = token();
        let (_, secret) = token.as_str().split_once('.').unwrap();
        let printed = format!("{token:?} {token:#?} {:?} {}", token.id(), token.id());
        assert!(!printed.contains(secret) && !printed.contains(&secret[..8]), "{printed}");
        assert_eq!(token.id().to_string().parse::<SessionId>().unwrap(), *token.id());
        assert!(token.as_str().parse::<SessionId>().is_err());
    }

    #[test]
    fn tokens_that_differ_anywhere_are_not_equal() {
        let token = token();
        let text = token.as_str();
        let mut compared = 0;
        for at in 0..text.len() {
            let mut other = text.as_bytes().to_vec();
            other[at] = if other[at] == b'A' { b'Q' } else { b'A' };
            if let Ok(other) = String::from_utf8(other).unwrap().parse::<SessionToken>() {
                assert!(other != token, "at {at}");
                compared += 1;
            }
        }
        assert!(compared > 60, "{compared}");
        assert!(token == token.clone());
    }

    #[cfg(feature = "tower-sessions")]
    #[test]
    fn what_is_derived_is_the_same_for_the_same_bytes_alone() {
        let of = |label, bytes: &[u8]| SessionToken::derive(label, bytes);
        assert!(of("a", b"1") == of("a", b"1"));
        assert!(of("a", b"1") != of("a", b"2") && of("a", b"1") != of("b", b"1"));
        assert!(of("a", b"1").slot() != of("a", b"2").slot());
        let derived = of("a", b"1");
        assert!(derived.as_str().parse::<SessionToken>().unwrap() == derived);
    }
}
