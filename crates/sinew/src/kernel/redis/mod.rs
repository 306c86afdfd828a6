//! The link: one deployment of Redis, kept connected.
//!
//! A [`Target`] says where. A [`Topology`] knows the primaries (`map.rs`) and follows them; each is
//! a node (`node.rs`) that owns its connection and reconnects for ever. A call (`call.rs`) goes to
//! the node of its key, within its deadline, past redirections and refusals; it fails at once
//! when there is no connection, so that an outage costs a caller nothing.

mod broadcast;
mod call;
mod clock;
mod connect;
mod connection;
mod dedicated;
mod gather;
mod life;
mod map;
mod node;
mod permission;
mod reply;
mod script;
mod sentinel;
mod slot;
mod socket;
mod stack_exchange;
mod subscription;
mod target;
mod task;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;
mod topology;
mod tracking;
mod url;

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, try_join_all};
use redis::Cmd;
use tokio::sync::watch;

pub(crate) use broadcast::Watch;
pub(crate) use call::{Call, Rerun, was_split};
pub(crate) use connection::{Connection, record_once};
pub(crate) use permission::permission_hook;
pub(crate) use script::Script;
pub(crate) use target::Target;

use super::breaker::Breaker;
use super::coherence::{Coherence, Note};
use super::error::{Error, ErrorKind, Result};
use super::status::Status;
pub(crate) use dedicated::{Dedicated, pause_after};
pub(crate) use gather::{Batched, Gathered, Gathering, OfEach, Single, Waiting};
pub(crate) use subscription::{At, Heard, Subscription};
use task::Task;
use topology::Topology;

/// How long `connect()` waits for the first connection.
const FIRST_CONNECTION_MAX: Duration = Duration::from_millis(1_700);

/// Runs on every new connection before anyone else may use it. In a cluster, one that asks for
/// a key of another node is passed over: it runs on that node's connection.
pub(crate) type Hook = Arc<dyn Fn(Connection) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// A cheap handle on one deployment. Its connections end with the last clone.
#[derive(Clone)]
pub(crate) struct Link(Arc<Inner>);

struct Inner {
    topology: Arc<Topology>,
    deadline: Duration,
    _keeping: Task,
}

/// A handle that does not keep the connections.
pub(crate) struct WeakLink(Weak<Inner>);

impl WeakLink {
    pub(crate) fn upgrade(&self) -> Option<Link> {
        self.0.upgrade().map(Link)
    }
}

impl Link {
    /// Starts connecting in the background. `hooks` run in order on every new connection.
    ///
    /// # Errors
    /// `Misconfigured` for TLS settings that will not do, or a system without random bytes.
    pub(crate) fn open(target: &Target, deadline: Duration, hooks: Vec<Hook>) -> Result<Self> {
        let topology = Topology::new(target, deadline, hooks)?;
        let process = format!("{:016x}", topology.process());
        tracing::info!(redis = %topology.address(), process, "connecting");
        let keeping = Task::start(Arc::clone(&topology).keep());
        Ok(Self(Arc::new(Inner { topology, deadline, _keeping: keeping })))
    }

    pub(crate) fn downgrade(&self) -> WeakLink {
        WeakLink(Arc::downgrade(&self.0))
    }

    /// A call of one command, to the node that has the key.
    pub(crate) fn call<'a>(&'a self, command: Cmd, key: &'a str, rerun: Rerun) -> Call<'a> {
        Call::new(self, command, key, rerun)
    }

    /// A call of a script, to the node that has its keys.
    pub(crate) fn script<'a>(&'a self, script: &'static Script, keys: &[&'a str]) -> Call<'a> {
        Call::of_script(self, script, keys)
    }

    /// What the clock of the node that has the key says, in milliseconds since 1970, going by what it said when it was
    /// asked, a second ago at most.
    ///
    /// # Errors
    /// As those of a call, where it has to be asked.
    pub(crate) async fn now_ms(&self, key: &str) -> Result<u64> {
        match self.0.topology.node_known_of(key).and_then(|node| node.clock().now_ms()) {
            Some(now_ms) => Ok(now_ms),
            None => self.ask_now_ms(key).await,
        }
    }

    /// The same, by asking it now.
    ///
    /// # Errors
    /// As those of a call.
    pub(crate) async fn ask_now_ms(&self, key: &str) -> Result<u64> {
        let (asked, node) = (Instant::now(), self.0.topology.node_known_of(key));
        let ask = self.call(redis::cmd("TIME"), key, Rerun::Harmless);
        let (seconds, micros): (u64, u64) = ask.run().await?;
        let now_ms = seconds.saturating_mul(1_000).saturating_add(micros / 1_000);
        let there = self.0.topology.node_known_of(key);
        if let (Some(node), Some(there)) = (node, there)
            && Arc::ptr_eq(&node, &there)
        {
            node.clock().set(now_ms, asked);
        }
        Ok(now_ms)
    }

    /// A connection to each primary, for looking at all keys.
    ///
    /// # Errors
    /// `Unavailable` if one of them is away.
    pub(crate) async fn primaries(&self) -> Result<Vec<Arc<Connection>>> {
        let all = async {
            let nodes = self.0.topology.known_map().await?.nodes.clone();
            try_join_all(nodes.iter().map(|node| node.ready())).await
        };
        tokio::time::timeout(self.0.deadline, all).await.unwrap_or_else(|_| {
            let kind = ErrorKind::Timeout { maybe_applied: false };
            Err(Error::new(kind, format!("no connection within {:?}", self.0.deadline)))
        })
    }

    /// Messages of a channel.
    pub(crate) fn subscribe(&self, channel: &str, at: At) -> Subscription {
        Subscription::start(Arc::downgrade(&self.0.topology), channel.to_owned(), at)
    }

    /// Changes of the keys that begin so, as every primary tells of them.
    pub(crate) fn watch(&self, prefix: &str) -> Watch {
        self.0.topology.watch(prefix)
    }

    /// A connection to the node of a key for one consumer alone, whose commands may block.
    pub(crate) async fn dedicate(&self, key: &str) -> Result<Dedicated> {
        let node = self.0.topology.node_of(key).await?;
        Ok(Dedicated::new(node.dedicated().await?.1))
    }

    /// From here on, [`Call::run_noted`] may find that its answer may be kept.
    pub(crate) fn track(&self, coherence: &Arc<Coherence>) {
        self.0.topology.track(coherence);
    }

    /// What tells whether a key was changed since, as far as anyone tells.
    pub(crate) fn note(&self, key: &str, coherence: &Coherence) -> Option<Note> {
        let map = self.0.topology.map();
        let node = map.node_of(|| slot::slot_of(key.as_bytes()))?;
        Some(coherence.note_anyway(key.as_bytes(), node.lane()))
    }

    /// All that was kept is old.
    pub(crate) fn forget(&self) {
        for node in self.0.topology.all_nodes() {
            node.lane().moved_on();
        }
    }

    /// Moves on when another server has taken the place of one that was written to: it may not
    /// know of the last writes.
    pub(crate) fn successions(&self) -> watch::Receiver<u64> {
        self.0.topology.successions()
    }

    /// A number that is the same for keys that one command may name together.
    pub(crate) fn together(&self, key: &str) -> u16 {
        if self.is_cluster() { slot::slot_of(key.as_bytes()) } else { 0 }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.0.topology.is_cluster()
    }

    /// The breakers of the primaries of the moment, each under its node's name.
    pub(crate) fn breakers(&self) -> Vec<Breaker> {
        self.0.topology.map().nodes.iter().map(|node| node.breaker().clone()).collect()
    }

    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        self.0.topology.status()
    }

    /// Hosts and ports, never credentials.
    pub(crate) fn address(&self) -> &str {
        self.0.topology.address()
    }

    /// A number of this link alone, drawn when it was opened. Its connections have it in their names.
    pub(crate) fn process(&self) -> u64 {
        self.0.topology.process()
    }

    /// Waits until the link is up, for as long as a person at a terminal would.
    ///
    /// # Errors
    /// Why it is not up: `Misconfigured` or `Denied` at once, `Unavailable` after two seconds.
    pub(crate) async fn until_up(&self) -> Result<()> {
        let mut status = self.status();
        let settled = status.wait_for(|s| matches!(s, Status::Up | Status::Failed(_)));
        let outcome = match tokio::time::timeout(FIRST_CONNECTION_MAX, settled).await {
            Ok(Ok(status)) => status.clone(),
            _ => self.status().borrow().clone(),
        };
        match outcome {
            Status::Up => Ok(()),
            Status::Down(error) | Status::Failed(error) => Err(error),
            Status::Connecting => Err(Error::new(
                ErrorKind::Unavailable { maybe_applied: false },
                format!("no connection to Redis at {} within 2 s", self.address()),
            )),
        }
    }

    fn topology(&self) -> &Topology {
        &self.0.topology
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.0.deadline
    }
}
