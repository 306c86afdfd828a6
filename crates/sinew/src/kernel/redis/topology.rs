//! Finding the primaries and following them: one server, the one that sentinels name, or a cluster's.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use redis::{RedisError, Value};
use tokio::sync::{Notify, watch};

use super::Hook;
use super::broadcast::Watch;
use super::connect::{Mode, Opening, Purpose, not_primary, refused_command};
use super::connection::Connection;
use super::map::{Layout, Map};
use super::node::{Common, Locator, Node};
use super::reply::{all_in_one, read};
use super::sentinel::Sentinels;
use super::slot::slot_of;
use super::target::{Address, HostPort, Place, Target};
use crate::kernel::coherence::Coherence;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::status::Status;
use crate::kernel::telemetry;

/// How often a cluster that is well is asked who serves what.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// How often one that is not, or has just redirected someone.
const ASK_AGAIN: Duration = Duration::from_millis(50);
const ASK_AGAIN_MAX: Duration = Duration::from_millis(500);
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// How long the first good answer waits for those of the others.
const OTHERS_MAX: Duration = Duration::from_millis(50);
/// How long a node that owns no slot is kept connected: one that is about to get its first.
const KEEP_IDLE: Duration = Duration::from_secs(60);
const NODES_MAX: usize = 1_000;

/// A deployment, kept up to date.
pub(super) struct Topology {
    common: Arc<Common>,
    map: ArcSwap<Map>,
    status: watch::Sender<Status>,
    /// What is to be found out; `None` where there is nothing to find.
    seeds: Option<Seeds>,
    nodes: Mutex<HashMap<HostPort, Arc<Node>>>,
    stale: Notify,
    /// As the cluster itself said when it was last asked.
    is_down: AtomicBool,
    address: String,
}

struct Seeds {
    at: Vec<HostPort>,
    /// One server alone will do too.
    or_one: bool,
    database: u16,
}

/// What a look around found.
enum Found {
    Cluster(Answer),
    One(HostPort),
}

impl Topology {
    /// # Errors
    /// `Misconfigured` for TLS settings that will not do, or a system without random bytes.
    pub(super) fn new(target: &Target, deadline: Duration, hooks: Vec<Hook>) -> Result<Arc<Self>> {
        let opening = Opening::new(target.access.clone(), deadline)?;
        let seeds = match &target.place {
            Place::Cluster { seeds } => Some((seeds, false)),
            Place::Either { seeds } => Some((seeds, true)),
            Place::Single(_) | Place::Sentinel { .. } => None,
        };
        let common = Arc::new(Common {
            opening: opening.clone(),
            mode: if seeds.is_some() { Mode::Either } else { Mode::Alone },
            hooks,
            changed: Arc::new(Notify::new()),
            hooks_ran: watch::Sender::new(false),
            tracking: watch::Sender::new(None),
            broadcasts: Arc::default(),
            successions: watch::Sender::new(0),
        });
        let seeds = seeds.map(|(at, or_one)| Seeds {
            at: at.clone(),
            or_one,
            database: target.access.database,
        });
        let locator = match &target.place {
            Place::Single(address) => Some(Locator::Fixed(address.clone())),
            Place::Sentinel { sentinels, primary, access } => {
                let sentinels = Sentinels::listen(sentinels, primary, access, &opening)?;
                Some(Locator::Sentinels(sentinels))
            }
            Place::Cluster { .. } | Place::Either { .. } => None,
        };
        let map = match locator {
            Some(locator) => Map::of_one(Node::start(Arc::clone(&common), locator)),
            None => Map::default(),
        };
        Ok(Arc::new(Self {
            common,
            map: ArcSwap::from_pointee(map),
            status: watch::Sender::new(Status::Connecting),
            seeds,
            nodes: Mutex::default(),
            stale: Notify::new(),
            is_down: AtomicBool::new(false),
            address: target.to_string(),
        }))
    }

    pub(super) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn process(&self) -> u64 {
        self.common.opening.process
    }

    /// The map of the moment, which may know nothing yet.
    pub(super) fn map(&self) -> arc_swap::Guard<Arc<Map>> {
        self.map.load()
    }

    /// The map, once there is one.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn known_map(&self) -> Result<arc_swap::Guard<Arc<Map>>> {
        loop {
            let mut status = self.status();
            let now = status.borrow_and_update().clone();
            let map = self.map();
            if map.is_known() {
                return Ok(map);
            }
            match now {
                Status::Down(error) | Status::Failed(error) => return Err(error),
                Status::Connecting | Status::Up => {}
            }
            drop(map);
            // The sender lives in `self`, so waiting cannot fail.
            let _ = status.changed().await;
        }
    }

    /// The node that has a key.
    ///
    /// # Errors
    /// `Unavailable` when none is known to.
    pub(super) async fn node_of(&self, key: &str) -> Result<Arc<Node>> {
        let slot = || slot_of(key.as_bytes());
        if let Some(node) = self.map().node_of(slot) {
            return Ok(Arc::clone(node));
        }
        let map = self.known_map().await?;
        map.node_of(slot).map(Arc::clone).ok_or_else(|| {
            self.suspect();
            let kind = ErrorKind::Unavailable { maybe_applied: false };
            Error::new(kind, format!("no node of {} serves slot {}", self.address, slot()))
        })
    }

    /// The same, where that is known at once.
    pub(super) fn node_known_of(&self, key: &str) -> Option<Arc<Node>> {
        self.map().node_of(|| slot_of(key.as_bytes())).map(Arc::clone)
    }

    /// Whether there are nodes to be found out, and redirections to be followed.
    pub(super) fn is_cluster(&self) -> bool {
        self.seeds.is_some()
    }

    /// A primary, whichever.
    ///
    /// # Errors
    /// `Unavailable` when none is known.
    pub(super) fn any_node(&self) -> Result<Arc<Node>> {
        let map = self.map();
        let up = map.nodes.iter().find(|node| node.connection().is_some());
        up.or(map.nodes.first()).cloned().ok_or_else(|| {
            let kind = ErrorKind::Unavailable { maybe_applied: false };
            Error::new(kind, format!("no node of {} is known", self.address))
        })
    }

    /// Whether the cluster calls itself down.
    pub(super) fn is_known_down(&self) -> bool {
        self.is_down.load(Ordering::Relaxed)
    }

    /// Someone was redirected, or refused: what we know is old.
    pub(super) fn suspect(&self) {
        self.stale.notify_one();
    }

    /// The node at an address that a server has named.
    ///
    /// # Errors
    /// `Unavailable` when it names too many.
    pub(super) fn node_at(&self, at: &HostPort) -> Result<Arc<Node>> {
        let mut nodes = self.nodes.lock();
        if let Some(node) = nodes.get(at) {
            // Someone has just said that it is there.
            node.hurry();
            return Ok(Arc::clone(node));
        }
        if nodes.len() >= NODES_MAX {
            let kind = ErrorKind::Unavailable { maybe_applied: false };
            return Err(Error::new(kind, format!("more than {NODES_MAX} nodes")));
        }
        let node = self.start(at);
        nodes.insert(at.clone(), Arc::clone(&node));
        Ok(node)
    }

    /// Those of the map, and those that only a redirection has named yet.
    pub(super) fn all_nodes(&self) -> Vec<Arc<Node>> {
        let mut nodes = self.map().nodes.clone();
        let named: Vec<Arc<Node>> = self.nodes.lock().values().cloned().collect();
        nodes.extend(named);
        nodes
    }

    fn start(&self, at: &HostPort) -> Arc<Node> {
        Node::start(Arc::clone(&self.common), Locator::Fixed(Address::Tcp(at.clone())))
    }

    /// Looks around for ever, and tells the status.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut pause = ASK_AGAIN;
        let mut looked: Option<Result<()>> = None;
        loop {
            if let Some(seeds) = &self.seeds {
                let found = self.look_around(seeds).await;
                looked = Some(found.map(|found| self.install(found)));
            }
            self.tell(self.status_of_all(looked.as_ref()));
            if matches!(*self.status.borrow(), Status::Up) {
                pause = ASK_AGAIN;
            }
            let wait = if matches!(*self.status.borrow(), Status::Up) { ASK_EVERY } else { pause };
            let again = self.until_stale(tokio::time::Instant::now() + wait, looked.as_ref()).await;
            // Many are redirected at once, and one look is enough for them all.
            tokio::time::sleep(again).await;
            pause = (pause * 2).min(ASK_AGAIN_MAX);
        }
    }

    /// Follows the nodes' status until there is something to look for. Says how soon.
    async fn until_stale(
        &self,
        next_look: tokio::time::Instant,
        looked: Option<&Result<()>>,
    ) -> Duration {
        loop {
            tokio::select! {
                () = self.common.changed.notified() => {
                    self.tell(self.status_of_all(looked));
                    let is_well = matches!(*self.status.borrow(), Status::Up);
                    // A node that was lost may have handed its slots on.
                    if self.is_cluster() && !is_well {
                        return ASK_AGAIN;
                    }
                }
                () = self.stale.notified(), if self.is_cluster() => return ASK_AGAIN,
                () = tokio::time::sleep_until(next_look), if self.is_cluster() => {
                    return Duration::ZERO;
                }
            }
        }
    }

    /// Of those who answer, the one with the latest configuration is believed, and first of all
    /// one whose cluster is well.
    async fn look_around(&self, seeds: &Seeds) -> Result<Found> {
        let map = self.map().clone();
        if let (Some(one), true) = (map.the_one(), seeds.or_one)
            && matches!(one.status(), Status::Up | Status::Connecting)
            && let Some(at) = one.address()
        {
            return Ok(Found::One(at.clone()));
        }
        let connected = map.nodes.iter().filter_map(|n| Some((n.connection()?, n.address()?)));
        let asked: FuturesUnordered<_> =
            connected
                .map(|(connection, at)| async move {
                    self.ask(&connection, at).await.map(Seed::Cluster)
                })
                .collect();
        let (mut seen, mut errors) = (gather(asked).await, Vec::new());
        if !seen.iter().any(Seed::is_well) {
            let asked: FuturesUnordered<_> =
                seeds.at.iter().map(|at| async move { self.ask_seed(seeds, at).await }).collect();
            let more = gather_all(asked);
            let (more, troubles) = match seen.is_empty() {
                true => more.await,
                // The nodes that we know have answered: the seeds need not all be waited for.
                false => tokio::time::timeout(ANSWER_MAX, more).await.unwrap_or_default(),
            };
            seen.extend(more);
            errors = troubles;
        }
        let (mut best, mut alone): (Option<Answer>, _) = (None, None);
        for seed in seen {
            match seed {
                Seed::Primary(at) => alone = Some(at),
                Seed::Cluster(answer) => {
                    best = best.into_iter().chain([answer]).max_by_key(Answer::rank);
                }
            }
        }
        match (best, alone) {
            (Some(answer), _) => Ok(Found::Cluster(answer)),
            (None, Some(at)) => Ok(Found::One(at)),
            (None, None) => {
                Err(all_in_one(errors).unwrap_or_else(|| Error::misconfigured("no host")))
            }
        }
    }

    async fn ask_seed(&self, seeds: &Seeds, at: &HostPort) -> Result<Seed> {
        let address = Address::Tcp(at.clone());
        let opened = self.common.opening.open(&address, Purpose::Ask, None).await?;
        let server = opened.server;
        match (server.is_in_cluster, seeds.or_one) {
            (true, _) if seeds.database != 0 => {
                Err(Error::misconfigured("a cluster has no database but 0"))
            }
            (true, _) => self.ask(&opened.connection, at).await.map(Seed::Cluster),
            (false, true) if server.is_primary => Ok(Seed::Primary(at.clone())),
            (false, true) => Err(not_primary(&address)),
            (false, false) => Err(Error::misconfigured(format!(
                "{at} is no node of a cluster: expected redis:// for a server on its own"
            ))),
        }
    }

    async fn ask(&self, connection: &Connection, at: &HostPort) -> Result<Answer> {
        let address = Address::Tcp(at.clone());
        let mut questions = redis::pipe();
        questions.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("SLOTS");
        let replies = tokio::time::timeout(ANSWER_MAX, connection.send_all(&questions)).await;
        let replies = replies.map_err(|_| silent(at))?.map_err(super::reply::told_by)?;
        let mut replies = replies.into_iter().zip(["CLUSTER INFO", "CLUSTER SLOTS"]).map(
            |(reply, what): (Result<Value, RedisError>, _)| {
                reply.map_err(|e| refused_command(&address, what, &self.common.opening.access, e))
            },
        );
        let mut next = || replies.next().unwrap_or(Ok(Value::Nil));
        let (info, slots) = (read::<String>(next()?)?, next()?);
        let layout = Layout::read(&slots, at, NODES_MAX)
            .ok_or_else(|| Error::corrupt(format!("{at} gave no map of its cluster")))?;
        if layout.primaries.is_empty() {
            // One that was made anew, and has yet to join.
            let kind = ErrorKind::Unavailable { maybe_applied: false };
            return Err(Error::new(kind, format!("{at} knows of no node that serves a slot")));
        }
        let field =
            |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(Answer {
            is_well: field("cluster_state").is_some_and(|state| state.trim() == "ok"),
            epoch: field("cluster_current_epoch").and_then(|e| e.trim().parse().ok()).unwrap_or(0),
            layout,
        })
    }

    fn install(&self, found: Found) {
        let map = self.map.load_full();
        let same_place = |at: &HostPort| map.nodes.first().and_then(|n| n.address()) == Some(at);
        let layout = match found {
            Found::One(at) if map.is_known() && same_place(&at) => return,
            Found::One(at) => {
                if map.is_known() {
                    self.common.successions.send_modify(|count| *count += 1);
                }
                let one = self.start(&at);
                self.map.store(Arc::new(Map::of_one(one)));
                return;
            }
            Found::Cluster(answer) => {
                self.is_down.store(!answer.is_well, Ordering::Relaxed);
                answer.layout
            }
        };
        let primaries = layout.addresses();
        let mut nodes = self.nodes.lock();
        let known: HashSet<&HostPort> =
            map.nodes.iter().filter_map(|node| node.address()).collect();
        let new = Map::of_cluster(&layout, |at| {
            let node = nodes.entry(at.clone()).or_insert_with(|| self.start(at));
            if !known.contains(at) {
                // It has just become a primary.
                node.hurry();
            }
            Arc::clone(node)
        });
        nodes.retain(|at, node| primaries.contains(at) || node.age() < KEEP_IDLE);
        drop(nodes);
        self.hand_over(&map, &new);
        let before: Vec<_> = map.nodes.iter().filter_map(|node| node.address()).collect();
        if !before.is_empty() && before.iter().any(|at| !primaries.contains(at)) {
            metrics::counter!(telemetry::REDIS_FAILOVERS).increment(1);
            tracing::warn!(redis = %self.address, "other primaries than before");
        }
        self.map.store(Arc::new(new));
    }

    /// A slot that changes hands tells no one: whoever had it has told all that it will.
    fn hand_over(&self, before: &Map, after: &Map) {
        let losers = before.losers(after);
        for node in &losers {
            node.lane().moved_on();
        }
        if !losers.is_empty() {
            self.common.successions.send_modify(|count| *count += 1);
        }
    }

    /// Changes of what is read on tracked connections are noted here from now on.
    pub(super) fn track(&self, coherence: &Arc<Coherence>) {
        self.common.tracking.send_if_modified(|tracking| {
            let first = tracking.is_none();
            tracking.get_or_insert_with(|| Arc::clone(coherence));
            first
        });
    }

    /// Changes of the keys that begin so are told to whoever asks here.
    pub(super) fn watch(&self, prefix: &str) -> Watch {
        Watch::start(&self.common.broadcasts, prefix)
    }

    /// Moves on when another server has taken the place of one that was written to.
    pub(super) fn successions(&self) -> watch::Receiver<u64> {
        self.common.successions.subscribe()
    }

    /// All of it is up, or what is wrong with the part that is not.
    fn status_of_all(&self, looked: Option<&Result<()>>) -> Status {
        let map = self.map();
        let statuses: Vec<Status> = map.nodes.iter().map(|node| node.status()).collect();
        let any = |is: fn(&Status) -> bool| statuses.iter().find(|status| is(status)).cloned();
        let failed = any(|status| matches!(status, Status::Failed(_)));
        let down = any(|status| matches!(status, Status::Down(_)));
        if let Some(status) = failed.or(down) {
            return status;
        }
        match looked {
            Some(Err(error)) if statuses.is_empty() && error.is_retryable() => {
                Status::Down(error.clone())
            }
            Some(Err(error)) if statuses.is_empty() => Status::Failed(error.clone()),
            _ if statuses.is_empty() => Status::Connecting,
            _ if !statuses.iter().all(|status| matches!(status, Status::Up)) => Status::Connecting,
            _ => {
                let down = |why: String| {
                    let kind = ErrorKind::Unavailable { maybe_applied: false };
                    Status::Down(Error::new(kind, why))
                };
                match map.uncovered() {
                    0 if self.is_known_down() => down("the cluster calls itself down".to_owned()),
                    0 => Status::Up,
                    slots => down(format!("nobody serves {slots} of the slots")),
                }
            }
        }
    }

    fn tell(&self, status: Status) {
        let before = self.status.borrow().clone();
        metrics::gauge!(telemetry::REDIS_UP).set(f64::from(u8::from(matches!(status, Status::Up))));
        // One line a change, not one an attempt.
        if before.name() != status.name() {
            match (&before, &status) {
                (_, Status::Down(error) | Status::Failed(error)) => {
                    let what = match status {
                        Status::Failed(_) => "Redis will not do",
                        _ => "Redis is down",
                    };
                    tracing::warn!(redis = %self.address, error = format!("{error:#}"), "{what}");
                }
                // As loud as the line that it answers.
                (Status::Down(_) | Status::Failed(_), Status::Up) => {
                    tracing::warn!(redis = %self.address, "Redis is back");
                }
                (_, Status::Up) => tracing::info!(redis = %self.address, "connected"),
                (_, Status::Connecting) => {}
            }
        }
        self.status.send_replace(status);
    }
}

enum Seed {
    Cluster(Answer),
    Primary(HostPort),
}

impl Seed {
    fn is_well(&self) -> bool {
        match self {
            Self::Cluster(answer) => answer.is_well,
            Self::Primary(_) => true,
        }
    }
}

/// Answers as they come, up to a moment after the first that is well: a host that swallows
/// everything must not hold up the others.
async fn gather<F>(asked: FuturesUnordered<F>) -> Vec<Seed>
where
    F: Future<Output = Result<Seed>>,
{
    gather_all(asked).await.0
}

async fn gather_all<F>(mut asked: FuturesUnordered<F>) -> (Vec<Seed>, Vec<Error>)
where
    F: Future<Output = Result<Seed>>,
{
    let (mut seen, mut errors) = (Vec::new(), Vec::new());
    let mut until = None;
    loop {
        let next = match until {
            None => asked.next().await,
            Some(until) => match tokio::time::timeout_at(until, asked.next()).await {
                Ok(next) => next,
                Err(_) => return (seen, errors),
            },
        };
        match next {
            None => return (seen, errors),
            Some(Err(error)) => errors.push(error),
            Some(Ok(seed)) => {
                if seed.is_well() && until.is_none() {
                    until = Some(tokio::time::Instant::now() + OTHERS_MAX);
                }
                seen.push(seed);
            }
        }
    }
}

/// What one node says of its cluster.
struct Answer {
    is_well: bool,
    epoch: u64,
    layout: Layout,
}

impl Answer {
    fn rank(&self) -> (bool, u64) {
        (self.is_well, self.epoch)
    }
}

fn silent(at: &HostPort) -> Error {
    let kind = ErrorKind::Unavailable { maybe_applied: false };
    Error::new(kind, format!("{at} did not answer within {ANSWER_MAX:?}"))
}
