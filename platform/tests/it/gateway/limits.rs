//! How much whoever may ask for, of all instances together.

use std::time::Instant;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use sinew::Sinew;
use sinew::limit::http::TrustedProxies;
use sinew_platform::gateway::{Upstreams, router};
use sinew_platform::{Database, demo};
use tower::ServiceExt;

use super::{Door, ELSEWHERE, LOOPBACK, a_prefix, hello, settings};

/// Asks so often, of one door after the other, and sees as many pass as a limit of so many a minute
/// admits: all of them at once, and then what time gives back.
async fn pass(
    per_minute: u64,
    doors: &[Door],
    requests: usize,
    fields: impl Fn(usize) -> Vec<(&'static str, String)>,
) {
    let (began, mut passed) = (Instant::now(), 0);
    for n in 0..requests {
        let fields = fields(n);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        match doors[n % doors.len()].get("/api/hello", &fields).await.status() {
            StatusCode::OK => passed += 1,
            status => assert_eq!(status, StatusCode::TOO_MANY_REQUESTS),
        }
    }
    let given_back = (began.elapsed().as_secs() + 1) * per_minute / 60 + 1;
    assert!((per_minute..=per_minute + given_back).contains(&passed), "{passed} of {requests}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_share_a_users_hundred() {
    let prefix = a_prefix();
    let doors = [
        Door::open_as(&prefix, hello(), settings(LOOPBACK)).await,
        Door::open_as(&prefix, hello(), settings(LOOPBACK)).await,
    ];
    // From so many addresses that none of them is a flood.
    let of = |user: &str, n: usize| {
        let address = format!("203.0.113.{}", n % 30);
        vec![("x-forwarded-for", address), ("x-user-id", user.to_owned())]
    };
    pass(100, &doors, 300, |n| of("ada", n)).await;
    pass(100, &doors, 300, |n| of("grace", n)).await;
}

#[tokio::test]
async fn who_shows_a_token_has_a_users_hundred_at_the_tenant_of_the_token() {
    let database = Database::open("sqlite::memory:").await.unwrap();
    let sinew = Sinew::embedded();
    let app = sinew_platform::router(sinew.clone(), database, &TrustedProxies::default()).unwrap();
    let door = Door::serve(demo::gateway(&sinew, app).unwrap()).await;
    let credentials = json!({"email": "ada@example.com", "password": "correct horse"});
    let post = async |path: &str| {
        let request = door.client.post(door.url(path)).header("x-tenant-id", "acme");
        request.json(&credentials).send().await.unwrap()
    };
    assert_eq!(post("/api/auth/register").await.status(), StatusCode::CREATED);
    let issued: Value = post("/api/auth/login").await.json().await.unwrap();
    let bearer = format!("Bearer {}", issued["accessToken"].as_str().unwrap());
    let limited_as = async |tenant: &str, bearer: &str| {
        let fields = [("x-tenant-id", tenant), ("authorization", bearer)];
        let reply = door.get("/api/users/me", &fields).await;
        let told = reply.headers()["ratelimit"].to_str().unwrap().to_owned();
        (reply.status(), told)
    };
    // More than an address has.
    for _ in 0..30 {
        let (status, told) = limited_as("acme", &bearer).await;
        assert_eq!(status, StatusCode::OK, "{told}");
        assert!(told.contains("\"per-user\""), "{told}");
    }
    for (tenant, bearer) in [("stranger", bearer.as_str()), ("acme", "Bearer x"), ("acme", "x")] {
        let (status, told) = limited_as(tenant, bearer).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{told}");
        assert!(told.contains("\"anonymous\""), "{told}");
    }
}

#[tokio::test]
async fn a_flood_from_one_address_is_stopped_whoever_sends_it() {
    let door = Door::open(hello(), LOOPBACK).await;
    let mut denied = None;
    // A window may end in the middle; two do not in a row.
    for n in 0..150 {
        let user = format!("user-{n}");
        let fields = [("x-forwarded-for", "203.0.113.9"), ("x-user-id", user.as_str())];
        let reply = door.get("/api/hello", &fields).await;
        if reply.status() == StatusCode::TOO_MANY_REQUESTS {
            denied = Some((n, reply));
            break;
        }
    }
    let (n, reply) = denied.expect("a flood is stopped");
    assert!(n >= 50, "{n} requests are no flood");
    let problem: Value = reply.json().await.unwrap();
    assert_eq!(problem["violated-policies"], json!(["flood"]));
    let other = [("x-forwarded-for", "203.0.113.10"), ("x-user-id", "user-1")];
    assert_eq!(door.get("/api/hello", &other).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn whoever_is_limited_is_told_so_in_both_styles() {
    let door = Door::open(hello(), LOOPBACK).await;
    let reply = door.get("/api/hello", &[]).await;
    assert_eq!(reply.status(), StatusCode::OK);
    let told = |reply: &reqwest::Response, name: &str| {
        let value = reply.headers().get(name).unwrap_or_else(|| panic!("{name}"));
        value.to_str().unwrap().to_owned()
    };
    let policy = told(&reply, "ratelimit-policy");
    for expected in [r#""anonymous";q=10;w=60"#, r#""flood";q=50;w=30"#] {
        assert!(policy.contains(expected), "{policy}");
    }
    assert!(told(&reply, "ratelimit").contains(r#""anonymous";r=9"#));
    assert_eq!(told(&reply, "x-ratelimit-limit"), "10");
    assert_eq!(told(&reply, "x-ratelimit-remaining"), "9");

    let mut reply = reply;
    for _ in 0..100 {
        reply = door.get("/api/hello", &[]).await;
        if reply.status() != StatusCode::OK {
            break;
        }
    }
    assert_eq!(reply.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(told(&reply, "content-type"), "application/problem+json");
    assert!(told(&reply, "ratelimit").contains(r#""anonymous";r=0;t="#));
    assert_eq!(told(&reply, "x-ratelimit-remaining"), "0");
    let seconds: u64 = told(&reply, "retry-after").parse().unwrap();
    assert!((1..=6).contains(&seconds), "{seconds}");
    assert_eq!(told(&reply, "x-correlation-id").len(), 32);
    let problem: Value = reply.json().await.unwrap();
    let kind = "https://iana.org/assignments/http-problem-types#quota-exceeded";
    assert_eq!((&problem["type"], &problem["status"]), (&json!(kind), &json!(429)));
    assert_eq!(problem["violated-policies"], json!(["anonymous"]));
}

#[tokio::test]
async fn what_a_stranger_claims_to_be_does_not_help() {
    let door = Door::open(hello(), ELSEWHERE).await;
    pass(10, &[door], 40, |n| {
        vec![
            ("x-forwarded-for", format!("203.0.113.{n}")),
            ("x-real-ip", format!("203.0.113.{n}")),
            ("forwarded", format!("for=203.0.113.{n}")),
            ("x-user-id", format!("user-{n}")),
        ]
    })
    .await;
}

#[tokio::test]
async fn what_a_client_writes_before_its_proxy_does_not_help() {
    let door = Door::open(hello(), LOOPBACK).await;
    pass(10, &[door], 40, |n| {
        vec![("x-forwarded-for", format!("198.51.100.{n}, 10.0.0.{n}, 203.0.113.9"))]
    })
    .await;
}

#[tokio::test]
async fn whoever_has_many_ipv6_addresses_has_one_limit() {
    let doors = [Door::open(hello(), LOOPBACK).await];
    let in_network = |network: u32, n: usize| {
        vec![("x-forwarded-for", format!("2001:db8:1:{network:x}:{n:x}::{n:x}"))]
    };
    pass(10, &doors, 40, |n| in_network(2, n)).await;
    pass(10, &doors, 40, |n| in_network(3, n)).await;
}

#[tokio::test]
async fn a_gateway_that_does_not_see_who_connects_lets_nobody_in() {
    let upstreams = Upstreams::new().with("/api", hello()).unwrap();
    let app = router(&Sinew::embedded(), upstreams, &settings(LOOPBACK)).unwrap();
    let request = Request::builder().uri("/api/hello").body(Body::empty()).unwrap();
    let status = app.oneshot(request).await.unwrap().status();
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
}
