//! Processes of a fleet: this test program again, told by the environment what part to play.
//!
//! They talk with the test by lines: what begins with `@` is meant for it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A process, and what it says. It ends with this.
pub struct Member {
    pub process: Child,
    pub said: Receiver<String>,
}

impl Member {
    /// Starts a process that runs this test alone, with these variables.
    pub fn start(test: &str, variables: &[(&str, String)]) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", test, "--nocapture"])
            .envs(variables.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        let (tell, said) = channel();
        let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // The test harness prints before it on the same line.
                if let Some((_, word)) = line.split_once('@') {
                    let _ = tell.send(word.to_owned());
                }
            }
        });
        Self { process, said }
    }

    pub fn tell(&mut self, word: &str) {
        let input = self.process.stdin.as_mut().expect("piped");
        // One that was killed hears nothing.
        let _ = writeln!(input, "{word}");
    }

    pub fn hear(&self) -> String {
        self.said.recv_timeout(Duration::from_secs(120)).expect("a word of a process")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// In a member: what the test tells it next; nothing any more where the test has ended.
pub async fn a_line() -> String {
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    read.await.expect("no panic").expect("a line").trim().to_owned()
}

/// A number from the environment.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
