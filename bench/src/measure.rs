//! Taking turns, and what comes out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

/// How long to look.
#[derive(Clone, Copy)]
pub struct Effort {
    pub rounds: usize,
    pub each: Duration,
}

impl Effort {
    // Many short turns: what else a machine does comes and goes within seconds, and is to meet both.
    pub const QUICK: Self = Self { rounds: 9, each: Duration::from_millis(250) };
    pub const FULL: Self = Self { rounds: 61, each: Duration::from_millis(300) };
}

/// One comparison.
#[derive(Serialize)]
pub struct Row {
    bench: &'static str,
    ours: f64,
    peer: &'static str,
    theirs: f64,
    unit: &'static str,
    ratio: f64,
}

impl Row {
    /// Of rates, where more is better.
    pub fn of_rates(bench: &'static str, peer: &'static str, ours: f64, theirs: f64) -> Self {
        let ratio = (ours / theirs * 1_000.0).round() / 1_000.0;
        Self { bench, ours: ours.round(), peer, theirs: theirs.round(), unit: "operations/s", ratio }
    }
}

/// Rates of both sides: the median of rounds in which each has its turn, ours first in every
/// other one, so that neither always runs on the warmer machine.
pub async fn in_turn<A, B>(effort: Effort, title: &str, ours: A, theirs: B) -> (f64, f64)
where
    A: AsyncFn(Duration) -> f64,
    B: AsyncFn(Duration) -> f64,
{
    let (mut our_rates, mut their_rates) = (Vec::new(), Vec::new());
    // Connections, caches and branch predictors warm up.
    ours(effort.each / 2).await;
    theirs(effort.each / 2).await;
    for round in 0..effort.rounds {
        eprint!("\r{title}: round {} of {}", round + 1, effort.rounds);
        if round % 2 == 0 {
            our_rates.push(ours(effort.each).await);
            their_rates.push(theirs(effort.each).await);
        } else {
            their_rates.push(theirs(effort.each).await);
            our_rates.push(ours(effort.each).await);
        }
    }
    eprintln!();
    (median(our_rates), median(their_rates))
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Operations a second of `tasks` that each repeat `operation` until the time is over.
pub async fn rate<F, Fut>(tasks: u64, time: Duration, operation: F) -> f64
where
    F: Fn(u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let (running, done) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let began = Instant::now();
    let workers: Vec<_> = (0..tasks)
        .map(|task| {
            let (running, done, operation) = (Arc::clone(&running), Arc::clone(&done), operation.clone());
            tokio::spawn(async move {
                let mut number = task;
                let mut own = 0;
                while running.load(Ordering::Relaxed) {
                    operation(number).await;
                    number += tasks;
                    own += 1;
                }
                done.fetch_add(own, Ordering::Relaxed);
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    running.store(false, Ordering::Relaxed);
    for worker in workers {
        worker.await.expect("a worker that does not panic");
    }
    done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
}
