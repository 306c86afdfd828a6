//! Topics of many partitions on a cluster whose slots and masters change while they are read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sinew::Sinew;
use sinew::stream::{Ack, Ctx, Event, HandlerError, Streams, Subscribe, Subscription};

use crate::laws::{LAW_MAX, eventually, keep_for};
use crate::outage::blocking;
use crate::stream::runs::settled;
use crate::world::{Cluster, wait_until};

const LEASE: Duration = Duration::from_secs(2);
const PARTITIONS: u16 = 16;
const KEYS: u64 = 40;

/// The runs of each key's events, in the order in which they ended.
#[derive(Clone, Default)]
struct Runs(Arc<Mutex<BTreeMap<u64, Vec<u64>>>>);

impl Runs {
    fn start(&self, subscribe: Subscribe<u64>) -> Subscription {
        let runs = self.clone();
        let handler = move |event: Event<u64>, _: Ctx| {
            let runs = runs.clone();
            async move {
                let key = event.key().and_then(|key| key.parse().ok()).expect("a key of ours");
                runs.0.lock().unwrap().entry(key).or_default().push(event.data);
                Ok::<_, HandlerError>(Ack::Done)
            }
        };
        subscribe.lease(LEASE).concurrency(64).start(handler).unwrap()
    }

    /// Those that were run, without those that were run again.
    fn first_runs(&self) -> BTreeMap<u64, Vec<u64>> {
        let mut first = BTreeMap::new();
        for (key, runs) in &*self.0.lock().unwrap() {
            let mut of_key: Vec<u64> = Vec::new();
            for run in runs {
                if !of_key.contains(run) {
                    of_key.push(*run);
                }
            }
            first.insert(*key, of_key);
        }
        first
    }

    fn len(&self) -> u64 {
        self.first_runs().values().map(|of_key| of_key.len() as u64).sum()
    }

    async fn until(&self, count: u64) {
        let began = std::time::Instant::now();
        while self.len() < count {
            assert!(began.elapsed() < LAW_MAX, "only {} of {count} were run", self.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(self.len(), count, "more than were published");
    }
}

async fn streams_of(cluster: &Cluster) -> Streams {
    let builder = Sinew::builder().deadline(Duration::from_secs(10));
    builder.connect(&cluster.url()).await.expect("a connection").streams()
}

/// Publishes each once, however often it takes, and never two of a key out of order.
async fn publish(streams: &Streams, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let published = || async {
            let publish = streams.publish("orders", &number).key((number % KEYS).to_string());
            publish.dedup(format!("order {number}")).await.is_ok()
        };
        eventually("it is published", published).await;
    }
}

fn log(partition: u16) -> String {
    format!("_:stream:{{_:orders:p{partition}}}:log")
}

/// Both kinds of group on a topic that is spread over all masters.
async fn start(streams: &Streams, cluster: &Cluster) -> ([Runs; 2], [Subscription; 2]) {
    streams.topic("orders").partitions(PARTITIONS).declare().await.unwrap();
    let mut masters: Vec<usize> = (0..PARTITIONS)
        .map(|partition| cluster.master_of(cluster.slot_of(&log(partition))))
        .collect();
    masters.sort_unstable();
    masters.dedup();
    assert_eq!(masters.len(), 3, "its partitions are on all masters");
    let (any, ordered) = (Runs::default(), Runs::default());
    let by_key = streams.subscribe("orders", "ordered").ordered_by_key(PARTITIONS);
    let subscriptions = [any.start(streams.subscribe("orders", "any")), ordered.start(by_key)];
    ([any, ordered], subscriptions)
}

fn in_order(ordered: &Runs, count: u64) {
    for (key, numbers) in ordered.first_runs() {
        let expected: Vec<u64> = (0..count).filter(|number| number % KEYS == key).collect();
        assert_eq!(numbers, expected, "of key {key}");
    }
}

#[test]
fn partitions_that_move_under_consumption_lose_nothing_and_keep_their_order() {
    keep_for(LAW_MAX * 3, || async {
        let cluster = blocking(|| Cluster::start(0)).await;
        let streams = streams_of(&cluster).await;
        let ([any, ordered], subscriptions) = start(&streams, &cluster).await;
        let publisher = streams_of(&cluster).await;
        publish(&publisher, 0..200).await;
        let publishing = tokio::spawn(async move { publish(&publisher, 200..2_000).await });
        let cluster = blocking(move || {
            for partition in (0..PARTITIONS).step_by(3) {
                let slot = cluster.slot_of(&log(partition));
                let from = cluster.master_of(slot);
                let to = (from + 1) % 3;
                cluster.migrate_slot(slot, from, to, Duration::from_millis(20));
                assert_eq!(cluster.nodes[to].cli(&["EXISTS", &log(partition)]), "1");
            }
            cluster
        })
        .await;
        publishing.await.unwrap();
        any.until(2_000).await;
        ordered.until(2_000).await;
        in_order(&ordered, 2_000);
        for group in ["any", "ordered"] {
            settled(&streams, group).await;
        }
        let looked = streams.look("orders").await.unwrap().expect("a topic");
        assert_eq!((looked.partitions, looked.published, looked.lost), (PARTITIONS, 2_000, 0));
        for subscription in subscriptions {
            let finished = subscription.stop().await.unwrap();
            assert_eq!(finished.dead, 0, "{finished:?}");
        }
        drop(cluster);
    });
}

#[test]
fn a_master_that_is_lost_under_consumption_is_followed_by_all_groups() {
    keep_for(LAW_MAX * 3, || async {
        let cluster = blocking(|| Cluster::start(1)).await;
        let streams = streams_of(&cluster).await;
        let ([any, ordered], subscriptions) = start(&streams, &cluster).await;
        publish(&streams, 0..400).await;
        any.until(400).await;
        ordered.until(400).await;
        for group in ["any", "ordered"] {
            settled(&streams, group).await;
        }
        let cluster = blocking(move || {
            let mut cluster = cluster;
            let lost = cluster.master_of(cluster.slot_of(&log(0)));
            cluster.nodes[lost].server.kill();
            wait_until("the replica is promoted", || {
                let others = cluster.nodes.iter().enumerate().filter(|(n, _)| *n != lost);
                let mut infos = others.map(|(_, node)| node.cli(&["CLUSTER", "INFO"]));
                let is_well = infos.all(|info| info.contains("cluster_state:ok"));
                is_well && cluster.master_of(cluster.slot_of(&log(0))) != lost
            });
            cluster
        })
        .await;
        publish(&streams, 400..800).await;
        any.until(800).await;
        ordered.until(800).await;
        in_order(&ordered, 800);
        for group in ["any", "ordered"] {
            settled(&streams, group).await;
        }
        for subscription in subscriptions {
            let finished = subscription.stop().await.unwrap();
            assert_eq!(finished.dead, 0, "{finished:?}");
        }
        drop(cluster);
    });
}
