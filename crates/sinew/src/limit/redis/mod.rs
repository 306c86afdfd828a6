//! The limits' steps on Redis.

mod scripts;

use std::time::Duration;

use super::algorithm::{Demand, Mode, Receipt, Rule};
use super::backend::{Backend, Place, Reply, Token};
use crate::kernel::error::Result;
use crate::kernel::key::{Key, Scope};
use crate::kernel::name::Prefix;
use crate::kernel::redis::{Link, Rerun};

#[cfg(test)]
pub(crate) use scripts::{check_at, settle_at};

pub(crate) struct RedisBackend {
    link: Link,
    /// Where processes say that they live.
    processes: String,
}

impl RedisBackend {
    pub(crate) fn new(link: Link, prefix: &Prefix) -> Self {
        Self { link, processes: Scope::limit_processes(prefix) }
    }
}

impl Backend for RedisBackend {
    async fn check(&self, demands: &[(&Key, Demand)], mode: Mode) -> Result<Reply> {
        scripts::check_at(&self.link, demands, mode, None).await
    }

    async fn settle(&self, key: &Key, rule: Rule, receipt: &Receipt, actual: u64) -> Result<()> {
        scripts::settle_at(&self.link, key, rule, receipt, actual, None).await
    }

    async fn reset(&self, key: &Key) -> Result<()> {
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(key.as_str());
        // A second run would forget what was charged since.
        self.link.call(unlink, key.as_str(), Rerun::Harmful).run::<u64>().await.map(|_| ())
    }

    async fn acquire(
        &self,
        key: &Key,
        token: Token,
        places: u64,
        lease: Duration,
    ) -> Result<Place> {
        scripts::acquire(&self.link, key, token, places, lease).await
    }

    async fn renew(&self, key: &Key, token: Token, lease: Duration) -> Result<bool> {
        scripts::renew(&self.link, key, token, lease).await
    }

    async fn release(&self, key: &Key, token: Token) -> Result<()> {
        let mut remove = redis::cmd("ZREM");
        remove.arg(key.as_str()).arg(&token.to_bytes()[..]);
        let remove = self.link.call(remove, key.as_str(), Rerun::Harmless);
        remove.past_breaker().run::<u64>().await.map(|_| ())
    }

    async fn beat(&self, process: Token) -> Result<u64> {
        scripts::heartbeat(&self.link, &self.processes, process).await
    }

    fn is_local(&self) -> bool {
        false
    }

    fn together(&self, key: &Key) -> u16 {
        self.link.together(key.as_str())
    }
}
