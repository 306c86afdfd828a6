//! What goes through, and what does not.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use sinew::Sinew;
use sinew::limit::http::TrustedProxies;
use sinew_platform::gateway::{Settings, Upstream};
use sinew_platform::{Database, demo, router};

use super::{Door, ELSEWHERE, LOOPBACK, Puppet, a_prefix, settings};
use crate::world::free_port;

/// The next request comes on a connection of its own.
const OK: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
const SOON: Duration = Duration::from_millis(300);

/// A gateway with a puppet behind it.
async fn before(puppet: &Puppet, change: impl FnOnce(&mut Settings)) -> Door {
    let mut settings = settings(LOOPBACK);
    change(&mut settings);
    Door::open_as(&a_prefix(), puppet.upstream(), settings).await
}

async fn problem_of(reply: reqwest::Response) -> (StatusCode, String) {
    assert_eq!(reply.headers()["content-type"], "application/problem+json");
    let status = reply.status();
    let body: Value = reply.json().await.unwrap();
    assert_eq!(body["status"], status.as_u16());
    (status, body["detail"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn what_is_of_one_connection_ends_at_the_gateway() {
    let puppet = Puppet::start().await;
    let door = before(&puppet, |_| {}).await;
    let mut client = door
        .send(
            "GET /api/a?b=%20c HTTP/1.1\r\nHost: shop.example\r\nConnection: keep-alive, X-Private\r\n\
             X-Private: 1\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nUpgrade: websocket\r\n\
             Proxy-Authorization: Basic eDp5\r\nX-Public: 1\r\n\r\n",
        )
        .await;
    let (head, _wire) = puppet
        .answer(
            "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Inner\r\nX-Inner: 1\r\n\
             Keep-Alive: timeout=9\r\nX-Outer: 1\r\nContent-Length: 2\r\n\r\nok",
        )
        .await;
    assert!(head.starts_with("get /api/a?b=%20c http/1.1\r\n"), "{head}");
    for gone in ["x-private", "keep-alive", "\r\nte:", "upgrade", "proxy-authorization"] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
    let host = format!("\r\nhost: {}\r\n", puppet.0.local_addr().unwrap());
    for there in [host.as_str(), "\r\nx-public: 1\r\n"] {
        assert!(head.contains(there), "{there}: {head}");
    }
    let head = client.head().await;
    for gone in ["x-inner", "keep-alive", "transfer-encoding"] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
    for there in ["\r\nx-outer: 1\r\n", "\r\ncontent-length: 2\r\n"] {
        assert!(head.contains(there), "{there}: {head}");
    }
    assert_eq!(client.up_to("ok").await, "ok");
}

#[tokio::test]
async fn what_goes_with_the_connection_is_read_by_no_one_and_what_the_gateway_adds_stays() {
    let puppet = Puppet::start().await;
    let door = before(&puppet, |_| {}).await;
    let mut client = door
        .send(
            "GET /api/a HTTP/1.1\r\nHost: a\r\nConnection: X-User-Id, X-Forwarded-For\r\n\
             Connection: Forwarded, X-Correlation-Id\r\nX-User-Id: ada\r\n\
             X-Forwarded-For: 203.0.113.9\r\nX-Correlation-Id: mine\r\n\r\n",
        )
        .await;
    let (head, _wire) = puppet.answer(OK).await;
    for gone in ["x-user-id", "203.0.113.9", "mine"] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
    for there in ["\r\nx-forwarded-for: 127.0.0.1\r\n", "\r\nforwarded: for=127.0.0.1;"] {
        assert!(head.contains(there), "{there}: {head}");
    }
    let answer = client.head().await;
    assert!(answer.contains("\"anonymous\"") && !answer.contains("\"per-user\""), "{answer}");
    let (_, id) = answer.split_once("\r\nx-correlation-id: ").expect("an id");
    let (id, _) = id.split_once("\r\n").expect("a whole line");
    assert!(head.contains(&format!("\r\nx-correlation-id: {id}\r\n")), "{id}: {head}");
}

#[tokio::test]
async fn upstreams_hear_who_asks_and_only_trusted_proxies_have_a_say() {
    let claims = [
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-host", "first.example"),
        ("x-forwarded-port", "4711"),
        ("x-real-ip", "203.0.113.9"),
        ("x-user-id", "ada"),
    ];
    let puppet = Puppet::start().await;
    let door = Door::open(puppet.upstream(), ELSEWHERE).await;
    let (reply, (head, _wire)) = tokio::join!(door.get("/api/a", &claims), puppet.answer(OK));
    assert_eq!(reply.status(), StatusCode::OK);
    for gone in ["203.0.113.9", "first.example", "x-forwarded-port", "x-user-id"] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
    for there in [
        "\r\nx-forwarded-for: 127.0.0.1\r\n".to_owned(),
        format!("\r\nx-forwarded-host: {}\r\n", door.address),
        "\r\nx-forwarded-proto: http\r\n".to_owned(),
        format!("\r\nforwarded: for=127.0.0.1;host=\"{}\";proto=http\r\n", door.address),
    ] {
        assert!(head.contains(&there), "{there}: {head}");
    }

    let door = Door::open(puppet.upstream(), LOOPBACK).await;
    let (reply, (head, _wire)) = tokio::join!(door.get("/api/a", &claims), puppet.answer(OK));
    assert_eq!(reply.status(), StatusCode::OK);
    for there in [
        "\r\nx-forwarded-for: 203.0.113.9, 127.0.0.1\r\n",
        "\r\nx-forwarded-host: first.example\r\n",
        "\r\nx-user-id: ada\r\n",
    ] {
        assert!(head.contains(there), "{there}: {head}");
    }
}

#[tokio::test]
async fn claims_in_disguise_reach_no_upstream_whoever_passes_them_on() {
    let puppet = Puppet::start().await;
    for trusted in [ELSEWHERE, LOOPBACK] {
        let door = Door::open(puppet.upstream(), trusted).await;
        let disguised = [("x_user_id", "gus"), ("X-Forwarded_For", "203.0.113.9"), ("my_own", "1")];
        let (reply, (head, _wire)) =
            tokio::join!(door.get("/api/a", &disguised), puppet.answer(OK));
        assert_eq!(reply.status(), StatusCode::OK);
        assert!(!head.contains("gus") && !head.contains("203.0.113.9"), "{head}");
        assert!(head.contains("\r\nmy_own: 1\r\n"), "{head}");

        let mut client = door
            .send(
                "POST /api/a HTTP/1.1\r\nHost: a\r\nTrailer: X-User-Id\r\n\
                 Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\nX-User-Id: gus\r\n\r\n",
            )
            .await;
        let (head, mut wire) = puppet.asked().await;
        assert!(!head.contains("\r\ntrailer:"), "{head}");
        assert_eq!(wire.up_to("\r\n\r\n").await, "5\r\nfirst\r\n0\r\n\r\n");
        wire.send(OK).await;
        client.up_to("\r\n\r\nok").await;
    }
}

#[tokio::test]
async fn a_request_is_found_by_one_id_on_both_sides() {
    let puppet = Puppet::start().await;
    let door = before(&puppet, |_| {}).await;
    let long = "x".repeat(129);
    for (given, is_kept) in [("Order-7.a_b", true), ("a b", false), ("", false), (&*long, false)] {
        let fields = [("x-correlation-id", given)];
        let (reply, (head, _wire)) = tokio::join!(door.get("/api/a", &fields), puppet.answer(OK));
        let id = reply.headers()["x-correlation-id"].to_str().unwrap();
        assert_eq!(id == given, is_kept, "{given:?}: {id:?}");
        assert!(is_kept || id.len() == 32, "{id:?}");
        let told = format!("\r\nx-correlation-id: {}\r\n", id.to_ascii_lowercase());
        assert!(head.contains(&told), "{head}");
        assert_eq!(reply.text().await.unwrap(), "ok");
    }
}

#[tokio::test]
async fn an_upstream_that_is_gone_is_502_and_a_slow_one_504() {
    let gone = Upstream::url(&format!("http://127.0.0.1:{}", free_port())).unwrap();
    let door = Door::open(gone, LOOPBACK).await;
    let (status, detail) = problem_of(door.get("/api/a", &[]).await).await;
    assert_eq!((status, detail.contains("cannot be reached")), (StatusCode::BAD_GATEWAY, true));

    let puppet = Puppet::start().await;
    let door = before(&puppet, |settings| settings.answer_max = SOON).await;
    let (status, detail) = problem_of(door.get("/api/a", &[]).await).await;
    assert_eq!((status, detail.contains("in time")), (StatusCode::GATEWAY_TIMEOUT, true));

    let puppet = Puppet::start().await;
    let door = before(&puppet, |_| {}).await;
    let breaks_off = async { drop(puppet.asked().await) };
    let (reply, ()) = tokio::join!(door.get("/api/a", &[]), breaks_off);
    assert_eq!(problem_of(reply).await.0, StatusCode::BAD_GATEWAY);

    let (status, _) = problem_of(door.get("/elsewhere", &[]).await).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_answer_is_passed_on_as_it_comes() {
    let puppet = Puppet::start().await;
    let door = before(&puppet, |_| {}).await;
    let first = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
    let (mut reply, (_, mut wire)) = tokio::join!(door.get("/api/a", &[]), puppet.answer(first));
    assert_eq!(reply.chunk().await.unwrap().unwrap(), "first");
    wire.send("6\r\nsecond\r\n0\r\n\r\n").await;
    assert_eq!(reply.chunk().await.unwrap().unwrap(), "second");
    assert_eq!(reply.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn a_body_is_passed_on_as_it_comes() {
    let puppet = Puppet::start().await;
    let door = before(&puppet, |_| {}).await;
    let first = "POST /api/a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\
                 Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
    let mut client = door.send(first).await;
    let (head, mut wire) = puppet.asked().await;
    assert!(!head.contains("expect"), "{head}");
    wire.up_to("first").await;
    client.send("6\r\nsecond\r\n0\r\n\r\n").await;
    wire.up_to("second\r\n0\r\n\r\n").await;
    wire.send(OK).await;
    client.up_to("\r\n\r\nok").await;
}

#[tokio::test]
async fn a_get_may_have_a_body_of_any_length() {
    let puppet = Puppet::start().await;
    let door = before(&puppet, |_| {}).await;
    let request = "GET /api/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5\r\nquery\r\n0\r\n\r\n";
    let mut client = door.send(request).await;
    let (head, mut wire) = puppet.asked().await;
    assert!(head.contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
    assert_eq!(wire.up_to("\r\n0\r\n\r\n").await, "5\r\nquery\r\n0\r\n\r\n");
    wire.send(OK).await;
    client.up_to("\r\n\r\nok").await;

    let mut client = door.send("GET /api/a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (head, _wire) = puppet.answer(OK).await;
    assert!(!head.contains("transfer-encoding") && !head.contains("content-length"), "{head}");
    client.up_to("\r\n\r\nok").await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_whole_answer() {
    let part = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart";
    let puppet = Puppet::start().await;
    let door = before(&puppet, |_| {}).await;
    let (mut reply, (_, wire)) = tokio::join!(door.get("/api/a", &[]), puppet.answer(part));
    assert_eq!(reply.chunk().await.unwrap().unwrap(), "part");
    drop(wire);
    reply.chunk().await.expect_err("96 bytes are missing");

    let door = before(&puppet, |settings| settings.silence_max = SOON).await;
    let (mut reply, (_, _silent)) = tokio::join!(door.get("/api/a", &[]), puppet.answer(part));
    assert_eq!(reply.chunk().await.unwrap().unwrap(), "part");
    reply.chunk().await.expect_err("it is silent");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413() {
    let puppet = Puppet::start().await;
    let door = before(&puppet, |settings| settings.body_len_max = 1_000).await;
    let large = door.client.post(door.url("/api/a")).body("x".repeat(1_001)).send();
    let (status, detail) = problem_of(large.await.unwrap()).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(detail.contains("at most 1000 bytes"), "{detail}");

    let whole = door.client.post(door.url("/api/a")).body("x".repeat(1_000)).send();
    let answer = async {
        let (head, mut wire) = puppet.asked().await;
        assert!(head.contains("\r\ncontent-length: 1000\r\n"), "{head}");
        assert_eq!(wire.up_to(&"x".repeat(1_000)).await.len(), 1_000);
        wire.send(OK).await;
        wire
    };
    let (reply, _wire) = tokio::join!(whole, answer);
    assert_eq!(reply.unwrap().status(), StatusCode::OK);

    // One that does not say how long it is.
    let head = "POST /api/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = door.send(head).await;
    client.send(&format!("3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1_001))).await;
    let head = client.head().await;
    assert!(head.starts_with("http/1.1 413"), "{head}");
}

#[tokio::test]
async fn there_is_one_reading_of_where_a_request_ends() {
    let puppet = Puppet::start().await;
    let door = before(&puppet, |_| {}).await;
    let mut client = door
        .send(
            "POST /api/a HTTP/1.1\r\nHost: a\r\nContent-Length: 38\r\nTransfer-Encoding: chunked\r\n\r\n\
             0\r\n\r\nGET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .await;
    let (head, mut wire) = puppet.asked().await;
    assert!(!head.contains("content-length"), "{head}");
    assert!(head.contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
    assert_eq!(wire.up_to("\r\n\r\n").await, "0\r\n\r\n");
    wire.send(OK).await;
    assert!(client.head().await.starts_with("http/1.1 200"));
    client.up_to("ok").await;
}

#[tokio::test]
async fn what_two_servers_could_read_in_two_ways_is_refused() {
    let puppet = Puppet::start().await;
    let door = before(&puppet, |_| {}).await;
    for (request, status) in [
        ("GET /api/../admin HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET /api/%2e%2e/admin HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET /api/a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        ("GET /api/a HTTP/1.1\r\nHost: a@b\r\n\r\n", "400"),
        ("GET /api/a HTTP/1.1\r\nHost: a\r\nX-User-Id: a\r\nX-User-Id: b\r\n\r\n", "400"),
        ("GET /api/a HTTP/1.1\r\n\r\n", "400"),
        ("GET /api/a HTTP/1.1\r\nHost: a\r\nConnection: Host\r\n\r\n", "400"),
        ("TRACE /api/a HTTP/1.1\r\nHost: a\r\n\r\n", "501"),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "501"),
    ] {
        let head = door.send(request).await.head().await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{request:?}: {head}");
        assert!(head.contains("application/problem+json"), "{head}");
    }
    let asked = tokio::time::timeout(SOON, puppet.0.accept()).await;
    assert!(asked.is_err(), "an upstream was asked");
}

#[tokio::test]
async fn modules_of_the_same_process_are_behind_it_too() {
    let database = Database::open("sqlite::memory:").await.unwrap();
    let sinew = Sinew::embedded();
    let app = router(sinew.clone(), database, &TrustedProxies::default()).unwrap();
    let door = Door::serve(demo::gateway(&sinew, app).unwrap()).await;
    let created = door
        .client
        .post(door.url("/api/properties"))
        .header("x-tenant-id", "acme")
        .json(&json!({"address": "1 Elm Street", "monthlyRentCents": 100_000}))
        .send()
        .await
        .unwrap();
    assert_eq!(created.status(), StatusCode::CREATED);
    let list = door.get("/api/properties", &[("x-tenant-id", "acme")]).await;
    let policy = list.headers()["ratelimit-policy"].to_str().unwrap();
    assert!(policy.contains("\"anonymous\";q=10;w=60"), "{policy}");
    let list: Value = list.json().await.unwrap();
    assert_eq!(list[0]["address"], "1 Elm Street");
}
