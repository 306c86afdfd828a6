//! A customer: its row, and what goes over the wire.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

use super::error::CustomerError;

const NAME_CHARS_MAX: usize = 200;
const EMAIL_CHARS_MAX: usize = 254;

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "customer")]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    pub(crate) tenant_id: String,
    pub(crate) name: String,
    pub(crate) email: String,
    /// What Fortnox knows it by.
    pub(crate) fortnox_number: Option<i64>,
    /// Of whoever was last about to make it known there.
    pub(crate) fence: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// A customer as clients and the cache see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Customer {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) fortnox_number: Option<i64>,
}

impl From<Model> for Customer {
    fn from(row: Model) -> Self {
        Self { id: row.id, name: row.name, email: row.email, fortnox_number: row.fortnox_number }
    }
}

/// What a client sends to have one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CustomerInput {
    pub(super) name: String,
    pub(super) email: String,
}

impl CustomerInput {
    pub(super) fn check(&self) -> Result<(), CustomerError> {
        let name_len = self.name.trim().chars().count();
        if !(1..=NAME_CHARS_MAX).contains(&name_len) || self.name.chars().any(char::is_control) {
            let expected = "1 to 200 characters, no control characters";
            return Err(CustomerError::rejected("name", expected));
        }
        let is_plain = !self.email.chars().any(|c| c.is_control() || c.is_whitespace());
        let is_short = self.email.chars().count() <= EMAIL_CHARS_MAX;
        let is_address = self
            .email
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
        match is_plain && is_short && is_address {
            true => Ok(()),
            false => Err(CustomerError::rejected("email", "an address like ada@example.com")),
        }
    }
}
