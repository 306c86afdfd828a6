//! Preferences: their row, and what goes over the wire.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

use super::error::UserError;

const THEMES: [&str; 3] = ["system", "light", "dark"];

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "user_preferences")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) tenant_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) user_id: String,
    pub(crate) theme: String,
    pub(crate) language: String,
    pub(crate) newsletter: bool,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Preferences as clients and the cache see them, and as clients send them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Preferences {
    pub(crate) theme: String,
    pub(crate) language: String,
    pub(crate) newsletter: bool,
}

/// Of somebody who has said nothing yet.
impl Default for Preferences {
    fn default() -> Self {
        Self { theme: THEMES[0].to_owned(), language: "en".to_owned(), newsletter: false }
    }
}

impl From<Model> for Preferences {
    fn from(row: Model) -> Self {
        Self { theme: row.theme, language: row.language, newsletter: row.newsletter }
    }
}

impl Preferences {
    pub(super) fn check(&self) -> Result<(), UserError> {
        if !THEMES.contains(&self.theme.as_str()) {
            return Err(UserError::rejected("theme", "system, light or dark"));
        }
        let is_plain = self.language.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !(2..=35).contains(&self.language.len()) || !is_plain {
            return Err(UserError::rejected("language", "a language tag like en or pt-BR"));
        }
        Ok(())
    }
}
