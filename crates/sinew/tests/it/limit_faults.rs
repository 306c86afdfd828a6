//! Rate limits where something goes wrong: replies are lost, callers go away, Redis is full or no primary,
//! slots move, and two definitions of one limit are in use.

use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use sinew::limit::{Acquired, DAY, Decision, Down, Limit, Limiter, MINUTE, Per, Reserve};
use sinew::{BreakerState, Sinew, Status};

use crate::laws::{eventually, keep};
use crate::limits::{granted, of_each, remaining, scripts, year};
use crate::outage::{blocking, connect, process_at};
use crate::world::{Cluster, Proxy, Server, Store, redis_cli, start_redis};

const PROCESSES: &str = "_:rate-limit:processes";

async fn is_allowed(limiter: &Limiter, limit: &Limit, cost: u64) -> bool {
    limiter.check([limit.of("ada").cost(cost)]).await.unwrap().is_allowed()
}

/// What is charged of a limit, once Redis says so.
async fn charged(limiter: &Limiter, limit: &Limit) -> u64 {
    loop {
        if let Ok(decision) = limiter.peek([limit.of("ada")]).await {
            return limit.quota().limit() - decision.limits()[0].remaining;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

laws! {
    async fn definitions_that_are_used_in_turn_admit_no_more_than_the_larger(store: Store) {
        let (one, other) =
            (store.tenant("acme").await.limiter(), store.tenant("acme").await.limiter());
        for (old, new) in of_each(50).into_iter().zip(of_each(100)) {
            let asks = (0..400).map(|nth| {
                let (limiter, limit) = if nth % 3 == 0 { (&one, &old) } else { (&other, &new) };
                is_allowed(limiter, limit, 1)
            });
            let admitted = join_all(asks).await.into_iter().filter(|allowed| *allowed).count();
            assert_eq!(admitted, 100, "{new:?}");
            assert_eq!(remaining(&one, &old, "ada").await, 0);
            assert_eq!(remaining(&other, &new, "ada").await, 0);
        }
    }

    async fn what_an_old_definition_gives_back_is_no_more_than_it_took(store: Store) {
        let limiter = store.tenant("acme").await.limiter();
        for (old, new) in of_each(10).into_iter().zip(of_each(100)) {
            let reservation = granted(&limiter, &old, 5).await;
            assert!(is_allowed(&limiter, &new, 95).await);
            reservation.settle(3).await.unwrap();
            let left = remaining(&limiter, &new, "ada").await;
            assert!(left <= 2, "{new:?}: {left}");
        }
    }

    async fn what_was_reserved_by_another_algorithm_forgets_nothing(store: Store) {
        let limiter = store.tenant("acme").await.limiter();
        let old = Limit::gcra("calls", 10.per(DAY));
        let new = Limit::fixed_window("calls", 100.per(year()));
        let reservation = granted(&limiter, &old, 5).await;
        assert!(is_allowed(&limiter, &new, 100).await);
        reservation.settle(2).await.unwrap();
        assert_eq!(remaining(&limiter, &new, "ada").await, 0);
    }

    async fn a_reset_also_ends_what_was_leased_under_another_spelling(store: Store) {
        let limiter = store.tenant("acme").await.limiter();
        let limit = Limit::gcra("calls", 100.per(DAY)).lease(20);
        assert!(limiter.check([limit.of(7)]).await.unwrap().is_allowed());
        limiter.reset(limit.of("7")).await.unwrap();
        assert!(limiter.check([limit.of(7)]).await.unwrap().is_allowed());
        assert!(remaining(&limiter, &limit, "7").await < 100, "it is charged anew");
    }

    async fn a_reset_says_whether_anything_was_charged(store: Store) {
        let limiter = store.tenant("acme").await.limiter();
        let leased = Limit::gcra("leased", 100.per(DAY)).lease(20);
        for limit in of_each(100).into_iter().chain([leased]) {
            assert!(!limiter.reset(limit.of("ada")).await.unwrap(), "{limit:?}: never charged");
            assert!(is_allowed(&limiter, &limit, 1).await);
            assert!(!limiter.reset(limit.of("bob")).await.unwrap(), "{limit:?}: someone else's");
            assert!(limiter.reset(limit.of("ada")).await.unwrap(), "{limit:?}");
            assert!(!limiter.reset(limit.of("ada")).await.unwrap(), "{limit:?}: reset already");
        }
    }

    async fn a_concurrency_limit_and_a_rate_limit_of_one_name_never_meet(store: Store) {
        let limiter = store.tenant("acme").await.limiter();
        let (places, rate) = (Limit::concurrency("exports", 1), Limit::gcra("exports", 2.per(DAY)));
        for left in [1, 0] {
            let place = limiter.acquire(places.of("ada")).await.unwrap();
            assert!(matches!(place, Acquired::Held(_)));
            assert!(is_allowed(&limiter, &rate, 1).await);
            let full = limiter.acquire(places.of("ada")).await.unwrap();
            assert!(matches!(full, Acquired::Full { .. }));
            assert_eq!(remaining(&limiter, &rate, "ada").await, left);
            let Acquired::Held(place) = place else { return };
            place.release().await.unwrap();
        }
    }
}

struct Behind {
    proxy: Proxy,
    sinew: Sinew,
    _server: Server,
}

async fn behind_a_proxy() -> Behind {
    let (server, proxy) = blocking(|| {
        let server = start_redis();
        let proxy = Proxy::start(server.port);
        (server, proxy)
    })
    .await;
    let sinew = Sinew::connect(&format!("redis://127.0.0.1:{}", proxy.port)).await.unwrap();
    Behind { proxy, sinew, _server: server }
}

impl Behind {
    async fn up(&self) {
        eventually("up", || async { matches!(self.sinew.status(), Status::Up) }).await;
    }
}

#[test]
fn a_check_whose_reply_was_lost_is_charged_once_at_most() {
    keep(|| async {
        let world = behind_a_proxy().await;
        let limiter = world.sinew.limiter();
        let (mut lost, mut ran) = (0, 0);
        for round in 0..25 {
            let leased = if round % 2 == 0 { 0 } else { 10 };
            let limit = Limit::gcra(format!("calls-{round}"), 1_000.per(DAY));
            let limit = limit.lease(leased).on_down(Down::Open);
            world.up().await;
            // The script is known, and so is the limit.
            let _ = limiter.check([limit.of("bob")]).await.unwrap();
            world.proxy.cut_at_next_reply();
            let decision = limiter.check([limit.of("ada")]).await.unwrap();
            world.proxy.pass();
            let charged = charged(&limiter, &limit).await;
            if decision.is_degraded() {
                assert!(charged == 0 || charged == 1 + leased, "{charged} of {limit:?}");
                lost += 1;
                ran += u32::from(charged > 0);
            } else {
                assert_eq!(charged, 1 + leased, "{limit:?}");
            }
        }
        assert!(lost > 8 && ran > 4, "{lost} lost, {ran} of them charged: the proxy cuts nothing");
    });
}

#[test]
fn what_is_settled_is_settled_once_at_most_where_the_reply_was_lost() {
    keep(|| async {
        let world = behind_a_proxy().await;
        let limiter = world.sinew.limiter();
        let (mut lost, mut ran) = (0, 0);
        // The script is known.
        let first = Limit::gcra("first", 1_000.per(DAY));
        granted(&limiter, &first, 10).await.settle(4).await.unwrap();
        for round in 0..25 {
            let limit = Limit::gcra(format!("calls-{round}"), 1_000.per(DAY)).on_down(Down::Closed);
            world.up().await;
            let Reserve::Granted(reservation) =
                limiter.reserve(limit.of("ada").cost(10)).await.unwrap()
            else {
                // A sign of life was lost with the connection.
                continue;
            };
            let Reserve::Granted(_stays) = limiter.reserve(limit.of("ada").cost(10)).await.unwrap()
            else {
                continue;
            };
            let actual = if round % 2 == 0 { 4 } else { 16 };
            world.proxy.cut_at_next_reply();
            let settled = reservation.settle(actual).await;
            world.proxy.pass();
            let charged = charged(&limiter, &limit).await;
            match settled {
                Ok(()) => assert_eq!(charged, 10 + actual),
                Err(error) => {
                    let most = if error.maybe_applied() { 10 + actual } else { 20 };
                    assert!(
                        error.is_retryable() && (charged == 20 || charged == most),
                        "{charged}"
                    );
                    lost += 1;
                    ran += u32::from(charged != 20);
                }
            }
        }
        assert!(lost > 8 && ran > 4, "{lost} lost, {ran} of them settled: the proxy cuts nothing");
    });
}

#[test]
fn who_is_denied_by_several_limits_is_told_the_longest_wait_each_time() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let limiter = process_at(server.port).await.limiter();
        let limits = [Limit::gcra("minute", 1.per(MINUTE)), Limit::gcra("day", 1.per(DAY))];
        let checks = || limits.each_ref().map(|limit| limit.of("ada"));
        assert!(limiter.check(checks()).await.unwrap().is_allowed());
        for _ in 0..3 {
            let denied = limiter.check(checks()).await.unwrap();
            assert!(denied.retry_after().is_some_and(|wait| wait > DAY / 2), "{denied:?}");
        }
    });
}

#[test]
fn a_leased_check_asks_once_for_many() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let limiter = process_at(server.port).await.limiter();
        let limit = Limit::gcra("calls", 1_000.per(DAY)).lease(100);
        let before = scripts(&server);
        for _ in 0..101 {
            assert!(is_allowed(&limiter, &limit, 1).await);
        }
        assert_eq!(scripts(&server) - before, 1);
        assert_eq!(charged(&limiter, &limit).await, 101);
        for _ in 0..101 {
            assert!(is_allowed(&limiter, &limit, 1).await);
        }
        assert_eq!(scripts(&server) - before, 3, "with the look at it");
        // What this one has in stock, no other has.
        let other = process_at(server.port).await.limiter();
        assert!(!is_allowed(&other, &limit, 900).await);
        assert!(is_allowed(&other, &limit, 798).await);
    });
}

#[test]
fn a_leased_check_that_is_dropped_leaves_in_stock_what_it_took() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let limiter = process_at(server.port).await.limiter();
        let limit = Limit::gcra("calls", 1_000.per(DAY)).lease(100);
        for _ in 0..5 {
            // Polled once.
            let asked = limiter.check([limit.of("ada").cost(40)]);
            let dropped = tokio::time::timeout(Duration::ZERO, asked).await;
            assert!(dropped.is_err() || dropped.is_ok_and(|decision| decision.is_ok()));
            eventually("what was taken is in stock", || async {
                let before = scripts(&server);
                assert!(is_allowed(&limiter, &limit, 1).await);
                scripts(&server) == before
            })
            .await;
        }
        // Twice the stock was filled, and hardly anything else was asked for. What a dropped one had
        // taken, the next one would have had to take again.
        let charged = charged(&limiter, &limit).await;
        assert!((140..400).contains(&charged), "{charged}");
    });
}

#[test]
fn a_reset_that_is_dropped_ends_what_was_leased() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let limiter = process_at(server.port).await.limiter();
        let limit = Limit::gcra("calls", 100_000.per(year())).lease(1_000);
        assert!(is_allowed(&limiter, &limit, 1).await);
        assert_eq!(charged(&limiter, &limit).await, 1_001);
        // Polled once.
        let _ = tokio::time::timeout(Duration::ZERO, limiter.reset(limit.of("ada"))).await;
        eventually("it is reset", || async { charged(&limiter, &limit).await == 0 }).await;
        let mut passed = 0;
        while charged(&limiter, &limit).await == 0 {
            assert!(is_allowed(&limiter, &limit, 1).await);
            passed += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(passed < 500, "{passed} passed that are charged nowhere");
    });
}

#[test]
fn a_reset_says_also_what_was_charged_while_redis_was_away() {
    keep(|| async {
        let world = behind_a_proxy().await;
        let limiter = world.sinew.limiter();
        let limit = Limit::gcra("calls", 100.per(DAY)).on_down(Down::Local);
        world.proxy.refuse();
        eventually("it is away", || async { limiter.peek([limit.of("ada")]).await.is_err() }).await;
        assert!(limiter.check([limit.of("ada")]).await.unwrap().is_degraded());
        world.proxy.pass();
        world.up().await;
        assert_eq!(charged(&limiter, &limit).await, 0, "Redis has heard of none");
        assert!(limiter.reset(limit.of("ada")).await.unwrap());
        assert!(!limiter.reset(limit.of("ada")).await.unwrap());
    });
}

#[test]
fn a_check_of_several_slots_that_is_dropped_gives_back_what_it_charged() {
    keep(|| async {
        let store = Store::cluster().await;
        let (limiter, other) =
            (store.tenant("acme").await.limiter(), store.tenant("acme").await.limiter());
        let (user, address) =
            (Limit::gcra("user", 100.per(DAY)), Limit::gcra("address", 1.per(DAY)));
        for round in 0..20 {
            assert!(other.check([address.of(round)]).await.unwrap().is_allowed());
            let checks = [user.of("ada"), address.of(round)];
            let _ = tokio::time::timeout(Duration::ZERO, limiter.check(checks)).await;
        }
        // All that was sent came before this, to the same server.
        eventually("what it charged is given back", || async {
            remaining(&limiter, &user, "ada").await == 100
        })
        .await;
        let decision = limiter.check([user.of("ada"), address.of(7)]).await.unwrap();
        assert!(!decision.is_allowed());
    });
}

#[test]
fn a_check_of_many_slots_asks_no_more_once_the_time_of_one_call_is_over() {
    keep(|| async {
        let cluster = blocking(|| Cluster::start_behind_proxies(0)).await;
        let sinew = Sinew::builder().deadline(Duration::from_secs(1));
        let limiter = sinew.connect(&cluster.url()).await.unwrap().limiter();
        let limit = Limit::gcra("calls", 1_000.per(DAY));
        let checks: Vec<_> = (0..12).map(|subject| limit.of(subject)).collect();
        eventually("all nodes answer", || async {
            !limiter.check(&checks).await.unwrap().is_degraded()
        })
        .await;
        let asked = || cluster.nodes.iter().map(|node| scripts(&node.server)).sum::<u64>();
        let before = asked();
        for node in &cluster.nodes {
            node.proxy.as_ref().expect("a proxy").lose_replies();
        }
        let decision = limiter.check(&checks).await.unwrap();
        assert!(decision.is_allowed() && decision.is_degraded(), "{decision:?}");
        assert_eq!(asked() - before, 1, "one group is asked, and keeps the others waiting");
    });
}

#[test]
fn a_node_that_hangs_is_held_back_also_where_it_is_never_asked_first() {
    keep(|| async {
        let cluster = blocking(|| Cluster::start_behind_proxies(0)).await;
        let sinew = Sinew::builder().deadline(Duration::from_millis(200));
        let sinew = sinew.connect(&cluster.url()).await.unwrap();
        let limiter = sinew.limiter();
        let limit = Limit::gcra("calls", 1_000.per(DAY));
        let node_of = |subject: u64| {
            cluster.master_of(cluster.slot_of(&format!("_:rate-limit:calls:{subject}")))
        };
        let first = node_of(0);
        let (subject, second) = (1..)
            .map(|subject| (subject, node_of(subject)))
            .find(|(_, node)| *node != first)
            .unwrap();
        let checks = [limit.of(0_u64), limit.of(subject)];
        eventually("both nodes answer", || async {
            !limiter.check(&checks).await.unwrap().is_degraded()
        })
        .await;
        cluster.nodes[second].proxy.as_ref().expect("a proxy").lose_replies();
        // Three in a row open a breaker; on a machine that stalls, the first node may keep the time of
        // one. A connection that is silent is given up after two seconds, which the breaker counts too.
        for _ in 0..5 {
            assert!(limiter.check(&checks).await.unwrap().is_degraded());
        }
        let is_open = || sinew.breakers().iter().any(|one| one.state() == BreakerState::Open);
        let opens = async {
            while !is_open() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let opens = tokio::time::timeout(Duration::from_millis(800), opens).await;
        assert!(opens.is_ok(), "every check would wait for it");
    });
}

#[test]
fn a_full_redis_charges_what_it_admits_and_nothing_else() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let limiter = process_at(server.port).await.limiter();
        let limits = of_each(100).map(|limit| limit.on_down(Down::Open));
        for limit in &limits {
            assert!(is_allowed(&limiter, limit, 40).await);
        }
        let port = server.port;
        let set =
            |bytes: &str| assert_eq!(redis_cli(port, &["CONFIG", "SET", "maxmemory", bytes]), "OK");
        set("1");
        let mut by_redis = Vec::new();
        for limit in &limits {
            let decision = limiter.check([limit.of("ada").cost(10)]).await.unwrap();
            assert!(decision.is_allowed());
            by_redis.push(!decision.is_degraded());
        }
        assert!(by_redis.contains(&false), "it is full");
        let all = limiter.check(limits.each_ref().map(|limit| limit.of("ada"))).await.unwrap();
        // Who is over a limit is denied as ever.
        assert!(!is_allowed(&limiter, &limits[0], 61).await);
        set("0");
        for (limit, by_redis) in limits.iter().zip(by_redis) {
            let alone = if by_redis { 10 } else { 0 };
            let together = u64::from(!all.is_degraded());
            assert_eq!(charged(&limiter, limit).await, 40 + alone + together, "{limit:?}");
        }
    });
}

#[test]
fn a_place_that_is_held_is_renewed_by_a_full_redis() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let limiter = process_at(server.port).await.limiter();
        // A machine that stalls loses a place that has a short lease.
        for lease in [1, 3, 9].map(Duration::from_secs) {
            let subject = lease.as_secs();
            let places = Limit::concurrency("places", 1).lease(lease).on_down(Down::Closed);
            let Acquired::Held(held) = limiter.acquire(places.of(subject)).await.unwrap() else {
                panic!("the first one is let in");
            };
            redis_cli(server.port, &["CONFIG", "SET", "maxmemory", "1"]);
            tokio::time::sleep(lease * 2).await;
            let is_held = held.is_held();
            redis_cli(server.port, &["CONFIG", "SET", "maxmemory", "0"]);
            if is_held {
                let other = limiter.acquire(places.of(subject)).await.unwrap();
                assert!(matches!(other, Acquired::Full { is_degraded: false, .. }), "{other:?}");
                return;
            }
        }
        panic!("no place was renewed");
    });
}

#[test]
fn a_renewal_that_is_refused_is_no_word_that_the_place_is_lost() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let user = ["limited", "on", ">secret", "~*", "&*", "+@all", "-zscore"];
        assert_eq!(redis_cli(server.port, &[&["ACL", "SETUSER"][..], &user].concat()), "OK");
        let url = format!("redis://limited:secret@127.0.0.1:{}", server.port);
        let sinew = Sinew::builder().deadline(Duration::from_secs(10)).connect(&url).await.unwrap();
        let limiter = sinew.limiter();
        // It is renewed after a third of the lease. A machine that stalls may look too late.
        for lease in [3, 9, 18].map(Duration::from_secs) {
            let places = Limit::concurrency("places", 1).lease(lease).on_down(Down::Closed);
            let began = Instant::now();
            let place = limiter.acquire(places.of(lease.as_secs())).await.unwrap();
            let Acquired::Held(held) = place else { panic!("the first one is let in") };
            tokio::time::sleep(lease * 2 / 3).await;
            let is_held = held.is_held();
            if began.elapsed() < lease {
                assert!(is_held, "it is there for as long as its lease lasts");
                return;
            }
        }
        panic!("the machine stalls for seconds");
    });
}

#[test]
fn a_primary_that_was_demoted_degrades_as_the_limit_says() {
    keep(|| async {
        let (old, new) = blocking(|| (start_redis(), start_redis())).await;
        let sinew = connect(&old).await;
        let limiter = sinew.limiter();
        let limit = Limit::gcra("calls", 1_000_000.per(DAY)).on_down(Down::Closed);
        assert!(is_allowed(&limiter, &limit, 1).await);
        redis_cli(old.port, &["REPLICAOF", "127.0.0.1", &new.port.to_string()]);
        for _ in 0..20 {
            let decision: Decision = limiter.check([limit.of("ada")]).await.unwrap();
            assert_eq!((decision.is_allowed(), decision.is_degraded()), (false, true));
        }
        redis_cli(old.port, &["REPLICAOF", "NO", "ONE"]);
        eventually("it is a primary again", || is_allowed(&limiter, &limit, 1)).await;
    });
}

#[test]
fn nothing_is_forgotten_where_a_slot_is_on_the_move() {
    keep(|| async {
        let cluster = blocking(|| Cluster::start(0)).await;
        let builder = Sinew::builder().deadline(Duration::from_secs(10));
        let limiter = builder.connect(&cluster.url()).await.unwrap().limiter();
        let log = Limit::sliding_log("log", 10.per(DAY)).on_down(Down::Closed);
        let places = Limit::concurrency("places", 1).on_down(Down::Closed);
        let (log_key, places_key) = ("_:rate-limit:log:ada", "_:rate-limit-places:places:ada");
        let reservation = granted(&limiter, &log, 1).await;
        assert!(is_allowed(&limiter, &log, 9).await);
        for key in [log_key, places_key] {
            let slot = cluster.slot_of(key);
            let from = cluster.master_of(slot);
            let (from, to) = (&cluster.nodes[from], &cluster.nodes[(from + 1) % 3]);
            if key == places_key {
                // Of one that ended long ago.
                assert_eq!(from.cli(&["ZADD", key, "1", "0123456789abcdef"]), "1");
            }
            let slot = slot.to_string();
            to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from.id()]);
            from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to.id()]);
        }
        reservation.settle(0).await.unwrap();
        assert_eq!(remaining(&limiter, &log, "ada").await, 1);
        assert!(is_allowed(&limiter, &log, 1).await);
        assert!(!is_allowed(&limiter, &log, 1).await);
        let place = limiter.acquire(places.of("ada")).await.unwrap();
        assert!(matches!(&place, Acquired::Held(held) if !held.is_degraded()), "{place:?}");
    });
}

#[test]
fn requests_that_are_sent_together_wait_for_no_runtime_that_stands_still() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let limiter = process_at(server.port).await.limiter();
        let limit = Limit::gcra("calls", 10.per(DAY)).on_down(Down::Closed);
        assert!(is_allowed(&limiter, &limit, 1).await);
        // As if Redis were slow.
        let began = Instant::now();
        assert_eq!(redis_cli(server.port, &["CLIENT", "PAUSE", "30000", "WRITE"]), "OK");
        let ask = |subject: &'static str| {
            let (limiter, limit) = (limiter.clone(), limit.clone());
            tokio::spawn(async move { limiter.check([limit.of(subject)]).await.unwrap() })
        };
        let asked: Vec<_> = ["a", "b", "c", "d"].map(&ask).into();
        tokio::time::sleep(Duration::from_millis(200)).await;
        // The first one that waits for others goes away, and its runtime is not driven any more.
        let (asking, limited) = (limiter.clone(), limit.clone());
        let still = blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            let once = async { asking.check([limited.of("eve")]).now_or_never() };
            assert!(runtime.block_on(once).is_none(), "it waits");
            runtime
        })
        .await;
        let with_it = ask("bob");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(redis_cli(server.port, &["CLIENT", "UNPAUSE"]), "OK");
        // After two seconds without a sign of life it would be taken for gone.
        let is_slow_only = began.elapsed() < Duration::from_millis(1_500);
        for asked in asked.into_iter().chain([with_it]) {
            let decision = asked.await.unwrap();
            assert!(!is_slow_only || !decision.is_degraded(), "{decision:?}");
        }
        still.shutdown_background();
    });
}

#[test]
fn a_process_is_counted_from_the_first_limit_on_that_it_asks_for() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let limiter = process_at(server.port).await.limiter();
        let limit = Limit::gcra("calls", 10.per(DAY)).on_down(Down::Closed);
        assert_eq!(remaining(&limiter, &limit, "ada").await, 10);
        assert_eq!(redis_cli(server.port, &["EXISTS", PROCESSES]), "0");
        // On a runtime that ends with it.
        let asking = limiter.clone();
        let allowed = blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(is_allowed(&asking, &limit, 1))
        });
        assert!(allowed.await);
        let last_beat = || redis_cli(server.port, &["ZRANGE", PROCESSES, "-1", "-1", "WITHSCORES"]);
        eventually("it is counted", || async { !last_beat().is_empty() }).await;
        for _ in 0..2 {
            let before = last_beat();
            eventually("it goes on to be counted", || async { last_beat() != before }).await;
        }
    });
}
