//! Peers that run on Node.js: each a program of its own, in a process for as long as its turn is.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use tokio::task::spawn_blocking;

use crate::process::Process;

/// A name in the program's folder, and what is in that file.
pub type File = (&'static str, &'static str);

/// Where a program is installed, which begins with its `main.js`.
pub struct Program {
    folder: PathBuf,
}

impl Program {
    /// Installs it beside what cargo has built, or says why that cannot be.
    pub fn install(name: &str, files: &[File]) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let target = program.ancestors().nth(2).ok_or("no target folder")?;
        let folder = target.join("peers").join(name);
        fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        for (name, text) in files {
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

/// Tells a process something, and hears the number that it answers.
pub async fn ask(process: &Arc<Mutex<Process>>, line: String) -> f64 {
    talk(process, line, Process::hear).await
}

/// The same, where it answers many.
pub async fn ask_all(process: &Arc<Mutex<Process>>, line: String) -> Vec<f64> {
    talk(process, line, Process::hear_all).await
}

async fn talk<T: Send + 'static>(
    process: &Arc<Mutex<Process>>,
    line: String,
    hear: fn(&Process) -> T,
) -> T {
    let process = Arc::clone(process);
    let talked = spawn_blocking(move || {
        let mut process = process.lock().expect("one at a time");
        process.tell(&line);
        hear(&process)
    });
    talked.await.expect("a thread that does not panic")
}
