//! What a request may say of the responses that it takes.

use axum::http::Method;

use super::{Fields, Site, response};
use crate::laws::keep;

#[test]
fn a_request_says_what_it_takes() {
    keep(|| async {
        // What is stored was 10 seconds old when it came.
        let cases = [
            ("max-age=60", "", 1),
            ("max-age=60", "no-cache", 2),
            ("max-age=60", "max-age=0", 2),
            ("max-age=60", "max-age=5", 2),
            ("max-age=60", "max-age=40", 1),
            ("max-age=60", "min-fresh=10", 1),
            ("max-age=60", "min-fresh=55", 2),
            ("max-age=60", "no-store", 1),
            ("max-age=5", "max-stale", 1),
            ("max-age=5", "max-stale=100", 1),
            ("max-age=5", "max-stale=1", 2),
            ("max-age=5, must-revalidate", "max-stale", 2),
            ("max-age=5, proxy-revalidate", "max-stale", 2),
            ("s-maxage=5", "max-stale", 2),
            ("no-cache", "max-stale", 2),
        ];
        for (response, request, calls) in cases {
            let fields: Fields<'_> =
                &[("cache-control", response), ("age", "10"), ("etag", "\"a\"")];
            let site = Site::saying(fields).await;
            site.get("/").await;
            site.get_with("/", &[("cache-control", request)]).await;
            assert_eq!(site.calls(), calls, "{response} for {request}");
        }
    });
}

#[test]
fn pragma_counts_only_without_cache_control() {
    keep(|| async {
        let site = Site::saying(&[("cache-control", "max-age=60")]).await;
        site.get("/").await;
        let both: Fields<'_> = &[("pragma", "no-cache"), ("cache-control", "max-age=60")];
        assert!(site.get_with("/", both).await.is_hit());
        assert!(!site.get_with("/", &[("pragma", "no-cache")]).await.is_hit());
    });
}

#[test]
fn a_reload_brings_the_store_up_to_date() {
    keep(|| async {
        let site = Site::saying(&[("cache-control", "max-age=60")]).await;
        site.get("/").await;
        let reloaded = site.get_with("/", &[("cache-control", "no-cache")]).await;
        assert_eq!(reloaded.text(), "2");
        let hit = site.get("/").await;
        assert!(hit.is_hit());
        assert_eq!(hit.text(), "2");
    });
}

#[test]
fn only_if_cached_never_reaches_the_service() {
    keep(|| async {
        let site = Site::saying(&[("cache-control", "max-age=60")]).await;
        let only: Fields<'_> = &[("cache-control", "only-if-cached")];
        let reply = site.get_with("/", only).await;
        assert_eq!((reply.status.as_u16(), site.calls()), (504, 0));
        site.get("/").await;
        let reply = site.get_with("/", only).await;
        assert_eq!((reply.status.as_u16(), reply.text()), (200, "1"));
        let now: Fields<'_> = &[("cache-control", "only-if-cached, no-cache")];
        assert_eq!(site.get_with("/", now).await.status, 504);
        assert_eq!(site.calls(), 1);
    });
}

#[test]
fn what_a_request_does_not_want_stored_is_not() {
    keep(|| async {
        let site = Site::saying(&[("cache-control", "max-age=60")]).await;
        let secret: Fields<'_> = &[("cache-control", "no-store")];
        assert_eq!(site.get_with("/", secret).await.cache_status(), "sinew; fwd=uri-miss");
        assert!(!site.get("/").await.is_hit());
        assert!(site.get("/").await.is_hit());
    });
}

#[test]
fn requests_for_more_than_a_whole_page_pass_and_leave_no_trace() {
    keep(|| async {
        let site = Site::new(|call| match call.header("range") {
            Some(_) => {
                let fields = [("cache-control", "max-age=60"), ("content-range", "bytes 0-0/4")];
                response(206, &fields, "f")
            }
            None => response(200, &[("cache-control", "max-age=60")], "four"),
        })
        .await;
        for fields in [
            ("range", "bytes=0-0"),
            ("if-match", "\"a\""),
            ("if-unmodified-since", "Mon, 20 Nov 2023 12:00:00 GMT"),
        ] {
            let calls = site.calls();
            for n in 1..=2 {
                let reply = site.get_with("/", &[fields]).await;
                assert_eq!(reply.cache_status(), "sinew; fwd=bypass");
                assert_eq!(site.calls(), calls + n);
                assert_eq!(site.origin.last_call().header(fields.0), Some(fields.1));
            }
        }
        assert_eq!(site.get("/").await.text(), "four");
        assert!(site.get("/").await.is_hit());
        let part = site.send(Method::GET, "/", &[("range", "bytes=0-0")]).await;
        assert_eq!(part.status, 206);
    });
}
