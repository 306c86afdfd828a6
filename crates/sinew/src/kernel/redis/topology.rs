//! Finding the primaries and following them: one server, the one that sentinels name, or a cluster's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use parking_lot::Mutex;
use redis::{RedisError, Value};
use tokio::sync::{Notify, watch};

use super::Hook;
use super::connect::{Mode, Opening, Purpose, not_primary, refused_command};
use super::connection::Connection;
use super::map::{Layout, Map};
use super::node::{Common, Locator, Node};
use super::reply::read;
use super::sentinel::Sentinels;
use super::slot::slot_of;
use super::target::{Address, HostPort, Place, Target};
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::status::Status;
use crate::kernel::telemetry;

/// How often a cluster that is well is asked who serves what.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// How often one that is not, or has just redirected someone.
const ASK_AGAIN: Duration = Duration::from_millis(50);
const ASK_AGAIN_MAX: Duration = Duration::from_millis(500);
const ANSWER_MAX: Duration = Duration::from_millis(500);
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
    Cluster(Layout),
    One(HostPort),
}

impl Topology {
    /// # Errors
    /// `Misconfigured` for TLS settings that will not do.
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
            address: target.to_string(),
        }))
    }

    pub(super) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    pub(super) fn address(&self) -> &str {
        &self.address
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
            // Node after node may come or go before anyone has to look around again.
            let again = loop {
                self.tell(self.status_of_all(looked.as_ref()));
                let is_well = matches!(*self.status.borrow(), Status::Up);
                if is_well {
                    pause = ASK_AGAIN;
                }
                let wait = if is_well { ASK_EVERY } else { pause };
                tokio::select! {
                    () = self.common.changed.notified() => {
                        // A node that was lost may have handed its slots on.
                        if !matches!(self.status_of_all(looked.as_ref()), Status::Up) {
                            self.tell(self.status_of_all(looked.as_ref()));
                            break ASK_AGAIN;
                        }
                    }
                    () = self.stale.notified() => break ASK_AGAIN,
                    () = tokio::time::sleep(wait), if self.seeds.is_some() => break Duration::ZERO,
                }
            };
            if self.seeds.is_some() {
                // Many are redirected at once, and one look is enough for them all.
                tokio::time::sleep(again).await;
                pause = (pause * 2).min(ASK_AGAIN_MAX);
            }
        }
    }

    /// Of those who answer, the one with the latest configuration is believed.
    async fn look_around(&self, seeds: &Seeds) -> Result<Found> {
        let map = self.map().clone();
        if let (Some(one), true) = (map.the_one(), seeds.or_one)
            && matches!(one.status(), Status::Up | Status::Connecting)
            && let Some(at) = one.address()
        {
            return Ok(Found::One(at.clone()));
        }
        let asked = map.nodes.iter().filter_map(|node| Some((node, node.address()?)));
        let asked = asked.map(|(node, at)| async move {
            let connection = tokio::time::timeout(ANSWER_MAX, node.ready()).await.ok()?.ok()?;
            self.ask(&connection, at).await.ok()
        });
        let known = join_all(asked).await.into_iter().flatten().max_by_key(Answer::rank);
        if let Some(answer) = known.filter(|answer| answer.is_well) {
            return Ok(Found::Cluster(answer.layout));
        }
        let asked = join_all(seeds.at.iter().map(|at| self.ask_seed(seeds, at))).await;
        let mut errors = Vec::new();
        let mut best: Option<Answer> = None;
        for answer in asked {
            match answer {
                Ok(Seed::Cluster(answer)) => {
                    best = best.into_iter().chain([answer]).max_by_key(Answer::rank);
                }
                Ok(Seed::Primary(at)) => return Ok(Found::One(at)),
                Err(error) => errors.push(error),
            }
        }
        match best {
            Some(answer) => Ok(Found::Cluster(answer.layout)),
            None => {
                // What can't be helped by waiting goes first.
                errors.sort_by_key(Error::is_retryable);
                Err(errors.into_iter().next().unwrap_or_else(|| Error::misconfigured("no host")))
            }
        }
    }

    async fn ask_seed(&self, seeds: &Seeds, at: &HostPort) -> Result<Seed> {
        let address = Address::Tcp(at.clone());
        let opened = self.common.opening.open(&address, Purpose::Ask).await?;
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
        let layout = Layout::read(&slots, at)
            .ok_or_else(|| Error::corrupt(format!("{at} gave no map of its cluster")))?;
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
                let one = self.start(&at);
                self.map.store(Arc::new(Map::of_one(one)));
                return;
            }
            Found::Cluster(layout) => layout,
        };
        let primaries = layout.addresses();
        let mut nodes = self.nodes.lock();
        let new = Map::of_cluster(&layout, |at| {
            Arc::clone(nodes.entry(at.clone()).or_insert_with(|| self.start(at)))
        });
        nodes.retain(|at, node| primaries.contains(at) || node.age() < KEEP_IDLE);
        drop(nodes);
        let before: Vec<_> = map.nodes.iter().filter_map(|node| node.address()).collect();
        if !before.is_empty() && before.iter().any(|at| !primaries.contains(at)) {
            metrics::counter!(telemetry::REDIS_FAILOVERS).increment(1);
            tracing::warn!(redis = %self.address, "other primaries than before");
        }
        if layout.uncovered() > 0 {
            tracing::debug!(redis = %self.address, slots = layout.uncovered(), "slots that nobody serves");
        }
        self.map.store(Arc::new(new));
    }

    /// All of it is up, or what is wrong with the part that is not.
    fn status_of_all(&self, looked: Option<&Result<()>>) -> Status {
        let statuses: Vec<Status> = self.map().nodes.iter().map(|node| node.status()).collect();
        let failed = statuses.iter().find(|status| matches!(status, Status::Failed(_)));
        let down = statuses.iter().find(|status| matches!(status, Status::Down(_)));
        match (failed.or(down), looked) {
            (Some(status), _) => status.clone(),
            (None, Some(Err(error))) if statuses.is_empty() => match error.is_retryable() {
                true => Status::Down(error.clone()),
                false => Status::Failed(error.clone()),
            },
            (None, _) if statuses.is_empty() => Status::Connecting,
            (None, _) if statuses.iter().all(|status| matches!(status, Status::Up)) => Status::Up,
            (None, _) => Status::Connecting,
        }
    }

    fn tell(&self, status: Status) {
        let before = self.status.borrow().clone();
        metrics::gauge!(telemetry::REDIS_UP).set(f64::from(u8::from(matches!(status, Status::Up))));
        // One line a change, not one an attempt.
        if before.name() != status.name() {
            match (&before, &status) {
                (_, Status::Down(error) | Status::Failed(error)) => {
                    tracing::warn!(redis = %self.address, %error, "Redis is {}", status.name());
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
