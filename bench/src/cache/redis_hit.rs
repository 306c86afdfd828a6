//! A hit in Redis, decoded, at 256 tasks, against a bare client that does GET and decodes.

use std::sync::Arc;
use std::time::Duration;

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use sinew::Sinew;

use super::{KEYS, LONG, User, Users, raw_key, users};
use crate::measure::{Effort, Row, in_turn, rate};

const TASKS: u64 = 256;

pub async fn rows(effort: Effort, sinew: &Sinew, raw: &MultiplexedConnection) -> Vec<Row> {
    let cache: Users = sinew.cache("user").ttl(LONG).build().expect("a cache");
    for user in users() {
        cache.put(&user.id, &user).await.expect("stored");
    }
    vec![redis_hit(effort, &cache, raw).await, redis_hit_or_load(effort, &cache, raw).await]
}

async fn redis_hit(effort: Effort, cache: &Users, raw: &MultiplexedConnection) -> Row {
    let ours = async |time| {
        let cache = cache.clone();
        let hit = move |n: u64| {
            let (cache, id) = (cache.clone(), n % KEYS);
            async move {
                let found = cache.get(&id).await.expect("a good key").expect("a hit");
                assert_eq!(found.id, id);
            }
        };
        rate(TASKS, time, hit).await
    };
    let theirs = async |time| raw_get(raw, time).await;
    let (ours, theirs) = in_turn(effort, "cache.redis_hit", ours, theirs).await;
    Row::of_rates("cache.redis_hit", "raw", ours, theirs)
}

/// The same through the call that services make: look up, load on a miss.
async fn redis_hit_or_load(effort: Effort, cache: &Users, raw: &MultiplexedConnection) -> Row {
    let ours = async |time| {
        let cache = cache.clone();
        let hit = move |n: u64| {
            let (cache, id) = (cache.clone(), n % KEYS);
            async move {
                let load = move || async move { Err::<User, _>(std::io::Error::other("a miss")) };
                let found = cache.get_or_load(&id, load).await.expect("a hit");
                assert_eq!(found.id, id);
            }
        };
        rate(TASKS, time, hit).await
    };
    let theirs = async |time| raw_get(raw, time).await;
    let (ours, theirs) = in_turn(effort, "cache.redis_hit_or_load", ours, theirs).await;
    Row::of_rates("cache.redis_hit_or_load", "raw", ours, theirs)
}

async fn raw_get(raw: &MultiplexedConnection, time: Duration) -> f64 {
    let raw = raw.clone();
    let hit = move |n: u64| {
        let (mut raw, id) = (raw.clone(), n % KEYS);
        async move {
            let bytes: Vec<u8> = raw.get(raw_key(id)).await.expect("a hit");
            let found: Arc<User> = Arc::new(serde_json::from_slice(&bytes).expect("JSON"));
            assert_eq!(found.id, id);
        }
    };
    rate(TASKS, time, hit).await
}
