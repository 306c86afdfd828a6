//! The link beside the bare connection: what deadlines, routing and breaker cost a call.

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use sinew::{Cache, Sinew};

use crate::measure::{Effort, Row, in_turn, rate};
use crate::peer::raw_connection;
use crate::world::start_redis;

const TASKS: u64 = 256;
const KEYS: u64 = 1_000;

pub async fn run(effort: Effort) -> Vec<Row> {
    let server = tokio::task::spawn_blocking(start_redis).await.expect("a server");
    let url = format!("redis://127.0.0.1:{}", server.port);
    let sinew = Sinew::connect(&url).await.expect("a connection");
    let cache: Cache<u64, u64> = sinew.cache("number").build().expect("a cache");
    let mut raw = raw_connection(&url).await;
    for id in 0..KEYS {
        cache.put(&id, &id).await.expect("stored");
        let _: () = raw.set(raw_key(id), id).await.expect("stored");
    }
    vec![throughput(effort, &cache, &raw).await]
}

fn raw_key(id: u64) -> String {
    format!("raw:number:{id}")
}

/// The smallest value there is, so that what is left is the link: a number, looked up by 256 tasks.
async fn throughput(effort: Effort, cache: &Cache<u64, u64>, raw: &MultiplexedConnection) -> Row {
    let ours = async |time| {
        let cache = cache.clone();
        let call = move |n: u64| {
            let (cache, id) = (cache.clone(), n % KEYS);
            async move {
                let found = cache.get(&id).await.expect("a good key").expect("a hit");
                assert_eq!(*found, id);
            }
        };
        rate(TASKS, time, call).await
    };
    let theirs = async |time| {
        let raw = raw.clone();
        let call = move |n: u64| {
            let (mut raw, id) = (raw.clone(), n % KEYS);
            async move {
                let found: u64 = raw.get(raw_key(id)).await.expect("a hit");
                assert_eq!(found, id);
            }
        };
        rate(TASKS, time, call).await
    };
    let (ours, theirs) = in_turn(effort, "link.throughput", ours, theirs).await;
    Row::of_rates("link.throughput", "raw", ours, theirs)
}
