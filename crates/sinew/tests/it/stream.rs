//! What event streams promise, on every store.

mod batches;
mod failing;
mod hearing;
mod hooks;
mod letters;
mod looking;
mod moving;
mod on_redis;
mod order;
mod pulling;
mod room;
pub mod runs;
mod tailing;
mod telling;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sinew::Streams;
use sinew::stream::{Ack, Backoff, Event, NewEvent, Published, StartFrom};

use crate::laws::eventually;
use crate::world::Store;

use self::hearing::{Heard, Hearing, all_done};
use self::runs::{noted, settled};

const SECOND: Duration = Duration::from_secs(1);
/// The shortest lease, so that what needs its end comes to it.
pub const LEASE: Duration = SECOND;

async fn streams(store: &Store) -> Streams {
    store.tenant("acme").await.streams()
}

async fn publish(streams: &Streams, topic: &str, number: u64) {
    let published = streams.publish(topic, &number).await.expect("it is published");
    assert!(matches!(published, Published::Done(_)), "{published:?}");
}

laws! {
    async fn each_group_handles_every_event(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let mut groups = ["billing", "mail"].map(|group| {
            Hearing::start(there.subscribe("orders", group), all_done)
        });
        for number in 0..50 {
            publish(&here, "orders", number).await;
        }
        for group in &mut groups {
            assert_eq!(group.numbers(50).await, (0..50).collect::<Vec<_>>());
            let finished = group.stop().await;
            assert_eq!((finished.handled, finished.retried, finished.lost), (50, 0, 0));
        }
        for group in ["billing", "mail"] {
            settled(&here, group).await;
        }
    }

    async fn the_members_of_a_group_share_its_events(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let (tell, mut heard) = hearing::channel();
        let members = [&here, &there].map(|streams| {
            let subscribe = streams.subscribe("orders", "billing").concurrency(4);
            hearing::start(subscribe, &tell, |_| async {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Ok(Ack::Done)
            })
        });
        for number in 0..60 {
            publish(&here, "orders", number).await;
        }
        assert_eq!(heard.numbers(60).await, (0..60).collect::<Vec<_>>());
        let mut handled = 0;
        for member in members {
            handled += member.stop().await.unwrap().handled;
        }
        assert_eq!(handled, 60, "each once");
    }

    async fn what_was_published_before_the_group_is_handled_too(store: Store) {
        let streams = streams(&store).await;
        publish(&streams, "orders", 1).await;
        let mut late = Hearing::start(streams.subscribe("orders", "late"), all_done);
        assert_eq!(late.numbers(1).await, [1]);
        let from_now = streams.subscribe("orders", "from-now").from(StartFrom::End);
        let mut from_now = Hearing::start(from_now, all_done);
        eventually("the group is there", || async {
            streams.lag("orders").await.unwrap().iter().any(|group| group.group == "from-now")
        })
        .await;
        publish(&streams, "orders", 2).await;
        assert_eq!((late.numbers(1).await, from_now.numbers(1).await), (vec![2], vec![2]));
    }

    async fn an_event_arrives_as_it_was_published(store: Store) {
        let streams = streams(&store).await;
        let data = BTreeMap::from([("id".to_owned(), "ü".to_owned())]);
        let published = streams
            .publish("orders", &data)
            .key("ada")
            .kind("OrderPlaced")
            .source("/shop")
            .traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
            .attribute("region", "eu");
        let published = published.await.unwrap();
        let place = published.place().copied().expect("it is in the stream");
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let handler = move |event: Event<BTreeMap<String, String>>, cx: sinew::stream::Ctx| {
            let _ = tell.send((event, cx));
            async { Ok(Ack::Done) }
        };
        let subscription = streams.subscribe("orders", "billing").start(handler).unwrap();
        let (event, cx) = told.recv().await.unwrap();
        assert_eq!((&event.data, event.kind(), &*event.source()), (&data, "OrderPlaced", "/shop"));
        assert_eq!((event.key(), event.extension("region")), (Some("ada"), Some("eu")));
        assert!(event.traceparent().is_some_and(|parent| parent.ends_with("3331-01")));
        assert_eq!((cx.topic(), cx.group(), cx.attempt()), ("orders", "billing", 1));
        assert!(!cx.is_redelivered() && !cx.is_lost() && cx.fence().is_none());
        assert_eq!(event.place(), place);
        let stored = streams.event("orders", &place).await.unwrap().expect("it is kept for an hour");
        assert_eq!((stored.event.id(), stored.event.kind()), (event.id(), "OrderPlaced"));
        subscription.stop().await.unwrap();
    }

    async fn what_a_killed_consumer_held_is_run_by_another(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let subscribe = || here.subscribe("orders", "billing").lease(LEASE).concurrency(3);
        let mut killed = Hearing::start_with(subscribe(), |_| std::future::pending());
        for number in 0..3 {
            publish(&here, "orders", number).await;
        }
        assert_eq!(killed.numbers(3).await, [0, 1, 2]);
        let began = Instant::now();
        // Nothing of it is said to the store.
        drop(killed);
        let subscribe = there.subscribe("orders", "billing").lease(LEASE);
        let mut other = Hearing::start(subscribe, all_done);
        for _ in 0..3 {
            let Heard { cx, .. } = other.next().await;
            assert_eq!((cx.crashes(), cx.failures()), (1, 0), "no failure of a handler");
            assert!(cx.is_redelivered());
        }
        assert!(began.elapsed() > LEASE / 2, "not while it may live: {:?}", began.elapsed());
        settled(&there, "billing").await;
    }

    async fn a_handler_of_five_leases_runs_once(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let (tell, mut heard) = hearing::channel();
        let members = [&here, &there].map(|streams| {
            let subscribe = streams.subscribe("orders", "billing").lease(LEASE);
            hearing::start(subscribe, &tell, |heard| async move {
                // Every third of a lease the others look who has fallen, and each tenth time at everyone.
                tokio::time::sleep(5 * LEASE).await;
                assert!(!heard.cx.is_lost());
                Ok(Ack::Done)
            })
        });
        publish(&here, "orders", 1).await;
        assert_eq!(heard.numbers(1).await, [1]);
        settled(&here, "billing").await;
        assert!(heard.is_silent(), "it ran again");
        let mut handled = 0;
        for member in members {
            handled += member.stop().await.unwrap().handled;
        }
        assert_eq!(handled, 1);
    }

    async fn who_leaves_gives_back_at_once(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        // Far longer than the law may take: only what is given back comes.
        let lease = Duration::from_secs(600);
        let subscribe = here.subscribe("orders", "billing").lease(lease).concurrency(3);
        let subscribe = subscribe.drain(Duration::from_millis(50));
        let mut leaves = Hearing::start_with(subscribe, |_| std::future::pending());
        for number in 0..3 {
            publish(&here, "orders", number).await;
        }
        assert_eq!(leaves.numbers(3).await, [0, 1, 2]);
        let subscribe = there.subscribe("orders", "billing").lease(lease);
        let mut stays = Hearing::start(subscribe, all_done);
        assert_eq!(leaves.stop().await.given_back, 3);
        for _ in 0..3 {
            let Heard { cx, .. } = stays.next().await;
            assert_eq!((cx.crashes(), cx.failures()), (0, 0), "it was given back");
        }
        assert_eq!(stays.stop().await.handled, 3);
    }

    async fn a_dropped_subscription_gives_back(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let (tell, mut heard) = hearing::channel();
        for _ in 0..3 {
            let subscribe = here.subscribe("orders", "billing").lease(LEASE).concurrency(8);
            let dropped = hearing::start(subscribe, &tell, |_| std::future::pending());
            for number in 0..4 {
                publish(&here, "orders", number).await;
            }
            heard.next().await;
            drop(dropped);
        }
        let subscribe = there.subscribe("orders", "billing").lease(LEASE);
        let mut stays = Hearing::start(subscribe, all_done);
        let mut numbers = stays.numbers(12).await;
        numbers.dedup();
        assert_eq!(numbers, [0, 1, 2, 3]);
        assert_eq!(stays.stop().await.handled, 12);
    }

    async fn a_dropped_publish_is_whole_or_not_there(store: Store) {
        let streams = streams(&store).await;
        publish(&streams, "orders", 1_000).await;
        let mut known = 0;
        for number in 0..50 {
            let publishing = std::future::IntoFuture::into_future(streams.publish("orders", &number));
            let wait = Duration::from_micros(number * 20);
            known += u64::from(tokio::time::timeout(wait, publishing).await.is_ok());
        }
        // Whatever was dropped on its way has arrived by then, or never does.
        publish(&streams, "orders", 1_001).await;
        let one_by_one = streams.subscribe("orders", "billing").concurrency(1);
        let mut all = Hearing::start(one_by_one, all_done);
        let mut numbers = Vec::new();
        loop {
            let Heard { number, .. } = all.next().await;
            if number == 1_001 {
                break;
            }
            numbers.push(number);
        }
        let many = numbers.len() as u64;
        assert!(many > known, "{many} of {known} and the first");
        numbers.sort_unstable();
        let with_repeats = numbers.len();
        numbers.dedup();
        assert_eq!(numbers.len(), with_repeats, "none came twice");
    }

    async fn a_destroyed_group_goes_on_where_it_was(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let subscribe = here.subscribe("orders", "billing").lease(LEASE);
        let mut group = Hearing::start(subscribe, all_done);
        for number in 0..20 {
            publish(&here, "orders", number).await;
        }
        assert_eq!(group.numbers(20).await, (0..20).collect::<Vec<_>>());
        settled(&there, "billing").await;
        noted(&there, "billing").await;
        there.forget_group("orders", "billing", sinew::stream::Force::Yes).await.unwrap();
        for number in 20..30 {
            publish(&there, "orders", number).await;
        }
        assert_eq!(group.numbers(10).await, (20..30).collect::<Vec<_>>(), "nothing came again");
        group.stop().await;
    }

    async fn a_dedup_id_publishes_once(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let mut places = Vec::new();
        for streams in [&here, &there, &here] {
            let published = streams.publish("orders", &1_u64).dedup("invoice 7").await.unwrap();
            places.push(match published {
                Published::Done(place) => (true, place),
                Published::Duplicate(Some(place)) => (false, place),
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(places.iter().filter(|(is_first, _)| *is_first).count(), 1);
        assert!(places.iter().all(|(_, place)| *place == places[0].1));
        let later = || here.publish("orders", &2_u64).dedup("later").delay(600 * SECOND);
        assert!(matches!(later().await.unwrap(), Published::Later { .. }));
        assert!(matches!(later().await.unwrap(), Published::Duplicate(None)));
        let short = || here.publish("orders", &3_u64).dedup("short").dedup_for(SECOND);
        assert!(matches!(short().await.unwrap(), Published::Done(_)));
        eventually("the window is over", || async {
            matches!(short().await.unwrap(), Published::Done(_))
        })
        .await;
        let mut all = Hearing::start(there.subscribe("orders", "billing"), all_done);
        assert_eq!(all.numbers(3).await, [1, 3, 3]);
    }

    async fn the_inbox_suppresses_what_was_finished(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let named = |id: &str, number: u64| NewEvent {
            id: Some(id.to_owned()),
            ..NewEvent::json(&number).unwrap()
        };
        let subscribe = || there.subscribe("orders", "billing").inbox(600 * SECOND);
        let mut group = Hearing::start(subscribe(), all_done);
        let published = here.publish_event("orders", named("a", 1)).await.unwrap();
        assert!(published.place().is_some());
        assert_eq!(group.numbers(1).await, [1]);
        group.stop().await;
        let mut group = Hearing::start(subscribe(), all_done);
        for (id, number) in [("a", 2), ("b", 3)] {
            assert!(here.publish_event("orders", named(id, number)).await.unwrap().place().is_some());
        }
        assert_eq!(group.numbers(1).await, [3], "the other was finished before");
        settled(&here, "billing").await;
        // What failed was not finished.
        let fails_once = |heard: &Heard| match heard.cx.attempt() {
            1 => Err("at first".into()),
            _ => Ok(Ack::Done),
        };
        let other = there.subscribe("refunds", "mail").inbox(600 * SECOND);
        let other = other.retry(Backoff::fixed(Duration::from_millis(20)));
        let mut other = Hearing::start(other, fails_once);
        assert!(here.publish_event("refunds", named("a", 4)).await.unwrap().place().is_some());
        assert_eq!(other.numbers(2).await, [4, 4]);
    }

    async fn the_inbox_tells_events_of_several_sources_apart(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let subscribe = there.subscribe("orders", "billing").inbox(600 * SECOND).concurrency(1);
        let mut group = Hearing::start(subscribe, all_done);
        let sources = ["/shop", "/crm", "/shop", "/crm", "/mail"];
        for (number, source) in (1_u64..).zip(sources) {
            let event = NewEvent {
                id: Some("1".to_owned()),
                source: Some(source.to_owned()),
                ..NewEvent::json(&number).unwrap()
            };
            assert!(here.publish_event("orders", event).await.unwrap().place().is_some());
            // The mark is there before the next one comes.
            settled(&here, "billing").await;
        }
        assert_eq!(group.numbers(3).await, [1, 2, 5], "one of each source");
        assert_eq!(group.stop().await.handled, 5);
    }

    async fn a_delayed_event_comes_in_time(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let mut group = Hearing::start(there.subscribe("orders", "billing"), all_done);
        publish(&here, "orders", 0).await;
        assert_eq!(group.numbers(1).await, [0]);
        for delay_ms in [700, 300, 1_500] {
            let delay = Duration::from_millis(delay_ms);
            let began = Instant::now();
            let published = here.publish("orders", &delay_ms).delay(delay).await.unwrap();
            assert!(matches!(published, Published::Later { .. }), "{published:?}");
            let Heard { number, at, .. } = group.next().await;
            let took = at - began;
            assert_eq!(number, delay_ms);
            // The store counts in whole milliseconds.
            assert!(took + Duration::from_millis(2) >= delay, "{took:?} instead of {delay:?}");
            assert!(took < delay + 2 * SECOND, "{took:?} instead of {delay:?}");
        }
        let looked = here.look("orders").await.unwrap().expect("a topic");
        assert_eq!(looked.delayed, 0);
    }

    async fn it_comes_although_its_publisher_is_gone(store: Store) {
        let here = streams(&store).await;
        let published = here.publish("orders", &1_u64).delay(SECOND).await.unwrap();
        assert!(matches!(published, Published::Later { .. }));
        drop(here);
        let there = streams(&store).await;
        let mut group = Hearing::start(there.subscribe("orders", "billing"), all_done);
        assert_eq!(group.numbers(1).await, [1]);
    }

    async fn tenants_have_topics_of_their_own(store: Store) {
        let acme = store.tenant("acme").await.streams();
        let other = store.tenant("globex").await.streams();
        let mut groups =
            [&acme, &other].map(|streams| Hearing::start(streams.subscribe("orders", "g"), all_done));
        publish(&acme, "orders", 1).await;
        publish(&other, "orders", 2).await;
        assert_eq!((groups[0].numbers(1).await, groups[1].numbers(1).await), (vec![1], vec![2]));
        publish(&acme, "mine", 3).await;
        let topics = other.topics().await.unwrap();
        let told: Vec<_> = topics.iter().map(|one| (one.topic.as_str(), one.published)).collect();
        assert_eq!(told, [("orders", 1)]);
        assert!(other.look("mine").await.unwrap().is_none());
        assert_eq!(acme.look("orders").await.unwrap().map(|topic| topic.published), Some(1));
    }
}
