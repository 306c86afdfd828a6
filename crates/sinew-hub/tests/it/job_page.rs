//! The pages of jobs in a real browser, beside a worker that does as it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sinew::job::{Job, JobContext, JobError, Queue, RunningWorker, Worker};
use sinew::{Jobs, Sinew};
use thirtyfour::prelude::*;
use tokio::sync::watch;

use crate::browser::{fill, in_a_browser, press, screenshot, seen, until, until_text, until_told};
use crate::hub::{Hub, Reply, blocking, call};
use crate::world::{Server, start_chromedriver, start_redis};

/// It fails once, and is dead.
#[derive(Job, Serialize, Deserialize)]
#[job(name = "image.generate", queue = "images", attempts = 1)]
struct Generate {
    prompt: String,
    rows: u64,
}

/// What runs the jobs, as far as it is let.
struct Painter {
    jobs: Jobs,
    worker: RunningWorker,
    /// How many rows are painted.
    rows: watch::Sender<u64>,
    has_paint: Arc<AtomicBool>,
}

impl Painter {
    async fn start(redis: &Server) -> Self {
        let sinew = Sinew::connect(&url_of(redis)).await.unwrap();
        let (rows, has_paint) = (watch::Sender::new(0), Arc::new(AtomicBool::new(false)));
        let (reached, paint) = (rows.subscribe(), Arc::clone(&has_paint));
        let handler = move |job: Generate, cx: JobContext| {
            let (mut reached, paint) = (reached.clone(), Arc::clone(&paint));
            async move {
                cx.log(&format!("painting {}", job.prompt));
                for row in 1..=job.rows {
                    reached.wait_for(|rows| *rows >= row).await.map(drop)?;
                    cx.progress(row, job.rows, "rows").await?;
                }
                match paint.load(Ordering::SeqCst) {
                    true => Ok::<_, JobError>(format!("{}.png", job.prompt)),
                    false => Err(JobError::Retry(format!("no paint for row {}", job.rows).into())),
                }
            }
        };
        let jobs = sinew.jobs();
        let worker = Worker::new(&jobs).name("host:Painter").queue(Queue::new("images"));
        let worker = worker.register(handler).unwrap().start().unwrap();
        Self { jobs, worker, rows, has_paint }
    }

    fn paint(&self, rows: u64) {
        self.rows.send_replace(rows);
    }
}

fn url_of(redis: &Server) -> String {
    format!("redis://127.0.0.1:{}", redis.port)
}

/// What all that are found say, with a bar between.
fn all(selector: &str) -> String {
    format!("[...document.querySelectorAll('{selector}')].map((it) => it.textContent).join('|')")
}

async fn sure(driver: &WebDriver, button: &str) -> WebDriverResult<()> {
    press(driver, button).await?;
    press(driver, "#do-it").await
}

#[tokio::test]
async fn a_job_is_seen_on_its_way_and_taken_back_from_the_dead_and_what_recurs_is_edited() {
    let (driver_server, redis) = blocking(|| (start_chromedriver(), start_redis())).await;
    let store = url_of(&redis);
    let hub = blocking(move || Hub::serve(&["--store", &store])).await;
    hub.until("ready").await;
    let painter = Painter::start(&redis).await;
    in_a_browser(&driver_server, move |driver| async move {
        let first = follow(&driver, &hub, &painter).await?;
        retry(&driver, &hub, &painter, &first).await?;
        pause(&driver, &hub, &painter).await?;
        edit(&driver, &hub, &painter).await?;
        painter.worker.stop().await;
        drop(redis);
        Ok(())
    })
    .await;
}

/// Enqueued by hand, it is followed until it has failed. Says which it is.
async fn follow(driver: &WebDriver, hub: &Hub, painter: &Painter) -> WebDriverResult<String> {
    driver.goto(format!("{}/", hub.url)).await?;
    press(driver, "nav a[href='/jobs']").await?;
    assert_eq!(driver.title().await?, "Jobs · Sinew");
    fill(driver, "#open input[name=open]", "images").await?;
    press(driver, "#open button").await?;
    until(driver, "document.title", |title| title == "images · Sinew").await?;
    fill(driver, "#enqueue input[name=kind]", "image.generate").await?;
    let payload = r#"{"prompt": "<b>fjord</b>", "rows": 4}"#;
    fill(driver, "#enqueue textarea", payload).await?;
    press(driver, "#enqueue-now").await?;
    let id = seen(driver, "#enqueued #done code").await?;
    press(driver, "#enqueued #done a").await?;
    until(driver, "document.title", |title| title == format!("{id} · Sinew")).await?;
    until_text(driver, "state", "running").await?;
    until_told(driver, "log", "painting <b>fjord</b>").await?;
    assert!(seen(driver, "#given").await?.contains("\"prompt\": \"<b>fjord</b>\""), "it is text");
    // Without a reload: the page itself asks.
    painter.paint(1);
    until_text(driver, "progress-told", "1 of 4, 25 %: rows").await?;
    painter.paint(3);
    until_text(driver, "progress-told", "3 of 4, 75 %: rows").await?;
    until_told(driver, "timeline", "by host:Painter").await?;
    screenshot(driver, "job.png").await?;
    painter.paint(9);
    until_text(driver, "state", "dead").await?;
    until_told(driver, "timeline", "no paint for row 4").await?;
    until(driver, "document.getElementById('retry')?.textContent", |it| it == "Try again…").await?;
    Ok(id)
}

/// Two with one trouble, tried again together.
async fn retry(
    driver: &WebDriver,
    hub: &Hub,
    painter: &Painter,
    first: &str,
) -> WebDriverResult<()> {
    painter.jobs.enqueue(&Generate { prompt: "meadow".to_owned(), rows: 7 }).await.unwrap();
    driver.goto(format!("{}/jobs/images", hub.url)).await?;
    until_text(driver, "dead", "2").await?;
    until(driver, "document.getElementById('minutes')?.dataset.points", |it| it == "120").await?;
    until_told(driver, "workers", "host:Painter").await?;
    screenshot(driver, "job-queue.png").await?;
    press(driver, "#failures").await?;
    until(driver, &all("#troubles .count"), |counts| counts == "2").await?;
    until_told(driver, "troubles", "no paint for row").await?;
    until(driver, &all("#dead-list tbody th"), |ids| ids.contains(first)).await?;
    screenshot(driver, "job-dead.png").await?;
    painter.has_paint.store(true, Ordering::SeqCst);
    sure(driver, "#troubles .retry").await?;
    until_told(driver, "done", "Tried again: 2.").await?;
    until_text(driver, "none", "No job is dead.").await?;
    driver.goto(format!("{}/jobs/images?state=done", hub.url)).await?;
    until(driver, &all("#jobs-done th"), |ids| ids.contains(first) && ids.contains('|')).await?;
    until_text(driver, "dead", "0").await?;
    until_told(driver, "kinds", "image.generate").await?;
    press(driver, &format!("#jobs-done a[href='/jobs/images/job/{first}']")).await?;
    until_text(driver, "state", "done").await?;
    until_told(driver, "result", "fjord</b>.png").await
}

async fn pause(driver: &WebDriver, hub: &Hub, painter: &Painter) -> WebDriverResult<()> {
    driver.goto(format!("{}/jobs/images", hub.url)).await?;
    until_text(driver, "standing", "taken from").await?;
    sure(driver, "#switch").await?;
    until_text(driver, "standing", "paused").await?;
    painter.jobs.enqueue(&Generate { prompt: "lake".to_owned(), rows: 1 }).await.unwrap();
    until_text(driver, "waiting", "1").await?;
    until(driver, &all("#jobs-waiting td:nth-child(2)"), |kinds| kinds == "image.generate").await?;
    driver.goto(format!("{}/jobs", hub.url)).await?;
    until_told(driver, "queue-images", "paused").await?;
    screenshot(driver, "jobs.png").await?;
    driver.goto(format!("{}/jobs/images", hub.url)).await?;
    until_text(driver, "standing", "paused").await?;
    sure(driver, "#switch").await?;
    until_text(driver, "standing", "taken from").await?;
    until_text(driver, "waiting", "0").await
}

async fn edit(driver: &WebDriver, hub: &Hub, painter: &Painter) -> WebDriverResult<()> {
    let nightly = painter.jobs.recurring("nightly").cron("0 12 * * *").tz("Europe/Berlin");
    let job = Generate { prompt: "night".to_owned(), rows: 1 };
    nightly.job(&job).unwrap().upsert().await.unwrap();
    driver.goto(format!("{}/jobs", hub.url)).await?;
    press(driver, "main a[href='/jobs/~recurring']").await?;
    press(driver, "#all a[href='/jobs/~recurring/nightly']").await?;
    let five_at = |told: &str, at: &str| {
        told.split('|').filter(|tick| tick.contains(at) && tick.contains("CE")).count() == 5
    };
    let next = all("#next li");
    until(driver, &next, |told| five_at(told, "12:00:00")).await?;

    let cron = "#terms input[name=cron]";
    fill(driver, cron, "61 4 * * 1").await?;
    until_told(driver, "wrong", "minute").await?;
    fill(driver, cron, "30 4 * * 1").await?;
    let preview = all("#preview-next li");
    until(driver, &preview, |told| five_at(told, "04:30:00") && told.matches("Mon ").count() == 5)
        .await?;
    screenshot(driver, "job-recurring.png").await?;
    press(driver, "#change").await?;
    press(driver, "#change-now").await?;
    until_told(driver, "saved", "is saved: revision").await?;
    until_told(driver, "schedule", "30 4 * * 1 in Europe/Berlin").await?;
    until(driver, &next, |told| five_at(told, "04:30:00")).await?;

    sure(driver, "#fire").await?;
    until_told(driver, "done", "Fired:").await?;
    sure(driver, "#switch").await?;
    until_text(driver, "next", "None: it is paused.").await?;
    // The form knows of it: what is changed now is in no conflict with that.
    fill(driver, cron, "45 4 * * 1").await?;
    press(driver, "#change").await?;
    press(driver, "#change-now").await?;
    until_told(driver, "schedule", "45 4 * * 1 in Europe/Berlin").await?;
    let kept = painter.jobs.recurring_at("nightly").look().await.unwrap().expect("it is defined");
    assert!(kept.is_paused && kept.last_job.is_none(), "a tick made none");
    sure(driver, "#drop").await?;
    until_told(driver, "undefined", "Not defined").await
}

/// As a page of ours asks.
async fn ask(hub: &Hub, method: Method, path: &str) -> Reply {
    let url = format!("{}/jobs{path}", hub.url);
    hub.send_with(method, &url, &[("hx-request", "true")], None).await
}

async fn die(hub: &Hub, count: usize) {
    let body = json!({ "kind": "email.send", "payload": { "to": "ada" } });
    for _ in 0..count {
        let reply = call(hub, Method::POST, "/queues/mail/jobs", &[], Some(body.clone())).await;
        assert!(reply.status.is_success(), "{}", reply.text);
    }
    let jobs = json!({ "max": count, "lease": "30s" });
    let reserved = call(hub, Method::POST, "/queues/mail/reserve", &[], Some(jobs)).await;
    let jobs = reserved.body["jobs"].as_array().unwrap_or_else(|| panic!("{}", reserved.text));
    let dead = jobs
        .iter()
        .map(|job| json!({ "token": job["token"], "outcome": "dead", "error": "no such address" }));
    let finish = json!({ "jobs": dead.collect::<Value>() });
    let finished = call(hub, Method::POST, "/queues/mail/finish", &[], Some(finish)).await;
    assert!(finished.status.is_success(), "{}", finished.text);
}

#[tokio::test]
async fn which_dead_jobs_are_meant_is_said_and_the_audit_tells_what_was_done() {
    let hub = blocking(|| Hub::serve(&[])).await;
    die(&hub, 3).await;
    let listed = call(&hub, Method::GET, "/queues/mail/jobs?state=dead", &[], None).await;
    let id = listed.body["jobs"][0]["id"].as_str().unwrap_or_else(|| panic!("{}", listed.text));
    let both = format!("/mail/dead/drop?all=true&id={id}");
    for path in ["/mail/dead/drop", "/mail/dead/drop?kind=", both.as_str()] {
        let unsaid = ask(&hub, Method::DELETE, path).await;
        assert_eq!(unsaid.status, StatusCode::BAD_REQUEST, "{}", unsaid.text);
    }
    let groups = ask(&hub, Method::GET, "/mail/dead/groups").await;
    assert!(groups.text.contains("no such address"), "{}", groups.text);
    // What is seen already is not sent again.
    let (_, seen) = groups.text.split_once("\"seen\": \"").expect("a mark");
    let seen = seen.split('"').next().expect("its end");
    let again = ask(&hub, Method::GET, &format!("/mail/dead/groups?seen={seen}")).await;
    assert_eq!(again.status, StatusCode::NO_CONTENT, "{}", again.text);
    let confirm = ask(&hub, Method::GET, "/mail/dead/drop?kind=email.send").await;
    assert!(confirm.text.contains("Drop 3 dead jobs of kind email.send"), "{}", confirm.text);
    let one = ask(&hub, Method::PUT, &format!("/mail/dead/retry?id={id}")).await;
    assert!(one.text.contains("Tried again: 1."), "{}", one.text);
    let rest = ask(&hub, Method::DELETE, "/mail/dead/drop?kind=email.send").await;
    assert!(rest.text.contains("Dropped: 2."), "{}", rest.text);

    let limited = ask(&hub, Method::PUT, "/mail/limits?global=5&per_key=&rate=10&per=1m").await;
    assert!(limited.text.contains("5 at a time, 10 starts in 1m"), "{}", limited.text);
    let refused = ask(&hub, Method::PUT, "/mail/limits?global=many").await;
    assert!(refused.text.contains("class=\"fault\""), "{}", refused.text);
    let paused = ask(&hub, Method::PUT, "/mail/switch?pause=true").await;
    assert!(paused.text.contains("is paused"), "{}", paused.text);
    ask(&hub, Method::PUT, "/mail/switch?pause=true").await;
    let cancelled = ask(&hub, Method::DELETE, &format!("/mail/job/{id}/cancel")).await;
    assert!(cancelled.text.contains("It is cancelled"), "{}", cancelled.text);

    let audit = call(&hub, Method::GET, "/audit?kind=job", &[], None).await;
    let acts = audit.body.as_array().unwrap_or_else(|| panic!("{}", audit.text)).iter();
    let acts = acts.map(|act| json!([act["type"], act["data"]["what"]["by"]]));
    let expected = json!([
        ["cancel", "dashboard"],
        ["pause", "dashboard"],
        ["queue", "dashboard"],
        ["drop-dead", "dashboard"],
        ["retry", "dashboard"],
    ]);
    assert_eq!(acts.collect::<Value>(), expected, "what was so already is not noted");
    let paused = &audit.body[1]["data"];
    let is = |paused: bool| json!({ "paused": paused });
    assert_eq!((&paused["before"], &paused["after"]), (&is(false), &is(true)));
}

#[tokio::test]
async fn what_is_done_to_what_recurs_is_noted_as_over_http() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let digest = json!({ "queue": "mail", "kind": "digest", "every": "1h" });
    let made = call(&hub, Method::PUT, "/recurring/digest", &[], Some(digest)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let paused = ask(&hub, Method::PUT, "/~recurring/digest/switch?pause=true").await;
    assert!(paused.text.contains("is paused"), "{}", paused.text);
    let resumed = call(&hub, Method::POST, "/recurring/digest/resume", &[], None).await;
    assert_eq!(resumed.status, StatusCode::OK, "{}", resumed.text);
    let audit = call(&hub, Method::GET, "/audit?kind=job", &[], None).await;
    for (at, act, paused) in [(0_usize, "resume", false), (1, "pause", true)] {
        let noted = &audit.body[at];
        let act = json!(["recurring", act, !paused, paused]);
        let told = &noted["data"];
        let was = [&told["what"]["act"], &told["before"]["paused"], &told["after"]["paused"]];
        assert_eq!(json!([noted["type"], was[0], was[1], was[2]]), act, "{}", audit.text);
    }
}

#[tokio::test]
async fn a_job_that_is_enqueued_by_hand_is_noted_without_what_it_is_given() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let headers = [("hx-request", "true"), ("content-type", "application/x-www-form-urlencoded")];
    let url = format!("{}/jobs/mail/enqueue", hub.url);
    let send = async |form: &str| {
        hub.send_with(Method::POST, &url, &headers, Some(form.to_owned())).await.text
    };
    for bad in ["kind=", "kind=a&priority=12", "kind=a&delay=400d"] {
        let refused = send(bad).await;
        assert!(refused.contains("class=\"fault\""), "{bad}: {refused}");
    }
    let done = send("kind=a&payload=%22secret%22").await;
    assert!(done.contains("Enqueued:"), "{done}");
    let audit = call(&hub, Method::GET, "/audit?kind=job", &[], None).await;
    assert_eq!(
        audit.body.as_array().map(Vec::len),
        Some(1),
        "what is refused is not: {}",
        audit.text
    );
    let noted = &audit.body[0];
    assert_eq!((&noted["type"], &noted["data"]["after"]["kind"]), (&json!("enqueue"), &json!("a")));
    assert!(!audit.text.contains("secret"), "{}", audit.text);
}

#[tokio::test]
async fn a_page_of_what_is_not_there_says_so_and_no_name_leads_elsewhere() {
    let hub = blocking(|| Hub::serve(&[])).await;
    for path in ["/..%2Fv1%2Fqueues", "/~recurring/..%2F..%2Fv1", "/mail/job/7"] {
        let reply = ask(&hub, Method::GET, path).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(!reply.text.contains("hx-get=\"/jobs/.."), "{}", reply.text);
    }
    let page = ask(&hub, Method::GET, "/mail").await;
    assert_eq!(page.status, StatusCode::OK, "its first job can be enqueued there");
    let bogus = ask(&hub, Method::GET, "/mail?state=bogus").await;
    assert!(bogus.text.contains("or says what no page does"), "{}", bogus.text);
    let now = ask(&hub, Method::GET, "/mail/now").await;
    assert!(now.text.contains("There is no queue"), "{}", now.text);
    let job = ask(&hub, Method::GET, "/mail/job/01KAPX2V9QJ7M3B0N8R5T4W6YZ/now").await;
    assert!(job.text.contains("There is no such job"), "{}", job.text);
    assert!(!job.text.contains("every "), "it is not asked for again: {}", job.text);
    let history = ask(&hub, Method::GET, "/mail/history?by=day").await;
    assert_eq!(history.body.as_array().map(Vec::len), Some(60), "{}", history.text);
}
