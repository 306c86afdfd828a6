//! Where webhooks are kept.

// Without Redis, nothing is waited for.
#![cfg_attr(not(feature = "redis"), allow(clippy::unused_async))]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{TENANTS_MAX, WEBHOOKS_MAX};
use crate::kernel::error::Result;
use crate::kernel::expected::Expected;
use crate::kernel::key::Scope;
use crate::kernel::name::Prefix;
#[cfg(feature = "redis")]
use crate::kernel::redis::Link;
#[cfg(feature = "redis")]
use crate::stream::{model::millis, redis::webhooks};

/// After so long without a failure, one that fails has not failed all the time: it was not tried. An endpoint may ask for
/// an hour between two tries.
const FAILING_LAPSE: Duration = Duration::from_secs(2 * 3_600);
/// What is noted where there is no tenant.
const NO_TENANT: &str = "_";

/// A change of one webhook.
pub(crate) struct Change<'a> {
    pub(crate) name: &'a str,
    pub(crate) expected: Expected,
    /// `None` removes it.
    pub(crate) text: Option<&'a str>,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    Done {
        revision: u64,
        was_there: bool,
    },
    /// This revision is there instead; 0 where there is none.
    Conflict(u64),
    /// There are as many as there may be.
    Full,
}

/// What webhooks are of. Those of topics and those of queues know nothing of each other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of {
    Topics,
    Queues,
}

impl Of {
    /// Where those of a scope are defined.
    fn key(self, scope: &Scope) -> String {
        match self {
            Self::Topics => scope.stream_webhooks(),
            Self::Queues => scope.job_webhooks(),
        }
    }

    /// What that ends with.
    fn ending(self) -> &'static str {
        match self {
            Self::Topics => "stream:webhooks",
            Self::Queues => "job:webhooks",
        }
    }

    #[cfg(feature = "redis")]
    fn tenants(self) -> &'static str {
        match self {
            Self::Topics => "stream-webhook-tenants",
            Self::Queues => "job-webhook-tenants",
        }
    }
}

/// The webhooks of a deployment.
pub(crate) struct Store {
    of: Of,
    prefix: Prefix,
    place: Place,
}

enum Place {
    Memory(Mutex<Memory>),
    #[cfg(feature = "redis")]
    Redis {
        link: Link,
        tenants: String,
    },
}

#[derive(Default)]
struct Memory {
    tenants: BTreeSet<String>,
    /// By the key that they would have in Redis.
    webhooks: BTreeMap<String, BTreeMap<String, (u64, String)>>,
    /// Since when some of them fail, and when they last did, by that key and by name.
    failing: BTreeMap<(String, String), (Instant, Instant)>,
    last: u64,
}

impl Store {
    /// Of this process.
    pub(crate) fn embedded(of: Of, prefix: &Prefix) -> Self {
        Self { of, prefix: prefix.clone(), place: Place::Memory(Mutex::default()) }
    }

    /// Of all who are connected to this Redis.
    #[cfg(feature = "redis")]
    pub(crate) fn on_redis(of: Of, link: Link, prefix: &Prefix) -> Self {
        let tenants = format!("{}_:{}", prefix.as_str(), of.tenants());
        Self { of, prefix: prefix.clone(), place: Place::Redis { link, tenants } }
    }

    /// Which tenants have webhooks; `None` is what belongs to no tenant.
    pub(crate) async fn tenants(&self) -> Result<Vec<Option<String>>> {
        let noted: Vec<String> = match &self.place {
            Place::Memory(memory) => memory.lock().tenants.iter().cloned().collect(),
            #[cfg(feature = "redis")]
            Place::Redis { link, tenants } => webhooks::tenants(link, tenants, TENANTS_MAX).await?,
        };
        let tenants = noted.into_iter().map(|tenant| (tenant != NO_TENANT).then_some(tenant));
        Ok(tenants.collect())
    }

    /// False: there are too many.
    pub(crate) async fn note_tenant(&self, scope: &Scope) -> Result<bool> {
        let tenant = self.tenant_of(&self.of.key(scope));
        match &self.place {
            Place::Memory(memory) => {
                let tenants = &mut memory.lock().tenants;
                let has_room = tenants.len() < TENANTS_MAX || tenants.contains(&tenant);
                if has_room {
                    tenants.insert(tenant);
                }
                Ok(has_room)
            }
            #[cfg(feature = "redis")]
            Place::Redis { link, tenants } => {
                webhooks::note_tenant(link, tenants, &tenant, TENANTS_MAX).await
            }
        }
    }

    /// A tenant that has no webhook any more leaves its place to another.
    pub(crate) async fn forget_tenant(&self, scope: &Scope) -> Result<()> {
        let tenant = self.tenant_of(&self.of.key(scope));
        match &self.place {
            Place::Memory(memory) => {
                memory.lock().tenants.remove(&tenant);
                Ok(())
            }
            #[cfg(feature = "redis")]
            Place::Redis { link, tenants } => webhooks::forget_tenant(link, tenants, &tenant).await,
        }
    }

    /// For how long a webhook has failed: for no time, if it did not before, or not of late.
    pub(crate) async fn note_failing(&self, key: &str, name: &str) -> Result<Duration> {
        match &self.place {
            Place::Memory(memory) => {
                let whose = (key.to_owned(), name.to_owned());
                let (now, mut memory) = (Instant::now(), memory.lock());
                let (since, last) = memory.failing.entry(whose).or_insert((now, now));
                if now.saturating_duration_since(*last) > FAILING_LAPSE {
                    *since = now;
                }
                *last = now;
                Ok(now.saturating_duration_since(*since))
            }
            #[cfg(feature = "redis")]
            Place::Redis { link, .. } => {
                let failing_ms = webhooks::note_failing(link, key, name, millis(FAILING_LAPSE));
                Ok(Duration::from_millis(failing_ms.await?))
            }
        }
    }

    /// It fails no more.
    pub(crate) async fn forget_failing(&self, key: &str, name: &str) -> Result<()> {
        match &self.place {
            Place::Memory(memory) => {
                memory.lock().failing.remove(&(key.to_owned(), name.to_owned()));
                Ok(())
            }
            #[cfg(feature = "redis")]
            Place::Redis { link, .. } => webhooks::forget_failing(link, key, name).await,
        }
    }

    /// A tenant by the key of its webhooks: without one, that is what belongs to none.
    fn tenant_of(&self, key: &str) -> String {
        let scope = key.strip_suffix(self.of.ending()).unwrap_or(key);
        let tenant = scope.strip_prefix(self.prefix.as_str()).unwrap_or(scope);
        match tenant.strip_suffix(':').unwrap_or(tenant) {
            "" => NO_TENANT.to_owned(),
            tenant => tenant.to_owned(),
        }
    }

    /// A revision, a space and the text.
    pub(crate) async fn get(&self, key: &str, name: &str) -> Result<Option<Bytes>> {
        match &self.place {
            Place::Memory(memory) => {
                let memory = memory.lock();
                let found = memory.webhooks.get(key).and_then(|webhooks| webhooks.get(name));
                Ok(found.map(row))
            }
            #[cfg(feature = "redis")]
            Place::Redis { link, .. } => webhooks::get(link, key, name).await,
        }
    }

    pub(crate) async fn all(&self, key: &str) -> Result<Vec<(String, Bytes)>> {
        match &self.place {
            Place::Memory(memory) => {
                let memory = memory.lock();
                let webhooks = memory.webhooks.get(key).into_iter().flatten();
                Ok(webhooks.map(|(name, found)| (name.clone(), row(found))).collect())
            }
            #[cfg(feature = "redis")]
            Place::Redis { link, .. } => webhooks::all(link, key).await,
        }
    }

    pub(crate) async fn put(&self, key: &str, change: &Change<'_>) -> Result<Changed> {
        match &self.place {
            Place::Memory(memory) => Ok(memory.lock().put(key, change)),
            #[cfg(feature = "redis")]
            Place::Redis { link, .. } => webhooks::put(link, key, change, WEBHOOKS_MAX).await,
        }
    }
}

impl Memory {
    fn put(&mut self, key: &str, change: &Change<'_>) -> Changed {
        let webhooks = self.webhooks.entry(key.to_owned()).or_default();
        let found = webhooks.get(change.name).map_or(0, |(revision, _)| *revision);
        let was_there = found > 0;
        if change.expected.revision().is_some_and(|expected| expected != found) {
            return Changed::Conflict(found);
        }
        let Some(text) = change.text else {
            webhooks.remove(change.name);
            let revision = if was_there { self.last + 1 } else { 0 };
            self.last = self.last.max(revision);
            return Changed::Done { revision, was_there };
        };
        if !was_there && webhooks.len() >= WEBHOOKS_MAX {
            return Changed::Full;
        }
        self.last += 1;
        webhooks.insert(change.name.to_owned(), (self.last, text.to_owned()));
        Changed::Done { revision: self.last, was_there }
    }
}

fn row((revision, text): &(u64, String)) -> Bytes {
    format!("{revision} {text}").into()
}
