//! The limits' steps on Redis.

mod gather;
mod scripts;

use std::time::Duration;

use bytes::Bytes;

use super::algorithm::{Demand, Mode, Receipt, Rule};
use super::backend::{Backend, Place, Reply, Token};
use super::definitions::{Edit, Edited, Rows};
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::{Key, Scope};
use crate::kernel::name::Prefix;
use crate::kernel::redis::{Gathering, Link, Rerun};

#[cfg(test)]
pub(crate) use scripts::{check_at, settle_at};

pub(crate) struct RedisBackend {
    link: Link,
    gathering: Gathering<gather::Request>,
    /// Where processes say that they live.
    processes: String,
    /// Where limits are defined, and who has done so.
    definitions: String,
    changes: String,
}

impl RedisBackend {
    pub(crate) fn new(link: Link, prefix: &Prefix) -> Self {
        let [definitions, changes] = Scope::limit_definitions(prefix);
        let gathering = Gathering::new(link.clone());
        Self { link, gathering, processes: Scope::limit_processes(prefix), definitions, changes }
    }
}

impl Backend for RedisBackend {
    async fn check(&self, demands: &[(&Key, Demand)], mode: Mode) -> Result<Reply> {
        // In a cluster, two requests are seldom of one slot.
        match mode {
            Mode::Charge if !self.link.is_cluster() => {
                gather::charge(&self.link, &self.gathering, demands).await
            }
            _ => scripts::check_at(&self.link, demands, mode, None).await,
        }
    }

    async fn settle(&self, key: &Key, rule: Rule, receipt: &Receipt, actual: u64) -> Result<()> {
        scripts::settle_at(&self.link, key, rule, receipt, actual, None).await
    }

    async fn reset(&self, key: &Key) -> Result<bool> {
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(key.as_str());
        // A second run would forget what was charged since.
        self.link.call(unlink, key.as_str(), Rerun::Harmful).run::<u64>().await.map(|keys| keys > 0)
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

    async fn definitions(&self) -> Result<Rows> {
        let mut all = redis::cmd("HGETALL");
        all.arg(&self.definitions);
        let all = self.link.call(all, &self.definitions, Rerun::Harmless);
        all.run().await.map_err(not_ours)
    }

    async fn define(&self, edit: &Edit<'_>) -> Result<Edited> {
        let keys = [self.definitions.as_str(), &self.changes];
        scripts::define(&self.link, keys, edit).await.map_err(not_ours)
    }

    async fn changes(&self, count: usize) -> Result<Vec<Bytes>> {
        let Some(last) = count.checked_sub(1) else { return Ok(Vec::new()) };
        let mut newest = redis::cmd("LRANGE");
        newest.arg(&self.changes).arg(0).arg(last);
        let newest = self.link.call(newest, &self.changes, Rerun::Harmless);
        newest.run().await.map_err(not_ours)
    }

    fn is_local(&self) -> bool {
        false
    }

    fn deadline(&self) -> Duration {
        self.link.deadline()
    }

    fn together(&self, key: &Key) -> u16 {
        self.link.together(key.as_str())
    }
}

/// What is there is of another type. To a caller, a conflict is another revision, and nothing else.
fn not_ours(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Conflict => {
            Error::corrupt("what is kept as the definitions of limits is not Sinew's")
                .with_source(error)
        }
        _ => error,
    }
}
