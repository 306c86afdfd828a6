//! Event streams over HTTP: published, pulled, acknowledged, tailed and put right.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::hub::{Hub, Reply, blocking, call};
use crate::world::{redis_cli, start_redis};

const NONE: &[(&str, &str)] = &[];

async fn get(hub: &Hub, path: &str) -> Reply {
    call(hub, Method::GET, path, NONE, None).await
}

async fn post(hub: &Hub, path: &str, body: Value) -> Reply {
    call(hub, Method::POST, path, NONE, Some(body)).await
}

async fn send(hub: &Hub, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let url = format!("{}/v1{path}", hub.url);
    hub.send_with(Method::POST, &url, headers, Some(body.to_owned())).await
}

async fn start(store: &str) -> Hub {
    let store = store.to_owned();
    let hub = blocking(move || Hub::serve(&["--store", &store])).await;
    hub.until("ready").await;
    hub
}

fn is_a_problem(reply: &Reply, status: StatusCode, told: &str) {
    assert_eq!(reply.status, status, "{}", reply.text);
    assert_eq!(reply.content_type, "application/problem+json");
    let detail = reply.body["detail"].as_str().unwrap();
    assert!(detail.contains(told), "{detail}");
}

/// The place of the only event that was published.
fn published(reply: &Reply) -> String {
    assert_eq!(reply.status, StatusCode::ACCEPTED, "{}", reply.text);
    let events = reply.body["events"].as_array().unwrap();
    assert_eq!(events.len(), 1, "{}", reply.text);
    events[0]["place"].as_str().unwrap().to_owned()
}

async fn pull(hub: &Hub, group: &str) -> Reply {
    let path = format!("/streams/orders/groups/{group}/pull");
    post(hub, &path, json!({ "max": 10, "wait": "10s", "lease": "30s" })).await
}

#[tokio::test]
async fn what_is_published_is_pulled_at_another_hub_and_acknowledged_once() {
    let server = blocking(start_redis).await;
    let store = format!("redis://127.0.0.1:{}", server.port);
    let (first, other) = (start(&store).await, start(&store).await);
    let place = published(
        &post(&first, "/streams/orders", json!({ "data": { "n": 1 }, "type": "OrderPlaced" }))
            .await,
    );
    let pulled = pull(&other, "billing").await;
    assert_eq!(pulled.status, StatusCode::OK, "{}", pulled.text);
    let events = pulled.body["events"].as_array().unwrap();
    assert_eq!(events.len(), 1, "{}", pulled.text);
    assert_eq!((&events[0]["place"], &events[0]["attempt"]), (&json!(place), &json!(1)));
    let event = &events[0]["event"];
    assert_eq!((&event["specversion"], &event["type"]), (&json!("1.0"), &json!("OrderPlaced")));
    assert_eq!(event["data"], json!({ "n": 1 }));

    let renew = json!({ "lease": pulled.body["lease"], "for": "60s" });
    let renewed = post(&first, "/streams/orders/groups/billing/renew", renew.clone()).await;
    assert_eq!(renewed.status, StatusCode::OK, "{}", renewed.text);
    let ack = json!({ "lease": pulled.body["lease"], "places": [place] });
    let acked = post(&first, "/streams/orders/groups/billing/ack", ack.clone()).await;
    assert_eq!(acked.body, json!({ "done": [place], "lost": [] }), "{}", acked.text);
    let again = post(&other, "/streams/orders/groups/billing/ack", ack).await;
    assert_eq!(again.body, json!({ "done": [], "lost": [place] }), "{}", again.text);
    let over = post(&other, "/streams/orders/groups/billing/renew", renew).await;
    is_a_problem(&over, StatusCode::GONE, "the lease is over");
    let none = post(&first, "/streams/orders/groups/billing/pull", json!({})).await;
    assert_eq!(none.status, StatusCode::NO_CONTENT, "{}", none.text);

    let group = get(&first, "/streams/orders/groups/billing").await;
    assert_eq!((&group.body["waiting"], &group.body["held"]), (&json!(0), &json!(0)));
    for path in ["", "/dead", "/dead/errors"] {
        let unknown = get(&first, &format!("/streams/orders/groups/nobody{path}")).await;
        is_a_problem(&unknown, StatusCode::NOT_FOUND, "no group");
    }
    is_a_problem(&get(&first, "/streams/nothing").await, StatusCode::NOT_FOUND, "no topic");
}

#[tokio::test]
async fn each_form_of_an_event_is_published_and_known_again() {
    let server = blocking(start_redis).await;
    let hub = start(&format!("redis://127.0.0.1:{}", server.port)).await;
    let cloud = r#"{"specversion": "1.0", "type": "OrderPlaced", "source": "/shop", "id": "7", "data": {"n": 1.10}}"#;
    let structured = [("content-type", "application/cloudevents+json")];
    let place = published(&send(&hub, "/streams/orders", &structured, cloud).await);
    let again = send(&hub, "/streams/orders", &structured, cloud).await;
    assert_eq!(again.body["events"][0]["duplicate"], true, "{}", again.text);
    assert_eq!(published(&again), place);

    let binary = [
        ("content-type", "text/plain"),
        ("ce-specversion", "1.0"),
        ("ce-type", "Noted"),
        ("ce-source", "/shop"),
        ("ce-id", "8"),
    ];
    let noted = published(&send(&hub, "/streams/orders", &binary, "two words").await);
    let keyed = [("content-type", "application/json"), ("idempotency-key", "once")];
    let plain = published(&send(&hub, "/streams/orders", &keyed, r#"{"data": 1}"#).await);
    assert_eq!(published(&send(&hub, "/streams/orders", &keyed, r#"{"data": 1}"#).await), plain);
    let batch = [("content-type", "application/cloudevents-batch+json")];
    let two =
        format!("[{}, {}]", cloud.replace("\"7\"", "\"9\""), cloud.replace("\"7\"", "\"10\""));
    let many = send(&hub, "/streams/orders", &batch, &two).await;
    assert_eq!(many.body["events"].as_array().map(Vec::len), Some(2), "{}", many.text);

    let one = get(&hub, &format!("/streams/orders/events/{place}")).await;
    assert!(one.text.contains("1.10"), "its digits are as they were written: {}", one.text);
    assert_eq!(one.body["id"], "7");
    let one = get(&hub, &format!("/streams/orders/events/{noted}")).await;
    assert_eq!((&one.body["type"], &one.body["data"]), (&json!("Noted"), &json!("two words")));
    let page = get(&hub, "/streams/orders/events?count=3").await;
    let next = page.body["next"].as_str().unwrap().to_owned();
    assert_eq!(page.body["events"].as_array().map(Vec::len), Some(3), "{}", page.text);
    let rest = get(&hub, &format!("/streams/orders/events?count=3&after={next}")).await;
    assert_eq!(rest.body["events"].as_array().map(Vec::len), Some(2), "{}", rest.text);
    let next = rest.body["next"].as_str().unwrap().to_owned();
    let none = get(&hub, &format!("/streams/orders/events?count=3&after={next}")).await;
    assert_eq!(none.body, json!({ "events": [] }), "the page after the last");
}

#[tokio::test]
async fn what_is_no_event_is_refused_and_nothing_is_published() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let json = [("content-type", "application/json")];
    for (headers, body, status, told) in [
        (&json[..], r#"{"type": "x"}"#, StatusCode::BAD_REQUEST, "missing field \"data\""),
        (&json, r#"{"data": 1, "delay": "soon"}"#, StatusCode::BAD_REQUEST, "delay: "),
        (&json, r#"[{"data": 1}]"#, StatusCode::BAD_REQUEST, "application/cloudevents-batch+json"),
        (&json, r#"[1, "t", "i"]"#, StatusCode::BAD_REQUEST, "expected one event"),
        (&[("content-type", "text/plain")], "x", StatusCode::UNSUPPORTED_MEDIA_TYPE, "cloudevents"),
        (
            &[("content-type", "application/cloudevents+json")],
            r#"{"specversion": "1.0", "source": "/a", "id": "1"}"#,
            StatusCode::BAD_REQUEST,
            "type",
        ),
    ] {
        is_a_problem(&send(&hub, "/streams/orders", headers, body).await, status, told);
    }
    let cloud = r#"{"specversion": "1.0", "type": "t", "source": "/a", "id": "1"}"#;
    for (kind, body) in [
        ("application/cloudevents+json", cloud.to_owned()),
        ("application/cloudevents-batch+json", format!("[{cloud}]")),
    ] {
        let keyed = [("content-type", kind), ("idempotency-key", "once")];
        let keyed = send(&hub, "/streams/orders", &keyed, &body).await;
        is_a_problem(&keyed, StatusCode::BAD_REQUEST, "its source and id");
    }
    let long = format!(r#"{{"data": "{}"}}"#, "x".repeat(4 << 20));
    let long = send(&hub, "/streams/orders", &json, &long).await;
    is_a_problem(&long, StatusCode::PAYLOAD_TOO_LARGE, "expected at most");
    let long = format!(r#"{{"data": "{}"}}"#, "x".repeat(1 << 20));
    let long = send(&hub, "/streams/orders", &json, &long).await;
    is_a_problem(&long, StatusCode::PAYLOAD_TOO_LARGE, "the data of event 1");
    let dead = send(&hub, "/streams/orders.dead", &json, r#"{"data": 1}"#).await;
    assert_eq!(dead.status, StatusCode::BAD_REQUEST, "{}", dead.text);
    let audit = send(&hub, "/streams/sinew.audit", &json, r#"{"data": 1}"#).await;
    is_a_problem(&audit, StatusCode::FORBIDDEN, "read only");
    assert_eq!(get(&hub, "/streams").await.body, json!([]));
}

#[tokio::test]
async fn a_full_topic_says_when_to_come_again() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let url = format!("{}/v1/streams/orders", hub.url);
    let settings = json!({ "partitions": 1, "len_max": 1, "keep": "1h" });
    let made = hub.send(Method::PUT, &url, None, Some(settings.to_string())).await;
    assert_eq!((made.status, &made.body["keep"]), (StatusCode::OK, &json!("1h")), "{}", made.text);
    published(&post(&hub, "/streams/orders", json!({ "data": 1 })).await);
    let full = post(&hub, "/streams/orders", json!({ "data": 2 })).await;
    is_a_problem(&full, StatusCode::SERVICE_UNAVAILABLE, "is full");
    assert_eq!(full.headers["retry-after"], "1");
}

#[tokio::test]
async fn a_declaration_that_is_refused_is_not_noted() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let put = |topic: &str, settings: Value| {
        let (hub, path) = (&hub, format!("/streams/{topic}"));
        async move { call(hub, Method::PUT, &path, NONE, Some(settings)).await }
    };
    let made = put("orders", json!({ "partitions": 1 })).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text);
    for (topic, settings, status) in [
        ("orders", json!({ "partitions": 2 }), StatusCode::CONFLICT),
        ("x.dead", json!({}), StatusCode::BAD_REQUEST),
        ("or:ders", json!({}), StatusCode::BAD_REQUEST),
        ("other", json!({ "partitions": 65 }), StatusCode::BAD_REQUEST),
        ("other", json!({ "len_max": 0 }), StatusCode::BAD_REQUEST),
        ("other", json!({ "keep": "3651d" }), StatusCode::BAD_REQUEST),
    ] {
        let refused = put(topic, settings).await;
        assert_eq!(refused.status, status, "{}", refused.text);
    }
    let audit = get(&hub, "/audit?kind=stream").await;
    assert_eq!(audit.body.as_array().map(Vec::len), Some(1), "{}", audit.text);
}

#[tokio::test]
async fn while_the_store_is_away_whoever_asks_is_told_when_to_come_again() {
    let mut server = blocking(start_redis).await;
    let hub = start(&format!("redis://127.0.0.1:{}", server.port)).await;
    published(&post(&hub, "/streams/orders", json!({ "data": 1 })).await);
    blocking(move || server.kill()).await;
    let pulled = post(&hub, "/streams/orders/groups/billing/pull", json!({})).await;
    let tailed = get(&hub, "/streams/orders/tail").await;
    for reply in [pulled, tailed] {
        is_a_problem(&reply, StatusCode::SERVICE_UNAVAILABLE, "the store cannot serve this now");
        assert_eq!(reply.headers["retry-after"], "1");
    }
}

#[tokio::test]
async fn tenants_have_topics_of_their_own() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let acme = [("x-tenant-id", "acme")];
    let body = Some(json!({ "data": 1 }));
    let reply = call(&hub, Method::POST, "/streams/orders", &acme, body).await;
    published(&reply);
    assert_eq!(get(&hub, "/streams").await.body, json!([]));
    let own = call(&hub, Method::GET, "/streams", &acme, None).await;
    assert_eq!(own.body[0]["topic"], "orders", "{}", own.text);
}

#[tokio::test]
async fn an_event_that_cannot_be_handled_is_a_dead_letter_at_once() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let place = published(&post(&hub, "/streams/orders", json!({ "data": 1 })).await);
    let other = published(&post(&hub, "/streams/orders", json!({ "data": 2 })).await);
    let pulled = pull(&hub, "billing").await;
    let nack = |places: Value| {
        let body = json!({ "lease": pulled.body["lease"], "places": places });
        post(&hub, "/streams/orders/groups/billing/nack", body)
    };
    let both = nack(json!([{ "place": place, "dead": true, "after": "1s" }])).await;
    is_a_problem(&both, StatusCode::BAD_REQUEST, "expected one of them");
    let long = nack(json!([{ "place": place, "after": "366d", "error": "x" }])).await;
    is_a_problem(&long, StatusCode::BAD_REQUEST, "expected at most 365d");
    let given_up = json!([
        { "place": place, "dead": true, "error": "no such user" },
        { "place": other, "after": "1h" },
    ]);
    let mut settled = nack(given_up).await.body;
    settled["done"].as_array_mut().unwrap().sort_by_key(Value::to_string);
    assert_eq!(settled, json!({ "done": [place, other], "lost": [] }));
    let dead = get(&hub, "/streams/orders/groups/billing/dead").await;
    let letters = dead.body["letters"].as_array().unwrap();
    assert_eq!(letters.len(), 1, "{}", dead.text);
    assert_eq!(letters[0]["reason"], "no such user");
    let again = nack(json!([{ "place": place, "dead": true }])).await;
    assert_eq!(again.body, json!({ "done": [], "lost": [place] }), "{}", again.text);
}

#[tokio::test]
async fn what_someone_pulls_who_has_hung_up_is_given_to_the_next() {
    let hub = blocking(|| Hub::serve(&[])).await;
    // The group is there, and waits for the first.
    assert_eq!(post(&hub, "/streams/orders/groups/billing/pull", json!({})).await.status, 204);
    let hasty = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(1));
    let url = format!("{}/v1/streams/orders/groups/billing/pull", hub.url);
    let body = json!({ "wait": "20s", "lease": "1h" }).to_string();
    let request = hasty.build().unwrap().post(url).header("content-type", "application/json");
    assert!(request.body(body).send().await.unwrap_err().is_timeout());
    // The next is waiting already when it comes.
    let waits = post(&hub, "/streams/orders/groups/billing/pull", json!({ "wait": "20s" }));
    let publishes = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        published(&post(&hub, "/streams/orders", json!({ "data": 1 })).await)
    };
    let began = std::time::Instant::now();
    let (pulled, place) = tokio::join!(waits, publishes);
    assert!(began.elapsed() < Duration::from_secs(15), "at the end of the wait of the first");
    assert_eq!(pulled.body["events"][0]["place"], json!(place), "{}", pulled.text);
}

/// The next events of a tail, and the id of the last.
async fn told(reply: &mut reqwest::Response, events: usize) -> (Vec<Value>, String) {
    let mut text = String::new();
    let reading = async {
        loop {
            let chunk = reply.chunk().await.unwrap().expect("the tail goes on");
            text.push_str(std::str::from_utf8(&chunk).unwrap());
            let Some((whole, _)) = text.rsplit_once("\n\n") else { continue };
            let data = whole.lines().filter_map(|line| line.strip_prefix("data:"));
            let read: Vec<Value> =
                data.map(|data| serde_json::from_str(data.trim()).unwrap_or_default()).collect();
            if read.len() >= events {
                let id = whole.lines().rev().find_map(|line| line.strip_prefix("id:")).unwrap();
                return (read, id.trim().to_owned());
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reading).await.expect("events")
}

#[tokio::test]
async fn a_tail_that_was_cut_off_goes_on_after_what_it_has_told() {
    let server = blocking(start_redis).await;
    let hub = start(&format!("redis://127.0.0.1:{}", server.port)).await;
    for n in 0..3 {
        published(&post(&hub, "/streams/orders", json!({ "data": n })).await);
    }
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/v1/streams/orders/tail", hub.url);
    let mut tail = client.get(format!("{url}?from=start")).send().await.unwrap();
    let (events, cursor) = told(&mut tail, 3).await;
    assert_eq!(events[2]["data"], 2, "{events:?}");
    drop(tail);
    published(&post(&hub, "/streams/orders", json!({ "data": 3 })).await);
    let tail = client.get(&url).header("last-event-id", &cursor);
    let (events, _) = told(&mut tail.send().await.unwrap(), 1).await;
    assert_eq!(events[0]["data"], 3, "{events:?}");

    // By someone else: the event of the cursor is gone.
    redis_cli(server.port, &["flushall"]);
    published(&post(&hub, "/streams/orders", json!({ "data": 4 })).await);
    let strict = client.get(format!("{url}?strict=true")).header("last-event-id", &cursor);
    assert_eq!(strict.send().await.unwrap().status(), StatusCode::GONE);
}

#[tokio::test]
async fn a_tail_that_was_cut_off_before_an_event_goes_on_where_it_began() {
    let server = blocking(start_redis).await;
    let hub = start(&format!("redis://127.0.0.1:{}", server.port)).await;
    published(&post(&hub, "/streams/orders", json!({ "data": 0 })).await);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/v1/streams/orders/tail", hub.url);
    let mut tail = client.get(&url).send().await.unwrap();
    let (events, cursor) = told(&mut tail, 0).await;
    assert!(events.is_empty(), "{events:?}");
    drop(tail);
    published(&post(&hub, "/streams/orders", json!({ "data": 1 })).await);
    let tail = client.get(&url).header("last-event-id", &cursor);
    let (events, _) = told(&mut tail.send().await.unwrap(), 1).await;
    assert_eq!(events[0]["data"], 1, "{events:?}");
}

#[tokio::test]
async fn what_is_done_to_a_group_is_noted_before_it_is_done() {
    let server = blocking(start_redis).await;
    let hub = start(&format!("redis://127.0.0.1:{}", server.port)).await;
    let place = published(&post(&hub, "/streams/orders", json!({ "data": 1 })).await);
    let pulled = pull(&hub, "billing").await;
    assert_eq!(pulled.status, StatusCode::OK, "{}", pulled.text);
    let path = "/streams/orders/groups/billing";
    let held = call(&hub, Method::DELETE, path, NONE, None).await;
    is_a_problem(&held, StatusCode::CONFLICT, "still hold 1 event:");
    let elsewhere = json!({ "to": "1:1795316265410-0", "force": true });
    let elsewhere = post(&hub, &format!("{path}/seek"), elsewhere).await;
    is_a_problem(&elsewhere, StatusCode::BAD_REQUEST, "expected one below 1");
    assert_eq!(get(&hub, "/audit?kind=stream").await.body, json!([]));

    let ack = json!({ "lease": pulled.body["lease"], "places": [place] });
    post(&hub, &format!("{path}/ack"), ack).await;
    let sought = post(&hub, &format!("{path}/seek"), json!({ "to": "start" })).await;
    assert_eq!(sought.status, StatusCode::OK, "{}", sought.text);
    let again = pull(&hub, "billing").await;
    assert_eq!(again.body["events"][0]["place"], json!(place), "{}", again.text);
    let removed = call(&hub, Method::DELETE, &format!("{path}?force=true"), NONE, None).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT, "{}", removed.text);
    let audit = get(&hub, "/audit?kind=stream").await;
    let acts: Vec<&str> =
        audit.body.as_array().unwrap().iter().map(|act| act["type"].as_str().unwrap()).collect();
    assert_eq!(acts, ["forget", "seek"], "{}", audit.text);
    let data = &audit.body[1]["data"];
    assert_eq!((&data["by"], &data["what"]["group"]), (&json!("http"), &json!("billing")));
    assert_eq!(data["after"], json!({ "to": "start" }));
}

#[tokio::test]
async fn what_cannot_be_noted_is_not_done() {
    let server = blocking(start_redis).await;
    let hub = start(&format!("redis://127.0.0.1:{}", server.port)).await;
    let place = published(&post(&hub, "/streams/orders", json!({ "data": 1 })).await);
    let pulled = pull(&hub, "billing").await;
    let path = "/streams/orders/groups/billing";
    let ack = json!({ "lease": pulled.body["lease"], "places": [place] });
    post(&hub, &format!("{path}/ack"), ack).await;
    let seek = async |to: &str| post(&hub, &format!("{path}/seek"), json!({ "to": to })).await;
    assert_eq!(seek("end").await.status, StatusCode::OK);

    // From now on nothing can be added to it.
    let audit = redis_cli(server.port, &["--scan", "--pattern", "*sinew.audit*:log"]);
    assert_eq!(redis_cli(server.port, &["DEL", &audit]), "1", "{audit}");
    assert_eq!(redis_cli(server.port, &["SET", &audit, "no log"]), "OK");
    let sought = seek("start").await;
    assert_eq!(sought.status, StatusCode::BAD_GATEWAY, "{}", sought.text);
    let removed = call(&hub, Method::DELETE, path, NONE, None).await;
    assert_eq!(removed.status, StatusCode::BAD_GATEWAY, "{}", removed.text);
    let group = get(&hub, path).await;
    assert_eq!(
        (group.status, &group.body["waiting"]),
        (StatusCode::OK, &json!(0)),
        "{}",
        group.text
    );
}

#[tokio::test]
async fn how_far_a_pulled_group_is_can_be_watched() {
    let hub = start("embedded").await;
    published(&post(&hub, "/streams/orders", json!({ "data": 1 })).await);
    let pulled = pull(&hub, "billing").await;
    assert_eq!(pulled.status, StatusCode::OK, "{}", pulled.text);
    let place = &pulled.body["events"][0]["place"];
    let nack = json!({
        "lease": pulled.body["lease"],
        "places": [{ "place": place, "dead": true, "error": "closed" }]
    });
    let nacked = post(&hub, "/streams/orders/groups/billing/nack", nack).await;
    assert_eq!(nacked.body["done"], json!([place]), "{}", nacked.text);
    let metrics = hub.get("/metrics").await.text;
    let is_told = |name: &str, value: &str| {
        metrics.lines().any(|line| {
            line.starts_with(name) && line.contains("group=\"billing\"") && line.ends_with(value)
        })
    };
    assert!(is_told("sinew_stream_lag_messages", " 1"), "{metrics}");
    assert!(is_told("sinew_stream_oldest_unacked_age_seconds", ""), "{metrics}");
    assert!(is_told("sinew_stream_dead_lettered_total", " 1"), "{metrics}");
}

#[tokio::test]
async fn groups_of_one_name_are_watched_together_whosever_they_are() {
    let hub = start("embedded").await;
    let (acme, beta) = ([("x-tenant-id", "acme")], [("x-tenant-id", "beta")]);
    for _ in 0..2 {
        let body = Some(json!({ "data": 1 }));
        published(&call(&hub, Method::POST, "/streams/orders", &acme, body).await);
    }
    for (of, status) in [(&acme, StatusCode::OK), (&beta, StatusCode::NO_CONTENT)] {
        let body = Some(json!({ "lease": "30s" }));
        let path = "/streams/orders/groups/billing/pull";
        let pulled = call(&hub, Method::POST, path, of, body).await;
        assert_eq!(pulled.status, status, "{}", pulled.text);
    }
    let metrics = hub.get("/metrics").await.text;
    let lag = metrics.lines().find(|line| line.starts_with("sinew_stream_lag_messages{"));
    assert!(lag.is_some_and(|line| line.ends_with(" 2")), "{metrics}");
}

#[tokio::test]
async fn a_pulled_group_is_watched_although_nobody_pulls_any_more() {
    let hub = start("embedded").await;
    published(&post(&hub, "/streams/orders", json!({ "data": 1 })).await);
    let pulled = pull(&hub, "billing").await;
    assert_eq!(pulled.status, StatusCode::OK, "{}", pulled.text);
    published(&post(&hub, "/streams/orders", json!({ "data": 2 })).await);
    let began = Instant::now();
    loop {
        let metrics = hub.get("/metrics").await.text;
        let lag = metrics.lines().find(|line| line.starts_with("sinew_stream_lag_messages{"));
        if lag.is_some_and(|line| line.ends_with(" 2")) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{metrics}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
