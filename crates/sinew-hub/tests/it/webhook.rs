//! Webhooks: defined at a hub, delivered by it, signed so that anyone can tell.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use parking_lot::Mutex;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::hub::{Hub, Reply, blocking, by_openssl, call};
use crate::world::{redis_cli, start_redis};

const LONG: Duration = Duration::from_secs(120);
const OPEN: &str = "[webhooks]\nallow = [\"127.0.0.0/8\"]\nallow_http = true\n";
const NONE: &[(&str, &str)] = &[];
/// 24 bytes, 0 to 23.
const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

/// An endpoint that answers as it is told, and keeps what it has got.
#[derive(Clone)]
struct Receiver {
    url: String,
    status: Arc<AtomicU16>,
    got: Arc<Mutex<Vec<(u16, HeaderMap, Bytes)>>>,
}

impl Receiver {
    async fn start(status: u16) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/in", listener.local_addr().unwrap());
        let status = Arc::new(AtomicU16::new(status));
        let receiver = Self { url, status, got: Arc::default() };
        let app = Router::new().fallback(receive).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        receiver
    }

    async fn until(&self, what: &str, is_so: impl Fn(&[(u16, HeaderMap, Bytes)]) -> bool) {
        let wait = async {
            while !is_so(&self.got.lock()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LONG, wait).await.unwrap_or_else(|_| panic!("{what}"));
    }
}

async fn receive(State(of): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    let status = of.status.load(Ordering::Acquire);
    of.got.lock().push((status, headers, body));
    let reply = axum::http::StatusCode::from_u16(status).unwrap();
    match status {
        503 => (reply, [("retry-after", "3")]).into_response(),
        _ => reply.into_response(),
    }
}

/// The orders that were delivered, as they came.
fn delivered(got: &[(u16, HeaderMap, Bytes)]) -> Vec<u64> {
    let good = got.iter().filter(|(status, ..)| *status == 200);
    good.filter_map(|(_, _, body)| order_of(body)).collect()
}

fn order_of(body: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(body).ok()?["data"]["order"].as_u64()
}

async fn start(settings: &str) -> Hub {
    start_on(settings, "embedded").await
}

async fn start_on(settings: &str, store: &str) -> Hub {
    let (settings, store) = (settings.to_owned(), store.to_owned());
    let hub = blocking(move || {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(settings.as_bytes()).unwrap();
        // It is read before the hub listens.
        Hub::serve(&["--config", file.path().to_str().unwrap(), "--store", &store])
    });
    hub.await
}

/// A hub that may deliver to this machine.
async fn open_hub() -> Hub {
    start(OPEN).await
}

async fn put(hub: &Hub, name: &str, body: Value) -> Reply {
    call(hub, Method::PUT, &format!("/subscriptions/{name}"), NONE, Some(body)).await
}

async fn publish(hub: &Hub, data: Value) {
    let body = json!({ "type": "OrderPlaced", "data": data });
    let reply = call(hub, Method::POST, "/streams/orders", NONE, Some(body)).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED, "{}", reply.text);
}

/// Until two hubs deliver the webhook.
async fn until_both(hub: &Hub) {
    let consumers = async {
        loop {
            let path = "/streams/orders/groups/webhook.billing";
            let group = call(hub, Method::GET, path, NONE, None).await;
            if group.body["consumers_len"].as_u64() == Some(2) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, consumers).await.expect("both hubs");
}

#[tokio::test]
async fn a_delivery_is_a_cloud_event_whose_signature_openssl_computes_too() {
    let (hub, receiver) = (open_hub().await, Receiver::start(204).await);
    let body = json!({ "topic": "orders", "url": receiver.url, "secret": SECRET });
    let reply = put(&hub, "billing", body).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text);
    assert!(!reply.text.contains("whsec_"), "one that was brought is told to no one");
    publish(&hub, json!({ "order": 7 })).await;
    receiver.until("a delivery", |got| !got.is_empty()).await;
    let (_, headers, body) = receiver.got.lock()[0].clone();
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!(header("webhook-signature"), by_openssl(SECRET, &headers, &body));
    let event: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&event["type"], &event["data"]), (&json!("OrderPlaced"), &json!({ "order": 7 })));
    assert!(header("webhook-id").starts_with("msg_"), "no other event has it");
    assert!(header("content-type").starts_with("application/cloudevents+json"));
    assert_eq!(header("sinew-attempt"), "1");
}

#[tokio::test]
async fn an_endpoint_that_fails_and_recovers_gets_everything() {
    let (hub, receiver) = (open_hub().await, Receiver::start(500).await);
    let body = json!({ "topic": "orders", "url": receiver.url, "secret": SECRET });
    assert!(put(&hub, "billing", body).await.status.is_success());
    for order in 0..10 {
        publish(&hub, json!({ "order": order })).await;
    }
    // Enough of them for its breaker to open.
    receiver.until("failures", |got| got.len() >= 5).await;
    let seconds = std::env::var("SINEW_WEBHOOK_FAILING_SECONDS");
    let seconds = seconds.map_or(0, |seconds| seconds.parse().expect("seconds"));
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    receiver.status.store(200, Ordering::Release);
    let failed = receiver.got.lock().len();
    println!("{failed} deliveries failed within {seconds} s");
    let all = |got: &[(u16, HeaderMap, Bytes)]| delivered(got).into_iter().collect::<BTreeSet<_>>();
    receiver.until("all ten orders", |got| all(got).len() == 10).await;
}

#[tokio::test]
async fn an_endpoint_that_says_200_has_it_though_its_body_does_not_end() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _ = socket.read(&mut head).await;
            let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
            socket.write_all(reply).await.unwrap();
            kept.push(socket);
        }
    });
    let hub = open_hub().await;
    let body = json!({ "topic": "orders", "url": url, "timeout": "1s" });
    assert_eq!(put(&hub, "billing", body).await.status, StatusCode::CREATED);
    publish(&hub, json!({ "order": 1 })).await;
    let told = async {
        loop {
            let webhook = call(&hub, Method::GET, "/subscriptions/billing", NONE, None).await;
            if !webhook.body["last"].is_null() {
                return webhook.body["last"].clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let told = tokio::time::timeout(LONG, told).await.expect("a delivery");
    assert_eq!(told["delivered"], true, "{told}");
}

#[tokio::test]
async fn an_endpoint_is_left_alone_for_as_long_as_it_asks() {
    let (hub, receiver) = (open_hub().await, Receiver::start(503).await);
    let body = json!({ "topic": "orders", "url": receiver.url, "secret": SECRET });
    assert!(put(&hub, "billing", body).await.status.is_success());
    publish(&hub, json!({ "order": 7 })).await;
    receiver.until("a delivery", |got| !got.is_empty()).await;
    receiver.status.store(200, Ordering::Release);
    receiver.until("another", |got| delivered(got) == [7]).await;
    let got = receiver.got.lock();
    let at = |one: usize| got[one].1["webhook-timestamp"].to_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(got.len(), 2);
    assert!(at(1) - at(0) >= 2, "3 s, in whole seconds");
    assert_eq!(got[0].1["webhook-id"], got[1].1["webhook-id"], "one event, one id");
}

#[tokio::test]
async fn a_binary_delivery_has_the_data_as_its_body_and_the_rest_in_headers() {
    let (hub, receiver) = (open_hub().await, Receiver::start(200).await);
    let body = json!({ "topic": "orders", "url": receiver.url, "mode": "binary" });
    assert!(put(&hub, "billing", body).await.status.is_success());
    publish(&hub, json!({ "order": 7 })).await;
    receiver.until("a delivery", |got| !got.is_empty()).await;
    let (_, headers, body) = receiver.got.lock()[0].clone();
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), json!({ "order": 7 }));
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!((header("ce-type"), header("ce-specversion")), ("OrderPlaced".into(), "1.0".into()));
    assert_eq!(header("content-type"), "application/json");
}

#[tokio::test]
async fn the_events_of_a_key_are_delivered_in_order_and_wait_for_one_that_fails() {
    let (hub, receiver) = (open_hub().await, Receiver::start(500).await);
    let body = json!({ "topic": "orders", "url": receiver.url, "ordered": true });
    assert!(put(&hub, "billing", body).await.status.is_success());
    for order in 0..5 {
        let body = json!({ "type": "OrderPlaced", "data": { "order": order }, "key": "ada" });
        let reply = call(&hub, Method::POST, "/streams/orders", NONE, Some(body)).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{}", reply.text);
    }
    receiver.until("failures", |got| got.len() >= 2).await;
    receiver.status.store(200, Ordering::Release);
    receiver.until("all", |got| delivered(got).len() >= 5).await;
    let got = receiver.got.lock();
    assert_eq!(delivered(&got), [0, 1, 2, 3, 4]);
    let mut failed = got.iter().filter(|(status, ..)| *status == 500);
    assert!(failed.all(|(_, _, body)| order_of(body) == Some(0)), "the others waited");
}

#[tokio::test]
async fn two_hubs_share_the_events_and_one_goes_on_when_the_other_is_gone() {
    let server = blocking(start_redis).await;
    let store = format!("redis://127.0.0.1:{}", server.port);
    let (hub, other) = (start_on(OPEN, &store).await, start_on(OPEN, &store).await);
    let receiver = Receiver::start(200).await;
    let define =
        |ordered: bool| json!({ "topic": "orders", "url": receiver.url, "ordered": ordered });
    assert!(put(&hub, "billing", define(false)).await.status.is_success());
    publish(&hub, json!({ "order": 0 })).await;
    until_both(&hub).await;
    for order in 1..40 {
        publish(&hub, json!({ "order": order })).await;
    }
    receiver.until("all orders", |got| delivered(got).len() >= 40).await;
    let mut orders = delivered(&receiver.got.lock());
    orders.sort_unstable();
    assert_eq!(orders, (0..40).collect::<Vec<_>>(), "each once");

    // The other one still delivers in no order: this one cannot yet, and is not to give up.
    assert!(put(&hub, "billing", define(true)).await.status.is_success());
    publish(&hub, json!({ "order": 40 })).await;
    receiver.until("one more", |got| delivered(got).contains(&40)).await;
    blocking(move || drop(other)).await;
    publish(&hub, json!({ "order": 41 })).await;
    receiver.until("the last", |got| delivered(got).contains(&41)).await;
}

#[tokio::test]
async fn a_hub_that_may_not_reach_an_endpoint_leaves_its_events_to_one_that_may() {
    let server = blocking(start_redis).await;
    let store = format!("redis://127.0.0.1:{}", server.port);
    let open = "[webhooks]\nallow = [\"127.0.0.0/8\", \"::1/128\"]\nallow_http = true\n";
    let hub = start_on(open, &store).await;
    let _closed = start_on("[webhooks]\nallow_http = true\n", &store).await;
    let receiver = Receiver::start(200).await;
    // Where a name leads is looked at when it is delivered.
    let url = receiver.url.replace("127.0.0.1", "localhost");
    let body = json!({ "topic": "orders", "url": url, "attempts": 1 });
    assert_eq!(put(&hub, "billing", body).await.status, StatusCode::CREATED);
    publish(&hub, json!({ "order": 0 })).await;
    until_both(&hub).await;
    for order in 1..40 {
        publish(&hub, json!({ "order": order })).await;
    }
    receiver.until("all orders", |got| delivered(got).len() >= 40).await;
    let topic = call(&hub, Method::GET, "/streams/orders", NONE, None).await;
    assert_eq!(topic.body["dead"], 0, "an attempt was used up: {}", topic.text);
}

#[tokio::test]
async fn an_endpoint_that_is_gone_pauses_its_webhook() {
    let (hub, receiver) = (open_hub().await, Receiver::start(410).await);
    let body = json!({ "topic": "orders", "url": receiver.url });
    let reply = put(&hub, "billing", body).await;
    assert!(reply.body["secret"].as_str().unwrap().starts_with("whsec_"), "it is told once");
    publish(&hub, json!({ "order": 7 })).await;
    let look = || call(&hub, Method::GET, "/subscriptions/billing", NONE, None);
    let paused = async {
        loop {
            let reply = look().await;
            assert!(!reply.text.contains("whsec_"), "{}", reply.text);
            if let Some(reason) = reply.body["paused"]["reason"].as_str() {
                return reason.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert_eq!(tokio::time::timeout(LONG, paused).await.unwrap(), "410 Gone");
    receiver.status.store(200, Ordering::Release);
    let resume = "/subscriptions/billing/resume";
    let reply = call(&hub, Method::POST, resume, NONE, None).await;
    assert_eq!((reply.status, &reply.body["paused"]), (StatusCode::OK, &Value::Null));
    receiver.until("the same event", |got| got.iter().any(|(status, ..)| *status == 200)).await;
}

#[tokio::test]
async fn what_comes_for_a_paused_webhook_waits_though_nobody_reads_its_group() {
    let server = blocking(start_redis).await;
    let port = server.port;
    let hub = start_on(OPEN, &format!("redis://127.0.0.1:{port}")).await;
    let receiver = Receiver::start(200).await;
    let settings = Some(json!({ "len_max": 3 }));
    let declared = call(&hub, Method::PUT, "/streams/orders", NONE, settings).await;
    assert!(declared.status.is_success(), "{}", declared.text);
    assert!(
        put(&hub, "billing", json!({ "topic": "orders", "url": receiver.url }))
            .await
            .status
            .is_success()
    );
    publish(&hub, json!({ "order": 0 })).await;
    receiver.until("a delivery", |got| delivered(got) == [0]).await;
    let pause = "/subscriptions/billing/pause";
    assert_eq!(call(&hub, Method::POST, pause, NONE, Some(json!({}))).await.status, StatusCode::OK);
    let group = || call(&hub, Method::GET, "/streams/orders/groups/webhook.billing", NONE, None);
    let ended = async {
        while group().await.body["consumers_len"] != 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, ended).await.expect("its end");

    // As seven days would, without anyone who reads it.
    let hset = move || {
        let groups = redis_cli(port, &["--scan", "--pattern", "*orders*:groups"]);
        redis_cli(port, &["HSET", &groups, "webhook.billing:seen", "1"])
    };
    assert_eq!(blocking(hset).await, "0");
    let kept = async {
        while group().await.body["is_forgotten"] == true {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, kept).await.expect("it is not forgotten");
    for order in [1, 2] {
        publish(&hub, json!({ "order": order })).await;
    }
    let body = Some(json!({ "data": 3 }));
    let refused = call(&hub, Method::POST, "/streams/orders", NONE, body).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.text);
    let resume = "/subscriptions/billing/resume";
    assert_eq!(call(&hub, Method::POST, resume, NONE, None).await.status, StatusCode::OK);
    receiver.until("what came meanwhile", |got| delivered(got).len() == 3).await;
}

/// How often the hub has looked who has webhooks.
fn looks(port: u16) -> u64 {
    let stats = redis_cli(port, &["INFO", "commandstats"]);
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_zrange:calls="));
    calls.and_then(|calls| calls.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
}

#[tokio::test]
async fn webhooks_that_cannot_be_delivered_are_begun_again_without_haste() {
    let server = blocking(start_redis).await;
    let port = server.port;
    let hub = start_on(OPEN, &format!("redis://127.0.0.1:{port}")).await;
    publish(&hub, json!({ "order": 0 })).await;
    for name in ["billing", "mail"] {
        // Whoever holds an event of it shares the group, and so nobody keeps an order.
        let path = format!("/streams/orders/groups/webhook.{name}/pull");
        let pulled = call(&hub, Method::POST, &path, NONE, Some(json!({ "lease": "1h" }))).await;
        assert_eq!(pulled.status, StatusCode::OK, "{}", pulled.text);
    }
    for name in ["billing", "mail"] {
        let body = json!({ "topic": "orders", "url": "http://127.0.0.1:9/in", "ordered": true });
        assert!(put(&hub, name, body).await.status.is_success());
    }
    for name in ["billing", "mail"] {
        let refused = async {
            let path = format!("/subscriptions/{name}");
            while call(&hub, Method::GET, &path, NONE, None).await.body["last"].is_null() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(LONG, refused).await.expect("it is told why");
    }
    let before = blocking(move || looks(port)).await;
    // At most one is due, as they are five seconds apart. What begins anew asks for members in the same way, a few
    // dozen times; in haste it would be hundreds a second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = blocking(move || looks(port)).await;
    assert!(before > 0 && after - before < 100, "{before} looks, and {after} two seconds later");
}

/// Where the store has since when webhooks fail, and when they last did: beside their definitions.
fn failing_key(port: u16) -> String {
    let defined = redis_cli(port, &["--scan", "--pattern", "*stream:webhooks"]);
    format!("{defined}-failing")
}

#[tokio::test]
async fn a_webhook_that_has_failed_for_24_hours_is_paused_and_one_that_was_not_tried_is_not() {
    let server = blocking(start_redis).await;
    let port = server.port;
    let hub = start_on(OPEN, &format!("redis://127.0.0.1:{port}")).await;
    let receiver = Receiver::start(500).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let ago = |hours: u64| (now - Duration::from_secs(hours * 3_600)).as_millis().to_string();
    for (name, last) in [("untried", 3), ("failing", 1)] {
        let body = json!({ "topic": "orders", "url": receiver.url });
        assert!(put(&hub, name, body).await.status.is_success());
        let failing = format!("{} {}", ago(25), ago(last));
        blocking(move || redis_cli(port, &["HSET", &failing_key(port), name, &failing])).await;
    }
    // As many as close the endpoint off, and the store is told.
    for order in 0..8 {
        publish(&hub, json!({ "order": order })).await;
    }
    let paused = |name: &'static str| {
        let hub = &hub;
        async move {
            let path = format!("/subscriptions/{name}");
            call(hub, Method::GET, &path, NONE, None).await.body["paused"].clone()
        }
    };
    let told = async {
        loop {
            let hget = move || redis_cli(port, &["HGET", &failing_key(port), "untried"]);
            let untried = blocking(hget).await;
            let since = untried.split(' ').next().unwrap().parse::<u128>().unwrap();
            let failing = paused("failing").await;
            if since >= now.as_millis() && !failing.is_null() {
                return failing;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let failing = tokio::time::timeout(LONG, told).await.expect("a pause");
    assert!(failing["reason"].as_str().unwrap().contains("24 hours"), "{failing}");
    assert!(paused("untried").await.is_null());
}

#[tokio::test]
async fn no_webhook_leads_to_an_address_that_is_not_on_the_internet() {
    let hub = start("").await;
    for url in [
        "https://127.0.0.1/",
        "https://0x7f.1/",
        "https://[::ffff:127.0.0.1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/",
        "http://example.com/",
        "https://user:pass@example.com/",
        "https://example.com:0/",
        "https://example.com/in#part",
    ] {
        let reply = put(&hub, "bad", json!({ "topic": "orders", "url": url })).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{url}: {}", reply.text);
    }
}

#[tokio::test]
async fn a_revision_is_replaced_once() {
    let hub = open_hub().await;
    let body = || json!({ "topic": "orders", "url": "https://example.com/in" });
    let tag = put(&hub, "billing", body()).await.headers["etag"].to_str().unwrap().to_owned();
    let path = "/subscriptions/billing";
    let over = [("if-match", tag.as_str())];
    let first = call(&hub, Method::PUT, path, &over, Some(body())).await;
    let second = call(&hub, Method::PUT, path, &over, Some(body())).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text);
    assert_eq!(second.status, StatusCode::PRECONDITION_FAILED, "{}", second.text);
    assert_eq!(call(&hub, Method::DELETE, path, NONE, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(call(&hub, Method::DELETE, path, NONE, None).await.status, StatusCode::NOT_FOUND);
    let log = hub.server.log();
    for told in ["a webhook was defined over HTTP", "a webhook was removed over HTTP"] {
        let line = log.lines().find(|line| line.contains(told)).unwrap_or_default();
        assert!(line.contains("by=\"http\"") && line.contains("billing"), "{log}");
    }
}

#[tokio::test]
async fn a_webhook_keeps_its_topic_and_holds_up_no_audit() {
    let hub = open_hub().await;
    let body = |topic: &str| json!({ "topic": topic, "url": "https://example.com/in" });
    let audit = put(&hub, "billing", body("sinew.audit")).await;
    assert_eq!(audit.status, StatusCode::FORBIDDEN, "{}", audit.text);
    assert_eq!(put(&hub, "billing", body("orders")).await.status, StatusCode::CREATED);
    let other = put(&hub, "billing", body("refunds")).await;
    assert_eq!(other.status, StatusCode::CONFLICT, "{}", other.text);
    let pause = |body| call(&hub, Method::POST, "/subscriptions/billing/pause", NONE, body);
    for body in [None, Some(json!({})), Some(json!({ "reason": "maintenance" }))] {
        let paused = pause(body).await;
        assert_eq!(paused.status, StatusCode::OK, "{}", paused.text);
        assert_eq!(paused.body["paused"]["reason"], "paused over HTTP");
    }
    let audit = call(&hub, Method::GET, "/audit?kind=stream", NONE, None).await;
    let acts = audit.body.as_array().unwrap().iter().map(|act| act["data"]["what"]["act"].clone());
    assert_eq!(acts.collect::<Vec<_>>(), ["pause", "put"], "what changes nothing is not noted");
}

#[tokio::test]
async fn a_webhook_is_paused_for_the_reason_that_is_said() {
    let hub = open_hub().await;
    let body = json!({ "topic": "orders", "url": "https://example.com/in" });
    assert_eq!(put(&hub, "billing", body).await.status, StatusCode::CREATED);
    let url = format!("{}/v1/subscriptions/billing/pause", hub.url);
    let reason = || Some(json!({ "reason": "maintenance" }).to_string());
    let untyped = hub.send_with(Method::POST, &url, NONE, reason()).await;
    assert_eq!(untyped.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{}", untyped.text);
    let typed = [("content-type", "application/json")];
    for body in [reason(), None] {
        let paused = hub.send_with(Method::POST, &url, &typed, body).await;
        assert_eq!(paused.status, StatusCode::OK, "{}", paused.text);
        assert_eq!(paused.body["paused"]["reason"], "maintenance");
    }
}
