//! One server, supervised: connected for as long as anyone holds the node.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::broadcast::{self, Broadcasts};
use super::clock::NodeClock;
use super::connect::{Hears, Mode, Opened, Opening, Purpose};
use super::reply::is_elsewhere;
use super::sentinel::{Report, Sentinels};
use super::target::{Address, HostPort};
use super::task::Task;
use super::{Connection, Hook, life, tracking};
use crate::kernel::breaker::Breaker;
use crate::kernel::coherence::{Coherence, Lane};
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::status::Status;

/// Pauses grow from the first to the last of these, each drawn anew between zero and the bound: whoever waits for the server
/// goes on within a second of its return.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LAST: Duration = Duration::from_millis(500);
/// A connection that ends sooner does not reset the pauses.
const STABLE_AFTER: Duration = Duration::from_secs(1);
/// Longest time for all hooks of a connection.
const HOOKS_MAX: Duration = Duration::from_secs(5);

pub(super) struct Node {
    shared: Arc<Shared>,
    started: tokio::time::Instant,
    clock: NodeClock,
    _supervisor: Task,
    _tracking: Task,
    _broadcast: Task,
}

/// What the nodes of one link have in common.
pub(super) struct Common {
    pub(super) opening: Opening,
    pub(super) mode: Mode,
    pub(super) hooks: Vec<Hook>,
    /// Told at each change of a node's status.
    pub(super) changed: Arc<Notify>,
    /// Whether some node could run every hook. In a cluster only one has the keys for that, and
    /// none is used before.
    pub(super) hooks_ran: watch::Sender<bool>,
    /// Where changes of what was read are noted, once someone wants to know of them.
    pub(super) tracking: watch::Sender<Option<Arc<Coherence>>>,
    /// Who wants to know of changes of keys that begin so.
    pub(super) broadcasts: Arc<Broadcasts>,
    /// How often another server took the place of one: writes may have been lost then.
    pub(super) successions: watch::Sender<u64>,
}

pub(super) struct Shared {
    pub(super) common: Arc<Common>,
    pub(super) locator: Locator,
    breaker: Breaker,
    // Read by every call, written once a reconnect.
    connection: ArcSwapOption<Connection>,
    /// The one whose server tells of changes, while `lane` says that it does.
    pub(super) tracked: ArcSwapOption<Connection>,
    pub(super) lane: Arc<Lane>,
    /// Which process served last, by its own name for itself.
    served_by: Mutex<Option<String>>,
    pub(super) status: watch::Sender<Status>,
    /// Told when there is reason to try at once.
    hurry: Notify,
}

/// Where a node was found to be.
pub(super) struct Located {
    address: Address,
    /// Of the sentinels' configuration.
    epoch: u64,
}

/// Where a node is.
pub(super) enum Locator {
    Fixed(Address),
    /// Wherever the sentinels say, and elsewhere when they say so.
    Sentinels(Sentinels),
}

impl Locator {
    pub(super) async fn locate(&self) -> Result<Located> {
        match self {
            Self::Fixed(address) => Ok(Located { address: address.clone(), epoch: 0 }),
            Self::Sentinels(sentinels) => {
                let Report { epoch, primary } = sentinels.primary().await?;
                Ok(Located { address: Address::Tcp(primary), epoch })
            }
        }
    }

    /// Comes back when the node is elsewhere.
    pub(super) async fn moved_from(&self, located: &Located) {
        match (self, &located.address) {
            (Self::Sentinels(sentinels), Address::Tcp(at)) => {
                sentinels.moved_from(located.epoch, at).await;
            }
            _ => std::future::pending().await,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Fixed(address) => address.to_string(),
            Self::Sentinels(sentinels) => sentinels.name().to_owned(),
        }
    }
}

impl Node {
    pub(super) fn start(common: Arc<Common>, locator: Locator) -> Arc<Self> {
        let shared = Arc::new(Shared {
            common,
            breaker: Breaker::new(locator.name()),
            locator,
            connection: ArcSwapOption::empty(),
            tracked: ArcSwapOption::empty(),
            lane: Arc::new(Lane::new()),
            served_by: Mutex::default(),
            status: watch::Sender::new(Status::Connecting),
            hurry: Notify::new(),
        });
        Arc::new(Self {
            _supervisor: Task::start(supervise(Arc::clone(&shared))),
            _tracking: Task::start(tracking::keep(Arc::clone(&shared))),
            _broadcast: Task::start(broadcast::keep(Arc::clone(&shared))),
            started: tokio::time::Instant::now(),
            clock: NodeClock::default(),
            shared,
        })
    }

    /// The connection of the moment. Waits for one that is being made for the first time, or in
    /// place of one just lost; where that has failed, not for the next attempts.
    ///
    /// # Errors
    /// `Unavailable` when there is none.
    pub(super) async fn ready(&self) -> Result<Arc<Connection>> {
        if let Some(connection) = self.connection() {
            return Ok(connection);
        }
        let mut status = self.shared.status.subscribe();
        loop {
            let is_settled =
                !matches!(*status.borrow_and_update(), Status::Connecting | Status::Up);
            // Looked at after the status: what comes between wakes us.
            if let Some(connection) = self.connection() {
                return Ok(connection);
            }
            if is_settled {
                return Err(Error::new(
                    ErrorKind::Unavailable { maybe_applied: false },
                    format!("not connected to Redis at {}", self.shared.locator.name()),
                ));
            }
            // The sender lives in `self`, so waiting cannot fail.
            let _ = status.changed().await;
        }
    }

    /// The connection, if there is one right now.
    pub(super) fn connection(&self) -> Option<Arc<Connection>> {
        self.shared.connection.load_full().filter(|connection| !connection.is_dead())
    }

    /// The connection whose server tells of changes, if there is one right now.
    pub(super) fn tracked(&self) -> Option<Arc<Connection>> {
        self.shared.tracked.load_full().filter(|connection| !connection.is_dead())
    }

    pub(super) fn lane(&self) -> &Arc<Lane> {
        &self.shared.lane
    }

    /// A connection of one's own, and where it leads.
    pub(super) async fn dedicated(&self) -> Result<(Located, Opened)> {
        let located = self.shared.locator.locate().await?;
        let opened = self.shared.open(&located.address, None).await?;
        Ok((located, opened))
    }

    /// Comes back when the node is elsewhere.
    pub(super) async fn moved_from(&self, located: &Located) {
        self.shared.locator.moved_from(located).await;
    }

    /// Ends the pause before the next attempt to connect.
    pub(super) fn hurry(&self) {
        self.shared.hurry.notify_one();
    }

    pub(super) fn status(&self) -> Status {
        self.shared.status.borrow().clone()
    }

    pub(super) fn breaker(&self) -> &Breaker {
        &self.shared.breaker
    }

    pub(super) fn clock(&self) -> &NodeClock {
        &self.clock
    }

    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Where it is, where that is fixed.
    pub(super) fn address(&self) -> Option<&HostPort> {
        match &self.shared.locator {
            Locator::Fixed(Address::Tcp(at)) => Some(at),
            _ => None,
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // What is not there any more holds no one back, and tells of nothing.
        self.shared.breaker.retire();
        self.shared.lane.lost();
    }
}

async fn supervise(shared: Arc<Shared>) {
    let mut pause_max = PAUSE_FIRST;
    loop {
        let mut located = None;
        let lost = match shared.connect(&mut located).await {
            Ok((address, opened)) => {
                let since = tokio::time::Instant::now();
                let lost = shared.serve(&address, opened).await;
                if since.elapsed() >= STABLE_AFTER {
                    pause_max = PAUSE_FIRST;
                    // The first attempt to replace it is made at once, and callers wait for it.
                    shared.tell(Status::Connecting);
                    tracing::info!(redis = %address.address, reason = %lost, "connecting again");
                    continue;
                }
                located = Some(address);
                lost
            }
            Err(error) => error,
        };
        shared.failed(lost);
        let moved = async {
            match &located {
                Some(located) => shared.locator.moved_from(located).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause_max.mul_f64(fastrand::f64())) => {}
            // Whoever is redirected here says so: not to be hammered on if it is dead.
            () = async { tokio::time::sleep(PAUSE_FIRST).await; shared.hurry.notified().await } => {}
            // The next attempt goes elsewhere.
            () = moved => {}
        }
        pause_max = (pause_max * 2).min(PAUSE_LAST);
    }
}

impl Shared {
    /// Locates and opens, and anew when the node moves meanwhile. `at` says where it was tried.
    async fn connect(&self, at: &mut Option<Located>) -> Result<(Located, Opened)> {
        loop {
            let located = at.insert(self.locator.locate().await?);
            tokio::select! {
                opened = self.open_ready(&located.address) => {
                    let opened = opened?;
                    // There, since it was inserted above.
                    let located = at.take().ok_or_else(|| Error::corrupt("not located"))?;
                    return Ok((located, opened));
                }
                () = self.locator.moved_from(located) => {}
            }
        }
    }

    /// A connection whose hooks have run.
    async fn open_ready(&self, address: &Address) -> Result<Opened> {
        let opened = self.open(address, None).await?;
        let hooks = async {
            for hook in &self.common.hooks {
                match hook(opened.connection.clone()).await {
                    // Another node keeps the key: it runs the hook, and this one waits for it.
                    Err(error) if is_elsewhere(&error) => {
                        let mut hooks_ran = self.common.hooks_ran.subscribe();
                        let _ = hooks_ran.wait_for(|ran| *ran).await;
                        return Ok(());
                    }
                    other => other?,
                }
            }
            self.common.hooks_ran.send_replace(true);
            Ok(())
        };
        let unfinished = |_| {
            let kind = ErrorKind::Unavailable { maybe_applied: false };
            Err(Error::new(kind, format!("{address} did not get ready within {HOOKS_MAX:?}")))
        };
        tokio::time::timeout(HOOKS_MAX, hooks).await.unwrap_or_else(unfinished)?;
        Ok(opened)
    }

    async fn open(&self, address: &Address, hears: Option<Hears>) -> Result<Opened> {
        self.common.opening.open(address, Purpose::Serve(self.common.mode), hears).await
    }

    /// A connection whose pushes are told to `hears`.
    pub(super) async fn open_hearing(&self, at: &Located, hears: Hears) -> Result<Opened> {
        self.open(&at.address, Some(hears)).await
    }

    pub(super) fn name(&self) -> String {
        self.locator.name()
    }

    /// Whether the callers' connection leads to this server.
    pub(super) fn is_served_by(&self, server: &str) -> bool {
        self.served_by.lock().as_deref() == Some(server)
    }

    /// Another process than the last one may not know all that the last one acknowledged.
    fn serves(&self, server: &str) {
        let before = self.served_by.lock().replace(server.to_owned());
        if before.is_some_and(|before| before != server) {
            self.common.successions.send_modify(|count| *count += 1);
        }
    }

    /// Says why it ended.
    async fn serve(&self, located: &Located, mut opened: Opened) -> Error {
        let connection = opened.connection;
        self.connection.store(Some(Arc::new(connection.clone())));
        self.serves(&opened.server.process);
        // It answered the handshake.
        self.breaker.recovered();
        self.tell(Status::Up);
        let prompt = self.common.opening.deadline;
        let reason = tokio::select! {
            () = opened.driver.ended() => "was lost",
            end = life::watch(&connection, &self.breaker, prompt) => match end {
                life::End::Silent => "went silent",
                life::End::Lost => "was lost",
                life::End::NotPrimary => "is to a primary no more",
            },
            () = self.locator.moved_from(located) => "is to a primary no more",
            () = ignore(&mut opened.pushes) => "was lost",
        };
        self.connection.store(None);
        // However many calls were on it.
        self.breaker.incident();
        Error::new(
            ErrorKind::Unavailable { maybe_applied: false },
            format!("the connection to Redis at {} {reason}", located.address),
        )
    }

    fn failed(&self, error: Error) {
        self.tell(if error.is_retryable() { Status::Down(error) } else { Status::Failed(error) });
    }

    fn tell(&self, status: Status) {
        self.status.send_replace(status);
        self.common.changed.notify_one();
    }
}

/// A command connection subscribes to nothing; what comes all the same must not fill the queue.
async fn ignore(pushes: &mut tokio::sync::mpsc::Receiver<redis::PushInfo>) {
    while pushes.recv().await.is_some() {}
}
