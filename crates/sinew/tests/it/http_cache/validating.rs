//! Conditional requests: of clients to the cache, and of the cache to the service.

use axum::http::Method;
use axum::response::Response;

use super::{Call, Fields, Site, ago, response};
use crate::laws::keep;

const A: (&str, &str) = ("etag", "\"a\"");
const HOUR: (&str, &str) = ("cache-control", "max-age=3600");
const STALE: (&str, &str) = ("cache-control", "max-age=0");
const RELOAD: Fields<'static> = &[("cache-control", "no-cache")];

fn said(fields: Fields<'_>) -> Response {
    response(200, fields, "first")
}

/// The first response, and then what the test says.
async fn first(
    fields: &'static [(&'static str, &'static str)],
    then: impl Fn(&Call) -> Response + Send + Sync + 'static,
) -> Site {
    Site::new(move |call| if call.n == 1 { said(fields) } else { then(call) }).await
}

#[test]
fn a_client_that_has_it_is_told_so_from_the_store() {
    keep(|| async {
        let (modified, later, earlier) = (ago(1000), ago(500), ago(2000));
        let fields: Fields<'_> =
            &[HOUR, A, ("last-modified", &modified), ("content-type", "text/plain"), ("x-a", "1")];
        let site = Site::saying(fields).await;
        site.get("/").await;
        let cases: [(Fields<'_>, u16); 9] = [
            (&[("if-none-match", "\"a\"")], 304),
            (&[("if-none-match", "W/\"a\"")], 304),
            (&[("if-none-match", "\"b\", \"a\"")], 304),
            (&[("if-none-match", "*")], 304),
            (&[("if-none-match", "\"b\"")], 200),
            (&[("if-modified-since", &modified)], 304),
            (&[("if-modified-since", &later)], 304),
            (&[("if-modified-since", &earlier)], 200),
            (&[("if-modified-since", &later), ("if-none-match", "\"b\"")], 200),
        ];
        for (asked, status) in cases {
            let reply = site.get_with("/", asked).await;
            assert_eq!(reply.status, status, "{asked:?}");
            assert!(reply.is_hit());
            assert_eq!(reply.header("etag"), Some("\"a\""));
            assert_eq!(reply.header("x-a"), Some("1"));
            let type_of_content = (status == 200).then_some("text/plain");
            assert_eq!(reply.header("content-type"), type_of_content);
            assert_eq!(reply.text(), if status == 200 { "1" } else { "" });
        }
        assert_eq!(site.calls(), 1);
    });
}

#[test]
fn a_stale_response_is_fresh_again_after_a_304() {
    keep(|| async {
        let site = first(&[STALE, A, ("x-version", "1")], |_| {
            response(304, &[HOUR, A, ("x-version", "2")], "")
        })
        .await;
        site.get("/").await;
        let validated = site.get("/").await;
        assert_eq!(site.origin.last_call().header("if-none-match"), Some("\"a\""));
        assert_eq!((validated.status.as_u16(), validated.text()), (200, "first"));
        assert_eq!(validated.header("x-version"), Some("2"));
        let told = validated.cache_status();
        assert!(told.starts_with("sinew; fwd=stale; fwd-status=304; ttl="), "{told}");
        let hit = site.get("/").await;
        assert!(hit.is_hit());
        assert_eq!((hit.text(), hit.header("x-version")), ("first", Some("2")));
        assert_eq!(site.calls(), 2);
    });
}

#[test]
fn a_date_validates_where_there_is_no_tag() {
    keep(|| async {
        let modified = ago(1000);
        let site = {
            let modified = modified.clone();
            Site::new(move |call| match call.header("if-modified-since") {
                None => said(&[STALE, ("last-modified", &modified)]),
                Some(since) if since == modified => response(304, &[HOUR], ""),
                Some(_) => response(200, &[], "changed"),
            })
            .await
        };
        for _ in 0..3 {
            assert_eq!(site.get("/").await.text(), "first");
        }
        assert_eq!(site.calls(), 2);
    });
}

#[test]
fn a_newer_response_takes_the_place_of_a_stale_one() {
    keep(|| async {
        let site = first(&[STALE, A], |_| response(200, &[HOUR], "second")).await;
        for expected in ["first", "second", "second"] {
            assert_eq!(site.get("/").await.text(), expected);
        }
        assert_eq!(site.calls(), 2);
    });
}

#[test]
fn no_cache_is_asked_about_every_time() {
    keep(|| async {
        let fields: Fields<'_> = &[("cache-control", "no-cache, max-age=60"), A];
        let fields: Vec<_> = fields.to_vec();
        let site = Site::new(move |call| match call.header("if-none-match") {
            None => said(&fields),
            Some(_) => response(304, &fields, ""),
        })
        .await;
        for n in 1..=4 {
            let reply = site.get("/").await;
            assert_eq!((reply.status.as_u16(), reply.text()), (200, "first"));
            assert_eq!(site.calls(), n);
            assert_eq!(site.origin.last_call().header("if-none-match").is_some(), n > 1);
        }
    });
}

#[test]
fn a_clients_condition_does_not_keep_the_whole_from_the_store() {
    keep(|| async {
        let site = Site::saying(&[HOUR, A]).await;
        let reply = site.get_with("/", &[("if-none-match", "\"a\"")]).await;
        assert_eq!((reply.status.as_u16(), reply.text()), (304, ""));
        let told = reply.cache_status();
        assert!(told.starts_with("sinew; fwd=uri-miss; fwd-status=200; ttl="), "{told}");
        assert_eq!(site.origin.last_call().header("if-none-match"), None);
        let hit = site.get("/").await;
        assert!(hit.is_hit());
        assert_eq!(hit.text(), "1");
    });
}

#[test]
fn a_client_is_told_of_a_304_in_its_own_terms() {
    keep(|| async {
        for (asked, status) in [("\"a\"", 304), ("\"b\"", 200)] {
            let site = first(&[STALE, A], |_| response(304, &[STALE], "")).await;
            site.get("/").await;
            let reply = site.get_with("/", &[("if-none-match", asked)]).await;
            assert_eq!(reply.status, status);
            assert_eq!(site.origin.last_call().header("if-none-match"), Some("\"a\""));
        }
    });
}

#[test]
fn what_may_no_longer_be_stored_is_dropped() {
    keep(|| async {
        let site = first(&[STALE, A], |_| {
            response(200, &[("cache-control", "private"), ("etag", "\"b\"")], "private")
        })
        .await;
        for expected in ["first", "private", "private"] {
            assert_eq!(site.get("/").await.text(), expected);
        }
        assert_eq!(site.origin.last_call().header("if-none-match"), None);
    });
}

#[test]
fn what_is_fresh_outlives_what_a_reload_brings_for_itself_alone() {
    keep(|| async {
        let cases: [(u16, Fields<'static>); 10] = [
            (200, &[("cache-control", "private")]),
            (200, &[("cache-control", "no-store")]),
            (200, &[HOUR, ("set-cookie", "a=b")]),
            (200, &[HOUR, ("vary", "*")]),
            (404, &[]),
            (500, &[]),
            (501, &[]),
            (503, &[]),
            (503, &[HOUR]),
            (511, &[HOUR]),
        ];
        for (status, fields) in cases {
            let site = first(&[HOUR, A], move |_| response(status, fields, "other")).await;
            site.get("/").await;
            let reloaded = site.get_with("/", RELOAD).await;
            assert_eq!((reloaded.status.as_u16(), reloaded.text()), (status, "other"));
            let hit = site.get("/").await;
            assert_eq!((hit.text(), hit.is_hit()), ("first", true), "{status} {fields:?}");
        }
    });
}

#[test]
fn a_304_that_forbids_to_store_it_drops_even_what_is_fresh() {
    keep(|| async {
        for said in [("cache-control", "private"), ("vary", "*")] {
            let site = first(&[HOUR, A], move |call| match call.header("if-none-match") {
                Some(_) => response(304, &[said, A], ""),
                None => response(200, &[HOUR], "second"),
            })
            .await;
            site.get("/").await;
            assert_eq!(site.get_with("/", RELOAD).await.text(), "first");
            assert_eq!(site.get("/").await.text(), "second");
        }
    });
}

#[test]
fn head_is_answered_from_what_get_has_stored() {
    keep(|| async {
        let site = Site::new(|_| response(200, &[HOUR], "four")).await;
        let alone = site.send(Method::HEAD, "/", &[]).await;
        assert!(!alone.is_hit());
        assert!(!site.get("/").await.is_hit(), "what HEAD brought is not stored");
        let head = site.send(Method::HEAD, "/", &[]).await;
        assert!(head.is_hit());
        assert_eq!(head.header("content-length"), Some("4"));
        assert!(head.content.is_empty());
        assert_eq!(site.calls(), 2);
        assert_eq!(site.get("/").await.text(), "four");
    });
}

#[test]
fn head_that_tells_of_other_content_drops_what_is_stored() {
    keep(|| async {
        let site = first(&[STALE, A], |_| response(200, &[STALE, ("etag", "\"b\"")], "")).await;
        site.get("/").await;
        site.send(Method::HEAD, "/", &[]).await;
        site.get("/").await;
        assert_eq!(site.origin.last_call().header("if-none-match"), None);
        assert_eq!(site.calls(), 3);
    });
}
