//! What locks promise that Redis alone can show.

use std::time::{Duration, Instant};

use sinew::{ErrorKind, Fence, Locks, Released, Sinew};

use super::{DAY, MINUTE, SECOND, got, line_is, locks};
use crate::laws::{eventually, keep};
use crate::outage::{blocking, connect, down, up};
use crate::world::{
    Cluster, Proxy, SHARED_REDIS, Server, Store, free_port, redis_cli, signal, start_redis,
    start_redis_on, wait_until,
};

/// A token of a process that is no more.
fn ghost(n: u64) -> String {
    format!("x.00000000deadbeef.{n:016x}")
}

/// Redis's own time, in milliseconds.
fn redis_ms() -> u64 {
    let time = redis_cli(SHARED_REDIS.port, &["TIME"]);
    let mut parts = time.lines().map(|part| part.parse::<u64>().unwrap());
    let (seconds, micros) = (parts.next().unwrap(), parts.next().unwrap());
    seconds * 1_000 + micros / 1_000
}

async fn process_that_holds(locks: &Locks, name: &str) -> String {
    let held = locks.look(name).await.unwrap().expect("it is held");
    held.holders[0].process.clone()
}

/// The names of those who are connected, in order.
fn clients(port: u16) -> Vec<String> {
    let list = redis_cli(port, &["CLIENT", "LIST"]);
    let names = list.split_whitespace().filter_map(|word| word.strip_prefix("name="));
    let mut names: Vec<String> = names.filter(|n| !n.is_empty()).map(str::to_owned).collect();
    names.sort_unstable();
    names
}

#[test]
fn the_process_that_holds_a_lock_is_found_among_the_clients_of_redis() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let locks = connect(&server).await.locks();
        let url = format!("redis://127.0.0.1:{}?name=billing", server.port);
        let others = Sinew::connect(&url).await.unwrap().locks();
        let mine = got(locks.lock("a")).await;
        let theirs = got(others.lock("b")).await;
        let me = format!("sinew:{}", process_that_holds(&locks, "a").await);
        let they = format!("billing:{}", process_that_holds(&locks, "b").await);
        assert_eq!(clients(server.port), [they.clone(), me.clone()]);
        // So is the connection on which it hears that its turn has come.
        let other = locks.clone();
        let waiter = tokio::spawn(async move { got(other.lock("b").wait(MINUTE)).await });
        let all = [they, me.clone(), me];
        eventually("it listens", || async { clients(server.port) == all }).await;
        theirs.release().await.unwrap();
        waiter.await.unwrap().release().await.unwrap();
        mine.release().await.unwrap();
    });
}

#[test]
fn a_dead_holder_is_succeeded_after_its_ttl_and_a_dead_waiter_passed_over() {
    keep(|| async {
        let store = Store::redis().await;
        let locks = locks(&store).await;
        let zadd = |key: &str, score: u64, token: &str| {
            let score = score.to_string();
            assert_eq!(redis_cli(SHARED_REDIS.port, &["ZADD", key, &score, token]), "1");
            redis_cli(SHARED_REDIS.port, &["PEXPIRE", key, "60000"]);
        };
        // What processes leave behind that die: one that held the lock, two that waited.
        let (keys, now) = (format!("{}acme:lock:{{a}}", store.prefix), redis_ms());
        zadd(&format!("{keys}:holders"), now + 500, &ghost(1));
        for n in [2, 3] {
            zadd(&format!("{keys}:line"), n, &ghost(n));
            zadd(&format!("{keys}:waiters"), now + 60_000, &ghost(n));
        }
        let guard = got(locks.lock("a").wait(MINUTE)).await;
        let took = redis_ms() - now;
        println!("granted {took} ms after the holder's last renewal, of 500");
        assert!(took >= 500, "{took}");
        assert_eq!(redis_cli(SHARED_REDIS.port, &["EXISTS", &format!("{keys}:line")]), "0");
        guard.release().await.unwrap();
    });
}

#[test]
fn fences_grow_over_a_flush_and_every_key_of_a_lock_has_a_ttl() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let locks = connect(&server).await.locks();
        let mut last = Fence::NONE;
        for _ in 0..10 {
            let guard = got(locks.lock("a").wait(MINUTE)).await;
            assert!(guard.fence() > last);
            last = guard.fence();
            let other = locks.clone();
            let waiter = tokio::spawn(async move { got(other.lock("a").wait(MINUTE)).await });
            line_is(&locks, "a", 1).await;
            let keys = redis_cli(server.port, &["KEYS", "*:lock:*"]);
            assert_eq!(keys.lines().count(), 4, "{keys}");
            for key in keys.lines() {
                let left: i64 = redis_cli(server.port, &["PTTL", key]).parse().unwrap();
                assert!(left > 0, "{key}: {left}");
            }
            redis_cli(server.port, &["FLUSHALL"]);
            let next = waiter.await.unwrap();
            assert!(next.fence() > last);
            last = next.fence();
            assert_eq!(guard.release().await.unwrap(), Released::Gone);
            next.release().await.unwrap();
        }
    });
}

#[test]
fn without_redis_a_lock_is_unavailable_and_not_held() {
    keep(|| async {
        let sinew = Sinew::connect_lazy(&format!("redis://127.0.0.1:{}", free_port())).unwrap();
        let locks = sinew.locks();
        down(&sinew).await;
        for lock in [locks.lock("a"), locks.lock("a").wait(MINUTE), locks.semaphore("a", 2)] {
            let error = lock.acquire().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable { maybe_applied: false }, "{error}");
        }
        assert!(locks.lock("a").run(|_| async {}).await.is_err());
        let leader = locks.elect("a").unwrap();
        assert_eq!(leader.fence(), None);
        leader.resign().await.unwrap();
    });
}

#[test]
fn a_waiter_waits_an_outage_out_and_a_holder_loses_its_lock_in_one() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let url = format!("redis://127.0.0.1:{}", server.port);
        let deadline = Duration::from_millis(100);
        let sinew = Sinew::builder().deadline(deadline).connect(&url).await.unwrap();
        let locks = sinew.locks();
        let guard = got(locks.lock("a").ttl(SECOND)).await;
        let other = locks.clone();
        let waiter = tokio::spawn(async move { got(other.lock("a").wait(MINUTE)).await });
        line_is(&locks, "a", 1).await;
        signal(server.pid, "STOP");
        guard.lost().await;
        assert!(guard.is_lost());
        assert!(locks.lock("a").acquire().await.unwrap_err().is_retryable());
        signal(server.pid, "CONT");
        let next = waiter.await.unwrap();
        assert!(next.fence() > guard.fence());
        up(&sinew).await;
        // Its own release, whenever it comes, takes nothing from its successor.
        drop(guard);
        tokio::time::sleep(SECOND / 2).await;
        assert!(!next.is_lost());
        eventually("it is held", || async { next.extend(MINUTE).await.is_ok_and(|held| held) })
            .await;
    });
}

#[test]
fn a_request_whose_reply_was_lost_is_granted_once_and_with_one_fence() {
    keep(|| async {
        let (server, proxy) = blocking(|| {
            let server: Server = start_redis();
            let proxy = Proxy::start(server.port);
            (server, proxy)
        })
        .await;
        let sinew = Sinew::builder().deadline(10 * SECOND);
        let sinew = sinew.connect(&format!("redis://127.0.0.1:{}", proxy.port)).await.unwrap();
        let locks = sinew.locks();
        got(locks.lock("warm")).await.release().await.unwrap();
        for round in 0..10 {
            // A connection that ends sooner is not replaced at once.
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            proxy.cut_at_next_reply();
            let name = format!("a{round}");
            let guard = got(locks.lock(&name)).await;
            up(&sinew).await;
            proxy.pass();
            let key = format!("_:lock:{{{name}}}");
            let fence = redis_cli(server.port, &["GET", &format!("{key}:fence")]);
            assert_eq!(fence, guard.fence().to_string());
            assert_eq!(redis_cli(server.port, &["ZCARD", &format!("{key}:holders")]), "1");
            assert!(guard.release().await.unwrap() != Released::Kept);
            assert_eq!(redis_cli(server.port, &["EXISTS", &format!("{key}:holders")]), "0");
        }
    });
}

#[test]
fn what_is_no_lock_under_its_keys_is_a_conflict_and_stays() {
    keep(|| async {
        let store = Store::redis().await;
        let locks = locks(&store).await;
        for part in ["holders", "line", "fence"] {
            let key = format!("{}acme:lock:{{{part}}}:{part}", store.prefix);
            redis_cli(SHARED_REDIS.port, &["RPUSH", &key, "garbage"]);
            let error = locks.lock(part).acquire().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict, "{part}: {error}");
            assert_eq!(redis_cli(SHARED_REDIS.port, &["LLEN", &key]), "1");
            let keys = format!("{}acme:lock:{{{part}}}:*", store.prefix);
            assert_eq!(redis_cli(SHARED_REDIS.port, &["KEYS", &keys]), key, "and nothing else");
        }
        let _held = got(locks.lock("a")).await;
        let nameless = format!("{}acme:lock:{{}}:holders", store.prefix);
        redis_cli(SHARED_REDIS.port, &["ZADD", &nameless, "1", "garbage"]);
        assert_eq!(locks.look("holders").await.unwrap_err().kind(), ErrorKind::Conflict);
        let listed = locks.list().await.unwrap();
        assert_eq!(listed.iter().map(|held| held.name.as_str()).collect::<Vec<_>>(), ["a"]);
    });
}

#[test]
fn a_lock_that_no_replica_has_is_given_back() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let locks = connect(&server).await.locks();
        let replicated = locks.lock("a").ttl(DAY).wait_replicas(1, Duration::from_millis(50));
        let error = replicated.acquire().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unavailable { .. }), "{error}");
        let guard = got(locks.lock("a").wait(MINUTE)).await;
        // The same for one that stood in line: it does not keep it until its wait is over.
        let replicated = locks.lock("a").ttl(DAY).wait_replicas(1, Duration::from_millis(50));
        let waiter = tokio::spawn(replicated.wait(DAY).acquire());
        line_is(&locks, "a", 1).await;
        guard.release().await.unwrap();
        let error = waiter.await.unwrap().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unavailable { .. }), "{error}");
        got(locks.lock("a").wait(MINUTE)).await.release().await.unwrap();
    });
}

#[test]
fn a_lock_that_replicas_have_is_granted_and_one_that_is_asked_for_no_more_is_free() {
    keep(|| async {
        let (server, _replica) = blocking(|| {
            let server = start_redis();
            let primary = server.port.to_string();
            let replica = start_redis_on(free_port(), &["--replicaof", "127.0.0.1", &primary]);
            wait_until("the replica follows", || {
                redis_cli(replica.port, &["INFO", "replication"]).contains("master_link_status:up")
            });
            (server, replica)
        })
        .await;
        let locks = connect(&server).await.locks();
        let replicated = |name| locks.lock(name).ttl(DAY).wait_replicas(1, 10 * SECOND);
        for lock in [replicated("a"), locks.semaphore("pool", 2).wait_replicas(1, 10 * SECOND)] {
            assert_eq!(got(lock).await.release().await.unwrap(), Released::Freed);
        }
        for polls in 0..12 {
            {
                let mut acquiring = std::pin::pin!(replicated("a").wait(MINUTE).acquire());
                for _ in 0..polls {
                    if futures_util::poll!(&mut acquiring).is_ready() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            }
            got(locks.lock("a").wait(MINUTE)).await.release().await.unwrap();
        }
        eventually("no one holds it", || async { locks.list().await.unwrap().is_empty() }).await;
    });
}

#[test]
fn without_the_channel_a_waiter_looks_by_itself_and_asks_for_it_less_and_less() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let user = ["ACL", "SETUSER", "deaf", "on", ">word", "~*", "+@all", "resetchannels"];
        assert_eq!(redis_cli(server.port, &user), "OK");
        let url = format!("redis://deaf:word@127.0.0.1:{}", server.port);
        let locks = Sinew::connect(&url).await.unwrap().locks();
        let began = Instant::now();
        let mut guard = got(locks.lock("a")).await;
        while began.elapsed() < 6 * SECOND {
            let other = locks.clone();
            let waiter = tokio::spawn(async move { got(other.lock("a").wait(MINUTE)).await });
            line_is(&locks, "a", 1).await;
            guard.release().await.unwrap();
            guard = waiter.await.unwrap();
        }
        let stats = redis_cli(server.port, &["INFO", "commandstats"]);
        let subscribe = stats.lines().find(|line| line.starts_with("cmdstat_subscribe:"));
        let refused = subscribe.and_then(|line| line.split("rejected_calls=").nth(1));
        let refused = refused.and_then(|rest| rest.split(',').next()).expect("it was refused");
        let attempts: u64 = refused.parse().unwrap();
        assert!(attempts > 0 && attempts < 2 * began.elapsed().as_secs(), "{attempts}");
    });
}

#[test]
fn a_permit_is_prolonged_while_its_slot_moves() {
    keep(|| async {
        let cluster = blocking(|| Cluster::start(0)).await;
        let locks = Sinew::connect(&cluster.url()).await.unwrap().locks();
        let permit = got(locks.semaphore("pool", 2).ttl(SECOND)).await;
        let lock = got(locks.lock("job").ttl(SECOND)).await;
        for name in ["pool", "job"] {
            let slot = cluster.slot_of(&format!("_:lock:{{{name}}}"));
            let from = cluster.master_of(slot);
            let (from, to) = (&cluster.nodes[from], &cluster.nodes[(from + 1) % 3]);
            let slot = slot.to_string();
            to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from.id()]);
            from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to.id()]);
        }
        // It goes on moving for longer than either lasts without a renewal.
        tokio::time::sleep(3 * SECOND).await;
        assert!(!permit.is_lost() && !lock.is_lost());
    });
}

#[test]
fn a_waiter_that_goes_away_leaves_in_one_step() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let locks = connect(&server).await.locks();
        let guard = got(locks.lock("a").ttl(DAY)).await;
        let other = locks.clone();
        let waiter = tokio::spawn(async move { got(other.lock("a").wait(MINUTE)).await });
        line_is(&locks, "a", 1).await;
        redis_cli(server.port, &["CONFIG", "RESETSTAT"]);
        waiter.abort();
        line_is(&locks, "a", 0).await;
        let stats = redis_cli(server.port, &["INFO", "commandstats"]);
        // Those of the script, from holders, line and waiters. With one before it, a process that ends
        // just after would leave its place to be passed over.
        assert!(stats.lines().any(|line| line.starts_with("cmdstat_zrem:calls=3,")), "{stats}");
        guard.release().await.unwrap();
    });
}

#[test]
fn an_uncontended_lock_is_two_commands() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let locks = connect(&server).await.locks();
        got(locks.lock("a")).await.release().await.unwrap();
        redis_cli(server.port, &["CONFIG", "RESETSTAT"]);
        for _ in 0..10 {
            got(locks.lock("a").wait(MINUTE)).await.release().await.unwrap();
        }
        let stats = redis_cli(server.port, &["INFO", "commandstats"]);
        // One script, and a removal that is no part of one: the scripts have none where nobody waits.
        for command in ["evalsha", "zrem"] {
            let counted = format!("cmdstat_{command}:calls=10,");
            assert!(stats.lines().any(|line| line.starts_with(&counted)), "{command}: {stats}");
        }
    });
}
