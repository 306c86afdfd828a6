//! What sessions over HTTP promise, through a real server and a real client.

mod attacks;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::routing::{get, post};
use parking_lot::Mutex;
use reqwest::Client;
use reqwest::redirect::Policy;
use sinew::http::Problem;
use sinew::session::http::{Csrf, CsrfLayer, SessionCookie, SessionLayer, SessionUser};
use sinew::session::{Login, Session, SessionsBuilder};
use sinew::{CacheLayer, Sinew};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::http_cache::Reply;
use crate::laws::{eventually, keep};
use crate::outage::{blocking, down, process_at};
use crate::world::{Store, start_redis};

const ATTRIBUTES: &str = "; Path=/; Secure; HttpOnly; SameSite=Lax";
const REMOVAL: &str = "__Host-id=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0";

/// A request, before it is sent.
#[derive(Clone, Debug)]
struct Asked {
    method: Method,
    path: &'static str,
    fields: Vec<(&'static str, String)>,
    content: String,
}

impl Asked {
    fn new(method: Method, path: &'static str) -> Self {
        Self { method, path, fields: Vec::new(), content: String::new() }
    }

    fn get(path: &'static str) -> Self {
        Self::new(Method::GET, path)
    }

    fn post(path: &'static str) -> Self {
        Self::new(Method::POST, path)
    }

    fn put(path: &'static str) -> Self {
        Self::new(Method::PUT, path)
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    fn cookie(self, token: &str) -> Self {
        self.with("cookie", format!("__Host-id={token}"))
    }

    fn content(mut self, content: impl Into<String>) -> Self {
        self.content = content.into();
        self
    }
}

/// A server and a client that keeps no cookies, but every one that it was given.
struct Site {
    url: String,
    client: Client,
    set: Mutex<Vec<String>>,
}

impl Site {
    async fn serving(router: Router) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a port");
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(axum::serve(listener, service).into_future());
        let client = Client::builder().no_proxy().redirect(Policy::none()).build();
        let client = client.expect("a client");
        Self { url: format!("http://{address}"), client, set: Mutex::default() }
    }

    /// A shop with the sessions of one tenant.
    async fn shop(store: &Store) -> Self {
        let sessions = store.tenant("acme").await.sessions().build().unwrap();
        Self::serving(shop(sessions.layer())).await
    }

    async fn ask(&self, asked: Asked) -> Reply {
        let mut request = self.client.request(asked.method, format!("{}{}", self.url, asked.path));
        for (name, value) in asked.fields {
            request = request.header(name, value);
        }
        if !asked.content.is_empty() {
            request = request.body(asked.content);
        }
        let response = request.send().await.expect("a response");
        let (status, headers) = (response.status(), response.headers().clone());
        let content = response.bytes().await.expect("all of it").to_vec();
        let reply = Reply { status, headers, content };
        self.set.lock().extend(reply.header("set-cookie").map(str::to_owned));
        reply
    }

    /// The token that a request brings.
    async fn issued(&self, asked: Asked) -> String {
        let reply = self.ask(asked).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        issued(&reply).expect("a token")
    }

    async fn login(&self, user: &str) -> String {
        self.issued(Asked::post("/login").content(user)).await
    }

    async fn text(&self, asked: Asked) -> String {
        let reply = self.ask(asked).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        reply.text().to_owned()
    }
}

/// The token that a reply brings.
fn issued(reply: &Reply) -> Option<String> {
    let pair = reply.header("set-cookie")?.split(';').next()?;
    let token = pair.strip_prefix("__Host-id=")?;
    (!token.is_empty()).then(|| token.to_owned())
}

fn assert_problem(reply: &Reply, status: StatusCode) {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
}

/// A service with a cart for everyone, and transfers for its own pages.
fn shop(layer: SessionLayer) -> Router {
    let forms = Router::new()
        .route("/form", get(|csrf: Csrf| async move { csrf.token().to_owned() }))
        .route("/transfer", post(|_: SessionUser, sent: String| async move { sent }))
        .layer(CsrfLayer);
    let public = [("cache-control", "public, max-age=60")];
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/public", get(move || async move { (public, "everyone's") }))
        .route("/greeted", get(move |session: Session| async move { greeted(&session, public) }))
        .route("/cart", get(cart).put(fill))
        .route("/fail", post(fail))
        .route("/login", post(login))
        .route("/logout", post(logout))
        .route("/me", get(me))
        .route("/anyone", get(anyone))
        .route("/id", get(id))
        .merge(forms)
        .layer(layer)
}

type Fields = [(&'static str, &'static str); 1];

fn greeted(session: &Session, fields: Fields) -> Result<(Fields, &'static str), Problem> {
    session.set("greeted", &true)?;
    Ok((fields, "hello, you"))
}

async fn cart(session: Session) -> Result<String, Problem> {
    Ok(session.get::<String>("cart").await?.unwrap_or_else(|| "empty".to_owned()))
}

async fn fill(session: Session, content: String) -> Result<&'static str, Problem> {
    session.set("cart", &content)?;
    Ok("filled")
}

async fn fail(session: Session) -> Result<&'static str, Problem> {
    session.set("cart", "of one who failed")?;
    Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "on purpose"))
}

async fn login(session: Session, user: String) -> Result<String, Problem> {
    match session.login(&user).await? {
        Login::Done => {
            Ok(session.token().map(|token| token.as_str().to_owned()).unwrap_or_default())
        }
        _ => Err(Problem::new(StatusCode::CONFLICT, "not now")),
    }
}

async fn logout(session: Session) -> Result<&'static str, Problem> {
    session.logout().await?;
    Ok("bye")
}

async fn me(SessionUser(user): SessionUser) -> String {
    tracing::trace!("a handler knows who it is");
    user.to_string()
}

async fn anyone(user: Option<SessionUser>) -> String {
    user.map_or_else(|| "nobody".to_owned(), |SessionUser(user)| user.to_string())
}

async fn id(session: Session) -> String {
    session.id().map(|id| id.to_string()).unwrap_or_default()
}

laws! {
    async fn a_cookie_is_set_with_what_is_stored_and_removed_with_its_end(store: Store) {
        let site = Site::shop(&store).await;
        let reply = site.ask(Asked::get("/")).await;
        assert_eq!((reply.header("set-cookie"), reply.header("cache-control")), (None, None));
        let reply = site.ask(Asked::get("/cart")).await;
        assert_eq!((reply.text(), reply.header("set-cookie")), ("empty", None));

        let reply = site.ask(Asked::put("/cart").content("tea")).await;
        let token = issued(&reply).expect("a token");
        let expected = format!("__Host-id={token}{ATTRIBUTES}");
        assert_eq!(reply.header("set-cookie"), Some(expected.as_str()));
        assert_eq!(reply.header("cache-control"), Some("no-store"));

        let reply = site.ask(Asked::get("/cart").cookie(&token)).await;
        assert_eq!((reply.text(), reply.header("set-cookie")), ("tea", None));
        assert_eq!(reply.header("cache-control"), Some("private"));
        let reply = site.ask(Asked::put("/cart").cookie(&token).content("coffee")).await;
        assert_eq!((reply.text(), reply.header("set-cookie")), ("filled", None));
        let reply = site.ask(Asked::get("/public").cookie(&token)).await;
        assert_eq!(reply.header("cache-control"), Some("public, max-age=60"));

        let reply = site.ask(Asked::post("/logout").cookie(&token)).await;
        assert_eq!((reply.text(), reply.header("set-cookie")), ("bye", Some(REMOVAL)));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(site.text(Asked::get("/cart").cookie(&token)).await, "empty");
    }

    async fn what_a_handler_changed_is_saved_although_it_failed(store: Store) {
        let site = Site::shop(&store).await;
        let reply = site.ask(Asked::post("/fail")).await;
        assert_problem(&reply, StatusCode::INTERNAL_SERVER_ERROR);
        let token = issued(&reply).expect("a token");
        assert_eq!(site.text(Asked::get("/cart").cookie(&token)).await, "of one who failed");
    }

    async fn a_cookie_that_is_no_token_is_as_none_and_is_not_repeated(store: Store) {
        let site = Site::shop(&store).await;
        for bad in ["", "nonsense", "a.b", "<script>", "\"quoted\"", "%00", "é"] {
            let reply = site.ask(Asked::get("/anyone").cookie(bad)).await;
            assert_eq!((reply.text(), reply.header("set-cookie")), ("nobody", None), "{bad}");
            let reply = site.ask(Asked::put("/cart").cookie(bad).content("tea")).await;
            let token = issued(&reply).expect("a new session");
            assert_ne!(token, bad);
            assert_eq!(site.text(Asked::get("/cart").cookie(&token)).await, "tea");
        }
    }

    async fn a_request_that_ends_after_a_login_beside_it_leaves_the_new_cookie(store: Store) {
        let (read, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let slow = {
            let (read, go_on) = (Arc::clone(&read), Arc::clone(&go_on));
            move |session: Session| async move {
                let before = cart(session.clone()).await?;
                read.add_permits(1);
                let _passed = go_on.acquire().await.expect("never closed");
                session.set("cart", "too late")?;
                Ok::<_, Problem>(before)
            }
        };
        let sessions = store.tenant("acme").await.sessions().build().unwrap();
        let slow = Router::new().route("/slow", get(slow)).layer(sessions.layer());
        let site = Site::serving(shop(sessions.layer()).merge(slow)).await;

        let before = site.issued(Asked::put("/cart").content("tea")).await;
        let late = site.ask(Asked::get("/slow").cookie(&before));
        let beside = async {
            let _read = read.acquire().await.expect("never closed");
            let after = site.issued(Asked::post("/login").cookie(&before).content("ada")).await;
            go_on.add_permits(1);
            after
        };
        let (late, after) = tokio::join!(late, beside);
        assert_eq!((late.status, late.text()), (StatusCode::OK, "tea"));
        assert_eq!(late.header("set-cookie"), None);
        // Nor does one that begins after it.
        let later = site.ask(Asked::get("/anyone").cookie(&before)).await;
        assert_eq!((later.text(), later.header("set-cookie")), ("nobody", None));
        assert_eq!(site.text(Asked::get("/me").cookie(&after)).await, "ada");
        assert_eq!(site.text(Asked::get("/cart").cookie(&after)).await, "tea");
    }

    async fn no_cache_keeps_a_response_that_brings_a_session(store: Store) {
        let acme = store.tenant("acme").await;
        let cache = CacheLayer::new(acme.cache("pages")).unwrap();
        let sessions = acme.sessions().build().unwrap();
        let site = Site::serving(shop(sessions.layer()).layer(cache)).await;
        eventually("the cache is at work", || async {
            site.ask(Asked::get("/public")).await.is_hit()
        })
        .await;
        // The handler calls this everyone's as well.
        let one = site.issued(Asked::get("/greeted")).await;
        let other = site.issued(Asked::get("/greeted")).await;
        assert_ne!(one, other);
    }

    async fn a_token_travels_as_bearer_where_the_layer_says_so(store: Store) {
        let sessions = store.tenant("acme").await.sessions().build().unwrap();
        let site = Site::serving(shop(sessions.bearer_layer())).await;
        let reply = site.ask(Asked::post("/login").content("ada")).await;
        let told = (reply.status, reply.header("cache-control"));
        assert_eq!(told, (StatusCode::OK, Some("no-store")));
        let token = reply.text().to_owned();
        for scheme in ["Bearer ", "bearer ", "BEARER  "] {
            let asked = Asked::get("/me").with("authorization", format!("{scheme}{token}"));
            let reply = site.ask(asked).await;
            assert_eq!((reply.status, reply.text()), (StatusCode::OK, "ada"), "{scheme}");
            assert_eq!(reply.header("cache-control"), Some("private"), "{scheme}");
        }
        for asked in [
            Asked::get("/me"),
            Asked::get("/me").cookie(&token),
            Asked::get("/me").with("authorization", token.clone()),
            Asked::get("/me").with("authorization", format!("Basic {token}")),
            Asked::get("/me").with("authorization", format!("Bearer {token}x")),
        ] {
            let reply = site.ask(asked).await;
            assert_problem(&reply, StatusCode::UNAUTHORIZED);
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        }
        let logout = Asked::post("/logout").with("authorization", format!("Bearer {token}"));
        assert_eq!(site.text(logout).await, "bye");
        let replay = Asked::get("/me").with("authorization", format!("Bearer {token}"));
        assert_problem(&site.ask(replay).await, StatusCode::UNAUTHORIZED);
        assert!(site.set.lock().is_empty(), "no cookie in any answer");
    }

    async fn a_handler_that_prints_its_request_prints_no_token(store: Store) {
        let sessions = store.tenant("acme").await.sessions().build().unwrap();
        let printed = || {
            let print = |headers: HeaderMap| async move { format!("{headers:?}") };
            Router::new().route("/printed", get(print))
        };
        let shop = shop(sessions.layer()).merge(printed().layer(sessions.layer()));
        let shop = Site::serving(shop).await;
        let token = shop.login("ada").await;
        let by_cookie = Asked::get("/printed").cookie(&token);
        let apis = Site::serving(printed().layer(sessions.bearer_layer())).await;
        let by_bearer = Asked::get("/printed").with("authorization", format!("Bearer {token}"));
        let secret = token.split_once('.').expect("slot and secret").1;
        let each = [(shop, by_cookie, "cookie"), (apis, by_bearer, "authorization")];
        for (site, asked, field) in each {
            let told = site.text(asked).await;
            assert!(told.contains(field) && !told.contains(secret), "{told}");
        }
    }

    async fn a_persistent_cookie_lives_as_long_as_its_session_can(store: Store) {
        let cookie = SessionCookie::host("id").persistent();
        let hour = Duration::from_secs(3_600);
        let sessions = store.tenant("acme").await.sessions().idle(hour / 2).absolute(hour);
        let sessions = sessions.cookie(cookie).build().unwrap();
        let site = Site::serving(shop(sessions.layer())).await;
        let reply = site.ask(Asked::post("/login").content("ada")).await;
        let cookie = reply.header("set-cookie").expect("a cookie");
        let (_, max_age) = cookie.split_once("; Max-Age=").expect("a time to live");
        let max_age_s: u64 = max_age.parse().expect("the last attribute, in seconds");
        assert!((3_500..=3_600).contains(&max_age_s), "{max_age_s}");
    }

    async fn a_csrf_token_changes_with_a_login(store: Store) {
        let site = Site::shop(&store).await;
        let reply = site.ask(Asked::get("/form")).await;
        let (before, csrf_before) = (issued(&reply).expect("a session"), reply.text().to_owned());
        assert_eq!(site.text(Asked::get("/form").cookie(&before)).await, csrf_before);
        let after = site.issued(Asked::post("/login").cookie(&before).content("ada")).await;
        let csrf_after = site.text(Asked::get("/form").cookie(&after)).await;
        assert_ne!(csrf_before, csrf_after);
        let transfer = |csrf: &str| {
            let asked = Asked::post("/transfer").cookie(&after).content("100");
            asked.with("sec-fetch-site", "same-origin").with("x-csrf-token", csrf)
        };
        assert_problem(&site.ask(transfer(&csrf_before)).await, StatusCode::FORBIDDEN);
        assert_eq!(site.text(transfer(&csrf_after)).await, "100");
    }

    async fn a_form_that_was_looked_into_reaches_its_handler_whole(store: Store) {
        let site = Site::shop(&store).await;
        let token = site.login("ada").await;
        let csrf = site.text(Asked::get("/form").cookie(&token)).await;
        let form = |content: &str| {
            let asked = Asked::post("/transfer").cookie(&token).content(content);
            let asked = asked.with("sec-fetch-site", "same-origin");
            asked.with("content-type", "application/x-www-form-urlencoded; charset=utf-8")
        };
        let content = format!("to=bob%20b&csrf_token={csrf}&sum=100");
        assert_eq!(site.text(form(&content)).await, content);
        let padding = "x".repeat(64 << 10);
        let long = form(&format!("csrf_token={csrf}&padding={padding}"));
        assert_problem(&site.ask(long.clone()).await, StatusCode::FORBIDDEN);
        // With the header, nobody has to look into it.
        let reply = site.ask(long.with("x-csrf-token", csrf.as_str())).await;
        assert_eq!((reply.status, reply.content.len() > 64 << 10), (StatusCode::OK, true));
    }

    async fn a_list_shows_who_has_begun_a_session_and_from_where(store: Store) {
        let sessions = store.tenant("acme").await.sessions().build().unwrap();
        let site = Site::serving(shop(sessions.layer())).await;
        let login = Asked::post("/login").content("ada").with("user-agent", "browser of a test");
        site.issued(login.with("x-forwarded-for", "203.0.113.7")).await;
        let listed = sessions.list("ada").await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].device.as_deref(), Some("browser of a test"));
        // Nobody in between is believed.
        assert_eq!(listed[0].address.map(|one| one.to_string()).as_deref(), Some("127.0.0.1"));
    }
}

#[test]
fn without_redis_nobody_is_signed_in_or_out() {
    keep(|| async {
        let mut server = blocking(start_redis).await;
        let sinew = process_at(server.port).await;
        let sessions = sinew.tenant("acme").unwrap().sessions().build().unwrap();
        let site = Site::serving(shop(sessions.layer())).await;
        let token = site.login("ada").await;
        let csrf = site.text(Asked::get("/form").cookie(&token)).await;
        assert_eq!(site.text(Asked::get("/me").cookie(&token)).await, "ada");
        blocking(move || {
            server.kill();
            server.wait_gone();
        })
        .await;
        down(&sinew).await;
        let transfer = Asked::post("/transfer").content("100");
        let transfer = transfer.with("sec-fetch-site", "same-origin").with("x-csrf-token", csrf);
        for asked in [
            Asked::get("/me").cookie(&token),
            Asked::get("/anyone").cookie(&token),
            Asked::get("/cart").cookie(&token),
            Asked::put("/cart").cookie(&token).content("tea"),
            Asked::put("/cart").content("tea"),
            Asked::get("/form"),
            Asked::post("/logout").cookie(&token),
            Asked::post("/login").content("bob"),
            transfer.cookie(&token),
        ] {
            let told = format!("{asked:?}");
            let reply = site.ask(asked).await;
            assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{told}");
            assert_eq!(reply.header("set-cookie"), None, "{told}");
        }
        // What needs no session is served.
        assert_eq!(site.text(Asked::get("/").cookie(&token)).await, "hello");
        assert_eq!(site.text(Asked::get("/anyone")).await, "nobody");
    });
}

#[test]
fn a_route_without_its_layer_says_which_is_missing() {
    keep(|| async {
        let without = Router::new().route("/me", get(me)).route("/cart", get(cart));
        let without = without.route("/form", post(|| async {}).layer(CsrfLayer));
        let site = Site::serving(without).await;
        for asked in [Asked::get("/me"), Asked::get("/cart"), Asked::post("/form")] {
            let reply = site.ask(asked).await;
            assert_problem(&reply, StatusCode::INTERNAL_SERVER_ERROR);
            assert!(reply.text().contains("SessionLayer"), "{}", reply.text());
        }
    });
}

#[test]
fn a_layer_that_cannot_be_is_rejected_when_it_is_made() {
    keep(|| async {
        let sinew = Sinew::embedded();
        let bad = |settings: SessionsBuilder| settings.cookie(SessionCookie::host("a b"));
        assert!(bad(sinew.sessions()).build().is_err());
        assert!(SessionLayer::per_tenant(sinew.clone(), bad).is_err());
        assert!(SessionLayer::per_tenant(sinew, |settings| settings).is_ok());
    });
}
