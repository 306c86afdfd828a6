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
use crate::kernel::coherence::{Coherence, Note};
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
    unless_split: bool,
    noted: Option<&'a Coherence>,
    also_noted: &'a [&'a str],
}

impl<'a> Call<'a> {
    /// A call of one command on one key.
    pub(super) fn new(link: &'a Link, command: Cmd, key: &'a str, rerun: Rerun) -> Self {
        Self {
            link,
            command,
            key,
            script: None,
            rerun,
            passes_breaker: false,
            unless_split: false,
            noted: None,
            also_noted: &[],
        }
    }

    /// A call of a script on its keys, the first of which says where.
    pub(super) fn of_script(link: &'a Link, script: &'static Script, keys: &[&'a str]) -> Self {
        let mut command = redis::cmd("EVALSHA");
        command.arg(script.digest()).arg(keys.len()).arg(keys);
        let key = keys.first().copied().unwrap_or_default();
        Self { script: Some(script), ..Self::new(link, command, key, script.rerun()) }
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

    /// Does not wait where a slot is on the move and has some of the keys here and some there,
    /// which no node serves together: the caller goes on with [`was_split`].
    pub(crate) fn unless_split(mut self) -> Self {
        self.unless_split = true;
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
        Ok(self.run_on_a_course().await?.0)
    }

    /// Makes a call that reads the key, and says on what terms its answer may be kept. `None`: it
    /// may not, since no one would tell of a change.
    ///
    /// # Errors
    /// As [`Call::run`].
    pub(crate) async fn run_noted<T: FromRedisValue>(
        mut self,
        coherence: &'a Coherence,
    ) -> Result<(T, Option<Note>)> {
        self.noted = Some(coherence);
        let (value, mut notes) = self.run_on_a_course().await?;
        Ok((value, notes.pop()))
    }

    /// The same for a call that reads several keys: a note for each, in order, or none at all.
    ///
    /// # Errors
    /// As [`Call::run`].
    pub(crate) async fn run_noted_all<T: FromRedisValue>(
        mut self,
        coherence: &'a Coherence,
        others: &'a [&'a str],
    ) -> Result<(T, Vec<Note>)> {
        (self.noted, self.also_noted) = (Some(coherence), others);
        self.run_on_a_course().await
    }

    async fn run_on_a_course<T: FromRedisValue>(self) -> Result<(T, Vec<Note>)> {
        let mut progress = Progress::default();
        let mut course = Course {
            next: None,
            redirections: 0,
            pause: PAUSE_FIRST,
            refusal: None,
            notes: Vec::new(),
        };
        let deadline = self.link.deadline();
        let outcome = {
            // Pinned here: moving a future into another makes room for it twice.
            let attempts = pin!(self.attempts(&mut progress, &mut course));
            tokio::time::timeout(deadline, attempts).await
        };
        match outcome {
            Ok(Ok(value)) => Ok((read(value)?, course.notes)),
            Ok(Err(error)) if progress.is_unknown => Err(error.made_unsure()),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let (is_under_way, maybe_applied) = (progress.is_under_way, progress.time_out());
                let kind = ErrorKind::Timeout { maybe_applied };
                Err(match course.refusal {
                    Some(refusal) if !is_under_way => {
                        let context = format!("Redis could not serve this for {deadline:?}");
                        Error::new(kind, context).with_source(refusal)
                    }
                    _ => Error::new(kind, format!("no reply from Redis within {deadline:?}")),
                })
            }
        }
    }

    async fn attempts(&self, progress: &mut Progress, course: &mut Course) -> Result<Value> {
        loop {
            let stop = match course.next.take() {
                Some(stop) => stop,
                None => {
                    let node = self.link.topology().node_of(self.key).await?;
                    Stop { node, asking: false }
                }
            };
            let connection = self.connection(&stop, course).await?;
            let permit = self.permit(&stop.node)?;
            // Trouble on the second connection is not the callers': the permit is only given back.
            progress.begin(permit.filter(|_| course.notes.is_empty()));
            match self.send(&connection, stop.asking).await {
                Ok(value) => {
                    progress.answered();
                    return Ok(value);
                }
                Err(error) => {
                    let verdict = Verdict::on(&error);
                    match &verdict {
                        // The node counts lost connections, each once.
                        Verdict::Lost => progress.lost(),
                        _ => progress.answered(),
                    }
                    self.go_on(course, stop, &connection, verdict, error).await?;
                }
            }
        }
    }

    /// Where to send it, and what is noted of the key before it is sent.
    async fn connection(&self, stop: &Stop, course: &mut Course) -> Result<Arc<Connection>> {
        course.notes.clear();
        // A slot on its way is told of by neither of its nodes.
        if let (Some(coherence), false) = (self.noted, stop.asking) {
            // The terms first, then the connection: it is the one of these terms, or a later one,
            // and then they hold no more.
            let lane = stop.node.lane();
            let keys = std::iter::once(&self.key).chain(self.also_noted);
            let notes: Option<Vec<_>> =
                keys.map(|key| coherence.note(key.as_bytes(), lane)).collect();
            if let (Some(notes), Some(connection)) = (notes, stop.node.tracked()) {
                course.notes = notes;
                return Ok(connection);
            }
        }
        stop.node.ready().await
    }

    /// Where to go after an error, or that it was the last word.
    async fn go_on(
        &self,
        course: &mut Course,
        stop: Stop,
        connection: &Connection,
        verdict: Verdict,
        error: RedisError,
    ) -> Result<()> {
        let topology = self.link.topology();
        match verdict {
            Verdict::Moved(address) => {
                topology.suspect();
                course.redirect(self.node_named(&address, &stop.node)?, false).await;
            }
            Verdict::Ask(address) => {
                course.redirect(self.node_named(&address, &stop.node)?, true).await;
            }
            Verdict::NoScript if let Some(script) = self.script => {
                match connection.send(&script.load()).await {
                    // It was refused before it ran, so sending it again runs it once.
                    Ok(_) => course.next = Some(stop),
                    Err(error) if matches!(Verdict::on(&error), Verdict::Final) => {
                        return Err(told_by(error));
                    }
                    Err(_) => course.wait().await,
                }
            }
            Verdict::Lost if self.rerun == Rerun::Harmful => {
                let kind = ErrorKind::Unavailable { maybe_applied: true };
                let lost = "the connection to Redis was lost, and with it the reply";
                return Err(Error::new(kind, lost).with_source(error));
            }
            Verdict::Lost => topology.suspect(),
            Verdict::NotPrimary => {
                // It was one when we connected. What it reads from now on is old: look anew.
                connection.kill();
                topology.suspect();
                course.refusal = Some(error);
                course.wait().await;
            }
            Verdict::NotNow if self.unless_split && is_split(&error) => {
                return Err(told_by(error));
            }
            // Someone has looked, and found the same: nobody's waiting helps.
            Verdict::NotNow if is_cluster_down(&error) && topology.is_known_down() => {
                return Err(told_by(error));
            }
            Verdict::NotNow => {
                topology.suspect();
                course.refusal = Some(error);
                course.wait().await;
            }
            Verdict::NoScript | Verdict::Final => return Err(told_by(error)),
        }
        Ok(())
    }

    fn node_named(&self, address: &str, asked: &Node) -> Result<Arc<Node>> {
        if !self.link.topology().is_cluster() {
            return Err(Error::corrupt("Redis redirected, and is no cluster"));
        }
        let nowhere = HostPort { host: String::new(), port: 0 };
        let at = redirected(address, asked.address().unwrap_or(&nowhere));
        let at = at.ok_or_else(|| Error::corrupt("Redis redirected to what is no address"))?;
        self.link.topology().node_at(&at)
    }

    /// The breaker's leave; `None` where none is needed.
    fn permit(&self, node: &Node) -> Result<Option<Permit>> {
        let breaker = node.breaker();
        match breaker.permit() {
            Ok(permit) => Ok(Some(permit)),
            Err(_) if self.passes_breaker && breaker.state() != BreakerState::Isolated => Ok(None),
            Err(_) => {
                let (name, state) = (breaker.name(), breaker.state().name());
                Err(Error::new(
                    ErrorKind::Unavailable { maybe_applied: false },
                    format!("the circuit breaker of Redis at {name} is {state}"),
                ))
            }
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
        match (replies.next(), replies.next()) {
            // Without it, the command was only sent back.
            (Some(Err(refused)), Some(Err(_))) => Err(refused),
            (_, Some(reply)) => reply,
            (_, None) => {
                Err((redis::ErrorKind::UnexpectedReturnType, "no reply after ASKING").into())
            }
        }
    }
}

fn is_split(error: &RedisError) -> bool {
    use redis::ServerErrorKind::{Ask, TryAgain};
    matches!(error.kind(), redis::ErrorKind::Server(TryAgain | Ask))
}

fn is_cluster_down(error: &RedisError) -> bool {
    error.kind() == redis::ErrorKind::Server(redis::ServerErrorKind::ClusterDown)
}

/// Whether a call was refused because its keys are on two nodes, as [`Call::unless_split`] says.
pub(crate) fn was_split(error: &Error) -> bool {
    use std::error::Error as _;
    error.source().and_then(|source| source.downcast_ref()).is_some_and(is_split)
}

/// A node to send to, and whether it has to be told that the slot is still on its way.
struct Stop {
    node: Arc<Node>,
    asking: bool,
}

/// The way of a call from node to node.
struct Course {
    /// `None`: to whoever has the key, by the map.
    next: Option<Stop>,
    redirections: u32,
    pause: Duration,
    /// Why the last node did not serve it.
    refusal: Option<RedisError>,
    /// On what terms the answer may be kept.
    notes: Vec<Note>,
}

impl Course {
    async fn redirect(&mut self, node: Arc<Node>, asking: bool) {
        self.redirections += 1;
        if self.redirections.is_multiple_of(REDIRECTIONS_MAX) {
            // They send us to and fro, until they agree.
            self.wait().await;
        }
        self.next = Some(Stop { node, asking });
    }

    async fn wait(&mut self) {
        tokio::time::sleep(self.pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        self.pause = (self.pause * 2).min(PAUSE_LAST);
    }
}

/// How far a call has come, for when it is cut off.
#[derive(Default)]
struct Progress {
    is_under_way: bool,
    permit: Option<Permit>,
    /// An earlier attempt may have run.
    is_unknown: bool,
}

impl Progress {
    fn begin(&mut self, permit: Option<Permit>) {
        (self.is_under_way, self.permit) = (true, permit);
    }

    /// Whatever the server said, it is well.
    fn answered(&mut self) {
        self.is_under_way = false;
        if let Some(permit) = self.permit.take() {
            permit.succeeded();
        }
    }

    fn lost(&mut self) {
        (self.is_under_way, self.permit, self.is_unknown) = (false, None, true);
    }

    /// Whether it may have run.
    fn time_out(&mut self) -> bool {
        if let Some(permit) = self.permit.take() {
            permit.failed();
        }
        self.is_unknown || self.is_under_way
    }
}
