//! State and event never part, on every database.

mod inbox;
mod jobs;
mod killed;
mod relay;

// One world for all crates' tests; each needs a part of it.
#[allow(dead_code, unused_imports)]
#[path = "../../../sinew/tests/it/world/mod.rs"]
mod world;

use std::sync::LazyLock;
use std::time::Duration;

use sinew::stream::{NewEvent, StoredEvent};
use sinew::{Sinew, Streams};
use sinew_outbox::{Outbox, OutboxError, OutboxRow, Relay};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{PgPool, SqlitePool};
use world::{SHARED_REDIS, Server, start_postgres, temporary_folder};

/// No test takes longer, however slow the machine.
const TEST_MAX: Duration = Duration::from_secs(120);

static POSTGRES: LazyLock<Server> = LazyLock::new(start_postgres);

/// A database of one's own.
#[derive(Clone)]
enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Database {
    async fn sqlite() -> Self {
        let file = temporary_folder("outbox").join("outbox.db");
        Self::sqlite_at(&file.to_string_lossy()).await
    }

    async fn sqlite_at(file: &str) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(Duration::from_secs(30));
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await;
        Self::Sqlite(pool.expect("a database"))
    }

    async fn postgres() -> Self {
        // The first one to ask waits for the server to start.
        let port = tokio::task::spawn_blocking(|| POSTGRES.port).await.expect("a server");
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        let admin = PgPool::connect(&url);
        let admin = admin.await.expect("a database");
        let name = unique("outbox").replace('.', "_");
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::query(create).execute(&admin).await.expect("a database");
        let pool = PgPool::connect(&format!("postgres://postgres@127.0.0.1:{port}/{name}")).await;
        Self::Postgres(pool.expect("a database"))
    }

    async fn migrate(&self, outbox: &Outbox) {
        match self {
            Self::Sqlite(pool) => outbox.migrate_sqlite(pool).await,
            Self::Postgres(pool) => outbox.migrate_postgres(pool).await,
        }
        .expect("a table");
    }

    async fn run(&self, statement: &'static str) -> u64 {
        match self {
            Self::Sqlite(pool) => {
                let run = sqlx::query::<sqlx::Sqlite>(statement);
                run.execute(pool).await.expect("SQL").rows_affected()
            }
            Self::Postgres(pool) => {
                let run = sqlx::query::<sqlx::Postgres>(statement);
                run.execute(pool).await.expect("SQL").rows_affected()
            }
        }
    }

    async fn number(&self, question: &'static str) -> i64 {
        match self {
            Self::Sqlite(pool) => sqlx::query_scalar(question).fetch_one(pool).await,
            Self::Postgres(pool) => sqlx::query_scalar(question).fetch_one(pool).await,
        }
        .expect("a number")
    }

    /// Writes rows in one transaction, which is then committed or not.
    async fn write(&self, rows: Vec<OutboxRow>, end: End) -> Result<(), OutboxError> {
        match self {
            Self::Sqlite(pool) => {
                let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
                for row in rows {
                    row.insert(&mut *transaction).await?;
                }
                match end {
                    End::Commit => transaction.commit().await?,
                    End::RollBack => transaction.rollback().await?,
                }
            }
            Self::Postgres(pool) => {
                let mut transaction = pool.begin().await?;
                for row in rows {
                    row.insert(&mut *transaction).await?;
                }
                match end {
                    End::Commit => transaction.commit().await?,
                    End::RollBack => transaction.rollback().await?,
                }
            }
        }
        Ok(())
    }

    fn relay(&self) -> Relay {
        match self {
            Self::Sqlite(pool) => Relay::sqlite(pool.clone()),
            Self::Postgres(pool) => Relay::postgres(pool.clone()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Commit,
    RollBack,
}

/// Makes a test of each on every database.
macro_rules! on_databases {
    ($($test:ident)*) => {
        mod sqlite { $(
            #[test]
            fn $test() {
                crate::keep(|| async { super::$test(crate::Database::sqlite().await).await });
            }
        )* }
        mod postgres { $(
            #[test]
            fn $test() {
                crate::keep(|| async { super::$test(crate::Database::postgres().await).await });
            }
        )* }
    };
}
use on_databases;

fn keep<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    keep_for(TEST_MAX, test);
}

fn keep_for<F: Future<Output = ()>>(time: Duration, test: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let in_time = tokio::time::timeout(time, test()).await;
        in_time.expect("the test did not come to its end in time");
    });
}

fn unique(name: &str) -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("{name}{}.{number}", std::process::id())
}

/// A deployment of one's own, on the Redis that all share.
async fn sinew() -> Sinew {
    let port = tokio::task::spawn_blocking(|| SHARED_REDIS.port).await.expect("a server");
    sinew_at(port, &format!("{}_", unique("outbox"))).await
}

/// The same, with its streams.
async fn with_streams() -> (Sinew, Streams) {
    let sinew = sinew().await;
    let streams = sinew.streams();
    (sinew, streams)
}

async fn sinew_at(port: u16, prefix: &str) -> Sinew {
    let builder = Sinew::builder().prefix(prefix).deadline(Duration::from_secs(10));
    builder.connect(&format!("redis://127.0.0.1:{port}")).await.expect("a connection")
}

fn keyed(key: &str, data: &str) -> NewEvent {
    NewEvent { key: Some(key.to_owned()), ..NewEvent::json(data).expect("JSON") }
}

/// All events of a topic, oldest first.
async fn events(streams: &Streams, topic: &str) -> Vec<StoredEvent> {
    let (mut events, mut after) = (Vec::new(), None);
    loop {
        let page = streams.events(topic, after.as_ref(), 1_000).await.expect("an answer");
        let Some(last) = page.last() else { return events };
        after = Some(last.event.place());
        events.extend(page);
    }
}

/// What they say.
async fn said(streams: &Streams, topic: &str) -> Vec<String> {
    let events = events(streams, topic).await;
    events.iter().map(|e| serde_json::from_slice(&e.event.data).expect("a text")).collect()
}

async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let done = tokio::time::timeout(TEST_MAX / 2, wait).await;
    assert!(done.is_ok(), "never happened: {what}");
}
