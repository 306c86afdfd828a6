//! Whom proxies say to forward for: `Forwarded` (RFC 7239) and `X-Forwarded-For`.
//!
//! Both are read from the right, where the nearest proxy writes. So nothing that a client has written,
//! such as a quote that is left open, changes how that is read.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ::http::HeaderMap;

pub(super) const FORWARDED: &str = "forwarded";
pub(super) const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Hop after hop, the nearest first: an address, or `None` for what is none.
pub(super) fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    elements(headers, FORWARDED).map(|element| address(node(element)?))
}

/// The same.
pub(super) fn x_forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    elements(headers, X_FORWARDED_FOR).map(address)
}

/// The elements of a field that is a list, from the right.
fn elements<'a>(headers: &'a HeaderMap, field: &'static str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(field).iter().rev();
    // What is no text is an element that is no address.
    lines.flat_map(|line| elements_of(line.to_str().unwrap_or("?")))
}

fn elements_of(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    let elements = std::iter::from_fn(move || {
        let text = rest.take()?;
        let mut is_quoted = false;
        let comma = text.bytes().rposition(|byte| {
            is_quoted ^= byte == b'"';
            byte == b',' && !is_quoted
        });
        let Some(comma) = comma else { return Some(text) };
        rest = Some(&text[..comma]);
        Some(&text[comma + 1..])
    });
    elements.map(|element| element.trim_matches([' ', '\t'])).filter(|element| !element.is_empty())
}

/// The `for` of an element of `Forwarded`, if there is one and no doubt about it.
fn node(element: &str) -> Option<&str> {
    let mut node = None;
    for pair in element.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        let value = unquoted(value.trim())?;
        if name.trim().eq_ignore_ascii_case("for") && node.replace(value).is_some() {
            return None;
        }
    }
    node
}

/// A value as it is meant. One that holds what had to be escaped, or a semicolon, is not read: no
/// address does.
fn unquoted(value: &str) -> Option<&str> {
    let text = match value.strip_prefix('"') {
        Some(text) => text.strip_suffix('"')?,
        None => value,
    };
    (!text.contains(['"', '\\'])).then_some(text)
}

/// An address, with or without a port, and with or without brackets if it is IPv6.
fn address(text: &str) -> Option<IpAddr> {
    let address = text.parse::<IpAddr>().ok();
    let address = address.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    let address = address.or_else(|| {
        let bare = text.strip_prefix('[')?.strip_suffix(']')?;
        Some(IpAddr::V6(bare.parse::<Ipv6Addr>().ok()?))
    });
    address.map(|address| address.to_canonical())
}
