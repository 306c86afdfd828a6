//! A process's connections: one for commands, and one that is told of changes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Duration, Instant};

use super::super::backend::{Backend, Invalidated, Lease, Read, Token};
use super::super::replay::{Owed, Recipient, Replay};
use super::super::tags::TagNumbers;
use super::oracle::Oracle;
use super::server::{Listener, Server};
use super::{Bug, is_planted};
use crate::kernel::clock::Clock;
use crate::kernel::coherence::{Coherence, Lane, Note};
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::{Key, TagsKey};
use crate::kernel::name::{Prefix, Tenancy};
use crate::kernel::pattern::Selection;
use crate::kernel::status::Status;
use crate::kernel::ttl::Ttl;

/// What all processes share.
pub(super) struct World {
    pub(super) server: Mutex<Server>,
    pub(super) oracle: Mutex<Oracle>,
    pub(super) clock: Clock,
    /// The longest that a message takes, in milliseconds.
    pub(super) delay_max: u64,
    /// How often a request is given up by its sender, and runs all the same: of a thousand.
    pub(super) late_in_thousand: AtomicU64,
    connections: AtomicU64,
    links: Mutex<Vec<Weak<Link>>>,
}

/// One process.
pub(crate) struct Client {
    pub(super) link: Arc<Link>,
    replay: Arc<Replay>,
}

pub(super) struct Link {
    node: usize,
    world: Arc<World>,
    commands: Connection,
    tracked: Connection,
    lane: Arc<Lane>,
    coherence: OnceLock<Arc<Coherence>>,
    status: watch::Sender<Status>,
    /// Each its own: one that all wait for would wake them in no order that a seed gives again.
    successions: watch::Sender<u64>,
}

/// Messages keep their order, each way.
struct Connection {
    /// Changes with every new connection; 0 while there is none.
    number: AtomicU64,
    last_out: Mutex<Instant>,
    last_in: Mutex<Instant>,
    is_open: AtomicBool,
}

impl World {
    pub(super) fn new(
        clock: Clock,
        oracle: Oracle,
        delay_max: u64,
        late_in_thousand: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            server: Mutex::default(),
            oracle: Mutex::new(oracle),
            clock,
            delay_max,
            late_in_thousand: AtomicU64::new(late_in_thousand),
            connections: AtomicU64::new(0),
            links: Mutex::default(),
        })
    }

    /// Another server serves.
    pub(super) fn is_succeeded(&self) {
        for link in self.links.lock().iter().filter_map(Weak::upgrade) {
            link.successions.send_modify(|count| *count += 1);
        }
    }

    pub(super) fn delay(&self) -> Duration {
        Duration::from_millis(fastrand::u64(0..=self.delay_max))
    }

    /// Does something in the store, and sends what it tells of it.
    pub(super) fn at_the_server<T>(&self, act: impl FnOnce(&mut Server) -> T) -> T {
        let mut server = self.server.lock();
        let done = act(&mut server);
        let pushes = std::mem::take(&mut server.pushes);
        drop(server);
        let links: Vec<_> = self.links.lock().iter().filter_map(Weak::upgrade).collect();
        for (listener, key) in pushes {
            for link in &links {
                link.is_told(listener, &key);
            }
        }
        done
    }
}

impl Connection {
    fn new(world: &World) -> Self {
        Self {
            number: AtomicU64::new(world.connections.fetch_add(1, Ordering::Relaxed) + 1),
            last_out: Mutex::new(Instant::now()),
            last_in: Mutex::new(Instant::now()),
            is_open: AtomicBool::new(true),
        }
    }

    fn number(&self) -> Option<u64> {
        let number = self.number.load(Ordering::Relaxed);
        self.is_open.load(Ordering::Relaxed).then_some(number)
    }

    fn is_still(&self, number: u64) -> bool {
        self.number() == Some(number)
    }

    fn next(last: &Mutex<Instant>, delay: Duration) -> Instant {
        let mut last = last.lock();
        *last = (*last + Duration::from_millis(1)).max(Instant::now() + delay);
        *last
    }
}

impl Link {
    /// A message from the store, that comes after all that it sent before on this connection.
    fn is_told(self: &Arc<Self>, listener: Listener, key: &str) {
        if !self.tracked.is_still(listener) {
            return;
        }
        let at = Connection::next(&self.tracked.last_in, self.world.delay());
        let known = self.world.oracle.lock().known_of(key);
        let (link, key) = (Arc::clone(self), key.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            if link.tracked.is_still(listener) {
                if let Some(coherence) = link.coherence.get() {
                    coherence.touch(key.as_bytes());
                }
                link.world.oracle.lock().is_told(link.node, known);
            }
        });
    }

    /// Sends a request, which runs in the store, and waits for its reply.
    async fn call<T: Send + 'static>(
        self: &Arc<Self>,
        over: fn(&Self) -> &Connection,
        act: impl FnOnce(&mut Server, Listener) -> T + Send + 'static,
    ) -> Result<T> {
        let done = self.call_once(over, act).await;
        done.inspect_err(|_| self.has_trouble())
    }

    fn has_trouble(&self) {
        self.world.oracle.lock().troubles[self.node] += 1;
    }

    async fn call_once<T: Send + 'static>(
        self: &Arc<Self>,
        over: fn(&Self) -> &Connection,
        act: impl FnOnce(&mut Server, Listener) -> T + Send + 'static,
    ) -> Result<T> {
        let connection = over(self);
        let Some(number) = connection.number() else { return Err(lost(false)) };
        let arrives = Connection::next(&connection.last_out, self.world.delay());
        if fastrand::u64(0..1_000) < self.world.late_in_thousand.load(Ordering::Relaxed) {
            // Given up, and under way all the same.
            let world = Arc::clone(&self.world);
            let late = arrives + fastrand::u32(0..8) * world.delay();
            tokio::spawn(async move {
                tokio::time::sleep_until(late).await;
                world.at_the_server(|server| act(server, number));
            });
            tokio::time::sleep(self.world.delay()).await;
            return Err(Error::new(ErrorKind::Timeout { maybe_applied: true }, "late"));
        }
        tokio::time::sleep_until(arrives).await;
        if !connection.is_still(number) {
            // Lost with the connection, or read from a socket that was already dead.
            if fastrand::bool() {
                let world = Arc::clone(&self.world);
                let late = world.delay();
                tokio::spawn(async move {
                    tokio::time::sleep(late).await;
                    world.at_the_server(|server| act(server, number));
                });
            }
            return Err(lost(true));
        }
        let done = self.world.at_the_server(|server| act(server, number));
        let back = Connection::next(&connection.last_in, self.world.delay());
        tokio::time::sleep_until(back).await;
        // The task that waits runs again when it does; pushes are heard at once.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..3))).await;
        if connection.is_still(number) { Ok(done) } else { Err(lost(true)) }
    }

    fn note(&self, key: &str) -> Option<Note> {
        self.coherence.get()?.note(key.as_bytes(), &self.lane)
    }

    /// A read that is told of changes, where that can be had, and on what terms.
    async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        key: &str,
        is_to_be_kept: bool,
        act: impl FnOnce(&mut Server, Option<Listener>) -> T + Send + 'static,
    ) -> Result<(T, Option<Note>)> {
        let is_tracked = is_to_be_kept && self.tracked.number().is_some();
        let note = if is_tracked { self.note(key) } else { None };
        let Some(note) = note else {
            let read = self.call(|link| &link.commands, |server, _| act(server, None)).await?;
            return Ok((read, None));
        };
        let read =
            self.call(|link| &link.tracked, |server, listener| act(server, Some(listener))).await?;
        match is_planted(Bug::GenerationNotedAfterTheReply) {
            true => Ok((read, self.note(key))),
            false => Ok((read, Some(note))),
        }
    }

    /// The connection that is told of changes ends; the process notices after a while.
    pub(super) async fn loses_touch(self: Arc<Self>) {
        let Some(number) = self.tracked.number() else { return };
        self.world.server.lock().forget(number);
        self.tracked.is_open.store(false, Ordering::Relaxed);
        tokio::time::sleep(self.world.delay()).await;
        if !is_planted(Bug::EpochsThatStandStill) {
            self.lane.lost();
        }
        if self.coherence.get().is_some() {
            let mut oracle = self.world.oracle.lock();
            let seen = oracle.everything();
            oracle.is_told(self.node, seen);
        }
        tokio::time::sleep(10 * self.world.delay()).await;
        let new = self.world.connections.fetch_add(1, Ordering::Relaxed) + 1;
        self.tracked.number.store(new, Ordering::Relaxed);
        self.tracked.is_open.store(true, Ordering::Relaxed);
        if !is_planted(Bug::EpochsThatStandStill) {
            self.lane.confirmed();
        }
    }

    /// The connection for commands ends, and another takes its place.
    pub(super) async fn loses_commands(self: Arc<Self>) {
        self.commands.is_open.store(false, Ordering::Relaxed);
        self.status.send_replace(Status::Down(lost(false)));
        tokio::time::sleep(10 * self.world.delay()).await;
        let new = self.world.connections.fetch_add(1, Ordering::Relaxed) + 1;
        self.commands.number.store(new, Ordering::Relaxed);
        self.commands.is_open.store(true, Ordering::Relaxed);
        self.status.send_replace(Status::Up);
    }
}

fn lost(maybe_applied: bool) -> Error {
    Error::new(ErrorKind::Unavailable { maybe_applied }, "lost")
}

impl Client {
    pub(super) fn new(world: &Arc<World>, node: usize) -> Self {
        let link = Arc::new(Link {
            node,
            commands: Connection::new(world),
            tracked: Connection::new(world),
            lane: Arc::new(Lane::new()),
            coherence: OnceLock::new(),
            status: watch::Sender::new(Status::Up),
            successions: watch::Sender::new(0),
            world: Arc::clone(world),
        });
        world.links.lock().push(Arc::downgrade(&link));
        link.lane.confirmed();
        let everything =
            Selection::Everything { prefix: Prefix::default(), tenancy: Tenancy::Single };
        let replay = Arc::new(Replay::new(everything));
        replay.repeat_after_successions(&link);
        Self { link, replay }
    }

    /// For what waits to be invalidated, the store is as good as gone.
    fn permits(&self, key: &Key) -> Result<()> {
        self.replay.permits(key).inspect_err(|_| self.link.has_trouble())
    }

    async fn make_or_owe(&self, owed: Owed) -> Result<Invalidated> {
        match self.link.make(&owed).await {
            Ok(()) => {
                self.replay.made(&owed);
                Ok(Invalidated::Done)
            }
            Err(_) => {
                self.replay.keep(owed);
                self.replay.run_when_up(&self.link);
                Ok(Invalidated::Queued)
            }
        }
    }
}

impl Recipient for Arc<Link> {
    type Weak = Weak<Link>;

    fn downgrade(&self) -> Weak<Link> {
        Arc::downgrade(self)
    }

    fn upgrade(weak: &Weak<Link>) -> Option<Self> {
        weak.upgrade()
    }

    fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    fn successions(&self) -> watch::Receiver<u64> {
        match is_planted(Bug::NothingRepeatedAfterAFailover) {
            true => watch::Sender::new(0).subscribe(),
            false => self.successions.subscribe(),
        }
    }

    async fn make(&self, owed: &Owed) -> Result<()> {
        let (owed, world) = (owed.clone(), Arc::clone(&self.world));
        self.call(
            |link| &link.commands,
            move |server, _| {
                match &owed {
                    Owed::Entry(key) => {
                        server.invalidate(key.as_str());
                        world.oracle.lock().is_made(key.as_str());
                    }
                    // It promises nothing of what is served stale.
                    Owed::Expiry(key) => server.expire(key.as_str(), world.clock.wall()),
                    Owed::Tag { key, tag, .. } => {
                        server.invalidate_tag(key.as_str(), tag.as_deref());
                        world.oracle.lock().is_made(key.as_str());
                    }
                }
            },
        )
        .await
    }

    async fn make_all(&self, _: &Selection) -> Result<()> {
        Err(lost(false))
    }
}

impl Backend for Client {
    async fn read(&self, key: &Key, coherence: Option<&Coherence>) -> Result<Read> {
        self.permits(key)?;
        let text = key.as_str().to_owned();
        let act = move |server: &mut Server, listener| server.get(&text, listener);
        let (entry, note) = self.link.read(key.as_str(), coherence.is_some(), act).await?;
        Ok(Read { entry, note })
    }

    async fn read_many(&self, keys: &[Key], coherence: Option<&Coherence>) -> Vec<Result<Read>> {
        futures_util::future::join_all(keys.iter().map(|key| self.read(key, coherence))).await
    }

    async fn lease(
        &self,
        key: &Key,
        unusable: Option<&[u8]>,
        token: Token,
        lease: Duration,
    ) -> Result<Lease> {
        self.permits(key)?;
        let (key, unusable) = (key.as_str().to_owned(), unusable.map(<[u8]>::to_vec));
        let act =
            move |server: &mut Server, _| server.lease(&key, unusable.as_deref(), token, lease);
        self.link.call(|link| &link.commands, act).await
    }

    async fn fill(&self, key: &Key, token: Token, entry: Bytes, ttl: Ttl) -> Result<bool> {
        let key = key.as_str().to_owned();
        let act = move |server: &mut Server, _| server.fill(&key, token, entry, ttl.duration());
        self.link.call(|link| &link.commands, act).await
    }

    async fn vacate(&self, key: &Key, token: Token) -> Result<bool> {
        let key = key.as_str().to_owned();
        self.link.call(|link| &link.commands, move |server, _| server.vacate(&key, token)).await
    }

    async fn renew(&self, key: &Key, token: Token, lease: Duration) -> Result<bool> {
        let key = key.as_str().to_owned();
        let act = move |server: &mut Server, _| server.renew(&key, token, lease);
        self.link.call(|link| &link.commands, act).await
    }

    async fn release(&self, key: &Key, token: Token) -> Result<()> {
        let key = key.as_str().to_owned();
        self.link.call(|link| &link.commands, move |server, _| server.release(&key, token)).await
    }

    async fn put(&self, key: &Key, entry: Bytes, ttl: Ttl) -> Result<()> {
        let waiting = self.replay.before_write();
        let (text, world) = (key.as_str().to_owned(), Arc::clone(&self.link.world));
        let act = move |server: &mut Server, _| {
            server.put(&text, entry, ttl.duration());
            world.oracle.lock().is_made(&text);
        };
        self.link.call(|link| &link.commands, act).await?;
        self.replay.overwritten(key, waiting);
        Ok(())
    }

    async fn put_versioned(&self, key: &Key, entry: Bytes, ttl: Ttl, version: u64) -> Result<bool> {
        let waiting = self.replay.before_write();
        let (text, world) = (key.as_str().to_owned(), Arc::clone(&self.link.world));
        let act = move |server: &mut Server, _| {
            let stored = server.put_versioned(&text, entry, ttl.duration(), version);
            world.oracle.lock().is_made(&text);
            stored
        };
        let stored = self.link.call(|link| &link.commands, act).await?;
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

    async fn invalidate_all(&self, _: &Selection) -> Result<u64> {
        Err(lost(false))
    }

    async fn tags(
        &self,
        key: &TagsKey,
        tags: &[Box<str>],
        coherence: Option<&Coherence>,
    ) -> Result<(Option<TagNumbers>, Option<Note>)> {
        let (text, tags) = (key.as_str().to_owned(), tags.to_vec());
        let act = move |server: &mut Server, listener| server.tags(&text, &tags, listener);
        self.link.read(key.as_str(), coherence.is_some(), act).await
    }

    async fn begin_tags(&self, key: &TagsKey, _: Ttl) -> Result<()> {
        let key = key.as_str().to_owned();
        self.link.call(|link| &link.commands, move |server, _| server.begin_tags(&key)).await
    }

    async fn invalidate_tag(
        &self,
        key: &TagsKey,
        tag: Option<&str>,
        ttl: Ttl,
    ) -> Result<Invalidated> {
        self.make_or_owe(Owed::Tag { key: key.clone(), tag: tag.map(Box::from), ttl }).await
    }

    async fn look(&self, _: &Key) -> Result<(Option<Bytes>, Option<Duration>)> {
        Err(lost(false))
    }

    async fn sizes(&self, _: &Selection, _: usize) -> Result<Vec<(String, u64)>> {
        Err(lost(false))
    }

    async fn count(&self, _: &Key) -> Result<i64> {
        Err(lost(false))
    }

    async fn add(&self, _: &Key, _: i64, _: Ttl) -> Result<i64> {
        Err(lost(false))
    }

    fn is_local(&self) -> bool {
        false
    }

    fn track(&self, coherence: &Arc<Coherence>) {
        // Only ever one.
        let _ = self.link.coherence.set(Arc::clone(coherence));
    }

    fn note(&self, key: &str, coherence: &Coherence) -> Option<Note> {
        Some(coherence.note_anyway(key.as_bytes(), &self.link.lane))
    }

    fn forget(&self) {
        self.link.lane.moved_on();
    }

    fn permits_tags(&self, key: &TagsKey) -> Result<()> {
        self.replay.permits_tags(key).inspect_err(|_| self.link.has_trouble())
    }
}
