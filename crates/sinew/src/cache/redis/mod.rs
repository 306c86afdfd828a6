//! The cache's steps on Redis.

mod scripts;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join_all, try_join, try_join_all};
use redis::{Cmd, Value};
use tokio::sync::watch;

use crate::cache::backend::{Backend, Invalidated, Lease, Read, Token};
use crate::cache::replay::{Owed, Recipient, Replay};
use crate::cache::tags::{TagNumbers, Tide};
use crate::kernel::coherence::{Coherence, Note};
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::{Key, TagsKey};
use crate::kernel::name::{Prefix, Tenancy};
use crate::kernel::pattern::{Found, Selection};
use crate::kernel::redis::{Call, Connection, Link, Rerun, WeakLink, was_split};
use crate::kernel::status::Status;
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
        let replay = Arc::new(Replay::new(everything));
        replay.repeat_after_successions(&link);
        Self { link, replay }
    }
}

impl RedisBackend {
    /// What the cache runs, on a key like this one: what its user must be permitted.
    pub(crate) fn commands(key: &str) -> Vec<String> {
        let on_keys = ["GET", "MGET", "EXISTS", "UNLINK", "PTTL", "STRLEN"];
        let with_more = [("SET", "v"), ("SETRANGE", "0 v"), ("PEXPIRE", "1"), ("INCRBY", "1")];
        let of_tags = [
            ("HEXISTS", "f"),
            ("HGET", "f"),
            ("HMGET", "f"),
            ("HSET", "f v"),
            ("HINCRBY", "f 1"),
            ("HDEL", "f"),
            ("HRANDFIELD", "4"),
        ];
        let on_keys = on_keys.map(|command| format!("{command} {key}"));
        let with_more = with_more.into_iter().chain(of_tags);
        let with_more = with_more.map(|(command, rest)| format!("{command} {key} {rest}"));
        on_keys.into_iter().chain(with_more).chain(["SCAN 0", "TIME"].map(str::to_owned)).collect()
    }
}

impl Backend for RedisBackend {
    async fn read(&self, key: &Key, coherence: Option<&Coherence>) -> Result<Read> {
        self.replay.permits(key)?;
        let mut get = Cmd::with_capacity(2, "GET".len() + key.as_str().len());
        get.arg("GET").arg(key.as_str());
        let get = self.link.call(get, key.as_str(), Rerun::Harmless);
        let read = match coherence {
            None => get.run().await.map(|entry| Read { entry, note: None }),
            Some(coherence) => {
                let read = get.run_noted(coherence).await;
                read.map(|(entry, note)| Read { entry, note })
            }
        };
        match read {
            // Something else lives there: not an entry, and a lease will say so again.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(Read::default()),
            read => read,
        }
    }

    async fn read_many(&self, keys: &[Key], coherence: Option<&Coherence>) -> Vec<Result<Read>> {
        // One command for the keys that a node may be asked for together.
        let mut groups: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (at, key) in keys.iter().enumerate() {
            groups.entry(self.link.together(key.as_str())).or_default().push(at);
        }
        let batches = groups.values().flat_map(|group| group.chunks(BATCH));
        let asked = join_all(batches.map(|batch| async move {
            let named: Vec<&Key> = batch.iter().map(|at| &keys[*at]).collect();
            (batch, self.read_together(&named, coherence).await)
        }));
        let mut reads: Vec<Result<Read>> = keys.iter().map(|_| Ok(Read::default())).collect();
        for (batch, answers) in asked.await {
            for (at, answer) in batch.iter().zip(answers) {
                reads[*at] = answer;
            }
        }
        reads
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

    async fn vacate(&self, key: &Key, token: Token) -> Result<bool> {
        scripts::vacate(&self.link, key, token).await
    }

    async fn renew(&self, key: &Key, token: Token, lease: Duration) -> Result<bool> {
        scripts::renew(&self.link, key, token, lease).await
    }

    async fn release(&self, key: &Key, token: Token) -> Result<()> {
        scripts::release(&self.link, key, token).await
    }

    async fn put(&self, key: &Key, entry: Bytes, ttl: Ttl) -> Result<()> {
        let waiting = self.replay.before_write();
        scripts::put(&self.link, key, &entry, ttl).await?;
        // What waited to be removed is overwritten: its replay would undo this write.
        self.replay.overwritten(key, waiting);
        Ok(())
    }

    async fn put_versioned(&self, key: &Key, entry: Bytes, ttl: Ttl, version: u64) -> Result<bool> {
        let waiting = self.replay.before_write();
        let stored = scripts::put_versioned(&self.link, key, &entry, ttl, version).await?;
        if stored {
            self.replay.overwritten(key, waiting);
        }
        Ok(stored)
    }

    async fn invalidate(&self, key: &Key) -> Result<Invalidated> {
        self.make_or_owe(Owed::Entry(key.clone())).await
    }

    async fn expire(&self, key: &Key) -> Result<Invalidated> {
        self.make_or_owe(Owed::Expiry(key.clone())).await
    }

    async fn tags(
        &self,
        key: &TagsKey,
        tags: &[Box<str>],
        coherence: Option<&Coherence>,
    ) -> Result<(Option<TagNumbers>, Option<Note>)> {
        let mut ask = redis::cmd("HMGET");
        ask.arg(key.as_str()).arg("gen").arg("n");
        for tag in tags {
            ask.arg(field_of(tag));
        }
        let ask = self.link.call(ask, key.as_str(), Rerun::Harmless);
        let (fields, note): (Result<Vec<Option<Bytes>>>, _) = match coherence {
            None => (ask.run().await, None),
            Some(coherence) => match ask.run_noted(coherence).await {
                Ok((fields, note)) => (Ok(fields), note),
                Err(error) => (Err(error), None),
            },
        };
        match fields {
            Ok(fields) => Ok((numbers_of(&fields), note)),
            // Something else lives there: no tags.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok((None, None)),
            Err(error) => Err(error),
        }
    }

    async fn begin_tags(&self, key: &TagsKey, ttl: Ttl) -> Result<()> {
        scripts::begin_tags(&self.link, key, ttl).await
    }

    async fn invalidate_tag(
        &self,
        key: &TagsKey,
        tag: Option<&str>,
        ttl: Ttl,
    ) -> Result<Invalidated> {
        let (key, tag) = (key.clone(), tag.map(Box::from));
        self.make_or_owe(Owed::Tag { key, tag, ttl }).await
    }

    async fn look(&self, key: &Key) -> Result<(Option<Bytes>, Option<Duration>)> {
        let mut ttl = redis::cmd("PTTL");
        ttl.arg(key.as_str());
        let ttl = self.link.call(ttl, key.as_str(), Rerun::Harmless);
        let (read, left_ms) = try_join(self.read(key, None), ttl.run::<i64>()).await?;
        Ok((read.entry, u64::try_from(left_ms).ok().map(Duration::from_millis)))
    }

    async fn sizes(&self, of: &Selection, keys_max: usize) -> Result<Vec<(String, u64)>> {
        let primaries = self.link.primaries().await?;
        let scans_max = (keys_max / primaries.len().max(1) / BATCH).max(1);
        let (mut sizes, [_, glob]) = (Vec::new(), of.globs());
        for primary in &primaries {
            let mut cursor = 0;
            for _ in 0..scans_max {
                let (next, keys) = scan(primary, cursor, &glob).await?;
                let sized = keys.into_iter().map(|key| async move {
                    let bytes = primary.call(redis::cmd("STRLEN").arg(&key)).await;
                    (key, bytes)
                });
                for (key, bytes) in join_all(sized).await {
                    // What is no string is no entry.
                    sizes.extend(bytes.ok().map(|bytes| (key, bytes)));
                }
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok(sizes)
    }

    async fn count(&self, counter: &Key) -> Result<i64> {
        let mut get = redis::cmd("GET");
        get.arg(counter.as_str());
        let count: Option<i64> =
            self.link.call(get, counter.as_str(), Rerun::Harmless).run().await?;
        Ok(count.unwrap_or(0))
    }

    async fn add(&self, counter: &Key, by: i64, ttl: Ttl) -> Result<i64> {
        scripts::add(&self.link, counter, by, ttl).await
    }

    async fn invalidate_all(&self, of: &Selection) -> Result<u64> {
        invalidate_all_on(&self.link, of).await
    }

    fn is_local(&self) -> bool {
        false
    }

    fn track(&self, coherence: &Arc<Coherence>) {
        self.link.track(coherence);
    }

    fn note(&self, key: &str, coherence: &Coherence) -> Option<Note> {
        self.link.note(key, coherence)
    }

    fn forget(&self) {
        self.link.forget();
    }

    fn permits_tags(&self, key: &TagsKey) -> Result<()> {
        self.replay.permits_tags(key)
    }
}

impl RedisBackend {
    async fn make_or_owe(&self, owed: Owed) -> Result<Invalidated> {
        match make(&self.link, &owed, Pass::WhileClosed).await {
            Ok(()) => {
                self.replay.made(&owed);
                Ok(Invalidated::Done)
            }
            Err(error) if !error.is_final() => {
                self.replay.keep(owed);
                self.replay.run_when_up(&self.link);
                Ok(Invalidated::Queued)
            }
            Err(error) => Err(error),
        }
    }

    /// Each key's own answer, of keys that one command may name.
    async fn read_together(
        &self,
        keys: &[&Key],
        coherence: Option<&Coherence>,
    ) -> Vec<Result<Read>> {
        let names: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
        let Some((first, others)) = names.split_first() else { return Vec::new() };
        let mut get = redis::cmd("MGET");
        get.arg(&names);
        let get = self.link.call(get, first, Rerun::Harmless).unless_split();
        let answer: Result<(Vec<Option<Bytes>>, Vec<Note>)> = match coherence {
            None => get.run().await.map(|entries| (entries, Vec::new())),
            Some(coherence) => get.run_noted_all(coherence, others).await,
        };
        let (entries, notes) = match answer {
            Ok(answer) => answer,
            // Their slot is on the move: each is somewhere.
            Err(error) if was_split(&error) => {
                return join_all(keys.iter().map(|key| self.read(key, coherence))).await;
            }
            Err(error) => return keys.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut notes = notes.into_iter();
        let reads = keys.iter().zip(entries).map(|(key, entry)| {
            let note = notes.next();
            self.replay.permits(key).map(|()| Read { entry, note })
        });
        reads.collect()
    }
}

impl Recipient for Link {
    type Weak = WeakLink;

    fn downgrade(&self) -> WeakLink {
        Link::downgrade(self)
    }

    fn upgrade(weak: &WeakLink) -> Option<Self> {
        weak.upgrade()
    }

    fn status(&self) -> watch::Receiver<Status> {
        Link::status(self)
    }

    fn successions(&self) -> watch::Receiver<u64> {
        Link::successions(self)
    }

    async fn make(&self, owed: &Owed) -> Result<()> {
        make(self, owed, Pass::Always).await
    }

    async fn make_all(&self, of: &Selection) -> Result<()> {
        invalidate_all_on(self, of).await.map(|_| ())
    }
}

async fn make(link: &Link, owed: &Owed, pass: Pass) -> Result<()> {
    match owed {
        Owed::Entry(key) => {
            let names = Names { entry: key.as_str(), lease: &key.lease(), version: &key.version() };
            invalidate_on(link, names, pass).await.map(|_| ())
        }
        Owed::Expiry(key) => {
            let names = Names { entry: key.as_str(), lease: &key.lease(), version: &key.version() };
            match pass.of(scripts::expire(link, names)).unless_split().run::<bool>().await {
                // Gone is out of date too.
                Err(error) if was_split(&error) => {
                    invalidate_on(link, names, pass).await.map(|_| ())
                }
                made => made.map(|_| ()),
            }
        }
        Owed::Tag { key, tag, ttl } => {
            let tag = tag.as_deref();
            pass.of(scripts::invalidate_tag(link, key, tag, *ttl)).run::<i64>().await.map(|_| ())
        }
    }
}

/// The keys of an entry and its companions.
#[derive(Clone, Copy)]
struct Names<'a> {
    entry: &'a str,
    lease: &'a str,
    version: &'a str,
}

/// A tag cannot be taken for a counter of the hash.
fn field_of(tag: &str) -> String {
    format!("t:{tag}")
}

fn numbers_of(fields: &[Option<Bytes>]) -> Option<TagNumbers> {
    let (generation, rest) = fields.split_first()?;
    let (sequence, tags) = rest.split_first()?;
    // A tag's number is followed by when it was invalidated.
    let number = |field: &Bytes| std::str::from_utf8(field).ok()?.split(' ').next()?.parse().ok();
    let generation = std::str::from_utf8(generation.as_ref()?).ok()?;
    let generation = u64::from_str_radix(generation, 16).ok()?.to_be_bytes();
    let sequence = number(sequence.as_ref()?)?;
    // A tag that is no number was never invalidated by us: as if it was just now.
    let number_of = |field: &Option<Bytes>| match field {
        None => 0,
        Some(field) => number(field).unwrap_or(u64::MAX),
    };
    let numbers = tags.iter().map(number_of).collect();
    Some(TagNumbers { tide: Tide { generation, sequence }, numbers })
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
async fn invalidate_on(link: &Link, names: Names<'_>, pass: Pass) -> Result<bool> {
    let Names { entry, lease, version } = names;
    let together = pass.of(scripts::invalidate(link, names)).unless_split();
    match together.run().await {
        // Their slot is on the move, which may take long, or for ever. One after the other is safe
        // in this order: without its lease, no load under way brings the old value back.
        Err(error) if was_split(&error) => {
            let mut there = false;
            for key in [lease, entry] {
                let mut unlink = redis::cmd("UNLINK");
                unlink.arg(key);
                let unlinked = pass.of(link.call(unlink, key, Rerun::Harmless)).run().await?;
                there = unlinked;
            }
            // Last, and left out by a Redis that is full: it only holds up older versions.
            let tombstone = scripts::tombstone(version);
            let _ = pass.of(link.call(tombstone, version, Rerun::Harmless)).run::<()>().await;
            Ok(there)
        }
        outcome => outcome,
    }
}

async fn invalidate_all_on(link: &Link, selection: &Selection) -> Result<u64> {
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
        let calls = found.iter().map(|Found { entry, lease, version }| {
            invalidate_on(link, Names { entry, lease, version }, Pass::WhileClosed)
        });
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
