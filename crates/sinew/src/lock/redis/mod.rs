//! The steps on Redis.

mod scripts;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use redis::Value;
use tokio::task::AbortHandle;

use super::backend::Backend;
use super::model::{Answer, Ask, Fence, Look, Replicas, Token, Wake, millis};
use super::wakes::Wakes;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::{LockKeys, Scope};
use crate::kernel::name::Prefix;
use crate::kernel::redis::{Heard, Link, Subscription};
use crate::kernel::ttl::Ttl;

/// How many keys a SCAN looks at.
const BATCH: usize = 200;

pub(crate) struct RedisBackend {
    link: Link,
    /// What the channels of all processes begin with; its number follows.
    channel: String,
    wakes: Arc<Wakes>,
    /// Once someone waits.
    listening: OnceLock<AbortHandle>,
}

impl RedisBackend {
    pub(super) fn new(link: Link, prefix: &Prefix, wakes: Arc<Wakes>) -> Self {
        Self { link, channel: Scope::lock_channel(prefix), wakes, listening: OnceLock::new() }
    }

    /// Grants it on a connection of its own, on which the replicas are waited for.
    async fn acquire_replicated(
        &self,
        key: &LockKeys,
        ask: &Ask,
        replicas: Replicas,
    ) -> Result<Answer> {
        let connection = self.link.dedicate(key.holders()).await?;
        let eval = scripts::acquire_whole(key, ask, &self.channel);
        let (connection, reply) = connection.call(&eval, Duration::ZERO).await?;
        let answer = answer(reply)?;
        if let Answer::NotNow { .. } = answer {
            return Ok(answer);
        }
        let Replicas { count, within } = replicas;
        let mut wait = redis::cmd("WAIT");
        wait.arg(count).arg(millis(within));
        let (_, have_it): (_, u32) = connection.call(&wait, within).await?;
        match have_it >= count {
            true => Ok(answer),
            false => Err(Error::new(
                ErrorKind::Unavailable { maybe_applied: true },
                format!("{have_it} replicas had the lock within {within:?}: expected {count}"),
            )),
        }
    }
}

impl Drop for RedisBackend {
    fn drop(&mut self) {
        if let Some(listening) = self.listening.get() {
            listening.abort();
        }
    }
}

impl Backend for RedisBackend {
    async fn acquire(&self, key: &LockKeys, ask: &Ask) -> Result<Answer> {
        match ask.replicas {
            None => answer(scripts::acquire(&self.link, key, ask, &self.channel).await?),
            Some(replicas) => self.acquire_replicated(key, ask, replicas).await,
        }
    }

    async fn extend(&self, key: &LockKeys, token: Token, ttl: Ttl) -> Result<bool> {
        scripts::extend(&self.link, key, token, ttl).await
    }

    async fn release(&self, key: &LockKeys, token: Token) -> Result<bool> {
        scripts::release(&self.link, key, token, &self.channel).await
    }

    async fn force_release(&self, key: &LockKeys) -> Result<u64> {
        scripts::force_release(&self.link, key, &self.channel).await
    }

    async fn look(&self, key: &LockKeys, holders_max: usize) -> Result<Look> {
        let (fence, holding, waiting, some) = scripts::look(&self.link, key, holders_max).await?;
        let holders = some.chunks(2).filter_map(holder).collect();
        Ok(Look { fence: fence.parse().unwrap_or(0), holding, waiting, holders })
    }

    async fn names(&self, scope: &Scope, names_max: usize) -> Result<Vec<String>> {
        let (mut names, glob) = (BTreeSet::new(), scope.lock_glob());
        for primary in self.link.primaries().await? {
            let mut cursor = 0;
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(&glob).arg("COUNT").arg(BATCH);
                let (next, keys): (u64, Vec<Bytes>) = primary.call(&scan).await?;
                let keys = keys.iter().filter_map(|key| std::str::from_utf8(key).ok());
                names.extend(keys.filter_map(|key| scope.lock_named(key)));
                cursor = next;
                if cursor == 0 || names.len() >= names_max {
                    break;
                }
            }
        }
        Ok(names.into_iter().take(names_max).collect())
    }

    /// One subscription a process, to a channel that is its own: a message goes to one process, and
    /// wakes one waiter. It is made at the first wait, and stays.
    fn listen(&self) {
        self.listening.get_or_init(|| {
            let channel = format!("{}{:016x}", self.channel, self.wakes.process);
            let heard = self.link.subscribe(&channel);
            tokio::spawn(listen(heard, Arc::downgrade(&self.wakes))).abort_handle()
        });
    }
}

async fn listen(mut heard: Subscription, wakes: Weak<Wakes>) {
    while let Some(heard) = heard.next().await {
        let Some(wakes) = wakes.upgrade() else { return };
        match heard {
            // For the first time, or again: what was published before may have been missed.
            Heard::Subscribed => wakes.wake_all(),
            Heard::Message(message) => match wake(&message) {
                Some(wake) => wakes.wake(wake),
                None => tracing::debug!("a wake-up that is none of ours"),
            },
        }
    }
}

/// `TOKEN MILLISECONDS`.
fn wake(message: &[u8]) -> Option<Wake> {
    let (token, after_ms) = std::str::from_utf8(message).ok()?.split_once(' ')?;
    let after = Duration::from_millis(after_ms.parse().ok()?);
    Some(Wake { token: Token::parse(token)?, after })
}

fn answer(reply: Vec<Value>) -> Result<Answer> {
    read_answer(reply).ok_or_else(|| Error::corrupt("unexpected reply to a request for a lock"))
}

fn read_answer(reply: Vec<Value>) -> Option<Answer> {
    let mut parts = reply.into_iter();
    match (parts.next()?, parts.next()?, parts.next()) {
        (Value::Int(1), fence, None) => Some(Answer::Granted { fence: Fence(number(&fence)?) }),
        (Value::Int(0), Value::Int(again_in_ms), Some(arrival)) => Some(Answer::NotNow {
            again_in: Duration::from_millis(again_in_ms.try_into().ok()?),
            arrival: number(&arrival),
        }),
        _ => None,
    }
}

fn holder(pair: &[Value]) -> Option<(Token, Duration)> {
    match pair {
        [Value::BulkString(token), Value::Int(left_ms)] => {
            let token = Token::parse(std::str::from_utf8(token).ok()?)?;
            Some((token, Duration::from_millis(u64::try_from(*left_ms).ok()?)))
        }
        _ => None,
    }
}

/// As text: a number of Lua's may be too great for its own integers.
fn number(text: &Value) -> Option<u64> {
    match text {
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}
