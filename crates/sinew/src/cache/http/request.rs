//! A request as the cache sees it: whether it is any of its business, and what it asks for.

use std::sync::Arc;

use ::http::header::{
    CONTENT_LENGTH, IF_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE, TRANSFER_ENCODING, UPGRADE,
};
use ::http::{HeaderMap, Method, Request, Uri};
use ::http_body::Body;

use super::cache_status::Fwd;
use super::front::Settings;
use super::key::{HttpKey, Target, route_tag};
use super::policy::Asked;
use super::validation;

/// What is to be done with a request.
pub(super) enum Handling {
    /// Answer it from the store, or store what answers it.
    Cache(Arc<Presented>),
    /// Let it pass.
    Forward(Fwd),
    /// Let it pass, and drop what is stored of what it may have changed.
    Change(Target),
    /// Answer it with 400: it may change something, and does not say on which host.
    Refuse,
}

/// A request that may be answered from the store.
pub(super) struct Presented {
    pub(super) headers: HeaderMap,
    pub(super) asked: Asked,
    pub(super) is_head: bool,
    /// Of its target; a variant has a key of its own.
    pub(super) key: HttpKey,
    /// Of what is stored for it.
    pub(super) tags: Vec<String>,
}

impl Presented {
    /// Whether nothing that is stored may come of it: it is answered from the store, or on its own.
    /// The service of a HEAD may know no GET: a router has one for each method.
    pub(super) fn only_looks(&self) -> bool {
        let said = &self.asked.directives;
        self.is_head || said.no_store || said.only_if_cached
    }
}

/// `uri` is the one that the client sent, `route` the pattern that it matched.
pub(super) fn handling<B: Body>(
    request: &Request<B>,
    uri: &Uri,
    route: Option<&str>,
    settings: &Settings,
) -> Handling {
    let (method, headers) = (request.method(), request.headers());
    let target = Target::of(uri, headers);
    match *method {
        Method::GET | Method::HEAD => {}
        Method::OPTIONS | Method::TRACE | Method::CONNECT => return Handling::Forward(Fwd::Method),
        // What is not known to be safe, is not (RFC 9111, 4.4). Without a target it is malformed
        // (RFC 9112, 3.2), and what it changed could not be dropped.
        _ => return target.map_or(Handling::Refuse, Handling::Change),
    }
    let Some(target) = target.filter(|_| is_plain(request)) else {
        return Handling::Forward(Fwd::Bypass);
    };
    let route = route.filter(|_| settings.tags_by_route).map(route_tag);
    let tags = std::iter::once(target.tag()).chain(route).collect();
    Handling::Cache(Arc::new(Presented {
        headers: headers.clone(),
        asked: Asked::of(headers),
        is_head: *method == Method::HEAD,
        key: HttpKey::new(Arc::new(target), &settings.key_by, headers),
        tags,
    }))
}

/// Whether a GET or HEAD asks for a whole representation and nothing else. Parts are not put
/// together here, the other preconditions are the service's to decide (RFC 9110, 13.1), and what
/// is in the content no key has.
fn is_plain<B: Body>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let has_content = !request.body().is_end_stream()
        || headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    let is_more = [RANGE, IF_RANGE, IF_MATCH, IF_UNMODIFIED_SINCE, UPGRADE]
        .iter()
        .any(|field| headers.contains_key(field));
    !has_content && !is_more
}

/// How a request is sent to the service.
pub(super) enum SendAs {
    AsItCame,
    /// So that what comes back can be stored, or is about what is.
    Fetch {
        conditions: HeaderMap,
    },
}

impl SendAs {
    pub(super) fn apply<B>(self, mut request: Request<B>) -> Request<B> {
        if let Self::Fetch { conditions } = self {
            validation::replace(request.headers_mut(), conditions);
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use ::http_body_util::{Empty, Full};
    use bytes::Bytes;

    use super::*;

    fn handled(method: &str, fields: &[(&str, &str)]) -> Handling {
        let mut request = Request::builder().method(method).uri("/x").header("host", "a.com");
        for &(name, value) in fields {
            request = request.header(name, value);
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        handling(&request, request.uri(), Some("/{name}"), &Settings::default())
    }

    #[test]
    fn only_whole_representations_are_the_caches_business() {
        assert!(matches!(handled("GET", &[]), Handling::Cache(_)));
        assert!(matches!(handled("HEAD", &[]), Handling::Cache(_)));
        for field in ["range", "if-range", "if-match", "if-unmodified-since", "upgrade"] {
            let handling = handled("GET", &[(field, "x")]);
            assert!(matches!(handling, Handling::Forward(Fwd::Bypass)), "{field}");
        }
        let content = Request::builder().uri("/x").body(Full::new(Bytes::from_static(b"x")));
        let content = content.unwrap();
        let handling = handling(&content, content.uri(), None, &Settings::default());
        assert!(matches!(handling, Handling::Forward(Fwd::Bypass)));
    }

    #[test]
    fn what_is_not_known_to_be_safe_is_a_change() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "FROBNICATE"] {
            assert!(matches!(handled(method, &[]), Handling::Change(_)), "{method}");
        }
        for method in ["OPTIONS", "TRACE"] {
            let handling = handled(method, &[]);
            assert!(matches!(handling, Handling::Forward(Fwd::Method)), "{method}");
        }
    }

    #[test]
    fn without_one_host_what_is_safe_passes_and_a_change_does_not() {
        let other = [("host", "b.com")];
        for method in ["GET", "HEAD"] {
            let handling = handled(method, &other);
            assert!(matches!(handling, Handling::Forward(Fwd::Bypass)), "{method}");
        }
        for method in ["POST", "PUT", "DELETE", "PATCH", "FROBNICATE"] {
            assert!(matches!(handled(method, &other), Handling::Refuse), "{method}");
        }
    }

    #[test]
    fn a_fetch_goes_under_the_caches_own_conditions() {
        let request = Request::builder().header("if-none-match", "\"x\"");
        let mut conditions = HeaderMap::new();
        conditions.insert("if-none-match", "\"a\"".parse().unwrap());
        let sent = SendAs::Fetch { conditions }.apply(request.body(()).unwrap());
        assert_eq!(sent.headers()["if-none-match"], "\"a\"");
    }
}
