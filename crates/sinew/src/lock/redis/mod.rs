//! The steps on Redis.

mod scripts;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use redis::Value;
use tokio::task::AbortHandle;

use super::backend::Backend;
use super::model::{Answer, Ask, Fence, Kind, Look, Replicas, Token, Wake, millis};
use super::wakes::Wakes;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::{LockKeys, Scope};
use crate::kernel::name::Prefix;
use crate::kernel::redis::{At, Heard, Link, Subscription};
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
        let reply = scripts::acquire(&self.link, key, ask, &self.channel).await?;
        read_answer(&reply)
            .ok_or_else(|| Error::corrupt("unexpected reply to a request for a lock"))
    }

    /// On a connection of its own. Redis waits for what was written on the same connection, so the
    /// grant is prolonged there. It was made on the one that all share: a release is behind it, and a
    /// prolongation that comes after the release finds no one.
    async fn replicate(&self, key: &LockKeys, ask: &Ask) -> Result<()> {
        let Some(Replicas { count, within }) = ask.replicas else { return Ok(()) };
        let connection = self.link.dedicate(key.holders()).await?;
        // By one millisecond: what changes nothing is written to no replica.
        let extend = scripts::extend_whole(key, ask.token, ask.ttl.as_millis() + 1);
        let (connection, is_held): (_, bool) = connection.call(&extend, Duration::ZERO).await?;
        if !is_held {
            return Err(unreplicated("the lock was lost before any replica had it".to_owned()));
        }
        let mut wait = redis::cmd("WAIT");
        wait.arg(count).arg(millis(within));
        let (_, have_it): (_, u32) = connection.call(&wait, within).await?;
        match have_it >= count {
            true => Ok(()),
            false => Err(unreplicated(format!(
                "{have_it} replicas had the lock within {within:?}: expected {count}"
            ))),
        }
    }

    async fn extend(&self, key: &LockKeys, token: Token, ttl: Ttl) -> Result<bool> {
        scripts::extend(&self.link, key, token, ttl).await
    }

    async fn leave(&self, key: &LockKeys, token: Token) -> Result<bool> {
        scripts::release(&self.link, key, token, &self.channel).await
    }

    /// Mostly, one holds alone and nobody waits: then it is removed, and that is all. The script finds
    /// what was not there to be removed.
    async fn release(&self, key: &LockKeys, token: Token) -> Result<bool> {
        if token.kind == Kind::Alone && scripts::remove(&self.link, key, token).await? {
            return Ok(true);
        }
        self.leave(key, token).await
    }

    async fn force_release(&self, key: &LockKeys) -> Result<u64> {
        scripts::force_release(&self.link, key, &self.channel).await
    }

    async fn look(&self, key: &LockKeys, holders_max: usize) -> Result<Look> {
        let (now_us, fence, holding, waiting, some) =
            scripts::look(&self.link, key, holders_max).await?;
        let holders = some.chunks(2).filter_map(holder).collect();
        Ok(Look { now_us, fence: fence.parse().unwrap_or(0), holding, waiting, holders })
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
            let heard = self.link.subscribe(&channel, At::AnyNode);
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

fn unreplicated(context: String) -> Error {
    Error::new(ErrorKind::Unavailable { maybe_applied: true }, context)
}

/// The fence; or when to ask again, and the arrival of one that waits.
fn read_answer(reply: &Value) -> Option<Answer> {
    let number = |value: &Value| match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    };
    let (again_in_ms, arrival) = match reply {
        Value::Array(parts) => match parts.as_slice() {
            [again_in] => (number(again_in)?, None),
            [again_in, arrival] => (number(again_in)?, Some(number(arrival)?)),
            _ => return None,
        },
        fence => return Some(Answer::Granted { fence: Fence(number(fence)?) }),
    };
    Some(Answer::NotNow { again_in: Duration::from_millis(again_in_ms), arrival })
}

fn holder(pair: &[Value]) -> Option<(Token, Duration)> {
    match pair {
        [Value::BulkString(token), Value::Int(left_ms)] => {
            // As it is called while someone waits, or not.
            let token = Token::parse(std::str::from_utf8(token).ok()?.trim_end_matches('!'))?;
            Some((token, Duration::from_millis(u64::try_from(*left_ms).ok()?)))
        }
        _ => None,
    }
}
