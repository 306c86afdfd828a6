//! A notice: its row, what goes over the wire, and of what there is one.

use sea_orm::entity::prelude::*;
use serde::Serialize;

use crate::events::{Fact, InvoiceCreated, OrderPlaced};

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "user_notice")]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    pub(crate) tenant_id: String,
    pub(crate) user_id: String,
    /// The name of the event: there is one notice of each.
    pub(crate) event: String,
    pub(crate) kind: String,
    pub(crate) words: String,
    /// RFC 3339
    pub(crate) happened_at: String,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// A notice as its user sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Notice {
    id: i64,
    kind: String,
    words: String,
    happened_at: String,
}

impl From<Model> for Notice {
    fn from(row: Model) -> Self {
        let Model { id, kind, words, happened_at, .. } = row;
        Self { id, kind, words, happened_at }
    }
}

/// Something that its user is told.
pub(super) trait Noticed: Fact {
    fn words(&self) -> String;
}

impl Noticed for InvoiceCreated {
    fn words(&self) -> String {
        let Self { month, units, amount_cents, .. } = self;
        format!("your invoice of {month} is written: {units} units, {amount_cents} cents")
    }
}

impl Noticed for OrderPlaced {
    fn words(&self) -> String {
        format!("your order {} is placed: {} units", self.order_id, self.units)
    }
}
