//! What is served stale, and meanwhile or instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::{Call, Fields, Site, layer, response};
use crate::laws::{eventually, keep};

const HOUR: (&str, &str) = ("cache-control", "max-age=3600");

/// Stale when it comes: fresh for 60 seconds, 100 seconds old.
fn stale(cache_control: &'static str) -> Response {
    response(200, &[("cache-control", cache_control), ("age", "100")], "first")
}

async fn first_stale(
    cache_control: &'static str,
    then: impl Fn(&Call) -> Response + Send + Sync + 'static,
) -> Site {
    let site = Site::new(move |call| match call.n {
        1 => stale(cache_control),
        _ => then(call),
    })
    .await;
    assert_eq!(site.get("/").await.text(), "first");
    site
}

#[test]
fn a_stale_response_is_served_while_one_request_asks_for_a_newer_one() {
    keep(|| async {
        let said = "max-age=60, stale-while-revalidate=1000";
        let site =
            first_stale(said, |_| response(200, &[("cache-control", "max-age=60")], "second"))
                .await;
        // The first of them asks, and waits at the gate; nobody waits for it.
        for _ in 0..20 {
            let reply = site.get_with("/", &[("x-wait", "1")]).await;
            assert_eq!(reply.text(), "first");
            assert!(reply.cache_status().starts_with("sinew; hit; ttl=-"), "{reply:?}");
        }
        site.origin.begun(2).await;
        site.origin.open_gate();
        eventually("the newer one is served", || async { site.get("/").await.text() == "second" })
            .await;
        assert_eq!(site.calls(), 2);
    });
}

#[test]
fn what_was_asked_for_in_the_background_may_be_a_304() {
    keep(|| async {
        let said =
            [("cache-control", "max-age=60, stale-while-revalidate=1000"), ("etag", "\"a\"")];
        let site = Site::new(move |call| match call.header("if-none-match") {
            None => response(200, &[said[0], said[1], ("age", "100")], "first"),
            Some(_) => response(304, &said, ""),
        })
        .await;
        site.get("/").await;
        site.get("/").await;
        eventually("it is fresh again", || async {
            let reply = site.get("/").await;
            assert_eq!(reply.text(), "first");
            !reply.cache_status().contains("ttl=-")
        })
        .await;
        assert_eq!(site.calls(), 2);
    });
}

#[test]
fn a_stale_response_takes_the_place_of_an_error() {
    keep(|| async {
        let sie = "max-age=60, stale-if-error=1000";
        let cases = [
            (sie, "", 500, true),
            (sie, "", 502, true),
            (sie, "", 503, true),
            (sie, "", 504, true),
            (sie, "", 404, false),
            (sie, "", 501, false),
            ("max-age=60, stale-if-error=10", "", 503, false),
            ("max-age=60, stale-if-error=1000, must-revalidate", "", 503, false),
            ("max-age=60, stale-while-revalidate=10, stale-if-error=1000", "", 503, true),
            // Long enough in the store, and the request takes it.
            (
                "max-age=60, stale-while-revalidate=1000",
                "max-age=200, stale-if-error=100",
                503,
                true,
            ),
        ];
        for (said, asked, status, is_served) in cases {
            let error = move |_: &Call| response(status, &[], "trouble");
            let site = first_stale(said, error).await;
            for _ in 0..2 {
                let reply = site.get_with("/", &[("cache-control", asked)]).await;
                let case = format!("{said} for {asked} and {status}: {reply:?}");
                if is_served {
                    assert_eq!((reply.status.as_u16(), reply.text()), (200, "first"), "{case}");
                    let told = format!("sinew; fwd=stale; fwd-status={status}; ttl=-");
                    assert!(reply.cache_status().starts_with(&told), "{case}");
                    assert!(reply.header("age").is_some(), "{case}");
                } else {
                    assert_eq!(
                        (reply.status.as_u16(), reply.text()),
                        (status, "trouble"),
                        "{case}"
                    );
                }
            }
            assert_eq!(site.calls(), 3, "{said}: each asks again");
        }
    });
}

#[test]
fn an_error_leaves_what_can_take_the_place_of_the_next() {
    keep(|| async {
        let cases: [(u16, Fields<'static>); 6] =
            [(500, &[]), (501, &[]), (511, &[]), (500, &[HOUR]), (501, &[HOUR]), (511, &[HOUR])];
        for (status, fields) in cases {
            let said = "max-age=60, stale-if-error=1000";
            let site = first_stale(said, move |call| match call.n {
                2 => response(status, fields, "trouble"),
                _ => response(503, &[], "more trouble"),
            })
            .await;
            site.get("/").await;
            let reply = site.get("/").await;
            assert_eq!((reply.status.as_u16(), reply.text()), (200, "first"), "{status}");
        }
    });
}

#[test]
fn an_error_of_the_service_itself_is_no_more_than_a_bad_response() {
    keep(|| async {
        let calls = Arc::new(AtomicUsize::new(0));
        let service = layer().layer(service_fn(move |request: Request<Body>| {
            let n = calls.fetch_add(1, Ordering::SeqCst);
            async move {
                match (request.uri().path(), n) {
                    ("/kept", 0) => Ok(stale("max-age=60, stale-if-error=1000")),
                    _ => Err(std::io::Error::other("gone")),
                }
            }
        }));
        let get = |path: &str| {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            service.clone().oneshot(request)
        };
        for _ in 0..3 {
            assert_eq!(get("/kept").await.expect("stale").status(), 200);
        }
        let error = get("/other").await.expect_err("there is nothing else");
        assert_eq!(error.to_string(), "gone");
    });
}

#[test]
fn what_must_not_be_stale_is_not_served_stale() {
    keep(|| async {
        for said in [
            "max-age=60",
            "max-age=60, stale-while-revalidate=10",
            "max-age=60, stale-while-revalidate=1000, must-revalidate",
            "max-age=60, stale-while-revalidate=1000, proxy-revalidate",
            "max-age=60, stale-while-revalidate=1000, no-cache",
        ] {
            let fields: Fields<'_> = &[("cache-control", said), ("age", "100"), ("etag", "\"a\"")];
            let site = Site::saying(fields).await;
            for expected in ["1", "2", "3"] {
                assert_eq!(site.get("/").await.text(), expected, "{said}");
            }
        }
    });
}
