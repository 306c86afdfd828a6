//! Webhooks of queues: jobs that a hub sends to an endpoint.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use parking_lot::Mutex;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::sync::watch;

use crate::hub::{Hub, Reply, blocking, by_openssl, call};
use crate::world::start_redis;

const LONG: Duration = Duration::from_secs(120);
const OPEN: &str = "[webhooks]\nallow = [\"127.0.0.0/8\"]\nallow_http = true\n";
const NONE: &[(&str, &str)] = &[];
/// 24 bytes, 0 to 23.
const OTHER_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

/// What was answered, and to what.
type Got = (u16, HeaderMap, Bytes);

/// An endpoint that answers as it is told, and keeps what it has got.
#[derive(Clone)]
struct Receiver {
    url: String,
    status: Arc<AtomicU16>,
    /// How many have come.
    asked: Arc<AtomicUsize>,
    /// While this is false, none is answered.
    answers: Arc<watch::Sender<bool>>,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Receiver {
    async fn start(status: u16) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jobs", listener.local_addr().unwrap());
        let (status, asked) = (Arc::new(AtomicU16::new(status)), Arc::default());
        let answers = Arc::new(watch::Sender::new(true));
        let receiver = Self { url, status, asked, answers, got: Arc::default() };
        let app = Router::new().fallback(receive).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        receiver
    }

    async fn until(&self, what: &str, is_so: impl Fn(&[Got]) -> bool) {
        let wait = async {
            while !is_so(&self.got.lock()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LONG, wait).await.unwrap_or_else(|_| panic!("{what}"));
    }
}

async fn receive(State(of): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    of.asked.fetch_add(1, Ordering::AcqRel);
    of.answers.subscribe().wait_for(|answers| *answers).await.unwrap();
    let status = of.status.load(Ordering::Acquire);
    of.got.lock().push((status, headers, body));
    let reply = axum::http::StatusCode::from_u16(status).unwrap();
    match status {
        503 => (reply, [("retry-after", "4")]).into_response(),
        _ => reply.into_response(),
    }
}

/// The numbers of those jobs that were done.
fn done(got: &[Got]) -> Vec<u64> {
    let good = got.iter().filter(|(status, ..)| *status == 200);
    good.filter_map(|(_, _, body)| job_of(body)["payload"]["n"].as_u64()).collect()
}

fn job_of(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
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

async fn put(hub: &Hub, body: Value) -> Reply {
    call(hub, Method::PUT, "/queues/mail/webhook", NONE, Some(body)).await
}

async fn enqueue(hub: &Hub, job: Value) -> String {
    let reply = call(hub, Method::POST, "/queues/mail/jobs", NONE, Some(job)).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED, "{}", reply.text);
    reply.body["jobs"][0]["id"].as_str().unwrap().to_owned()
}

async fn look(hub: &Hub, path: &str) -> Value {
    call(hub, Method::GET, path, NONE, None).await.body
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn a_job_is_sent_signed_and_is_done_with_its_answer() {
    let (hub, receiver) = (start_on(OPEN, "embedded").await, Receiver::start(200).await);
    let made = put(&hub, json!({ "url": receiver.url })).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let secret = made.body["secret"].as_str().expect("it is told once").to_owned();
    let id = enqueue(&hub, json!({ "kind": "email.send", "payload": { "n": 7 } })).await;
    receiver.until("a job", |got| !got.is_empty()).await;
    let (_, headers, body) = receiver.got.lock()[0].clone();
    let job = job_of(&body);
    assert_eq!((&job["id"], &job["kind"]), (&json!(id), &json!("email.send")));
    assert_eq!((&job["payload"], &job["attempt"]), (&json!({ "n": 7 }), &json!(1)));
    assert_eq!(headers["webhook-id"].to_str().unwrap(), id);
    let expected = by_openssl(&secret, &headers, &body);
    assert_eq!(headers["webhook-signature"].to_str().unwrap(), expected);
    until("its end", async || {
        look(&hub, &format!("/queues/mail/jobs/{id}")).await["state"] == "done"
    })
    .await;
    let webhook = look(&hub, "/queues/mail/webhook").await;
    assert_eq!(webhook["last"]["delivered"], true, "{webhook}");
    assert!(webhook["secret"].is_null(), "{webhook}");
    assert_eq!(look(&hub, "/queue-webhooks").await[0]["queue"], "mail");

    // Another secret: what is sent from then on is signed with it alone.
    let changed = put(&hub, json!({ "url": receiver.url, "secret": OTHER_SECRET })).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    let is_by_other = |(_, headers, body): &Got| {
        headers["webhook-signature"] == by_openssl(OTHER_SECRET, headers, body)
    };
    until("the other secret", async || {
        enqueue(&hub, json!({ "kind": "email.send", "payload": { "n": 8 } })).await;
        receiver.got.lock().last().is_some_and(is_by_other)
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_fails_and_recovers_gets_everything() {
    let (hub, receiver) = (start_on(OPEN, "embedded").await, Receiver::start(500).await);
    for n in 0..10 {
        enqueue(&hub, json!({ "kind": "a", "payload": { "n": n } })).await;
    }
    assert!(put(&hub, json!({ "url": receiver.url })).await.status.is_success());
    // Enough of them for its breaker to open.
    receiver.until("failures", |got| got.len() >= 5).await;
    receiver.status.store(200, Ordering::Release);
    let all = |got: &[Got]| done(got).into_iter().collect::<BTreeSet<_>>().len() == 10;
    receiver.until("all ten", all).await;
    assert_eq!(look(&hub, "/queues/mail").await["dead"], 0);
}

#[tokio::test]
async fn an_endpoint_is_left_alone_for_as_long_as_it_asks() {
    let (hub, receiver) = (start_on(OPEN, "embedded").await, Receiver::start(503).await);
    assert!(put(&hub, json!({ "url": receiver.url })).await.status.is_success());
    let id = enqueue(&hub, json!({ "kind": "a", "payload": { "n": 7 }, "attempts": 1 })).await;
    receiver.until("a job", |got| !got.is_empty()).await;
    receiver.status.store(200, Ordering::Release);
    receiver.until("the same", |got| done(got) == [7]).await;
    let got = receiver.got.lock().clone();
    let at = |one: usize| got[one].1["webhook-timestamp"].to_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(got.len(), 2, "no attempt was used up");
    assert!(at(1) - at(0) >= 3, "4 s, in whole seconds");
    assert!(got.iter().all(|(_, headers, _)| headers["webhook-id"].to_str().unwrap() == id));
}

#[tokio::test]
async fn an_endpoint_that_is_gone_pauses_its_webhook_and_the_job_waits() {
    let (hub, receiver) = (start_on(OPEN, "embedded").await, Receiver::start(410).await);
    assert!(put(&hub, json!({ "url": receiver.url })).await.status.is_success());
    enqueue(&hub, json!({ "kind": "a", "payload": { "n": 7 }, "attempts": 1 })).await;
    until("a pause", async || {
        look(&hub, "/queues/mail/webhook").await["paused"]["reason"] == "410 Gone"
    })
    .await;
    until("it waits", async || look(&hub, "/queues/mail").await["waiting"] == 1).await;
    let audit = look(&hub, "/audit?kind=job").await;
    assert_eq!((&audit[0]["type"], &audit[0]["data"]["by"]), (&json!("webhook"), &json!("hub")));
    receiver.status.store(200, Ordering::Release);
    let resumed = call(&hub, Method::POST, "/queues/mail/webhook/resume", NONE, None).await;
    assert_eq!((resumed.status, &resumed.body["paused"]), (StatusCode::OK, &Value::Null));
    receiver.until("the same job", |got| done(got) == [7]).await;
}

#[tokio::test]
async fn a_job_that_its_endpoint_refuses_is_dead_after_its_attempts() {
    let (hub, receiver) = (start_on(OPEN, "embedded").await, Receiver::start(422).await);
    assert!(put(&hub, json!({ "url": receiver.url })).await.status.is_success());
    let id = enqueue(&hub, json!({ "kind": "a", "attempts": 1 })).await;
    let job = look(&hub, &format!("/queues/mail/jobs/{id}?wait=20s")).await;
    assert_eq!(job["state"], "dead", "{job}");
    assert_eq!(job["reason"], "422 Unprocessable Entity", "{job}");
}

#[tokio::test]
async fn two_hubs_share_the_jobs_and_one_goes_on_when_the_other_is_gone() {
    let server = blocking(start_redis).await;
    let store = format!("redis://127.0.0.1:{}", server.port);
    let (hub, other) = (start_on(OPEN, &store).await, start_on(OPEN, &store).await);
    let receiver = Receiver::start(200).await;
    let asked = |count: usize| {
        let asked = Arc::clone(&receiver.asked);
        until("two jobs of each hub", async move || asked.load(Ordering::Acquire) >= count)
    };
    let all = |got: &[Got]| done(got).into_iter().collect::<BTreeSet<_>>();
    assert!(put(&hub, json!({ "url": receiver.url, "concurrency": 2 })).await.status.is_success());
    receiver.answers.send_replace(false);
    for n in 0..40 {
        enqueue(&hub, json!({ "kind": "a", "payload": { "n": n } })).await;
    }
    // One hub alone has two under way.
    asked(4).await;
    receiver.answers.send_replace(true);
    // Each once, but for those whose hub was held up for so long that others had them.
    receiver.until("all jobs", |got| all(got).len() == 40).await;
    let ran = "sinew_queue_webhook_runs_total{outcome=\"done\"}";
    let (mut by_hub, mut by_other) = (0, 0);
    until("they are counted", async || {
        (by_hub, by_other) = (hub.metric(ran).await, other.metric(ran).await);
        by_hub + by_other >= 40
    })
    .await;
    assert!(by_hub >= 2 && by_other >= 2, "{by_hub} and {by_other}");

    receiver.answers.send_replace(false);
    let before = receiver.asked.load(Ordering::Acquire);
    for n in 40..44 {
        enqueue(&hub, json!({ "kind": "a", "payload": { "n": n } })).await;
    }
    asked(before + 4).await;
    // SIGKILL, with two jobs in hand.
    blocking(move || drop(other)).await;
    receiver.answers.send_replace(true);
    receiver.until("the last", |got| all(got).len() == 44).await;
}

#[tokio::test]
async fn no_webhook_leads_to_an_address_that_is_not_on_the_internet() {
    let hub = start_on("", "embedded").await;
    for url in [
        "https://127.0.0.1/",
        "https://169.254.169.254/latest",
        "http://example.com/",
        "https://example.com/in#part",
    ] {
        let reply = put(&hub, json!({ "url": url })).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{url}: {}", reply.text);
    }
    let timeout = put(&hub, json!({ "url": "https://example.com/", "timeout": "6m" })).await;
    assert_eq!(timeout.status, StatusCode::BAD_REQUEST, "{}", timeout.text);
    let audit = look(&hub, "/audit?kind=job").await;
    assert_eq!(audit, json!([]), "what is refused is not noted");
}
