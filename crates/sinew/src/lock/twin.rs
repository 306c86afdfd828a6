//! The model and the scripts are one: random steps on both stores bring the same answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Engine;
use super::backend::Backend as _;
use super::model::{Answer, Ask, CLAIM, Kind, Look, Token};
use crate::kernel::clock::Clock;
use crate::kernel::error::Result;
use crate::kernel::key::{LockKeys, Scope};
use crate::kernel::name::{Prefix, Tenancy};
use crate::kernel::redis::{Link, Target};
use crate::kernel::ttl::Ttl;

// The same servers as the laws'.
#[allow(dead_code, unused_imports, clippy::duplicate_mod)]
#[path = "../../tests/it/world/mod.rs"]
mod world;

const ROUNDS: u64 = 40;
/// In each burst of a round no claim runs out, and between two of them all do.
const BURSTS: u64 = 5;
const STEPS: u64 = 40;
const LOCKS: usize = 4;

#[derive(Debug, PartialEq, Eq)]
enum Brought {
    Granted { is_fenced: bool },
    NotNow { is_in_line: bool, keeps_its_place: bool },
    Held(bool),
    HeldBy(u64),
    Shown { holding: u64, waiting: u64, holders: Vec<Token> },
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask(Token, bool),
    Extend(Token),
    Release(Token),
    ForceRelease,
    Look,
}

/// A store, and the arrivals that it has told: a lock and a waiter of it, and when that one came.
struct Side {
    engine: Arc<Engine>,
    arrivals: HashMap<(usize, u64), u64>,
}

impl Side {
    async fn take(&mut self, lock: usize, key: &LockKeys, step: Step) -> Result<Brought> {
        // Longer than a round, so that nothing runs out on one side only.
        let ttl = Ttl::new(Duration::from_secs(60)).unwrap();
        let backend = &self.engine.backend;
        let brought = match step {
            Step::Ask(token, waits) => {
                let told = self.arrivals.get(&(lock, token.own)).copied().filter(|_| waits);
                let ask = Ask { token, ttl, waits, arrival: told, replicas: None };
                match backend.acquire(key, &ask).await? {
                    Answer::Granted { fence } => {
                        self.arrivals.remove(&(lock, token.own));
                        Brought::Granted { is_fenced: fence.get() > 0 }
                    }
                    Answer::NotNow { arrival, .. } => {
                        if let Some(arrival) = arrival {
                            self.arrivals.insert((lock, token.own), arrival);
                        }
                        let keeps_its_place = told.is_some() && arrival == told;
                        Brought::NotNow { is_in_line: arrival.is_some(), keeps_its_place }
                    }
                }
            }
            Step::Extend(token) => Brought::Held(backend.extend(key, token, ttl).await?),
            Step::Release(token) => {
                self.arrivals.remove(&(lock, token.own));
                Brought::Held(backend.release(key, token).await?)
            }
            Step::ForceRelease => Brought::HeldBy(backend.force_release(key).await?),
            Step::Look => {
                let Look { holding, waiting, holders, .. } = backend.look(key, 100).await?;
                let mut holders: Vec<Token> = holders.into_iter().map(|(token, _)| token).collect();
                holders.sort_by_key(|token| token.own);
                Brought::Shown { holding, waiting, holders }
            }
        };
        Ok(brought)
    }
}

fn random_step(random: &mut fastrand::Rng) -> Step {
    let own = random.u64(0..9);
    let kind = match own % 3 {
        0 => Kind::Alone,
        1 => Kind::Shared,
        _ => Kind::Permit { of: 2 },
    };
    let token = Token { kind, process: own / 3, own };
    match random.u8(0..20) {
        0..10 => Step::Ask(token, random.bool()),
        10..12 => Step::Extend(token),
        12..18 => Step::Release(token),
        18 => Step::ForceRelease,
        _ => Step::Look,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scripts_answer_as_the_model_does() {
    let server = tokio::task::spawn_blocking(world::start_redis).await.unwrap();
    let target = Target::parse(&format!("redis://127.0.0.1:{}", server.port)).unwrap();
    let link = Link::open(&target, Duration::from_secs(10), Vec::new()).unwrap();
    link.until_up().await.unwrap();
    let prefix = Prefix::default();
    let scope = Scope::unscoped(&prefix, Tenancy::Multi);
    let side = |engine| Side { engine, arrivals: HashMap::new() };
    let mut embedded = side(Engine::embedded(Clock::system()));
    let mut on_redis = side(Engine::on_redis(link.clone(), &prefix));
    let (mut compared, mut over, seed) = (0, 0, fastrand::u64(..));
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    'rounds: for round in 0..ROUNDS {
        let key = |lock: usize| scope.lock(&format!("round {round}, {lock}")).unwrap();
        let keys: Vec<LockKeys> = (0..LOCKS).map(key).collect();
        (embedded.arrivals, on_redis.arrivals) = Default::default();
        for _ in 0..BURSTS {
            let began = Instant::now();
            for _ in 0..STEPS {
                let (lock, step) = (random.usize(..LOCKS), random_step(&mut random));
                let modelled = embedded.take(lock, &keys[lock], step).await.unwrap();
                let scripted = match on_redis.take(lock, &keys[lock], step).await {
                    Ok(scripted) => scripted,
                    // A machine that stands still for seconds loses its connections.
                    Err(error) if error.is_retryable() => {
                        link.until_up().await.unwrap();
                        continue 'rounds;
                    }
                    Err(error) => panic!("{error:#}"),
                };
                if began.elapsed() > CLAIM * 4 / 5 {
                    // A claim may have run out on one side only.
                    continue 'rounds;
                }
                assert_eq!(modelled, scripted, "{step:?} on lock {lock} in round {round}");
                compared += 1;
                if began.elapsed() > CLAIM / 2 {
                    break;
                }
            }
            // Whoever was to come and did not is late now, on both sides.
            tokio::time::sleep(CLAIM + Duration::from_millis(10)).await;
            over += 1;
        }
    }
    println!("{compared} steps compared, between {over} times when all claims had run out");
    let enough = ROUNDS * BURSTS * STEPS / 40;
    assert!(
        compared > enough && over > ROUNDS,
        "{compared}, {over}: the machine is too slow to compare"
    );
}
