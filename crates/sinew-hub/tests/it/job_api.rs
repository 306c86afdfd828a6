//! Background jobs over HTTP: enqueued, taken, renewed, finished, looked at and put right.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::hub::{Hub, Reply, blocking, call};
use crate::world::start_redis;

const NONE: &[(&str, &str)] = &[];

async fn get(hub: &Hub, path: &str) -> Reply {
    call(hub, Method::GET, path, NONE, None).await
}

async fn post(hub: &Hub, path: &str, body: Value) -> Reply {
    call(hub, Method::POST, path, NONE, Some(body)).await
}

async fn put(hub: &Hub, path: &str, body: Value) -> Reply {
    call(hub, Method::PUT, path, NONE, Some(body)).await
}

async fn delete(hub: &Hub, path: &str) -> Reply {
    call(hub, Method::DELETE, path, NONE, None).await
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

/// The id of the only job that was enqueued.
async fn enqueue(hub: &Hub, job: Value) -> String {
    let reply = post(hub, "/queues/mail/jobs", job).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED, "{}", reply.text);
    let jobs = reply.body["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 1, "{}", reply.text);
    jobs[0]["id"].as_str().unwrap().to_owned()
}

/// The only job that there is now, taken.
async fn take(hub: &Hub) -> Value {
    let reply = post(hub, "/queues/mail/reserve", json!({ "wait": "10s" })).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    let jobs = reply.body["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 1, "{}", reply.text);
    jobs[0].clone()
}

async fn finish(hub: &Hub, end: Value) -> Value {
    let ends = json!({ "jobs": [end], "worker": "host:mailer" });
    let reply = post(hub, "/queues/mail/finish", ends).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    reply.body
}

async fn queue(hub: &Hub) -> Value {
    let reply = get(hub, "/queues/mail").await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    reply.body
}

#[tokio::test]
async fn what_is_enqueued_is_taken_at_another_hub_and_ends_once() {
    let server = blocking(start_redis).await;
    let store = format!("redis://127.0.0.1:{}", server.port);
    let (first, other) = (start(&store).await, start(&store).await);
    let job = json!({ "kind": "email.send", "payload": { "to": "ada" }, "key": "acme" });
    let id = enqueue(&first, job).await;
    let taken = take(&other).await;
    assert_eq!((&taken["id"], &taken["kind"]), (&json!(id), &json!("email.send")));
    assert_eq!((&taken["payload"], &taken["attempt"]), (&json!({ "to": "ada" }), &json!(1)));
    let token = taken["token"].as_str().unwrap();

    let running = get(&first, &format!("/queues/mail/jobs/{id}")).await;
    assert_eq!(running.body["state"], "running", "{}", running.text);
    assert!(!running.text.contains(token), "whoever has it can end the job");
    let renew = json!({ "tokens": [token], "lease": "60s" });
    let renewed = post(&first, "/queues/mail/renew", renew.clone()).await;
    assert_eq!(renewed.body["lost"], json!([]), "{}", renewed.text);
    let told =
        json!({ "token": token, "progress": { "done": 1, "total": 3 }, "log": ["rendered"] });
    let told = post(&first, "/queues/mail/progress", told).await;
    assert_eq!(told.status, StatusCode::NO_CONTENT, "{}", told.text);

    // Someone waits for it meanwhile.
    let path = format!("/queues/mail/jobs/{id}?wait=30s");
    let waits = get(&first, &path);
    let finishes = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        finish(&first, json!({ "token": token, "outcome": "done", "result": { "n": 1 } })).await
    };
    let (waited, finished) = tokio::join!(waits, finishes);
    assert_eq!(finished, json!({ "accepted": [token], "lost": [] }));
    assert_eq!(
        (&waited.body["state"], &waited.body["result"]),
        (&json!("done"), &json!({ "n": 1 }))
    );
    assert_eq!(waited.body["progress"]["done"], 1, "{}", waited.text);
    assert_eq!(waited.body["log"][0]["text"], "rendered", "{}", waited.text);

    let again = finish(&other, json!({ "token": token, "outcome": "done" })).await;
    assert_eq!(again, json!({ "accepted": [], "lost": [token] }));
    let over = post(&other, "/queues/mail/renew", renew).await;
    assert_eq!(over.body["lost"], json!([token]), "{}", over.text);
    let late = post(&other, "/queues/mail/progress", json!({ "token": token, "log": ["x"] })).await;
    is_a_problem(&late, StatusCode::GONE, "not yours any more");
    let none = post(&first, "/queues/mail/reserve", json!({})).await;
    assert_eq!(none.status, StatusCode::NO_CONTENT, "{}", none.text);
    let done = get(&first, "/queues/mail/done").await;
    assert_eq!(done.body[0]["id"], json!(id), "{}", done.text);
}

#[tokio::test]
async fn what_is_sent_again_is_enqueued_once() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let key = [("idempotency-key", "order-7")];
    let send = || call(&hub, Method::POST, "/queues/mail/jobs", &key, Some(json!({ "kind": "a" })));
    let (first, again) = (send().await, send().await);
    assert_eq!(first.body["jobs"][0]["duplicate"], false, "{}", first.text);
    assert_eq!(again.body["jobs"][0]["duplicate"], true, "{}", again.text);
    assert_eq!(first.body["jobs"][0]["id"], again.body["jobs"][0]["id"]);
    let named = json!({ "kind": "a", "id": "01KAPX2V9QJ7M3B0N8R5T4W6YZ" });
    assert_eq!(enqueue(&hub, named.clone()).await, enqueue(&hub, named).await);
    assert_eq!(queue(&hub).await["waiting"], 2);

    let batch =
        json!({ "id": "01KAPX2V9QJ7M3B0N8R5T4W700", "jobs": [{ "kind": "b" }, { "kind": "b" }] });
    for _ in 0..2 {
        let reply = post(&hub, "/queues/mail/batches", batch.clone()).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{}", reply.text);
    }
    assert_eq!(queue(&hub).await["waiting"], 4);
}

#[tokio::test]
async fn what_is_no_job_is_refused_and_nothing_is_enqueued() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let bad = StatusCode::BAD_REQUEST;
    for (body, status, told) in [
        (json!({}), bad, "missing field \"kind\""),
        (json!({ "kind": "a b" }), bad, "invalid kind of job"),
        (json!({ "kind": "a", "priority": 10 }), bad, "priority: expected a whole number, 0 to 9"),
        (json!({ "kind": "a", "attempts": -3 }), bad, "expected a whole number, 1 to 1000"),
        (json!({ "kind": "a", "delay": "366d" }), bad, "a delay of 366 days"),
        (json!([{ "kind": "a" }, { "kind": 7 }]), bad, "[1].kind: expected a string"),
        (
            json!({ "kind": "a", "payload": "x".repeat(1 << 20) }),
            StatusCode::PAYLOAD_TOO_LARGE,
            "the payload of a job has 1048578 bytes",
        ),
    ] {
        is_a_problem(&post(&hub, "/queues/mail/jobs", body).await, status, told);
    }
    let url = format!("{}/v1/queues/mail/jobs", hub.url);
    let ndjson = [("content-type", "application/x-ndjson")];
    for (line, status, told) in [
        (r#"{"kind": "a b"}"#.to_owned(), bad, "line 3: invalid kind of job"),
        (
            json!({ "kind": "a", "payload": "x".repeat(1 << 20) }).to_string(),
            StatusCode::PAYLOAD_TOO_LARGE,
            "line 3: the payload of a job has 1048578 bytes",
        ),
    ] {
        let lines = format!("{{\"kind\": \"a\"}}\n\n{line}\n");
        let refused = hub.send_with(Method::POST, &url, &ndjson, Some(lines)).await;
        is_a_problem(&refused, status, told);
    }
    let name = post(&hub, "/queues/a%20b/jobs", json!({ "kind": "a" })).await;
    is_a_problem(&name, bad, "invalid queue");
    for (path, body, told) in [
        ("/queues/mail/reserve", json!({ "max": 101 }), "expected 1 to 100"),
        ("/queues/mail/reserve", json!({ "wait": "31s" }), "expected at most 30s"),
        ("/queues/mail/reserve", json!({ "lease": "1ms" }), "1 s to 1 h"),
        ("/queues/mail/finish", json!({ "jobs": [] }), "expected 1 to 256"),
        ("/queues/mail/renew", json!({ "tokens": ["x"] }), "not the token of a job"),
    ] {
        is_a_problem(&post(&hub, path, body).await, bad, told);
    }
    is_a_problem(&get(&hub, "/queues/nothing").await, StatusCode::NOT_FOUND, "no queue");
    is_a_problem(&get(&hub, "/queues/mail/jobs/7").await, bad, "not the id of a job");
    for path in ["/queues/mail", "/queues/mail/workers", "/queues/mail/dead/groups", "/recurring"] {
        is_a_problem(&get(&hub, &format!("{path}?x=1")).await, bad, "expected none");
    }
    is_a_problem(&get(&hub, "/queue-webhooks?x=1").await, bad, "expected none");
    let gone = get(&hub, "/queues/mail/jobs/01KAPX2V9QJ7M3B0N8R5T4W6YZ").await;
    is_a_problem(&gone, StatusCode::NOT_FOUND, "GET /v1/queues/mail/jobs?state=waiting lists");
}

#[tokio::test]
async fn what_someone_reserves_who_has_hung_up_is_given_to_the_next() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let hasty = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(1));
    let url = format!("{}/v1/queues/mail/reserve", hub.url);
    let body = json!({ "wait": "30s", "lease": "1h" }).to_string();
    let request = hasty.build().unwrap().post(url).header("content-type", "application/json");
    assert!(request.body(body).send().await.unwrap_err().is_timeout());
    let enqueues = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        enqueue(&hub, json!({ "kind": "a" })).await
    };
    let began = Instant::now();
    let (taken, id) = tokio::join!(take(&hub), enqueues);
    assert!(began.elapsed() < Duration::from_secs(9), "when the wait of the first was over");
    assert_eq!((&taken["id"], &taken["crashes"]), (&json!(id), &json!(0)));
}

#[tokio::test]
async fn a_job_comes_again_as_its_worker_says() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let id = enqueue(&hub, json!({ "kind": "a", "attempts": 2 })).await;
    let back = take(&hub).await;
    finish(&hub, json!({ "token": back["token"], "outcome": "back" })).await;
    let snoozed = take(&hub).await;
    assert_eq!(snoozed["attempt"], 1, "it counts nothing");
    finish(&hub, json!({ "token": snoozed["token"], "outcome": "snooze", "after": "10ms" })).await;
    let failed = take(&hub).await;
    let retry =
        json!({ "token": failed["token"], "outcome": "retry", "error": "no", "after": "10ms" });
    finish(&hub, retry).await;
    let dead = take(&hub).await;
    assert_eq!((&dead["attempt"], &dead["failures"]), (&json!(3), &json!(1)));
    finish(&hub, json!({ "token": dead["token"], "outcome": "retry", "error": "no user 17" }))
        .await;
    let look = get(&hub, &format!("/queues/mail/jobs/{id}?wait=1s")).await;
    assert_eq!((&look.body["state"], &look.body["reason"]), (&json!("dead"), &json!("no user 17")));
    assert_eq!(look.body["runs"].as_array().map(Vec::len), Some(3), "{}", look.text);
    assert_eq!(look.body["runs"][2]["by"], "host:mailer", "{}", look.text);
}

#[tokio::test]
async fn what_common_parsers_cannot_read_is_handed_out_as_base64() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let deep = STANDARD.encode(format!("{}{}", "[".repeat(200), "]".repeat(200)));
    enqueue(&hub, json!({ "kind": "a", "payload_base64": deep })).await;
    let taken = take(&hub).await;
    assert_eq!((&taken["payload"], &taken["payload_base64"]), (&Value::Null, &json!(deep)));
    let plain = STANDARD.encode("[1]");
    enqueue(&hub, json!({ "kind": "a", "payload_base64": plain })).await;
    assert_eq!(take(&hub).await["payload"], json!([1]));
}

#[tokio::test]
async fn the_dead_are_grouped_counted_retried_and_dropped() {
    let hub = blocking(|| Hub::serve(&[])).await;
    for n in 0..3 {
        enqueue(&hub, json!({ "kind": "a" })).await;
        let taken = take(&hub).await;
        let error = if n < 2 { format!("no user {n}") } else { "no order 7".to_owned() };
        finish(&hub, json!({ "token": taken["token"], "outcome": "dead", "error": error })).await;
    }
    let groups = get(&hub, "/queues/mail/dead/groups").await;
    let groups = groups.body.as_array().unwrap().clone();
    assert_eq!((groups.len(), &groups[0]["count"]), (2, &json!(2)));
    let users = groups[0]["fingerprint"].as_str().unwrap();
    let page = get(&hub, &format!("/queues/mail/jobs?state=dead&fingerprint={users}")).await;
    assert_eq!(page.body["jobs"].as_array().map(Vec::len), Some(2), "{}", page.text);
    let dry = json!({ "fingerprint": users, "dry_run": true });
    let told = json!({ "count": 2, "exact": true });
    assert_eq!(post(&hub, "/queues/mail/dead/retry", dry).await.body, told);
    let retried = post(&hub, "/queues/mail/dead/retry", json!({ "fingerprint": users })).await;
    assert_eq!(
        retried.body,
        json!({ "retried": 2, "duplicates": 0, "gone": 0 }),
        "{}",
        retried.text
    );
    let young = json!({ "older_than": "1h" });
    assert_eq!(post(&hub, "/queues/mail/dead/drop", young).await.body, json!({ "dropped": 0 }));
    let dropped = post(&hub, "/queues/mail/dead/drop", json!({ "all": true })).await;
    assert_eq!(dropped.body, json!({ "dropped": 1 }), "{}", dropped.text);
    let both = queue(&hub).await;
    assert_eq!((&both["waiting"], &both["dead"]), (&json!(2), &json!(0)), "{both}");
    let none = post(&hub, "/queues/mail/dead/retry", json!({})).await;
    is_a_problem(&none, StatusCode::BAD_REQUEST, "expected 1 to 256 ids");

    let audit = get(&hub, "/audit?kind=job").await;
    let acts: Vec<&str> =
        audit.body.as_array().unwrap().iter().map(|act| act["type"].as_str().unwrap()).collect();
    assert_eq!(acts, ["drop-dead", "drop-dead", "retry"], "a dry run is not noted");
    let write = post(&hub, "/streams/sinew.audit.jobs", json!({ "data": 1 })).await;
    is_a_problem(&write, StatusCode::FORBIDDEN, "read only");
}

#[tokio::test]
async fn a_queue_has_limits_and_is_paused_and_resumed() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let limits = json!({ "global": 1, "per_key": 3, "rate": { "starts": 100, "per": "1s" } });
    let made = put(&hub, "/queues/mail", limits).await;
    assert_eq!((made.status, &made.body["global"]), (StatusCode::OK, &json!(1)), "{}", made.text);
    assert_eq!(made.body["rate"], json!({ "starts": 100, "per": "1s" }));
    for _ in 0..2 {
        enqueue(&hub, json!({ "kind": "a" })).await;
    }
    let one = take(&hub).await;
    let none = post(&hub, "/queues/mail/reserve", json!({})).await;
    assert_eq!(none.status, StatusCode::NO_CONTENT, "one at a time: {}", none.text);
    let lifted = put(&hub, "/queues/mail", json!({ "global": 0 })).await;
    assert_eq!((&lifted.body["global"], &lifted.body["per_key"]), (&Value::Null, &json!(3)));

    for act in ["pause", "resume"] {
        let absent = post(&hub, &format!("/queues/nothing/{act}"), json!({})).await;
        is_a_problem(&absent, StatusCode::NOT_FOUND, "no queue");
    }
    let queues = get(&hub, "/queues").await;
    assert_eq!(queues.body.as_array().map(Vec::len), Some(1), "none was made: {}", queues.text);
    let paused = post(&hub, "/queues/mail/pause", json!({})).await;
    assert_eq!(paused.body["paused"], true, "{}", paused.text);
    let held = post(&hub, "/queues/mail/reserve", json!({})).await;
    assert_eq!(held.status, StatusCode::NO_CONTENT, "{}", held.text);
    assert_eq!(
        finish(&hub, json!({ "token": one["token"], "outcome": "done" })).await["lost"],
        json!([])
    );
    assert_eq!(post(&hub, "/queues/mail/resume", json!({})).await.body["paused"], false);
    let workers = get(&hub, "/queues/mail/workers").await;
    assert_eq!(workers.body, json!([]), "{}", workers.text);
    take(&hub).await;
    let workers = get(&hub, "/queues/mail/workers").await;
    assert_eq!(workers.body[0]["running"], 1, "{}", workers.text);

    for (settings, status) in [
        (json!({ "partitions": 2 }), StatusCode::CONFLICT),
        (json!({ "partitions": 33 }), StatusCode::BAD_REQUEST),
        (json!({ "rate": { "starts": 1, "per": "2d" } }), StatusCode::BAD_REQUEST),
    ] {
        let refused = put(&hub, "/queues/mail", settings).await;
        assert_eq!(refused.status, status, "{}", refused.text);
    }
    let audit = get(&hub, "/audit?kind=job").await;
    assert_eq!(
        audit.body.as_array().map(Vec::len),
        Some(4),
        "what is refused is not noted: {}",
        audit.text
    );
    let lifted = &audit.body[2]["data"];
    assert_eq!(
        (&lifted["before"]["global"], &lifted["after"]),
        (&json!(1), &json!({ "global": 0 }))
    );
    let names = get(&hub, "/queues").await;
    assert_eq!(names.body.as_array().map(Vec::len), Some(1), "{}", names.text);
    assert_eq!(get(&hub, "/queues?after=mail").await.body, json!([]));

    put(&hub, "/queues/parted", json!({ "partitions": 4 })).await;
    let refused = put(&hub, "/queues/parted", json!({ "global": 3 })).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    let audit = get(&hub, "/audit?kind=job").await;
    assert_eq!(audit.body.as_array().map(Vec::len), Some(5), "{}", audit.text);
}

#[tokio::test]
async fn a_job_that_waits_is_cancelled_and_one_that_runs_is_told() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let waiting = enqueue(&hub, json!({ "kind": "a", "delay": "1h" })).await;
    let scheduled = get(&hub, "/queues/mail/jobs?state=scheduled").await;
    assert_eq!(scheduled.body["jobs"][0]["id"], json!(waiting), "{}", scheduled.text);
    let cancelled = delete(&hub, &format!("/queues/mail/jobs/{waiting}")).await;
    assert_eq!(cancelled.body["was"], "scheduled", "{}", cancelled.text);
    let again = delete(&hub, &format!("/queues/mail/jobs/{waiting}")).await;
    is_a_problem(&again, StatusCode::NOT_FOUND, "no job");

    let running = enqueue(&hub, json!({ "kind": "a" })).await;
    let taken = take(&hub).await;
    let cancelled = delete(&hub, &format!("/queues/mail/jobs/{running}")).await;
    assert_eq!(cancelled.body["was"], "running", "{}", cancelled.text);
    let renew = json!({ "tokens": [taken["token"]] });
    let renewed = post(&hub, "/queues/mail/renew", renew).await;
    assert_eq!(renewed.body["lost"], json!([taken["token"]]), "{}", renewed.text);
}

#[tokio::test]
async fn a_recurring_job_is_defined_seen_fired_paused_and_removed() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let preview = json!({ "cron": "30 2 * * *", "tz": "Europe/Berlin", "count": 400 });
    let preview = post(&hub, "/recurring/preview", preview).await;
    let ticks = preview.body["next"].as_array().unwrap();
    assert_eq!(ticks.len(), 400, "{}", preview.text);
    let local = |tick: &Value| tick["local"].as_str().unwrap().to_owned();
    assert!(ticks.iter().all(|tick| local(tick).ends_with("[Europe/Berlin]")));
    // On the day that has no 2:30, it comes once the clock has gone on.
    assert!(ticks.iter().any(|tick| local(tick).contains("T03:00:00+02:00")), "{}", preview.text);

    let digest = json!({ "queue": "mail", "kind": "digest", "cron": "0 7 * * 1-5", "tz": "Europe/Berlin",
        "payload": { "a": 1 }, "overlap": "allow" });
    let made = put(&hub, "/recurring/digest", digest.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    assert_eq!(made.body["next"].as_array().map(Vec::len), Some(5), "{}", made.text);
    let tag = made.headers["etag"].to_str().unwrap().to_owned();
    let other = [("if-match", "\"999\"")];
    let refused = call(&hub, Method::PUT, "/recurring/digest", &other, Some(digest.clone())).await;
    is_a_problem(&refused, StatusCode::PRECONDITION_FAILED, "another revision");
    let fired = post(&hub, "/recurring/digest/fire", json!({})).await;
    assert_eq!(fired.status, StatusCode::ACCEPTED, "{}", fired.text);
    let taken = take(&hub).await;
    assert_eq!((&taken["id"], &taken["payload"]), (&fired.body["id"], &json!({ "a": 1 })));
    let paused = post(&hub, "/recurring/digest/pause", json!({})).await;
    assert_eq!((&paused.body["paused"], &paused.body["next"]), (&json!(true), &json!([])));
    assert_ne!(paused.headers["etag"].to_str().unwrap(), tag);
    assert_eq!(post(&hub, "/recurring/digest/resume", json!({})).await.body["paused"], false);
    assert_eq!(get(&hub, "/recurring").await.body[0]["name"], "digest");
    assert_eq!(delete(&hub, "/recurring/digest").await.status, StatusCode::NO_CONTENT);
    is_a_problem(&get(&hub, "/recurring/digest").await, StatusCode::NOT_FOUND, "no recurring job");
    let audit = get(&hub, "/audit?kind=job").await;
    let acts = audit.body.as_array().unwrap_or_else(|| panic!("{}", audit.text)).iter();
    let acts = acts.map(|act| json!([act["type"], act["data"]["what"]["act"]]));
    let expected = json!([
        ["recurring", "remove"],
        ["recurring", "resume"],
        ["recurring", "pause"],
        ["fire", null],
        ["recurring", "put"],
    ]);
    assert_eq!(acts.collect::<Value>(), expected, "{}", audit.text);

    for (body, told) in [
        (json!({ "queue": "mail", "kind": "a", "cron": "61 * * * *" }), "invalid cron"),
        (
            json!({ "queue": "mail", "kind": "a", "cron": "* * * * *", "tz": "Mars/Base" }),
            "time zone",
        ),
        (json!({ "queue": "mail", "kind": "a" }), "expected a cron expression or an interval"),
        (
            json!({ "queue": "mail", "kind": "a", "every": "1m", "tz": "UTC" }),
            "expected cron beside",
        ),
    ] {
        is_a_problem(&put(&hub, "/recurring/bad", body).await, StatusCode::BAD_REQUEST, told);
    }
    // One may be called as the previews are.
    let named = put(&hub, "/recurring/preview", digest).await;
    assert_eq!(named.status, StatusCode::CREATED, "{}", named.text);
    assert_eq!(get(&hub, "/recurring/preview").await.body["name"], "preview");
}

#[tokio::test]
async fn ticks_and_what_follows_come_although_all_workers_pull() {
    let server = blocking(start_redis).await;
    let hub = start(&format!("redis://127.0.0.1:{}", server.port)).await;
    let batch =
        json!({ "jobs": [{ "kind": "row" }], "on_success": [{ "kind": "all", "queue": "other" }] });
    let submitted = post(&hub, "/queues/mail/batches", batch).await;
    assert_eq!(submitted.status, StatusCode::ACCEPTED, "{}", submitted.text);
    let taken = take(&hub).await;
    finish(&hub, json!({ "token": taken["token"], "outcome": "done" })).await;
    let path = format!("/queues/mail/batches/{}?wait=10s", submitted.body["id"].as_str().unwrap());
    let ended = get(&hub, &path).await;
    assert_eq!(
        (&ended.body["total"], &ended.body["ended"]),
        (&json!(1), &json!(true)),
        "{}",
        ended.text
    );
    let follows = post(&hub, "/queues/other/reserve", json!({ "wait": "20s" })).await;
    assert_eq!(follows.body["jobs"][0]["kind"], "all", "{}", follows.text);

    let every = json!({ "queue": "mail", "kind": "tick", "every": "1s" });
    assert_eq!(put(&hub, "/recurring/tick", every).await.status, StatusCode::CREATED);
    let reserve = json!({ "wait": "20s", "max": 1 });
    let tick = post(&hub, "/queues/mail/reserve", reserve).await;
    assert_eq!(tick.body["jobs"][0]["kind"], "tick", "{}", tick.text);
}

#[tokio::test]
async fn while_the_store_is_away_whoever_asks_is_told_when_to_come_again() {
    let mut server = blocking(start_redis).await;
    let hub = start(&format!("redis://127.0.0.1:{}", server.port)).await;
    enqueue(&hub, json!({ "kind": "a" })).await;
    blocking(move || server.kill()).await;
    for (path, body) in
        [("/queues/mail/jobs", json!({ "kind": "a" })), ("/queues/mail/reserve", json!({}))]
    {
        let reply = post(&hub, path, body).await;
        is_a_problem(&reply, StatusCode::SERVICE_UNAVAILABLE, "the store cannot serve this now");
        assert_eq!(reply.headers["retry-after"], "1");
    }
    for path in ["/queues", "/queues/mail", "/queues/mail/jobs?state=dead", "/recurring"] {
        let reply = get(&hub, path).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{}", reply.text);
        assert_eq!(reply.headers["retry-after"], "1", "{path}");
    }
}

#[tokio::test]
async fn tenants_have_queues_of_their_own() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let acme = [("x-tenant-id", "acme")];
    let job = Some(json!({ "kind": "a" }));
    let reply = call(&hub, Method::POST, "/queues/mail/jobs", &acme, job).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED, "{}", reply.text);
    assert_eq!(get(&hub, "/queues").await.body, json!([]));
    let none = post(&hub, "/queues/mail/reserve", json!({})).await;
    assert_eq!(none.status, StatusCode::NO_CONTENT, "{}", none.text);
    let own = call(&hub, Method::GET, "/queues", &acme, None).await;
    assert_eq!(own.body[0]["queue"], "mail", "{}", own.text);
}
