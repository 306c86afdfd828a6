//! `sinew flag …`: what people do to flags from a terminal.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::hub::{BINARY, Hub, exit_code, sinew, text};
use crate::world::{Server, free_port, redis_cli, start_redis, wait_until};

/// A Redis, a hub on it, and commands at both.
struct Fleet {
    server: Server,
    store: String,
    hub: Hub,
}

impl Fleet {
    fn start() -> Self {
        let server = start_redis();
        let store = format!("redis://127.0.0.1:{}", server.port);
        let hub = Hub::serve(&["--store", &store]);
        let fleet = Self { server, store, hub };
        let [_, at_hub] = fleet.places();
        wait_until("the hub is ready", || exit_code(&flag(&["list"], &at_hub)) == 0);
        fleet
    }

    fn places(&self) -> [[&str; 2]; 2] {
        let listen = self.hub.url.trim_start_matches("http://");
        [["--store", &self.store], ["--listen", listen]]
    }
}

fn flag(words: &[&str], place: &[&str]) -> Output {
    sinew(&[&["flag"], words, place].concat())
}

/// What a command prints that works.
fn worked(output: &Output) -> String {
    assert_eq!(exit_code(output), 0, "{}", text(&output.stderr));
    text(&output.stdout)
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&worked(output)).expect("JSON")
}

/// With something to read.
fn fed(words: &[&str], place: &[&str], input: &str) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("flag").args(words).args(place).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("sinew");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    child.wait_with_output().expect("an end")
}

#[test]
fn a_flag_is_set_and_seen_on_redis_and_through_a_hub() {
    let fleet = Fleet::start();
    for (place, key) in fleet.places().into_iter().zip(["by-store", "by-hub"]) {
        let command = |words: &[&str]| flag(words, &place);
        let dry = worked(&command(&["set", key, "on", "--rollout", "10", "--dry-run"]));
        assert!(dry.starts_with(&format!("Would make flag {key:?} of no tenant in ")), "{dry}");
        assert_eq!(exit_code(&command(&["get", key])), 3, "nothing was made");

        let made = worked(&command(&["set", key, "on", "--rollout", "10", "--owner", "growth"]));
        assert!(made.starts_with(&format!("Made flag {key:?} of no tenant in ")), "{made}");
        assert!(made.contains("rule 1: – → everyone: 90 % off, 10 % on"), "{made}");
        let table = worked(&command(&["list"]));
        let row = table.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        for cell in ["bool", "10 %", "growth"] {
            assert!(row.contains(cell), "{cell}: {table}");
        }
        // A share is what it was, whatever else is said, until someone says another.
        let words = ["set", key, "on", "--user", "bob=off", "--owner", "web"];
        let tenth = command(&words);
        let lines = ["  owner: growth → web", "  user bob: – → off"];
        assert_eq!(worked(&tenth).lines().skip(1).collect::<Vec<_>>(), lines);
        assert!(text(&tenth.stderr).contains("--rollout 100` shows it to all"), "{tenth:?}");
        let again = worked(&command(&words));
        assert!(again.starts_with(&format!("Nothing was changed: flag {key:?}")), "{again}");
        for state in ["off", "on"] {
            let told = worked(&command(&["set", key, state]));
            assert_eq!(told.lines().count(), 2, "{told}");
            assert!(told.contains("enabled: "), "{told}");
        }
        let all = worked(&command(&["set", key, "--rollout", "100"]));
        assert!(all.contains("default: off → on"), "{all}");

        let ada = worked(&command(&["why", key, "--user", "ada"]));
        assert!(ada.starts_with("true (on), decided by default"), "{ada}");
        assert!(ada.lines().count() > 1, "{ada}");
        let bob = json(&command(&["why", key, "--user", "bob", "--with", "plan=pro", "--json"]));
        assert_eq!((&bob["value"], &bob["decidedBy"]), (&json!(false), &json!("user-override")));

        let off = json(&command(&["set", key, "off", "--json"]));
        assert_eq!(
            (&off["before"]["enabled"], &off["after"]["enabled"]),
            (&json!(true), &json!(false))
        );
        assert_eq!(off["revision"], off["after"]["revision"]);
        let ada = worked(&command(&["why", key, "--user", "ada"]));
        assert!(ada.starts_with("false (off), decided by off"), "{ada}");

        // Each tenant has its own, and each environment.
        for elsewhere in [["--tenant", "acme"], ["--env", "test"]] {
            let words = [&["get", key][..], &elsewhere].concat();
            assert_eq!(exit_code(&command(&words)), 3, "{elsewhere:?}");
        }
        // Whose flags they are is known of who sees them, wherever that is asked.
        let acme = ["--tenant", "acme"];
        let set = ["set", key, "--of-tenant", "acme=on"];
        worked(&command(&[&set[..], &acme].concat()));
        let why = json(&command(&[&["why", key, "--json"][..], &acme].concat()));
        assert_eq!((&why["value"], &why["decidedBy"]), (&json!(true), &json!("tenant-override")));
    }
    let keys = redis_cli(fleet.server.port, &["--scan"]);
    assert!(keys.contains("flag:{_:default}:doc"), "{keys}");
}

#[test]
fn a_flag_is_killed_revived_rolled_back_and_removed() {
    let fleet = Fleet::start();
    for (place, key) in fleet.places().into_iter().zip(["by-store", "by-hub"]) {
        let command = |words: &[&str]| flag(words, &place);
        worked(&command(&["set", key, "on"]));
        let killed = worked(&command(&["kill", key]));
        assert!(killed.starts_with(&format!("Killed flag {key:?}")), "{killed}");
        assert!(killed.contains("killed: false → true"), "{killed}");
        let table = worked(&command(&["list"]));
        assert!(
            table.lines().any(|line| line.starts_with(key) && line.contains("killed")),
            "{table}"
        );
        let again = worked(&command(&["kill", key]));
        assert!(again.starts_with("Nothing was changed: flag "), "{again}");
        assert!(again.ends_with(" is killed already.\n"), "{again}");
        let set = command(&["set", key, "on"]);
        assert!(worked(&set).starts_with("Nothing was changed: flag "), "{set:?}");
        let at = place.join(" ");
        let revive = format!("`sinew flag revive {key} {at}`");
        assert!(text(&set.stderr).contains(&revive), "{set:?}");
        let theirs = ["--tenant", "acme", "--env", "prod"];
        for words in [&["set", key, "on"][..], &["kill", key]] {
            worked(&command(&[words, &theirs].concat()));
        }
        let set = command(&[&["set", key, "on"][..], &theirs].concat());
        // Without whose it is, it would be the flag of someone else.
        let revive = format!("`sinew flag revive {key} --tenant acme {at} --env prod`");
        assert!(text(&set.stderr).contains(&revive), "{set:?}");
        let unsaid =
            fed(&["set", key, "--file", "-"], &place, r#"{"type": "bool", "default": "on"}"#);
        assert!(worked(&unsaid).starts_with("Nothing was changed: flag "), "{unsaid:?}");
        let revived = json(&command(&["revive", key, "--json"]));
        assert_eq!(revived["after"]["killed"], false);
        let again = worked(&command(&["revive", key]));
        assert!(again.ends_with(" is not killed.\n"), "{again}");
        let past = ["set", key, "--expires-at", "2020-01-01T00:00:00Z"];
        let expired = command(&past);
        assert!(text(&expired.stderr).contains("--expires-at none` ends that"), "{expired:?}");
        worked(&command(&["set", key, "--expires-at", "none"]));

        worked(&command(&["set", key, "--default", "off"]));
        let told = worked(&command(&["audit", key]));
        let lines: Vec<&str> = told.lines().collect();
        assert!(lines[0].contains(&format!("changed {key} by ")), "{told}");
        assert!(lines[1].contains("default: on → off"), "{told}");
        let by = if place[0] == "--store" { "command line" } else { "http" };
        assert!(lines[0].ends_with(by), "{told}");
        let changes = json(&command(&["audit", key, "--json", "--count", "2"]));
        assert_eq!(changes.as_array().unwrap().len(), 2);
        let change = changes[0]["id"].as_str().unwrap();
        assert!(lines[0].contains(change), "{told}");
        let back = worked(&command(&["roll-back", key, change]));
        assert!(
            back.starts_with("Rolled back flag ") && back.contains("default: off → on"),
            "{back}"
        );

        for (words, code, told) in [
            (&["roll-back", key, "1-1"][..], 3, "as `sinew flag audit KEY` shows it"),
            (&["roll-back", "other", change], 3, "no change"),
            (&["roll-back", key, "yesterday"], 2, "as `sinew flag audit KEY` shows it"),
        ] {
            let refused = command(words);
            assert_eq!(exit_code(&refused), code, "{words:?}: {}", text(&refused.stderr));
            assert!(text(&refused.stderr).contains(told), "{}", text(&refused.stderr));
        }
        // By that it would not be there.
        let changes = json(&command(&["audit", key, "--json"]));
        let made = changes.as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
        let asks = command(&["roll-back", key, &made]);
        assert_eq!(exit_code(&asks), 2, "{}", text(&asks.stderr));
        assert!(text(&asks.stderr).starts_with("error: expected --yes"), "{asks:?}");
        worked(&command(&["get", key]));
        let removed = worked(&command(&["roll-back", key, &made, "--yes"]));
        assert!(removed.starts_with("Rolled back, and so removed flag "), "{removed}");
        worked(&command(&["set", key, "on"]));

        let asks = command(&["remove", key]);
        assert_eq!(exit_code(&asks), 2, "{}", text(&asks.stderr));
        assert!(text(&asks.stderr).contains("expected --yes"), "{}", text(&asks.stderr));
        assert!(worked(&command(&["remove", key, "--yes"])).starts_with("Removed flag "));
        for words in [
            &["get", key][..],
            &["kill", key],
            &["revive", key],
            &["why", key, "--user", "ada"],
            &["remove", key, "--yes"],
        ] {
            let gone = command(words);
            let errors = text(&gone.stderr);
            assert_eq!(exit_code(&gone), 3, "{words:?}: {errors}");
            assert!(errors.starts_with(&format!("error: no flag {key:?}")), "{errors}");
            assert!(errors.contains("sinew flag set KEY on"), "{errors}");
        }
    }
}

#[test]
fn a_whole_flag_is_read_from_a_file_as_it_was_printed() {
    let fleet = Fleet::start();
    let algo = json!({
        "type": "string", "variants": { "a": "v1", "b": "v2" }, "default": "a", "off": "a",
        "rules": [{ "name": "half", "split": { "a": 50, "b": 50 } }],
    });
    for (place, key) in fleet.places().into_iter().zip(["by-store", "by-hub"]) {
        let set = ["set", key, "--file", "-"];
        let made = fed(&set, &place, &algo.to_string());
        assert!(worked(&made).starts_with("Made flag "), "{}", text(&made.stderr));
        let printed = worked(&flag(&["get", key], &place));
        let changed = fed(&set, &place, &printed.replace("v2", "v3"));
        assert!(worked(&changed).contains("variant b: v2 → v3"), "{}", text(&changed.stdout));
        // It is what was read no more.
        let stale = printed.replace("v2", "v4");
        for words in [&set[..], &["set", key, "--file", "-", "--dry-run"]] {
            let refused = fed(words, &place, &stale);
            assert_eq!(exit_code(&refused), 1, "{refused:?}");
            let told = "take `revision` out of the file to overwrite it";
            assert!(text(&refused.stderr).contains(told), "{refused:?}");
        }
        let elsewhere = fed(&["set", "other", "--file", "-"], &place, &printed);
        assert_eq!(exit_code(&elsewhere), 1, "{elsewhere:?}");
        assert_eq!(exit_code(&flag(&["get", "other"], &place)), 3, "nothing was made");
        let mut unread: Value = serde_json::from_str(&stale).unwrap();
        assert!(unread.as_object_mut().unwrap().remove("revision").is_some());
        let over = fed(&set, &place, &unread.to_string());
        assert!(worked(&over).contains("variant b: v3 → v4"), "{over:?}");
        let set_default = flag(&["set", key, "on", "--default", "b", "--json"], &place);
        assert!(text(&set_default.stderr).contains("rule 1 is for everyone"), "{set_default:?}");
        let on = json(&set_default);
        assert_eq!(on["after"]["default"], "b");
        assert_eq!(on["after"]["rules"], on["before"]["rules"], "it stays as it is");
        for (bad, told) in [
            ("{", "expected a flag as JSON"),
            ("[]", "expected a flag as JSON"),
            (r#"{"type": "string"}"#, "variants"),
            (r#"{"type": "bool", "defualt": "on"}"#, "defualt"),
        ] {
            let refused = fed(&set, &place, bad);
            let errors = text(&refused.stderr);
            assert_eq!(exit_code(&refused), 2, "{errors}");
            assert!(errors.contains(told), "{errors}");
        }
    }
}

#[test]
fn what_was_for_no_one_is_for_everyone_and_what_is_off_stays_so() {
    let fleet = Fleet::start();
    for (place, key) in fleet.places().into_iter().zip(["by-store", "by-hub"]) {
        let command = |words: &[&str]| flag(words, &place);
        worked(&command(&["set", key, "--rollout", "0"]));
        let on = command(&["set", key, "on"]);
        assert!(worked(&on).contains("default: off → on"), "{on:?}");
        assert!(!text(&on.stderr).contains("warning"), "{on:?}");
        let ada = worked(&command(&["why", key, "--user", "ada"]));
        assert!(ada.starts_with("true (on), decided by default"), "{ada}");

        let off = command(&["set", key, "off"]);
        assert!(worked(&off).contains("enabled: true → false"), "{off:?}");
        let at = place.join(" ");
        let told =
            format!("warning: it is off, and stays off: `sinew flag set {key} {at} on` ends that");
        for words in [["--rollout", "10"], ["--user", "ada=on"]] {
            let set = command(&[&["set", key], &words[..]].concat());
            assert!(worked(&set).starts_with("Changed flag "), "{set:?}");
            assert!(text(&set.stderr).contains(&told), "{set:?}");
        }
        let owner = command(&["set", key, "--owner", "growth"]);
        worked(&owner);
        assert!(!text(&owner.stderr).contains("warning"), "{owner:?}");
    }
}

#[test]
fn a_roll_back_that_ends_a_kill_asks_first() {
    let fleet = Fleet::start();
    for (place, key) in fleet.places().into_iter().zip(["by-store", "by-hub"]) {
        let command = |words: &[&str]| flag(words, &place);
        worked(&command(&["set", key, "on"]));
        worked(&command(&["set", key, "--owner", "me"]));
        let changes = json(&command(&["audit", key, "--json", "--count", "1"]));
        let change = changes[0]["id"].as_str().unwrap();
        worked(&command(&["kill", key]));
        let asks = command(&["roll-back", key, change]);
        assert_eq!(exit_code(&asks), 2, "{asks:?}");
        let told = format!("error: expected --yes, with no one to ask: Revive flag {key:?}");
        assert!(text(&asks.stderr).starts_with(&told), "{asks:?}");
        assert_eq!(json(&command(&["get", key]))["killed"], true);
        let back = worked(&command(&["roll-back", key, change, "--yes"]));
        assert!(back.starts_with("Rolled back flag "), "{back}");
        assert!(back.contains("killed: true → false"), "{back}");
    }
}

#[test]
fn plain_keys_are_listed_with_the_flags() {
    let fleet = Fleet::start();
    redis_cli(fleet.server.port, &["SET", "acme:feature:new-ui:user:7", "true"]);
    for place in fleet.places() {
        wait_until("the key is known", || {
            worked(&flag(&["list", "--tenant", "acme"], &place)).contains("PLAIN KEY")
        });
        let table = worked(&flag(&["list", "--tenant", "acme"], &place));
        let row = table.lines().find(|line| line.starts_with("new-ui")).unwrap_or_default();
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells, ["new-ui", "7", "true", "–"], "{table}");
        let why =
            json(&flag(&["why", "new-ui", "--user", "7", "--json", "--tenant", "acme"], &place));
        assert_eq!((&why["value"], &why["decidedBy"]), (&json!(true), &json!("user-overlay")));
    }
    // What is no flag yet is one that is killed.
    for (place, key) in fleet.places().into_iter().zip(["by-store", "by-hub"]) {
        let plain = format!("acme:feature:{key}:global");
        redis_cli(fleet.server.port, &["SET", &plain, "true"]);
        let acme = ["--tenant", "acme"];
        let command = |words: &[&str]| flag(&[words, &acme].concat(), &place);
        wait_until("the key is known", || worked(&command(&["list"])).contains(key));
        let killed = worked(&command(&["kill", key]));
        assert!(killed.starts_with(&format!("Killed flag {key:?}")), "{killed}");
        let why = json(&command(&["why", key, "--json"]));
        assert_eq!((&why["value"], &why["decidedBy"]), (&json!(false), &json!("killed")));
    }
}

#[test]
fn why_says_which_rule_by_its_number_and_what_kind_was_compared() {
    let fleet = Fleet::start();
    let build = json!({ "attribute": "build", "op": "is", "values": ["42"] });
    let rules = json!([{ "if": [build], "then": "on" }, { "split": { "on": 10, "off": 90 } }]);
    for (place, key) in fleet.places().into_iter().zip(["by-store", "by-hub"]) {
        let written = json!({ "type": "bool", "rules": rules }).to_string();
        worked(&fed(&["set", key, "--file", "-"], &place, &written));
        let why = worked(&flag(&["why", key, "--user", "ada", "--with", "build=42"], &place));
        let lines: Vec<&str> = why.lines().collect();
        assert!(lines[0].contains(", decided by rule 2, bucket "), "{why}");
        assert_eq!(lines[1], "  rule 1 does not hold: build is \"42\" (build is the number 42)");
        assert!(lines[2].starts_with("  rule 2 holds, and \"ada\" falls into bucket "), "{why}");
        assert!(lines[2].ends_with("has 0 to 89999") || lines[2].ends_with("to 99999"), "{why}");
        let quoted = ["why", key, "--user", "ada", "--with", "build=\"42\""];
        let quoted = worked(&flag(&quoted, &place));
        assert!(quoted.starts_with("true (on), decided by rule 1"), "{quoted}");
    }
}

#[test]
fn bad_input_is_told_before_anyone_is_asked() {
    let nowhere = format!("redis://127.0.0.1:{}", free_port());
    for (words, told) in [
        (&["set", "a"][..], "nothing is said"),
        (&["set", "a", "on", "--file", "-"], "expected nothing else"),
        (&["set", "a", "--file", "/nowhere/flag.json"], "cannot read"),
        (&["set", "a", "--rollout", "101"], "0 to 100"),
        (&["set", "a", "--rollout", "-1"], "0 to 100"),
        (&["set", "a", "--rollout", "10", "--default", "on"], "cannot be used with"),
        (&["set", "a", "--user", "ada"], "ada=on"),
        (&["set", "a", "--on-at", "tomorrow"], "expected a time like"),
        (&["set", "a", "maybe"], "maybe"),
        (&["set", "a", "--owner", ""], "expected some text, or none"),
        (&["list", "--env", "a_b"], "expected 1 to 64"),
        (&["audit", "--count", "0"], "0"),
    ] {
        let refused = flag(words, &["--store", &nowhere]);
        let errors = text(&refused.stderr);
        assert_eq!(exit_code(&refused), 2, "{words:?}: {errors}");
        assert!(errors.contains(told), "{words:?}: {errors}");
    }
    let hub = format!("127.0.0.1:{}", free_port());
    let refused = flag(&["list"], &["--listen", &hub]);
    assert_eq!(exit_code(&refused), 1, "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("no hub answers"), "{}", text(&refused.stderr));
}

#[test]
fn a_list_of_nothing_says_so() {
    let fleet = Fleet::start();
    for place in fleet.places() {
        for (words, told) in [
            (&["list"][..], "No flag of no tenant in "),
            (&["audit"], "No change of a flag of no tenant in "),
            (&["audit", "new-ui"], "No change of flag \"new-ui\" of no tenant in "),
        ] {
            let said = worked(&flag(words, &place));
            assert!(said.starts_with(told) && said.lines().count() == 1, "{words:?}: {said}");
        }
    }
}

#[test]
fn what_is_said_of_a_flag_names_its_environment() {
    let fleet = Fleet::start();
    let whose = "of tenant \"acme\" in environment \"prod\"";
    for (place, key) in fleet.places().into_iter().zip(["by-store", "by-hub"]) {
        let command = |words: &[&str]| {
            flag(&[words, &["--tenant", "acme", "--env", "prod"]].concat(), &place)
        };
        let listed = worked(&command(&["list"]));
        let made = worked(&command(&["set", key, "on"]));
        let killed = worked(&command(&["kill", key]));
        for (said, began) in [
            (listed, format!("No flag {whose} in ")),
            (made, format!("Made flag {key:?} {whose} in ")),
            (killed, format!("Killed flag {key:?} {whose} in ")),
        ] {
            assert!(said.starts_with(&began), "{said}");
        }
        worked(&command(&["remove", key, "--yes"]));
        for words in [&["get", key][..], &["kill", key], &["why", key], &["remove", key, "--yes"]] {
            let gone = text(&command(words).stderr);
            assert!(gone.starts_with(&format!("error: no flag {key:?} {whose}: ")), "{gone}");
        }
    }
}
