//! Messages of a channel, on a connection of their own that is made again for ever.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::mpsc;

use super::life;
use super::node::Node;
use super::task::Task;
use super::topology::Topology;
use crate::kernel::breaker::Breaker;
use crate::kernel::error::{Error, ErrorKind, Result};

/// Beside the connection's own queue of pushes.
const QUEUE_LEN_MAX: usize = 16;
/// A subscription that stood for so long is made again at once when it ends.
const STABLE_AFTER: Duration = Duration::from_secs(1);
/// Pauses before one that did not, each drawn anew between half of its bound and all of it. Bounds double.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LAST: Duration = Duration::from_secs(2);
/// The last bound where it is refused for good: each attempt is a connection, and a line in Redis's log
/// of denials.
const PAUSE_LAST_REFUSED: Duration = Duration::from_secs(30);
/// How often a cluster is looked at for whether the node is still the one.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What a subscriber hears.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Subscribed, for the first time or again: what was published before may have been missed.
    Subscribed,
    Message(Bytes),
}

/// At which of a cluster's nodes a channel is heard. What is published at another comes over the cluster's bus, which loses
/// messages without a word whenever two nodes take each other for slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Whichever primary is up.
    AnyNode,
    /// That of the channel's slot, where [`super::Link::call`] publishes if the channel is its key. Another, where no node
    /// is known to serve the slot.
    ItsNode,
}

impl At {
    fn node(self, topology: &Topology, channel: &str) -> Result<Arc<Node>> {
        self.its_node(topology, channel).map_or_else(|| topology.any_node(), Ok)
    }

    fn is_still(self, node: &Arc<Node>, topology: &Topology, channel: &str) -> bool {
        match self.its_node(topology, channel) {
            Some(its) => Arc::ptr_eq(&its, node),
            None => topology.map().nodes.iter().any(|there| Arc::ptr_eq(there, node)),
        }
    }

    fn its_node(self, topology: &Topology, channel: &str) -> Option<Arc<Node>> {
        match self {
            Self::AnyNode => None,
            Self::ItsNode => topology.node_known_of(channel),
        }
    }
}

/// Ends when dropped. A subscriber too slow for its channel starts again with
/// [`Heard::Subscribed`]. One whom Redis refuses the channel hears nothing, and asks again twice a minute.
pub(crate) struct Subscription {
    heard: mpsc::Receiver<Heard>,
    _task: Task,
}

impl Subscription {
    pub(super) fn start(topology: Weak<Topology>, channel: String, at: At) -> Self {
        let (told, heard) = mpsc::channel(QUEUE_LEN_MAX);
        let task = Task::start(async move {
            // Its own: a subscriber's trouble is not the callers'.
            let breaker = Breaker::new("subscriber");
            let (mut pause, mut is_refused) = (PAUSE_FIRST, false);
            // Each time at whatever node it is then.
            while let Some(node) = topology.upgrade().map(|known| at.node(&known, &channel)) {
                let began = tokio::time::Instant::now();
                let heard = match node {
                    Ok(node) => listen(&topology, &node, &channel, at, &told, &breaker).await,
                    Err(error) => Err(error),
                };
                let was_refused = is_refused;
                is_refused = heard.as_ref().is_err_and(Error::is_final);
                match &heard {
                    // Once, and not with every attempt.
                    Err(error) if is_refused && !was_refused => {
                        tracing::warn!(channel, %error, "Redis refuses a subscription: what is said there is not heard");
                    }
                    Err(error) => tracing::debug!(channel, %error, "subscribing again"),
                    Ok(()) => {}
                }
                if heard.is_ok() && began.elapsed() >= STABLE_AFTER {
                    pause = PAUSE_FIRST;
                    continue;
                }
                let bound = pause.min(if is_refused { PAUSE_LAST_REFUSED } else { PAUSE_LAST });
                tokio::time::sleep(bound.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                pause = bound * 2;
            }
        });
        Self { heard, _task: task }
    }

    /// The next thing heard; `None` once the link is gone. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Heard> {
        self.heard.recv().await
    }
}

/// Comes back when the connection ended, the subscriber fell behind, or the node left its cluster.
async fn listen(
    topology: &Weak<Topology>,
    node: &Arc<Node>,
    channel: &str,
    at: At,
    told: &mpsc::Sender<Heard>,
    breaker: &Breaker,
) -> Result<()> {
    let (located, mut opened) = node.dedicated().await?;
    let connection = opened.connection.clone();
    let _: Value = connection.call(redis::cmd("SUBSCRIBE").arg(channel)).await?;
    // Waits for a slow subscriber to come to what it has: after this, nothing older follows.
    let closed = |_| Error::new(ErrorKind::Unavailable { maybe_applied: false }, "unsubscribed");
    told.send(Heard::Subscribed).await.map_err(closed)?;
    let mut watching = std::pin::pin!(life::watch(&connection, breaker, Duration::MAX));
    loop {
        tokio::select! {
            push = opened.pushes.recv() => match push {
                // A slow subscriber is waited for: meanwhile the connection's own queue fills, and
                // its overflow ends the connection.
                Some(push) => if let Some(payload) = message(push) {
                    told.send(Heard::Message(payload)).await.map_err(closed)?;
                },
                None => return Ok(()),
            },
            _ = &mut watching => return Ok(()),
            () = opened.driver.ended() => return Ok(()),
            () = node.moved_from(&located) => return Ok(()),
            // It may run on, for itself alone, and call itself a primary.
            () = left(topology, node, channel, at) => return Ok(()),
        }
    }
}

/// Comes back when the channel is to be heard elsewhere.
async fn left(topology: &Weak<Topology>, node: &Arc<Node>, channel: &str, at: At) {
    while topology.upgrade().is_some_and(|topology| at.is_still(node, &topology, channel)) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn message(push: PushInfo) -> Option<Bytes> {
    match (push.kind, push.data.into_iter().nth(1)) {
        (PushKind::Message, Some(Value::BulkString(payload))) => Some(payload.into()),
        _ => None,
    }
}
