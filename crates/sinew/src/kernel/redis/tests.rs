//! What no capability shows yet: subscribers, and connections for commands that block.

use std::time::{Duration, Instant};

use super::subscription::{At, Heard};
use super::{Link, Rerun, Target};

// The same servers as the laws'.
#[allow(dead_code, unused_imports, clippy::duplicate_mod)]
#[path = "../../../tests/it/world/mod.rs"]
mod world;

use world::{Proxy, Server, redis_cli, start_redis};

const WAIT_MAX: Duration = Duration::from_secs(30);

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT_MAX, work).await.unwrap_or_else(|_| panic!("never happened: {what}"))
}

async fn link_to(port: u16) -> Link {
    let target = Target::parse(&format!("redis://127.0.0.1:{port}")).unwrap();
    let link = Link::open(&target, Duration::from_millis(250), Vec::new()).unwrap();
    link.until_up().await.unwrap();
    link
}

async fn behind_a_proxy() -> (Server, Proxy, Link) {
    let server = tokio::task::spawn_blocking(start_redis).await.unwrap();
    let proxy = Proxy::start(server.port);
    let link = link_to(proxy.port).await;
    (server, proxy, link)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_subscriber_that_lost_its_connection_subscribes_again_by_itself() {
    let (server, proxy, link) = behind_a_proxy().await;
    let mut news = link.subscribe("news", At::ItsNode);
    assert_eq!(within("subscribed", news.next()).await, Some(Heard::Subscribed));
    // Its connection leads nowhere, no one is told, and no command is sent.
    proxy.half_open();
    let lost = Instant::now();
    assert_eq!(within("subscribed again", news.next()).await, Some(Heard::Subscribed));
    let took = lost.elapsed();
    println!("an idle subscriber on a half-open connection was back after {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    redis_cli(server.port, &["PUBLISH", "news", "hello"]);
    assert_eq!(within("a message", news.next()).await, Some(Heard::Message("hello".into())));
    // The same for an end that is told.
    proxy.cut();
    assert_eq!(within("subscribed again", news.next()).await, Some(Heard::Subscribed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_falls_behind_is_told_so() {
    let (server, _proxy, link) = behind_a_proxy().await;
    let mut news = link.subscribe("news", At::ItsNode);
    assert_eq!(within("subscribed", news.next()).await, Some(Heard::Subscribed));
    // Not in one burst: each time, there is time to take what came.
    let some = "for i = ARGV[1] + 1, ARGV[1] + 50 do redis.call('PUBLISH', 'news', i) end";
    for from in (0..5_000).step_by(50) {
        redis_cli(server.port, &["EVAL", some, "0", &from.to_string()]);
    }
    let mut last = 0;
    within("the gap is told", async {
        loop {
            match news.next().await.unwrap() {
                Heard::Subscribed => break,
                Heard::Message(number) => {
                    let number = std::str::from_utf8(&number).unwrap().parse().unwrap();
                    assert_eq!(number, last + 1, "in order, without a gap that is not told");
                    last = number;
                }
            }
        }
    })
    .await;
    assert!(last < 5_000, "nothing was missed: the queue is not bounded");
    redis_cli(server.port, &["PUBLISH", "news", "later"]);
    assert_eq!(within("a message", news.next()).await, Some(Heard::Message("later".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_blocks_holds_up_no_one_else() {
    let (server, _proxy, link) = behind_a_proxy().await;
    let mut pop = redis::cmd("BLPOP");
    pop.arg("queue").arg(20);
    let consumer = link.dedicate("queue").await.unwrap();
    let popped = tokio::spawn(async move {
        let popped = consumer.call::<(String, String)>(&pop, Duration::from_secs(20)).await;
        popped.map(|(_, popped)| popped)
    });
    within("it blocks", async {
        while !redis_cli(server.port, &["INFO", "clients"]).contains("blocked_clients:1") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let mut ping = redis::cmd("ECHO");
    ping.arg("still here");
    let echo: String = link.call(ping, "queue", Rerun::Harmless).run().await.unwrap();
    assert_eq!(echo, "still here");
    redis_cli(server.port, &["RPUSH", "queue", "job"]);
    let popped = within("a reply", popped).await.unwrap().unwrap();
    assert_eq!(popped, ("queue".to_owned(), "job".to_owned()));
}
