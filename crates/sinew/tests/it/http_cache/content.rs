//! What is in a response, to the byte.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method};
use futures_util::stream;
use http_body::Frame;
use http_body_util::StreamBody;

use super::{Site, layer, response};
use crate::laws::keep;

const HOUR: (&str, &str) = ("cache-control", "max-age=3600");

type Part = Result<Bytes, std::io::Error>;

fn streamed(parts: Vec<Part>) -> Body {
    Body::from_stream(stream::iter(parts))
}

fn part(text: &'static str) -> Part {
    Ok(Bytes::from_static(text.as_bytes()))
}

/// No text, and nothing that repeats itself.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn content_is_the_same_to_the_byte_on_a_miss_and_on_a_hit() {
    keep(|| async {
        for len in [0, 1, 1000, 500_000] {
            let content = noise(len);
            let site = {
                let content = content.clone();
                Site::new(move |_| response(200, &[HOUR], content.clone())).await
            };
            let (miss, hit) = (site.get("/").await, site.get("/").await);
            assert!(hit.is_hit(), "{len}");
            assert!(miss.content == content && hit.content == content, "{len}");
            assert_eq!(hit.header("content-length"), Some(len.to_string().as_str()));
        }
    });
}

#[test]
fn content_beyond_the_limit_passes_and_is_not_stored() {
    keep(|| async {
        for (len, is_stored) in [(10, true), (11, false)] {
            let whole = move || response(200, &[HOUR], noise(len));
            let in_parts = move || {
                let parts = noise(len).chunks(3).map(Bytes::copy_from_slice).map(Ok).collect();
                response(200, &[HOUR], streamed(parts))
            };
            let sites = [
                Site::behind(layer().body_len_max(10), move |_| whole()).await,
                Site::behind(layer().body_len_max(10), move |_| in_parts()).await,
            ];
            for site in sites {
                for n in 0..3 {
                    let reply = site.get("/").await;
                    assert_eq!(reply.content, noise(len));
                    assert_eq!(reply.is_hit(), is_stored && n > 0);
                }
            }
        }
    });
}

#[test]
fn content_larger_than_a_value_may_be_passes() {
    keep(|| async {
        let content = noise(2 << 20);
        let site = {
            let content = content.clone();
            Site::new(move |_| response(200, &[HOUR], content.clone())).await
        };
        for _ in 0..2 {
            let reply = site.get("/").await;
            assert!(reply.content == content && !reply.is_hit());
        }
    });
}

#[test]
fn content_that_breaks_off_is_not_stored() {
    keep(|| async {
        let site = Site::new(|call| {
            let end = if call.n == 1 { Err(std::io::Error::other("broken")) } else { part("end") };
            response(200, &[HOUR], streamed(vec![part("beginning, "), end]))
        })
        .await;
        let broken = site.try_send(Method::GET, "/", &[]).await;
        assert!(broken.is_err(), "{broken:?}");
        let whole = site.get("/").await;
        assert_eq!((whole.text(), whole.is_hit()), ("beginning, end", false));
    });
}

#[test]
fn content_that_ends_before_its_length_is_neither_stored_nor_given_as_the_whole() {
    keep(|| async {
        let all_short: [fn() -> Body; 4] = [
            || streamed(vec![part("begin")]),
            || streamed(vec![]),
            || Body::from("begin"),
            Body::empty,
        ];
        for short in all_short {
            let site = Site::new(move |call| {
                let content = if call.n == 1 { short() } else { Body::from("beginning") };
                response(200, &[HOUR, ("content-length", "9")], content)
            })
            .await;
            let cut = site.try_send(Method::GET, "/", &[]).await;
            assert!(cut.is_err(), "{cut:?}");
            let whole = site.get("/").await;
            assert_eq!((whole.text(), whole.is_hit()), ("beginning", false));
        }
    });
}

#[test]
fn what_has_no_content_may_tell_of_a_length() {
    keep(|| async {
        let (etag, length) = (("etag", "\"a\""), ("content-length", "5"));
        let site = Site::new(move |call| {
            let is_asked_about = call.header("if-none-match").is_some();
            match (call.method == Method::HEAD, is_asked_about) {
                (true, _) => response(200, &[HOUR, length], ""),
                (false, false) => {
                    response(200, &[("cache-control", "max-age=0"), etag, length], "first")
                }
                (false, true) => response(304, &[HOUR, etag, length], ""),
            }
        })
        .await;
        let head = site.send(Method::HEAD, "/", &[]).await;
        assert_eq!((head.status.as_u16(), head.header("content-length")), (200, Some("5")));
        for is_hit in [false, false, true] {
            let reply = site.get("/").await;
            assert_eq!((reply.text(), reply.is_hit()), ("first", is_hit));
        }
    });
}

#[test]
fn what_ends_in_trailers_is_not_stored() {
    keep(|| async {
        let site = Site::new(|_| {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-checksum", "1".parse().expect("a value"));
            let data = Frame::data(Bytes::from_static(b"content"));
            let frames = [Ok::<_, std::io::Error>(data), Ok(Frame::trailers(trailers))];
            response(200, &[HOUR], Body::new(StreamBody::new(stream::iter(frames))))
        })
        .await;
        for _ in 0..3 {
            let reply = site.get("/").await;
            assert_eq!((reply.text(), reply.is_hit()), ("content", false));
        }
    });
}

#[test]
fn a_service_that_panics_does_so_before_its_client() {
    keep(|| async {
        let site = Site::new(|call| {
            assert!(call.n > 1, "on purpose");
            response(200, &[HOUR], "content")
        })
        .await;
        // As without a cache: the connection breaks, unless a layer outside catches it.
        assert!(site.try_send(Method::GET, "/", &[]).await.is_err());
        assert_eq!(site.get("/").await.text(), "content");
        assert!(site.get("/").await.is_hit());
    });
}
