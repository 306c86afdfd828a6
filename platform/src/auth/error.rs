//! What can go wrong, and what a client is told.

use axum::http::StatusCode;
use sea_orm::DbErr;
use sinew::http::Problem;
use tokio::task::JoinError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthError {
    #[error("invalid {field}: expected {expected}")]
    Rejected { field: &'static str, expected: &'static str },
    /// One text for both: which of them it was is nobody's business.
    #[error("the email or the password is not right")]
    Wrong,
    #[error("there is an account of this email already")]
    Taken,
    #[error("the account of this token does not exist any more")]
    NoAccount,
    #[error("the session was ended while it began: sign in again")]
    Ended,
    #[error("too many sign in at once: try again soon")]
    Busy,
    #[error("internal error")]
    Unhashed,
    #[error("the database cannot be reached")]
    Database(#[from] DbErr),
    #[error("the store cannot serve this now")]
    Store(#[from] sinew::Error),
    #[error("the work was aborted")]
    Aborted(#[from] JoinError),
}

impl AuthError {
    pub(super) fn rejected(field: &'static str, expected: &'static str) -> Self {
        Self::Rejected { field, expected }
    }
}

impl From<&AuthError> for Problem {
    fn from(error: &AuthError) -> Self {
        let status = match error {
            AuthError::Rejected { .. } => StatusCode::BAD_REQUEST,
            AuthError::Wrong | AuthError::Ended => StatusCode::UNAUTHORIZED,
            AuthError::Taken => StatusCode::CONFLICT,
            AuthError::NoAccount => StatusCode::NOT_FOUND,
            AuthError::Unhashed => {
                tracing::error!("a password could not be hashed");
                StatusCode::INTERNAL_SERVER_ERROR
            }
            AuthError::Database(cause) => {
                // Its text may name hosts and tables: for the log, not for the client.
                tracing::error!(error = %cause, "the database failed");
                StatusCode::SERVICE_UNAVAILABLE
            }
            AuthError::Store(cause) => return Self::from(cause.clone()),
            AuthError::Busy | AuthError::Aborted(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        Self::from(&error)
    }
}
