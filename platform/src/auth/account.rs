//! An account: its row, and what goes over the wire.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

use super::error::AuthError;
use super::password::LEN_MAX;

/// Shorter passwords are guessed.
const PASSWORD_CHARS_MIN: usize = 8;
const EMAIL_CHARS_MAX: usize = 254;

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "auth_account")]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    pub(crate) tenant_id: String,
    /// What all services know its user by.
    pub(crate) user_id: String,
    /// As [`email_of`] writes it.
    pub(crate) email: String,
    pub(crate) password_hash: String,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// An account as clients and the cache see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Account {
    pub(crate) user_id: String,
    pub(crate) email: String,
}

impl From<Model> for Account {
    fn from(row: Model) -> Self {
        Self { user_id: row.user_id, email: row.email }
    }
}

/// What a client sends to register, and to log in. It has no text: a password is in it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Credentials {
    pub(super) email: String,
    pub(super) password: String,
}

impl Credentials {
    /// Whether an account may have this password.
    pub(super) fn check_password(&self) -> Result<(), AuthError> {
        let is_long = self.password.chars().count() >= PASSWORD_CHARS_MIN;
        match is_long && self.password.len() <= LEN_MAX {
            true => Ok(()),
            false => {
                Err(AuthError::rejected("password", "8 characters or more, of 1024 bytes at most"))
            }
        }
    }
}

/// The one way in which an address is stored and looked for.
pub(super) fn email_of(text: &str) -> Result<String, AuthError> {
    let email = text.trim().to_lowercase();
    let is_short = email.chars().count() <= EMAIL_CHARS_MAX;
    let is_plain = !email.chars().any(|c| c.is_control() || c.is_whitespace());
    let is_address = email
        .split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
    match is_short && is_plain && is_address {
        true => Ok(email),
        false => Err(AuthError::rejected(
            "email",
            "an address like ada@example.com, of 254 characters at most",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_in_one_way() {
        for text in ["ada@example.com", " Ada@Example.COM ", "ADA@EXAMPLE.COM"] {
            assert_eq!(email_of(text).unwrap(), "ada@example.com");
        }
        let long = format!("{}@example.com", "a".repeat(EMAIL_CHARS_MAX));
        for bad in ["", "ada", "@", "ada@", "@example.com", "a@b@c", "a b@c", "a@b\u{0}", &long] {
            assert!(email_of(bad).is_err(), "{bad:?}");
        }
    }
}
