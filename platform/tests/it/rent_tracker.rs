//! RentTracker: what clients may count on, on SQLite in memory, SQLite in a file and PostgreSQL.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sinew::Sinew;
use sinew::limit::http::TrustedProxies;
use sinew_platform::{Database, demo, router};
use tower::ServiceExt;

use crate::databases::on_every_database;

struct Platform {
    app: Router,
    tenant: String,
    database: Database,
}

struct Reply {
    status: StatusCode,
    cache: Option<String>,
    content_type: String,
    location: Option<String>,
    body: Value,
}

impl Platform {
    async fn open(url: &str) -> Self {
        let database = Database::open(url).await.expect("a database");
        let sinew = Sinew::builder().prefix("RentTracker_").embedded().unwrap();
        // Tests of one database run beside each other: each is a tenant of its own.
        let tenant = format!("t{:x}", fastrand::u64(..));
        let app = router(sinew, database.clone(), &TrustedProxies::default()).unwrap();
        Self { app, tenant, database }
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        self.send_as(&self.tenant, method, path, body).await
    }

    async fn send_as(
        &self,
        tenant: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Reply {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("X-Tenant-Id", tenant)
            .header("Content-Type", "application/json")
            .body(body.map_or_else(Body::empty, |b| Body::from(b.to_string())))
            .unwrap();
        self.reply_to(request).await
    }

    async fn reply_to(&self, request: Request<Body>) -> Reply {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let header =
            |name: &str| response.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        let (cache, location) = (header("x-cache"), header("location"));
        let content_type = header("content-type").unwrap_or_default();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Reply { status, cache, content_type, location, body }
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None).await
    }

    async fn create_property(&self) -> Value {
        let body = json!({"address": "1 Elm Street", "monthlyRentCents": 100_000});
        let reply = self.send(Method::POST, "/api/properties", Some(body)).await;
        assert_eq!(reply.status, StatusCode::CREATED);
        assert_eq!(reply.location.unwrap(), format!("/api/properties/{}", reply.body["id"]));
        reply.body
    }

    async fn create_payment(&self, property: &Value) -> Value {
        let body = json!({"amountCents": 100_000, "paidOn": "2026-11-01"});
        let path = format!("/api/properties/{}/payments", property["id"]);
        let reply = self.send(Method::POST, &path, Some(body)).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.body);
        reply.body
    }

    /// Reads twice: the second comes from the cache.
    async fn cached(&self, path: &str) -> Value {
        let first = self.get(path).await;
        assert_eq!(first.status, StatusCode::OK, "{path}: {}", first.body);
        let second = self.get(path).await;
        assert_eq!(second.cache.as_deref(), Some("hit"), "{path}");
        assert_eq!(first.body, second.body);
        second.body
    }

    async fn is_evicted(&self, path: &str) {
        let reply = self.get(path).await;
        assert_ne!(reply.cache.as_deref(), Some("hit"), "{path} was not evicted: {}", reply.body);
    }
}

on_every_database! {
    async fn a_second_read_is_a_hit_and_a_write_makes_the_next_one_fresh(platform: Platform) {
        let property = platform.create_property().await;
        let path = format!("/api/properties/{}", property["id"]);
        assert_eq!(platform.get(&path).await.cache.as_deref(), Some("miss"));
        assert_eq!(platform.cached(&path).await, property);
        let mut change = property.clone();
        change["monthlyRentCents"] = json!(120_000);
        let changed = platform.send(Method::PUT, &path, Some(change)).await;
        assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
        assert_eq!(changed.body["rowVersion"], 2);
        let fresh = platform.get(&path).await;
        assert_eq!(fresh.cache.as_deref(), Some("miss"));
        assert_eq!(fresh.body, changed.body);
        assert_eq!(platform.cached(&path).await["monthlyRentCents"], 120_000);
    }

    async fn every_write_evicts_what_the_map_says(platform: Platform) {
        let property = platform.create_property().await;
        let payment = platform.create_payment(&property).await;
        let list = "/api/properties".to_owned();
        let one = format!("{list}/{}", property["id"]);
        let payments = format!("{one}/payments");
        let paid = format!("{payments}/{}", payment["id"]);
        let all = [&list, &one, &payments, &paid];
        let warm = async || for path in all { platform.cached(path).await; };
        let hits = async |kept: &[&String]| for path in kept {
            assert_eq!(platform.get(path).await.cache.as_deref(), Some("hit"), "{path}");
        };

        warm().await;
        platform.create_property().await;
        platform.is_evicted(&list).await;
        hits(&[&one, &payments, &paid]).await;

        warm().await;
        let changed = platform.send(Method::PUT, &one, Some(property.clone())).await;
        assert_eq!(changed.status, StatusCode::OK);
        hits(&[&payments, &paid]).await;
        platform.is_evicted(&list).await;
        platform.is_evicted(&one).await;

        warm().await;
        let second = platform.create_payment(&property).await;
        hits(&[&list, &one, &paid]).await;
        platform.is_evicted(&payments).await;

        warm().await;
        let changed = platform.send(Method::PUT, &paid, Some(payment.clone())).await;
        assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
        hits(&[&list, &one]).await;
        platform.is_evicted(&payments).await;
        platform.is_evicted(&paid).await;

        warm().await;
        let second = format!("{payments}/{}", second["id"]);
        assert_eq!(platform.send(Method::DELETE, &second, None).await.status, StatusCode::NO_CONTENT);
        hits(&[&list, &one, &paid]).await;
        platform.is_evicted(&payments).await;
        assert_eq!(platform.get(&second).await.status, StatusCode::NOT_FOUND);

        warm().await;
        assert_eq!(platform.send(Method::DELETE, &one, None).await.status, StatusCode::NO_CONTENT);
        platform.is_evicted(&list).await;
        for gone in [&one, &payments, &paid] {
            assert_eq!(platform.get(gone).await.status, StatusCode::NOT_FOUND, "{gone}");
        }
    }

    async fn a_lost_update_is_a_conflict_and_changes_nothing(platform: Platform) {
        let property = platform.create_property().await;
        let payment = platform.create_payment(&property).await;
        let one = format!("/api/properties/{}", property["id"]);
        let paid = format!("{one}/payments/{}", payment["id"]);
        for (path, read, field) in [(one, property, "monthlyRentCents"), (paid, payment, "amountCents")] {
            let mut change = read.clone();
            change[field] = json!(7);
            assert_eq!(platform.send(Method::PUT, &path, Some(change.clone())).await.status, StatusCode::OK);
            change[field] = json!(8);
            let lost = platform.send(Method::PUT, &path, Some(change.clone())).await;
            assert_eq!(lost.status, StatusCode::CONFLICT);
            assert_eq!(lost.content_type, "application/problem+json");
            assert_eq!(platform.get(&path).await.body[field], 7);
            change["rowVersion"] = Value::Null;
            let unread = platform.send(Method::PUT, &path, Some(change)).await;
            assert_eq!(unread.status, StatusCode::BAD_REQUEST);
            assert!(unread.body["detail"].as_str().unwrap().contains("rowVersion"));
        }
    }

    async fn of_many_who_change_the_same_version_one_wins(platform: Platform) {
        let property = platform.create_property().await;
        let path = format!("/api/properties/{}", property["id"]);
        let change = |rent: u64| {
            let mut change = property.clone();
            change["monthlyRentCents"] = json!(rent);
            platform.send(Method::PUT, &path, Some(change))
        };
        let (a, b, c, d) = tokio::join!(change(1), change(2), change(3), change(4));
        let won = [&a, &b, &c, &d].into_iter().filter(|r| r.status == StatusCode::OK).count();
        let lost = [&a, &b, &c, &d].into_iter().filter(|r| r.status == StatusCode::CONFLICT).count();
        assert_eq!((won, lost), (1, 3));
        assert_eq!(platform.get(&path).await.body["rowVersion"], 2);
    }

    async fn tenants_do_not_see_each_other(platform: Platform) {
        let property = platform.create_property().await;
        let payment = platform.create_payment(&property).await;
        let one = format!("/api/properties/{}", property["id"]);
        let paid = format!("{one}/payments/{}", payment["id"]);
        platform.cached(&one).await;
        platform.cached(&paid).await;
        for (method, path, body) in [
            (Method::GET, &one, None),
            (Method::GET, &paid, None),
            (Method::PUT, &one, Some(property.clone())),
            (Method::PUT, &paid, Some(payment.clone())),
            (Method::DELETE, &paid, None),
            (Method::DELETE, &one, None),
        ] {
            let reply = platform.send_as("stranger", method.clone(), path, body).await;
            assert_eq!(reply.status, StatusCode::NOT_FOUND, "{method} {path}: {}", reply.body);
        }
        let list = platform.send_as("stranger", Method::GET, "/api/properties", None).await;
        assert_eq!(list.body, json!([]));
        assert_eq!(platform.cached(&one).await, property);
    }

    async fn a_payment_is_found_under_its_own_property_only(platform: Platform) {
        let (owner, other) = (platform.create_property().await, platform.create_property().await);
        let payment = platform.create_payment(&owner).await;
        platform.cached(&format!("/api/properties/{}/payments/{}", owner["id"], payment["id"])).await;
        let wrong = format!("/api/properties/{}/payments/{}", other["id"], payment["id"]);
        assert_eq!(platform.get(&wrong).await.status, StatusCode::NOT_FOUND);
        let mut change = payment.clone();
        change["propertyId"] = other["id"].clone();
        assert_eq!(platform.send(Method::PUT, &wrong, Some(change)).await.status, StatusCode::NOT_FOUND);
        assert_eq!(platform.send(Method::DELETE, &wrong, None).await.status, StatusCode::NOT_FOUND);
    }

    async fn bad_input_is_a_problem_that_says_what_was_expected(platform: Platform) {
        let property = platform.create_property().await;
        let one = format!("/api/properties/{}", property["id"]);
        let payments = format!("{one}/payments");
        let long = "x".repeat(201);
        for (method, path, body, told) in [
            (Method::POST, "/api/properties", json!({"address": " ", "monthlyRentCents": 1}), "1 to 200 characters"),
            (Method::POST, "/api/properties", json!({"address": long, "monthlyRentCents": 1}), "1 to 200 characters"),
            (Method::POST, "/api/properties", json!({"address": "a", "monthlyRentCents": -1}), "0 to 100000000000"),
            (Method::POST, "/api/properties", json!({"address": "a"}), "monthlyRentCents"),
            (Method::POST, "/api/properties", json!({"address": "a", "monthlyRentCents": 1, "rent": 1}), "rent"),
            (Method::POST, "/api/properties", json!("text"), "expected a map"),
            (Method::PUT, &one, json!({"id": 99_999_999, "address": "a", "monthlyRentCents": 1, "rowVersion": 1}), "the id in the path"),
            (Method::POST, &payments, json!({"amountCents": 0, "paidOn": "2026-11-01"}), "amountCents"),
            (Method::POST, &payments, json!({"amountCents": 1, "paidOn": "2026-13-01"}), "paidOn"),
            (Method::POST, &payments, json!({"amountCents": 1, "paidOn": "20261101"}), "paidOn"),
            (Method::POST, "/api/properties", json!([null, "a", 1, null]), "expected a map"),
            (Method::POST, "/api/properties", json!({"address": "a\u{0}", "monthlyRentCents": 1}), "no control characters"),
            (Method::GET, "/api/properties/one", Value::Null, "one"),
        ] {
            let reply = platform.send(method, path, Some(body)).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path} {}", reply.body);
            assert_eq!(reply.content_type, "application/problem+json");
            let detail = reply.body["detail"].as_str().unwrap();
            assert!(detail.contains(told), "{detail}");
        }
        for bad in ["", "a_b", "a b", "a:b"] {
            let reply = platform.send_as(bad, Method::GET, "/api/properties", None).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{bad}");
        }
        let without = Request::builder().uri("/api/properties").body(Body::empty()).unwrap();
        assert_eq!(platform.reply_to(without).await.status, StatusCode::BAD_REQUEST);
        assert_eq!(platform.get("/api/nothing").await.status, StatusCode::NOT_FOUND);
        let large = json!({"address": "x".repeat(100_000), "monthlyRentCents": 1});
        let reply = platform.send(Method::POST, "/api/properties", Some(large)).await;
        assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(platform.get("/api/properties").await.body, json!([property]));
    }

    async fn demonstration_data_is_made_once(platform: Platform) {
        let first = demo::seed(&platform.database).await.unwrap();
        let list = async || {
            let reply = platform.send_as("tenant123", Method::GET, "/api/properties", None).await;
            reply.body.as_array().unwrap().len()
        };
        let before = list().await;
        assert!(before >= 24);
        let again = demo::seed(&platform.database).await.unwrap();
        assert_eq!(again, demo::Seeded { is_new: false, ..first });
        assert_eq!(list().await, before);
        let seeded = platform.send_as("tenant123", Method::GET, &format!("/api/properties/{}", first.property), None).await;
        assert_eq!(seeded.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_bad_database_url_is_told_without_its_password() {
    for url in ["mysql://u:hunter2@h/d", "postgres://u:hunter2@127.0.0.1:1/d", "nonsense"] {
        let error = Database::open(url).await.err().expect(url).to_string();
        assert!(error.contains("expected sqlite"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
