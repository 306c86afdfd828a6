//! An event has its effect once.

use std::time::{Duration, SystemTime};

use sinew::stream::NewEvent;
use sinew_outbox::{Inbox, name_of};

use crate::{Database, End, events, on_databases, sinew};

on_databases! {
    an_event_is_new_once_for_each_consumer
    what_was_rolled_back_was_not_had
    two_at_once_have_it_once
    what_is_forgotten_is_new_again
    an_id_is_its_sources_alone
}

async fn migrated(database: &Database) -> Inbox {
    let inbox = Inbox::new("billing");
    match database {
        Database::Sqlite(pool) => inbox.migrate_sqlite(pool).await,
        Database::Postgres(pool) => inbox.migrate_postgres(pool).await,
    }
    .expect("a table");
    inbox
}

/// Notes an event in a transaction of its own.
async fn first(database: &Database, inbox: &Inbox, event: &str, end: End) -> bool {
    match database {
        Database::Sqlite(pool) => {
            let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await.expect("a transaction");
            let is_first = inbox.first(&mut *transaction, event).await.expect("an answer");
            if end == End::Commit {
                transaction.commit().await.expect("a commit");
            }
            is_first
        }
        Database::Postgres(pool) => {
            let mut transaction = pool.begin().await.expect("a transaction");
            let is_first = inbox.first(&mut *transaction, event).await.expect("an answer");
            if end == End::Commit {
                transaction.commit().await.expect("a commit");
            }
            is_first
        }
    }
}

async fn an_event_is_new_once_for_each_consumer(database: Database) {
    let billing = migrated(&database).await;
    let mailing = Inbox::new("mailing");
    assert!(first(&database, &billing, "7", End::Commit).await);
    assert!(!first(&database, &billing, "7", End::Commit).await);
    assert!(first(&database, &billing, "8", End::Commit).await);
    assert!(first(&database, &mailing, "7", End::Commit).await);
}

async fn what_was_rolled_back_was_not_had(database: Database) {
    let inbox = migrated(&database).await;
    assert!(first(&database, &inbox, "7", End::RollBack).await);
    assert!(first(&database, &inbox, "7", End::Commit).await);
}

async fn two_at_once_have_it_once(database: Database) {
    let inbox = migrated(&database).await;
    for event in 0..50 {
        let event = event.to_string();
        let (one, other) = tokio::join!(
            first(&database, &inbox, &event, End::Commit),
            first(&database, &inbox, &event, End::Commit)
        );
        assert!(one != other, "event {event}: {one}, {other}");
    }
}

async fn what_is_forgotten_is_new_again(database: Database) {
    let inbox = migrated(&database).await;
    assert!(first(&database, &inbox, "7", End::Commit).await);
    let (hour, now) = (Duration::from_secs(3_600), SystemTime::now());
    for (time, expected) in [(now - hour, 0), (now + hour, 1)] {
        let forgotten = match &database {
            Database::Sqlite(pool) => {
                let mut connection = pool.acquire().await.expect("a connection");
                inbox.forget_before(&mut *connection, time).await
            }
            Database::Postgres(pool) => {
                let mut connection = pool.acquire().await.expect("a connection");
                inbox.forget_before(&mut *connection, time).await
            }
        };
        assert_eq!(forgotten.expect("an answer"), expected);
    }
    assert!(first(&database, &inbox, "7", End::Commit).await);
}

async fn an_id_is_its_sources_alone(database: Database) {
    let (inbox, streams) = (migrated(&database).await, sinew().await.streams());
    let of = |source: &str, id: &str| NewEvent {
        source: Some(source.to_owned()),
        id: Some(id.to_owned()),
        ..NewEvent::default()
    };
    // The last two would be one if what they say were put together.
    for event in [of("/shop", "7"), of("/crm", "7"), of("/a b", "c"), of("/a", "b c")] {
        streams.publish_event("orders", event).await.expect("it is published");
    }
    let names: Vec<String> =
        events(&streams, "orders").await.iter().map(|stored| name_of(&stored.event)).collect();
    assert_eq!(names.len(), 4);
    for (times, expected) in [(1, true), (2, false)] {
        for name in &names {
            let is_first = first(&database, &inbox, name, End::Commit).await;
            assert_eq!(is_first, expected, "{name}, had {times} times");
        }
    }
}
