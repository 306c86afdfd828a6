//! Messages of a channel, on a connection of their own that is made again for ever.

use std::sync::Weak;
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
/// A subscription that ended sooner is made again after a pause.
const STABLE_AFTER: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// What a subscriber hears.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Subscribed, for the first time or again: what was published before may have been missed.
    Subscribed,
    Message(Bytes),
}

/// Ends when dropped. A subscriber too slow for its channel starts again with
/// [`Heard::Subscribed`].
pub(crate) struct Subscription {
    heard: mpsc::Receiver<Heard>,
    _task: Task,
}

impl Subscription {
    pub(super) fn start(topology: Weak<Topology>, channel: String) -> Self {
        let (told, heard) = mpsc::channel(QUEUE_LEN_MAX);
        let task = Task::start(async move {
            // Its own: a subscriber's trouble is not the callers'.
            let breaker = Breaker::new("subscriber");
            // Each time at whatever node is a primary then.
            while let Some(node) = topology.upgrade().map(|topology| topology.any_node()) {
                let began = tokio::time::Instant::now();
                let heard = match node {
                    Ok(node) => listen(&node, &channel, &told, &breaker).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = heard {
                    tracing::debug!(channel, %error, "subscribing again");
                }
                if began.elapsed() < STABLE_AFTER {
                    tokio::time::sleep(PAUSE_MAX.mul_f64(fastrand::f64())).await;
                }
            }
        });
        Self { heard, _task: task }
    }

    /// The next thing heard; `None` once the link is gone. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Heard> {
        self.heard.recv().await
    }
}

/// Comes back when the connection ended, or the subscriber fell behind.
async fn listen(
    node: &Node,
    channel: &str,
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
        }
    }
}

fn message(push: PushInfo) -> Option<Bytes> {
    match (push.kind, push.data.into_iter().nth(1)) {
        (PushKind::Message, Some(Value::BulkString(payload))) => Some(payload.into()),
        _ => None,
    }
}
