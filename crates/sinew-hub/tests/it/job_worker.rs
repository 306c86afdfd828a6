//! A worker in another language, with nothing but its standard library and the HTTP API.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::hub::{Hub, blocking, call};
use crate::world::{signal, start_redis};

const JOBS: u64 = 1_000;
const LONG: Duration = Duration::from_secs(120);
const NONE: &[(&str, &str)] = &[];

/// A worker in Python. Killed with this.
struct Worker(Child);

impl Worker {
    /// Each job takes it so many seconds.
    fn start(hub: &str, out: &Path, pause_s: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/job_worker.py");
        let mut python = Command::new("python3");
        python.args([script, hub, "mail"]).arg(out).env("PAUSE_S", pause_s);
        python.env("no_proxy", "*").stdin(Stdio::null());
        Self(python.spawn().expect("python3: apt-get install python3"))
    }

    /// SIGTERM, and waits for its end.
    async fn end(mut self) {
        let pid = self.0.id();
        blocking(move || signal(pid, "TERM")).await;
        until("its end", async || self.0.try_wait().unwrap().is_some()).await;
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How often each number was written down.
fn written(out: &Path) -> BTreeMap<u64, usize> {
    let mut written = BTreeMap::new();
    for line in std::fs::read_to_string(out).unwrap_or_default().lines() {
        // One that is still being written is not read.
        if let Some(number) = line.split(' ').nth(1).and_then(|number| number.parse().ok()) {
            *written.entry(number).or_default() += 1;
        }
    }
    written
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

async fn queue(hub: &Hub) -> Value {
    let reply = call(hub, Method::GET, "/queues/mail", NONE, None).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    reply.body
}

/// Jobs with these numbers, all at once.
async fn enqueue(hub: &Hub, numbers: Range<u64>) {
    let count = numbers.clone().count();
    let lines: String = numbers
        .map(|n| format!("{}\n", json!({ "kind": "square", "payload": { "n": n } })))
        .collect();
    let url = format!("{}/v1/queues/mail/jobs", hub.url);
    let ndjson = [("content-type", "application/x-ndjson")];
    let enqueued = hub.send_with(Method::POST, &url, &ndjson, Some(lines)).await;
    assert_eq!(enqueued.status, StatusCode::ACCEPTED, "{}", enqueued.text);
    assert_eq!(enqueued.body["jobs"].as_array().map(Vec::len), Some(count));
}

#[tokio::test]
async fn a_worker_in_python_that_is_killed_loses_no_job() {
    let server = blocking(start_redis).await;
    let store = format!("redis://127.0.0.1:{}", server.port);
    let hub = blocking(move || Hub::serve(&["--store", &store])).await;
    hub.until("ready").await;
    enqueue(&hub, 0..JOBS).await;

    let folder = tempfile::tempdir().unwrap();
    let out: PathBuf = folder.path().join("out");
    let first = Worker::start(&hub.url, &out, "0.002");
    until("some of them", async || written(&out).len() >= 200).await;
    // SIGKILL, in the middle of what it has.
    drop(first);
    let before = written(&out).len();
    assert!(before < 1_000, "it was killed too late: {before}");

    let second = Worker::start(&hub.url, &out, "0.002");
    until("all of them", async || {
        let queue = queue(&hub).await;
        let left = ["waiting", "scheduled", "running"].map(|name| queue[name].as_u64().unwrap());
        left == [0; 3]
    })
    .await;
    let written = written(&out);
    let all: BTreeSet<u64> = written.keys().copied().collect();
    assert_eq!(all, (0..JOBS).collect(), "a job was lost");
    // What the first had when it was killed has run again, and nothing else.
    let twice = written.values().filter(|times| **times > 1).count();
    assert!(twice <= 20 && written.values().all(|times| *times <= 2), "{twice} ran twice");
    let queue = queue(&hub).await;
    assert_eq!(queue["dead"], 0, "{queue}");
    let stats = call(&hub, Method::GET, "/queues/mail/stats?grain=day", NONE, None).await;
    let days = stats.body.as_array().unwrap();
    let done: u64 = days.iter().map(|day| day["done"].as_u64().unwrap()).sum();
    assert_eq!(done, JOBS, "each end counts once: {}", stats.text);

    second.end().await;
}

#[tokio::test]
async fn a_worker_in_python_that_is_to_end_gives_back_what_it_has_not_begun() {
    let hub = blocking(|| Hub::serve(&["--store", "embedded"])).await;
    hub.until("ready").await;
    let folder = tempfile::tempdir().unwrap();
    let out: PathBuf = folder.path().join("out");
    enqueue(&hub, 0..20).await;
    // It takes all of them, and needs ten seconds for them.
    let worker = Worker::start(&hub.url, &out, "0.5");
    until("one of them", async || !written(&out).is_empty()).await;
    assert_eq!(queue(&hub).await["running"], 20, "all are told of at the end");
    worker.end().await;
    let (queue, written) = (queue(&hub).await, written(&out).len());
    assert!(written < 20, "it was told too late");
    assert_eq!((&queue["running"], &queue["waiting"]), (&json!(0), &json!(20 - written)));
    let jobs = call(&hub, Method::GET, "/queues/mail/jobs?state=waiting", NONE, None).await;
    for job in jobs.body["jobs"].as_array().unwrap() {
        assert_eq!((&job["failures"], &job["crashes"]), (&json!(0), &json!(0)), "{job}");
    }
}
