//! How long a response is fresh, and what is told of it.

use axum::http::Method;

use super::{Fields, Site, ago, ahead, always, layer};
use crate::laws::keep;

async fn calls_of_two_gets(fields: Fields<'_>) -> usize {
    let site = Site::saying(fields).await;
    for _ in 0..2 {
        assert_eq!(site.get("/").await.status, 200);
    }
    site.calls()
}

#[test]
fn a_fresh_response_is_served_without_asking_the_service() {
    keep(|| async {
        let (soon, past) = (ahead(60), ago(60));
        let fresh: [Fields<'_>; 8] = [
            &[("cache-control", "max-age=60")],
            &[("cache-control", "MAX-AGE=\"60\"")],
            &[("cache-control", "max-age=0, s-maxage=60")],
            &[("expires", &soon)],
            &[("cache-control", "max-age=60"), ("expires", &past)],
            &[("cache-control", "max-age=60"), ("age", "10")],
            &[("cache-control", "max-age=60, max-age=0")],
            &[("cache-control", "x=\"a, b\""), ("cache-control", "max-age=60")],
        ];
        for fields in fresh {
            assert_eq!(calls_of_two_gets(fields).await, 1, "{fields:?}");
        }
    });
}

#[test]
fn a_response_that_is_not_fresh_is_not_reused() {
    keep(|| async {
        let past = ago(100);
        let stale: [Fields<'_>; 9] = [
            &[],
            &[("cache-control", "max-age=0")],
            &[("cache-control", "max-age=a")],
            &[("cache-control", "max-age=60, s-maxage=0")],
            &[("expires", &past)],
            &[("expires", "0")],
            &[("cache-control", "max-age=60"), ("age", "60")],
            &[("cache-control", "max-age=60"), ("date", &past)],
            &[("cache-control", "no-cache, max-age=60")],
        ];
        for fields in stale {
            assert_eq!(calls_of_two_gets(fields).await, 2, "{fields:?}");
        }
    });
}

#[test]
fn a_lifetime_is_guessed_only_on_request() {
    keep(|| async {
        let modified = ago(10_000);
        let fields: Fields<'_> = &[("last-modified", &modified)];
        assert_eq!(calls_of_two_gets(fields).await, 2);
        let site = Site::behind(layer().heuristics(), always(200, fields)).await;
        site.get("/").await;
        let hit = site.get("/").await;
        assert_eq!(site.calls(), 1);
        let ttl = hit.cache_status().strip_prefix("sinew; hit; ttl=").expect("a hit");
        assert!((990..=1000).contains(&ttl.parse::<u32>().unwrap()), "{ttl}");
    });
}

#[test]
fn a_hit_is_what_was_stored_and_tells_its_age() {
    keep(|| async {
        let fields: Fields<'_> =
            &[("cache-control", "max-age=60"), ("age", "10"), ("x-a", "1"), ("x-a", "2")];
        let site = Site::saying(fields).await;
        let (miss, hit) = (site.get("/").await, site.get("/").await);
        assert_eq!(miss.header("age"), Some("10"), "the service's own");
        let age: u32 = hit.header("age").expect("of every hit").parse().unwrap();
        assert!((10..=15).contains(&age), "{age}");
        assert_eq!(hit.content, miss.content);
        let both: Vec<_> = hit.headers.get_all("x-a").iter().collect();
        assert_eq!(both, ["1", "2"]);
    });
}

#[test]
fn what_the_cache_did_is_told() {
    keep(|| async {
        let site = Site::saying(&[("cache-control", "max-age=1000")]).await;
        let expected = [
            (Method::GET, "", "sinew; fwd=uri-miss; ttl="),
            (Method::GET, "", "sinew; hit; ttl="),
            (Method::HEAD, "", "sinew; hit; ttl="),
            (Method::GET, "no-cache", "sinew; fwd=request; ttl="),
            (Method::OPTIONS, "", "sinew; fwd=method"),
            (Method::POST, "", "sinew; fwd=method"),
            (Method::HEAD, "", "sinew; fwd=uri-miss"),
        ];
        for (method, said, expected) in expected {
            let reply = site.send(method.clone(), "/", &[("cache-control", said)]).await;
            let told = reply.cache_status();
            assert!(told.starts_with(expected), "{told} for {method} {said}");
            let ttl = told.split_once("ttl=").map(|(_, ttl)| ttl.parse::<u32>().unwrap());
            assert!(ttl.is_none_or(|ttl| (990..=1000).contains(&ttl)), "{told}");
        }
        let part = site.get_with("/", &[("range", "bytes=0-0")]).await;
        assert_eq!(part.cache_status(), "sinew; fwd=bypass");
    });
}
