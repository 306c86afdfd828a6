//! Every test, and how many laws each store kept.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::{check, setup, step};

/// What every law runs on.
const STORES: [&str; 4] = ["memory", "redis", "cluster", "valkey"];
/// Most tests wait for servers and leases: of two processors, one at a time each would be idle.
const THREADS: &str = "4";

pub(crate) fn run() -> Result<(), String> {
    setup::run()?;
    check::run()?;
    let laws = run_tests()?;
    println!("\nLaws kept, by store:");
    let counts = STORES.map(|store| laws.get(store).copied().unwrap_or(0));
    for (store, count) in STORES.iter().zip(counts) {
        println!("  {store:<10} {count:>4}");
    }
    match counts.iter().all(|count| *count > 0 && *count == counts[0]) {
        true => Ok(()),
        false => Err("the stores did not keep the same number of laws".to_owned()),
    }
}

/// Runs all tests; counts those named `{capability}::{store}::{law}` in the library's suite.
fn run_tests() -> Result<BTreeMap<String, u32>, String> {
    println!("\n=== cargo test");
    let threads = std::env::var("RUST_TEST_THREADS").unwrap_or_else(|_| THREADS.to_owned());
    let mut child = step::command(&["cargo", "test", "--workspace", "--no-fail-fast"])
        .env("RUST_TEST_THREADS", threads)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cargo: {e}"))?;
    let mut laws = BTreeMap::new();
    let stdout = child.stdout.take().ok_or("no output")?;
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        println!("{line}");
        if let Some(store) = store_of(&line) {
            *laws.entry(store.to_owned()).or_default() += 1;
        }
    }
    let status = child.wait().map_err(|e| e.to_string())?;
    if !status.success() {
        return Err("cargo test failed".to_owned());
    }
    Ok(laws)
}

/// The store of a law that was kept.
fn store_of(line: &str) -> Option<&str> {
    let name = line.strip_prefix("test ")?.strip_suffix(" ... ok")?;
    let mut parts = name.split("::");
    let (_capability, store, _law, end) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next());
    (end.is_none() && STORES.contains(&store)).then_some(store)
}

#[cfg(test)]
mod tests {
    use super::store_of;

    #[test]
    fn only_laws_that_were_kept_count() {
        assert_eq!(store_of("test cache::redis::a_law ... ok"), Some("redis"));
        assert_eq!(store_of("test cache::memory::a_law ... ok"), Some("memory"));
        assert_eq!(store_of("test cache::cluster::a_law ... ok"), Some("cluster"));
        assert_eq!(store_of("test cache::redis::a_law ... FAILED"), None);
        assert_eq!(store_of("test kernel::memory::tests::full ... ok"), None);
        assert_eq!(store_of("test outage::garbage ... ok"), None);
    }
}
