//! The model and the scripts are one: random steps on both stores bring the same answers.

use std::time::{Duration, Instant};

use super::Engine;
use super::backend::Backend as _;
use super::model::{Answer, Ask, CLAIM, Kind, Look, Token};
use crate::kernel::clock::Clock;
use crate::kernel::key::{LockKeys, Scope};
use crate::kernel::name::{Prefix, Tenancy};
use crate::kernel::redis::{Link, Target};
use crate::kernel::ttl::Ttl;

// The same servers as the laws'.
#[allow(dead_code, unused_imports, clippy::duplicate_mod)]
#[path = "../../tests/it/world/mod.rs"]
mod world;

const ROUNDS: u64 = 300;
const STEPS: u64 = 40;

#[derive(Debug, PartialEq, Eq)]
enum Brought {
    Granted { is_fenced: bool },
    NotNow { is_in_line: bool },
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

async fn take(engine: &Engine, key: &LockKeys, step: Step) -> Brought {
    // Longer than a round, so that nothing runs out on one side only.
    let ttl = Ttl::new(Duration::from_secs(60)).unwrap();
    let backend = &engine.backend;
    match step {
        Step::Ask(token, waits) => {
            let ask = Ask { token, ttl, waits, arrival: None, replicas: None };
            match backend.acquire(key, &ask).await.unwrap() {
                Answer::Granted { fence } => Brought::Granted { is_fenced: fence.get() > 0 },
                Answer::NotNow { arrival, .. } => Brought::NotNow { is_in_line: arrival.is_some() },
            }
        }
        Step::Extend(token) => Brought::Held(backend.extend(key, token, ttl).await.unwrap()),
        Step::Release(token) => Brought::Held(backend.release(key, token).await.unwrap()),
        Step::ForceRelease => Brought::HeldBy(backend.force_release(key).await.unwrap()),
        Step::Look => {
            let Look { holding, waiting, holders, .. } = backend.look(key, 100).await.unwrap();
            let mut holders: Vec<Token> = holders.into_iter().map(|(token, _)| token).collect();
            holders.sort_by_key(|token| token.own);
            Brought::Shown { holding, waiting, holders }
        }
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
    let engines = [Engine::embedded(Clock::system()), Engine::on_redis(link, &prefix)];
    let (mut compared, seed) = (0, fastrand::u64(..));
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..ROUNDS {
        let key = scope.lock(&format!("round {round}")).unwrap();
        let began = Instant::now();
        for _ in 0..STEPS {
            let step = random_step(&mut random);
            let brought =
                [take(&engines[0], &key, step).await, take(&engines[1], &key, step).await];
            if began.elapsed() > CLAIM / 2 {
                // A claim may have run out on one side only.
                break;
            }
            assert_eq!(brought[0], brought[1], "{step:?} in round {round}");
            compared += 1;
        }
    }
    println!("{compared} steps compared");
    assert!(compared > ROUNDS * STEPS / 20, "{compared}: the machine is too slow to compare");
}
