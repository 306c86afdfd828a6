//! Events and jobs that are committed with what they are about, and go out after.

use sea_orm::sea_query::Value;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, Statement};
use sinew::Tenant;
use sinew::job::NewJob;
use sinew_outbox::{Dialect, Outbox, OutboxRow, OutboxValue, Relay};

use super::{Fact, event};
use crate::database::Database;

/// Writes down what happened. It is told if the transaction commits, and never if it does not.
pub(crate) async fn tell<F: Fact>(
    transaction: &DatabaseTransaction,
    tenant: &Tenant,
    fact: &F,
) -> Result<(), DbErr> {
    let event = event(tenant, fact).map_err(custom)?;
    insert(transaction, Outbox::new().row(F::TOPIC, event).map_err(custom)?).await
}

/// Writes down what is to be done. It is enqueued if the transaction commits, and never if it does not.
pub(crate) async fn enqueue(transaction: &DatabaseTransaction, job: NewJob) -> Result<(), DbErr> {
    insert(transaction, Outbox::new().job(job).map_err(custom)?).await
}

async fn insert(transaction: &DatabaseTransaction, row: OutboxRow) -> Result<(), DbErr> {
    let backend = transaction.get_database_backend();
    let (insert, values) = (row.insert_sql(dialect_of(backend)), row.values().map(value_of));
    transaction.execute_raw(Statement::from_sql_and_values(backend, insert, values)).await?;
    Ok(())
}

/// What publishes the rows of a database.
pub(super) fn relay(database: &Database) -> Relay {
    let connection = database.connection();
    match connection.get_database_backend() {
        DbBackend::Postgres => Relay::postgres(connection.get_postgres_connection_pool().clone()),
        _ => Relay::sqlite(connection.get_sqlite_connection_pool().clone()),
    }
}

/// There are these two: [`Database::check_url`] refuses others.
pub(crate) fn dialect_of(backend: DbBackend) -> Dialect {
    match backend {
        DbBackend::Postgres => Dialect::Postgres,
        _ => Dialect::Sqlite,
    }
}

pub(super) fn value_of(value: OutboxValue) -> Value {
    match value {
        OutboxValue::Text(text) => Value::from(text),
        OutboxValue::Int(number) => Value::from(number),
        OutboxValue::Bytes(bytes) => Value::from(bytes),
    }
}

fn custom(error: impl std::fmt::Display) -> DbErr {
    DbErr::Custom(error.to_string())
}
