//! Sessions over HTTP: opened by a token, at any hub, until they are ended.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::auth_api::made;
use crate::hub::{Hub, Reply, blocking, call};
use crate::world::{redis_cli, start_redis};

/// One that was never issued.
const STRANGE: &str = "AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

async fn own(hub: &Hub, method: Method, path: &str, token: &str, body: Option<Value>) -> Reply {
    let path = format!("/sessions/self{path}");
    call(hub, method, &path, &[("x-session-token", token)], body).await
}

async fn look(hub: &Hub, token: &str) -> Reply {
    own(hub, Method::GET, "", token, None).await
}

async fn change(hub: &Hub, token: &str, patch: Value) -> Reply {
    own(hub, Method::PATCH, "", token, Some(patch)).await
}

async fn begin(hub: &Hub, body: Value) -> Reply {
    call(hub, Method::POST, "/sessions", &[], Some(body)).await
}

async fn list(hub: &Hub, user: &str) -> Value {
    let reply = call(hub, Method::GET, &format!("/users/{user}/sessions"), &[], None).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    assert_eq!(reply.headers["cache-control"], "no-store");
    reply.body
}

/// The token of a session that was begun or has another one now, and its id.
fn issued(reply: &Reply, status: StatusCode) -> (String, String) {
    assert_eq!(reply.status, status, "{}", reply.text);
    assert_eq!(reply.headers["cache-control"], "no-store");
    assert_eq!(reply.headers["etag"], format!("\"{}\"", reply.body["version"]).as_str());
    let text = |name: &str| reply.body[name].as_str().unwrap().to_owned();
    (text("token"), text("id"))
}

fn begun(reply: &Reply) -> (String, String) {
    assert_eq!(reply.headers["location"], "/v1/sessions/self");
    issued(reply, StatusCode::CREATED)
}

fn is_not_live(reply: &Reply) {
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{}", reply.text);
    assert_eq!(reply.content_type, "application/problem+json");
    assert_eq!(reply.headers["www-authenticate"], "X-Session-Token");
    assert_eq!(reply.headers["cache-control"], "no-store");
}

async fn start(store: &str) -> Hub {
    let store = store.to_owned();
    let hub = blocking(move || Hub::serve(&["--store", &store, "--prefix", "App_"])).await;
    hub.until("ready").await;
    hub
}

/// A hub with an embedded store and these settings.
async fn configured(settings: &str) -> Hub {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sinew.toml");
    std::fs::write(&file, settings).unwrap();
    blocking(move || Hub::serve(&["--config", file.to_str().unwrap()])).await
}

#[tokio::test]
async fn a_session_is_its_tokens_at_any_hub_until_it_has_ended() {
    let server = blocking(start_redis).await;
    let store = format!("redis://127.0.0.1:{}", server.port);
    let (first, other) = (start(&store).await, start(&store).await);
    let body = json!({
        "user": "ada",
        "data": { "cart": { "book": 1, "pen": 2 }, "theme": "dark" },
        "device": "Firefox on Linux",
        "address": "203.0.113.9",
    });
    let reply = begin(&first, body).await;
    let (token, id) = begun(&reply);
    assert_eq!(reply.body["user"], "ada");
    let found = look(&other, &token).await;
    assert_eq!(found.status, StatusCode::OK, "{}", found.text);
    assert_eq!(found.headers["cache-control"], "no-store");
    assert_eq!(found.body["data"], json!({ "cart": { "book": 1, "pen": 2 }, "theme": "dark" }));
    assert_eq!((&found.body["id"], &found.body["user"]), (&json!(id), &json!("ada")));
    assert_eq!(found.body["device"], "Firefox on Linux");
    assert_eq!(found.body["address"], "203.0.113.9");
    assert_eq!(found.body["names"], json!(["cart", "theme"]));
    assert!(!found.text.contains(token.split_once('.').unwrap().1), "the token is its user's");
    let time = |name: &str| found.body[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let (began, ends) = (time("createdAt"), time("endsAt"));
    assert_eq!(ends.duration_since(began).as_hours(), 12);
    assert!(time("expiresAt") < ends && time("seenAt") >= began);

    let patch = json!({ "cart": { "pen": null, "ink": 3 }, "theme": null, "name": "Ada" });
    let changed = change(&other, &token, patch).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    let version = changed.body["version"].as_u64().unwrap();
    assert!(version > found.body["version"].as_u64().unwrap());
    assert_eq!(changed.headers["etag"], format!("\"{version}\"").as_str());
    let found = look(&first, &token).await;
    assert_eq!(found.body["data"], json!({ "cart": { "book": 1, "ink": 3 }, "name": "Ada" }));
    assert_eq!(found.body["version"], version);

    let ended = own(&first, Method::DELETE, "", &token, None).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT, "{}", ended.text);
    // Late requests, at the other hub: nothing brings it back.
    for (method, path, body) in [
        (Method::GET, "", None),
        (Method::PATCH, "", Some(json!({ "late": true }))),
        (Method::POST, "/rotate", None),
        (Method::POST, "/login", Some(json!({ "user": "ada" }))),
        (Method::POST, "/take/cart", None),
    ] {
        is_not_live(&own(&other, method, path, &token, body).await);
    }
    is_not_live(&own(&other, Method::DELETE, "", &token, None).await);
    assert_eq!(list(&other, "ada").await, json!([]));
    // What is left says that it has ended, for a minute, and nothing of what it was.
    let keys = redis_cli(server.port, &["--scan"]);
    let left = keys.lines().find(|key| key.ends_with(&id)).expect("what is left of it");
    assert_eq!(redis_cli(server.port, &["GET", left]), "ended");
}

#[tokio::test]
async fn what_a_session_begins_with_is_as_a_patch_of_nothing() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let data = json!({ "cart": { "book": 1, "pen": null }, "theme": null, "list": [null] });
    let device = "x".repeat(60_000);
    let body = json!({ "user": "ada", "data": data, "device": device });
    let begins = begin(&hub, body).await;
    let (token, _) = begun(&begins);
    assert_eq!(begins.body["names"], json!(["cart", "list"]));
    assert_eq!(begins.body["device"], device[..256], "as much as is said to be kept");
    let (other, _) = begun(&begin(&hub, json!({ "user": "ada" })).await);
    let changed = change(&hub, &other, data).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    let (first, patched) = (look(&hub, &token).await, look(&hub, &other).await);
    assert_eq!(first.body["data"], json!({ "cart": { "book": 1 }, "list": [null] }));
    assert_eq!(first.body["data"], patched.body["data"]);
}

#[tokio::test]
async fn neither_the_store_nor_a_log_has_what_opens_a_session() {
    let server = blocking(start_redis).await;
    let hub = start(&format!("redis://127.0.0.1:{}", server.port)).await;
    let body = json!({ "user": "lovelace", "data": { "card": "4111-secret" } });
    let (token, id) = begun(&begin(&hub, body).await);
    let changed = change(&hub, &token, json!({ "more": "kept" })).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    let mut stored = redis_cli(server.port, &["--scan"]);
    for key in stored.clone().lines() {
        // What is no string answers with an error, and has nothing to tell.
        let _ = write!(stored, "\n{}", redis_cli(server.port, &["GET", key]));
    }
    assert!(stored.contains("4111-secret") && stored.contains(&id), "it was looked for: {stored}");
    let secret = token.split_once('.').unwrap().1;
    assert!(!stored.contains(secret), "{stored}");
    let all = call(&hub, Method::DELETE, "/users/lovelace/sessions", &[], None).await;
    assert_eq!(all.status, StatusCode::NO_CONTENT);
    let log = hub.server.log();
    assert!(log.contains("the sessions of a user were ended over HTTP"), "{log}");
    for unsaid in [secret, "4111-secret", "lovelace"] {
        assert!(!log.contains(unsaid), "{unsaid}: {log}");
    }
}

#[tokio::test]
async fn a_log_says_who_has_ended_the_sessions_of_a_user() {
    let (helpdesk, table) = blocking(|| made(&["helpdesk", "--scope", "session:admin"])).await;
    let hub = configured(&table).await;
    let bearer = format!("Bearer {helpdesk}");
    let headers = [("authorization", bearer.as_str())];
    let body = Some(json!({ "user": "lovelace" }));
    let reply = call(&hub, Method::POST, "/sessions", &headers, body).await;
    let one = format!("/users/lovelace/sessions/{}", begun(&reply).1);
    // Where nobody has to say who they are, it is said by which way it came, as for flags and limits.
    let open = blocking(|| Hub::serve(&[])).await;
    let all = call(&open, Method::DELETE, "/users/lovelace/sessions", &[], None).await;
    assert_eq!(all.status, StatusCode::NO_CONTENT);
    let told = open.server.log();
    let line = told.lines().find(|line| line.contains("were ended over HTTP")).unwrap_or_default();
    assert!(line.contains("by=\"http\""), "{told}");
    for path in [one.as_str(), "/users/lovelace/sessions"] {
        let ended = call(&hub, Method::DELETE, path, &headers, None).await;
        assert_eq!(ended.status, StatusCode::NO_CONTENT, "{}", ended.text);
    }
    let log = hub.server.log();
    for told in ["a session of a user was ended", "the sessions of a user were ended"] {
        let line = log.lines().find(|line| line.contains(told)).unwrap_or_default();
        assert!(line.contains("helpdesk") && !line.contains("lovelace"), "{told}: {log}");
    }
}

#[tokio::test]
async fn a_login_gives_a_session_another_token_and_the_old_one_opens_nothing() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let (nobodys, _) = begun(&begin(&hub, json!({ "data": { "cart": [1, 2] } })).await);
    assert_eq!(look(&hub, &nobodys).await.body["user"], Value::Null);
    let body = json!({ "user": "ada", "device": "curl" });
    let reply = own(&hub, Method::POST, "/login", &nobodys, Some(body)).await;
    let (token, id) = issued(&reply, StatusCode::OK);
    assert!(token != nobodys);
    is_not_live(&look(&hub, &nobodys).await);
    let found = look(&hub, &token).await;
    assert_eq!(
        (&found.body["user"], &found.body["data"]),
        (&json!("ada"), &json!({ "cart": [1, 2] }))
    );
    assert_eq!(list(&hub, "ada").await[0]["device"], "curl");

    let reply = own(&hub, Method::POST, "/rotate", &token, None).await;
    let (next, another) = issued(&reply, StatusCode::OK);
    assert!(next != token && another != id);
    is_not_live(&look(&hub, &token).await);
    let found = look(&hub, &next).await;
    assert_eq!(
        (&found.body["user"], &found.body["data"]),
        (&json!("ada"), &json!({ "cart": [1, 2] }))
    );
    let listed = list(&hub, "ada").await;
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["id"]), (1, &json!(another)));
}

#[tokio::test]
async fn of_all_who_take_something_one_gets_it() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let body = json!({ "data": { "a/b": { "text": "Saved." }, "cart": 1 } });
    let (token, _) = begun(&begin(&hub, body).await);
    let takes = (0..8).map(|_| own(&hub, Method::POST, "/take/a%2Fb", &token, None));
    let replies = join_all(takes).await;
    let (got, missed): (Vec<Reply>, Vec<Reply>) =
        replies.into_iter().partition(|reply| reply.status == StatusCode::OK);
    assert_eq!((got.len(), &got[0].body), (1, &json!({ "text": "Saved." })));
    assert_eq!(got[0].content_type, "application/json");
    assert!(missed.iter().all(|reply| reply.status == StatusCode::NOT_FOUND));
    assert_eq!(look(&hub, &token).await.body["data"], json!({ "cart": 1 }));
}

#[tokio::test]
async fn changes_at_the_same_time_all_stay() {
    let server = blocking(start_redis).await;
    let hub = start(&format!("redis://127.0.0.1:{}", server.port)).await;
    let (token, _) = begun(&begin(&hub, json!({ "data": { "counts": { "k": 0 } } })).await);
    // Each loses to every other one at most once.
    let changes = (0..8).map(|n| {
        let patch = json!({ format!("n{n}"): n, "counts": { format!("k{n}"): n } });
        change(&hub, &token, patch)
    });
    for reply in join_all(changes).await {
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    }
    let data = look(&hub, &token).await.body["data"].clone();
    for n in 0..8 {
        assert_eq!(data[format!("n{n}")], n, "{data}");
        assert_eq!(data["counts"][format!("k{n}")], n, "{data}");
    }
    assert_eq!(data["counts"]["k"], 0);

    // Also where none of them finds anything to add to.
    let changes = (0..8).map(|n| change(&hub, &token, json!({ "fresh": { format!("k{n}"): n } })));
    for reply in join_all(changes).await {
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    }
    let data = look(&hub, &token).await.body["data"].clone();
    for n in 0..8 {
        assert_eq!(data["fresh"][format!("k{n}")], n, "{data}");
    }
}

#[tokio::test]
async fn a_change_of_another_version_is_refused() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let (token, _) = begun(&begin(&hub, json!({ "data": { "n": 1 } })).await);
    let tag = look(&hub, &token).await.headers["etag"].to_str().unwrap().to_owned();
    let with = async |tag: &str, n: u64| {
        let headers = [("x-session-token", token.as_str()), ("if-match", tag)];
        let body = Some(json!({ "n": n }));
        call(&hub, Method::PATCH, "/sessions/self", &headers, body).await
    };
    let changed = with(&tag, 2).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    let late = with(&tag, 3).await;
    assert_eq!(late.status, StatusCode::PRECONDITION_FAILED, "{}", late.text);
    assert_eq!(look(&hub, &token).await.body["data"], json!({ "n": 2 }));
    let tag = changed.headers["etag"].to_str().unwrap();
    for tag in [tag, "*"] {
        let changed = with(tag, 4).await;
        assert_eq!(changed.status, StatusCode::OK, "{tag}: {}", changed.text);
    }
    assert_eq!(look(&hub, &token).await.body["data"], json!({ "n": 4 }));
}

#[tokio::test]
async fn a_user_is_logged_out_of_one_session_of_all_others_and_of_all() {
    let server = blocking(start_redis).await;
    let store = format!("redis://127.0.0.1:{}", server.port);
    let (hub, other) = (start(&store).await, start(&store).await);
    let mut sessions = Vec::new();
    for device in ["a", "b", "c"] {
        let reply = begin(&hub, json!({ "user": "a/da", "device": device })).await;
        sessions.push(begun(&reply));
    }
    let (bobs, _) = begun(&begin(&hub, json!({ "user": "bob" })).await);
    let listed = list(&other, "a%2Fda").await;
    let ids = |listed: &Value| -> BTreeSet<String> {
        let ids = listed.as_array().unwrap().iter();
        ids.map(|session| session["id"].as_str().unwrap().to_owned()).collect()
    };
    let begun_here: BTreeSet<String> = sessions.iter().map(|(_, id)| id.clone()).collect();
    assert_eq!(ids(&listed), begun_here);
    for (token, _) in &sessions {
        assert!(!listed.to_string().contains(token.split_once('.').unwrap().1));
    }

    let one = format!("/users/a%2Fda/sessions/{}", sessions[0].1);
    let delete = async |path: &str| call(&hub, Method::DELETE, path, &[], None).await;
    assert_eq!(delete(&one).await.status, StatusCode::NO_CONTENT);
    is_not_live(&look(&other, &sessions[0].0).await);
    let gone = delete(&one).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND, "{}", gone.text);
    let others = format!("/users/bob/sessions/{}", sessions[1].1);
    assert_eq!(delete(&others).await.status, StatusCode::NOT_FOUND, "it is not Bob's");
    assert_eq!(look(&other, &sessions[1].0).await.status, StatusCode::OK);

    let except = format!("/users/a%2Fda/sessions?except={}", sessions[2].1);
    assert_eq!(delete(&except).await.status, StatusCode::NO_CONTENT);
    is_not_live(&look(&other, &sessions[1].0).await);
    assert_eq!(look(&other, &sessions[2].0).await.status, StatusCode::OK);
    assert_eq!(delete("/users/a%2Fda/sessions").await.status, StatusCode::NO_CONTENT);
    is_not_live(&look(&other, &sessions[2].0).await);
    is_not_live(&change(&other, &sessions[2].0, json!({ "late": 1 })).await);
    assert_eq!(list(&other, "a%2Fda").await, json!([]));
    assert_eq!(look(&other, &bobs).await.status, StatusCode::OK, "Bob is another user");
    begun(&begin(&hub, json!({ "user": "a/da" })).await);
    assert_eq!(list(&other, "a%2Fda").await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_user_has_as_many_sessions_as_the_configuration_says() {
    let ada = || json!({ "user": "ada" });
    let hub = configured("[sessions]\nmax_per_user = 2\nwhen_full = \"refuse\"\n").await;
    let (first, _) = begun(&begin(&hub, ada()).await);
    begun(&begin(&hub, ada()).await);
    let full = begin(&hub, ada()).await;
    assert_eq!(full.status, StatusCode::CONFLICT, "{}", full.text);
    let (nobodys, _) = begun(&begin(&hub, json!({ "data": { "cart": 1 } })).await);
    let full = own(&hub, Method::POST, "/login", &nobodys, Some(ada())).await;
    assert_eq!(full.status, StatusCode::CONFLICT, "{}", full.text);
    assert_eq!(look(&hub, &nobodys).await.body["data"], json!({ "cart": 1 }), "nothing changed");
    own(&hub, Method::DELETE, "", &first, None).await;
    let reply = own(&hub, Method::POST, "/login", &nobodys, Some(ada())).await;
    issued(&reply, StatusCode::OK);
    assert_eq!(list(&hub, "ada").await.as_array().unwrap().len(), 2);

    let hub = configured("[sessions]\nmax_per_user = 1\n").await;
    let (first, _) = begun(&begin(&hub, ada()).await);
    let (second, _) = begun(&begin(&hub, ada()).await);
    is_not_live(&look(&hub, &first).await);
    assert_eq!(look(&hub, &second).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_session_that_is_not_used_ends_when_the_configuration_says() {
    let hub = configured("[sessions]\nidle = \"1s\"\n").await;
    let (token, _) = begun(&begin(&hub, json!({ "user": "ada" })).await);
    // By a list, which is no use of it.
    let ends = async {
        while list(&hub, "ada").await != json!([]) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ends).await.expect("it ends");
    is_not_live(&look(&hub, &token).await);
}

#[tokio::test]
async fn a_session_of_one_tenant_opens_nothing_at_another() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let at = async |tenant: &str, token: &str| {
        let headers = [("x-tenant-id", tenant), ("x-session-token", token)];
        call(&hub, Method::GET, "/sessions/self", &headers, None).await
    };
    let acme = [("x-tenant-id", "acme")];
    let body = Some(json!({ "user": "ada" }));
    let (token, _) = begun(&call(&hub, Method::POST, "/sessions", &acme, body).await);
    assert_eq!(at("acme", &token).await.status, StatusCode::OK);
    is_not_live(&at("other", &token).await);
    is_not_live(&look(&hub, &token).await);
    // Nor is it ended there, and nobody is told so.
    let elsewhere = [("x-tenant-id", "other"), ("x-session-token", token.as_str())];
    is_not_live(&call(&hub, Method::DELETE, "/sessions/self", &elsewhere, None).await);
    is_not_live(&own(&hub, Method::DELETE, "", &token, None).await);
    assert_eq!(at("acme", &token).await.status, StatusCode::OK);
    assert_eq!(list(&hub, "ada").await, json!([]));
    let none = call(&hub, Method::DELETE, "/users/ada/sessions", &[], None).await;
    assert_eq!(none.status, StatusCode::NO_CONTENT);
    assert_eq!(at("acme", &token).await.status, StatusCode::OK, "another tenant's user");
    let all = call(&hub, Method::DELETE, "/users/ada/sessions", &acme, None).await;
    assert_eq!(all.status, StatusCode::NO_CONTENT);
    is_not_live(&at("acme", &token).await);
}

#[tokio::test]
async fn bad_requests_for_sessions_are_problems_that_say_what_was_expected() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let (bad, unknown) = (StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED);
    let (large, missing) = (StatusCode::PAYLOAD_TOO_LARGE, StatusCode::NOT_FOUND);
    let (get, post, patch, delete) = (Method::GET, Method::POST, Method::PATCH, Method::DELETE);
    let none: &[(&str, &str)] = &[];
    let strange: &[(&str, &str)] = &[("x-session-token", STRANGE)];
    let of = |data: Value| Some(json!({ "user": "ada", "data": data }));
    let deep = (0..200).fold(json!(1), |inside, _| json!([inside]));
    let many: serde_json::Map<String, Value> =
        (0..129).map(|n| (format!("n{n}"), json!(n))).collect();
    let id = "/users/ada/sessions/AAAAAAAAAAAAAAAAAAAAAA";
    for (method, path, headers, body, status, told) in [
        (&post, "/sessions", none, Some(json!({ "user": 7 })), bad, "user: expected a string"),
        (&post, "/sessions", none, Some(json!({ "usr": "ada" })), bad, "unknown field \"usr\""),
        (&post, "/sessions", none, of(json!([1])), bad, "data: expected"),
        (&post, "/sessions", none, of(json!({ "_v": 1 })), bad, "expected"),
        (&post, "/sessions", none, of(json!({ "": 1 })), bad, "expected"),
        (&post, "/sessions", none, of(json!({ "deep": deep })), bad, "fewer than 128 levels"),
        (&post, "/sessions", none, of(Value::Object(many)), bad, "128"),
        (&post, "/sessions", none, of(json!({ "a": "x".repeat(66_000) })), large, "65536 bytes"),
        (
            &post,
            "/sessions",
            none,
            Some(json!({ "user": "ada", "address": "hunter2" })),
            bad,
            "address: expected an IP address",
        ),
        (&post, "/sessions", &[("x-tenant-id", "a_b")], of(json!({})), bad, "expected 1 to 64 of"),
        (
            &post,
            "/sessions",
            none,
            None,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "expected the header Content-Type: application/json",
        ),
        (&post, "/sessions", none, Some(json!({ "user": ".." })), bad, "a path can hold"),
        (&post, "/sessions", none, Some(json!({ "user": "." })), bad, "a path can hold"),
        (
            &post,
            "/sessions",
            none,
            Some(json!({ "data": { "a": null } })),
            bad,
            "that keeps nothing is not stored",
        ),
        (&get, "/sessions/self", none, None, unknown, "X-Session-Token is missing"),
        (&get, "/sessions/self", strange, None, unknown, "is not live"),
        (&get, "/sessions/self", &[("x-session-token", "hunter2")], None, unknown, "is not live"),
        (
            &get,
            "/sessions/self",
            &[("x-session-token", STRANGE), ("x-session-token", STRANGE)],
            None,
            bad,
            "more than once",
        ),
        (&patch, "/sessions/self", strange, Some(json!({ "a": 1 })), unknown, "is not live"),
        (&patch, "/sessions/self", strange, Some(json!(1)), bad, "expected a JSON body"),
        (
            &patch,
            "/sessions/self",
            &[("x-session-token", STRANGE), ("if-match", "hunter2")],
            Some(json!({ "a": 1 })),
            bad,
            "one version between quotes",
        ),
        (&delete, "/sessions/self", none, None, unknown, "X-Session-Token is missing"),
        (&post, "/sessions/self/login", strange, Some(json!({})), bad, "missing field \"user\""),
        (&get, "/sessions/self/rotate", strange, None, StatusCode::METHOD_NOT_ALLOWED, "method"),
        (&delete, "/users/ada/sessions?all=true", none, None, bad, "nothing, or except=ID"),
        (&delete, "/users/ada/sessions?except=hunter2", none, None, bad, "no id of a session"),
        (&delete, "/users/ada/sessions/hunter2", none, None, bad, "no id of a session"),
        (&delete, id, none, None, missing, "no session of this id"),
    ] {
        let reply = call(&hub, method.clone(), path, headers, body).await;
        assert_eq!(reply.status, status, "{method} {path} {told}: {}", reply.text);
        assert_eq!(reply.content_type, "application/problem+json", "{method} {path}");
        let detail = reply.body["detail"].as_str().unwrap();
        assert!(detail.contains(told), "{method} {path}: {detail}");
        assert!(!detail.contains("hunter2"), "{method} {path}: {detail}");
    }
    assert_eq!(list(&hub, "ada").await, json!([]), "nothing was begun");
}

#[tokio::test]
async fn a_session_that_cannot_be_looked_at_is_logged_out_all_the_same() {
    let server = blocking(start_redis).await;
    let hub = start(&format!("redis://127.0.0.1:{}", server.port)).await;
    let (token, _) = begun(&begin(&hub, json!({ "user": "ada" })).await);
    let may = |look: &str| {
        assert_eq!(redis_cli(server.port, &["ACL", "SETUSER", "default", look]), "OK");
    };
    may("-mget");
    let unseen = look(&hub, &token).await;
    let out = own(&hub, Method::DELETE, "", &token, None).await;
    may("+mget");
    assert!(unseen.status.is_server_error(), "{}", unseen.text);
    assert_eq!(out.status, StatusCode::NO_CONTENT, "{}", out.text);
    is_not_live(&look(&hub, &token).await);
    assert_eq!(list(&hub, "ada").await, json!([]));
}

#[tokio::test]
async fn without_redis_no_one_is_told_that_they_are_logged_out() {
    let mut server = blocking(start_redis).await;
    let hub = start(&format!("redis://127.0.0.1:{}", server.port)).await;
    let (token, id) = begun(&begin(&hub, json!({ "user": "ada", "data": { "cart": 1 } })).await);
    let _server = blocking(move || {
        server.kill();
        server
    })
    .await;
    hub.until("degraded").await;
    let ada = || Some(json!({ "user": "ada" }));
    let one = format!("/users/ada/sessions/{id}");
    let others = format!("/users/ada/sessions?except={id}");
    for (method, path, body) in [
        (Method::GET, "/sessions/self", None),
        (Method::PATCH, "/sessions/self", Some(json!({ "cart": 2 }))),
        (Method::POST, "/sessions/self/rotate", None),
        (Method::POST, "/sessions/self/login", ada()),
        (Method::POST, "/sessions/self/take/cart", None),
        (Method::DELETE, "/sessions/self", None),
        (Method::POST, "/sessions", ada()),
        (Method::GET, "/users/ada/sessions", None),
        (Method::DELETE, "/users/ada/sessions", None),
        (Method::DELETE, others.as_str(), None),
        (Method::DELETE, one.as_str(), None),
    ] {
        let headers = [("x-session-token", token.as_str())];
        let reply = call(&hub, method.clone(), path, &headers, body).await;
        assert_eq!(
            reply.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "{method} {path}: {}",
            reply.text
        );
        assert!(!reply.text.contains("127.0.0.1"), "{}", reply.text);
    }
}

#[tokio::test]
async fn every_route_of_sessions_is_described_with_an_example() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let document = hub.get("/openapi.json").await.body;
    let told = |path: &str, method: &str| document["paths"][path][method].clone();
    for (path, methods) in [
        ("/v1/sessions", &["post"][..]),
        ("/v1/sessions/self", &["get", "patch", "delete"]),
        ("/v1/sessions/self/rotate", &["post"]),
        ("/v1/sessions/self/login", &["post"]),
        ("/v1/sessions/self/take/{name}", &["post"]),
        ("/v1/users/{user}/sessions", &["get", "delete"]),
        ("/v1/users/{user}/sessions/{id}", &["delete"]),
    ] {
        for method in methods {
            let operation = told(path, method);
            assert_eq!(operation["tags"], json!(["session"]), "{method} {path}");
            for status in ["400", "502", "503", "504"] {
                let reply = &operation["responses"][status]["content"]["application/problem+json"];
                assert!(reply.is_object(), "{method} {path}: {status}");
            }
        }
    }
    let patch = told("/v1/sessions/self", "patch");
    for kind in ["application/merge-patch+json", "application/json"] {
        let example = &patch["requestBody"]["content"][kind]["example"];
        assert!(example["theme"].is_string(), "{patch}");
    }
    assert!(patch["responses"]["413"].is_object());
    let schemas = &document["components"]["schemas"];
    for body in ["BeginBody", "LogInBody"] {
        assert_eq!(schemas[body]["example"]["user"], "ada", "{body}");
        let device = schemas[body]["properties"]["device"]["description"].as_str().unwrap();
        assert!(device.contains("256 bytes of it are kept"), "{body}: {device}");
    }
    assert_eq!(schemas["SessionBody"]["properties"]["device"]["example"], "Firefox on Linux");
}
