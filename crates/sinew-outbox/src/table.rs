//! The outbox: which table it is, and what a row of it becomes.

use std::sync::Arc;
use std::time::SystemTime;

use sinew::job::NewJob;
use sinew::stream::{NewEvent, check_topic};

use crate::error::OutboxError;
use crate::row::OutboxRow;
use crate::{event, item, job};

const TABLE_DEFAULT: &str = "sinew_outbox";
const TABLE_LEN_MAX: usize = 48;

/// Whose SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite 3.24 or newer.
    Sqlite,
    /// PostgreSQL 12 or newer.
    Postgres,
}

/// A table of events and jobs that wait for their publication. Cheap to clone.
///
/// ```
/// use sinew_outbox::{Dialect, Outbox};
///
/// let outbox = Outbox::new().table("billing_outbox")?;
/// assert!(outbox.schema(Dialect::Postgres)[0].starts_with("CREATE TABLE IF NOT EXISTS billing_outbox"));
/// # Ok::<(), sinew_outbox::OutboxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Outbox {
    table: Arc<Table>,
}

/// A table, and the statements that go by its name.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) insert_sqlite: String,
    pub(crate) insert_postgres: String,
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Outbox {
    /// The outbox in the table `sinew_outbox`.
    #[must_use]
    pub fn new() -> Self {
        Self { table: Arc::new(Table::new(TABLE_DEFAULT)) }
    }

    /// The one in another table.
    ///
    /// # Errors
    /// `Rejected` for a name that is not 1 to 48 of `a` to `z` and `_`.
    pub fn table(self, name: &str) -> Result<Self, OutboxError> {
        check_table(name)?;
        Ok(Self { table: Arc::new(Table::new(name)) })
    }

    /// The statements that make the table, for one's own migrations. Each may run again.
    #[must_use]
    pub fn schema(&self, dialect: Dialect) -> Vec<String> {
        let (name, id, bytes) = match dialect {
            // A number that was used once is never used again.
            Dialect::Sqlite => (&self.table.name, "INTEGER PRIMARY KEY AUTOINCREMENT", "BLOB"),
            Dialect::Postgres => (&self.table.name, "BIGSERIAL PRIMARY KEY", "BYTEA"),
        };
        vec![
            format!(
                "CREATE TABLE IF NOT EXISTS {name} (id {id}, tenant TEXT NOT NULL, topic TEXT NOT NULL, \
                 mark TEXT NOT NULL, shard SMALLINT NOT NULL, event {bytes} NOT NULL, written_ms BIGINT NOT NULL)"
            ),
            format!("CREATE INDEX IF NOT EXISTS {name}_shard ON {name} (shard, id)"),
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
        crate::postgres::migrate(pool, &self.table.name, self.schema(Dialect::Postgres)).await
    }

    /// A row that is to be written: an event for a topic. Without an id it is given one of its own, by which
    /// it is known however often it is published; without a time, this moment's.
    ///
    /// # Errors
    /// `Rejected` for a topic that cannot be published to. An event that is too long is found out by
    /// the relay, which sets it aside.
    pub fn row(&self, topic: &str, event: NewEvent) -> Result<OutboxRow, OutboxError> {
        // Found out here, where the caller can still be told.
        check_topic(topic).map_err(|error| OutboxError::rejected(error.to_string()))?;
        let (mark, shard) = (event::mark()?, event::shard(event.key.as_deref()));
        let event = event::to_json(event, &mark, SystemTime::now())?;
        Ok(OutboxRow::new(Arc::clone(&self.table), topic.to_owned(), mark, shard, event))
    }

    /// A row that is to be written: a job for its queue. It has its id from now on, and is there once however often it is
    /// enqueued, for ten minutes after it was done as well, hence is kept for so long; its delay counts from now.
    ///
    /// # Errors
    /// `Rejected` for a job that cannot be enqueued. One that is too long is found out by the relay, which sets it
    /// aside.
    pub fn job(&self, job: NewJob) -> Result<OutboxRow, OutboxError> {
        let (mark, shard) = (event::mark()?, event::shard(job.key.as_deref()));
        let topic = item::of_queue(&job.queue);
        let job = job::to_json(job, SystemTime::now())?;
        Ok(OutboxRow::new(Arc::clone(&self.table), topic, mark, shard, job))
    }

    pub(crate) fn name(&self) -> &str {
        &self.table.name
    }
}

impl Table {
    fn new(name: &str) -> Self {
        let into =
            format!("INSERT INTO {name} (tenant, topic, mark, shard, event, written_ms) VALUES");
        Self {
            name: name.to_owned(),
            insert_sqlite: format!("{into} (?, ?, ?, ?, ?, ?)"),
            insert_postgres: format!("{into} ($1, $2, $3, $4, $5, $6)"),
        }
    }
}

/// Names go into statements as they are, hence only what needs no quotes.
pub(crate) fn check_table(name: &str) -> Result<(), OutboxError> {
    let is_one = !name.is_empty()
        && name.len() <= TABLE_LEN_MAX
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    match is_one {
        true => Ok(()),
        false => Err(OutboxError::rejected(format!(
            "expected a table of 1 to {TABLE_LEN_MAX} of a-z and _, not {name:?}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use sinew::job::NewJob;
    use sinew::stream::NewEvent;

    use super::{Dialect, Outbox};
    use crate::row::OutboxValue;

    #[test]
    fn a_name_that_would_need_quotes_is_refused() {
        for name in ["", "Outbox", "a b", "a;drop", "outbox7", &"a".repeat(49)] {
            assert!(Outbox::new().table(name).is_err(), "{name}");
        }
        assert!(Outbox::new().table(&"a".repeat(48)).is_ok());
    }

    #[test]
    fn a_topic_that_cannot_be_published_to_is_refused_before_it_is_written() {
        let row = |topic: &str| Outbox::new().row(topic, NewEvent::default());
        for topic in ["", ".", "..", "or ders", "orders.dead", &"a".repeat(129)] {
            assert!(row(topic).is_err(), "{topic}");
        }
        assert!(row("Orders-7.eu_1").is_ok());
    }

    #[test]
    fn a_row_says_for_which_queue_its_job_is() {
        let job = NewJob { queue: "mail".to_owned(), ..NewJob::new("email.send", "{}") };
        let row = Outbox::new().job(job).expect("a row");
        assert_eq!(row.values()[1], OutboxValue::Text("queue:mail".to_owned()));
        assert!(Outbox::new().row("queue:mail", NewEvent::default()).is_err(), "it is no topic");
        assert!(Outbox::new().job(NewJob::new("email.send", "{}")).is_err(), "for no queue");
    }

    #[test]
    fn every_statement_goes_by_the_table() {
        let outbox = Outbox::new().table("mine").expect("a name");
        for dialect in [Dialect::Sqlite, Dialect::Postgres] {
            for statement in outbox.schema(dialect) {
                assert!(statement.contains(" mine ("), "{statement}");
            }
            let row = outbox.row("orders", NewEvent::default()).expect("a row");
            assert!(row.insert_sql(dialect).starts_with("INSERT INTO mine ("));
        }
    }
}
