//! Events of a fleet, tortured: `cargo xtask torture stream --seconds 60 --seed 7`.
//!
//! Processes publish and handle the events of a topic, in one group in any order and in another in the
//! order of each key. Some events fail at first, some always, and some take several leases. Meanwhile
//! processes are killed and stopped, connections cut and swallowed, replies lost, and Redis is killed and
//! started with what it had written. What everyone told, the dead letters and the effects in a
//! database are checked afterwards, by what knows nothing of streams.
//!
//! Each process is this test program again, run as [`worker::worker`].

mod checker;
mod found_out;
mod history;
mod producer;
mod worker;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use sinew::Streams;

use crate::member::setting;
use crate::tortured::{self, Misfortune, Stage, WAIT_MAX, now_ns, parse_stall};
use crate::world::{Proxy, temporary_folder, wait_until};
use checker::{Margins, Report, check};
use history::{Event, FaultKind, GROUPS, Group, History, Id, Register, Worker};

const CONSUMERS: u64 = 4;
const PRODUCERS: u64 = 2;
const TOPIC: &str = "torture";
const PARTITIONS: u16 = 16;
/// Of each partition.
const LEN_MAX: u64 = 1_000;
const ATTEMPTS: u32 = 3;
/// The shortest there is.
const LEASE: Duration = Duration::from_secs(1);
const PING_EVERY: Duration = Duration::from_millis(50);

/// How the fleet is set up.
#[derive(Clone, Copy)]
struct Settings {
    seed: u64,
    /// Of both producers together.
    events_per_second: u64,
    acks_first: bool,
}

/// The processes, and what befalls them.
struct Fleet {
    stage: Stage,
    register: Arc<Register>,
}

impl Fleet {
    fn start(settings: Settings) -> Self {
        let register = Arc::new(Register::default());
        let variables = vec![
            ("SINEW_WORKER_REGISTER", listen(&register).to_string()),
            ("SINEW_WORKER_RATE", (settings.events_per_second / PRODUCERS).to_string()),
            ("SINEW_STREAM_WORKER_ACKS_FIRST", u8::from(settings.acks_first).to_string()),
            ("SINEW_TORTURE_SEED", settings.seed.to_string()),
        ];
        let stage = Stage::start("stream_torture::worker::worker", variables);
        let port = stage.port;
        let mut fleet = Self { stage, register };
        watch(port, &fleet.register);
        let effects = fleet.stage.effects();
        fleet.stage.with_store(move |sinew| async move {
            let streams = sinew.streams();
            let topic = streams
                .topic(TOPIC)
                .partitions(PARTITIONS)
                // Producers go no faster than the slower group.
                .len_max(LEN_MAX)
                .keep(Duration::from_secs(60));
            topic.declare().await.expect("a topic");
            let pool = tortured::effects(&effects).await;
            sinew_outbox::Inbox::new("any").migrate_sqlite(&pool).await.expect("an inbox");
            let table = "CREATE TABLE effects (consumer TEXT NOT NULL, event TEXT NOT NULL)";
            sqlx::query(table).execute(&pool).await.expect("a table");
            pool.close().await;
        });
        for process in 0..CONSUMERS + PRODUCERS {
            fleet.stage.proxies.push(Proxy::start(port));
            let worker = fleet.stage.spawn(Worker { process, life: 0 });
            fleet.stage.workers.begin(worker);
        }
        for (process, proxy) in (0..).zip(&fleet.stage.proxies) {
            // By chance, one that only shares partitions has none: then it is enough that it is there.
            let may_be_idle =
                process < CONSUMERS && !worker::groups_of(process).contains(&Group::Any);
            wait_until("a worker has got something done", || match may_be_idle {
                true => proxy.connections() > 0,
                false => fleet.register.has_heard_of(process),
            });
        }
        fleet
    }

    fn inflict(&mut self, misfortune: Misfortune, random: &mut fastrand::Rng) {
        // Consumers more often than producers.
        let index = match random.u8(..5) {
            0 => random.usize(usize::try_from(CONSUMERS).expect("few")..self.stage.workers.count()),
            _ => random.usize(..usize::try_from(CONSUMERS).expect("few")),
        };
        let (from_ns, times) = (now_ns(), (LEASE, 3 * LEASE));
        let kind = self.stage.inflict(misfortune, index, times, random);
        self.register.note(kind, from_ns);
    }

    /// Producers first, then, once nothing waits any more, who handles. All that was told, and which of them, or of
    /// their groups, never came to an end.
    fn finish(mut self, drain_max: Duration) -> (History, Vec<String>) {
        let mut hung = self.stage.workers.end(CONSUMERS..CONSUMERS + PRODUCERS, WAIT_MAX);
        let effects = self.stage.effects();
        hung.extend(self.stage.with_store(|sinew| async move {
            let streams = sinew.streams();
            let began = Instant::now();
            while !is_drained(&streams).await {
                if began.elapsed() > drain_max {
                    return Some(format!("left: {:?}", streams.look(TOPIC).await));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            None
        }));
        hung.extend(self.stage.workers.end(0..CONSUMERS, WAIT_MAX));
        // What they said last is still being heard.
        let mut heard = 0;
        while heard < self.register.heard() {
            heard = self.register.heard();
            std::thread::sleep(Duration::from_millis(300));
        }
        let mut history = self.register.history();
        let (dead, effects) = self.stage.with_store(move |sinew| async move {
            let streams = sinew.streams();
            (dead(&streams).await, effects_in(&effects).await)
        });
        (history.dead, history.effects) = (dead, effects);
        (history, hung)
    }
}

/// Nothing is unread, in someone's hands, or to be tried again.
async fn is_drained(streams: &Streams) -> bool {
    let groups = streams.lag(TOPIC).await.expect("an answer");
    groups.len() == GROUPS.len() && groups.iter().all(|group| group.unfinished() == 0)
}

async fn dead(streams: &Streams) -> Vec<(Group, Id)> {
    let mut dead = Vec::new();
    for group in GROUPS {
        let (letters, mut after) = (streams.dead(TOPIC, group.name()), None);
        loop {
            let page = letters.list(after.as_ref(), 1_000).await.expect("an answer");
            let Some(last) = page.last() else { break };
            after = Some(last.place);
            let ids = page.iter().map(|letter| Id::parse(&letter.event.id()).expect("one of ours"));
            dead.extend(ids.map(|id| (group, id)));
        }
    }
    dead
}

async fn effects_in(file: &str) -> Vec<(Group, Id)> {
    let pool = tortured::effects(file).await;
    let rows = sqlx::query_as::<_, (String, String)>("SELECT consumer, event FROM effects");
    let rows = rows.fetch_all(&pool).await.expect("effects");
    let effects = rows.into_iter().map(|(consumer, event)| {
        let group = GROUPS.into_iter().find(|group| group.name() == consumer);
        (group.expect("one of ours"), Id::parse(&event).expect("one of ours"))
    });
    effects.collect()
}

/// Until the register is gone.
fn listen(register: &Arc<Register>) -> u16 {
    let register = Arc::downgrade(register);
    tortured::listen(move |line| hear(&*register.upgrade()?, line))
}

/// Nothing for what is not understood.
fn hear(register: &Register, line: &str) -> Option<()> {
    match parse_stall(line) {
        Some((process, from_ns)) => register.note(FaultKind::Stopped { process }, from_ns),
        None => register.hear(Event::parse(line)?),
    }
    Some(())
}

/// Notes when Redis stands still, as one does that waits for its disk, until the register is gone. Past all proxies: what
/// those do is noted by itself.
fn watch(port: u16, register: &Arc<Register>) {
    let register = Arc::downgrade(register);
    std::thread::spawn(move || {
        while register.strong_count() > 0 {
            // It is away, and is started again.
            let _ = note_pauses(port, &register);
            std::thread::sleep(PING_EVERY);
        }
    });
}

fn note_pauses(port: u16, register: &Weak<Register>) -> std::io::Result<()> {
    let mut server = BufReader::new(TcpStream::connect(("127.0.0.1", port))?);
    while let Some(register) = register.upgrade() {
        let (from_ns, asked, mut reply) = (now_ns(), Instant::now(), String::new());
        server.get_mut().write_all(b"PING\r\n")?;
        server.read_line(&mut reply)?;
        if reply != "+PONG\r\n" {
            return Err(std::io::Error::other("it is gone, or loads what it had written"));
        }
        // A lease is renewed when a third of it is over: what lasts for the rest ends it. It began before it was noticed.
        if asked.elapsed() + PING_EVERY > LEASE * 2 / 3 {
            register.note(FaultKind::StoodStill, from_ns);
        }
        std::thread::sleep(PING_EVERY);
    }
    Ok(())
}

fn play(seconds: u64, settings: Settings) -> (History, Vec<String>) {
    let mut fleet = Fleet::start(settings);
    tortured::play(seconds, settings.seed, |next, random| fleet.inflict(next, random));
    fleet.finish(WAIT_MAX)
}

fn margins(order: Duration) -> Margins {
    Margins {
        aftermath: Duration::from_secs(5),
        lease: 2 * LEASE,
        ack: Duration::from_secs(1),
        order,
    }
}

/// `cargo xtask torture stream --seconds 1350 --release` plays it with a million events.
#[test]
fn no_history_breaks_a_promise() {
    let (seconds, seed) = (setting("SINEW_TORTURE_SECONDS", 5), setting("SINEW_TORTURE_SEED", 1));
    let events_per_second = if seconds >= 60 { 2_400 } else { 400 };
    let settings = Settings { seed, events_per_second, acks_first: false };
    let (history, hung) = play(seconds, settings);
    // A machine that is busy with other tests keeps a process from asking at all.
    let order = if setting("SINEW_TORTURE_ALONE", 0) == 1 { 250 } else { 2_000 };
    let report = check(&history, margins(Duration::from_millis(order)));
    let still: Vec<Duration> = history.pauses().collect();
    let Report { published, runs, retried, told, explained, paused, dead, effects, .. } = report;
    println!(
        "torture stream: seed {seed}, {seconds} s, {CONSUMERS} consumers, {PRODUCERS} producers, {} faults: {published} events published, {runs} runs, {retried} of them after a failure, {explained} explained by a fault ({told} told of it); {dead} dead letters, {effects} effects; Redis stood still {} times, for {:.1?} at most, which explains {paused} more; {} hung, {} promises broken",
        history.faults.len() - still.len(),
        still.len(),
        still.iter().max().unwrap_or(&Duration::ZERO),
        hung.len(),
        report.found.len(),
    );
    if !report.found.is_empty() || !hung.is_empty() {
        let file = temporary_folder("stream-history").join("events");
        let lines: String = history.events.iter().map(|event| format!("{event}\n")).collect();
        std::fs::write(&file, lines).expect("a file in a temporary folder");
        panic!(
            "{file:?}, {:#?}: {hung:#?}, {:#?}",
            history.faults,
            &report.found[..report.found.len().min(5)]
        );
    }
    assert!(published > 100 && retried > 10 && effects > 20, "hardly anything happened");
    // In a few seconds, it may be by chance that no one was in the middle of anything.
    assert!(dead > 0 && (explained > 0 || seconds < 60), "hardly anything befell it");
    assert!(paused <= explained || seconds < 60, "Redis stood still more than anything befell it");
    let killed = |fault: &history::Fault| matches!(fault.kind, FaultKind::Killed(_));
    assert!(history.faults.iter().any(killed), "{:?}", history.faults);
}
