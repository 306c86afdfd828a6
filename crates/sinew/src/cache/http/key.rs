//! What a stored response is found by.

use std::borrow::Cow;
use std::sync::Arc;

use ::http::header::HOST;
use ::http::uri::{Authority, PathAndQuery, Scheme};
use ::http::{HeaderMap, HeaderName, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::kernel::key::{CacheKey, Segments};

/// What longer hosts and targets have, once encoded, is told by a digest.
const AUTHORITY_ROOM: usize = 128;
const PATH_ROOM: usize = 480;
/// The engine's own limit.
const TAG_LEN_MAX: usize = 128;
/// So many tags stand for all URIs: strangers may change any number of those, and the store keeps
/// a number for each tag that was invalidated.
const URI_TAGS: u16 = 16_384;

/// What a request is for: the URI of RFC 9110, 7.1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Target {
    /// A server without HTTP/2 or proxy requests does not know it.
    scheme: Option<Box<str>>,
    pub(super) authority: Box<str>,
    pub(super) path_and_query: Box<str>,
}

impl Target {
    /// `None` for a request whose `Host` says nothing, or something else than its URI: whichever the
    /// service reads, the other could be what is stored under.
    pub(super) fn of(uri: &Uri, headers: &HeaderMap) -> Option<Self> {
        let authority = match uri.authority() {
            Some(authority) => {
                let authority = authority.as_str().to_ascii_lowercase();
                if headers.contains_key(HOST) {
                    let port = default_port(uri.scheme());
                    let (named, host) = (without(port, &authority), host(headers)?);
                    if named != without(port, &host) {
                        return None;
                    }
                }
                authority
            }
            None => host(headers)?,
        };
        Some(Self {
            scheme: uri.scheme().map(Scheme::as_str).map(Into::into),
            authority: authority.into(),
            path_and_query: uri.path_and_query().map_or("/", PathAndQuery::as_str).into(),
        })
    }

    pub(super) fn at(&self, path_and_query: &str) -> Self {
        Self { path_and_query: path_and_query.into(), ..self.clone() }
    }

    /// Of all that is stored for this target, whatever selected it, and of a small part of what is
    /// stored for others. Without the scheme: a POST that does not say it is to reach what a GET
    /// stored that did.
    pub(super) fn tag(&self) -> String {
        let parts = [self.authority.as_bytes(), self.path_and_query.as_bytes()];
        format!("uri:{}", Digest::of(parts).bucket(URI_TAGS))
    }
}

/// What a port need not be said of.
fn default_port(scheme: Option<&Scheme>) -> &'static str {
    match scheme {
        Some(scheme) if *scheme == Scheme::HTTPS => ":443",
        _ => ":80",
    }
}

fn without<'a>(port: &str, authority: &'a str) -> &'a str {
    authority.strip_suffix(port).unwrap_or(authority)
}

/// Empty without the field, as in HTTP/1.0.
fn host(headers: &HeaderMap) -> Option<String> {
    let mut lines = headers.get_all(HOST).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Some(String::new()),
        (Some(host), None) if host.is_empty() => Some(String::new()),
        (Some(host), None) => {
            let host = Authority::try_from(host.as_bytes()).ok()?;
            Some(host.as_str().to_ascii_lowercase())
        }
        _ => None,
    }
}

/// The tag of all that one route has answered.
pub(super) fn route_tag(route: &str) -> String {
    let tag = format!("route:{route}");
    match tag.len() <= TAG_LEN_MAX {
        true => tag,
        false => format!("route#{}", Digest::of([route.as_bytes()]).text()),
    }
}

/// What a response of [`CacheLayer`](crate::CacheLayer) is stored under: the target's host, path
/// and query; what `key_by` names; and the variant that the request selected by the `Vary` of
/// earlier responses. The method is not part of it: GET and HEAD share what is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpKey {
    target: Arc<Target>,
    partition: Option<Arc<str>>,
    variant: Option<Arc<str>>,
}

impl HttpKey {
    pub(super) fn new(target: Arc<Target>, key_by: &[HeaderName], headers: &HeaderMap) -> Self {
        Self { target, partition: selection(key_by, headers), variant: None }
    }

    /// Where the variant is that a request selects.
    pub(super) fn variant(&self, vary: &[HeaderName], headers: &HeaderMap) -> Self {
        Self { variant: selection(vary, headers), ..self.clone() }
    }
}

impl CacheKey for HttpKey {
    fn segments(&self, into: &mut Segments<'_>) {
        into.push(short(&self.target.authority, AUTHORITY_ROOM));
        into.push(short(&self.target.path_and_query, PATH_ROOM));
        // Each with its name, since any of them may be missing.
        if let Some(scheme) = &self.target.scheme {
            into.push(format_args!("scheme={scheme}"));
        }
        if let Some(partition) = &self.partition {
            into.push(format_args!("by={partition}"));
        }
        if let Some(variant) = &self.variant {
            into.push(format_args!("vary={variant}"));
        }
    }
}

/// What a request has for some fields, in a form that can be compared; `None` for no fields
/// (RFC 9111, 4.1). A digest, since the fields may be cookies, and longer than a key may be.
pub(super) fn selection(names: &[HeaderName], headers: &HeaderMap) -> Option<Arc<str>> {
    if names.is_empty() {
        return None;
    }
    let mut digest = Digest::new();
    for name in names {
        let lines: Vec<&[u8]> =
            headers.get_all(name).iter().map(|line| line.as_bytes().trim_ascii()).collect();
        digest.add(name.as_str().as_bytes());
        // Missing and empty are two things; two lines and one with a comma are the same.
        digest.add(if lines.is_empty() { b"-" } else { b"+" });
        digest.add(&lines.join(&b", "[..]));
    }
    Some(digest.text().into())
}

/// As it is, or where it is too long, by a digest. No host and no target has a `#`.
fn short(text: &str, room: usize) -> Cow<'_, str> {
    let encoded_len = |byte: u8| match byte {
        b'-' | b'.' | b'_' | b'~' | b'/' | b'=' | b'&' | b',' | b'+' | b'@' => 1,
        byte if byte.is_ascii_alphanumeric() => 1,
        _ => 3,
    };
    match text.bytes().map(encoded_len).sum::<usize>() <= room {
        true => Cow::Borrowed(text),
        false => Cow::Owned(format!("#{}", Digest::of([text.as_bytes()]).text())),
    }
}

/// SHA-256 of a list of texts: strangers choose them, and are not to find two that are one entry.
struct Digest(Sha256);

impl Digest {
    fn new() -> Self {
        Self(Sha256::new())
    }

    fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut digest = Self::new();
        for part in parts {
            digest.add(part);
        }
        digest
    }

    fn add(&mut self, part: &[u8]) {
        // With its length, so that "a", "bc" is not "ab", "c".
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    fn text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.finalize())
    }

    /// One of so many, the same one in every process.
    fn bucket(self, buckets: u16) -> u16 {
        let digest = self.0.finalize();
        u16::from_be_bytes([digest[0], digest[1]]) % buckets
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use ::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::key::Scope;
    use crate::kernel::name::{Prefix, Space, Tenant};

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn target(uri: &str, fields: &[(&'static str, &str)]) -> Option<Target> {
        Target::of(&uri.parse().unwrap(), &headers(fields))
    }

    fn key(uri: &str, key_by: &[HeaderName], fields: &[(&'static str, &str)]) -> HttpKey {
        HttpKey::new(Arc::new(target(uri, fields).unwrap()), key_by, &headers(fields))
    }

    fn written(key: &HttpKey) -> String {
        let scope = Scope::tenant(&Prefix::default(), &Tenant::new("acme").unwrap());
        scope.key(&Space::new("pages").unwrap(), key).unwrap().as_str().to_owned()
    }

    #[test]
    fn a_key_can_be_read() {
        let key = key("/a/b?page=2", &[], &[("host", "Example.com:8080")]);
        assert_eq!(written(&key), "acme:pages:example.com%3A8080:/a/b%3Fpage=2");
    }

    #[test]
    fn the_host_is_that_of_the_uri_or_the_field_and_never_two() {
        let host = |uri, fields: &[(&'static str, &str)]| target(uri, fields).map(|t| t.authority);
        assert_eq!(host("http://A.com/x", &[("host", "a.com")]).as_deref(), Some("a.com"));
        assert_eq!(host("http://A.com/x", &[]).as_deref(), Some("a.com"));
        assert_eq!(host("http://a.com/x", &[("host", "b.com")]), None);
        assert_eq!(host("/x", &[("host", "b.com")]).as_deref(), Some("b.com"));
        assert_eq!(host("/x", &[]).as_deref(), Some(""));
        assert_eq!(host("/x", &[("host", "a.com"), ("host", "b.com")]), None);
        assert_eq!(host("/x", &[("host", "a.com/#b")]), None);
    }

    #[test]
    fn what_selects_is_part_of_the_key_and_never_mixed_up() {
        let names = [HeaderName::from_static("a"), HeaderName::from_static("b")];
        let by = |fields: &[(&'static str, &str)]| written(&key("/", &names, fields));
        let all = [
            by(&[]),
            by(&[("a", "")]),
            by(&[("b", "")]),
            by(&[("a", "1")]),
            by(&[("b", "1")]),
            by(&[("a", "1"), ("b", "1")]),
            by(&[("a", "1, 1")]),
        ];
        for (n, one) in all.iter().enumerate() {
            assert!(!all[n + 1..].contains(one), "{one}");
        }
        assert_eq!(by(&[("a", " 1, 1 ")]), by(&[("a", "1"), ("a", "1")]));
        let (plain, keyed) = (key("/", &[], &[]), key("/", &names, &[]));
        assert_ne!(written(&plain.variant(&names, &headers(&[]))), written(&keyed));
    }

    #[test]
    fn a_long_target_is_told_by_its_digest() {
        let long = format!("/{}", "%20".repeat(3000));
        let (one, other) = (key(&long, &[], &[]), key(&format!("{long}x"), &[], &[]));
        assert!(written(&one).len() < 200);
        assert_ne!(written(&one), written(&other));
    }

    #[test]
    fn a_tag_is_of_the_target_and_fits() {
        let tag = |uri, fields: &[(&'static str, &str)]| target(uri, fields).unwrap().tag();
        let host = [("host", "a.com")];
        assert_eq!(tag("https://a.com/x", &[]), tag("/x", &host));
        assert_ne!(tag("/x", &host), tag("/x?", &host));
        assert_eq!(route_tag("/users/{id}"), "route:/users/{id}");
        assert!(route_tag(&"x".repeat(500)).len() <= TAG_LEN_MAX);
        assert!(tag("/x", &host).len() <= TAG_LEN_MAX);
        // Other processes, of other releases too, say the same.
        assert_eq!(tag("/x", &host), "uri:11112");
    }

    #[test]
    fn any_number_of_targets_shares_a_bounded_number_of_tags_evenly() {
        let mut targets_by_tag = HashMap::new();
        for n in 0..100_000 {
            let tag = target(&format!("/{n}"), &[("host", "a.com")]).unwrap().tag();
            *targets_by_tag.entry(tag).or_insert(0) += 1;
        }
        assert!(targets_by_tag.len() <= usize::from(URI_TAGS));
        assert!(targets_by_tag.values().all(|targets| *targets < 40), "about six each");
    }

    proptest! {
        #[test]
        fn every_key_fits(
            path in "/[a-z0-9%/.*:@-]{0,2000}", host in "[a-z0-9.-]{1,300}", value in "[ -~]{0,4000}",
        ) {
            let names = [HeaderName::from_static("cookie")];
            let fields = [("host", host.as_str()), ("cookie", value.as_str())];
            let Some(target) = target(&path, &fields) else { return Ok(()) };
            let key = HttpKey::new(Arc::new(target), &names, &headers(&fields));
            prop_assert!(written(&key.variant(&names, &headers(&fields))).len() <= 900);
        }
    }
}
