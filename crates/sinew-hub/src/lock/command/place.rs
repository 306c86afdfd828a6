//! Where a command works: on Redis itself, or through a hub.

use std::fmt;
use std::net::SocketAddr;

use sinew::Locks;

use crate::cli::Outcome;
use crate::cli::request::Request;
use crate::cli::whose::Whose;
use crate::config::{Config, StoreSetting};

/// Where locks are.
pub(super) enum Place {
    Redis(InRedis),
    Hub(AtHub),
}

/// Locks in Redis itself.
pub(super) struct InRedis {
    pub(super) locks: Locks,
    /// Never a password.
    address: String,
}

/// Locks of a hub.
pub(super) struct AtHub {
    address: SocketAddr,
    tenant: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis(redis) => f.write_str(&redis.address),
            Self::Hub(hub) => write!(f, "the hub at {}", hub.address),
        }
    }
}

impl AtHub {
    /// A request for a path below that of all locks.
    pub(super) fn request(&self, path: &[&str]) -> Result<Request, Outcome> {
        let path = [&["v1", "locks"], path].concat();
        Ok(Request { tenant: self.tenant.clone(), ..Request::to(self.address, &path)? })
    }
}

pub(super) async fn place(whose: &Whose) -> Result<Place, Outcome> {
    let config = whose.configured()?;
    match config.store {
        StoreSetting::Redis(_) => in_redis(whose, &config).await.map(Place::Redis),
        StoreSetting::Embedded => {
            Ok(Place::Hub(AtHub { address: config.listen, tenant: whose.tenant.clone() }))
        }
    }
}

/// Where a process can hold a lock itself.
pub(super) async fn redis(whose: &Whose) -> Result<InRedis, Outcome> {
    let config = whose.configured()?;
    match config.store {
        StoreSetting::Redis(_) => in_redis(whose, &config).await,
        StoreSetting::Embedded => Err(Outcome::BadInput(
            "a command runs under a lock that the fleet shares: expected --store redis://…, SINEW_STORE, or a file that names it with --config"
                .to_owned(),
        )),
    }
}

async fn in_redis(whose: &Whose, config: &Config) -> Result<InRedis, Outcome> {
    let opened = async {
        let sinew = config.open()?;
        let locks = whose.scope_of(&sinew)?.locks();
        sinew.until_up().await?;
        Ok(InRedis { locks, address: sinew.store() })
    };
    opened.await.map_err(|e: sinew::Error| Outcome::of(&e))
}
