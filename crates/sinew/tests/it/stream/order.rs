//! The order of one key's events.

use std::collections::BTreeMap;
use std::time::Duration;

use sinew::stream::{Ack, Backoff};

use super::hearing::{self, Heard, Hearing};
use super::runs::settled;
use super::{LEASE, SECOND, streams};

async fn publish(streams: &sinew::Streams, key: &str, number: u64) {
    let published = streams.publish("orders", &number).key(key).await.expect("it is published");
    assert!(published.place().is_some());
}

laws! {
    async fn one_keys_events_run_in_order_while_one_is_retried(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("orders").partitions(1).declare().await.unwrap();
        let subscribe = there.subscribe("orders", "billing").ordered_by_key(1).lease(LEASE);
        let subscribe = subscribe.retry(Backoff::fixed(SECOND)).concurrency(8);
        let mut group = Hearing::start(subscribe, |heard| match (heard.number, heard.cx.attempt()) {
            (0, 1) => Err("at first".into()),
            _ => Ok(Ack::Done),
        });
        for number in 0..4 {
            publish(&here, "a", number).await;
            publish(&here, "b", 100 + number).await;
        }
        let mut heard = Vec::new();
        while heard.len() < 9 {
            let Heard { number, cx, .. } = group.next().await;
            assert!(cx.fence().is_some());
            heard.push(number);
        }
        let of_a: Vec<u64> = heard.iter().copied().filter(|number| *number < 100).collect();
        let of_b: Vec<u64> = heard.iter().copied().filter(|number| *number >= 100).collect();
        assert_eq!((of_a, of_b), (vec![0, 0, 1, 2, 3], vec![100, 101, 102, 103]));
        let retried = heard.iter().rposition(|number| *number == 0);
        let last_of_b = heard.iter().position(|number| *number == 103);
        assert!(last_of_b < retried, "other keys went on meanwhile: {heard:?}");
    }

    async fn a_poison_event_holds_up_its_own_key_only(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let subscribe = there.subscribe("orders", "billing").ordered_by_key(2).lease(LEASE);
        let backoff = Backoff::fixed(Duration::from_millis(50)).max_attempts(3);
        let mut group = Hearing::start(subscribe.retry(backoff), |heard| match heard.number {
            1 => Err("poison".into()),
            _ => Ok(Ack::Done),
        });
        here.topic("orders").partitions(2).declare().await.unwrap();
        for number in 1..4 {
            publish(&here, "a", number).await;
            publish(&here, "b", 100 + number).await;
        }
        let mut heard = Vec::new();
        while heard.len() < 8 {
            heard.push(group.next().await.number);
        }
        let of_a: Vec<u64> = heard.iter().copied().filter(|number| *number < 100).collect();
        assert_eq!(of_a, [1, 1, 1, 2, 3], "after its death the others of its key go on");
        crate::laws::eventually("it is dead", || async {
            here.dead("orders", "billing").list(None, 10).await.unwrap().len() == 1
        })
        .await;
    }

    async fn a_slow_handler_is_not_run_beside_itself_when_a_member_comes(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("orders").partitions(8).declare().await.unwrap();
        let (tell, mut ear) = hearing::channel();
        // Twice as long as anyone who leaves would wait.
        let drain = SECOND;
        let join = |streams: &sinew::Streams| {
            let subscribe = streams.subscribe("orders", "billing").ordered_by_key(8).lease(LEASE);
            hearing::start(subscribe.concurrency(64).drain(drain), &tell, move |_| async move {
                tokio::time::sleep(2 * drain).await;
                Ok(Ack::Done)
            })
        };
        let first = join(&here);
        let keys = 32;
        for key in 0..keys {
            publish(&here, &format!("key-{key}"), key).await;
        }
        assert_eq!(ear.numbers(32).await, (0..keys).collect::<Vec<_>>());
        // About half of the partitions are its own from now on.
        let next = join(&there);
        settled(&here, "billing").await;
        assert!(ear.is_silent(), "one was run twice");
        let finished = (first.stop().await.unwrap(), next.stop().await.unwrap());
        assert_eq!((finished.0.handled + finished.1.handled, finished.0.lost), (keys, 0));
    }

    async fn a_group_that_was_ordered_may_be_shared_another_way_at_once(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("orders").partitions(4).declare().await.unwrap();
        let ordered = there.subscribe("orders", "billing").ordered_by_key(4);
        let mut group = Hearing::start(ordered, hearing::all_done);
        let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
        for (key, number) in keys.iter().zip(0..) {
            publish(&here, key, number).await;
        }
        assert_eq!(group.numbers(keys.len()).await, (0..8).collect::<Vec<_>>());
        group.stop().await;
        let shared = there.subscribe("orders", "billing").lease(LEASE);
        let mut group = Hearing::start(shared, hearing::all_done);
        for (key, number) in keys.iter().zip(8..) {
            publish(&here, key, number).await;
        }
        assert_eq!(group.numbers(keys.len()).await, (8..16).collect::<Vec<_>>());
        group.stop().await;
    }

    async fn order_holds_over_a_change_of_owner(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("orders").partitions(4).declare().await.unwrap();
        let (tell, mut ear) = hearing::channel();
        let join = |streams: &sinew::Streams| {
            let subscribe = streams.subscribe("orders", "billing").ordered_by_key(4).lease(LEASE);
            hearing::start(subscribe, &tell, |_| async {
                tokio::time::sleep(Duration::from_millis(5)).await;
                Ok(Ack::Done)
            })
        };
        let mut member = join(&here);
        let keys = ["a", "b", "c", "d", "e", "f"];
        for round in 0..3 {
            for number in 0..10 {
                for key in keys {
                    publish(&here, key, round * 10 + number).await;
                }
            }
            let next = join(&there);
            tokio::time::sleep(Duration::from_millis(100)).await;
            member.stop().await.unwrap();
            member = next;
        }
        let mut by_key: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for _ in 0..30 * keys.len() {
            let Heard { number, key, .. } = ear.next().await;
            by_key.entry(key.expect("it has one")).or_default().push(number);
        }
        for (key, numbers) in by_key {
            assert_eq!(numbers, (0..30).collect::<Vec<_>>(), "{key}");
        }
        member.stop().await.unwrap();
    }
}
