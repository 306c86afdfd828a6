//! What is bounded is so on both stores.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::step::{Ending, Sent, new_id, plain};
use super::{LONG_MS, Round, Side, done, redis, sides, world};
use crate::job::backend::Backend as _;
use crate::job::model::{
    Audited, BY_HAND, Body, COUNTERS_MAX, COUNTS_MAX, Declaring, End, Grain, JobState, Joined,
    Joining, LANES_MAX, LANES_MAX_BY_HAND, Outgoing,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_too_many_kinds_those_that_come_last_are_counted_as_one() {
    let (_server, link) = redis().await;
    let round = Round::new("kinds", LONG_MS);
    for mut side in sides(&link) {
        let joining = Joining { lane: "a", label: "host:7", slots: 8, lease_ms: LONG_MS };
        side.store.join(&round.keys, joining).await.unwrap();
        // More than two periods have room for, should one end meanwhile.
        let mut kinds = 0;
        for request in 1..=(2 * COUNTERS_MAX / COUNTS_MAX + 1) as u64 {
            let names = (kinds..kinds + COUNTS_MAX).map(|kind| format!("k:kind{kind}:done"));
            let counts = names.map(|name| (name, 2)).chain([("done".to_owned(), 1)]).collect();
            side.turn(&round.keys, "a", request, &Sent { counts, ..Sent::default() }).await;
            kinds += COUNTS_MAX;
        }
        let days = side.store.counted(&round.keys, Grain::Day, 2).await.unwrap();
        let mut counted: BTreeMap<String, u64> = BTreeMap::new();
        for day in days {
            assert!(day.counts.len() <= COUNTERS_MAX + 2, "{}", day.counts.len());
            for (name, count) in day.counts {
                *counted.entry(name).or_default() += count;
            }
        }
        assert_eq!(counted["done"], (2 * COUNTERS_MAX / COUNTS_MAX + 1) as u64);
        assert!(counted["k:other:done"] > 0);
        let of_kinds = counted.iter().filter(|(name, _)| name.starts_with("k:"));
        assert_eq!(of_kinds.map(|(_, count)| count).sum::<u64>(), 2 * kinds as u64);
    }
}

/// So many keys, each with a job that runs, and one that is held back by a limit, which is raised without a word to them.
async fn held_back(port: u16, side: &mut Side, round: &Round, keys: usize) {
    let (store, of) = (&side.store, &round.keys);
    let one = Declaring { partitions: Some(1), per_key: Some(1), ..Declaring::default() };
    store.declare(of, one).await.unwrap();
    for key in 0..keys {
        let key = Some(format!("key{key}"));
        let body = Body { key: key.clone(), priority: 5, ..Body::default() };
        let (flags, body) = (body.flags(false), body.write().unwrap());
        let job = || Outgoing { flags, body: body.clone(), key: key.clone(), ..plain(5) };
        store.enqueue(of, 1, vec![job(), job()]).await.unwrap();
    }
    let joining = Joining { lane: "a", label: "host:7", slots: 8, lease_ms: LONG_MS };
    store.join(of, joining).await.unwrap();
    side.took.clear();
    let mut request = 0;
    while side.took.len() < keys {
        request += 1;
        side.turn(of, "a", request, &Sent { want: 100, ..Sent::default() }).await;
        assert!(request < 100, "{}", side.took.len());
    }
    assert_eq!(world::redis_cli(port, &["HSET", of.meta(), "per_key", "2"]), "0");
}

fn forgotten(forgotten_keys: u64) -> Audited {
    Audited { forgotten_keys, ..Audited::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_those_who_audit_at_the_same_time_one_does() {
    let (server, link) = redis().await;
    let (round, [_, mut side]) = (Round::new("audits", LONG_MS), sides(&link));
    let keys = &round.keys;
    assert_eq!(side.store.audit(keys, LONG_MS).await.unwrap(), Audited::default());
    held_back(server.port, &mut side, &round, 3).await;
    assert_eq!(side.store.audit(keys, LONG_MS).await.unwrap(), Audited::default());
    assert_eq!(side.store.audit(keys, 0).await.unwrap(), forgotten(3), "whoever asks for it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_very_many_keys_audits_come_to_each() {
    let (server, link) = redis().await;
    let (round, [_, mut side]) = (Round::new("audits", LONG_MS), sides(&link));
    held_back(server.port, &mut side, &round, 600).await;
    for found in [256, 256, 88, 0] {
        assert_eq!(side.store.audit(&round.keys, 0).await.unwrap(), forgotten(found));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reserves_leaves_room_for_workers() {
    let (_server, link) = redis().await;
    let round = Round::new("lanes", LONG_MS);
    for side in sides(&link) {
        let joined = async |lane: String| {
            let joining = Joining { lane: &lane, label: "host:7", slots: 8, lease_ms: LONG_MS };
            side.store.join(&round.keys, joining).await.unwrap()
        };
        for at in 0..LANES_MAX_BY_HAND {
            assert!(matches!(joined(format!("{BY_HAND}{at}")).await, Joined::Done { .. }), "{at}");
        }
        assert_eq!(joined(format!("{BY_HAND}more")).await, Joined::Full);
        assert!(matches!(joined(format!("{BY_HAND}0")).await, Joined::Done { .. }), "once more");
        for at in LANES_MAX_BY_HAND..LANES_MAX {
            assert!(matches!(joined(format!("host:{at}")).await, Joined::Done { .. }), "{at}");
        }
        assert_eq!(joined("host:more".to_owned()).await, Joined::Full);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_all_that_is_remembered_as_done_each_is_found() {
    let (_server, link) = redis().await;
    let round = Round::new("done", LONG_MS);
    for mut side in sides(&link) {
        let (keys, nobody, mut ids) = (&round.keys, new_id(), Vec::new());
        assert_eq!(side.store.done(keys, nobody).await.unwrap(), None);
        let joining = Joining { lane: "a", label: "host:7", slots: 8, lease_ms: LONG_MS };
        side.store.join(keys, joining).await.unwrap();
        let mut endings = Vec::new();
        // In more turns than one look goes through.
        for request in 1..1_100 {
            side.store.enqueue(keys, 1, vec![plain(5)]).await.unwrap();
            side.took.clear();
            side.turn(keys, "a", request, &Sent { want: 1, endings, ..Sent::default() }).await;
            let id = side.took[0];
            ids.push(id);
            let mut end = done(b"")(id);
            if let End::Done { line, .. } = &mut end {
                *line = Bytes::from(format!("{id} mail 1 {nobody}\n"));
            }
            endings = vec![Ending { id, is_wrong: false, end }];
        }
        let running = ids.pop().unwrap();
        for id in [ids[0], ids[50], ids[ids.len() - 1]] {
            let (_, line) = side.store.done(keys, id).await.unwrap().expect("it is remembered");
            assert_eq!(line, format!("{id} mail 1 {nobody}"));
        }
        for id in [running, nobody] {
            assert_eq!(side.store.done(keys, id).await.unwrap(), None);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_awaits_an_end_is_not_told_who_runs_the_job() {
    let (_server, link) = redis().await;
    let round = Round::new("awaited", LONG_MS);
    for mut side in sides(&link) {
        let keys = &round.keys;
        side.store.enqueue(keys, 1, vec![plain(5)]).await.unwrap();
        let joining = Joining { lane: "a", label: "host:7", slots: 8, lease_ms: LONG_MS };
        side.store.join(keys, joining).await.unwrap();
        side.turn(keys, "a", 1, &Sent { want: 1, ..Sent::default() }).await;
        let id = side.took[0];
        let awaited = side.store.find_awaiting(keys, id, LONG_MS).await.unwrap().unwrap();
        assert_eq!((awaited.state, awaited.lane), (JobState::Waiting, None));
        let found = side.store.find(keys, id).await.unwrap().unwrap();
        assert_eq!((found.state, found.lane.as_deref()), (JobState::Running, Some("a")));
    }
}
