//! Checks that come at the same time, and travel together.

use std::time::Duration;

use futures_util::future::join_all;
use sinew::limit::{DAY, Down, Limit, Limiter, Per};
use sinew::{Result, Sinew};

use crate::laws::{eventually, keep};
use crate::limits::scripts;
use crate::outage::{blocking, connect, up};
use crate::world::{Proxy, start_redis};

const CROWD: u64 = 256;

/// Whether each of so many was allowed, each with a subject of its own.
async fn crowd(limiter: &Limiter, limit: &Limit) -> Vec<Result<bool>> {
    let asked = (0..CROWD).map(|subject| {
        let (limiter, limit) = (limiter.clone(), limit.clone());
        tokio::spawn(async move {
            limiter.check([limit.of(subject)]).await.map(|decision| decision.is_allowed())
        })
    });
    join_all(asked).await.into_iter().map(|answer| answer.unwrap()).collect()
}

#[test]
fn a_crowd_is_answered_one_by_one_and_asked_for_together() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let limiter = connect(&server).await.limiter();
        let limit = Limit::gcra("calls", 2.per(DAY)).on_down(Down::Open);
        assert!(limiter.check([limit.of("first")]).await.unwrap().is_allowed());
        let before = scripts(&server);
        for passes in [true, true, false] {
            let answers = crowd(&limiter, &limit).await;
            assert!(answers.iter().all(|answer| *answer.as_ref().unwrap() == passes));
        }
        let sent = scripts(&server) - before;
        assert!(sent < 3 * CROWD / 2, "{sent} commands");
        for subject in [0, 1, CROWD - 1] {
            let standing = limiter.peek([limit.of(subject)]).await.unwrap().limits()[0];
            assert_eq!(standing.remaining, 0);
        }
        let stats = limiter.stats()["calls"];
        assert_eq!((stats.admitted, stats.denied), (2 * CROWD + 1, CROWD));
    });
}

#[test]
fn a_subject_that_comes_twice_in_a_crowd_is_charged_twice() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let limiter = connect(&server).await.limiter();
        let limits = [Limit::gcra("calls", 100.per(DAY)), Limit::gcra("all", 90.per(DAY))];
        let asked = (0..CROWD).map(|_| {
            let (limiter, [calls, all]) = (limiter.clone(), limits.clone());
            tokio::spawn(async move {
                limiter.check([calls.of("ada"), all.of(7)]).await.unwrap().is_allowed()
            })
        });
        let allowed =
            join_all(asked).await.into_iter().filter(|allowed| *allowed.as_ref().unwrap());
        assert_eq!(allowed.count(), 90);
        let left = limiter.peek([limits[0].of("ada")]).await.unwrap().limits()[0].remaining;
        assert_eq!(left, 10, "who was denied by one was charged by none");
    });
}

#[test]
fn a_crowd_waits_for_no_redis_that_hangs() {
    keep(|| async {
        let (server, proxy) = blocking(|| {
            let server = start_redis();
            let proxy = Proxy::start(server.port);
            (server, proxy)
        })
        .await;
        let url = format!("redis://127.0.0.1:{}", proxy.port);
        let sinew = Sinew::connect(&url).await.unwrap();
        let limiter = sinew.limiter();
        let limit = Limit::gcra("calls", 1_000.per(DAY)).on_down(Down::Closed);
        assert!(crowd(&limiter, &limit).await.iter().all(|answer| *answer.as_ref().unwrap()));
        proxy.black_hole();
        let answers = tokio::time::timeout(Duration::from_secs(20), crowd(&limiter, &limit)).await;
        let answers = answers.expect("an answer to each");
        assert!(answers.iter().all(|answer| !*answer.as_ref().unwrap()), "closed");
        proxy.pass();
        up(&sinew).await;
        eventually("it is counted again", || async {
            limiter.check([limit.of("ada")]).await.unwrap().is_allowed()
        })
        .await;
        drop(server);
    });
}

#[test]
fn who_goes_away_from_a_crowd_is_charged_once_at_most_and_no_one_waits_for_it() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let limiter = connect(&server).await.limiter();
        let limit = Limit::gcra("calls", 10_000.per(DAY));
        for _ in 0..10 {
            let tasks: Vec<_> = (0..CROWD)
                .map(|_| {
                    let (limiter, limit) = (limiter.clone(), limit.clone());
                    tokio::spawn(async move { limiter.check([limit.of("ada")]).await })
                })
                .collect();
            for (nth, task) in tasks.into_iter().enumerate() {
                if nth % 2 == 0 {
                    task.abort();
                    let _ = task.await;
                } else {
                    assert!(task.await.unwrap().unwrap().is_allowed());
                }
            }
        }
        let used = 10_000 - limiter.peek([limit.of("ada")]).await.unwrap().limits()[0].remaining;
        assert!((5 * CROWD..=10 * CROWD).contains(&used), "{used}");
    });
}
