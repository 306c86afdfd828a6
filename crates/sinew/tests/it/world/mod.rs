//! Real servers for tests: on free loopback ports, in temporary folders, ended by their pid.
//!
//! A server is started under a shell that holds a pipe from this process. However the process
//! ends, the pipe closes, and the shell kills the server and removes its folder.

mod cluster;
mod postgres;
mod proxy;
mod refusals;
mod sentinel;
mod store;
mod tls;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use cluster::{Cluster, Node, SHARED_CLUSTER};
pub use postgres::start_postgres;
pub use proxy::Proxy;
pub use refusals::{Refusal, SECRET, refusals};
pub use sentinel::{PRIMARY, Sentinels, primary_of};
pub use store::Store;
pub use tls::Certificates;

/// How long a server may take to answer. Generous: a cold machine compiles beside it.
const START_MAX: Duration = Duration::from_secs(60);

/// A server process and its folder.
pub struct Server {
    // Dropped first: its closing ends the server.
    pipe: Option<ChildStdin>,
    shell: Child,
    folder: PathBuf,
    pub pid: u32,
    pub port: u16,
}

impl Server {
    /// Runs a command with `folder` as working directory, and ends it with `last_signal`.
    pub fn start(command: &[String], port: u16, folder: &Path, last_signal: &str) -> Self {
        // The shell waits for its input to end in the background of the server, not the other
        // way round, so that it also notices when the server ends first.
        let script = r#"
            cd "$0" || exit 1
            last_signal=$1
            shift
            # Ctrl-C reaches this shell as well, which still has to clean up.
            trap '' INT TERM HUP
            ( trap - INT TERM HUP; exec "$@" ) < /dev/null > server.log 2>&1 &
            server=$!
            echo $server
            read -r _
            kill -s $last_signal $server 2> /dev/null
            wait $server 2> /dev/null
            rm -rf "$0"
        "#;
        let mut shell = Command::new("/bin/sh")
            .arg("-c")
            .arg(script)
            .arg(folder)
            .arg(last_signal)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("/bin/sh");
        let mut stdout = shell.stdout.take().expect("piped");
        let mut pid = String::new();
        let mut byte = [0];
        while stdout.read(&mut byte).unwrap_or(0) == 1 && byte[0] != b'\n' {
            pid.push(char::from(byte[0]));
        }
        Self {
            pipe: shell.stdin.take(),
            shell,
            folder: folder.to_owned(),
            pid: pid.parse().expect("the server's pid"),
            port,
        }
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("server.log")).unwrap_or_default()
    }

    /// SIGKILL: no goodbye, no last write.
    pub fn kill(&mut self) {
        signal(self.pid, "KILL");
        self.wait();
    }

    /// Waits until nobody listens on its port.
    pub fn wait_gone(&mut self) {
        let address = self.address();
        wait_until("the server is gone", || TcpStream::connect(address).is_err());
    }

    fn wait(&mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            let _ = pipe.write_all(b"\n");
        }
        let _ = self.shell.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.wait();
    }
}

/// A chromedriver, to drive a real browser.
pub fn start_chromedriver() -> Server {
    find("chromium", &[]);
    let (port, folder) = (free_port(), temporary_folder("chromedriver"));
    let command = [find("chromedriver", &[]), format!("--port={port}")];
    let server = Server::start(&command, port, &folder, "KILL");
    wait_until("chromedriver answers", || TcpStream::connect(server.address()).is_ok());
    server
}

/// Sends a signal to one process, by pid.
pub fn signal(pid: u32, name: &str) {
    let sent =
        Command::new("kill").args(["-s", name, &pid.to_string()]).stderr(Stdio::null()).status();
    assert!(sent.is_ok(), "kill is missing");
}

/// Below those that connections begin at: none takes one between the look and the server's start.
const PORT_FIRST: u32 = 10_000;
const PORTS_LEN: u32 = 20_000;

/// A free port, which this process gives to nobody else.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Other test processes begin elsewhere.
    let begin = std::process::id().wrapping_mul(7_919) % PORTS_LEN;
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(number < 2 * PORTS_LEN, "no port is free");
        let port = PORT_FIRST + (begin + number) % PORTS_LEN;
        let port = u16::try_from(port).expect("within a port's bounds");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

pub fn temporary_folder(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = format!("sinew-{name}-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(folder);
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    folder
}

/// Waits until `ready` says so.
pub fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let began = Instant::now();
    while !ready() {
        assert!(began.elapsed() < START_MAX, "{what} in {START_MAX:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The full path of a program, on the PATH or in one of `also_in`.
fn find(program: &str, also_in: &[PathBuf]) -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(also_in.iter().cloned())
        .map(|folder| folder.join(program))
        .find(|file| file.is_file());
    let found =
        found.unwrap_or_else(|| panic!("{program} is not installed: run `cargo xtask setup`"));
    found.to_string_lossy().into_owned()
}

/// A Redis of one's own.
pub fn start_redis() -> Server {
    start_redis_on(free_port(), &[])
}

pub fn start_redis_on(port: u16, settings: &[&str]) -> Server {
    start_one("redis-server", port, settings)
}

/// The Redis that laws share, each under a prefix of its own.
pub static SHARED_REDIS: LazyLock<Server> = LazyLock::new(start_redis);

/// The Valkey that laws share.
pub static SHARED_VALKEY: LazyLock<Server> =
    LazyLock::new(|| start_one("valkey-server", free_port(), &[]));

fn start_one(program: &str, port: u16, settings: &[&str]) -> Server {
    let server = spawn_server(program, port, settings);
    let address = server.address();
    wait_until("the server answers", || {
        if settings.contains(&"--tls-port") {
            return TcpStream::connect(address).is_ok();
        }
        // With a password set, an error is an answer too.
        redis_cli_raw(address, b"PING\r\n")
            .is_some_and(|r| r.starts_with('+') || r.starts_with("-NOAUTH"))
    });
    server
}

/// Starts a server without waiting for it.
fn spawn_server(program: &str, port: u16, settings: &[&str]) -> Server {
    let folder = temporary_folder("redis");
    let mut command = vec![find(program, &[])];
    let port_text = port.to_string();
    let fixed = ["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    command.extend(fixed.iter().chain(settings).map(|s| (*s).to_owned()));
    Server::start(&command, port, &folder, "KILL")
}

fn redis_cli_raw(address: SocketAddr, command: &[u8]) -> Option<String> {
    let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    socket.write_all(command).ok()?;
    let mut reply = [0; 512];
    let len = socket.read(&mut reply).ok()?;
    Some(String::from_utf8_lossy(&reply[..len]).into_owned())
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir("/").output();
    let output = output.unwrap_or_else(|e| panic!("{program}: {e}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `redis-cli` as a person would use it.
pub fn redis_cli(port: u16, arguments: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .args(["-h", "127.0.0.1", "-p", &port.to_string()])
        .args(arguments)
        .output()
        .expect("redis-cli is not installed: run `cargo xtask setup`");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
