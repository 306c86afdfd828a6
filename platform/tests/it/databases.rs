//! The databases that the platform is tested on.

use std::sync::LazyLock;

use sea_orm::ConnectionTrait;

use crate::world::{Server, start_postgres};

static POSTGRES: LazyLock<Server> = LazyLock::new(start_postgres);

/// The PostgreSQL that all tests share, each as a tenant of its own.
pub async fn postgres_url() -> String {
    let port = tokio::task::spawn_blocking(|| POSTGRES.port).await.unwrap();
    format!("postgres://postgres@127.0.0.1:{port}/postgres")
}

/// A database there that no other test has.
pub async fn postgres_of_its_own() -> String {
    let shared = postgres_url().await;
    let name = format!("d{:x}", fastrand::u64(..));
    let connection = sea_orm::Database::connect(shared.as_str()).await.expect("a database");
    let create = format!("CREATE DATABASE {name}");
    connection.execute_unprepared(&create).await.expect("a database of its own");
    let (server, _) = shared.rsplit_once('/').expect("a URL");
    format!("{server}/{name}")
}

/// Makes a test of each promise on every database: SQLite in memory, SQLite in a file, PostgreSQL.
macro_rules! on_every_database {
    ($(async fn $name:ident($world:ident: $kind:ident) $body:block)*) => {
        $(async fn $name($world: $kind) $body)*

        mod sqlite_memory { $(
            #[tokio::test]
            async fn $name() { super::$name(super::$kind::open("sqlite::memory:").await).await }
        )* }
        mod sqlite_file { $(
            #[tokio::test]
            async fn $name() {
                let folder = tempfile::tempdir().unwrap();
                let url = format!("sqlite://{}/platform.db?mode=rwc", folder.path().display());
                super::$name(super::$kind::open(&url).await).await
            }
        )* }
        mod postgres { $(
            #[tokio::test]
            async fn $name() {
                let url = crate::databases::postgres_url().await;
                super::$name(super::$kind::open(&url).await).await
            }
        )* }
    };
}

pub(crate) use on_every_database;
