//! A call: to the right node, within its deadline, and never run twice where that would show.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, FromRedisValue, RedisError, ToRedisArgs, Value};

use super::Link;
use super::connection::Connection;
use super::node::Node;
use super::reply::{Verdict, read, redirected, told_by};
use super::script::Script;
use super::target::HostPort;
use crate::kernel::breaker::{BreakerState, Permit};
use crate::kernel::error::{Error, ErrorKind, Result};

/// What a second run does, should the connection be lost after the first was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rerun {
    /// Nothing more than the first did, *even after other writes came between*: sent again.
    Harmless,
    /// Something that shows: never sent again. The error says that it may have run.
    Harmful,
}

/// So many redirections without a pause: more than a cluster that is of one mind gives.
const REDIRECTIONS_MAX: u32 = 4;
/// Pauses before a call that was refused for now is made again.
const PAUSE_FIRST: Duration = Duration::from_millis(2);
const PAUSE_LAST: Duration = Duration::from_millis(50);

/// A call being put together.
#[must_use = "a call is made by run()"]
pub(crate) struct Call<'a> {
    link: &'a Link,
    command: Cmd,
    key: &'a str,
    script: Option<&'static Script>,
    rerun: Rerun,
    passes_breaker: bool,
}

impl<'a> Call<'a> {
    /// A call of one command on one key.
    pub(super) fn new(link: &'a Link, command: Cmd, key: &'a str, rerun: Rerun) -> Self {
        Self { link, command, key, script: None, rerun, passes_breaker: false }
    }

    /// A call of a script on its keys, the first of which says where.
    pub(super) fn of_script(link: &'a Link, script: &'static Script, keys: &[&'a str]) -> Self {
        let mut command = redis::cmd("EVALSHA");
        command.arg(script.digest()).arg(keys.len()).arg(keys);
        let key = keys.first().copied().unwrap_or_default();
        let rerun = script.rerun();
        Self { link, command, key, script: Some(script), rerun, passes_breaker: false }
    }

    pub(crate) fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        self.command.arg(argument);
        self
    }

    /// For what gives back or makes up for something: it is tried even while the breaker is open.
    /// One that was isolated by hand holds it back too.
    pub(crate) fn past_breaker(mut self) -> Self {
        self.passes_breaker = true;
        self
    }

    /// Makes the call.
    ///
    /// *Cancellation*: dropping the future does not take back what was sent.
    ///
    /// # Errors
    /// `Unavailable` at once while there is no connection, `Timeout` at the deadline, whatever the
    /// socket does; else what Redis said.
    pub(crate) async fn run<T: FromRedisValue>(self) -> Result<T> {
        let mut progress = Progress::default();
        let deadline = self.link.deadline();
        let outcome = {
            // Pinned here: moving a future into another makes room for it twice.
            let attempts = pin!(self.attempts(&mut progress));
            tokio::time::timeout(deadline, attempts).await
        };
        match outcome {
            Ok(Ok(value)) => read(value),
            Ok(Err(error)) if progress.is_unknown => Err(error.made_unsure()),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let maybe_applied = progress.is_unknown || progress.permit.is_some();
                if let Some(permit) = progress.permit.take() {
                    permit.failed();
                }
                Err(Error::new(
                    ErrorKind::Timeout { maybe_applied },
                    format!("no reply from Redis within {deadline:?}"),
                ))
            }
        }
    }

    async fn attempts(&self, progress: &mut Progress) -> Result<Value> {
        let mut redirected_to: Option<Redirection> = None;
        let mut redirections = 0;
        let mut pause = PAUSE_FIRST;
        loop {
            let Redirection { node, asking } = match redirected_to.take() {
                Some(redirection) => redirection,
                None => Redirection {
                    node: self.link.topology().node_of(self.key).await?,
                    asking: false,
                },
            };
            let connection = node.ready().await?;
            progress.permit = Some(self.permit(&node)?);
            let error = match self.send(&connection, asking).await {
                Ok(value) => {
                    progress.settle();
                    return Ok(value);
                }
                Err(error) => error,
            };
            let verdict = Verdict::on(&error);
            match &verdict {
                // The node counts lost connections, each once.
                Verdict::Lost => progress.lose(),
                _ => progress.settle(),
            }
            match verdict {
                Verdict::Moved(address) | Verdict::Ask(address) => {
                    redirections += 1;
                    if redirections % REDIRECTIONS_MAX == 0 {
                        // They send us to and fro, until they agree.
                        wait(&mut pause).await;
                    }
                    let asking = matches!(Verdict::on(&error), Verdict::Ask(_));
                    if !asking {
                        self.link.topology().suspect();
                    }
                    let node = self.node_named(&address, &node)?;
                    redirected_to = Some(Redirection { node, asking });
                }
                Verdict::NoScript if let Some(script) = self.script => {
                    // Refused before it ran, so sending it again runs it once.
                    connection.send(&script.load()).await.map_err(told_by)?;
                    redirected_to = Some(Redirection { node, asking });
                }
                Verdict::Lost if self.rerun == Rerun::Harmful => return Err(told_by(error)),
                Verdict::Lost => self.link.topology().suspect(),
                Verdict::NotPrimary => {
                    // It was one when we connected. What it reads from now on is old: look anew.
                    connection.kill();
                    self.link.topology().suspect();
                    wait(&mut pause).await;
                }
                Verdict::NotNow => {
                    self.link.topology().suspect();
                    wait(&mut pause).await;
                }
                Verdict::NoScript | Verdict::Final => {
                    return Err(told_by(error));
                }
            }
        }
    }

    fn node_named(&self, address: &str, asked: &Node) -> Result<Arc<Node>> {
        let nowhere = HostPort { host: String::new(), port: 0 };
        let at = redirected(address, asked.address().unwrap_or(&nowhere));
        let at = at.ok_or_else(|| Error::corrupt("Redis redirected to what is no address"))?;
        self.link.topology().node_at(&at)
    }

    fn permit(&self, node: &Node) -> Result<Admission> {
        let breaker = node.breaker();
        match breaker.permit() {
            Ok(permit) => Ok(Admission(Some(permit))),
            Err(_) if self.passes_breaker && breaker.state() != BreakerState::Isolated => {
                Ok(Admission(None))
            }
            Err(_) => Err(Error::new(
                ErrorKind::Unavailable { maybe_applied: false },
                format!(
                    "the circuit breaker of Redis at {} is {}",
                    breaker.name(),
                    breaker.state().name()
                ),
            )),
        }
    }

    async fn send(&self, connection: &Connection, asking: bool) -> Result<Value, RedisError> {
        if !asking {
            return connection.send(&self.command).await;
        }
        // In one write: the permission is for the next command on the connection only.
        let mut both = redis::pipe();
        both.cmd("ASKING").add_command(self.command.clone());
        let mut replies = connection.send_all(&both).await?.into_iter();
        replies.nth(1).unwrap_or(Ok(Value::Nil))
    }
}

struct Redirection {
    node: Arc<Node>,
    asking: bool,
}

/// The breaker's leave, or none where none was needed.
struct Admission(Option<Permit>);

impl Admission {
    fn failed(self) {
        if let Some(permit) = self.0 {
            permit.failed();
        }
    }
}

/// How far a call has come, for when it is cut off.
#[derive(Default)]
struct Progress {
    /// There while a command is under way.
    permit: Option<Admission>,
    /// An earlier attempt may have run.
    is_unknown: bool,
}

impl Progress {
    /// The server answered: whatever it said, it is well.
    fn settle(&mut self) {
        if let Some(Admission(Some(permit))) = self.permit.take() {
            permit.succeeded();
        }
    }

    fn lose(&mut self) {
        self.permit = None;
        self.is_unknown = true;
    }
}

async fn wait(pause: &mut Duration) {
    tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
    *pause = (*pause * 2).min(PAUSE_LAST);
}
