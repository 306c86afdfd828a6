//! Events whose handlers fail, or never end.

use std::time::{Duration, Instant};

use sinew::stream::{Ack, Backoff, DeadLetter};

use super::hearing::{Heard, Hearing, all_done};
use super::{LEASE, SECOND, publish, streams};
use crate::laws::eventually;

const SOON: Duration = Duration::from_millis(20);

async fn the_dead(streams: &sinew::Streams, group: &str, count: usize) -> Vec<DeadLetter> {
    eventually("they are dead", || async {
        streams.dead("orders", group).list(None, 100).await.unwrap().len() == count
    })
    .await;
    streams.dead("orders", group).list(None, 100).await.unwrap()
}

laws! {
    async fn a_poison_event_ends_in_the_dead_set_with_its_history(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let subscribe = there.subscribe("orders", "billing");
        let subscribe = subscribe.retry(Backoff::fixed(SOON).max_attempts(3));
        let mut group = Hearing::start(subscribe, |heard| match heard.number {
            7 => Err(format!("attempt {} failed", heard.cx.attempt()).into()),
            _ => Ok(Ack::Done),
        });
        for number in [1, 7, 2] {
            publish(&here, "orders", number).await;
        }
        assert_eq!(group.numbers(5).await, [1, 2, 7, 7, 7]);
        let dead = the_dead(&here, "billing", 1).await;
        let letter = &dead[0];
        assert_eq!((letter.attempts, letter.crashes, &*letter.group), (3, 0, "billing"));
        let errors: Vec<&str> = letter.errors.iter().map(|(_, error)| error.as_str()).collect();
        assert_eq!(errors, ["attempt 1 failed", "attempt 2 failed", "attempt 3 failed"]);
        assert_eq!((&*letter.reason, &*letter.event.data), ("attempt 3 failed", &b"7"[..]));
        assert!(letter.first_at <= letter.dead_at);
        assert!(here.event("orders", &letter.original).await.unwrap().is_some());
        group.stop().await;
        let lag = here.lag("orders").await.unwrap();
        assert_eq!((lag[0].dead, lag[0].held, lag[0].parked, lag[0].waiting.n), (1, 0, 0, 0));
    }

    async fn a_crash_is_not_a_failure(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let subscribe = || there.subscribe("orders", "billing").lease(LEASE);
        let once = Backoff::fixed(SOON).max_attempts(1);
        let killed = subscribe().retry(once.clone());
        let mut killed = Hearing::start_with(killed, |_| std::future::pending());
        publish(&here, "orders", 1).await;
        killed.next().await;
        drop(killed);
        // With one attempt, a failure would have been its last.
        let mut other = Hearing::start(subscribe().retry(once), all_done);
        let Heard { cx, .. } = other.next().await;
        assert_eq!((cx.crashes(), cx.failures()), (1, 0));
        assert_eq!(other.stop().await.handled, 1);
        assert!(here.dead("orders", "billing").list(None, 1).await.unwrap().is_empty());
    }

    async fn an_event_that_cannot_be_read_is_dead_at_once(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let mut group = Hearing::start(there.subscribe("orders", "billing"), all_done);
        assert!(here.publish("orders", "no number").await.unwrap().place().is_some());
        publish(&here, "orders", 2).await;
        assert_eq!(group.numbers(1).await, [2]);
        let dead = the_dead(&here, "billing", 1).await;
        assert!(dead[0].reason.starts_with("not JSON of u64: "), "{}", dead[0].reason);
        assert!(!dead[0].reason.contains("no number"), "a reason has no values in it");
    }

    async fn a_retry_is_not_taken_early_by_who_looks_for_orphans(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let pause = 4 * LEASE;
        let decide = move |heard: &Heard| match heard.cx.is_redelivered() {
            false => Ok(Ack::Retry { after: pause }),
            true => Ok(Ack::Done),
        };
        let mut groups = [&here, &there].map(|streams| {
            Hearing::start(streams.subscribe("orders", "billing").lease(LEASE), decide)
        });
        publish(&here, "orders", 1).await;
        let [one, other] = &mut groups;
        let first = tokio::select! { heard = one.next() => heard, heard = other.next() => heard };
        let again = tokio::select! { heard = one.next() => heard, heard = other.next() => heard };
        let took = again.at - first.at;
        assert!(took + Duration::from_millis(2) >= pause, "{took:?} instead of {pause:?}");
        assert!(again.cx.failures() == 0 && again.cx.crashes() == 0);
        assert!(one.is_silent_for(2 * SECOND).await && other.is_silent_for(SOON).await, "due once");
    }

    async fn a_retry_survives_who_parked_it(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let subscribe = here.subscribe("orders", "billing").lease(LEASE);
        let later = |_: &Heard| Ok(Ack::Retry { after: 2 * SECOND });
        let mut parks = Hearing::start(subscribe, later);
        publish(&here, "orders", 1).await;
        let Heard { at, .. } = parks.next().await;
        eventually("it is parked", || async { here.lag("orders").await.unwrap()[0].parked == 1 }).await;
        drop(parks);
        let mut other = Hearing::start(there.subscribe("orders", "billing").lease(LEASE), all_done);
        let again = other.next().await;
        assert!(again.at - at + Duration::from_millis(2) >= 2 * SECOND, "{:?}", again.at - at);
        assert_eq!(again.cx.crashes(), 0, "it was parked, not held");
    }

    async fn a_redrive_reaches_one_group(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let refuses = |_: &Heard| Ok(Ack::DeadLetter { reason: "closed".to_owned() });
        let mut refusing = Hearing::start(there.subscribe("orders", "billing"), refuses);
        let mut other = Hearing::start(there.subscribe("orders", "mail"), all_done);
        for number in [1, 2] {
            publish(&here, "orders", number).await;
        }
        assert_eq!((refusing.numbers(2).await, other.numbers(2).await), (vec![1, 2], vec![1, 2]));
        the_dead(&here, "billing", 2).await;
        refusing.stop().await;
        let dead = here.dead("orders", "billing");
        let groups = dead.groups().await.unwrap();
        assert_eq!((groups.len(), groups[0].count, &*groups[0].reason), (1, 2, "closed"));
        let letters = dead.list(None, 2).await.unwrap();
        let first = letters.iter().find(|letter| letter.event.data == "1").unwrap().place;
        assert_eq!(here.dead("orders", "mail").redrive(&[first]).await.unwrap(), 0, "not its own");
        assert_eq!(dead.redrive(&[first]).await.unwrap(), 1);
        let mut again = Hearing::start(there.subscribe("orders", "billing"), all_done);
        assert_eq!(again.numbers(1).await, [1]);
        assert_eq!(dead.redrive_all().await.unwrap(), 1);
        assert_eq!(again.numbers(1).await, [2]);
        assert!(other.is_silent_for(SECOND).await, "the other group had them before");
        assert!(dead.list(None, 10).await.unwrap().is_empty());
    }

    async fn what_is_told_of_a_group_is_true(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let (open, gate) = tokio::sync::watch::channel(false);
        let subscribe = there.subscribe("orders", "billing").concurrency(2);
        let mut group = Hearing::start_behind(subscribe, gate, |heard| match heard.number {
            0 => Some(Ack::Retry { after: 600 * SECOND }),
            1 => Some(Ack::DeadLetter { reason: "closed".to_owned() }),
            _ => None,
        });
        let began = Instant::now();
        for number in 0..10 {
            publish(&here, "orders", number).await;
        }
        eventually("the numbers are right", || async {
            let lag = here.lag("orders").await.unwrap();
            let Some(told) = lag.first() else { return false };
            (told.parked, told.dead, told.held + told.waiting.n) == (1, 1, 8) && told.held >= 2
        })
        .await;
        let told = here.lag("orders").await.unwrap().remove(0);
        assert_eq!(told.consumers, 1);
        let age = told.oldest_unacked.expect("there are some");
        assert!(age <= began.elapsed() + SECOND, "{age:?}");
        let consumers = here.consumers("orders", "billing").await.unwrap();
        assert_eq!(consumers.iter().map(|one| one.held).sum::<u64>(), told.held);
        open.send_replace(true);
        assert_eq!(group.numbers(10).await, (0..10).collect::<Vec<_>>());
        eventually("all but one are done", || async {
            let told = here.lag("orders").await.unwrap().remove(0);
            (told.held, told.waiting.n, told.parked) == (0, 0, 1)
        })
        .await;
    }
}
