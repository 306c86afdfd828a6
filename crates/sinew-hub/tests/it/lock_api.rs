//! Locks over HTTP: held by a token, at any hub.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::hub::{Hub, Reply, blocking, call};
use crate::world::{redis_cli, signal, start_redis};

/// One that no one was ever granted.
const STRANGE: &str = "\"x.00000000deadbeef.0000000000000001\"";

async fn ask(hub: &Hub, name: &str, ttl: &str, wait: &str) -> Reply {
    let body = json!({ "ttl": ttl, "wait": wait });
    call(hub, Method::POST, &format!("/locks/{name}"), &[], Some(body)).await
}

async fn extend(hub: &Hub, name: &str, token: &str, ttl: &str) -> Reply {
    let (path, body) = (format!("/locks/{name}"), json!({ "ttl": ttl }));
    call(hub, Method::PUT, &path, &[("if-match", token)], Some(body)).await
}

async fn release(hub: &Hub, name: &str, token: &str) -> StatusCode {
    call(hub, Method::DELETE, &format!("/locks/{name}"), &[("if-match", token)], None).await.status
}

async fn force(hub: &Hub, name: &str) -> Reply {
    call(hub, Method::DELETE, &format!("/locks/{name}?force=true"), &[], None).await
}

async fn held(hub: &Hub) -> Value {
    let reply = call(hub, Method::GET, "/locks", &[], None).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    reply.body
}

/// The token of a grant, as If-Match takes it, and its fence.
fn granted(reply: &Reply) -> (String, u64) {
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    let token = format!("\"{}\"", reply.body["token"].as_str().unwrap());
    assert_eq!(reply.headers["etag"], token.as_str());
    assert_eq!(reply.headers["cache-control"], "no-store");
    (token, reply.body["fence"].as_u64().unwrap())
}

fn is_held(reply: &Reply) {
    assert_eq!(reply.status, StatusCode::CONFLICT, "{}", reply.text);
    assert_eq!(reply.content_type, "application/problem+json");
    let seconds: u64 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=120).contains(&seconds), "{seconds}");
}

async fn line_is(hub: &Hub, length: u64) {
    let wait = async {
        while held(hub).await[0]["waiting"] != length {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("the line is as long");
}

async fn start(store: &str) -> Hub {
    let store = store.to_owned();
    let hub = blocking(move || Hub::serve(&["--store", &store, "--prefix", "App_"])).await;
    hub.until("ready").await;
    hub
}

#[tokio::test]
async fn a_lock_is_its_tokens_at_any_hub_and_over_a_restart() {
    let server = blocking(start_redis).await;
    let store = format!("redis://127.0.0.1:{}", server.port);
    let (first, other) = (start(&store).await, start(&store).await);
    let taken = ask(&first, "a%2Fb", "1m", "0s").await;
    let (token, fence) = granted(&taken);
    assert_eq!(taken.body["ttlMs"], 60_000);
    is_held(&ask(&other, "a%2Fb", "1m", "0s").await);
    // As a hub that dies: what it held by a guard would be renewed no more, and what it granted stays.
    blocking(move || drop(first)).await;
    let listed = held(&other).await;
    assert_eq!(listed[0]["name"], "a/b");
    assert_eq!((&listed[0]["kind"], &listed[0]["fence"]), (&json!("exclusive"), &json!(fence)));
    assert!(listed[0]["heldForMs"].as_u64().is_some_and(|ms| ms < 60_000), "{listed}");
    assert!(!listed.to_string().contains(token.trim_matches('"')), "the token is the holder's");

    let hub = start(&store).await;
    let extended = extend(&hub, "a%2Fb", &token, "2m").await;
    assert_eq!((extended.status, &extended.body["ttlMs"]), (StatusCode::OK, &json!(120_000)));
    let left = held(&other).await[0]["holders"][0]["expiresInMs"].as_u64().unwrap();
    assert!((90_000..=120_000).contains(&left), "{left}");
    is_held(&ask(&other, "a%2Fb", "1m", "0s").await);
    assert_eq!(release(&other, "a%2Fb", STRANGE).await, StatusCode::PRECONDITION_FAILED);
    assert_eq!(release(&other, "a%2Fb", &token).await, StatusCode::NO_CONTENT);
    assert_eq!(release(&other, "a%2Fb", &token).await, StatusCode::PRECONDITION_FAILED);
    assert_eq!(held(&hub).await, json!([]));
    let (next, greater) = granted(&ask(&hub, "a%2Fb", "1m", "0s").await);
    assert!(greater > fence && next != token);
    assert_eq!(release(&hub, "a%2Fb", &next).await, StatusCode::NO_CONTENT);
    let keys = redis_cli(server.port, &["--scan"]);
    assert!(keys.lines().all(|key| key.starts_with("App_")), "{keys}");
}

#[tokio::test]
async fn no_hub_renews_a_lock_and_what_was_lost_is_not_brought_back() {
    let server = blocking(start_redis).await;
    let hub = start(&format!("redis://127.0.0.1:{}", server.port)).await;
    let (token, fence) = granted(&ask(&hub, "a", "2s", "0s").await);
    // It runs out although the hub is well.
    let began = Instant::now();
    let waited = ask(&hub, "a", "1m", "20s").await;
    let (next, greater) = granted(&waited);
    assert!(greater > fence);
    // The TTL counts from the end of the wait, as whoever asked can tell.
    let waited = Duration::from_millis(waited.body["waitedMs"].as_u64().unwrap());
    assert!((Duration::from_millis(500)..=began.elapsed()).contains(&waited), "{waited:?}");
    let left = held(&hub).await[0]["holders"][0]["expiresInMs"].as_u64().unwrap();
    let ends = began.elapsed() + Duration::from_millis(left + 10);
    assert!(ends >= waited + Duration::from_secs(60), "{left} ms left after {waited:?}");
    let late = extend(&hub, "a", &token, "1m").await;
    assert_eq!(late.status, StatusCode::PRECONDITION_FAILED, "{}", late.text);
    assert_eq!(late.content_type, "application/problem+json");
    assert_eq!(release(&hub, "a", &token).await, StatusCode::PRECONDITION_FAILED);
    is_held(&ask(&hub, "a", "1m", "100ms").await);
    assert_eq!(release(&hub, "a", &next).await, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_the_line() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let (token, _) = granted(&ask(&hub, "a", "1m", "0s").await);
    let body = r#"{"wait": "20s"}"#;
    let request = format!(
        "POST /v1/locks/a HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut has_left = false;
    // More than once only where the machine stalls.
    for _ in 0..3 {
        let mut client = TcpStream::connect(hub.url.trim_start_matches("http://")).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        line_is(&hub, 1).await;
        let began = Instant::now();
        drop(client);
        line_is(&hub, 0).await;
        // After two, it may be forgotten as one that is dead.
        has_left = began.elapsed() < Duration::from_secs(1);
        if has_left {
            break;
        }
    }
    assert!(has_left);
    assert_eq!(release(&hub, "a", &token).await, StatusCode::NO_CONTENT);
    granted(&ask(&hub, "a", "1m", "0s").await);
}

#[tokio::test]
async fn a_lock_is_taken_away_by_force_and_the_next_in_line_has_it() {
    let hub = Arc::new(blocking(|| Hub::serve(&[])).await);
    let (token, fence) = granted(&ask(&hub, "a", "1m", "0s").await);
    let waiter = tokio::spawn({
        let hub = Arc::clone(&hub);
        async move { granted(&ask(&hub, "a", "1m", "20s").await) }
    });
    line_is(&hub, 1).await;
    let taken = force(&hub, "a").await;
    assert_eq!((taken.status, taken.body), (StatusCode::OK, json!({ "released": 1 })));
    let (next, greater) = waiter.await.unwrap();
    assert!(greater > fence);
    assert_eq!(release(&hub, "a", &token).await, StatusCode::PRECONDITION_FAILED);
    assert_eq!(release(&hub, "a", &next).await, StatusCode::NO_CONTENT);
    assert_eq!(force(&hub, "a").await.body, json!({ "released": 0 }));
    assert!(hub.server.log().contains("a lock was taken away over HTTP"));
}

#[tokio::test]
async fn tenants_have_locks_of_their_own() {
    let hub = blocking(|| Hub::serve(&[])).await;
    for tenant in ["acme", "other"] {
        let of = [("x-tenant-id", tenant)];
        let taken = call(&hub, Method::POST, "/locks/a", &of, Some(json!({}))).await;
        granted(&taken);
        assert_eq!(taken.body["ttlMs"], 30_000, "unless said");
        is_held(&call(&hub, Method::POST, "/locks/a", &of, Some(json!({}))).await);
    }
    assert_eq!(held(&hub).await, json!([]));
    let of = [("x-tenant-id", "acme")];
    let listed = call(&hub, Method::GET, "/locks", &of, None).await.body;
    assert_eq!(listed.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn bad_requests_for_locks_are_problems_that_say_what_was_expected() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let long = format!("/{}", "k".repeat(1_100));
    let (bad, needed) = (StatusCode::BAD_REQUEST, StatusCode::PRECONDITION_REQUIRED);
    let large = StatusCode::PAYLOAD_TOO_LARGE;
    let (post, put, delete) = (Method::POST, Method::PUT, Method::DELETE);
    let none: &[(&str, &str)] = &[];
    let token: &[(&str, &str)] = &[("if-match", STRANGE)];
    let ttl = || Some(json!({ "ttl": "30s" }));
    for (method, path, headers, body, status, told) in [
        (&post, "/a", none, Some(json!({ "ttl": "soon" })), bad, "ttl: invalid duration"),
        (&post, "/a", none, Some(json!({ "ttl": "1ms" })), bad, "expected 10 ms to a day"),
        (&post, "/a", none, Some(json!({ "ttl": "25h" })), bad, "expected 10 ms to a day"),
        (&post, "/a", none, Some(json!({ "wait": "21s" })), bad, "expected at most 20s"),
        (&post, "/a", none, Some(json!({ "tll": "1s" })), bad, "unknown field \"tll\""),
        (&post, "/a", none, Some(json!({ "ttl": 30 })), bad, "ttl: expected a string"),
        (&post, "/a", none, Some(json!(1)), bad, "expected a JSON body"),
        (
            &post,
            "/a",
            none,
            Some(json!({ "ttl": "x".repeat(66_000) })),
            large,
            "at most 65536 bytes",
        ),
        (&post, long.as_str(), none, ttl(), bad, "expected at most 1024"),
        (&post, "/a", &[("x-tenant-id", "a_b")], ttl(), bad, "expected 1 to 64 of"),
        (&post, "/a", none, None, StatusCode::UNSUPPORTED_MEDIA_TYPE, "application/json"),
        (&put, "/a", none, ttl(), needed, "If-Match is missing"),
        (&put, "/a", token, Some(json!({})), bad, "missing field \"ttl\""),
        (&put, "/a", token, Some(json!({ "ttl": "1ms" })), bad, "expected 10 ms to a day"),
        (&put, "/a", &[("if-match", "*")], ttl(), bad, "one token between quotes"),
        (&put, "/a", &[("if-match", "\"x.1.2\"")], ttl(), bad, "one token between quotes"),
        (&delete, "/a", none, None, needed, "If-Match is missing"),
        (&delete, "/a?force=false", none, None, needed, "If-Match is missing"),
        (&delete, "/a?force=yes", none, None, bad, "force=true"),
        (&delete, "/a?forced=true", none, None, bad, "force=true"),
        (&delete, "/a?force=true", token, None, bad, "either force=true or If-Match"),
        (&delete, "", none, None, StatusCode::METHOD_NOT_ALLOWED, "method"),
    ] {
        let reply = call(&hub, method.clone(), &format!("/locks{path}"), headers, body).await;
        let shown = &path[..path.len().min(60)];
        assert_eq!(reply.status, status, "{method} {shown}: {}", reply.text);
        assert_eq!(reply.content_type, "application/problem+json", "{method} {shown}");
        let detail = reply.body["detail"].as_str().unwrap();
        assert!(detail.contains(told), "{method} {shown}: {detail}");
    }
    assert_eq!(held(&hub).await, json!([]));
}

#[tokio::test]
async fn without_redis_a_lock_is_unavailable_and_not_held() {
    let mut server = blocking(start_redis).await;
    let hub = start(&format!("redis://127.0.0.1:{}", server.port)).await;
    let (token, _) = granted(&ask(&hub, "a", "1m", "0s").await);
    let _server = blocking(move || {
        server.kill();
        server
    })
    .await;
    hub.until("degraded").await;
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    for wait in ["0s", "20s"] {
        let reply = ask(&hub, "b", "1m", wait).await;
        assert_eq!(reply.status, unavailable, "{}", reply.text);
        assert!(!reply.text.contains("127.0.0.1"), "{}", reply.text);
    }
    assert_eq!(extend(&hub, "a", &token, "1m").await.status, unavailable);
    assert_eq!(release(&hub, "a", &token).await, unavailable);
    assert_eq!(force(&hub, "a").await.status, unavailable);
    assert_eq!(call(&hub, Method::GET, "/locks", &[], None).await.status, unavailable);
}

#[tokio::test]
async fn what_is_no_lock_is_not_called_held() {
    let server = blocking(start_redis).await;
    let hub = start(&format!("redis://127.0.0.1:{}", server.port)).await;
    redis_cli(server.port, &["RPUSH", "App__:lock:{a}:holders", "garbage"]);
    let reply = ask(&hub, "a", "1m", "0s").await;
    assert_eq!(reply.status, StatusCode::BAD_GATEWAY, "{}", reply.text);
}

#[tokio::test]
async fn a_hub_that_stops_lets_those_go_who_wait() {
    let hub = Arc::new(blocking(|| Hub::serve(&[])).await);
    granted(&ask(&hub, "a", "1m", "0s").await);
    let waiter = tokio::spawn({
        let hub = Arc::clone(&hub);
        async move { ask(&hub, "a", "1m", "20s").await }
    });
    line_is(&hub, 1).await;
    signal(hub.server.pid, "TERM");
    let reply = waiter.await.unwrap();
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{}", reply.text);
    assert!(reply.text.contains("stopping"), "{}", reply.text);
}
