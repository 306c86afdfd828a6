//! Installing what the tests need beside Rust.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{backports, step};

struct Need {
    program: &'static str,
    package: &'static str,
    also_in: fn() -> Vec<PathBuf>,
}

const NEEDS: [Need; 11] = [
    on_path("curl", "curl"),
    on_path("redis-server", "redis-server"),
    on_path("redis-cli", "redis-tools"),
    on_path("valkey-server", VALKEY),
    on_path("openssl", "openssl"),
    Need { program: "postgres", package: "postgresql", also_in: postgres_folders },
    on_path("setpriv", "util-linux"),
    on_path("chromium", "chromium"),
    on_path("chromedriver", "chromium-driver"),
    on_path("node", "nodejs"),
    on_path("npm", "npm"),
];

/// In Debian 12 only among the backports.
const VALKEY: &str = "valkey-server";

const fn on_path(program: &'static str, package: &'static str) -> Need {
    Need { program, package, also_in: Vec::new }
}

/// Debian keeps the server's programs off the PATH.
fn postgres_folders() -> Vec<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin")).collect()
}

/// Installs what is missing where it may, else prints the one command that does.
pub(crate) fn run() -> Result<(), String> {
    add_components()?;
    cargo_deny()?;
    packages()?;
    openfeature_clients()?;
    println!("Everything that the tests need is installed.");
    Ok(())
}

fn packages() -> Result<(), String> {
    let missing: Vec<&str> =
        NEEDS.iter().filter(|need| !is_there(need)).map(|need| need.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let install = format!("apt-get install -y --no-install-recommends {}", missing.join(" "));
    if !is_root() || !found("apt-get", &[]) {
        let backports = match missing.contains(&VALKEY).then(backports::source).flatten() {
            Some(source) => format!("echo '{source}' | sudo tee {} && ", backports::FILE),
            None => String::new(),
        };
        return Err(format!(
            "missing: {}. Run this once, then try again:\n\n  {backports}sudo apt-get update && sudo {install}\n",
            missing.join(", ")
        ));
    }
    apt_update()?;
    if missing.contains(&VALKEY) && !backports::has_candidate(VALKEY) {
        backports::add()?;
        apt_update()?;
    }
    let words: Vec<&str> = install.split(' ').collect();
    step::run(&install, quietly(step::command(&words)).stdout(Stdio::null()))
}

fn apt_update() -> Result<(), String> {
    let mut update = quietly(step::command(&["apt-get", "update", "-q"]));
    step::run("apt-get update", update.stdout(Stdio::null()))
}

/// rustfmt and clippy come with rustup's default profile, not with its minimal one.
fn add_components() -> Result<(), String> {
    let there = |name: &str| {
        let help = Command::new("cargo")
            .args([name, "--version"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        help.is_ok_and(|status| status.success())
    };
    if there("fmt") && there("clippy") {
        return Ok(());
    }
    step::run(
        "rustup component add",
        &mut step::command(&["rustup", "component", "add", "rustfmt", "clippy"]),
    )
}

/// `cargo-deny`, built once beside the other build results.
pub(crate) fn cargo_deny() -> Result<PathBuf, String> {
    let tools = target().join("tools");
    let built = tools.join("bin/cargo-deny");
    if built.is_file() {
        return Ok(built);
    }
    if found("cargo-deny", &[]) {
        return Ok(PathBuf::from("cargo-deny"));
    }
    let install = [
        "cargo",
        "install",
        "-q",
        "--locked",
        "cargo-deny@0.20.2",
        "--root",
        &tools.to_string_lossy(),
    ];
    // Its own build results are of no further use.
    step::run(
        "cargo install cargo-deny (once, some minutes)",
        step::command(&install).env_remove("CARGO_TARGET_DIR"),
    )?;
    Ok(built)
}

/// OpenFeature's own clients for Node.js, which the hub's tests run: beside the other build results, and
/// anew where the lock is another.
fn openfeature_clients() -> Result<(), String> {
    let from = step::root().join("crates/sinew-hub/tests/ofrep");
    let to = target().join("ofrep");
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(&to).map_err(|e| failed(&to, e))?;
    let lock = from.join("package-lock.json");
    let wanted = fs::read(&lock).map_err(|e| failed(&lock, e))?;
    // Written last: an installation that broke off is none.
    let installed = to.join("node_modules/.installed-lock.json");
    if fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    for name in ["package.json", "package-lock.json"] {
        fs::copy(from.join(name), to.join(name)).map_err(|e| failed(&from.join(name), e))?;
    }
    let words = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"];
    step::run("npm ci (OpenFeature's clients)", step::command(&words).current_dir(&to))?;
    fs::write(&installed, wanted).map_err(|e| failed(&installed, e))
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| step::root().join("target"), PathBuf::from)
}

fn quietly(mut command: Command) -> Command {
    // Packages that start a service would also take its port; the tests start their own.
    command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1").stdin(Stdio::null());
    command
}

fn is_there(need: &Need) -> bool {
    found(need.program, &(need.also_in)())
}

fn found(program: &str, also_in: &[PathBuf]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(also_in.iter().cloned());
    folders.any(|folder: PathBuf| Path::new(&folder).join(program).is_file())
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.starts_with(b"0\n"))
}
