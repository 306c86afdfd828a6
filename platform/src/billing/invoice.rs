//! An invoice: its row, and what goes over the wire.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

/// What a unit costs.
pub(super) const UNIT_CENTS: i64 = 2;

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "billing_invoice")]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    pub(crate) tenant_id: String,
    pub(crate) user_id: String,
    /// `YYYY-MM`
    pub(crate) month: String,
    pub(crate) units: i64,
    pub(crate) amount_cents: i64,
    /// Of the run that wrote it.
    pub(crate) fence: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// An invoice as clients and the cache see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Invoice {
    pub(crate) id: i64,
    pub(crate) user_id: String,
    pub(crate) month: String,
    pub(crate) units: i64,
    pub(crate) amount_cents: i64,
    /// Which run wrote it: later ones have larger numbers.
    pub(crate) fence: i64,
}

impl From<Model> for Invoice {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            user_id: row.user_id,
            month: row.month,
            units: row.units,
            amount_cents: row.amount_cents,
            fence: row.fence,
        }
    }
}
