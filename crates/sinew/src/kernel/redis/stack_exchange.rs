//! StackExchange.Redis connection strings, for whoever comes from .NET.
//!
//! The options and their defaults are those of its page "Configuration":
//! <https://stackexchange.github.io/StackExchange.Redis/Configuration>

use std::time::Duration;

use super::target::{
    Access, Address, HostPort, Place, SentinelAccess, Target, TlsSetting, host_port,
};
use super::url::may_be_a_name;
use crate::kernel::error::{Error, Result};

const EXPECTED: &str = "expected a URL like redis://host:6379, or host[:port],…,option=value,… as StackExchange.Redis has it";

/// What these do, Sinew does by itself, or has no use for.
const TAKEN_AND_LEFT: [&str; 9] = [
    "connecttimeout",
    "connectretry",
    "keepalive",
    "channelprefix",
    "allowadmin",
    "asynctimeout",
    "sslprotocols",
    "tiebreaker",
    "configchannel",
];

fn bad(what: &str) -> Error {
    Error::misconfigured(format!("bad Redis connection string: {what}; {EXPECTED}"))
}

pub(super) fn parse(text: &str) -> Result<Target> {
    let mut endpoints = Vec::new();
    let mut access = Access::default();
    let (mut service, mut tls, mut ssl_host) = (None, None, None);
    let (mut starts_without, mut deadline) = (false, None);
    for token in text.split(',').map(str::trim).filter(|token| !token.is_empty()) {
        let Some((option, value)) = token.split_once('=') else {
            // Not shown: it may be the rest of a password.
            if access.password.is_some() {
                return Err(bad(
                    "an endpoint comes after the password: expected endpoints first (a password can't hold a comma)",
                ));
            }
            endpoints.push(token);
            continue;
        };
        let (option, value) = (option.trim().to_ascii_lowercase(), value.trim());
        match option.as_str() {
            "user" => access.user = Some(value.to_owned()),
            "password" => access.password = Some(value.to_owned()),
            "ssl" => tls = Some(truth("ssl", value)?),
            "sslhost" => ssl_host = Some(value.to_owned()),
            "abortconnect" => starts_without = !truth("abortConnect", value)?,
            "defaultdatabase" => access.database = number("defaultDatabase", value)?,
            "synctimeout" => {
                deadline = Some(Duration::from_millis(number("syncTimeout", value)?));
            }
            "servicename" => service = Some(value.to_owned()),
            "name" if may_be_a_name(value) => access.client_name = Some(value.to_owned()),
            "name" => return Err(bad("name has spaces or control characters")),
            known if TAKEN_AND_LEFT.contains(&known) => {}
            // What looks like an option may be the rest of a password.
            _ if access.password.is_some() => {
                return Err(bad("an option is unknown (a password can't hold a comma)"));
            }
            unknown => return Err(bad(&format!("the option {unknown:?} is unknown"))),
        }
    }
    if tls.unwrap_or(ssl_host.is_some()) {
        access.tls = Some(TlsSetting { server_name: ssl_host, ..TlsSetting::default() });
    }
    let port = match (&service, &access.tls) {
        (Some(_), _) => 26379,
        (None, Some(_)) => 6380,
        (None, None) => 6379,
    };
    let hosts = endpoints.iter().map(|endpoint| host_port(endpoint, port));
    let hosts = hosts.collect::<Option<Vec<HostPort>>>().ok_or_else(|| {
        bad("an endpoint is not host or host:port (a password can't hold a comma)")
    })?;
    let place = match (service, hosts.as_slice()) {
        (_, []) => return Err(bad("it names no endpoint")),
        (Some(primary), _) if primary.is_empty() => return Err(bad("serviceName is empty")),
        (Some(primary), _) => {
            Place::Sentinel { sentinels: hosts, primary, access: SentinelAccess::default() }
        }
        // Database 0 alone may be a cluster's.
        (None, [one]) if access.database != 0 => Place::Single(Address::Tcp(one.clone())),
        (None, _) => Place::Either { seeds: hosts },
    };
    Ok(Target { place, access, starts_without, deadline })
}

fn truth(option: &str, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(bad(&format!("{option} is neither true nor false"))),
    }
}

fn number<N: std::str::FromStr>(option: &str, value: &str) -> Result<N> {
    value.parse().map_err(|_| bad(&format!("{option} is not a number in range")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        Target::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn every_option_is_read() {
        let t = target(
            "cache.internal:7000, Password=a=b==,USER=app,defaultDatabase=3,abortConnect=False,syncTimeout=900,name=billing,connectTimeout=5000,keepAlive=60",
        );
        assert_eq!(t.to_string(), "cache.internal:7000/3");
        assert_eq!(t.access.password.as_deref(), Some("a=b=="));
        assert_eq!(t.access.user.as_deref(), Some("app"));
        assert_eq!(t.access.client_name.as_deref(), Some("billing"));
        assert_eq!(t.deadline, Some(Duration::from_millis(900)));
        assert!(t.starts_without);
        assert!(!target("localhost").starts_without);
    }

    #[test]
    fn ports_depend_on_what_is_asked() {
        assert_eq!(target("localhost").to_string(), "localhost:6379");
        let tls = target("h,ssl=True,sslHost=redis.internal");
        assert_eq!(tls.to_string(), "h:6380");
        assert_eq!(tls.access.tls.unwrap().server_name.as_deref(), Some("redis.internal"));
        assert_eq!(
            target("a,b,serviceName=mymaster").to_string(),
            "mymaster by sentinels a:26379,b:26379"
        );
        assert_eq!(target("a:1,b:2").to_string(), "a:1,b:2");
    }

    #[test]
    fn a_bad_string_names_the_part_and_never_the_password() {
        for (text, part) in [
            ("", "no endpoint"),
            ("password=hunter2", "no endpoint"),
            ("h,password=x,hunter2=y", "unknown"),
            ("h,password=x,hunter2 and more", "endpoint comes after"),
            ("h:1,password=x,hunter2", "endpoint comes after"),
            ("h,pasword=hunter2", "\"pasword\" is unknown"),
            ("h,ssl=maybe,password=hunter2", "ssl is neither"),
            ("h,defaultDatabase=one,password=hunter2", "defaultDatabase"),
            ("h:port,password=hunter2", "endpoint is not"),
            ("h,serviceName=,password=hunter2", "serviceName is empty"),
        ] {
            let error = Target::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(error.contains("expected a URL like redis://"), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
