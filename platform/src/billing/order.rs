//! An order of units, as clients send it.

use serde::Deserialize;

use super::error::BillingError;
use super::usage::{check_units, check_user};

/// What a client sends to order units. The id is the client's own: sent again, it is the same order.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OrderInput {
    pub(super) order_id: String,
    pub(super) user_id: String,
    pub(super) units: i64,
}

impl OrderInput {
    pub(super) fn check(&self) -> Result<(), BillingError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=64).contains(&self.order_id.len()) || !self.order_id.bytes().all(is_allowed) {
            return Err(BillingError::rejected("orderId", "1 to 64 of A-Z a-z 0-9 . _ -"));
        }
        check_user(&self.user_id)?;
        check_units(self.units)
    }
}
