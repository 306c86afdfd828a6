//! Many events at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sinew::ErrorKind;
use sinew::stream::{Ack, Event, NewEvent, Published};

use super::hearing::{Heard, Hearing, all_done};
use super::{SECOND, streams};
use crate::laws::eventually;

laws! {
    async fn a_batch_keeps_its_order(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("orders").partitions(4).declare().await.unwrap();
        let batch = here.publish_many("orders", 0..1_000_u64);
        let published = batch.key(|number| format!("key {}", number % 7)).await.unwrap();
        assert_eq!(published.len(), 1_000);
        assert!(published.iter().all(|one| matches!(one, Published::Done(_))));
        let subscribe = there.subscribe("orders", "billing").ordered_by_key(4);
        let mut group = Hearing::start(subscribe, all_done);
        let mut last: BTreeMap<String, u64> = BTreeMap::new();
        for _ in 0..1_000 {
            let Heard { number, key, .. } = group.next().await;
            let key = key.expect("it has one");
            assert_eq!(key, format!("key {}", number % 7));
            assert!(last.insert(key, number).is_none_or(|before| before < number));
        }
        assert_eq!(group.stop().await.handled, 1_000);
    }

    async fn a_batch_says_of_each_event_where_it_is(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("orders").partitions(4).declare().await.unwrap();
        // Several calls, with keys and without.
        for (first, has_keys) in [(0_u64, true), (1_000, false)] {
            let numbers = first..first + 300;
            let batch = here.publish_many("orders", numbers.clone()).kind("OrderPlaced");
            let batch = match has_keys {
                true => batch.key(|number| format!("key {}", number % 13)),
                false => batch,
            };
            let published = batch.await.unwrap();
            assert_eq!(published.len(), 300);
            let mut used = [0; 4];
            for (number, one) in numbers.zip(&published) {
                let place = one.place().expect("it is there");
                let stored = there.event("orders", place).await.unwrap().expect("where it says");
                assert_eq!(&*stored.event.data, number.to_string().as_bytes());
                assert_eq!(stored.event.kind(), "OrderPlaced");
                used[usize::from(place.partition)] += 1;
            }
            assert!(used.iter().filter(|events| **events > 0).count() > 1, "{used:?}");
        }
        assert_eq!(there.look("orders").await.unwrap().unwrap().published, 600);
    }

    async fn a_batch_with_dedup_ids_is_published_once(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("orders").partitions(3).declare().await.unwrap();
        let send = |numbers: std::ops::Range<u64>| {
            let batch = here.publish_many("orders", numbers);
            batch.dedup(|number| format!("order {number}"))
        };
        let first = send(0..200).await.unwrap();
        assert!(first.iter().all(|one| matches!(one, Published::Done(_))));
        let again = send(100..300).await.unwrap();
        for (at, one) in again.iter().enumerate() {
            match one {
                Published::Duplicate(Some(place)) => {
                    assert_eq!(first[100 + at].place(), Some(place));
                }
                Published::Done(_) => assert!(at >= 100, "{at} was there before"),
                other => panic!("{other:?}"),
            }
        }
        let mut group = Hearing::start(there.subscribe("orders", "billing"), all_done);
        assert_eq!(group.numbers(300).await, (0..300).collect::<Vec<_>>());
        assert_eq!(group.stop().await.handled, 300);
    }

    async fn a_batch_for_which_there_is_no_room_says_so(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("orders").len_max(200).declare().await.unwrap();
        let refused = here.publish_many("orders", 0..300_u64).await.unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::Unavailable { .. }), "{refused}");
        assert!(refused.to_string().contains("is full"), "{refused}");
        // Whole calls are there, or not there.
        let len = there.look("orders").await.unwrap().unwrap().len;
        assert!(len == 128 || len == 172 || len == 44, "{len}");
        assert!(refused.maybe_applied(), "and it says that some may be");
        let wrong = here.publish_many("orders.dead", 0..3_u64).await.unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::Rejected, "{wrong}");
    }

    async fn a_batch_of_which_one_partition_is_full_says_that_some_are_there(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("orders").partitions(4).len_max(128).declare().await.unwrap();
        let first = here.publish("orders", &0_u64).key("key 0").await.unwrap();
        let full = first.place().expect("it is there").partition;
        let fill = here.publish_many("orders", 0..127_u64).key(|_| "key 0".to_owned());
        fill.await.unwrap();
        // The call to the partition that is full may be answered before the others are.
        for round in 1..=10_u64 {
            let before = there.look("orders").await.unwrap().unwrap().len;
            let batch = here.publish_many("orders", 0..40_u64);
            let refused = batch.key(|n| format!("key {}", n % 20)).await.unwrap_err();
            assert!(refused.to_string().contains("is full"), "{refused}");
            let len = there.look("orders").await.unwrap().unwrap().len;
            assert_eq!(refused.maybe_applied(), len > before, "round {round}: {before} to {len}");
            let looked = there.events("orders", None, 1_000).await.unwrap();
            let in_full = looked.iter().filter(|stored| stored.place.partition == full);
            assert_eq!(in_full.count(), 128, "all of a call or none");
            if len > 300 {
                break;
            }
        }
        here.topic("small").len_max(5).declare().await.unwrap();
        let refused = here.publish_many("small", 0..6_u64).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Rejected, "it would never have room: {refused}");
        // What is named twice takes one place.
        let twice = here.publish_many("small", [1_u64, 1, 2, 3, 4, 5]).dedup(u64::to_string);
        assert_eq!(twice.await.unwrap().len(), 6);
    }

    async fn a_batch_that_is_refused_in_part_does_not_say_that_it_was_as_a_whole(store: Store) {
        let streams = streams(&store).await;
        let mut were_some_there = false;
        // Keys in several partitions, of which the embedded store asks one after the other.
        for topic in ["one", "two", "three", "four", "five", "six", "seven", "eight"] {
            streams.topic(topic).partitions(4).len_max(15).declare().await.unwrap();
            // Twenty of one key, which have no room together, and ten of others.
            let key = |n: &u64| if *n < 20 { topic.to_owned() } else { format!("key {n}") };
            let refused = streams.publish_many(topic, 0..30_u64).key(key).await.unwrap_err();
            let are_some_there = streams.look(topic).await.unwrap().unwrap().len > 0;
            assert_eq!(refused.maybe_applied(), are_some_there, "{refused}");
            assert_eq!(refused.kind() == ErrorKind::Rejected, !are_some_there, "{refused}");
            were_some_there |= are_some_there;
        }
        assert!(were_some_there);
    }

    async fn delayed_events_all_come_with_all_that_they_have(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("orders").partitions(2).declare().await.unwrap();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let handler = move |event: Event<u64>, _: sinew::stream::Ctx| {
            let _ = tell.send((event, Instant::now()));
            async { Ok(Ack::Done) }
        };
        let group = there.subscribe("orders", "billing").start(handler).unwrap();
        // More than become due in one step.
        let delay = 2 * SECOND;
        let delayed = |number: u64| NewEvent {
            key: Some(format!("key {}", number % 5)),
            kind: Some("OrderPlaced".to_owned()),
            id: Some(format!("order {number}")),
            delay: Some(delay),
            ..NewEvent::json(&number).unwrap()
        };
        let began = Instant::now();
        let events = (0..250).map(delayed).collect();
        let published = here.publish_events("orders", events).await.unwrap();
        assert!(published.iter().all(|one| matches!(one, Published::Later { .. })));
        assert_eq!(here.look("orders").await.unwrap().unwrap().delayed, 250);
        let mut numbers = Vec::new();
        while numbers.len() < 250 {
            let (event, at) = told.recv().await.expect("a subscriber");
            assert!(at - began + Duration::from_millis(2) >= delay, "{:?}", at - began);
            assert_eq!(event.key(), Some(&*format!("key {}", event.data % 5)));
            assert_eq!(&*event.id(), format!("order {}", event.data));
            assert_eq!(event.kind(), "OrderPlaced");
            numbers.push(event.data);
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..250).collect::<Vec<_>>());
        eventually("none is left", || async {
            let looked = here.look("orders").await.unwrap().unwrap();
            (looked.delayed, looked.published) == (0, 250)
        })
        .await;
        group.stop().await.unwrap();
    }
}
