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
use crate::kernel::redis::{Connection, Link, Script};
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

impl Backend for RedisBackend {
    async fn read(&self, key: &Key) -> Result<Option<Bytes>> {
        self.replay.permits(key)?;
        let mut get = Cmd::with_capacity(2, "GET".len() + key.as_str().len());
        get.arg("GET").arg(key.as_str());
        match self.link.connection()?.call(&get).await {
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
        let reply = scripts::lease(&*self.link.connection()?, key, unusable, token, lease).await?;
        lease_reply(reply).ok_or_else(|| Error::corrupt("unexpected reply to a lease"))
    }

    async fn fill(&self, key: &Key, token: Token, entry: Bytes, ttl: Ttl) -> Result<bool> {
        scripts::fill(&*self.link.connection()?, key, token, &entry, ttl).await
    }

    async fn renew(&self, key: &Key, token: Token, lease: Duration) -> Result<bool> {
        scripts::renew(&*self.link.connection()?, key, token, lease).await
    }

    async fn release(&self, key: &Key, token: Token) -> Result<()> {
        scripts::release(&*self.link.connection()?, key, token).await
    }

    async fn put(&self, key: &Key, entry: Bytes, ttl: Ttl) -> Result<()> {
        scripts::put(&*self.link.connection()?, key, &entry, ttl).await
    }

    async fn invalidate(&self, key: &Key) -> Result<Invalidated> {
        let sent =
            async { invalidate_on(&*self.link.connection()?, key.as_str(), &key.lease()).await };
        match sent.await {
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
        invalidate_all_on(&*self.link.connection()?, of).await
    }

    fn is_local(&self) -> bool {
        false
    }
}

pub(super) async fn invalidate_on(
    connection: &Connection,
    entry: &str,
    lease: &str,
) -> Result<bool> {
    scripts::invalidate(connection, entry, lease).await
}

pub(super) async fn invalidate_all_on(
    connection: &Connection,
    selection: &Selection,
) -> Result<u64> {
    let mut removed = 0;
    for glob in selection.globs() {
        let mut cursor = 0;
        loop {
            let (next, keys) = scan(connection, cursor, &glob).await?;
            let found: Vec<Found> = keys.iter().filter_map(|key| selection.found(key)).collect();
            let calls = found.iter().map(|(entry, lease)| invalidate_on(connection, entry, lease));
            let gone = try_join_all(calls).await?;
            removed += gone.into_iter().filter(|there| *there).count() as u64;
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    Ok(removed)
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

    static LEASE: Script = Script::new(include_str!("scripts/lease.lua"));
    static FILL: Script = Script::new(include_str!("scripts/fill.lua"));
    static RENEW: Script = Script::new(include_str!("scripts/renew.lua"));
    static RELEASE: Script = Script::new(include_str!("scripts/release.lua"));
    static PUT: Script = Script::new(include_str!("scripts/put.lua"));
    static INVALIDATE: Script = Script::new(include_str!("scripts/invalidate.lua"));

    pub(super) async fn lease(
        connection: &Connection,
        key: &Key,
        unusable: Option<&[u8]>,
        token: Token,
        lease: Duration,
    ) -> Result<Vec<Value>> {
        let unusable = unusable.map_or_else(Vec::new, |nonce| [b"r", nonce].concat());
        connection
            .script(&LEASE, &[key.as_str(), &key.lease()])
            .arg(unusable)
            .arg(&token.to_bytes()[..])
            .arg(millis(lease))
            .run()
            .await
    }

    pub(super) async fn fill(
        connection: &Connection,
        key: &Key,
        token: Token,
        entry: &[u8],
        ttl: Ttl,
    ) -> Result<bool> {
        connection
            .script(&FILL, &[key.as_str(), &key.lease()])
            .arg(&token.to_bytes()[..])
            .arg(entry)
            .arg(ttl.as_millis())
            .run()
            .await
    }

    pub(super) async fn renew(
        connection: &Connection,
        key: &Key,
        token: Token,
        lease: Duration,
    ) -> Result<bool> {
        connection
            .script(&RENEW, &[&key.lease()])
            .arg(&token.to_bytes()[..])
            .arg(millis(lease))
            .run()
            .await
    }

    pub(super) async fn release(connection: &Connection, key: &Key, token: Token) -> Result<()> {
        connection.script(&RELEASE, &[&key.lease()]).arg(&token.to_bytes()[..]).run().await
    }

    pub(super) async fn put(
        connection: &Connection,
        key: &Key,
        entry: &[u8],
        ttl: Ttl,
    ) -> Result<()> {
        connection
            .script(&PUT, &[key.as_str(), &key.lease()])
            .arg(entry)
            .arg(ttl.as_millis())
            .run()
            .await
    }

    pub(super) async fn invalidate(
        connection: &Connection,
        entry: &str,
        lease: &str,
    ) -> Result<bool> {
        connection.script(&INVALIDATE, &[entry, lease]).run().await
    }

    fn millis(duration: Duration) -> u64 {
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
    }
}
