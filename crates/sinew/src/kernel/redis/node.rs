//! One server, supervised: connected for as long as anyone holds the node.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::connect::{self, Opened};
use super::{Connection, Hook, Target};
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::status::Status;
use crate::kernel::telemetry;

/// Longest time for socket and handshake together.
const CONNECT_MAX: Duration = Duration::from_millis(1_500);
/// Pauses grow from the first to the last of these, each drawn anew between zero and the bound.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LAST: Duration = Duration::from_secs(2);
/// A connection that ends sooner does not reset the pauses.
const STABLE_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Node {
    shared: Arc<Shared>,
    supervisor: JoinHandle<()>,
}

struct Shared {
    target: Target,
    address: String,
    deadline: Duration,
    hooks: Vec<Hook>,
    // Read by every call, written once a reconnect.
    connection: ArcSwapOption<Connection>,
    status: watch::Sender<Status>,
}

impl Node {
    pub(super) fn start(target: Target, deadline: Duration, hooks: Vec<Hook>) -> Self {
        let shared = Arc::new(Shared {
            address: target.to_string(),
            target,
            deadline,
            hooks,
            connection: ArcSwapOption::empty(),
            status: watch::Sender::new(Status::Connecting),
        });
        let supervisor = tokio::spawn(supervise(Arc::clone(&shared)));
        Self { shared, supervisor }
    }

    pub(super) fn connection(&self) -> Result<Arc<Connection>> {
        match self.shared.connection.load_full() {
            Some(connection) => Ok(connection),
            None => Err(Error::new(
                ErrorKind::Unavailable { maybe_applied: false },
                format!("not connected to Redis at {}", self.shared.address),
            )),
        }
    }

    pub(super) fn status(&self) -> watch::Receiver<Status> {
        self.shared.status.subscribe()
    }

    pub(super) fn address(&self) -> &str {
        &self.shared.address
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Takes the connection's driver with it.
        self.supervisor.abort();
    }
}

async fn supervise(shared: Arc<Shared>) {
    let mut pause_max = PAUSE_FIRST;
    loop {
        match shared.open().await {
            Ok(opened) => {
                let since = tokio::time::Instant::now();
                shared.serve(opened).await;
                if since.elapsed() >= STABLE_AFTER {
                    pause_max = PAUSE_FIRST;
                }
            }
            Err(error) => shared.failed(error),
        }
        tokio::time::sleep(pause_max.mul_f64(fastrand::f64())).await;
        pause_max = (pause_max * 2).min(PAUSE_LAST);
    }
}

impl Shared {
    async fn open(&self) -> Result<Opened> {
        let opened = tokio::time::timeout(CONNECT_MAX, connect::open(&self.target, self.deadline))
            .await
            .unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::Unavailable { maybe_applied: false },
                    format!("no answer from Redis at {} within {CONNECT_MAX:?}", self.address),
                ))
            })?;
        // Each of their commands has its deadline; there may be many, and all must run.
        for hook in &self.hooks {
            hook(opened.connection.clone()).await?;
        }
        Ok(opened)
    }

    async fn serve(&self, mut opened: Opened) {
        self.connection.store(Some(Arc::new(opened.connection)));
        metrics::gauge!(telemetry::REDIS_UP).set(1.0);
        match self.status.send_replace(Status::Up) {
            // As loud as the line that it answers.
            Status::Down(_) | Status::Failed(_) => {
                tracing::warn!(redis = %self.address, "Redis is back");
            }
            _ => tracing::info!(redis = %self.address, "connected"),
        }
        opened.driver.ended().await;
        self.connection.store(None);
        self.failed(Error::new(
            ErrorKind::Unavailable { maybe_applied: false },
            format!("the connection to Redis at {} was lost", self.address),
        ));
    }

    fn failed(&self, error: Error) {
        metrics::gauge!(telemetry::REDIS_UP).set(0.0);
        let status = if error.is_retryable() { Status::Down(error) } else { Status::Failed(error) };
        let before = self.status.send_replace(status.clone());
        // One line a change, not one an attempt.
        if before.name() != status.name()
            && let Status::Down(error) | Status::Failed(error) = &status
        {
            tracing::warn!(redis = %self.address, %error, "Redis is {}", status.name());
        }
    }
}
