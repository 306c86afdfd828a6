//! The cache beside the least that the job needs, and beside other caches.

mod local_hit;
mod push_delay;
mod redis_hit;
mod user;

use std::time::Duration;

use redis::AsyncCommands;
use sinew::{Cache, Sinew};

use crate::measure::{Effort, Row};
use crate::peer::raw_connection;
use crate::world::start_redis;

pub use user::{User, user, users};

pub const KEYS: u64 = 1_000;
/// For more entries than there are: nobody evicts.
pub const ROOM: u64 = 10_000;
/// Longer than a run: nothing expires.
pub const LONG: Duration = Duration::from_secs(3_600);

type Users = Cache<u64, User>;

pub async fn run(effort: Effort) -> Vec<Row> {
    let server = tokio::task::spawn_blocking(start_redis).await.expect("a server");
    let url = format!("redis://127.0.0.1:{}", server.port);
    let sinew = Sinew::connect(&url).await.expect("a connection");
    let acme = sinew.tenant("acme").expect("a tenant");
    let mut raw = raw_connection(&url).await;
    for user in users() {
        let bytes = serde_json::to_vec(&*user).expect("JSON");
        let _: () = raw.set(raw_key(user.id), bytes).await.expect("stored");
    }
    let mut rows = redis_hit::rows(effort, &acme, &raw).await;
    rows.extend(local_hit::rows(effort, &acme, &url).await);
    rows.push(push_delay::row(url).await);
    rows
}

/// Where a peer finds a user in Redis.
fn raw_key(id: u64) -> String {
    format!("raw:user:{id}")
}
