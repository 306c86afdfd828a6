//! Flags beside what was promised of them, and beside the least that the job needs.

mod evaluate;
mod seen;
mod spread;

use std::time::Instant;

use redis::AsyncCommands as _;
use serde_json::{Value, json};
use sinew::Sinew;
use sinew::flag::{Expected, Flag, Flags};
use tokio::task::spawn_blocking;

use crate::measure::{Effort, Row, seen_after};
use crate::peer::raw_connection;
use crate::world::start_redis;

pub use seen::{READER, reader};

/// The peer of rows that nobody else has: what was promised.
const BAR: &str = "bar";
/// As many as a service has, so that one has to be looked up among others.
const FLAGS: usize = 100;

pub async fn run(effort: Effort) -> Vec<Row> {
    let server = spawn_blocking(start_redis).await.expect("a server");
    let url = format!("redis://127.0.0.1:{}", server.port);
    let flags = open(&url).await;
    for number in 0..FLAGS {
        put(&flags, &format!("other-{number}"), json!({ "rules": [evaluate::rule()] })).await;
    }
    put_plain_key(&url, &flags).await;
    let mut rows = evaluate::rows(effort, &flags).await;
    rows.push(spread::row(&flags).await);
    rows.extend(seen::rows(url).await);
    rows
}

async fn open(url: &str) -> Flags {
    let sinew = Sinew::connect(url).await.expect("a connection");
    sinew.tenant("acme").expect("a tenant").flags().open().await.expect("flags")
}

/// Of another flag: where there is none, no evaluation has to look among them.
async fn put_plain_key(url: &str, flags: &Flags) {
    let mut raw = raw_connection(url).await;
    let _: () = raw.set("acme:feature:other-0:global", "true").await.expect("stored");
    let flags = flags.clone();
    seen_after(Instant::now(), move || !flags.overlays().is_empty()).await;
}

/// Defines a flag of type bool.
async fn put(flags: &Flags, key: &str, mut flag: Value) {
    flag["type"] = json!("bool");
    let flag: Flag = serde_json::from_value(flag).expect("a flag");
    flags.put(key, flag, Expected::Any, "the bench").await.expect("written");
}
