//! What someone may try who is not the user of a session, beside what its user does.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use parking_lot::Mutex;
use sinew::session::http::SessionLayer;
use tracing::Level;

use super::{ATTRIBUTES, Asked, REMOVAL, Site, assert_problem, issued, shop};
use crate::laws::{LAW_MAX, is_wanted};
use crate::world::Store;

/// All that was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// On one thread, all of whose log is captured: server, client, and the link to Redis.
fn on_a_thread_that_is_overheard<F: Future<Output = ()>>(law: impl FnOnce(Log) -> F) {
    let log = Log::default();
    let writer = {
        let log = log.clone();
        move || log.clone()
    };
    let subscriber = tracing_subscriber::fmt().with_max_level(Level::TRACE).with_ansi(false);
    let _overheard = tracing::subscriber::set_default(subscriber.with_writer(writer).finish());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let done = tokio::time::timeout(LAW_MAX, law(log)).await;
        done.expect("the law did not come to its end in time");
    });
}

/// An attack, and what is like it but the user's own.
struct Row {
    attack: &'static str,
    hostile: Asked,
    refused: StatusCode,
    honest: Asked,
}

async fn each_attack_is_refused(store: Store, log: Log) {
    let layer = SessionLayer::per_tenant(store.process().await, |settings| {
        settings.idle(Duration::from_secs(600))
    });
    let site = Site::serving(shop(layer.expect("a layer"))).await;
    let at_acme = |asked: Asked| asked.with("x-tenant-id", "acme");

    // Ada signs in with the session that an attacker began; Bob with one that he made up.
    let planted = site.issued(at_acme(Asked::put("/cart")).content("planted")).await;
    let ada = at_acme(Asked::post("/login")).cookie(&planted).content("ada");
    let ada = site.issued(ada).await;
    let made_up = format!("{}.{}", "A".repeat(22), "A".repeat(43));
    let bob = at_acme(Asked::post("/login")).cookie(&made_up).content("bob");
    let bob = site.issued(bob).await;
    assert!(ada != planted && bob != made_up && ada != bob);
    assert_eq!(site.text(at_acme(Asked::get("/cart")).cookie(&ada)).await, "planted");

    // Carl was here, and has left.
    let carl = site.issued(at_acme(Asked::post("/login")).content("carl")).await;
    assert_eq!(site.text(at_acme(Asked::get("/me")).cookie(&carl)).await, "carl");
    assert_eq!(site.text(at_acme(Asked::post("/logout")).cookie(&carl)).await, "bye");

    let form = |token: &str| at_acme(Asked::get("/form")).cookie(token);
    let (csrf_ada, csrf_bob) = (site.text(form(&ada)).await, site.text(form(&bob)).await);
    let id_ada = site.text(at_acme(Asked::get("/id")).cookie(&ada)).await;
    assert_eq!(id_ada.len(), 22, "{id_ada}");
    let (slot_ada, secret_ada) = ada.split_once('.').expect("slot and secret");
    let (slot_bob, _) = bob.split_once('.').expect("slot and secret");

    let me = || at_acme(Asked::get("/me"));
    let transfer = || at_acme(Asked::post("/transfer")).cookie(&ada).content("100");
    let own = || transfer().with("sec-fetch-site", "same-origin");
    let (unauthorized, forbidden) = (StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN);
    let row = |attack, hostile, honest| Row { attack, hostile, refused: unauthorized, honest };
    let forgery = |attack, hostile, honest| Row { attack, hostile, refused: forbidden, honest };
    let rows = [
        row("fixation: a session that was planted", me().cookie(&planted), me().cookie(&ada)),
        row("fixation: a token that was made up", me().cookie(&made_up), me().cookie(&bob)),
        row("replay after a logout", me().cookie(&carl), me().cookie(&ada)),
        row(
            "a second cookie beside the user's",
            me().with("cookie", format!("__Host-id={ada}; __Host-id={planted}")),
            me().with("cookie", format!("theme=dark; __Host-id={ada}")),
        ),
        row(
            "a cookie without the prefix, which a neighbour can set",
            me().with("cookie", format!("id={ada}")),
            me().with("cookie", format!("id={planted}; __Host-id={ada}")),
        ),
        row(
            "the id from a list, for the secret",
            me().cookie(&format!("{slot_ada}.{id_ada}")),
            me().cookie(&format!("{slot_ada}.{secret_ada}")),
        ),
        row(
            "a secret under another user's slot",
            me().cookie(&format!("{slot_bob}.{secret_ada}")),
            me().cookie(&bob),
        ),
        row(
            "a session of one tenant at another",
            Asked::get("/me").with("x-tenant-id", "other").cookie(&ada),
            me().cookie(&ada),
        ),
        forgery("no CSRF token", own(), own().with("x-csrf-token", csrf_ada.as_str())),
        forgery(
            "the CSRF token of another session",
            own().with("x-csrf-token", csrf_bob.as_str()),
            own().with("x-csrf-token", csrf_ada.as_str()),
        ),
        forgery(
            "a CSRF token from another site",
            transfer().with("sec-fetch-site", "cross-site").with("x-csrf-token", csrf_ada.as_str()),
            own().with("x-csrf-token", csrf_ada.as_str()),
        ),
        forgery(
            "a CSRF token from a neighbour under the same domain",
            transfer()
                .with("origin", "https://evil.example")
                .with("host", "shop.example")
                .with("x-csrf-token", csrf_ada.as_str()),
            transfer()
                .with("origin", "https://shop.example")
                .with("host", "shop.example")
                .with("x-csrf-token", csrf_ada.as_str()),
        ),
        forgery(
            "a form without the CSRF token",
            own()
                .with("content-type", "application/x-www-form-urlencoded")
                .content("to=eve&sum=100"),
            own()
                .with("content-type", "application/x-www-form-urlencoded")
                .content(format!("to=bob&csrf_token={csrf_ada}")),
        ),
    ];
    for Row { attack, hostile, refused, honest } in rows {
        let reply = site.ask(honest.clone()).await;
        assert_eq!(reply.status, StatusCode::OK, "beside {attack}: {}", reply.text());
        let reply = site.ask(hostile).await;
        assert_eq!(reply.status, refused, "{attack}");
        assert_problem(&reply, refused);
        assert_eq!(issued(&reply), None, "{attack}");
        for secret in [&ada, &bob, &csrf_ada, &csrf_bob] {
            assert!(!reply.text().contains(secret.as_str()), "{attack}: {}", reply.text());
        }
        let reply = site.ask(honest).await;
        assert_eq!(reply.status, StatusCode::OK, "after {attack}: {}", reply.text());
    }

    // Every cookie that was set.
    let set = std::mem::take(&mut *site.set.lock());
    let (removals, set): (Vec<_>, Vec<_>) = set.into_iter().partition(|cookie| cookie == REMOVAL);
    assert_eq!((removals.len(), set.len()), (1, 4));
    for (cookie, token) in set.iter().zip([&planted, &ada, &bob, &carl]) {
        assert_eq!(*cookie, format!("__Host-id={token}{ATTRIBUTES}"));
    }

    // What nobody is to read in a log.
    let log = String::from_utf8_lossy(&log.0.lock()).into_owned();
    assert!(log.contains("a handler knows who it is"), "the log is overheard");
    let secrets = [&planted, &ada, &bob, &carl].map(|token| token.split_once('.').expect("two").1);
    let logged = |secret: &str| log.lines().find(|line| line.contains(secret)).map(str::to_owned);
    for secret in secrets.into_iter().chain([csrf_ada.as_str(), csrf_bob.as_str()]) {
        assert_eq!(logged(secret), None);
    }
}

#[test]
fn each_attack_is_refused_and_its_honest_twin_is_not_on_memory() {
    if is_wanted("memory") {
        on_a_thread_that_is_overheard(|log| async move {
            each_attack_is_refused(Store::memory().await, log).await;
        });
    }
}

#[test]
fn each_attack_is_refused_and_its_honest_twin_is_not_on_redis() {
    if is_wanted("redis") {
        on_a_thread_that_is_overheard(|log| async move {
            each_attack_is_refused(Store::redis().await, log).await;
        });
    }
}
