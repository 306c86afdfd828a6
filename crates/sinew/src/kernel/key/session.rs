//! The keys of sessions.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::Scope;
use crate::kernel::error::{Error, Result};

/// How long the text of a code is.
const CODE_TEXT_LEN: usize = 22;

/// Sixteen bytes, as text 22 characters of base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Code([u8; 16]);

impl Code {
    /// The first half of what SHA-256 makes of some bytes.
    pub(crate) fn digest(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        parts.iter().for_each(|part| hash.update(part));
        let digest: [u8; 32] = hash.finalize().into();
        let mut code = [0; 16];
        code.copy_from_slice(&digest[..16]);
        Self(code)
    }

    /// One that no one can guess.
    ///
    /// # Errors
    /// `Misconfigured` where the system has no random bytes.
    pub(crate) fn random() -> Result<Self> {
        let mut code = [0; 16];
        getrandom::fill(&mut code)
            .map_err(|_| Error::misconfigured("the system has no random bytes for a session"))?;
        Ok(Self(code))
    }

    fn text<'a>(&self, room: &'a mut [u8; CODE_TEXT_LEN]) -> &'a str {
        // It fits, and is ASCII.
        let len = URL_SAFE_NO_PAD.encode_slice(self.0, room).unwrap_or_default();
        std::str::from_utf8(&room[..len]).unwrap_or_default()
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut [0; CODE_TEXT_LEN]))
    }
}

impl FromStr for Code {
    type Err = ();

    /// Of all texts that would mean the same bytes, only the one that [`fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self, ()> {
        // What is decoded is taken for longer than it is, by less than three bytes.
        let mut room = [0; 18];
        let decoded = match text.len() {
            CODE_TEXT_LEN => URL_SAFE_NO_PAD.decode_slice(text, &mut room).map_err(|_| ())?,
            _ => return Err(()),
        };
        let code = room.get(..decoded).and_then(|code| code.try_into().ok());
        code.map(Self).ok_or(())
    }
}

/// What all sessions of one user have in common, and a session of nobody has alone: their keys are in
/// one slot of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionSlot(Code);

impl SessionSlot {
    pub(crate) fn new(code: Code) -> Self {
        Self(code)
    }
}

impl fmt::Display for SessionSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The keys of a slot: one hash tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotKeys {
    root: String,
    epoch: String,
    index: String,
}

/// The keys that a session needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionKeys {
    slot: SlotKeys,
    session: String,
    id: Code,
}

impl Scope {
    /// Where the sessions of a user are.
    pub(crate) fn session_slot(&self, user: &str) -> SessionSlot {
        // No scope has a zero byte in it.
        let parts: [&[u8]; 4] = [b"session of a user\0", self.0.as_bytes(), b"\0", user.as_bytes()];
        SessionSlot(Code::digest(&parts))
    }

    pub(crate) fn session_slot_keys(&self, slot: SessionSlot) -> SlotKeys {
        let root = [&*self.0, "session:{", slot.0.text(&mut [0; CODE_TEXT_LEN]), "}"].concat();
        SlotKeys { epoch: [&root, ":epoch"].concat(), index: [&root, ":index"].concat(), root }
    }

    pub(crate) fn session(&self, slot: SessionSlot, id: Code) -> SessionKeys {
        let slot = self.session_slot_keys(slot);
        SessionKeys { session: slot.session(id), slot, id }
    }
}

impl SlotKeys {
    /// What all keys of it begin with, before the colon.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// Of what all sessions of a user are that have not been ended together.
    pub(crate) fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Which sessions a user has.
    pub(crate) fn index(&self) -> &str {
        &self.index
    }

    pub(crate) fn session(&self, id: Code) -> String {
        [&*self.root, ":s:", id.text(&mut [0; CODE_TEXT_LEN])].concat()
    }
}

impl SessionKeys {
    pub(crate) fn session(&self) -> &str {
        &self.session
    }

    pub(crate) fn slot(&self) -> &SlotKeys {
        &self.slot
    }

    pub(crate) fn id(&self) -> Code {
        self.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::key::KEY_LEN_MAX;
    use crate::kernel::name::{Prefix, Tenant};

    fn scope(tenant: &str) -> Scope {
        Scope::tenant(&Prefix::new("p_").unwrap(), &Tenant::new(tenant).unwrap())
    }

    #[test]
    fn the_keys_of_a_session_are_in_one_slot_of_its_tenant() {
        let (slot, id) = (scope("t").session_slot("ada"), Code::random().unwrap());
        let keys = scope("t").session(slot, id);
        let root = format!("p_t:session:{{{slot}}}:");
        for key in [keys.session(), keys.slot().epoch(), keys.slot().index()] {
            assert!(key.starts_with(&root) && key.len() < KEY_LEN_MAX, "{key}");
        }
        assert_eq!(keys.session(), format!("{root}s:{id}"));
        assert_ne!(scope("t").session_slot("ada"), scope("u").session_slot("ada"));
        assert_ne!(scope("t").session_slot("ada"), scope("t").session_slot("ad"));
        assert_eq!(scope("t").session_slot("ada"), slot, "in every process, and for ever");
    }

    #[test]
    fn a_code_has_one_text() {
        for _ in 0..100 {
            let code = Code::random().unwrap();
            let text = code.to_string();
            assert_eq!(text.len(), CODE_TEXT_LEN);
            assert!(text.parse::<Code>() == Ok(code), "{text}");
            let (most, last) = text.split_at(CODE_TEXT_LEN - 1);
            let others = ["B", "C", "_", "-", "9"].iter().filter(|other| **other != last);
            for other in others {
                let meant = format!("{most}{other}").parse::<Code>();
                assert!(meant != Ok(code), "{text} with {other}");
            }
            assert!(format!("{text}A").parse::<Code>().is_err());
            assert!(most.parse::<Code>().is_err());
        }
    }
}
