//! Reading along with a topic.

use std::time::Duration;

use sinew::stream::{Cursor, Published, StoredEvent, Tail};
use sinew::{ErrorKind, Streams};

use super::hearing::{Hearing, all_done};
use super::{publish, streams};
use crate::laws::{LAW_MAX, eventually, keep};
use crate::outage::{blocking, process_at};
use crate::world::{Proxy, start_redis};

async fn next(tail: &mut Tail) -> StoredEvent {
    let next = tokio::time::timeout(LAW_MAX / 3, tail.next()).await;
    next.expect("never read").expect("a tail has no end").expect("the store answers")
}

fn number(stored: &StoredEvent) -> u64 {
    serde_json::from_slice(&stored.event.data).expect("a number")
}

async fn numbers(tail: &mut Tail, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        numbers.push(number(&next(tail).await));
    }
    numbers
}

async fn is_silent(tail: &mut Tail) -> bool {
    tokio::time::timeout(Duration::from_millis(300), tail.next()).await.is_err()
}

async fn publish_keyed(streams: &Streams, numbers: std::ops::Range<u64>) -> Vec<Published> {
    let many = streams.publish_many("orders", numbers);
    many.key(|number| format!("key {}", number % 7)).await.unwrap()
}

laws! {
    async fn a_tail_reads_what_is_published_from_then_on(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("orders").partitions(3).declare().await.unwrap();
        publish_keyed(&here, 0..20).await;
        let mut tail = there.tail("orders").open().await.unwrap();
        assert!(is_silent(&mut tail).await, "what was before is not read");
        let places = publish_keyed(&here, 20..60).await;
        for _ in 0..40 {
            let stored = next(&mut tail).await;
            let at = usize::try_from(number(&stored)).unwrap() - 20;
            assert_eq!(places[at].place(), Some(&stored.place));
            assert_eq!(stored.event.key(), Some(&*format!("key {}", number(&stored) % 7)));
        }
        assert!(is_silent(&mut tail).await, "each once");
        assert!(here.lag("orders").await.unwrap().is_empty(), "it is no group");
    }

    async fn a_tail_goes_on_where_another_one_was(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("orders").partitions(3).declare().await.unwrap();
        publish_keyed(&here, 0..250).await;
        let mut first = there.tail("orders").from_start().open().await.unwrap();
        let mut read = numbers(&mut first, 101).await;
        let cursor = first.cursor().to_string();
        // More of it may have been read by then, and is not counted as given.
        drop(first);
        publish_keyed(&here, 250..260).await;
        let cursor: Cursor = cursor.parse().unwrap();
        let mut second = here.tail("orders").after(cursor).open().await.unwrap();
        read.extend(numbers(&mut second, 159).await);
        assert!(is_silent(&mut second).await);
        for key in 0..7 {
            let of_key = read.iter().copied().filter(|number| number % 7 == key);
            let of_key: Vec<u64> = of_key.collect();
            assert!(of_key.is_sorted(), "one key's are in their order: {of_key:?}");
        }
        read.sort_unstable();
        assert_eq!(read, (0..260).collect::<Vec<_>>(), "none is missing, and none came twice");
        assert_eq!(second.cursor().to_string().split('_').count(), 3);
    }

    async fn a_tail_that_is_dropped_while_it_waits_misses_nothing(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let mut tail = there.tail("orders").from_start().open().await.unwrap();
        let mut read = Vec::new();
        for number in 0..20 {
            publish(&here, "orders", number).await;
            // Given up at some point of the way.
            let wait = Duration::from_micros(number * 150);
            if let Ok(Some(Ok(stored))) = tokio::time::timeout(wait, tail.next()).await {
                read.push(serde_json::from_slice::<u64>(&stored.event.data).unwrap());
            }
        }
        let left = 20 - read.len();
        read.extend(numbers(&mut tail, left).await);
        assert_eq!(read, (0..20).collect::<Vec<_>>());
    }

    async fn a_tail_of_one_partition_reads_no_other(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("orders").partitions(3).declare().await.unwrap();
        let published = publish_keyed(&here, 0..90).await;
        let places = published.iter().map(|one| one.place().expect("it is there").partition);
        let wanted = places.clone().next().expect("some");
        let expected: Vec<u64> =
            (0..90).zip(places).filter(|(_, of)| *of == wanted).map(|(number, _)| number).collect();
        assert!(expected.len() < 90, "keys go to several");
        let tail = there.tail("orders").from_start().partition(wanted);
        let mut tail = tail.open().await.unwrap();
        assert_eq!(numbers(&mut tail, expected.len()).await, expected);
        assert!(is_silent(&mut tail).await);
    }

    async fn a_tail_goes_on_with_the_oldest_where_its_place_was_trimmed(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("orders").keep(Duration::from_millis(1)).declare().await.unwrap();
        for number in 0..10 {
            publish(&here, "orders", number).await;
        }
        let mut tail = there.tail("orders").from_start().open().await.unwrap();
        assert_eq!(numbers(&mut tail, 3).await, [0, 1, 2]);
        let cursor = tail.cursor();
        let mut group = Hearing::start(here.subscribe("orders", "billing"), all_done);
        assert_eq!(group.numbers(10).await.len(), 10);
        group.stop().await;
        eventually("all that can go is gone", || async {
            here.trim("orders").await.unwrap();
            here.look("orders").await.unwrap().unwrap().len == 1
        })
        .await;
        publish(&here, "orders", 10).await;
        let mut tail = there.tail("orders").after(cursor).open().await.unwrap();
        assert_eq!(numbers(&mut tail, 2).await, [9, 10]);
    }

    async fn what_was_delayed_comes_for_a_tail_although_its_publisher_is_gone(store: Store) {
        let here = streams(&store).await;
        let delayed = here.publish("orders", &7_u64).delay(Duration::from_secs(1)).await.unwrap();
        assert!(matches!(delayed, Published::Later { .. }));
        drop(here);
        let there = streams(&store).await;
        let mut tail = there.tail("orders").from_start().open().await.unwrap();
        assert_eq!(numbers(&mut tail, 1).await, [7]);
    }

    async fn a_tail_that_cannot_be_is_refused(store: Store) {
        let here = streams(&store).await;
        here.topic("orders").partitions(2).declare().await.unwrap();
        let too_few: Cursor = "0-0".parse().unwrap();
        for builder in [
            here.tail("orders").partition(2),
            here.tail("orders").after(too_few),
            here.tail("no topic"),
        ] {
            let refused = builder.open().await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Rejected, "{refused}");
        }
    }
}

#[test]
fn a_tail_reads_on_where_much_comes_slowly() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let here = process_at(server.port).await.streams();
        here.topic("orders").partitions(2).declare().await.unwrap();
        // Some 20 MB, for each 64 KiB of which the way takes so long that a call is over before half of it is there.
        let long = "x".repeat(200_000);
        for number in 0..100_u64 {
            let key = (number % 7).to_string();
            let published = here.publish("orders", &(number, &long)).key(key).await.unwrap();
            assert!(published.place().is_some());
        }
        let proxy = Proxy::start(server.port);
        let there = process_at(proxy.port).await.streams();
        let mut tail = there.tail("orders").from_start().open().await.unwrap();
        proxy.delay(Duration::from_millis(30));
        let mut read = Vec::new();
        while read.len() < 20 {
            let stored = next(&mut tail).await;
            let (number, _): (u64, String) = serde_json::from_slice(&stored.event.data).unwrap();
            read.push(number);
        }
        // It goes on from there at full speed.
        proxy.pass();
        while read.len() < 100 {
            let stored = next(&mut tail).await;
            let (number, _): (u64, String) = serde_json::from_slice(&stored.event.data).unwrap();
            read.push(number);
        }
        read.sort_unstable();
        assert_eq!(read, (0..100).collect::<Vec<_>>());
    });
}

#[test]
fn what_is_delayed_comes_although_the_runtime_of_the_first_is_gone() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let streams = runtime.block_on(async {
        let streams = sinew::Sinew::embedded().streams();
        let hour = Duration::from_secs(3_600);
        let first = streams.publish("orders", &1_u64).delay(hour).await.unwrap();
        assert!(matches!(first, Published::Later { .. }));
        streams
    });
    drop(runtime);
    keep(|| async {
        let soon = Duration::from_millis(20);
        let second = streams.publish("orders", &2_u64).delay(soon).await.unwrap();
        assert!(matches!(second, Published::Later { .. }));
        let is_there = || async { streams.look("orders").await.unwrap().unwrap().len == 1 };
        eventually("it has come, and no one reads it", is_there).await;
    });
}
