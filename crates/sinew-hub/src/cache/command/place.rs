//! Where a command works: on Redis itself, or through a hub.

use std::fmt;
use std::net::SocketAddr;

use clap::Args;
use sinew::{Sinew, Tenancy, Tenant};

use crate::cache::rules::Rules;
use crate::cache::{Documents, WrittenKey, documents};
use crate::cli::request::Request;
use crate::cli::{Outcome, configured};
use crate::config::{Config, Flags, StoreSetting};

/// Whose entries, and where.
#[derive(Args)]
pub struct Whose {
    /// Whose entries
    #[arg(long)]
    pub(super) tenant: Option<String>,
    #[command(flatten)]
    flags: Flags,
}

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
        let config = configured(&self.flags)?;
        refuse_idle(&self.flags, &config.store)?;
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
        let scope_of = |sinew: &Sinew| match &self.tenant {
            Some(tenant) => sinew.tenant(tenant),
            None => Ok(sinew.clone()),
        };
        let opened = async {
            let (sinew, settings) = (config.open()?, config.caches.of(cache));
            let rules = Rules::new(&scope_of(&config.open_empty()?)?, cache, settings)?;
            let cache = documents(&scope_of(&sinew)?, cache, settings)?;
            sinew.until_up().await?;
            let address = sinew.store();
            Ok(Place::Redis(Box::new(InRedis { cache, rules, address })))
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

/// Refuses a flag that has no effect where the command works.
fn refuse_idle(flags: &Flags, store: &StoreSetting) -> Result<(), Outcome> {
    let (idle, why) = match store {
        StoreSetting::Redis(_) => (
            flags.listen.is_some().then_some("--listen"),
            "names a hub, and the store is Redis itself: expected one of them; --store embedded asks the hub",
        ),
        StoreSetting::Embedded => {
            let prefix = flags.prefix.is_some().then_some("--prefix");
            (
                prefix.or(flags.tenancy.is_some().then_some("--tenancy")),
                "a hub is asked, which has its own: expected it beside --store redis://… only",
            )
        }
    };
    match idle {
        Some(flag) => Err(Outcome::BadInput(format!("{flag}: {why}"))),
        None => Ok(()),
    }
}
