//! Processes that are told by lines what to do, and answer by lines.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use tokio::task::spawn_blocking;

const LINES_MAX: usize = 16;
/// Generous: a cold machine compiles beside it.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// A process, which ends with this handle. It ends by itself when nobody holds its input any more.
pub struct Process {
    child: Child,
    said: Receiver<String>,
}

impl Process {
    /// Starts it, and waits until it says that it is ready.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (tell, said) = sync_channel(LINES_MAX);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let process = Self { child, said };
        match process.said.recv_timeout(ANSWER_MAX) {
            Ok(line) if line == "ready" => Ok(process),
            _ => Err(io::Error::other("a process that did not become ready")),
        }
    }

    pub fn tell(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("piped");
        writeln!(input, "{line}").expect("a process that listens");
    }

    /// What it answers: a number.
    pub fn hear(&self) -> f64 {
        self.hear_line().parse().expect("a number")
    }

    /// The same, where it answers many of them.
    pub fn hear_all(&self) -> Vec<f64> {
        let line = self.hear_line();
        line.split_whitespace().map(|number| number.parse().expect("a number")).collect()
    }

    fn hear_line(&self) -> String {
        self.said.recv_timeout(ANSWER_MAX).expect("a process that answers")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What this process is told next; nothing where nobody tells it anything any more.
pub async fn next_line() -> Option<String> {
    let read = spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    let line = read.await.expect("a thread that does not panic").expect("a line");
    (!line.is_empty()).then(|| line.trim().to_owned())
}
