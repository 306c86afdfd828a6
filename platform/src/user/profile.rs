//! A profile: its row, and what goes over the wire.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

use super::error::UserError;

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "user_profile")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) tenant_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) user_id: String,
    pub(crate) display_name: String,
    pub(crate) about: String,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// A profile as clients and the cache see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Profile {
    pub(crate) user_id: String,
    pub(crate) display_name: String,
    pub(crate) about: String,
}

impl Profile {
    /// Of somebody who has said nothing yet.
    pub(super) fn empty(user: &str) -> Self {
        Self { user_id: user.to_owned(), display_name: String::new(), about: String::new() }
    }
}

impl From<Model> for Profile {
    fn from(row: Model) -> Self {
        Self { user_id: row.user_id, display_name: row.display_name, about: row.about }
    }
}

/// What a client sends to change its profile.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ProfileInput {
    pub(super) display_name: String,
    #[serde(default)]
    pub(super) about: String,
}

impl ProfileInput {
    pub(super) fn check(&self) -> Result<(), UserError> {
        let name_len = self.display_name.trim().chars().count();
        if !(1..=100).contains(&name_len) || self.display_name.chars().any(char::is_control) {
            return Err(UserError::rejected(
                "displayName",
                "1 to 100 characters, no control characters",
            ));
        }
        // PostgreSQL's text has all characters but this one.
        if self.about.chars().count() > 2_000 || self.about.contains('\0') {
            return Err(UserError::rejected("about", "at most 2000 characters"));
        }
        Ok(())
    }
}
