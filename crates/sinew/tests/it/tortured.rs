//! What the tortures of fleets have in common.
//!
//! Each process of a fleet is this test program again, and tells a register in the test what it does.

use std::fmt::Display;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::ops::Range;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::member::setting;
use crate::world::signal;

/// A process, and which life of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Worker {
    pub process: u64,
    pub life: u64,
}

/// The processes of a fleet, each with its life. They end with this.
#[derive(Default)]
pub struct Workers(Vec<(Child, u64)>);

impl Workers {
    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn begin(&mut self, worker: Child) {
        self.0.push((worker, 0));
    }

    /// In its next life.
    pub fn begin_again(&mut self, index: usize, worker: Child) {
        let (before, life) = &mut self.0[index];
        (*before, *life) = (worker, *life + 1);
    }

    pub fn stop(&self, index: usize, time: Duration) {
        let worker = self.0[index].0.id();
        signal(worker, "STOP");
        std::thread::sleep(time);
        signal(worker, "CONT");
    }

    pub fn kill(&mut self, index: usize) -> Worker {
        let (worker, life) = &mut self.0[index];
        signal(worker.id(), "KILL");
        let _ = worker.wait();
        Worker { process: index as u64, life: *life }
    }

    /// Tells some to come to their end, and waits for it. Who did not.
    pub fn end(&mut self, processes: Range<u64>, time_max: Duration) -> Vec<String> {
        let is_told = |index: &usize| processes.contains(&(*index as u64));
        let told: Vec<usize> = (0..self.0.len()).filter(is_told).collect();
        for index in &told {
            drop(self.0[*index].0.stdin.take());
        }
        let (began, mut hung) = (Instant::now(), Vec::new());
        for index in told {
            while self.0[index].0.try_wait().is_ok_and(|end| end.is_none()) {
                if began.elapsed() > time_max {
                    hung.push(format!("process {index} does not end"));
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        hung
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for (worker, _) in &mut self.0 {
            let _ = worker.kill();
            let _ = worker.wait();
        }
    }
}

/// A process that runs the test which plays its part, and has this line to the register.
pub fn start(test: &str, by: Worker, register: u16, variables: &[(&str, String)]) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture"])
        .env("SINEW_WORKER_REGISTER", register.to_string())
        .env("SINEW_WORKER_PROCESS", by.process.to_string())
        .env("SINEW_WORKER_LIFE", by.life.to_string())
        .envs(variables.iter().map(|(name, value)| (*name, value.as_str())))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a process")
}

/// Hears workers until they are gone, or say what is not understood. Its threads end with the test program.
pub fn listen(hear: impl Fn(&str) -> Option<()> + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for worker in listener.incoming().map_while(Result::ok) {
            let hear = hear.clone();
            std::thread::spawn(move || {
                let (mut lines, mut line) = (BufReader::new(worker), String::new());
                while lines.read_line(&mut line).is_ok_and(|read| read > 0) && hear(&line).is_some()
                {
                    line.clear();
                }
            });
        }
    });
    port
}

/// A process's line to the register. What was said before it is killed is heard.
pub struct Line {
    register: Mutex<TcpStream>,
    pub by: Worker,
}

impl Line {
    pub async fn connect() -> Self {
        let port = u16::try_from(setting("SINEW_WORKER_REGISTER", 0)).expect("a port");
        let socket = TcpStream::connect(("127.0.0.1", port)).await.expect("a register");
        socket.set_nodelay(true).expect("a socket option");
        let (process, life) = (setting("SINEW_WORKER_PROCESS", 0), setting("SINEW_WORKER_LIFE", 0));
        Self { register: Mutex::new(socket), by: Worker { process, life } }
    }

    /// What there is to say once no one else of this process speaks.
    ///
    /// The register outlives its workers: where it is gone, so is the test.
    pub async fn say<T: Display>(&self, what: impl FnOnce() -> T) {
        let mut register = self.register.lock().await;
        register.write_all(format!("{}\n", what()).as_bytes()).await.expect("a register");
    }

    /// Tells when a machine that is busy with other tests has this process stand still, as if it had been stopped.
    pub async fn watch(self: Arc<Self>, lease: Duration) {
        loop {
            let from_ns = now_ns();
            tokio::time::sleep(lease / 20).await;
            if Duration::from_nanos(now_ns() - from_ns) > lease / 4 {
                self.say(|| format!("Stalled {} {from_ns}", self.by.process)).await;
            }
        }
    }
}

/// Which process has stood still, and since when.
pub fn parse_stall(line: &str) -> Option<(u64, u64)> {
    let (process, from_ns) = line.strip_prefix("Stalled ")?.strip_suffix('\n')?.split_once(' ')?;
    Some((process.parse().ok()?, from_ns.parse().ok()?))
}

/// In a process: until it is told to come to its end, or the test has ended, however it did.
pub async fn is_told_to_end() {
    let input = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let _ = input.await;
}

/// The database of effects, which all workers share.
pub async fn effects(file: &str) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // Processes are killed here, not machines.
        .synchronous(SqliteSynchronous::Off)
        .busy_timeout(Duration::from_secs(30));
    let pool = SqlitePoolOptions::new().max_connections(2).acquire_timeout(Duration::from_secs(60));
    pool.connect_with(options).await.expect("a database")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfortune {
    Kill,
    Stop,
    Cut,
    LoseReplies,
    BlackHole,
    Restart,
}

/// A calm time, every misfortune at least once and on for two thirds of the time, a calm time.
pub fn play(seconds: u64, seed: u64, mut inflict: impl FnMut(Misfortune, &mut fastrand::Rng)) {
    use Misfortune::{BlackHole, Cut, Kill, LoseReplies, Restart, Stop};
    let sixth = Duration::from_secs(seconds) / 6;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut first = vec![Kill, Stop, Cut, LoseReplies, BlackHole, Restart];
    random.shuffle(&mut first);
    std::thread::sleep(sixth);
    let began = Instant::now();
    while !first.is_empty() || began.elapsed() < 4 * sixth {
        let round = Instant::now();
        let any = [Kill, Kill, Kill, Kill, Stop, Cut, LoseReplies, BlackHole, Kill, Restart];
        let next = first.pop().unwrap_or_else(|| any[random.usize(..any.len())]);
        inflict(next, &mut random);
        // One a second, where they do not take longer.
        std::thread::sleep(Duration::from_secs(1).saturating_sub(round.elapsed()));
    }
    std::thread::sleep(sixth);
}

/// The time of this machine, suspended or not, which all its processes share.
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or_default() * 1_000_000_000 + nanos.unwrap_or_default()
}

pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub fn millis(from: u64, to: u64, random: &mut fastrand::Rng) -> Duration {
    Duration::from_millis(random.u64(from..to))
}
