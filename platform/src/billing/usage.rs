//! What a user used on a day: its row, and what goes over the wire.

use sea_orm::entity::prelude::*;
use serde::Deserialize;

use super::error::BillingError;
use crate::date;

const UNITS_MAX: i64 = 1_000_000;

#[derive(Clone, Debug, DeriveEntityModel)]
#[sea_orm(table_name = "billing_usage")]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    pub(crate) tenant_id: String,
    pub(crate) user_id: String,
    /// `YYYY-MM-DD`: sorts as text, and every database has text.
    pub(crate) used_on: String,
    pub(crate) units: i64,
    /// The one invoice that it is in.
    pub(crate) invoice_id: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// What a client sends to tell what was used.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct UsageInput {
    pub(crate) user_id: String,
    pub(crate) used_on: String,
    pub(crate) units: i64,
}

impl UsageInput {
    pub(crate) fn check(&self) -> Result<(), BillingError> {
        check_user(&self.user_id)?;
        if !date::is_plain(&self.used_on) {
            return Err(BillingError::rejected(
                "usedOn",
                "a date from 1900 to 2999, like 2026-11-21",
            ));
        }
        check_units(self.units)
    }
}

pub(super) fn check_units(units: i64) -> Result<(), BillingError> {
    match (1..=UNITS_MAX).contains(&units) {
        true => Ok(()),
        false => Err(BillingError::rejected("units", "1 to 1000000")),
    }
}

pub(super) fn check_user(user: &str) -> Result<(), BillingError> {
    let user_len = user.chars().count();
    if !(1..=64).contains(&user_len) || user.chars().any(char::is_control) {
        return Err(BillingError::rejected("userId", "1 to 64 characters, no control characters"));
    }
    Ok(())
}
