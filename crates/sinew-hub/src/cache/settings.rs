//! How caches are kept.

use std::collections::BTreeMap;

use sinew::{Compression, Format, Keyring, Local, Sinew, Ttl};

use super::Documents;

/// How one cache is kept. What is about loading is not here: a hub never loads.
#[derive(Clone, Debug)]
pub struct CacheSettings {
    /// How long an entry lives that names no TTL.
    pub ttl: Ttl,
    /// Whether entries can have tags.
    pub tagged: bool,
    /// What this process keeps of it.
    pub local: Local,
    /// How values are written.
    pub format: Format,
    /// How they are made smaller, if they are.
    pub compression: Option<Compression>,
    /// What they are encrypted with, if they are.
    pub keyring: Option<Keyring>,
}

impl CacheSettings {
    /// What holds for a cache of which nothing but the TTL was said.
    #[must_use]
    pub fn of(ttl: Ttl) -> Self {
        Self {
            ttl,
            tagged: false,
            local: Local::none(),
            format: Format::default(),
            compression: None,
            keyring: None,
        }
    }

    /// # Errors
    /// What to change so that the cache can have tags.
    pub(crate) fn must_be_tagged(&self, cache: &str) -> Result<(), String> {
        match self.tagged {
            true => Ok(()),
            false => Err(format!(
                "cache {cache:?} has no tags: expected tagged = true under [caches.{cache:?}] in the configuration"
            )),
        }
    }
}

/// The settings of all caches, named by the configuration or not.
#[derive(Clone, Debug)]
pub struct CacheTable {
    unnamed: CacheSettings,
    named: BTreeMap<String, CacheSettings>,
}

impl CacheTable {
    pub(crate) fn new(unnamed: CacheSettings, named: BTreeMap<String, CacheSettings>) -> Self {
        Self { unnamed, named }
    }

    /// How a cache of this name is kept.
    #[must_use]
    pub fn of(&self, cache: &str) -> &CacheSettings {
        self.named.get(cache).unwrap_or(&self.unnamed)
    }

    /// The caches that the configuration names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(String::as_str)
    }
}

/// # Errors
/// `Rejected` for a name that no cache may have.
pub(crate) fn documents(
    scope: &Sinew,
    cache: &str,
    settings: &CacheSettings,
) -> sinew::Result<Documents> {
    let mut builder = scope
        .cache(cache)
        .ttl(settings.ttl.duration())
        .local(settings.local)
        .format(settings.format);
    if settings.tagged {
        builder = builder.tagged();
    }
    if let Some(compression) = settings.compression {
        builder = builder.compress(compression);
    }
    if let Some(keyring) = &settings.keyring {
        builder = builder.encrypt(keyring.clone());
    }
    builder.build()
}
