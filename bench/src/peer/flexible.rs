//! rate-limiter-flexible, which runs on Node.js: in a process of its own, for as long as its turn is.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::spawn_blocking;

use crate::process::Process;

pub const NAME: &str = "rate-limiter-flexible";

const FILES: [(&str, &str); 3] = [
    ("main.js", include_str!("../../peers/rate-limiter-flexible/main.js")),
    ("package.json", include_str!("../../peers/rate-limiter-flexible/package.json")),
    ("package-lock.json", include_str!("../../peers/rate-limiter-flexible/package-lock.json")),
];

/// Where it is installed.
pub struct Flexible {
    folder: PathBuf,
}

impl Flexible {
    /// Installs it beside what cargo has built, or says why that cannot be.
    pub fn install() -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let target = program.ancestors().nth(2).ok_or("no target folder")?;
        let folder = target.join("peers").join(NAME);
        fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        for (name, text) in FILES {
            fs::write(folder.join(name), text).map_err(|e| format!("{name}: {e}"))?;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]);
        let output = npm.current_dir(&folder).output().map_err(|e| format!("npm: {e}"))?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            let error = errors.lines().find(|line| line.contains("error")).unwrap_or("failed");
            return Err(format!("npm ci: {error}"));
        }
        Ok(Self { folder })
    }

    pub fn start(&self, url: &str) -> Result<Process, String> {
        let mut node = Command::new("node");
        let process = Process::start(node.arg(self.folder.join("main.js")).arg(url));
        process.map_err(|e| format!("node: {e}"))
    }
}

/// Checks a second, measured over there.
pub async fn rate(process: &Arc<Mutex<Process>>, time: Duration) -> f64 {
    let process = Arc::clone(process);
    let measured = spawn_blocking(move || {
        let mut process = process.lock().expect("one at a time");
        process.tell(&format!("rate {}", time.as_millis()));
        process.hear()
    });
    measured.await.expect("a thread that does not panic")
}
