//! A project: its row, and what goes over the wire.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

use super::error::GeneratorError;

const PROMPT_CHARS_MAX: usize = 2_000;

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "generator_project")]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    pub(crate) tenant_id: String,
    pub(crate) user_id: String,
    pub(crate) prompt: String,
    pub(crate) model: String,
    /// Why it was this model, in OpenFeature's words.
    pub(crate) reason: String,
    pub(crate) page: String,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// A project as clients and the cache see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Project {
    pub(crate) id: i64,
    pub(crate) user_id: String,
    pub(crate) prompt: String,
    pub(crate) model: String,
    pub(crate) reason: String,
    pub(crate) page: String,
}

impl From<Model> for Project {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            user_id: row.user_id,
            prompt: row.prompt,
            model: row.model,
            reason: row.reason,
            page: row.page,
        }
    }
}

/// What a client sends to have a page made.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ProjectInput {
    pub(super) prompt: String,
}

impl ProjectInput {
    pub(super) fn check(&self) -> Result<(), GeneratorError> {
        let prompt_len = self.prompt.trim().chars().count();
        if !(1..=PROMPT_CHARS_MAX).contains(&prompt_len)
            || self.prompt.chars().any(char::is_control)
        {
            return Err(GeneratorError::rejected(
                "prompt",
                "1 to 2000 characters, no control characters",
            ));
        }
        Ok(())
    }
}
