//! One history: random operations at random moments, faults between them, and what may be seen.

use std::collections::HashMap;
use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::future::BoxFuture;
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use tokio::time::Duration;

use super::super::{Cache, CacheBuilder, Engine, Local, PutOptions, Source, Store, Traced};
use super::client::{Client, World};
use super::oracle::{Bounds, Floors, KEYS, NODES, Oracle};
use super::server::Server;
use super::tell;
use crate::kernel::clock::Clock;
use crate::kernel::key::Scope;
use crate::kernel::name::{Prefix, Tenancy};

/// Longer than any wait of the protocol; then something hangs.
const VIRTUAL_TIME_MAX: Duration = Duration::from_secs(300);
const TTL: Duration = Duration::from_secs(600);
/// Of caches whose entries grow stale.
const TTL_SHORT: Duration = Duration::from_millis(80);
const TAG: &str = "all";

/// What is random from history to history, but for the order of events.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    operations: u64,
    /// Milliseconds within which all operations begin.
    span: u64,
    delay_max: u64,
    late_in_thousand: u64,
    generations: usize,
    local: bool,
    tagged: bool,
    /// Only operations that give entries a tag, so that it can be invalidated.
    by_tag: bool,
    stale: bool,
    puts: bool,
    /// Puts with versions, and no others: a put without one knows of none.
    versions: bool,
    failover: bool,
    cuts: bool,
    evictions: bool,
    /// Nearly all in one process, and of one key.
    focused: bool,
}

impl Setting {
    pub(super) fn of(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x51AE_C0DE);
        let failover = random.u8(..) < 40;
        Self {
            operations: random.u64(6..20),
            span: random.u64(5..120),
            delay_max: random.u64(0..20),
            late_in_thousand: if random.bool() { 0 } else { random.u64(1..100) },
            generations: [1, 4, 64][random.usize(0..3)],
            local: random.u8(..) < 200,
            tagged: random.u8(..) < 120,
            by_tag: random.bool(),
            stale: random.u8(..) < 50,
            puts: !failover && random.bool(),
            versions: random.bool(),
            failover,
            cuts: random.bool(),
            evictions: random.u8(..) < 80,
            focused: random.u8(..) < 80,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) hits: u64,
    pub(super) joins: u64,
    pub(super) loads: u64,
    pub(super) fills: u64,
    pub(super) stale: u64,
    pub(super) queued: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.hits += other.hits;
        self.joins += other.joins;
        self.loads += other.loads;
        self.fills += other.fills;
        self.stale += other.stale;
        self.queued += other.queued;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hits, joins, loads, fills, stale, queued } = self;
        write!(
            f,
            "{hits} hits ({stale} stale), {joins} joins, {loads} loads, {fills} fills, {queued} invalidations queued"
        )
    }
}

/// Plays one history. The error says which promise it broke.
pub(super) fn play(seed: u64, setting: Setting) -> Result<Counts, String> {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let history = History::new(setting);
        match tokio::time::timeout(VIRTUAL_TIME_MAX, history.play()).await {
            Ok(outcome) => outcome.map_err(|why| format!("{why}, with {setting:?}")),
            Err(_) => Err(format!("it never ends, with {setting:?}")),
        }
    })
}

#[derive(Clone)]
struct History {
    setting: Setting,
    world: Arc<World>,
    nodes: Vec<Node>,
    /// A plain put is right only where no one else writes the key meanwhile.
    writers: Arc<[RwLock<()>; KEYS]>,
    counted: Arc<Counted>,
}

#[derive(Clone)]
struct Node {
    number: usize,
    cache: Cache<usize, u64>,
    engine: Arc<Engine>,
}

#[derive(Default)]
struct Counted {
    hits: AtomicU64,
    loaded: AtomicU64,
    loads: AtomicU64,
    stale: AtomicU64,
    queued: AtomicU64,
    is_calm: AtomicBool,
}

impl History {
    fn new(setting: Setting) -> Self {
        let clock = Clock::runtime();
        let world = World::new(
            clock.clone(),
            Oracle::default(),
            setting.delay_max,
            setting.late_in_thousand,
        );
        let scope = Scope::unscoped(&Prefix::default(), Tenancy::Single);
        let node = |number| {
            let store = Store::Simulated(Client::new(&world, number));
            let engine =
                Engine::with_generations(store, clock.clone(), 1 << 20, setting.generations);
            let engine = Arc::new(engine);
            let mut builder = CacheBuilder::new(Arc::clone(&engine), scope.clone(), "number");
            builder = builder.ttl(TTL).jitter(0.0);
            if setting.stale {
                builder = builder
                    .ttl(TTL_SHORT)
                    .refresh_ahead(0.5)
                    .stale_while_revalidate(TTL_SHORT)
                    .stale_if_error(TTL)
                    .soft_timeout(Duration::from_millis(20));
            }
            if setting.tagged {
                builder = builder.tagged();
            }
            if setting.local {
                builder = builder.local(Local::bytes(1 << 20));
            }
            Node { number, cache: builder.build().expect("a cache"), engine }
        };
        Self {
            nodes: (0..NODES).map(node).collect(),
            setting,
            world,
            writers: Arc::default(),
            counted: Arc::default(),
        }
    }

    async fn play(self) -> Result<Counts, String> {
        let mut operations = JoinSet::new();
        for _ in 0..self.setting.operations {
            let (history, at) = (self.clone(), fastrand::u64(0..=self.setting.span));
            operations.spawn(async move {
                tokio::time::sleep(Duration::from_millis(at)).await;
                history.do_something().await
            });
        }
        for fault in self.faults() {
            operations.spawn(fault);
        }
        while let Some(done) = operations.join_next().await {
            done.map_err(|error| error.to_string())??;
        }
        self.counted.is_calm.store(true, Ordering::Relaxed);
        self.world.late_in_thousand.store(0, Ordering::Relaxed);
        // Whatever is under way arrives, and what is owed is paid.
        tokio::time::sleep(Duration::from_secs(15)).await;
        self.everyone_agrees().await?;
        let counted = &self.counted;
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Ok(Counts {
            hits: of(&counted.hits),
            joins: of(&counted.loaded).saturating_sub(of(&counted.loads)),
            loads: of(&counted.loads),
            fills: self.world.server.lock().fills,
            stale: of(&counted.stale),
            queued: of(&counted.queued),
        })
    }

    async fn do_something(self) -> Result<(), String> {
        let (mut node, mut key) = (fastrand::usize(0..NODES), fastrand::usize(0..KEYS));
        if self.setting.focused {
            (node, key) = (node * usize::from(fastrand::u8(0..4) == 0), 0);
        }
        let node = self.nodes[node].clone();
        match fastrand::u8(0..100) {
            35..45 => self.look(&node, key).await,
            45..52 if !self.only_tags() => self.load_all(&node).await,
            52..75 => self.invalidate(&node, key).await,
            75..80 if self.setting.stale => self.expire(&node, key).await,
            80..90 if self.setting.tagged => self.invalidate_tag(&node).await,
            90..100 if self.setting.puts && !self.setting.versions => self.put(&node, key).await,
            90..100 if self.setting.puts && !self.only_tags() => {
                self.put_versioned(&node, key).await
            }
            _ => self.load(&node, key).await,
        }
    }

    fn only_tags(&self) -> bool {
        self.setting.tagged && self.setting.by_tag
    }

    /// The source: what it says is true at some moment between question and answer.
    fn ask_the_source(&self, key: usize) -> impl Future<Output = Result<u64, ()>> + Send + use<> {
        let (world, counted) = (Arc::clone(&self.world), Arc::clone(&self.counted));
        let (fails, slow) = (self.setting.stale && fastrand::u8(..) < 50, fastrand::u8(..) < 60);
        async move {
            counted.loads.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(2 * world.delay()).await;
            let version = world.oracle.lock().versions[key];
            // Some take their time after they have looked.
            tokio::time::sleep(if slow { 15 } else { 2 } * world.delay()).await;
            match fails && !counted.is_calm.load(Ordering::Relaxed) {
                true => Err(()),
                false => Ok(version),
            }
        }
    }

    async fn load(&self, node: &Node, key: usize) -> Result<(), String> {
        tell!("{} loads {key}", node.number);
        let bounds = self.world.oracle.lock().bounds(node.number, key);
        let (source, tagged) = (self.ask_the_source(key), self.setting.tagged);
        let loaded = node.cache.get_or_load_with(&key, move |loading| async move {
            let version = source.await?;
            if tagged {
                loading.tag(TAG);
            }
            Ok::<_, ()>(version)
        });
        match loaded.await {
            Ok(found) => self.saw(node, key, bounds, *found.value, found.source),
            // The source was in trouble, and there was nothing to fall back on.
            Err(_) => Ok(()),
        }
    }

    async fn look(&self, node: &Node, key: usize) -> Result<(), String> {
        let bounds = self.world.oracle.lock().bounds(node.number, key);
        let before = node.cache.stats();
        match node.cache.get(&key).await.map_err(|error| error.to_string())? {
            // Where it came from is told by no one: what others counted meanwhile blurs it.
            Some(version) => {
                let from_here = node.cache.stats().hits_local > before.hits_local;
                let source = if from_here { Source::Local } else { Source::Redis };
                let bounds = Bounds { fresh: bounds.asked, ..bounds };
                self.saw(node, key, bounds, *version, source)
            }
            None => Ok(()),
        }
    }

    async fn load_all(&self, node: &Node) -> Result<(), String> {
        let bounds: Vec<Bounds> =
            (0..KEYS).map(|key| self.world.oracle.lock().bounds(node.number, key)).collect();
        let history = self.clone();
        let load = move |missing: Vec<usize>| {
            let asked: Vec<_> =
                missing.into_iter().map(|key| (key, history.ask_the_source(key))).collect();
            async move {
                let mut loaded = HashMap::new();
                for (key, asked) in asked {
                    loaded.insert(key, asked.await?);
                }
                Ok::<_, ()>(loaded)
            }
        };
        let keys: Vec<usize> = (0..KEYS).collect();
        let Ok(found) = node.cache.get_or_load_many(&keys, load).await else { return Ok(()) };
        for (key, version) in found {
            // Where each came from is not said: what was told to the process is the least of it.
            self.saw(node, key, bounds[key], *version, Source::Local)?;
        }
        Ok(())
    }

    async fn invalidate(&self, node: &Node, key: usize) -> Result<(), String> {
        let _alone = self.writers[key].read().await;
        let version = self.changes(key);
        tell!("{} invalidates {key} at {version}", node.number);
        self.world.oracle.lock().will_change(key, version);
        let invalidated = if fastrand::bool() {
            node.cache.invalidate(&key).await
        } else {
            node.cache.invalidate_many(&[key]).await
        };
        self.is_done(node, &[(key, version)], invalidated)
    }

    async fn expire(&self, node: &Node, key: usize) -> Result<(), String> {
        let _alone = self.writers[key].read().await;
        let version = self.changes(key);
        tell!("{} expires {key} at {version}", node.number);
        // What is told of it is no promise for those who are served what is stale.
        let expired = node.cache.expire(&key).await;
        if matches!(expired, Ok(super::super::Invalidated::Done)) {
            self.world.oracle.lock().is_expired(key, version);
        }
        expired.map(|_| ()).map_err(|error| error.to_string())
    }

    async fn invalidate_tag(&self, node: &Node) -> Result<(), String> {
        let _alone = (self.writers[0].read().await, self.writers[1].read().await);
        let versions: Floors = std::array::from_fn(|key| self.changes(key));
        tell!("{} invalidates by tag at {versions:?}", node.number);
        self.world.oracle.lock().will_change_all(versions);
        let invalidated = match self.setting.by_tag && fastrand::u8(0..4) > 0 {
            true => node.cache.invalidate_tag(TAG).await,
            false => node.cache.clear().await,
        };
        let outcome = invalidated.map_err(|error| error.to_string())?;
        self.count_queued(outcome);
        // To others it is a matter of the message's way.
        self.world.oracle.lock().is_told(node.number, versions);
        Ok(())
    }

    async fn put(&self, node: &Node, key: usize) -> Result<(), String> {
        let _alone = self.writers[key].write().await;
        let version = self.changes(key);
        tell!("{} puts {key} at {version}", node.number);
        self.world.oracle.lock().will_change(key, version);
        let options = match self.setting.tagged {
            true => PutOptions::new().tag(TAG),
            false => PutOptions::new(),
        };
        let put = node.cache.put_with(&key, &version, options).await;
        tell!("{} put {version} of {key}: {put:?}", node.number);
        match put {
            Ok(()) => self.world.oracle.lock().is_done(node.number, key, version),
            // It may arrive at any time.
            Err(_) => self.world.oracle.lock().tainted[key] = true,
        }
        Ok(())
    }

    async fn put_versioned(&self, node: &Node, key: usize) -> Result<(), String> {
        // No version tells it from an invalidation by tag, which knows no key.
        let (_alone, _among_others);
        match self.setting.tagged {
            true => _alone = self.writers[key].write().await,
            false => _among_others = self.writers[key].read().await,
        }
        let version = self.changes(key);
        tell!("{} puts versioned {key} at {version}", node.number);
        self.world.oracle.lock().will_change(key, version);
        let put = node.cache.put_versioned(&key, &version, version).await;
        tell!("{} put {version} of {key}: {put:?}", node.number);
        match put {
            Ok(true) => self.world.oracle.lock().is_done(node.number, key, version),
            // One as new is there, or the next reader loads it.
            Ok(false) => {}
            // Where it did not arrive, only an invalidation helps: as every writer would.
            Err(_) => {
                let invalidated = node.cache.invalidate(&key).await;
                return self.is_done(node, &[(key, version)], invalidated);
            }
        }
        Ok(())
    }

    /// The source commits a change.
    fn changes(&self, key: usize) -> u64 {
        let versions = &mut self.world.oracle.lock().versions;
        versions[key] += 1;
        versions[key]
    }

    fn is_done(
        &self,
        node: &Node,
        changes: &[(usize, u64)],
        outcome: crate::kernel::error::Result<super::super::Invalidated>,
    ) -> Result<(), String> {
        let outcome = outcome.map_err(|error| error.to_string())?;
        tell!("{} {changes:?}: {outcome:?}", node.number);
        self.count_queued(outcome);
        let mut oracle = self.world.oracle.lock();
        for (key, version) in changes {
            match outcome {
                super::super::Invalidated::Done => oracle.is_done(node.number, *key, *version),
                // Until it is sent, this process does not believe the store.
                super::super::Invalidated::Queued => {
                    let mut floors = Floors::default();
                    floors[*key] = *version;
                    oracle.is_told(node.number, floors);
                }
            }
        }
        Ok(())
    }

    fn count_queued(&self, outcome: super::super::Invalidated) {
        if outcome == super::super::Invalidated::Queued {
            self.counted.queued.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn saw(
        &self,
        node: &Node,
        key: usize,
        bounds: Bounds,
        version: u64,
        source: Source,
    ) -> Result<(), String> {
        match source {
            Source::Loaded => self.counted.loaded.fetch_add(1, Ordering::Relaxed),
            _ => self.counted.hits.fetch_add(1, Ordering::Relaxed),
        };
        if source == Source::Stale {
            self.counted.stale.fetch_add(1, Ordering::Relaxed);
        }
        tell!("{} saw {version} of {key} from {source:?}", node.number);
        let had_trouble = self.world.oracle.lock().troubles[node.number] != bounds.troubles;
        let least = match source {
            Source::Local => bounds.anywhere,
            Source::Loaded if had_trouble => bounds.anywhere,
            Source::Stale => bounds.asked,
            _ => bounds.fresh,
        };
        let oracle = self.world.oracle.lock();
        let is_void = oracle.tainted[key] || oracle.losses != bounds.losses;
        if version < least && !is_void {
            return Err(format!(
                "process {} saw version {version} of key {key} from {source:?}, and {least} was promised ({bounds:?})",
                node.number
            ));
        }
        Ok(())
    }

    /// In the end everyone sees what is true: no invalidation was lost, nothing stale was stored.
    async fn everyone_agrees(&self) -> Result<(), String> {
        for node in &self.nodes {
            for key in 0..KEYS {
                let (truth, tainted) = {
                    let oracle = self.world.oracle.lock();
                    (oracle.versions[key], oracle.tainted[key])
                };
                let mut found = self.found_in_the_end(node, key).await?;
                if found.source == Source::Stale {
                    // It took too long; meanwhile it has been loaded.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    found = self.found_in_the_end(node, key).await?;
                }
                if *found.value != truth && !tainted {
                    return Err(format!(
                        "in the end, process {} sees version {} of key {key} from {:?}, and {truth} is true",
                        node.number, found.value, found.source
                    ));
                }
            }
        }
        Ok(())
    }

    async fn found_in_the_end(&self, node: &Node, key: usize) -> Result<Traced<u64>, String> {
        let source = self.ask_the_source(key);
        let found = node.cache.get_or_load_traced(&key, move || source).await;
        found.map_err(|error| format!("no load in the end: {error:?}"))
    }

    fn faults(&self) -> Vec<BoxFuture<'static, Result<(), String>>> {
        let mut faults: Vec<BoxFuture<'static, _>> = Vec::new();
        let setting = self.setting;
        let when = || Duration::from_millis(fastrand::u64(0..=setting.span));
        if setting.cuts {
            for _ in 0..fastrand::u8(1..4) {
                let (history, at) = (self.clone(), when());
                faults.push(Box::pin(async move {
                    tokio::time::sleep(at).await;
                    let link = history.nodes[fastrand::usize(0..NODES)].link();
                    match fastrand::bool() {
                        true => link.loses_touch().await,
                        false => link.loses_commands().await,
                    }
                    Ok(())
                }));
            }
        }
        if setting.evictions {
            for _ in 0..fastrand::u8(1..4) {
                let (world, at) = (Arc::clone(&self.world), when());
                faults.push(Box::pin(async move {
                    tokio::time::sleep(at).await;
                    let key = ["number:0", "number:1", "tag:{number}"][fastrand::usize(0..3)];
                    world.at_the_server(|server| server.evict(key));
                    Ok(())
                }));
            }
        }
        if setting.failover {
            let (history, at) = (self.clone(), when());
            faults.push(Box::pin(async move {
                tokio::time::sleep(at).await;
                let replica: Server = history.world.server.lock().clone();
                tokio::time::sleep(Duration::from_millis(fastrand::u64(0..40))).await;
                history.fail_over_to(replica).await;
                Ok(())
            }));
        }
        faults
    }

    /// All connections end, and the one that takes over has not heard of the last writes.
    async fn fail_over_to(&self, replica: Server) {
        let mut reconnecting = JoinSet::new();
        for node in &self.nodes {
            reconnecting.spawn(node.link().loses_touch());
            reconnecting.spawn(node.link().loses_commands());
        }
        tokio::task::yield_now().await;
        self.world.server.lock().falls_back_to(replica);
        self.world.oracle.lock().is_lost();
        while reconnecting.join_next().await.is_some() {}
        // What arrived on the old one's account while connections were made anew promises nothing.
        self.world.oracle.lock().is_lost();
        self.world.is_succeeded();
    }
}

impl Node {
    fn link(&self) -> Arc<super::client::Link> {
        match &self.engine.backend {
            Store::Simulated(client) => Arc::clone(&client.link),
            _ => unreachable!("a simulated store"),
        }
    }
}
