//! The generator: which model makes a page, with two instances on one Redis and one database.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use sinew::flag::PercentExt as _;

use crate::databases::on_every_database;
use crate::fleet::{Client, Fleet, Instance, LONG, Reply, sinew_on};
use crate::world::redis_cli;

const PROJECTS: &str = "/api/generator/projects";
const FLAG: &str = "advanced-ai-models";
const SIMPLE: &str = "local-simple";
const ADVANCED: &str = "local-advanced";

async fn make(at: &Instance, client: &Client) -> Reply {
    let body = json!({"prompt": "a page for a bakery"});
    at.send(client, Method::POST, PROJECTS, Some(body)).await
}

/// The model that makes a page now, and why it is that.
async fn model(at: &Instance, client: &Client) -> (String, String) {
    let made = make(at, client).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let text = |field: &str| made.body[field].as_str().unwrap().to_owned();
    assert!(text("page").contains(&format!("Made by {}, a stand-in", text("model"))));
    (text("model"), text("reason"))
}

/// An instance is told of changes by a message.
async fn becomes(at: &Instance, client: &Client, expected: (&str, &str)) {
    let expected = (expected.0.to_owned(), expected.1.to_owned());
    let told = async {
        while model(at, client).await != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, told).await.unwrap_or_else(|_| panic!("{expected:?}"));
}

async fn plain_key(fleet: &Fleet, command: &str, whose: &str, rest: &[&str]) {
    // What is the deployment's own is under `_`, where tenants have their names.
    let key = format!("{}_:feature:{FLAG}:{whose}", fleet.prefix);
    let words = [&[command, key.as_str()], rest].concat();
    let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    let port = fleet.redis_port;
    let run = tokio::task::spawn_blocking(move || {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        redis_cli(port, &words)
    });
    let answer = run.await.unwrap();
    assert!(["OK", "1"].contains(&answer.as_str()), "{answer}");
}

on_every_database! {
    async fn a_flip_of_the_flag_changes_the_model_at_both_instances(fleet: Fleet) {
        let (_, client) = fleet.client().await;
        let instances = [&fleet.first, &fleet.second];
        for instance in instances {
            assert_eq!(model(instance, &client).await, (SIMPLE.to_owned(), "DEFAULT".to_owned()));
        }
        let sinew = sinew_on(fleet.redis_port, &fleet.prefix).await;
        let flags = sinew.flags().open().await.unwrap();
        flags.edit(FLAG).default("on").by("a test").save().await.unwrap();
        for instance in instances {
            becomes(instance, &client, (ADVANCED, "STATIC")).await;
        }
        flags.kill(FLAG, "a test").await.unwrap();
        for instance in instances {
            becomes(instance, &client, (SIMPLE, "DISABLED")).await;
        }
    }

    async fn the_flag_is_asked_for_the_user_and_tenant_of_the_session(fleet: Fleet) {
        let (lucky, client) = fleet.client().await;
        let (_, other) = fleet.client().await;
        let sinew = sinew_on(fleet.redis_port, &fleet.prefix).await;
        let flags = sinew.flags().open().await.unwrap();
        flags.edit(FLAG).user(&lucky.user_id, "on").by("a test").save().await.unwrap();
        for instance in [&fleet.first, &fleet.second] {
            becomes(instance, &client, (ADVANCED, "TARGETING_MATCH")).await;
            assert_eq!(model(instance, &other).await.0, SIMPLE);
        }
        flags.edit(FLAG).rollout(100.percent()).by("a test").save().await.unwrap();
        becomes(&fleet.second, &other, (ADVANCED, "SPLIT")).await;
    }

    async fn a_plain_key_with_a_ttl_turns_the_flag_on_and_off_by_itself(fleet: Fleet) {
        let (_, client) = fleet.client().await;
        let instances = [&fleet.first, &fleet.second];
        for instance in instances {
            assert_eq!(model(instance, &client).await.0, SIMPLE);
        }
        plain_key(&fleet, "SET", "global", &["true", "EX", "600"]).await;
        for instance in instances {
            becomes(instance, &client, (ADVANCED, "STATIC")).await;
        }
        plain_key(&fleet, "EXPIRE", "global", &["1"]).await;
        for instance in instances {
            becomes(instance, &client, (SIMPLE, "DEFAULT")).await;
        }
    }

    async fn a_plain_key_of_one_user_is_of_no_other(fleet: Fleet) {
        let (lucky, client) = fleet.client().await;
        let (_, other) = fleet.client().await;
        // As .NET writes it.
        plain_key(&fleet, "SET", &format!("user:{}", lucky.user_id), &["True"]).await;
        for instance in [&fleet.first, &fleet.second] {
            becomes(instance, &client, (ADVANCED, "TARGETING_MATCH")).await;
            assert_eq!(model(instance, &other).await.0, SIMPLE);
        }
    }

    async fn projects_are_cached_and_a_new_one_is_in_the_list_at_once(fleet: Fleet) {
        let (person, client) = fleet.client().await;
        let read = async |path: &str| {
            let reply = fleet.first.get(&client, path).await;
            assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
            (reply.headers["x-cache"].to_str().unwrap().to_owned(), reply.body)
        };
        assert_eq!(read(PROJECTS).await, ("miss".to_owned(), json!([])));
        assert_eq!(read(PROJECTS).await, ("hit".to_owned(), json!([])));
        let made = make(&fleet.first, &client).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        assert_eq!(made.body["userId"], person.user_id.as_str());
        assert_eq!(read(PROJECTS).await, ("miss".to_owned(), json!([made.body])));
        let path = made.headers["location"].to_str().unwrap().to_owned();
        assert_eq!(path, format!("{PROJECTS}/{}", made.body["id"]));
        assert_eq!(read(&path).await, ("miss".to_owned(), made.body.clone()));
        assert_eq!(read(&path).await, ("hit".to_owned(), made.body));
    }

    async fn a_project_is_found_by_its_user_only(fleet: Fleet) {
        let (_, owner) = fleet.client().await;
        let (_, stranger) = fleet.client().await;
        let made = make(&fleet.first, &owner).await;
        let path = format!("{PROJECTS}/{}", made.body["id"]);
        assert_eq!(fleet.first.get(&owner, &path).await.body, made.body);
        // From the cache as well.
        for client in [&stranger, &owner, &stranger] {
            let status = fleet.second.get(client, &path).await.status;
            let is_own = client.token == owner.token;
            assert_eq!(status, if is_own { StatusCode::OK } else { StatusCode::NOT_FOUND });
        }
        assert_eq!(fleet.first.get(&stranger, PROJECTS).await.body, json!([]));
        let nobody = make(&fleet.first, &Client::default()).await;
        assert_eq!(nobody.status, StatusCode::UNAUTHORIZED, "{}", nobody.body);
    }

    async fn bad_input_is_told_what_was_expected(fleet: Fleet) {
        let (_, client) = fleet.client().await;
        for (body, told) in [
            (json!({"prompt": " "}), "1 to 2000 characters"),
            (json!({"prompt": "x".repeat(2_001)}), "1 to 2000 characters"),
            (json!({"prompt": "a\u{0}"}), "no control characters"),
            (json!({}), "prompt"),
            (json!({"prompt": "a", "model": "gpt-4"}), "model"),
            (Value::Null, "expected a map"),
        ] {
            let reply = fleet.first.send(&client, Method::POST, PROJECTS, Some(body)).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.body);
            let detail = reply.body["detail"].as_str().unwrap();
            assert!(detail.contains(told), "{detail}");
        }
    }
}
