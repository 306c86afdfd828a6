//! Long histories under random faults: `cargo xtask torture link --seconds 60 --seed 7`.
//!
//! A few seconds of each run with every other test.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sinew::{Cache, Sinew, Status};

use crate::laws::{eventually, keep_for};
use crate::member::setting;
use crate::world::{Cluster, Proxy, wait_until};

const DEADLINE: Duration = Duration::from_millis(250);
const CALLERS: u64 = 100;
/// Calls a second, of all callers together.
const RATE: u64 = 10_000;
const KEYS: u64 = 10_000;

#[derive(Default)]
struct Totals {
    calls: AtomicU64,
    failed: AtomicU64,
    wrong: AtomicU64,
    late: AtomicU64,
    slowest_us: AtomicU64,
}

/// Of a cluster of three masters with a replica each; every client goes through proxies.
#[test]
fn link() {
    let seconds = setting("SINEW_TORTURE_SECONDS", 8);
    let seed = setting("SINEW_TORTURE_SEED", 1);
    keep_for(Duration::from_secs(seconds + 180), || async move {
        let cluster =
            tokio::task::spawn_blocking(|| Cluster::start_behind_proxies(1)).await.unwrap();
        let url = cluster.url();
        let sinew = Sinew::builder().deadline(DEADLINE).connect(&url).await.unwrap();
        let (running, totals) = (Arc::new(AtomicBool::new(true)), Arc::new(Totals::default()));
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let cache = sinew.cache("number").build().unwrap();
                tokio::spawn(call(cache, caller, Arc::clone(&running), Arc::clone(&totals)))
            })
            .collect();
        // What the first calls allocate is no leak.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (memory_before, panics) = (resident_kib(), panics_counted());
        let began = Instant::now();
        let mut rng = fastrand::Rng::with_seed(seed);
        let faults = tokio::task::spawn_blocking(move || {
            let mut cluster = cluster;
            let mut faults = 0;
            while began.elapsed() < Duration::from_secs(seconds) {
                inflict(&mut cluster, &mut rng);
                faults += 1;
            }
            for node in &cluster.nodes {
                node.proxy.as_ref().expect("a proxy").pass();
            }
            cluster.wait_whole_as_it_is();
            (cluster, faults)
        });
        let (cluster, faults) = faults.await.unwrap();
        let healed = Instant::now();
        eventually("all connections are back", || async { matches!(sinew.status(), Status::Up) })
            .await;
        let back = healed.elapsed();
        tokio::time::sleep(Duration::from_secs(1)).await;
        running.store(false, Ordering::SeqCst);
        let mut hung = 0;
        for caller in callers {
            let ended = tokio::time::timeout(Duration::from_secs(5), caller).await;
            hung += u32::from(ended.is_err());
        }
        let memory = resident_kib();
        let read = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        println!(
            "torture link: seed {seed}, {seconds} s, {faults} faults, {} calls ({} a second), {} failed, {} wrong, {} past deadline + 50 ms, slowest {} ms, {hung} hung, {} panics, memory {} to {} MiB, back after {back:?}",
            read(&totals.calls),
            read(&totals.calls) / began.elapsed().as_secs().max(1),
            read(&totals.failed),
            read(&totals.wrong),
            read(&totals.late),
            read(&totals.slowest_us) / 1_000,
            panics_counted() - panics,
            memory_before / 1_024,
            memory / 1_024,
        );
        assert_eq!((hung, read(&totals.wrong), panics_counted() - panics), (0, 0, 0));
        assert!(back < Duration::from_secs(2), "{back:?}");
        assert!(memory < memory_before + (64 << 10), "{memory_before} to {memory} KiB");
        assert!(read(&totals.failed) < read(&totals.calls) / 2, "hardly anything worked");
        // A machine that is busy with other tests stalls now and then, which is no one's deadline.
        let late_max = if setting("SINEW_TORTURE_ALONE", 0) == 1 { 0 } else { u64::MAX };
        assert!(read(&totals.late) <= late_max, "{} calls were late", read(&totals.late));
        assert!(read(&totals.slowest_us) < 3_000_000, "slowest {} us", read(&totals.slowest_us));
        drop(cluster);
    });
}

/// Puts, reads and invalidates at a steady pace.
async fn call(cache: Cache<u64, u64>, caller: u64, running: Arc<AtomicBool>, totals: Arc<Totals>) {
    let mut pace = tokio::time::interval(Duration::from_micros(1_000_000 * CALLERS / RATE));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut number = caller;
    while running.load(Ordering::SeqCst) {
        pace.tick().await;
        number += CALLERS;
        let key = number.wrapping_mul(0x9E37_79B9) % KEYS;
        let began = Instant::now();
        // Any value that is written under a key says the key.
        let failed = match number % 10 {
            0 => cache.put(&key, &(number * KEYS + key)).await.is_err(),
            1 => cache.invalidate(&key).await.is_err(),
            _ => match cache.get(&key).await {
                Ok(Some(found)) if *found % KEYS != key => {
                    totals.wrong.fetch_add(1, Ordering::SeqCst);
                    true
                }
                found => found.is_err(),
            },
        };
        let took = began.elapsed();
        totals.calls.fetch_add(1, Ordering::SeqCst);
        totals.failed.fetch_add(u64::from(failed), Ordering::SeqCst);
        let is_late = took > DEADLINE + Duration::from_millis(50);
        totals.late.fetch_add(u64::from(is_late), Ordering::SeqCst);
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        totals.slowest_us.fetch_max(took, Ordering::SeqCst);
    }
}

/// One fault, for a while, and its end.
fn inflict(cluster: &mut Cluster, rng: &mut fastrand::Rng) {
    let node = rng.usize(..cluster.nodes.len());
    let pause = Duration::from_millis(rng.u64(50..1_500));
    let proxy = |cluster: &Cluster, fault: &dyn Fn(&Proxy)| {
        fault(cluster.nodes[node].proxy.as_ref().expect("a proxy"));
    };
    match rng.u32(..8) {
        0 => proxy(cluster, &Proxy::cut),
        1 => proxy(cluster, &|proxy| proxy.delay(Duration::from_millis(100))),
        2 => proxy(cluster, &Proxy::black_hole),
        3 => proxy(cluster, &Proxy::half_open),
        4 => proxy(cluster, &Proxy::halve_next_reply),
        5 => proxy(cluster, &Proxy::refuse),
        6 => {
            cluster.nodes[node].server.kill();
            std::thread::sleep(pause);
            cluster.nodes[node].restart();
            wait_until("the node is back", || cluster.nodes[node].cli(&["PING"]) == "PONG");
        }
        _ => {
            let replica = cluster.nodes.iter().find(|node| !node.is_master());
            if let Some(replica) = replica {
                replica.cli(&["CLUSTER", "FAILOVER", "TAKEOVER"]);
            }
        }
    }
    std::thread::sleep(pause);
    proxy(cluster, &Proxy::pass);
    std::thread::sleep(Duration::from_millis(rng.u64(50..500)));
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Panics of any thread since this was first asked.
fn panics_counted() -> u64 {
    static PANICS: AtomicU64 = AtomicU64::new(0);
    static COUNTING: std::sync::Once = std::sync::Once::new();
    COUNTING.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // Only of Sinew's own tasks: another test may panic on purpose.
            if info.location().is_some_and(|at| at.file().contains("/src/")) {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            told(info);
        }));
    });
    PANICS.load(Ordering::SeqCst)
}
