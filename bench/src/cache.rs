//! The cache beside the least that the job needs.

use std::sync::Arc;
use std::time::Duration;

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};
use sinew::{Cache, Sinew};

use crate::measure::{Effort, Row, in_turn, rate};
use crate::peer::raw_connection;
use crate::world::start_redis;

const TASKS: u64 = 256;
const KEYS: u64 = 1_000;

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
    let server = tokio::task::spawn_blocking(start_redis).await.expect("a server");
    let url = format!("redis://127.0.0.1:{}", server.port);
    let sinew = Sinew::connect(&url).await.expect("a connection");
    let cache: Users = sinew.tenant("acme").expect("a tenant").cache("user").build().expect("a cache");
    let mut raw = raw_connection(&url).await;
    for id in 0..KEYS {
        cache.put(&id, &user(id)).await.expect("stored");
        let bytes = serde_json::to_vec(&user(id)).expect("JSON");
        let _: () = raw.set(raw_key(id), bytes).await.expect("stored");
    }
    vec![redis_hit(effort, &cache, &raw).await, redis_hit_or_load(effort, &cache, &raw).await]
}

type Users = Cache<u64, User>;

fn raw_key(id: u64) -> String {
    format!("raw:user:{id}")
}

/// A hit in Redis, decoded, at 256 tasks, against a bare client that does GET and decodes.
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
