//! What can go wrong, and what a client is told.

use axum::http::StatusCode;
use sea_orm::DbErr;
use sinew::http::Problem;
use tokio::task::JoinError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CustomerError {
    #[error("invalid {field}: expected {expected}")]
    Rejected { field: &'static str, expected: &'static str },
    #[error("customer {0} does not exist")]
    NoCustomer(i64),
    #[error("the database cannot be reached")]
    Database(#[from] DbErr),
    #[error("the store cannot serve this now")]
    Store(#[from] sinew::Error),
    #[error("the work was aborted")]
    Aborted(#[from] JoinError),
}

impl CustomerError {
    pub(super) fn rejected(field: &'static str, expected: &'static str) -> Self {
        Self::Rejected { field, expected }
    }
}

impl From<&CustomerError> for Problem {
    fn from(error: &CustomerError) -> Self {
        let status = match error {
            CustomerError::Rejected { .. } => StatusCode::BAD_REQUEST,
            CustomerError::NoCustomer(_) => StatusCode::NOT_FOUND,
            CustomerError::Database(cause) => {
                // Its text may name hosts and tables: for the log, not for the client.
                tracing::error!(error = %cause, "the database failed");
                StatusCode::SERVICE_UNAVAILABLE
            }
            CustomerError::Store(cause) => return Self::from(cause.clone()),
            CustomerError::Aborted(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<CustomerError> for Problem {
    fn from(error: CustomerError) -> Self {
        Self::from(&error)
    }
}
