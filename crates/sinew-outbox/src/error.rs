//! What can go wrong between a service and its outbox.

/// Why a row was not written, or a relay ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// A name, an event or a job cannot be; the words say what was expected.
    #[error("{0}")]
    Rejected(String),
    /// The database refused, or is away.
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
}

impl OutboxError {
    pub(crate) fn rejected(expected: impl Into<String>) -> Self {
        Self::Rejected(expected.into())
    }

    /// Whether waiting will not help: the table is not there, is another one, or may not be used.
    pub(crate) fn is_final(&self) -> bool {
        let Self::Database(sqlx::Error::Database(refusal)) = self else {
            return !matches!(self, Self::Database(_));
        };
        // SQLite: an error in the statement. PostgreSQL: no such table or column, no permission.
        let code = refusal.code();
        matches!(code.as_deref(), Some("1" | "42P01" | "42703" | "42501"))
    }
}
