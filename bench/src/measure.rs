//! Taking turns, and what comes out.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

const BETWEEN_LOOKS: Duration = Duration::from_micros(50);
const BETWEEN_PULSES: Duration = Duration::from_millis(1);

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
    ours: Option<f64>,
    peer: &'static str,
    theirs: Option<f64>,
    unit: String,
    ratio: Option<f64>,
}

impl Row {
    /// Of rates, where more is better.
    pub fn of_rates(bench: &'static str, peer: &'static str, ours: f64, theirs: f64) -> Self {
        let (unit, ratio) = ("operations/s".to_owned(), Some(rounded(ours / theirs, 3)));
        Self { bench, ours: Some(ours.round()), peer, theirs: Some(theirs.round()), unit, ratio }
    }

    /// Of times, where less is better, in what `unit` says.
    pub fn of_times(
        bench: &'static str,
        peer: &'static str,
        ours: f64,
        theirs: f64,
        unit: &'static str,
    ) -> Self {
        let (unit, ratio) = (unit.to_owned(), Some(rounded(theirs / ours, 3)));
        let (ours, theirs) = (Some(rounded(ours, 4)), Some(rounded(theirs, 4)));
        Self { bench, ours, peer, theirs, unit, ratio }
    }

    /// Of a peer that cannot run here, and why.
    pub fn unavailable(bench: &'static str, peer: &'static str, why: &str) -> Self {
        // Whoever reads a line ends a field at a comma or a brace, and a cell at a bar.
        let why = why.replace([',', '{', '}', '"', '\\', '|', '\n', '\r'], " ");
        let unit = format!("cannot run here: {why}");
        Self { bench, ours: None, peer, theirs: None, unit, ratio: None }
    }
}

fn rounded(number: f64, digits: i32) -> f64 {
    let unit = 10_f64.powi(digits);
    (number * unit).round() / unit
}

/// What half of them keep to, in milliseconds.
pub fn p50_ms(times: Vec<Duration>) -> f64 {
    kept_by_ms(times, 500)
}

/// What 99 of 100 keep to, in milliseconds.
pub fn p99_ms(times: Vec<Duration>) -> f64 {
    kept_by_ms(times, 990)
}

/// What 999 of 1,000 keep to, in milliseconds.
pub fn p99_9_ms(times: Vec<Duration>) -> f64 {
    kept_by_ms(times, 999)
}

fn kept_by_ms(mut times: Vec<Duration>, of_1_000: usize) -> f64 {
    times.sort();
    times[times.len() * of_1_000 / 1_000].as_secs_f64() * 1_000.0
}

/// Tells for how long the machine held up a thread that does nothing but sleep.
pub struct StandStill {
    is_over: Arc<AtomicBool>,
    watching: JoinHandle<Duration>,
}

impl StandStill {
    pub fn watch() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let watching = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                std::thread::sleep(BETWEEN_PULSES);
                longest = longest.max(began.elapsed().saturating_sub(BETWEEN_PULSES));
            }
            longest
        });
        Self { is_over, watching }
    }

    /// The longest time since it watches.
    pub fn longest(self) -> Duration {
        self.is_over.store(true, Ordering::Relaxed);
        self.watching.join().expect("a thread that does not panic")
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

pub fn median(mut rates: Vec<f64>) -> f64 {
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
            let (running, done, operation) =
                (Arc::clone(&running), Arc::clone(&done), operation.clone());
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

/// Batches a second of `threads` that each repeat `batch` until the time is over: for calls so
/// short that a task, a clock or a shared counter between two of them would be what is measured.
pub async fn tight_rate<F>(threads: u64, time: Duration, batch: F) -> f64
where
    F: Fn(u64) + Clone + Send + 'static,
{
    let runtime = Handle::current();
    let measured = spawn_blocking(move || {
        let (running, ready) = (AtomicBool::new(true), Barrier::new(threads as usize + 1));
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|thread| {
                    let (batch, runtime) = (batch.clone(), &runtime);
                    let (running, ready) = (&running, &ready);
                    scope.spawn(move || {
                        // What is called may be written for a runtime, as ours is.
                        let _entered = runtime.enter();
                        ready.wait();
                        let mut own = 0;
                        while running.load(Ordering::Relaxed) {
                            batch(thread + own * threads);
                            own += 1;
                        }
                        own
                    })
                })
                .collect();
            ready.wait();
            let began = Instant::now();
            std::thread::sleep(time);
            running.store(false, Ordering::Relaxed);
            let done = workers.into_iter().map(|w| w.join().expect("a thread that does not panic"));
            let done: u64 = done.sum();
            done as f64 / began.elapsed().as_secs_f64()
        })
    });
    measured.await.expect("threads that do not panic")
}

/// What a future has at its first poll, for no more than the poll. The few that have to wait (an entry
/// is asked for again once a minute) are waited for, which counts against them.
#[inline(always)]
pub fn at_once<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => tokio::runtime::Handle::current().block_on(future),
    }
}

/// How long after `since` it is seen. Whoever waits looks, and sleeps in between: one that spins takes
/// half of a small machine from the server and from the connection that it waits for.
pub async fn seen_after(since: Instant, is_seen: impl Fn() -> bool + Send + 'static) -> Duration {
    let looking = spawn_blocking(move || {
        loop {
            // Before the look: one that finds nothing here may go on to Redis.
            let looked = Instant::now();
            if is_seen() {
                return looked - since;
            }
            assert!(since.elapsed() < Duration::from_secs(10), "seen within 10 s");
            std::thread::sleep(BETWEEN_LOOKS);
        }
    });
    looking.await.expect("a thread that does not panic")
}
