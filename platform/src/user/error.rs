//! What can go wrong, and what a client is told.

use axum::http::StatusCode;
use sea_orm::DbErr;
use sinew::http::Problem;
use tokio::task::JoinError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    #[error("invalid {field}: expected {expected}")]
    Rejected { field: &'static str, expected: &'static str },
    #[error("there is no such session of yours")]
    NoSession,
    #[error("the database cannot be reached")]
    Database(#[from] DbErr),
    #[error("the store cannot serve this now")]
    Store(#[from] sinew::Error),
    #[error("the work was aborted")]
    Aborted(#[from] JoinError),
}

impl UserError {
    pub(super) fn rejected(field: &'static str, expected: &'static str) -> Self {
        Self::Rejected { field, expected }
    }
}

impl From<&UserError> for Problem {
    fn from(error: &UserError) -> Self {
        let status = match error {
            UserError::Rejected { .. } => StatusCode::BAD_REQUEST,
            UserError::NoSession => StatusCode::NOT_FOUND,
            UserError::Database(cause) => {
                // Its text may name hosts and tables: for the log, not for the client.
                tracing::error!(error = %cause, "the database failed");
                StatusCode::SERVICE_UNAVAILABLE
            }
            UserError::Store(cause) => return Self::from(cause.clone()),
            UserError::Aborted(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<UserError> for Problem {
    fn from(error: UserError) -> Self {
        Self::from(&error)
    }
}
