//! What the tortures of fleets have in common.
//!
//! Each process of a fleet is this test program again, and tells a register in the test what it does.

use std::fmt::{Debug, Display};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sinew::Sinew;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::member::setting;
use crate::world::{Proxy, Server, free_port, signal, start_redis_on, temporary_folder};

/// More than anyone waits, whatever happens.
pub const WAIT_MAX: Duration = Duration::from_secs(120);

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A process was ended, in this life.
    Killed(Worker),
    /// A process stood still.
    Stopped { process: u64 },
    /// A process's connections were cut, or led nowhere.
    CutOff { process: u64 },
    /// Redis was killed, and started with what it had written.
    Restarted,
    /// Redis answered no one, for as long as ends a lease.
    StoodStill,
}

#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub kind: FaultKind,
    pub from_ns: u64,
    pub to_ns: u64,
}

impl Fault {
    /// Whether a process may have lost by it what it had.
    pub fn befalls(&self, by: Worker) -> bool {
        match self.kind {
            FaultKind::Killed(worker) => worker == by,
            FaultKind::Stopped { process } | FaultKind::CutOff { process } => process == by.process,
            FaultKind::Restarted | FaultKind::StoodStill => true,
        }
    }
}

/// The processes of a fleet, each behind a proxy, and their Redis.
pub struct Stage {
    server: Option<Server>,
    /// Which test plays the part of a process, and what it is told besides: at `SINEW_WORKER_REGISTER` what it does is heard.
    test: &'static str,
    variables: Vec<(&'static str, String)>,
    pub port: u16,
    folder: PathBuf,
    /// One before each process.
    pub proxies: Vec<Proxy>,
    pub workers: Workers,
}

impl Stage {
    pub fn start(test: &'static str, variables: Vec<(&'static str, String)>) -> Self {
        let mut stage = Self {
            server: None,
            test,
            variables,
            port: free_port(),
            folder: temporary_folder("torture"),
            proxies: Vec::new(),
            workers: Workers::default(),
        };
        stage.start_server();
        stage
    }

    /// With what it had written, where it was there before.
    fn start_server(&mut self) {
        let folder = self.folder.to_string_lossy().into_owned();
        let settings = ["--dir", &folder, "--appendonly", "yes", "--appendfsync", "always"];
        self.server = Some(start_redis_on(self.port, &settings));
    }

    /// The file of the database of effects.
    pub fn effects(&self) -> String {
        self.folder.join("effects.db").to_string_lossy().into_owned()
    }

    pub fn spawn(&self, by: Worker) -> Child {
        let index = usize::try_from(by.process).expect("a small number");
        Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", self.test, "--nocapture"])
            .env("SINEW_WORKER_STORE", format!("redis://127.0.0.1:{}", self.proxies[index].port))
            .env("SINEW_WORKER_EFFECTS", self.effects())
            .env("SINEW_WORKER_PROCESS", by.process.to_string())
            .env("SINEW_WORKER_LIFE", by.life.to_string())
            .envs(self.variables.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process")
    }

    /// Past all proxies.
    pub fn with_store<T, F: Future<Output = T>>(&self, act: impl FnOnce(Sinew) -> F) -> T {
        let store = format!("redis://127.0.0.1:{}", self.port);
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all();
        runtime.build().expect("a runtime").block_on(async {
            let sinew = Sinew::builder().deadline(Duration::from_secs(10)).connect(&store).await;
            let acted = act(sinew.expect("a connection"));
            let in_time = tokio::time::timeout(WAIT_MAX + Duration::from_secs(60), acted).await;
            in_time.expect("it comes to its end in time")
        })
    }

    /// Has it befall a process, or Redis. Nobody is away for longer than this; replies are lost for two leases at most.
    pub fn inflict(
        &mut self,
        next: Misfortune,
        index: usize,
        (lease, away_max): (Duration, Duration),
        random: &mut fastrand::Rng,
    ) -> FaultKind {
        let process = index as u64;
        let [lease_ms, away_ms] =
            [lease, away_max].map(|time| u64::try_from(time.as_millis()).expect("a short time"));
        match next {
            Misfortune::Kill => {
                let killed = self.workers.kill(index);
                std::thread::sleep(millis(50, 300, random));
                let again = self.spawn(Worker { life: killed.life + 1, ..killed });
                self.workers.begin_again(index, again);
                FaultKind::Killed(killed)
            }
            // Now and then for so long that it is taken for dead.
            Misfortune::Stop => {
                self.workers.stop(index, millis(lease_ms, away_ms, random));
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
                std::thread::sleep(millis(100, away_ms, random));
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
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.workers = Workers::default();
        self.server = None;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
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

/// What a play comes to is chance, more so where the machine is busy: it is found in one of a few.
pub fn is_found_out<B: PartialEq + Debug>(expected: B, play: impl FnMut() -> Vec<B>) {
    let plays: Vec<Vec<B>> = std::iter::repeat_with(play)
        .take(3)
        .take_while(|found| !found.contains(&expected))
        .collect();
    assert!(plays.len() < 3, "{expected:?} is in none of {plays:?}");
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
