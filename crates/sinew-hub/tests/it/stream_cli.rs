//! `sinew stream …`: events as people publish them, look at them, and put right what went wrong.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::hub::{BINARY, Hub, exit_code, sinew, text};
use crate::world::{Server, redis_cli, start_redis};

/// A Redis, a hub on it, and commands at both.
struct Fleet {
    server: Server,
    store: String,
    hub: Hub,
    runtime: Runtime,
}

impl Fleet {
    fn start() -> Self {
        let server = start_redis();
        let store = format!("redis://127.0.0.1:{}", server.port);
        let hub = Hub::serve(&["--store", &store]);
        let runtime = Runtime::new().unwrap();
        runtime.block_on(hub.until("ready"));
        Self { server, store, hub, runtime }
    }

    /// Two of `orders`, which are of a group.
    fn with_two_dead_letters(group: &str) -> Self {
        let fleet = Self::start();
        worked(&stream(&["publish", "orders", "1"], &fleet.places()[0]));
        fleet.add_strange();
        fleet.add_strange();
        fleet.pull(group);
        fleet
    }

    fn places(&self) -> [[&str; 2]; 2] {
        let listen = self.hub.url.trim_start_matches("http://");
        [["--store", &self.store], ["--listen", listen]]
    }

    /// What a group pulls.
    fn pull(&self, group: &str) -> Value {
        self.pull_of("orders", group)
    }

    fn pull_of(&self, topic: &str, group: &str) -> Value {
        let url = format!("{}/v1/streams/{topic}/groups/{group}/pull", self.hub.url);
        let body = Some(json!({ "lease": "30s" }).to_string());
        self.runtime.block_on(self.hub.send(reqwest::Method::POST, &url, None, body)).body
    }

    /// Adds what is no event, as no one of ours would.
    fn add_strange(&self) {
        let keys = redis_cli(self.server.port, &["--raw", "keys", "*orders:p0}:log"]);
        redis_cli(self.server.port, &["xadd", keys.trim(), "*", "colour", "red"]);
    }
}

fn stream(words: &[&str], place: &[&str]) -> Output {
    sinew(&[&["stream"], words, place].concat())
}

fn worked(output: &Output) -> String {
    assert_eq!(exit_code(output), 0, "{}", text(&output.stderr));
    text(&output.stdout)
}

fn json_of(output: &Output) -> Value {
    serde_json::from_str(&worked(output)).expect("JSON")
}

#[test]
fn what_is_published_at_one_place_is_looked_at_in_both() {
    let fleet = Fleet::start();
    for place in fleet.places() {
        let words =
            ["publish", "orders", r#"{"n": 1.10}"#, "--type", "OrderPlaced", "--key", "ada"];
        let at = worked(&stream(&words, &place));
        let shown = stream(&["show", "orders", at.trim()], &place);
        assert!(worked(&shown).contains("1.10"), "as it was written");
        assert_eq!(json_of(&shown)["type"], "OrderPlaced");
    }
    for place in fleet.places() {
        let listed = json_of(&stream(&["list", "--json"], &place));
        assert_eq!((&listed[0]["topic"], &listed[0]["len"]), (&json!("orders"), &json!(2)));
        let told = worked(&stream(&["tail", "orders", "--from", "start", "--count", "2"], &place));
        let types: Vec<Value> =
            told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(types.len(), 2, "{told}");
        assert!(types.iter().all(|event| event["type"] == "OrderPlaced"), "{told}");
    }
}

#[test]
fn a_dedup_id_publishes_once_from_either_side() {
    let fleet = Fleet::start();
    let [redis, hub] = fleet.places();
    let words = ["publish", "orders", "1", "--dedup", "order-7"];
    let first = worked(&stream(&words, &hub));
    for place in [redis, hub] {
        assert_eq!(worked(&stream(&words, &place)).trim(), format!("{} duplicate", first.trim()));
    }
}

/// The same, with something to read.
fn fed(words: &[&str], place: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("stream").args(words).args(place).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// A command that goes on, once it has told a line.
fn begun(words: &[&str], place: &[&str]) -> Child {
    let mut command = Command::new(BINARY);
    command.arg("stream").args(words).args(place).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let stdout = child.stdout.as_mut().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    assert!(!line.is_empty(), "{words:?}");
    child
}

#[test]
fn a_tail_that_is_cut_off_tells_how_to_go_on() {
    let mut fleet = Fleet::start();
    let [redis, _] = fleet.places();
    worked(&stream(&["publish", "orders", "1"], &redis));
    let words = ["tail", "orders", "--from", "start"];
    let tails = fleet.places().map(|place| begun(&words, &place));
    fleet.hub.server.kill();
    fleet.server.kill();
    for tail in tails {
        let cut_off = tail.wait_with_output().unwrap();
        let told = text(&cut_off.stderr);
        assert_eq!(exit_code(&cut_off), 1, "{told}");
        let (_, cursor) = told.split_once("go on with --from ").expect("a cursor");
        let cursor = cursor.lines().next().unwrap_or_default();
        assert!(cursor.ends_with("-0") && cursor != "0-0", "{told}");
    }
}

/// Answers one request with this, and hangs up.
fn hub_that_hangs_up_after(events: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let lines = BufReader::new(client.try_clone().unwrap()).lines();
        lines.map(Result::unwrap).find(String::is_empty).expect("the end of a request");
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        client.write_all(format!("{head}{events}").as_bytes()).unwrap();
    });
    address
}

#[test]
fn a_tail_goes_on_after_the_last_event_that_was_told_whole() {
    for (events, printed) in [
        ("id: 5-0\n\n", ""),
        ("id: 5-0\n\nid: 6-0\n", ""),
        ("id: 4-0\n\nid: 5-0\ndata: {}\n\nid: 6-0\ndata: {", "{}\n"),
    ] {
        let cut_off = stream(&["tail", "orders"], &["--listen", &hub_that_hangs_up_after(events)]);
        let told = text(&cut_off.stderr);
        assert_eq!((exit_code(&cut_off), text(&cut_off.stdout).as_str()), (1, printed), "{told}");
        assert!(told.contains("go on with --from 5-0\n"), "{events:?}: {told}");
    }
}

#[test]
fn a_batch_is_published_once_and_tells_what_was_published_before_it_broke_off() {
    let fleet = Fleet::start();
    let [redis, hub] = fleet.places();
    let input: String = (0..200).map(|n| format!("{{\"n\": {n}.10}}\n")).collect();
    let words = ["publish", "orders", "--batch", "--dedup", "monday"];
    let first = worked(&fed(&words, &hub, input.as_bytes()));
    assert_eq!(first.lines().count(), 200);
    let again = worked(&fed(&words, &redis, input.as_bytes()));
    assert_eq!(again.lines().filter(|line| line.ends_with(" duplicate")).count(), 200, "{again}");

    let url = format!("{}/v1/streams/small", fleet.hub.url);
    let body = Some(json!({ "partitions": 1, "len_max": 150 }).to_string());
    let declared = fleet.runtime.block_on(fleet.hub.send(reqwest::Method::PUT, &url, None, body));
    assert_eq!(declared.status, reqwest::StatusCode::OK, "{}", declared.text);
    for place in [hub, redis] {
        let broken = fed(&["publish", "small", "--batch"], &place, input.as_bytes());
        assert_eq!(exit_code(&broken), 1);
        let told = text(&broken.stderr);
        // The second finds no room for its first part.
        let (lines, before) = if place == hub { (128, 129) } else { (0, 1) };
        assert_eq!(text(&broken.stdout).lines().count(), lines, "{told}");
        assert!(told.contains(&format!("lines before {before} are published")), "{told}");
    }
}

#[test]
fn a_batch_that_is_refused_for_good_tells_what_was_published_and_not_to_try_again() {
    let fleet = Fleet::start();
    let long = format!("{}\"{}\"\n2\n", "1\n".repeat(128), "x".repeat(1 << 20));
    for place in fleet.places() {
        let dedup = format!("by{}", place[0]);
        let words = ["publish", "orders", "--batch", "--dedup", &dedup];
        let refused = fed(&words, &place, long.as_bytes());
        let told = text(&refused.stderr);
        assert_eq!(exit_code(&refused), 2, "{told}");
        assert_eq!(text(&refused.stdout).lines().count(), 128, "{told}");
        assert!(told.contains("lines before 129 are published, line 129 and those"), "{told}");
        assert!(!told.contains("the same again"), "{told}");
        for none in ["1\n{\n", long.trim_start_matches("1\n")] {
            let refused = fed(&words, &place, none.as_bytes());
            let told = text(&refused.stderr);
            assert_eq!((exit_code(&refused), refused.stdout.len()), (2, 0), "{told}");
            assert!(told.contains("nothing was published"), "{told}");
        }
    }
}

#[test]
fn what_is_read_and_is_no_text_is_bad_input() {
    let fleet = Fleet::start();
    let [redis, _] = fleet.places();
    let batch = fed(&["publish", "orders", "--batch"], &redis, b"1\n\"\xff\"\n");
    let one = fed(&["publish", "orders", "-"], &redis, b"\"\xff\"");
    for (refused, expected) in [(batch, "line 2: no text"), (one, "no text")] {
        let told = text(&refused.stderr);
        assert_eq!(exit_code(&refused), 2, "{told}");
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn dead_letters_are_looked_at_as_a_topic() {
    let fleet = Fleet::start();
    let [redis, _] = fleet.places();
    worked(&stream(&["publish", "orders", "1"], &redis));
    let pulled = fleet.pull("billing");
    let given_up =
        json!([{ "place": pulled["events"][0]["place"], "dead": true, "error": "lost" }]);
    let body = Some(json!({ "lease": pulled["lease"], "places": given_up }).to_string());
    let url = format!("{}/v1/streams/orders/groups/billing/nack", fleet.hub.url);
    fleet.runtime.block_on(fleet.hub.send(reqwest::Method::POST, &url, None, body));
    for place in fleet.places() {
        let words = ["tail", "orders.dead", "--from", "start", "--count", "1"];
        let letter: Value = serde_json::from_str(&worked(&stream(&words, &place))).unwrap();
        assert_eq!(letter["deadgroup"], "billing", "{letter}");
        let (reason, original) = (&letter["deadreason"], &letter["deadoriginal"]);
        assert_eq!((reason, original), (&json!("lost"), &pulled["events"][0]["place"]), "{letter}");
        assert_eq!(exit_code(&stream(&["tail", "other.dead"], &place)), 3);
        assert_eq!(exit_code(&stream(&["dead", "orders", "nobody"], &place)), 3);
    }
    let url = format!("{}/v1/streams/orders.dead", fleet.hub.url);
    let looked = fleet.runtime.block_on(fleet.hub.send(reqwest::Method::GET, &url, None, None));
    assert_eq!(looked.body["len"], 1, "{}", looked.text);
    fleet.pull_of("orders.dead", "looker");
    for place in fleet.places() {
        let lags: Value =
            serde_json::from_str(&worked(&stream(&["lag", "--json"], &place))).unwrap();
        let of: Vec<_> = lags.as_array().unwrap().iter().map(|lag| &lag["topic"]).collect();
        assert_eq!(of, ["orders", "orders.dead"], "{lags}");
        assert_eq!(exit_code(&stream(&["lag", "--fail-above", "0"], &place)), 1, "one is held");
    }
}

#[test]
fn a_webhook_keeps_what_has_no_flag() {
    let fleet = Fleet::start();
    let [_, hub] = fleet.places();
    let put = |more: &[&str]| stream(&[&["webhook", "put", "mail"], more].concat(), &hub);
    assert_eq!(exit_code(&put(&["--timeout", "5s"])), 2, "there is none yet");
    let new = ["--topic", "orders", "--url", "https://example.com/a", "--mode", "binary"];
    assert!(
        json_of(&put(&[&new[..], &["--type", "Paid", "--ordered"]].concat()))["secret"].is_string()
    );
    let changed = json_of(&put(&["--url", "https://example.com/b", "--attempts", "7"]));
    let expected = json!(["https://example.com/b", 7, "binary", ["Paid"], true, "10s"]);
    let names = ["url", "attempts", "mode", "kinds", "ordered", "timeout"];
    assert_eq!(Value::from_iter(names.map(|name| changed[name].clone())), expected, "{changed}");
    let all = json_of(&put(&["--all-types", "--ordered=false"]));
    assert_eq!((&all["kinds"], &all["ordered"]), (&json!([]), &json!(false)));
    let removed = worked(&stream(&["webhook", "remove", "mail"], &hub));
    assert!(removed.contains("sinew stream forget orders webhook.mail"), "{removed}");
}

#[test]
fn lag_fails_where_a_group_is_too_far_behind() {
    let fleet = Fleet::start();
    let [redis, _] = fleet.places();
    worked(&stream(&["publish", "orders", "1"], &redis));
    assert_eq!(fleet.pull("billing")["events"].as_array().map(Vec::len), Some(1));
    for place in fleet.places() {
        assert_eq!(exit_code(&stream(&["lag", "orders", "--fail-above", "1"], &place)), 0);
        let late = stream(&["lag", "orders", "--fail-above", "0"], &place);
        assert_eq!(exit_code(&late), 1);
        assert!(text(&late.stderr).contains("expected at most 0"), "{}", text(&late.stderr));
        assert_eq!(exit_code(&stream(&["lag", "nothing"], &place)), 3);
    }
}

#[test]
fn lag_is_watched_through_an_outage() {
    let mut fleet = Fleet::start();
    let [redis, _] = fleet.places();
    worked(&stream(&["publish", "orders", "1"], &redis));
    fleet.pull("billing");
    let watches = fleet.places().map(|place| begun(&["lag", "orders", "--watch"], &place));
    fleet.server.kill();
    see_it_looks_again(watches);
}

#[test]
fn lag_is_watched_while_what_was_seen_is_not_there() {
    let fleet = Fleet::start();
    let [redis, _] = fleet.places();
    worked(&stream(&["publish", "orders", "1"], &redis));
    let watches = fleet.places().map(|place| begun(&["lag", "orders", "--watch"], &place));
    redis_cli(fleet.server.port, &["flushall"]);
    see_it_looks_again(watches);
}

fn see_it_looks_again(watches: [Child; 2]) {
    for mut watch in watches {
        let stderr = BufReader::new(watch.stderr.as_mut().unwrap());
        let lines = stderr.lines().map(Result::unwrap);
        let told = lines.filter(|line| line.starts_with("not known now: ")).take(2);
        assert_eq!(told.count(), 2, "it looks again");
        watch.kill().unwrap();
        watch.wait().unwrap();
    }
}

#[test]
fn dead_letters_are_listed_and_removed_and_given_back() {
    let fleet = Fleet::with_two_dead_letters("billing");
    for place in fleet.places() {
        let listed = json_of(&stream(&["dead", "orders", "billing", "--json"], &place));
        let letters = listed["letters"].as_array().unwrap();
        assert_eq!(letters.len(), 2, "{listed}");
        let errors = json_of(&stream(&["dead", "orders", "billing", "--errors", "--json"], &place));
        assert_eq!(errors[0]["count"], 2, "{errors}");
        let dry = ["drop-dead", "orders", "billing", "--all", "--dry-run"];
        assert!(worked(&stream(&dry, &place)).contains("At most 2"));
        assert_eq!(exit_code(&stream(&["drop-dead", "orders", "billing", "--all"], &place)), 2);
    }
    let [redis, hub] = fleet.places();
    let listed = json_of(&stream(&["dead", "orders", "billing", "--json"], &redis));
    let at = listed["letters"][0]["place"].as_str().unwrap();
    let given = stream(&["redrive", "orders", "billing", at, "--json"], &redis);
    assert_eq!(json_of(&given), json!({ "redriven": 1 }));
    let removed = stream(&["drop-dead", "orders", "billing", "--all", "--yes", "--json"], &hub);
    assert_eq!(json_of(&removed), json!({ "removed": 1 }));
}

#[test]
fn letters_of_what_is_not_there_are_neither_given_back_nor_removed() {
    let fleet = Fleet::start();
    let [redis, _] = fleet.places();
    worked(&stream(&["publish", "orders", "1"], &redis));
    let at = "0:1795316265410-0";
    for place in fleet.places() {
        for of in [["orders", "nobody"], ["nothing", "billing"]] {
            for which in [&[at][..], &["--all"]] {
                for act in [
                    &["redrive"][..],
                    &["redrive", "--dry-run"],
                    &["drop-dead", "--yes"],
                    &["drop-dead", "--dry-run"],
                ] {
                    let words = [act, &of[..], which].concat();
                    let done = stream(&words, &place);
                    assert_eq!(exit_code(&done), 3, "{words:?}: {}", text(&done.stderr));
                }
            }
            assert_eq!(exit_code(&stream(&["dead", of[0], of[1], "--errors"], &place)), 3);
        }
    }
}

#[test]
fn letters_of_a_group_that_was_forgotten_are_listed_and_removed() {
    let fleet = Fleet::with_two_dead_letters("billing");
    let [redis, _] = fleet.places();
    worked(&stream(&["forget", "orders", "billing", "--force", "--yes"], &redis));
    for place in fleet.places() {
        let listed = json_of(&stream(&["dead", "orders", "billing", "--json"], &place));
        let letters = listed["letters"].as_array().unwrap();
        let last = letters.last().unwrap()["place"].as_str().unwrap();
        let rest = stream(&["dead", "orders", "billing", "--after", last, "--json"], &place);
        assert_eq!(json_of(&rest)["letters"], json!([]), "the page after the last");
        let dry = stream(&["redrive", "orders", "billing", "--all", "--dry-run"], &place);
        assert!(worked(&dry).contains("Those that are left would be redriven"));
        let removed = stream(&["drop-dead", "orders", "billing", last, "--json"], &place);
        assert_eq!(json_of(&removed), json!({ "removed": 1 }));
    }
    for place in fleet.places() {
        assert_eq!(exit_code(&stream(&["dead", "orders", "billing"], &place)), 3);
    }
}

#[test]
fn a_group_is_neither_moved_nor_removed_while_consumers_hold_events() {
    let fleet = Fleet::start();
    let [redis, _] = fleet.places();
    worked(&stream(&["publish", "orders", "1"], &redis));
    fleet.pull("billing");
    for place in fleet.places() {
        for words in [
            &["forget", "orders", "billing", "--yes"][..],
            &["seek", "orders", "billing", "--to", "end", "--yes"],
        ] {
            let held = stream(words, &place);
            assert_eq!(exit_code(&held), 1, "{}", text(&held.stderr));
            assert!(text(&held.stderr).contains("still hold 1 event:"), "{}", text(&held.stderr));
        }
        assert_eq!(exit_code(&stream(&["forget", "orders", "nobody", "--yes"], &place)), 3);
        // The topic has one partition.
        for to in ["soon", "1:1795316265410-0"] {
            let bad = stream(&["seek", "orders", "billing", "--to", to, "--yes"], &place);
            assert_eq!(exit_code(&bad), 2, "{}", text(&bad.stderr));
        }
    }
    let [_, hub] = fleet.places();
    worked(&stream(&["seek", "orders", "billing", "--to", "start", "--force", "--yes"], &hub));
    let again = fleet.pull("billing");
    assert_eq!(again["events"].as_array().map(Vec::len), Some(1), "{again}");
    worked(&stream(&["forget", "orders", "billing", "--force", "--yes"], &hub));
    assert_eq!(json_of(&stream(&["groups", "orders", "--json"], &redis)), json!([]));
}
