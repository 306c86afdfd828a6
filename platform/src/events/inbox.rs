//! Events that were heard, noted in the transaction that holds their effect.

use std::time::{Duration, SystemTime};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, Statement};
use sinew_outbox::{Inbox, OutboxError};

use super::BILLING;
use super::outbox::{dialect_of, value_of};
use crate::database::Database;

/// Dead letters are kept for 90 days, and may be given back until then.
const KEEP: Duration = Duration::from_secs(100 * 86_400);
const LOOK_EVERY: Duration = Duration::from_secs(3_600);

/// Notes that `billing` has an event of this name. Whether it is the first time: otherwise the effect is there.
///
/// To be the first statement of a transaction. Where another one has noted it and is still open, this waits.
pub(crate) async fn is_first(
    transaction: &DatabaseTransaction,
    event: &str,
) -> Result<bool, DbErr> {
    let (backend, inbox) = (transaction.get_database_backend(), Inbox::new(BILLING));
    let insert = inbox.insert_sql(dialect_of(backend));
    let values = inbox.values(event).map(value_of);
    let note = Statement::from_sql_and_values(backend, insert, values);
    Ok(transaction.execute_raw(note).await?.rows_affected() == 1)
}

/// Forgets what cannot come again, for as long as it is polled.
pub(super) async fn keep_short(database: &Database) {
    loop {
        let before = SystemTime::now().checked_sub(KEEP).unwrap_or(SystemTime::UNIX_EPOCH);
        match forget(database, before).await {
            Ok(forgotten) => tracing::debug!(forgotten, "the inbox was looked through"),
            Err(error) => tracing::warn!(%error, "the inbox grows: it could not be looked through"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn forget(database: &Database, before: SystemTime) -> Result<u64, OutboxError> {
    let (connection, inbox) = (database.connection(), Inbox::new(BILLING));
    match connection.get_database_backend() {
        DbBackend::Postgres => {
            let mut held = connection.get_postgres_connection_pool().acquire().await?;
            inbox.forget_before(&mut *held, before).await
        }
        _ => {
            let mut held = connection.get_sqlite_connection_pool().acquire().await?;
            inbox.forget_before(&mut *held, before).await
        }
    }
}
