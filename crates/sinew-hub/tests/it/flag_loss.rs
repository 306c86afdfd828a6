//! Redis has lost the flags, or does not answer: what clients, people at a terminal and pages are told of it.

use std::io::Write as _;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::json;
use tempfile::NamedTempFile;

use crate::hub::{Hub, Reply, blocking, exit_code, sinew, text};
use crate::world::{Server, redis_cli, start_redis};

const WAIT: Duration = Duration::from_secs(30);
const EVERY: Duration = Duration::from_millis(20);
const LOST: &str =
    "Redis has lost these flags: the last known hold, and the next change puts them back";
const AWAY: &str = "the store does not answer: the last known flags hold";

/// A Redis with two flags, and a hub that knows them.
async fn with_flags() -> (Server, Hub) {
    let server = blocking(start_redis).await;
    let store = format!("redis://127.0.0.1:{}", server.port);
    let hub = blocking(move || {
        // A machine that compiles beside it stalls for longer than a service would wait.
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(b"deadline = \"10s\"\n").unwrap();
        Hub::serve(&["--config", file.path().to_str().unwrap(), "--store", &store])
    })
    .await;
    hub.until("ready").await;
    for key in ["a", "b"] {
        let made = put(&hub, key, &[], "on").await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    }
    (server, hub)
}

async fn put(hub: &Hub, key: &str, headers: &[(&str, &str)], default: &str) -> Reply {
    let url = format!("{}/v1/flags/{key}", hub.url);
    let headers = [&[("content-type", "application/json")], headers].concat();
    let flag = json!({ "type": "bool", "default": default });
    hub.send_with(Method::PUT, &url, &headers, Some(flag.to_string())).await
}

async fn until(hub: &Hub, state: &str) {
    let began = Instant::now();
    loop {
        let listed = hub.get("/v1/flags").await.body;
        if listed["state"] == state {
            return;
        }
        assert!(began.elapsed() < WAIT, "{listed} is never {state}");
        tokio::time::sleep(EVERY).await;
    }
}

/// What a command prints that works, and what it warns of.
async fn command(hub: &Hub, words: &[&str]) -> (String, String) {
    let listen = hub.url.trim_start_matches("http://");
    let words = [&["flag"], words, &["--listen", listen]].concat();
    let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    let output = blocking(move || {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        sinew(&words)
    })
    .await;
    assert_eq!(exit_code(&output), 0, "{}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn flags_that_redis_has_lost_are_told_to_be_and_come_back_with_the_first_change() {
    let (server, hub) = with_flags().await;
    let etag = hub.get("/v1/flags/a").await.headers["etag"].to_str().unwrap().to_owned();
    let port = server.port;
    assert_eq!(blocking(move || redis_cli(port, &["FLUSHALL"])).await, "OK");
    until(&hub, "lost").await;
    let listed = hub.get("/v1/flags").await.body;
    assert_eq!(listed["flags"].as_object().unwrap().len(), 2, "{listed}");
    let why = hub.get("/v1/flags/a/why").await.body;
    assert_eq!((&why["value"], &why["reason"]), (&json!(true), &json!("STALE")), "{why}");
    assert_eq!(why["state"], "lost");
    for page in ["/flags", "/flags/a"] {
        let page = hub.get(page).await.text;
        assert!(page.contains(LOST), "{page}");
    }
    for words in [&["list"][..], &["why", "a"]] {
        let (_, warnings) = command(&hub, words).await;
        assert!(warnings.contains(LOST) && !warnings.contains(AWAY), "{words:?}: {warnings}");
    }

    let late = put(&hub, "a", &[("if-match", "\"7\"")], "off").await;
    assert_eq!(late.status, StatusCode::PRECONDITION_FAILED, "{}", late.text);
    let changed = put(&hub, "a", &[("if-match", etag.as_str())], "off").await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    let listed = hub.get("/v1/flags").await.body;
    assert_eq!(
        (&listed["state"], &listed["flags"]["b"]["default"]),
        (&json!("live"), &json!("on"))
    );
    let audit = hub.get("/v1/audit?kind=flag").await.body;
    assert_eq!((&audit[0]["putBack"], &audit[0]["by"]), (&json!(2), &json!("http")), "{audit}");
    let (told, _) = command(&hub, &["audit"]).await;
    assert!(told.contains("with it, 2 flags came back that Redis had lost"), "{told}");
    let (_, warnings) = command(&hub, &["why", "b"]).await;
    assert!(!warnings.contains(LOST) && !warnings.contains(AWAY), "{warnings}");
    assert!(!hub.get("/flags").await.text.contains(LOST));
    // Who knows nothing finds all of them.
    let other = format!("redis://127.0.0.1:{port}");
    let output = blocking(move || sinew(&["flag", "get", "b", "--store", &other])).await;
    assert_eq!(exit_code(&output), 0, "{}", text(&output.stderr));
    let log = hub.server.log();
    for once in ["the store has lost the flags", "the flags that the store had lost are back"] {
        assert_eq!(log.matches(once).count(), 1, "{once}: {log}");
    }
    drop(server);
}

#[tokio::test]
async fn flags_of_a_redis_that_does_not_answer_are_told_to_be_old() {
    let (mut server, hub) = with_flags().await;
    let server = blocking(move || {
        server.kill();
        server
    })
    .await;
    until(&hub, "stale").await;
    let why = hub.get("/v1/flags/a/why").await.body;
    assert_eq!((&why["state"], &why["reason"]), (&json!("stale"), &json!("STALE")), "{why}");
    for words in [&["list"][..], &["why", "a"]] {
        let (_, warnings) = command(&hub, words).await;
        assert!(warnings.contains(AWAY) && !warnings.contains(LOST), "{words:?}: {warnings}");
    }
    assert!(hub.get("/flags").await.text.contains("The store has not answered for"));
    drop(server);
}
