//! Measuring beside peers.

use std::fs;
use std::process::Stdio;

use crate::{setup, step};

/// The last one only where it is named.
const CAPABILITIES: [&str; 9] =
    ["link", "cache", "lock", "limit", "session", "flag", "stream", "job", "job-ten-million"];

pub(crate) fn run(options: &[&str]) -> Result<(), String> {
    let known =
        |option: &&&str| ["--quick", "--json"].contains(*option) || CAPABILITIES.contains(*option);
    if let Some(unknown) = options.iter().find(|option| !known(option)) {
        return Err(format!(
            "unknown option {unknown:?}: expected a capability ({}), --quick or --json",
            CAPABILITIES.join(", ")
        ));
    }
    let json = options.contains(&"--json");
    if !json {
        setup::run()?;
    }
    let lines = measure(options)?;
    if json {
        print!("{lines}");
    }
    let rows =
        lines.lines().map(row_of).collect::<Option<Vec<_>>>().ok_or("a line is not a row")?;
    if !json {
        print!("{}", table(&rows));
    }
    let quick = options.contains(&"--quick");
    let file = step::root().join("docs/benchmarks.md");
    let before = fs::read_to_string(&file).unwrap_or_default();
    let rows = merged(rows_of_page(&before), rows);
    fs::write(file, page(&rows, quick)).map_err(|e| format!("docs/benchmarks.md: {e}"))
}

/// What was measured before and not this time stays.
fn merged(before: Vec<[String; 6]>, now: Vec<[String; 6]>) -> Vec<[String; 6]> {
    let is_measured =
        |row: &[String; 6]| now.iter().any(|new| new[0] == row[0] && new[2] == row[2]);
    let kept: Vec<_> = before.into_iter().filter(|row| !is_measured(row)).collect();
    let mut all: Vec<_> = kept.into_iter().chain(now).collect();
    all.sort();
    all
}

fn rows_of_page(page: &str) -> Vec<[String; 6]> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.filter_map(|line| {
        let cells: Vec<String> = line.split(" | ").map(str::to_owned).collect();
        <[String; 6]>::try_from(cells).ok()
    });
    rows.filter(|row| row[0].contains('.')).collect()
}

/// Runs `bench/`, whose rows come on standard output and progress on standard error.
fn measure(options: &[&str]) -> Result<String, String> {
    let output = step::command(&[
        "cargo",
        "run",
        "--quiet",
        "--release",
        "--manifest-path",
        "bench/Cargo.toml",
        "--",
    ])
    .args(options)
    .stderr(Stdio::inherit())
    .output()
    .map_err(|e| format!("cargo: {e}"))?;
    if !output.status.success() {
        return Err("the measurement failed".to_owned());
    }
    String::from_utf8(output.stdout).map_err(|e| e.to_string())
}

/// The cells of a row: bench, ours, peer, theirs, unit, ratio.
fn row_of(line: &str) -> Option<[String; 6]> {
    let field = |name: &str| {
        let (_, rest) = line.split_once(&format!("\"{name}\":"))?;
        let value = rest.split([',', '}']).next()?;
        Some(if value == "null" { "–".to_owned() } else { value.trim_matches('"').to_owned() })
    };
    Some([
        field("bench")?,
        field("ours")?,
        field("peer")?,
        field("theirs")?,
        field("unit")?,
        field("ratio")?,
    ])
}

const TITLES: [&str; 6] = ["bench", "ours", "peer", "theirs", "unit", "ratio"];

fn table(rows: &[[String; 6]]) -> String {
    let line = |cells: &[String; 6]| {
        let [bench, ours, peer, theirs, unit, ratio] = cells;
        format!("{bench:<26} {ours:>12} {peer:<21} {theirs:>12} {unit:<15} {ratio:>6}\n")
    };
    let titles = TITLES.map(str::to_owned);
    std::iter::once(&titles).chain(rows).map(line).collect()
}

fn page(rows: &[[String; 6]], quick: bool) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let effort = if quick { "a quick run" } else { "a full run" };
    let mut page = format!(
        "# Benchmarks\n\nWritten by `cargo xtask bench`, the last time in {effort}, on {cores} cores, server and client on one machine. \
         `ratio` is how many times better ours is; `raw` is the least that the job needs, `bar` what was promised.\n\n| {} |\n|{}\n",
        TITLES.join(" | "),
        " --- |".repeat(TITLES.len()),
    );
    for row in rows {
        page.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::{merged, page, row_of, rows_of_page};

    #[test]
    fn a_row_is_read() {
        let line = r#"{"bench":"a.b","ours":1.0,"peer":"raw","theirs":2.0,"unit":"operations/s","ratio":0.5}"#;
        assert_eq!(row_of(line).unwrap(), ["a.b", "1.0", "raw", "2.0", "operations/s", "0.5"]);
        assert!(row_of("{}").is_none());
    }

    #[test]
    fn a_run_of_one_capability_keeps_the_rows_of_the_others() {
        let row =
            |bench: &str, ratio: &str| [bench, "1", "raw", "2", "1/s", ratio].map(str::to_owned);
        let before = page(&[row("a.x", "1.0"), row("b.y", "2.0")], false);
        let now = merged(rows_of_page(&before), vec![row("b.y", "3.0")]);
        assert_eq!(now, [row("a.x", "1.0"), row("b.y", "3.0")]);
    }
}
