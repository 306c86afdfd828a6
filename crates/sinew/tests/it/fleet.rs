//! A fleet: processes of their own, on one store. Each is run as [`member`], with its part in the
//! environment.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sinew::{Cache, Counter, Invalidated, Local, Sinew, Source, Ttl};

use crate::laws::keep_for;
use crate::member::{Member, a_line, setting};
use crate::world::{Cluster, signal, start_redis};

const PROCESSES: usize = 4;
const CALLERS: usize = 10_000;
const KEYS: u64 = 1_000;
const HOUR: Duration = Duration::from_secs(3_600);
/// While nothing is wrong, what a message to another process may take on a busy machine.
const MESSAGE_MAX: Duration = Duration::from_secs(1);
/// How long the end of a fault can still show: a connection that leads nowhere is noticed after
/// three seconds.
const AFTERMATH: Duration = Duration::from_secs(5);
/// However long no one tells of changes: the time that an entry is kept in a process at most.
const STALENESS_MAX: Duration = Duration::from_secs(60);

fn start(part: &str, variables: &[(&str, String)]) -> Member {
    let part = [("SINEW_FLEET_PART", part.to_owned())];
    Member::start("fleet::member", &[&part[..], variables].concat())
}

/// Not a test by itself: it plays the part that the environment names.
#[test]
fn member() {
    let Ok(part) = std::env::var("SINEW_FLEET_PART") else { return };
    keep_for(Duration::from_secs(600), || async move {
        match part.as_str() {
            "crowd" => crowd().await,
            _ => writer_and_reader().await,
        }
    });
}

fn url(name: &str) -> String {
    std::env::var(name).expect("a URL")
}

/// Ten thousand callers of one cold key.
async fn crowd() {
    let builder = Sinew::builder().deadline(Duration::from_secs(10));
    let sinew = builder.connect(&url("SINEW_FLEET_STORE")).await.unwrap();
    let cache: Cache<str, u64> =
        sinew.cache("number").ttl(HOUR).local(Local::bytes(1 << 20)).build().unwrap();
    cache.get("another").await.unwrap();
    println!("@ready");
    let key = a_line().await;
    let takes = Duration::from_millis(setting("SINEW_FLEET_LOAD_MS", 300));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (cache, key) = (cache.clone(), key.clone());
            tokio::spawn(async move {
                let load = move || async move {
                    println!("@loading");
                    tokio::time::sleep(takes).await;
                    Ok::<_, Infallible>(7)
                };
                *cache.get_or_load(&key, load).await.unwrap()
            })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), 7);
    }
    println!("@done");
    a_line().await;
}

/// Starts the crowds, lets them go, and says how many loads there were.
fn crowds(load_ms: u64, with_the_first_loader: impl FnOnce(&mut Vec<Member>, usize)) -> u64 {
    let server = start_redis();
    let variables = [
        ("SINEW_FLEET_STORE", format!("redis://127.0.0.1:{}", server.port)),
        ("SINEW_FLEET_LOAD_MS", load_ms.to_string()),
    ];
    let mut members: Vec<Member> = (0..PROCESSES).map(|_| start("crowd", &variables)).collect();
    for member in &members {
        assert_eq!(member.hear(), "ready");
    }
    for member in &mut members {
        member.tell("cold");
    }
    let (mut loads, mut act) = (0, Some(with_the_first_loader));
    let mut done = vec![false; PROCESSES];
    let began = Instant::now();
    while !done.iter().all(|done| *done) {
        assert!(began.elapsed() < Duration::from_secs(120), "{done:?}");
        for at in 0..members.len() {
            while let Ok(word) = members[at].said.try_recv() {
                match word.as_str() {
                    "loading" => {
                        loads += 1;
                        if let Some(act) = act.take() {
                            act(&mut members, at);
                            // One that was killed is done.
                            done[at] |=
                                members[at].process.try_wait().is_ok_and(|end| end.is_some());
                        }
                    }
                    _ => done[at] = true,
                }
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    loads
}

#[test]
fn forty_thousand_callers_in_four_processes_load_once() {
    let loads = crowds(300, |_, _| {});
    println!("{CALLERS} callers in each of {PROCESSES} processes: {loads} loads");
    assert_eq!(loads, 1);
}

#[test]
fn a_loader_that_is_killed_is_succeeded_once() {
    let began = Instant::now();
    let loads = crowds(1_000, |members, at| {
        signal(members[at].process.id(), "KILL");
        let _ = members[at].process.wait();
    });
    println!("with the loader killed: {loads} loads, after {:.1?}", began.elapsed());
    assert_eq!(loads, 2);
}

/// Counts of one process, or of all.
#[derive(Default)]
struct Totals {
    reads: AtomicU64,
    local: AtomicU64,
    writes: AtomicU64,
    queued: AtomicU64,
    errors: AtomicU64,
}

/// Writes its own keys and reads all, for as long as it is told.
async fn writer_and_reader() {
    let connect = |name: &str| {
        let builder = Sinew::builder().deadline(Duration::from_millis(250));
        let url = url(name);
        async move { builder.connect(&url).await.unwrap() }
    };
    // The source is a store of its own, which nothing befalls.
    let (sinew, source) = (connect("SINEW_FLEET_STORE").await, connect("SINEW_FLEET_SOURCE").await);
    let source: Arc<Cache<u64, u64>> = Arc::new(source.cache("source").build().unwrap());
    let local = match setting("SINEW_FLEET_LOCAL", 0) {
        0 => Local::none(),
        bytes => Local::bytes(usize::try_from(bytes).expect("few")),
    };
    let cache: Cache<u64, u64> = sinew.cache("number").ttl(HOUR).local(local).build().unwrap();
    let (running, totals) = (Arc::new(AtomicBool::new(true)), Arc::new(Totals::default()));
    let member = setting("SINEW_FLEET_MEMBER", 0);
    let mut tasks = Vec::new();
    for part in 0..8 {
        let (cache, source, running, totals) =
            (cache.clone(), Arc::clone(&source), Arc::clone(&running), Arc::clone(&totals));
        tasks.push(tokio::spawn(async move {
            match part < 2 {
                true => write(cache, source, member * 2 + part, running, totals).await,
                false => read(cache, source, running, totals).await,
            }
        }));
    }
    println!("@ready");
    a_line().await;
    running.store(false, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    let of = |count: &AtomicU64| count.load(Ordering::SeqCst);
    println!(
        "@total {} {} {} {} {}",
        of(&totals.reads),
        of(&totals.local),
        of(&totals.writes),
        of(&totals.queued),
        of(&totals.errors)
    );
}

fn counter(source: &Cache<u64, u64>, what: &str, key: u64) -> Counter {
    source.counter(&format!("{what}.{key}")).expect("a counter")
}

fn hour() -> Ttl {
    Ttl::new(HOUR).expect("a TTL")
}

/// One task writes a key: the numbers of its versions, and of those whose invalidation is done.
async fn write(
    cache: Cache<u64, u64>,
    source: Arc<Cache<u64, u64>>,
    writer: u64,
    running: Arc<AtomicBool>,
    totals: Arc<Totals>,
) {
    let writers = 2 * PROCESSES as u64;
    let mut done: HashMap<u64, i64> = HashMap::new();
    while running.load(Ordering::SeqCst) {
        let key = fastrand::u64(0..KEYS / writers) * writers + writer;
        let Ok(version) = counter(&source, "version", key).add(1, hour()).await else { continue };
        totals.writes.fetch_add(1, Ordering::Relaxed);
        match cache.invalidate(&key).await {
            Ok(Invalidated::Done) => {
                let before = done.insert(key, version).unwrap_or(0);
                let _ = counter(&source, "done", key).add(version - before, hour()).await;
            }
            Ok(Invalidated::Queued) => {
                totals.queued.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {
                totals.errors.fetch_add(1, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Reads, and tells of each value that is older than what was invalidated before the read.
async fn read(
    cache: Cache<u64, u64>,
    source: Arc<Cache<u64, u64>>,
    running: Arc<AtomicBool>,
    totals: Arc<Totals>,
) {
    // When this task first saw that a version was invalidated.
    let mut seen: HashMap<(u64, i64), Instant> = HashMap::new();
    while running.load(Ordering::SeqCst) {
        // Some keys are read by everyone all the time.
        let key = fastrand::u64(0..KEYS) * fastrand::u64(0..KEYS) / KEYS;
        let Ok(floor) = counter(&source, "done", key).get().await else { continue };
        let known_since = *seen.entry((key, floor)).or_insert_with(Instant::now);
        let rows = Arc::clone(&source);
        let load = move || async move {
            counter(&rows, "version", key).get().await.map(i64::unsigned_abs)
        };
        let found = cache.get_or_load_traced(&key, load).await;
        totals.reads.fetch_add(1, Ordering::Relaxed);
        match found {
            Ok(found) => {
                totals.local.fetch_add(u64::from(found.source == Source::Local), Ordering::Relaxed);
                if found.value.cast_signed() < floor {
                    let stale_for = known_since.elapsed().as_micros();
                    println!("@stale {stale_for} {:?} {key}", found.source);
                }
            }
            Err(_) => {
                totals.errors.fetch_add(1, Ordering::Relaxed);
            }
        }
        if seen.len() > 100_000 {
            seen.clear();
        }
    }
}

/// `cargo xtask torture cache --seconds 60` plays it for longer.
#[test]
fn no_process_sees_what_was_invalidated_before() {
    for local in [0, 1 << 20] {
        play(setting("SINEW_TORTURE_SECONDS", 8), setting("SINEW_TORTURE_SEED", 1), local);
    }
}

fn play(seconds: u64, seed: u64, local: u64) {
    let (mut cluster, source) = (Cluster::start_behind_proxies(1), start_redis());
    let mut members: Vec<Member> = (0..PROCESSES)
        .map(|member| {
            let variables = [
                ("SINEW_FLEET_STORE", cluster.url()),
                ("SINEW_FLEET_SOURCE", format!("redis://127.0.0.1:{}", source.port)),
                ("SINEW_FLEET_LOCAL", local.to_string()),
                ("SINEW_FLEET_MEMBER", member.to_string()),
            ];
            start("reader", &variables)
        })
        .collect();
    for member in &members {
        assert_eq!(member.hear(), "ready");
    }
    // When faults were, and what was seen when.
    let (faults, stale) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let mut totals = [0_u64; 5];
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (over, stale) = (&over, &stale);
        let listening: Vec<_> = members
            .iter_mut()
            .map(|member| {
                scope.spawn(move || {
                    let mut told_to_end = false;
                    loop {
                        if over.load(Ordering::SeqCst) && !told_to_end {
                            member.tell("end");
                            told_to_end = true;
                        }
                        let Ok(word) = member.said.recv_timeout(Duration::from_millis(50)) else {
                            continue;
                        };
                        let words: Vec<&str> = word.split(' ').collect();
                        match words[0] {
                            "stale" => {
                                let for_us: u64 = words[1].parse().expect("microseconds");
                                let seen =
                                    (Instant::now(), Duration::from_micros(for_us), word.clone());
                                stale.lock().push(seen);
                            }
                            _ => {
                                let numbers =
                                    words[1..].iter().map(|n| n.parse().expect("a number"));
                                return numbers.collect::<Vec<u64>>();
                            }
                        }
                    }
                })
            })
            .collect();
        inflict(&mut cluster, seconds, seed, &faults);
        over.store(true, Ordering::SeqCst);
        for member in listening {
            for (total, part) in totals.iter_mut().zip(member.join().expect("no panic")) {
                *total += part;
            }
        }
    });
    let (faults, stale) = (faults.into_inner(), stale.into_inner());
    let during = |at: Instant| {
        faults.iter().any(|(from, to): &(Instant, Instant)| at >= *from && at <= *to + AFTERMATH)
    };
    let (troubled, calm): (Vec<_>, Vec<_>) = stale.iter().partition(|(at, ..)| during(*at));
    let longest = |seen: &[&(Instant, Duration, String)]| {
        seen.iter().map(|(_, stale_for, _)| *stale_for).max().unwrap_or_default()
    };
    let [reads, here, writes, queued, errors] = totals;
    println!(
        "fleet: {PROCESSES} processes, {seconds} s, {} faults, local level {}: {reads} reads ({here} local), {writes} writes ({queued} queued), {errors} errors; older than invalidated while connected: {}, longest {:?}; otherwise: {}, longest {:?}",
        faults.len(),
        if local > 0 { "on" } else { "off" },
        calm.len(),
        longest(&calm),
        troubled.len(),
        longest(&troubled),
    );
    assert!(reads > 1_000 && writes > 100, "hardly anything happened");
    assert!(local == 0 || here > reads / 10, "hardly anything came from the process");
    match local {
        0 => assert!(calm.is_empty(), "{calm:?}"),
        // A message to another process is on its way for a moment.
        _ => assert!(longest(&calm) < MESSAGE_MAX, "{calm:?}"),
    }
    assert!(longest(&troubled) < STALENESS_MAX, "{troubled:?}");
}

/// Cuts, and one failover in the middle; calm in the first and last third.
fn inflict(
    cluster: &mut Cluster,
    seconds: u64,
    seed: u64,
    faults: &Mutex<Vec<(Instant, Instant)>>,
) {
    let mut random = fastrand::Rng::with_seed(seed);
    let began = Instant::now();
    let third = Duration::from_secs(seconds) / 3;
    std::thread::sleep(third);
    let mut has_failed_over = false;
    while began.elapsed() < 2 * third {
        let from = Instant::now();
        let node = random.usize(..cluster.nodes.len());
        let proxy = cluster.nodes[node].proxy.as_ref().expect("a proxy");
        match random.u32(..4) {
            0 => proxy.cut(),
            1 => proxy.half_open(),
            2 => proxy.delay(Duration::from_millis(20)),
            _ => proxy.black_hole(),
        }
        std::thread::sleep(Duration::from_millis(random.u64(50..800)));
        proxy.pass();
        if !has_failed_over && began.elapsed() > third * 3 / 2 {
            has_failed_over = true;
            if let Some(replica) = cluster.nodes.iter().find(|node| !node.is_master()) {
                replica.cli(&["CLUSTER", "FAILOVER", "TAKEOVER"]);
            }
            cluster.wait_whole_as_it_is();
        }
        std::thread::sleep(Duration::from_millis(random.u64(50..500)));
        faults.lock().push((from, Instant::now()));
    }
    std::thread::sleep(third.max(AFTERMATH + Duration::from_secs(2)));
}
