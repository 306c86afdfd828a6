//! Header fields that end at the gateway, and those that it adds.

use std::net::IpAddr;

use axum::http::header::{CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, TRANSFER_ENCODING};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use sinew::http::Problem;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Of one connection, beside what `Connection` names (RFC 9110, 7.6.1); what is said to a proxy; and
/// `trailer`, without which no trailers are sent: nobody has looked at what those claim.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Removes what the other side of the gateway is not meant to see.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // Where both say how long the body is, the other one counts (RFC 9112, 6.3).
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// The host that a request is for, if it names one.
///
/// # Errors
/// 400 where it names several, or what is no host: upstreams might each take another one.
pub(super) fn host_of(uri: &Uri, headers: &HeaderMap) -> Result<Option<Authority>, Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    let (named, is_one) = (hosts.next(), hosts.next().is_none());
    let named = named.map(|host| Authority::try_from(host.as_bytes())).transpose();
    let host = match (uri.authority(), named) {
        (_, Err(_)) => None,
        (Some(target), Ok(_)) => Some(Some(target.clone())),
        (None, Ok(named)) => Some(named),
    };
    let is_host =
        |host: &Option<Authority>| host.as_ref().is_none_or(|host| !host.as_str().contains('@'));
    host.filter(|host| is_one && is_host(host))
        .ok_or_else(|| Problem::bad_request("invalid Host: expected one host, and a port or none"))
}

/// Says for whom a request is passed on. What is there already is a trusted proxy's, and stays.
pub(super) fn tell_origin(headers: &mut HeaderMap, peer: IpAddr, host: Option<&Authority>) {
    let has = [headers.contains_key(FORWARDED), headers.contains_key(X_FORWARDED_FOR)];
    // Two lists that begin at different proxies would contradict each other.
    let [has_standard, has_custom] = if has == [false; 2] { [true; 2] } else { has };
    if has_standard {
        let node = match peer {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("\"[{address}]\""),
        };
        // There are no quotes in a host.
        let host = host.map(|host| format!(";host=\"{host}\"")).unwrap_or_default();
        append(headers, FORWARDED, &format!("for={node}{host};proto=http"));
    }
    if has_custom {
        append(headers, X_FORWARDED_FOR, &peer.to_string());
    }
    headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    if let Some(host) = host.and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
}

/// To the end of a list, in one field: not everyone reads on in a second one.
fn append(headers: &mut HeaderMap, name: HeaderName, member: &str) {
    let mut list = Vec::new();
    for value in headers.get_all(&name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(member.as_bytes());
    if let Ok(list) = HeaderValue::from_bytes(&list) {
        headers.insert(name, list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let fields = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        fields.collect()
    }

    #[test]
    fn what_connection_names_goes_with_it() {
        let mut found = headers(&[
            ("connection", "close, X-Private ,te"),
            ("x-private", "1"),
            ("upgrade", "websocket"),
            ("transfer-encoding", "chunked"),
            ("content-length", "7"),
            ("x-public", "1"),
        ]);
        remove_hop_by_hop(&mut found);
        assert_eq!(found, headers(&[("x-public", "1")]));
    }

    #[test]
    fn the_peer_comes_last_in_whichever_list_there_is() {
        let told = |fields: &[(&'static str, &'static str)], peer: &str| {
            let mut found = headers(fields);
            let host = Authority::from_static("example.com:80");
            tell_origin(&mut found, peer.parse().unwrap(), Some(&host));
            let text = |name: &str| found.get(name).map(|v| v.to_str().unwrap().to_owned());
            (text("forwarded"), text("x-forwarded-for"), text("x-forwarded-host"))
        };
        let own = Some("example.com:80".to_owned());
        let (standard, custom, host) = told(&[], "2001:db8::7");
        let expected = "for=\"[2001:db8::7]\";host=\"example.com:80\";proto=http";
        assert_eq!(standard.as_deref(), Some(expected));
        assert_eq!((custom.as_deref(), host), (Some("2001:db8::7"), own.clone()));

        let (standard, custom, host) = told(&[("x-forwarded-for", "203.0.113.9")], "10.0.0.1");
        assert_eq!((standard, custom.as_deref()), (None, Some("203.0.113.9, 10.0.0.1")));
        assert_eq!(host, own);

        let before = [("forwarded", "for=203.0.113.9"), ("x-forwarded-host", "first.example")];
        let (standard, custom, host) = told(&before, "10.0.0.1");
        let expected = "for=203.0.113.9, for=10.0.0.1;host=\"example.com:80\";proto=http";
        assert_eq!((standard.as_deref(), custom), (Some(expected), None));
        assert_eq!(host.as_deref(), Some("first.example"));
    }

    #[test]
    fn a_request_is_for_one_host() {
        let host = |uri: &'static str, fields: &[(&'static str, &'static str)]| {
            let host = host_of(&Uri::from_static(uri), &headers(fields));
            host.map(|host| host.map(|host| host.to_string()))
        };
        assert_eq!(host("/a", &[]), Ok(None));
        assert_eq!(host("/a", &[("host", "a.example:80")]), Ok(Some("a.example:80".to_owned())));
        let absolute = host("http://b.example/a", &[("host", "a.example")]);
        assert_eq!(absolute, Ok(Some("b.example".to_owned())));
        for bad in ["", "a b", "a@b", "a\"b"] {
            assert!(host("/a", &[("host", bad)]).is_err(), "{bad}");
        }
        let mut two = headers(&[("host", "a.example")]);
        two.append(HOST, HeaderValue::from_static("b.example"));
        assert!(host_of(&Uri::from_static("/a"), &two).is_err());
    }
}
