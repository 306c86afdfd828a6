//! What is committed is published, and nothing else.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sinew::Sinew;
use sinew::stream::NewEvent;
use sinew_outbox::{Outbox, OutboxRow, Relay};

use crate::world::{SHARED_REDIS, free_port, redis_cli, start_redis_on};
use crate::{
    Database, End, events, eventually, keyed, on_databases, said, sinew, sinew_at, unique,
    with_streams,
};

on_databases! {
    what_is_committed_arrives_once_and_in_order
    what_is_rolled_back_never_arrives
    relays_that_run_together_publish_each_event_once_and_in_order
    a_full_topic_keeps_its_rows_and_others_go_on
    a_full_partition_holds_up_its_own_keys_only
    rows_wait_for_a_redis_that_is_away
    an_event_that_can_never_be_published_is_set_aside
    a_relay_that_is_woken_does_not_wait_for_its_next_look
    a_row_goes_to_its_tenant
    what_is_published_and_cannot_be_deleted_is_not_published_again
    a_row_with_the_number_of_one_that_was_published_is_another
    a_table_that_is_not_there_ends_a_relay
}

pub(crate) const WAITING: &str = "SELECT COUNT(*) FROM sinew_outbox WHERE shard >= 0";

fn row(topic: &str, event: NewEvent) -> OutboxRow {
    Outbox::new().row(topic, event).expect("a row")
}

pub(crate) async fn relay_all(relay: Relay, sinew: &Sinew, database: &Database) -> u64 {
    let sinew = sinew.clone();
    let until = eventually("all is relayed", || async { database.number(WAITING).await == 0 });
    relay.run(move |_| Ok(sinew.clone()), until).await.expect("a table").published
}

async fn what_is_committed_arrives_once_and_in_order(database: Database) {
    let (sinew, streams) = with_streams().await;
    database.migrate(&Outbox::new()).await;
    let mut expected = Vec::new();
    for number in 0..30 {
        let rows = (0..10).map(|n| {
            let text = format!("{number} {n}");
            expected.push(text.clone());
            row("orders", keyed("ada", &text))
        });
        database.write(rows.collect(), End::Commit).await.expect("a commit");
    }
    let published = relay_all(database.relay(), &sinew, &database).await;
    assert_eq!(said(&streams, "orders").await, expected);
    assert_eq!(published, 300);
}

async fn what_is_rolled_back_never_arrives(database: Database) {
    let (sinew, streams) = with_streams().await;
    database.migrate(&Outbox::new()).await;
    for (text, end) in [("one", End::Commit), ("two", End::RollBack), ("three", End::Commit)] {
        let rows = vec![row("orders", keyed("ada", text))];
        database.write(rows, end).await.expect("an end");
    }
    relay_all(database.relay(), &sinew, &database).await;
    assert_eq!(said(&streams, "orders").await, ["one", "three"]);
}

async fn relays_that_run_together_publish_each_event_once_and_in_order(database: Database) {
    let (sinew, streams) = with_streams().await;
    database.migrate(&Outbox::new()).await;
    let relays = async {
        let (one, other, third) = tokio::join!(
            relay_all_written(database.relay().batch(7), &sinew, &database),
            relay_all_written(database.relay().batch(11), &sinew, &database),
            relay_all_written(database.relay().batch(13), &sinew, &database)
        );
        one + other + third
    };
    let writes = async {
        for n in 0..60 {
            let rows = (0..5).map(|key| {
                let key = format!("key {key}");
                row("orders", keyed(&key, &format!("{key} {n:03}")))
            });
            database.write(rows.collect(), End::Commit).await.expect("a commit");
        }
        database.run("CREATE TABLE written (n INTEGER)").await;
    };
    let (published, ()) = tokio::join!(relays, writes);
    if matches!(database, Database::Postgres(_)) {
        assert_eq!(published, 300, "no row was read by two");
    }
    let said = said(&streams, "orders").await;
    for key in 0..5 {
        let key = format!("key {key} ");
        let of_key: Vec<&String> = said.iter().filter(|text| text.starts_with(&key)).collect();
        let expected: Vec<String> = (0..60).map(|n| format!("{key}{n:03}")).collect();
        assert_eq!(of_key, expected.iter().collect::<Vec<_>>());
    }
}

/// Until the writer is done, and all that it wrote is relayed.
async fn relay_all_written(relay: Relay, sinew: &Sinew, database: &Database) -> u64 {
    let sinew = sinew.clone();
    let tables = match database {
        Database::Sqlite(_) => "SELECT COUNT(*) FROM sqlite_master WHERE name = 'written'",
        Database::Postgres(_) => "SELECT COUNT(*) FROM pg_tables WHERE tablename = 'written'",
    };
    let until = eventually("all is relayed", || async {
        database.number(tables).await == 1 && database.number(WAITING).await == 0
    });
    relay.run(move |_| Ok(sinew.clone()), until).await.expect("a table").published
}

async fn a_full_topic_keeps_its_rows_and_others_go_on(database: Database) {
    let (sinew, streams) = with_streams().await;
    database.migrate(&Outbox::new()).await;
    streams.topic("full").partitions(1).len_max(2).declare().await.expect("a topic");
    // Of the full one, more than a relay reads at once.
    let mut rows: Vec<_> = (0..20).map(|n| row("full", keyed("ada", &n.to_string()))).collect();
    rows.push(row("other", keyed("ada", "other")));
    database.write(rows, End::Commit).await.expect("a commit");
    let of_relay = sinew.clone();
    let until = async {
        eventually("the other topic's is there", || async {
            said(&streams, "other").await.len() == 1
        })
        .await;
        assert!(database.number(WAITING).await >= 18);
        let wider = streams.topic("full").partitions(1).len_max(1_000).declare();
        wider.await.expect("a topic");
        eventually("all is relayed", || async { database.number(WAITING).await == 0 }).await;
    };
    let relay = database.relay().batch(1);
    relay.run(move |_| Ok(of_relay.clone()), until).await.expect("a table");
    let expected: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(said(&streams, "full").await, expected);
}

async fn a_full_partition_holds_up_its_own_keys_only(database: Database) {
    let (sinew, streams) = with_streams().await;
    database.migrate(&Outbox::new()).await;
    // Which keys have a partition of their own in a topic of four.
    streams.topic("probe").partitions(4).declare().await.expect("a topic");
    let mut keys = BTreeMap::new();
    for n in 0..40 {
        let key = format!("key {n}");
        streams.publish_event("probe", keyed(&key, "")).await.expect("it is published");
    }
    for stored in events(&streams, "probe").await {
        let key = stored.event.key().expect("a key").to_owned();
        keys.entry(stored.place.partition).or_insert(key);
    }
    let keys: Vec<String> = keys.into_values().collect();
    assert_eq!(keys.len(), 4, "each partition has one of forty");

    streams.topic("orders").partitions(4).len_max(5).declare().await.expect("a topic");
    // Those of the full one are first.
    let mut rows: Vec<_> =
        (0..12).map(|n| row("orders", keyed(&keys[0], &format!("{n:02}")))).collect();
    rows.extend(keys[1..].iter().map(|key| row("orders", keyed(key, key))));
    database.write(rows, End::Commit).await.expect("a commit");
    let of_relay = sinew.clone();
    let until = async {
        eventually("what there is room for is done with", || async {
            database.number(WAITING).await == 7
        })
        .await;
        assert_eq!(said(&streams, "orders").await.len(), 8);
        let wider = streams.topic("orders").partitions(4).len_max(1_000).declare();
        wider.await.expect("a topic");
        eventually("all is relayed", || async { database.number(WAITING).await == 0 }).await;
    };
    database.relay().run(move |_| Ok(of_relay.clone()), until).await.expect("a table");
    let (of_full, mut others): (Vec<String>, Vec<String>) =
        said(&streams, "orders").await.into_iter().partition(|text| text.len() == 2);
    assert_eq!(of_full, (0..12).map(|n| format!("{n:02}")).collect::<Vec<_>>());
    others.sort_unstable();
    let mut expected = keys[1..].to_vec();
    expected.sort_unstable();
    assert_eq!(others, expected);
}

async fn rows_wait_for_a_redis_that_is_away(database: Database) {
    let port = free_port();
    let sinew = Sinew::builder().connect_lazy(&format!("redis://127.0.0.1:{port}"));
    let sinew = sinew.expect("a URL");
    let streams = sinew.streams();
    database.migrate(&Outbox::new()).await;
    let rows = vec![row("orders", keyed("ada", "one")), row("orders", keyed("ada", "two"))];
    database.write(rows, End::Commit).await.expect("a commit");
    let start = async {
        // By then it has been refused.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let start = tokio::task::spawn_blocking(move || start_redis_on(port, &[]));
        start.await.expect("a server")
    };
    let (_server, published) = tokio::join!(start, relay_all(database.relay(), &sinew, &database));
    assert_eq!(published, 2);
    assert_eq!(said(&streams, "orders").await, ["one", "two"]);
}

async fn an_event_that_can_never_be_published_is_set_aside(database: Database) {
    let (sinew, streams) = with_streams().await;
    database.migrate(&Outbox::new()).await;
    let rows = vec![
        row("orders", keyed("ada", "one")),
        row("orders", keyed("ada", &"7".repeat(2 << 20))),
        row("orders", keyed("ada", "three")),
    ];
    database.write(rows, End::Commit).await.expect("a commit");
    let published = relay_all(database.relay(), &sinew, &database).await;
    assert_eq!(said(&streams, "orders").await, ["one", "three"]);
    assert_eq!(published, 2);
    assert_eq!(database.number("SELECT COUNT(*) FROM sinew_outbox").await, 1, "it is kept");
}

async fn a_relay_that_is_woken_does_not_wait_for_its_next_look(database: Database) {
    let sinew = sinew().await;
    database.migrate(&Outbox::new()).await;
    let relay = database.relay().poll(Duration::from_secs(10));
    let (waker, of_relay) = (relay.wake(), sinew.clone());
    let until = async {
        let began = Instant::now();
        for n in 0..20 {
            let rows = vec![row("orders", keyed("ada", &n.to_string()))];
            database.write(rows, End::Commit).await.expect("a commit");
            waker.wake();
            eventually("it is relayed", || async { database.number(WAITING).await == 0 }).await;
        }
        // Twenty looks of its own take more than three minutes.
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    };
    relay.run(move |_| Ok(of_relay.clone()), until).await.expect("a table");
}

async fn a_row_goes_to_its_tenant(database: Database) {
    let sinew = sinew().await;
    database.migrate(&Outbox::new()).await;
    let rows = vec![
        row("orders", keyed("ada", "acme's")).tenant("acme"),
        row("orders", keyed("ada", "nobody's")),
        row("orders", keyed("ada", "beta's")).tenant("beta"),
        row("orders", keyed("ada", "a name that cannot be")).tenant("a b"),
    ];
    database.write(rows, End::Commit).await.expect("a commit");
    let all = sinew.clone();
    let of = move |tenant: Option<&str>| match tenant {
        Some(tenant) => all.tenant(tenant),
        None => Ok(all.clone()),
    };
    let until = eventually("all is relayed", || async { database.number(WAITING).await == 0 });
    database.relay().run(of.clone(), until).await.expect("a table");
    for (tenant, expected) in [("acme", "acme's"), ("beta", "beta's")] {
        let streams = sinew.tenant(tenant).expect("a tenant").streams();
        assert_eq!(said(&streams, "orders").await, [expected]);
    }
    assert_eq!(said(&sinew.streams(), "orders").await, ["nobody's"]);
    assert_eq!(database.number("SELECT COUNT(*) FROM sinew_outbox").await, 1, "it is kept");

    // The way back for what was set aside.
    database.run("UPDATE sinew_outbox SET shard = 0, tenant = 'acme' WHERE shard = -1").await;
    let until = eventually("all is relayed", || async { database.number(WAITING).await == 0 });
    database.relay().run(of, until).await.expect("a table");
    let streams = sinew.tenant("acme").expect("a tenant").streams();
    assert_eq!(said(&streams, "orders").await, ["acme's", "a name that cannot be"]);
}

/// How deleting from the outbox is refused, and allowed again.
pub(crate) async fn deletes(database: &Database) -> (&'static str, &'static str) {
    match database {
        Database::Sqlite(_) => (
            "CREATE TRIGGER is_full BEFORE DELETE ON sinew_outbox BEGIN SELECT RAISE(ABORT, 'full'); END",
            "DROP TRIGGER is_full",
        ),
        Database::Postgres(_) => {
            let function = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
                            $$ BEGIN RAISE EXCEPTION 'full'; END $$";
            database.run(function).await;
            (
                "CREATE TRIGGER is_full BEFORE DELETE ON sinew_outbox FOR EACH ROW EXECUTE FUNCTION refuse()",
                "DROP TRIGGER is_full ON sinew_outbox",
            )
        }
    }
}

async fn a_row_with_the_number_of_one_that_was_published_is_another(database: Database) {
    let (sinew, streams) = with_streams().await;
    database.migrate(&Outbox::new()).await;
    let rows = vec![row("orders", keyed("ada", "one"))];
    database.write(rows, End::Commit).await.expect("a commit");
    let (refuse, allow) = deletes(&database).await;
    database.run(refuse).await;
    let of_relay = sinew.clone();
    let until = async {
        eventually("it is published", || async { said(&streams, "orders").await.len() == 1 }).await;
        // As where a database that was behind takes the place of this one, and gives its numbers again.
        database.run("UPDATE sinew_outbox SET mark = 'of another'").await;
        database.run(allow).await;
        eventually("all is relayed", || async { database.number(WAITING).await == 0 }).await;
    };
    database.relay().run(move |_| Ok(of_relay.clone()), until).await.expect("a table");
    assert_eq!(said(&streams, "orders").await, ["one", "one"]);
}

async fn what_is_published_and_cannot_be_deleted_is_not_published_again(database: Database) {
    let port = tokio::task::spawn_blocking(|| SHARED_REDIS.port).await.expect("a server");
    let prefix = format!("{}_", unique("outbox"));
    let sinew = sinew_at(port, &prefix).await;
    let streams = sinew.streams();
    database.migrate(&Outbox::new()).await;
    let rows = vec![row("orders", keyed("ada", "one")), row("orders", keyed("ada", "two"))];
    database.write(rows, End::Commit).await.expect("a commit");
    let (refuse, allow) = deletes(&database).await;
    database.run(refuse).await;
    let of_relay = sinew.clone();
    let until = async {
        let are_there = || async { said(&streams, "orders").await.len() == 2 };
        eventually("both are published", are_there).await;
        // As ten minutes would, after which nothing tells that they were.
        let pattern = format!("{prefix}*:dup:*");
        let marks = redis_cli(port, &["--scan", "--pattern", &pattern]);
        let marks: Vec<&str> = marks.lines().collect();
        assert_eq!(marks.len(), 2, "{marks:?}");
        assert_eq!(redis_cli(port, &[&["DEL"][..], &marks[..]].concat()), "2");
        let rows = vec![row("orders", keyed("ada", "three"))];
        database.write(rows, End::Commit).await.expect("a commit");
        database.run(allow).await;
        eventually("all is relayed", || async { database.number(WAITING).await == 0 }).await;
    };
    let relay = database.relay();
    relay.run(move |_| Ok(of_relay.clone()), until).await.expect("a table");
    assert_eq!(said(&streams, "orders").await, ["one", "two", "three"]);
}

async fn a_table_that_is_not_there_ends_a_relay(database: Database) {
    let sinew = Sinew::embedded();
    let ended = database.relay().run(move |_| Ok(sinew.clone()), std::future::pending()).await;
    let error = ended.expect_err("there is no table").to_string();
    assert!(error.contains("sinew_outbox"), "{error}");
}
