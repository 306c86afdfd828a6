//! Billing: what its clients may count on, with two instances on one Redis and one database.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sinew::limit::http::TrustedProxies;
use sinew::{Acquire, Locks, Sinew, Tenant};
use sinew_platform::billing::{Billing, Month, MonthlyRun};
use sinew_platform::{Database, router};
use tower::ServiceExt;

use crate::databases::{on_every_database, postgres_url};
use crate::world::SHARED_REDIS;

const LOCK: &str = "job:generate-invoices:monthly";
const LONG: Duration = Duration::from_secs(120);

struct Fleet {
    first: Instance,
    second: Instance,
    tenant: Tenant,
}

struct Instance {
    app: Router,
    billing: Billing,
    locks: Locks,
    tenant: String,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Fleet {
    async fn open(url: &str) -> Self {
        let database = Database::open(url).await.expect("a database");
        // Tests of one database run beside each other: each is a tenant of its own.
        let tenant = format!("t{:x}", fastrand::u64(..));
        Self {
            first: Instance::start(&database, &tenant).await,
            second: Instance::start(&database, &tenant).await,
            tenant: Tenant::new(&tenant).unwrap(),
        }
    }

    /// So many users, each of whom used a number of units that is their own.
    async fn used_by(&self, users: i64) {
        for n in 1..=users {
            self.used(n, "2026-10-07", n).await;
            self.used(n, "2026-10-31", 1_000).await;
        }
    }

    async fn used(&self, n: i64, used_on: &str, units: i64) {
        let body = json!({"userId": user(n), "usedOn": used_on, "units": units});
        let reply = self.first.send(Method::POST, "/api/billing/usage", Some(body)).await;
        assert_eq!(reply.status, StatusCode::NO_CONTENT, "{}", reply.body);
    }

    /// The invoices of all of them, each of whom has one, by id.
    async fn all_invoiced(&self, users: i64) -> Vec<Value> {
        let mut all = Vec::new();
        for n in 1..=users {
            let invoices = self.second.invoices(n).await;
            let [invoice] = invoices.as_slice() else { panic!("one of {n}: {invoices:?}") };
            assert_eq!(invoice["units"], 1_000 + n, "{invoice}");
            assert_eq!(invoice["amountCents"], 2 * (1_000 + n), "{invoice}");
            assert_eq!(invoice["month"], "2026-10");
            all.push(invoice.clone());
        }
        all.sort_by_key(|invoice| invoice["id"].as_i64());
        all
    }
}

impl Instance {
    async fn start(database: &Database, tenant: &str) -> Self {
        let port = tokio::task::spawn_blocking(|| SHARED_REDIS.port).await.unwrap();
        let sinew = Sinew::builder().prefix("Billing_").deadline(Duration::from_secs(10));
        let sinew = sinew.connect(&format!("redis://127.0.0.1:{port}")).await.unwrap();
        Self {
            app: router(sinew.clone(), database.clone(), &TrustedProxies::default()).unwrap(),
            billing: Billing::new(sinew.clone(), database.clone()),
            locks: sinew.tenant(tenant).unwrap().locks(),
            tenant: tenant.to_owned(),
        }
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("X-Tenant-Id", &self.tenant)
            .header("Content-Type", "application/json")
            .body(body.map_or_else(Body::empty, |b| Body::from(b.to_string())))
            .unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Reply { status: parts.status, headers: parts.headers, body }
    }

    async fn run(&self) -> Reply {
        let body = json!({"month": "2026-10"});
        self.send(Method::POST, "/api/billing/runs", Some(body)).await
    }

    async fn progress(&self) -> Value {
        let reply = self.send(Method::GET, "/api/billing/runs/2026-10", None).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        reply.body
    }

    async fn invoices(&self, n: i64) -> Vec<Value> {
        let path = format!("/api/billing/users/{}/invoices", user(n));
        let reply = self.send(Method::GET, &path, None).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        reply.body.as_array().unwrap().clone()
    }

    /// Comes back when a run is in the middle.
    async fn until_some_are_written(&self) {
        let some = async { while self.progress().await["invoices"].as_i64() < Some(3) {} };
        tokio::time::timeout(LONG, some).await.expect("invoices are written");
    }

    /// Runs the month, after whoever runs it now.
    async fn run_to_the_end(&self, tenant: &Tenant) -> u64 {
        let run = async {
            loop {
                match self.billing.run_monthly(tenant, october()).await.unwrap() {
                    MonthlyRun::Done { written } => return written,
                    MonthlyRun::Held { .. } => tokio::time::sleep(Duration::from_millis(10)).await,
                    MonthlyRun::Lost => panic!("nobody takes it away"),
                }
            }
        };
        tokio::time::timeout(LONG, run).await.expect("the lock is freed")
    }
}

fn user(n: i64) -> String {
    format!("user-{n}")
}

fn october() -> Month {
    "2026-10".parse().unwrap()
}

fn fences(invoices: &[Value]) -> Vec<i64> {
    invoices.iter().map(|invoice| invoice["fence"].as_i64().unwrap()).collect()
}

on_every_database! {
    async fn of_two_instances_that_run_at_once_each_invoice_is_written_once(fleet: Fleet) {
        fleet.used_by(30).await;
        let (first, second) = tokio::join!(fleet.first.run(), fleet.second.run());
        let done = [&first, &second].into_iter().filter(|reply| reply.status == StatusCode::OK);
        let written: i64 = done.map(|reply| reply.body["written"].as_i64().unwrap()).sum();
        assert_eq!(written, 30, "{} {}", first.body, second.body);
        for reply in [&first, &second] {
            assert!([StatusCode::OK, StatusCode::CONFLICT].contains(&reply.status), "{}", reply.body);
        }
        fleet.all_invoiced(30).await;
        let again = fleet.second.run().await;
        assert_eq!((again.status, &again.body["written"]), (StatusCode::OK, &json!(0)));
        fleet.all_invoiced(30).await;
    }

    async fn a_run_that_is_aborted_in_the_middle_is_finished_by_the_next(fleet: Fleet) {
        fleet.used_by(200).await;
        let (billing, tenant) = (fleet.first.billing.clone(), fleet.tenant.clone());
        let run = tokio::spawn(async move { billing.run_monthly(&tenant, october()).await });
        fleet.second.until_some_are_written().await;
        run.abort();
        assert!(run.await.unwrap_err().is_cancelled(), "it was in the middle");
        let left = fleet.second.progress().await["usersLeft"].as_u64().unwrap();
        assert!((2..=197).contains(&left), "{left}");
        // The last commit of the one that was aborted may have been on its way.
        let written = fleet.second.run_to_the_end(&fleet.tenant).await;
        assert!((left - 1..=left).contains(&written), "{written} of {left}");
        let invoices = fleet.all_invoiced(200).await;
        assert_eq!(fences(&invoices).into_iter().collect::<BTreeSet<_>>().len(), 2);
        assert_eq!(fleet.second.progress().await["usersLeft"], 0);
    }

    async fn while_another_instance_runs_the_answer_is_409_and_when_to_ask_again(fleet: Fleet) {
        fleet.used_by(1).await;
        let Acquire::Got(guard) = fleet.first.locks.lock(LOCK).acquire().await.unwrap() else {
            panic!("it is free")
        };
        let held = fleet.second.run().await;
        assert_eq!(held.status, StatusCode::CONFLICT, "{}", held.body);
        assert_eq!(held.headers["content-type"], "application/problem+json");
        let after: u64 = held.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=30).contains(&after), "{after}");
        let expected = json!({"month": "2026-10", "invoices": 0, "usersLeft": 1, "isRunning": true});
        assert_eq!(fleet.second.progress().await, expected);
        guard.release().await.unwrap();
        let run = fleet.second.run().await;
        assert_eq!((run.status, run.body), (StatusCode::OK, json!({"month": "2026-10", "written": 1})));
        let expected = json!({"month": "2026-10", "invoices": 1, "usersLeft": 0, "isRunning": false});
        assert_eq!(fleet.first.progress().await, expected);
    }

    async fn what_is_told_after_its_invoice_was_written_is_in_the_next_one(fleet: Fleet) {
        fleet.used_by(1).await;
        assert_eq!(fleet.first.run().await.body["written"], 1);
        fleet.used(1, "2026-10-08", 5).await;
        fleet.used(1, "2026-11-30", 7).await;
        fleet.used(1, "2026-12-01", 9).await;
        assert_eq!(fleet.first.run().await.body["written"], 0, "it has its invoice");
        let november = json!({"month": "2026-11"});
        let run = fleet.first.send(Method::POST, "/api/billing/runs", Some(november)).await;
        assert_eq!(run.body["written"], 1, "{}", run.body);
        let invoices = fleet.first.invoices(1).await;
        let units: Vec<_> = invoices.iter().map(|one| (&one["month"], &one["units"])).collect();
        let (october, november) = (json!("2026-10"), json!("2026-11"));
        assert_eq!(units, [(&october, &json!(1_001)), (&november, &json!(12))]);
    }

    async fn a_run_makes_cached_invoices_fresh(fleet: Fleet) {
        fleet.used_by(1).await;
        let path = format!("/api/billing/users/{}/invoices", user(1));
        let read = async |at: &Instance| {
            let reply = at.send(Method::GET, &path, None).await;
            (reply.headers["x-cache"].to_str().unwrap().to_owned(), reply.body)
        };
        assert_eq!(read(&fleet.first).await, ("miss".to_owned(), json!([])));
        assert_eq!(read(&fleet.second).await, ("hit".to_owned(), json!([])));
        assert_eq!(fleet.first.run().await.status, StatusCode::OK);
        // The other instance is told by a message.
        let fresh = async {
            loop {
                let (cache, invoices) = read(&fleet.second).await;
                if invoices != json!([]) {
                    return (cache, invoices);
                }
            }
        };
        let (cache, invoices) = tokio::time::timeout(LONG, fresh).await.expect("it is told");
        assert_eq!((cache.as_str(), invoices.as_array().unwrap().len()), ("miss", 1));
        assert_eq!(read(&fleet.first).await, ("hit".to_owned(), invoices));
    }

    async fn tenants_have_their_own_invoices_and_runs(fleet: Fleet) {
        fleet.used_by(1).await;
        let Acquire::Got(_guard) = fleet.first.locks.lock(LOCK).acquire().await.unwrap() else {
            panic!("it is free")
        };
        let stranger = Instance { tenant: format!("{}x", fleet.first.tenant), ..fleet.second };
        let run = stranger.run().await;
        assert_eq!((run.status, &run.body["written"]), (StatusCode::OK, &json!(0)));
        assert_eq!(stranger.invoices(1).await, Vec::<Value>::new());
    }

    async fn bad_input_is_told_what_was_expected(fleet: Fleet) {
        let (usage, runs) = ("/api/billing/usage", "/api/billing/runs");
        let used = |user: &str, on: &str, units: i64| {
            Some(json!({"userId": user, "usedOn": on, "units": units}))
        };
        let long = "x".repeat(65);
        let of_long = format!("/api/billing/users/{long}/invoices");
        for (method, path, body, told) in [
            (Method::POST, usage, used("", "2026-10-07", 1), "1 to 64 characters"),
            (Method::POST, usage, used(&long, "2026-10-07", 1), "1 to 64 characters"),
            (Method::POST, usage, used("ada", "2026-10-32", 1), "like 2026-11-21"),
            (Method::POST, usage, used("ada", "2026-10-07", 0), "1 to 1000000"),
            (Method::POST, usage, used("ada", "2026-10-07", 1_000_001), "1 to 1000000"),
            (Method::POST, runs, Some(json!({"month": "2026-13"})), "like 2026-10"),
            (Method::POST, runs, Some(json!({})), "month"),
            (Method::GET, "/api/billing/runs/october", None, "like 2026-10"),
            (Method::GET, &of_long, None, "1 to 64 characters"),
        ] {
            let reply = fleet.first.send(method, path, body).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path} {}", reply.body);
            let detail = reply.body["detail"].as_str().unwrap();
            assert!(detail.contains(told), "{detail}");
        }
    }
}

/// Not in a SQLite file: there, who writes all the time keeps the others from writing at all.
async fn who_lost_the_lock_in_the_middle_writes_nothing_more(fleet: Fleet) {
    const USERS: i64 = 400;
    fleet.used_by(USERS).await;
    let (billing, tenant) = (fleet.first.billing.clone(), fleet.tenant.clone());
    let stale = tokio::spawn(async move { billing.run_monthly(&tenant, october()).await });
    fleet.second.until_some_are_written().await;
    assert_eq!(fleet.second.locks.force_release(LOCK).await.unwrap(), 1);
    let written = fleet.second.run_to_the_end(&fleet.tenant).await;
    // It learns of it from the database: its next renewal is seconds away.
    assert_eq!(stale.await.unwrap().unwrap(), MonthlyRun::Lost);

    let fences = fences(&fleet.all_invoiced(USERS).await);
    assert!(fences.is_sorted(), "the stale one wrote after its successor: {fences:?}");
    let last = fences.iter().filter(|fence| Some(*fence) == fences.last()).count();
    assert_eq!(u64::try_from(last).unwrap(), written);
    assert_eq!(fences.iter().collect::<BTreeSet<_>>().len(), 2);
}

#[tokio::test]
async fn whoever_goes_away_in_the_middle_takes_nothing_of_a_database_in_memory_along() {
    let fleet = Fleet::open("sqlite::memory:").await;
    fleet.used_by(1).await;
    // Dropped ever later on its way.
    for steps in 0..200 {
        tokio::select! {
            biased;
            () = fleet.used(1, "2026-10-08", 1) => {}
            () = async { for _ in 0..steps { tokio::task::yield_now().await } } => {}
        }
    }
    assert_eq!(fleet.second.progress().await["usersLeft"], 1);
}

#[tokio::test]
async fn on_sqlite_in_memory_who_lost_the_lock_in_the_middle_writes_nothing_more() {
    let fleet = Fleet::open("sqlite::memory:").await;
    who_lost_the_lock_in_the_middle_writes_nothing_more(fleet).await;
}

#[tokio::test]
async fn on_postgres_who_lost_the_lock_in_the_middle_writes_nothing_more() {
    let fleet = Fleet::open(&postgres_url().await).await;
    who_lost_the_lock_in_the_middle_writes_nothing_more(fleet).await;
}
