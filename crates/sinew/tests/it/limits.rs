//! Rate limits: what they promise on every store, what it costs, and what becomes of it without Redis.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use sinew::limit::{
    Acquired, DAY, Decision, Down, HOUR, Limit, Limiter, MINUTE, Per, Quota, Reservation, Reserve,
    SECOND,
};
use sinew::{ErrorKind, Sinew};

use crate::laws::{eventually, keep};
use crate::outage::{blocking, connect, down};
use crate::world::{SHARED_REDIS, Server, Store, free_port, redis_cli, start_redis};

/// About a year, of which no window ends while a test runs.
pub fn year() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let longer = 366 * DAY;
    let left = longer.as_secs() - now % longer.as_secs();
    if left < 3_600 { 365 * DAY } else { longer }
}

/// One of each algorithm, of so much a year.
pub fn of_each(quota: u64) -> [Limit; 4] {
    [
        Limit::gcra("gcra", quota.per(year())),
        Limit::fixed_window("fixed", quota.per(year())),
        Limit::sliding_window("sliding", quota.per(year())),
        Limit::sliding_log("log", quota.per(year())),
    ]
}

fn hundreds() -> [Limit; 4] {
    of_each(100)
}

/// How many of so many that ask at the same time are admitted.
async fn admitted(limiter: &Limiter, limit: &Limit, tasks: usize) -> usize {
    let ask = || {
        let (limiter, limit) = (limiter.clone(), limit.clone());
        tokio::spawn(async move { limiter.check([limit.of("ada")]).await.unwrap().is_allowed() })
    };
    let asked: Vec<_> = (0..tasks).map(|_| ask()).collect();
    join_all(asked).await.into_iter().filter(|allowed| *allowed.as_ref().unwrap()).count()
}

pub async fn remaining(limiter: &Limiter, limit: &Limit, subject: &str) -> u64 {
    limiter.peek([limit.of(subject)]).await.unwrap().limits()[0].remaining
}

pub async fn granted(limiter: &Limiter, limit: &Limit, cost: u64) -> Reservation {
    match limiter.reserve(limit.of("ada").cost(cost)).await.unwrap() {
        Reserve::Granted(reservation) => reservation,
        Reserve::Denied(decision) => panic!("{decision:?}"),
    }
}

laws! {
    async fn a_burst_is_admitted_to_the_last_however_many_ask_at_once(store: Store) {
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(store.tenant("acme").await.limiter());
        }
        for limit in hundreds() {
            let asked = clients.iter().map(|limiter| admitted(limiter, &limit, 400));
            let total: usize = join_all(asked).await.into_iter().sum();
            assert_eq!(total, 100, "{limit:?}");
        }
    }

    async fn a_request_that_is_denied_is_charged_to_none_of_its_limits(store: Store) {
        let limiter = store.tenant("acme").await.limiter();
        let (user, address, all) = (
            Limit::gcra("user", 5.per(DAY)),
            Limit::sliding_log("address", 3.per(DAY)),
            Limit::fixed_window("all", 10.per(year())),
        );
        let checks = || [user.of("ada"), address.of("203.0.113.7"), all.of("all")];
        for passed in 0..6 {
            let decision = limiter.check(checks()).await.unwrap();
            assert_eq!(decision.is_allowed(), passed < 3, "{decision:?}");
            if passed >= 3 {
                let denied: Vec<_> = decision.limits().iter().filter(|one| !one.admits).collect();
                assert_eq!((denied.len(), denied[0].check, denied[0].limit), (1, 1, 3));
                assert!(decision.retry_after().is_some_and(|after| after > DAY / 2));
            }
        }
        // In a cluster, a denial is told before all is given back.
        eventually("what was charged to the others is given back", || async {
            remaining(&limiter, &user, "ada").await == 2 && remaining(&limiter, &all, "all").await == 7
        })
        .await;
        assert_eq!(remaining(&limiter, &address, "203.0.113.7").await, 0);
    }

    async fn limits_that_are_asked_together_admit_no_more_than_the_lowest(store: Store) {
        let limiter = store.tenant("acme").await.limiter();
        let limits = [
            Limit::gcra("user", 20.per(DAY)),
            Limit::fixed_window("address", 10.per(year())),
            Limit::gcra("all", 15.per(DAY)),
        ];
        let ask = || {
            let (limiter, [user, address, all]) = (limiter.clone(), limits.clone());
            tokio::spawn(async move {
                let checks = [user.of("ada"), address.of("203.0.113.7"), all.of("all")];
                limiter.check(checks).await.unwrap().is_allowed()
            })
        };
        let asked: Vec<_> = (0..100).map(|_| ask()).collect();
        let asked = join_all(asked).await;
        let passed = asked.into_iter().filter(|allowed| *allowed.as_ref().unwrap()).count() as u64;
        assert!((1..=10).contains(&passed), "{passed}");
        eventually("what was given back is there again", || async {
            remaining(&limiter, &limits[1], "203.0.113.7").await == 10 - passed
        })
        .await;
    }

    async fn a_denied_request_passes_after_its_wait(store: Store) {
        let limiter = store.tenant("acme").await.limiter();
        let kinds: [fn(String, Quota) -> Limit; 4] =
            [Limit::gcra, Limit::fixed_window, Limit::sliding_window, Limit::sliding_log];
        for (nth, limit) in kinds.into_iter().enumerate() {
            let mut waits = 0;
            // A machine that stalls denies no one within a short period.
            for period in [400, 2_000, 8_000].map(Duration::from_millis) {
                let name = format!("limit-{nth}-{}", period.as_millis());
                let limit = limit(name, 2.per(period));
                for _ in 0..8 {
                    let decision = limiter.check([limit.of("ada")]).await.unwrap();
                    if let Some(wait) = decision.retry_after() {
                        waits += 1;
                        assert!(wait <= 2 * period, "{limit:?}: {wait:?}");
                        tokio::time::sleep(wait).await;
                        let again = limiter.check([limit.of("ada")]).await.unwrap();
                        assert!(again.is_allowed(), "{limit:?}: {again:?} after {wait:?}");
                    }
                }
                if waits > 0 {
                    break;
                }
            }
            assert!(waits > 0, "no one was denied");
        }
    }

    async fn a_cost_that_a_limit_never_admits_is_told_so(store: Store) {
        let limiter = store.tenant("acme").await.limiter();
        for limit in hundreds() {
            let decision = limiter.check([limit.of("ada").cost(101)]).await.unwrap();
            assert!(!decision.is_allowed());
            assert_eq!(decision.retry_after(), None);
            let huge = limiter.check([limit.of("ada").cost(u64::MAX)]).await.unwrap();
            assert_eq!(huge.limits()[0].retry_after, None);
            assert!(limiter.check([limit.of("ada").cost(100)]).await.unwrap().is_allowed());
        }
    }

    async fn a_denial_says_nothing_of_another_cost(store: Store) {
        let limiter = store.tenant("acme").await.limiter();
        let limit = Limit::gcra("calls", 100.per(DAY));
        assert!(limiter.check([limit.of("ada").cost(60)]).await.unwrap().is_allowed());
        for _ in 0..3 {
            let denied = limiter.check([limit.of("ada").cost(50)]).await.unwrap();
            assert!(denied.retry_after().is_some_and(|wait| wait <= DAY / 10), "{denied:?}");
        }
        let longer = limiter.check([limit.of("ada").cost(90)]).await.unwrap();
        assert!(longer.retry_after().is_some_and(|wait| wait > DAY / 3), "{longer:?}");
        let never = limiter.check([limit.of("ada").cost(101)]).await.unwrap();
        assert_eq!((never.is_allowed(), never.retry_after()), (false, None));
        assert!(limiter.check([limit.of("ada").cost(40)]).await.unwrap().is_allowed());
    }

    async fn a_reset_ends_every_denial(store: Store) {
        let limiter = store.tenant("acme").await.limiter();
        for limit in hundreds() {
            assert!(limiter.check([limit.of(7).cost(100)]).await.unwrap().is_allowed());
            assert!(!limiter.check([limit.of(7)]).await.unwrap().is_allowed());
            assert!(!limiter.check([limit.of(7)]).await.unwrap().is_allowed());
            limiter.reset(limit.of("7")).await.unwrap();
            assert!(limiter.check([limit.of(7)]).await.unwrap().is_allowed(), "{limit:?}");
            assert_eq!(remaining(&limiter, &limit, "7").await, 99);
        }
    }

    async fn the_last_definition_of_a_limit_holds_at_once(store: Store) {
        let limiter = store.tenant("acme").await.limiter();
        let of = |limit: u64| Limit::gcra("calls", limit.per(DAY));
        assert!(limiter.check([of(100).of("ada").cost(100)]).await.unwrap().is_allowed());
        assert!(!limiter.check([of(100).of("ada")]).await.unwrap().is_allowed());
        let lowered = limiter.check([of(10).of("ada")]).await.unwrap();
        assert!(!lowered.is_allowed());
        assert!(lowered.limits()[0].reset_after <= DAY, "as full as it can be, not ten times");
        // Also for whoever was denied by the old one a moment ago.
        assert!(limiter.check([of(1_000).of("ada")]).await.unwrap().is_allowed());
        assert_eq!(remaining(&limiter, &of(1_000), "ada").await, 899);
        let other = Limit::fixed_window("calls", 10.per(DAY));
        assert_eq!(remaining(&limiter, &other, "ada").await, 10, "another algorithm begins anew");
    }

    async fn a_shadow_counts_and_stops_no_one(store: Store) {
        let limiter = store.tenant("acme").await.limiter();
        let (shadow, real) =
            (Limit::gcra("shadow", 1.per(DAY)).shadow(), Limit::gcra("real", 3.per(DAY)));
        for passed in 0..4 {
            let decision = limiter.check([shadow.of("ada"), real.of("ada")]).await.unwrap();
            assert_eq!(decision.is_allowed(), passed < 3);
            let standing = decision.limits().iter().find(|one| one.check == 0);
            if let Some(standing) = standing {
                assert!(standing.is_shadow);
                assert_eq!(standing.admits, passed == 0);
            }
        }
        let stats = limiter.stats();
        assert_eq!((stats["shadow"].admitted, stats["shadow"].denied), (1, 0));
        assert!((2..=3).contains(&stats["shadow"].shadow_denied));
        assert_eq!((stats["real"].admitted, stats["real"].denied), (3, 1));
    }

    async fn peeking_charges_nothing(store: Store) {
        let limiter = store.tenant("acme").await.limiter();
        for limit in hundreds() {
            for _ in 0..3 {
                let decision = limiter.peek([limit.of("ada").cost(100)]).await.unwrap();
                assert!(decision.is_allowed());
                assert_eq!(decision.limits()[0].remaining, 100);
            }
            assert!(!limiter.peek([limit.of("ada").cost(101)]).await.unwrap().is_allowed());
        }
    }

    async fn tenants_and_subjects_never_meet(store: Store) {
        let (acme, other) =
            (store.tenant("acme").await.limiter(), store.tenant("other").await.limiter());
        let limit = Limit::gcra("calls", 1.per(DAY));
        assert!(acme.check([limit.of(("a", "b:c"))]).await.unwrap().is_allowed());
        assert!(!acme.check([limit.of(("a", "b:c"))]).await.unwrap().is_allowed());
        assert!(acme.check([limit.of(("a", "b", "c"))]).await.unwrap().is_allowed());
        assert!(acme.check([limit.of(("a:b", "c"))]).await.unwrap().is_allowed());
        assert!(other.check([limit.of(("a", "b:c"))]).await.unwrap().is_allowed());
        let long = "x".repeat(100);
        assert!(acme.check([limit.of(&long)]).await.unwrap().is_allowed());
        assert!(!acme.check([limit.of(&long)]).await.unwrap().is_allowed());
    }

    async fn what_cannot_be_is_rejected(store: Store) {
        let limiter = store.tenant("acme").await.limiter();
        for limit in [
            Limit::gcra("a name", 1.per(DAY)),
            Limit::gcra("calls", 0.per(DAY)),
            Limit::gcra("calls", 1.per(Duration::ZERO)),
            Limit::gcra("calls", 1.per(Duration::from_nanos(1_500))),
            Limit::gcra("calls", 1.per(DAY)).burst(0),
            Limit::gcra("calls", 9_999_991.per(365 * DAY)),
            Limit::gcra("calls", 10.per(DAY)).lease(11),
            Limit::fixed_window("calls", 10.per(DAY)).burst(20),
            Limit::sliding_log("calls", 1_001.per(DAY)),
        ] {
            let told = limit.validate().unwrap_err();
            let error = limiter.check([limit.of("ada")]).await.unwrap_err();
            assert_eq!((told.kind(), error.kind()), (ErrorKind::Rejected, ErrorKind::Rejected));
            assert!(limiter.reset(limit.of("ada")).await.is_err());
        }
        let calls = Limit::gcra("calls", 10.per(DAY));
        let none: [sinew::limit::Check<'_>; 0] = [];
        let many: Vec<_> = (0..17).map(|subject| calls.of(subject)).collect();
        for error in [
            limiter.check(none).await.unwrap_err(),
            limiter.check(&many).await.unwrap_err(),
            limiter.check([calls.of(7), calls.of("7")]).await.unwrap_err(),
            limiter.check([calls.of(7).cost(0)]).await.unwrap_err(),
            limiter.check([calls.of("x".repeat(1_024))]).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
        }
        assert_eq!(remaining(&limiter, &calls, "7").await, 10);
    }

    async fn a_reservation_costs_what_it_turns_out_to(store: Store) {
        let limiter = store.tenant("acme").await.limiter();
        for limit in hundreds() {
            let limit = limit.debt_max(50);
            let reservation = granted(&limiter, &limit, 60).await;
            assert_eq!(remaining(&limiter, &limit, "ada").await, 40);
            reservation.settle(20).await.unwrap();
            assert_eq!(remaining(&limiter, &limit, "ada").await, 80, "{limit:?}");
            drop(granted(&limiter, &limit, 10).await);
            assert_eq!(remaining(&limiter, &limit, "ada").await, 70, "it stays charged");
            granted(&limiter, &limit, 70).await.settle(1_000).await.unwrap();
            let Reserve::Denied(denied) = limiter.reserve(limit.of("ada")).await.unwrap() else {
                panic!("{limit:?} has passed");
            };
            assert!(denied.retry_after().is_some());
            limiter.reset(limit.of("ada")).await.unwrap();
        }
        // A debt of 50, and one more, at a hundred a day.
        let limit = Limit::gcra("gcra", 100.per(DAY)).debt_max(50);
        granted(&limiter, &limit, 1).await.settle(1_000).await.unwrap();
        let denied = limiter.check([limit.of("ada")]).await.unwrap();
        assert!(denied.retry_after().is_some_and(|after| after > DAY / 2 && after < DAY * 6 / 10));
        assert_eq!(denied.limits()[0].remaining, 0);
    }

    async fn permits_that_are_leased_come_to_no_more_than_the_limit(store: Store) {
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(store.tenant("acme").await.limiter());
        }
        let limit = Limit::gcra("calls", 100.per(DAY)).lease(10);
        let asked = clients.iter().map(|limiter| admitted(limiter, &limit, 200));
        let total: usize = join_all(asked).await.into_iter().sum();
        // What is in stock in one process when none of its tasks is left, no other has.
        assert!((60..=100).contains(&total), "{total}");
        assert_eq!(remaining(&clients[0], &limit, "ada").await, 0);
    }

    async fn places_are_held_until_they_are_given_back(store: Store) {
        let (one, other) =
            (store.tenant("acme").await.limiter(), store.tenant("acme").await.limiter());
        let exports = Limit::concurrency("exports", 2);
        let held = |acquired: Acquired| match acquired {
            Acquired::Held(held) => held,
            full @ Acquired::Full { .. } => panic!("{full:?}"),
        };
        let first = held(one.acquire(exports.of("ada")).await.unwrap());
        let second = held(other.acquire(exports.of("ada")).await.unwrap());
        match other.acquire(exports.of("ada")).await.unwrap() {
            Acquired::Full { retry_after, is_degraded } => {
                assert!(retry_after <= 30 * SECOND && !is_degraded, "{retry_after:?}");
            }
            Acquired::Held(_) => panic!("a third of two"),
        }
        let of_others = held(one.acquire(exports.of("bob")).await.unwrap());
        first.release().await.unwrap();
        let third = held(other.acquire(exports.of("ada")).await.unwrap());
        assert!(second.is_held() && third.is_held() && of_others.is_held());
        drop(second);
        eventually("a place that is dropped is free", || async {
            matches!(one.acquire(exports.of("ada")).await.unwrap(), Acquired::Held(_))
        })
        .await;
    }

    async fn a_place_is_renewed_for_as_long_as_it_is_held(store: Store) {
        let limiter = store.tenant("acme").await.limiter();
        // A machine that stalls loses a place that has a short lease, and says so.
        for lease in [1, 3, 9].map(Duration::from_secs) {
            let exports = Limit::concurrency("exports", 1).lease(lease);
            let subject = lease.as_secs();
            let Acquired::Held(held) = limiter.acquire(exports.of(subject)).await.unwrap() else {
                panic!("the first one is let in");
            };
            let began = Instant::now();
            let mut is_renewed = true;
            while is_renewed && began.elapsed() < lease * 2 {
                if let Acquired::Held(_) = limiter.acquire(exports.of(subject)).await.unwrap() {
                    is_renewed = false;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            if is_renewed && held.is_held() {
                held.release().await.unwrap();
                let other = limiter.acquire(exports.of(subject)).await.unwrap();
                assert!(matches!(other, Acquired::Held(_)));
                return;
            }
            eventually("its holder is told that it is lost", || async { !held.is_held() }).await;
        }
        panic!("no place was renewed");
    }
}

/// How many scripts clients have run on a server, their heartbeats aside.
pub fn scripts(server: &Server) -> u64 {
    let info = redis_cli(server.port, &["INFO", "commandstats"]);
    let number = |command: &str, field: &str| -> u64 {
        let of_it = format!("cmdstat_{command}:");
        let line = info.lines().find_map(|line| line.strip_prefix(of_it.as_str()));
        let mut fields = line.unwrap_or_default().split(',');
        let value = fields.find_map(|one| one.strip_prefix(field)?.strip_prefix('='));
        value.map_or(0, |value| value.parse().expect("a number"))
    };
    // A script that the server does not know yet fails. Only a heartbeat calls the last one, once.
    number("evalsha", "calls") - number("evalsha", "failed_calls") - number("zadd", "calls")
}

#[test]
fn a_check_of_up_to_five_limits_is_one_command() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let limiter = connect(&server).await.limiter();
        let [gcra, fixed, sliding, log] = hundreds().map(|limit| limit.on_down(Down::Closed));
        let other = Limit::gcra("other", 100.per(DAY)).on_down(Down::Closed);
        // Everything is known to the server from here on.
        assert!(limiter.check([gcra.of(0)]).await.unwrap().is_allowed());
        let before = scripts(&server);
        let checks = [gcra.of(1), fixed.of(2), sliding.of(3), log.of(4), other.of(5)];
        for limits in 1..=5 {
            assert!(limiter.check(&checks[..limits]).await.unwrap().is_allowed());
            assert_eq!(scripts(&server) - before, limits as u64);
        }
    });
}

#[test]
fn what_a_user_may_not_look_at_is_refused_and_not_taken_for_nothing() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let user = ["limited", "on", ">secret", "~*", "&*", "+@all", "-lindex"];
        assert_eq!(redis_cli(server.port, &[&["ACL", "SETUSER"][..], &user].concat()), "OK");
        let url = format!("redis://limited:secret@127.0.0.1:{}", server.port);
        let sinew = Sinew::builder().deadline(Duration::from_secs(10)).connect(&url).await.unwrap();
        let limiter = sinew.limiter();
        let log = Limit::sliding_log("log", 10.per(DAY));
        for _ in 0..2 {
            let refused = limiter.check([log.of("ada")]).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Denied, "{refused:#}");
        }
        // The other algorithms do not need it.
        let rate = Limit::gcra("rate", 10.per(DAY));
        assert!(limiter.check([rate.of("ada")]).await.unwrap().is_allowed());
    });
}

#[test]
fn who_was_denied_is_denied_again_without_asking() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let limiter = connect(&server).await.limiter();
        let limit = Limit::gcra("calls", 1.per(DAY)).on_down(Down::Closed);
        assert!(limiter.check([limit.of("ada")]).await.unwrap().is_allowed());
        let began = Instant::now();
        assert!(!limiter.check([limit.of("ada")]).await.unwrap().is_allowed());
        let before = scripts(&server);
        for _ in 0..1_000 {
            let denied = limiter.check([limit.of("ada")]).await.unwrap();
            assert!(!denied.is_allowed() && denied.retry_after().is_some_and(|a| a > DAY / 2));
        }
        let asked = scripts(&server) - before;
        assert!(asked <= began.elapsed().as_secs(), "{asked} in {:?}", began.elapsed());
        assert_eq!(limiter.stats()["calls"].denied, 1_001);
        // Another process resets it. It is heard of by asking again, within a second.
        let other = connect(&server).await.limiter();
        other.reset(limit.of("ada")).await.unwrap();
        let reset = Instant::now();
        eventually("the reset is heard of", || async {
            limiter.check([limit.of("ada")]).await.unwrap().is_allowed()
        })
        .await;
        assert!(reset.elapsed() < Duration::from_secs(10), "{:?}", reset.elapsed());
    });
}

#[test]
fn what_is_charged_is_kept_for_as_long_as_it_counts() {
    keep(|| async {
        let store = Store::redis().await;
        let limiter = store.tenant("acme").await.limiter();
        let left = |space: &str, name: &str| {
            let key = format!("{}acme:{space}:{name}:ada:7", store.prefix);
            let left_ms = redis_cli(SHARED_REDIS.port, &["PTTL", &key]).parse();
            Duration::from_millis(left_ms.expect("it is there, and ends"))
        };
        let most_of = |time: Duration| time - MINUTE..=time + Duration::from_millis(1);
        for limit in hundreds() {
            let period = limit.quota().period();
            let decision = limiter.check([limit.of(("ada", 7)).cost(100)]).await.unwrap();
            assert!(decision.is_allowed());
            let reset_after = decision.limits()[0].reset_after;
            let left = left("rate-limit", limit.name());
            assert!(most_of(reset_after).contains(&left), "{limit:?}: {left:?} of {reset_after:?}");
            match limit.name() {
                "gcra" | "log" => assert!(most_of(period).contains(&reset_after)),
                "sliding" => assert!(reset_after > period && reset_after <= 2 * period),
                _ => assert!(reset_after <= period),
            }
        }
        let places = Limit::concurrency("places", 1).lease(HOUR);
        let held = limiter.acquire(places.of(("ada", 7))).await.unwrap();
        let left = left("rate-limit-places", "places");
        assert!(most_of(HOUR).contains(&left), "{left:?}");
        drop(held);
    });
}

#[test]
fn a_place_of_a_process_that_died_is_free_when_its_lease_ends() {
    keep(|| async {
        let store = Store::redis().await;
        let limiter = store.tenant("acme").await.limiter();
        let places = Limit::concurrency("places", 1);
        let key = format!("{}acme:rate-limit-places:places:ada", store.prefix);
        // What is left behind: a token, and when it ends in µs.
        let time = redis_cli(SHARED_REDIS.port, &["TIME"]);
        let (seconds, micros) = time.split_once('\n').unwrap();
        let ends = seconds.parse::<u64>().unwrap() * 1_000_000
            + micros.trim().parse::<u64>().unwrap()
            + 5_000_000;
        redis_cli(SHARED_REDIS.port, &["ZADD", &key, &ends.to_string(), "0123456789abcdef"]);
        match limiter.acquire(places.of("ada")).await.unwrap() {
            Acquired::Full { retry_after, .. } => tokio::time::sleep(retry_after).await,
            Acquired::Held(_) => panic!("it is another's"),
        }
        let place = limiter.acquire(places.of("ada")).await.unwrap();
        assert!(matches!(place, Acquired::Held(_)));
    });
}

#[test]
fn each_limit_answers_as_it_says_where_there_is_no_redis() {
    keep(|| async {
        let sinew = Sinew::connect_lazy(&format!("redis://127.0.0.1:{}", free_port())).unwrap();
        let limiter = sinew.limiter();
        let limit = |name: &str, down| Limit::gcra(name, 3.per(DAY)).on_down(down);
        let (open, closed, local) =
            (limit("open", Down::Open), limit("closed", Down::Closed), limit("local", Down::Local));
        for passed in 0..5 {
            let told = |decision: &Decision| (decision.is_allowed(), decision.is_degraded());
            let decision = limiter.check([open.of("ada")]).await.unwrap();
            assert_eq!(told(&decision), (true, true));
            let decision = limiter.check([closed.of("ada")]).await.unwrap();
            assert_eq!(told(&decision), (false, true));
            assert_eq!(decision.retry_after(), Some(SECOND));
            // Denied by the second, so charged to neither.
            let decision = limiter.check([local.of("ada"), closed.of("ada")]).await.unwrap();
            assert_eq!(told(&decision), (false, true));
            let decision = limiter.check([local.of("ada"), open.of("ada")]).await.unwrap();
            assert_eq!(told(&decision), (passed < 3, true));
        }
        let stats = limiter.stats();
        // Of the checks that it was in with the closed one, too, once it was used up.
        assert_eq!((stats["local"].admitted, stats["local"].denied), (3, 4));
        assert_eq!(stats["closed"].degraded, 10);
        let error = limiter.peek([open.of("ada")]).await.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert!(limiter.reset(local.of("ada")).await.is_err());
        let Reserve::Granted(reservation) = limiter.reserve(local.of("bob").cost(3)).await.unwrap()
        else {
            panic!("it is this process's own");
        };
        assert!(reservation.is_degraded());
        reservation.settle(1).await.unwrap();
        assert!(limiter.check([local.of("bob").cost(2)]).await.unwrap().is_allowed());
        let places = |down| Limit::concurrency("places", 1).on_down(down);
        let (first, second) = (places(Down::Local), places(Down::Local));
        let held = limiter.acquire(first.of("ada")).await.unwrap();
        assert!(matches!(&held, Acquired::Held(held) if held.is_degraded() && held.is_held()));
        let full = limiter.acquire(second.of("ada")).await.unwrap();
        assert!(matches!(full, Acquired::Full { is_degraded: true, .. }));
        let open = limiter.acquire(places(Down::Open).of("ada")).await.unwrap();
        assert!(matches!(open, Acquired::Held(_)));
        let closed = limiter.acquire(places(Down::Closed).of("eve")).await.unwrap();
        assert!(matches!(closed, Acquired::Full { is_degraded: true, .. }));
    });
}

#[test]
fn processes_that_are_cut_off_share_a_limit_by_their_number() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let (one, other) = (connect(&server).await, connect(&server).await);
        let limiters = [one.limiter(), other.limiter()];
        let limit = Limit::gcra("calls", 100.per(DAY)).on_down(Down::Local);
        for limiter in &limiters {
            assert!(limiter.check([limit.of("bob")]).await.unwrap().is_allowed());
        }
        eventually("they know of each other", || async {
            limiters.iter().all(|limiter| limiter.processes() == 2)
        })
        .await;
        let mut server = blocking(move || {
            let mut server = server;
            server.kill();
            server
        })
        .await;
        server.wait_gone();
        down(&one).await;
        down(&other).await;
        for limiter in &limiters {
            assert_eq!(admitted(limiter, &limit, 120).await, 50);
            assert_eq!(limiter.stats()["calls"].degraded, 120);
        }
        // More than the share, and not more than the limit: later, not never.
        let denied = limiters[0].check([limit.of("eve").cost(80)]).await.unwrap();
        assert_eq!(denied.retry_after(), Some(SECOND));
        let never = limiters[0].check([limit.of("eve").cost(101)]).await.unwrap();
        assert_eq!(never.retry_after(), None);
    });
}
