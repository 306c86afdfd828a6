//! `tower-sessions` on the store: what its stores have to do, and what it does with ours, through its own layer.

use std::collections::HashMap;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use axum::routing::get;
use serde_json::json;
use sinew::session::TowerSessionStore;
use time::{Duration, OffsetDateTime};
use tower::ServiceExt as _;
use tower_sessions::session::{Id, Record};
use tower_sessions::{Expiry, Session, SessionManagerLayer, SessionStore as _};

use crate::laws::{eventually, keep};
use crate::outage::{blocking, down, process_at};
use crate::world::{Store, start_redis};

async fn store_of(store: &Store) -> TowerSessionStore {
    TowerSessionStore::new(store.tenant("acme").await.sessions()).expect("a store")
}

/// A record that lives for so long, with one datum.
fn record(lives: Duration, name: &str, value: u64) -> Record {
    let data = HashMap::from([(name.to_owned(), json!(value))]);
    Record { id: Id::default(), data, expiry_date: OffsetDateTime::now_utc() + lives }
}

fn assert_ends_in(record: &Record, lives: Duration) {
    let left = record.expiry_date - OffsetDateTime::now_utc();
    assert!((left - lives).abs() < Duration::seconds(30), "{left} for {lives}");
}

laws! {
    async fn a_record_is_found_as_it_was_created_until_it_is_deleted(store: Store) {
        let sessions = store_of(&store).await;
        let mut record = record(Duration::minutes(5), "cart", 7);
        record.data.insert("nested".to_owned(), json!({ "deep": [1, null, "é"] }));
        assert_eq!(sessions.load(&record.id).await.unwrap(), None);
        sessions.create(&mut record).await.unwrap();
        // Another process finds it as well.
        let found = store_of(&store).await.load(&record.id).await.unwrap().expect("a record");
        assert_eq!((found.id, &found.data), (record.id, &record.data));
        assert_ends_in(&found, Duration::minutes(5));
        sessions.delete(&record.id).await.unwrap();
        assert_eq!(sessions.load(&record.id).await.unwrap(), None);
        sessions.delete(&record.id).await.unwrap();
    }

    async fn a_record_whose_id_is_taken_gets_another(store: Store) {
        let sessions = store_of(&store).await;
        let mut first = record(Duration::minutes(5), "of", 1);
        sessions.create(&mut first).await.unwrap();
        let mut second = record(Duration::minutes(5), "of", 2);
        second.id = first.id;
        sessions.create(&mut second).await.unwrap();
        assert_ne!(second.id, first.id);
        for one in [first, second] {
            let found = sessions.load(&one.id).await.unwrap().expect("a record");
            assert_eq!(found.data, one.data);
        }
    }

    async fn a_save_replaces_all_data_and_moves_the_end(store: Store) {
        let sessions = store_of(&store).await;
        let mut stored = record(Duration::minutes(5), "old", 1);
        sessions.create(&mut stored).await.unwrap();
        for lives in [Duration::days(14), Duration::minutes(2), Duration::hours(1)] {
            let mut changed = record(lives, "new", 2);
            changed.id = stored.id;
            sessions.save(&changed).await.unwrap();
            let found = sessions.load(&stored.id).await.unwrap().expect("a record");
            assert_eq!(found.data, changed.data);
            assert_ends_in(&found, lives);
        }
    }

    async fn a_save_that_comes_after_the_end_brings_nothing_back(store: Store) {
        let sessions = store_of(&store).await;
        let never = record(Duration::minutes(5), "cart", 7);
        sessions.save(&never).await.unwrap();
        assert_eq!(sessions.load(&never.id).await.unwrap(), None);
        let mut deleted = record(Duration::minutes(5), "cart", 7);
        sessions.create(&mut deleted).await.unwrap();
        sessions.delete(&deleted.id).await.unwrap();
        sessions.save(&deleted).await.unwrap();
        assert_eq!(sessions.load(&deleted.id).await.unwrap(), None);
    }

    async fn a_record_ends_at_its_date(store: Store) {
        let sessions = store_of(&store).await;
        let mut past = record(Duration::minutes(-1), "cart", 7);
        sessions.create(&mut past).await.unwrap();
        assert_eq!(sessions.load(&past.id).await.unwrap(), None);

        let mut short = record(Duration::seconds(2), "cart", 7);
        sessions.create(&mut short).await.unwrap();
        eventually("it is over", || async {
            sessions.load(&short.id).await.unwrap().is_none()
        })
        .await;
        assert!(OffsetDateTime::now_utc() > short.expiry_date - Duration::seconds(1));

        let mut ended = record(Duration::minutes(5), "cart", 7);
        sessions.create(&mut ended).await.unwrap();
        ended.expiry_date = OffsetDateTime::now_utc() - Duration::seconds(1);
        sessions.save(&ended).await.unwrap();
        assert_eq!(sessions.load(&ended.id).await.unwrap(), None);
    }

    async fn a_record_of_one_tenant_is_none_at_another(store: Store) {
        let (acme, other) = (store_of(&store).await, store.tenant("other").await.sessions());
        let other = TowerSessionStore::new(other).unwrap();
        let mut record = record(Duration::minutes(5), "cart", 7);
        acme.create(&mut record).await.unwrap();
        assert_eq!(other.load(&record.id).await.unwrap(), None);
        other.delete(&record.id).await.unwrap();
        assert!(acme.load(&record.id).await.unwrap().is_some());
    }

    async fn a_service_keeps_its_sessions_through_the_layer(store: Store) {
        let app = app(store_of(&store).await, Some(Duration::hours(1)));
        assert_eq!(cookie(&ask(&app, "/", None).await), None);
        let reply = ask(&app, "/insert", None).await;
        let first = cookie(&reply).expect("a cookie");
        assert_eq!(text(ask(&app, "/get", Some(&first)).await).await, "Some(42)");
        assert_eq!(text(ask(&app, "/get", None).await).await, "None");

        let second = cookie(&ask(&app, "/cycle_id", Some(&first)).await).expect("another");
        assert_ne!(first, second);
        assert_eq!(text(ask(&app, "/get", Some(&second)).await).await, "Some(42)");
        assert_eq!(text(ask(&app, "/get", Some(&first)).await).await, "None");

        ask(&app, "/remove", Some(&second)).await;
        assert_eq!(text(ask(&app, "/get", Some(&second)).await).await, "None");
        ask(&app, "/insert", Some(&second)).await;
        ask(&app, "/flush", Some(&second)).await;
        assert_eq!(text(ask(&app, "/get", Some(&second)).await).await, "None");

        // An id that someone made up is not taken over.
        let made_up = "id=AAAAAAAAAAAAAAAAAAAAAA".to_owned();
        let own = cookie(&ask(&app, "/insert", Some(&made_up)).await).expect("a cookie");
        assert_ne!(own, made_up);
        assert_eq!(text(ask(&app, "/get", Some(&made_up)).await).await, "None");
        assert_eq!(text(ask(&app, "/get", Some(&own)).await).await, "Some(42)");
    }

    async fn a_service_says_when_its_sessions_end(store: Store) {
        let sessions = store_of(&store).await;
        for (max_age, path, lives) in [
            (Some(Duration::hours(1)), "/insert", Duration::hours(1)),
            (None, "/insert", Duration::weeks(2)),
            (Some(Duration::hours(1)), "/set_expiry", Duration::days(1)),
        ] {
            let app = app(sessions.clone(), max_age);
            let cookie = cookie(&ask(&app, path, None).await).expect("a cookie");
            let id: Id = cookie.trim_start_matches("id=").parse().expect("an id");
            let found = sessions.load(&id).await.unwrap().expect("a record");
            assert_ends_in(&found, lives);
        }
    }
}

#[test]
fn without_redis_no_session_is_new_or_over() {
    keep(|| async {
        let mut server = blocking(start_redis).await;
        let sinew = process_at(server.port).await;
        let sessions = TowerSessionStore::new(sinew.tenant("acme").unwrap().sessions()).unwrap();
        let mut record = record(Duration::minutes(5), "cart", 7);
        sessions.create(&mut record).await.unwrap();
        let app = app(sessions.clone(), None);
        blocking(move || {
            server.kill();
            server.wait_gone();
        })
        .await;
        down(&sinew).await;
        assert!(sessions.load(&record.id).await.is_err());
        assert!(sessions.save(&record).await.is_err());
        assert!(sessions.delete(&record.id).await.is_err());
        assert!(sessions.create(&mut record).await.is_err());
        let own = format!("id={}", record.id);
        let reply = ask(&app, "/get", Some(&own)).await;
        assert_eq!(reply.status(), StatusCode::INTERNAL_SERVER_ERROR);
    });
}

fn app(sessions: TowerSessionStore, max_age: Option<Duration>) -> Router {
    let mut layer = SessionManagerLayer::new(sessions);
    if let Some(max_age) = max_age {
        layer = layer.with_expiry(Expiry::OnInactivity(max_age));
    }
    Router::new()
        .route("/", get(|_: Session| async { "hello" }))
        .route("/insert", get(insert))
        .route("/get", get(found))
        .route("/remove", get(remove))
        .route("/cycle_id", get(cycle_id))
        .route("/flush", get(flush))
        .route("/set_expiry", get(set_expiry))
        .layer(layer)
}

/// What a handler of a service does with an error of a session.
struct Failed;

impl From<tower_sessions::session::Error> for Failed {
    fn from(_: tower_sessions::session::Error) -> Self {
        Self
    }
}

impl axum::response::IntoResponse for Failed {
    fn into_response(self) -> Response {
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

async fn insert(session: Session) -> Result<(), Failed> {
    Ok(session.insert("foo", 42).await?)
}

async fn found(session: Session) -> Result<String, Failed> {
    Ok(format!("{:?}", session.get::<u64>("foo").await?))
}

async fn remove(session: Session) -> Result<(), Failed> {
    session.remove::<u64>("foo").await?;
    Ok(())
}

async fn cycle_id(session: Session) -> Result<(), Failed> {
    Ok(session.cycle_id().await?)
}

async fn flush(session: Session) -> Result<(), Failed> {
    Ok(session.flush().await?)
}

async fn set_expiry(session: Session) -> Result<(), Failed> {
    let at = OffsetDateTime::now_utc() + Duration::days(1);
    session.set_expiry(Some(Expiry::AtDateTime(at)));
    insert(session).await
}

async fn ask(app: &Router, path: &str, cookie: Option<&String>) -> Response {
    let mut request = Request::builder().uri(path);
    if let Some(cookie) = cookie {
        request = request.header(COOKIE, cookie);
    }
    let request = request.body(Body::empty()).expect("a request");
    app.clone().oneshot(request).await.expect("a response")
}

/// Name and value of the cookie that a response sets.
fn cookie(response: &Response) -> Option<String> {
    let set = response.headers().get(SET_COOKIE)?.to_str().expect("text");
    Some(set.split(';').next()?.to_owned())
}

async fn text(response: Response) -> String {
    assert_eq!(response.status(), StatusCode::OK);
    let content = to_bytes(response.into_body(), 1 << 10).await.expect("all of it");
    String::from_utf8(content.to_vec()).expect("text")
}
