//! Where a cache is.

use clap::Args;
use sinew::Sinew;

use crate::cache::rules::Rules;
use crate::cache::{Documents, WrittenKey, documents};
use crate::cli::Outcome;
pub(super) use crate::cli::place::AtHub;
pub(super) use crate::cli::whose::Whose;

pub(super) type Place = crate::cli::place::Place<Box<InRedis>>;

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

/// A cache in Redis itself.
pub(super) struct InRedis {
    pub(super) cache: Documents,
    pub(super) rules: Rules,
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
        Ok((place(&self.whose, &self.cache).await?, key))
    }
}

pub(super) async fn place(whose: &Whose, cache: &str) -> Result<Place, Outcome> {
    Sinew::check_cache_name(cache).map_err(|e| Outcome::of(&e))?;
    whose
        .place(&["v1", "cache", cache], |sinew, config| {
            let settings = config.caches.of(cache);
            let rules = Rules::new(&whose.scope_of(&config.open_empty()?)?, cache, settings)?;
            Ok(Box::new(InRedis { cache: documents(sinew, cache, settings)?, rules }))
        })
        .await
}
