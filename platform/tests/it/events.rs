//! What the modules tell each other, with two instances on one Redis and one database.

use std::time::{Duration, SystemTime};

use axum::http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use sinew::Streams;
use sinew::stream::NewEvent;

use crate::databases::{on_every_database, postgres_of_its_own};
use crate::fleet::{Client, Fleet, LONG, Reply, sinew_on};

const NOTICES: &str = "/api/users/me/notices";
/// At noon.
const SEPTEMBER_7: u64 = 1_788_782_400;
const OCTOBER_7: u64 = 1_791_374_400;

/// A fleet that nobody else's workers work for.
struct World {
    fleet: Fleet,
    streams: Streams,
}

impl World {
    async fn open(url: &str) -> Self {
        // Others would publish its rows to where they are.
        let fleet = match url.starts_with("postgres") {
            true => Fleet::open(&postgres_of_its_own().await).await,
            false => Fleet::open(url).await,
        };
        let streams = sinew_on(fleet.redis_port, &fleet.prefix).await.streams();
        Self { fleet, streams }
    }

    async fn post(&self, path: &str, body: Value) -> Reply {
        self.fleet.first.send(&Client::default(), Method::POST, path, Some(body)).await
    }

    async fn used(&self, user: &str, units: i64) {
        let body = json!({"userId": user, "usedOn": "2026-10-07", "units": units});
        let reply = self.post("/api/billing/usage", body).await;
        assert_eq!(reply.status, StatusCode::NO_CONTENT, "{}", reply.body);
    }

    async fn order(&self, id: &str, user: &str, units: i64) -> Reply {
        let body = json!({"orderId": id, "userId": user, "units": units});
        self.post("/api/billing/orders", body).await
    }

    /// Writes the invoices of a month.
    async fn invoiced(&self, month: &str, written: i64) {
        let reply = self.post("/api/billing/runs", json!({"month": month})).await;
        assert_eq!((reply.status, &reply.body["written"]), (StatusCode::OK, &json!(written)));
    }

    /// The units of each invoice of a user, by month.
    async fn units(&self, user: &str) -> Vec<i64> {
        let path = format!("/api/billing/users/{user}/invoices");
        let reply = self.fleet.second.get(&Client::default(), &path).await;
        let invoices = reply.body.as_array().expect("a list").iter();
        invoices.map(|invoice| invoice["units"].as_i64().expect("a number")).collect()
    }

    /// Waits until someone has used something that is due in a month.
    async fn is_due(&self, month: &str) {
        let path = format!("/api/billing/runs/{month}");
        let due = async {
            loop {
                let progress = self.fleet.first.get(&Client::default(), &path).await;
                if progress.body["usersLeft"].as_u64() > Some(0) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LONG, due).await.unwrap_or_else(|_| panic!("nothing of {month}"));
    }

    /// Waits until there are so many notices, and gives the words of all, the latest first.
    async fn noticed(&self, client: &Client, count: usize) -> Vec<String> {
        let told = async {
            loop {
                let words = self.words(client).await;
                if words.len() >= count {
                    return words;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LONG, told).await.unwrap_or_else(|_| panic!("no {count} notices"))
    }

    async fn words(&self, client: &Client) -> Vec<String> {
        let reply = self.fleet.second.get(client, NOTICES).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        let notices = reply.body.as_array().expect("a list").iter();
        notices.map(|notice| notice["words"].as_str().expect("a text").to_owned()).collect()
    }

    /// What was published to a topic.
    async fn published(&self, topic: &str) -> usize {
        self.streams.events(topic, None, 100).await.expect("an answer").len()
    }

    /// As the generator tells it, at a time of one's own.
    fn image(&self, id: &str, user: &str, at: u64) -> NewEvent {
        let tenant = self.fleet.tenant();
        let data = json!({"projectId": 7, "userId": user, "model": "local-simple"});
        NewEvent {
            id: Some(id.to_owned()),
            source: Some(format!("/{tenant}/generator")),
            kind: Some("ImageGenerated".to_owned()),
            time: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(at)),
            key: Some(format!("{tenant}/{user}")),
            extensions: [("tenant".to_owned(), tenant.to_owned())].into(),
            ..NewEvent::json(&data).expect("JSON")
        }
    }
}

on_every_database! {
    async fn the_notice_of_an_invoice_arrives_once_and_at_nobody_else(world: World) {
        let (ada, at_ada) = world.fleet.client().await;
        let (_, at_grace) = world.fleet.client().await;
        let (first, second) = (world.fleet.workers().await, world.fleet.workers().await);
        world.used(&ada.user_id, 12).await;
        world.invoiced("2026-10", 1).await;
        let expected = ["your invoice of 2026-10 is written: 12 units, 24 cents"];
        assert_eq!(world.noticed(&at_ada, 1).await, expected);
        first.stop().await;
        second.stop().await;
        assert_eq!(world.words(&at_ada).await, expected);
        assert_eq!(world.words(&at_grace).await, Vec::<String>::new());
        let reply = world.fleet.first.get(&Client::default(), NOTICES).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{}", reply.body);
    }

    async fn an_invoice_whose_process_ends_before_it_is_told_is_told_after_the_restart(world: World) {
        let mut world = world;
        let (ada, at_ada) = world.fleet.client().await;
        // They end without a word, as with a process that is killed.
        drop(world.fleet.workers().await);
        world.used(&ada.user_id, 5).await;
        world.invoiced("2026-10", 1).await;
        assert_eq!(world.published("invoices").await, 0, "committed, and nothing more");
        assert_eq!(world.words(&at_ada).await, Vec::<String>::new());

        world.fleet.restart_first().await;
        let workers = world.fleet.workers().await;
        let expected = ["your invoice of 2026-10 is written: 5 units, 10 cents"];
        assert_eq!(world.noticed(&at_ada, 1).await, expected);
        workers.stop().await;
        assert_eq!(world.published("invoices").await, 1);
        assert_eq!(world.words(&at_ada).await, expected);
    }

    async fn an_image_that_is_told_twice_is_used_once(world: World) {
        let workers = world.fleet.workers().await;
        let user = "ada";
        for (id, at) in [("7", OCTOBER_7), ("7", OCTOBER_7), ("8", OCTOBER_7), ("9", SEPTEMBER_7)] {
            let image = world.image(id, user, at);
            world.streams.publish_event("images", image).await.expect("a publish");
        }
        assert_eq!(world.published("images").await, 4);
        // A user's images are used in their order, so that the last one comes after the twins.
        world.is_due("2026-09").await;
        world.invoiced("2026-10", 1).await;
        assert_eq!(world.units(user).await, [3]);
        workers.stop().await;
    }

    async fn a_page_that_was_made_is_billed(world: World) {
        let (ada, at_ada) = world.fleet.client().await;
        let workers = world.fleet.workers().await;
        let body = json!({"prompt": "a page for a bakery"});
        let path = "/api/generator/projects";
        let made = world.fleet.first.send(&at_ada, Method::POST, path, Some(body)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        // It may be the next month by now.
        let month = (Timestamp::now() + Duration::from_secs(86_400)).strftime("%Y-%m").to_string();
        world.is_due(&month).await;
        world.invoiced(&month, 1).await;
        assert_eq!(world.units(&ada.user_id).await, [1]);
        workers.stop().await;
    }

    async fn an_order_is_billed_and_noticed_once_however_often_it_is_sent(world: World) {
        let (ada, at_ada) = world.fleet.client().await;
        let workers = world.fleet.workers().await;
        for is_new in [true, false] {
            let placed = world.order("a-1", &ada.user_id, 40).await;
            assert_eq!(placed.status, StatusCode::ACCEPTED, "{}", placed.body);
            assert_eq!(placed.body, json!({"orderId": "a-1", "isNew": is_new}));
        }
        let expected = ["your order a-1 is placed: 40 units"];
        assert_eq!(world.noticed(&at_ada, 1).await, expected);
        let month = (Timestamp::now() + Duration::from_secs(86_400)).strftime("%Y-%m").to_string();
        world.is_due(&month).await;
        workers.stop().await;
        world.invoiced(&month, 1).await;
        assert_eq!(world.units(&ada.user_id).await, [40]);
        assert_eq!(world.published("orders").await, 1);
        assert_eq!(world.words(&at_ada).await, expected);
    }

    async fn an_event_that_nobody_can_bill_is_put_aside_with_a_reason(world: World) {
        let workers = world.fleet.workers().await;
        let nobodys = NewEvent { extensions: [].into(), ..world.image("7", "ada", OCTOBER_7) };
        let of_no_user = world.image("8", "", OCTOBER_7);
        for image in [nobodys, of_no_user] {
            world.streams.publish_event("images", image).await.expect("a publish");
        }
        let dead = world.streams.dead("images", "billing");
        let reasons = async {
            loop {
                let letters = dead.list(None, 10).await.expect("an answer");
                if letters.len() == 2 {
                    break letters.into_iter().map(|letter| letter.reason).collect::<Vec<_>>();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let mut reasons = tokio::time::timeout(LONG, reasons).await.expect("they are put aside");
        reasons.sort();
        assert!(reasons[0].contains("userId"), "{reasons:?}");
        assert!(reasons[1].contains("names no tenant"), "{reasons:?}");
        workers.stop().await;
    }

    async fn an_order_that_cannot_be_is_told_what_was_expected(world: World) {
        let long = "x".repeat(65);
        for (id, user, units, told) in [
            ("", "ada", 1, "1 to 64 of"),
            (long.as_str(), "ada", 1, "1 to 64 of"),
            ("a 1", "ada", 1, "1 to 64 of"),
            ("a-1", "", 1, "1 to 64 characters"),
            ("a-1", "ada", 0, "1 to 1000000"),
        ] {
            let reply = world.order(id, user, units).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.body);
            let detail = reply.body["detail"].as_str().unwrap();
            assert!(detail.contains(told), "{detail}");
        }
        assert_eq!(world.published("orders").await, 0);
    }
}
