//! Looking for plain keys among all keys: how often, for whom, and until when.

use std::time::Duration;

use sinew::{Sinew, Status};

use crate::flag::{ada, open};
use crate::laws::{eventually, keep};
use crate::outage::blocking;
use crate::world::{Proxy, Server, redis_cli, start_redis};

const ENVIRONMENTS: usize = 20;
/// Each way.
const DELAY: Duration = Duration::from_millis(20);
/// How many keys a look asks for at a time.
const BATCH: usize = 500;

async fn behind_a_proxy() -> (Server, Proxy, Sinew) {
    let (server, proxy) = blocking(|| {
        let server = start_redis();
        let proxy = Proxy::start(server.port);
        (server, proxy)
    })
    .await;
    let builder = Sinew::builder().deadline(Duration::from_secs(10));
    let sinew = builder.connect(&format!("redis://127.0.0.1:{}", proxy.port)).await.unwrap();
    (server, proxy, sinew)
}

/// How often the server was asked for a part of its keys.
fn asked(server: &Server) -> usize {
    let stats = redis_cli(server.port, &["INFO", "commandstats"]);
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_scan:calls="));
    let calls = calls.and_then(|rest| rest.split(',').next());
    calls.map_or(0, |calls| calls.parse().expect("a number"))
}

/// Other keys, for a look that asks at least so often.
fn fill(server: &Server, batches: usize) {
    let fill = "for i = 1, tonumber(ARGV[1]) do redis.call('SET', KEYS[1] .. i, 'x') end";
    redis_cli(server.port, &["EVAL", fill, "1", "other:", &(batches * BATCH).to_string()]);
}

#[test]
fn environments_of_a_tenant_look_through_all_keys_once_for_all_of_them() {
    keep(|| async {
        let (server, proxy, sinew) = behind_a_proxy().await;
        let mut all = Vec::new();
        for env in 0..ENVIRONMENTS {
            all.push(sinew.flags().env(env.to_string()).open().await.unwrap());
        }
        let before = asked(&server);
        assert!(before > 0);
        proxy.refuse();
        eventually("it is away", || async { !matches!(sinew.status(), Status::Up) }).await;
        redis_cli(server.port, &["SET", "_:feature:by-hand:global", "true"]);
        // Who asks later finds the look of another under way.
        proxy.delay(DELAY);
        for flags in &all {
            let is_on = || async { flags.enabled("by-hand", &ada()) };
            eventually("each finds what changed meanwhile", is_on).await;
        }
        let again = asked(&server) - before;
        assert!((1..ENVIRONMENTS).contains(&again), "{again}");
    });
}

#[test]
fn who_comes_while_others_look_does_not_miss_what_they_no_longer_find() {
    keep(|| async {
        let (server, proxy, sinew) = behind_a_proxy().await;
        fill(&server, 60);
        proxy.delay(DELAY);
        let first = {
            let sinew = sinew.clone();
            tokio::spawn(async move { open(&sinew).await })
        };
        eventually("it looks", || async { asked(&server) >= 20 }).await;
        for flag in 0..20 {
            redis_cli(server.port, &["SET", &format!("_:feature:flag-{flag}:global"), "true"]);
        }
        let second = sinew.flags().env("test").open().await.unwrap();
        for flags in [&first.await.unwrap(), &second] {
            eventually("all are found", || async { flags.overlays().len() == 20 }).await;
        }
    });
}

#[test]
fn no_one_looks_on_once_the_last_who_waited_is_gone() {
    keep(|| async {
        let (server, proxy, sinew) = behind_a_proxy().await;
        fill(&server, 600);
        proxy.delay(DELAY);
        let waiting = ["prod", "test"].map(|env| {
            let flags = sinew.flags().env(env);
            tokio::spawn(async move { flags.open().await })
        });
        eventually("they look", || async { asked(&server) >= 10 }).await;
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
        let mut before = 0;
        let is_over = || {
            let is_over = asked(&server) == before;
            before = asked(&server);
            async move {
                // Ten would have been asked meanwhile.
                tokio::time::sleep(DELAY * 20).await;
                is_over
            }
        };
        eventually("it is over", is_over).await;
        assert!(asked(&server) < 600, "it came to its own end: {}", asked(&server));
    });
}
