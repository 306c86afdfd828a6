//! Tokens: who has none gets nothing, and who has one gets what it says.

use std::io::Write as _;
use std::process::{Command, Stdio};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::hub::{BINARY, Hub, Reply, blocking, exit_code, sinew, text};
use crate::world::free_port;

const JSON: (&str, &str) = ("content-type", "application/json");

/// A token as the command makes it, and what the configuration says of it.
pub fn made(arguments: &[&str]) -> (String, String) {
    let output = sinew(&[&["token", "new"], arguments].concat());
    let printed = text(&output.stdout);
    let (token, table) = printed.split_once("\n\n").expect("a token and a table");
    assert!(token.starts_with("snw_") && token.len() == 47, "{}", text(&output.stderr));
    (token.to_owned(), table.to_owned())
}

/// A hub with these tokens, each by its name and what it is made with.
struct Guarded {
    hub: Hub,
    tokens: Vec<(&'static str, String)>,
    file: NamedTempFile,
}

impl Guarded {
    async fn with(tokens: &'static [(&'static str, &'static [&'static str])]) -> Self {
        blocking(move || {
            let mut file = NamedTempFile::new().unwrap();
            let mut known = Vec::new();
            for (name, arguments) in tokens {
                let (token, table) = made(&[&[*name], *arguments].concat());
                writeln!(file, "{table}").unwrap();
                known.push((*name, token));
            }
            let hub = Hub::serve(&["--config", file.path().to_str().unwrap()]);
            Self { hub, tokens: known, file }
        })
        .await
    }

    fn token(&self, name: &str) -> &str {
        let known = self.tokens.iter().find(|(known, _)| *known == name);
        &known.expect("a token of this name").1
    }

    async fn call(
        &self,
        token: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Reply {
        let bearer = format!("Bearer {}", self.token(token));
        let all = [&[JSON, ("authorization", bearer.as_str())], headers].concat();
        let url = format!("{}{path}", self.hub.url);
        self.hub.send_with(method, &url, &all, body.map(|body| body.to_string())).await
    }
}

fn is_a_problem(reply: &Reply, status: StatusCode, told: &str) {
    assert_eq!(reply.status, status, "{}", reply.text);
    assert_eq!(reply.content_type, "application/problem+json", "{}", reply.text);
    assert!(reply.body["detail"].as_str().unwrap().contains(told), "{}", reply.text);
}

#[tokio::test]
async fn who_has_no_token_gets_nothing_of_any_route() {
    let guarded = Guarded::with(&[("root", &["--scope", "*"])]).await;
    let hub = &guarded.hub;
    let document = hub.get("/openapi.json").await;
    assert_eq!(document.status, StatusCode::OK, "what the API is like is no secret");
    assert!(document.body["components"]["securitySchemes"]["bearer"].is_object());
    let mut asked = 0;
    for (path, item) in document.body["paths"].as_object().unwrap() {
        let is_open = path.starts_with("/health/");
        for (method, operation) in item.as_object().unwrap() {
            assert_ne!(operation["security"].is_array(), is_open, "{method} {path}");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let some = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
            let url = format!("{}{}", hub.url, some.collect::<Vec<_>>().join("/"));
            let reply = hub.send_with(method.clone(), &url, &[JSON], None).await;
            if is_open {
                assert!(reply.status.is_success(), "{path}: {}", reply.text);
                continue;
            }
            is_a_problem(&reply, StatusCode::UNAUTHORIZED, "expected the header Authorization");
            let challenge = reply.headers["www-authenticate"].to_str().unwrap();
            assert_eq!(challenge, "Bearer realm=\"sinew\"", "{method} {path}");
            assert_eq!(reply.headers["cache-control"], "no-store");
            asked += 1;
        }
    }
    assert!(asked > 20, "{asked}");
    let metrics = hub.get("/metrics").await;
    assert_eq!(metrics.status, StatusCode::UNAUTHORIZED);
    assert_eq!(hub.get("/v1/nothing").await.status, StatusCode::NOT_FOUND);
    // The token opens what is closed without.
    for path in ["/v1/cache", "/v1/locks", "/v1/limits", "/v1/redis/breakers", "/metrics"] {
        let reply = guarded.call("root", Method::GET, path, &[], None).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}: {}", reply.text);
        assert_eq!(reply.headers["cache-control"], "no-store", "{path}");
    }
}

#[tokio::test]
async fn a_token_does_what_its_scopes_say_and_no_more() {
    let guarded = Guarded::with(&[
        ("reader", &["--scope", "cache:read", "--scope", "metrics:read"]),
        ("writer", &["--scope", "cache:write", "--scope", "lock:write"]),
        ("admin", &["--scope", "cache:admin", "--scope", "limit:admin", "--scope", "lock:admin"]),
    ])
    .await;
    let entry = "/v1/cache/user/entries/7";
    let lock = json!({ "ttl": "10m" });
    let limit = json!({ "quota": 5, "per": "1m" });
    for (token, method, path, body, needed) in [
        ("reader", Method::PUT, entry, Some(json!(1)), Some("cache:write")),
        ("writer", Method::PUT, entry, Some(json!(1)), None),
        ("reader", Method::GET, entry, None, None),
        ("writer", Method::GET, entry, None, None),
        ("reader", Method::GET, "/v1/locks", None, Some("lock:read")),
        ("reader", Method::GET, "/metrics", None, None),
        ("writer", Method::GET, "/metrics", None, Some("metrics:read")),
        ("writer", Method::POST, "/v1/locks/nightly", Some(lock), None),
        ("writer", Method::DELETE, "/v1/locks/nightly?force=true", None, Some("lock:admin")),
        ("admin", Method::DELETE, "/v1/locks/nightly?force=true", None, None),
        ("writer", Method::DELETE, "/v1/cache/user/entries?all=true", None, Some("cache:admin")),
        ("admin", Method::DELETE, "/v1/cache/user/entries?all=true", None, None),
        ("writer", Method::PUT, "/v1/limits/calls", Some(limit.clone()), Some("limit:admin")),
        ("admin", Method::PUT, "/v1/limits/calls", Some(limit), None),
        ("admin", Method::GET, "/v1/redis/breakers", None, Some("redis:read")),
    ] {
        let reply = guarded.call(token, method.clone(), path, &[], body).await;
        match needed {
            None => assert!(reply.status.is_success(), "{token} {method} {path}: {}", reply.text),
            Some(scope) => {
                is_a_problem(&reply, StatusCode::FORBIDDEN, &format!("with the scope {scope}"));
                let challenge = reply.headers["www-authenticate"].to_str().unwrap();
                assert!(challenge.ends_with(&format!("scope=\"{scope}\"")), "{challenge}");
            }
        }
    }
}

#[tokio::test]
async fn a_tenants_token_reaches_that_tenant_and_nothing_that_all_share() {
    let guarded = Guarded::with(&[
        ("acme", &["--scope", "*", "--tenant", "acme"]),
        ("root", &["--scope", "*"]),
    ])
    .await;
    let entry = "/v1/cache/user/entries/7";
    let of = |tenant: &'static str| [("x-tenant-id", tenant)];
    let put = guarded.call("acme", Method::PUT, entry, &[], Some(json!("own"))).await;
    assert_eq!(put.status, StatusCode::NO_CONTENT, "{}", put.text);
    for (token, tenant, status) in [
        ("root", Some("acme"), StatusCode::OK),
        ("root", None, StatusCode::NOT_FOUND),
        ("acme", None, StatusCode::OK),
        ("acme", Some("acme"), StatusCode::OK),
        ("acme", Some("other"), StatusCode::FORBIDDEN),
        ("acme", Some("a_b"), StatusCode::BAD_REQUEST),
    ] {
        let tenant = tenant.map(of);
        let headers = tenant.as_ref().map_or(&[][..], |one| &one[..]);
        let reply = guarded.call(token, Method::GET, entry, headers, None).await;
        assert_eq!(reply.status, status, "{token} {headers:?}: {}", reply.text);
    }
    let twice = [of("acme")[0], of("other")[0]];
    let reply = guarded.call("acme", Method::GET, entry, &twice, None).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.text);

    let limit = json!({ "quota": 5, "per": "8760h" });
    for (method, path, body) in [
        (Method::PUT, "/v1/limits/calls", Some(limit.clone())),
        (Method::DELETE, "/v1/limits/calls", None),
        (Method::GET, "/v1/limits", None),
        (Method::GET, "/v1/cache", None),
        (Method::GET, "/v1/cache/user/stats", None),
        (Method::GET, "/v1/audit?kind=limit", None),
        (Method::GET, "/v1/redis/breakers", None),
        (Method::GET, "/metrics", None),
    ] {
        let reply = guarded.call("acme", method.clone(), path, &[], body.clone()).await;
        is_a_problem(&reply, StatusCode::FORBIDDEN, "about all tenants");
    }
    let put = guarded.call("root", Method::PUT, "/v1/limits/calls", &[], Some(limit)).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text);
    // What a limit counts is each tenant's own.
    let check = json!({ "checks": [{ "limit": "calls", "subject": "ada" }] });
    let checked = guarded.call("acme", Method::POST, "/v1/limits/check", &[], Some(check)).await;
    assert_eq!(checked.status, StatusCode::OK, "{}", checked.text);
    let subject = "/v1/limits/calls/ada";
    for (tenant, remaining) in [(&of("acme")[..], 4), (&[][..], 5)] {
        let standing = guarded.call("root", Method::GET, subject, tenant, None).await;
        assert_eq!(standing.body["remaining"], remaining, "{}", standing.text);
    }
}

#[tokio::test]
async fn what_is_no_token_of_this_hub_opens_nothing() {
    let guarded = Guarded::with(&[
        ("good", &["--scope", "*"]),
        ("old", &["--scope", "*", "--expires-in", "1ms"]),
    ])
    .await;
    let good = guarded.token("good");
    let other = if good.ends_with('A') { "B" } else { "A" };
    let altered = format!("Bearer {}{other}", &good[..good.len() - 1]);
    let (bearer, expired) = (format!("Bearer {good}"), format!("Bearer {}", guarded.token("old")));
    let url = format!("{}/v1/cache", guarded.hub.url);
    let ask = |headers: Vec<(&'static str, String)>| {
        let (hub, url) = (&guarded.hub, url.as_str());
        async move {
            let lines: Vec<(&str, &str)> =
                headers.iter().map(|(name, line)| (*name, line.as_str())).collect();
            hub.send_with(Method::GET, url, &lines, None).await
        }
    };
    assert_eq!(ask(vec![("authorization", bearer.clone())]).await.status, StatusCode::OK);
    for headers in [
        vec![("authorization", altered)],
        vec![("authorization", expired)],
        vec![("authorization", "Bearer".to_owned())],
        vec![("authorization", good.to_owned())],
        vec![("authorization", bearer.replace("Bearer", "Basic"))],
        vec![("authorization", bearer.clone()), ("authorization", bearer.clone())],
        vec![("x-api-key", good.to_owned())],
        vec![("cookie", format!("sinew={good}"))],
    ] {
        let shown: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let reply = ask(headers.clone()).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{shown:?}: {}", reply.text);
        assert!(!reply.text.contains("snw_"), "{}", reply.text);
    }
    let log = guarded.hub.server.log();
    assert!(log.contains("has expired") && !log.contains("snw_"), "{log}");
    // Neither does the configuration tell, whether it is right or wrong.
    let path = guarded.file.path().to_str().unwrap().to_owned();
    let digest = std::fs::read_to_string(&path).unwrap();
    let digest = digest.split('"').nth(3).unwrap().to_owned();
    assert_eq!(digest.len(), 64);
    let output = blocking(move || sinew(&["config", "check", "--config", &path])).await;
    let told = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(exit_code(&output) == 0 && !told.contains(&digest), "{told}");
    assert!(told.contains("token \"old\" has expired"), "{told}");
}

#[tokio::test]
async fn an_audit_names_the_token_that_made_a_change() {
    let guarded = Guarded::with(&[("deploy-bot", &["--scope", "*"])]).await;
    let limit = Some(json!({ "quota": 5, "per": "1m" }));
    let by_another = [("x-forwarded-user", "someone"), ("from", "someone@example.com")];
    let put = guarded.call("deploy-bot", Method::PUT, "/v1/limits/calls", &by_another, limit).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text);
    guarded.call("deploy-bot", Method::DELETE, "/v1/limits/calls", &[], None).await;
    let audit = guarded.call("deploy-bot", Method::GET, "/v1/audit?kind=limit", &[], None).await;
    let changes = audit.body.as_array().unwrap();
    assert_eq!(changes.len(), 2, "{}", audit.text);
    assert!(changes.iter().all(|change| change["by"] == "deploy-bot"), "{}", audit.text);
}

#[tokio::test]
async fn commands_say_who_they_are_to_a_hub_that_asks() {
    let guarded =
        Guarded::with(&[("ops", &["--scope", "cache:write", "--scope", "redis:read"])]).await;
    let address = guarded.hub.url.trim_start_matches("http://").to_owned();
    let token = guarded.token("ops").to_owned();
    blocking(move || {
        let run = |arguments: &[&str], variable: Option<&str>| {
            let mut command = Command::new(BINARY);
            command.args(arguments).args(["--listen", &address]).env_remove("SINEW_TOKEN");
            if let Some(token) = variable {
                command.env("SINEW_TOKEN", token);
            }
            let output = command.output().unwrap();
            (exit_code(&output), text(&output.stderr))
        };
        let put = ["cache", "put", "greeting", "en", "1"];
        let (code, told) = run(&put, None);
        assert_eq!(code, 2, "{told}");
        assert!(told.contains("expected --token, or SINEW_TOKEN"), "{told}");
        assert_eq!(run(&put, Some(&token)), (0, String::new()));
        assert_eq!(run(&[&put[..], &["--token", &token]].concat(), None).0, 0);
        // What is said goes before the variable.
        let (code, told) = run(&[&put[..], &["--token", "snw_another"]].concat(), Some(&token));
        assert!(code == 2 && !told.contains("snw_"), "{told}");
        let (code, told) = run(&[&put[..], &["--token", "snw another"]].concat(), None);
        assert!(
            code == 2 && told.contains("expected a token") && !told.contains("another"),
            "{told}"
        );
        assert_eq!(run(&["redis", "breaker"], Some(&token)).0, 0);
        let (code, told) = run(&["lock", "list"], Some(&token));
        assert!(code == 2 && told.contains("the scope lock:read"), "{told}");
        assert_eq!(run(&["limit", "list", "--token", &token], None).0, 2);
    })
    .await;
    let redis = format!("redis://127.0.0.1:{}", free_port());
    let output = blocking(move || {
        sinew(&["cache", "get", "greeting", "en", "--store", &redis, "--token", "snw_x"])
    })
    .await;
    let errors = text(&output.stderr);
    assert!(exit_code(&output) == 2 && errors.starts_with("error: --token: "), "{errors}");
}

#[test]
fn tokens_are_made_as_the_configuration_takes_them() {
    let (first, table) = made(&[
        "acme-web",
        "--scope",
        "session:write",
        "--scope",
        "flag:read",
        "--tenant",
        "acme",
        "--expires-in",
        "90d",
    ]);
    assert_ne!(first, made(&["acme-web", "--scope", "*"]).0);
    let begins = "[[tokens]]\nname = \"acme-web\"\nsha256 = \"";
    assert!(table.starts_with(begins) && !table.contains(&first), "{table}");
    let mut file = NamedTempFile::new().unwrap();
    write!(file, "listen = \"0.0.0.0:7463\"\n{table}").unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let checked = |flags: &[&str]| {
        let output = sinew(&[&["config", "check", "--config", &path], flags].concat());
        (exit_code(&output), text(&output.stderr))
    };
    // Where everyone has to say who they are, others may reach the hub. Envoy says nothing of it.
    assert_eq!(checked(&[]), (0, String::new()));
    let (code, told) = checked(&["--rls-listen", "0.0.0.0:8081"]);
    assert!(
        code == 0 && told.contains("rls_listen 0.0.0.0:8081 can be reached by others"),
        "{told}"
    );
    let (code, told) = checked(&["--tenancy", "single"]);
    assert!(code == 2 && told.contains(": tenant: this deployment is single-tenant"), "{told}");

    let hashed = |token: &str| {
        let mut hash = Command::new(BINARY);
        hash.args(["token", "hash"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut hash = hash.stdout(Stdio::piped()).spawn().unwrap();
        writeln!(hash.stdin.take().unwrap(), "{token}").unwrap();
        let output = hash.wait_with_output().unwrap();
        (exit_code(&output), text(&output.stdout), text(&output.stderr))
    };
    let (code, hash, _) = hashed(&first);
    assert!(code == 0 && table.contains(hash.trim()) && hash.trim().len() == 64, "{hash}");
    // A hash of these would be guessed, or they cannot be sent.
    for weak in ["hunter2", &first[..31], &first.replace('_', " ")] {
        let (code, hash, told) = hashed(weak);
        assert!(code == 2 && hash.is_empty() && !told.contains(weak), "{told}");
    }
    for bad in [
        &["token", "new", "a b", "--scope", "*"][..],
        &["token", "new", "ci"],
        &["token", "new", "ci", "--scope", "cache:delete"],
        &["token", "new", "ci", "--scope", "*", "--tenant", "a_b"],
        &["token", "new", "ci", "--scope", "*", "--expires-in", "soon"],
        &["token", "new", &first, "--scope", "*"],
        &["token", "hash"],
        &["user", "hash"],
    ] {
        let output = sinew(bad);
        assert_eq!(exit_code(&output), 2, "{bad:?}");
        assert!(output.stdout.is_empty(), "{bad:?}");
    }
}
