//! A hit in this process, decoded long ago, with ours counting it and able to lose it to a change
//! made elsewhere.
//!
//! Maps are called from plain threads, and ours beside them with one poll, so that no runtime is
//! measured. What is made for tasks is awaited in tasks, and ours beside it too.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use sinew::{Local, Sinew, Source};
use tokio::task::yield_now;

use super::{KEYS, LONG, User, Users, raw_key, user, users};
use crate::measure::{Effort, Row, at_once, in_turn, rate, tight_rate};
use crate::peer::maps::{self, Get};
use crate::peer::{caching_connection, hitbox};

/// Look-ups from one look at whether the turn is over to the next.
const BATCH: u64 = 1_024;

pub async fn rows(effort: Effort, sinew: &Sinew, url: &str) -> Vec<Row> {
    let local = Local::bytes(64 << 20);
    let cache: Users = sinew.cache("neighbour").ttl(LONG).local(local).build().expect("a cache");
    for user in users() {
        cache.put(&user.id, &user).await.expect("stored");
    }
    let mut rows = Vec::new();
    for (bench, threads) in [("cache.local_hit", 2), ("cache.local_hit_1_thread", 1)] {
        let of = Measured { effort, bench, threads, cache: &cache };
        rows.push(of.beside_map("raw", maps::quick_cache()).await);
        rows.push(of.beside_map("moka", maps::moka()).await);
        rows.push(of.beside_map("cached", maps::cached()).await);
        rows.push(of.beside_hitbox().await);
    }
    let of = Measured { effort, bench: "cache.local_hit", threads: 2, cache: &cache };
    rows.push(of.beside_cache_aio(url).await);
    let of = Measured { effort, bench: "cache.local_hit_in_task", threads: 2, cache: &cache };
    rows.push(of.beside_moka().await);
    rows
}

/// What a row is about, but for the peer.
struct Measured<'a> {
    effort: Effort,
    bench: &'static str,
    /// Or tasks.
    threads: u64,
    cache: &'a Users,
}

impl Measured<'_> {
    /// Both from threads.
    async fn beside_map(&self, peer: &'static str, map: impl Get) -> Row {
        let cache = self.cache.clone();
        let get = move |id: u64| at_once(cache.get(&id)).expect("a good key");
        let ours = async |time| {
            warm(self.cache).await;
            from_threads(self.threads, time, get.clone()).await
        };
        let theirs = async |time| from_threads(self.threads, time, map.clone()).await;
        let (ours, theirs) = in_turn(self.effort, self.bench, ours, theirs).await;
        Row::of_rates(self.bench, peer, ours, theirs)
    }

    /// Both in tasks.
    async fn beside<A>(&self, peer: &'static str, theirs: A) -> Row
    where
        A: AsyncFn(Duration) -> f64,
    {
        let ours = async |time| {
            warm(self.cache).await;
            let cache = self.cache.clone();
            let batch = move |number| {
                let cache = cache.clone();
                async move {
                    for id in ids(number) {
                        let found = cache.get(&id).await.expect("a good key").expect("a hit");
                        assert_eq!(found.id, id);
                    }
                    // Connections have to be looked after meanwhile.
                    yield_now().await;
                }
            };
            rate(self.threads, time, batch).await * BATCH as f64
        };
        let (ours, theirs) = in_turn(self.effort, self.bench, ours, theirs).await;
        Row::of_rates(self.bench, peer, ours, theirs)
    }

    async fn beside_moka(&self) -> Row {
        let moka = maps::moka_for_tasks().await;
        let theirs = async |time| {
            let moka = moka.clone();
            let batch = move |number| {
                let moka = moka.clone();
                async move {
                    for id in ids(number) {
                        let found = moka.get(&id).await.expect("a hit");
                        assert_eq!(found.id, id);
                    }
                    yield_now().await;
                }
            };
            rate(self.threads, time, batch).await * BATCH as f64
        };
        self.beside("moka", theirs).await
    }

    async fn beside_hitbox(&self) -> Row {
        let kept = hitbox::cache().await;
        let theirs = async |time| {
            let kept = kept.clone();
            let batch = move |number| {
                let kept = kept.clone();
                async move {
                    for id in ids(number) {
                        let found = hitbox::find_user(id).cache(&kept).await;
                        assert_eq!(found.id, id);
                    }
                    yield_now().await;
                }
            };
            rate(self.threads, time, batch).await * BATCH as f64
        };
        self.beside("hitbox", theirs).await
    }

    /// The cache of Redis's own client, which keeps replies: whoever asks decodes.
    async fn beside_cache_aio(&self, url: &str) -> Row {
        let mut connection = match caching_connection(url).await {
            Ok(connection) => connection,
            Err(why) => return Row::unavailable(self.bench, "cache-aio", &why.to_string()),
        };
        for id in 0..KEYS {
            find(&mut connection, id).await;
        }
        let theirs = async |time| {
            let connection = connection.clone();
            let batch = move |number| {
                let mut connection = connection.clone();
                async move {
                    for id in ids(number) {
                        assert_eq!(find(&mut connection, id).await.id, id);
                    }
                    yield_now().await;
                }
            };
            rate(self.threads, time, batch).await * BATCH as f64
        };
        let row = self.beside("cache-aio", theirs).await;
        let misses = connection.get_cache_statistics().expect("a cache").miss;
        assert_eq!(misses as u64, KEYS, "only the first look-ups of each key");
        row
    }
}

/// Sees to it that every look-up that follows is a local hit.
async fn warm(cache: &Users) {
    for id in 0..KEYS {
        let mut tries = 0..100;
        while source_of(cache, id).await != Source::Local {
            tries.next().expect("local within 100 look-ups");
        }
    }
}

async fn source_of(cache: &Users, id: u64) -> Source {
    let load = move || async move { Ok::<_, Infallible>(user(id)) };
    cache.get_or_load_traced(&id, load).await.expect("loaded").source
}

async fn find(connection: &mut MultiplexedConnection, id: u64) -> Arc<User> {
    let bytes: Vec<u8> = connection.get(raw_key(id)).await.expect("a hit");
    Arc::new(serde_json::from_slice(&bytes).expect("JSON"))
}

async fn from_threads(threads: u64, time: Duration, get: impl Get) -> f64 {
    let batch = move |number| {
        for id in ids(number) {
            let found = get(id).expect("a hit");
            assert_eq!(found.id, id);
        }
    };
    tight_rate(threads, time, batch).await * BATCH as f64
}

/// The keys of a batch: one after the other, from a place of its own, because picking them may
/// cost next to nothing.
fn ids(number: u64) -> impl Iterator<Item = u64> {
    let mut id = number * 389 % KEYS;
    (0..BATCH).map(move |_| {
        id = if id + 1 == KEYS { 0 } else { id + 1 };
        id
    })
}
