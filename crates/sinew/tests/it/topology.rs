//! Failovers and slots on the move, under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sinew::{Cache, ErrorKind, Invalidated, Sinew, Status, Tenancy};

use crate::laws::{LAW_MAX, eventually, keep_for};
use crate::outage::blocking;
use crate::world::{
    Cluster, Node, Sentinels, Server, free_port, redis_cli, signal, start_redis_on, wait_until,
};

const DEADLINE: Duration = Duration::from_millis(250);
/// What a machine that is busy with other tests may add to a deadline.
const BUSY: Duration = Duration::from_secs(2);

/// Callers that write and read their own keys until they are stopped.
struct Load {
    running: Arc<AtomicBool>,
    callers: Vec<tokio::task::JoinHandle<Seen>>,
}

/// What one caller saw.
#[derive(Default)]
struct Seen {
    writes: u64,
    /// When writes succeeded, and when calls failed.
    successes: Vec<Instant>,
    errors: Vec<(Instant, String)>,
    slowest: Duration,
    /// A value that was never written under its key, or was overwritten before.
    wrong: Vec<String>,
}

/// What may be found under a key that one caller alone writes.
#[derive(Default)]
struct Expected {
    /// The last that was certainly written.
    last: u64,
    /// Later ones that may have been.
    maybe: Vec<u64>,
}

/// Whether the store may lose what it has acknowledged, as a failover may.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Losses {
    Never,
    InFailover,
}

impl Load {
    fn start(sinew: &Sinew, callers: u64, keys: u64, losses: Losses) -> Self {
        let running = Arc::new(AtomicBool::new(true));
        let callers = (0..callers)
            .map(|caller| {
                let cache: Cache<(u64, u64), u64> = sinew.cache("number").build().unwrap();
                tokio::spawn(work(cache, caller, keys, losses, Arc::clone(&running)))
            })
            .collect();
        Self { running, callers }
    }

    async fn stop(self) -> Seen {
        self.running.store(false, Ordering::SeqCst);
        let mut all = Seen::default();
        for caller in self.callers {
            let seen = caller.await.expect("no caller panics");
            all.writes += seen.writes;
            all.successes.extend(seen.successes);
            all.errors.extend(seen.errors);
            all.slowest = all.slowest.max(seen.slowest);
            all.wrong.extend(seen.wrong);
        }
        all.successes.sort();
        all
    }
}

async fn work(
    cache: Cache<(u64, u64), u64>,
    caller: u64,
    keys: u64,
    losses: Losses,
    running: Arc<AtomicBool>,
) -> Seen {
    let mut seen = Seen::default();
    let mut expected: Vec<Expected> = (0..keys).map(|_| Expected::default()).collect();
    for version in 1.. {
        if !running.load(Ordering::SeqCst) {
            break;
        }
        let key = version % keys;
        let known = &mut expected[usize::try_from(key).expect("few keys")];
        let began = Instant::now();
        match cache.put(&(caller, key), &version).await {
            Ok(()) => {
                seen.successes.push(Instant::now());
                (known.last, known.maybe) = (version, Vec::new());
                seen.writes += 1;
            }
            Err(error) => {
                if error.maybe_applied() {
                    known.maybe.push(version);
                }
                seen.errors.push((Instant::now(), error.to_string()));
            }
        }
        seen.slowest = seen.slowest.max(began.elapsed());
        let began = Instant::now();
        let found = cache.get(&(caller, key)).await.unwrap().as_deref().copied();
        seen.slowest = seen.slowest.max(began.elapsed());
        if let Some(found) = found {
            let is_expected = found == known.last || known.maybe.contains(&found);
            let is_lost_and_old = losses == Losses::InFailover && found < known.last;
            if !is_expected && !is_lost_and_old || found % keys != key {
                seen.wrong.push(format!("{found} under {key}, not {}", known.last));
            }
        }
        tokio::task::yield_now().await;
    }
    seen
}

#[test]
fn a_failover_of_sentinels_costs_no_more_than_their_own_time_and_a_second() {
    keep_for(LAW_MAX * 2, || async {
        let mut world = blocking(Sentinels::start).await;
        let sinew = Sinew::builder().deadline(DEADLINE).connect(&world.url()).await.unwrap();
        let load = Load::start(&sinew, 8, 50, Losses::InFailover);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (world, killed, detected) = blocking(move || {
            let (old, sentinel) = (world.servers[0].port, world.sentinels[0].port);
            let killed = Instant::now();
            world.servers[0].kill();
            wait_until("the sentinels fail over", || {
                let at = redis_cli(sentinel, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"]);
                !at.contains(&old.to_string())
            });
            (world, killed, killed.elapsed())
        })
        .await;
        eventually("it follows", || async { matches!(sinew.status(), Status::Up) }).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let seen = load.stop().await;
        let gap = longest_gap(&seen.successes, killed);
        println!(
            "sentinel failover: {} writes, {} errors, detected after {detected:?}, {gap:?} without a write, slowest call {:?}",
            seen.writes,
            seen.errors.len(),
            seen.slowest
        );
        assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
        assert!(gap <= detected + Duration::from_secs(1), "{gap:?}, detected after {detected:?}");
        assert!(seen.slowest < DEADLINE + BUSY, "{:?}", seen.slowest);
        drop(world);
    });
}

/// The longest time without a success from a point on.
fn longest_gap(successes: &[Instant], from: Instant) -> Duration {
    let before = successes.iter().rev().find(|at| **at <= from).copied().unwrap_or(from);
    let later = successes.iter().filter(|at| **at > from).copied();
    let all: Vec<Instant> = std::iter::once(before).chain(later).collect();
    assert!(all.len() > 1, "no write ever succeeded again");
    all.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

#[test]
fn a_cluster_that_loses_a_master_is_followed_to_its_replica() {
    follows_a_failover(|| Cluster::start(1), |master| master.server.kill());
}

#[test]
fn a_failover_from_a_host_that_swallows_everything_takes_no_longer() {
    let swallow = |master: &mut Node| {
        master.proxy.as_ref().expect("a proxy").black_hole();
        master.server.kill();
    };
    follows_a_failover(|| Cluster::start_behind_proxies(1), swallow);
}

/// Takes a master away under load, and expects errors only until its cluster is well again.
fn follows_a_failover(
    start: impl FnOnce() -> Cluster + Send + 'static,
    lose: impl FnOnce(&mut Node) + Send + 'static,
) {
    keep_for(LAW_MAX * 2, || async {
        let mut cluster = blocking(start).await;
        let sinew = Sinew::builder().deadline(DEADLINE).connect(&cluster.url()).await.unwrap();
        let load = Load::start(&sinew, 8, 50, Losses::InFailover);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (cluster, whole) = blocking(move || {
            let lost = cluster.master_of(0);
            lose(&mut cluster.nodes[lost]);
            wait_until("the replica is promoted", || {
                let others = cluster.nodes.iter().enumerate().filter(|(n, _)| *n != lost);
                let mut infos = others.map(|(_, node)| node.cli(&["CLUSTER", "INFO"]));
                infos.all(|info| info.contains("cluster_state:ok")) && cluster.master_of(0) != lost
            });
            (cluster, Instant::now())
        })
        .await;
        eventually("it follows", || async { matches!(sinew.status(), Status::Up) }).await;
        let back = whole.elapsed();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let seen = load.stop().await;
        let late: Vec<_> =
            seen.errors.iter().filter(|(at, _)| *at > whole + Duration::from_secs(1)).collect();
        println!(
            "cluster failover: {} writes, {} errors, up {back:?} after the cluster, slowest call {:?}",
            seen.writes,
            seen.errors.len(),
            seen.slowest
        );
        assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
        assert!(late.is_empty(), "errors although the cluster is well: {late:?}");
        assert!(seen.slowest < DEADLINE + BUSY, "{:?}", seen.slowest);
        drop(cluster);
    });
}

#[test]
fn a_cluster_that_is_down_says_so_and_costs_no_one_a_deadline() {
    keep_for(LAW_MAX * 2, || async {
        let mut cluster = blocking(|| Cluster::start(0)).await;
        let deadline = Duration::from_secs(5);
        let sinew = Sinew::builder().deadline(deadline).connect(&cluster.url()).await.unwrap();
        let cache: Cache<u64, u64> = sinew.cache("number").build().unwrap();
        let cluster = blocking(move || {
            cluster.nodes[2].server.kill();
            wait_until("the cluster is down", || {
                let down = |n: usize| {
                    cluster.nodes[n].cli(&["CLUSTER", "INFO"]).contains("cluster_state:fail")
                };
                down(0) && down(1)
            });
            cluster
        })
        .await;
        // Of all keys, also those whose nodes are there.
        for key in 0..10 {
            cache.put(&key, &key).await.unwrap_err();
        }
        let began = Instant::now();
        let mut told = String::new();
        for key in 0..50 {
            told = format!("{told}{:#}\n", cache.put(&key, &key).await.unwrap_err());
        }
        assert!(began.elapsed() < deadline, "{:?} for 50 calls", began.elapsed());
        assert!(told.contains("CLUSTERDOWN") || told.contains("ClusterDown"), "{told}");
        assert!(!told.contains("no reply"), "{told}");
        drop(cluster);
    });
}

#[test]
fn slots_that_move_under_load_give_no_wrong_answer() {
    keep_for(LAW_MAX * 2, || async {
        let cluster = blocking(|| Cluster::start(0)).await;
        let sinew = Sinew::builder().deadline(DEADLINE).connect(&cluster.url()).await.unwrap();
        let load = Load::start(&sinew, 8, 50, Losses::Never);
        let (cluster, moved) = blocking(move || {
            let slots: Vec<u16> = used_slots(&cluster).into_iter().take(60).collect();
            for slot in &slots {
                let from = cluster.master_of(*slot);
                cluster.migrate_slot(*slot, from, (from + 1) % 3, Duration::from_millis(5));
            }
            (cluster, slots.len())
        })
        .await;
        let ended = Instant::now();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let seen = load.stop().await;
        let late: Vec<_> =
            seen.errors.iter().filter(|(at, _)| *at > ended + Duration::from_secs(1)).collect();
        println!(
            "slots moved: {moved}, {} writes, {} errors, slowest call {:?}",
            seen.writes,
            seen.errors.len(),
            seen.slowest
        );
        assert!(moved > 0);
        assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
        assert!(late.is_empty(), "errors although no slot moves: {late:?}");
        assert!(seen.slowest < DEADLINE + BUSY, "{:?}", seen.slowest);
        assert!(matches!(sinew.status(), Status::Up), "{:?}", sinew.status());
        drop(cluster);
    });
}

#[test]
fn an_old_primary_that_still_takes_writes_is_left_at_once() {
    keep_for(LAW_MAX * 2, || async {
        let world = blocking(Sentinels::start).await;
        let sinew = Sinew::builder().prefix("App_").deadline(DEADLINE).connect(&world.url()).await;
        let sinew = sinew.unwrap();
        let cache: Cache<u64, u64> = sinew.cache("number").build().unwrap();
        cache.put(&0, &0).await.unwrap();
        // It hangs for long enough to be voted out, and comes back as if nothing had happened.
        let (world, new) = blocking(move || {
            let old = world.servers[0].port;
            signal(world.servers[0].pid, "STOP");
            let new = world.wait_primary_after(old);
            signal(world.servers[0].pid, "CONT");
            wait_until("it answers", || redis_cli(old, &["PING"]) == "PONG");
            (world, new)
        })
        .await;
        for number in 1..20 {
            eventually("a write", || async { cache.put(&number, &number).await.is_ok() }).await;
            let key = format!("App__:number:{number}");
            let there = blocking(move || redis_cli(new, &["EXISTS", &key])).await;
            assert_eq!(there, "1", "write {number} went to the old primary");
        }
        drop(world);
    });
}

#[test]
fn sentinels_that_are_away_are_missed_by_no_one() {
    keep_for(LAW_MAX * 2, || async {
        let mut world = blocking(Sentinels::start).await;
        let sinew = Sinew::connect(&world.url()).await.unwrap();
        let cache: Cache<u64, u64> = sinew.cache("number").build().unwrap();
        let world = blocking(move || {
            world.sentinels.iter_mut().for_each(Server::kill);
            world
        })
        .await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        cache.put(&1, &1).await.unwrap();
        // A new connection goes to where the primary was when they were last heard of.
        redis_cli(world.servers[0].port, &["CLIENT", "KILL", "TYPE", "normal"]);
        eventually("a write", || async { cache.put(&1, &2).await.is_ok() }).await;
        assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&2));
        drop(world);
    });
}

#[test]
fn a_cluster_is_found_although_a_seed_swallows_everything_and_another_was_made_anew() {
    keep_for(LAW_MAX * 2, || async {
        let (cluster, anew) = blocking(|| {
            // Redis would take the bus's port by itself, and it may be someone's already.
            let bus = free_port().to_string();
            let settings = ["--cluster-enabled", "yes", "--cluster-port", &bus];
            (Cluster::start(0), start_redis_on(free_port(), &settings))
        })
        .await;
        let hole = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let seeds = [hole.local_addr().unwrap().port(), anew.port, cluster.nodes[1].server.port];
        let url = seeds.map(|port| format!("127.0.0.1:{port}")).join(",");
        let builder = Sinew::builder().deadline(Duration::from_secs(10));
        let began = Instant::now();
        let sinew = builder.connect(&format!("redis-cluster://{url}")).await.unwrap();
        // The one that says nothing would take longer than that.
        assert!(began.elapsed() < Duration::from_millis(1_400), "{:?}", began.elapsed());
        let cache: Cache<u64, u64> = sinew.cache("number").build().unwrap();
        for number in 0..20 {
            cache.put(&number, &number).await.unwrap();
        }
        // A cluster that no one has joined yet is no cluster to be used.
        let alone = Sinew::connect(&format!("redis-cluster://127.0.0.1:{}", anew.port)).await;
        let error = alone.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unavailable { .. }), "{error}");
        assert!(error.to_string().contains("no node that serves a slot"), "{error}");
        drop(cluster);
    });
}

#[test]
fn a_client_of_the_other_tenancy_is_refused_by_every_node_of_a_cluster() {
    keep_for(LAW_MAX * 2, || async {
        let cluster = blocking(|| Cluster::start(0)).await;
        let builder = |tenancy| {
            Sinew::builder().prefix("App_").deadline(Duration::from_secs(10)).tenancy(tenancy)
        };
        builder(Tenancy::Multi).connect(&cluster.url()).await.unwrap();
        let other = builder(Tenancy::Single).connect_lazy(&cluster.url()).unwrap();
        eventually("refused", || async { matches!(other.status(), Status::Failed(_)) }).await;
        let cache: Cache<u64, u64> = other.cache("number").build().unwrap();
        for number in 0..20 {
            cache.put(&number, &number).await.unwrap_err();
        }
        let written =
            cluster.nodes.iter().map(|node| node.cli(&["--scan", "--pattern", "*number*"]));
        assert_eq!(written.collect::<String>(), "");
        drop(cluster);
    });
}

/// A key that has gone ahead to another node, while its slot is still on the way there.
struct Ahead {
    slot: String,
    from: usize,
    to: usize,
}

impl Ahead {
    fn send(cluster: &Cluster, key: &str, from: usize, to: usize) -> Self {
        let ahead = Self { slot: cluster.slot_of(key).to_string(), from, to };
        let (from, to) = (&cluster.nodes[from], &cluster.nodes[to]);
        ahead.is_set(to, &["IMPORTING", &from.id()]);
        ahead.is_set(from, &["MIGRATING", &to.id()]);
        let port = to.server.port.to_string();
        wait_until("the key has gone", || {
            from.cli(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000", "REPLACE"]);
            has(to, key) && !has(from, key)
        });
        ahead
    }

    /// The slot comes after it.
    fn follow(&self, cluster: &Cluster) {
        let (from, to) = (&cluster.nodes[self.from], &cluster.nodes[self.to]);
        for node in [to, from] {
            self.is_set(node, &["NODE", &to.id()]);
        }
    }

    fn is_set(&self, node: &Node, state: &[&str]) {
        let command = [&["CLUSTER", "SETSLOT", self.slot.as_str()][..], state].concat();
        assert_eq!(node.cli(&command), "OK", "{command:?}");
    }
}

fn has(node: &Node, key: &str) -> bool {
    node.cli(&["--scan", "--pattern", key]) == key
}

/// What Redis says of an entry: a look-up that it did not answer says nothing.
async fn answered(cache: &Cache<u64, u64>, key: u64) -> Option<u64> {
    loop {
        let errors = cache.stats().errors;
        let found = cache.get(&key).await.unwrap();
        if found.is_some() || cache.stats().errors == errors {
            return found.map(|value| *value);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_key_that_is_ahead_of_its_slot_is_found_and_written() {
    keep_for(LAW_MAX * 2, || async {
        const KEY: &str = "App__:number:7";
        let cluster = blocking(|| Cluster::start(0)).await;
        let deadline = Duration::from_secs(10);
        let sinew = Sinew::builder().prefix("App_").deadline(deadline);
        let sinew = sinew.connect(&cluster.url()).await.unwrap();
        let cache: Cache<u64, u64> = sinew.cache("number").build().unwrap();
        cache.put(&7, &7).await.unwrap();
        let (cluster, ahead) = blocking(move || {
            let from = cluster.master_of(cluster.slot_of(KEY));
            let ahead = Ahead::send(&cluster, KEY, from, (from + 1) % 3);
            (cluster, ahead)
        })
        .await;
        assert_eq!(answered(&cache, 7).await, Some(7), "it is asked for elsewhere");
        // A write needs entry and lease together, which the cluster refuses until the slot is there.
        let writing = tokio::spawn({
            let cache = cache.clone();
            async move { cache.put(&7, &8).await }
        });
        eventually("it is told to try again", || async {
            cluster.nodes[ahead.to].cli(&["INFO", "errorstats"]).contains("errorstat_TRYAGAIN")
        })
        .await;
        assert!(!writing.is_finished(), "it waits for the cluster");
        let (cluster, ahead) = blocking(move || {
            ahead.follow(&cluster);
            (cluster, ahead)
        })
        .await;
        writing.await.unwrap().unwrap();
        assert_eq!(answered(&cache, 7).await, Some(8));
        // An invalidation does not wait for the slot: it takes entry and lease one after the other.
        // It comes last: once a slot has changed hands, the latest invalidations are made again, and
        // may remove what is being put meanwhile.
        let cluster = blocking(move || {
            Ahead::send(&cluster, KEY, ahead.to, ahead.from);
            cluster
        })
        .await;
        assert_eq!(answered(&cache, 7).await, Some(8), "it is asked for elsewhere again");
        assert_eq!(cache.invalidate(&7).await.unwrap(), Invalidated::Done);
        assert_eq!(answered(&cache, 7).await, None);
        assert!(cluster.nodes.iter().all(|node| !has(node, KEY)), "it is nowhere");
    });
}

#[test]
fn a_slot_that_has_moved_is_soon_asked_for_at_its_new_place() {
    keep_for(LAW_MAX * 2, || async {
        let cluster = blocking(|| Cluster::start(0)).await;
        let sinew = Sinew::builder().prefix("App_").deadline(Duration::from_secs(10));
        let sinew = sinew.connect(&cluster.url()).await.unwrap();
        let cache: Cache<u64, u64> = sinew.cache("number").build().unwrap();
        cache.put(&7, &7).await.unwrap();
        let (cluster, from) = blocking(move || {
            let slot = cluster.nodes[0].cli(&["CLUSTER", "KEYSLOT", "App__:number:7"]);
            let slot = slot.parse().unwrap();
            let from = cluster.master_of(slot);
            cluster.migrate_slot(slot, from, (from + 1) % 3, Duration::ZERO);
            (cluster, from)
        })
        .await;
        let port = cluster.nodes[from].server.port;
        let redirected = move || redis_cli(port, &["INFO", "errorstats"]);
        // Well before anyone asks for the map as a matter of routine.
        let began = Instant::now();
        loop {
            let before = blocking(redirected).await;
            for _ in 0..20 {
                assert_eq!(cache.get(&7).await.unwrap().as_deref(), Some(&7));
            }
            if blocking(redirected).await == before {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(3), "still redirected: {before}");
        }
        drop(cluster);
    });
}

/// Slots of the load's own keys.
fn used_slots(cluster: &Cluster) -> Vec<u16> {
    let mut slots = Vec::new();
    wait_until("there are keys", || {
        let keys = cluster.nodes.iter().map(|node| node.cli(&["--scan"]));
        let keys: Vec<String> =
            keys.flat_map(|keys| keys.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        slots = keys
            .iter()
            .filter(|key| key.contains("number"))
            .map(|key| cluster.nodes[0].cli(&["CLUSTER", "KEYSLOT", key]).parse().unwrap())
            .collect();
        slots.len() >= 60
    });
    slots.sort_unstable();
    slots.dedup();
    slots
}
