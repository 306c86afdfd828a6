//! How long after someone begins to change a flag another process has the change. The peer is a bare
//! server that is told to set a key, and tells another process of it, which nobody beats.
//!
//! The other process is this program again, one for each side. Both go by the clock of the machine.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redis::AsyncCommands;
use serde_json::json;
use sinew::flag::EvalContext;
use tokio::task::spawn_blocking;

use super::{BAR, open, put};
use crate::measure::{Row, p99_ms, seen_after};
use crate::peer::{raw_connection, tracking_connection};
use crate::process::{Process, next_line};

/// The argument that makes this program the other process.
pub const READER: &str = "reader";

const RAW: &str = "raw";
const KEY: &str = "changing";
const RAW_KEY: &str = "raw:changing";
const REPETITIONS: u64 = 1_000;
const WARM_UP: u64 = 50;
const BAR_MS: f64 = 20.0;

pub async fn rows(url: String) -> Vec<Row> {
    // In a task: the thread that waits is then one that looks after the connections.
    tokio::spawn(async move { measured(&url).await }).await.expect("a task that does not panic")
}

async fn measured(url: &str) -> Vec<Row> {
    let (writer, raw) = (open(url).await, raw_connection(url).await);
    put(&writer, KEY, json!({})).await;
    let (ours, theirs) = (Reader::start("ours", url).await, Reader::start(RAW, url).await);
    let (mut our_delays, mut their_delays) = (Vec::new(), Vec::new());
    for number in 0..WARM_UP + REPETITIONS {
        eprint!("\rflag.seen: {number} of {}", WARM_UP + REPETITIONS);
        // On in every other round, and off in those between.
        let variant = if number % 2 == 0 { "on" } else { "off" };
        let change = async {
            let change = writer.edit(KEY).default(variant).by("the bench");
            change.save().await.expect("written");
        };
        let our_delay = ours.delay(variant, change).await;
        let set = async {
            let _: () = raw.clone().set(RAW_KEY, number).await.expect("stored");
        };
        let their_delay = theirs.delay("told", set).await;
        if number >= WARM_UP {
            our_delays.push(our_delay);
            their_delays.push(their_delay);
        }
    }
    eprintln!();
    let (ours, theirs) = (p99_ms(our_delays), p99_ms(their_delays));
    vec![
        Row::of_times("flag.seen", RAW, ours, theirs, "ms p99"),
        Row::of_times("flag.seen", BAR, ours, BAR_MS, "ms p99"),
    ]
}

/// The other process, as this one has it.
struct Reader(Arc<Mutex<Process>>);

impl Reader {
    async fn start(whose: &str, url: &str) -> Self {
        let mut program = Command::new(std::env::current_exe().expect("this program"));
        program.args([READER, whose, url]);
        let process = spawn_blocking(move || Process::start(&mut program)).await;
        let process = process.expect("a thread that does not panic").expect("a process");
        Self(Arc::new(Mutex::new(process)))
    }

    /// From when the change begins until it is seen over there.
    async fn delay(&self, awaited: &'static str, change: impl Future<Output = ()>) -> Duration {
        let looking = move |process: &mut Process| {
            process.tell(awaited);
            process.hear()
        };
        self.talk(looking).await;
        let began_us = now_us();
        change.await;
        let seen_us = self.talk(|process: &mut Process| process.hear()).await;
        Duration::from_micros((seen_us - began_us).max(0.0) as u64)
    }

    async fn talk(&self, talk: impl FnOnce(&mut Process) -> f64 + Send + 'static) -> f64 {
        let process = Arc::clone(&self.0);
        let talked = spawn_blocking(move || talk(&mut process.lock().expect("one at a time")));
        talked.await.expect("a thread that does not panic")
    }
}

/// The other process: it is told what to wait for, and answers when it looks for it, and when it sees it.
pub async fn reader(whose: &str, url: &str) {
    match whose {
        RAW => told_by_a_bare_server(url).await,
        _ => told_by_flags(url).await,
    }
}

async fn told_by_flags(url: &str) {
    let (flags, cx) = (open(url).await, EvalContext::user("ada"));
    println!("ready");
    while let Some(variant) = next_line().await {
        let (flags, cx, is_on) = (flags.clone(), cx.clone(), variant == "on");
        look(move || flags.enabled(KEY, &cx) == is_on).await;
    }
}

async fn told_by_a_bare_server(url: &str) {
    let was_told = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&was_told);
    let mut server = tracking_connection(url, move || told.store(true, Ordering::Release)).await;
    println!("ready");
    while next_line().await.is_some() {
        // It tells of what was read.
        let _: Option<u64> = server.get(RAW_KEY).await.expect("a reply");
        was_told.store(false, Ordering::Release);
        let was_told = Arc::clone(&was_told);
        look(move || was_told.load(Ordering::Acquire)).await;
    }
}

async fn look(is_seen: impl Fn() -> bool + Send + 'static) {
    let (since, since_us) = (Instant::now(), now_us());
    println!("{since_us}");
    let seen = seen_after(since, is_seen).await;
    println!("{}", since_us + seen.as_micros() as f64);
}

fn now_us() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that was set");
    since.as_micros() as f64
}
