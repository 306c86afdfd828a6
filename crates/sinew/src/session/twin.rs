//! The model and the scripts are one: random steps on both stores bring the same answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::backend::{Backend as _, Ending, Took, Whose};
use super::engine::Engine;
use super::model::{
    Absence, Beginning, Begun, Change, Changes, Evict, Found, Most, Outcome, Rotation, Row, Saving,
    When,
};
use crate::kernel::clock::Clock;
use crate::kernel::key::{Code, Scope, SessionKeys};
use crate::kernel::name::{Prefix, Tenancy};
use crate::kernel::redis::{Link, Target};

// The same servers as the laws'.
#[allow(dead_code, unused_imports, clippy::duplicate_mod)]
#[path = "../../tests/it/world/mod.rs"]
mod world;

const ROUNDS: u64 = 60;
const STEPS: u64 = 60;
/// Longer than a round, so that no session runs out on one side only.
const IDLE_MS: u64 = 600_000;
const LEN_MAX: usize = 60;
const NAMES: [&str; 4] = ["a", "b", "longer", "ü"];
const ENDING: Ending = Ending { epoch_kept: Duration::from_secs(3_600), replicas: None };

/// How many saves were appended.
static APPENDED: AtomicU64 = AtomicU64::new(0);

/// A session without its times, which two clocks tell.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    version: u64,
    idle_ms: u64,
    user: Option<Arc<str>>,
    device: Option<Box<str>>,
    data: Vec<(Box<str>, Bytes)>,
}

impl Shown {
    fn of(row: Row) -> Self {
        let Row { version, idle_ms, user, device, data, .. } = row;
        let data = data.into_iter().map(|(name, datum)| (name, datum.json)).collect();
        Self { version, idle_ms, user, device, data }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Brought {
    Found(Option<Shown>),
    Begun { is_done: bool, is_taken: bool, ended: u64 },
    Saved { version: Option<u64>, outcome: u8 },
    Took(Took),
    Yes(bool),
    Done,
    Listed(Vec<(Code, Shown)>),
}

#[derive(Clone, Debug)]
enum Step {
    Load,
    Touch,
    Create(Beginning),
    Save { expected: Option<u64>, ends: Option<u64>, changes: Changes },
    Take(&'static str),
    End,
    TakeDown,
    EndAll { stays: bool },
    Rotate { to: usize, lasts: Option<When> },
    List,
}

async fn take(
    engine: &Engine,
    whose: Whose,
    keys: &[SessionKeys],
    at: usize,
    step: &Step,
) -> Brought {
    let (backend, key) = (&engine.backend, &keys[at]);
    match step {
        Step::Load => match backend.load(key, IDLE_MS).await.unwrap() {
            Found::Live { row, .. } => Brought::Found(Some(Shown::of(row))),
            // A store may forget what has ended, or not.
            Found::Not(Absence::Unknown | Absence::Ended) => Brought::Found(None),
            Found::Not(Absence::Expired) => panic!("nothing expires so soon"),
        },
        Step::Touch => Brought::Yes(backend.touch(key, whose, IDLE_MS).await.unwrap().is_some()),
        Step::Create(new) => {
            let begun = backend.create(key, new, ENDING.epoch_kept).await.unwrap();
            let (is_done, is_taken) =
                (matches!(begun, Begun::Done { .. }), matches!(begun, Begun::Taken));
            let ended = if let Begun::Done { ended, .. } = begun { ended } else { 0 };
            Brought::Begun { is_done, is_taken, ended }
        }
        Step::Save { expected, ends, changes } => {
            let read = backend.load(key, IDLE_MS).await.unwrap();
            let appends_to = match read {
                Found::Live { row, now_ms } if expected.is_none() && ends.is_none() => {
                    row.appends(changes, LEN_MAX, IDLE_MS, now_ms)
                }
                _ => None,
            };
            let saving = Saving {
                idle_ms: IDLE_MS,
                expected: *expected,
                ends: *ends,
                changes,
                len_max: LEN_MAX,
                appends_to,
            };
            match backend.save(key, whose, &saving).await.unwrap() {
                Outcome::Saved { version, .. } => {
                    Brought::Saved { version: Some(version), outcome: 1 }
                }
                Outcome::Appended(stored) => {
                    assert!(stored.is_some(), "no one else saves");
                    APPENDED.fetch_add(1, Ordering::Relaxed);
                    let Found::Live { row, .. } = backend.load(key, IDLE_MS).await.unwrap() else {
                        panic!("it was there, and no one ends it");
                    };
                    assert_eq!(row.stored, stored);
                    Brought::Saved { version: Some(row.version), outcome: 1 }
                }
                Outcome::Gone => Brought::Saved { version: None, outcome: 0 },
                Outcome::Conflict => Brought::Saved { version: None, outcome: 2 },
                Outcome::TooMuch => Brought::Saved { version: None, outcome: 3 },
            }
        }
        Step::Take(name) => Brought::Took(backend.take(key, IDLE_MS, name).await.unwrap()),
        Step::End => Brought::Yes(backend.end(key, whose, ENDING).await.unwrap()),
        Step::TakeDown => {
            let row = backend.take_down(key, whose, ENDING).await.unwrap();
            Brought::Found(row.map(Shown::of))
        }
        Step::EndAll { stays } => {
            let stays = stays.then_some(key);
            backend.end_all(key.slot(), stays, ENDING).await.unwrap();
            Brought::Done
        }
        Step::Rotate { to, lasts } => {
            let device = lasts.map(|_| "another".into());
            let rotation = Rotation { idle_ms: IDLE_MS, lasts: *lasts, device, address: None };
            let rotated = backend.rotate(key, &keys[*to], whose, &rotation, ENDING).await;
            Brought::Yes(rotated.unwrap().is_some())
        }
        Step::List => {
            let mut listed: Vec<(Code, Shown)> = backend
                .list(key.slot())
                .await
                .unwrap()
                .into_iter()
                .map(|one| (one.id.0, Shown::of(one.row)))
                .collect();
            listed.sort_by_key(|(id, _)| *id);
            Brought::Listed(listed)
        }
    }
}

/// Waits for another millisecond of the store than that in which a session was seen: which is the oldest is
/// told by these.
async fn until_later(engine: &Engine, key: &SessionKeys) {
    while let Found::Live { row, now_ms } = engine.backend.load(key, IDLE_MS).await.unwrap()
        && now_ms <= row.seen_ms
    {
        tokio::task::yield_now().await;
    }
}

fn random_changes(random: &mut fastrand::Rng) -> Changes {
    if random.bool() {
        // As most saves are, which are appended.
        let json = Bytes::from(random.u8(..).to_string());
        return [("a".into(), Change::Set { json, ends: None })].into();
    }
    let count = random.usize(0..4);
    let change = |random: &mut fastrand::Rng| match random.u8(0..8) {
        0..5 => {
            let json = format!("\"{}\"", "x".repeat(random.usize(0..20)));
            let ends = (random.u8(0..4) == 0).then_some(When::After(IDLE_MS));
            Change::Set { json: json.into(), ends }
        }
        _ => Change::Remove,
    };
    (0..count).map(|_| (NAMES[random.usize(..NAMES.len())].into(), change(random))).collect()
}

fn random_step(
    random: &mut fastrand::Rng,
    user: Option<&Arc<str>>,
    at: usize,
    keys: usize,
) -> Step {
    match random.u8(0..24) {
        0..5 => Step::Create(Beginning {
            user: user.cloned(),
            device: random.bool().then(|| "device".into()),
            address: None,
            idle_ms: IDLE_MS,
            ends: When::After(2 * IDLE_MS),
            most: user.filter(|_| random.bool()).map(|_| Most {
                sessions: random.u32(2..4),
                evict: if random.bool() { Evict::Oldest } else { Evict::Refuse },
            }),
            data: [("a".into(), Change::Set { json: Bytes::from_static(b"1"), ends: None })].into(),
            is_chosen: random.u8(0..4) == 0,
        }),
        5..12 => Step::Save {
            expected: (random.u8(0..3) == 0).then(|| random.u64(1..5)),
            ends: None,
            changes: random_changes(random),
        },
        12..15 => Step::Load,
        15 => Step::Touch,
        16..18 => Step::Take(NAMES[random.usize(..NAMES.len())]),
        18 => Step::End,
        19 => Step::TakeDown,
        20 => Step::EndAll { stays: random.bool() },
        21 => Step::Rotate {
            to: (at + 1) % keys,
            lasts: random.bool().then_some(When::After(2 * IDLE_MS)),
        },
        _ => Step::List,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scripts_answer_as_the_model_does() {
    let server = tokio::task::spawn_blocking(world::start_redis).await.unwrap();
    let target = Target::parse(&format!("redis://127.0.0.1:{}", server.port)).unwrap();
    let link = Link::open(&target, Duration::from_secs(10), Vec::new()).unwrap();
    link.until_up().await.unwrap();
    let scope = Scope::unscoped(&Prefix::default(), Tenancy::Multi);
    let embedded = Engine::embedded(Clock::system(), LEN_MAX);
    let on_redis = Engine::on_redis(link, LEN_MAX);
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut done, mut live) = (0, 0);
    for round in 0..ROUNDS {
        let user: Option<Arc<str>> = (round % 3 > 0).then(|| format!("user {round}").into());
        let name = user.clone().unwrap_or_else(|| format!("nobody {round}").into());
        let (whose, slot) =
            (if user.is_some() { Whose::Users } else { Whose::Nobodys }, scope.session_slot(&name));
        // Of nobody's, each has a slot of its own.
        let count = if user.is_some() { 5 } else { 1 };
        let keys: Vec<SessionKeys> =
            (0..count).map(|_| scope.session(slot, Code::random().unwrap())).collect();
        for number in 0..STEPS {
            let at = random.usize(..keys.len());
            let step = random_step(&mut random, user.as_ref(), at, keys.len());
            // A session of nobody is alone.
            let is_of_many = matches!(step, Step::Rotate { .. } | Step::EndAll { .. } | Step::List);
            if is_of_many && user.is_none() {
                continue;
            }
            let modelled = take(&embedded, whose, &keys, at, &step).await;
            let scripted = take(&on_redis, whose, &keys, at, &step).await;
            assert_eq!(modelled, scripted, "{step:?} on {at}, step {number} of round {round}");
            done += 1;
            live += u64::from(matches!(modelled, Brought::Saved { outcome: 1, .. }));
            let seen = match step {
                Step::Create(_) | Step::Touch => Some(at),
                Step::Rotate { to, .. } => Some(to),
                _ => None,
            };
            if let Some(seen) = seen {
                until_later(&embedded, &keys[seen]).await;
                until_later(&on_redis, &keys[seen]).await;
            }
        }
    }
    println!("{done} steps compared, {live} of them saves");
    assert!(done > ROUNDS * STEPS / 2 && live > ROUNDS, "{done}, {live}");
    assert!(APPENDED.load(Ordering::Relaxed) > ROUNDS, "{APPENDED:?}");
}
