//! Events that are taken by hand.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use sinew::stream::{Backoff, LeaseToken, Place, Pulled, Puller, StartFrom};
use sinew::{Clock, ErrorKind, Sinew, Streams};

use super::hearing::{Hearing, all_done};
use super::{LEASE, SECOND, publish, streams};
use crate::laws::{LAW_MAX, eventually, keep};
use crate::world::{SHARED_CLUSTER, SHARED_REDIS, SHARED_VALKEY, Store, redis_cli};

/// Far longer than a law may take.
const LONG: Duration = Duration::from_secs(600);
const WAIT: Duration = Duration::from_millis(200);
const SOON: Duration = Duration::from_millis(20);
/// After so many deliveries that ended with their process, an event is dead.
const CRASHES_MAX: u32 = 20;

fn billing(streams: &Streams) -> Puller {
    streams.pull("orders", "billing")
}

/// Pulls until there is something.
async fn pulled(puller: &Puller, max: usize) -> Pulled {
    let began = Instant::now();
    loop {
        if let Some(pulled) = puller.pull(max, WAIT).await.expect("it is asked") {
            return pulled;
        }
        assert!(began.elapsed() < LAW_MAX / 2, "nothing was ever pulled");
    }
}

fn number(data: &[u8]) -> u64 {
    serde_json::from_slice(data).expect("a number")
}

fn numbers(pulled: &Pulled) -> Vec<u64> {
    pulled.events.iter().map(|one| number(&one.event.data)).collect()
}

fn places(pulled: &Pulled) -> Vec<Place> {
    pulled.events.iter().map(|one| one.event.place()).collect()
}

/// What the group holds, has put off, and has not read.
async fn standing(streams: &Streams) -> (u64, u64, u64) {
    let told = streams.lag("orders").await.unwrap().remove(0);
    (told.held, told.parked, told.waiting.n)
}

laws! {
    async fn long_events_are_pulled_a_few_at_a_time(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let long = "x".repeat(900_000);
        for _ in 0..12 {
            assert!(here.publish("orders", &long).await.unwrap().place().is_some());
        }
        let mut pulls = Vec::new();
        while pulls.iter().sum::<usize>() < 12 {
            let some = pulled(&billing(&there), 64).await;
            assert!(some.events.iter().all(|one| one.attempt == 1));
            let settled = billing(&there).ack(&some.lease, &places(&some)).await.unwrap();
            assert!(settled.lost.is_empty());
            pulls.push(some.events.len());
        }
        assert!(pulls[0] < 12, "{pulls:?}");
        assert_eq!(standing(&here).await, (0, 0, 0));
    }

    async fn a_pause_without_an_end_stops_no_one_else(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        publish(&here, "orders", 1).await;
        let first = pulled(&billing(&here), 1).await;
        let never = [(places(&first)[0], Some(Duration::MAX), Some("never".to_owned()))];
        let settled = billing(&here).nack(&first.lease, &never).await.unwrap();
        assert_eq!(settled.done, places(&first));
        publish(&here, "orders", 2).await;
        assert_eq!(numbers(&pulled(&billing(&there), 10).await), [2]);
        assert_eq!(standing(&here).await, (1, 1, 0));
    }

    async fn what_was_pulled_is_no_one_elses_and_is_finished_by_its_ack(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        for number in 0..5 {
            publish(&here, "orders", number).await;
        }
        let first = pulled(&billing(&here).lease(LONG), 3).await;
        assert_eq!(numbers(&first), [0, 1, 2]);
        assert!(first.events.iter().all(|one| one.attempt == 1));
        assert!(first.until > SystemTime::now() + LONG / 2);
        let rest = pulled(&billing(&there).lease(LONG), 10).await;
        assert_eq!(numbers(&rest), [3, 4], "the others are under a lease");
        assert_ne!(first.lease, rest.lease);
        assert_eq!(standing(&here).await, (5, 0, 0));

        let first_places = places(&first);
        // By whoever has the lease, in whatever process.
        let settled = billing(&there).ack(&first.lease, &first_places[..2]).await.unwrap();
        assert_eq!((&settled.done[..], settled.lost.len()), (&first_places[..2], 0));
        assert_eq!(standing(&here).await, (3, 0, 0));
        let lease = first.lease.to_string().parse().unwrap();
        let settled = billing(&there).ack(&lease, &first_places[2..]).await.unwrap();
        assert_eq!(settled.done, first_places[2..]);
        let settled = billing(&here).ack(&rest.lease, &places(&rest)).await.unwrap();
        assert_eq!(settled.done, places(&rest));
        assert_eq!(standing(&here).await, (0, 0, 0));
        assert!(billing(&here).pull(10, WAIT).await.unwrap().is_none());
        let consumers = here.consumers("orders", "billing").await.unwrap();
        assert!(consumers.is_empty(), "a lease without events is over: {consumers:?}");
    }

    async fn a_lease_settles_nothing_of_anothers(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        for number in 0..2 {
            publish(&here, "orders", number).await;
        }
        let one = pulled(&billing(&here).lease(LONG), 1).await;
        let other = pulled(&billing(&there).lease(LONG), 1).await;
        let strange = places(&one);
        let acked = billing(&there).ack(&other.lease, &strange).await.unwrap();
        assert_eq!((acked.done.len(), &acked.lost), (0, &strange));
        let nacked = billing(&there).nack(&other.lease, &[(strange[0], None, None)]).await.unwrap();
        assert_eq!((nacked.done.len(), &nacked.lost), (0, &strange));
        let letters = [(strange[0], "not mine".to_owned())];
        let buried = billing(&there).dead_letter(&other.lease, &letters).await.unwrap();
        assert_eq!((buried.done.len(), &buried.lost), (0, &strange));
        publish(&here, "orders", 2).await;
        let unread = here.events("orders", Some(&strange[0]), 10).await.unwrap().pop().unwrap().place;
        let acked = billing(&there).ack(&other.lease, &[unread]).await.unwrap();
        assert_eq!((acked.done.len(), acked.lost), (0, vec![unread]), "no one was given it yet");
        assert_eq!(standing(&here).await, (2, 0, 1));
        assert_eq!(billing(&here).ack(&one.lease, &strange).await.unwrap().done, strange);
    }

    async fn what_has_no_word_within_its_lease_is_pulled_by_another(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        for number in 0..3 {
            publish(&here, "orders", number).await;
        }
        let began = Instant::now();
        let first = pulled(&billing(&here).lease(LEASE), 10).await;
        assert_eq!(numbers(&first), [0, 1, 2]);
        let held = places(&first);
        assert_eq!(billing(&here).ack(&first.lease, &held[..1]).await.unwrap().done, held[..1]);
        let other = billing(&there).lease(LONG);
        let (mut again, mut leases) = (Vec::new(), Vec::new());
        while again.len() < 2 {
            let next = pulled(&other, 10).await;
            assert!(next.events.iter().all(|one| one.attempt == 2));
            again.extend(numbers(&next));
            leases.push((next.lease.clone(), places(&next)));
        }
        assert!(began.elapsed() >= LEASE, "not while it is leased: {:?}", began.elapsed());
        again.sort_unstable();
        assert_eq!(again, [1, 2]);

        let late = billing(&here).ack(&first.lease, &held[1..]).await.unwrap();
        assert_eq!((late.done.len(), &late.lost[..]), (0, &held[1..]), "refused, and told");
        assert!(!billing(&here).renew(&first.lease, LONG).await.unwrap());
        assert_eq!(standing(&here).await, (2, 0, 0));
        for (lease, places) in leases {
            assert_eq!(other.ack(&lease, &places).await.unwrap().done, places);
        }
        assert_eq!(standing(&here).await, (0, 0, 0));
    }

    async fn a_subscriber_runs_what_a_pull_has_left(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        publish(&here, "orders", 7).await;
        assert_eq!(numbers(&pulled(&billing(&here).lease(LEASE), 1).await), [7]);
        let subscribe = there.subscribe("orders", "billing").lease(LEASE);
        let mut group = Hearing::start(subscribe, all_done);
        let heard = group.next().await;
        assert_eq!((heard.number, heard.cx.crashes(), heard.cx.failures()), (7, 1, 0));
        assert_eq!(group.stop().await.handled, 1);
    }

    async fn a_renewed_lease_lasts_as_long_as_was_said(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        publish(&here, "orders", 1).await;
        let puller = billing(&here).lease(LEASE);
        let held = pulled(&puller, 1).await;
        assert!(puller.renew(&held.lease, LONG).await.unwrap());
        let refused = puller.renew(&held.lease, SOON).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Rejected, "{refused}");
        let began = Instant::now();
        while began.elapsed() < 3 * LEASE {
            let other = billing(&there).lease(LEASE).pull(1, WAIT).await.unwrap();
            assert!(other.is_none(), "it was pulled although it was renewed");
        }
        assert_eq!(puller.ack(&held.lease, &places(&held)).await.unwrap().done, places(&held));
        assert!(!puller.renew(&held.lease, LONG).await.unwrap(), "nothing is under it any more");
    }

    async fn what_is_put_off_comes_again_when_it_was_said(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        for number in 0..3 {
            publish(&here, "orders", number).await;
        }
        let puller = billing(&here).lease(LONG);
        let first = pulled(&puller, 3).await;
        let held = places(&first);
        let pause = 2 * SECOND;
        let began = Instant::now();
        let said = [(held[0], None, None), (held[1], Some(pause), Some("no stock".to_owned()))];
        let settled = puller.nack(&first.lease, &said).await.unwrap();
        assert_eq!((&settled.done[..], settled.lost.len()), (&held[..2], 0));
        assert_eq!(standing(&there).await, (1, 2, 0));
        let other = billing(&there).lease(LONG);
        let at_once = pulled(&other, 10).await;
        assert_eq!((numbers(&at_once), at_once.events[0].attempt), (vec![0], 2));
        let later = pulled(&other, 10).await;
        assert_eq!((numbers(&later), later.events[0].attempt), (vec![1], 2));
        let took = began.elapsed();
        assert!(took + Duration::from_millis(2) >= pause, "{took:?} instead of {pause:?}");
        // What it gave back is no longer its own.
        let settled = puller.ack(&first.lease, &held).await.unwrap();
        assert_eq!((&settled.done[..], &settled.lost[..]), (&held[2..], &held[..2]));
    }

    async fn what_comes_due_while_a_pull_waits_wakes_it(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        publish(&here, "orders", 1).await;
        let puller = billing(&here).lease(LONG);
        let first = pulled(&puller, 1).await;
        let said = [(places(&first)[0], Some(2 * SECOND), None)];
        assert_eq!(puller.nack(&first.lease, &said).await.unwrap().done, places(&first));
        // One wait, which ends with the event.
        let began = Instant::now();
        let again = billing(&there).lease(LONG).pull(1, LAW_MAX / 2).await.unwrap();
        assert_eq!(numbers(&again.expect("it came due")), [1]);
        assert!(began.elapsed() < LAW_MAX / 4, "{:?}", began.elapsed());
    }

    async fn what_a_pull_has_left_wakes_one_that_waits(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        publish(&here, "orders", 1).await;
        assert_eq!(numbers(&pulled(&billing(&here).lease(LEASE), 1).await), [1]);
        let began = Instant::now();
        let waits = billing(&there).lease(LEASE).pull(1, LAW_MAX / 2).await.unwrap();
        let waits = waits.expect("its lease was over");
        assert_eq!((numbers(&waits), waits.events[0].attempt), (vec![1], 2));
        assert!(began.elapsed() < LAW_MAX / 4, "{:?}", began.elapsed());
    }

    async fn what_is_said_of_a_topic_that_is_not_there_makes_none(store: Store) {
        let here = streams(&store).await;
        publish(&here, "orders", 1).await;
        let held = pulled(&billing(&here).lease(LONG), 1).await;
        let (typo, of) = (here.pull("odrers", "billing"), places(&held));
        assert_eq!(typo.ack(&held.lease, &of).await.unwrap().lost, of);
        assert_eq!(typo.nack(&held.lease, &[(of[0], None, None)]).await.unwrap().lost, of);
        let letters = [(of[0], "closed".to_owned())];
        assert_eq!(typo.dead_letter(&held.lease, &letters).await.unwrap().lost, of);
        assert!(!typo.renew(&held.lease, LONG).await.unwrap());
        assert!(here.look("odrers").await.unwrap().is_none());
    }

    async fn what_fails_as_often_as_it_may_is_a_dead_letter(store: Store) {
        let here = streams(&store).await;
        publish(&here, "orders", 1).await;
        let puller = billing(&here).lease(LONG).retry(Backoff::fixed(SOON).max_attempts(3));
        for attempt in 1..=3 {
            let held = pulled(&puller, 1).await;
            assert_eq!(held.events[0].attempt, attempt);
            let said = [(places(&held)[0], None, Some(format!("attempt {attempt} failed")))];
            assert_eq!(puller.nack(&held.lease, &said).await.unwrap().done, places(&held));
        }
        let dead = here.dead("orders", "billing").list(None, 10).await.unwrap();
        assert_eq!((dead.len(), dead[0].attempts, dead[0].crashes), (1, 3, 0));
        let errors: Vec<&str> = dead[0].errors.iter().map(|(_, error)| error.as_str()).collect();
        assert_eq!(errors, ["attempt 1 failed", "attempt 2 failed", "attempt 3 failed"]);
        assert_eq!((&*dead[0].reason, number(&dead[0].event.data)), ("attempt 3 failed", 1));
        assert_eq!(standing(&here).await, (0, 0, 0));
    }

    async fn what_cannot_be_handled_is_put_aside_with_its_reason(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        for number in 0..2 {
            publish(&here, "orders", number).await;
        }
        let puller = billing(&here).lease(LONG);
        let held = pulled(&puller, 2).await;
        let letters = [(places(&held)[1], "closed".to_owned())];
        let settled = puller.dead_letter(&held.lease, &letters).await.unwrap();
        assert_eq!(settled.done, places(&held)[1..]);
        let dead = there.dead("orders", "billing").list(None, 10).await.unwrap();
        let (letter, original) = (&dead[0], places(&held)[1]);
        assert_eq!((dead.len(), &*letter.reason, letter.original), (1, "closed", original));
        assert_eq!((letter.attempts, &*letter.errors[0].1), (1, "closed"));
        assert_eq!(standing(&there).await, (1, 0, 0), "the other is still held");
        let again = puller.dead_letter(&held.lease, &letters).await.unwrap();
        assert_eq!(again.lost, places(&held)[1..]);
        assert_eq!(puller.ack(&held.lease, &places(&held)[..1]).await.unwrap().done.len(), 1);
    }

    async fn a_pull_takes_as_many_as_were_asked_for_over_all_partitions(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("orders").partitions(4).declare().await.unwrap();
        let many = here.publish_many("orders", 0..60_u64);
        let many = many.key(|number| format!("key {}", number % 9));
        assert_eq!(many.await.unwrap().len(), 60);
        let puller = billing(&there).lease(LONG);
        let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
        while seen.len() < 60 {
            let some = pulled(&puller, 7).await;
            assert!(some.events.len() <= 7, "{}", some.events.len());
            for number in numbers(&some) {
                *seen.entry(number).or_default() += 1;
            }
            let settled = puller.ack(&some.lease, &places(&some)).await.unwrap();
            assert!(settled.lost.is_empty(), "{settled:?}");
        }
        assert!(seen.values().all(|times| *times == 1), "{seen:?}");
        eventually("all is finished", || async { standing(&here).await == (0, 0, 0) }).await;
    }

    async fn a_pull_waits_for_what_is_published(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("orders").partitions(2).declare().await.unwrap();
        let waiting = tokio::spawn(async move { billing(&there).pull(1, LAW_MAX / 2).await });
        eventually("it waits", || async {
            here.consumers("orders", "billing").await.unwrap().len() == 1
        })
        .await;
        let began = Instant::now();
        publish(&here, "orders", 3).await;
        let held = waiting.await.unwrap().unwrap().expect("an event");
        assert_eq!(numbers(&held), [3]);
        assert!(began.elapsed() < LAW_MAX / 4, "{:?}", began.elapsed());
    }

    async fn a_lease_begins_when_there_is_something_under_it(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let lease = 2 * LEASE;
        let puller = billing(&here).lease(lease);
        let waits = puller.clone();
        let waiting = tokio::spawn(async move { waits.pull(1, LAW_MAX / 2).await });
        eventually("it waits", || async {
            there.consumers("orders", "billing").await.unwrap().len() == 1
        })
        .await;
        // Longer than its lease, and than others would let it be.
        tokio::time::sleep(lease + LEASE).await;
        publish(&there, "orders", 3).await;
        let held = waiting.await.unwrap().unwrap().expect("an event");
        let began = Instant::now();
        while began.elapsed() < LEASE / 2 {
            let other = billing(&there).lease(lease).pull(1, SOON).await.unwrap();
            assert!(other.is_none(), "it was taken from whoever has just got it");
        }
        assert!(held.until > SystemTime::now());
        assert_eq!(puller.ack(&held.lease, &places(&held)).await.unwrap().done, places(&held));
        assert_eq!(standing(&here).await, (0, 0, 0));
    }

    async fn who_only_looks_cannot_settle(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        publish(&here, "orders", 1).await;
        let held = pulled(&billing(&here).lease(LONG), 1).await;
        let seen = there.consumers("orders", "billing").await.unwrap().remove(0);
        assert_eq!((seen.held, seen.oldest), (1, Some(places(&held)[0])));
        assert!(seen.name.parse::<LeaseToken>().is_err(), "{}", seen.name);
        assert!(!seen.name.contains(&held.lease.to_string()), "{}", seen.name);
    }

    async fn a_pull_that_does_not_wait_takes_what_is_there(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        for number in 0..3 {
            publish(&here, "orders", number).await;
        }
        let held = billing(&there).lease(LONG).pull(10, Duration::ZERO).await.unwrap();
        assert_eq!(numbers(&held.expect("it was there before")), [0, 1, 2]);
        assert!(billing(&there).pull(10, Duration::ZERO).await.unwrap().is_none());
    }

    async fn a_pull_begins_a_group_where_it_says(store: Store) {
        let here = streams(&store).await;
        publish(&here, "orders", 1).await;
        let from_now = billing(&here).from(StartFrom::End);
        assert!(from_now.pull(1, WAIT).await.unwrap().is_none());
        publish(&here, "orders", 2).await;
        assert_eq!(numbers(&pulled(&from_now, 10).await), [2]);
    }

    async fn a_group_whose_partitions_have_owners_is_not_pulled(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let subscribe = here.subscribe("orders", "billing").ordered_by_key(2);
        let mut group = Hearing::start(subscribe, all_done);
        eventually("both partitions have an owner", || async {
            here.lag("orders").await.unwrap().iter().any(|group| group.consumers == 2)
        })
        .await;
        let refused = billing(&there).pull(1, WAIT).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Misconfigured, "{refused}");
        let owners = here.consumers("orders", "billing").await.unwrap();
        assert_eq!(owners.len(), 1, "a pull that was refused is no member: {owners:?}");
        publish(&there, "orders", 1).await;
        assert_eq!(group.numbers(1).await, [1]);
        group.stop().await;
    }

    async fn a_pull_out_of_bounds_is_refused(store: Store) {
        let here = streams(&store).await;
        publish(&here, "orders", 1).await;
        let never = Backoff::fixed(SOON).max_attempts(0);
        for refused in [
            billing(&here).pull(0, WAIT).await.unwrap_err(),
            billing(&here).pull(257, WAIT).await.unwrap_err(),
            billing(&here).lease(SOON).pull(1, WAIT).await.unwrap_err(),
            billing(&here).retry(never).pull(1, WAIT).await.unwrap_err(),
        ] {
            assert_eq!(refused.kind(), ErrorKind::Rejected, "{refused}");
        }
        let held = pulled(&billing(&here), 1).await;
        let beyond = Place { partition: 1, ..places(&held)[0] };
        let refused = billing(&here).ack(&held.lease, &[beyond]).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Rejected, "{refused}");
        assert!("pull-".parse::<LeaseToken>().is_err());
        assert_eq!(format!("{:?}", held.lease), "LeaseToken(..)", "it is no one else's to know");
    }
}

/// Pulls the only event, and says nothing of it, until it is a dead letter. What was told of each delivery.
async fn attempts_until_dead(streams: &Streams, delivered: impl Fn(u32)) -> Vec<u32> {
    // With one attempt, a failure would have been its last.
    let puller = billing(streams).lease(LEASE).retry(Backoff::fixed(SOON).max_attempts(1));
    let (mut attempts, dead) = (Vec::new(), streams.dead("orders", "billing"));
    let letter = loop {
        if let Some(held) = puller.pull(1, SOON).await.unwrap() {
            attempts.push(held.events[0].attempt);
            delivered(held.events[0].attempt);
        } else if let Some(letter) = dead.list(None, 1).await.unwrap().pop() {
            break letter;
        }
        assert!(attempts.len() < 100, "for ever");
    };
    assert_eq!((letter.crashes, letter.attempts), (CRASHES_MAX, 0));
    assert!(letter.reason.contains("ended with their process"), "{}", letter.reason);
    assert_eq!(standing(streams).await, (0, 0, 0));
    attempts
}

#[test]
fn a_crash_loop_ends_in_the_dead_set() {
    keep(|| async {
        let (clock, hands) = Clock::manual();
        let streams = Sinew::builder().clock(clock).embedded().unwrap().streams();
        publish(&streams, "orders", 1).await;
        let attempts = attempts_until_dead(&streams, |_| hands.advance(2 * LEASE)).await;
        assert_eq!(attempts, (1..=CRASHES_MAX).collect::<Vec<_>>());
    });
}

#[test]
fn a_crash_loop_has_the_same_end_on_every_server() {
    keep(|| async {
        let ends = |store: Store, ports: Vec<u16>| async move {
            let streams = streams(&store).await;
            publish(&streams, "orders", 1).await;
            let id = streams.events("orders", None, 1).await.unwrap()[0].place.entry;
            let pattern = format!("{}*:log", store.prefix);
            let scan = ["--scan", "--pattern", &pattern];
            let mut logs = ports.into_iter().map(|port| (port, redis_cli(port, &scan)));
            let (port, log) = logs.find(|(_, log)| !log.is_empty()).expect("a log");
            let tries = log.replace(":log", ":g:billing:tries");
            let attempts = attempts_until_dead(&streams, |attempt| {
                // As if all but two had been before it.
                if attempt == 1 {
                    let before = (CRASHES_MAX - 2).to_string();
                    redis_cli(port, &["HSET", &tries, &format!("{id}:d"), &before]);
                }
            });
            assert_eq!(attempts.await, [1, CRASHES_MAX]);
        };
        let (redis, valkey) = (Store::redis().await, Store::valkey().await);
        let cluster = Store::cluster().await;
        let nodes = SHARED_CLUSTER.nodes.iter().map(|node| node.server.port);
        tokio::join!(
            ends(redis, vec![SHARED_REDIS.port]),
            ends(valkey, vec![SHARED_VALKEY.port]),
            ends(cluster, nodes.collect()),
        );
    });
}
