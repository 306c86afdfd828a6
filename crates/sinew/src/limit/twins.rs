//! The scripts decide as the rules do: the same random sequences, step by step, by a time that is told.

use std::time::Duration;

use super::algorithm::vectors::{self, ALGORITHMS, SUBJECTS, What, sequence};
use super::algorithm::{Demand, Mode, Receipt, Rule, Tally, decide};
use super::redis::{check_at, settle_at};
use crate::kernel::key::{Key, Path, Scope};
use crate::kernel::name::{LimitName, Prefix, Tenancy};
use crate::kernel::redis::{Link, Target};

// The same servers as the laws'.
#[allow(dead_code, unused_imports, clippy::duplicate_mod)]
#[path = "../../tests/it/world/mod.rs"]
mod world;

use world::{SHARED_REDIS, SHARED_VALKEY, redis_cli};

const SEQUENCES: u64 = 500;

async fn link_to(port: impl FnOnce() -> u16 + Send + 'static) -> (u16, Link) {
    let port = tokio::task::spawn_blocking(port).await.unwrap();
    let target = Target::parse(&format!("redis://127.0.0.1:{port}")).unwrap();
    let link = Link::open(&target, Duration::from_secs(10), Vec::new()).unwrap();
    link.until_up().await.unwrap();
    (port, link)
}

/// A key that no other sequence uses, in any run on the same server.
fn key(run: &str, sequence: u64, subject: usize) -> Key {
    let scope = Scope::unscoped(&Prefix::default(), Tenancy::Multi);
    let name = LimitName::new("twins").unwrap();
    scope.limit(&name, &Path::of(&(run, sequence, subject))).unwrap()
}

async fn agree(link: &Link, run: &str, seed: u64) {
    let keys: Vec<Key> = (0..SUBJECTS).map(|subject| key(run, seed, subject)).collect();
    let mut kept: Vec<Option<Tally>> = vec![None; SUBJECTS];
    let mut charges: Vec<(usize, Rule, Receipt)> = Vec::new();
    for (step, vectors::Step { now_us, what }) in sequence(seed).into_iter().enumerate() {
        match what {
            What::Check(demands, mode) => {
                let asked: Vec<(&Key, Demand)> =
                    demands.iter().map(|(subject, demand)| (&keys[*subject], *demand)).collect();
                let reply = check_at(link, &asked, mode, Some(now_us)).await.unwrap();
                let found =
                    demands.iter().map(|(subject, demand)| (*demand, kept[*subject].as_ref()));
                let verdict = decide(found, mode, now_us);
                let told = (reply.now_us, reply.admitted, &reply.rows);
                let expected = (now_us, verdict.admitted, &verdict.rows);
                assert_eq!(told, expected, "sequence {seed}, step {step}: {demands:?}");
                for (((subject, demand), changed), row) in
                    demands.iter().zip(verdict.kept).zip(&verdict.rows)
                {
                    if let Some(changed) = changed {
                        kept[*subject] = Some(changed);
                    }
                    if row.granted > 0 {
                        let receipt =
                            Receipt { charged: row.granted, at_us: now_us, mark: row.mark };
                        charges.push((*subject, demand.rule, receipt));
                    }
                }
            }
            What::Settle { nth, hundredths } => {
                let Some(at) = nth.checked_rem(charges.len()) else { continue };
                let (subject, rule, receipt) = charges.swap_remove(at);
                let actual = receipt.charged * hundredths / 100;
                settle_at(link, &keys[subject], rule, &receipt, actual, Some(now_us))
                    .await
                    .unwrap();
                if let Some(tally) = rule.settle(kept[subject].as_ref(), now_us, &receipt, actual) {
                    // What comes to nothing is not kept.
                    kept[subject] = Some(tally).filter(|tally| tally.lasts_us(now_us) > 0);
                }
            }
        }
    }
}

async fn agree_on(link: &Link) {
    let run = format!("{:x}", fastrand::u64(..));
    for seed in 0..SEQUENCES {
        agree(link, &run, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_decides_as_the_rules_do() {
    agree_on(&link_to(|| SHARED_REDIS.port).await.1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn valkey_decides_as_the_rules_do() {
    agree_on(&link_to(|| SHARED_VALKEY.port).await.1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_ours_is_as_good_as_nothing() {
    let (port, link) = link_to(|| SHARED_REDIS.port).await;
    let run = format!("{:x}", fastrand::u64(..));
    let long = "x".repeat(33);
    let garbage: [&[&str]; 6] = [
        &["SET", "x"],
        &["SET", &long],
        &["RPUSH", "x", "y", "z"],
        &["SADD", "x"],
        &["HSET", "f", "v"],
        &["ZADD", "1", "m"],
    ];
    for (nth, write) in garbage.iter().enumerate() {
        for algorithm in ALGORITHMS {
            let rule = Rule::new(algorithm, 10, 60_000_000, 10, 0).unwrap();
            let demand = Demand { rule, cost: 4, want: 4, is_shadow: false };
            let key = key(&run, algorithm as u64, nth);
            let command: Vec<&str> = [&write[..1], &[key.as_str()], &write[1..]].concat();
            let begin = || {
                redis_cli(port, &["DEL", key.as_str()]);
                redis_cli(port, &command);
            };
            begin();
            let now_us = 1_700_000_000_000_000;
            let mut kept = None;
            for step in 0..3 {
                let (asked, now_us) = ([(&key, demand)], now_us + step);
                let reply = check_at(&link, &asked, Mode::Charge, Some(now_us)).await.unwrap();
                let verdict = decide([(demand, kept.as_ref())], Mode::Charge, now_us);
                assert_eq!(reply.rows, verdict.rows, "{algorithm:?} after {command:?}");
                kept = verdict.kept.into_iter().next().flatten().or(kept);
            }
            begin();
            let receipt = Receipt { charged: 4, at_us: now_us, mark: 0 };
            settle_at(&link, &key, rule, &receipt, 6, Some(now_us)).await.unwrap();
            let reply = check_at(&link, &[(&key, demand)], Mode::Look, Some(now_us)).await.unwrap();
            assert_eq!(reply.rows[0].remaining, 8, "{algorithm:?} settled after {command:?}");
        }
    }
}
