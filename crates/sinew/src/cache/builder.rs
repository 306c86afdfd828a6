//! The settings of a cache.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Cache;
use super::engine::{Engine, Shared};
use super::local::{Local, Root};
use super::model::{self, Freshness, Policy};
use super::outage::Outage;
#[cfg(feature = "compression")]
use crate::kernel::codec::Compression;
#[cfg(feature = "encryption")]
use crate::kernel::codec::Keyring;
use crate::kernel::codec::{Codec, Format};
use crate::kernel::error::{Error, Result};
use crate::kernel::key::{CacheKey, Scope};
use crate::kernel::name::Space;
use crate::kernel::ttl::Ttl;

/// The settings of a cache being put together; see [`crate::Sinew::cache`].
#[derive(Clone)]
#[must_use = "a cache is made by build()"]
pub struct CacheBuilder {
    engine: Arc<Engine>,
    scope: Scope,
    name: String,
    ttl: Duration,
    jitter: f64,
    freshness: Freshness,
    soft_timeout: Option<Duration>,
    hard_timeout: Option<Duration>,
    absent_ttl: Option<Duration>,
    tagged: bool,
    local: Local,
    outage: Outage,
    format: Format,
    #[cfg(feature = "compression")]
    compression: Option<Compression>,
    #[cfg(feature = "encryption")]
    keyring: Option<Keyring>,
}

impl CacheBuilder {
    pub(crate) fn new(engine: Arc<Engine>, scope: Scope, name: &str) -> Self {
        Self {
            engine,
            scope,
            name: name.to_owned(),
            ttl: model::TTL_DEFAULT,
            jitter: model::JITTER_DEFAULT,
            freshness: Freshness::default(),
            soft_timeout: None,
            hard_timeout: None,
            absent_ttl: None,
            tagged: false,
            local: Local::none(),
            outage: Outage::default(),
            format: Format::default(),
            #[cfg(feature = "compression")]
            compression: None,
            #[cfg(feature = "encryption")]
            keyring: None,
        }
    }

    /// How long an entry is fresh at most: 1 ms to 10 years. Five minutes unless said.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// By which share of its TTL, 0 to 1, an entry may die early, so that entries written
    /// together do not die together. 0.1 unless said.
    pub fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// After which share of its life, 0 to 1, an entry that is asked for is loaded anew in the
    /// background, once in the fleet, while everyone is served what is there. Never unless said.
    pub fn refresh_ahead(mut self, share: f64) -> Self {
        self.freshness.refresh_ahead = Some(share);
        self
    }

    /// Refreshes entries early at random, the earlier the longer their load takes: XFetch with this
    /// beta, of which 1 is the usual one. Never unless said.
    pub fn early_refresh(mut self, beta: f64) -> Self {
        self.freshness.early = Some(beta);
        self
    }

    /// For how long after its TTL an entry is still served, while it is loaded anew in the
    /// background. Not at all unless said. What was invalidated or expired is not served.
    pub fn stale_while_revalidate(mut self, time: Duration) -> Self {
        self.freshness.stale_while_revalidate = time;
        self
    }

    /// For how long after its TTL an entry is served where its load fails or takes too long. Not at
    /// all unless said. What was invalidated is not served; what was [expired](Cache::expire) is.
    pub fn stale_if_error(mut self, time: Duration) -> Self {
        self.freshness.stale_if_error = time;
        self
    }

    /// How long a caller waits for a load before it is given a stale value, where there is one. The
    /// load goes on, and fills the cache. For ever unless said.
    pub fn soft_timeout(mut self, time: Duration) -> Self {
        self.soft_timeout = Some(time);
        self
    }

    /// How long a caller waits for a load at all before
    /// [`LoadError::TimedOut`](crate::LoadError::TimedOut). The load goes on, and fills the cache.
    /// For ever unless said.
    pub fn hard_timeout(mut self, time: Duration) -> Self {
        self.hard_timeout = Some(time);
        self
    }

    /// For how long [`Cache::get_or_find`] remembers that the source has no such thing: 1 ms to 10
    /// years. Not at all unless said.
    pub fn absent_ttl(mut self, ttl: Duration) -> Self {
        self.absent_ttl = Some(ttl);
        self
    }

    /// Entries can have tags, and [`Cache::clear`] is one step. All processes that use the cache
    /// have to say so. It costs a look at the cache's tags with each hit, which this process
    /// mostly knows without asking.
    pub fn tagged(mut self) -> Self {
        self.tagged = true;
        self
    }

    /// Whether entries are also kept in this process. [`Local::none`] unless said. The first cache
    /// of a name says how much all of them may keep. On the embedded store everything is in this
    /// process anyway.
    pub fn local(mut self, local: Local) -> Self {
        self.local = local;
        self
    }

    /// What look-ups and loads do while Redis does not answer. [`Outage::Source`] unless said.
    pub fn on_outage(mut self, outage: Outage) -> Self {
        self.outage = outage;
        self
    }

    /// How values are written. [`Format::Json`] unless said. What is read says itself how it was
    /// written, so a change of format needs no clearing; but for [`Format::PlainJson`], which has
    /// no room to say so.
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Compresses values. Not unless said.
    #[cfg(feature = "compression")]
    pub fn compress(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }

    /// Encrypts values, and takes none that is not encrypted. Not unless said.
    #[cfg(feature = "encryption")]
    pub fn encrypt(mut self, keyring: Keyring) -> Self {
        self.keyring = Some(keyring);
        self
    }

    /// Makes the cache.
    ///
    /// # Errors
    /// `Rejected` for a name or setting out of bounds, or for settings that exclude each other.
    pub fn build<K: CacheKey + ?Sized, V>(self) -> Result<Cache<K, V>>
    where
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        self.check()?;
        let codec = self.codec()?;
        let policy = Policy {
            space: Space::new(&self.name)?,
            ttl: Ttl::new(self.ttl)?,
            jitter: self.jitter,
            freshness: self.freshness,
            soft_timeout: self.soft_timeout,
            hard_timeout: self.hard_timeout,
            absent_ttl: self.absent_ttl.map(Ttl::new).transpose()?,
            tagged: self.tagged,
            outage: self.outage.check()?,
        };
        let local = self.local.check()?;
        if self.tagged {
            // Tags are looked at with every hit: told of changes, this process need not ask.
            self.engine.begin_coherence();
        }
        let shared = Shared {
            recorder: self.engine.recorder(&self.name),
            level: self.engine.level(&self.name, local),
            tags_key: self.scope.tags(&policy.space),
            engine: self.engine,
            root: Root::new(self.scope.root(&policy.space)),
            scope: self.scope,
            policy,
            codec,
            local,
        };
        Ok(Cache { shared: Arc::new(shared), check: None, types: PhantomData })
    }

    fn check(&self) -> Result<()> {
        let share = |what: &str, share: f64| match (0.0..=1.0).contains(&share) {
            true => Ok(()),
            false => Err(Error::rejected(format!(
                "{what} of {share} is out of bounds: expected a share from 0 to 1"
            ))),
        };
        share("a jitter", self.jitter)?;
        share("a refresh_ahead", self.freshness.refresh_ahead.unwrap_or(1.0))?;
        let beta = self.freshness.early.unwrap_or(1.0);
        if !(0.0..=100.0).contains(&beta) {
            return Err(Error::rejected(format!(
                "an early_refresh of {beta} is out of bounds: expected a beta from 0 to 100"
            )));
        }
        if self.soft_timeout.is_some() && self.freshness.stale_if_error.is_zero() {
            return Err(Error::rejected(
                "a soft_timeout serves what stale_if_error keeps: expected that too",
            ));
        }
        if self.hard_timeout.is_some_and(|time| time < Ttl::MIN.duration()) {
            return Err(Error::rejected("a hard_timeout below 1 ms is out of bounds"));
        }
        for (what, time) in [
            ("stale_while_revalidate", self.freshness.stale_while_revalidate),
            ("stale_if_error", self.freshness.stale_if_error),
            ("soft_timeout", self.soft_timeout.unwrap_or_default()),
            ("hard_timeout", self.hard_timeout.unwrap_or_default()),
        ] {
            if time > Ttl::MAX.duration() {
                return Err(Error::rejected(format!(
                    "a {what} of {time:?} is out of bounds: expected at most 10 years"
                )));
            }
        }
        let needs_envelope = self.tagged
            || self.absent_ttl.is_some()
            || self.local.is_wanted()
            || self.freshness != Freshness::default();
        if self.format == Format::PlainJson && needs_envelope {
            return Err(Error::rejected(
                "Format::PlainJson stores the JSON alone: it has no room for what tags, absent_ttl, refreshing, stale values and a local level need",
            ));
        }
        Ok(())
    }

    fn codec(&self) -> Result<Codec> {
        let codec = Codec::new(self.format, self.engine.value_len_max);
        #[cfg(feature = "compression")]
        let codec = match &self.compression {
            Some(compression) => codec.with_compression(*compression),
            None => codec,
        };
        #[cfg(feature = "encryption")]
        let codec = match &self.keyring {
            Some(keyring) => codec.with_keyring(keyring.clone()),
            None => codec,
        };
        codec.check()
    }
}
