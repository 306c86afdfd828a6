//! What can go wrong, and what a client is told.

use axum::http::StatusCode;
use sea_orm::DbErr;
use sinew::http::Problem;
use tokio::task::JoinError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum GeneratorError {
    #[error("invalid {field}: expected {expected}")]
    Rejected { field: &'static str, expected: &'static str },
    #[error("project {0} does not exist")]
    NoProject(i64),
    #[error("there is no such image, or not any more")]
    NoImage,
    #[error("the database cannot be reached")]
    Database(#[from] DbErr),
    #[error("the store cannot serve this now")]
    Store(#[from] sinew::Error),
    #[error("the work was aborted")]
    Aborted(#[from] JoinError),
}

impl GeneratorError {
    pub(super) fn rejected(field: &'static str, expected: &'static str) -> Self {
        Self::Rejected { field, expected }
    }
}

impl From<&GeneratorError> for Problem {
    fn from(error: &GeneratorError) -> Self {
        let status = match error {
            GeneratorError::Rejected { .. } => StatusCode::BAD_REQUEST,
            GeneratorError::NoProject(_) | GeneratorError::NoImage => StatusCode::NOT_FOUND,
            GeneratorError::Database(cause) => {
                // Its text may name hosts and tables: for the log, not for the client.
                tracing::error!(error = %cause, "the database failed");
                StatusCode::SERVICE_UNAVAILABLE
            }
            GeneratorError::Store(cause) => return Self::from(cause.clone()),
            GeneratorError::Aborted(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<GeneratorError> for Problem {
    fn from(error: GeneratorError) -> Self {
        Self::from(&error)
    }
}
