//! Jobs of a fleet, tortured: `cargo xtask torture job --seconds 60 --seed 7`.
//!
//! Processes enqueue jobs of many kinds: delayed, with keys and with names, with others that come after them, some that
//! fail at first or always, and some that take several leases. Others run them, and some take them by hand. Meanwhile
//! processes are killed and stopped, connections cut and swallowed, replies lost, and Redis is killed and started with what
//! it had written. What everyone told, the dead, what is kept and the effects in a database are checked afterwards, by what
//! knows nothing of queues.
//!
//! Each process is this test program again, run as [`worker::worker`].

mod checker;
mod found_out;
mod history;
mod planting;
mod producer;
mod puller;
mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sinew::Jobs;
use sinew::job::{JobInfo, JobState};

use crate::member::setting;
use crate::tortured::{self, Misfortune, Stage, WAIT_MAX, now_ns, parse_stall};
use crate::world::{Proxy, temporary_folder, wait_until};
use checker::{Margins, Report, check};
use history::{Dead, Event, FaultKind, History, Id, Register, Worker, parse_brought};
use planting::{Bug, Planting};

const WORKERS: u64 = 6;
/// Who takes jobs by hand.
const PULLERS: u64 = 2;
const PRODUCERS: u64 = 2;
const TOPIC: &str = "torture";
const AFTER: &str = "torture-after";
const GLOBAL: u64 = 48;
const PER_KEY: u64 = 2;
const ATTEMPTS: u32 = 3;
/// So many deliveries that ended with their process bury a job.
const CRASHES_MAX: u32 = 5;
/// The shortest there is, and how long after its end a process is taken for dead.
const LEASE: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(2);
/// Far longer than it is played.
const KEPT: Duration = Duration::from_secs(7_200);

/// How the fleet is set up.
#[derive(Clone, Copy)]
struct Settings {
    seed: u64,
    /// Of both producers together.
    jobs_per_second: u64,
    bug: Option<Bug>,
}

/// The processes, and what befalls them.
struct Fleet {
    stage: Stage,
    register: Arc<Register>,
    planting: Option<Planting>,
}

impl Fleet {
    fn start(settings: Settings) -> Self {
        let register = Arc::new(Register::default());
        let variables = vec![
            ("SINEW_WORKER_REGISTER", listen(&register).to_string()),
            ("SINEW_WORKER_RATE", (settings.jobs_per_second / PRODUCERS).to_string()),
            ("SINEW_TORTURE_SEED", settings.seed.to_string()),
        ];
        let stage = Stage::start("job_torture::worker::worker", variables);
        let port = stage.port;
        let planting = settings.bug.map(|bug| Planting::start(port, bug));
        let mut fleet = Self { stage, register, planting };
        let effects = fleet.stage.effects();
        fleet.stage.with_store(move |_| async move {
            let pool = tortured::effects(&effects).await;
            sinew_outbox::Inbox::new("torture").migrate_sqlite(&pool).await.expect("an inbox");
            let table = "CREATE TABLE effects (job TEXT NOT NULL)";
            sqlx::query(table).execute(&pool).await.expect("a table");
            pool.close().await;
        });
        let to = fleet.planting.as_ref().map_or(port, |planting| planting.port);
        for process in 0..WORKERS + PULLERS + PRODUCERS {
            fleet.stage.proxies.push(Proxy::start(to));
            let worker = fleet.stage.spawn(Worker { process, life: 0 });
            fleet.stage.workers.begin(worker);
        }
        for process in 0..WORKERS + PULLERS + PRODUCERS {
            wait_until("a process has got something done", || fleet.register.has_heard_of(process));
        }
        fleet
    }

    fn inflict(&mut self, misfortune: Misfortune, random: &mut fastrand::Rng) {
        // Producers more rarely than the others.
        let takers = usize::try_from(WORKERS + PULLERS).expect("few");
        let index = match random.u8(..6) {
            0 => random.usize(takers..self.stage.workers.count()),
            _ => random.usize(..takers),
        };
        let (from_ns, times) = (now_ns(), (LEASE, 5 * LEASE));
        let kind = self.stage.inflict(misfortune, index, times, random);
        self.register.note(kind, from_ns);
    }

    /// Producers first, then, once nothing waits any more, who runs them. All that was told, and who never came to an end,
    /// or what is left.
    fn finish(mut self, drain_max: Duration) -> (History, Vec<String>) {
        let takers = WORKERS + PULLERS;
        let mut hung = self.stage.workers.end(takers..takers + PRODUCERS, WAIT_MAX);
        hung.extend(self.stage.with_store(|sinew| async move {
            let jobs = sinew.jobs();
            let began = Instant::now();
            while !is_drained(&jobs).await {
                if began.elapsed() > drain_max {
                    let left = [jobs.queue(TOPIC).look().await, jobs.queue(AFTER).look().await];
                    return Some(format!("left: {left:?}"));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            None
        }));
        hung.extend(self.stage.workers.end(0..takers, WAIT_MAX));
        // What they said last is still being heard.
        let mut heard = 0;
        while heard < self.register.heard() {
            heard = self.register.heard();
            std::thread::sleep(Duration::from_millis(300));
        }
        let mut history = self.register.history();
        let file = self.stage.effects();
        (history.dead, history.kept, history.effects) =
            self.stage.with_store(move |sinew| async move {
                let jobs = sinew.jobs();
                (dead(&jobs).await, kept(&jobs).await, effects_in(&file).await)
            });
        (history, hung)
    }
}

/// Nothing waits, runs, is to be run later, or to be enqueued elsewhere.
async fn is_drained(jobs: &Jobs) -> bool {
    for queue in [TOPIC, AFTER] {
        let looked = jobs.queue(queue).look().await.expect("an answer").unwrap_or_default();
        if looked.waiting + looked.scheduled + looked.running + looked.owed > 0 {
            return false;
        }
    }
    true
}

fn id_of(job: &JobInfo) -> Id {
    let payload = job.payload.as_ref().expect("it is kept");
    let read: worker::Torture = serde_json::from_slice(payload).expect("one of ours");
    Id(read.id)
}

async fn dead(jobs: &Jobs) -> Vec<Dead> {
    let mut dead = Vec::new();
    for queue in [TOPIC, AFTER] {
        let (of_queue, mut after) = (jobs.queue(queue).dead(), None::<String>);
        loop {
            let page = of_queue.page(after.as_deref(), 100).await.expect("an answer");
            dead.extend(page.jobs.iter().map(|job| Dead { id: id_of(job), crashes: job.crashes }));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    dead
}

/// Those that are kept to the end, each with the run that brought it about.
async fn kept(jobs: &Jobs) -> Vec<(Id, (Worker, u64))> {
    let (queue, mut after, mut kept) = (jobs.queue(TOPIC), None::<String>, Vec::new());
    loop {
        let page = queue.list(JobState::Done, after.as_deref(), 100).await.expect("an answer");
        kept.extend(page.jobs.iter().filter_map(|job| {
            let brought: String = serde_json::from_slice(job.result.as_ref()?).ok()?;
            Some((id_of(job), parse_brought(&brought)?))
        }));
        after = page.next;
        if after.is_none() {
            return kept;
        }
    }
}

async fn effects_in(file: &str) -> Vec<Id> {
    let pool = tortured::effects(file).await;
    let rows = sqlx::query_as::<_, (String,)>("SELECT job FROM effects");
    let rows = rows.fetch_all(&pool).await.expect("effects");
    rows.into_iter().map(|(job,)| Id(job.parse().expect("one of ours"))).collect()
}

fn listen(register: &Arc<Register>) -> u16 {
    let register = Arc::clone(register);
    tortured::listen(move |line| hear(&register, line))
}

/// Nothing for what is not understood.
fn hear(register: &Register, line: &str) -> Option<()> {
    match parse_stall(line) {
        Some((process, from_ns)) => register.note(FaultKind::Stopped { process }, from_ns),
        None => register.hear(Event::parse(line)?),
    }
    Some(())
}

fn play(seconds: u64, settings: Settings) -> (History, Vec<String>) {
    let mut fleet = Fleet::start(settings);
    tortured::play(seconds, settings.seed, |next, random| fleet.inflict(next, random));
    fleet.finish(WAIT_MAX)
}

fn margins() -> Margins {
    Margins {
        // Until one that is taken for dead has been, and what it had is run.
        aftermath: LEASE + GRACE + Duration::from_secs(3),
        word: Duration::from_secs(1),
        per_key: usize::try_from(PER_KEY).expect("few"),
        global: usize::try_from(GLOBAL).expect("few"),
        crashes_max: CRASHES_MAX,
    }
}

/// `cargo xtask torture job --seconds 600` plays it with more than a hundred thousand jobs.
#[test]
fn no_history_breaks_a_promise() {
    let (seconds, seed) = (setting("SINEW_TORTURE_SECONDS", 6), setting("SINEW_TORTURE_SEED", 1));
    let jobs_per_second = if seconds >= 60 { 360 } else { 200 };
    let settings = Settings { seed, jobs_per_second, bug: None };
    let (history, hung) = play(seconds, settings);
    let report = check(&history, margins());
    let Report {
        enqueued, refused, runs, retried, told, explained, dead, crashed, effects, ..
    } = report;
    let count =
        |is: fn(&FaultKind) -> bool| history.faults.iter().filter(|fault| is(&fault.kind)).count();
    let kills = count(|kind| matches!(kind, FaultKind::Killed(_)));
    let restarts = count(|kind| matches!(kind, FaultKind::Restarted));
    let stops = count(|kind| matches!(kind, FaultKind::Stopped { .. }));
    let cuts = count(|kind| matches!(kind, FaultKind::CutOff { .. }));
    println!(
        "torture job: seed {seed}, {seconds} s, {WORKERS} workers and {PULLERS} by hand, {PRODUCERS} producers, {kills} killed, {stops} stood still, {cuts} cut off, Redis restarted {restarts} times: {enqueued} jobs enqueued, {refused} refused for their names, {runs} runs, {retried} of them after a failure, {explained} explained by a fault ({told} told of it); {dead} dead ({crashed} by crashes alone), {} kept, {effects} effects; {} hung, {} promises broken",
        history.kept.len(),
        hung.len(),
        report.found.len(),
    );
    if !report.found.is_empty() || !hung.is_empty() {
        let file = temporary_folder("job-history").join("events");
        let lines: String = history.events.iter().map(|event| format!("{event}\n")).collect();
        std::fs::write(&file, lines).expect("a file in a temporary folder");
        panic!(
            "{file:?}, {:#?}: {hung:#?}, {:#?}",
            history.faults,
            &report.found[..report.found.len().min(5)]
        );
    }
    assert!(enqueued > 100 && retried > 10 && effects > 20, "hardly anything happened");
    assert!(dead > 0 && explained > 0 && refused > 0, "hardly anything befell it");
    assert!(kills > 0 && restarts > 0, "{:?}", history.faults);
}
