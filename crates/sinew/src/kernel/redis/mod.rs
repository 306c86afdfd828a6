//! The link: one deployment of Redis, kept connected.
//!
//! A link is made of nodes; today it has one, at a fixed address. A node owns its socket
//! and reconnects for ever (`node.rs`); a call takes the connection of the moment and fails
//! at once when there is none, so that an outage costs a caller nothing.

mod connect;
mod connection;
mod node;
mod script;
mod target;

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

pub(crate) use connection::{Connection, record_once};
pub(crate) use script::Script;
pub(crate) use target::Target;

use super::error::{Error, ErrorKind, Result};
use super::status::Status;
use node::Node;

/// How long `connect()` waits for the first connection.
const FIRST_CONNECTION_MAX: Duration = Duration::from_millis(1_900);

/// Runs on every new connection before anyone else may use it.
pub(crate) type Hook = Arc<dyn Fn(Connection) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// A cheap handle on one deployment. The connection ends with the last clone.
#[derive(Clone)]
pub(crate) struct Link(Arc<Node>);

/// A handle that does not keep the connection.
pub(crate) struct WeakLink(Weak<Node>);

impl WeakLink {
    pub(crate) fn upgrade(&self) -> Option<Link> {
        self.0.upgrade().map(Link)
    }
}

impl Link {
    pub(crate) fn downgrade(&self) -> WeakLink {
        WeakLink(Arc::downgrade(&self.0))
    }

    /// Starts connecting in the background. `hooks` run in order on every new connection.
    pub(crate) fn open(target: Target, deadline: Duration, hooks: Vec<Hook>) -> Self {
        Self(Arc::new(Node::start(target, deadline, hooks)))
    }

    /// The connection of the moment.
    ///
    /// # Errors
    /// `Unavailable` at once when there is none.
    pub(crate) fn connection(&self) -> Result<Arc<Connection>> {
        self.0.connection()
    }

    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        self.0.status()
    }

    /// Host and port, never credentials.
    pub(crate) fn address(&self) -> &str {
        self.0.address()
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
}
