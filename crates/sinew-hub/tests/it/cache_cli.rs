//! `sinew cache …` beyond one entry: on Redis itself and through a hub.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::hub::{BINARY, Hub, exit_code, sinew, text};
use crate::world::{Server, redis_cli, start_redis, wait_until};

const TAGGED: &str = "[caches.user]\ntagged = true\n";

/// Where commands work: through a hub, or on Redis itself.
struct Place {
    flags: Vec<String>,
    _config: NamedTempFile,
    _hub: Option<Hub>,
    server: Option<Server>,
}

impl Place {
    fn each() -> [Self; 2] {
        let config = || {
            let file = file(TAGGED);
            let path = file.path().to_str().unwrap().to_owned();
            (file, path)
        };
        let (at_hub, path) = config();
        let hub = Hub::serve(&["--config", &path]);
        let address = hub.url.trim_start_matches("http://").to_owned();
        let through = Self {
            flags: vec!["--listen".to_owned(), address],
            _config: at_hub,
            _hub: Some(hub),
            server: None,
        };
        let server = start_redis();
        let (at_redis, path) = config();
        let store = format!("redis://127.0.0.1:{}", server.port);
        let flags = ["--store", &store, "--config", &path].map(str::to_owned).to_vec();
        [through, Self { flags, _config: at_redis, _hub: None, server: Some(server) }]
    }

    fn run(&self, words: &[&str]) -> Output {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        sinew(&[&["cache"], words, flags.as_slice()].concat())
    }

    /// What it prints when it works.
    fn says(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert_eq!(exit_code(&output), 0, "{words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.says(&[words, &["--json"]].concat())).expect("JSON")
    }

    /// What it complains of when it ends with this code.
    fn complains(&self, code: i32, words: &[&str]) -> String {
        let output = self.run(words);
        let errors = text(&output.stderr);
        assert_eq!(exit_code(&output), code, "{words:?}: {errors}");
        assert!(errors.starts_with("error: "), "{errors}");
        errors
    }

    fn is_there(&self, key: &str) -> bool {
        let code = exit_code(&self.run(&["get", "user", key]));
        assert!([0, 3].contains(&code), "{code}");
        code == 0
    }
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn every_cache_command_shows_an_example() {
    for command in
        ["get", "put", "delete", "clear", "warm", "info", "largest", "hottest", "list", "stats"]
    {
        let help = text(&sinew(&["cache", command, "--help"]).stdout);
        assert!(help.contains("Example"), "{command}: {help}");
    }
    let all = text(&sinew(&["cache", "--help"]).stdout);
    assert!(all.contains("clear") && all.contains("Store the entries of a file"), "{all}");
    assert!(all.contains("asks\nfirst") || all.contains("asks first"), "{all}");
    let hottest = text(&sinew(&["cache", "hottest", "--help"]).stdout);
    assert!(hottest.contains("sample") && hottest.contains("since the hub started"), "{hottest}");
}

#[test]
fn entries_are_cleared_by_tag_by_match_and_all() {
    for place in Place::each() {
        for (key, tag) in
            [("1:list", "team:3"), ("2:list", "team:4"), ("3", "team:3"), ("4", "none")]
        {
            place.says(&["put", "user", key, "1", "--tag", tag, "--tag", "all"]);
        }
        let info = place.json(&["info", "user", "1:list"]);
        assert_eq!((&info["tags"], &info["served"]), (&json!(["all", "team:3"]), &json!(true)));

        let clear = ["clear", "user", "--tag", "team:3"];
        let would = place.says(&[&clear[..], &["--dry-run"]].concat());
        let begins = "Would remove every entry of cache \"user\" of no tenant that has the tag \"team:3\" in ";
        assert!(would.starts_with(begins) && would.ends_with("They are not counted.\n"), "{would}");
        let would = place.json(&[&clear[..], &["--dry-run"]].concat());
        let what = &would["wouldRemove"];
        assert_eq!((&what["cache"], &what["tag"]), (&json!("user"), &json!("team:3")), "{would}");
        assert_eq!((&what["tenant"], &what["match"]), (&Value::Null, &Value::Null), "{would}");
        assert_eq!((&what["all"], &would["removed"]), (&json!(false), &Value::Null), "{would}");
        assert!(what["in"].as_str().unwrap().contains("127.0.0.1"), "{would}");
        let asks = place.complains(2, &clear);
        assert!(asks.contains("expected --yes") && asks.contains("team:3"), "{asks}");
        assert!(place.is_there("3"), "nothing is removed without consent");
        let told = place.says(&[&clear[..], &["--yes"]].concat());
        assert!(told.starts_with("Removed every entry of cache \"user\""), "{told}");
        assert!(!place.is_there("1:list") && !place.is_there("3"));
        assert!(place.is_there("2:list") && place.is_there("4"));

        let matching = ["clear", "user", "--match", "*:list", "--yes"];
        let others = place.says(&[&matching[..], &["--tenant", "acme"]].concat());
        assert_eq!(others, "Removed 0 entries.\n");
        // Two are stored: one of them is out of date by its tag, and still counts.
        let count = place.json(&matching)["removed"].as_u64().unwrap();
        assert!((1..=2).contains(&count), "{count}");
        assert!(!place.is_there("2:list") && place.is_there("4"));
        assert_eq!(place.json(&["clear", "user", "--all", "--yes"]), json!({"removed": null}));
        assert!(!place.is_there("4"));
    }
}

#[test]
fn a_bad_clear_removes_nothing_and_says_what_was_expected() {
    for place in Place::each() {
        place.says(&["put", "user", "1", "1"]);
        let cases: [(&[&str], &str); 13] = [
            (&["clear", "user"], "--tag <TAG>"),
            (&["clear", "user", "--all", "--tag", "a"], "cannot be used with"),
            (&["clear", "lock", "--all", "--yes"], "choose another"),
            (&["clear", "user", "--match", "[ab]", "--yes"], "expected key text"),
            (&["clear", "user", "--match", "[ab]", "--dry-run"], "expected key text"),
            (&["clear", "user", "--match", "[ab]"], "expected key text"),
            (&["clear", "user", "--tag", "", "--dry-run"], "expected 1 to 128"),
            (&["clear", "user", "--all", "--dry-run", "--yes"], "cannot be used with"),
            (&["clear", "plain", "--tag", "a", "--yes"], "tagged = true under [caches.\"plain\"]"),
            (&["put", "plain", "1", "1", "--tag", "a"], "tagged = true under [caches.\"plain\"]"),
            (&["put", "user", "1", "1", "--version", "1", "--ttl", "1m"], "cannot be used with"),
            (&["clear", "user", "--all", "--yes", "--tenant", "a_b"], "expected 1 to 64"),
            (&["largest", "user", "--top", "0"], "1..=1000"),
        ];
        for (words, told) in cases {
            let errors = place.complains(2, words);
            assert!(errors.contains(told), "{words:?}: {told:?} is not in: {errors}");
        }
        assert!(place.is_there("1"));
    }
}

#[test]
fn an_older_version_is_not_stored() {
    for place in Place::each() {
        place.says(&["put", "user", "7", "2", "--version", "2"]);
        let older = place.complains(1, &["put", "user", "7", "1", "--version", "1"]);
        assert!(older.contains("not newer"), "{older}");
        for version in ["-1", "18446744073709551615"] {
            let bound = place.complains(2, &["put", "user", "7", "1", "--version", version]);
            assert!(bound.contains("from 0 to 18446744073709551614"), "{bound}");
        }
        assert_eq!(place.says(&["get", "user", "7"]), "2\n");
    }
}

#[test]
fn a_cache_is_warmed_from_a_file_or_a_pipe() {
    for place in Place::each() {
        place.says(&["put", "user", "0", "\"kept\""]);
        let lines: Vec<String> = (0..1_200)
            .map(|n| {
                json!({"key": n.to_string(), "value": n, "ttl": "10m", "tags": ["all"]}).to_string()
            })
            .collect();
        let entries = file(&format!("\n{}\n", lines.join("\n\n")));
        let path = entries.path().to_str().unwrap();
        let told = place.says(&["warm", "user", path]);
        assert_eq!(told, "Stored 1199, found 1 there already.\n");
        assert_eq!(place.says(&["get", "user", "0"]), "\"kept\"\n");
        assert_eq!(place.says(&["get", "user", "1199"]), "1199\n");
        let all = place.json(&["warm", "user", path, "--replace", "--yes"]);
        assert_eq!(all, json!({"stored": 1200, "found": 0, "failed": 0}));
        assert_eq!(place.says(&["get", "user", "0"]), "0\n");

        let flags: Vec<&str> = place.flags.iter().map(String::as_str).collect();
        let mut piped = Command::new(BINARY)
            .args([&["cache", "warm", "user", "-", "--tenant", "acme"], &flags[..]].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = piped.stdin.take().unwrap();
        pipe.write_all(b"{\"key\": \"7\", \"value\": \"piped\"}").unwrap();
        drop(pipe);
        let output = piped.wait_with_output().unwrap();
        assert_eq!(text(&output.stdout), "Stored 1, found 0 there already.\n");
        assert_eq!(place.says(&["get", "user", "7", "--tenant", "acme"]), "\"piped\"\n");
    }
}

#[test]
fn what_goes_over_many_entries_asks_first_and_what_names_one_does_not() {
    for place in Place::each() {
        place.says(&["put", "user", "1", "\"kept\""]);
        let entries = file("{\"key\": \"1\", \"value\": \"brought\"}\n");
        let path = entries.path().to_str().unwrap();
        let asks = place.complains(2, &["warm", "user", path, "--replace"]);
        assert!(asks.contains("Replace what cache \"user\"") && asks.contains(path), "{asks}");
        assert!(asks.contains("expected --yes"), "{asks}");
        assert_eq!(place.says(&["get", "user", "1"]), "\"kept\"\n");
        let idle = place.complains(2, &["warm", "user", path, "--yes"]);
        assert!(idle.contains("--replace"), "{idle}");
        place.says(&["put", "user", "1", "\"again\""]);
        place.says(&["delete", "user", "1"]);
        assert!(!place.is_there("1"));
    }
    let help = text(&sinew(&["cache", "delete", "--help"]).stdout);
    assert!(help.contains("without a question"), "{help}");
}

#[test]
fn a_key_that_comes_again_counts_as_if_it_came_later() {
    for place in Place::each() {
        let lines = ["a", "b", "a"].iter().zip(1..);
        let lines: Vec<String> =
            lines.map(|(key, value)| json!({"key": key, "value": value}).to_string()).collect();
        let entries = file(&lines.join("\n"));
        let warm = ["warm", "user", entries.path().to_str().unwrap()];
        assert_eq!(place.says(&warm), "Stored 2, found 1 there already.\n");
        assert_eq!(place.says(&["get", "user", "a"]), "1\n");
        place.says(&[&warm[..], &["--replace", "--yes"]].concat());
        assert_eq!(place.says(&["get", "user", "a"]), "3\n");
    }
}

#[test]
fn a_bad_line_is_told_with_its_number() {
    for place in Place::each() {
        let good = r#"{"key": "good", "value": 1}"#;
        for (bad, told) in [
            ("{\"key\": \"a\"}", "expected entries like"),
            ("{\"key\": \"a\", \"value\": 1, \"ttl\": \"soon\"}", "expected a duration"),
            ("{\"key\": \"\", \"value\": 1}", "expected segments between colons"),
            ("{\"key\": \"a\", \"value\": 1, \"tags\": [\"\"]}", "expected 1 to 128"),
            ("secret", "not JSON at column 1"),
        ] {
            let entries = file(&format!("{good}\n\n{bad}\n"));
            let path = entries.path().to_str().unwrap();
            let errors = place.complains(2, &["warm", "user", path]);
            assert!(errors.contains(&format!("{path}:3: ")) && errors.contains(told), "{errors}");
            assert!(!errors.contains("secret"), "{errors}");
            assert!(errors.contains("; 0 entries before it were stored"), "{errors}");
        }
        assert!(!place.is_there("good"));
        let nowhere = place.complains(2, &["warm", "user", "/nowhere/entries.ndjson"]);
        assert!(nowhere.contains("expected a file of JSON lines"), "{nowhere}");
        // What only the cache's own rules say: none of what goes with it is stored.
        let mut lines: Vec<String> =
            (0..600).map(|n| json!({"key": n.to_string(), "value": n}).to_string()).collect();
        lines.push(json!({"key": "k".repeat(1_100), "value": 1}).to_string());
        let entries = file(&format!("\n{}\n{good}\n", lines.join("\n")));
        let path = entries.path().to_str().unwrap();
        let failed = place.complains(2, &["warm", "user", path]);
        let told = format!("error: {path}:602: key of ");
        assert!(failed.starts_with(&told), "{failed}");
        assert!(failed.contains("expected at most 1024") && failed.contains("; 500 entries"));
        assert!(place.is_there("499") && !place.is_there("500") && !place.is_there("good"));
    }
}

#[test]
fn entries_are_looked_at_in_80_columns_or_as_json() {
    for place in Place::each() {
        let long = format!("{}:list", "k".repeat(100));
        place.says(&["put", "user", &long, &format!("\"{}\"", "v".repeat(5_000)), "--ttl", "10m"]);
        place.says(&["put", "user", "a b", "1"]);
        place.says(&["put", "user", "theirs", "1", "--tenant", "acme"]);
        let table = place.says(&["largest", "user"]);
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3, "{table}");
        assert!(lines[0].starts_with("KEY") && lines[1].ends_with("KiB"), "{table}");
        let largest = place.json(&["largest", "user", "--top", "5", "--keys", "100"]);
        assert_eq!((&largest[0]["key"], &largest[1]["key"]), (&json!(long), &json!("a b")));

        let info = place.says(&["info", "user", &long]);
        let titles = ["size  ", "age  ", "fresh for  ", "expires in  ", "tags  ", "a look-up  "];
        assert_eq!(info.lines().count(), titles.len(), "{info}");
        assert!(info.lines().zip(titles).all(|(line, title)| line.starts_with(title)), "{info}");
        assert!(info.contains(" min ") && info.contains("finds it"), "{info}");
        assert_eq!(exit_code(&place.run(&["info", "user", "nothing"])), 3);
        if let Some(server) = &place.server {
            let left: i64 = redis_cli(server.port, &["PTTL", "_:user:a%20b"]).parse().unwrap();
            assert!(left > 0, "{left}");
        }
    }
}

#[test]
fn a_hubs_caches_are_listed() {
    let [place, _] = Place::each();
    place.says(&["put", "greeting", "en", "1"]);
    for _ in 0..3 {
        place.says(&["get", "greeting", "en"]);
    }
    let list = place.says(&["list"]);
    let lines: Vec<&str> = list.lines().collect();
    assert!(list.lines().all(|line| line.chars().count() <= 80), "{list}");
    assert!(lines[0].starts_with("CACHE") && lines[1].starts_with("greeting"), "{list}");
    assert!(lines[1].contains("100.0 %") && lines[2].starts_with("user"), "{list}");
    let list = place.json(&["list"]);
    assert_eq!((&list[0]["cache"], &list[0]["hitsLocal"]), (&json!("greeting"), &json!(3)));
    // One look-up in some is looked at.
    let hottest = || place.json(&["hottest", "greeting", "--top", "1"]);
    wait_until("it is seen to be hot", || {
        (0..16).for_each(|_| drop(place.says(&["get", "greeting", "en"])));
        hottest() != json!([])
    });
    assert_eq!(hottest(), json!([{"key": "en", "share": 1.0}]));
    let table = place.says(&["hottest", "greeting"]);
    assert!(table.contains("en") && table.contains("100.0 %"), "{table}");
    let stats = place.says(&["stats", "greeting"]);
    assert!(stats.contains("inconsistent  0") && stats.contains("stale         0"), "{stats}");
    let none = place.json(&["hottest", "greeting", "--tenant", "acme"]);
    assert_eq!(none, json!([]));
    // It is about a hub.
    let output = sinew(&["cache", "list", "--store", "redis://127.0.0.1:1"]);
    assert_eq!(exit_code(&output), 2);
}
