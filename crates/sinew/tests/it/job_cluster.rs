//! Queues of many partitions on a cluster whose slots and masters change while their jobs are run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sinew::job::{JobContext, JobError, Queue, QueueSettings, RunningWorker, Unique, Worker};
use sinew::{Jobs, Sinew};

use crate::job::hearing::Number;
use crate::job::{QUEUE, drained, look};
use crate::laws::{LAW_MAX, eventually, keep_for};
use crate::outage::blocking;
use crate::world::{Cluster, wait_until};

const LEASE: Duration = Duration::from_secs(2);
const PARTITIONS: u16 = 12;
const KEYS: u64 = 20;
const PER_KEY: u64 = 2;

/// How often each was run, and how many of each key run now, and did at most.
#[derive(Clone, Default)]
struct Runs(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    runs: BTreeMap<u64, u64>,
    running: BTreeMap<u64, (u64, u64)>,
}

impl Runs {
    fn start(&self, jobs: &Jobs) -> RunningWorker {
        let runs = self.clone();
        let handler = move |job: Number, _: JobContext| {
            let runs = runs.clone();
            async move {
                runs.change(job.n % KEYS, |(now, most)| (now + 1, most.max(now + 1)));
                tokio::time::sleep(Duration::from_millis(5)).await;
                runs.change(job.n % KEYS, |(now, most)| (now - 1, most));
                *runs.0.lock().unwrap().runs.entry(job.n).or_default() += 1;
                Ok::<(), JobError>(())
            }
        };
        let queue = Queue::new(QUEUE).lease(LEASE).concurrency(48).per_key(PER_KEY);
        Worker::new(jobs).queue(queue).register(handler).unwrap().start().unwrap()
    }

    fn change(&self, key: u64, change: impl FnOnce((u64, u64)) -> (u64, u64)) {
        let mut state = self.0.lock().unwrap();
        let of_key = state.running.entry(key).or_default();
        *of_key = change(*of_key);
    }

    fn len(&self) -> u64 {
        self.0.lock().unwrap().runs.len() as u64
    }

    fn most(&self) -> u64 {
        self.0.lock().unwrap().running.values().map(|(_, most)| *most).max().unwrap_or(0)
    }

    async fn until(&self, count: u64) {
        let began = Instant::now();
        while self.len() < count {
            assert!(began.elapsed() < LAW_MAX, "only {} of {count} were run", self.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(self.len(), count, "more than were enqueued");
    }
}

async fn jobs_of(cluster: &Cluster) -> Jobs {
    let builder = Sinew::builder().deadline(Duration::from_secs(10));
    builder.connect(&cluster.url()).await.expect("a connection").jobs()
}

/// Enqueues each once, however often it takes.
async fn enqueue(jobs: &Jobs, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let enqueued = || async {
            let job = jobs.enqueue(&Number { n }).key((n % KEYS).to_string());
            let unique = Unique::by(format!("job {n}")).within(LAW_MAX * 5);
            job.unique(unique).await.is_ok()
        };
        eventually("it is enqueued", enqueued).await;
    }
}

fn meta(partition: u16) -> String {
    format!("_:job:{{_:{QUEUE}:p{partition}}}:meta")
}

async fn start(jobs: &Jobs, cluster: &Cluster) {
    jobs.queue(QUEUE).declare(QueueSettings::new().partitions(PARTITIONS)).await.unwrap();
    let mut masters: Vec<usize> = (0..PARTITIONS)
        .map(|partition| cluster.master_of(cluster.slot_of(&meta(partition))))
        .collect();
    masters.sort_unstable();
    masters.dedup();
    assert_eq!(masters.len(), 3, "its partitions are on all masters");
}

#[test]
fn partitions_that_move_under_workers_lose_nothing_and_keep_their_limits() {
    keep_for(LAW_MAX * 3, || async {
        let cluster = blocking(|| Cluster::start(0)).await;
        let jobs = jobs_of(&cluster).await;
        start(&jobs, &cluster).await;
        let runs = Runs::default();
        let worker = runs.start(&jobs);
        let enqueuer = jobs_of(&cluster).await;
        enqueue(&enqueuer, 0..200).await;
        let enqueuing = tokio::spawn(async move { enqueue(&enqueuer, 200..1_500).await });
        let cluster = blocking(move || {
            for partition in (0..PARTITIONS).step_by(3) {
                let slot = cluster.slot_of(&meta(partition));
                let from = cluster.master_of(slot);
                let to = (from + 1) % 3;
                cluster.migrate_slot(slot, from, to, Duration::from_millis(20));
                assert_eq!(cluster.nodes[to].cli(&["EXISTS", &meta(partition)]), "1");
            }
            cluster
        })
        .await;
        enqueuing.await.unwrap();
        runs.until(1_500).await;
        drained(&jobs, QUEUE).await;
        let looked = look(&jobs, QUEUE).await;
        assert_eq!((looked.partitions, looked.dead), (PARTITIONS, 0));
        assert!(runs.most() <= PER_KEY, "{} of a key at a time", runs.most());
        let finished = worker.stop().await;
        assert_eq!((finished.dead, finished.failed), (0, 0), "{finished:?}");
        drop(cluster);
    });
}

#[test]
fn a_master_that_is_lost_under_workers_is_followed() {
    keep_for(LAW_MAX * 3, || async {
        let cluster = blocking(|| Cluster::start(1)).await;
        let jobs = jobs_of(&cluster).await;
        start(&jobs, &cluster).await;
        let runs = Runs::default();
        let worker = runs.start(&jobs);
        enqueue(&jobs, 0..300).await;
        runs.until(300).await;
        drained(&jobs, QUEUE).await;
        let cluster = blocking(move || {
            let mut cluster = cluster;
            let lost = cluster.master_of(cluster.slot_of(&meta(0)));
            cluster.nodes[lost].server.kill();
            wait_until("the replica is promoted", || {
                let others = cluster.nodes.iter().enumerate().filter(|(n, _)| *n != lost);
                let mut infos = others.map(|(_, node)| node.cli(&["CLUSTER", "INFO"]));
                let is_well = infos.all(|info| info.contains("cluster_state:ok"));
                is_well && cluster.master_of(cluster.slot_of(&meta(0))) != lost
            });
            cluster
        })
        .await;
        enqueue(&jobs, 300..600).await;
        runs.until(600).await;
        drained(&jobs, QUEUE).await;
        assert_eq!(look(&jobs, QUEUE).await.dead, 0);
        worker.stop().await;
        drop(cluster);
    });
}
