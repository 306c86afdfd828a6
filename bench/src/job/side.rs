//! All who take turns, and what each does in one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::ours::Ours;
use super::place::Place;
use super::{BULK, CONCURRENCY, DONE_WITHIN, PRODUCERS, TASKS};
use crate::measure::{Row, median, rate};
use crate::peer::jobs::apalis::Apalis;
use crate::peer::jobs::node::{BullMq, BullMqProcess};
use crate::peer::jobs::official::Official;
use crate::peer::jobs::oxana::Oxana;
use crate::peer::jobs::sidekiq::Sidekiq;
use crate::peer::jobs::{Carrier, Handle, Payload};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum System {
    Ours,
    Official,
    Sidekiq,
    Oxana,
    OxanaInBatches,
    Apalis,
    Node,
}

impl System {
    pub const ALL: [Self; 7] = [
        Self::Ours,
        Self::Official,
        Self::Sidekiq,
        Self::Oxana,
        Self::OxanaInBatches,
        Self::Apalis,
        Self::Node,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Official => "bullmq-official",
            Self::Sidekiq => "rusty-sidekiq",
            Self::Oxana => "oxana",
            Self::OxanaInBatches => "oxana in batches",
            Self::Apalis => "apalis-redis",
            Self::Node => "bullmq on node",
        }
    }

    /// The one of a product's by which it is known among products: two may be the same one, used in two ways.
    pub fn product(self) -> Self {
        match self {
            Self::OxanaInBatches => Self::Oxana,
            _ => self,
        }
    }

    /// How many jobs may wait for it. A script of apalis-redis unpacks all that do, and Lua hands on no more than some
    /// eight thousand.
    pub fn waiting_max(self) -> u64 {
        match self {
            Self::Apalis => 7_000,
            _ => u64::MAX,
        }
    }

    async fn connect(self, url: &str, node: &Result<BullMq, String>) -> Result<Side, String> {
        let carrier: Arc<dyn Carrier> = match self {
            Self::Ours => Arc::new(Ours::connect(url).await),
            Self::Official => Arc::new(Official::connect(url).await),
            Self::Sidekiq => Arc::new(Sidekiq::connect(url).await),
            Self::Oxana => Arc::new(Oxana::new(url)),
            Self::OxanaInBatches => Arc::new(Oxana::in_batches(url)),
            Self::Apalis => Arc::new(Apalis::connect(url).await),
            Self::Node => {
                let process = node.as_ref().map_err(String::clone).and_then(|it| it.start(url));
                return process.map(Side::Node);
            }
        };
        Ok(Side::Here(carrier))
    }
}

/// One of them, connected.
pub enum Side {
    Here(Arc<dyn Carrier>),
    Node(BullMqProcess),
}

impl Side {
    /// Has so many jobs wait.
    pub async fn fill(&self, jobs: u64) {
        match self {
            Self::Here(carrier) => {
                for first in (0..jobs).step_by(BULK as usize) {
                    carrier.enqueue_many(Payload::many(first, BULK.min(jobs - first))).await;
                }
            }
            Self::Node(process) => process.fill(jobs).await,
        }
    }

    /// Jobs a second that are enqueued, many with a call.
    pub async fn many(&self, time: Duration) -> f64 {
        let carrier = match self {
            Self::Here(carrier) => Arc::clone(carrier),
            Self::Node(process) => return process.many(time).await,
        };
        let enqueue = move |n: u64| {
            let carrier = Arc::clone(&carrier);
            async move { carrier.enqueue_many(Payload::many(n * BULK, BULK)).await }
        };
        rate(PRODUCERS, time, enqueue).await * BULK as f64
    }

    /// Jobs a second that are enqueued, one with a call.
    pub async fn singles(&self, time: Duration) -> f64 {
        let carrier = match self {
            Self::Here(carrier) => Arc::clone(carrier),
            Self::Node(process) => return process.singles(time).await,
        };
        let enqueue = move |n: u64| {
            let carrier = Arc::clone(&carrier);
            async move { carrier.enqueue(Payload::new(n)).await }
        };
        rate(TASKS, time, enqueue).await
    }

    /// Jobs a second that are done of so many that wait, until the time is over or none is left.
    pub async fn consume(&self, waiting: u64, time: Duration) -> f64 {
        self.fill(waiting).await;
        let carrier = match self {
            Self::Here(carrier) => carrier,
            Self::Node(process) => return process.consume(waiting, time).await,
        };
        let (handle, done) = counting();
        let working = carrier.work(handle, CONCURRENCY).await;
        // From the first one on: how long a worker takes to begin is not what is asked.
        let (first, began) = until(&done, 1).await;
        let mut counted = (first, began);
        while counted.0 < waiting && counted.1 - began < time {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(began.elapsed() < DONE_WITHIN, "{} of {waiting} are done", counted.0);
            counted = (done.load(Ordering::Relaxed), Instant::now());
        }
        working.stop().await;
        (counted.0 - first) as f64 / (counted.1 - began).as_secs_f64()
    }
}

/// What only counts.
pub fn counting() -> (Handle, Arc<AtomicU64>) {
    let done = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&done);
    let handle = move |_: &str| {
        count.fetch_add(1, Ordering::Relaxed);
    };
    (Arc::new(handle), done)
}

/// Waits until so many are done. How many it were by then, and when.
pub async fn until(done: &AtomicU64, jobs: u64) -> (u64, Instant) {
    let began = Instant::now();
    loop {
        let counted = (done.load(Ordering::Relaxed), Instant::now());
        if counted.0 >= jobs {
            return counted;
        }
        assert!(began.elapsed() < DONE_WITHIN, "{} of {jobs} are done", counted.0);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Those who can run here, and of the others why not.
pub struct Sides {
    all: Vec<(System, Side)>,
    absent: Vec<(System, String)>,
}

impl Sides {
    pub async fn connect(systems: &[System], url: &str, node: &Result<BullMq, String>) -> Self {
        let (mut all, mut absent) = (Vec::new(), Vec::new());
        for system in systems {
            match system.connect(url, node).await {
                Ok(side) => all.push((*system, side)),
                Err(why) => absent.push((*system, why)),
            }
        }
        Self { all, absent }
    }

    /// Only ours, as it is.
    pub fn only(ours: Ours) -> Self {
        Self { all: vec![(System::Ours, Side::Here(Arc::new(ours)))], absent: Vec::new() }
    }

    pub fn get(&self, system: System) -> &Side {
        let found = self.all.iter().find(|(other, _)| *other == system);
        &found.expect("one that runs here").1
    }

    /// Those that this is true of, in their order.
    pub fn of(&self, is_meant: impl Fn(System) -> bool) -> Vec<(System, &Side)> {
        let meant = self.all.iter().filter(|(system, _)| is_meant(*system));
        meant.map(|(system, side)| (*system, side)).collect()
    }

    /// A row for each that cannot run here.
    pub fn absent(&self, bench: &'static str) -> Vec<Row> {
        let rows = self.absent.iter();
        rows.map(|(system, why)| Row::unavailable(bench, system.name(), why)).collect()
    }
}

/// What each came to, in jobs a second.
pub type Rates = Vec<(System, f64)>;

/// The medians of rounds in which each has its turn, in the other order in every other one. What is there before a turn
/// is cleared.
pub async fn in_turns<M>(
    place: &Place,
    sides: &[(System, &Side)],
    rounds: usize,
    title: &str,
    measure: M,
) -> Rates
where
    M: AsyncFn(System, &Side) -> f64,
{
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); sides.len()];
    for round in 0..rounds {
        for nth in 0..sides.len() {
            let nth = if round % 2 == 0 { nth } else { sides.len() - 1 - nth };
            let (system, side) = sides[nth];
            eprint!("\r{title}: round {} of {rounds}, {:<20}", round + 1, system.name());
            place.clear().await;
            rates[nth].push(measure(system, side).await);
        }
    }
    eprintln!();
    place.clear().await;
    let medians = rates.into_iter().map(median);
    sides.iter().map(|(system, _)| *system).zip(medians).collect()
}

/// Ours beside each of the others, and beside so many times the best of them.
pub fn rows_of(
    bench: &'static str,
    rates: &[(System, f64)],
    bar: Option<(&'static str, f64)>,
) -> Vec<Row> {
    let ours = rate_of(rates, System::Ours);
    let peers = || rates.iter().filter(|(system, _)| *system != System::Ours);
    let mut rows: Vec<Row> = peers()
        .map(|(system, theirs)| Row::of_rates(bench, system.name(), ours, *theirs))
        .collect();
    if let Some((name, times)) = bar {
        let best = peers().map(|(_, theirs)| *theirs).fold(0.0, f64::max);
        rows.push(Row::of_rates(bench, name, ours, times * best));
    }
    rows
}

pub fn rate_of(rates: &[(System, f64)], system: System) -> f64 {
    let found = rates.iter().find(|(other, _)| *other == system);
    found.expect("one that has had its turns").1
}
