//! People: signing in to the dashboard, what they may do there, and signing out.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use thirtyfour::prelude::*;

use crate::auth_api::made;
use crate::browser::{EVERY, WAIT, fill, in_a_browser, press, screenshot, until_text};
use crate::hub::{BINARY, Hub, blocking, text};
use crate::world::{start_chromedriver, start_redis};

const PASSWORD: &str = "correct horse battery";

/// As `sinew user hash` prints it.
static HASHED: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Command::new(BINARY);
    hash.args(["user", "hash"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut hash = hash.spawn().expect("the binary");
    writeln!(hash.stdin.take().expect("a pipe"), "{PASSWORD}").expect("it reads");
    text(&hash.wait_with_output().expect("its end").stdout).trim().to_owned()
});

/// A hub whose users are called as their roles are, and `tia`, an admin of the tenant acme.
struct Guarded {
    hub: Hub,
    /// Of a program that may do everything.
    token: String,
    client: Client,
}

/// Someone who is signed in.
struct Visitor {
    cookie: String,
    /// What their pages send along.
    csrf: String,
}

impl Guarded {
    async fn start(arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        blocking(move || {
            let mut file = NamedTempFile::new().unwrap();
            for (name, role, rest) in [
                ("viewer", "viewer", ""),
                ("operator", "operator", ""),
                ("admin", "admin", ""),
                ("tia", "admin", "tenant = \"acme\"\n"),
            ] {
                let hashed = HASHED.as_str();
                writeln!(
                    file,
                    "[[users]]\nname = \"{name}\"\npassword = \"{hashed}\"\nrole = \"{role}\"\n{rest}"
                )
                .unwrap();
            }
            let (token, table) = made(&["program", "--scope", "*"]);
            writeln!(file, "{table}").unwrap();
            let mut all = vec!["--config", file.path().to_str().unwrap()];
            all.extend(arguments.iter().map(String::as_str));
            let client = Client::builder().redirect(Policy::none()).no_proxy();
            let client = client.timeout(Duration::from_secs(30)).build().unwrap();
            Self { hub: Hub::serve(&all), token, client }
        })
        .await
    }

    /// As a browser asks for a whole page.
    fn page(&self, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.hub.url);
        self.client.get(url).header("accept", "text/html,*/*;q=0.8")
    }

    /// As a page asks for a part of itself.
    fn part(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.hub.url)).header("hx-request", "true")
    }

    async fn try_sign_in(&self, name: &str, password: &str, to: &str) -> Response {
        // Of these, none has a character that a form would encode, but spaces.
        let form = format!("name={name}&password={password}&to={to}").replace(' ', "+");
        let request = self.part(Method::POST, "/login").body(form);
        let kind = "application/x-www-form-urlencoded";
        request.header("content-type", kind).send().await.unwrap()
    }

    async fn sign_in(&self, name: &str) -> Visitor {
        let reply = self.try_sign_in(name, PASSWORD, "").await;
        assert_eq!(reply.status(), StatusCode::NO_CONTENT, "{name}");
        let cookie = cookie_of(&reply);
        // The first page that everyone may see.
        let page = self.page("/locks").header("cookie", &cookie).send().await.unwrap();
        assert_eq!(page.status(), StatusCode::OK);
        let html = page.text().await.unwrap();
        assert!(html.contains(&format!("<span id=\"who\">{name}</span>")), "{html}");
        let (_, rest) = html.split_once("\"X-CSRF-Token\": \"").expect("a token in the page");
        Visitor { cookie, csrf: rest.split('"').next().unwrap().to_owned() }
    }

    /// A change, as a visitor's page makes it.
    async fn change(&self, visitor: &Visitor, method: Method, path: &str) -> Response {
        let request = self.part(method, path).header("x-csrf-token", &visitor.csrf);
        request.header("cookie", &visitor.cookie).send().await.unwrap()
    }

    async fn look(&self, visitor: &Visitor, path: &str) -> Response {
        self.page(path).header("cookie", &visitor.cookie).send().await.unwrap()
    }

    /// As a program that may do everything.
    async fn api(&self, method: Method, path: &str, tenant: &str, body: &str) -> Response {
        let request = self.client.request(method, format!("{}{path}", self.hub.url));
        let request = request.bearer_auth(&self.token).header("x-tenant-id", tenant);
        request
            .header("content-type", "application/json")
            .body(body.to_owned())
            .send()
            .await
            .unwrap()
    }
}

/// What a browser would send back.
fn cookie_of(reply: &Response) -> String {
    let set = reply.headers()["set-cookie"].to_str().unwrap();
    set.split(';').next().unwrap().to_owned()
}

fn header(reply: &Response, name: &str) -> String {
    let value = reply.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    value.unwrap_or_default()
}

#[tokio::test]
async fn who_is_not_signed_in_is_led_to_the_way_in_and_back_and_to_no_other_host() {
    let guarded = Guarded::start(&[]).await;
    let page = guarded.page("/caches/user?open=a").send().await.unwrap();
    assert_eq!(page.status(), StatusCode::SEE_OTHER);
    assert_eq!(header(&page, "location"), "/login?to=%2Fcaches%2Fuser%3Fopen%3Da");
    assert_eq!(header(&page, "cache-control"), "no-store");
    let current = format!("{}/limits/calls", guarded.hub.url);
    let part = guarded.part(Method::GET, "/limits/calls/now").header("hx-current-url", current);
    let part = part.send().await.unwrap();
    assert_eq!(part.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(header(&part, "hx-redirect"), "/login?to=%2Flimits%2Fcalls");
    let events = guarded.client.get(format!("{}/overview/events", guarded.hub.url));
    let events = events.header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(events.status(), StatusCode::UNAUTHORIZED);
    for path in ["/login", "/assets/dashboard.css", "/openapi.json", "/health/ready"] {
        assert_eq!(guarded.page(path).send().await.unwrap().status(), StatusCode::OK, "{path}");
    }
    let form = guarded.page("/login?to=%2Fcaches").send().await.unwrap();
    assert!(form.headers().get("set-cookie").is_none(), "nobody's session is stored");
    let html = form.text().await.unwrap();
    assert!(html.contains("name=\"to\" value=\"/caches\""), "{html}");
    assert!(html.contains("<nav aria-label=\"Pages\" hidden>"), "{html}");

    for (to, led) in [
        ("/caches", "/caches"),
        ("", "/"),
        ("//evil.example", "/"),
        ("https://evil.example/", "/"),
        ("/\\evil.example", "/"),
    ] {
        let reply = guarded.try_sign_in("viewer", PASSWORD, to).await;
        assert_eq!(reply.status(), StatusCode::NO_CONTENT, "{to}");
        assert_eq!(header(&reply, "hx-redirect"), led, "{to}");
    }
    // A page of another site can send the form, and not the header that ours sends.
    let url = format!("{}/login", guarded.hub.url);
    let foreign =
        guarded.client.post(url).header("content-type", "application/x-www-form-urlencoded");
    let foreign = foreign.body(format!("name=viewer&password={PASSWORD}").replace(' ', "+"));
    let foreign = foreign.send().await.unwrap();
    assert_eq!(foreign.status(), StatusCode::FORBIDDEN);
    assert!(foreign.headers().get("set-cookie").is_none());
}

#[tokio::test]
async fn a_form_that_is_not_of_the_page_is_told_so_in_a_way_that_its_sender_can_show() {
    let guarded = Guarded::start(&[]).await;
    let login = guarded.page("/login").send().await.unwrap().text().await.unwrap();
    assert!(login.contains("<noscript>"), "{login}");
    let url = format!("{}/login", guarded.hub.url);
    let (form, json) = ("application/x-www-form-urlencoded", "application/json");
    let right = format!("name=viewer&password={PASSWORD}").replace(' ', "+");
    // Without scripts, or of another site.
    for (accept, kind) in [("text/html,*/*;q=0.8", "text/html"), ("*/*", "application/problem")] {
        let sent = guarded.client.post(&url).header("accept", accept).header("content-type", form);
        let told = sent.body(right.clone()).send().await.unwrap();
        assert_eq!(told.status(), StatusCode::FORBIDDEN);
        assert!(header(&told, "content-type").starts_with(kind), "{told:?}");
        assert!(told.headers().get("set-cookie").is_none());
        let text = told.text().await.unwrap();
        assert!(text.contains("which takes scripts"), "{text}");
    }
    let long = format!("name=viewer&password={}", "x".repeat(70_000));
    for (kind, body, expected) in [
        (form, long, "is too long"),
        (form, "name=viewer".to_owned(), "expected a name and a password"),
        (json, "{}".to_owned(), "expected Content-Type: application/x-www-form-urlencoded"),
    ] {
        let sent = guarded.part(Method::POST, "/login").header("content-type", kind);
        let told = sent.body(body).send().await.unwrap();
        // The page shows what comes with this status.
        assert_eq!(told.status(), StatusCode::FORBIDDEN, "{expected}");
        let text = told.text().await.unwrap();
        assert!(text.contains(expected) && text.contains("class=\"fault\""), "{text}");
    }
}

#[tokio::test]
async fn a_session_is_another_one_after_the_sign_in_and_none_after_the_sign_out() {
    let guarded = Guarded::start(&[]).await;
    let first = guarded.try_sign_in("viewer", PASSWORD, "").await;
    let set = header(&first, "set-cookie");
    assert!(
        set.starts_with("sinew=") && set.ends_with("; Path=/; HttpOnly; SameSite=Lax"),
        "{set}"
    );
    let planted = cookie_of(&first);
    // Over it, someone else signs in: what was planted is worth nothing from then on.
    let body = format!("name=admin&password={PASSWORD}").replace(' ', "+");
    let again = guarded.part(Method::POST, "/login").header("cookie", &planted).body(body);
    let again = again.header("content-type", "application/x-www-form-urlencoded");
    let again = again.send().await.unwrap();
    assert_eq!(again.status(), StatusCode::NO_CONTENT);
    assert_ne!(cookie_of(&again), planted);
    let old = guarded.page("/locks").header("cookie", &planted).send().await.unwrap();
    assert_eq!(old.status(), StatusCode::SEE_OTHER);

    let visitor = guarded.sign_in("viewer").await;
    let page = guarded.look(&visitor, "/").await;
    assert_eq!(
        (page.status(), header(&page, "cache-control").as_str()),
        (StatusCode::OK, "no-store")
    );
    assert_eq!(guarded.look(&visitor, "/metrics").await.status(), StatusCode::OK);
    let there = guarded.look(&visitor, "/login?to=%2Flimits").await;
    assert_eq!(header(&there, "location"), "/limits", "who is in need not sign in");
    let out = guarded.part(Method::POST, "/logout").header("cookie", &visitor.cookie);
    assert_eq!(out.send().await.unwrap().status(), StatusCode::FORBIDDEN, "without its token");
    assert_eq!(guarded.look(&visitor, "/").await.status(), StatusCode::OK, "still in");
    let out = guarded.change(&visitor, Method::POST, "/logout").await;
    assert_eq!(
        (out.status(), header(&out, "hx-redirect").as_str()),
        (StatusCode::NO_CONTENT, "/login")
    );
    assert!(header(&out, "set-cookie").starts_with("sinew=; "), "{out:?}");
    assert_eq!(guarded.look(&visitor, "/").await.status(), StatusCode::SEE_OTHER);

    let by_tls = guarded.part(Method::POST, "/login").header("x-forwarded-proto", "https");
    let by_tls = by_tls.header("content-type", "application/x-www-form-urlencoded");
    let by_tls = by_tls.body(format!("name=viewer&password={PASSWORD}").replace(' ', "+"));
    let set = header(&by_tls.send().await.unwrap(), "set-cookie");
    let attributes = "; Path=/; Secure; HttpOnly; SameSite=Lax";
    assert!(set.starts_with("__Host-sinew=") && set.ends_with(attributes), "{set}");
    let log = guarded.hub.server.log();
    assert!(log.contains("signed in on the dashboard"), "{log}");
    for secret in [PASSWORD, HASHED.as_str(), &planted["sinew=".len()..], &visitor.csrf] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn a_change_takes_the_token_of_its_own_page_and_a_role_that_may() {
    let guarded = Guarded::start(&[]).await;
    let (viewer, operator) = (guarded.sign_in("viewer").await, guarded.sign_in("operator").await);
    let admin = guarded.sign_in("admin").await;
    let entry = "/caches/user/entry?key=7";
    let stored = "/v1/cache/user/entries/7";
    let put = guarded.client.put(format!("{}{stored}", guarded.hub.url));
    let put = put.bearer_auth(&guarded.token).header("content-type", "application/json");
    assert_eq!(put.body("1").send().await.unwrap().status(), StatusCode::NO_CONTENT);
    let is_there = async || {
        let url = format!("{}{stored}", guarded.hub.url);
        let reply = guarded.client.get(url).bearer_auth(&guarded.token).send().await.unwrap();
        reply.status() == StatusCode::OK
    };
    let refused = guarded.change(&viewer, Method::DELETE, entry).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let told = refused.text().await.unwrap();
    assert!(told.contains("Your role is viewer. This takes the role operator."), "{told}");
    for csrf in [None, Some(""), Some("x"), Some(viewer.csrf.as_str()), Some(admin.csrf.as_str())] {
        let request = guarded.part(Method::DELETE, entry).header("cookie", &operator.cookie);
        let request = csrf.into_iter().fold(request, |r, csrf| r.header("x-csrf-token", csrf));
        let refused = request.send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{csrf:?}");
        assert!(refused.text().await.unwrap().contains("reload it"), "{csrf:?}");
    }
    assert!(is_there().await, "nothing was done so far");
    let evicted = guarded.change(&operator, Method::DELETE, entry).await;
    assert_eq!(evicted.status(), StatusCode::OK);
    assert!(!is_there().await);

    // As over HTTP, where each of them takes a scope that ends in admin.
    let (all, lock) = ("/sessions/end?user=ada", "/locks/release?name=nightly");
    for (method, path) in
        [(Method::DELETE, all), (Method::DELETE, lock), (Method::PUT, "/flags/new-ui/roll-back")]
    {
        let refused = guarded.change(&operator, method, path).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{path}");
        let told = refused.text().await.unwrap();
        assert!(told.contains("This takes the role admin."), "{path}: {told}");
    }
    for path in [all, lock] {
        let done = guarded.change(&admin, Method::DELETE, path).await;
        assert_eq!(done.status(), StatusCode::OK, "{path}");
    }

    let terms = "algorithm=gcra&quota=7&per=1m&on_down=local";
    let limit = format!("/limits/calls/definition?{terms}");
    let refused = guarded.change(&operator, Method::PUT, &limit).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN, "all tenants have it");
    let changed = guarded.change(&admin, Method::PUT, &limit).await;
    assert_eq!(changed.status(), StatusCode::OK);
    let changes = guarded.look(&admin, "/limits/calls/changes").await.text().await.unwrap();
    assert!(changes.contains("<td>admin</td>"), "the audit has their name: {changes}");
    // A session is for pages: programs have tokens.
    let api = guarded.look(&admin, "/v1/cache").await;
    assert_eq!(api.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_tenants_user_sees_that_tenant_and_nothing_that_all_share() {
    let guarded = Guarded::start(&[]).await;
    let tia = guarded.sign_in("tia").await;
    for tenant in ["acme", "other"] {
        let entry = guarded.api(Method::PUT, "/v1/cache/user/entries/7", tenant, "1").await;
        assert_eq!(entry.status(), StatusCode::NO_CONTENT);
        let lock =
            guarded.api(Method::POST, "/v1/locks/nightly", tenant, "{\"ttl\": \"10m\"}").await;
        assert_eq!(lock.status(), StatusCode::OK);
    }
    let home = guarded.look(&tia, "/").await;
    assert_eq!(
        (home.status(), header(&home, "location").as_str()),
        (StatusCode::SEE_OTHER, "/caches")
    );
    for path in [
        "/overview/tiles",
        "/overview/events",
        "/limits",
        "/limits/calls",
        "/metrics",
        "/caches/user/now",
        "/caches/user/events",
        "/locks/held?tenant=other",
        "/caches/user/entry?key=7&tenant=other",
    ] {
        let refused = guarded.look(&tia, path).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{path}");
    }
    let caches = guarded.look(&tia, "/caches").await.text().await.unwrap();
    assert!(caches.contains("not shown to you") && !caches.contains("<tbody>"), "{caches}");
    let cache = guarded.look(&tia, "/caches/user").await.text().await.unwrap();
    assert!(cache.contains("Look at an entry") && !cache.contains("data-chart"), "{cache}");
    // What names no tenant is of the own one.
    let held = guarded.look(&tia, "/locks/held?tenant=").await.text().await.unwrap();
    assert!(held.contains("nightly"), "{held}");
    let released = guarded.change(&tia, Method::DELETE, "/locks/release?name=nightly").await;
    assert_eq!(released.status(), StatusCode::OK);
    let of_other = guarded.change(&tia, Method::DELETE, "/locks/release?name=nightly&tenant=other");
    assert_eq!(of_other.await.status(), StatusCode::FORBIDDEN);
    for (tenant, status) in [("acme", StatusCode::OK), ("other", StatusCode::CONFLICT)] {
        let lock =
            guarded.api(Method::POST, "/v1/locks/nightly", tenant, "{\"ttl\": \"10m\"}").await;
        assert_eq!(lock.status(), status, "{tenant}");
    }
    let begun = guarded.api(Method::POST, "/v1/sessions", "acme", "{\"user\": \"ada\"}").await;
    let begun: serde_json::Value = begun.json().await.unwrap();
    let one = format!("/sessions/end?user=ada&id={}", begun["id"].as_str().unwrap());
    let ended = guarded.change(&tia, Method::DELETE, &one).await;
    assert_eq!(ended.status(), StatusCode::OK);
    let log = guarded.hub.server.log();
    for told in ["a lock was taken away on the", "sessions of a user were ended on the"] {
        let line = log.lines().find(|line| line.contains(told)).expect("a line");
        assert!(line.contains("tia"), "nobody can be asked why: {line}");
    }
}

#[tokio::test]
async fn guesses_are_few_and_tell_nothing() {
    let guarded = Guarded::start(&[]).await;
    let mut told = Vec::new();
    for (name, password) in [("viewer", "guess-of-a-password"), ("nobody", PASSWORD), ("", "")] {
        let reply = guarded.try_sign_in(name, password, "").await;
        assert_eq!(reply.status(), StatusCode::FORBIDDEN);
        assert!(reply.headers().get("set-cookie").is_none());
        told.push(reply.text().await.unwrap());
    }
    assert!(told[0].contains("The name or the password is not right"), "{told:?}");
    assert!(
        told.iter().all(|one| *one == told[0]),
        "a name that there is is told as one that is not"
    );
    let until_refused = async |name: &str, password: &str| {
        for attempt in 0..40 {
            let reply = guarded.try_sign_in(name, password, "").await;
            if reply.status() == StatusCode::TOO_MANY_REQUESTS {
                assert!(header(&reply, "retry-after").parse::<u64>().unwrap() <= 60);
                return attempt;
            }
            assert_eq!(reply.status(), StatusCode::FORBIDDEN);
        }
        panic!("{name} may be guessed for ever");
    };
    let by_name = until_refused("admin", "guess-of-a-password").await;
    assert!(by_name >= 5, "{by_name}");
    // The right one is not tried any more either.
    let right = guarded.try_sign_in("admin", PASSWORD, "").await;
    assert_eq!(right.status(), StatusCode::TOO_MANY_REQUESTS);
    // Others still get in, until the address has tried too many.
    guarded.sign_in("viewer").await;
    let mut refused = false;
    for name in ('a'..='z').chain('A'..='Z') {
        let reply = guarded.try_sign_in(&name.to_string(), "guess", "").await;
        refused |= reply.status() == StatusCode::TOO_MANY_REQUESTS;
    }
    assert!(refused, "one address may guess any number of names");
    let log = guarded.hub.server.log();
    assert!(log.contains("a sign-in with a wrong name or password"), "{log}");
    assert!(!log.contains("guess-of-a-password") && !log.contains("nobody"), "{log}");
}

#[tokio::test]
async fn a_session_that_was_begun_for_a_program_opens_no_page() {
    let guarded = Guarded::start(&[]).await;
    let body = json!({ "user": "sinew-dashboard:admin", "data": { "sinew-dashboard": "00" } });
    let url = format!("{}/v1/sessions", guarded.hub.url);
    let begun = guarded.client.post(url).bearer_auth(&guarded.token).body(body.to_string());
    let begun = begun.header("content-type", "application/json").send().await.unwrap();
    assert_eq!(begun.status(), StatusCode::CREATED);
    let begun: serde_json::Value = begun.json().await.unwrap();
    let cookie = format!("sinew={}", begun["token"].as_str().unwrap());
    let page = guarded.page("/locks").header("cookie", cookie).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::SEE_OTHER, "it is nobody's who has signed in here");
}

#[tokio::test]
async fn a_store_that_is_away_is_told_and_nobody_is_let_in_or_called_signed_out() {
    let redis = blocking(start_redis).await;
    let store = format!("redis://127.0.0.1:{}", redis.port);
    let guarded = Guarded::start(&["--store", &store]).await;
    guarded.hub.until("ready").await;
    let visitor = guarded.sign_in("operator").await;
    let redis = blocking(move || {
        let mut redis = redis;
        redis.kill();
        redis
    })
    .await;
    guarded.hub.until("degraded").await;
    for path in ["/", "/locks", "/login"] {
        let page = guarded.look(&visitor, path).await;
        assert_eq!(page.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(page.text().await.unwrap().contains("The store does not answer now"), "{path}");
    }
    let form = guarded.page("/login").send().await.unwrap();
    assert_eq!(form.status(), StatusCode::SERVICE_UNAVAILABLE);
    // Neither does it tell which password is right.
    for password in [PASSWORD, "guess-of-a-password"] {
        let attempt = guarded.try_sign_in("viewer", password, "").await;
        assert_eq!(attempt.status(), StatusCode::SERVICE_UNAVAILABLE, "{password}");
        assert_eq!(header(&attempt, "hx-redirect"), "/login", "{password}");
        assert!(header(&attempt, "content-type").starts_with("text/html"), "{attempt:?}");
        let told = attempt.text().await.unwrap();
        assert!(told.contains("The store does not answer now"), "{told}");
    }
    // Tokens need no store.
    let api = guarded.client.get(format!("{}/v1/redis/breakers", guarded.hub.url));
    let api = api.bearer_auth(&guarded.token).send().await.unwrap();
    assert_eq!(api.status(), StatusCode::OK);
    drop(redis);
}

async fn until_title(driver: &WebDriver, title: &str) -> WebDriverResult<()> {
    let began = Instant::now();
    loop {
        let found = driver.title().await?;
        if found == title {
            return Ok(());
        }
        assert!(began.elapsed() < WAIT, "the page is {found:?} and never {title:?}");
        tokio::time::sleep(EVERY).await;
    }
}

#[tokio::test]
async fn a_person_signs_in_changes_something_and_signs_out() {
    let driver_server = blocking(start_chromedriver).await;
    let guarded = Guarded::start(&[]).await;
    let put = guarded.client.put(format!("{}/v1/cache/user/entries/7", guarded.hub.url));
    let put = put.bearer_auth(&guarded.token).header("content-type", "application/json");
    assert_eq!(put.body("1").send().await.unwrap().status(), StatusCode::NO_CONTENT);
    in_a_browser(&driver_server, move |driver| async move {
        driver.goto(format!("{}/locks", guarded.hub.url)).await?;
        until_title(&driver, "Sign in · Sinew").await?;
        screenshot(&driver, "login.png").await?;
        fill(&driver, "input[name=name]", "operator").await?;
        fill(&driver, "input[name=password]", "wrong horse").await?;
        press(&driver, "#sign-in").await?;
        let told = driver.query(By::Css("#said .fault")).wait(WAIT, EVERY).first().await?;
        assert_eq!(told.text().await?, "The name or the password is not right.");
        fill(&driver, "input[name=password]", PASSWORD).await?;
        press(&driver, "#sign-in").await?;
        until_title(&driver, "Locks · Sinew").await?;
        until_text(&driver, "who", "operator").await?;

        driver.goto(format!("{}/caches/user", guarded.hub.url)).await?;
        fill(&driver, "#look input[name=key]", "7").await?;
        press(&driver, "#look button").await?;
        press(&driver, "#evict").await?;
        press(&driver, "#evict-now").await?;
        until_text(&driver, "evicted", "7 is evicted.").await?;
        // Some part of a page is not for them, and it says so.
        driver.goto(format!("{}/limits/calls", guarded.hub.url)).await?;
        fill(&driver, "#terms [name=quota]", "5").await?;
        fill(&driver, "#terms [name=per]", "1m").await?;
        press(&driver, "#change").await?;
        press(&driver, "#change-now").await?;
        let told = driver.query(By::Css("#said .fault")).wait(WAIT, EVERY).first().await?;
        assert!(told.text().await?.contains("This takes the role admin."));

        press(&driver, "#sign-out").await?;
        until_title(&driver, "Sign in · Sinew").await?;
        driver.goto(format!("{}/locks", guarded.hub.url)).await?;
        until_title(&driver, "Sign in · Sinew").await
    })
    .await;
}

#[tokio::test]
async fn a_viewer_sees_all_of_jobs_and_may_do_nothing_with_them() {
    let guarded = Guarded::start(&[]).await;
    let (viewer, operator) = (guarded.sign_in("viewer").await, guarded.sign_in("operator").await);
    let job = r#"{"kind": "email.send", "payload": {"to": "ada"}}"#;
    let enqueued = guarded.api(Method::POST, "/v1/queues/mail/jobs", "acme", job).await;
    assert!(enqueued.status().is_success(), "{enqueued:?}");
    let enqueued: Value = serde_json::from_str(&enqueued.text().await.unwrap()).unwrap();
    let id = enqueued["jobs"][0]["id"].as_str().unwrap_or_else(|| panic!("{enqueued}"));
    let path = |below: &str| {
        let mark = if below.contains('?') { '&' } else { '?' };
        format!("/jobs/{below}{mark}tenant=acme")
    };
    let see = async |who: &Visitor, below: &str| {
        let page = guarded.look(who, &path(below)).await;
        assert_eq!(page.status(), StatusCode::OK, "{below}");
        page.text().await.unwrap()
    };
    assert!(see(&viewer, &format!("mail/job/{id}/payload")).await.contains("ada"));
    assert!(see(&viewer, "mail/list?state=waiting").await.contains(id));
    for below in ["mail", "mail/standing", "~queues", "mail/limits"] {
        let (shown, may) = (see(&viewer, below).await, see(&operator, below).await);
        let acts = ["/switch", "/enqueue", "/limits/change"];
        assert!(!acts.iter().any(|act| shown.contains(act)), "{below}: {shown}");
        assert!(
            below == "mail/limits" || acts.iter().any(|act| may.contains(act)),
            "{below}: {may}"
        );
    }
    for (method, below) in [
        (Method::PUT, "mail/switch?pause=true"),
        (Method::POST, "mail/enqueue"),
        (Method::PUT, "mail/dead/retry?all=true"),
        (Method::DELETE, "mail/dead/drop?all=true"),
        (Method::PUT, "mail/limits?global=1"),
        (Method::PUT, "~recurring/nightly"),
        (Method::PUT, "~recurring/nightly/fire"),
    ] {
        let refused = guarded.change(&viewer, method, &path(below)).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{below}");
    }
    for (method, below, status) in [
        (Method::PUT, "mail/limits?global=1", StatusCode::FORBIDDEN),
        (Method::DELETE, "mail/dead/drop?all=true", StatusCode::FORBIDDEN),
        (Method::PUT, "mail/switch?pause=true", StatusCode::OK),
    ] {
        let reply = guarded.change(&operator, method, &path(below)).await;
        assert_eq!(reply.status(), status, "{below}");
    }
}
