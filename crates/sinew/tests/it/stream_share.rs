//! Who owns which partition, while members of a group come and go, stop and wake.
//!
//! `SINEW_SHARE_SECONDS=60` is the long run.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sinew::Sinew;
use sinew::stream::{Ack, Ctx, Event, Subscription};

use crate::laws::{eventually, keep_for};
use crate::member::{Member, a_line, setting};
use crate::outage::process_at;
use crate::world::{signal, start_redis};

const TOPIC: &str = "orders";
const GROUP: &str = "billing";
const PARTITIONS: u16 = 16;
const KEYS: u64 = 96;
/// How often a member comes or goes.
const CHANGE_EVERY: Duration = Duration::from_secs(2);
const HAND_OVER_P99_MAX: Duration = Duration::from_secs(1);
const PORT: &str = "SINEW_SHARE_PORT";

/// A handler's run, as it saw itself.
#[derive(Clone, Copy, Debug)]
struct Run {
    partition: u16,
    fence: u64,
    key: u64,
    n: u64,
    began: Instant,
    ended: Instant,
}

#[derive(Clone, Default)]
struct History(Arc<Mutex<Vec<Run>>>);

impl History {
    fn handled(&self) -> BTreeSet<(u64, u64)> {
        self.0.lock().iter().map(|run| (run.key, run.n)).collect()
    }

    /// The runs of each partition, in the order in which they began.
    fn by_partition(&self) -> BTreeMap<u16, Vec<Run>> {
        let mut runs: BTreeMap<u16, Vec<Run>> = BTreeMap::new();
        for run in self.0.lock().iter() {
            runs.entry(run.partition).or_default().push(*run);
        }
        runs.values_mut().for_each(|runs| runs.sort_by_key(|run| run.began));
        runs
    }
}

/// A member in this process, with a connection of its own.
async fn join(port: u16, history: &History) -> (Sinew, Subscription) {
    let sinew = process_at(port).await;
    let history = history.clone();
    let handler = move |event: Event<(u64, u64)>, cx: Ctx| {
        let history = history.clone();
        async move {
            let began = Instant::now();
            tokio::time::sleep(Duration::from_millis(2)).await;
            let fence = cx.fence().expect("an ordered group").get();
            let (key, n) = event.data;
            let partition = event.place().partition;
            let run = Run { partition, fence, key, n, began, ended: Instant::now() };
            history.0.lock().push(run);
            Ok(Ack::Done)
        }
    };
    let subscription = sinew
        .streams()
        .subscribe::<(u64, u64)>(TOPIC, GROUP)
        .ordered_by_key(PARTITIONS)
        .concurrency(64)
        .start(handler)
        .expect("a subscription");
    (sinew, subscription)
}

/// Publishes events of all keys in turn until it is stopped. How many of each key.
async fn publish(sinew: Sinew, running: Arc<AtomicBool>) -> HashMap<u64, u64> {
    let (streams, mut published) = (sinew.streams(), HashMap::new());
    while running.load(Ordering::Acquire) {
        let round = published.get(&0).copied().unwrap_or_default();
        let events: Vec<(u64, u64)> = (0..KEYS).map(|key| (key, round)).collect();
        let all = streams.publish_many(TOPIC, events).key(|(key, _)| key.to_string());
        assert_eq!(all.await.expect("a publish").len(), usize::try_from(KEYS).unwrap());
        (0..KEYS).for_each(|key| *published.entry(key).or_default() += 1);
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    published
}

/// The partitions and who has each, as all who ask are told.
async fn owners(sinew: &Sinew) -> Vec<(u16, String)> {
    let consumers = sinew.streams().consumers(TOPIC, GROUP).await.expect("the consumers");
    let of_one = consumers.iter().flat_map(|consumer| {
        consumer.partitions.iter().map(|(partition, _)| (*partition, consumer.name.clone()))
    });
    let mut owners: Vec<_> = of_one.collect();
    owners.sort();
    owners
}

async fn all_are_owned(sinew: &Sinew) -> bool {
    owners(sinew).await.iter().map(|(partition, _)| *partition).eq(0..PARTITIONS)
}

#[test]
fn members_that_come_and_go_share_partitions_without_overlap() {
    keep_for(Duration::from_secs(240), || async {
        let server = start_redis();
        let sinew = process_at(server.port).await;
        let topic = sinew.streams().topic(TOPIC).partitions(PARTITIONS);
        topic.declare().await.unwrap();
        let history = History::default();
        let stays = [join(server.port, &history).await, join(server.port, &history).await];
        let running = Arc::new(AtomicBool::new(true));
        let publishing = tokio::spawn(publish(sinew.clone(), Arc::clone(&running)));
        eventually("all partitions are owned", || all_are_owned(&sinew)).await;

        let ends = Instant::now() + Duration::from_secs(setting("SINEW_SHARE_SECONDS", 8));
        let mut changes = 0;
        while Instant::now() < ends {
            let (_sinew, guest) = join(server.port, &history).await;
            tokio::time::sleep(CHANGE_EVERY).await;
            guest.stop().await.expect("the guest stops");
            tokio::time::sleep(CHANGE_EVERY).await;
            changes += 2;
        }
        running.store(false, Ordering::Release);
        let published = publishing.await.unwrap();
        let expected: BTreeSet<(u64, u64)> =
            published.iter().flat_map(|(key, count)| (0..*count).map(|n| (*key, n))).collect();
        eventually("all is handled", || async { history.handled() == expected }).await;
        for (_sinew, member) in stays {
            let finished = member.stop().await;
            let finished = finished.unwrap();
            assert_eq!((finished.lost, finished.dead), (0, 0));
        }
        check(&history, changes);
    });
}

/// No overlap of owners, no key out of order or twice, and no long silence between two owners.
fn check(history: &History, changes: u32) {
    let mut hand_overs = Vec::new();
    for (partition, runs) in history.by_partition() {
        for pair in runs.windows(2) {
            assert!(pair[0].fence <= pair[1].fence, "an old fence runs again in {partition}");
        }
        for owners in runs.chunk_by(|a, b| a.fence == b.fence).collect::<Vec<_>>().windows(2) {
            let ended = owners[0].iter().map(|run| run.ended).max().expect("not empty");
            let begins = owners[1][0].began;
            assert!(ended <= begins, "two owners of {partition} at one moment");
            hand_overs.push(begins - ended);
        }
        let mut last: HashMap<u64, Run> = HashMap::new();
        for run in runs {
            if let Some(before) = last.insert(run.key, run) {
                assert!(before.ended <= run.began, "two at once of key {}", run.key);
                assert_eq!(before.n + 1, run.n, "key {} is in order, each once", run.key);
            }
        }
    }
    hand_overs.sort();
    assert!(!hand_overs.is_empty(), "no partition changed hands");
    let p99 = hand_overs[(hand_overs.len() * 99).div_ceil(100) - 1];
    println!("{changes} changes: {} hand-overs, p99 {p99:.1?}", hand_overs.len());
    assert!(p99 < HAND_OVER_P99_MAX, "a hand-over took {p99:?}");
}

#[test]
fn every_partition_has_one_owner_and_all_have_the_same_view() {
    keep_for(Duration::from_secs(120), || async {
        let server = start_redis();
        let history = History::default();
        let sinew = process_at(server.port).await;
        let mut members = Vec::new();
        for _ in 0..4 {
            members.push(join(server.port, &history).await);
        }
        let all_share = || async {
            let owners = owners(&sinew).await;
            let names: BTreeSet<_> = owners.iter().map(|(_, name)| name).collect();
            names.len() > 1 && owners.iter().map(|(partition, _)| *partition).eq(0..PARTITIONS)
        };
        eventually("several share all partitions", all_share).await;
        while members.len() > 1 {
            let (_sinew, member) = members.pop().expect("one");
            member.stop().await.expect("the member stops");
            eventually("the others take over", || all_are_owned(&sinew)).await;
        }
        let names: BTreeSet<_> = owners(&sinew).await.into_iter().map(|(_, name)| name).collect();
        assert_eq!(names.len(), 1);
    });
}

/// Not a test by itself: a member of the group, where the environment names the store.
#[test]
fn member() {
    let Ok(port) = std::env::var(PORT) else { return };
    keep_for(Duration::from_secs(300), || async move {
        let sinew = process_at(port.parse().expect("a port")).await;
        let runs = Arc::new(AtomicU64::new(0));
        let handler = move |event: Event<u64>, cx: Ctx| {
            let runs = Arc::clone(&runs);
            async move {
                let run = runs.fetch_add(1, Ordering::SeqCst);
                println!("@begins {}", event.data);
                if event.data == 0 && run == 0 && std::env::var("SINEW_SHARE_WAITS").is_ok() {
                    // It is stopped meanwhile, and another has the partition when it wakes.
                    cx.lost().await;
                    println!("@told {}", event.data);
                } else {
                    println!("@ends {}", event.data);
                }
                Ok(Ack::Done)
            }
        };
        let subscription = sinew
            .streams()
            .subscribe::<u64>(TOPIC, GROUP)
            .ordered_by_key(1)
            .lease(Duration::from_secs(1))
            .start(handler)
            .expect("a subscription");
        println!("@ready");
        a_line().await;
        println!("@lost {}", subscription.stop().await.unwrap().lost);
    });
}

#[test]
fn a_stopped_owner_that_wakes_is_told_and_runs_nothing() {
    let server = start_redis();
    let variables = [(PORT, server.port.to_string()), ("SINEW_SHARE_WAITS", String::new())];
    let mut stopped = Member::start("stream_share::member", &variables);
    assert_eq!(stopped.hear(), "ready");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let streams = runtime.block_on(process_at(server.port)).streams();
    for n in 0..3_u64 {
        runtime.block_on(async { streams.publish(TOPIC, &n).key("a").await }).unwrap();
    }
    assert_eq!(stopped.hear(), "begins 0");

    signal(stopped.process.id(), "STOP");
    let next = Member::start("stream_share::member", &variables[..1]);
    assert_eq!(next.hear(), "ready");
    for n in 0..3 {
        assert_eq!(next.hear(), format!("begins {n}"), "in order, by the next owner");
        assert_eq!(next.hear(), format!("ends {n}"));
    }
    signal(stopped.process.id(), "CONT");
    assert_eq!(stopped.hear(), "told 0");
    // What comes now is the next owner's, though both are there.
    runtime.block_on(async { streams.publish(TOPIC, &3_u64).key("a").await }).unwrap();
    let said = loop {
        match (next.said.try_recv(), stopped.said.try_recv()) {
            (Ok(word), _) => break (word, "next"),
            (_, Ok(word)) => break (word, "stopped"),
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    assert_eq!(said.0, "begins 3", "by the {} one: each event comes once", said.1);
    stopped.tell("stop");
}
