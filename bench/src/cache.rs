//! The cache beside the least that the job needs.

use std::sync::Arc;

use redis::AsyncCommands;
use serde::{Deserialize, Serialize};
use sinew::{Cache, Sinew};

use crate::measure::{Effort, Row, in_turn, rate};
use crate::world::start_redis;

const TASKS: usize = 256;
const KEYS: usize = 1_000;

#[derive(Clone, Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
    email: String,
    roles: Vec<String>,
    active: bool,
}

fn user(id: u64) -> User {
    User {
        id,
        name: format!("User Number {id}"),
        email: format!("user{id}@example.com"),
        roles: vec!["reader".into(), "writer".into()],
        active: true,
    }
}

pub async fn run(effort: Effort) -> Vec<Row> {
    vec![redis_hit(effort).await]
}

/// A hit in Redis, decoded, at 256 tasks, against a bare client that does GET and decodes.
async fn redis_hit(effort: Effort) -> Row {
    let server = tokio::task::spawn_blocking(start_redis).await.expect("a server");
    let url = format!("redis://127.0.0.1:{}", server.port);
    let sinew = Sinew::connect(&url).await.expect("a connection");
    let cache: Cache<u64, User> = sinew.tenant("acme").expect("a tenant").cache("user").build().expect("a cache");
    let client = redis::Client::open(url.as_str()).expect("a client");
    let raw = client.get_multiplexed_async_connection().await.expect("a connection");
    for id in 0..KEYS as u64 {
        cache.put(&id, &user(id)).await.expect("stored");
        let bytes = serde_json::to_vec(&user(id)).expect("JSON");
        let _: () = raw.clone().set(format!("raw:user:{id}"), bytes).await.expect("stored");
    }
    let ours = async |time| {
        let cache = cache.clone();
        let hit = move |n: usize| {
            let (cache, id) = (cache.clone(), (n % KEYS) as u64);
            async move {
                let found = cache.get(&id).await.expect("a good key").expect("a hit");
                assert_eq!(found.id, id);
            }
        };
        rate(TASKS, time, hit).await
    };
    let theirs = async |time| {
        let raw = raw.clone();
        let hit = move |n: usize| {
            let (mut raw, id) = (raw.clone(), (n % KEYS) as u64);
            async move {
                let bytes: Vec<u8> = raw.get(format!("raw:user:{id}")).await.expect("a hit");
                let found: Arc<User> = Arc::new(serde_json::from_slice(&bytes).expect("JSON"));
                assert_eq!(found.id, id);
            }
        };
        rate(TASKS, time, hit).await
    };
    let (ours, theirs) = in_turn(effort, "cache.redis_hit", ours, theirs).await;
    Row::of_rates("cache.redis_hit", "raw", ours, theirs)
}
