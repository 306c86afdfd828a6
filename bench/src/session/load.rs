//! What each request does: a session is opened and looked into; and how many round trips that takes.

use std::sync::Arc;
use std::time::Duration;

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use sinew::session::{SessionToken, Sessions};
use tokio::task::spawn_blocking;

use super::{CART, SESSIONS, TASKS, logged_in};
use crate::measure::{Effort, Row, in_turn, rate};
use crate::peer::raw_connection;
use crate::world::start_redis;

pub async fn row(
    effort: Effort,
    sessions: &Sessions,
    tokens: &[SessionToken],
    raw: &MultiplexedConnection,
) -> Row {
    let json = serde_json::to_vec(&CART).expect("JSON");
    for number in 0..SESSIONS {
        let _: () = raw.clone().set(raw_key(number), json.clone()).await.expect("stored");
    }
    let tokens: Arc<[SessionToken]> = tokens.into();
    let ours = async |time| loads(sessions, &tokens, time).await;
    let theirs = async |time| raw_gets(raw, time).await;
    let (ours, theirs) = in_turn(effort, "session.load", ours, theirs).await;
    Row::of_rates("session.load", "raw", ours, theirs)
}

fn raw_key(number: u64) -> String {
    format!("raw:session:{number}")
}

async fn loads(sessions: &Sessions, tokens: &Arc<[SessionToken]>, time: Duration) -> f64 {
    let (sessions, tokens) = (sessions.clone(), Arc::clone(tokens));
    let load = move |n: u64| {
        let session = sessions.open(tokens[(n % SESSIONS) as usize].clone());
        async move {
            let cart: Option<Vec<String>> = session.get("cart").await.expect("an answer");
            assert_eq!(cart.expect("it is live").len(), CART.len());
        }
    };
    rate(TASKS, time, load).await
}

async fn raw_gets(raw: &MultiplexedConnection, time: Duration) -> f64 {
    let raw = raw.clone();
    let get = move |n: u64| {
        let (mut raw, key) = (raw.clone(), raw_key(n % SESSIONS));
        async move {
            let json: Vec<u8> = raw.get(key).await.expect("a hit");
            let cart: Vec<String> = serde_json::from_slice(&json).expect("JSON");
            assert_eq!(cart.len(), CART.len());
        }
    };
    rate(TASKS, time, get).await
}

/// Of loads one after the other: how often the server had to read, where nobody else sends it anything.
pub async fn round_trips() -> Row {
    const LOADS: u64 = 1_000;
    let server = spawn_blocking(start_redis).await.expect("a server");
    let url = format!("redis://127.0.0.1:{}", server.port);
    let (sessions, tokens) = logged_in(&url, 1).await;
    let mut raw = raw_connection(&url).await;
    let before = reads(&mut raw).await;
    for _ in 0..LOADS {
        assert!(sessions.open(tokens[0].clone()).is_live().await.expect("an answer"));
    }
    let between = reads(&mut raw).await;
    for _ in 0..LOADS {
        let _: Option<Vec<u8>> = raw.get(raw_key(0)).await.expect("a reply");
    }
    let after = reads(&mut raw).await;
    // But for the one that asked.
    let each = |count: u64| (count - 1) as f64 / LOADS as f64;
    let (ours, theirs) = (each(between - before), each(after - between));
    // A connection is looked after now and then.
    assert!(ours < 1.1, "{ours} round trips a load");
    Row::of_times("session.load_trips", "raw", ours, theirs, "round trips")
}

async fn reads(server: &mut MultiplexedConnection) -> u64 {
    let info = redis::cmd("INFO").arg("stats").query_async::<String>(server).await;
    let info = info.expect("statistics");
    let count = info.lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
    count.and_then(|count| count.trim().parse().ok()).expect("a server that counts its reads")
}
