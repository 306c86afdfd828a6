//! What people are told of topics, groups, consumers and events.

use std::time::{Duration, SystemTime};

use sinew::stream::{Ack, EntryId, GroupMode, NewEvent, Place};

use super::hearing::{Heard, Hearing, all_done};
use super::{LEASE, SECOND, publish, streams};
use crate::laws::eventually;

fn number(data: &[u8]) -> u64 {
    serde_json::from_slice(data).expect("a number")
}

laws! {
    async fn what_is_told_of_a_topic_is_true(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        assert_eq!(there.look("orders").await.unwrap(), None);
        assert!(there.topics().await.unwrap().is_empty());
        assert!(there.lag("orders").await.unwrap().is_empty());
        let topic = here.topic("orders").partitions(4).len_max(500).keep(60 * SECOND);
        let declared = topic.declare().await.unwrap();
        assert_eq!((declared.partitions, declared.len_max, declared.keep), (4, 500, 60 * SECOND));
        // By another, and with what it leaves open.
        let again = there.topic("orders").keep(90 * SECOND).declare().await.unwrap();
        assert_eq!((again.partitions, again.len_max, again.keep), (4, 500, 90 * SECOND));
        let other = there.topic("orders").partitions(3).declare().await.unwrap_err();
        assert_eq!(other.kind(), sinew::ErrorKind::Misconfigured, "{other}");
        publish(&here, "refunds", 1).await;

        let began = SystemTime::now() - SECOND;
        let many = here.publish_many("orders", 0..30_u64);
        many.key(|number| format!("key {number}")).await.unwrap();
        for number in 30..33 {
            let later = here.publish("orders", &number).delay(600 * SECOND).await.unwrap();
            assert!(later.place().is_none());
        }
        let told = there.look("orders").await.unwrap().expect("it was declared");
        assert_eq!((told.topic.as_str(), told.partitions, told.len_max), ("orders", 4, 500));
        assert_eq!((told.len, told.published, told.delayed), (30, 30, 3));
        assert_eq!((told.dead, told.lost, told.keep), (0, 0, 90 * SECOND));
        assert_eq!((told.held_by.as_deref(), told.groups.len()), (None, 0));
        let last_at = told.last_at.expect("there are some");
        assert!(last_at >= began && last_at <= SystemTime::now() + SECOND, "{last_at:?}");
        let topics = there.topics().await.unwrap();
        let names: Vec<&str> = topics.iter().map(|one| one.topic.as_str()).collect();
        assert_eq!(names, ["orders", "refunds"]);
        assert_eq!(topics[0], told);
    }

    async fn what_is_told_of_consumers_is_true(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("orders").partitions(2).declare().await.unwrap();
        let lease = 60 * SECOND;
        let subscribe = there.subscribe("orders", "billing").name("host:7").lease(lease);
        let mut holds = Hearing::start_with(subscribe, |_| std::future::pending());
        let mut places = Vec::new();
        for number in 0..4_u64 {
            let keyed = here.publish("orders", &number).key(format!("key {number}"));
            places.extend(keyed.await.unwrap().place().copied());
        }
        holds.numbers(4).await;
        let idle = there.subscribe("orders", "billing").name("host:8").lease(lease);
        // It has nothing to do.
        let idle = Hearing::start(idle.only(["nothing"]), all_done);
        eventually("both are there", || async {
            here.consumers("orders", "billing").await.unwrap().len() == 2
        })
        .await;
        let consumers = here.consumers("orders", "billing").await.unwrap();
        let mut labels: Vec<&str> = consumers.iter().map(|one| one.label.as_str()).collect();
        labels.sort_unstable();
        assert_eq!(labels, ["host:7", "host:8"]);
        for one in &consumers {
            let left = one.lease_left.expect("it is one of Sinew's");
            assert!(left > lease / 2 && left <= lease, "{left:?}");
            assert!(one.partitions.is_empty() && one.name.starts_with(&one.label));
            let oldest = places.iter().min_by_key(|place| (place.entry, place.partition));
            let (held, oldest) = if one.label == "host:7" { (4, oldest) } else { (0, None) };
            assert_eq!((one.held, one.oldest.as_ref()), (held, oldest), "{}", one.label);
        }
        let told = here.lag("orders").await.unwrap().remove(0);
        assert_eq!((told.consumers, told.held, told.mode), (2, 4, GroupMode::Any));
        assert!(told.seen_at.is_some_and(|at| at + lease > SystemTime::now()));
        assert!(!told.is_forgotten);
        drop((holds, idle));
    }

    async fn what_is_told_of_owners_is_true(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let subscribe = || there.subscribe("orders", "billing").ordered_by_key(4).lease(LEASE);
        let mut group = Hearing::start(subscribe().name("host:7"), all_done);
        eventually("each partition has an owner", || async {
            here.lag("orders").await.unwrap().iter().any(|group| group.consumers == 4)
        })
        .await;
        let consumers = here.consumers("orders", "billing").await.unwrap();
        assert_eq!((consumers.len(), consumers[0].label.as_str()), (1, "host:7"));
        let owned: Vec<u16> = consumers[0].partitions.iter().map(|(number, _)| *number).collect();
        assert_eq!(owned, [0, 1, 2, 3]);
        let keyed = here.publish("orders", &1_u64).key("ada").await.unwrap();
        let partition = keyed.place().expect("it is there").partition;
        let heard = group.next().await;
        let fence = consumers[0].partitions[usize::from(partition)].1;
        assert_eq!(heard.cx.fence(), Some(fence));
        assert_eq!(here.lag("orders").await.unwrap()[0].mode, GroupMode::ByKey);
        group.stop().await;
        eventually("no one owns any", || async {
            here.lag("orders").await.unwrap()[0].consumers == 0
        })
        .await;
        let mut next = Hearing::start(subscribe().name("host:8"), all_done);
        assert!(here.publish("orders", &2_u64).key("ada").await.unwrap().place().is_some());
        assert!(next.next().await.cx.fence() > Some(fence), "fences grow");
    }

    async fn events_are_read_by_page_in_the_order_of_their_time(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("orders").partitions(4).declare().await.unwrap();
        let mut published = Vec::new();
        for number in 0..60_u64 {
            let keyed = here.publish("orders", &number).key(format!("key {}", number % 11));
            published.extend(keyed.await.unwrap().place().copied());
        }
        let (mut read, mut after) = (Vec::new(), None::<Place>);
        loop {
            let page = there.events("orders", after.as_ref(), 7).await.unwrap();
            assert!(page.len() <= 7);
            let Some(last) = page.last() else { break };
            after = Some(last.place);
            read.extend(page.iter().map(|one| (one.place, number(&one.event.data))));
        }
        let in_order = read.iter().map(|(place, _)| (place.entry, place.partition));
        assert!(in_order.is_sorted(), "{read:?}");
        assert_eq!(read.len(), 60, "each once");
        for (place, number) in read {
            assert_eq!(published[usize::try_from(number).unwrap()], place);
        }
    }

    async fn a_page_of_long_events_is_short_and_the_next_one_goes_on(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("images").partitions(2).declare().await.unwrap();
        for number in 0..12 {
            let event = NewEvent {
                key: Some(format!("key {number}")),
                content_type: Some("application/octet-stream".to_owned()),
                data: vec![b'x'; 1_000_000].into(),
                ..NewEvent::default()
            };
            let _ = here.publish_event("images", event).await.unwrap();
        }
        let (mut pages, mut after) = (Vec::new(), None::<Place>);
        loop {
            let page = there.events("images", after.as_ref(), 1_000).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.place);
            pages.push(page.len());
        }
        assert_eq!(pages.iter().sum::<usize>(), 12, "{pages:?}");
        assert!(pages.iter().all(|len| *len < 12), "no reply has all of them: {pages:?}");
    }

    async fn an_event_is_found_at_its_place_alone(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let event = NewEvent {
            id: Some("a-1".to_owned()),
            subject: Some("order 7".to_owned()),
            content_type: Some("application/octet-stream".to_owned()),
            data: vec![0, 255, b'\n', 0].into(),
            ..NewEvent::default()
        };
        let published = here.publish_event("orders", event).await.unwrap();
        let place = *published.place().expect("it is there");
        // As someone writes it down who looks for it later.
        let place: Place = place.to_string().parse().unwrap();
        let stored = there.event("orders", &place).await.unwrap().expect("it is there");
        assert_eq!((stored.place, &*stored.event.id(), stored.redriven_to), (place, "a-1", None));
        assert_eq!(stored.event.subject(), Some("order 7"));
        assert_eq!(stored.event.content_type(), "application/octet-stream");
        assert_eq!(&*stored.event.data, [0, 255, b'\n', 0]);
        let next = EntryId { seq: place.entry.seq + 1, ..place.entry };
        for nowhere in [Place { entry: next, ..place }, Place { partition: 1, ..place }] {
            assert!(there.event("orders", &nowhere).await.unwrap().is_none(), "{nowhere}");
        }
        assert!(there.event("refunds", &place).await.unwrap().is_none());
    }

    async fn a_redriven_event_says_whom_it_is_for(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let closed = |_: &Heard| Ok(Ack::DeadLetter { reason: "closed".to_owned() });
        let mut group = Hearing::start(there.subscribe("orders", "billing"), closed);
        publish(&here, "orders", 1).await;
        group.numbers(1).await;
        let dead = here.dead("orders", "billing");
        eventually("it is dead", || async { dead.list(None, 1).await.unwrap().len() == 1 }).await;
        group.stop().await;
        assert_eq!(dead.redrive_all().await.unwrap(), 1);
        let events = there.events("orders", None, 10).await.unwrap();
        let told: Vec<_> = events.iter().map(|one| one.redriven_to.as_deref()).collect();
        assert_eq!(told, [None, Some("billing")]);
    }

    async fn the_age_of_the_oldest_grows_and_ends_with_it(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let (open, gate) = tokio::sync::watch::channel(false);
        let subscribe = there.subscribe("orders", "billing");
        let mut group = Hearing::start_behind(subscribe, gate, |_| None);
        publish(&here, "orders", 1).await;
        group.numbers(1).await;
        let age = || async { here.lag("orders").await.unwrap()[0].oldest_unacked };
        let first = age().await.expect("one is not finished");
        eventually("it grows", || async {
            age().await.is_some_and(|now| now >= first + Duration::from_millis(500))
        })
        .await;
        assert_eq!(here.look("orders").await.unwrap().unwrap().held_by.as_deref(), Some("billing"));
        open.send_replace(true);
        eventually("nothing is left", || async { age().await.is_none() }).await;
    }
}
