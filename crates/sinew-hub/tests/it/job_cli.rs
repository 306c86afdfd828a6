//! `sinew job …`: jobs as people enqueue them, look at them, and put right what went wrong.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sinew::job::{PullEnd, PulledJob};
use sinew::{Jobs, Sinew};
use tokio::runtime::Runtime;

use crate::hub::{BINARY, Hub, call, exit_code, sinew, text};
use crate::world::{Server, redis_cli, start_redis};

/// No job is called so.
const NOBODY: &str = "01KAPX2V9QJ7M3B0N8R5T4W6Y0";
const LEASE: Duration = Duration::from_secs(30);

/// A Redis, a hub on it, commands at both, and a worker.
pub struct Fleet {
    jobs: Jobs,
    pub server: Server,
    store: String,
    hub: Hub,
    runtime: Runtime,
}

impl Fleet {
    pub fn start() -> Self {
        let server = start_redis();
        let store = format!("redis://127.0.0.1:{}", server.port);
        let hub = Hub::serve(&["--store", &store]);
        let runtime = Runtime::new().unwrap();
        runtime.block_on(hub.until("ready"));
        let jobs = runtime.block_on(Sinew::connect(&store)).unwrap().jobs();
        Self { jobs, server, store, hub, runtime }
    }

    pub fn places(&self) -> [[&str; 2]; 2] {
        let listen = self.hub.url.trim_start_matches("http://");
        [["--store", &self.store], ["--listen", listen]]
    }

    /// Enqueues jobs of `mail`, and says what they are called.
    pub fn enqueue(&self, count: usize) -> Vec<String> {
        let [redis, _] = self.places();
        let input: String = (0..count).map(|n| format!("{{\"n\": {n}}}\n")).collect();
        let words = ["enqueue", "mail", "email.send", "--batch", "--retain", "1h"];
        let told = worked(&fed(&words, &redis, input.as_bytes()));
        told.lines().map(str::to_owned).collect()
    }

    /// Takes jobs of `mail`, and tells them in the order in which they were enqueued.
    pub fn take(&self, count: usize) -> Vec<PulledJob> {
        let mail = self.jobs.pull("mail");
        let mut taken = self.runtime.block_on(mail.reserve(count, LEASE)).unwrap();
        assert_eq!(taken.len(), count);
        taken.sort_by_key(|job| job.id);
        taken
    }

    pub fn finish(&self, job: &PulledJob, end: PullEnd) {
        let finished = self.runtime.block_on(self.jobs.pull("mail").finish(&job.token, end));
        assert!(finished.unwrap());
    }

    /// Enqueues jobs, and gives them up.
    fn bury(&self, count: usize) -> Vec<String> {
        let ids = self.enqueue(count);
        for (nth, job) in self.take(count).iter().enumerate() {
            self.finish(job, PullEnd::Dead(format!("no route to host {nth}")));
        }
        ids
    }
}

pub fn job(words: &[&str], place: &[&str]) -> Output {
    sinew(&[&["job"], words, place].concat())
}

pub fn worked(output: &Output) -> String {
    assert_eq!(exit_code(output), 0, "{}", text(&output.stderr));
    text(&output.stdout)
}

pub fn json_of(output: &Output) -> Value {
    serde_json::from_str(&worked(output)).expect("JSON")
}

/// The same, with something to read.
fn fed(words: &[&str], place: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("job").args(words).args(place).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// A command that goes on, and what it prints.
pub fn begun(words: &[&str], place: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = Command::new(BINARY);
    command.arg("job").args(words).args(place).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

#[test]
fn what_is_enqueued_at_one_place_is_seen_at_both() {
    let fleet = Fleet::start();
    for place in fleet.places() {
        let words = ["enqueue", "mail", "email.send", r#"{"n": 1.10}"#, "--priority", "7"];
        let more = ["--key", "ada", "--attempts", "3", "--delay", "1h"];
        let id = worked(&job(&[&words[..], &more].concat(), &place)).trim().to_owned();
        for place in fleet.places() {
            let shown = json_of(&job(&["show", "mail", &id, "--json"], &place));
            let names = ["kind", "state", "priority", "key", "attempts"];
            let expected = json!(["email.send", "scheduled", 7, "ada", 3]);
            assert_eq!(
                Value::from_iter(names.map(|name| shown[name].clone())),
                expected,
                "{shown}"
            );
            let told = worked(&job(&["show", "mail", &id], &place));
            assert!(told.contains("email.send in queue \"mail\" is scheduled"), "{told}");
            assert!(told.contains("1.10"), "as it was written: {told}");
        }
    }
    for place in fleet.places() {
        let queues = json_of(&job(&["queues", "--json"], &place));
        let expected = json!(["mail", 2, 0]);
        let names = ["queue", "scheduled", "waiting"];
        assert_eq!(Value::from_iter(names.map(|name| queues[0][name].clone())), expected);
        let listed = json_of(&job(&["list", "mail", "--state", "scheduled", "--json"], &place));
        assert_eq!(listed["jobs"].as_array().map(Vec::len), Some(2), "{listed}");
        assert_eq!(listed["jobs"][0]["payload"], Value::Null, "a list is short");
        let told = worked(&job(&["list", "mail", "--state", "scheduled"], &place));
        assert!(told.starts_with("KIND ") && told.lines().count() == 3, "{told}");
        assert!(worked(&job(&["list", "mail"], &place)).starts_with("No waiting job"));
        let others = json_of(&job(&["queues", "--json", "--tenant", "acme"], &place));
        assert_eq!(others, json!([]), "another tenant's are others");
    }
}

#[test]
fn a_list_goes_on_where_it_ended() {
    let fleet = Fleet::start();
    let mut ids = fleet.enqueue(250);
    for place in fleet.places() {
        let first = json_of(&job(&["list", "mail", "--count", "150", "--json"], &place));
        let next = first["next"].as_str().expect("there are more");
        let rest =
            json_of(&job(&["list", "mail", "--after", next, "--count", "1000", "--json"], &place));
        let mut listed: Vec<String> = [&first, &rest]
            .into_iter()
            .flat_map(|page| page["jobs"].as_array().unwrap())
            .map(|job| job["id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(first["jobs"].as_array().map(Vec::len), Some(150));
        listed.sort();
        ids.sort();
        assert_eq!(listed, ids);
    }
}

#[test]
fn a_unique_name_is_one_job_from_either_side() {
    let fleet = Fleet::start();
    let [redis, hub] = fleet.places();
    let words = ["enqueue", "mail", "email.send", "{}", "--unique", "welcome:42"];
    let mut last = worked(&job(&words, &hub)).trim().to_owned();
    for place in [redis, hub] {
        assert_eq!(worked(&job(&words, &place)).trim(), format!("{last} duplicate"));
        let replaced = json_of(&job(&[&words[..], &["--replace", "--json"]].concat(), &place));
        let replaced = &replaced["jobs"][0];
        assert_eq!((&replaced["replaced"], &replaced["duplicate"]), (&json!(last), &json!(false)));
        replaced["id"].as_str().unwrap().clone_into(&mut last);
    }
    let with_id = ["enqueue", "mail", "email.send", "{}", "--id", NOBODY, "--json"];
    let ids = [redis, hub].map(|place| json_of(&job(&with_id, &place))["jobs"][0].clone());
    assert_eq!(ids[0], ids[1], "it is there already");
    let waiting = json_of(&job(&["queues", "--json"], &redis))[0]["waiting"].clone();
    assert_eq!(waiting, 2);
}

#[test]
fn a_batch_is_enqueued_once_and_a_bad_line_enqueues_nothing() {
    let fleet = Fleet::start();
    let [redis, hub] = fleet.places();
    let input: String = (0..200).map(|n| format!("{{\"n\": {n}.10}}\n")).collect();
    let words = ["enqueue", "mail", "email.send", "--batch", "--unique", "monday"];
    let first = worked(&fed(&words, &hub, input.as_bytes()));
    assert_eq!(first.lines().count(), 200);
    let again = worked(&fed(&words, &redis, input.as_bytes()));
    let expected: String = first.lines().map(|id| format!("{id} duplicate\n")).collect();
    assert_eq!(again, expected);
    for place in fleet.places() {
        for bad in [&b"1\n{\n"[..], b"1\n\"\xff\"\n"] {
            let refused = fed(&["enqueue", "other", "email.send", "--batch"], &place, bad);
            let told = text(&refused.stderr);
            assert_eq!((exit_code(&refused), refused.stdout.len()), (2, 0), "{told}");
            assert!(
                told.contains("line 2: no ") && told.contains("nothing was enqueued"),
                "{told}"
            );
        }
        let nothing = fed(&["enqueue", "other", "email.send", "--batch"], &place, b"\n");
        let told = text(&nothing.stderr);
        assert!(exit_code(&nothing) == 2 && told.contains("no job on standard input"), "{told}");
        assert_eq!(exit_code(&job(&["list", "other"], &place)), 3);
    }
}

#[test]
fn bad_input_ends_with_2_at_both_places() {
    let fleet = Fleet::start();
    fleet.enqueue(1);
    for place in fleet.places() {
        for words in [
            &["enqueue", "mail", "email.send", "{"][..],
            &["enqueue", "mail", "email.send"],
            &["enqueue", "mail", "e mail", "{}"],
            &["enqueue", "ma il", "email.send", "{}"],
            &["enqueue", "mail", "email.send", "{}", "--delay", "500d"],
            &["enqueue", "mail", "email.send", "{}", "--priority", "10"],
            &["enqueue", "mail", "email.send", "{}", "--priority", "-1"],
            &["enqueue", "mail", "email.send", "{}", "--delay", "-5m"],
            &["enqueue", "mail", "email.send", "{}", "--within", "1h"],
            &["list", "mail", "--state", "asleep"],
            &["list", "mail", "--kind", "email.send"],
            &["list", "mail", "--after", "there"],
            &["show", "mail", "7"],
            &["cancel", "mail"],
            &["retry", "mail"],
            &["retry", "mail", "--all", "--kind", "email.send"],
            &["retry", "mail", "--all"],
            &["drop-dead", "mail", "--kind", "email.send"],
            &["declare", "mail", "--rate", "100"],
            &["declare", "mail", "--rate", "100/30d"],
            &["declare", "mail", "--partitions", "33"],
            &["declare", "mail", "--len-max", "0"],
            &["recurring", "put", "nightly", "--cron", "0 2 * * *"],
            &["recurring", "put", "nightly", "--kind", "a", "--payload", "1", "--cron", "soon"],
            &["recurring", "put", "a b", "--kind", "a", "--payload", "1", "--every", "1h"],
        ] {
            let refused = job(words, &place);
            let told = text(&refused.stderr);
            assert_eq!(exit_code(&refused), 2, "{words:?}: {told}");
            assert!(refused.stdout.is_empty(), "{words:?}");
            assert!(!told.contains("unexpected argument"), "{words:?}: {told}");
            assert!(!told.contains("18446744073709551615"), "{words:?}: {told}");
        }
    }
}

#[test]
fn what_is_not_there_ends_with_3_at_both_places() {
    let fleet = Fleet::start();
    fleet.enqueue(1);
    for place in fleet.places() {
        for words in [
            &["show", "mail", NOBODY][..],
            &["cancel", "mail", NOBODY],
            &["cancel", "nothing", NOBODY],
            &["list", "nothing"],
            &["done", "nothing"],
            &["dead", "nothing"],
            &["retry", "nothing", "--all", "--dry-run"],
            &["retry", "nothing", NOBODY],
            &["retry", "mail", NOBODY],
            &["retry", "mail", NOBODY, "--json"],
            &["drop-dead", "mail", NOBODY],
            &["drop-dead", "nothing", "--all", "--yes"],
            &["pause", "nothing"],
            &["resume", "nothing"],
            &["workers", "nothing"],
            &["stats", "nothing"],
            &["audit", "nothing"],
            &["watch", "nothing"],
            &["recurring", "show", "nothing"],
            &["recurring", "fire", "nothing"],
            &["recurring", "pause", "nothing"],
            &["recurring", "drop", "nothing", "--yes"],
        ] {
            let missing = job(words, &place);
            assert_eq!(exit_code(&missing), 3, "{words:?}: {}", text(&missing.stderr));
            assert!(!text(&missing.stderr).contains("GET "), "{}", text(&missing.stderr));
        }
        let queues = json_of(&job(&["queues", "--json"], &place));
        assert_eq!(queues.as_array().map(Vec::len), Some(1), "none was made: {queues}");
    }
}

#[test]
fn what_is_refused_is_refused_in_the_same_words_at_both_places() {
    let fleet = Fleet::start();
    fleet.enqueue(1);
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    for words in [
        &["show", "mail", NOBODY][..],
        &["cancel", "mail", NOBODY],
        &["recurring", "show", "nothing"],
        &["recurring", "fire", "nothing"],
        &["recurring", "pause", "nothing"],
        &["recurring", "resume", "nothing"],
        &["declare", "mail", "--partitions", "4"],
    ] {
        let [redis, hub] = fleet.places().map(|place| text(&job(words, &place).stderr));
        assert_eq!(redis, hub, "{words:?}");
        assert!(!redis.is_empty(), "{words:?}");
    }
    let [redis, hub] = fleet.places().map(|place| {
        let refused = fed(&["enqueue", "mail", "email.send", "-"], &place, large.as_bytes());
        text(&refused.stderr)
    });
    assert_eq!(redis, hub);
    assert!(redis.contains("the payload of a job has"), "{redis}");
}

#[test]
fn a_queue_that_was_lost_hides_none_of_those_after_it() {
    let fleet = Fleet::start();
    fleet.enqueue(1);
    let port = fleet.server.port;
    let listed = redis_cli(port, &["keys", "*job:queues"]);
    for lost in ["a", "b"] {
        assert_eq!(redis_cli(port, &["zadd", &listed, "1", lost]), "1");
    }
    let page = call(&fleet.hub, Method::GET, "/queues?count=1", &[], None);
    let page = fleet.runtime.block_on(page);
    assert_eq!(page.body[0]["queue"], "mail", "{}", page.text);
}

#[test]
fn an_end_is_waited_for() {
    let fleet = Fleet::start();
    let ids = fleet.enqueue(2);
    let taken = fleet.take(2);
    for ((place, id), taken) in fleet.places().iter().zip(&ids).zip(&taken) {
        let pending = json_of(&job(&["show", "mail", id, "--wait", "100ms", "--json"], place));
        assert_eq!(pending["state"], "running", "the time is over: {pending}");
        let (waits, mut lines) = begun(&["show", "mail", id, "--wait", "1m", "--json"], place);
        fleet.finish(taken, PullEnd::Done(Some(r#"{"sent": true}"#.into())));
        let told: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!((&told["state"], &told["result"]["sent"]), (&json!("done"), &json!(true)));
        assert_eq!(exit_code(&waits.wait_with_output().unwrap()), 0);
    }
}

#[test]
fn a_job_is_cancelled_whether_it_waits_or_runs() {
    let fleet = Fleet::start();
    let ids = fleet.enqueue(4);
    fleet.take(2);
    for (place, nth) in fleet.places().iter().zip(0_usize..) {
        let (running, waiting) = (&ids[nth], &ids[nth + 2]);
        let cancelled = json_of(&job(&["cancel", "mail", running, waiting, "--json"], place));
        let was: Vec<&Value> = cancelled.as_array().unwrap().iter().map(|of| &of["was"]).collect();
        assert_eq!(was, ["running", "waiting"], "{cancelled}");
    }
    for place in fleet.places() {
        let missing = job(&["cancel", "mail", &ids[0], NOBODY], &place);
        assert_eq!(exit_code(&missing), 3, "{}", text(&missing.stdout));
        assert_eq!(json_of(&job(&["queues", "--json"], &place))[0]["waiting"], 0);
    }
}

#[test]
fn dead_jobs_are_grouped_and_retried_and_removed() {
    let fleet = Fleet::start();
    let ids = fleet.bury(4);
    let [redis, hub] = fleet.places();
    let mut trouble = String::new();
    for place in [redis, hub] {
        let groups = json_of(&job(&["dead", "mail", "--json"], &place));
        let (count, sample) = (&groups[0]["count"], groups[0]["error"].as_str().unwrap());
        assert_eq!((groups.as_array().map(Vec::len), count), (Some(1), &json!(4)), "{groups}");
        assert!(sample.starts_with("no route to host "), "{groups}");
        groups[0]["fingerprint"].as_str().unwrap().clone_into(&mut trouble);
        let told = worked(&job(&["dead", "mail"], &place));
        assert!(told.contains("email.send: no route") && told.contains(&trouble), "{told}");

        let listed = ["list", "mail", "--state", "dead", "--json"];
        let by_trouble =
            json_of(&job(&[&listed[..], &["--fingerprint", &trouble]].concat(), &place));
        assert_eq!(by_trouble["jobs"].as_array().map(Vec::len), Some(4), "{by_trouble}");
        assert_eq!(by_trouble["jobs"][0]["failures"], 1, "{by_trouble}");
        let by_kind = json_of(&job(&[&listed[..], &["--kind", "other"]].concat(), &place));
        assert_eq!(by_kind["jobs"], json!([]));
        for which in [&["--all"][..], &["--kind", "email.send"], &["--fingerprint", &trouble]] {
            for act in ["retry", "drop-dead"] {
                let dry = [&[act, "mail", "--dry-run"], which].concat();
                assert!(worked(&job(&dry, &place)).starts_with("4 would be"), "{dry:?}");
                let asked = job(&[&[act, "mail"], which].concat(), &place);
                assert_eq!(exit_code(&asked), 2);
                assert!(text(&asked.stderr).contains(", 4 now?"), "{}", text(&asked.stderr));
            }
        }
        let old = ["retry", "mail", "--older-than", "1h", "--dry-run", "--json"];
        assert_eq!(json_of(&job(&old, &place))["count"], 0);
    }
    let retried = |words: &[&str], place: &[&str]| json_of(&job(words, place))["retried"].clone();
    assert_eq!(retried(&["retry", "mail", &ids[0], NOBODY, "--json"], &redis), 1);
    assert_eq!(retried(&["retry", "mail", &ids[1], &ids[0], "--json"], &hub), 1);
    let dropped = json_of(&job(&["drop-dead", "mail", &ids[2], "--json"], &hub));
    assert_eq!(dropped, json!({ "dropped": 1 }));
    let by_trouble = ["retry", "mail", "--fingerprint", &trouble, "--yes", "--json"];
    assert_eq!(retried(&by_trouble, &redis), 1);
    fleet.bury(2);
    let by_kind = ["drop-dead", "mail", "--kind", "email.send", "--yes", "--json"];
    assert_eq!(json_of(&job(&by_kind, &hub)), json!({ "dropped": 2 }));
    for place in [redis, hub] {
        assert!(worked(&job(&["dead", "mail"], &place)).starts_with("No dead job in queue"));
    }
}

#[test]
fn a_queue_is_declared_paused_and_resumed() {
    let fleet = Fleet::start();
    for (place, nth) in fleet.places().iter().zip(0_usize..) {
        let name = format!("queue-{nth}");
        let declare =
            |words: &[&str]| json_of(&job(&[&["declare", &name, "--json"], words].concat(), place));
        let limited = declare(&["--global", "200", "--per-key", "3", "--rate", "100/1s"]);
        let names = ["partitions", "global", "per_key", "rate"];
        let expected = json!([1, 200, 3, { "starts": 100, "per": "1s" }]);
        assert_eq!(Value::from_iter(names.map(|name| limited[name].clone())), expected);
        let less = declare(&["--rate", "0"]);
        assert_eq!((&less["rate"], &less["global"]), (&Value::Null, &json!(200)), "the rest stays");
        let other = job(&["declare", &name, "--partitions", "4"], place);
        assert_eq!(exit_code(&other), 1, "for ever: {}", text(&other.stderr));
        for place in fleet.places() {
            for (act, is_paused) in [("pause", true), ("resume", false)] {
                let told = worked(&job(&[act, &name], &place));
                assert!(told.contains(&name), "{told}");
                let queues = json_of(&job(&["queues", "--json"], &place));
                assert_eq!(queues[nth]["paused"], is_paused, "{queues}");
            }
        }
    }
}

#[test]
fn what_workers_do_is_told() {
    let fleet = Fleet::start();
    let ids = fleet.enqueue(3);
    let taken = fleet.take(3);
    for place in fleet.places() {
        let workers = json_of(&job(&["workers", "mail", "--json"], &place));
        assert_eq!((&workers[0]["worker"], &workers[0]["running"]), (&json!("pull"), &json!(3)));
        assert!(worked(&job(&["workers", "mail"], &place)).starts_with("WORKER "));
        let running = json_of(&job(&["list", "mail", "--state", "running", "--json"], &place));
        assert_eq!(running["jobs"].as_array().map(Vec::len), Some(3), "{running}");
        let audited = json_of(&job(&["audit", "mail", "--json"], &place));
        assert_eq!(audited, json!({ "stranded": 0, "miscounted": 0, "forgotten_keys": 0 }));
        assert!(worked(&job(&["audit", "mail"], &place)).contains("0 jobs stranded"));
    }
    fleet.finish(&taken[0], PullEnd::Done(None));
    fleet.finish(&taken[1], PullEnd::Failed { error: "busy".to_owned(), after: None });
    fleet.finish(&taken[2], PullEnd::Dead("gone".to_owned()));
    for place in fleet.places() {
        let minutes = json_of(&job(&["stats", "mail", "--json"], &place));
        let sum = |name: &str| -> u64 {
            minutes.as_array().unwrap().iter().filter_map(|of| of[name].as_u64()).sum()
        };
        assert_eq!((sum("done"), sum("failed"), sum("dead")), (1, 1, 1), "{minutes}");
        let days = json_of(&job(&["stats", "mail", "--days", "--json"], &place));
        assert!(days[0]["done"].is_u64(), "{days}");
        let told = worked(&job(&["stats", "mail", "--kinds"], &place));
        assert!(told.contains("email.send "), "{told}");
        let done = json_of(&job(&["done", "mail", "--json"], &place));
        assert_eq!((&done[0]["id"], done.as_array().map(Vec::len)), (&json!(ids[0]), Some(1)));
        let kept = json_of(&job(&["list", "mail", "--state", "done", "--json"], &place));
        assert_eq!(kept["jobs"][0]["id"], json!(ids[0]), "{kept}");
        let told = worked(&job(&["show", "mail", &ids[1]], &place));
        assert!(told.contains("tried      1 failed") && told.contains("by pull: busy"), "{told}");
    }
}

#[test]
fn a_webhook_keeps_what_has_no_flag() {
    let fleet = Fleet::start();
    let [redis, hub] = fleet.places();
    let put = |more: &[&str]| job(&[&["webhook", "put", "mail"], more].concat(), &hub);
    assert_eq!(exit_code(&put(&["--timeout", "5s"])), 2, "there is none yet");
    let made = worked(&put(&["--url", "https://example.com/a", "--timeout", "5s"]));
    assert!(made.starts_with("Defined the webhook of queue \"mail\""), "{made}");
    assert!(made.contains("not shown again: whsec_"), "{made}");
    let changed =
        json_of(&put(&["--url", "https://example.com/b", "--concurrency", "2", "--json"]));
    let names = ["queue", "url", "timeout", "concurrency", "secret"];
    let expected = json!(["mail", "https://example.com/b", "5s", 2, null]);
    assert_eq!(Value::from_iter(names.map(|name| changed[name].clone())), expected, "{changed}");
    worked(&job(&["webhook", "pause", "mail"], &hub));
    let listed = json_of(&job(&["webhook", "list", "--json"], &hub));
    assert!(listed[0]["paused"]["since"].is_string(), "{listed}");
    worked(&job(&["webhook", "resume", "mail"], &hub));
    assert!(worked(&job(&["webhook", "list"], &hub)).contains("https://example.com/b"));
    worked(&job(&["webhook", "remove", "mail"], &hub));
    for act in ["pause", "remove"] {
        assert_eq!(exit_code(&job(&["webhook", act, "mail"], &hub)), 3, "{act}");
        assert_eq!(exit_code(&job(&["webhook", act, "mail"], &redis)), 2, "it is a hub's");
    }
}

#[test]
fn it_is_said_how_dead_jobs_are_named() {
    for act in ["retry", "drop-dead"] {
        let refused = job(&[act, "mail"], &[]);
        let told = text(&refused.stderr);
        assert_eq!(exit_code(&refused), 2, "{told}");
        assert!(
            ["--all", "--fingerprint", "--kind"].iter().all(|way| told.contains(way)),
            "{told}"
        );
    }
}

#[test]
fn each_command_shows_an_example() {
    for words in [
        &["enqueue"][..],
        &["watch"],
        &["list"],
        &["retry"],
        &["declare"],
        &["recurring", "put"],
        &["recurring", "next"],
    ] {
        let help = sinew(&[&["job"], words, &["--help"]].concat());
        assert!(worked(&help).contains("Example"), "{words:?}");
    }
}
