//! The level in the process: as good as asking, and while it cannot be, not there.

use std::convert::Infallible;
use std::time::Duration;

use sinew::{Cache, Local, PutOptions, Sinew, Source};

use crate::laws::{eventually, keep};
use crate::outage::{blocking, process_at};
use crate::world::{Cluster, Proxy, Server, free_port, redis_cli, start_redis, start_redis_on};

const MIB: usize = 1 << 20;
const HOUR: Duration = Duration::from_secs(3_600);

fn numbers(tenant: &Sinew) -> Cache<str, u64> {
    let builder = tenant.cache("number").ttl(HOUR).stale_if_error(HOUR).tagged();
    builder.local(Local::bytes(MIB)).build().expect("a cache")
}

async fn load(cache: &Cache<str, u64>, key: &str, value: u64) -> (u64, Source) {
    let loaded = cache
        .get_or_load_with(key, move |loading| async move {
            loading.tag("all");
            Ok::<_, Infallible>(value)
        })
        .await
        .expect("a value");
    (*loaded.value, loaded.source)
}

/// Looks it up until it comes from this process.
async fn brought_here(cache: &Cache<str, u64>, key: &str, value: u64) {
    eventually("the entry is kept here", || async {
        load(cache, key, value).await == (value, Source::Local)
    })
    .await;
}

laws! {
    async fn a_change_of_any_kind_elsewhere_shows_in_another_process(store: Store) {
        let (here, elsewhere) =
            (numbers(&store.tenant("acme").await), numbers(&store.tenant("acme").await));
        for (change, key) in ["a", "b", "c", "d", "e", "f", "g"].into_iter().enumerate() {
            brought_here(&here, key, 1).await;
            match change {
                0 => elsewhere.put(key, &2).await.unwrap(),
                1 => assert!(elsewhere.put_versioned(key, &2, 2).await.unwrap()),
                2 => { elsewhere.invalidate(key).await.unwrap(); }
                3 => { elsewhere.expire(key).await.unwrap(); }
                4 => { elsewhere.invalidate_tag("all").await.unwrap(); }
                5 => { elsewhere.clear().await.unwrap(); }
                _ => { elsewhere.invalidate_matching(key).await.unwrap(); }
            }
            eventually("the change shows", || async { load(&here, key, 2).await.0 == 2 }).await;
        }
    }

    async fn what_a_process_changes_itself_shows_at_once(store: Store) {
        let here = numbers(&store.tenant("acme").await);
        for n in (2..200).step_by(4) {
            brought_here(&here, "a", n).await;
            here.put_with("a", &(n + 1), PutOptions::new().tag("all")).await.unwrap();
            assert_eq!(load(&here, "a", 0).await.0, n + 1);
            here.invalidate("a").await.unwrap();
            assert_eq!(load(&here, "a", n + 2).await.0, n + 2);
            brought_here(&here, "a", n + 2).await;
            here.invalidate_tag("all").await.unwrap();
            assert_eq!(load(&here, "a", n + 3).await.0, n + 3);
            here.clear().await.unwrap();
        }
    }

    async fn tenants_never_meet_in_the_process_either(store: Store) {
        let process = store.process().await;
        let (acme, other) = (process.tenant("acme").unwrap(), process.tenant("other").unwrap());
        brought_here(&numbers(&acme), "a", 1).await;
        assert_eq!(numbers(&other).get("a").await.unwrap(), None);
        numbers(&other).clear().await.unwrap();
        assert_eq!(load(&numbers(&acme), "a", 9).await.0, 1);
    }
}

async fn redis() -> Server {
    blocking(start_redis).await
}

fn gets(port: u16) -> u64 {
    let stats = redis_cli(port, &["INFO", "commandstats"]);
    let line = stats.lines().find(|line| line.starts_with("cmdstat_get:")).unwrap_or_default();
    let calls = line.split("calls=").nth(1).and_then(|rest| rest.split(',').next());
    calls.and_then(|calls| calls.parse().ok()).unwrap_or(0)
}

#[test]
fn a_local_hit_asks_nothing() {
    keep(|| async {
        let server = redis().await;
        let cache = numbers(&process_at(server.port).await);
        brought_here(&cache, "a", 1).await;
        let before = gets(server.port);
        for _ in 0..1_000 {
            assert_eq!(cache.get("a").await.unwrap().as_deref(), Some(&1));
        }
        assert_eq!(gets(server.port), before);
        assert!(cache.stats().hits_local >= 1_000);
    });
}

#[test]
fn what_went_untold_is_never_served() {
    keep(|| async {
        let server = redis().await;
        let proxy = Proxy::start(server.port);
        let here = numbers(&process_at(proxy.port).await);
        let elsewhere = numbers(&process_at(server.port).await);
        for n in 1..=4 {
            brought_here(&here, "a", n * 10).await;
            match n {
                // The end of the connection is noticed at once,
                1 => proxy.refuse(),
                // in seconds,
                2 => proxy.half_open(),
                // by the process that asks,
                3 => proxy.black_hole(),
                // and by the server only.
                _ => {
                    redis_cli(server.port, &["CLIENT", "KILL", "TYPE", "normal"]);
                }
            }
            elsewhere.invalidate("a").await.unwrap();
            let value = n * 10 + 1;
            eventually("it is not served from here any more", || async {
                load(&here, "a", value).await.0 == value
            })
            .await;
            proxy.pass();
            // Once the connection is back, what was kept before does not come back with it.
            for _ in 0..100 {
                assert_eq!(load(&here, "a", value).await.0, value);
            }
            brought_here(&here, "a", value).await;
            here.invalidate("a").await.unwrap();
        }
    });
}

#[test]
fn a_flushed_store_takes_with_it_what_is_kept_here() {
    keep(|| async {
        let server = redis().await;
        let cache = numbers(&process_at(server.port).await);
        brought_here(&cache, "a", 1).await;
        redis_cli(server.port, &["FLUSHALL"]);
        eventually("it is gone", || async { cache.get("a").await.unwrap().is_none() }).await;
    });
}

#[test]
fn an_entry_that_expires_in_the_store_expires_here() {
    keep(|| async {
        let server = redis().await;
        let cache = numbers(&process_at(server.port).await);
        brought_here(&cache, "a", 1).await;
        redis_cli(server.port, &["PEXPIRE", "_:number:a", "20"]);
        eventually("it is gone", || async { cache.get("a").await.unwrap().is_none() }).await;
    });
}

#[test]
fn where_no_one_tells_of_changes_nothing_is_kept_but_what_may_be_incoherent() {
    keep(|| async {
        let server = redis().await;
        let rules = "on nopass ~* +@all -client|tracking";
        let words = ["ACL", "SETUSER", "untold"].into_iter().chain(rules.split(' '));
        redis_cli(server.port, &words.collect::<Vec<_>>());
        let url = format!("redis://untold:any@127.0.0.1:{}", server.port);
        let sinew = Sinew::builder().deadline(Duration::from_secs(10)).connect(&url).await.unwrap();
        let cache = numbers(&sinew);
        load(&cache, "a", 1).await;
        for _ in 0..200 {
            assert_eq!(load(&cache, "a", 9).await, (1, Source::Redis));
        }
        let minute = Local::bytes(MIB).incoherent(Duration::from_secs(60));
        let incoherent: Cache<str, u64> = sinew.cache("other").local(minute).build().unwrap();
        incoherent.put("a", &1).await.unwrap();
        let found = || async {
            let load = || async { Ok::<_, Infallible>(9) };
            let found = incoherent.get_or_load_traced("a", load).await.unwrap();
            (*found.value, found.source)
        };
        eventually("it is kept here", || async { found().await == (1, Source::Local) }).await;
        // Its own changes it knows.
        incoherent.put("a", &2).await.unwrap();
        assert_eq!(found().await.0, 2);
        incoherent.invalidate_matching("*").await.unwrap();
        assert_eq!(found().await.0, 9);
    });
}

#[test]
fn a_full_level_lets_go_and_keeps_within_its_bytes() {
    keep(|| async {
        let server = redis().await;
        let sinew = process_at(server.port).await;
        let texts: Cache<u64, String> =
            sinew.cache("text").local(Local::bytes(MIB)).build().unwrap();
        let text = "x".repeat(10_000);
        for key in 0..500 {
            texts.put(&key, &text).await.unwrap();
        }
        for key in 0..500 {
            assert_eq!(texts.get(&key).await.unwrap().as_deref(), Some(&text));
        }
        // A hundred of them weigh a mebibyte.
        let before = texts.stats().hits_local;
        // Those that came last are still here, or those that stayed.
        for key in (0..500).rev() {
            texts.get(&key).await.unwrap();
        }
        let kept = texts.stats().hits_local - before;
        assert!((1..=110).contains(&kept), "{kept} of 500 came from here");
    });
}

#[test]
fn invalidations_that_a_failover_lost_are_made_again() {
    keep(|| async {
        let mut old = redis().await;
        let port = old.port;
        let proxy = Proxy::start(port);
        let sinew = process_at(proxy.port).await;
        let cache: Cache<str, u64> = sinew.cache("number").ttl(HOUR).build().unwrap();
        cache.put("kept", &1).await.unwrap();
        cache.put("a", &1).await.unwrap();
        let bytes = redis_cli(port, &["--no-raw", "DUMP", "_:number:a"]);
        assert!(bytes.len() > 20, "{bytes}");
        // A replica that hears of the entry, and not of its invalidation.
        let replica = blocking(|| start_redis_on(free_port(), &[])).await;
        redis_cli(replica.port, &["REPLICAOF", "127.0.0.1", &port.to_string()]);
        eventually("the replica has it", || async {
            redis_cli(replica.port, &["EXISTS", "_:number:a"]) == "1"
        })
        .await;
        redis_cli(replica.port, &["REPLICAOF", "NO", "ONE"]);
        cache.invalidate("a").await.unwrap();
        assert_eq!(redis_cli(replica.port, &["EXISTS", "_:number:a"]), "1");
        proxy.lead_to(replica.port);
        old.kill();
        eventually("it is removed there too", || async {
            redis_cli(replica.port, &["EXISTS", "_:number:a"]) == "0"
        })
        .await;
        eventually("and only it", || async {
            cache.get("kept").await.unwrap().as_deref() == Some(&1)
        })
        .await;
        assert_eq!(cache.get("a").await.unwrap(), None);
    });
}

#[test]
fn a_slot_that_changes_hands_takes_its_entries_with_it() {
    keep(|| async {
        let cluster = blocking(|| Cluster::start(0)).await;
        let builder = || Sinew::builder().deadline(Duration::from_secs(10));
        let here = builder().connect(&cluster.url()).await.unwrap();
        let cache: Cache<u64, u64> =
            here.cache("number").ttl(HOUR).local(Local::bytes(MIB)).build().unwrap();
        let elsewhere: Cache<u64, u64> = builder()
            .connect(&cluster.url())
            .await
            .unwrap()
            .cache("number")
            .ttl(HOUR)
            .build()
            .unwrap();
        // Every node has some of these.
        for key in 0..64 {
            elsewhere.put(&key, &1).await.unwrap();
            eventually("it is kept here", || async {
                let before = cache.stats().hits_local;
                cache.get(&key).await.unwrap();
                cache.stats().hits_local > before
            })
            .await;
        }
        let cluster = blocking(move || {
            let slot = cluster.slot_of("_:number:7");
            let from = cluster.master_of(slot);
            let to = (0..cluster.nodes.len()).find(|to| *to != from).expect("another");
            cluster.migrate_slot(slot, from, to, Duration::ZERO);
            cluster
        })
        .await;
        elsewhere.put(&7, &2).await.unwrap();
        eventually("the change at the new owner shows", || async {
            cache.get(&7).await.unwrap().as_deref() == Some(&2)
        })
        .await;
        drop(cluster);
    });
}
