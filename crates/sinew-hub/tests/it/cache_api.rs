//! What the HTTP API does to many entries, and what it tells of them.

use std::io::Write as _;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::hub::{Hub, Reply, blocking};
use crate::world::{Server, redis_cli, start_redis};

const TAGGED: &str = "[caches.user]\ntagged = true\n";

async fn call(
    hub: &Hub,
    method: Method,
    path: &str,
    tenant: Option<&str>,
    body: Option<&str>,
) -> Reply {
    let url = format!("{}/v1/cache/{path}", hub.url);
    hub.send(method, &url, tenant, body.map(str::to_owned)).await
}

async fn put(hub: &Hub, path: &str, value: &str) {
    let reply = call(hub, Method::PUT, path, None, Some(value)).await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT, "{path}: {}", reply.text);
}

async fn get(hub: &Hub, path: &str) -> Reply {
    call(hub, Method::GET, path, None, None).await
}

async fn delete(hub: &Hub, path: &str) -> Reply {
    call(hub, Method::DELETE, path, None, None).await
}

async fn is_there(hub: &Hub, path: &str) -> bool {
    get(hub, path).await.status == StatusCode::OK
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// A hub with these settings, on an embedded store and on Redis.
async fn on_each_store(settings: &str) -> [(Hub, Option<Server>); 2] {
    let serve = |settings: String, store: String| {
        let file = file(&settings);
        Hub::serve(&["--config", file.path().to_str().unwrap(), "--store", &store])
    };
    let (one, other) = (settings.to_owned(), settings.to_owned());
    let embedded = blocking(move || serve(one, "embedded".to_owned())).await;
    let (redis, server) = blocking(move || {
        let server = start_redis();
        (serve(other, format!("redis://127.0.0.1:{}", server.port)), server)
    })
    .await;
    redis.until("ready").await;
    [(embedded, None), (redis, Some(server))]
}

fn is_problem(reply: &Reply, status: StatusCode, told: &str) {
    assert_eq!(reply.status, status, "{}", reply.text);
    assert_eq!(reply.content_type, "application/problem+json");
    let detail = reply.body["detail"].as_str().unwrap();
    assert!(detail.contains(told), "{told:?} is not in: {detail}");
}

#[tokio::test]
async fn a_value_that_the_client_has_is_not_sent_again() {
    let hub = blocking(|| Hub::serve(&[])).await;
    put(&hub, "user/entries/7", r#"{"name": "Ada"}"#).await;
    let url = format!("{}/v1/cache/user/entries/7", hub.url);
    let ask = async |method: Method, known: &str| {
        hub.send_with(method, &url, &[("if-none-match", known)], None).await
    };
    let first = get(&hub, "user/entries/7").await;
    let tag = first.headers["etag"].to_str().unwrap().to_owned();
    assert!(tag.len() == 18 && tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    assert_eq!(first.headers["cache-control"], "no-cache");
    assert_eq!(first.headers["vary"], "X-Tenant-Id");

    for known in [tag.clone(), format!("\"other\", W/{tag}"), "*".to_owned()] {
        let same = ask(Method::GET, &known).await;
        assert_eq!((same.status, same.text.as_str()), (StatusCode::NOT_MODIFIED, ""), "{known}");
        assert_eq!(same.headers["etag"], tag.as_str());
    }
    let other = ask(Method::GET, "\"0123456789abcdef\"").await;
    assert_eq!((other.status, other.text.as_str()), (StatusCode::OK, r#"{"name": "Ada"}"#));
    let head = ask(Method::HEAD, "\"0123456789abcdef\"").await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
    assert_eq!(head.headers["etag"], tag.as_str());

    put(&hub, "user/entries/7", r#"{"name":"Ada"}"#).await;
    let changed = ask(Method::GET, &tag).await;
    assert_eq!((changed.status, changed.text.as_str()), (StatusCode::OK, r#"{"name":"Ada"}"#));
    assert_ne!(changed.headers["etag"], tag.as_str(), "to the byte");
    let stranger = [("if-none-match", "*"), ("X-Tenant-Id", "acme")];
    let stranger = hub.send_with(Method::GET, &url, &stranger, None).await;
    assert_eq!(stranger.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_write_with_a_condition_is_refused_and_not_done() {
    let hub = blocking(|| Hub::serve(&[])).await;
    put(&hub, "user/entries/7", "1").await;
    let url = format!("{}/v1/cache/user/entries/7", hub.url);
    for condition in [("if-match", "\"x\""), ("if-none-match", "*")] {
        for (method, body) in [(Method::PUT, Some("2".to_owned())), (Method::DELETE, None)] {
            let reply = hub.send_with(method, &url, &[condition], body).await;
            is_problem(&reply, StatusCode::BAD_REQUEST, "?version=N");
        }
    }
    assert_eq!(get(&hub, "user/entries/7").await.text, "1");
}

#[tokio::test]
async fn an_older_version_never_wins() {
    for (hub, _server) in on_each_store("").await {
        let write = async |version: &str, value: &str| {
            let path = format!("user/entries/7?version={version}");
            call(&hub, Method::PUT, &path, None, Some(value)).await
        };
        assert_eq!(write("2", "2").await.status, StatusCode::NO_CONTENT);
        for older in ["1", "2"] {
            is_problem(&write(older, "1").await, StatusCode::CONFLICT, "not newer");
        }
        assert_eq!(get(&hub, "user/entries/7").await.text, "2");
        assert_eq!(write("3", "3").await.status, StatusCode::NO_CONTENT);
        assert_eq!(get(&hub, "user/entries/7").await.text, "3");
        let bad = StatusCode::BAD_REQUEST;
        for version in ["-1", "18446744073709551615", "ten"] {
            let bound = "expected a whole number from 0 to 18446744073709551614";
            is_problem(&write(version, "1").await, bad, bound);
        }
        is_problem(&write("4&version=5", "1").await, bad, "more than once");
        is_problem(&write("4&ttl=1m", "1").await, bad, "expected it alone");
        assert_eq!(write("18446744073709551614", "4").await.status, StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn a_tag_takes_its_entries_with_it_and_no_others() {
    for (hub, _server) in on_each_store(TAGGED).await {
        put(&hub, "user/entries/1?tag=team:3&tag=staff", "1").await;
        put(&hub, "user/entries/2?ttl=10m&tag=staff", "2").await;
        put(&hub, "user/entries/3", "3").await;
        let path = "user/entries/1?tag=staff";
        call(&hub, Method::PUT, path, Some("acme"), Some("1")).await;
        let info = get(&hub, "user/info/1").await;
        assert_eq!(info.body["tags"], json!(["staff", "team:3"]), "{}", info.text);

        assert_eq!(delete(&hub, "user/entries?tag=team:3").await.status, StatusCode::NO_CONTENT);
        assert!(!is_there(&hub, "user/entries/1").await);
        assert!(is_there(&hub, "user/entries/2").await);
        assert_eq!(delete(&hub, "user/entries?tag=staff").await.status, StatusCode::NO_CONTENT);
        assert!(!is_there(&hub, "user/entries/2").await);
        assert!(is_there(&hub, "user/entries/3").await);
        let tenant = call(&hub, Method::GET, "user/entries/1", Some("acme"), None).await;
        assert_eq!(tenant.status, StatusCode::OK, "another tenant's tag is another");

        let fix = "tagged = true under [caches.\"plain\"]";
        let tagged = call(&hub, Method::PUT, "plain/entries/1?tag=a", None, Some("1")).await;
        is_problem(&tagged, StatusCode::BAD_REQUEST, fix);
        let removed = delete(&hub, "plain/entries?tag=a").await;
        is_problem(&removed, StatusCode::BAD_REQUEST, fix);
        let empty = delete(&hub, "user/entries?tag=").await;
        is_problem(&empty, StatusCode::BAD_REQUEST, "expected 1 to");
    }
}

#[tokio::test]
async fn entries_are_removed_by_match_or_all_and_never_by_accident() {
    for (hub, _server) in on_each_store(TAGGED).await {
        for cache in ["user", "plain"] {
            for key in ["1:list", "2:list", "3"] {
                put(&hub, &format!("{cache}/entries/{key}"), "1").await;
                let path = format!("{cache}/entries/{key}");
                call(&hub, Method::PUT, &path, Some("acme"), Some("1")).await;
            }
            let named = "exactly one of ?tag=…, ?match=… and ?all=true";
            let none =
                ["", "?", "?all=false", "?all", "?tog=a", "?tag=a&all=true", "?match=a&match=b"];
            for query in none {
                let reply = delete(&hub, &format!("{cache}/entries{query}")).await;
                is_problem(&reply, StatusCode::BAD_REQUEST, named);
            }
            let pattern = delete(&hub, &format!("{cache}/entries?match=[ab]")).await;
            is_problem(&pattern, StatusCode::BAD_REQUEST, "expected key text");
            let slip = delete(&hub, &format!("{cache}/entries/")).await;
            assert_eq!(slip.status, StatusCode::NOT_FOUND, "an entry without a key is none");

            let matched = delete(&hub, &format!("{cache}/entries?match=*:list")).await;
            assert_eq!((matched.status, &matched.body), (StatusCode::OK, &json!({"removed": 2})));
            assert!(is_there(&hub, &format!("{cache}/entries/3")).await);
            let all = delete(&hub, &format!("{cache}/entries?all=true")).await;
            assert_eq!(all.status, StatusCode::NO_CONTENT, "{}", all.text);
            assert!(!is_there(&hub, &format!("{cache}/entries/3")).await);
            let path = format!("{cache}/entries/3");
            let tenant = call(&hub, Method::GET, &path, Some("acme"), None).await;
            assert_eq!(tenant.status, StatusCode::OK, "another tenant's is another");
        }
    }
}

#[tokio::test]
async fn an_outage_is_told_as_what_it_means_for_each_route() {
    let [_, (hub, server)] = on_each_store(TAGGED).await;
    put(&hub, "user/entries/1", "1").await;
    let mut server = server.expect("of Redis");
    let _server = blocking(move || {
        server.kill();
        server
    })
    .await;
    hub.until("degraded").await;
    for queued in ["user/entries?tag=a", "user/entries?all=true", "user/entries/1"] {
        assert_eq!(delete(&hub, queued).await.status, StatusCode::ACCEPTED, "{queued}");
    }
    let away = StatusCode::SERVICE_UNAVAILABLE;
    is_problem(&delete(&hub, "user/entries?match=*").await, away, "cannot serve this now");
    for path in ["user/info/1", "user/keys/largest"] {
        is_problem(&get(&hub, path).await, away, "cannot serve this now");
    }
    for part in ["/caches/user/keys/largest", "/caches/user/entry?key=1"] {
        let told = hub.get(part).await;
        assert_eq!(told.status, StatusCode::OK, "{part}");
        assert!(told.text.contains("The store does not answer now."), "{part}: {}", told.text);
        assert!(!told.text.contains("127.0.0.1"), "{part}: {}", told.text);
    }
    assert_eq!(get(&hub, "user/keys/hottest").await.status, StatusCode::OK);
    let entries = r#"[{"key": "1", "value": 1}, {"key": "2", "value": 2}]"#;
    let warmed = call(&hub, Method::POST, "plain/warm", None, Some(entries)).await;
    let told =
        json!({"stored": 0, "found": 0, "failed": 2, "failure": "the store cannot serve this now"});
    assert_eq!((warmed.status, &warmed.body), (StatusCode::OK, &told));
}

#[tokio::test]
async fn a_cache_is_filled_with_what_it_does_not_have() {
    for (hub, _server) in on_each_store(TAGGED).await {
        let warm = async |path: &str, body: &str| {
            call(&hub, Method::POST, path, None, Some(body)).await.body
        };
        put(&hub, "user/entries/1", "\"kept\"").await;
        let entries = r#"[{"key": "1", "value": "brought"},
            {"key": "2:a b", "value": {"n":  12345678901234567890}, "ttl": "1m", "tags": ["staff"]}]"#;
        let told = |stored: u64, found: u64| json!({"stored": stored, "found": found, "failed": 0});
        assert_eq!(warm("user/warm", entries).await, told(1, 1));
        assert_eq!(get(&hub, "user/entries/1").await.text, "\"kept\"");
        let found = get(&hub, "user/entries/2:a%20b").await.text;
        assert_eq!(found, r#"{"n":  12345678901234567890}"#, "to the byte");
        let info = get(&hub, "user/info/2:a%20b").await.body;
        assert_eq!(info["tags"], json!(["staff"]));
        assert!(info["freshForSeconds"].as_f64().unwrap() <= 60.0, "{info}");
        assert_eq!(warm("user/warm?replace=true", entries).await, told(2, 0));
        assert_eq!(get(&hub, "user/entries/1").await.text, "\"brought\"");

        let lines: Vec<String> = (0..2_000)
            .map(|n| json!({"key": format!("line:{n}"), "value": n}).to_string())
            .collect();
        let url = format!("{}/v1/cache/user/warm", hub.url);
        let kind =
            [("content-type", "application/x-ndjson; charset=utf-8"), ("X-Tenant-Id", "acme")];
        let reply = hub.send_with(Method::POST, &url, &kind, Some(lines.join("\n"))).await;
        assert_eq!(reply.body, told(2_000, 0), "{}", reply.text);
        let last = call(&hub, Method::GET, "user/entries/line:1999", Some("acme"), None).await;
        assert_eq!(last.text, "1999");
        assert!(!is_there(&hub, "user/entries/line:1999").await, "it is another tenant's");
        assert_eq!(warm("user/warm", "[]").await, told(0, 0));
    }
}

#[tokio::test]
async fn nothing_is_stored_of_entries_of_which_one_is_bad() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let good = r#"{"key": "good", "value": 1}"#;
    let bad = StatusCode::BAD_REQUEST;
    let long = format!(r#"{{"key": "{}", "value": 1}}"#, "k".repeat(1_100));
    let large = format!(r#"{{"key": "k", "value": "{}"}}"#, "v".repeat(1 << 20));
    let tags = format!(r#"{{"key": "k", "value": 1, "tags": [{}"t"]}}"#, r#""t","#.repeat(32));
    for (second, told) in [
        (r#"{"key": "k"}"#, "expected entries like"),
        (r#"{"key": 5, "value": 1}"#, "expected entries like"),
        (r#"{"key": "k", "value": 1, "colour": 2}"#, "expected entries like"),
        (r#"{"key": "k", "value": 1, "ttl": "soon"}"#, "invalid duration"),
        (r#"{"key": "k", "value": 1, "tags": ["a"]}"#, "cache \"user\" has no tags"),
        (r#"{"key": "k", "value": 1, "tags": [""]}"#, "a tag of 0 bytes: expected 1 to 128"),
        (tags.as_str(), "too many tags: expected at most 32"),
        (r#"{"key": "", "value": 1}"#, "expected segments between colons"),
        (r#"{"key": "..", "value": 1}"#, "expected segments between colons"),
        (r#"{"key": "good", "value": 2}"#, "the key of line 1, column "),
        (long.as_str(), "expected at most 1024 with prefix, tenant and cache"),
        (large.as_str(), "expected at most 1048576"),
        ("secret", "not JSON"),
    ] {
        for body in [format!("[{good},\n{second}]"), format!("{good}\n{second}\n")] {
            let reply = call(&hub, Method::POST, "user/warm", None, Some(&body)).await;
            is_problem(&reply, bad, told);
            is_problem(&reply, bad, "line 2, column 1: ");
            assert!(!reply.text.contains("secret"), "{}", reply.text);
        }
    }
    let many = format!("[{}]", vec![good; 10_001].join(","));
    let reply = call(&hub, Method::POST, "user/warm", None, Some(&many)).await;
    is_problem(&reply, bad, "more than 10000 entries");
    let large = format!("[{{\"key\": \"good\", \"value\": \"{}\"}}]", "v".repeat(32 << 20));
    let reply = call(&hub, Method::POST, "user/warm", None, Some(&large)).await;
    is_problem(&reply, StatusCode::PAYLOAD_TOO_LARGE, "in parts");
    let query = call(&hub, Method::POST, "user/warm?replase=true", None, Some("[]")).await;
    is_problem(&query, bad, "replace");

    // What a page of another site could send without being asked about.
    let url = format!("{}/v1/cache/user/warm", hub.url);
    let kinds: [&[(&str, &str)]; 3] =
        [&[], &[("content-type", "text/plain")], &[("content-type", "multipart/form-data")]];
    for kind in kinds {
        let reply = hub.send_with(Method::POST, &url, kind, Some(format!("[{good}]"))).await;
        is_problem(&reply, StatusCode::UNSUPPORTED_MEDIA_TYPE, "application/json");
    }
    assert!(!is_there(&hub, "user/entries/good").await);

    // The longest key: `_:user:` and so many more; a tenant's name leaves less room.
    let longest = format!(r#"{{"key": "{}", "value": 1}}"#, "k".repeat(1_024 - 7));
    let stored = call(&hub, Method::POST, "user/warm", None, Some(&longest)).await;
    assert_eq!(stored.body, json!({"stored": 1, "found": 0, "failed": 0}), "{}", stored.text);
    let too_long = call(&hub, Method::POST, "user/warm", Some("acme"), Some(&longest)).await;
    is_problem(&too_long, bad, "line 1, column 1: key of 1027 bytes");
}

#[tokio::test]
async fn whoever_sends_slowly_keeps_no_one_from_warming() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let address = hub.url.trim_start_matches("http://").to_owned();
    let head = "POST /v1/cache/user/warm HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\
                Content-Type: application/json\r\nExpect: 100-continue\r\n\r\n";
    let mut slow = Vec::new();
    for _ in 0..16 {
        let mut connection = TcpStream::connect(&address).await.unwrap();
        connection.write_all(head.as_bytes()).await.unwrap();
        // The hub reads the body from here on, and gets its beginning.
        let mut reply = [0; 12];
        connection.read_exact(&mut reply).await.unwrap();
        assert_eq!(&reply, b"HTTP/1.1 100");
        connection.write_all(b"[").await.unwrap();
        slow.push(connection);
    }
    let entries = r#"[{"key": "7", "value": 1}]"#;
    let warmed = call(&hub, Method::POST, "user/warm", None, Some(entries)).await;
    assert_eq!((warmed.status, &warmed.body["stored"]), (StatusCode::OK, &json!(1)));
}

#[tokio::test]
async fn a_hub_of_a_single_tenant_takes_no_name_of_one() {
    let hub = blocking(|| Hub::serve(&["--tenancy", "single"])).await;
    put(&hub, "user/entries/7", "1").await;
    let entries = r#"[{"key": "8", "value": 1}]"#;
    for (method, path, body) in [
        (Method::GET, "user/entries/7", None),
        (Method::GET, "user/info/7", None),
        (Method::GET, "user/keys/largest", None),
        (Method::DELETE, "user/entries?all=true", None),
        (Method::POST, "user/warm", Some(entries)),
    ] {
        let reply = call(&hub, method, path, Some("acme"), body).await;
        is_problem(&reply, StatusCode::BAD_REQUEST, "expected none to be named");
    }
    let part = hub.get("/caches/user/entry?key=7&tenant=acme").await;
    assert!(part.text.contains("This hub serves a single tenant"), "{}", part.text);
    assert!(is_there(&hub, "user/entries/7").await);
}

#[tokio::test]
async fn what_is_wrong_with_a_query_is_told_in_our_own_words() {
    let hub = blocking(|| Hub::serve(&[])).await;
    let readers_words = |text: &str| {
        let words =
            ["eserialize", "digit", "unknown field", "duplicate", "missing", "type", "provided"];
        words.into_iter().find(|word| text.contains(word)).map(str::to_owned)
    };
    for query in [
        "largest?keys=secret",
        "largest?tip=1",
        "largest?top=1&top=2",
        "hottest?top=-1",
        "hottest?keys=1",
    ] {
        let reply = get(&hub, &format!("user/keys/{query}")).await;
        is_problem(&reply, StatusCode::BAD_REQUEST, "expected nothing, or ");
        let detail = reply.body["detail"].as_str().unwrap();
        assert_eq!(readers_words(detail), None, "{query}: {detail}");
        assert!(!detail.contains("secret"), "{query}: {detail}");
    }
    let warm = call(&hub, Method::POST, "user/warm?replace=perhaps", None, Some("[]")).await;
    is_problem(&warm, StatusCode::BAD_REQUEST, "expected nothing, or replace=true");
    let page = hub.get("/caches/user/entry").await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(page.text.contains("The address is not complete"), "{}", page.text);
}

#[tokio::test]
async fn an_entry_is_looked_at_without_being_looked_up() {
    for (hub, _server) in on_each_store("").await {
        put(&hub, "user/entries/7?ttl=10m", "\"Ada\"").await;
        let info = get(&hub, "user/info/7").await;
        assert_eq!(info.status, StatusCode::OK, "{}", info.text);
        let seconds = |name: &str| info.body[name].as_f64().unwrap();
        assert!((0.0..60.0).contains(&seconds("ageSeconds")), "{}", info.text);
        for time in ["freshForSeconds", "expiresInSeconds"] {
            assert!((500.0..=600.0).contains(&seconds(time)), "{time}: {}", info.text);
        }
        assert!(info.body["bytes"].as_u64().unwrap() >= 5, "{}", info.text);
        let said = (&info.body["served"], &info.body["absent"], &info.body["tags"]);
        assert_eq!(said, (&json!(true), &json!(false), &json!([])));
        is_problem(&get(&hub, "user/info/8").await, StatusCode::NOT_FOUND, "no such entry");
        let stranger = call(&hub, Method::GET, "user/info/7", Some("acme"), None).await;
        is_problem(&stranger, StatusCode::NOT_FOUND, "no such entry");
        let stats = get(&hub, "user/stats").await.body;
        let counts = (&stats["hitsLocal"], &stats["hitsRedis"], &stats["misses"]);
        assert_eq!(counts, (&json!(0), &json!(0), &json!(0)));
        assert_eq!((&stats["stale"], &stats["checked"]), (&json!(0), &json!(0)));
        assert_eq!(stats["inconsistencies"], json!(0));
    }
}

#[tokio::test]
async fn the_largest_and_the_hottest_keys_are_told() {
    for (hub, _server) in on_each_store("").await {
        for (key, len) in [("small", 1), ("a%20b:50%25", 4_000), ("large:list", 9_000)] {
            put(&hub, &format!("user/entries/{key}"), &format!("\"{}\"", "v".repeat(len))).await;
        }
        let path = "user/entries/theirs";
        call(&hub, Method::PUT, path, Some("acme"), Some("1")).await;
        let largest = get(&hub, "user/keys/largest?top=2").await.body;
        let keys = |list: &Value| -> Vec<String> {
            let keys = list.as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap());
            keys.map(str::to_owned).collect()
        };
        assert_eq!(keys(&largest), ["large:list", "a b:50%"], "{largest}");
        assert!(largest[0]["bytes"].as_u64().unwrap() > 9_000, "{largest}");
        let written = get(&hub, &format!("user/entries/{}", "a%20b:50%25")).await;
        assert_eq!(written.status, StatusCode::OK, "the key as it is told is the key of the route");
        assert_eq!(get(&hub, "user/keys/largest").await.body.as_array().unwrap().len(), 3);

        // One look-up in some is looked at.
        for n in 0..2_000 {
            let key = if n % 5 == 0 { "small" } else { "large:list" };
            get(&hub, &format!("user/entries/{key}")).await;
        }
        let hottest = get(&hub, "user/keys/hottest?top=1").await.body;
        assert_eq!(keys(&hottest), ["large:list"], "{hottest}");
        let share = hottest[0]["share"].as_f64().unwrap();
        assert!((0.5..=1.0).contains(&share), "{hottest}");
        for query in ["largest?top=0", "largest?keys=100001", "largest?tip=1", "hottest?top=1001"] {
            let reply = get(&hub, &format!("user/keys/{query}")).await;
            is_problem(&reply, StatusCode::BAD_REQUEST, "expected");
        }
    }
}

#[tokio::test]
async fn caches_are_listed_whether_used_or_only_named() {
    let [(hub, _), _] = on_each_store("[caches.named]\nttl = \"1m\"\n").await;
    put(&hub, "used/entries/1", "1").await;
    get(&hub, "used/entries/1").await;
    let list = hub.get("/v1/cache").await.body;
    assert_eq!((&list[0]["cache"], &list[1]["cache"]), (&json!("named"), &json!("used")), "{list}");
    assert_eq!((&list[0]["hitRatio"], &list[1]["hitRatio"]), (&Value::Null, &json!(1.0)));
    assert_eq!(get(&hub, "named/stats").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_encrypted_cache_shows_its_values_to_no_one_without_the_key() {
    let server = blocking(start_redis).await;
    let store = format!("redis://127.0.0.1:{}", server.port);
    let keyring = format!("keyring = \"1:{}\"\n", "7f".repeat(32));
    let settings =
        "[caches.user]\nencrypt = true\ncompress = \"zstd\"\n[caches.packed]\ncompress = \"lz4\"\n";
    let settings = file(&format!("{keyring}{settings}"));
    let (hub, other) = blocking(move || {
        let path = settings.path().to_str().unwrap();
        let hub = Hub::serve(&["--config", path, "--store", &store]);
        (hub, Hub::serve(&["--store", &store]))
    })
    .await;
    hub.until("ready").await;
    other.until("ready").await;
    let value = format!(r#"{{"secret": "{}"}}"#, "hunter2".repeat(400));
    for cache in ["user", "packed"] {
        put(&hub, &format!("{cache}/entries/7"), &value).await;
        assert_eq!(get(&hub, &format!("{cache}/entries/7")).await.text, value);
        let len: usize =
            redis_cli(server.port, &["STRLEN", &format!("_:{cache}:7")]).parse().unwrap();
        assert!((1..1_000).contains(&len), "{cache}: {len}");
    }
    assert!(!redis_cli(server.port, &["GET", "_:user:7"]).contains("hunter2"));
    assert!(!is_there(&other, "user/entries/7").await);
    let page = "/caches/user/entry?key=7";
    let seen = other.get(page).await.text;
    assert!(seen.contains("encrypted with a key that this server does not have"), "{seen}");
    assert!(hub.get(page).await.text.contains("its value"));
    assert!(is_there(&other, "packed/entries/7").await, "an entry says how it is packed");
    let log = hub.server.log();
    assert!(!log.contains("hunter2") && !log.contains("7f7f"), "{log}");
}
