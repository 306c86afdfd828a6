//! What the network does: connections cut, delayed, halved, black-holed, half-open.

use std::time::{Duration, Instant};

use sinew::{BreakerState, Cache, ErrorKind, Invalidated, Sinew, Status};

use crate::laws::{eventually, keep};
use crate::outage::blocking;
use crate::world::{Cluster, Proxy, Server, redis_cli, signal, start_redis};

const DEADLINE: Duration = Duration::from_millis(250);

struct Behind {
    proxies: Vec<Proxy>,
    ports: Vec<u16>,
    sinew: Sinew,
    _servers: Box<dyn Send>,
}

async fn standalone() -> Behind {
    standalone_within(DEADLINE).await
}

async fn standalone_within(deadline: Duration) -> Behind {
    let (server, proxy) = blocking(|| {
        let server = start_redis();
        let proxy = Proxy::start(server.port);
        (server, proxy)
    })
    .await;
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    let sinew = Sinew::builder().deadline(deadline).connect(&url).await.unwrap();
    Behind { proxies: vec![proxy], ports: vec![server.port], sinew, _servers: Box::new(server) }
}

async fn cluster() -> Behind {
    let mut cluster = blocking(|| Cluster::start_behind_proxies(0)).await;
    let sinew = Sinew::builder().deadline(DEADLINE).connect(&cluster.url()).await.unwrap();
    Behind {
        proxies: cluster.nodes.iter_mut().filter_map(|node| node.proxy.take()).collect(),
        ports: cluster.nodes.iter().map(|node| node.server.port).collect(),
        sinew,
        _servers: Box::new(cluster),
    }
}

impl Behind {
    fn cache(&self) -> Cache<u64, u64> {
        self.sinew.cache("number").build().unwrap()
    }

    fn all(&self, fault: impl Fn(&Proxy)) {
        self.proxies.iter().for_each(fault);
    }

    /// How many values the servers have stored, in scripts too.
    fn stored(&self) -> u64 {
        let calls = |port: &u16| {
            let stats = redis_cli(*port, &["INFO", "commandstats"]);
            let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_set:calls="));
            line.and_then(|line| line.split(',').next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        self.ports.iter().map(calls).sum()
    }

    async fn up(&self) {
        eventually("up", || async { matches!(self.sinew.status(), Status::Up) }).await;
    }
}

#[test]
fn a_half_open_connection_is_noticed_and_replaced_although_no_one_calls() {
    keep(|| async {
        let world = standalone().await;
        let before = world.proxies[0].connections();
        world.proxies[0].half_open();
        let lost = Instant::now();
        eventually("it is replaced", || async { world.proxies[0].connections() > before }).await;
        world.up().await;
        let took = lost.elapsed();
        println!("an idle half-open connection was replaced after {took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        world.cache().put(&1, &1).await.unwrap();
    });
}

#[test]
fn a_black_hole_hangs_no_caller_and_ends_without_a_restart() {
    keep(|| async {
        let world = standalone().await;
        let cache = world.cache();
        cache.put(&1, &1).await.unwrap();
        world.all(Proxy::black_hole);
        let began = Instant::now();
        let (mut calls, mut slowest) = (0, Duration::ZERO);
        while began.elapsed() < Duration::from_secs(6) {
            let called = Instant::now();
            cache.get(&1).await.unwrap();
            slowest = slowest.max(called.elapsed());
            calls += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(slowest < DEADLINE + Duration::from_secs(2), "{slowest:?}");
        // The breaker tells most of them at once: by deadlines alone it would be 24.
        assert!(calls > 100, "{calls}");
        world.all(Proxy::pass);
        eventually("hits are back", || async { cache.get(&1).await.unwrap().is_some() }).await;
    });
}

#[test]
fn a_reply_cut_in_half_is_no_answer() {
    keep(|| async {
        for world in [standalone().await, cluster().await] {
            let cache = world.cache();
            for round in 0..10 {
                eventually("a write", || async { cache.put(&round, &round).await.is_ok() }).await;
                world.all(Proxy::halve_next_reply);
                let found = cache.get(&round).await.unwrap();
                assert!(found.is_none_or(|found| *found == round));
                world.all(Proxy::pass);
            }
            world.up().await;
            eventually("hits are back", || async { cache.get(&3).await.unwrap().is_some() }).await;
        }
    });
}

#[test]
fn a_write_whose_reply_was_lost_is_reported_and_never_sent_twice() {
    keep(|| async {
        for world in [standalone().await, cluster().await] {
            let cache = world.cache();
            // Every node knows the script.
            for key in 0..50 {
                cache.put(&key, &0).await.unwrap();
            }
            let mut lost = 0;
            for round in 0..30 {
                world.up().await;
                let before = world.stored();
                world.all(Proxy::cut_at_next_reply);
                match cache.put(&round, &1).await {
                    // The reply that was cut was that of a sign of life.
                    Ok(()) => {}
                    Err(error) => {
                        assert!(error.maybe_applied(), "{error}");
                        assert!(matches!(error.kind(), ErrorKind::Unavailable { .. }), "{error}");
                        lost += 1;
                    }
                }
                world.all(Proxy::pass);
                world.up().await;
                eventually("a hit", || async { cache.get(&round).await.unwrap().is_some() }).await;
                let (ran, found) = (world.stored() - before, cache.get(&round).await.unwrap());
                assert!(ran <= 1, "run {ran} times");
                assert_eq!(found.as_deref(), Some(&ran));
            }
            assert!(lost > 10, "{lost}: the proxy cuts nothing");
        }
    });
}

#[test]
fn a_read_and_an_invalidation_whose_reply_was_lost_are_made_again_at_once() {
    keep(|| async {
        let world = standalone().await;
        let cache = world.cache();
        let mut answered = 0;
        for round in 0..10 {
            cache.put(&round, &7).await.unwrap();
            // A connection that ends sooner is not replaced at once.
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            world.all(Proxy::cut_at_next_reply);
            answered += u32::from(cache.get(&round).await.unwrap().is_some());
            world.up().await;
            assert_eq!(cache.invalidate(&round).await.unwrap(), Invalidated::Done);
            world.all(Proxy::pass);
        }
        assert!(answered >= 8, "{answered} of 10");
    });
}

#[test]
fn a_replay_never_undoes_a_later_write() {
    keep(|| async {
        for world in [standalone().await, cluster().await] {
            let cache = world.cache();
            for round in 0..15 {
                world.up().await;
                cache.put(&round, &0).await.unwrap();
                // The reply of the first write is lost, and so is the connection.
                world.all(Proxy::cut_at_next_reply);
                let _ = cache.put(&round, &1).await;
                world.all(Proxy::refuse);
                // Depending on the round, the invalidation is sent or waits.
                if round % 3 == 0 {
                    world.all(Proxy::pass);
                    world.up().await;
                }
                let invalidated = cache.invalidate(&round).await.unwrap();
                assert!(round % 3 == 0 || invalidated == Invalidated::Queued);
                world.all(Proxy::pass);
                eventually("the last write", || async { cache.put(&round, &2).await.is_ok() })
                    .await;
                for _ in 0..20 {
                    let found = cache.get(&round).await.unwrap();
                    assert!(found.is_none_or(|found| *found == 2), "an older write came back");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    });
}

#[test]
fn a_write_takes_the_place_of_an_invalidation_that_waits() {
    keep(|| async {
        let world = standalone().await;
        let cache = world.cache();
        let breaker = world.sinew.breakers().remove(0);
        let mut kept = 0;
        for round in 0..10 {
            cache.put(&round, &1).await.unwrap();
            breaker.isolate();
            assert_eq!(cache.invalidate(&round).await.unwrap(), Invalidated::Queued);
            // Longer than a replay waits: isolation holds it back.
            tokio::time::sleep(Duration::from_millis(250)).await;
            assert_eq!(redis_cli(world.ports[0], &["EXISTS", &format!("_:number:{round}")]), "1");
            breaker.reset();
            cache.put(&round, &2).await.unwrap();
            tokio::time::sleep(Duration::from_millis(250)).await;
            kept += u32::from(cache.get(&round).await.unwrap().as_deref() == Some(&2));
        }
        // One that is being sent at the same moment may still remove it: a miss, never old.
        assert!(kept >= 6, "{kept} of 10");
    });
}

#[test]
fn writes_during_a_long_replay_stay() {
    const KEYS: u64 = 4_000;
    keep(|| async {
        let world = standalone_within(Duration::from_secs(20)).await;
        let cache = world.cache();
        let breaker = world.sinew.breakers().remove(0);
        breaker.isolate();
        for key in 0..KEYS {
            assert_eq!(cache.invalidate(&key).await.unwrap(), Invalidated::Queued);
        }
        // Twenty batches, each with the way there and back.
        world.all(|proxy| proxy.delay(Duration::from_millis(15)));
        breaker.reset();
        eventually("the replay has begun", || async { world.stored() > 0 }).await;
        let writes = (0..KEYS).map(|key| {
            let cache = &cache;
            async move { cache.put(&key, &key).await }
        });
        let written = futures_util::future::join_all(writes).await;
        world.all(Proxy::pass);
        // Until nothing waits: a key that waits is not read.
        let is_there = |key: u64| {
            let cache = cache.clone();
            async move { cache.get(&key).await.unwrap().is_some() }
        };
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (mut succeeded, mut kept) = (0, 0);
        for (key, written) in (0..KEYS).zip(written) {
            if written.is_ok() {
                succeeded += 1;
                kept += u64::from(is_there(key).await);
            }
        }
        println!("{succeeded} written during a replay of {KEYS}, {kept} kept");
        assert!(succeeded > KEYS / 2, "{succeeded}");
        // One batch may be under way at the moment of the write.
        assert!(kept + 600 >= succeeded, "{kept} of {succeeded} kept");
    });
}

#[test]
fn the_breaker_of_a_hung_redis_opens_and_closes_by_itself() {
    keep(|| async {
        let server: Server = blocking(start_redis).await;
        let url = format!("redis://127.0.0.1:{}", server.port);
        let sinew = Sinew::builder().deadline(Duration::from_millis(100));
        let sinew = sinew.connect(&url).await.unwrap();
        let cache: Cache<u64, u64> = sinew.cache("number").build().unwrap();
        cache.put(&1, &1).await.unwrap();
        let breaker = sinew.breakers().remove(0);
        assert_eq!(breaker.name(), format!("127.0.0.1:{}", server.port));
        signal(server.pid, "STOP");
        let mut states = breaker.watch();
        for _ in 0..3 {
            cache.get(&1).await.unwrap();
        }
        assert_eq!(*states.borrow_and_update(), BreakerState::Open);
        let error = cache.put(&1, &2).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable { maybe_applied: false }, "{error}");
        assert!(error.to_string().contains("circuit breaker"), "{error}");
        signal(server.pid, "CONT");
        let closed = states.wait_for(|state| *state == BreakerState::Closed);
        tokio::time::timeout(Duration::from_secs(20), closed).await.expect("it closes").unwrap();
        eventually("hits are back", || async { cache.get(&1).await.unwrap().is_some() }).await;

        breaker.isolate();
        assert_eq!(cache.get(&1).await.unwrap(), None);
        // No sign of life ends an isolation.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(breaker.state(), BreakerState::Isolated);
        breaker.reset();
        assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&1));
    });
}

#[test]
fn scripts_that_a_server_forgot_are_loaded_again_without_a_word() {
    keep(|| async {
        let world = standalone().await;
        let cache = world.cache();
        let port = world.ports[0];
        let flushing = blocking(move || {
            for _ in 0..20 {
                redis_cli(port, &["SCRIPT", "FLUSH"]);
            }
        });
        let writing = async {
            for round in 0..50u64 {
                let puts = (0..40).map(|key| {
                    let cache = &cache;
                    async move { cache.put(&key, &(round * 100 + key)).await.unwrap() }
                });
                futures_util::future::join_all(puts).await;
                for key in 0..40 {
                    assert_eq!(*cache.get(&key).await.unwrap().unwrap(), round * 100 + key);
                }
            }
        };
        futures_util::join!(flushing, writing);
    });
}

#[test]
fn a_process_that_only_reads_notices_a_demotion() {
    keep(|| async {
        let (old, new) = blocking(|| (start_redis(), start_redis())).await;
        let sinew = Sinew::connect(&format!("redis://127.0.0.1:{}", old.port)).await.unwrap();
        let cache: Cache<u64, u64> = sinew.cache("number").build().unwrap();
        cache.put(&1, &1).await.unwrap();
        redis_cli(old.port, &["REPLICAOF", "127.0.0.1", &new.port.to_string()]);
        let demoted = Instant::now();
        eventually("it is left", || async { matches!(sinew.status(), Status::Down(_)) }).await;
        assert!(demoted.elapsed() < Duration::from_secs(5), "{:?}", demoted.elapsed());
        assert_eq!(cache.get(&1).await.unwrap(), None);
        redis_cli(old.port, &["REPLICAOF", "NO", "ONE"]);
        eventually("it is back", || async { matches!(sinew.status(), Status::Up) }).await;
    });
}
