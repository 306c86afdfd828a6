//! Where a command works: on Redis itself, or through a hub.

use std::net::SocketAddr;

use clap::Args;
use sinew::{Sinew, Tenancy, Tenant};

use crate::cache::settings::CacheSettings;
use crate::cache::{Documents, WrittenKey, documents};
use crate::cli::request::Request;
use crate::cli::{Outcome, configured};
use crate::config::{Config, Flags, StoreSetting};

/// Whose entries, and where.
#[derive(Args)]
pub struct Whose {
    /// Whose entries
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    flags: Flags,
}

/// Which entry, and where.
#[derive(Args)]
pub struct Entry {
    /// Name of the cache
    pub(super) cache: String,
    /// Segments between colons, like 456:payments:list
    pub(super) key: String,
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
    pub(super) settings: CacheSettings,
    /// Never a password.
    pub(super) address: String,
}

/// A cache of a hub.
pub(super) struct AtHub {
    pub(super) address: SocketAddr,
    cache: String,
    tenant: Option<String>,
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
        self.settings.must_be_tagged(self.cache.name()).map_err(Outcome::BadInput)
    }
}

impl Entry {
    pub(super) fn written(&self) -> WrittenKey {
        WrittenKey(self.key.clone())
    }

    pub(super) async fn place(&self) -> Result<Place, Outcome> {
        // Names first: a URL would swallow some, and a connection is dear.
        if ["", ".", ".."].contains(&self.key.as_str()) {
            return Err(Outcome::BadInput(format!(
                "invalid key {:?}: expected segments between colons, like 456:payments:list",
                self.key
            )));
        }
        self.whose.place(&self.cache).await
    }
}

impl Whose {
    pub(super) async fn place(&self, cache: &str) -> Result<Place, Outcome> {
        let config = configured(&self.flags)?;
        Sinew::check_cache_name(cache).map_err(|e| Outcome::of(&e))?;
        if self.tenant.is_some() && config.tenancy() == Tenancy::Single {
            return Err(Outcome::BadInput(
                "--tenant: this deployment is single-tenant: expected no tenant".to_owned(),
            ));
        }
        if let Some(tenant) = &self.tenant {
            Tenant::new(tenant).map_err(|e| Outcome::of(&e))?;
        }
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
            let sinew = config.open()?;
            let scope = match &self.tenant {
                Some(tenant) => sinew.tenant(tenant)?,
                None => sinew.clone(),
            };
            let settings = config.caches.of(cache).clone();
            let cache = documents(&scope, cache, &settings)?;
            sinew.until_up().await?;
            let address = sinew.store();
            Ok(Place::Redis(Box::new(InRedis { cache, settings, address })))
        };
        opened.await.map_err(|e| Outcome::of(&e))
    }

    /// In words, to be put after the name of a cache.
    pub(super) fn shown(&self) -> String {
        match &self.tenant {
            Some(tenant) => format!(" of tenant {tenant:?}"),
            // A tenant's are another's.
            None => " of no tenant".to_owned(),
        }
    }
}
