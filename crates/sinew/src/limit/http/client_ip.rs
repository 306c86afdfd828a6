//! Who sent a request, as far as that can be known.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ::http::request::Parts;
use axum::extract::ConnectInfo;

use super::forwarded::{FORWARDED, X_FORWARDED_FOR, forwarded, x_forwarded_for};
use crate::kernel::error::{Error, Result};

/// The proxies that are believed when they say whom they forward for. None, as the default. Cheap to
/// clone.
///
/// Name only those that themselves write `Forwarded` or `X-Forwarded-For`: one that passes on what
/// clients write there lets them choose their address.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Arc<[Network]>);

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl TrustedProxies {
    /// Those with these addresses (`10.1.2.3`, `::1`), or in these networks (`10.0.0.0/8`,
    /// `2001:db8::/32`).
    ///
    /// # Errors
    /// `Rejected` for what is neither, for a network with bits set beyond its prefix, and for an IPv4
    /// address that is written as IPv6.
    pub fn new<N: AsRef<str>>(networks: impl IntoIterator<Item = N>) -> Result<Self> {
        let networks = networks.into_iter().map(|network| {
            let text = network.as_ref();
            Network::parse(text).ok_or_else(|| {
                Error::rejected(format!(
                    "invalid network {text:?}: expected an address, such as 10.1.2.3 or ::1, or a network without bits beyond its prefix, such as 10.0.0.0/8"
                ))
            })
        });
        networks.collect::<Result<_>>().map(Self)
    }

    /// Whether an address is one of theirs. An IPv4 address that is written as IPv6 is the IPv4 address,
    /// as a server that listens on `::` sees it.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network_of(address, network.bits) == network.address)
    }

    /// The first address that is no proxy's, from the peer outwards, or the last one that is: nobody
    /// else is believed, and nothing is beyond what is no address.
    fn beyond(&self, peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
        let mut client = peer;
        for hop in hops {
            match hop {
                Some(address) if self.trusts(client) => client = address,
                _ => break,
            }
        }
        client
    }
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().ok()?,
            None => bits_max,
        };
        // IPv4 as IPv6 would never match: addresses are compared as IPv4.
        let is_one = bits <= bits_max
            && network_of(address, bits) == address
            && address.to_canonical() == address;
        is_one.then_some(Self { address, bits })
    }
}

/// The network of so many bits that an address is in.
pub(super) fn network_of(address: IpAddr, bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

/// The address of the client that sent a request, as far as these proxies can be believed.
///
/// It is the peer's, who is connected, unless that is a trusted proxy. Then it is the one for whom that
/// says to forward, and so on, from the right of `Forwarded` (RFC 7239) or `X-Forwarded-For` to the left,
/// until one is no trusted proxy. What is left of that, anyone may have written. What is no address
/// (`unknown`, `_hidden`, garbage) ends it at the proxy that wrote it.
///
/// Where a request has both fields, a client may have sent the one that its proxy does not write: they
/// are believed if they lead to the same address, and otherwise the peer's is the answer.
///
/// An IPv4 address that is written as IPv6 is the IPv4 address. `None` where the server does not say who
/// is connected: `into_make_service_with_connect_info::<SocketAddr>()` does.
///
/// To limit clients by it, there is [`Rule::by_client_ip`](super::Rule::by_client_ip): whoever has an
/// IPv6 address has many.
#[must_use]
pub fn client_ip(parts: &Parts, proxies: &TrustedProxies) -> Option<IpAddr> {
    let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
    let peer = peer.ip().to_canonical();
    let headers = &parts.headers;
    let is_there = |field: &str| headers.contains_key(field);
    let standard = is_there(FORWARDED).then(|| proxies.beyond(peer, forwarded(headers)));
    let custom = is_there(X_FORWARDED_FOR).then(|| proxies.beyond(peer, x_forwarded_for(headers)));
    Some(match (standard, custom) {
        (Some(one), Some(other)) if one != other => peer,
        (one, other) => one.or(other).unwrap_or(peer),
    })
}

#[cfg(test)]
mod tests {
    use ::http::HeaderValue;

    use super::*;

    /// The client of a request from this peer with these fields, where 10/8, ::1 and one address more
    /// are trusted.
    fn client(peer: &str, fields: &[(&str, &str)]) -> String {
        let proxies = TrustedProxies::new(["10.0.0.0/8", "::1", "2001:db8:ffff::/48", "192.0.2.1"]);
        let mut request = ::http::Request::builder();
        for (name, value) in fields {
            request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        let peer: IpAddr = peer.parse().unwrap();
        parts.extensions.insert(ConnectInfo(SocketAddr::from((peer, 4_711))));
        client_ip(&parts, &proxies.unwrap()).unwrap().to_string()
    }

    const X: &str = X_FORWARDED_FOR;
    const F: &str = FORWARDED;

    #[test]
    fn nobody_is_believed_but_trusted_proxies() {
        for (peer, fields, expected) in [
            ("203.0.113.9", &[(X, "198.51.100.1")][..], "203.0.113.9"),
            ("203.0.113.9", &[], "203.0.113.9"),
            ("203.0.113.9", &[(F, "for=198.51.100.1")], "203.0.113.9"),
            ("10.1.1.1", &[], "10.1.1.1"),
            ("10.1.1.1", &[(X, "203.0.113.9")], "203.0.113.9"),
            ("::1", &[(X, "203.0.113.9")], "203.0.113.9"),
            ("::ffff:10.1.1.1", &[(X, "203.0.113.9")], "203.0.113.9"),
            ("::ffff:203.0.113.9", &[(X, "198.51.100.1")], "203.0.113.9"),
            ("2001:db8:ffff::7", &[(X, "203.0.113.9")], "203.0.113.9"),
            ("2001:db8:fffe::7", &[(X, "203.0.113.9")], "2001:db8:fffe::7"),
            ("192.0.2.1", &[(X, "203.0.113.9")], "203.0.113.9"),
            ("192.0.2.2", &[(X, "203.0.113.9")], "192.0.2.2"),
        ] {
            assert_eq!(client(peer, fields), expected, "{peer} {fields:?}");
        }
    }

    #[test]
    fn what_a_client_writes_to_the_left_is_not_read() {
        for (fields, expected) in [
            (&[(X, "1.1.1.1, 203.0.113.9")][..], "203.0.113.9"),
            (&[(X, "1.1.1.1"), (X, "203.0.113.9")], "203.0.113.9"),
            (&[(X, "203.0.113.9, 10.2.2.2")], "203.0.113.9"),
            (&[(X, "203.0.113.9"), (X, "10.2.2.2,10.3.3.3")], "203.0.113.9"),
            (&[(X, "10.9.9.9, 203.0.113.9, 10.2.2.2")], "203.0.113.9"),
            (&[(X, "garbage, 203.0.113.9")], "203.0.113.9"),
            (&[(X, "\", 203.0.113.9")], "203.0.113.9"),
            (&[(F, "for=1.1.1.1, for=203.0.113.9")], "203.0.113.9"),
            (&[(F, "for=1.1.1.1"), (F, "for=203.0.113.9;proto=https")], "203.0.113.9"),
            (&[(F, "for=\"1.1.1.1, for=203.0.113.9")], "203.0.113.9"),
            (&[(F, "for=1.1.1.1;x=\", for=203.0.113.9")], "203.0.113.9"),
            (&[(F, "for=\"x\\\", for=203.0.113.9, for=10.2.2.2")], "203.0.113.9"),
            (&[(F, "for=203.0.113.9, for=10.2.2.2;by=10.1.1.1")], "203.0.113.9"),
            // All of them are proxies: it comes from inside.
            (&[(X, "10.3.3.3, 10.2.2.2")], "10.3.3.3"),
        ] {
            assert_eq!(client("10.1.1.1", fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn what_is_no_address_ends_it_at_the_proxy_that_wrote_it() {
        for (fields, expected) in [
            (&[(X, "203.0.113.9, unknown")][..], "10.1.1.1"),
            (&[(X, "203.0.113.9, nonsense, 10.2.2.2")], "10.2.2.2"),
            (&[(X, "203.0.113.9, 10.2.2.2 10.3.3.3")], "10.1.1.1"),
            (&[(X, "203.0.113.999")], "10.1.1.1"),
            (&[(X, "203.0.113.9:99999")], "10.1.1.1"),
            (&[(X, "fe80::1%eth0")], "10.1.1.1"),
            (&[(X, "203.0.113.9, é")], "10.1.1.1"),
            (&[(X, "203.0.113.9"), (X, "é")], "10.1.1.1"),
            (&[(X, "")], "10.1.1.1"),
            (&[(F, "for=unknown, for=10.2.2.2")], "10.2.2.2"),
            (&[(F, "for=203.0.113.9, for=_hidden")], "10.1.1.1"),
            (&[(F, "for=203.0.113.9, for=\"_hidden:4711\"")], "10.1.1.1"),
            (&[(F, "for=203.0.113.9, proto=https")], "10.1.1.1"),
            (&[(F, "for=203.0.113.9;for=198.51.100.1")], "10.1.1.1"),
            (&[(F, "for=\"203.0.113.9")], "10.1.1.1"),
            (&[(F, "for=203.0.113.9\"")], "10.1.1.1"),
            (&[(F, "for")], "10.1.1.1"),
            (&[(F, "host=\"a;for=198.51.100.1;b=c\"")], "10.1.1.1"),
            (&[(F, "for=203.0.113.9;host=\"a;for=198.51.100.1\"")], "10.1.1.1"),
        ] {
            assert_eq!(client("10.1.1.1", fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn an_address_is_read_in_all_that_it_is_written_as() {
        for (fields, expected) in [
            (&[(X, "203.0.113.9:4711")][..], "203.0.113.9"),
            (&[(X, "2001:db8::9")], "2001:db8::9"),
            (&[(X, "[2001:db8::9]")], "2001:db8::9"),
            (&[(X, "[2001:db8::9]:4711")], "2001:db8::9"),
            (&[(X, "::ffff:203.0.113.9")], "203.0.113.9"),
            (&[(X, " , 203.0.113.9 ,, ")], "203.0.113.9"),
            (&[(F, "For=203.0.113.9")], "203.0.113.9"),
            (&[(F, "by=10.1.1.1 ; FOR = \"203.0.113.9\" ; ")], "203.0.113.9"),
            (&[(F, "for=\"203.0.113.9:4711\";proto=https")], "203.0.113.9"),
            (&[(F, "for=\"[2001:db8::9]\"")], "2001:db8::9"),
            (&[(F, "proto=https;for=\"[2001:db8::9]:4711\"")], "2001:db8::9"),
            (&[(F, "for=\"[::ffff:203.0.113.9]\"")], "203.0.113.9"),
            (&[(F, "for=203.0.113.9;host=\"a,b\"")], "203.0.113.9"),
        ] {
            assert_eq!(client("10.1.1.1", fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn two_fields_are_believed_where_they_agree() {
        for (fields, expected) in [
            (&[(X, "203.0.113.9"), (F, "for=203.0.113.9")][..], "203.0.113.9"),
            (&[(X, "1.1.1.1, 203.0.113.9"), (F, "for=203.0.113.9")], "203.0.113.9"),
            (&[(X, "203.0.113.9"), (F, "for=198.51.100.1")], "10.1.1.1"),
            (&[(X, "203.0.113.9"), (F, "for=unknown")], "10.1.1.1"),
            (&[(X, "203.0.113.9"), (F, "")], "10.1.1.1"),
            (&[(X, "garbage"), (F, "for=203.0.113.9")], "10.1.1.1"),
        ] {
            assert_eq!(client("10.1.1.1", fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn without_knowing_who_is_connected_there_is_no_client() {
        let request = ::http::Request::builder().header(X, "203.0.113.9").body(()).unwrap();
        let everyone = TrustedProxies::new(["0.0.0.0/0", "::/0"]).unwrap();
        assert_eq!(client_ip(&request.into_parts().0, &everyone), None);
    }

    #[test]
    fn what_is_no_network_is_told_what_was_expected() {
        for good in ["0.0.0.0/0", "::/0", "10.0.0.0/8", "10.1.2.3/32", "2001:db8::/32", "::1/128"] {
            TrustedProxies::new([good]).unwrap();
        }
        for bad in [
            "",
            "localhost",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/4294967295",
            "10.1.0.0/8",
            "10.0.0/8",
            "2001:db8::/129",
            "2001:db8::1/32",
            "[::1]",
            "::ffff:10.0.0.1",
            "::ffff:10.0.0.0/104",
            " 10.0.0.1",
        ] {
            let error = TrustedProxies::new([bad]).unwrap_err().to_string();
            assert!(error.contains("expected an address"), "{bad}: {error}");
        }
        let all = ["203.0.113.9", "::ffff:203.0.113.9", "2001:db8::9"];
        let all: [IpAddr; 3] = all.map(|one| one.parse().unwrap());
        let (v4, v6) = (["0.0.0.0/0"], ["::/0"]);
        let trusted = |by: [&str; 1]| all.map(|one| TrustedProxies::new(by).unwrap().trusts(one));
        assert_eq!(trusted(v4), [true, true, false]);
        assert_eq!(trusted(v6), [false, false, true]);
    }
}
