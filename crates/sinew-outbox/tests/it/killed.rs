//! A service that is killed between its commit and the publication, over and over.
//!
//! The service is this test program again, run as [`worker`]. `SINEW_OUTBOX_KILLS=200` is the long run.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sinew::Sinew;
use sinew_outbox::Outbox;

use crate::jobs::{Noting, job};
use crate::relay::relay_all;
use crate::world::{SHARED_REDIS, temporary_folder};
use crate::{Database, keep, keep_for, keyed, said, sinew_at, unique};

/// Unless the environment says how many.
const KILLS: u64 = 40;
/// Each of them is a process, a database and a connection that are opened.
const KILLS_MAX: Duration = Duration::from_secs(600);
/// What a service writes with its orders.
const EVENTS: &str = "events";
const JOBS: &str = "jobs";
const WAITING: &str = "SELECT COUNT(*) FROM sinew_outbox";

/// Not a test by itself: a service, where the environment says so. Each order it takes, it takes with the
/// event of it, or with its job; every third it rolls back.
#[test]
fn worker() {
    let Ok(file) = std::env::var("SINEW_OUTBOX_WORKER_DATABASE") else { return };
    let variable = |name: &str| std::env::var(name).expect("a variable");
    let store = variable("SINEW_OUTBOX_WORKER_STORE");
    let prefix = variable("SINEW_OUTBOX_WORKER_PREFIX");
    let life: u64 = variable("SINEW_OUTBOX_WORKER_LIFE").parse().expect("a number");
    let has_jobs = variable("SINEW_OUTBOX_WORKER_WRITES") == JOBS;
    keep(|| async move {
        let database = Database::sqlite_at(&file).await;
        let Database::Sqlite(pool) = &database else { return };
        let sinew = Sinew::builder().prefix(&prefix).connect_lazy(&store).expect("a URL");
        let relay = database.relay().poll(Duration::from_millis(1)).batch(3);
        let waker = relay.wake();
        tokio::spawn(relay.run(move |_| Ok(sinew.clone()), std::future::pending()));
        for n in 0..1_000 {
            let order = format!("{life} {n}");
            let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await.expect("a transaction");
            let state = sqlx::query("INSERT INTO orders (name) VALUES (?)").bind(order.as_str());
            state.execute(&mut *transaction).await.expect("an order");
            let key = life.to_string();
            let row = match has_jobs {
                true => Outbox::new().job(job(&key, &order)),
                false => Outbox::new().row("orders", keyed(&key, &order)),
            };
            row.expect("a row").insert(&mut *transaction).await.expect("an insert");
            if n % 3 == 2 {
                transaction.rollback().await.expect("an end");
                continue;
            }
            transaction.commit().await.expect("an end");
            waker.wake();
            println!("@{order}");
        }
    });
}

/// Where services take orders.
struct Shop {
    database: Database,
    file: String,
    sinew: Sinew,
    port: u16,
    prefix: String,
}

impl Shop {
    async fn open() -> Self {
        let port = tokio::task::spawn_blocking(|| SHARED_REDIS.port).await.expect("a server");
        let prefix = format!("{}_", unique("killed"));
        let file = temporary_folder("outbox-killed").join("orders.db");
        let file = file.to_string_lossy().into_owned();
        let database = Database::sqlite_at(&file).await;
        database.migrate(&Outbox::new()).await;
        database.run("CREATE TABLE orders (name TEXT PRIMARY KEY)").await;
        let sinew = sinew_at(port, &prefix).await;
        Self { database, file, sinew, port, prefix }
    }

    fn start(&self, writes: &str, life: u64) -> Child {
        Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "killed::worker", "--nocapture"])
            .env("SINEW_OUTBOX_WORKER_DATABASE", &self.file)
            .env("SINEW_OUTBOX_WORKER_STORE", format!("redis://127.0.0.1:{}", self.port))
            .env("SINEW_OUTBOX_WORKER_PREFIX", &self.prefix)
            .env("SINEW_OUTBOX_WORKER_LIFE", life.to_string())
            .env("SINEW_OUTBOX_WORKER_WRITES", writes)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process")
    }

    /// Kills one service after the other, and relays what they have left. The orders that were committed.
    async fn orders_after_kills(&self, writes: &str) -> Vec<String> {
        let kills = std::env::var("SINEW_OUTBOX_KILLS");
        let kills = kills.map_or(KILLS, |kills| kills.parse().expect("a number"));
        let mut unpublished = 0;
        for life in 0..kills {
            let service = self.start(writes, life);
            let killed = tokio::task::spawn_blocking(move || kill_after_a_commit(service));
            killed.await.expect("it committed something");
            unpublished += u64::from(self.database.number(WAITING).await > 0);
        }
        assert!(unpublished > 0, "none was killed before it had published");
        relay_all(self.database.relay(), &self.sinew, &self.database).await;
        let Database::Sqlite(pool) = &self.database else { return Vec::new() };
        let orders = sqlx::query_scalar::<_, String>("SELECT name FROM orders");
        let orders = orders.fetch_all(pool).await.expect("orders");
        println!(
            "{kills} kills, {unpublished} of them before all was published: {} orders",
            orders.len()
        );
        orders
    }
}

/// Kills it just after it has committed one order and is on its way to publish it.
fn kill_after_a_commit(mut service: Child) {
    let mut lines = BufReader::new(service.stdout.take().expect("piped")).lines();
    let committed = lines.by_ref().map_while(Result::ok).find(|line| line.contains('@'));
    if committed.is_some() {
        std::thread::sleep(Duration::from_micros(fastrand::u64(..3_000)));
    }
    let _ = service.kill();
    let _ = service.wait();
    assert!(committed.is_some(), "it never committed anything");
}

#[test]
fn every_committed_order_has_its_event_and_every_event_its_order() {
    keep_for(KILLS_MAX, || async {
        let shop = Shop::open().await;
        let orders = shop.orders_after_kills(EVENTS).await;
        let events = said(&shop.sinew.streams(), "orders").await;
        let distinct: HashSet<&String> = events.iter().collect();
        assert_eq!(distinct, orders.iter().collect::<HashSet<_>>());
        assert_eq!(events.len(), orders.len(), "each is there once");
    });
}

#[test]
fn every_committed_order_has_its_job_which_runs_once() {
    keep_for(KILLS_MAX, || async {
        let shop = Shop::open().await;
        let jobs = shop.sinew.jobs();
        // From the first kill on: a job may be done before its row is relayed once more.
        let noting = Noting::start(&jobs);
        let mut orders = shop.orders_after_kills(JOBS).await;
        let mut done = noting.until_all_are_done(&jobs).await;
        orders.sort_unstable();
        done.sort_unstable();
        assert_eq!(done, orders);
    });
}
