//! What a consumer has had, noted where its effects are.

use std::time::SystemTime;

use sinew::stream::Event;
use sqlx::AssertSqlSafe;

use crate::error::OutboxError;
use crate::event::millis;
use crate::row::{OutboxConnection, OutboxValue};
use crate::table::{Dialect, check_table};

const TABLE_DEFAULT: &str = "sinew_inbox";

/// Notes the events that a consumer has had, in the transaction that holds their effects: an event that is
/// delivered again has no effect again.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
/// # let streams = sinew::Sinew::embedded().streams();
/// # let _ = streams.publish("orders", &7).await?;
/// # let event = streams.events("orders", None, 1).await?.remove(0).event;
/// use sinew_outbox::{Inbox, name_of};
///
/// let inbox = Inbox::new("billing");
/// inbox.migrate_sqlite(&pool).await?;
///
/// // In the handler of an event, twice:
/// for expected in [true, false] {
///     let mut transaction = pool.begin().await?;
///     let is_first = inbox.first(&mut *transaction, &name_of(&event)).await?;
///     if is_first {
///         // … the effect …
///     }
///     transaction.commit().await?;
///     assert_eq!(is_first, expected);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Inbox {
    consumer: String,
    table: String,
}

/// What an event is called among those of all topics: by its source and its id, since an id is its source's alone.
///
/// A source that nobody said names the topic and not the tenant: where topics are tenants', put the tenant before it.
#[must_use]
pub fn name_of<T>(event: &Event<T>) -> String {
    let (source, id) = (event.source(), event.id());
    // With its length, so that they cannot run into each other.
    format!("{} {source} {id}", source.len())
}

impl Inbox {
    /// The inbox of a consumer, in the table `sinew_inbox`. Consumers are told apart by any text, such as the
    /// group's name.
    #[must_use]
    pub fn new(consumer: &str) -> Self {
        Self { consumer: consumer.to_owned(), table: TABLE_DEFAULT.to_owned() }
    }

    /// The one in another table.
    ///
    /// # Errors
    /// `Rejected` for a name that is not 1 to 48 of `a` to `z` and `_`.
    pub fn table(self, name: &str) -> Result<Self, OutboxError> {
        check_table(name)?;
        Ok(Self { table: name.to_owned(), ..self })
    }

    /// The statements that make the table, for one's own migrations. Each may run again.
    #[must_use]
    pub fn schema(&self, dialect: Dialect) -> Vec<String> {
        let Self { table, .. } = self;
        // SQLite finds a row by its key in the row itself then.
        let end = if dialect == Dialect::Sqlite { " WITHOUT ROWID" } else { "" };
        vec![
            format!(
                "CREATE TABLE IF NOT EXISTS {table} (consumer TEXT NOT NULL, event TEXT NOT NULL, \
                 at_ms BIGINT NOT NULL, PRIMARY KEY (consumer, event)){end}"
            ),
            format!("CREATE INDEX IF NOT EXISTS {table}_at ON {table} (at_ms)"),
        ]
    }

    /// Makes the table, unless it is there.
    ///
    /// # Errors
    /// What the database says.
    #[cfg(feature = "sqlite")]
    pub async fn migrate_sqlite(&self, pool: &sqlx::SqlitePool) -> Result<(), OutboxError> {
        crate::sqlite::migrate(pool, self.schema(Dialect::Sqlite)).await
    }

    /// Makes the table, unless it is there. Processes that start together wait for each other.
    ///
    /// # Errors
    /// What the database says.
    #[cfg(feature = "postgres")]
    pub async fn migrate_postgres(&self, pool: &sqlx::PgPool) -> Result<(), OutboxError> {
        crate::postgres::migrate(pool, &self.table, self.schema(Dialect::Postgres)).await
    }

    /// The statement that notes an event, with a place for each of [`Inbox::values`]. It changes one row where
    /// the event is new, and none where it was had before.
    #[must_use]
    pub fn insert_sql(&self, dialect: Dialect) -> String {
        let places = match dialect {
            Dialect::Sqlite => "?, ?, ?",
            Dialect::Postgres => "$1, $2, $3",
        };
        let Self { table, .. } = self;
        format!(
            "INSERT INTO {table} (consumer, event, at_ms) VALUES ({places}) ON CONFLICT DO NOTHING"
        )
    }

    /// What belongs into the places, in their order, of an event by [`name_of`] it.
    #[must_use]
    pub fn values(&self, name: &str) -> [OutboxValue; 3] {
        [
            OutboxValue::Text(self.consumer.clone()),
            OutboxValue::Text(name.to_owned()),
            OutboxValue::Int(millis(SystemTime::now())),
        ]
    }

    /// Notes an event by [`name_of`] it, within a transaction that is best begun with this. Whether it is the
    /// first time: otherwise the effect is there already, and the event is done. On PostgreSQL, where another
    /// transaction has noted it and is still open, this waits for its end.
    ///
    /// # Errors
    /// What the database says; the transaction is then not to be committed.
    pub async fn first<'c>(
        &self,
        transaction: impl Into<OutboxConnection<'c>>,
        name: &str,
    ) -> Result<bool, OutboxError> {
        let (consumer, at_ms) = (self.consumer.as_str(), millis(SystemTime::now()));
        let noted = match transaction.into() {
            #[cfg(feature = "sqlite")]
            OutboxConnection::Sqlite(connection) => {
                let insert = AssertSqlSafe(self.insert_sql(Dialect::Sqlite));
                let note =
                    sqlx::query::<sqlx::Sqlite>(insert).bind(consumer).bind(name).bind(at_ms);
                note.execute(connection).await?.rows_affected()
            }
            #[cfg(feature = "postgres")]
            OutboxConnection::Postgres(connection) => {
                let insert = AssertSqlSafe(self.insert_sql(Dialect::Postgres));
                let note =
                    sqlx::query::<sqlx::Postgres>(insert).bind(consumer).bind(name).bind(at_ms);
                note.execute(connection).await?.rows_affected()
            }
        };
        Ok(noted == 1)
    }

    /// Forgets what this consumer had before a time, and says how much that was. What is forgotten and
    /// delivered once more has its effect once more: keep it for longer than a topic keeps its events.
    ///
    /// # Errors
    /// What the database says.
    pub async fn forget_before<'c>(
        &self,
        connection: impl Into<OutboxConnection<'c>>,
        time: SystemTime,
    ) -> Result<u64, OutboxError> {
        let Self { consumer, table } = self;
        // With places that `sqlx` knows in both.
        let delete =
            AssertSqlSafe(format!("DELETE FROM {table} WHERE consumer = $1 AND at_ms < $2"));
        let (consumer, before_ms) = (consumer.as_str(), millis(time));
        Ok(match connection.into() {
            #[cfg(feature = "sqlite")]
            OutboxConnection::Sqlite(connection) => {
                let forget = sqlx::query::<sqlx::Sqlite>(delete).bind(consumer).bind(before_ms);
                forget.execute(connection).await?.rows_affected()
            }
            #[cfg(feature = "postgres")]
            OutboxConnection::Postgres(connection) => {
                let forget = sqlx::query::<sqlx::Postgres>(delete).bind(consumer).bind(before_ms);
                forget.execute(connection).await?.rows_affected()
            }
        })
    }
}
