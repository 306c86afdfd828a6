//! Running a command as one step of several.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Instant;

/// The project's root, wherever xtask was called from. Cargo says it anew at each run: of two
/// checkouts with one target folder, either may have built this.
pub(crate) fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let folder = folder.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        folder.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
    });
    &ROOT
}

/// A command in the project's root.
pub(crate) fn command(line: &[&str]) -> Command {
    let mut command = Command::new(line[0]);
    command.args(&line[1..]).current_dir(root());
    command
}

/// Runs a step and says how long it took.
///
/// # Errors
/// When the command cannot be run or fails.
pub(crate) fn run(title: &str, command: &mut Command) -> Result<(), String> {
    println!("\n=== {title}");
    let began = Instant::now();
    let status = command.status().map_err(|e| format!("{title}: {e}"))?;
    if !status.success() {
        return Err(format!("{title} failed"));
    }
    println!("=== {title}: {} s", began.elapsed().as_secs());
    Ok(())
}
