//! Rate limits over HTTP: defined at any hub, counted at all of them.

use std::io::Write as _;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::hub::{Hub, Reply, blocking, call};
use crate::world::{Server, free_port, redis_cli, start_redis};

const NONE: &[(&str, &str)] = &[];

async fn define(hub: &Hub, name: &str, headers: &[(&str, &str)], body: Value) -> Reply {
    call(hub, Method::PUT, &format!("/limits/{name}"), headers, Some(body)).await
}

/// A limit that does not fill up again while a test runs.
async fn defined(hub: &Hub, name: &str, quota: u64, on_down: &str) {
    let body = json!({ "quota": quota, "per": "8760h", "onDown": on_down });
    let reply = define(hub, name, NONE, body).await;
    assert!(reply.status.is_success(), "{}", reply.text);
}

async fn get(hub: &Hub, name: &str) -> Reply {
    call(hub, Method::GET, &format!("/limits/{name}"), NONE, None).await
}

async fn remove(hub: &Hub, name: &str, headers: &[(&str, &str)]) -> Reply {
    call(hub, Method::DELETE, &format!("/limits/{name}"), headers, None).await
}

async fn check(hub: &Hub, checks: Value) -> Reply {
    call(hub, Method::POST, "/limits/check", NONE, Some(json!({ "checks": checks }))).await
}

async fn charge(hub: &Hub, limit: &str, subject: Value) -> StatusCode {
    check(hub, json!([{ "limit": limit, "subject": subject }])).await.status
}

async fn remaining(hub: &Hub, limit: &str, subject: &str) -> Value {
    let path = format!("/limits/{limit}/{subject}");
    let reply = call(hub, Method::GET, &path, NONE, None).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    reply.body["remaining"].clone()
}

/// Waits until a hub has heard of a definition, or of its end.
async fn until(hub: &Hub, name: &str, quota: Option<u64>) {
    let wait = async {
        while get(hub, name).await.body["quota"].as_u64() != quota {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("the hub hears of it");
}

fn is_a_problem(reply: &Reply, status: StatusCode, told: &str) {
    assert_eq!(reply.status, status, "{}", reply.text);
    assert_eq!(reply.content_type, "application/problem+json");
    let detail = reply.body["detail"].as_str().unwrap();
    assert!(detail.contains(told), "{detail}");
}

/// A hub that waits for longer than a service would: a machine that compiles beside it stalls.
async fn start(store: &str) -> Hub {
    let hub = with_file("prefix = \"App_\"\ndeadline = \"10s\"\n", store).await;
    hub.until("ready").await;
    hub
}

async fn with_file(settings: &str, store: &str) -> Hub {
    let (settings, store) = (settings.to_owned(), store.to_owned());
    blocking(move || {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(settings.as_bytes()).unwrap();
        // It is read before the hub listens.
        Hub::serve(&["--config", file.path().to_str().unwrap(), "--store", &store])
    })
    .await
}

async fn killed(mut server: Server) -> Server {
    blocking(move || {
        server.kill();
        server
    })
    .await
}

#[tokio::test]
async fn a_limit_is_defined_at_one_hub_and_counted_by_all() {
    let server = blocking(start_redis).await;
    let store = format!("redis://127.0.0.1:{}", server.port);
    let (one, other) = (start(&store).await, start(&store).await);
    assert_eq!(get(&other, "per-user").await.status, StatusCode::NOT_FOUND);
    let body =
        json!({ "algorithm": "fixed-window", "quota": 5, "per": "8760h", "onDown": "closed" });
    let reply = define(&one, "per-user", NONE, body).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text);
    assert_eq!(reply.headers["etag"], "\"1\"");
    let expected = json!({
        "name": "per-user", "algorithm": "fixed-window", "quota": 5, "per": "365d", "burst": null,
        "debtMax": 0, "lease": 0, "onDown": "closed", "shadow": false, "source": "store", "revision": 1,
        "admitted": 0, "denied": 0, "shadowDenied": 0, "degraded": 0,
    });
    assert_eq!(reply.body, expected);
    assert_eq!(get(&one, "per-user").await.body, expected);
    until(&other, "per-user", Some(5)).await;
    assert_eq!(get(&other, "per-user").await.body, expected);

    let mut allowed = 0;
    for hub in [&one, &other].into_iter().cycle().take(12) {
        allowed += u64::from(charge(hub, "per-user", json!("ada")).await == StatusCode::OK);
    }
    assert_eq!(allowed, 5);
    assert_eq!(remaining(&other, "per-user", "ada").await, 0);
    let rows: Vec<Value> =
        vec![get(&one, "per-user").await.body, get(&other, "per-user").await.body];
    let sum = |count: &str| rows.iter().map(|row| row[count].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("admitted"), sum("denied"), sum("degraded")), (5, 7, 0));

    // More of it, for who was denied a moment ago too.
    let body = json!({ "algorithm": "fixed-window", "quota": 6, "per": "8760h" });
    let reply = define(&other, "per-user", NONE, body).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    assert_eq!(reply.headers["etag"], "\"2\"");
    until(&one, "per-user", Some(6)).await;
    assert_eq!(charge(&one, "per-user", json!("ada")).await, StatusCode::OK);
    let listed = call(&one, Method::GET, "/limits", NONE, None).await;
    assert_eq!(listed.body.as_array().unwrap().len(), 1);
    assert_eq!(listed.body[0]["revision"], 2);
    let keys = redis_cli(server.port, &["--scan"]);
    assert!(keys.lines().all(|key| key.starts_with("App_")), "{keys}");

    assert_eq!(remove(&one, "per-user", NONE).await.status, StatusCode::NO_CONTENT);
    until(&other, "per-user", None).await;
    is_a_problem(&remove(&one, "per-user", NONE).await, StatusCode::NOT_FOUND, "\"per-user\"");
    let gone = check(&other, json!([{ "limit": "per-user", "subject": "ada" }])).await;
    is_a_problem(&gone, StatusCode::NOT_FOUND, "\"per-user\"");
}

#[tokio::test]
async fn all_limits_are_charged_or_none_and_a_denial_says_when_to_come_again() {
    let hub = blocking(|| Hub::serve(&[])).await;
    defined(&hub, "user", 1, "local").await;
    defined(&hub, "address", 5, "local").await;
    let both = || {
        json!([
            { "limit": "address", "subject": "203.0.113.7" },
            { "limit": "user", "subject": "ada", "cost": 1 },
        ])
    };
    let allowed = check(&hub, both()).await;
    assert_eq!(allowed.status, StatusCode::OK, "{}", allowed.text);
    let body = &allowed.body;
    assert_eq!((&body["allowed"], &body["degraded"]), (&json!(true), &json!(false)));
    assert_eq!(body["retryAfterMs"], Value::Null);
    let of = |limit: &Value| (limit["limit"].clone(), limit["remaining"].clone());
    assert_eq!(of(&body["limits"][0]), (json!("address"), json!(4)));
    assert_eq!(of(&body["limits"][1]), (json!("user"), json!(0)));
    assert!(!allowed.headers.contains_key("retry-after"));

    let denied = check(&hub, both()).await;
    is_a_problem(&denied, StatusCode::TOO_MANY_REQUESTS, "not admitted by user");
    let body = &denied.body;
    assert_eq!(body["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!((&body["status"], &body["allowed"]), (&json!(429), &json!(false)));
    assert_eq!(body["violated-policies"], json!(["user"]));
    let wait_ms = body["retryAfterMs"].as_u64().unwrap();
    let wait: u64 = denied.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(wait * 1_000 >= wait_ms && wait_ms > 8_000 * 3_600 * 1_000, "{wait} s, {wait_ms} ms");
    let user = body["limits"].as_array().unwrap().iter().find(|one| one["limit"] == "user");
    assert_eq!(user.unwrap()["admits"], false);
    for reply in [&allowed, &denied] {
        let header = |name: &str| reply.headers[name].to_str().unwrap();
        assert!(header("ratelimit-policy").contains("\"user\";q=1;w=31536000"));
        assert!(header("ratelimit").contains("\"user\";r=0"), "{}", header("ratelimit"));
        assert_eq!((header("x-ratelimit-limit"), header("x-ratelimit-remaining")), ("1", "0"));
    }
    assert_eq!(remaining(&hub, "address", "203.0.113.7").await, 4);

    let never = check(&hub, json!([{ "limit": "user", "subject": "bob", "cost": 2 }])).await;
    is_a_problem(&never, StatusCode::TOO_MANY_REQUESTS, "more than its limit ever admits");
    assert_eq!(never.body["retryAfterMs"], Value::Null);
    assert!(!never.headers.contains_key("retry-after"));

    let peek = json!({ "checks": both(), "peek": true });
    let denied = call(&hub, Method::POST, "/limits/check", NONE, Some(peek)).await;
    assert_eq!(denied.status, StatusCode::TOO_MANY_REQUESTS);
    let peek =
        json!({ "checks": [{ "limit": "address", "subject": "a", "cost": 5 }], "peek": true });
    for _ in 0..2 {
        let allowed = call(&hub, Method::POST, "/limits/check", NONE, Some(peek.clone())).await;
        assert_eq!(allowed.status, StatusCode::OK, "it charges nothing: {}", allowed.text);
    }
}

#[tokio::test]
async fn a_shadow_is_counted_and_stops_no_one() {
    let hub = blocking(|| Hub::serve(&[])).await;
    define(&hub, "trial", NONE, json!({ "quota": 1, "per": "24h", "shadow": true })).await;
    for _ in 0..3 {
        assert_eq!(charge(&hub, "trial", json!("ada")).await, StatusCode::OK);
    }
    let row = get(&hub, "trial").await.body;
    assert_eq!((&row["admitted"], &row["shadowDenied"]), (&json!(1), &json!(2)));
    let metric =
        hub.metric("sinew_limit_decisions_total{limit=\"trial\",decision=\"shadow_denied\"}");
    assert_eq!(metric.await, 2);
}

#[tokio::test]
async fn a_lease_stays_with_a_limit_that_is_defined_again_as_it_was_read() {
    let server = blocking(start_redis).await;
    let store = format!("redis://127.0.0.1:{}", server.port);
    let (one, other) = (start(&store).await, start(&store).await);
    let body = json!({ "quota": 9, "per": "8760h", "lease": 4 });
    assert_eq!(define(&one, "a", NONE, body).await.body["lease"], 4);
    until(&other, "a", Some(9)).await;
    let read = get(&other, "a").await.body;
    let again = ["algorithm", "per", "burst", "debtMax", "lease", "onDown", "shadow"]
        .map(|name| (name.to_owned(), read[name].clone()));
    let mut again = Value::Object(again.into_iter().collect());
    again["quota"] = json!(8);
    let changed = define(&other, "a", NONE, again).await;
    assert_eq!((changed.status, &changed.body["lease"]), (StatusCode::OK, &json!(4)));
    until(&one, "a", Some(8)).await;
    assert_eq!(get(&one, "a").await.body["lease"], 4);
    // The hub hands out what it has taken: five are charged for one that was asked for.
    assert_eq!(charge(&one, "a", json!("ada")).await, StatusCode::OK);
    assert_eq!(remaining(&other, "a", "ada").await, 3);
    assert_eq!(define(&one, "a", NONE, json!({ "quota": 8, "per": "1m" })).await.body["lease"], 0);
}

#[tokio::test]
async fn a_definition_is_changed_by_who_knows_its_revision() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let failed = StatusCode::PRECONDITION_FAILED;
    let body = |quota: u64| json!({ "quota": quota, "per": "1m" });
    let (is_new, is_there): (&[_], &[_]) = (&[("if-none-match", "*")], &[("if-match", "*")]);
    is_a_problem(&define(&hub, "a", is_there, body(1)).await, failed, "as If-Match: * says");
    is_a_problem(&define(&hub, "a", &[("if-match", "\"7\"")], body(1)).await, failed, "revision 7");
    assert_eq!(define(&hub, "a", is_new, body(1)).await.status, StatusCode::CREATED);
    is_a_problem(&define(&hub, "a", is_new, body(2)).await, failed, "expected none");
    let first = get(&hub, "a").await.headers["etag"].to_str().unwrap().to_owned();
    let second = define(&hub, "a", &[("if-match", first.as_str())], body(3)).await;
    assert_eq!(second.status, StatusCode::OK, "{}", second.text);
    let second = second.headers["etag"].to_str().unwrap();
    assert_ne!(second, first);
    is_a_problem(
        &define(&hub, "a", &[("if-match", first.as_str())], body(4)).await,
        failed,
        "expected",
    );
    is_a_problem(&remove(&hub, "a", &[("if-match", first.as_str())]).await, failed, "expected");
    assert_eq!(get(&hub, "a").await.body["quota"], 3);
    assert_eq!(remove(&hub, "a", &[("if-match", second)]).await.status, StatusCode::NO_CONTENT);
    assert_eq!(define(&hub, "a", is_new, body(5)).await.status, StatusCode::CREATED);
    assert_eq!(define(&hub, "a", is_there, body(6)).await.body["quota"], 6);
    assert_eq!(remove(&hub, "a", is_there).await.status, StatusCode::NO_CONTENT);
    is_a_problem(&remove(&hub, "a", is_there).await, failed, "as If-Match: * says");
    assert_eq!(get(&hub, "a").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_limit_may_have_the_name_of_a_route() {
    let hub = blocking(|| Hub::serve(&[])).await;
    for name in ["check", "%63heck"] {
        let reply = define(&hub, name, NONE, json!({ "quota": 2, "per": "24h" })).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text);
        assert_eq!(reply.body["name"], "check");
        assert_eq!(get(&hub, name).await.body["quota"], 2);
        assert_eq!(charge(&hub, "check", json!(name)).await, StatusCode::OK);
        assert_eq!(remaining(&hub, "check", "other").await, 2);
        assert_eq!(remove(&hub, name, NONE).await.status, StatusCode::NO_CONTENT);
    }
    let document = hub.get("/openapi.json").await.body;
    assert!(document["paths"]["/v1/limits/check"]["post"].is_object());
    assert!(document["paths"]["/v1/limits/{name}"]["put"].is_object());
}

#[tokio::test]
async fn the_store_comes_before_the_file_and_gives_way_to_it_again() {
    let settings = "[limits.per-user]\nquota = 10\nper = \"1h\"\non_down = \"open\"\n\
                    [limits.flood]\nalgorithm = \"fixed-window\"\nquota = 50\nper = \"30s\"\n";
    let hub = with_file(settings, "embedded").await;
    let filed = get(&hub, "per-user").await;
    assert_eq!(filed.headers["etag"], "\"0\"");
    let of =
        |body: &Value| (body["quota"].clone(), body["source"].clone(), body["revision"].clone());
    let file = (json!(10), json!("file"), Value::Null);
    assert_eq!(of(&filed.body), file);
    assert_eq!(filed.body["onDown"], "open");
    assert_eq!(charge(&hub, "flood", json!("203.0.113.7")).await, StatusCode::OK);

    let body = json!({ "quota": 20, "per": "1h" });
    let refused = define(&hub, "per-user", &[("if-none-match", "*")], body.clone()).await;
    is_a_problem(&refused, StatusCode::PRECONDITION_FAILED, "the configuration of this hub");
    let changed = define(&hub, "per-user", &[("if-match", "\"0\"")], body.clone()).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    let refused = define(&hub, "per-user", &[("if-match", "\"0\"")], body).await;
    assert_eq!(refused.status, StatusCode::PRECONDITION_FAILED, "{}", refused.text);
    assert_eq!(of(&get(&hub, "per-user").await.body), (json!(20), json!("store"), json!(1)));
    let listed = call(&hub, Method::GET, "/limits", NONE, None).await.body;
    let names: Vec<&Value> = listed.as_array().unwrap().iter().map(|row| &row["name"]).collect();
    assert_eq!(names, ["flood", "per-user"]);
    assert_eq!(listed[0]["admitted"], 1);

    assert_eq!(remove(&hub, "per-user", NONE).await.status, StatusCode::NO_CONTENT);
    assert_eq!(of(&get(&hub, "per-user").await.body), file);
    is_a_problem(
        &remove(&hub, "per-user", NONE).await,
        StatusCode::NOT_FOUND,
        "only the configuration",
    );
}

#[tokio::test]
async fn a_subject_is_the_same_in_a_body_and_in_a_path() {
    let hub = blocking(|| Hub::serve(&[])).await;
    defined(&hub, "a", 3, "local").await;
    for (subject, path) in [
        (json!("ada"), "ada"),
        (json!(7), "7"),
        (json!(["ada", "exports", 7]), "ada:exports:7"),
        (json!("2001:db8::1"), "2001%253Adb8%253A%253A1"),
        (json!(["a/b", -7]), "a%2Fb:-7"),
    ] {
        assert_eq!(charge(&hub, "a", subject.clone()).await, StatusCode::OK);
        assert_eq!(remaining(&hub, "a", path).await, 2, "{subject}");
        for forgotten in [true, false] {
            let reset = call(&hub, Method::DELETE, &format!("/limits/a/{path}"), NONE, None).await;
            assert_eq!(reset.status, StatusCode::OK, "{}", reset.text);
            assert_eq!(reset.body, json!({ "forgotten": forgotten }), "{subject}");
            assert_eq!(remaining(&hub, "a", path).await, 3, "{subject}");
        }
    }
    let log = hub.server.log();
    assert!(log.contains("a subject of a limit was reset over HTTP"));
    assert!(!log.contains("exports"), "subjects are no one's business");
}

#[tokio::test]
async fn tenants_share_definitions_and_no_counts() {
    let hub = blocking(|| Hub::serve(&[])).await;
    defined(&hub, "a", 1, "local").await;
    let body = || Some(json!({ "checks": [{ "limit": "a", "subject": "ada" }] }));
    let (ok, denied) = (StatusCode::OK, StatusCode::TOO_MANY_REQUESTS);
    for tenant in ["acme", "other"] {
        let of = [("x-tenant-id", tenant)];
        for status in [ok, denied] {
            let reply = call(&hub, Method::POST, "/limits/check", &of, body()).await;
            assert_eq!(reply.status, status, "{tenant}: {}", reply.text);
        }
    }
    assert_eq!(remaining(&hub, "a", "ada").await, 1, "of no tenant");
}

#[tokio::test]
async fn who_has_changed_a_limit_is_told() {
    let hub = blocking(|| Hub::serve(&[])).await;
    defined(&hub, "a", 1, "open").await;
    defined(&hub, "a", 2, "open").await;
    remove(&hub, "a", NONE).await;
    let reply = call(&hub, Method::GET, "/audit?kind=limit", NONE, None).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    let quotas =
        |change: &Value| (change["before"]["quota"].clone(), change["after"]["quota"].clone());
    let changes = reply.body.as_array().unwrap();
    let told: Vec<_> = changes.iter().map(quotas).collect();
    let (one, two) = (json!(1), json!(2));
    let none = Value::Null;
    assert_eq!(told, [(two.clone(), none.clone()), (one.clone(), two), (none, one)]);
    for change in changes {
        assert_eq!((&change["limit"], &change["by"]), (&json!("a"), &json!("http")));
        let at = change["at"].as_str().unwrap();
        assert!(at.starts_with("20") && at.ends_with('Z'), "{at}");
    }
    let reply = call(&hub, Method::GET, "/audit?kind=limit&count=1", NONE, None).await;
    assert_eq!(reply.body.as_array().unwrap().len(), 1);
    let log = hub.server.log();
    assert!(log.contains("a limit was defined over HTTP"), "{log}");
    assert!(log.contains("the definition of a limit was removed over HTTP"), "{log}");
}

#[tokio::test]
async fn bad_definitions_are_problems_that_say_what_was_expected() {
    let hub = blocking(|| Hub::serve(&[])).await;
    for (body, told) in [
        (json!([]), "expected a JSON body, like"),
        (json!({ "per": "1m" }), "missing field \"quota\""),
        (json!({ "quota": 1 }), "missing field \"per\""),
        (json!({ "quota": -1, "per": "1m" }), "quota: expected a whole number"),
        (json!({ "quota": "5", "per": "1m" }), "quota: expected a whole number"),
        (json!({ "quota": 1, "per": 60 }), "per: expected a string"),
        (json!({ "quota": 1, "per": "1m", "shadow": "yes" }), "shadow: expected true or false"),
        (
            json!({ "quota": 1, "per": "1m", "on_down": "open" }),
            "unknown field \"on_down\": expected one of name, algorithm, quota",
        ),
        (json!({ "quota": 0, "per": "1m" }), "expected 1 to 2^50"),
        (json!({ "quota": 1, "per": "soon" }), "per: invalid duration"),
        (json!({ "quota": 1, "per": "9999h" }), "366 days"),
        (json!({ "quota": 1, "per": "1m", "algorithm": "x" }), "expected gcra, fixed-window"),
        (json!({ "quota": 1, "per": "1m", "onDown": "x" }), "expected open, closed, local"),
        (
            json!({ "quota": 1, "per": "1m", "algorithm": "sliding-log", "burst": 2 }),
            "only GCRA has a burst",
        ),
        (json!({ "quota": 1, "per": "1m", "name": "c" }), "expected one name"),
        (json!({ "quota": 1, "per": "1m", "lease": 2 }), "a lease of 2 is out of bounds"),
    ] {
        let shown = body.to_string();
        let reply = define(&hub, "b", NONE, body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{shown}: {}", reply.text);
        is_a_problem(&reply, StatusCode::BAD_REQUEST, told);
    }
    let listed = call(&hub, Method::GET, "/limits", NONE, None).await;
    assert_eq!(listed.body, json!([]), "what is refused is not defined");
}

#[tokio::test]
async fn bad_checks_are_problems_that_say_what_was_expected() {
    let hub = blocking(|| Hub::serve(&[])).await;
    defined(&hub, "a", 5, "local").await;
    let (bad, not_found) = (StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND);
    let many: Vec<Value> = (0..17).map(|n| json!({ "limit": "a", "subject": [n] })).collect();
    let twice = json!([{ "limit": "a", "subject": "ada" }, { "limit": "a", "subject": ["ada"] }]);
    for (checks, status, told) in [
        (
            json!([{ "limit": "b", "subject": "ada" }]),
            not_found,
            "no limit \"b\" is defined: PUT /v1/limits/b defines one, GET /v1/limits lists",
        ),
        (json!([{ "limit": "a/b", "subject": "ada" }]), not_found, "PUT /v1/limits/NAME defines"),
        (json!([{ "limit": "a", "subject": "" }]), bad, "checks[0].subject: an empty part"),
        (json!([{ "limit": "a", "subject": ["a", ""] }]), bad, "checks[0].subject: an empty part"),
        (json!([{ "limit": "a", "subject": ".." }]), bad, "as no URL can name that"),
        (json!([{ "limit": "a" }]), bad, "missing field \"checks[0].subject\""),
        (
            json!([{ "limit": "a", "subject": [1.5] }]),
            bad,
            "checks[0].subject: expected a string, a whole number, or an array of these",
        ),
        (
            json!([{ "limit": "a", "subject": "ada", "cots": 1 }]),
            bad,
            "unknown field \"checks[0].cots\": expected one of limit, subject, cost",
        ),
        (json!([{ "limit": "a", "subject": [] }]), bad, "expected at least one segment"),
        (json!([{ "limit": "a", "subject": "k".repeat(1_100) }]), bad, "expected at most 1024"),
        (json!([{ "limit": "a", "subject": "ada", "cost": 0 }]), bad, "checks[0].cost: 0 asks for"),
        (json!([]), bad, "expected 1 to 16"),
        (json!(many), bad, "expected 1 to 16"),
        (twice, bad, "twice in one check"),
    ] {
        let shown = checks.to_string();
        let reply = check(&hub, checks).await;
        assert_eq!(reply.status, status, "{shown}: {}", reply.text);
        is_a_problem(&reply, status, told);
    }
    assert_eq!(remaining(&hub, "a", "ada").await, 5, "what is refused is not charged");
}

#[tokio::test]
async fn bad_requests_for_limits_are_problems_that_say_what_was_expected() {
    let hub = blocking(|| Hub::serve(&[])).await;
    defined(&hub, "a", 5, "local").await;
    let long = format!("/limits/a/{}", "k".repeat(1_100));
    let (bad, not_found) = (StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND);
    let (not_json, no_method) =
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, StatusCode::METHOD_NOT_ALLOWED);
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    let tenant: &[(&str, &str)] = &[("x-tenant-id", "a_b")];
    let (digits, tag): (&[_], &[_]) = (&[("if-match", "7")], &[("if-none-match", "\"7\"")]);
    let good = || Some(json!({ "quota": 1, "per": "1m" }));
    for (method, path, headers, body, status, told) in [
        (&put, "/limits/b_c", NONE, good(), bad, "expected 1 to 64 of"),
        (&put, "/limits/b", digits, good(), bad, "one revision between quotes"),
        (&put, "/limits/b", tag, good(), bad, "or If-None-Match: *"),
        (&put, "/limits/b", NONE, None, not_json, "application/json"),
        (&delete, "/limits/b", digits, None, bad, "one revision between quotes"),
        (&delete, "/limits/b_c", NONE, None, bad, "expected 1 to 64 of"),
        (&delete, "/limits/b", NONE, None, not_found, "no limit \"b\" is defined"),
        (&get, "/limits/b", NONE, None, not_found, "no limit \"b\" is defined"),
        (&get, "/limits/b/ada", NONE, None, not_found, "no limit \"b\" is defined"),
        (&get, "/limits/a/ada", tenant, None, bad, "expected 1 to 64 of"),
        (&get, long.as_str(), NONE, None, bad, "expected at most 1024"),
        (&delete, long.as_str(), NONE, None, bad, "expected at most 1024"),
        (&post, "/limits/check", tenant, good(), bad, "expected 1 to 64 of"),
        (&post, "/limits/check", NONE, None, not_json, "application/json"),
        (&post, "/limits/a", NONE, good(), no_method, "method"),
        (&get, "/audit", NONE, None, bad, "expected kind=limit"),
        (&get, "/audit?kind=cache", NONE, None, bad, "expected kind=limit"),
        (&get, "/audit?kind=limit&since=1", NONE, None, bad, "expected kind=limit"),
        (&get, "/audit?kind=limit&count=0", NONE, None, bad, "count=N from 1 to 1000"),
        (&get, "/audit?kind=limit&count=1001", NONE, None, bad, "count=N from 1 to 1000"),
    ] {
        let reply = call(&hub, method.clone(), path, headers, body).await;
        let shown = &path[..path.len().min(60)];
        assert_eq!(reply.status, status, "{method} {shown} {told}: {}", reply.text);
        is_a_problem(&reply, status, told);
    }
}

#[tokio::test]
async fn without_redis_each_limit_answers_as_it_says_and_none_is_changed() {
    let server = blocking(start_redis).await;
    let hub = start(&format!("redis://127.0.0.1:{}", server.port)).await;
    for (name, on_down) in [("open", "open"), ("closed", "closed"), ("local", "local")] {
        defined(&hub, name, 2, on_down).await;
        assert_eq!(charge(&hub, name, json!("bob")).await, StatusCode::OK);
    }
    let _server = killed(server).await;
    hub.until("degraded").await;
    let (ok, denied) = (StatusCode::OK, StatusCode::TOO_MANY_REQUESTS);
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    for (name, expected) in
        [("open", [ok, ok, ok]), ("closed", [unavailable; 3]), ("local", [ok, ok, denied])]
    {
        for status in expected {
            let reply = check(&hub, json!([{ "limit": name, "subject": "ada" }])).await;
            assert_eq!((reply.status, &reply.body["degraded"]), (status, &json!(true)), "{name}");
        }
        assert_eq!(get(&hub, name).await.body["degraded"], 3);
    }
    let closed = check(&hub, json!([{ "limit": "closed", "subject": "ada" }])).await;
    is_a_problem(&closed, unavailable, "not admitted by closed: the store is away");
    let uri = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";
    assert_eq!((&closed.body["type"], &closed.body["allowed"]), (&json!(uri), &json!(false)));
    assert!(closed.headers.contains_key("retry-after"));
    let body = Some(json!({ "quota": 1, "per": "1m" }));
    for (method, path, body) in [
        (Method::PUT, "/limits/open", body),
        (Method::DELETE, "/limits/open", None),
        (Method::GET, "/limits/open/ada", None),
        (Method::DELETE, "/limits/open/ada", None),
        (Method::GET, "/audit?kind=limit", None),
    ] {
        let reply = call(&hub, method, path, NONE, body).await;
        is_a_problem(&reply, unavailable, "the store cannot serve this now");
        assert!(!reply.text.contains("127.0.0.1"), "{}", reply.text);
    }
    let listed = call(&hub, Method::GET, "/limits", NONE, None).await;
    assert_eq!(listed.body.as_array().unwrap().len(), 3, "as they were known: {}", listed.text);
}

#[tokio::test]
async fn a_hub_that_never_reached_redis_knows_the_limits_of_its_file() {
    let settings = "[limits.filed]\nquota = 1\nper = \"24h\"\non_down = \"local\"\n";
    let hub = with_file(settings, &format!("redis://127.0.0.1:{}", free_port())).await;
    for status in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
        let reply = check(&hub, json!([{ "limit": "filed", "subject": "ada" }])).await;
        assert_eq!((reply.status, &reply.body["degraded"]), (status, &json!(true)));
    }
    // No one knows whether the store defines it.
    let other = check(&hub, json!([{ "limit": "other", "subject": "ada" }])).await;
    assert_eq!(other.status, StatusCode::SERVICE_UNAVAILABLE, "{}", other.text);
    for path in ["/limits", "/limits/filed"] {
        let reply = call(&hub, Method::GET, path, NONE, None).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{}", reply.text);
    }
}

#[tokio::test]
async fn what_is_no_definition_is_left_out() {
    let server = blocking(start_redis).await;
    let hub = start(&format!("redis://127.0.0.1:{}", server.port)).await;
    let key = "App__:rate-limit:definitions";
    redis_cli(server.port, &["HSET", key, "bad", "garbage"]);
    defined(&hub, "good", 5, "local").await;
    let listed = call(&hub, Method::GET, "/limits", NONE, None).await.body;
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["name"]), (1, &json!("good")));
    assert_eq!(charge(&hub, "good", json!("ada")).await, StatusCode::OK);
    assert_eq!(get(&hub, "bad").await.status, StatusCode::NOT_FOUND);
    assert!(hub.server.log().contains("what is defined as a limit is none"));

    redis_cli(server.port, &["DEL", key]);
    redis_cli(server.port, &["SET", key, "garbage"]);
    let refused = define(&hub, "good", NONE, json!({ "quota": 1, "per": "1m" })).await;
    assert_eq!(refused.status, StatusCode::BAD_GATEWAY, "{}", refused.text);
}
