//! Where a command works: on Redis itself, or through a hub.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use sinew::{Sinew, Status};

use super::Outcome;
use super::request::{Bearer, Request};
use super::whose::Whose;
use crate::config::{Config, StoreSetting};

/// A first attempt to connect that takes longer counts as one that failed.
const CONNECTING_MAX: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(10);

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
    bearer: Bearer,
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
        let request = Request::to(self.address, &path)?.by(&self.bearer)?;
        Ok(Request { tenant: self.tenant.clone(), ..request })
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
        let (place, sinew) = self.opened(root, open)?;
        if let Some(sinew) = sinew {
            sinew.until_up().await.map_err(|e| Outcome::of(&e))?;
        }
        Ok(place)
    }

    /// The same, also where Redis does not answer: for what knows what to do then.
    pub(crate) async fn place_up_or_down<R>(
        &self,
        root: &[&str],
        open: impl FnOnce(&Sinew, &Config) -> sinew::Result<R>,
    ) -> Result<Place<R>, Outcome> {
        let (place, sinew) = self.opened(root, open)?;
        if let Some(sinew) = sinew {
            until_known(&sinew).await.map_err(|e| Outcome::of(&e))?;
        }
        Ok(place)
    }

    /// Without waiting for the store, which is told, too, where it is Redis.
    fn opened<R>(
        &self,
        root: &[&str],
        open: impl FnOnce(&Sinew, &Config) -> sinew::Result<R>,
    ) -> Result<(Place<R>, Option<Sinew>), Outcome> {
        let config = self.configured()?;
        match config.store {
            StoreSetting::Redis(_) => self.in_redis(&config, open).map_err(|e| Outcome::of(&e)),
            StoreSetting::Embedded => {
                let hub = AtHub {
                    address: config.listen,
                    tenant: self.tenant.clone(),
                    bearer: self.bearer.clone(),
                    root: root.iter().map(|part| (*part).to_owned()).collect(),
                };
                Ok((Place::Hub(hub), None))
            }
        }
    }

    fn in_redis<R>(
        &self,
        config: &Config,
        open: impl FnOnce(&Sinew, &Config) -> sinew::Result<R>,
    ) -> sinew::Result<(Place<R>, Option<Sinew>)> {
        let sinew = config.open()?;
        let opened = open(&self.scope_of(&sinew)?, config)?;
        Ok((Place::Redis(opened, sinew.store()), Some(sinew)))
    }
}

/// Waits for the end of the first attempt to connect, not for one that succeeds: a connection that takes
/// its time is no outage.
///
/// # Errors
/// Where Redis answers, and will not do.
async fn until_known(sinew: &Sinew) -> sinew::Result<()> {
    let known = async {
        loop {
            match sinew.status() {
                Status::Connecting => tokio::time::sleep(LOOK_EVERY).await,
                Status::Failed(error) => return Err(error),
                _ => return Ok(()),
            }
        }
    };
    tokio::time::timeout(CONNECTING_MAX, known).await.unwrap_or(Ok(()))
}
