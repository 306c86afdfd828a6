//! The database: SQLite in a file or in memory, or PostgreSQL, by URL.

use std::time::Duration;

use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, DbBackend, DbErr};
use sea_orm_migration::MigratorTrait;

use crate::migration::Migrator;

/// Attempts to migrate: a process that starts beside another may find it half-way through.
const MIGRATION_ATTEMPTS: u32 = 5;

/// An open database with all migrations applied.
#[derive(Clone)]
pub struct Database(DatabaseConnection);

/// Why a database could not be opened. Never shows the URL: it may hold a password.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot open the database: {0}; expected sqlite::memory:, sqlite://FILE?mode=rwc or postgres://…"
)]
pub struct OpenError(String);

impl Database {
    /// Opens a database and brings its tables up to date.
    ///
    /// # Errors
    /// When the URL is not one, nothing answers there, or a migration fails.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        Self::check_url(url)?;
        let connection =
            connect(url).await.map_err(|e| OpenError(e.to_string().replace(url, "…")))?;
        migrate(&connection).await.map_err(|e| OpenError(format!("migration failed: {e}")))?;
        Ok(Self(connection))
    }

    /// Whether [`Database::open`] knows this kind of URL, without opening anything.
    ///
    /// # Errors
    /// When it does not.
    pub fn check_url(url: &str) -> Result<(), OpenError> {
        match ["sqlite:", "postgres:", "postgresql:"].iter().any(|kind| url.starts_with(kind)) {
            true => Ok(()),
            false => Err(OpenError("unknown kind of database".to_owned())),
        }
    }

    /// What it is, in words; never its URL, which may hold a password.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.0.get_database_backend() {
            DbBackend::Sqlite => "SQLite",
            DbBackend::Postgres => "PostgreSQL",
            _ => "of another kind",
        }
    }

    /// The connection, for one query of this name. Queries are counted, so that anyone can see
    /// what the cache saves.
    pub(crate) fn query(&self, name: &'static str) -> &DatabaseConnection {
        metrics::counter!("platform_database_queries_total", "query" => name).increment(1);
        &self.0
    }

    /// The connection, for what is nobody's query.
    pub(crate) fn connection(&self) -> &DatabaseConnection {
        &self.0
    }
}

async fn connect(url: &str) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(url);
    options
        .sqlx_logging(false)
        .connect_timeout(Duration::from_secs(5))
        .acquire_timeout(Duration::from_secs(5));
    if url.starts_with("sqlite:") {
        if url.contains(":memory:") {
            // Each connection would have a database of its own, and lose it when it idles.
            options.min_connections(1).max_connections(1);
            options.idle_timeout(None::<Duration>).max_lifetime(None::<Duration>);
            // Whoever goes away during such a test takes the connection along.
            options.test_before_acquire(false);
        } else {
            options.max_connections(4);
        }
    }
    sea_orm::Database::connect(options).await
}

async fn prepare(connection: &DatabaseConnection) -> Result<(), DbErr> {
    if connection.get_database_backend() == DbBackend::Sqlite {
        // Readers go on while someone writes, also in another process.
        connection.execute_unprepared("PRAGMA journal_mode = WAL").await?;
    }
    Migrator::up(connection, None).await
}

async fn migrate(connection: &DatabaseConnection) -> Result<(), DbErr> {
    let mut attempt = 1;
    loop {
        match prepare(connection).await {
            Err(_) if attempt < MIGRATION_ATTEMPTS => attempt += 1,
            result => return result,
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
