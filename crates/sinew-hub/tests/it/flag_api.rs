//! Feature flags over HTTP: changed at one hub, seen at all of them.

use std::io::Write as _;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::hub::{Hub, Reply, blocking, call};
use crate::world::{redis_cli, start_redis};

const NONE: &[(&str, &str)] = &[];

async fn get(hub: &Hub, path: &str) -> Reply {
    call(hub, Method::GET, path, NONE, None).await
}

async fn put(hub: &Hub, key: &str, headers: &[(&str, &str)], flag: Value) -> Reply {
    call(hub, Method::PUT, &format!("/flags/{key}"), headers, Some(flag)).await
}

async fn remove(hub: &Hub, key: &str, headers: &[(&str, &str)]) -> Reply {
    call(hub, Method::DELETE, &format!("/flags/{key}"), headers, None).await
}

async fn post(hub: &Hub, path: &str, body: Option<Value>) -> Reply {
    call(hub, Method::POST, path, NONE, body).await
}

fn bool_flag(default: &str) -> Value {
    json!({ "type": "bool", "default": default })
}

/// What someone sees of a flag.
async fn seen(hub: &Hub, key: &str, query: &str) -> Value {
    let why = get(hub, &format!("/flags/{key}/why?{query}")).await;
    assert_eq!(why.status, StatusCode::OK, "{}", why.text);
    why.body
}

/// Waits until a hub sees a flag so.
async fn until(hub: &Hub, key: &str, query: &str, value: &Value) {
    let wait = async {
        while get(hub, &format!("/flags/{key}/why?{query}")).await.body["value"] != *value {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let wait = tokio::time::timeout(std::time::Duration::from_secs(30), wait);
    wait.await.unwrap_or_else(|_| panic!("{key} becomes {value}"));
}

fn is_a_problem(reply: &Reply, status: StatusCode, told: &str) {
    assert_eq!(reply.status, status, "{}", reply.text);
    assert_eq!(reply.content_type, "application/problem+json");
    let detail = reply.body["detail"].as_str().unwrap();
    assert!(detail.contains(told), "{detail}");
}

/// A hub that waits for longer than a service would: a machine that compiles beside it stalls.
async fn start(settings: &str, store: &str) -> Hub {
    let settings = format!("prefix = \"App_\"\ndeadline = \"10s\"\n{settings}");
    let store = store.to_owned();
    let hub = blocking(move || {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(settings.as_bytes()).unwrap();
        // It is read before the hub listens.
        Hub::serve(&["--config", file.path().to_str().unwrap(), "--store", &store])
    })
    .await;
    hub.until("ready").await;
    hub
}

#[tokio::test]
async fn a_flag_is_changed_at_one_hub_and_seen_at_all() {
    let server = blocking(start_redis).await;
    let store = format!("redis://127.0.0.1:{}", server.port);
    let (one, other) = (start("", &store).await, start("", &store).await);
    is_a_problem(&get(&other, "/flags/new-ui").await, StatusCode::NOT_FOUND, "\"new-ui\"");
    is_a_problem(&get(&other, "/flags/new-ui/why").await, StatusCode::NOT_FOUND, "\"new-ui\"");

    let flag = json!({
        "type": "bool", "owner": "growth", "users": { "bob": "off" },
        "rules": [{
            "name": "who pays",
            "if": [{ "attribute": "plan", "op": "in", "values": ["pro", "team"] }],
            "then": "on",
        }],
    });
    let made = put(&one, "new-ui", NONE, flag).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let revision = made.body["revision"].as_u64().unwrap();
    assert_eq!(made.headers["etag"], format!("\"{revision}\"").as_str());
    assert_eq!(
        (&made.body["default"], &made.body["variants"]["on"]),
        (&json!("off"), &json!(true))
    );
    assert_eq!(get(&one, "/flags/new-ui").await.body, made.body);

    until(&other, "new-ui", "user=ada&attribute=plan%3Dpro", &json!(true)).await;
    assert_eq!(get(&other, "/flags/new-ui").await.body, made.body);
    let paying = seen(&other, "new-ui", "user=ada&attribute=plan%3Dpro").await;
    assert_eq!(paying["decidedBy"], "rule");
    // One number, in all of an answer.
    assert_eq!((&paying["rule"], &paying["ruleName"]), (&json!(1), &json!("who pays")));
    assert_eq!(paying["steps"], json!(["rule 1 \"who pays\" holds"]));
    assert_eq!((&paying["variant"], &paying["reason"]), (&json!("on"), &json!("TARGETING_MATCH")));
    let other_plan = seen(&other, "new-ui", "user=ada&attribute=plan%3Dfree").await;
    assert_eq!(
        (&other_plan["value"], &other_plan["decidedBy"]),
        (&json!(false), &json!("default"))
    );
    let bob = seen(&other, "new-ui", "user=bob&attribute=plan%3Dpro").await;
    assert_eq!((&bob["value"], &bob["decidedBy"]), (&json!(false), &json!("user-override")));

    let listed = get(&other, "/flags").await;
    assert_eq!(
        (&listed.body["state"], &listed.body["version"]),
        (&json!("live"), &json!(revision))
    );
    assert_eq!(listed.body["flags"], json!({ "new-ui": made.body }));
    let keys = redis_cli(server.port, &["--scan"]);
    assert!(keys.lines().all(|key| key.starts_with("App_")), "{keys}");

    assert_eq!(remove(&other, "new-ui", NONE).await.status, StatusCode::NO_CONTENT);
    is_a_problem(&remove(&other, "new-ui", NONE).await, StatusCode::NOT_FOUND, "\"new-ui\"");
}

#[tokio::test]
async fn a_flag_is_changed_by_who_knows_its_revision() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let failed = StatusCode::PRECONDITION_FAILED;
    let (is_new, is_there): (&[_], &[_]) = (&[("if-none-match", "*")], &[("if-match", "*")]);
    is_a_problem(&put(&hub, "a", is_there, bool_flag("on")).await, failed, "as If-Match: * says");
    let unknown = put(&hub, "a", &[("if-match", "\"7\"")], bool_flag("on")).await;
    assert_eq!(unknown.status, failed, "{}", unknown.text);
    assert_eq!(put(&hub, "a", is_new, bool_flag("on")).await.status, StatusCode::CREATED);
    assert_eq!(put(&hub, "a", is_new, bool_flag("off")).await.status, failed);
    let first = get(&hub, "/flags/a").await.headers["etag"].to_str().unwrap().to_owned();
    // That of another flag changes nothing of this one's.
    assert_eq!(put(&hub, "b", NONE, bool_flag("on")).await.status, StatusCode::CREATED);
    let second = put(&hub, "a", &[("if-match", first.as_str())], bool_flag("off")).await;
    assert_eq!(second.status, StatusCode::OK, "{}", second.text);
    let second = second.headers["etag"].to_str().unwrap().to_owned();
    assert_ne!(second, first);
    let late = put(&hub, "a", &[("if-match", first.as_str())], bool_flag("on")).await;
    assert_eq!(late.status, failed, "{}", late.text);
    assert_eq!(remove(&hub, "a", &[("if-match", first.as_str())]).await.status, failed);
    assert_eq!(get(&hub, "/flags/a").await.body["default"], "off");
    let removed = remove(&hub, "a", &[("if-match", second.as_str())]).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT, "{}", removed.text);
    is_a_problem(&remove(&hub, "a", is_there).await, failed, "as If-Match: * says");
    // What was read is put as it is, its revision included.
    let mut read = get(&hub, "/flags/b").await.body;
    read["owner"] = json!("growth");
    assert_eq!(put(&hub, "b", is_there, read).await.body["owner"], "growth");
}

#[tokio::test]
async fn a_killed_flag_is_off_for_all_until_it_is_revived() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let flag = json!({ "type": "bool", "default": "on", "users": { "lovelace": "on" } });
    put(&hub, "new-ui", NONE, flag).await;
    assert_eq!(seen(&hub, "new-ui", "user=lovelace").await["value"], true);
    let killed = post(&hub, "/flags/new-ui/kill", None).await;
    assert_eq!(killed.status, StatusCode::OK, "{}", killed.text);
    let of = |reply: &Reply, which: &str| reply.body[which]["killed"].clone();
    assert_eq!((of(&killed, "before"), of(&killed, "after")), (json!(false), json!(true)));
    let why = seen(&hub, "new-ui", "user=lovelace").await;
    assert_eq!((&why["value"], &why["decidedBy"]), (&json!(false), &json!("killed")));
    assert_eq!(why["reason"], "DISABLED");
    let revived = post(&hub, "/flags/new-ui/revive", None).await;
    assert_eq!(revived.status, StatusCode::OK, "{}", revived.text);
    assert_eq!(seen(&hub, "new-ui", "user=lovelace").await["value"], true);
    for act in ["kill", "revive"] {
        let unknown = post(&hub, &format!("/flags/other/{act}"), None).await;
        is_a_problem(&unknown, StatusCode::NOT_FOUND, "\"other\"");
    }
    // A form of another site needs no more than an address.
    let own = hub.url.clone();
    for (origin, status) in [("http://evil.example", 403), ("null", 403), (own.as_str(), 200)] {
        let from = [("origin", origin)];
        for act in ["kill", "revive"] {
            let path = format!("/flags/new-ui/{act}");
            let reply = call(&hub, Method::POST, &path, &from, None).await;
            assert_eq!(reply.status.as_u16(), status, "{origin}: {}", reply.text);
        }
    }
    let log = hub.server.log();
    assert!(log.contains("a flag was killed over HTTP") && !log.contains("lovelace"), "{log}");
}

#[tokio::test]
async fn a_put_ends_no_kill_and_what_changes_nothing_is_no_change() {
    let hub = blocking(|| Hub::serve(&[])).await;
    put(&hub, "new-ui", NONE, bool_flag("on")).await;
    let tag = |reply: &Reply| reply.headers["etag"].to_str().unwrap().to_owned();
    let first = get(&hub, "/flags/new-ui").await;
    let again = put(&hub, "new-ui", NONE, bool_flag("on")).await;
    assert_eq!((again.status, tag(&again)), (StatusCode::OK, tag(&first)));
    let log = hub.server.log();
    assert_eq!(log.matches("a flag was changed over HTTP").count(), 1, "{log}");

    post(&hub, "/flags/new-ui/kill", None).await;
    let mut definition = first.body;
    definition["owner"] = json!("growth");
    // As a deploy puts what was there before the emergency.
    for flag in [bool_flag("on"), definition] {
        let put = put(&hub, "new-ui", NONE, flag).await;
        assert_eq!((put.status, &put.body["killed"]), (StatusCode::OK, &json!(true)));
        assert_eq!(seen(&hub, "new-ui", "user=ada").await["value"], false);
    }
    post(&hub, "/flags/new-ui/revive", None).await;
    let revived = post(&hub, "/flags/new-ui/revive", None).await;
    assert_eq!(revived.body["before"], revived.body["after"]);
    assert_eq!(seen(&hub, "new-ui", "user=ada").await["value"], true);
    let log = hub.server.log();
    assert_eq!(log.matches("a flag was revived over HTTP").count(), 1, "{log}");
    // Made, killed, changed while it was, and revived: once each.
    let told = get(&hub, "/audit?kind=flag&key=new-ui").await;
    assert_eq!(told.body.as_array().unwrap().len(), 4, "{}", told.text);
}

#[tokio::test]
async fn every_change_is_told_and_can_be_taken_back() {
    let hub = blocking(|| Hub::serve(&[])).await;
    put(&hub, "new-ui", NONE, bool_flag("off")).await;
    put(&hub, "other", NONE, bool_flag("off")).await;
    put(&hub, "new-ui", NONE, bool_flag("on")).await;
    let told = get(&hub, "/audit?kind=flag&key=new-ui").await;
    assert_eq!(told.status, StatusCode::OK, "{}", told.text);
    let changes = told.body.as_array().unwrap();
    let default = |change: &Value, which: &str| change[which]["default"].clone();
    let all: Vec<_> = changes
        .iter()
        .map(|change| (default(change, "before"), default(change, "after")))
        .collect();
    assert_eq!(all, [(json!("off"), json!("on")), (Value::Null, json!("off"))]);
    for change in changes {
        assert_eq!((&change["flag"], &change["by"]), (&json!("new-ui"), &json!("http")));
        let at = change["at"].as_str().unwrap();
        assert!(at.starts_with("20") && at.ends_with('Z'), "{at}");
        assert_eq!(at.len(), "2026-01-31T12:00:00.000Z".len(), "{at}");
    }
    assert_eq!(get(&hub, "/audit?kind=flag").await.body.as_array().unwrap().len(), 3);
    assert_eq!(get(&hub, "/audit?kind=flag&count=1").await.body.as_array().unwrap().len(), 1);

    let id = changes[1]["id"].as_str().unwrap();
    let one = get(&hub, &format!("/audit?kind=flag&key=new-ui&change={id}")).await;
    assert_eq!(one.body, json!([changes[1]]), "{}", one.text);
    assert_eq!(get(&hub, &format!("/audit?kind=flag&key=other&change={id}")).await.body, json!([]));
    for key in ["new-ui", "other"] {
        let unknown = if key == "other" { id } else { "1-1" };
        let path = format!("/flags/{key}/roll-back");
        let refused = post(&hub, &path, Some(json!({ "change": unknown }))).await;
        is_a_problem(&refused, StatusCode::NOT_FOUND, &format!("no change {unknown} of flag"));
    }
    // Someone else may have changed it while one looked.
    let back = json!({ "change": changes[0]["id"] });
    let late = [("if-match", "\"7\"")];
    let path = "/flags/new-ui/roll-back";
    let late = call(&hub, Method::POST, path, &late, Some(back.clone())).await;
    assert_eq!(late.status, StatusCode::PRECONDITION_FAILED, "{}", late.text);

    let rolled = post(&hub, "/flags/new-ui/roll-back", Some(back)).await;
    assert_eq!(rolled.status, StatusCode::OK, "{}", rolled.text);
    assert_eq!(rolled.body["after"]["default"], "off");
    assert_eq!(seen(&hub, "new-ui", "").await["value"], false);
    let newest = get(&hub, "/audit?kind=flag&count=1").await.body[0].clone();
    assert_eq!(
        (default(&newest, "before"), default(&newest, "after")),
        (json!("on"), json!("off"))
    );
    // The first one has made it.
    let back = json!({ "change": changes[1]["id"] });
    let rolled = post(&hub, "/flags/new-ui/roll-back", Some(back)).await;
    assert_eq!((rolled.status, &rolled.body["after"]), (StatusCode::OK, &Value::Null));
    assert_eq!(get(&hub, "/flags/new-ui").await.status, StatusCode::NOT_FOUND);

    for (query, told) in [
        ("", "expected kind=limit, kind=flag, kind=stream or kind=job"),
        ("?kind=cache", "expected kind=limit, kind=flag, kind=stream or kind=job"),
        ("?kind=limit&key=a", "of flags also key=KEY"),
        ("?kind=flag&count=0", "count=N from 1 to 1000"),
        ("?kind=flag&change=1-1", "with a key change=ID"),
        ("?kind=flag&key=a&change=x", "expected one like 1795300000000-0"),
        ("?kind=flag&env=a_b", "expected 1 to 64 of"),
    ] {
        let refused = get(&hub, &format!("/audit{query}")).await;
        is_a_problem(&refused, StatusCode::BAD_REQUEST, told);
    }
    let bad = post(&hub, "/flags/other/roll-back", Some(json!({ "change": "yesterday" }))).await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST, "{}", bad.text);
}

#[tokio::test]
async fn tenants_and_environments_have_flags_of_their_own() {
    let hub = start("flags_env = \"prod\"\n", "embedded").await;
    let acme = &[("x-tenant-id", "acme")];
    put(&hub, "new-ui", acme, bool_flag("on")).await;
    assert_eq!(get(&hub, "/flags/new-ui").await.status, StatusCode::NOT_FOUND);
    let of_acme = |path: &'static str| call(&hub, Method::GET, path, acme, None);
    assert_eq!(of_acme("/flags/new-ui").await.status, StatusCode::OK);
    assert_eq!(of_acme("/flags/new-ui?env=prod").await.status, StatusCode::OK);
    assert_eq!(of_acme("/flags/new-ui?env=test").await.status, StatusCode::NOT_FOUND);
    assert_eq!(of_acme("/audit?kind=flag").await.body.as_array().unwrap().len(), 1);
    assert_eq!(get(&hub, "/audit?kind=flag").await.body, json!([]));
    is_a_problem(&of_acme("/flags?evn=test").await, StatusCode::BAD_REQUEST, "expected env=NAME");
    is_a_problem(&of_acme("/flags?env=a_b").await, StatusCode::BAD_REQUEST, "expected 1 to 64 of");
}

#[tokio::test]
async fn a_plain_key_decides_and_ends_by_itself() {
    let server = blocking(start_redis).await;
    let store = format!("redis://127.0.0.1:{}", server.port);
    let hub = start("tenancy = \"single\"\n", &store).await;
    assert_eq!(get(&hub, "/flags").await.body["overlays"], json!([]));
    let name = "advanced-ai-models";
    redis_cli(server.port, &["SET", &format!("App_feature:{name}:user:7"), "False"]);
    let global = format!("App_feature:{name}:global");
    redis_cli(server.port, &["SET", &global, "True"]);
    until(&hub, name, "user=ada", &json!(true)).await;
    until(&hub, name, "user=7", &json!(false)).await;
    let why = seen(&hub, name, "user=7").await;
    assert_eq!(why["decidedBy"], "user-overlay");
    let listed = get(&hub, "/flags").await.body["overlays"].clone();
    let mine = listed.as_array().unwrap().iter().find(|one| one["user"] == "7").unwrap();
    assert_eq!((&mine["flag"], &mine["value"]), (&json!(name), &json!(false)));
    assert_eq!(mine["expiresAt"], Value::Null);
    // Only now, since a machine that stalls would miss it else. It is for no one else any more.
    redis_cli(server.port, &["PEXPIRE", &global, "500"]);
    until(&hub, name, "user=ada", &Value::Null).await;
    assert_eq!(seen(&hub, name, "user=7").await["value"], false);
}

#[tokio::test]
async fn a_segment_is_named_by_rules_and_kept_while_it_is() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let beta = json!({ "any": [
        [{ "attribute": "plan", "op": "is", "values": ["pro"] }],
        [{ "attribute": "seats", "op": "at_least", "values": [10] }],
    ] });
    let segment =
        |method: Method, body: Option<Value>| call(&hub, method, "/flag-segments/beta", NONE, body);
    is_a_problem(&segment(Method::GET, None).await, StatusCode::NOT_FOUND, "\"beta\"");
    let made = segment(Method::PUT, Some(beta.clone())).await;
    assert_eq!(made.status, StatusCode::NO_CONTENT, "{}", made.text);
    assert_eq!(segment(Method::GET, None).await.body, beta);
    let told = get(&hub, "/audit?kind=flag").await.body;
    assert_eq!((&told[0]["flag"], &told[0]["segment"]["after"]), (&json!("segment:beta"), &beta));
    assert_eq!(get(&hub, "/flag-segments").await.body, json!({ "segments": { "beta": beta } }));
    let flag =
        json!({ "type": "bool", "rules": [{ "if": [{ "segment": "beta" }], "then": "on" }] });
    put(&hub, "new-ui", NONE, flag).await;
    for (query, value) in [
        ("user=a&attribute=seats%3D10", true),
        ("user=a&attribute=seats%3D%2210%22", false),
        ("user=a&attribute=plan%3Dpro", true),
        ("user=a", false),
    ] {
        assert_eq!(seen(&hub, "new-ui", query).await["value"], value, "{query}");
    }
    let named = segment(Method::DELETE, None).await;
    assert_eq!(named.status, StatusCode::BAD_REQUEST, "{}", named.text);
    remove(&hub, "new-ui", NONE).await;
    assert_eq!(segment(Method::DELETE, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(segment(Method::DELETE, None).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn bad_flags_are_problems_that_say_what_was_expected() {
    let hub = blocking(|| Hub::serve(&[])).await;
    for (flag, told) in [
        (json!([]), "expected a JSON body, like"),
        (json!({}), "\"type\""),
        (json!({ "type": "colour" }), "type"),
        (json!({ "type": "string" }), "variants"),
        (json!({ "type": "bool", "default": "maybe" }), "default"),
        (json!({ "type": "bool", "defualt": "on" }), "unknown field \"defualt\""),
        (json!({ "type": "bool", "rules": [{ "if": [] }] }), "`then` or `split`"),
        (json!({ "type": "bool", "rules": [{ "split": { "on": 10, "off": 80 } }] }), "split"),
        (json!({ "type": "bool", "users": { "ada": "blue" } }), "users"),
        (json!({ "type": "bool", "on_at": "tomorrow" }), "on_at"),
        (json!({ "type": "bool", "off": "on" }), "off: expected a variant that is false"),
        (json!({ "type": "bool", "owner": "" }), "owner: expected some text"),
    ] {
        let refused = put(&hub, "new-ui", NONE, flag.clone()).await;
        is_a_problem(&refused, StatusCode::BAD_REQUEST, told);
    }
    let refused = put(&hub, "new%20ui", NONE, bool_flag("on")).await;
    is_a_problem(&refused, StatusCode::BAD_REQUEST, "A-Z a-z 0-9");
    for query in ["usr=ada", "user=a&user=b", "attribute=plan"] {
        let refused = get(&hub, &format!("/flags/new-ui/why?{query}")).await;
        is_a_problem(&refused, StatusCode::BAD_REQUEST, "expected");
    }
    let long = json!({ "type": "bool", "description": "x".repeat(1 << 20) });
    let refused = put(&hub, "new-ui", NONE, long).await;
    is_a_problem(&refused, StatusCode::PAYLOAD_TOO_LARGE, "expected at most 1048576 bytes");
    let many: serde_json::Map<String, Value> =
        (0..10_000).map(|user| (format!("user-{user}"), json!("on"))).collect();
    let taken = put(&hub, "new-ui", NONE, json!({ "type": "bool", "users": many })).await;
    assert_eq!(taken.status, StatusCode::CREATED, "{}", taken.text);
}

#[tokio::test]
async fn flags_are_evaluated_while_redis_is_away_and_not_changed() {
    let mut server = blocking(start_redis).await;
    let store = format!("redis://127.0.0.1:{}", server.port);
    // No longer than a service waits: nothing answers any more.
    let hub = blocking(move || Hub::serve(&["--store", &store])).await;
    hub.until("ready").await;
    let acme = &[("x-tenant-id", "acme")];
    let made = put(&hub, "new-ui", acme, bool_flag("on")).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let server = blocking(move || {
        server.kill();
        server
    })
    .await;
    hub.until("degraded").await;
    let why = call(&hub, Method::GET, "/flags/new-ui/why?user=ada", acme, None).await;
    assert_eq!((why.status, &why.body["value"]), (StatusCode::OK, &json!(true)), "{}", why.text);
    assert_eq!(put(&hub, "new-ui", acme, bool_flag("off")).await.status.as_u16(), 503);
    // Of another tenant nothing was ever known.
    is_a_problem(&get(&hub, "/flags").await, StatusCode::SERVICE_UNAVAILABLE, "never asked");
    drop(server);
}

#[tokio::test]
async fn the_openapi_document_has_the_routes_of_flags() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let document = hub.get("/openapi.json").await.body;
    for (path, methods) in [
        ("/v1/flags", &["get"][..]),
        ("/v1/flags/{key}", &["get", "put", "delete"]),
        ("/v1/flags/{key}/kill", &["post"]),
        ("/v1/flags/{key}/revive", &["post"]),
        ("/v1/flags/{key}/roll-back", &["post"]),
        ("/v1/flags/{key}/why", &["get"]),
        ("/v1/flag-segments", &["get"]),
        ("/v1/flag-segments/{name}", &["get", "put", "delete"]),
        ("/v1/audit", &["get"]),
        ("/ofrep/v1/evaluate/flags", &["post"]),
        ("/ofrep/v1/evaluate/flags/{key}", &["post"]),
        ("/ofrep/v1/flags/events", &["get"]),
    ] {
        for method in methods {
            assert!(document["paths"][path][method].is_object(), "{method} {path}");
        }
    }
    let schema = &document["components"]["schemas"]["FlagBody"]["properties"];
    assert!(schema["rules"].is_object() && schema["killed"].is_object(), "{schema}");
}
