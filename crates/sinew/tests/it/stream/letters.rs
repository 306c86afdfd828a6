//! Dead letters: looked at, published again, removed, and read like any other topic.

use std::collections::BTreeMap;

use sinew::stream::{Ack, DeadLetters, Place};
use sinew::{ErrorKind, Streams};

use super::hearing::{Heard, Hearing, all_done};
use super::{publish, streams};
use crate::laws::{LAW_MAX, eventually};

async fn refuse_all(streams: &Streams, group: &str, count: usize) {
    let refuses = |heard: &Heard| {
        let kind = if heard.number.is_multiple_of(2) { "even" } else { "odd" };
        Ok(Ack::DeadLetter { reason: format!("{kind} number {}", heard.number) })
    };
    let mut refusing = Hearing::start(streams.subscribe("orders", group), refuses);
    refusing.numbers(count).await;
    let dead = count as u64;
    eventually("all are dead", || async {
        let lag = streams.lag("orders").await.unwrap();
        lag.iter().any(|told| told.group == group && told.dead == dead)
    })
    .await;
    assert_eq!(refusing.stop().await.dead, dead);
}

async fn all_of(letters: &DeadLetters) -> BTreeMap<Place, u64> {
    let (mut all, mut after) = (BTreeMap::new(), None::<Place>);
    loop {
        let page = letters.list(after.as_ref(), 40).await.unwrap();
        assert!(page.len() <= 40);
        let Some(last) = page.last() else { return all };
        after = Some(last.place);
        for letter in page {
            let number = serde_json::from_slice(&letter.event.data).expect("a number");
            assert!(all.insert(letter.place, number).is_none(), "no page has it twice");
        }
    }
}

fn sorted(letters: BTreeMap<Place, u64>) -> Vec<u64> {
    let mut numbers: Vec<u64> = letters.into_values().collect();
    numbers.sort_unstable();
    numbers
}

laws! {
    async fn all_dead_letters_of_all_partitions_are_published_again(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("orders").partitions(2).declare().await.unwrap();
        // More than one step takes of a partition.
        let many = here.publish_many("orders", 0..250_u64);
        many.key(|number| format!("key {number}")).await.unwrap();
        refuse_all(&there, "billing", 250).await;
        let dead = here.dead("orders", "billing");
        assert_eq!(sorted(all_of(&dead).await), (0..250).collect::<Vec<_>>());
        assert_eq!(here.look("orders").await.unwrap().unwrap().dead, 250);
        assert_eq!(dead.redrive_all().await.unwrap(), 250);
        assert!(dead.list(None, 1).await.unwrap().is_empty());
        assert_eq!(here.look("orders").await.unwrap().unwrap().dead, 0);
        let mut group = Hearing::start(there.subscribe("orders", "billing"), all_done);
        assert_eq!(group.numbers(250).await, (0..250).collect::<Vec<_>>());
        assert_eq!(group.stop().await.handled, 250);
        let told = here.lag("orders").await.unwrap().remove(0);
        assert_eq!((told.dead, told.held, told.waiting.n), (0, 0, 0));
    }

    async fn an_event_that_is_published_again_is_the_one_that_it_was(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        publish(&here, "orders", 1).await;
        let first = here.events("orders", None, 1).await.unwrap().remove(0).event;
        let called = (first.source().into_owned(), first.id().into_owned(), first.time());
        let dead = here.dead("orders", "billing");
        // Also the second time.
        for _ in 0..2 {
            refuse_all(&there, "billing", 1).await;
            let letter = dead.list(None, 1).await.unwrap().remove(0);
            assert_eq!((&*letter.event.id(), letter.event.time()), (&*called.1, called.2));
            assert_eq!(dead.redrive(&[letter.place]).await.unwrap(), 1);
            let after = letter.original;
            let again = here.events("orders", Some(&after), 1).await.unwrap().remove(0).event;
            assert_ne!(again.place(), first.place());
            let now = (again.source().into_owned(), again.id().into_owned(), again.time());
            assert_eq!(now, called, "by its name an inbox knows it");
        }
    }

    async fn letters_are_removed_for_good_and_of_their_group_only(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        for number in 0..6 {
            publish(&here, "orders", number).await;
        }
        for group in ["billing", "mail"] {
            refuse_all(&there, group, 6).await;
        }
        let (billing, mail) = (here.dead("orders", "billing"), here.dead("orders", "mail"));
        let letters = all_of(&billing).await;
        let some: Vec<Place> = letters.keys().copied().take(4).collect();
        assert_eq!(mail.remove(&some).await.unwrap(), 0, "they are not its own");
        assert_eq!(billing.remove(&some).await.unwrap(), 4);
        assert_eq!(billing.remove(&some).await.unwrap(), 0, "they are gone");
        assert_eq!(billing.redrive(&some).await.unwrap(), 0);
        let left: Vec<u64> = letters.into_values().skip(4).collect();
        assert_eq!(all_of(&billing).await.into_values().collect::<Vec<_>>(), left);
        assert_eq!(sorted(all_of(&mail).await), [0, 1, 2, 3, 4, 5]);
        for told in here.lag("orders").await.unwrap() {
            let expected = if told.group == "billing" { 2 } else { 6 };
            assert_eq!(told.dead, expected, "{}", told.group);
        }
        assert_eq!(mail.remove_all().await.unwrap(), 6);
        assert_eq!(mail.remove_all().await.unwrap(), 0, "they are gone");
        assert_eq!(all_of(&billing).await.len(), 2, "they are another's");
    }

    async fn a_letter_that_is_named_twice_is_published_once(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        for number in 0..4 {
            publish(&here, "orders", number).await;
        }
        refuse_all(&there, "billing", 4).await;
        let dead = here.dead("orders", "billing");
        let letters: Vec<Place> = all_of(&dead).await.into_keys().collect();
        let twice = |letters: &[Place]| [letters, letters].concat();
        assert_eq!(dead.redrive(&twice(&letters[..2])).await.unwrap(), 2);
        assert_eq!(dead.remove(&twice(&letters[2..3])).await.unwrap(), 1);
        let told = here.lag("orders").await.unwrap().remove(0);
        assert_eq!((told.dead, told.waiting.n), (1, 2));
    }

    async fn letters_with_one_trouble_are_counted_together(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        for number in 0..7 {
            publish(&here, "orders", number).await;
        }
        refuse_all(&there, "billing", 7).await;
        let groups = here.dead("orders", "billing").groups().await.unwrap();
        let told: Vec<_> = groups.iter().map(|one| (one.reason.as_str(), one.count)).collect();
        assert_eq!(told, [("even number #", 4), ("odd number #", 3)]);
        let letters = all_of(&here.dead("orders", "billing")).await;
        for group in groups {
            assert!(group.first <= group.last);
            let is_even = letters[&group.example] % 2 == 0;
            assert_eq!(is_even, group.reason.starts_with("even"), "an example of it");
        }
    }

    async fn dead_letters_are_a_topic_to_be_read_and_not_to_be_written(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let mut tail = here.tail("orders.dead").from_start().open().await.unwrap();
        let mut auditor = Hearing::start(here.subscribe("orders.dead", "auditor"), all_done);
        for number in 0..3 {
            publish(&here, "orders", number).await;
        }
        refuse_all(&there, "billing", 3).await;
        assert_eq!(auditor.numbers(3).await, [0, 1, 2]);
        for _ in 0..3 {
            let next = tokio::time::timeout(LAW_MAX / 3, tail.next()).await.expect("it is read");
            let stored = next.expect("no end").unwrap();
            let here = here.event("orders.dead", &stored.place).await.unwrap();
            assert_eq!(here.expect("it is there").event.data, stored.event.data);
        }
        eventually("the auditor has finished", || async {
            let lag = here.lag("orders.dead").await.unwrap();
            lag.len() == 1 && lag[0].held + lag[0].waiting.n == 0
        })
        .await;
        auditor.stop().await;
        let left = here.dead("orders", "billing").list(None, 10).await.unwrap();
        assert_eq!(left.len(), 3, "who reads them takes none away");
        let refused = here.publish("orders.dead", &1_u64).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Rejected, "{refused}");
    }
}
