//! Requests that wait for one another, and those that do not.

use std::collections::HashSet;

use tokio::task::JoinHandle;

use super::{Reply, Site, always, layer, response};
use crate::laws::{eventually, keep};

/// A request that waits at the service's gate, under way.
fn waiting(site: &Site, field: (&'static str, &'static str)) -> JoinHandle<Reply> {
    let site = site.clone();
    tokio::spawn(async move { site.get_with("/", &[("x-wait", "1"), field]).await })
}

#[test]
fn requests_that_miss_together_cause_one_call() {
    keep(|| async {
        let site = Site::saying(&[("cache-control", "max-age=60")]).await;
        let all: Vec<_> = (0..30).map(|_| waiting(&site, ("x-a", "1"))).collect();
        site.origin.begun(1).await;
        site.origin.open_gate();
        for reply in all {
            assert_eq!(reply.await.unwrap().text(), "1");
        }
        assert_eq!(site.calls(), 1);
    });
}

#[test]
fn what_is_for_one_request_reaches_no_other_that_waited() {
    keep(|| async {
        for said in ["private, max-age=60", "no-store", "", "max-age=0"] {
            let site = Site::saying(&[("cache-control", said)]).await;
            let all: Vec<_> = (0..10).map(|_| waiting(&site, ("x-a", "1"))).collect();
            site.origin.begun(1).await;
            site.origin.open_gate();
            let mut seen = HashSet::new();
            for reply in all {
                assert!(seen.insert(reply.await.unwrap().content), "{said}: given out twice");
            }
            assert_eq!(site.calls(), 10);
        }
    });
}

#[test]
fn nobody_waits_where_the_last_response_was_for_one_request() {
    keep(|| async {
        let site = Site::saying(&[("cache-control", "private")]).await;
        site.get("/").await;
        let all: Vec<_> = (0..3).map(|_| waiting(&site, ("x-a", "1"))).collect();
        // The gate is closed: each of them reaches the service without the others' responses.
        site.origin.begun(4).await;
        site.origin.open_gate();
        for reply in all {
            assert_eq!(reply.await.unwrap().cache_status(), "sinew; fwd=uri-miss");
        }
    });
}

#[test]
fn a_request_that_waited_for_another_variant_gets_its_own() {
    keep(|| async {
        let site = Site::new(|call| {
            let fields = [("cache-control", "max-age=60"), ("vary", "accept-language")];
            response(200, &fields, call.header("accept-language").unwrap_or_default().to_owned())
        })
        .await;
        let english = waiting(&site, ("accept-language", "en"));
        site.origin.begun(1).await;
        let french = waiting(&site, ("accept-language", "fr"));
        site.origin.open_gate();
        assert_eq!(english.await.unwrap().text(), "en");
        assert_eq!(french.await.unwrap().text(), "fr");
        assert_eq!(site.calls(), 2);
    });
}

#[test]
fn what_came_for_credentials_reaches_no_one_without() {
    keep(|| async {
        let site = Site::saying(&[("cache-control", "max-age=60")]).await;
        let user = waiting(&site, ("authorization", "Bearer secret"));
        site.origin.begun(1).await;
        let stranger = waiting(&site, ("x-a", "1"));
        site.origin.open_gate();
        let (user, stranger) = (user.await.unwrap(), stranger.await.unwrap());
        assert_eq!((user.text(), stranger.text()), ("1", "2"));
    });
}

#[test]
fn tenants_that_miss_together_get_their_own() {
    keep(|| async {
        let tenant = axum::http::HeaderName::from_static("x-tenant-id");
        let site = Site::behind(layer().key_by(tenant), |call| {
            let whose = call.header("x-tenant-id").unwrap_or_default().to_owned();
            response(200, &[("cache-control", "max-age=60")], whose)
        })
        .await;
        let tenants = ["acme", "b", "c"].map(|name| (name, waiting(&site, ("x-tenant-id", name))));
        // None of them waits for another's.
        site.origin.begun(3).await;
        site.origin.open_gate();
        for (name, reply) in tenants {
            assert_eq!(reply.await.unwrap().text(), name);
        }
    });
}

#[test]
fn a_request_goes_on_when_its_client_goes_away() {
    keep(|| async {
        let site = Site::saying(&[("cache-control", "max-age=60")]).await;
        let client = waiting(&site, ("x-a", "1"));
        site.origin.begun(1).await;
        client.abort();
        assert!(client.await.unwrap_err().is_cancelled());
        site.origin.open_gate();
        eventually("it is stored", || async { site.get("/").await.is_hit() }).await;
        assert_eq!(site.get("/").await.text(), "1");
    });
}

#[test]
fn a_failure_is_told_to_the_one_whose_it_is() {
    keep(|| async {
        let site = Site::new(|call| match call.n {
            1 => always(503, &[])(call),
            _ => always(200, &[("cache-control", "max-age=60")])(call),
        })
        .await;
        let first = waiting(&site, ("x-a", "1"));
        site.origin.begun(1).await;
        let second = waiting(&site, ("x-a", "1"));
        site.origin.open_gate();
        assert_eq!(first.await.unwrap().status, 503);
        assert_eq!(second.await.unwrap().status, 200);
    });
}
