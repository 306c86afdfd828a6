//! Where a webhook may be delivered to: whoever defines one is not to reach what only this machine can.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

use super::room::Place;

/// What is for no one on the internet (IANA's special-purpose registries), and what is for many at once.
const CLOSED_V4: [(Ipv4Addr, u8); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// All that was ever given out for the internet.
const OPEN_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// What is closed of that. What has an address of version 4 inside leads there, by a gateway that knows no rule of ours.
const CLOSED_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Why this hub does not deliver what another may: its configuration allows other networks.
pub(crate) const CLOSED: &str = "it leads to an address that is not on the internet: expected a public one, or one under allow of [webhooks] in sinew.toml";

/// Which addresses may be delivered to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses {
    allow: Vec<IpNet>,
    allow_http: bool,
}

/// Where a name has led, all of it looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checked(pub(crate) Vec<SocketAddr>);

impl Addresses {
    /// `allow` is let through, though it is not for the internet.
    pub(crate) fn new(allow: Vec<IpNet>, allow_http: bool) -> Self {
        Self { allow, allow_http }
    }

    /// A URL that may be delivered to, as far as that can be said without a look at where its name leads.
    ///
    /// # Errors
    /// A sentence that says what was expected, without the URL.
    pub(crate) fn url(&self, text: &str) -> Result<Url, String> {
        let url = Url::parse(text).map_err(|error| format!("invalid url: {error}"))?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            _ => return Err("invalid url: expected https://".to_owned()),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("invalid url: expected no user and no password in it".to_owned());
        }
        if url.port() == Some(0) {
            return Err("invalid url: expected a port above 0, or none".to_owned());
        }
        let literal = match url.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
            Some(Host::Domain(name)) if !name.is_empty() => None,
            _ => return Err("invalid url: expected a host".to_owned()),
        };
        match literal {
            Some(ip) if !self.permits(ip) => Err(CLOSED.to_owned()),
            _ => Ok(url),
        }
    }

    /// Where a URL leads now. No connection goes anywhere but there: the name may lead elsewhere a moment later.
    ///
    /// # Errors
    /// A sentence: it leads nowhere, or anywhere that is closed.
    pub(crate) async fn resolve(&self, url: &Url, looking_up: Place) -> Result<Checked, String> {
        let port = url.port_or_known_default().unwrap_or(443);
        let found: Vec<SocketAddr> = match url.host() {
            Some(Host::Ipv4(ip)) => vec![(ip, port).into()],
            Some(Host::Ipv6(ip)) => vec![(ip, port).into()],
            Some(Host::Domain(name)) => {
                let found = look_up(name.to_owned(), port, looking_up).await;
                found.map_err(|error| format!("its host is not known: {error}"))?
            }
            None => Vec::new(),
        };
        match found.iter().all(|address| self.permits(address.ip())) {
            true if found.is_empty() => Err("its host has no address".to_owned()),
            true => Ok(Checked(found)),
            false => Err(CLOSED.to_owned()),
        }
    }

    fn permits(&self, ip: IpAddr) -> bool {
        // `::ffff:a.b.c.d` is a.b.c.d to whoever connects.
        let ip = ip.to_canonical();
        self.allow.iter().any(|net| net.contains(&ip)) || is_global(ip)
    }
}

/// By the system, in a thread that goes on when no one waits for it any more: its place is taken until it ends.
async fn look_up(name: String, port: u16, looking_up: Place) -> std::io::Result<Vec<SocketAddr>> {
    let looking = tokio::spawn(async move {
        let found = tokio::net::lookup_host((name, port)).await;
        let found = found.map(Iterator::collect::<Vec<_>>);
        drop(looking_up);
        found
    });
    looking.await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !CLOSED_V4
            .into_iter()
            .any(|(net, len)| Ipv4Net::new(net, len).is_ok_and(|net| net.contains(&ip))),
        IpAddr::V6(ip) => {
            let is_in =
                |(net, len)| Ipv6Net::new(net, len).is_ok_and(|net: Ipv6Net| net.contains(&ip));
            is_in(OPEN_V6) && !CLOSED_V6.into_iter().any(is_in)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Addresses {
        Addresses::default()
    }

    #[test]
    fn only_what_is_on_the_internet_is_delivered_to() {
        for closed in [
            "0.0.0.0",
            "0.1.2.3",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.1.2.3",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "::ffff:0:7f00:1",
            "100::1",
            "2001::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!none().permits(closed.parse().unwrap()), "{closed}");
        }
        for open in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.0.0.1",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:1.1.1.1",
            "2606:4700::1111",
            "2001:200::1",
            "2a00::1",
        ] {
            assert!(none().permits(open.parse().unwrap()), "{open}");
        }
    }

    #[test]
    fn an_address_is_seen_through_however_it_is_written() {
        for text in [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://017700000001/",
            "https://127.0.0.1./",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:7f00:1]/",
            "https://①②⑦.0.0.1/",
            "https://169.254.169.254/latest/meta-data",
        ] {
            let refused = none().url(text).unwrap_err();
            assert!(refused.contains("not on the internet"), "{text}: {refused}");
        }
        for (text, told) in [
            ("http://example.com/", "expected https://"),
            ("ftp://example.com/", "expected https://"),
            ("https://ada:secret@example.com/", "expected no user"),
            ("https://ada@example.com/", "expected no user"),
            ("https://example.com:0/", "expected a port"),
            ("https://", "invalid url"),
            ("example.com", "invalid url"),
        ] {
            let refused = none().url(text).unwrap_err();
            assert!(refused.contains(told) && !refused.contains("secret"), "{text}: {refused}");
        }
        assert!(none().url("https://example.com:8443/in?a=b").is_ok());
        assert!(none().url("https://1.1.1.1/").is_ok());
    }

    #[test]
    fn what_is_allowed_is_let_through_and_nothing_beside_it() {
        let own = Addresses::new(vec!["10.1.0.0/16".parse().unwrap()], true);
        assert!(own.url("http://10.1.2.3:8080/").is_ok());
        assert!(own.url("http://[::ffff:10.1.2.3]/").is_ok());
        assert!(own.url("http://10.2.0.1/").is_err());
        assert!(own.url("http://example.com/").is_ok());
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_refused_when_it_is_looked_up() {
        let url = Url::parse("https://localhost/").unwrap();
        let refused = none().resolve(&url, Place::default()).await.unwrap_err();
        assert!(refused.contains("not on the internet"), "{refused}");
        let own = ["127.0.0.0/8", "::1/128"].map(|net| net.parse().unwrap()).to_vec();
        let own = Addresses::new(own, false);
        let Checked(found) = own.resolve(&url, Place::default()).await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 443));
    }
}
