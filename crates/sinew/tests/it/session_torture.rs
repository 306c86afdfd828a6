//! Sessions of a fleet, tortured: `cargo xtask torture session --seconds 60 --seed 7`.
//!
//! Processes use the sessions of a few users: they read and save them, give them other ids, log in and
//! out, and end them by one, by all, by too many, and by leaving them alone. Meanwhile processes are
//! killed and stopped, connections are cut, replies are lost, and Redis stands still. What everyone told
//! is checked afterwards, by what knows nothing of sessions.
//!
//! Each process is this test program again, run as [`worker`].

mod checker;
mod found_out;
mod history;
mod visitor;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sinew::Sinew;
use sinew::session::{Evict, Sessions};

use crate::laws::keep_for;
use crate::lock_torture::history::Attempt;
use crate::member::setting;
use crate::tortured::{is_told_to_end, millis, now_ns};
use crate::world::{Proxy, Server, redis_cli, signal, start_redis, temporary_folder, wait_until};
use checker::{Bounds, Report, check};
use history::{Known, Op, Register, Said, What};
use visitor::Visitor;

const PROCESSES: u64 = 4;
const TASKS: u64 = 4;
const SESSIONS_MAX: u32 = 6;
/// The shortest there is.
const IDLE: Duration = Duration::from_secs(1);
const ABSOLUTE: Duration = Duration::from_secs(3);
/// More than anyone waits, whatever happens.
const WAIT_MAX: Duration = Duration::from_secs(30);

const BOUNDS: Bounds = Bounds {
    idle: IDLE,
    absolute: ABSOLUTE,
    sessions_max: SESSIONS_MAX as usize,
    drift: Duration::from_millis(100),
};

/// Redis may be away.
fn sessions(store: &str, deadline: Duration) -> Sessions {
    let sinew = Sinew::builder().deadline(deadline).connect_lazy(store).unwrap();
    let builder = sinew.sessions().idle(IDLE).absolute(ABSOLUTE);
    builder.max_per_user(SESSIONS_MAX, Evict::Oldest).build().unwrap()
}

/// Not a test by itself: a process of the fleet, where the environment says so.
#[test]
fn worker() {
    let Ok(store) = std::env::var("SINEW_SESSION_WORKER_STORE") else { return };
    keep_for(Duration::from_secs(3_600), || async move {
        let sessions = sessions(&store, Duration::from_secs(1));
        let running = Arc::new(AtomicBool::new(true));
        let mut tasks = Vec::new();
        for task in 0..TASKS {
            let visitor = Visitor::connect(sessions.clone(), &store, task).await;
            tasks.push(tokio::spawn(visitor.visit(Arc::clone(&running))));
        }
        is_told_to_end().await;
        running.store(false, Ordering::SeqCst);
        for task in tasks {
            task.await.unwrap();
        }
    });
}

/// Hears workers until they are gone. Its threads end with the test program.
fn listen(register: &Arc<Register>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let register = Arc::clone(register);
    std::thread::spawn(move || {
        for (worker, seed) in listener.incoming().map_while(Result::ok).zip(0..) {
            let register = Arc::clone(&register);
            let random = fastrand::Rng::with_seed(seed);
            std::thread::spawn(move || hear(&register, worker, random));
        }
    });
    port
}

fn hear(register: &Register, worker: TcpStream, mut random: fastrand::Rng) {
    let _ = worker.set_nodelay(true);
    let Ok(mut answers) = worker.try_clone() else { return };
    let (mut lines, mut line) = (BufReader::new(worker), String::new());
    while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
        if line == "pick\n" {
            let picked = register.pick(&mut random).map(|known| known.to_string());
            let _ = answers.write_all(format!("{}\n", picked.unwrap_or_default()).as_bytes());
        } else if let Some(op) = Op::parse(&line) {
            register.hear(op);
        } else if let Some(known) = Known::parse(&line) {
            register.offer(known);
        } else {
            return;
        }
        line.clear();
    }
}

/// How workers save.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Saves {
    AsTheyShould,
    /// They write back what they had read, whatever has become of it: the bug.
    Recreating,
}

/// The processes, and what befalls them.
struct Fleet {
    server: Server,
    proxy: Proxy,
    register: Arc<Register>,
    workers: Vec<(Child, u64)>,
    port: u16,
    seed: u64,
    saves: Saves,
}

impl Fleet {
    fn start(seed: u64, saves: Saves) -> Self {
        let (server, register) = (start_redis(), Arc::new(Register::default()));
        let (proxy, port) = (Proxy::start(server.port), listen(&register));
        let mut fleet = Self { server, proxy, register, workers: Vec::new(), port, seed, saves };
        for process in 0..PROCESSES {
            let worker = fleet.spawn(process, 0);
            fleet.workers.push((worker, 0));
        }
        for process in 0..PROCESSES {
            wait_until("a worker has had an answer", || fleet.register.has_heard_of(process));
        }
        fleet
    }

    fn spawn(&self, process: u64, life: u64) -> Child {
        Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "session_torture::worker", "--nocapture"])
            .env("SINEW_SESSION_WORKER_STORE", format!("redis://127.0.0.1:{}", self.proxy.port))
            .env("SINEW_SESSION_WORKER_REGISTER", self.port.to_string())
            .env("SINEW_SESSION_WORKER_PROCESS", process.to_string())
            .env("SINEW_SESSION_WORKER_LIFE", life.to_string())
            .env(
                "SINEW_SESSION_WORKER_RECREATES",
                u8::from(self.saves == Saves::Recreating).to_string(),
            )
            .env("SINEW_TORTURE_SEED", self.seed.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process")
    }

    fn inflict(&mut self, misfortune: Misfortune, random: &mut fastrand::Rng) {
        let process = random.usize(..self.workers.len());
        match misfortune {
            Misfortune::Kill => {
                let (worker, life) = &mut self.workers[process];
                let next = *life + 1;
                signal(worker.id(), "KILL");
                let _ = worker.wait();
                std::thread::sleep(millis(50, 300, random));
                self.workers[process] = (self.spawn(process as u64, next), next);
            }
            Misfortune::Stop => {
                let worker = self.workers[process].0.id();
                signal(worker, "STOP");
                // Longer than a session may go unused, now and then.
                std::thread::sleep(millis(200, 1_500, random));
                signal(worker, "CONT");
            }
            Misfortune::Cut => {
                redis_cli(self.server.port, &["CLIENT", "KILL", "TYPE", "normal"]);
            }
            Misfortune::LoseReply => {
                self.proxy.cut_at_next_reply();
                std::thread::sleep(millis(20, 100, random));
                self.proxy.pass();
            }
            Misfortune::Pause => {
                // Longer than anyone waits for it, now and then.
                signal(self.server.pid, "STOP");
                std::thread::sleep(millis(200, 1_500, random));
                signal(self.server.pid, "CONT");
            }
        }
    }

    /// Tells all to come to their end, and waits for it. How many did not.
    fn end(&mut self) -> usize {
        for (worker, _) in &mut self.workers {
            drop(worker.stdin.take());
        }
        let (began, mut hung) = (Instant::now(), 0);
        for (worker, _) in &mut self.workers {
            while worker.try_wait().is_ok_and(|end| end.is_none()) {
                if began.elapsed() > WAIT_MAX {
                    hung += 1;
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        hung
    }

    /// Asks once more for all that are still offered, when nobody else does.
    fn ask_again(&self) {
        let store = format!("redis://127.0.0.1:{}", self.server.port);
        let register = Arc::clone(&self.register);
        keep_for(Duration::from_secs(60), || async move {
            let sessions = sessions(&store, Duration::from_secs(10));
            for (known, number) in register.offered().into_iter().zip(0..) {
                let session = sessions.open(known.token.parse().expect("a token"));
                let (by, began_ns) =
                    (Attempt { process: PROCESSES, life: 0, task: 0, number }, now_ns());
                let said = match session.is_live().await.expect("an answer") {
                    true => Said::Live,
                    false => Said::Gone,
                };
                let (what, ended_ns, new) = (What::Reads, now_ns(), history::NONE.to_owned());
                let Known { id: session, user, .. } = known;
                register.hear(Op { by, what, began_ns, ended_ns, said, session, user, new });
            }
        });
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
    Cut,
    LoseReply,
    Pause,
}

/// What came of it all.
struct Played {
    ops: Vec<Op>,
    faults: usize,
    hung: usize,
}

/// A calm time, every misfortune at least once and on for two thirds of the time, a calm time.
fn play(seconds: u64, seed: u64) -> Played {
    let mut fleet = Fleet::start(seed, Saves::AsTheyShould);
    let sixth = Duration::from_secs(seconds) / 6;
    let mut random = fastrand::Rng::with_seed(seed);
    use Misfortune::{Cut, Kill, LoseReply, Pause, Stop};
    let all = [Kill, Stop, Cut, LoseReply, Pause];
    let mut first = all.to_vec();
    random.shuffle(&mut first);
    std::thread::sleep(sixth);
    let (began, mut faults) = (Instant::now(), 0);
    while !first.is_empty() || began.elapsed() < 4 * sixth {
        let next = first.pop().unwrap_or_else(|| all[random.usize(..all.len())]);
        fleet.inflict(next, &mut random);
        faults += 1;
        std::thread::sleep(millis(50, 300, &mut random));
    }
    std::thread::sleep(sixth);
    let hung = fleet.end();
    fleet.ask_again();
    Played { ops: fleet.register.ops(), faults, hung }
}

/// `cargo xtask torture session --seconds 60` plays it for longer.
#[test]
fn no_session_that_was_ended_answers_again() {
    let (seconds, seed) = (setting("SINEW_TORTURE_SECONDS", 6), setting("SINEW_TORTURE_SEED", 1));
    let Played { mut ops, faults, hung } = play(seconds, seed);
    let report = check(&ops, BOUNDS);
    let Report { sessions, live, saved, gone, failed, asked_after_end, .. } = report;
    println!(
        "torture session: seed {seed}, {seconds} s, {PROCESSES} processes, {faults} faults, {} operations, {failed} failed: {sessions} sessions, found live {live} times, saved {saved} times, gone {gone} times; asked for {asked_after_end} times after their end; {hung} hung, {} promises broken",
        ops.len(),
        report.found.len(),
    );
    if !report.found.is_empty() {
        let file = temporary_folder("session-history").join("operations");
        ops.sort_by_key(|op| op.began_ns);
        let lines: String = ops.iter().map(|op| format!("{op}\n")).collect();
        std::fs::write(&file, lines).expect("a file in a temporary folder");
        panic!("{file:?}: {:#?}", &report.found[..report.found.len().min(5)]);
    }
    assert_eq!(hung, 0, "someone waits for ever");
    assert!(live > 100 && saved > 50 && asked_after_end > 100, "hardly anything happened");
    // Each way to end was gone.
    for what in [
        What::LogsOut,
        What::Revokes,
        What::Rotates,
        What::LogsIn,
        What::LogsOutAll,
        What::LogsOutOthers,
    ] {
        assert!(ops.iter().any(|op| op.what == what && op.said == Said::Done), "no {what:?}");
    }
}
