//! The outbox in SQLite.

use sinew::{Result, Sinew};
use sqlx::{AssertSqlSafe, SqlitePool};
use tokio::time::Instant;

use crate::error::OutboxError;
use crate::publish::{COLUMNS, Columns, Publisher, Waiting};
use crate::relay::Next;

pub(crate) async fn migrate(pool: &SqlitePool, statements: Vec<String>) -> Result<(), OutboxError> {
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement)).execute(pool).await?;
    }
    Ok(())
}

/// Publishes what waits, up to a number of rows.
///
/// No transaction spans the publication: it would keep everyone from writing. Two relays may read the same
/// rows then; each publishes them in their order, so that neither is ahead of what the other has left out.
pub(crate) async fn round<S>(
    pool: &SqlitePool,
    table: &str,
    batch: usize,
    publisher: &mut Publisher<S>,
) -> Result<Next, OutboxError>
where
    S: Fn(Option<&str>) -> Result<Sinew> + Send + Sync,
{
    let (ids, marks) = publisher.owed();
    if !ids.is_empty() {
        let places = vec!["?"; ids.len()].join(", ");
        let delete = format!("DELETE FROM {table} WHERE id IN ({places}) AND mark IN ({places})");
        let delete = sqlx::query::<sqlx::Sqlite>(AssertSqlSafe(delete));
        let delete = ids.into_iter().fold(delete, sqlx::query::Query::bind);
        marks.into_iter().fold(delete, sqlx::query::Query::bind).execute(pool).await?;
    }
    publisher.has_paid();
    let held = publisher.held();
    let but = " AND NOT (tenant = ? AND topic = ?)".repeat(held.len());
    let select =
        format!("SELECT {COLUMNS} FROM {table} WHERE shard >= 0{but} ORDER BY id LIMIT {batch}");
    let mut query = sqlx::query_as::<sqlx::Sqlite, Columns>(AssertSqlSafe(select));
    for (tenant, topic) in held {
        query = query.bind(tenant).bind(topic);
    }
    let began = Instant::now();
    let rows: Vec<Waiting> = query.fetch_all(pool).await?.into_iter().map(Waiting::from).collect();
    publisher.looked(began);
    let read = rows.len();
    if read == 0 {
        return Ok(Next::Wait);
    }
    let settled = publisher.publish(rows).await;
    let is_full = read == batch && settled.len() > 0;
    settle(pool, format!("DELETE FROM {table}"), settled.done).await?;
    publisher.has_paid();
    settle(pool, format!("UPDATE {table} SET shard = -1"), settled.refused).await?;
    Ok(if is_full { Next::Again } else { Next::Wait })
}

async fn settle(pool: &SqlitePool, what: String, ids: Vec<i64>) -> Result<(), OutboxError> {
    if ids.is_empty() {
        return Ok(());
    }
    let places = vec!["?"; ids.len()].join(", ");
    let mut query =
        sqlx::query::<sqlx::Sqlite>(AssertSqlSafe(format!("{what} WHERE id IN ({places})")));
    for id in ids {
        query = query.bind(id);
    }
    query.execute(pool).await?;
    Ok(())
}
