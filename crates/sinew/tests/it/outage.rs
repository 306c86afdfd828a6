//! Redis killed, hung, full of garbage: what callers notice, and how it ends.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sinew::{Cache, ErrorKind, Invalidated, Sinew, Source, Status};

use crate::laws::{LAW_MAX, eventually, keep};
use crate::source::{Begun, Database};
use crate::world::{
    SHARED_REDIS, Server, Store, free_port, redis_cli, signal, start_redis, start_redis_on,
};

pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

pub async fn connect(server: &Server) -> Sinew {
    let url = format!("redis://127.0.0.1:{}", server.port);
    Sinew::connect(&url).await.expect("a connection")
}

/// A process that waits for longer than a service would: a machine that compiles beside it stalls.
pub async fn process_at(port: u16) -> Sinew {
    let builder = Sinew::builder().deadline(Duration::from_secs(10));
    builder.connect(&format!("redis://127.0.0.1:{port}")).await.expect("a connection")
}

pub async fn up(sinew: &Sinew) {
    eventually("Redis is up again", || async { matches!(sinew.status(), Status::Up) }).await;
}

pub async fn down(sinew: &Sinew) {
    eventually("the loss is noticed", || async { matches!(sinew.status(), Status::Down(_)) }).await;
}

pub fn value(
    v: u64,
) -> impl FnOnce() -> std::future::Ready<Result<u64, Infallible>> + Send + 'static {
    move || std::future::ready(Ok(v))
}

#[test]
fn a_killed_redis_costs_no_caller_anything_and_comes_back_by_itself() {
    keep(|| async {
        let mut server = blocking(start_redis).await;
        let port = server.port;
        let sinew = connect(&server).await;
        let cache: Cache<u64, u64> = sinew.cache("number").build().unwrap();
        // Of a key that no caller asks for: a caller would share the load.
        cache.get_or_load(&60, value(1)).await.unwrap();

        let running = Arc::new(AtomicBool::new(true));
        let callers: Vec<_> = (0..16u64)
            .map(|n| {
                let (cache, running) = (cache.clone(), Arc::clone(&running));
                tokio::spawn(async move {
                    let (mut calls, mut slowest) = (0u64, Duration::ZERO);
                    while running.load(Ordering::Relaxed) {
                        let began = Instant::now();
                        let key = (n + calls) % 50;
                        assert_eq!(*cache.get_or_load(&key, value(key)).await.unwrap(), key);
                        slowest = slowest.max(began.elapsed());
                        calls += 1;
                        tokio::task::yield_now().await;
                    }
                    (calls, slowest)
                })
            })
            .collect();
        let mut server = blocking(move || {
            server.kill();
            server
        })
        .await;
        server.wait_gone();
        down(&sinew).await;
        let loaded = cache.get_or_load_traced(&60, value(2)).await.unwrap();
        assert_eq!((*loaded.value, loaded.source), (2, Source::Loaded));
        let server = blocking(move || start_redis_on(port, &[])).await;
        up(&sinew).await;
        cache.get_or_load(&77, value(77)).await.unwrap();
        let again = cache.get_or_load_traced(&77, value(78)).await.unwrap();
        assert_eq!((*again.value, again.source), (77, Source::Redis), "hits are back");
        running.store(false, Ordering::Relaxed);
        for caller in callers {
            let (calls, slowest) = caller.await.expect("no caller failed");
            assert!(calls > 0);
            // Two deadlines (look-up and lease), and a machine that is busy with other tests.
            assert!(slowest < Duration::from_secs(10), "{slowest:?}");
        }
        drop(server);
    });
}

#[test]
fn a_hung_redis_hangs_no_caller() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let url = format!("redis://127.0.0.1:{}", server.port);
        let deadline = Duration::from_millis(100);
        let sinew = Sinew::builder().deadline(deadline).connect(&url).await.unwrap();
        let cache: Cache<u64, u64> = sinew.cache("number").build().unwrap();
        signal(server.pid, "STOP");
        let began = Instant::now();
        assert_eq!(*cache.get_or_load(&1, value(1)).await.unwrap(), 1);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let error = cache.put(&1, &1).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Timeout { maybe_applied: true }), "{error}");
        assert_eq!(cache.invalidate(&2).await.unwrap(), Invalidated::Queued);
        // It is soon taken for gone, so that callers need not wait for it.
        eventually("the loss is noticed", || async {
            cache.get(&1).await.unwrap();
            matches!(sinew.status(), Status::Down(_))
        })
        .await;
        signal(server.pid, "CONT");
        eventually("it answers again", || async { cache.put(&2, &2).await.is_ok() }).await;
    });
}

#[test]
fn an_outage_loads_once_for_all_callers_of_a_process() {
    keep(|| async {
        let sinew = Sinew::connect_lazy(&format!("redis://127.0.0.1:{}", free_port())).unwrap();
        let cache: Cache<u64, u64> = sinew.cache("number").build().unwrap();
        let database = Database::gated();
        let callers: Vec<_> = (0..100)
            .map(|_| {
                let (cache, load) = (cache.clone(), database.read(5));
                tokio::spawn(async move { *cache.get_or_load(&1, load).await.unwrap() })
            })
            .collect();
        eventually("a hundred look-ups failed", || async { cache.stats().errors >= 100 }).await;
        // The last of them is counted a few steps before it joins.
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        database.open_gate();
        for caller in callers {
            assert_eq!(caller.await.unwrap(), 5);
        }
        assert_eq!(database.loads(), 1);
        assert!(cache.put(&1, &1).await.is_err());
        assert_eq!(cache.get(&1).await.unwrap(), None);
    });
}

#[test]
fn an_invalidation_during_an_outage_is_made_up_for_before_anyone_reads() {
    keep(|| async {
        let folder = tempfile::tempdir().unwrap();
        let durable = [
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--dir",
            folder.path().to_str().unwrap(),
        ];
        let port = free_port();
        let start = {
            let durable: Vec<String> = durable.iter().map(|s| (*s).to_owned()).collect();
            move || start_redis_on(port, &durable.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let mut server = blocking(start.clone()).await;
        // Each write is on the disk before it is answered.
        let sinew = process_at(port).await;
        let cache: Cache<u64, u64> = sinew.cache("number").build().unwrap();
        for key in 0..500 {
            cache.put(&key, &1).await.unwrap();
        }
        let server_gone = blocking(move || {
            server.kill();
            server
        })
        .await;
        down(&sinew).await;
        for key in 0..499 {
            assert_eq!(cache.invalidate(&key).await.unwrap(), Invalidated::Queued);
        }
        drop(server_gone);
        let _server = blocking(start).await;
        // Not the first read that Redis answers, nor any later one, sees what was invalidated.
        let answers = async {
            while !cache.exists(&499).await.unwrap() {
                for key in [0, 250, 498] {
                    assert_eq!(cache.get(&key).await.unwrap(), None);
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LAW_MAX / 3, answers).await.expect("Redis answers");
        for key in 0..499 {
            assert_eq!(cache.get(&key).await.unwrap(), None);
        }
        let replayed = || async { redis_cli(port, &["DBSIZE"]) == "2" };
        eventually("all are gone from Redis but one, and the deployment's record", replayed).await;
        assert_eq!(cache.get(&250).await.unwrap(), None);
    });
}

#[test]
fn an_invalidation_that_timed_out_is_sent_again_without_a_reconnect() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let url = format!("redis://127.0.0.1:{}", server.port);
        let sinew =
            Sinew::builder().deadline(Duration::from_millis(100)).connect(&url).await.unwrap();
        let cache: Cache<u64, u64> = sinew.cache("number").build().unwrap();
        cache.put(&1, &1).await.unwrap();
        // From here on the server knows the script, and runs it even when it is late.
        cache.invalidate(&2).await.unwrap();
        signal(server.pid, "STOP");
        assert_eq!(cache.invalidate(&1).await.unwrap(), Invalidated::Queued);
        assert_eq!(*cache.get_or_load(&1, value(9)).await.unwrap(), 9, "not what was invalidated");
        signal(server.pid, "CONT");
        let calls = || {
            let stats = redis_cli(server.port, &["INFO", "commandstats"]);
            let line = stats.lines().find(|l| l.starts_with("cmdstat_unlink:calls=")).unwrap_or("");
            line.trim_start_matches("cmdstat_unlink:calls=")
                .split(',')
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0u32)
        };
        // The put, the first invalidation, the late one, its replay.
        eventually("the replay", || async { calls() >= 4 }).await;
        assert_eq!(cache.get(&1).await.unwrap(), None);
    });
}

#[test]
fn a_primary_that_was_demoted_is_left() {
    keep(|| async {
        let (server, other) = blocking(|| (start_redis(), start_redis())).await;
        let sinew = connect(&server).await;
        let cache: Cache<u64, u64> = sinew.cache("number").build().unwrap();
        cache.put(&1, &1).await.unwrap();
        redis_cli(server.port, &["REPLICAOF", "127.0.0.1", &other.port.to_string()]);
        assert!(cache.put(&1, &2).await.is_err());
        down(&sinew).await;
        assert_eq!(cache.get(&1).await.unwrap(), None, "nothing is read from a replica");
        redis_cli(server.port, &["REPLICAOF", "NO", "ONE"]);
        up(&sinew).await;
    });
}

#[test]
fn a_lease_that_could_not_be_given_back_in_an_outage_is_given_back_after_it() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let url = format!("redis://127.0.0.1:{}", server.port);
        let sinew =
            Sinew::builder().deadline(Duration::from_millis(100)).connect(&url).await.unwrap();
        let cache: Cache<u64, u64> = sinew.cache("number").build().unwrap();
        let loading = Begun::load(&cache, &1, 1).await;
        let keys = redis_cli(server.port, &["DBSIZE"]);
        assert_eq!(keys, "2", "the lease, and the deployment's record");
        signal(server.pid, "STOP");
        assert_eq!(loading.lands().await, 1);
        signal(server.pid, "CONT");
        // Under the lease that stayed behind, this would be loaded and not stored, or wait for its end.
        let began = Instant::now();
        eventually("it is loaded and stored again", || async {
            cache.get_or_load(&1, value(2)).await.unwrap();
            cache.exists(&1).await.unwrap()
        })
        .await;
        assert!(began.elapsed() < Duration::from_secs(20));
    });
}

#[test]
fn garbage_under_a_key_is_a_miss_and_is_replaced() {
    keep(|| async {
        let store = Store::redis().await;
        let cache: Cache<str, u64> = store.tenant("acme").await.cache("number").build().unwrap();
        let port = SHARED_REDIS.port;
        let key = format!("{}acme:number:a", store.prefix);
        cache.put("whole", &1).await.unwrap();
        let writes: [&[&str]; 5] = [
            &["SET", &key, "garbage"],
            &["SET", &key, ""],
            &["SET", &key, "{\"id\":1}"],
            &["HSET", &key, "data", "x"],
            &["RPUSH", &key, "x"],
        ];
        for write in writes {
            redis_cli(port, &["DEL", &key]);
            redis_cli(port, write);
            assert_eq!(cache.get("a").await.unwrap(), None, "{write:?}");
            assert!(!cache.exists("a").await.unwrap());
            assert_eq!(*cache.get_or_load("a", value(7)).await.unwrap(), 7, "{write:?}");
            let found = cache.get_or_load_traced("a", value(8)).await.unwrap();
            assert_eq!((*found.value, found.source), (7, Source::Redis), "{write:?}");
            redis_cli(port, &["DEL", &key]);
            redis_cli(port, write);
            assert_eq!(cache.invalidate("a").await.unwrap(), Invalidated::Done);
            assert_eq!(redis_cli(port, &["EXISTS", &key]), "0");
        }
        let lease = format!("{}acme:lease:{{{key}}}", store.prefix);
        redis_cli(port, &["RPUSH", &lease, "not a lease"]);
        assert_eq!(*cache.get_or_load("a", value(9)).await.unwrap(), 9);
    });
}

#[test]
fn a_dead_loader_is_succeeded_when_its_lease_ends() {
    keep(|| async {
        let store = Store::redis().await;
        let cache: Cache<str, u64> = store.tenant("acme").await.cache("number").build().unwrap();
        let lease = format!("{0}acme:lease:{{{0}acme:number:a}}", store.prefix);
        // What a process that died while loading leaves behind.
        redis_cli(SHARED_REDIS.port, &["SET", &lease, "0123456789abcdef", "PX", "300"]);
        let began = Instant::now();
        assert_eq!(*cache.get_or_load("a", value(1)).await.unwrap(), 1);
        assert!(began.elapsed() >= Duration::from_millis(200), "it waited for the lease");
        assert!(cache.exists("a").await.unwrap(), "and then loaded under one of its own");
    });
}

#[test]
fn a_long_load_keeps_its_lease() {
    keep(|| async {
        let store = Store::redis().await;
        let cache: Cache<str, u64> = store.tenant("acme").await.cache("number").build().unwrap();
        let lease = format!("{0}acme:lease:{{{0}acme:number:a}}", store.prefix);
        let left = || {
            let ms = redis_cli(SHARED_REDIS.port, &["PTTL", &lease]);
            ms.parse::<i64>().unwrap()
        };
        let loading = Begun::load(&cache, "a", 1).await;
        eventually("the lease is half over", || async { (1..=3_000).contains(&left()) }).await;
        eventually("the lease is renewed", || async { left() > 3_500 }).await;
        loading.lands().await;
        assert!(cache.exists("a").await.unwrap());
        assert!(left() < 0, "the lease is given back");
    });
}

#[test]
fn a_hit_is_one_command_and_a_cold_miss_three() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let sinew = connect(&server).await;
        let cache: Cache<u64, u64> = sinew.cache("number").build().unwrap();
        // Everything is known to the server from here on.
        cache.get_or_load(&0, value(0)).await.unwrap();
        let sent = || {
            let info = redis_cli(server.port, &["INFO", "commandstats"]);
            let calls = |name: &str| {
                let line =
                    info.lines().find_map(|l| l.strip_prefix(&format!("cmdstat_{name}:calls=")));
                line.and_then(|l| l.split(',').next()?.parse::<u64>().ok()).unwrap_or(0)
            };
            (calls("get"), calls("evalsha"))
        };
        let before = sent();
        cache.get_or_load(&0, value(0)).await.unwrap();
        let after_hit = sent();
        assert_eq!((after_hit.0 - before.0, after_hit.1 - before.1), (1, 0));
        cache.get_or_load(&1, value(1)).await.unwrap();
        let after_miss = sent();
        // GET, lease, fill; each script calls GET as well: lease twice, fill once.
        assert_eq!((after_miss.0 - after_hit.0, after_miss.1 - after_hit.1), (1 + 3, 2));
    });
}

#[test]
fn callers_that_come_during_a_load_share_its_error() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let sinew = connect(&server).await;
        let cache: Cache<u64, u64> = sinew.cache("number").build().unwrap();
        cache.get_or_load(&0, value(0)).await.unwrap();
        let scripts = || {
            let info = redis_cli(server.port, &["INFO", "commandstats"]);
            let line = info.lines().find_map(|l| l.strip_prefix("cmdstat_evalsha:calls="));
            line.and_then(|l| l.split(',').next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        let before = scripts();
        let database = Database::gated();
        let call = || {
            let (cache, load) = (cache.clone(), database.fail());
            tokio::spawn(async move { cache.get_or_load(&1, load).await.unwrap_err().to_string() })
        };
        let first = call();
        database.loading(1).await;
        let late = call();
        // Its question for the lease is answered: someone of this process holds it.
        eventually("both have asked", || async { scripts() >= before + 2 }).await;
        database.open_gate();
        for caller in [first, late] {
            assert_eq!(caller.await.unwrap(), "the database is down");
        }
        assert_eq!(database.loads(), 1);
    });
}

#[test]
fn every_key_has_a_ttl_but_the_record_of_the_deployment() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let url = format!("redis://127.0.0.1:{}", server.port);
        let sinew = Sinew::builder().prefix("App_").connect(&url).await.unwrap();
        let cache: Cache<u64, u64> = sinew.tenant("acme").unwrap().cache("number").build().unwrap();
        cache.put(&1, &1).await.unwrap();
        cache.get_or_load(&2, value(2)).await.unwrap();
        cache.invalidate(&3).await.unwrap();
        let loading = Begun::load(&cache, &4, 4).await;
        let keys = || {
            let mut keys: Vec<String> =
                redis_cli(server.port, &["--scan"]).lines().map(str::to_owned).collect();
            keys.sort();
            keys
        };
        eventually("what holds up older versions is gone", || async { keys().len() == 4 }).await;
        let expected = [
            "App__:deployment",
            "App_acme:lease:{App_acme:number:4}",
            "App_acme:number:1",
            "App_acme:number:2",
        ];
        assert_eq!(keys(), expected);
        for key in &expected[1..] {
            let left: i64 = redis_cli(server.port, &["PTTL", key]).parse().unwrap();
            assert!((1..=300_000).contains(&left), "{key}: {left}");
        }
        loading.lands().await;
    });
}
