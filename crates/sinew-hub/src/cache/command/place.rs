//! Where a command works: on Redis itself, or through a hub.

use std::fmt;
use std::net::SocketAddr;

use clap::Args;
use sinew::Sinew;

use crate::cache::rules::Rules;
use crate::cache::{Documents, WrittenKey, documents};
use crate::cli::Outcome;
use crate::cli::request::Request;
pub(super) use crate::cli::whose::Whose;
use crate::config::{Config, StoreSetting};

/// Which entry, and where.
#[derive(Args)]
pub struct Entry {
    /// Name of the cache
    cache: String,
    /// Segments between colons, like 456:payments:list; a colon in one is %3A
    key: String,
    #[command(flatten)]
    whose: Whose,
}

/// Where a cache is.
pub(super) enum Place {
    Redis(Box<InRedis>),
    Hub(AtHub),
}

/// A cache in Redis itself.
pub(super) struct InRedis {
    pub(super) cache: Documents,
    pub(super) rules: Rules,
    /// Never a password.
    address: String,
}

/// A cache of a hub.
pub(super) struct AtHub {
    address: SocketAddr,
    cache: String,
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
    /// A request for a path below the cache's own.
    pub(super) fn request(&self, path: &[&str]) -> Result<Request, Outcome> {
        let path = [&["v1", "cache", &self.cache], path].concat();
        Ok(Request { tenant: self.tenant.clone(), ..Request::to(self.address, &path)? })
    }
}

impl InRedis {
    /// # Errors
    /// `BadInput` with what to change in the configuration.
    pub(super) fn must_be_tagged(&self) -> Result<(), Outcome> {
        self.rules.must_be_tagged().map_err(Outcome::BadInput)
    }
}

impl Entry {
    /// Where it is, and its key.
    pub(super) async fn place(&self) -> Result<(Place, WrittenKey), Outcome> {
        // Names first: a connection is dear.
        let key = WrittenKey::new(&self.key).map_err(Outcome::BadInput)?;
        Ok((self.whose.place(&self.cache).await?, key))
    }
}

impl Whose {
    pub(super) async fn place(&self, cache: &str) -> Result<Place, Outcome> {
        let config = self.configured()?;
        Sinew::check_cache_name(cache).map_err(|e| Outcome::of(&e))?;
        match config.store {
            StoreSetting::Redis(_) => self.in_redis(cache, &config).await,
            StoreSetting::Embedded => Ok(Place::Hub(AtHub {
                address: config.listen,
                cache: cache.to_owned(),
                tenant: self.tenant.clone(),
            })),
        }
    }

    async fn in_redis(&self, cache: &str, config: &Config) -> Result<Place, Outcome> {
        let opened = async {
            let (sinew, settings) = (config.open()?, config.caches.of(cache));
            let rules = Rules::new(&self.scope_of(&config.open_empty()?)?, cache, settings)?;
            let cache = documents(&self.scope_of(&sinew)?, cache, settings)?;
            sinew.until_up().await?;
            let address = sinew.store();
            Ok(Place::Redis(Box::new(InRedis { cache, rules, address })))
        };
        opened.await.map_err(|e: sinew::Error| Outcome::of(&e))
    }
}
