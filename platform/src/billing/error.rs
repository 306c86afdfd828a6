//! What can go wrong, and what a client is told.

use axum::http::StatusCode;
use sea_orm::DbErr;
use sinew::http::Problem;

/// Why billing could not do what it was asked for. That someone else runs the month is no error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BillingError {
    /// The input is not acceptable.
    #[error("invalid {field}: expected {expected}")]
    Rejected {
        /// What was wrong.
        field: &'static str,
        /// What was expected.
        expected: &'static str,
    },
    /// There is no such invoice.
    #[error("invoice {0} does not exist")]
    NoInvoice(i64),
    /// The database failed.
    #[error("the database cannot be reached")]
    Database(#[from] DbErr),
    /// The lock could not be asked for, or a cache is set up wrong.
    #[error("the store cannot serve this now")]
    Store(#[from] sinew::Error),
    /// The work panicked, or the runtime stopped it.
    #[error("the work was aborted")]
    Aborted,
}

impl BillingError {
    pub(super) fn rejected(field: &'static str, expected: &'static str) -> Self {
        Self::Rejected { field, expected }
    }
}

impl From<&BillingError> for Problem {
    fn from(error: &BillingError) -> Self {
        let status = match error {
            BillingError::Rejected { .. } => StatusCode::BAD_REQUEST,
            BillingError::NoInvoice(_) => StatusCode::NOT_FOUND,
            BillingError::Database(cause) => {
                // Its text may name hosts and tables: for the log, not for the client.
                tracing::error!(error = %cause, "the database failed");
                StatusCode::SERVICE_UNAVAILABLE
            }
            BillingError::Store(cause) => return Self::from(cause.clone()),
            BillingError::Aborted => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<BillingError> for Problem {
    fn from(error: BillingError) -> Self {
        Self::from(&error)
    }
}
