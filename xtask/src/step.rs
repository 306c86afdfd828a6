//! Running a command as one step of several.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// The project's root, wherever xtask was called from.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
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
