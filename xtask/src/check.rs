//! What a machine can say of the code without running it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{setup, step};

/// Longer files have a second noun inside.
const LINES_MAX: usize = 600;

pub(crate) fn run() -> Result<(), String> {
    architecture()?;
    let deny = setup::cargo_deny()?.to_string_lossy().into_owned();
    step::run(
        "cargo deny",
        &mut step::command(&[
            &deny,
            "--log-level",
            "error",
            "check",
            "bans",
            "licenses",
            "sources",
        ]),
    )?;
    step::run("cargo fmt --check", &mut step::command(&["cargo", "fmt", "--all", "--check"]))?;
    step::run(
        "cargo clippy",
        &mut step::command(&[
            "cargo",
            "clippy",
            "-q",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    step::run(
        "cargo clippy without features",
        &mut step::command(&[
            "cargo",
            "clippy",
            "-q",
            "-p",
            "sinew",
            "--no-default-features",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    step::run(
        "cargo doc",
        step::command(&["cargo", "doc", "-q", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

/// A rule about the text of a file: what breaks it, by line.
struct Rule {
    what: &'static str,
    applies: fn(&str) -> bool,
    is_broken_by: fn(&str) -> bool,
}

const CAPABILITIES: [&str; 8] =
    ["cache", "lock", "limit", "session", "flag", "stream", "job", "http"];

const RULES: [Rule; 5] = [
    Rule {
        what: "the kernel imports no capability",
        applies: |path| path.starts_with("crates/sinew/src/kernel/"),
        is_broken_by: |line| CAPABILITIES.iter().any(|c| line.contains(&format!("crate::{c}"))),
    },
    Rule {
        what: "only kernel/redis/, a capability's redis/ and its scripts name Redis commands",
        applies: |path| {
            path.starts_with("crates/sinew/src/")
                && !path.starts_with("crates/sinew/src/kernel/redis/")
                && !path.contains("/redis/")
        },
        is_broken_by: |line| line.contains("redis::cmd("),
    },
    Rule {
        what: "only layer.rs, extract.rs and http/ of the library know HTTP",
        applies: |path| {
            path.starts_with("crates/sinew/src/")
                && !path.contains("/http/")
                && !path.ends_with("/layer.rs")
                && !path.ends_with("/extract.rs")
        },
        is_broken_by: |line| line.contains("axum::"),
    },
    Rule {
        what: "queues are bounded",
        applies: |path| {
            path.ends_with(".rs") && path.contains("/src/") && !path.starts_with("xtask/")
        },
        is_broken_by: |line| line.contains("unbounded_channel"),
    },
    Rule {
        what: "nothing is left to be done",
        applies: |path| path.ends_with(".rs") && !path.starts_with("xtask/"),
        is_broken_by: |line| {
            ["todo!(", "unimplemented!(", "FIXME", "#[ignore"].iter().any(|m| line.contains(m))
        },
    },
];

/// The invariants of ARCHITECTURE.md that can be read off the text.
fn architecture() -> Result<(), String> {
    println!("\n=== architecture");
    let mut faults = Vec::new();
    let mut files = Vec::new();
    for folder in ["crates", "platform", "xtask", "bench"] {
        sources(&step::root().join(folder), &mut files);
    }
    for file in &files {
        let path = file.strip_prefix(step::root()).unwrap_or(file).to_string_lossy().into_owned();
        let text = fs::read_to_string(file).map_err(|e| format!("{path}: {e}"))?;
        faults.extend(faults_of(&path, &text));
    }
    println!("=== architecture: {} files", files.len());
    match faults.is_empty() {
        true => Ok(()),
        false => Err(faults.join("\nerror: ")),
    }
}

fn faults_of(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    let too_long = (lines > LINES_MAX).then(|| {
        format!(
            "{path}: {lines} lines: expected at most {LINES_MAX}; look for the second noun inside"
        )
    });
    let broken = RULES.iter().filter(|rule| (rule.applies)(path)).flat_map(|rule| {
        let lines = text.lines().enumerate().filter(|(_, line)| (rule.is_broken_by)(line));
        lines.map(|(n, _)| format!("{path}:{}: {}", n + 1, rule.what))
    });
    too_long.into_iter().chain(broken).collect()
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::faults_of;

    #[test]
    fn a_broken_rule_is_told_with_its_line() {
        let faults = faults_of("crates/sinew/src/kernel/x.rs", "\nuse crate::cache::Cache;\n");
        assert_eq!(faults, ["crates/sinew/src/kernel/x.rs:2: the kernel imports no capability"]);
        assert_eq!(faults_of("crates/sinew/src/cache/model.rs", "redis::cmd(\"GET\")").len(), 1);
        assert!(faults_of("crates/sinew/src/cache/redis/mod.rs", "redis::cmd(\"GET\")").is_empty());
        assert_eq!(faults_of("crates/sinew/src/limit/engine.rs", "use axum::body::Body;").len(), 1);
        assert!(
            faults_of("crates/sinew/src/limit/http/layer.rs", "use axum::body::Body;").is_empty()
        );
        assert_eq!(faults_of("platform/src/a.rs", &"\n".repeat(601)).len(), 1);
    }
}
