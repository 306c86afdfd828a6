//! `sinew limit …`: leave asked for in shells, and limits as people define and look at them.

use std::io::Write as _;
use std::process::Output;

use serde_json::{Value, json};

use crate::hub::{Hub, exit_code, sinew, text};
use crate::world::{Server, free_port, start_redis, wait_until};

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
        wait_until("the hub is ready", || exit_code(&fleet.at_hub(&["list"])) == 0);
        fleet
    }

    fn listen(&self) -> &str {
        self.hub.url.trim_start_matches("http://")
    }

    fn places(&self) -> [[&str; 2]; 2] {
        [["--store", &self.store], ["--listen", self.listen()]]
    }

    fn at_hub(&self, words: &[&str]) -> Output {
        limit(words, &["--listen", self.listen()])
    }

    fn in_redis(&self, words: &[&str]) -> Output {
        limit(words, &["--store", &self.store])
    }
}

fn limit(words: &[&str], place: &[&str]) -> Output {
    sinew(&[&["limit"], words, place].concat())
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)))
}

#[test]
fn a_limit_admits_what_it_says_on_redis_and_through_a_hub() {
    let fleet = Fleet::start();
    for (place, name) in fleet.places().into_iter().zip(["by-store", "by-hub"]) {
        let command = |words: &[&str]| limit(words, &place);
        let defined = command(&["define", name, "--quota", "2", "--per", "24h"]);
        let told = text(&defined.stdout);
        assert_eq!(exit_code(&defined), 0, "{}", text(&defined.stderr));
        assert!(told.starts_with(&format!("Defined limit {name:?} in ")), "{told}");
        assert!(told.contains("2 per 24h by gcra"), "{told}");

        let never = command(&["check", name, "ada:7", "--cost", "3"]);
        let errors = text(&never.stderr);
        assert_eq!(exit_code(&never), 75, "{errors}");
        assert!(errors.contains("never admits a cost of 3 at once"), "{errors}");

        let peeked = command(&["peek", name, "ada:7"]);
        let told = text(&peeked.stdout);
        assert!(told.starts_with("Would be allowed: 2 of 2 left"), "{told}");
        let first = command(&["check", name, "ada:7", "--json"]);
        assert_eq!(exit_code(&first), 0, "{}", text(&first.stderr));
        let decision = json(&first);
        assert_eq!(decision["allowed"], true);
        assert_eq!(decision["degraded"], false);
        assert_eq!(decision["limits"][0]["remaining"], 1);
        let second = text(&command(&["check", name, "ada:7"]).stdout);
        assert!(second.starts_with("Allowed: 0 of 2 left, and all of it in "), "{second}");

        let third = command(&["check", name, "ada:7"]);
        let errors = text(&third.stderr);
        assert_eq!((exit_code(&third), third.stdout.len()), (75, 0), "{errors}");
        let begins = format!("error: limit {name:?} denies it: try again in 1");
        assert!(errors.starts_with(&begins), "12 hours or a little less: {errors}");
        let denied = command(&["check", name, "ada:7", "--json"]);
        assert_eq!((exit_code(&denied), denied.stderr.len()), (75, 0));
        let decision = json(&denied);
        assert_eq!(decision["allowed"], false);
        assert!(decision["retryAfterMs"].as_u64().unwrap() > 3_600_000, "{decision}");
        assert_eq!(exit_code(&command(&["peek", name, "ada:7"])), 75);

        // Others' counts are their own, whatever the other place is.
        for others in [&["check", name, "ada:8"][..], &["check", name, "ada:7", "--tenant", "acme"]]
        {
            assert_eq!(exit_code(&command(others)), 0, "{others:?}");
        }
        let elsewhere = fleet.places().map(|place| {
            // A definition of another process is heard of within a second.
            wait_until("it is defined", || exit_code(&limit(&["peek", name, "bob"], &place)) == 0);
            exit_code(&limit(&["check", name, "ada:7"], &place))
        });
        assert_eq!(elsewhere, [75, 75]);

        let asks = command(&["reset", name, "ada:7"]);
        let errors = text(&asks.stderr);
        assert_eq!(exit_code(&asks), 2, "{errors}");
        assert!(errors.contains("expected --yes") && errors.contains("127.0.0.1"), "{errors}");
        assert_eq!(exit_code(&command(&["check", name, "ada:7"])), 75, "it was not reset");
        let reset = command(&["reset", name, "ada:7", "--yes"]);
        assert_eq!(exit_code(&command(&["check", name, "ada:7", "--cost", "2"])), 0, "all of it");
        assert!(
            text(&reset.stdout).starts_with("Forgot what was charged to \"ada:7\" of no tenant")
        );
        let none = command(&["reset", name, "ada:7", "--yes", "--json"]);
        assert_eq!(text(&none.stdout), "{\"forgotten\":true}\n", "{}", text(&none.stderr));
        let none = command(&["reset", name, "ada%3A7", "--yes"]);
        assert_eq!(exit_code(&none), 0, "{}", text(&none.stderr));
        assert!(
            text(&none.stdout).starts_with("Nothing was charged to \"ada%3A7\" of no tenant under")
        );
        let none = command(&["reset", name, "ada%3A7", "--yes", "--json"]);
        assert_eq!(text(&none.stdout), "{\"forgotten\":false}\n", "{}", text(&none.stderr));
        let unknown = command(&["reset", "nope", "ada", "--yes"]);
        assert_eq!(exit_code(&unknown), 3, "{}", text(&unknown.stderr));
    }
}

#[test]
fn limits_are_defined_listed_and_removed() {
    let fleet = Fleet::start();
    for place in fleet.places() {
        let command = |words: &[&str]| limit(words, &place);
        // A subject of its own for each.
        let subject = place[0].trim_start_matches('-');
        let define = ["define", "calls", "--quota", "5", "--per", "24h"];
        assert_eq!(exit_code(&command(&define)), 0);
        let rest = ["--algorithm", "sliding-log", "--on-down", "closed", "--shadow"];
        let asks = command(&[&define[..], &rest].concat());
        let errors = text(&asks.stderr);
        assert_eq!(exit_code(&asks), 2, "{errors}");
        assert!(errors.contains("begins anew") && errors.contains("expected --yes"), "{errors}");
        let changed = text(&command(&[&define[..], &rest, &["--yes"]].concat()).stdout);
        assert!(changed.starts_with("Changed limit \"calls\" in "), "{changed}");
        assert!(
            changed.contains("by sliding-log, closed if Redis is down, in shadow"),
            "{changed}"
        );
        for _ in 0..6 {
            assert_eq!(exit_code(&command(&["check", "calls", subject])), 0, "it stops no one");
        }
        let seventh = text(&command(&["check", "calls", subject]).stdout);
        assert!(seventh.contains("would deny it, and is in shadow"), "{seventh}");

        let table = text(&command(&["list"]).stdout);
        let row = table.lines().nth(1).unwrap_or_default();
        assert!(table.starts_with("LIMIT") && row.starts_with("calls"), "{table}");
        for cell in ["sliding-log shadow", " 5 ", " 24h ", " closed ", " store "] {
            assert!(row.contains(cell), "{cell}: {table}");
        }
        let counts = if subject == "store" { ("–", "–") } else { ("5", "2") };
        let cells: Vec<&str> = row.split_whitespace().rev().collect();
        assert_eq!((cells[1], cells[0]), counts, "{table}");
        let listed = json(&command(&["list", "--json"]));
        assert!(!table.contains("LEASE") && !table.contains("DEBT"), "{table}");
        for (field, count) in [("admitted", 5), ("shadowDenied", 2), ("denied", 0), ("degraded", 0)]
        {
            let counted = if subject == "store" { Value::Null } else { json!(count) };
            assert_eq!(listed[0][field], counted, "{field}: {listed}");
        }
        assert_eq!(listed[0]["name"], "calls");
        assert_eq!(listed[0]["onDown"], "closed");
        assert!(listed[0]["revision"].as_u64() > Some(1), "{listed}");

        let asks = command(&["remove", "calls"]);
        assert_eq!(exit_code(&asks), 2, "{}", text(&asks.stderr));
        assert!(text(&asks.stderr).contains("expected --yes"), "{}", text(&asks.stderr));
        assert_eq!(exit_code(&command(&["remove", "calls", "--yes"])), 0);
        for words in [&["remove", "calls", "--yes"][..], &["check", "calls", subject]] {
            let gone = command(words);
            let errors = text(&gone.stderr);
            assert_eq!(exit_code(&gone), 3, "{words:?}: {errors}");
            assert!(errors.starts_with("error: no limit \"calls\" is defined"), "{errors}");
            assert!(errors.contains("expected one"), "{errors}");
        }
    }
}

#[test]
fn a_change_of_a_limit_leaves_what_it_does_not_say_as_it_is() {
    let fleet = Fleet::start();
    for (place, name) in fleet.places().into_iter().zip(["login", "signup"]) {
        let command = |words: &[&str]| limit(words, &place);
        let lacking = command(&["define", name, "--per", "1m"]);
        assert_eq!(exit_code(&lacking), 2, "{}", text(&lacking.stderr));
        assert!(text(&lacking.stderr).contains("expected --quota and --per"));
        let least = ["define", name, "--quota", "5", "--per", "1m"];
        let rest = ["--burst", "1", "--debt-max", "3", "--lease", "1", "--on-down", "closed"];
        assert_eq!(exit_code(&command(&[&least[..], &rest, &["--shadow"]].concat())), 0);

        let raised = command(&["define", name, "--quota", "9"]);
        let told = text(&raised.stdout);
        assert_eq!(exit_code(&raised), 0, "{}", text(&raised.stderr));
        let (before, after) = told.split_once(" → ").expect("what it was, and what it is");
        assert!(before.starts_with(&format!("Changed limit {name:?} in ")), "{told}");
        assert!(before.contains("5 per 1m") && after.starts_with("9 per 1m"), "{told}");
        let changed = json(&command(&["define", name, "--shadow=false", "--json"]));
        assert_eq!(changed["before"]["shadow"], true);
        assert_eq!(changed["before"]["quota"], 9);
        for (field, value) in [
            ("algorithm", json!("gcra")),
            ("quota", json!(9)),
            ("per", json!("1m")),
            ("burst", json!(1)),
            ("debtMax", json!(3)),
            ("lease", json!(1)),
            ("onDown", json!("closed")),
            ("shadow", json!(false)),
        ] {
            assert_eq!(changed["after"][field], value, "{field}");
        }
        let listed = json(&command(&["list", "--json"]));
        let limits = listed.as_array().unwrap();
        let listed = limits.iter().find(|limit| limit["name"] == name).unwrap();
        assert_eq!(listed["burst"], 1, "{listed}");
        assert_eq!(listed["revision"], changed["revision"], "{listed}");
    }
}

#[test]
fn a_change_that_someone_else_has_overtaken_does_nothing() {
    let fleet = Fleet::start();
    let define = ["define", "calls", "--quota", "5", "--per", "1m"];
    assert_eq!(exit_code(&fleet.at_hub(&define)), 0);
    // What a hub knows is up to a second old: it shows what was there before.
    let overtaken = || {
        assert_eq!(exit_code(&fleet.at_hub(&["list"])), 0);
        assert_eq!(exit_code(&fleet.in_redis(&["define", "calls", "--quota", "7"])), 0);
        let late = fleet.at_hub(&["define", "calls", "--quota", "9"]);
        let errors = text(&late.stderr);
        match exit_code(&late) {
            0 => false,
            code => {
                assert_eq!(code, 1, "{errors}");
                assert!(errors.contains("someone else has changed limit \"calls\""), "{errors}");
                true
            }
        }
    };
    // Unless the machine stalls for that second.
    assert!((0..10).any(|_| overtaken()));
    assert_eq!(json(&fleet.in_redis(&["list", "--json"]))[0]["quota"], 7);
    // It has looked again by now.
    assert_eq!(exit_code(&fleet.at_hub(&["define", "calls", "--quota", "9"])), 0);
    assert_eq!(json(&fleet.in_redis(&["list", "--json"]))[0]["quota"], 9);
}

#[test]
fn a_command_takes_no_more_of_a_limit_that_is_leased_than_it_costs() {
    let fleet = Fleet::start();
    let define = ["define", "calls", "--quota", "20", "--per", "24h", "--lease", "10"];
    let defined = fleet.in_redis(&define);
    assert_eq!(exit_code(&defined), 0, "{}", text(&defined.stderr));
    assert!(text(&defined.stdout).contains("10 at a time to each process"));
    assert_eq!(json(&fleet.in_redis(&["list", "--json"]))[0]["lease"], 10);
    let table = text(&fleet.in_redis(&["list"]).stdout);
    let (titles, row) = table.split_once('\n').unwrap();
    assert!(titles.contains("LEASE") && !titles.contains("DEBT"), "{table}");
    assert!(row.contains(" 10 "), "{table}");
    for left in [19, 18, 17] {
        let decision = json(&fleet.in_redis(&["check", "calls", "ada", "--json"]));
        assert_eq!(decision["limits"][0]["remaining"], left, "{decision}");
    }
}

#[test]
fn a_limit_need_not_be_defined_on_redis_and_a_file_may_define_it() {
    let fleet = Fleet::start();
    let said = ["check", "mails", "nightly", "--quota", "1", "--per", "24h"];
    let codes = [(); 2].map(|()| exit_code(&fleet.in_redis(&said)));
    assert_eq!(codes, [0, 75]);
    let refused = fleet.at_hub(&said);
    assert_eq!(exit_code(&refused), 2);
    assert!(text(&refused.stderr).contains("expected none, or --store"));
    assert_eq!(exit_code(&fleet.in_redis(&["reset", "mails", "nightly", "--yes"])), 3);
    let reset = [&["reset"], &said[1..], &["--yes"]].concat();
    assert!(text(&fleet.in_redis(&reset).stdout).starts_with("Forgot what was charged"));
    assert!(text(&fleet.in_redis(&reset).stdout).starts_with("Nothing was charged"));
    assert_eq!(exit_code(&fleet.at_hub(&reset)), 2);
    assert_eq!(exit_code(&fleet.in_redis(&said)), 0);

    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "store = {:?}\n[limits.filed]\nquota = 1\nper = \"24h\"", fleet.store).unwrap();
    let config = ["--config", file.path().to_str().unwrap()];
    assert_eq!(exit_code(&limit(&["check", "filed", "ada"], &config)), 0);
    assert_eq!(exit_code(&limit(&["check", "filed", "ada"], &config)), 75);
    let listed = json(&limit(&["list", "--json"], &config));
    assert_eq!(listed[0]["name"], "filed");
    assert_eq!(listed[0]["source"], "file");

    let hub = Hub::serve(&config);
    let listen = ["--listen", hub.url.trim_start_matches("http://")];
    let kept = limit(&["remove", "filed", "--yes"], &listen);
    assert_eq!(exit_code(&kept), 3);
    assert!(text(&kept.stderr).contains("expected it to be removed there"), "{kept:?}");
}

#[test]
fn a_hub_without_its_redis_answers_as_the_limit_says() {
    let mut fleet = Fleet::start();
    let define = ["define", "calls", "--quota", "5", "--per", "24h", "--on-down", "open"];
    assert_eq!(exit_code(&fleet.at_hub(&define)), 0);
    assert_eq!(exit_code(&fleet.at_hub(&["check", "calls", "ada"])), 0);
    let define = ["define", "mails", "--quota", "5", "--per", "24h", "--on-down", "closed"];
    assert_eq!(exit_code(&fleet.at_hub(&define)), 0);
    assert_eq!(exit_code(&fleet.at_hub(&["check", "mails", "ada"])), 0);
    fleet.server.kill();
    let allowed = fleet.at_hub(&["check", "calls", "ada", "--cost", "5"]);
    assert_eq!(exit_code(&allowed), 0, "{}", text(&allowed.stderr));
    assert!(text(&allowed.stdout).contains("It was decided without Redis."), "{allowed:?}");
    let denied = fleet.at_hub(&["check", "mails", "ada"]);
    assert_eq!(exit_code(&denied), 75, "{}", text(&denied.stderr));
    assert!(text(&denied.stderr).contains("It was decided without Redis."), "{denied:?}");
    let refused = fleet.at_hub(&["reset", "calls", "ada", "--yes"]);
    assert_eq!(exit_code(&refused), 1, "{}", text(&refused.stderr));
}

#[test]
fn a_check_whose_terms_are_said_answers_as_they_say_while_redis_is_down() {
    let nowhere = format!("redis://127.0.0.1:{}", free_port());
    let said = ["mails", "nightly", "--quota", "1", "--per", "1m", "--store", &nowhere];
    let ask = |verb, rest: &[&str]| limit(&[&[verb], &said[..], rest].concat(), &[]);
    for (rest, code) in [(&["--on-down", "open"][..], 0), (&["--on-down", "closed"], 75), (&[], 0)]
    {
        let output = ask("check", rest);
        let told = [text(&output.stdout), text(&output.stderr)].concat();
        assert_eq!(exit_code(&output), code, "{rest:?}: {told}");
        assert!(told.contains("It was decided without Redis."), "{rest:?}: {told}");
        let output = ask("check", &[rest, &["--json"]].concat());
        let decision = json(&output);
        assert_eq!(exit_code(&output), code, "{rest:?}: {decision}");
        assert_eq!(
            (&decision["allowed"], &decision["degraded"]),
            (&json!(code == 0), &json!(true))
        );
    }
    let looks = ask("peek", &[]);
    assert_eq!((exit_code(&looks), looks.stdout.len()), (1, 0), "{}", text(&looks.stderr));
    let looks = ask("peek", &["--on-down", "open"]);
    assert_eq!(exit_code(&looks), 2, "{}", text(&looks.stderr));
    // A Redis that refuses the user is not down.
    let server = start_redis();
    let refused = format!("redis://no:one@127.0.0.1:{}", server.port);
    let terms = ["check", "mails", "nightly", "--quota", "1", "--per", "1m"];
    let output = limit(&[&terms[..], &["--on-down", "open"]].concat(), &["--store", &refused]);
    assert_eq!((exit_code(&output), output.stdout.len()), (1, 0), "{}", text(&output.stderr));
}

#[test]
fn a_subject_or_name_that_cannot_be_is_told_as_what_it_is() {
    for (arguments, told) in [
        (&["check", "a", ""][..], "invalid subject"),
        (&["reset", "a", "..", "--yes"], "invalid subject"),
        (&["check", "", "ada"], "expected 1 to 64"),
        (&["peek", "a_b", "ada"], "expected 1 to 64"),
        (&["check", "a", "ada", "--cost", "-1"], "expected a whole number, 1 or more"),
        (&["define", "a", "--quota", "-3", "--per", "1m"], "expected a whole number, 1 or more"),
        (&["define", "a", "--quota", "3", "--per", "-1m"], "expected a duration"),
        (&["check", "a", "ada", "--burst", "1"], "expected --quota and --per"),
    ] {
        let output = sinew(&[&["limit"], arguments].concat());
        let errors = text(&output.stderr);
        assert_eq!(exit_code(&output), 2, "{arguments:?}: {errors}");
        assert!(errors.contains(told), "{arguments:?}: {errors}");
    }
}

#[test]
fn every_limit_command_shows_an_example() {
    for command in ["check", "peek", "reset", "list", "define", "remove"] {
        let help = text(&sinew(&["limit", command, "--help"]).stdout);
        assert!(help.contains("Example"), "{command}: {help}");
        let is_of_a_tenant = ["check", "peek", "reset"].contains(&command);
        assert_eq!(help.contains("--tenant <"), is_of_a_tenant, "{command}: {help}");
        assert!(help.contains("--json"), "{command}: {help}");
    }
    let check = text(&sinew(&["limit", "check", "--help"]).stdout);
    assert!(check.contains("75  it is denied"), "{check}");
}

#[test]
fn bad_input_to_a_limit_command_ends_with_2_and_an_outage_with_1() {
    let nowhere = format!("redis://127.0.0.1:{}", free_port());
    for arguments in [
        &["check", "a", ""][..],
        &["check", "a", "b", "--cost", "0"],
        &["check", "a", "b", "--quota", "1"],
        &["check", "a", "b", "--burst", "1"],
        &["check", "a", "b", "--quota", "1", "--per", "soon", "--store", &nowhere],
        &["check", "a", "b", "--tenant", "a_b"],
        &["reset", "..", "b", "--yes"],
        &["reset", "a", "..", "--yes"],
        &["define", "a", "--quota", "-3", "--per", "1m"],
        &["define", "a", "--quota", "1", "--per", "soon"],
        &["define", "a_b", "--quota", "1", "--per", "1m"],
        &["define", "a", "--quota", "0", "--per", "1m"],
        &["define", "a", "--quota", "1", "--per", "1m", "--algorithm", "guess"],
        &["define", "a", "--quota", "1", "--per", "1m", "--on-down", "maybe"],
        &["define", "a", "--quota", "1", "--per", "1m", "--tenant", "acme"],
        &["remove", "..", "--yes"],
        &["list", "--prefix", "App_"],
    ] {
        let output = sinew(&[&["limit"], arguments].concat());
        let errors = text(&output.stderr);
        assert_eq!(exit_code(&output), 2, "{arguments:?}: {errors}");
        assert!(errors.starts_with("error: "), "{arguments:?}: {errors}");
        assert!(output.stdout.is_empty());
    }
    let fleet = Fleet::start();
    let define = ["define", "a", "--quota", "1", "--per", "1m"];
    let cannot_be = [&["--lease", "2"][..], &["--algorithm", "sliding-log", "--burst", "1"]];
    for (place, terms) in fleet.places().into_iter().flat_map(|at| cannot_be.map(|one| (at, one))) {
        let output = limit(&[&define[..], terms].concat(), &place);
        assert_eq!(exit_code(&output), 2, "{terms:?}: {}", text(&output.stderr));
    }
    for arguments in [
        &["check", "a", "b"][..],
        &["define", "a", "--quota", "1", "--per", "1m"],
        &["remove", "a", "--yes"],
        &["list"],
    ] {
        let output = limit(arguments, &["--store", &nowhere]);
        assert_eq!(exit_code(&output), 1, "{arguments:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}
