//! Groups that people move or remove, and those that go on where they were.

use std::path::Path;
use std::time::{Duration, SystemTime};

use sinew::stream::{
    Ack, EntryId, Force, GroupChange, GroupMode, Place, Seek, StartFrom, Subscribe,
};
use sinew::{ErrorKind, Streams};

use super::hearing::{Heard, Hearing, all_done};
use super::runs::{log_of, noted, settled};
use super::{LEASE, SECOND, publish, streams};
use crate::laws::{LAW_MAX, eventually, keep, keep_for};
use crate::outage::{blocking, process_at};
use crate::world::{Proxy, redis_cli, start_redis};

const SILENCE: Duration = Duration::from_millis(300);

fn billing(streams: &Streams) -> Subscribe<u64> {
    streams.subscribe("orders", "billing").lease(LEASE)
}

/// Publishes, each in a millisecond of its own.
async fn publish_apart(streams: &Streams, numbers: std::ops::Range<u64>) -> Vec<Place> {
    let mut places = Vec::new();
    for number in numbers {
        let published = streams.publish("orders", &number).await.expect("it is published");
        places.extend(published.place().copied());
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    places
}

/// What a subscriber of now is given, and nothing else.
async fn handles(streams: &Streams, expected: std::ops::Range<u64>) {
    let mut group = Hearing::start(billing(streams), all_done);
    let numbers = group.numbers(expected.clone().count()).await;
    assert_eq!(numbers, expected.collect::<Vec<_>>());
    assert!(group.is_silent_for(SILENCE).await, "and nothing else");
    group.stop().await;
}

/// A group whose process ends, and which is forgotten before the next one starts.
async fn goes_on_where_it_was(streams: &Streams, start: impl Fn() -> Hearing) {
    streams.topic("orders").partitions(2).declare().await.unwrap();
    let mut group = start();
    publish_apart(streams, 0..20).await;
    assert_eq!(group.numbers(20).await, (0..20).collect::<Vec<_>>());
    settled(streams, "billing").await;
    noted(streams, "billing").await;
    group.stop().await;
    streams.forget_group("orders", "billing", Force::Yes).await.unwrap();
    publish_apart(streams, 20..30).await;
    let mut group = start();
    let went_on = group.numbers(10).await;
    assert_eq!(went_on, (20..30).collect::<Vec<_>>(), "none was skipped, and none came again");
    assert!(group.is_silent_for(SILENCE).await);
    group.stop().await;
}

/// As a process that starts, with what one before it has written.
fn with_checkpoints(streams: &Streams, folder: &Path) -> Hearing {
    Hearing::start(billing(streams).from(StartFrom::End).checkpoints(folder), all_done)
}

laws! {
    async fn a_group_that_is_moved_goes_on_there(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let places = publish_apart(&here, 0..6).await;
        let of = |at: usize| SystemTime::UNIX_EPOCH + Duration::from_millis(places[at].entry.ms);
        handles(&there, 0..6).await;
        let moves = [
            (Seek::Start, 0..6),
            (Seek::Place(places[2]), 2..6),
            (Seek::Time(of(4)), 4..6),
            (Seek::Time(SystemTime::UNIX_EPOCH), 0..6),
        ];
        for (to, expected) in moves {
            let sought = here.seek("orders", "billing", to, Force::No).await.unwrap();
            assert_eq!(sought, GroupChange::Done, "{to:?}");
            let waiting = here.lag("orders").await.unwrap()[0].waiting.n;
            assert_eq!(waiting, expected.end - expected.start, "{to:?}");
            handles(&there, expected).await;
        }
        publish_apart(&here, 6..8).await;
        let sought = here.seek("orders", "billing", Seek::End, Force::No).await.unwrap();
        assert_eq!(sought, GroupChange::Done);
        publish_apart(&here, 8..9).await;
        handles(&there, 8..9).await;
        // What is yet to come is not passed over by a slip of the pen.
        let entry = EntryId { ms: 9_999_999_999_999, seq: 0 };
        let aheads = [
            Seek::Time(SystemTime::now() + Duration::from_secs(86_400 * 365)),
            Seek::Place(Place { partition: 0, entry }),
        ];
        for (ahead, number) in aheads.into_iter().zip(9..) {
            let sought = here.seek("orders", "billing", ahead, Force::No).await.unwrap();
            assert_eq!(sought, GroupChange::Done);
            publish_apart(&here, number..number + 1).await;
            handles(&there, number..number + 1).await;
        }
        let unknown = here.seek("orders", "nobody", Seek::Start, Force::No).await.unwrap();
        assert_eq!(unknown, GroupChange::Unknown);
        let bad = here.seek("orders", "~parked", Seek::Start, Force::No).await.unwrap_err();
        assert_eq!(bad.kind(), ErrorKind::Rejected, "{bad}");
    }

    async fn an_ordered_group_that_is_moved_back_while_it_runs_has_all_once_more_in_order(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("orders").partitions(1).declare().await.unwrap();
        let subscribe = billing(&there).ordered_by_key(1);
        let mut group = Hearing::start_with(subscribe, |_| async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(Ack::Done)
        });
        let all: Vec<u64> = (0..600).collect();
        let published = here.publish_many("orders", all.clone()).key(|_| "a".to_owned());
        assert_eq!(published.await.unwrap().len(), all.len());
        assert_eq!(group.numbers(all.len()).await, all);
        settled(&here, "billing").await;
        let sought = here.seek("orders", "billing", Seek::Start, Force::No).await.unwrap();
        assert_eq!(sought, GroupChange::Done);
        // A tick hears of it while they run.
        let mut again = Vec::new();
        while again.len() < all.len() {
            again.push(group.next().await.number);
        }
        assert_eq!(again, all);
        assert!(group.is_silent_for(SILENCE).await, "each once");
        group.stop().await;
    }

    async fn an_ordered_group_that_has_had_all_once_more_before_it_heard_of_it_goes_on(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("orders").partitions(1).declare().await.unwrap();
        let mut group = Hearing::start(billing(&there).ordered_by_key(1), all_done);
        for number in 0..4 {
            publish(&here, "orders", number).await;
            assert_eq!(group.next().await.number, number);
        }
        settled(&here, "billing").await;
        let sought = here.seek("orders", "billing", Seek::Start, Force::No).await.unwrap();
        assert_eq!(sought, GroupChange::Done);
        publish(&here, "orders", 4).await;
        assert_eq!(group.numbers(5).await, [0, 1, 2, 3, 4]);
        // Meanwhile a tick has told it, and it looks again although nothing has come.
        assert!(group.is_silent_for(10 * SILENCE).await, "each once");
        publish(&here, "orders", 5).await;
        assert_eq!(group.next().await.number, 5);
        group.stop().await;
    }

    async fn a_group_that_is_moved_by_force_leaves_its_holders_nothing(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let (lease, wait) = (600 * SECOND, 10 * SECOND);
        for number in 0..3 {
            publish(&here, "orders", number).await;
        }
        let puller = there.pull("orders", "billing").lease(lease);
        let held = puller.pull(3, wait).await.unwrap().expect("they are there");
        let places: Vec<Place> = held.events.iter().map(|one| one.event.place()).collect();
        let refused = here.seek("orders", "billing", Seek::Start, Force::No).await.unwrap();
        assert_eq!(refused, GroupChange::Pending(3));
        let sought = here.seek("orders", "billing", Seek::Place(places[1]), Force::Yes).await;
        assert_eq!(sought.unwrap(), GroupChange::Done);
        let told = here.lag("orders").await.unwrap().remove(0);
        assert_eq!((told.held, told.waiting.n), (0, 2));
        let late = puller.nack(&held.lease, &[(places[0], None, None)]).await.unwrap();
        assert_eq!(late.lost, places[..1], "it holds nothing any more");
        handles(&there, 1..3).await;
    }

    async fn what_is_under_no_lease_holds_up_no_one_who_moves_a_group(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        for number in 0..2 {
            publish(&here, "orders", number).await;
        }
        let puller = there.pull("orders", "billing").lease(LEASE);
        let held = puller.pull(2, 10 * SECOND).await.unwrap().expect("they are there");
        let places: Vec<Place> = held.events.iter().map(|one| one.event.place()).collect();
        let said = [(places[0], Some(600 * SECOND), None)];
        assert_eq!(puller.nack(&held.lease, &said).await.unwrap().done, places[..1]);
        // Of its two events one is put off, and the other is left to whoever asks.
        eventually("its lease is over", || async {
            let told = here.lag("orders").await.unwrap().remove(0);
            (told.held, told.orphaned, told.parked) == (1, 1, 1)
        })
        .await;
        let sought = here.seek("orders", "billing", Seek::Start, Force::No).await.unwrap();
        assert_eq!(sought, GroupChange::Done);
        handles(&there, 0..2).await;
    }

    async fn a_group_that_is_forgotten_leaves_nothing(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        publish_apart(&here, 0..3).await;
        handles(&there, 0..3).await;
        let forgot = here.forget_group("orders", "billing", Force::No).await.unwrap();
        assert_eq!(forgot, GroupChange::Done);
        assert!(here.lag("orders").await.unwrap().is_empty());
        assert!(here.consumers("orders", "billing").await.unwrap().is_empty());
        let again = here.forget_group("orders", "billing", Force::No).await.unwrap();
        assert_eq!(again, GroupChange::Unknown);
        // One of that name is a new one.
        handles(&there, 0..3).await;
        let held = there.pull("orders", "mail").pull(3, 10 * SECOND).await.unwrap();
        assert_eq!(held.expect("they are there").events.len(), 3);
        let refused = here.forget_group("orders", "mail", Force::No).await.unwrap();
        assert_eq!(refused, GroupChange::Pending(3));
        let forgot = here.forget_group("orders", "mail", Force::Yes).await.unwrap();
        assert_eq!(forgot, GroupChange::Done);
        let left = here.lag("orders").await.unwrap();
        let left: Vec<&str> = left.iter().map(|told| told.group.as_str()).collect();
        assert_eq!(left, ["billing"]);
    }

    async fn a_process_that_starts_goes_on_where_the_one_before_it_was(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let folder = tempfile::tempdir().unwrap();
        let start = || Hearing::start(billing(&there).checkpoints(folder.path()), all_done);
        goes_on_where_it_was(&here, start).await;
        // Of another group there, nothing is known.
        let other = there.subscribe("orders", "mail").from(StartFrom::End).checkpoints(folder.path());
        let mut other = Hearing::start(other, all_done);
        assert!(other.is_silent_for(SECOND).await, "it begins at the end");
        other.stop().await;
    }

    async fn an_owner_that_starts_goes_on_where_the_one_before_it_was(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let folder = tempfile::tempdir().unwrap();
        let start = || {
            let subscribe = billing(&there).ordered_by_key(2).checkpoints(folder.path());
            Hearing::start(subscribe, all_done)
        };
        goes_on_where_it_was(&here, start).await;
    }
}

#[test]
fn checkpoints_of_a_stream_that_is_gone_skip_nothing_of_the_next() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let folder = tempfile::tempdir().unwrap();
        let streams = process_at(server.port).await.streams();
        let mut group = with_checkpoints(&streams, folder.path());
        eventually("the group is there", || async {
            !streams.lag("orders").await.unwrap().is_empty()
        })
        .await;
        publish_apart(&streams, 0..10).await;
        assert_eq!(group.numbers(10).await, (0..10).collect::<Vec<_>>());
        settled(&streams, "billing").await;
        noted(&streams, "billing").await;
        group.stop().await;
        redis_cli(server.port, &["FLUSHALL"]);
        publish_apart(&streams, 10..20).await;
        // From the end, it would have none of them.
        let mut group = with_checkpoints(&streams, folder.path());
        assert_eq!(group.numbers(10).await, (10..20).collect::<Vec<_>>());
        assert!(group.is_silent_for(SILENCE).await);
        settled(&streams, "billing").await;
        // And from here on it is the new one's that count.
        noted(&streams, "billing").await;
        group.stop().await;
        let log = log_of(server.port);
        assert_eq!(redis_cli(server.port, &["XGROUP", "DESTROY", &log, "billing"]), "1");
        publish_apart(&streams, 20..25).await;
        let mut group = with_checkpoints(&streams, folder.path());
        assert_eq!(group.numbers(5).await, (20..25).collect::<Vec<_>>());
        assert!(group.is_silent_for(SILENCE).await);
        group.stop().await;
    });
}

/// A group that was joined anew by a process that had finished all but the first event, is moved back.
async fn all_is_run_again(mode: GroupMode) {
    let server = blocking(start_redis).await;
    let proxy = Proxy::start(server.port);
    let here = process_at(server.port).await.streams();
    let there = process_at(proxy.port).await.streams();
    let subscribe = match mode {
        GroupMode::Any => billing(&there),
        GroupMode::ByKey => billing(&there).ordered_by_key(1),
    };
    let mut group = Hearing::start(subscribe, |heard| match heard.number {
        0 => Ok(Ack::Retry { after: 10 * LAW_MAX }),
        _ => Ok(Ack::Done),
    });
    publish_apart(&here, 0..20).await;
    assert_eq!(group.numbers(20).await, (0..20).collect::<Vec<_>>());
    let one_is_left = || async {
        let lag = here.lag("orders").await.unwrap();
        lag.first().is_some_and(|told| (told.held, told.parked, told.waiting.n) == (0, 1, 0))
    };
    eventually("one is left", one_is_left).await;
    match mode {
        GroupMode::Any => proxy.cut(),
        GroupMode::ByKey => {
            // As if another had owned it for a while.
            let own = log_of(server.port).replace(":log", ":g:billing:own");
            redis_cli(server.port, &["HSET", &own, "fence", "1"]);
        }
    }
    publish_apart(&here, 20..21).await;
    assert_eq!(group.numbers(1).await, [20], "it goes on");
    eventually("one is left again", one_is_left).await;
    let sought = here.seek("orders", "billing", Seek::Start, Force::Yes).await.unwrap();
    assert_eq!(sought, GroupChange::Done);
    assert_eq!(group.numbers(21).await, (0..21).collect::<Vec<_>>());
    group.stop().await;
}

#[test]
fn what_was_finished_before_a_rejoin_is_run_again_when_the_group_is_moved_back() {
    keep_for(LAW_MAX * 2, || all_is_run_again(GroupMode::Any));
}

#[test]
fn what_an_ordered_group_had_finished_is_run_again_when_it_is_moved_back() {
    keep_for(LAW_MAX * 2, || all_is_run_again(GroupMode::ByKey));
}

#[test]
fn what_was_finished_before_a_rejoin_is_run_again_also_while_its_consumer_is_taken_for_dead() {
    keep_for(LAW_MAX * 2, || async {
        let server = blocking(start_redis).await;
        let proxy = Proxy::start(server.port);
        let here = process_at(server.port).await.streams();
        let there = process_at(proxy.port).await.streams();
        let (open, gate) = tokio::sync::watch::channel(false);
        let subscribe = billing(&there).concurrency(2);
        let at_once = |heard: &Heard| (heard.number != 0).then_some(Ack::Done);
        let mut group = Hearing::start_behind(subscribe, gate, at_once);
        publish_apart(&here, 0..40).await;
        assert_eq!(group.numbers(40).await, (0..40).collect::<Vec<_>>());
        let one_is_left = || async {
            let lag = here.lag("orders").await.unwrap();
            lag.first().is_some_and(|told| (told.held, told.waiting.n) == (1, 0))
        };
        eventually("one is left", one_is_left).await;
        proxy.cut();
        publish_apart(&here, 40..41).await;
        assert_eq!(group.numbers(1).await, [40], "it goes on");
        eventually("one is left again", one_is_left).await;
        // What holds something is taken for dead by this, and its reader is given all the same.
        let sought = here.seek("orders", "billing", Seek::Start, Force::Yes).await.unwrap();
        assert_eq!(sought, GroupChange::Done);
        // It wakes the reader, before the keeper looks.
        publish_apart(&here, 41..42).await;
        assert_eq!(group.numbers(41).await, (1..42).collect::<Vec<_>>());
        open.send_replace(true);
        settled(&here, "billing").await;
        group.stop().await;
    });
}
