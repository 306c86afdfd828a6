//! The flags' steps on Redis.

mod scripts;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{try_join, try_join_all};

use super::backend::{Backend, Noted, Plain, PlainKeys, Stored, Watching, Write};
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::{FlagKeys, PlainFlags};
use crate::kernel::redis::{Link, Rerun};

/// How many keys a SCAN looks at.
const BATCH: usize = 500;
/// No value of a plain key is longer; of one that is, so much shows it.
const VALUE_LEN_MAX: usize = 8;

pub(crate) struct RedisBackend {
    link: Link,
}

impl RedisBackend {
    pub(crate) fn new(link: Link) -> Self {
        Self { link }
    }
}

impl Backend for RedisBackend {
    async fn document(&self, keys: &FlagKeys) -> Result<Option<Stored>> {
        let mut get = redis::cmd("HMGET");
        get.arg(keys.document()).arg("version").arg("body");
        let get = self.link.call(get, keys.document(), Rerun::Harmless);
        let (version, body): (Option<Bytes>, Option<Bytes>) = get.run().await.map_err(not_ours)?;
        match (version, body) {
            (None, None) => Ok(None),
            (Some(version), Some(body)) => Ok(Some(Stored { version: number(&version)?, body })),
            _ => Err(Error::corrupt("half of the flags is missing: expected a version and a body")),
        }
    }

    async fn version(&self, keys: &FlagKeys) -> Result<Option<u64>> {
        let mut get = redis::cmd("HGET");
        get.arg(keys.document()).arg("version");
        let get = self.link.call(get, keys.document(), Rerun::Harmless);
        let version: Option<Bytes> = get.run().await.map_err(not_ours)?;
        version.map(|version| number(&version)).transpose()
    }

    async fn now_ms(&self, keys: &FlagKeys) -> Result<u64> {
        let time = self.link.call(redis::cmd("TIME"), keys.document(), Rerun::Harmless);
        let (seconds, micros): (u64, u64) = time.run().await?;
        Ok(seconds.saturating_mul(1_000).saturating_add(micros / 1_000))
    }

    async fn write(&self, keys: &FlagKeys, write: &Write<'_>) -> Result<bool> {
        scripts::write(&self.link, keys, write).await.map_err(not_ours)
    }

    async fn changes(
        &self,
        keys: &FlagKeys,
        before: Option<&str>,
        count: usize,
    ) -> Result<Vec<Noted>> {
        let mut newest = redis::cmd("XREVRANGE");
        newest.arg(keys.changes());
        match before {
            Some(id) => newest.arg(format!("({id}")),
            None => newest.arg("+"),
        };
        newest.arg("-").arg("COUNT").arg(count);
        let newest = self.link.call(newest, keys.changes(), Rerun::Harmless);
        let entries: Vec<(String, Vec<Bytes>)> = newest.run().await.map_err(not_ours)?;
        Ok(entries.into_iter().map(noted).collect())
    }

    async fn change(&self, keys: &FlagKeys, id: &str) -> Result<Option<Noted>> {
        let mut one = redis::cmd("XRANGE");
        one.arg(keys.changes()).arg(id).arg(id);
        let one = self.link.call(one, keys.changes(), Rerun::Harmless);
        let entries: Vec<(String, Vec<Bytes>)> = one.run().await.map_err(not_ours)?;
        Ok(entries.into_iter().next().map(noted))
    }

    async fn plain(&self, key: &str) -> Result<Option<Plain>> {
        // Whatever is there may be of any length. Where nothing is, the time to live says so.
        let mut get = redis::cmd("GETRANGE");
        get.arg(key).arg(0).arg(VALUE_LEN_MAX);
        let mut ttl = redis::cmd("PTTL");
        ttl.arg(key);
        let get = self.link.call(get, key, Rerun::Harmless);
        let ttl = self.link.call(ttl, key, Rerun::Harmless);
        let (value, left_ms): (Bytes, i64) = match try_join(get.run(), ttl.run()).await {
            // Of another type: no value of a plain key.
            Err(error) if error.kind() == ErrorKind::Conflict => (Bytes::new(), -1),
            read => read?,
        };
        let left = u64::try_from(left_ms).ok().map(Duration::from_millis);
        Ok((left_ms != -2).then_some(Plain { value, left }))
    }

    async fn plain_keys(&self, plain: &PlainFlags, keys_max: usize) -> Result<PlainKeys> {
        let glob = format!("{}*", escaped(plain.prefix()));
        let mut found = PlainKeys { by_key: BTreeMap::new(), is_cut: false };
        for primary in &self.link.primaries().await? {
            let mut cursor = 0_u64;
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(&glob).arg("COUNT").arg(BATCH);
                let (next, keys): (u64, Vec<Bytes>) = primary.call(&scan).await?;
                // The keys of flags are text; what is not, someone else wrote.
                let keys = keys.iter().filter_map(|key| String::from_utf8(key.to_vec()).ok());
                // Whatever else begins so takes no plain key's place.
                let keys: Vec<String> = keys.filter(|key| plain.parts(key).is_some()).collect();
                let read = keys.into_iter().map(|key| async move {
                    let plain = self.plain(&key).await?;
                    Ok::<_, Error>((key, plain))
                });
                for (key, plain) in try_join_all(read).await? {
                    found.by_key.extend(plain.map(|plain| (key, plain)));
                }
                if found.by_key.len() >= keys_max {
                    found.is_cut = true;
                    return Ok(found);
                }
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok(found)
    }

    fn watch(&self, prefix: &str) -> Watching {
        Watching::Redis(self.link.watch(prefix))
    }

    fn is_local(&self) -> bool {
        false
    }

    fn deadline(&self) -> Duration {
        self.link.deadline()
    }
}

fn number(text: &[u8]) -> Result<u64> {
    let number: Option<u64> = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    // The script compares it as text, and 0 says that there is none.
    let is_ours = |number: &u64| *number > 0 && number.to_string().as_bytes() == text;
    number.filter(is_ours).ok_or_else(|| {
        Error::corrupt("the version of the flags is none: expected a whole number from 1 on")
    })
}

fn noted((id, fields): (String, Vec<Bytes>)) -> Noted {
    // A name, a value, and so on.
    let text = match fields.as_slice() {
        [name, text, ..] if &**name == b"change" => text.clone(),
        _ => Bytes::new(),
    };
    Noted { id, text }
}

/// As a pattern that it alone fits.
fn escaped(prefix: &str) -> String {
    let mut escaped = String::with_capacity(prefix.len());
    for c in prefix.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// What is there is of another type. To a caller, a conflict is another revision, and nothing else.
fn not_ours(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Conflict => {
            Error::corrupt("what is kept as the flags is not Sinew's").with_source(error)
        }
        _ => error,
    }
}
