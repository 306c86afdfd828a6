//! `sinew job recurring …`: what recurs, and when it does next.

use serde_json::{Value, json};

use crate::hub::{exit_code, text};
use crate::job_cli::{Fleet, job, json_of, worked};

#[test]
fn a_recurring_job_is_defined_changed_fired_and_removed() {
    let fleet = Fleet::start();
    let [redis, hub] = fleet.places();
    for (place, name) in [(redis, "nightly"), (hub, "monthly")] {
        let run = |words: &[&str], place: &[&str]| job(&[&["recurring"], words].concat(), place);
        let new = ["put", name, "--kind", "cleanup", "--payload", r#"{"days": 30}"#, "--json"];
        let when = ["--cron", "0 2 * * *", "--tz", "Europe/Berlin", "--missed", "skip"];
        let first = json_of(&run(&[&new[..], &when].concat(), &place));
        assert_eq!(first["next"].as_array().map(Vec::len), Some(5), "{first}");
        let changed = json_of(&run(&["put", name, "--cron", "0 3 * * *", "--json"], &place));
        let names = ["queue", "payload", "cron", "tz", "missed", "overlap", "paused"];
        let expected =
            json!(["default", { "days": 30 }, "0 3 * * *", "Europe/Berlin", "skip", "skip", false]);
        assert_eq!(
            Value::from_iter(names.map(|name| changed[name].clone())),
            expected,
            "{changed}"
        );
        assert!(changed["revision"].as_u64() > first["revision"].as_u64());
        let moved =
            json_of(&run(&["put", name, "--queue", "chores", "--every", "15m", "--json"], &place));
        assert_eq!(
            (&moved["queue"], &moved["every"], &moved["cron"]),
            (&json!("chores"), &json!("15m"), &Value::Null)
        );

        for place in fleet.places() {
            let told = worked(&run(&["show", name], &place));
            assert!(told.contains("every 15m") && told.contains(r#"{"days": 30}"#), "{told}");
            let listed = json_of(&run(&["list", "--json"], &place));
            let of = listed.as_array().unwrap().iter().filter(|of| of["name"] == name);
            assert_eq!(of.count(), 1, "in one queue only: {listed}");
            let id = worked(&run(&["fire", name], &place));
            let made = json_of(&job(&["show", "chores", id.trim(), "--json"], &place));
            assert_eq!((&made["recurring"], &made["kind"]), (&json!(name), &json!("cleanup")));
            assert_eq!(json_of(&run(&["pause", name, "--json"], &place))["paused"], true);
            assert!(worked(&run(&["list"], &place)).contains(" paused"));
            assert_eq!(json_of(&run(&["resume", name, "--json"], &place))["paused"], false);
            assert_eq!(exit_code(&run(&["drop", name], &place)), 2, "it asks");
        }
        worked(&run(&["drop", name, "--yes"], &place));
        assert_eq!(exit_code(&run(&["show", name], &place)), 3);
    }
}

#[test]
fn the_next_ticks_of_a_schedule_are_told_without_asking_anyone() {
    let words = ["recurring", "next", "30 2 29 2 *", "--tz", "Europe/Berlin", "--count", "2"];
    let told = worked(&job(&words, &[]));
    assert_eq!(told.lines().count(), 2);
    let is_good = |line: &str| line.ends_with("-02-29T02:30:00+01:00[Europe/Berlin]");
    assert!(told.lines().all(is_good), "{told}");
    let as_put_takes_it =
        ["recurring", "next", "--cron", words[2], "--tz", words[4], "--count", "2"];
    assert_eq!(worked(&job(&as_put_takes_it, &[])), told);
    let often = json_of(&job(&["recurring", "next", "--every", "15m", "--json"], &[]));
    assert_eq!(often["next"].as_array().map(Vec::len), Some(5), "{often}");
    for bad in [
        &["61 * * * *"][..],
        &["* * * * *", "--tz", "Nowhere"],
        &["* * * * *", "--dst", "maybe"],
        &["--every", "10ms"],
        &["* * * * *", "--cron", "* * * * *"],
        &[],
    ] {
        let refused = job(&[&["recurring", "next"], bad].concat(), &[]);
        assert_eq!(exit_code(&refused), 2, "{bad:?}: {}", text(&refused.stderr));
    }
}
