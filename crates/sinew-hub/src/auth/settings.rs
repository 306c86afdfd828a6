//! Tokens and users, as the configuration names them.

use std::time::Duration;

use jiff::Timestamp;
use sinew::Tenant;

use super::command::TOKEN_PREFIX;
use super::digest::Digest;
use super::password::Hashed;
use super::scope::{Granted, Role, Scope};

/// What a name looks like, for messages.
pub(crate) const NAME_EXPECTED: &str =
    "expected 1 to 64 of A-Z a-z 0-9 . @ _ + -, and no token or hash";
const NAME_LEN_MAX: usize = 64;

/// Who may do what, and for how long they stay signed in. Nothing in it shows a secret.
#[derive(Clone, Debug)]
pub(crate) struct AuthSettings {
    pub(crate) tokens: Vec<TokenSetting>,
    pub(crate) users: Vec<UserSetting>,
    /// How long someone stays signed in without a request.
    pub(crate) idle: Duration,
    /// How long someone stays signed in, whatever they do.
    pub(crate) absolute: Duration,
}

/// A token of a program.
#[derive(Clone, Debug)]
pub(crate) struct TokenSetting {
    pub(crate) name: String,
    pub(crate) digest: Digest,
    /// The only one that it is for.
    pub(crate) tenant: Option<Tenant>,
    pub(crate) scopes: Vec<Granted>,
    pub(crate) expires_at: Option<Timestamp>,
}

/// A person who uses the dashboard.
#[derive(Clone, Debug)]
pub(crate) struct UserSetting {
    pub(crate) name: String,
    pub(crate) password: Hashed,
    pub(crate) role: Role,
    /// The only one that they see.
    pub(crate) tenant: Option<Tenant>,
}

/// Whether a token or a user may be called so. Names are shown to everyone: what looks like a secret is none.
pub(crate) fn is_name(text: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b".@_+-".contains(&byte);
    let is_one = (1..=NAME_LEN_MAX).contains(&text.len()) && text.bytes().all(is_good);
    is_one && !text.starts_with(TOKEN_PREFIX) && Digest::parse(text).is_none()
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            tokens: Vec::new(),
            users: Vec::new(),
            idle: Duration::from_secs(30 * 60),
            absolute: Duration::from_secs(12 * 60 * 60),
        }
    }
}

impl AuthSettings {
    /// Whether anyone has to say who they are.
    pub(crate) fn is_on(&self) -> bool {
        !self.tokens.is_empty() || !self.users.is_empty()
    }
}

impl TokenSetting {
    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    pub(super) fn may(&self, needed: Scope) -> bool {
        self.scopes.iter().any(|granted| granted.covers(needed))
    }
}

impl UserSetting {
    /// What only who has this configuration can say: another one with another password.
    pub(super) fn proof(&self) -> Digest {
        // The name has no end of line.
        Digest::of(&format!("sinew-dashboard\n{}\n{}", self.name, self.password.as_str()))
    }
}
