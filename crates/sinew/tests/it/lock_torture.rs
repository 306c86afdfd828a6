//! Locks of a fleet, tortured: `cargo xtask torture lock --seconds 60 --seed 7`.
//!
//! Processes contend for a few locks on a deployment with sentinels, while processes are killed and
//! stopped, connections cut, Redis is flushed and fails over. Whoever holds a lock writes to a register
//! that looks at fences. What everyone told it is checked afterwards, by what knows nothing of locks.
//!
//! Each process is this test program again, run as [`worker`].

mod checker;
mod found_out;
pub mod history;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sinew::{Acquire, Guard, Locks, Sinew};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};

use crate::laws::keep_for;
use crate::member::setting;
use crate::tortured::{is_told_to_end, millis, now_ns};
use crate::world::{
    PRIMARY, Proxy, Sentinels, primary_of, redis_cli, signal, temporary_folder, wait_until,
};
use checker::{Margins, Report, check};
use history::{Attempt, Event, Fault, FaultKind, History, Register, What};

const PROCESSES: u64 = 8;
const TASKS: u64 = 6;
/// Two that are held alone, and these.
const LOCKS: u64 = 4;
const WITH_READERS: u64 = 2;
const SEMAPHORE: u64 = 3;
const PERMITS: u32 = 3;
const TTL: Duration = Duration::from_millis(600);
/// Longer than anyone has to wait, whatever happens.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// How long the end of a fault can still show: a lock that Redis forgot is held on for its TTL.
const AFTERMATH: Duration = Duration::from_secs(2);

/// Not a test by itself: a process of the fleet, where the environment says so.
#[test]
fn worker() {
    let Ok(store) = std::env::var("SINEW_LOCK_WORKER_STORE") else { return };
    keep_for(Duration::from_secs(3_600), || async move {
        // It may be started while Redis is away.
        let sinew = Sinew::builder().deadline(Duration::from_secs(1)).connect_lazy(&store).unwrap();
        let running = Arc::new(AtomicBool::new(true));
        let mut tasks = Vec::new();
        for task in 0..TASKS {
            let teller = Teller::connect(task).await;
            tasks.push(tokio::spawn(teller.contend(sinew.locks(), Arc::clone(&running))));
        }
        is_told_to_end().await;
        running.store(false, Ordering::SeqCst);
        for task in tasks {
            task.await.unwrap();
        }
    });
}

/// A task of a worker, and how it tells what it does.
struct Teller {
    register: tokio::io::BufReader<tokio::net::TcpStream>,
    by: Attempt,
    lock: u64,
    beside: u64,
    random: fastrand::Rng,
}

impl Teller {
    async fn connect(task: u64) -> Self {
        let port = u16::try_from(setting("SINEW_LOCK_WORKER_REGISTER", 0)).expect("a port");
        let socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("a register");
        socket.set_nodelay(true).expect("a socket option");
        let (process, life) =
            (setting("SINEW_LOCK_WORKER_PROCESS", 0), setting("SINEW_LOCK_WORKER_LIFE", 0));
        let seed = setting("SINEW_TORTURE_SEED", 1) ^ ((process << 32) | (life << 16) | task);
        let by = Attempt { process, life, task, number: 0 };
        let random = fastrand::Rng::with_seed(seed);
        let register = tokio::io::BufReader::new(socket);
        Self { register, by, lock: 0, beside: 0, random }
    }

    /// The register outlives its workers: where it is gone, so is the test.
    async fn say(&mut self, what: What, at_ns: u64, fence: u64) {
        let Self { by, lock, beside, .. } = *self;
        let event = Event { what, at_ns, by, lock, beside, fence };
        self.register.write_all(format!("{event}\n").as_bytes()).await.expect("a register");
    }

    async fn contend(mut self, locks: Locks, running: Arc<AtomicBool>) {
        while running.load(Ordering::SeqCst) {
            self.by.number += 1;
            self.lock = self.random.u64(..LOCKS);
            let (name, writes) = (format!("torture {}", self.lock), self.random.u8(..3) == 0);
            let (wanted, beside) = match self.lock {
                WITH_READERS if writes => (locks.write(&name), 0),
                WITH_READERS => (locks.read(&name), u64::MAX),
                SEMAPHORE => (locks.semaphore(&name, PERMITS), u64::from(PERMITS) - 1),
                _ => (locks.lock(&name), 0),
            };
            self.beside = beside;
            // Now and then one that does not stand in line, and must not pass those who do.
            let (what, wanted) = match self.random.u8(..6) {
                0 => (What::Tries, wanted),
                _ => (What::Asks, wanted.wait(WAIT_MAX)),
            };
            self.say(what, now_ns(), 0).await;
            match wanted.ttl(TTL).acquire().await {
                Ok(Acquire::Got(guard)) => self.hold(guard).await,
                Ok(Acquire::Held { .. }) => self.say(What::Held, now_ns(), 0).await,
                Err(_) => {
                    self.say(What::Failed, now_ns(), 0).await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            let pause = millis(0, 10, &mut self.random);
            tokio::time::sleep(pause).await;
        }
    }

    async fn hold(&mut self, guard: Guard) {
        let fence = guard.fence().get();
        self.say(What::Got, now_ns(), fence).await;
        // Now and then for so long that it has to be renewed.
        let looks = if self.random.u8(..20) == 0 { 60 } else { self.random.u8(1..5) };
        for _ in 0..looks {
            // The time first: it held the lock then, if it holds it after that.
            let at_ns = now_ns();
            if guard.is_lost() {
                break;
            }
            self.say(What::Sure, at_ns, fence).await;
            // What stops a process, stops some here: between the look and the write.
            let pause = millis(2, 16, &mut self.random);
            tokio::time::sleep(pause).await;
            if self.beside == 0 {
                self.say(What::Writes, now_ns(), fence).await;
                let mut answer = String::new();
                self.register.read_line(&mut answer).await.expect("a register");
            }
        }
        self.say(What::Ends, now_ns(), fence).await;
        // What cannot be freed now is freed in the background.
        let _ = guard.release().await;
    }
}

/// Hears workers until they are gone. Its threads end with the test program.
fn listen(register: &Arc<Register>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let register = Arc::clone(register);
    std::thread::spawn(move || {
        for worker in listener.incoming().map_while(Result::ok) {
            let register = Arc::clone(&register);
            std::thread::spawn(move || hear(&register, worker));
        }
    });
    port
}

fn hear(register: &Register, worker: TcpStream) {
    let _ = worker.set_nodelay(true);
    let Ok(mut answers) = worker.try_clone() else { return };
    let (mut lines, mut line) = (BufReader::new(worker), String::new());
    while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
        let Some(event) = Event::parse(&line) else { return };
        let wants_an_answer = event.what == What::Writes;
        let is_taken = register.hear(event);
        if wants_an_answer {
            let answer = if is_taken { "taken\n" } else { "refused\n" };
            let _ = answers.write_all(answer.as_bytes());
        }
        line.clear();
    }
}

/// The processes, and what befalls them.
struct Fleet {
    world: Sentinels,
    register: Arc<Register>,
    workers: Vec<(Child, u64)>,
    port: u16,
    seed: u64,
}

impl Fleet {
    fn start(seed: u64) -> Self {
        let (world, register) = (Sentinels::start_behind_proxies(), Arc::new(Register::default()));
        let port = listen(&register);
        let mut fleet = Self { world, register, workers: Vec::new(), port, seed };
        for process in 0..PROCESSES {
            let worker = fleet.spawn(process, 0);
            fleet.workers.push((worker, 0));
        }
        for process in 0..PROCESSES {
            wait_until("a worker has had a lock", || fleet.register.has_granted(process));
        }
        fleet
    }

    fn spawn(&self, process: u64, life: u64) -> Child {
        Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "lock_torture::worker", "--nocapture"])
            .env("SINEW_LOCK_WORKER_STORE", self.world.url())
            .env("SINEW_LOCK_WORKER_REGISTER", self.port.to_string())
            .env("SINEW_LOCK_WORKER_PROCESS", process.to_string())
            .env("SINEW_LOCK_WORKER_LIFE", life.to_string())
            .env("SINEW_TORTURE_SEED", self.seed.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process")
    }

    fn inflict(&mut self, misfortune: Misfortune, random: &mut fastrand::Rng) {
        let (from_ns, process) = (now_ns(), random.usize(..self.workers.len()));
        let number = process as u64;
        let kind = match misfortune {
            Misfortune::Kill => {
                let (worker, life) = &mut self.workers[process];
                let was = *life;
                signal(worker.id(), "KILL");
                let _ = worker.wait();
                std::thread::sleep(millis(50, 300, random));
                let next = self.spawn(number, was + 1);
                self.workers[process] = (next, was + 1);
                FaultKind::Killed { process: number, life: was }
            }
            Misfortune::Stop => {
                let worker = self.workers[process].0.id();
                signal(worker, "STOP");
                std::thread::sleep(TTL + millis(100, 600, random));
                signal(worker, "CONT");
                FaultKind::Stopped { process: number }
            }
            Misfortune::Fill => {
                let primary = self.server_of_primary();
                redis_cli(primary, &["CONFIG", "SET", "maxmemory", "1"]);
                std::thread::sleep(TTL + millis(100, 600, random));
                redis_cli(primary, &["CONFIG", "SET", "maxmemory", "0"]);
                FaultKind::Full
            }
            Misfortune::Cut => {
                self.world.proxies.iter().for_each(Proxy::cut);
                FaultKind::Cut
            }
            Misfortune::LoseReply => {
                self.world.proxies.iter().for_each(Proxy::cut_at_next_reply);
                std::thread::sleep(millis(20, 100, random));
                self.world.proxies.iter().for_each(Proxy::pass);
                FaultKind::Cut
            }
            Misfortune::Flush => {
                redis_cli(self.server_of_primary(), &["FLUSHALL"]);
                FaultKind::Forgot
            }
            Misfortune::FailOver => {
                let (old, sentinel) = (self.world.primary(), self.world.sentinels[0].port);
                // Not while it has not heard from the replicas of late.
                wait_until("a sentinel begins", || {
                    redis_cli(sentinel, &["SENTINEL", "FAILOVER", PRIMARY]) == "OK"
                });
                self.world.wait_primary_after(old);
                FaultKind::Forgot
            }
        };
        self.register.note(kind, from_ns);
    }

    /// The port of the server that is the primary, past its proxy.
    fn server_of_primary(&self) -> u16 {
        let primary = self.world.primary();
        let at = self.world.proxies.iter().position(|proxy| proxy.port == primary);
        self.world.servers[at.expect("one of ours")].port
    }

    /// Tells all to come to their end, and waits for it. How many did not.
    fn end(&mut self) -> usize {
        for (worker, _) in &mut self.workers {
            drop(worker.stdin.take());
        }
        let (began, mut hung) = (Instant::now(), 0);
        for (worker, _) in &mut self.workers {
            while worker.try_wait().is_ok_and(|end| end.is_none()) {
                if began.elapsed() > WAIT_MAX + Duration::from_secs(10) {
                    hung += 1;
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        // What they said last is still being heard.
        let mut heard = 0;
        while heard < self.register.heard() {
            heard = self.register.heard();
            std::thread::sleep(Duration::from_millis(300));
        }
        hung
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for (worker, _) in &mut self.workers {
            let _ = worker.kill();
            let _ = worker.wait();
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Misfortune {
    Kill,
    Stop,
    Fill,
    Cut,
    LoseReply,
    Flush,
    FailOver,
}

/// Notes each change of primary, also one that nobody asked for: sentinels on a busy machine.
fn watch(sentinel: u16, register: &Register, over: &AtomicBool) {
    let (mut known, mut looked) = (primary_of(sentinel), now_ns());
    while !over.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(200));
        let (primary, before) = (primary_of(sentinel), looked);
        looked = now_ns();
        if primary != 0 && primary != known {
            // The new one may have been one for a while before this sentinel heard of it.
            register.note(FaultKind::Forgot, before.saturating_sub(3_000_000_000));
            known = primary;
        }
    }
}

/// Says that it is over, however it ends.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A calm time, every misfortune at least once and on for a third of the time, a calm time.
fn play(seconds: u64, seed: u64) -> (History, usize) {
    let mut fleet = Fleet::start(seed);
    let (third, over) = (Duration::from_secs(seconds) / 3, AtomicBool::new(false));
    let mut random = fastrand::Rng::with_seed(seed);
    use Misfortune::{Cut, FailOver, Fill, Flush, Kill, LoseReply, Stop};
    let mut first = vec![Kill, Stop, Fill, Cut, LoseReply, Flush, FailOver];
    random.shuffle(&mut first);
    let (register, sentinel) = (Arc::clone(&fleet.register), fleet.world.sentinels[0].port);
    std::thread::scope(|scope| {
        scope.spawn(|| watch(sentinel, &register, &over));
        let _ends_the_watch = Ends(&over);
        std::thread::sleep(third);
        let began = Instant::now();
        while !first.is_empty() || began.elapsed() < third {
            // Of the two that make Redis forget, there is one each.
            let any = [Kill, Kill, Stop, Stop, Fill, Cut, LoseReply];
            let next = first.pop().unwrap_or_else(|| any[random.usize(..any.len())]);
            fleet.inflict(next, &mut random);
            std::thread::sleep(millis(50, 300, &mut random));
        }
        std::thread::sleep(third.max(AFTERMATH + Duration::from_secs(1)));
    });
    let hung = fleet.end();
    (fleet.register.history(), hung)
}

fn margins(order: Duration) -> Margins {
    Margins { order, aftermath: AFTERMATH, wait: WAIT_MAX }
}

/// `cargo xtask torture lock --seconds 60` plays it for longer.
#[test]
fn no_history_breaks_a_promise() {
    let (seconds, seed) = (setting("SINEW_TORTURE_SECONDS", 5), setting("SINEW_TORTURE_SEED", 1));
    let (history, hung) = play(seconds, seed);
    // A machine that is busy with other tests keeps a process from asking at all.
    let order = if setting("SINEW_TORTURE_ALONE", 0) == 1 { 250 } else { 2_000 };
    let report = check(&history, margins(Duration::from_millis(order)));
    let Report { grants, calm_grants, writes, refused, failed, explained, .. } = report;
    println!(
        "torture lock: seed {seed}, {seconds} s, {PROCESSES} processes, {} faults: {grants} grants ({calm_grants} calm), {failed} failed, {writes} writes taken, {refused} refused; {explained} held at once after Redis had forgotten; longest wait {:?}, longest from a holder's death to the next {:?}; {hung} hung, {} promises broken",
        history.faults.len(),
        report.longest_wait,
        report.longest_succession,
        report.found.len(),
    );
    if !report.found.is_empty() {
        let file = temporary_folder("lock-history").join("events");
        let lines: String = history.events.iter().map(|event| format!("{event}\n")).collect();
        std::fs::write(&file, lines).expect("a file in a temporary folder");
        panic!(
            "{file:?}, {:#?}: {:#?}",
            history.faults,
            &report.found[..report.found.len().min(5)]
        );
    }
    assert_eq!(hung, 0, "someone waits for ever");
    assert!(grants > 100 && calm_grants > 0 && writes > 100, "hardly anything happened");
    let killed = |fault: &Fault| matches!(fault.kind, FaultKind::Killed { .. });
    assert!(history.faults.iter().any(killed), "{:?}", history.faults);
}
