//! Which of the stored responses a request gets.

use axum::Router;
use axum::http::HeaderName;

use super::{Call, Fields, Origin, Site, layer, response};
use crate::laws::keep;

fn in_its_language(call: &Call) -> axum::response::Response {
    let fields = [("cache-control", "max-age=60"), ("vary", "Accept-Language")];
    response(200, &fields, call.header("accept-language").unwrap_or("none").to_owned())
}

#[test]
fn each_variant_goes_to_those_who_select_it() {
    keep(|| async {
        let site = Site::new(in_its_language).await;
        for round in 0..3 {
            for language in ["en", "fr", "de"] {
                let reply = site.get_with("/", &[("accept-language", language)]).await;
                assert_eq!(reply.text(), language);
                assert_eq!(reply.is_hit(), round > 0);
            }
            assert_eq!(site.get("/").await.text(), "none", "missing is a variant, too");
        }
        assert_eq!(site.calls(), 4);
        let other = site.get_with("/", &[("accept-language", "it")]).await;
        assert!(other.cache_status().starts_with("sinew; fwd=vary-miss; ttl="));
    });
}

#[test]
fn a_vary_that_changes_is_followed() {
    keep(|| async {
        // French pages also depend on the currency.
        let site = Site::new(|call| {
            let language = call.header("accept-language").unwrap_or("en").to_owned();
            let vary =
                if language == "fr" { "accept-language, x-money" } else { "accept-language" };
            let money = call.header("x-money").filter(|_| language == "fr").unwrap_or("any");
            let fields = [("cache-control", "max-age=60"), ("vary", vary)];
            response(200, &fields, format!("{language} {money}"))
        })
        .await;
        for _ in 0..2 {
            for (language, money, expected) in [
                ("en", "usd", "en any"),
                ("en", "eur", "en any"),
                ("fr", "usd", "fr usd"),
                ("fr", "eur", "fr eur"),
            ] {
                let fields = [("accept-language", language), ("x-money", money)];
                assert_eq!(site.get_with("/", &fields).await.text(), expected);
            }
        }
        assert_eq!(site.calls(), 3);
    });
}

#[test]
fn a_response_never_leaves_its_tenant() {
    keep(|| async {
        let tenant = HeaderName::from_static("x-tenant-id");
        let site = Site::behind(layer().key_by(tenant), |call| {
            let whose = call.header("x-tenant-id").unwrap_or("no one").to_owned();
            response(200, &[("cache-control", "max-age=60")], whose)
        })
        .await;
        for round in 0..2 {
            for tenant in ["acme", "other"] {
                let reply = site.get_with("/", &[("x-tenant-id", tenant)]).await;
                assert_eq!((reply.text(), reply.is_hit()), (tenant, round > 0));
            }
            assert_eq!(site.get("/").await.text(), "no one");
        }
    });
}

#[test]
fn host_path_and_query_are_told_apart() {
    keep(|| async {
        let site = Site::saying(&[("cache-control", "max-age=60")]).await;
        let requests: [(&str, Fields<'_>); 6] = [
            ("/", &[]),
            ("/a", &[]),
            ("/a?", &[]),
            ("/a?b=1", &[]),
            ("/a?b=2", &[]),
            ("/a", &[("host", "other.example")]),
        ];
        for (n, (path, fields)) in requests.into_iter().enumerate() {
            assert_eq!(site.get_with(path, fields).await.text(), (n + 1).to_string());
        }
        for (n, (path, fields)) in requests.into_iter().enumerate() {
            let again = site.get_with(path, fields).await;
            assert!(again.is_hit());
            assert_eq!(again.text(), (n + 1).to_string());
        }
        let upper_case = site.get_with("/a", &[("host", "Other.Example")]).await;
        assert_eq!(upper_case.text(), "6");
    });
}

#[test]
fn nested_routers_do_not_share_what_they_call_alike() {
    keep(|| async {
        let origin = Origin::new(super::always(200, &[("cache-control", "max-age=60")]));
        let layer = layer();
        let router = Router::new()
            .nest("/a", origin.router().layer(layer.clone()))
            .nest("/b", origin.router().layer(layer));
        let site = Site::serving(origin, router).await;
        let (a, b) = (site.get("/a/x").await, site.get("/b/x").await);
        assert_ne!(a.text(), b.text());
        assert_eq!(site.get("/a/x").await.text(), a.text());
        assert_eq!(site.calls(), 2);
    });
}
