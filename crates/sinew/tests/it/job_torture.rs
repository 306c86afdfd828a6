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

use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sinew::job::{JobInfo, JobState};
use sinew::{Jobs, Sinew};

use crate::member::setting;
use crate::tortured::{self, Misfortune, Workers, millis, now_ns, parse_stall};
use crate::world::{Proxy, Server, free_port, start_redis_on, temporary_folder, wait_until};
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
/// More than anyone waits, whatever happens.
const WAIT_MAX: Duration = Duration::from_secs(120);

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
    server: Option<Server>,
    port: u16,
    folder: PathBuf,
    register: Arc<Register>,
    register_port: u16,
    planting: Option<Planting>,
    /// One before each process.
    proxies: Vec<Proxy>,
    workers: Workers,
    settings: Settings,
}

impl Fleet {
    fn start(settings: Settings) -> Self {
        let (port, folder) = (free_port(), temporary_folder("job-torture"));
        let register = Arc::new(Register::default());
        let register_port = listen(&register);
        let mut fleet = Self {
            server: None,
            port,
            folder,
            register,
            register_port,
            planting: settings.bug.map(|bug| Planting::start(port, bug)),
            proxies: Vec::new(),
            workers: Workers::default(),
            settings,
        };
        fleet.start_server();
        let effects = fleet.effects();
        fleet.with_jobs(move |_| async move {
            let pool = tortured::effects(&effects).await;
            sinew_outbox::Inbox::new("torture").migrate_sqlite(&pool).await.expect("an inbox");
            let table = "CREATE TABLE effects (job TEXT NOT NULL)";
            sqlx::query(table).execute(&pool).await.expect("a table");
            pool.close().await;
        });
        let to = fleet.planting.as_ref().map_or(port, |planting| planting.port);
        for process in 0..WORKERS + PULLERS + PRODUCERS {
            fleet.proxies.push(Proxy::start(to));
            let worker = fleet.spawn(Worker { process, life: 0 });
            fleet.workers.begin(worker);
        }
        for process in 0..WORKERS + PULLERS + PRODUCERS {
            wait_until("a process has got something done", || fleet.register.has_heard_of(process));
        }
        fleet
    }

    /// With what it had written, where it was there before.
    fn start_server(&mut self) {
        let folder = self.folder.to_string_lossy().into_owned();
        let settings = ["--dir", &folder, "--appendonly", "yes", "--appendfsync", "always"];
        self.server = Some(start_redis_on(self.port, &settings));
    }

    fn effects(&self) -> String {
        self.folder.join("effects.db").to_string_lossy().into_owned()
    }

    /// Past all proxies.
    fn with_jobs<T, F: Future<Output = T>>(&self, act: impl FnOnce(Jobs) -> F) -> T {
        let store = format!("redis://127.0.0.1:{}", self.port);
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all();
        runtime.build().expect("a runtime").block_on(async {
            let sinew = Sinew::builder().deadline(Duration::from_secs(10)).connect(&store).await;
            let acted = act(sinew.expect("a connection").jobs());
            let in_time = tokio::time::timeout(WAIT_MAX + Duration::from_secs(60), acted).await;
            in_time.expect("it comes to its end in time")
        })
    }

    fn spawn(&self, by: Worker) -> Child {
        let proxy = &self.proxies[usize::try_from(by.process).expect("a small number")];
        let variables = [
            ("SINEW_JOB_WORKER_STORE", format!("redis://127.0.0.1:{}", proxy.port)),
            ("SINEW_JOB_WORKER_EFFECTS", self.effects()),
            ("SINEW_JOB_WORKER_RATE", (self.settings.jobs_per_second / PRODUCERS).to_string()),
            ("SINEW_TORTURE_SEED", self.settings.seed.to_string()),
        ];
        tortured::start("job_torture::worker::worker", by, self.register_port, &variables)
    }

    fn inflict(&mut self, misfortune: Misfortune, random: &mut fastrand::Rng) {
        // Producers more rarely than the others.
        let takers = usize::try_from(WORKERS + PULLERS).expect("few");
        let index = match random.u8(..6) {
            0 => random.usize(takers..self.workers.count()),
            _ => random.usize(..takers),
        };
        let (from_ns, process) = (now_ns(), index as u64);
        let lease_ms = u64::try_from(LEASE.as_millis()).expect("a short lease");
        let kind = match misfortune {
            Misfortune::Kill => {
                let killed = self.workers.kill(index);
                std::thread::sleep(millis(50, 300, random));
                let again = self.spawn(Worker { life: killed.life + 1, ..killed });
                self.workers.begin_again(index, again);
                FaultKind::Killed(killed)
            }
            // Now and then for so long that it is taken for dead.
            Misfortune::Stop => {
                self.workers.stop(index, millis(lease_ms, 5 * lease_ms, random));
                FaultKind::Stopped { process }
            }
            Misfortune::Cut => {
                self.proxies[index].cut();
                FaultKind::CutOff { process }
            }
            Misfortune::LoseReplies => {
                self.proxies[index].lose_replies();
                std::thread::sleep(millis(100, 2 * lease_ms, random));
                self.proxies[index].pass();
                FaultKind::CutOff { process }
            }
            Misfortune::BlackHole => {
                self.proxies[index].black_hole();
                std::thread::sleep(millis(100, 5 * lease_ms, random));
                self.proxies[index].pass();
                FaultKind::CutOff { process }
            }
            Misfortune::Restart => {
                if let Some(mut server) = self.server.take() {
                    server.kill();
                    server.wait_gone();
                }
                self.start_server();
                FaultKind::Restarted
            }
        };
        self.register.note(kind, from_ns);
    }

    /// Producers first, then, once nothing waits any more, who runs them. All that was told, and who never came to an end,
    /// or what is left.
    fn finish(mut self, drain_max: Duration) -> (History, Vec<String>) {
        let takers = WORKERS + PULLERS;
        let mut hung = self.workers.end(takers..takers + PRODUCERS, WAIT_MAX);
        hung.extend(self.with_jobs(|jobs| async move {
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
        hung.extend(self.workers.end(0..takers, WAIT_MAX));
        // What they said last is still being heard.
        let mut heard = 0;
        while heard < self.register.heard() {
            heard = self.register.heard();
            std::thread::sleep(Duration::from_millis(300));
        }
        let mut history = self.register.history();
        let file = self.effects();
        (history.dead, history.kept, history.effects) = self.with_jobs(move |jobs| async move {
            (dead(&jobs).await, kept(&jobs).await, effects_in(&file).await)
        });
        (history, hung)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.workers = Workers::default();
        self.server = None;
        let _ = std::fs::remove_dir_all(&self.folder);
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

/// `cargo xtask torture job --seconds 300 --release` plays it with a hundred thousand jobs.
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
    println!(
        "torture job: seed {seed}, {seconds} s, {WORKERS} workers and {PULLERS} by hand, {PRODUCERS} producers, {} faults: {enqueued} jobs enqueued, {refused} refused for their names, {runs} runs, {retried} of them after a failure, {explained} explained by a fault ({told} told of it); {dead} dead ({crashed} by crashes alone), {} kept, {effects} effects; {} hung, {} promises broken",
        history.faults.len(),
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
    let killed = |fault: &history::Fault| matches!(fault.kind, FaultKind::Killed(_));
    assert!(history.faults.iter().any(killed), "{:?}", history.faults);
}
