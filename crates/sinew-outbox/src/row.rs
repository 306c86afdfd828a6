//! A row that is to be written within the caller's transaction.

use std::sync::Arc;
use std::time::SystemTime;

use sqlx::AssertSqlSafe;

use crate::error::OutboxError;
use crate::event::millis;
use crate::table::{Dialect, Table};

/// An event, or a job, on its way into the outbox. Nothing has happened before it is inserted.
#[derive(Clone, Debug)]
#[must_use = "what is not inserted is not published"]
pub struct OutboxRow {
    table: Arc<Table>,
    tenant: String,
    topic: String,
    mark: String,
    shard: i16,
    event: Vec<u8>,
}

/// A value of a row, for libraries that are not `sqlx`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutboxValue {
    /// A text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// A connection of either database, within a transaction or not.
#[derive(Debug)]
pub enum OutboxConnection<'c> {
    /// SQLite.
    #[cfg(feature = "sqlite")]
    Sqlite(&'c mut sqlx::SqliteConnection),
    /// PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres(&'c mut sqlx::PgConnection),
}

#[cfg(feature = "sqlite")]
impl<'c> From<&'c mut sqlx::SqliteConnection> for OutboxConnection<'c> {
    fn from(connection: &'c mut sqlx::SqliteConnection) -> Self {
        Self::Sqlite(connection)
    }
}

#[cfg(feature = "postgres")]
impl<'c> From<&'c mut sqlx::PgConnection> for OutboxConnection<'c> {
    fn from(connection: &'c mut sqlx::PgConnection) -> Self {
        Self::Postgres(connection)
    }
}

impl OutboxRow {
    pub(crate) fn new(
        table: Arc<Table>,
        topic: String,
        mark: String,
        shard: i16,
        event: Vec<u8>,
    ) -> Self {
        Self { table, tenant: String::new(), topic, mark, shard, event }
    }

    /// Publishes it to the topic, or the queue, of a tenant.
    pub fn tenant(mut self, tenant: &str) -> Self {
        tenant.clone_into(&mut self.tenant);
        self
    }

    /// The statement that writes it, with a place for each of [`OutboxRow::values`].
    #[must_use]
    pub fn insert_sql(&self, dialect: Dialect) -> &str {
        match dialect {
            Dialect::Sqlite => &self.table.insert_sqlite,
            Dialect::Postgres => &self.table.insert_postgres,
        }
    }

    /// What belongs into the places, in their order.
    #[must_use]
    pub fn values(&self) -> [OutboxValue; 6] {
        [
            OutboxValue::Text(self.tenant.clone()),
            OutboxValue::Text(self.topic.clone()),
            OutboxValue::Text(self.mark.clone()),
            OutboxValue::Int(i64::from(self.shard)),
            OutboxValue::Bytes(self.event.clone()),
            OutboxValue::Int(millis(SystemTime::now())),
        ]
    }

    /// Writes it on a connection. It is published if the transaction of that connection commits, and is
    /// gone if it does not.
    ///
    /// # Errors
    /// What the database says; the transaction is then not to be committed.
    pub async fn insert<'c>(
        self,
        connection: impl Into<OutboxConnection<'c>>,
    ) -> Result<(), OutboxError> {
        match connection.into() {
            #[cfg(feature = "sqlite")]
            OutboxConnection::Sqlite(connection) => {
                let insert = AssertSqlSafe(self.table.insert_sqlite.clone());
                let row = sqlx::query::<sqlx::Sqlite>(insert)
                    .bind(self.tenant)
                    .bind(self.topic)
                    .bind(self.mark)
                    .bind(self.shard)
                    .bind(self.event)
                    .bind(millis(SystemTime::now()));
                row.execute(connection).await?;
            }
            #[cfg(feature = "postgres")]
            OutboxConnection::Postgres(connection) => {
                let insert = AssertSqlSafe(self.table.insert_postgres.clone());
                let row = sqlx::query::<sqlx::Postgres>(insert)
                    .bind(self.tenant)
                    .bind(self.topic)
                    .bind(self.mark)
                    .bind(self.shard)
                    .bind(self.event)
                    .bind(millis(SystemTime::now()));
                row.execute(connection).await?;
            }
        }
        Ok(())
    }
}
