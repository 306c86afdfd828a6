//! The cache's steps on Redis: one typed function a script.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use redis::{Cmd, Value};

use super::backend::{Backend, Invalidated, Lease, Token};
use super::replay::Replay;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::Key;
use crate::kernel::name::{Prefix, Tenancy};
use crate::kernel::pattern::{Found, Selection};
use crate::kernel::redis::{Call, Connection, Link, Rerun, Script, was_split};
use crate::kernel::ttl::Ttl;

/// How many keys a SCAN looks at, and how many invalidations travel together.
const BATCH: usize = 200;

pub(crate) struct RedisBackend {
    link: Link,
    replay: Arc<Replay>,
}

impl RedisBackend {
    pub(crate) fn new(link: Link, prefix: Prefix, tenancy: Tenancy) -> Self {
        let everything = Selection::Everything { prefix, tenancy };
        Self { link, replay: Arc::new(Replay::new(everything)) }
    }
}

impl RedisBackend {
    /// What the cache runs, on a key like this one: what its user must be permitted.
    pub(crate) fn commands(key: &str) -> Vec<String> {
        let on_keys = ["GET", "EXISTS", "UNLINK", "PTTL"].map(|command| format!("{command} {key}"));
        let others = [format!("SET {key} v"), format!("PEXPIRE {key} 1"), "SCAN 0".to_owned()];
        on_keys.into_iter().chain(others).collect()
    }
}

impl Backend for RedisBackend {
    async fn read(&self, key: &Key) -> Result<Option<Bytes>> {
        self.replay.permits(key)?;
        let mut get = Cmd::with_capacity(2, "GET".len() + key.as_str().len());
        get.arg("GET").arg(key.as_str());
        match self.link.call(get, key.as_str(), Rerun::Harmless).run().await {
            // Something else lives there: not an entry, and a lease will say so again.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(None),
            reply => reply,
        }
    }

    async fn lease(
        &self,
        key: &Key,
        unusable: Option<&[u8]>,
        token: Token,
        lease: Duration,
    ) -> Result<Lease> {
        self.replay.permits(key)?;
        let reply = scripts::lease(&self.link, key, unusable, token, lease).await?;
        lease_reply(reply).ok_or_else(|| Error::corrupt("unexpected reply to a lease"))
    }

    async fn fill(&self, key: &Key, token: Token, entry: Bytes, ttl: Ttl) -> Result<bool> {
        scripts::fill(&self.link, key, token, &entry, ttl).await
    }

    async fn renew(&self, key: &Key, token: Token, lease: Duration) -> Result<bool> {
        scripts::renew(&self.link, key, token, lease).await
    }

    async fn release(&self, key: &Key, token: Token) -> Result<()> {
        scripts::release(&self.link, key, token).await
    }

    async fn put(&self, key: &Key, entry: Bytes, ttl: Ttl) -> Result<()> {
        let waiting = self.replay.request_of(key);
        scripts::put(&self.link, key, &entry, ttl).await?;
        // What waited to be removed is overwritten: its replay would undo this write.
        if let Some(request) = waiting {
            self.replay.cross_off(key, request);
        }
        Ok(())
    }

    async fn invalidate(&self, key: &Key) -> Result<Invalidated> {
        match invalidate_on(&self.link, key.as_str(), &key.lease(), Pass::WhileClosed).await {
            Ok(_) => Ok(Invalidated::Done),
            Err(error) if !error.is_final() => {
                self.replay.keep(key);
                self.replay.run_when_up(&self.link);
                Ok(Invalidated::Queued)
            }
            Err(error) => Err(error),
        }
    }

    async fn invalidate_all(&self, of: &Selection) -> Result<u64> {
        invalidate_all_on(&self.link, of).await
    }

    fn is_local(&self) -> bool {
        false
    }
}

/// Makes up for an invalidation: it is sent even while calls are held back.
pub(super) async fn replay_on(link: &Link, key: &Key) -> Result<()> {
    invalidate_on(link, key.as_str(), &key.lease(), Pass::Always).await.map(|_| ())
}

/// What an open breaker does to an invalidation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    WhileClosed,
    Always,
}

impl Pass {
    fn of(self, call: Call<'_>) -> Call<'_> {
        match self {
            Self::WhileClosed => call,
            Self::Always => call.past_breaker(),
        }
    }
}

/// Whether the entry was there.
async fn invalidate_on(link: &Link, entry: &str, lease: &str, pass: Pass) -> Result<bool> {
    let together = pass.of(scripts::invalidate(link, entry, lease)).unless_split();
    match together.run().await {
        // Their slot is on the move, which may take long, or for ever. One after the other is safe
        // in this order: without its lease, no load under way brings the old value back.
        Err(error) if was_split(&error) => {
            for key in [lease, entry] {
                let mut unlink = redis::cmd("UNLINK");
                unlink.arg(key);
                let unlinked = pass.of(link.call(unlink, key, Rerun::Harmless)).run().await?;
                if key == entry {
                    return Ok(unlinked);
                }
            }
            Ok(false)
        }
        outcome => outcome,
    }
}

pub(super) async fn invalidate_all_on(link: &Link, selection: &Selection) -> Result<u64> {
    let mut removed = 0;
    for primary in link.primaries().await? {
        for glob in selection.globs() {
            removed += invalidate_found(link, &primary, selection, &glob).await?;
        }
    }
    Ok(removed)
}

async fn invalidate_found(
    link: &Link,
    primary: &Connection,
    selection: &Selection,
    glob: &str,
) -> Result<u64> {
    let (mut removed, mut cursor) = (0, 0);
    loop {
        let (next, keys) = scan(primary, cursor, glob).await?;
        let found: Vec<Found> = keys.iter().filter_map(|key| selection.found(key)).collect();
        let calls =
            found.iter().map(|(entry, lease)| invalidate_on(link, entry, lease, Pass::WhileClosed));
        let gone: Vec<bool> = try_join_all(calls).await?;
        removed += gone.into_iter().filter(|there| *there).count() as u64;
        cursor = next;
        if cursor == 0 {
            return Ok(removed);
        }
    }
}

async fn scan(connection: &Connection, cursor: u64, glob: &str) -> Result<(u64, Vec<String>)> {
    let mut scan = redis::cmd("SCAN");
    scan.arg(cursor).arg("MATCH").arg(glob).arg("COUNT").arg(BATCH);
    let (next, found): (u64, Vec<Bytes>) = connection.call(&scan).await?;
    // Sinew's keys are text; what is not, someone else wrote.
    let text = |key: Bytes| String::from_utf8(key.to_vec()).ok();
    Ok((next, found.into_iter().filter_map(text).collect()))
}

fn lease_reply(reply: Vec<Value>) -> Option<Lease> {
    let mut parts = reply.into_iter();
    let Value::BulkString(word) = parts.next()? else {
        return None;
    };
    match (word.as_slice(), parts.next(), parts.next()) {
        (b"entry", Some(Value::BulkString(bytes)), None) => Some(Lease::Entry(bytes.into())),
        (b"leased", None, None) => Some(Lease::Granted),
        (b"wait", Some(Value::Int(left_ms)), Some(Value::BulkString(holder))) => {
            Some(Lease::Held {
                left: Duration::from_millis(left_ms.try_into().ok()?),
                holder: Token::from_bytes(&holder),
            })
        }
        _ => None,
    }
}

/// One typed door per script.
mod scripts {
    use super::*;

    // A request that runs late could revive a lease that an invalidation had revoked.
    static LEASE: Script = Script::once(include_str!("scripts/lease.lua"));
    static FILL: Script = Script::rerunnable(include_str!("scripts/fill.lua"));
    static RENEW: Script = Script::rerunnable(include_str!("scripts/renew.lua"));
    static RELEASE: Script = Script::rerunnable(include_str!("scripts/release.lua"));
    // A second run would undo what was written since.
    static PUT: Script = Script::once(include_str!("scripts/put.lua"));
    static INVALIDATE: Script = Script::rerunnable(include_str!("scripts/invalidate.lua"));

    pub(super) async fn lease(
        link: &Link,
        key: &Key,
        unusable: Option<&[u8]>,
        token: Token,
        lease: Duration,
    ) -> Result<Vec<Value>> {
        let unusable = unusable.map_or_else(Vec::new, |nonce| [b"r", nonce].concat());
        link.script(&LEASE, &[key.as_str(), &key.lease()])
            .arg(unusable)
            .arg(&token.to_bytes()[..])
            .arg(millis(lease))
            .run()
            .await
    }

    pub(super) async fn fill(
        link: &Link,
        key: &Key,
        token: Token,
        entry: &[u8],
        ttl: Ttl,
    ) -> Result<bool> {
        link.script(&FILL, &[key.as_str(), &key.lease()])
            .arg(&token.to_bytes()[..])
            .arg(entry)
            .arg(ttl.as_millis())
            .run()
            .await
    }

    pub(super) async fn renew(
        link: &Link,
        key: &Key,
        token: Token,
        lease: Duration,
    ) -> Result<bool> {
        link.script(&RENEW, &[&key.lease()])
            .arg(&token.to_bytes()[..])
            .arg(millis(lease))
            .past_breaker()
            .run()
            .await
    }

    pub(super) async fn release(link: &Link, key: &Key, token: Token) -> Result<()> {
        let lease = key.lease();
        link.script(&RELEASE, &[&lease]).arg(&token.to_bytes()[..]).past_breaker().run().await
    }

    pub(super) async fn put(link: &Link, key: &Key, entry: &[u8], ttl: Ttl) -> Result<()> {
        link.script(&PUT, &[key.as_str(), &key.lease()]).arg(entry).arg(ttl.as_millis()).run().await
    }

    pub(super) fn invalidate<'a>(link: &'a Link, entry: &'a str, lease: &'a str) -> Call<'a> {
        link.script(&INVALIDATE, &[entry, lease])
    }

    fn millis(duration: Duration) -> u64 {
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
    }
}
