//! What is stored, and what never is.

use super::{Fields, Site, always, layer};
use crate::laws::keep;

const HOUR: (&str, &str) = ("cache-control", "max-age=3600");

#[test]
fn what_may_be_stored_is_and_nothing_else() {
    keep(|| async {
        let cases: [(u16, Fields<'_>, bool); 22] = [
            (200, &[HOUR], true),
            (204, &[HOUR], true),
            (301, &[HOUR, ("location", "/x")], true),
            (302, &[HOUR, ("location", "/x")], true),
            (404, &[HOUR], true),
            (500, &[HOUR], true),
            (200, &[("cache-control", "public, max-age=60"), ("set-cookie", "a=b")], true),
            (200, &[("cache-control", "must-understand, no-store, max-age=60")], true),
            (200, &[("cache-control", "no-store, max-age=60")], false),
            (200, &[HOUR, ("cache-control", "no-store")], false),
            (200, &[("cache-control", "private, max-age=60")], false),
            (200, &[("cache-control", "private=\"x-a\", max-age=60")], false),
            (200, &[("cache-control", "private, public, s-maxage=60")], false),
            (500, &[("cache-control", "must-understand, max-age=60")], false),
            (200, &[("cache-control", "s-maxage=60"), ("set-cookie", "a=b")], false),
            (200, &[("cache-control", "no-cache=\"x-a\", max-age=60")], false),
            (200, &[HOUR, ("set-cookie", "a=b")], false),
            (200, &[HOUR, ("vary", "*")], false),
            (200, &[HOUR, ("content-range", "bytes 0-0/1")], false),
            (206, &[HOUR], false),
            (302, &[("location", "/x")], false),
            (500, &[], false),
        ];
        for (status, fields, is_stored) in cases {
            let site = Site::new(always(status, fields)).await;
            let (first, second) = (site.get("/").await, site.get("/").await);
            assert_eq!(second.is_hit(), is_stored, "{status} {fields:?}");
            assert_eq!(site.calls(), if is_stored { 1 } else { 2 }, "{status} {fields:?}");
            assert_eq!(first.status, second.status);
            assert_eq!(first.cache_status().contains("; ttl="), is_stored);
            assert!(!first.cache_status().contains("stored"), "it may have been refused");
        }
    });
}

#[test]
fn what_is_asked_for_with_credentials_is_shared_only_where_the_response_says_so() {
    keep(|| async {
        let credentials: Fields<'_> = &[("authorization", "Bearer secret")];
        let nothing: Fields<'_> = &[];
        for (said, is_shared) in [
            ("max-age=60", false),
            ("public, max-age=60", true),
            ("s-maxage=60", true),
            ("max-age=60, must-revalidate", true),
        ] {
            for (first, second) in [(credentials, nothing), (nothing, credentials)] {
                let site = Site::saying(&[("cache-control", said)]).await;
                site.get_with("/", first).await;
                let reply = site.get_with("/", second).await;
                assert_eq!(reply.is_hit(), is_shared, "{said}, {first:?} first");
            }
        }
        let site = Site::behind(layer().share_authorized(), always(200, &[HOUR])).await;
        site.get_with("/", credentials).await;
        assert!(site.get("/").await.is_hit());
        assert!(site.get_with("/", credentials).await.is_hit());
    });
}

#[test]
fn what_belongs_to_a_connection_is_not_stored() {
    keep(|| async {
        let fields: Fields<'_> = &[HOUR, ("connection", "x-hop"), ("x-hop", "1"), ("x-kept", "1")];
        let site = Site::saying(fields).await;
        let (miss, hit) = (site.get("/").await, site.get("/").await);
        assert!(hit.is_hit());
        assert_eq!((miss.header("x-hop"), miss.header("x-kept")), (Some("1"), Some("1")));
        assert_eq!((hit.header("x-hop"), hit.header("x-kept")), (None, Some("1")));
    });
}

#[test]
fn what_cannot_be_shared_once_can_be_later() {
    keep(|| async {
        let site = Site::new(|call| match call.n {
            1 => always(200, &[("cache-control", "private")])(call),
            _ => always(200, &[HOUR])(call),
        })
        .await;
        // The second shows that it can be, the third is stored.
        for expected in ["1", "2", "3", "3"] {
            assert_eq!(site.get("/").await.text(), expected);
        }
    });
}
