//! A property: its row, and what goes over the wire.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

use super::error::RentError;

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "property")]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    pub(crate) tenant_id: String,
    pub(crate) address: String,
    pub(crate) monthly_rent_cents: i64,
    pub(crate) row_version: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// A property as clients and the cache see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Property {
    pub(crate) id: i64,
    pub(crate) address: String,
    pub(crate) monthly_rent_cents: i64,
    pub(crate) row_version: i64,
}

impl From<Model> for Property {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            address: row.address,
            monthly_rent_cents: row.monthly_rent_cents,
            row_version: row.row_version,
        }
    }
}

/// What a client sends to create or change a property. What it read may be sent back whole.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PropertyInput {
    pub(crate) id: Option<i64>,
    pub(crate) address: String,
    pub(crate) monthly_rent_cents: i64,
    pub(crate) row_version: Option<i64>,
}

impl PropertyInput {
    pub(crate) fn check(&self) -> Result<(), RentError> {
        let address_len = self.address.trim().chars().count();
        if !(1..=200).contains(&address_len) || self.address.chars().any(char::is_control) {
            return Err(RentError::rejected(
                "address",
                "1 to 200 characters, no control characters",
            ));
        }
        if !(0..=CENTS_MAX).contains(&self.monthly_rent_cents) {
            return Err(RentError::rejected("monthlyRentCents", "0 to 100000000000"));
        }
        Ok(())
    }
}

/// A billion in any currency.
pub(super) const CENTS_MAX: i64 = 100_000_000_000;
