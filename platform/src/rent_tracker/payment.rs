//! A payment: its row, and what goes over the wire.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

use super::error::RentError;
use super::property::CENTS_MAX;
use crate::date;

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "payment")]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    pub(crate) tenant_id: String,
    pub(crate) property_id: i64,
    pub(crate) amount_cents: i64,
    /// `YYYY-MM-DD`: sorts as text, and every database has text.
    pub(crate) paid_on: String,
    pub(crate) row_version: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// A payment as clients and the cache see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Payment {
    pub(crate) id: i64,
    pub(crate) property_id: i64,
    pub(crate) amount_cents: i64,
    pub(crate) paid_on: String,
    pub(crate) row_version: i64,
}

impl From<Model> for Payment {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            property_id: row.property_id,
            amount_cents: row.amount_cents,
            paid_on: row.paid_on,
            row_version: row.row_version,
        }
    }
}

/// What a client sends to create or change a payment. What it read may be sent back whole.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PaymentInput {
    pub(crate) id: Option<i64>,
    pub(crate) property_id: Option<i64>,
    pub(crate) amount_cents: i64,
    pub(crate) paid_on: String,
    pub(crate) row_version: Option<i64>,
}

impl PaymentInput {
    pub(crate) fn check(&self) -> Result<(), RentError> {
        if !(1..=CENTS_MAX).contains(&self.amount_cents) {
            return Err(RentError::rejected("amountCents", "1 to 100000000000"));
        }
        if !date::is_plain(&self.paid_on) {
            return Err(RentError::rejected("paidOn", "a date from 1900 to 2999, like 2026-11-21"));
        }
        Ok(())
    }
}
