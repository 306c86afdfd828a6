//! Leases that are over: after a silence, and of whoever's process has ended.

use std::time::Duration;

use super::step::{Sent, plain};
use super::{LONG_MS, OVER, Round, Side, redis, sides, world};
use crate::job::backend::{Backend as _, Store};
use crate::job::memory::MemoryBackend;
use crate::job::model::{CRASHES_MAX, Declaring, Held, JobState, Joining, Turn};
use crate::job::redis::RedisBackend;
use crate::kernel::clock::{Clock, ManualClock};
use crate::kernel::key::QueueKeys;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspect_that_a_rate_holds_back_says_when_it_may_begin() {
    let (_server, link) = redis().await;
    let round = Round::new("held", LONG_MS);
    let (keys, mut sides) = (&round.keys, sides(&link));
    for side in &mut sides {
        let declaring = Declaring { rate: Some((1, LONG_MS)), ..Declaring::default() };
        side.store.declare(keys, declaring).await.unwrap();
        side.store.enqueue(keys, 1, vec![plain(5)]).await.unwrap();
        let joining = Joining { lane: "dies", label: "host:7", slots: 8, lease_ms: 1 };
        side.store.join(keys, joining).await.unwrap();
        side.turn(keys, "dies", 1, &Sent { want: 1, ..Sent::default() }).await;
        assert_eq!(side.took.len(), 1);
    }
    tokio::time::sleep(OVER).await;
    for side in &sides {
        let joining = Joining { lane: "asks", label: "host:7", slots: 8, lease_ms: LONG_MS };
        side.store.join(keys, joining).await.unwrap();
        let turn = Turn {
            lane: "asks",
            request: 1,
            want: 1,
            takes_suspect: true,
            settles: &[],
            counts: &[],
        };
        let Held::Kept(took) = side.store.turn(keys, &turn).await.unwrap() else {
            panic!("it has just joined")
        };
        let next_ms = took.next_due_ms.expect("its time is known");
        assert!(took.jobs.is_empty() && next_ms > took.now_ms + LONG_MS / 2, "{took:?}");
    }
}

/// Has a time go by in a store: for the model by its clock, on Redis by moving what is written there.
fn pass(hands: &ManualClock, port: u16, side: usize, keys: &QueueKeys, seconds: u64) {
    if side == 0 {
        hands.advance(Duration::from_secs(seconds));
        return;
    }
    let script = "redis.call('HINCRBY', KEYS[1], 'alive', -ARGV[1])
        for _, lane in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
            redis.call('ZINCRBY', KEYS[2], -ARGV[1], lane)
        end
        return 'passed'";
    let (lanes, ms) = (keys.meta().replace(":meta", ":lanes"), (seconds * 1_000).to_string());
    let passed = world::redis_cli(port, &["EVAL", script, "2", keys.meta(), &lanes, &ms]);
    assert_eq!(passed, "passed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silence_spares_each_lane_once_and_not_who_ends_it() {
    let (server, link) = redis().await;
    let (clock, hands) = Clock::manual();
    let stores =
        [Store::Memory(MemoryBackend::new(clock, 64 << 20)), Store::Redis(RedisBackend::new(link))];
    for (at, store) in stores.into_iter().enumerate() {
        let (mut side, keys) = (Side::new(store), Round::new("silences", LONG_MS).keys);
        let pass = |seconds| pass(&hands, server.port, at, &keys, seconds);
        side.store.enqueue(&keys, 1, vec![plain(5), plain(5)]).await.unwrap();
        for lane in ["dies", "lives"] {
            let joining = Joining { lane, label: "host:7", slots: 8, lease_ms: 5_000 };
            side.store.join(&keys, joining).await.unwrap();
            side.turn(&keys, lane, 1, &Sent { want: 1, ..Sent::default() }).await;
        }
        let asks = Sent { want: 8, takes_suspect: true, ..Sent::default() };
        // Both leases are over, and no one has been there to renew them.
        pass(9);
        let joining = Joining { lane: "asks", label: "host:7", slots: 8, lease_ms: 1_000 };
        side.store.join(&keys, joining).await.unwrap();
        side.took.clear();
        side.turn(&keys, "asks", 1, &asks).await;
        assert!(side.took.is_empty(), "they are spared");
        let now_ms = side.store.look(&keys).await.unwrap().unwrap().now_ms;
        for lane in side.store.lanes(&keys).await.unwrap() {
            let left_ms = lane.lease_until_ms.saturating_sub(now_ms);
            assert_eq!(left_ms > 1_000, lane.lane != "asks", "{lane:?}");
        }
        assert!(matches!(
            side.store.renew(&keys, "lives", 5_000, &[]).await.unwrap(),
            Held::Kept(_)
        ));
        pass(60);
        let joining = Joining { lane: "asks too", label: "host:7", slots: 8, lease_ms: 1_000 };
        side.store.join(&keys, joining).await.unwrap();
        side.turn(&keys, "asks too", 1, &asks).await;
        let lanes = side.store.lanes(&keys).await.unwrap();
        let mut lanes: Vec<String> = lanes.into_iter().map(|lane| lane.lane).collect();
        lanes.sort_unstable();
        assert_eq!(lanes, ["asks", "asks too", "lives"]);
        assert_eq!(side.took.len(), 1, "what the dead one had is taken back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_ends_a_silence_with_a_turn_is_spared_as_the_others_are() {
    let (server, link) = redis().await;
    let (clock, hands) = Clock::manual();
    let stores =
        [Store::Memory(MemoryBackend::new(clock, 64 << 20)), Store::Redis(RedisBackend::new(link))];
    for (at, store) in stores.into_iter().enumerate() {
        let (mut side, keys) = (Side::new(store), Round::new("first", LONG_MS).keys);
        side.store.enqueue(&keys, 1, vec![plain(5)]).await.unwrap();
        for lane in ["first", "second"] {
            let joining = Joining { lane, label: "host:7", slots: 8, lease_ms: 5_000 };
            side.store.join(&keys, joining).await.unwrap();
        }
        side.turn(&keys, "first", 1, &Sent { want: 1, ..Sent::default() }).await;
        assert_eq!(side.took.len(), 1);
        pass(&hands, server.port, at, &keys, 40);
        side.took.clear();
        for (lane, request) in [("first", 2), ("second", 1)] {
            let asks = Sent { want: 8, takes_suspect: true, ..Sent::default() };
            side.turn(&keys, lane, request, &asks).await;
        }
        assert!(side.took.is_empty(), "what the first has is not taken back");
        assert!(matches!(
            side.store.renew(&keys, "first", 5_000, &[]).await.unwrap(),
            Held::Kept(_)
        ));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_lanes_fall_is_a_suspect_and_is_buried_in_the_end() {
    let (_server, link) = redis().await;
    let (round, job) = (Round::new("crashes", 1), plain(5));
    let (keys, mut sides) = (&round.keys, sides(&link));
    for side in &sides {
        side.store.enqueue(keys, 1, vec![job.clone()]).await.unwrap();
    }
    for at in 0..=CRASHES_MAX {
        let lane = format!("lane{at}");
        let mut told = Vec::new();
        for side in &mut sides {
            let joining = Joining { lane: &lane, label: "host:7", slots: 8, lease_ms: 1 };
            side.store.join(keys, joining).await.unwrap();
            side.took.clear();
            let careful = Sent { want: 1, ..Sent::default() };
            let refused = side.turn(keys, &lane, 1, &careful).await;
            let is_suspect = at > 0;
            assert_eq!(side.took.is_empty(), is_suspect, "{refused}");
            side.took.clear();
            let sent = Sent { takes_suspect: true, ..careful };
            let taken = side.turn(keys, &lane, 2, &sent).await;
            assert_eq!(side.took.is_empty(), at == 0 || at == CRASHES_MAX, "{taken}");
            told.push((refused, taken, side.look(&round).await));
        }
        assert_eq!(told[0], told[1], "delivery {at}");
        tokio::time::sleep(OVER).await;
    }
    for side in &sides {
        let dead = side.store.find(keys, job.id).await.unwrap().expect("it is kept");
        assert_eq!(dead.state, JobState::Dead);
        let groups = side.store.dead_groups(keys).await.unwrap();
        let words = format!("{CRASHES_MAX} deliveries ended with their process");
        assert_eq!((groups[0].kind.as_str(), &groups[0].error), ("cleanup", &words));
    }
}
