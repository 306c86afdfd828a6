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
        assert!(made.contains(r#"rules: – → [{"if":[],"split":{"off":90,"on":10}}]"#), "{made}");
        let table = worked(&command(&["list"]));
        let row = table.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        for cell in ["bool", "10 %", "growth"] {
            assert!(row.contains(cell), "{cell}: {table}");
        }
        let all = worked(&command(&["set", key, "on", "--user", "bob=off"]));
        assert!(
            all.starts_with("Changed flag ") && all.contains("users.bob: – → \"off\""),
            "{all}"
        );
        assert!(all.contains("default: \"off\" → \"on\""), "{all}");

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
        let revived = json(&command(&["revive", key, "--json"]));
        assert_eq!(revived["after"]["killed"], false);

        worked(&command(&["set", key, "--default", "off"]));
        let told = worked(&command(&["audit", key]));
        let lines: Vec<&str> = told.lines().collect();
        assert!(lines[0].contains(&format!("changed {key} by ")), "{told}");
        assert!(lines[1].contains("default: \"on\" → \"off\""), "{told}");
        let by = if place[0] == "--store" { "command line" } else { "http" };
        assert!(lines[0].ends_with(by), "{told}");
        let changes = json(&command(&["audit", key, "--json", "--count", "2"]));
        assert_eq!(changes.as_array().unwrap().len(), 2);
        let change = changes[0]["id"].as_str().unwrap();
        assert!(lines[0].contains(change), "{told}");
        let back = worked(&command(&["roll-back", key, change]));
        assert!(
            back.starts_with("Rolled back flag ") && back.contains("\"off\" → \"on\""),
            "{back}"
        );

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
        assert!(
            worked(&changed).contains("variants.b: \"v2\" → \"v3\""),
            "{}",
            text(&changed.stdout)
        );
        let on = json(&flag(&["set", key, "on", "--default", "b", "--json"], &place));
        assert_eq!((&on["after"]["default"], &on["after"]["rules"]), (&json!("b"), &json!([])));
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
