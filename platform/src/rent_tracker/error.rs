//! What can go wrong, and what a client is told.

use axum::http::StatusCode;
use sea_orm::DbErr;
use sinew::http::Problem;
use tokio::task::JoinError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum RentError {
    #[error("{what} {id} does not exist")]
    NotFound { what: &'static str, id: i64 },
    #[error(
        "{what} {id} was changed by someone else: read it again and repeat the change on its rowVersion"
    )]
    LostUpdate { what: &'static str, id: i64 },
    #[error("invalid {field}: expected {expected}")]
    Rejected { field: &'static str, expected: &'static str },
    #[error("the database cannot be reached")]
    Database(#[from] DbErr),
    #[error("internal error")]
    Cache(#[from] sinew::Error),
    #[error("the work was aborted")]
    Aborted(#[from] JoinError),
}

impl RentError {
    pub(super) fn rejected(field: &'static str, expected: &'static str) -> Self {
        Self::Rejected { field, expected }
    }
}

impl From<&RentError> for Problem {
    fn from(error: &RentError) -> Self {
        let status = match error {
            RentError::NotFound { .. } => StatusCode::NOT_FOUND,
            RentError::LostUpdate { .. } => StatusCode::CONFLICT,
            RentError::Rejected { .. } => StatusCode::BAD_REQUEST,
            RentError::Database(cause) => {
                // Its text may name hosts and tables: for the log, not for the client.
                tracing::error!(error = %cause, "the database failed");
                StatusCode::SERVICE_UNAVAILABLE
            }
            RentError::Cache(cause) => {
                tracing::error!(error = %cause, "the cache is set up wrong");
                StatusCode::INTERNAL_SERVER_ERROR
            }
            RentError::Aborted(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<RentError> for Problem {
    fn from(error: RentError) -> Self {
        Self::from(&error)
    }
}
