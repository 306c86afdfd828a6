//! Where a command works: on Redis itself, or through a hub.

use std::fmt;
use std::net::SocketAddr;

use sinew::Sinew;

use super::Outcome;
use super::request::Request;
use super::whose::Whose;
use crate::config::{Config, StoreSetting};

/// Where what a command is about is kept.
pub(crate) enum Place<R> {
    /// In Redis itself, and where that is: never a password.
    Redis(R, String),
    Hub(AtHub),
}

/// A capability of a hub.
pub(crate) struct AtHub {
    address: SocketAddr,
    tenant: Option<String>,
    root: Vec<String>,
}

impl<R> fmt::Display for Place<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis(_, address) => f.write_str(address),
            Self::Hub(hub) => write!(f, "the hub at {}", hub.address),
        }
    }
}

impl AtHub {
    /// A request for a path below the capability's own.
    pub(crate) fn request(&self, path: &[&str]) -> Result<Request, Outcome> {
        let root: Vec<&str> = self.root.iter().map(String::as_str).collect();
        let path = [&root[..], path].concat();
        Ok(Request { tenant: self.tenant.clone(), ..Request::to(self.address, &path)? })
    }
}

impl Whose {
    /// On Redis, what `open` makes of the store as the tenant sees it, once there is a connection; at a
    /// hub, the capability whose paths begin with `root`.
    pub(crate) async fn place<R>(
        &self,
        root: &[&str],
        open: impl FnOnce(&Sinew, &Config) -> sinew::Result<R>,
    ) -> Result<Place<R>, Outcome> {
        let config = self.configured()?;
        match config.store {
            StoreSetting::Redis(_) => {
                self.in_redis(&config, open).await.map_err(|e| Outcome::of(&e))
            }
            StoreSetting::Embedded => Ok(Place::Hub(AtHub {
                address: config.listen,
                tenant: self.tenant.clone(),
                root: root.iter().map(|part| (*part).to_owned()).collect(),
            })),
        }
    }

    async fn in_redis<R>(
        &self,
        config: &Config,
        open: impl FnOnce(&Sinew, &Config) -> sinew::Result<R>,
    ) -> sinew::Result<Place<R>> {
        let sinew = config.open()?;
        let opened = open(&self.scope_of(&sinew)?, config)?;
        sinew.until_up().await?;
        Ok(Place::Redis(opened, sinew.store()))
    }
}
