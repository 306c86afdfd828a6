//! Users: what somebody who is signed in may count on, with two instances on one Redis and one database.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::databases::on_every_database;
use crate::fleet::{Client, Fleet, Instance, LONG};

const ME: &str = "/api/users/me";
const PREFERENCES: &str = "/api/users/me/preferences";
const SESSIONS: &str = "/api/users/me/sessions";

/// What is read, and whether it came from the cache.
async fn read(at: &Instance, client: &Client, path: &str) -> (String, Value) {
    let reply = at.get(client, path).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    (reply.headers["x-cache"].to_str().unwrap().to_owned(), reply.body)
}

async fn write(at: &Instance, client: &Client, path: &str, body: Value) {
    let reply = at.send(client, Method::PUT, path, Some(body)).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
}

/// The other instance is told by a message.
async fn is_read(at: &Instance, client: &Client, path: &str, expected: &Value) {
    let fresh = async { while read(at, client, path).await.1 != *expected {} };
    tokio::time::timeout(LONG, fresh).await.expect("it is told");
}

async fn sessions(at: &Instance, client: &Client) -> Vec<Value> {
    let reply = at.get(client, SESSIONS).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    reply.body.as_array().unwrap().clone()
}

async fn end(at: &Instance, client: &Client, id: &str) -> StatusCode {
    at.send(client, Method::DELETE, &format!("{SESSIONS}/{id}"), None).await.status
}

on_every_database! {
    async fn a_profile_is_cached_and_a_write_makes_the_next_read_fresh(fleet: Fleet) {
        let (person, client) = fleet.client().await;
        let empty = json!({"userId": person.user_id, "displayName": "", "about": ""});
        let hit = "hit".to_owned();
        assert_eq!(read(&fleet.first, &client, ME).await, ("miss".to_owned(), empty.clone()));
        assert_eq!(read(&fleet.second, &client, ME).await, (hit.clone(), empty));
        for name in ["Ada", "Ada Lovelace"] {
            write(&fleet.first, &client, ME, json!({"displayName": name, "about": "…"})).await;
            let expected = json!({"userId": person.user_id, "displayName": name, "about": "…"});
            let fresh = ("miss".to_owned(), expected.clone());
            assert_eq!(read(&fleet.first, &client, ME).await, fresh);
            is_read(&fleet.second, &client, ME, &expected).await;
            assert_eq!(read(&fleet.second, &client, ME).await, (hit.clone(), expected));
        }
    }

    async fn preferences_are_those_of_everyone_until_they_are_written(fleet: Fleet) {
        let (_, client) = fleet.client().await;
        let everyones = json!({"theme": "system", "language": "en", "newsletter": false});
        for (instance, cache) in [(&fleet.first, "miss"), (&fleet.second, "hit")] {
            let expected = (cache.to_owned(), everyones.clone());
            assert_eq!(read(instance, &client, PREFERENCES).await, expected);
        }
        let own = json!({"theme": "dark", "language": "pt-BR", "newsletter": true});
        write(&fleet.second, &client, PREFERENCES, own.clone()).await;
        assert_eq!(read(&fleet.second, &client, PREFERENCES).await, ("miss".to_owned(), own.clone()));
        is_read(&fleet.first, &client, PREFERENCES, &own).await;

        let (_, stranger) = fleet.client().await;
        assert_eq!(read(&fleet.first, &stranger, PREFERENCES).await.1, everyones);
    }

    async fn where_one_is_signed_in_is_listed_and_ended_one_by_one(fleet: Fleet) {
        let person = fleet.register().await;
        let device = |device| Client { device: Some(device), address: 9, ..Client::default() };
        let phone = fleet.first.sign_in_as(&person, device("phone")).await;
        let laptop = fleet.second.sign_in_as(&person, device("laptop")).await;
        let listed = sessions(&fleet.second, &laptop).await;
        assert_eq!(listed.len(), 2, "{listed:?}");
        let of = |device: &str| listed.iter().find(|one| one["device"] == device).expect("listed");
        assert_eq!((&of("laptop")["isCurrent"], &of("phone")["isCurrent"]), (&json!(true), &json!(false)));
        assert_eq!(of("phone")["address"], "203.0.113.9");
        let id = of("phone")["id"].as_str().unwrap();
        assert!(!phone.token.as_ref().unwrap().contains(id), "it opens nothing");

        assert_eq!(end(&fleet.second, &laptop, id).await, StatusCode::NO_CONTENT);
        assert_eq!(fleet.first.get(&phone, ME).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(fleet.first.get(&laptop, ME).await.status, StatusCode::OK);
        assert_eq!(sessions(&fleet.first, &laptop).await.len(), 1);
        assert_eq!(end(&fleet.first, &laptop, id).await, StatusCode::NOT_FOUND);
        assert_eq!(end(&fleet.first, &laptop, "no-id").await, StatusCode::BAD_REQUEST);
    }

    async fn nobody_sees_or_ends_what_is_anothers(fleet: Fleet) {
        let (_, owner) = fleet.client().await;
        let (_, stranger) = fleet.client().await;
        write(&fleet.first, &owner, ME, json!({"displayName": "Ada"})).await;
        assert_eq!(read(&fleet.first, &stranger, ME).await.1["displayName"], "");
        let owners = sessions(&fleet.first, &owner).await;
        let id = owners[0]["id"].as_str().unwrap();
        assert_eq!(end(&fleet.second, &stranger, id).await, StatusCode::NOT_FOUND);
        assert_eq!(fleet.second.get(&owner, ME).await.status, StatusCode::OK);
        assert!(sessions(&fleet.first, &stranger).await.iter().all(|one| one["id"] != id));
        for path in [ME, PREFERENCES, SESSIONS] {
            let nobody = fleet.first.get(&Client::default(), path).await;
            assert_eq!(nobody.status, StatusCode::UNAUTHORIZED, "{path} {}", nobody.body);
        }
        assert_eq!(end(&fleet.first, &Client::default(), id).await, StatusCode::UNAUTHORIZED);
        assert_eq!(end(&fleet.first, &owner, id).await, StatusCode::NO_CONTENT);
    }

    async fn bad_input_is_told_what_was_expected(fleet: Fleet) {
        let (_, client) = fleet.client().await;
        let long = "x".repeat(2_001);
        let preferences = |theme: &str, language: &str| {
            json!({"theme": theme, "language": language, "newsletter": false})
        };
        for (path, body, told) in [
            (ME, json!({"displayName": " "}), "1 to 100 characters"),
            (ME, json!({"displayName": "a\nb"}), "no control characters"),
            (ME, json!({"displayName": "Ada", "about": long}), "at most 2000 characters"),
            (ME, json!({"displayName": "Ada", "userId": "grace"}), "userId"),
            (PREFERENCES, preferences("pink", "en"), "system, light or dark"),
            (PREFERENCES, preferences("dark", "e"), "like en or pt-BR"),
            (PREFERENCES, preferences("dark", "en us"), "like en or pt-BR"),
            (PREFERENCES, json!({"theme": "dark"}), "language"),
        ] {
            let reply = fleet.first.send(&client, Method::PUT, path, Some(body)).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.body);
            let detail = reply.body["detail"].as_str().unwrap();
            assert!(detail.contains(told), "{detail}");
        }
    }
}
