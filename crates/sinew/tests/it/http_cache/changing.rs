//! What a change drops.

use axum::Router;
use axum::http::Method;
use sinew::Invalidated;

use super::{Fields, Origin, Reply, Site, layer, response};
use crate::laws::{eventually, keep};

const HOUR: (&str, &str) = ("cache-control", "max-age=3600");
/// Always the same, and so are the tags of its pages.
const SHOP: (&str, &str) = ("host", "shop.example");

async fn get(site: &Site, path: &str) -> Reply {
    site.get_with(path, &[SHOP]).await
}

fn method(name: &str) -> Method {
    Method::from_bytes(name.as_bytes()).expect("a method")
}

/// Pages for an hour; changes answer with a status and fields.
async fn site(status: u16, fields: &'static [(&'static str, &'static str)]) -> Site {
    Site::new(move |call| match call.method {
        Method::GET => {
            let vary = ("vary", "accept-language");
            response(200, &[HOUR, vary], call.n.to_string())
        }
        _ => response(status, fields, ""),
    })
    .await
}

#[test]
fn a_change_drops_its_target_in_all_variants() {
    keep(|| async {
        for name in ["POST", "PUT", "PATCH", "DELETE", "FROBNICATE"] {
            for status in [200, 201, 204, 303] {
                let site = site(status, &[]).await;
                let variants: [Fields<'_>; 2] =
                    [&[SHOP, ("accept-language", "en")], &[SHOP, ("accept-language", "fr")]];
                for variant in variants {
                    site.get_with("/a", variant).await;
                    assert!(site.get_with("/a", variant).await.is_hit());
                }
                get(&site, "/b").await;
                let reply = site.send(method(name), "/a", &[SHOP]).await;
                assert_eq!(reply.status, status);
                assert_eq!(reply.cache_status(), "sinew; fwd=method");
                for variant in variants {
                    assert!(!site.get_with("/a", variant).await.is_hit(), "{name} {status}");
                }
                assert!(get(&site, "/b").await.is_hit(), "another page");
            }
        }
    });
}

#[test]
fn what_changed_nothing_drops_nothing() {
    keep(|| async {
        for (name, status) in [
            ("POST", 400),
            ("POST", 409),
            ("DELETE", 404),
            ("PUT", 500),
            ("PUT", 503),
            ("OPTIONS", 200),
        ] {
            let site = site(status, &[]).await;
            site.get("/").await;
            assert_eq!(site.send(method(name), "/", &[]).await.status, status);
            assert!(site.get("/").await.is_hit(), "{name} {status}");
        }
    });
}

#[test]
fn what_a_change_names_on_the_same_host_is_dropped_too() {
    keep(|| async {
        let cases: [(&'static [(&'static str, &'static str)], bool); 6] = [
            (&[("location", "/list/7")], true),
            (&[("location", "7")], true),
            (&[("content-location", "/list/./7")], true),
            (&[("location", "/list/8")], false),
            (&[("location", "http://other.example/list/7")], false),
            (&[], false),
        ];
        for (fields, is_dropped) in cases {
            let site = site(201, fields).await;
            get(&site, "/list/7").await;
            site.send(Method::POST, "/list/new", &[SHOP]).await;
            assert_eq!(get(&site, "/list/7").await.is_hit(), !is_dropped, "{fields:?}");
        }
    });
}

#[test]
fn a_change_takes_along_what_shares_its_tag_and_nothing_else() {
    keep(|| async {
        let site = site(204, &[]).await;
        // The first two have the same tag, and no other of them has.
        let paths = ["/page/0", "/page/24183", "/page/1", "/page/2"];
        for path in paths {
            get(&site, path).await;
        }
        site.send(Method::PUT, "/page/0", &[SHOP]).await;
        for (path, is_hit) in paths.into_iter().zip([false, false, true, true]) {
            assert_eq!(get(&site, path).await.is_hit(), is_hit, "{path}");
        }
    });
}

#[test]
fn a_change_of_no_one_host_is_refused_before_the_service() {
    keep(|| async {
        let site = site(204, &[]).await;
        get(&site, "/").await;
        for (uri, hosts) in [
            ("/", "host: shop.example\r\nhost: other.example"),
            ("/", "host: shop.example/#other"),
            ("http://other.example/", "host: shop.example"),
            ("http://shop.example/", "host: other.example"),
        ] {
            let send = async |name: &str| {
                let head = format!("{name} {uri} HTTP/1.1\r\n{hosts}\r\nconnection: close\r\n\r\n");
                site.send_raw(&head).await
            };
            let calls = site.calls();
            for name in ["POST", "PUT", "PATCH", "DELETE", "FROBNICATE"] {
                let answer = send(name).await;
                assert!(answer.starts_with("HTTP/1.1 400 "), "{name} {uri} {hosts}: {answer}");
            }
            assert_eq!(site.calls(), calls);
            let safe = send("GET").await;
            assert!(safe.contains("sinew; fwd=bypass"), "{uri} {hosts}: {safe}");
            assert!(get(&site, "/").await.is_hit());
        }
    });
}

#[test]
fn what_was_under_way_when_it_changed_is_not_stored() {
    keep(|| async {
        let site = site(204, &[]).await;
        let old = {
            let site = site.clone();
            tokio::spawn(async move { site.get_with("/", &[("x-wait", "1")]).await })
        };
        site.origin.begun(1).await;
        site.send(Method::PUT, "/", &[]).await;
        let new = {
            let site = site.clone();
            tokio::spawn(async move { site.get_with("/", &[("x-wait", "1")]).await })
        };
        site.origin.open_gate();
        let old = old.await.unwrap();
        assert_eq!(old.text(), "1", "it began before the change");
        assert!(!old.cache_status().contains("stored"), "{old:?}");
        assert_eq!(new.await.unwrap().text(), "3", "it began after the change");
        assert_eq!(site.get("/").await.text(), "3");
    });
}

#[test]
fn a_change_whose_client_went_away_drops_its_target() {
    keep(|| async {
        let site = site(204, &[]).await;
        site.get("/").await;
        let change = {
            let site = site.clone();
            tokio::spawn(async move { site.send(Method::POST, "/", &[("x-wait", "1")]).await })
        };
        site.origin.begun(2).await;
        assert!(site.get("/").await.is_hit(), "nothing has changed yet");
        change.abort();
        assert!(change.await.unwrap_err().is_cancelled());
        eventually("the page is dropped", || async { !site.get("/").await.is_hit() }).await;
    });
}

#[test]
fn a_route_is_dropped_as_a_whole() {
    keep(|| async {
        let origin = Origin::new(super::always(200, &[HOUR]));
        let layer = layer().tag_by_route();
        let router = Router::new()
            .nest("/users", origin.router())
            .route("/teams/{id}", axum::routing::get(|| async { ([HOUR], "a team") }))
            .layer(layer.clone());
        let site = Site::serving(origin, router).await;
        let paths = ["/users/1", "/users/2", "/users", "/teams/1"];
        for path in paths {
            site.get(path).await;
            assert!(site.get(path).await.is_hit(), "{path}");
        }
        let done = layer.invalidate_route("/users/{*path}").await.unwrap();
        assert_eq!(done, Invalidated::Done);
        for (path, is_hit) in paths.into_iter().zip([false, false, true, true]) {
            assert_eq!(site.get(path).await.is_hit(), is_hit, "{path}");
        }
        layer.cache().clear().await.unwrap();
        assert!(!site.get("/teams/1").await.is_hit());
    });
}
