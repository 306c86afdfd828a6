//! Feature flags as OpenFeature's clients ask for them, by those clients and by hand.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use open_feature::provider::FeatureProvider as _;
use open_feature::{EvaluationContext, EvaluationErrorCode, Value as FeatureValue};
use open_feature_ofrep::{OfrepOptions, OfrepProvider};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::hub::{Hub, Reply, blocking};
use crate::world::{Proxy, free_port, redis_cli, signal, start_redis};

const JSON: (&str, &str) = ("content-type", "application/json");
const PATIENCE: Duration = Duration::from_secs(30);

async fn put(hub: &Hub, key: &str, tenant: Option<&str>, flag: Value) {
    let url = format!("{}/v1/flags/{key}", hub.url);
    let reply = hub.send(Method::PUT, &url, tenant, Some(flag.to_string())).await;
    assert!(reply.status.is_success(), "{key}: {}", reply.text);
}

async fn evaluate(hub: &Hub, key: &str, body: &str) -> Reply {
    let url = format!("{}/ofrep/v1/evaluate/flags/{key}", hub.url);
    hub.send_with(Method::POST, &url, &[JSON], Some(body.to_owned())).await
}

async fn bulk(hub: &Hub, query: &str, headers: &[(&str, &str)], context: Value) -> Reply {
    let url = format!("{}/ofrep/v1/evaluate/flags{query}", hub.url);
    let headers: Vec<(&str, &str)> = headers.iter().copied().chain([JSON]).collect();
    let body = json!({ "context": context }).to_string();
    hub.send_with(Method::POST, &url, &headers, Some(body)).await
}

fn etag(reply: &Reply) -> String {
    reply.headers["etag"].to_str().unwrap().to_owned()
}

/// A flag of each type, one that is off, and one that is for a tenth.
async fn with_flags() -> Hub {
    let hub = blocking(|| Hub::serve(&[])).await;
    let who_pays = json!([{
        "if": [{ "attribute": "plan", "op": "is", "values": ["pro"] },
               { "attribute": "seats", "op": "at_least", "values": [10] }],
        "then": "on",
    }]);
    put(&hub, "new-ui", None, json!({ "type": "bool", "rules": who_pays })).await;
    let variants = json!({ "a": "v1", "b": "v2" });
    let algo = json!({ "type": "string", "variants": variants, "default": "a", "off": "a" });
    put(&hub, "algo", None, algo).await;
    let limit = json!({ "type": "number", "variants": { "x": 2.5 }, "default": "x", "off": "x" });
    put(&hub, "limit", None, limit).await;
    let seats = json!({ "type": "number", "variants": { "x": 7 }, "default": "x", "off": "x" });
    put(&hub, "seats", None, seats).await;
    let dark = json!({ "dark": { "dark": true, "hue": 7 } });
    let theme = json!({ "type": "json", "variants": dark, "default": "dark", "off": "dark" });
    put(&hub, "theme", None, theme).await;
    put(&hub, "closed", None, json!({ "type": "bool", "default": "on", "enabled": false })).await;
    let all = json!([{ "split": { "on": 100, "off": 0 } }]);
    put(&hub, "tenth", None, json!({ "type": "bool", "rules": all })).await;
    let past = json!({ "type": "bool", "default": "on", "expires_at": "2020-01-01T00:00:00Z" });
    put(&hub, "expired", None, past).await;
    hub
}

/// What `cargo xtask setup` has installed.
fn modules() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder");
    let modules = target.join("ofrep/node_modules");
    let is_there = modules.join("@openfeature/ofrep-provider/package.json").is_file();
    assert!(is_there, "the OpenFeature clients are not installed: run `cargo xtask setup`");
    modules
}

#[tokio::test]
async fn the_clients_for_node_and_for_browsers_see_what_flags_say() {
    let hub = with_flags().await;
    let url = hub.url.clone();
    let output = blocking(move || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ofrep/main.js");
        let mut node = Command::new("node");
        node.arg(script).arg(url).env("NODE_PATH", modules()).output().expect("node")
    })
    .await;
    let told: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let server = &told["server"];
    for (asked, value, variant, reason) in [
        ("bool", json!(true), "on", "TARGETING_MATCH"),
        ("everyone", json!(false), "off", "STATIC"),
        ("string", json!("v1"), "a", "STATIC"),
        ("number", json!(2.5), "x", "STATIC"),
        ("object", json!({ "dark": true, "hue": 7 }), "dark", "STATIC"),
        ("off", json!(false), "off", "DISABLED"),
        ("split", json!(true), "on", "SPLIT"),
    ] {
        let answer = &server[asked];
        let expected = (&value, &json!(variant), &json!(reason));
        assert_eq!((&answer["value"], &answer["variant"], &answer["reason"]), expected, "{answer}");
    }
    for (asked, default, code) in [
        ("unknown", json!(true), "FLAG_NOT_FOUND"),
        ("keyMissing", json!(true), "TARGETING_KEY_MISSING"),
        ("mismatch", json!("default"), "TYPE_MISMATCH"),
        ("invalid", json!(true), "INVALID_CONTEXT"),
    ] {
        let answer = &server[asked];
        assert_eq!((&answer["value"], &answer["errorCode"]), (&default, &json!(code)), "{answer}");
    }
    // It was told of the change that it made, by the stream that it was told of.
    let browser = &told["browser"];
    assert_eq!((&browser["before"]["value"], &browser["put"]), (&json!("v1"), &json!(200)));
    assert_eq!(
        (&browser["after"]["value"], &browser["after"]["variant"]),
        (&json!("v2"), &json!("b"))
    );
    assert_eq!(browser["unknown"]["errorCode"], "FLAG_NOT_FOUND");
    assert_eq!(browser["streams"][0], "/ofrep/v1/flags/events");
}

#[tokio::test]
async fn the_client_for_rust_sees_what_flags_say() {
    let hub = with_flags().await;
    let options = OfrepOptions { base_url: hub.url.clone(), ..OfrepOptions::default() };
    let provider = OfrepProvider::new(options).await.unwrap();
    let ada = EvaluationContext::default()
        .with_targeting_key("ada")
        .with_custom_field("plan", "pro")
        .with_custom_field("seats", 12);
    let bool = provider.resolve_bool_value("new-ui", &ada).await.unwrap();
    assert_eq!((bool.value, bool.variant.as_deref()), (true, Some("on")));
    assert_eq!(provider.resolve_string_value("algo", &ada).await.unwrap().value, "v1");
    assert_eq!(provider.resolve_int_value("seats", &ada).await.unwrap().value, 7);
    let float = provider.resolve_float_value("limit", &ada).await.unwrap().value;
    assert!((float - 2.5).abs() < f64::EPSILON, "{float}");
    let theme = provider.resolve_struct_value("theme", &ada).await.unwrap().value;
    assert_eq!(theme.fields.get("dark"), Some(&FeatureValue::Bool(true)));
    let unknown = provider.resolve_bool_value("unknown", &ada).await.unwrap_err();
    assert!(matches!(unknown.code, EvaluationErrorCode::FlagNotFound), "{unknown:?}");
    let nobody = EvaluationContext::default();
    let nobody = provider.resolve_bool_value("tenth", &nobody).await.unwrap_err();
    // So it calls whatever is a bad request.
    assert!(matches!(nobody.code, EvaluationErrorCode::InvalidContext), "{nobody:?}");
}

#[tokio::test]
async fn one_flag_is_answered_in_the_shape_of_the_protocol() {
    let hub = with_flags().await;
    let ada = r#"{"context": {"targetingKey": "ada", "plan": "pro", "seats": 12}}"#;
    let found = evaluate(&hub, "new-ui", ada).await;
    let expected =
        json!({ "key": "new-ui", "value": true, "reason": "TARGETING_MATCH", "variant": "on" });
    assert_eq!((found.status, found.body), (StatusCode::OK, expected));
    assert_eq!(found.content_type, "application/json");
    // No value: the code has its own.
    let expired = evaluate(&hub, "expired", ada).await;
    let expected = json!({ "key": "expired", "reason": "DISABLED" });
    assert_eq!((expired.status, expired.body), (StatusCode::OK, expected));
    for (key, body, status, code) in [
        ("unknown", ada, 404, "FLAG_NOT_FOUND"),
        ("tenth", "{}", 400, "TARGETING_KEY_MISSING"),
        ("new-ui", "{", 400, "INVALID_CONTEXT"),
        ("new-ui", r#"{"context": []}"#, 400, "INVALID_CONTEXT"),
        ("new-ui", r#"{"context": {"targetingKey": 7}}"#, 400, "INVALID_CONTEXT"),
    ] {
        let failed = evaluate(&hub, key, body).await;
        assert_eq!(failed.status.as_u16(), status, "{key} {body}: {}", failed.text);
        assert_eq!((&failed.body["key"], &failed.body["errorCode"]), (&json!(key), &json!(code)));
        assert!(failed.body["errorDetails"].is_string(), "{}", failed.text);
    }
    // What any route refuses is told to these clients, too, and not only to people.
    for key in ["/new-ui", ""] {
        let url = format!("{}/ofrep/v1/evaluate/flags{key}?env=a_b", hub.url);
        let refused = hub.send_with(Method::POST, &url, &[JSON], Some(ada.to_owned())).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
        assert_eq!(refused.body["errorCode"], "GENERAL");
        let told = (!key.is_empty()).then_some("new-ui");
        assert_eq!(refused.body["key"].as_str(), told, "{}", refused.text);
        assert!(refused.text.contains("expected 1 to 64"), "{}", refused.text);
    }
    // A slip would be another environment, in silence.
    for path in ["evaluate/flags/new-ui", "evaluate/flags"] {
        let url = format!("{}/ofrep/v1/{path}?evn=prod", hub.url);
        let refused = hub.send_with(Method::POST, &url, &[JSON], Some(ada.to_owned())).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
        assert!(refused.text.contains("expected env=NAME"), "{}", refused.text);
    }
    let url = format!("{}/ofrep/v1/flags/events?evn=prod", hub.url);
    let refused = hub.send(Method::GET, &url, None, None).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.text);
    let long = format!(r#"{{"context": {{"targetingKey": "{}"}}}}"#, "x".repeat(65 << 10));
    assert_eq!(evaluate(&hub, "new-ui", &long).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn all_flags_are_answered_again_only_where_something_is_another() {
    let hub = with_flags().await;
    let ada = || json!({ "targetingKey": "ada", "plan": "free" });
    let first = bulk(&hub, "", &[], ada()).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text);
    let flags = first.body["flags"].as_array().unwrap();
    let keys: Vec<&Value> = flags.iter().map(|flag| &flag["key"]).collect();
    let expected = ["algo", "closed", "expired", "limit", "new-ui", "seats", "tenth", "theme"]
        .map(Value::from);
    assert_eq!(keys, expected.iter().collect::<Vec<_>>());
    let stream = &first.body["eventStreams"][0];
    assert_eq!((&stream["type"], &stream["inactivityDelaySec"]), (&json!("sse"), &json!(120)));
    assert_eq!(stream["endpoint"], json!({ "requestUri": "/ofrep/v1/flags/events" }));

    let tag = etag(&first);
    let known = [("if-none-match", tag.as_str())];
    let again = bulk(&hub, "", &known, ada()).await;
    assert_eq!((again.status, again.text.as_str()), (StatusCode::NOT_MODIFIED, ""));
    assert_eq!(etag(&again), tag);
    // Whoever else asks has another answer, and be it the same.
    let bob = bulk(&hub, "", &known, json!({ "targetingKey": "bob", "plan": "free" })).await;
    assert_eq!(bob.status, StatusCode::OK, "{}", bob.text);
    // What is not for this user changes nothing for them.
    put(&hub, "closed", None, json!({ "type": "bool", "enabled": false, "owner": "growth" })).await;
    assert_eq!(bulk(&hub, "", &known, ada()).await.status, StatusCode::NOT_MODIFIED);
    put(&hub, "closed", None, json!({ "type": "bool", "default": "on" })).await;
    let changed = bulk(&hub, "", &known, ada()).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    assert_ne!(etag(&changed), tag);

    // A flag that cannot be evaluated keeps no other from being.
    let nobody = bulk(&hub, "", &[], json!({})).await;
    assert_eq!(nobody.status, StatusCode::OK, "{}", nobody.text);
    let failed =
        nobody.body["flags"].as_array().unwrap().iter().filter(|one| !one["errorCode"].is_null());
    let failed: Vec<&Value> = failed.map(|one| &one["key"]).collect();
    assert_eq!(failed, [&json!("tenth")]);
    let refused = bulk(&hub, "", &[], json!({ "targetingKey": 7 })).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["errorCode"]),
        (400, &json!("INVALID_CONTEXT"))
    );
}

#[tokio::test]
async fn a_plain_key_is_told_to_those_alone_whom_it_is_for() {
    let server = blocking(start_redis).await;
    let store = format!("redis://127.0.0.1:{}", server.port);
    let hub = blocking(move || Hub::serve(&["--store", &store])).await;
    hub.until("ready").await;
    redis_cli(server.port, &["SET", "acme:feature:new-ui:user:ada", "TRUE"]);
    let acme = [("x-tenant-id", "acme")];
    let of = |user: &'static str| bulk(&hub, "", &acme, json!({ "targetingKey": user }));
    let heard = async {
        while of("ada").await.body["flags"] == json!([]) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("the key is known");
    let ada = of("ada").await;
    assert_eq!(ada.body["flags"][0]["value"], true);
    let stream = &ada.body["eventStreams"][0]["endpoint"]["requestUri"];
    assert_eq!(stream, "/ofrep/v1/flags/events?tenant=acme");
    assert_eq!(of("bob").await.body["flags"], json!([]));
}

#[tokio::test]
async fn a_header_names_the_environment_where_no_query_can() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let in_prod = [("x-flags-env", "prod"), JSON];
    let url = |path: &str| format!("{}{path}", hub.url);
    let flag = json!({ "type": "bool", "default": "on" }).to_string();
    let made = hub.send_with(Method::PUT, &url("/v1/flags/new-ui"), &in_prod, Some(flag)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    for (headers, query, status) in [
        (&in_prod[..], "", 200),
        (&in_prod, "?env=prod", 200),
        (&[JSON], "?env=prod", 200),
        (&[JSON], "", 404),
        (&in_prod, "?env=test", 400),
        (&[JSON, ("x-flags-env", "a_b")], "", 400),
    ] {
        let one = url(&format!("/ofrep/v1/evaluate/flags/new-ui{query}"));
        let reply = hub.send_with(Method::POST, &one, headers, Some("{}".to_owned())).await;
        assert_eq!(reply.status.as_u16(), status, "{headers:?} {query}: {}", reply.text);
    }
    let all = bulk(&hub, "", &in_prod[..1], json!({})).await;
    assert_eq!(all.body["flags"][0]["value"], true, "{}", all.text);
    // No browser sends a header along with that.
    let stream = &all.body["eventStreams"][0]["endpoint"]["requestUri"];
    assert_eq!(stream, "/ofrep/v1/flags/events?env=prod");
    assert_eq!(all.headers["vary"], "X-Tenant-Id, X-Flags-Env");
    let audit = url("/v1/audit?kind=flag");
    let told = hub.send_with(Method::GET, &audit, &in_prod[..1], None).await;
    assert_eq!(told.body.as_array().map(Vec::len), Some(1), "{}", told.text);
}

/// A stream of events, read by hand.
struct Events {
    reply: Response,
    text: String,
}

impl Events {
    async fn open(hub: &Hub, query: &str, last: Option<&str>) -> Self {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = client.get(format!("{}/ofrep/v1/flags/events{query}", hub.url));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let reply = request.send().await.unwrap();
        assert_eq!(reply.status(), StatusCode::OK);
        assert_eq!(reply.headers()["content-type"], "text/event-stream");
        Self { reply, text: String::new() }
    }

    /// The id and the data of the next event; `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        let read = async {
            loop {
                if let Some((event, rest)) = self.text.split_once("\n\n") {
                    let (event, rest) = (event.to_owned(), rest.to_owned());
                    self.text = rest;
                    if let Some(told) = told(&event) {
                        return Some(told);
                    }
                    continue;
                }
                let chunk = self.reply.chunk().await.ok().flatten()?;
                self.text.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("an event, or the end")
    }

    /// As the next event has it, to be asked of another hub behind the same address.
    async fn next_query(&mut self) -> String {
        let (_, data) = self.next().await.expect("an event");
        let tag = data["etag"].as_str().expect("a tag").trim_matches('"');
        format!("?flagConfigEtag=%22{tag}%22")
    }
}

fn told(event: &str) -> Option<(String, Value)> {
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    // A comment is none.
    let data = field("data:")?;
    assert_eq!(field("event:"), Some("message"));
    Some((field("id:")?.to_owned(), serde_json::from_str(data).unwrap()))
}

#[tokio::test]
async fn a_change_is_told_at_once_to_those_who_listen() {
    let hub = blocking(|| Hub::serve(&[])).await;
    put(&hub, "new-ui", Some("acme"), json!({ "type": "bool" })).await;
    let mut events = Events::open(&hub, "?tenant=acme", None).await;
    let (first, data) = events.next().await.unwrap();
    assert_eq!(data["type"], "refetchEvaluation");
    assert!(data["lastModified"].as_u64() > Some(1_700_000_000), "{data}");
    put(&hub, "new-ui", Some("acme"), json!({ "type": "bool", "default": "on" })).await;
    let (second, data) = events.next().await.unwrap();
    assert_ne!(second, first);
    let (version, _) = data["etag"].as_str().unwrap().trim_matches('"').split_once('.').unwrap();
    let listed = format!("{}/v1/flags", hub.url);
    let listed = hub.send(Method::GET, &listed, Some("acme"), None).await;
    assert_eq!(listed.body["version"].to_string(), version);

    // Who was cut off hears of what was missed, and of nothing else.
    let mut missed = Events::open(&hub, "?tenant=acme", Some(&first)).await;
    assert_eq!(missed.next().await.unwrap().0, second);
    let mut current = Events::open(&hub, "?tenant=acme", Some(&second)).await;
    put(&hub, "other", Some("acme"), json!({ "type": "bool" })).await;
    let third = current.next().await.unwrap().0;
    assert!(third != second && third != first, "{third}");

    // An open stream holds up no stop.
    signal(hub.server.pid, "TERM");
    let end = async { while current.next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, end).await.expect("the end");
}

#[tokio::test]
async fn the_tenant_of_a_stream_is_one() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let url = format!("{}/ofrep/v1/flags/events?tenant=other", hub.url);
    let refused = hub.send(Method::GET, &url, Some("acme"), None).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    let url = format!("{}/ofrep/v1/flags/events?tenant=a_b", hub.url);
    assert_eq!(hub.send(Method::GET, &url, None, None).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_hub_that_has_not_heard_of_a_change_yet_waits_for_it() {
    const ROUNDS: usize = 10;
    let (server, proxy) = blocking(|| {
        let server = start_redis();
        let proxy = Proxy::start(server.port);
        (server, proxy)
    })
    .await;
    let hub_at = async |port: u16| {
        let hub = blocking(move || {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            // A machine that stalls is no outage.
            writeln!(file, "deadline = \"10s\"").unwrap();
            let store = format!("redis://127.0.0.1:{port}");
            Hub::serve(&["--config", file.path().to_str().unwrap(), "--store", &store])
        })
        .await;
        hub.until("ready").await;
        hub
    };
    let (one, other) = (hub_at(server.port).await, hub_at(proxy.port).await);
    let ada = || json!({ "targetingKey": "ada" });
    assert_eq!(bulk(&other, "", &[], ada()).await.body["flags"], json!([]));
    let mut events = Events::open(&one, "", None).await;
    events.next().await.unwrap();
    // It hears of each change a while after the client.
    proxy.delay(Duration::from_millis(50));
    let mut right = 0;
    for round in 0..ROUNDS {
        put(&one, &format!("flag-{round}"), None, json!({ "type": "bool" })).await;
        let query = events.next_query().await;
        right += usize::from(is_right_at_once(&other, &query, |flags| flags.len() > round).await);
    }
    // Of plain keys, too, which are of no version.
    for round in 0..ROUNDS {
        let value = json!(round % 2 == 0);
        redis_cli(server.port, &["SET", "_:feature:plain:global", &value.to_string()]);
        let query = events.next_query().await;
        let is_right = |flags: &[Value]| {
            flags.iter().any(|flag| flag["key"] == "plain" && flag["value"] == value)
        };
        right += usize::from(is_right_at_once(&other, &query, is_right).await);
    }
    // It waits for a second, and a machine may stall for longer; without any waiting, none would be.
    assert!(right > ROUNDS, "{right} of {} answers were right", 2 * ROUNDS);
}

/// Asks a hub until it answers right, and says whether it did so the first time.
async fn is_right_at_once(hub: &Hub, query: &str, is_right: impl Fn(&[Value]) -> bool) -> bool {
    let asked = async {
        let mut at_once = true;
        loop {
            let reply = bulk(hub, query, &[], json!({ "targetingKey": "ada" })).await;
            if is_right(reply.body["flags"].as_array().expect("flags")) {
                return at_once;
            }
            at_once = false;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("the right answer")
}

#[tokio::test]
async fn nothing_is_said_of_flags_that_were_never_known() {
    let port = free_port();
    let hub =
        blocking(move || Hub::serve(&["--store", &format!("redis://127.0.0.1:{port}")])).await;
    let one = evaluate(&hub, "new-ui", "{}").await;
    assert_eq!(one.status, StatusCode::INTERNAL_SERVER_ERROR, "{}", one.text);
    assert_eq!((&one.body["key"], &one.body["errorCode"]), (&json!("new-ui"), &json!("GENERAL")));
    let all = bulk(&hub, "", &[], json!({})).await;
    assert_eq!((all.status.as_u16(), &all.body["errorCode"]), (500, &json!("GENERAL")));
}
