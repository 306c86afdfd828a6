//! The outbox in PostgreSQL.

use std::fmt::Write as _;
use std::time::Duration;

use sinew::{Result, Sinew};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tokio::time::Instant;

use crate::error::OutboxError;
use crate::event::SHARDS;
use crate::publish::{COLUMNS, Columns, Publisher, Waiting};
use crate::relay::Next;

/// Longer than a lock is waited for in a database that is well.
const STEP_MAX: Duration = Duration::from_secs(60);

pub(crate) async fn migrate(
    pool: &PgPool,
    table: &str,
    statements: Vec<String>,
) -> Result<(), OutboxError> {
    let mut transaction = pool.begin().await?;
    // Two that make a table at once fail in spite of IF NOT EXISTS.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext($1))")
        .bind(table)
        .execute(&mut *transaction)
        .await?;
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Publishes what waits, shard by shard, up to a number of rows of each.
pub(crate) async fn round<S>(
    pool: &PgPool,
    table: &str,
    batch: usize,
    publisher: &mut Publisher<S>,
) -> Result<Next, OutboxError>
where
    S: Fn(Option<&str>) -> Result<Sinew> + Send + Sync,
{
    let mut connection = in_time(pool.acquire()).await?;
    let done = round_on(&mut connection, table, batch, publisher).await;
    if done.is_err() {
        // It may never answer again: the pool is not to wait for it, or have it back.
        connection.close_on_drop();
    }
    done
}

async fn round_on<S>(
    connection: &mut PgConnection,
    table: &str,
    batch: usize,
    publisher: &mut Publisher<S>,
) -> Result<Next, OutboxError>
where
    S: Fn(Option<&str>) -> Result<Sinew> + Send + Sync,
{
    let (ids, marks) = publisher.owed();
    if !ids.is_empty() {
        let delete = format!("DELETE FROM {table} WHERE id = ANY($1) AND mark = ANY($2)");
        let delete = sqlx::query::<sqlx::Postgres>(AssertSqlSafe(delete)).bind(ids).bind(marks);
        in_time(delete.execute(&mut *connection)).await?;
    }
    publisher.has_paid();
    let held = publisher.held();
    let mut but = String::new();
    for at in 0..held.len() {
        // The first place is for a shard, or for the last one's number.
        let (tenant, topic) = (2 * at + 2, 2 * at + 3);
        let _ = write!(but, " AND NOT (tenant = ${tenant} AND topic = ${topic})");
    }
    let shards = format!(
        "SELECT one.shard FROM generate_series(0, $1) AS one (shard) WHERE EXISTS \
         (SELECT 1 FROM {table} AS waiting WHERE waiting.shard = one.shard{but})"
    );
    let mut query = sqlx::query_scalar::<sqlx::Postgres, i32>(AssertSqlSafe(shards))
        .bind(i32::from(SHARDS) - 1);
    for (tenant, topic) in &held {
        query = query.bind(tenant.clone()).bind(topic.clone());
    }
    let began = Instant::now();
    let mut shards = in_time(query.fetch_all(&mut *connection)).await?;
    publisher.looked(began);
    // Relays that begin at the same one would get in each other's way.
    fastrand::shuffle(&mut shards);
    let select =
        format!("SELECT {COLUMNS} FROM {table} WHERE shard = $1{but} ORDER BY id LIMIT {batch}");
    let mut next = Next::Wait;
    for shard in shards {
        let mut transaction = in_time(connection.begin()).await?;
        let began = Instant::now();
        let rows = read(&mut transaction, table, shard, &select, &held).await?;
        publisher.looked(began);
        let count = rows.len();
        if count > 0 {
            let settled = publisher.publish(rows).await;
            if count == batch && settled.len() > 0 {
                next = Next::Again;
            }
            settle(&mut transaction, format!("DELETE FROM {table}"), settled.done).await?;
            let aside = format!("UPDATE {table} SET shard = -1");
            settle(&mut transaction, aside, settled.refused).await?;
        }
        in_time(transaction.commit()).await?;
        publisher.has_paid();
    }
    Ok(next)
}

/// The first rows of a shard, which nobody else reads before the transaction ends; none where someone else does.
///
/// The lock is the shard's. Row locks with SKIP LOCKED would let a relay pass a row that another one
/// is still publishing, and a later event of its key would be there first.
async fn read(
    transaction: &mut PgConnection,
    table: &str,
    shard: i32,
    select: &str,
    held: &[(String, String)],
) -> Result<Vec<Waiting>, OutboxError> {
    let lock = "SELECT pg_try_advisory_xact_lock(hashtext($1), $2)";
    let lock = sqlx::query_scalar::<sqlx::Postgres, bool>(lock).bind(table).bind(shard);
    let is_ours = in_time(lock.fetch_one(&mut *transaction)).await?;
    if !is_ours {
        return Ok(Vec::new());
    }
    let select = AssertSqlSafe(select.to_owned());
    let mut query = sqlx::query_as::<sqlx::Postgres, Columns>(select).bind(shard);
    for (tenant, topic) in held {
        query = query.bind(tenant.clone()).bind(topic.clone());
    }
    let rows = in_time(query.fetch_all(transaction)).await?;
    Ok(rows.into_iter().map(Waiting::from).collect())
}

async fn settle(
    connection: &mut PgConnection,
    what: String,
    ids: Vec<i64>,
) -> Result<(), OutboxError> {
    if ids.is_empty() {
        return Ok(());
    }
    let change = AssertSqlSafe(format!("{what} WHERE id = ANY($1)"));
    let change = sqlx::query::<sqlx::Postgres>(change).bind(ids);
    in_time(change.execute(connection)).await?;
    Ok(())
}

/// What a database answers that is there. Without a limit, one that has gone without a word would be waited for
/// for ever.
async fn in_time<T>(step: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, OutboxError> {
    match tokio::time::timeout(STEP_MAX, step).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::in_time;

    #[tokio::test(start_paused = true)]
    async fn a_database_that_does_not_answer_is_given_up_for_now() {
        let never = std::future::pending::<Result<(), sqlx::Error>>();
        let error = in_time(never).await.expect_err("it never ends");
        assert!(!error.is_final(), "{error}");
    }
}
