//! The HTTP API as a service in another language sees it.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::hub::{BINARY, Hub, Reply, blocking};
use crate::world::{free_port, redis_cli, signal, start_redis, start_redis_on};

async fn entry(
    hub: &Hub,
    method: Method,
    path: &str,
    tenant: Option<&str>,
    body: Option<&str>,
) -> Reply {
    let url = format!("{}/v1/cache/{path}", hub.url);
    hub.send(method, &url, tenant, body.map(str::to_owned)).await
}

#[tokio::test]
async fn a_name_that_was_bound_to_loopback_reaches_nothing() {
    let hub = blocking(|| Hub::serve(&["--store", "embedded"])).await;
    let client = reqwest::Client::new();
    for path in ["/", "/v1/cache/user/stats", "/health/live", "/metrics"] {
        let url = format!("{}{path}", hub.url);
        let as_host = |host: &'static str| client.get(&url).header("host", host).send();
        let reply = as_host("evil.example:7463").await.unwrap();
        assert_eq!(reply.status(), StatusCode::MISDIRECTED_REQUEST, "{path}");
        assert!(reply.text().await.unwrap().contains("expected localhost"), "{path}");
        let reply = as_host("localhost:7463").await.unwrap();
        assert_ne!(reply.status(), StatusCode::MISDIRECTED_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn a_key_with_a_colon_in_a_segment_can_be_written_as_it_is_shown() {
    let hub = blocking(|| Hub::serve(&["--store", "embedded"])).await;
    // Encoded once for the key, and once for the URL.
    let path = "user/entries/a.com%253A80:page";
    let stored = entry(&hub, Method::PUT, path, Some("acme"), Some("7")).await;
    assert_eq!(stored.status, StatusCode::NO_CONTENT, "{}", stored.text);
    let url = format!("{}/v1/cache/user/keys/largest", hub.url);
    let largest = hub.send(Method::GET, &url, Some("acme"), None).await;
    assert!(largest.text.contains(r#""a.com%3A80:page""#), "{}", largest.text);
    let other = entry(&hub, Method::GET, "user/entries/a.com:80:page", Some("acme"), None).await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
    let deleted = entry(&hub, Method::DELETE, path, Some("acme"), None).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    let found = entry(&hub, Method::GET, path, Some("acme"), None).await;
    assert_eq!(found.status, StatusCode::NOT_FOUND, "{}", found.text);
}

#[tokio::test]
async fn entries_are_stored_by_tenant_with_a_ttl() {
    let server = blocking(start_redis).await;
    let store = format!("redis://127.0.0.1:{}", server.port);
    let hub = blocking(move || Hub::serve(&["--store", &store, "--prefix", "App_"])).await;
    hub.until("ready").await;
    let path = "user/entries/7:profile?ttl=10m";
    let stored = entry(&hub, Method::PUT, path, Some("acme"), Some(r#"{"name":"Ada"}"#)).await;
    assert_eq!(stored.status, StatusCode::NO_CONTENT, "{}", stored.text);
    let left: i64 = redis_cli(server.port, &["PTTL", "App_acme:user:7:profile"]).parse().unwrap();
    assert!((500_000..=600_000).contains(&left), "ten minutes less the jitter: {left}");

    let path = "user/entries/7:profile";
    let found = entry(&hub, Method::GET, path, Some("acme"), None).await;
    assert_eq!((found.status, found.text.as_str()), (StatusCode::OK, r#"{"name":"Ada"}"#));
    assert_eq!(found.content_type, "application/json");
    for stranger in [None, Some("other")] {
        let reply = entry(&hub, Method::GET, path, stranger, None).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND);
        assert_eq!(
            entry(&hub, Method::DELETE, path, stranger, None).await.status,
            StatusCode::NO_CONTENT
        );
    }
    let stats = hub.get("/v1/cache/user/stats").await;
    assert_eq!((&stats.body["hitsRedis"], &stats.body["misses"]), (&json!(1), &json!(2)));
    assert_eq!(
        entry(&hub, Method::DELETE, path, Some("acme"), None).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        entry(&hub, Method::GET, path, Some("acme"), None).await.status,
        StatusCode::NOT_FOUND
    );
    let keys = redis_cli(server.port, &["--scan"]);
    // What an invalidation leaves for some seconds, against writes of older versions.
    let left: Vec<_> = keys.lines().filter(|key| !key.contains(":version:")).collect();
    assert_eq!(left, ["App__:deployment"], "nothing is left");
    assert!(keys.lines().all(|key| key.starts_with("App_")), "nothing is outside the prefix");
}

#[tokio::test]
async fn bad_requests_are_problems_that_say_what_was_expected() {
    let server = blocking(start_redis).await;
    let store = format!("redis://127.0.0.1:{}", server.port);
    let hub = blocking(move || Hub::serve(&["--store", &store])).await;
    hub.until("ready").await;
    let long = format!("user/entries/{}", "k".repeat(1100));
    let large = format!("\"{}\"", "v".repeat(1 << 20));
    let too_large = StatusCode::PAYLOAD_TOO_LARGE;
    let bad = StatusCode::BAD_REQUEST;
    for (method, path, tenant, body, status, told) in [
        (Method::PUT, "user/entries/7", Some("a_b"), "1", bad, "expected 1 to 64 of"),
        (Method::PUT, "user/entries/7", Some(""), "1", bad, "expected 1 to 64 of"),
        (Method::PUT, long.as_str(), None, "1", bad, "expected at most 1024"),
        (Method::PUT, "user/entries/7?ttl=soon", None, "1", bad, "expected a duration"),
        (Method::PUT, "user/entries/7?ttl=0s", None, "1", bad, "expected 1 ms to 10 years"),
        (Method::PUT, "user/entries/7?tll=1s", None, "1", bad, "expected ttl, tag or version"),
        (Method::PUT, "user/entries/7", None, "{", bad, "expected one JSON document"),
        (Method::PUT, "user/entries/7", None, "", bad, "expected one JSON document"),
        (
            Method::PUT,
            "user/entries/7",
            None,
            large.as_str(),
            too_large,
            "expected at most 1048576 bytes",
        ),
        (Method::PUT, "lock/entries/7", None, "1", bad, "choose another"),
        (Method::PUT, "a%20b/entries/7", None, "1", bad, "expected 1 to 64 of"),
        (Method::GET, "a_b/stats", None, "", bad, "expected 1 to 64 of"),
        (Method::GET, "unknown/stats", None, "", StatusCode::NOT_FOUND, "no one has used"),
        (Method::PATCH, "user/entries/7", None, "1", StatusCode::METHOD_NOT_ALLOWED, "method"),
        (Method::GET, "user/nothing/7", None, "", StatusCode::NOT_FOUND, "no such route"),
    ] {
        let reply = entry(&hub, method.clone(), path, tenant, Some(body)).await;
        let shown = &path[..path.len().min(60)];
        assert_eq!(reply.status, status, "{method} {shown}: {}", reply.text);
        assert_eq!(reply.content_type, "application/problem+json", "{method} {shown}");
        assert_eq!(reply.body["status"], status.as_u16());
        let detail = reply.body["detail"].as_str().unwrap();
        assert!(detail.contains(told), "{method} {shown}: {detail}");
    }
    assert_eq!(redis_cli(server.port, &["DBSIZE"]), "1", "only the deployment's record is written");
    let log = hub.server.log();
    assert!(!log.contains("vvvv") && !log.contains("kkkk"), "values and keys stay out of the log");
}

#[tokio::test]
async fn the_openapi_document_has_every_route() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let document = hub.get("/openapi.json").await.body;
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/v1/cache",
        "/v1/cache/{cache}/entries",
        "/v1/cache/{cache}/entries/{key}",
        "/v1/cache/{cache}/info/{key}",
        "/v1/cache/{cache}/keys/largest",
        "/v1/cache/{cache}/keys/hottest",
        "/v1/cache/{cache}/warm",
        "/v1/cache/{cache}/stats",
        "/v1/locks",
        "/v1/locks/{name}",
        "/health/live",
        "/health/ready",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
    let entry = paths["/v1/cache/{cache}/entries/{key}"].as_object().unwrap();
    assert!(["delete", "get", "put"].iter().all(|method| entry.contains_key(*method)));

    let lock = paths["/v1/locks/{name}"].as_object().unwrap();
    assert!(["delete", "post", "put"].iter().all(|method| lock.contains_key(*method)));
    let ids = paths.values().flat_map(|item| item.as_object().unwrap().values());
    let ids: Vec<&str> = ids.filter_map(|operation| operation["operationId"].as_str()).collect();
    let distinct: std::collections::BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), distinct.len(), "{ids:?}");

    // What any route may answer, and what one may that asks the store.
    let tells = |path: &str, method: &str, status: &str| {
        let kind = "application/problem+json";
        paths[path][method]["responses"][status]["content"][kind].is_object()
    };
    for (path, item) in paths.iter().filter(|(path, _)| path.starts_with("/v1/")) {
        for method in item.as_object().unwrap().keys() {
            for status in ["503", "504"] {
                assert!(tells(path, method, status), "{method} {path}: {status}");
            }
        }
    }
    for (path, method) in [
        ("/v1/cache/{cache}/entries", "delete"),
        ("/v1/cache/{cache}/entries/{key}", "delete"),
        ("/v1/cache/{cache}/entries/{key}", "put"),
        ("/v1/cache/{cache}/info/{key}", "get"),
        ("/v1/cache/{cache}/keys/largest", "get"),
        ("/v1/locks", "get"),
        ("/v1/locks/{name}", "delete"),
        ("/v1/locks/{name}", "post"),
        ("/v1/locks/{name}", "put"),
    ] {
        assert!(tells(path, method, "502"), "{method} {path}");
    }
    for (method, status) in
        [("post", "409"), ("put", "412"), ("put", "428"), ("delete", "412"), ("delete", "428")]
    {
        assert!(tells("/v1/locks/{name}", method, status), "{method}: {status}");
    }
    assert!(document["components"]["schemas"]["ProblemBody"].is_object());
    let hottest = &paths["/v1/cache/{cache}/keys/hottest"]["get"]["description"];
    let said = hottest.as_str().unwrap();
    assert!(said.contains("since the hub started") && said.contains("in a thousand"), "{said}");
}

#[tokio::test]
async fn a_hub_is_ready_once_redis_came_and_degraded_when_it_went() {
    let port = free_port();
    let store = format!("redis://127.0.0.1:{port}");
    let hub = blocking(move || Hub::serve(&["--store", &store])).await;
    let starting = hub.get("/health/ready").await;
    assert_eq!(
        (starting.status, &starting.body["status"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("starting"))
    );
    assert_eq!(hub.get("/health/live").await.status, StatusCode::OK);

    let mut server = blocking(move || start_redis_on(port, &[])).await;
    hub.until("ready").await;
    assert_eq!(
        entry(&hub, Method::PUT, "user/entries/7", None, Some("1")).await.status,
        StatusCode::NO_CONTENT
    );

    let server = blocking(move || {
        server.kill();
        server
    })
    .await;
    hub.until("degraded").await;
    assert_eq!(
        entry(&hub, Method::GET, "user/entries/7", None, None).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        entry(&hub, Method::PUT, "user/entries/7", None, Some("1")).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(
        entry(&hub, Method::DELETE, "user/entries/7", None, None).await.status,
        StatusCode::ACCEPTED
    );
    drop(server);
    let _server = blocking(move || start_redis_on(port, &[])).await;
    hub.until("ready").await;
}

#[tokio::test]
async fn a_store_that_will_never_do_ends_the_hub_with_1() {
    let server = blocking(|| start_redis_on(free_port(), &["--requirepass", "right"])).await;
    let store = format!("redis://:wrong@127.0.0.1:{}", server.port);
    let run = move || crate::hub::sinew(&["serve", "--listen", "127.0.0.1:0", "--store", &store]);
    let output = blocking(run).await;
    assert_eq!(crate::hub::exit_code(&output), 1);
    let errors = crate::hub::text(&output.stderr);
    assert!(errors.contains("refused user or password") && !errors.contains("wrong@"), "{errors}");
}

#[tokio::test]
async fn sigterm_ends_a_hub_with_0_although_someone_watches_the_dashboard() {
    let mut hub = Command::new(BINARY)
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("RUST_LOG", "info")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(hub.stderr.take().unwrap()).lines();
    let line = log.find_map(|line| Some(line.ok()?.split_once("address=")?.1.to_owned())).unwrap();
    let address = line.split(' ').next().unwrap();
    let events = reqwest::get(format!("http://{address}/overview/events")).await.unwrap();
    assert_eq!(events.status(), StatusCode::OK);
    signal(hub.id(), "TERM");
    // The stream ends, and with it the last request: nothing is cut off.
    let rest = tokio::time::timeout(Duration::from_secs(9), events.bytes()).await;
    assert!(rest.is_ok(), "the stream of events outlived the hub");
    let status = blocking(move || hub.wait().unwrap()).await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn pages_allow_no_script_but_their_own() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let page = reqwest::get(format!("{}/", hub.url)).await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    let html = page.text().await.unwrap();
    assert!(!html.contains("http://") || html.contains("curl"), "no foreign address");
    for asset in [
        "dashboard.css",
        "dashboard.js",
        "sinew.svg",
        "vendor/htmx/htmx.min.js",
        "vendor/uplot/uPlot.iife.min.js",
        "vendor/uplot/uPlot.min.css",
    ] {
        assert!(html.contains(&format!("/assets/{asset}")), "{asset}");
        assert_eq!(hub.get(&format!("/assets/{asset}")).await.status, StatusCode::OK, "{asset}");
    }
    for path in ["../Cargo.toml", "%2e%2e/Cargo.toml", "nothing.js"] {
        assert_eq!(
            hub.get(&format!("/assets/{path}")).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
}
