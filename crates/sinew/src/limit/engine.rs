//! What the limiters of one client share, and how a check goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::algorithm::{Demand, Mode, Receipt, Row};
use super::backend::{Backend as _, Reply, Store, Token};
use super::decision::{Decision, Report, Standing, Standings};
use super::definition::{Check, Limit};
use super::definitions::Known;
use super::deny::{Denials, Note};
use super::down::{BEAT_EVERY, Fallback};
use super::stats::{BusySubject, LimitStats, Outcome, Recorder};
use super::stock::{Refill, Stocks};
use super::whose::Of;
use crate::kernel::clock::Clock;
use crate::kernel::errand::to_the_end;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::{Key, Path, Scope};
use crate::kernel::name::LimitName;

/// The limits that one call may name.
const CHECKS_MAX: usize = 16;
/// Limits beyond this number are counted together, as one of this name.
const RECORDERS_MAX: usize = 1_000;
const OTHER_LIMITS: &str = "other";
/// So many denied requests may be giving back at the same time what they were charged. Those of more stay
/// charged.
const GIVING_BACK_MAX: usize = 1_024;

/// What all limiters of one client share.
pub(crate) struct Engine {
    /// Tells clients apart in what a definition remembers.
    id: u64,
    pub(super) backend: Store,
    pub(super) fallback: Fallback,
    pub(super) clock: Clock,
    pub(super) process: Token,
    pub(super) known: Known,
    denials: Denials,
    stocks: Stocks,
    is_counted: AtomicBool,
    /// Where this was made, which lasts as long as the connections do.
    runtime: Option<Handle>,
    giving_back: Arc<Semaphore>,
    // By name, over all tenants.
    recorders: DashMap<String, Arc<Recorder>>,
}

/// A check, ready to be asked.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) limit: Limit,
    pub(super) key: Key,
    pub(super) demand: Demand,
    note: Note,
}

/// Who decided on a charge, hence where it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Store,
    /// This process, because the store did not answer.
    Fallback,
}

/// What one limit said.
#[derive(Clone, Copy)]
pub(super) struct Answer {
    pub(super) row: Row,
    pub(super) by: By,
    now_us: u64,
}

impl Answer {
    pub(super) fn receipt(&self) -> Receipt {
        Receipt { charged: self.row.granted, at_us: self.now_us, mark: self.row.mark }
    }
}

/// What the limits said, in the order of the checks; `None` of those that were not asked any more.
pub(super) struct Decided {
    admitted: bool,
    pub(super) answers: Vec<Option<Answer>>,
}

impl Engine {
    pub(crate) fn new(backend: Store, clock: Clock) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            backend,
            fallback: Fallback::new(clock.clone()),
            clock,
            process: Token::random(),
            known: Known::default(),
            denials: Denials::new(),
            stocks: Stocks::new(),
            is_counted: AtomicBool::new(false),
            runtime: Handle::try_current().ok(),
            giving_back: Arc::new(Semaphore::new(GIVING_BACK_MAX)),
            recorders: DashMap::new(),
        })
    }

    /// Answers without asking anyone, where that can be: nothing is waited for, or allocated.
    #[inline]
    pub(super) fn answer_here(&self, scope: &Scope, checks: &[Check<'_>]) -> Option<Decision> {
        if self.backend.is_local() {
            return None;
        }
        let now = self.clock.now();
        if let [check] = checks
            && check.limit.permits() > 0
            && check.cost > 0
            && let Some(standing) = self.stocks.take(Of::new(scope, check), check.cost, now)
        {
            self.count(check.limit, Outcome::Admitted, || key_of(scope, check).ok());
            return Some(Decision::Allowed(Report::of_one(standing)));
        }
        let find = |at: usize| {
            let check = checks.get(at)?;
            self.denials.find(Of::new(scope, check), at, check.cost, now)
        };
        let denied = match checks.len() {
            1 => find(0)?,
            // Who has to wait for several waits for the last of them.
            len => (0..len)
                .filter_map(find)
                .max_by_key(|standing| standing.retry_after.unwrap_or(Duration::MAX))?,
        };
        let check = &checks[denied.check];
        self.count(check.limit, Outcome::Denied, || key_of(scope, check).ok());
        Some(Decision::Denied(Report::of_one(denied)))
    }

    /// Asks the store, or does what each limit says where it does not answer.
    pub(super) async fn check(
        self: &Arc<Self>,
        scope: &Scope,
        checks: &[Check<'_>],
    ) -> Result<Decision> {
        let asks = self.asks(scope, checks)?;
        let (asks, decided) = match self.refill(scope, checks, &asks) {
            Some(refill) => {
                let engine = Arc::clone(self);
                // Whether or not the caller waits for it: the permits are charged.
                to_the_end(async move { engine.decide_and_fill(asks, refill).await }).await?
            }
            None => self.decide(asks).await?,
        };
        if !decided.admitted && !self.backend.is_local() {
            self.learn(scope, checks, &asks, &decided);
        }
        Ok(self.told(&asks, &decided))
    }

    /// Asks for more than the cost, to have it in stock.
    async fn decide_and_fill(
        self: &Arc<Self>,
        mut asks: Vec<Ask>,
        refill: Refill,
    ) -> Result<(Vec<Ask>, Decided)> {
        if let [ask] = &mut asks[..] {
            ask.demand.want = ask.demand.cost.saturating_add(refill.room);
        }
        let (asks, decided) = self.decide(asks).await?;
        if let ([ask], [Some(answer)]) = (&asks[..], &decided.answers[..])
            && decided.admitted
            && answer.by == By::Store
            && answer.row.admits
        {
            let lasts = Duration::from_micros(ask.demand.rule.period_us());
            refill.fill(answer.row, ask.demand.cost, ask.note.at(), lasts);
        }
        Ok((asks, decided))
    }

    /// Remembers who was denied.
    fn learn(&self, scope: &Scope, checks: &[Check<'_>], asks: &[Ask], decided: &Decided) {
        let now = self.clock.now();
        for ((ask, answer), check) in asks.iter().zip(&decided.answers).zip(checks) {
            if let Some(Answer { row, by: By::Store, .. }) = answer
                && !row.admits
                && !ask.demand.is_shadow
            {
                let of = Of::new(scope, check);
                self.denials.learn(of, ask.note, now, ask.demand.cost, *row);
            }
        }
    }

    /// How the limits stand. Nothing is charged or counted.
    pub(super) async fn peek(
        self: &Arc<Self>,
        scope: &Scope,
        checks: &[Check<'_>],
    ) -> Result<Decision> {
        let asks = self.asks(scope, checks)?;
        let mut decided = Decided { admitted: true, answers: vec![None; asks.len()] };
        let began = Instant::now();
        for (nth, group) in self.groups(&asks).into_iter().enumerate() {
            let reply = self.ask_nth(nth, began, &asks, &group, Mode::Look).await?;
            decided.take(&group, &reply, By::Store);
        }
        Ok(decided.decision(&asks))
    }

    /// Forgets all that was charged, and says whether anything was.
    pub(super) async fn reset(self: &Arc<Self>, scope: &Scope, check: &Check<'_>) -> Result<bool> {
        let (engine, Ask { key, .. }) = (Arc::clone(self), self.ask_of(scope, check)?);
        // Whether or not the caller waits for it: once it is done there, it is to be done here.
        to_the_end(async move {
            let outcome = engine.backend.reset(&key).await;
            // Also where it failed: it may have been done all the same.
            engine.denials.forget(&key);
            let was_in_stock = engine.stocks.forget(&key, engine.clock.now());
            let was_charged_here = engine.fallback.local.reset_now(&key);
            outcome.map(|was_charged| was_charged || was_in_stock || was_charged_here)
        })
        .await
    }

    /// Settles a charge, once: where the store does not answer, it may or may not have been settled.
    pub(super) async fn settle(&self, ask: &Ask, answer: &Answer, actual: u64) -> Result<()> {
        let receipt = answer.receipt();
        match answer.by {
            By::Store => {
                let rule = ask.demand.rule;
                let outcome = self.backend.settle(&ask.key, rule, &receipt, actual).await;
                if actual < receipt.charged {
                    self.denials.forget(&ask.key);
                }
                outcome
            }
            By::Fallback => {
                self.fallback.settle(ask, &receipt, actual);
                Ok(())
            }
        }
    }

    pub(super) fn ask_of(&self, scope: &Scope, check: &Check<'_>) -> Result<Ask> {
        let limit = check.limit.clone();
        let rule = limit.rule()?;
        if check.cost == 0 {
            return Err(Error::rejected("a cost of 0: expected 1 or more, or peek()"));
        }
        let key = key_of(scope, check)?;
        let note = self.denials.note(&key, self.clock.now());
        let demand =
            Demand { rule, cost: check.cost, want: check.cost, is_shadow: limit.is_shadow() };
        Ok(Ask { limit, key, demand, note })
    }

    fn asks(&self, scope: &Scope, checks: &[Check<'_>]) -> Result<Vec<Ask>> {
        if checks.is_empty() || checks.len() > CHECKS_MAX {
            return Err(Error::rejected(format!(
                "{} limits in one check: expected 1 to {CHECKS_MAX}",
                checks.len()
            )));
        }
        let mut asks: Vec<Ask> = Vec::with_capacity(checks.len());
        for check in checks {
            let ask = self.ask_of(scope, check)?;
            if asks.iter().any(|other| other.key == ask.key) {
                return Err(Error::rejected(format!(
                    "limit {:?} of one subject twice in one check: expected its costs as one",
                    ask.limit.name()
                )));
            }
            asks.push(ask);
        }
        Ok(asks)
    }

    fn refill(&self, scope: &Scope, checks: &[Check<'_>], asks: &[Ask]) -> Option<Refill> {
        let ([check], [ask]) = (checks, asks) else { return None };
        let is_leased = check.limit.permits() > 0 && !self.backend.is_local();
        is_leased.then(|| self.stocks.refill(Of::new(scope, check), &ask.key, self.clock.now()))?
    }

    /// Decides on all of them together.
    ///
    /// *Cancellation*: where that takes several steps, they are made to the end, so that what was
    /// charged is given back where it has to be.
    pub(super) async fn decide(self: &Arc<Self>, asks: Vec<Ask>) -> Result<(Vec<Ask>, Decided)> {
        self.be_counted();
        let groups = self.groups(&asks);
        if groups.len() < 2 {
            let decided = self.decide_in_turn(&asks, &groups).await?;
            return Ok((asks, decided));
        }
        let engine = Arc::clone(self);
        to_the_end(async move {
            let decided = engine.decide_in_turn(&asks, &groups).await?;
            Ok((asks, decided))
        })
        .await
    }

    /// One group after the other, until one denies: then the others get back what they charged.
    async fn decide_in_turn(
        self: &Arc<Self>,
        asks: &[Ask],
        groups: &[Vec<usize>],
    ) -> Result<Decided> {
        let mut decided = Decided { admitted: true, answers: vec![None; asks.len()] };
        let began = Instant::now();
        for (nth, group) in groups.iter().enumerate() {
            let (reply, by) = match self.ask_nth(nth, began, asks, group, Mode::Charge).await {
                Ok(reply) => (reply, By::Store),
                Err(error) if error.is_retryable() => {
                    let asks: Vec<&Ask> = group.iter().map(|at| &asks[*at]).collect();
                    (self.fallback.check(&asks), By::Fallback)
                }
                Err(error) => {
                    self.give_back(asks, &decided);
                    return Err(error);
                }
            };
            if !reply.admitted {
                self.give_back(asks, &decided);
                decided.take_back();
            }
            decided.take(group, &reply, by);
            if !reply.admitted {
                break;
            }
        }
        Ok(decided)
    }

    /// Asks a group, all groups within the deadline of one.
    async fn ask_nth(
        self: &Arc<Self>,
        nth: usize,
        began: Instant,
        asks: &[Ask],
        group: &[usize],
        mode: Mode,
    ) -> Result<Reply> {
        // The first keeps it by itself.
        if nth == 0 {
            return self.ask(asks, group, mode).await;
        }
        let late = |maybe_applied| {
            let kind = ErrorKind::Timeout { maybe_applied };
            Error::new(kind, "the limits of several slots took longer than one call may")
        };
        match self.backend.deadline().saturating_sub(began.elapsed()) {
            Duration::ZERO => Err(late(false)),
            left => {
                let asks: Vec<Ask> = group.iter().map(|at| asks[*at].clone()).collect();
                let (engine, all): (_, Vec<usize>) = (Arc::clone(self), (0..asks.len()).collect());
                // Nobody waits for it when the time is over, and it goes on to its own deadline: dropped,
                // it would never tell the breaker of a node that does not answer.
                let asked = to_the_end(async move { engine.ask(&asks, &all, mode).await });
                let asked = tokio::time::timeout(left, asked).await;
                asked.unwrap_or_else(|_| Err(late(true)))
            }
        }
    }

    async fn ask(&self, asks: &[Ask], group: &[usize], mode: Mode) -> Result<Reply> {
        // One is by far the most frequent.
        if let [at] = group {
            return self.backend.check(&[(&asks[*at].key, asks[*at].demand)], mode).await;
        }
        let demands: Vec<(&Key, Demand)> =
            group.iter().map(|at| (&asks[*at].key, asks[*at].demand)).collect();
        self.backend.check(&demands, mode).await
    }

    /// What was charged for a request that is denied after all, in the background: its caller need not
    /// wait for it. Sent once: what is lost on the way stays charged, and lets less pass for a while,
    /// never more.
    fn give_back(self: &Arc<Self>, asks: &[Ask], decided: &Decided) {
        let charged = asks.iter().zip(&decided.answers).filter_map(|(ask, answer)| {
            let answer = answer.filter(|answer| answer.row.granted > 0)?;
            Some((ask.clone(), answer))
        });
        let charged: Vec<(Ask, Answer)> = charged.collect();
        if charged.is_empty() {
            return;
        }
        let Ok(place) = Arc::clone(&self.giving_back).try_acquire_owned() else {
            tracing::debug!("charges are not given back: too many are being given back already");
            return;
        };
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            let given_back = charged.into_iter().map(|(ask, answer)| {
                let engine = Arc::clone(&engine);
                async move {
                    if let Err(error) = engine.settle(&ask, &answer, 0).await {
                        tracing::debug!(limit = ask.limit.name(), %error, "a charge could not be given back");
                    }
                }
            });
            join_all(given_back).await;
            drop(place);
        });
    }

    /// The places of asks that one step may name together, in the order of the first of each.
    fn groups(&self, asks: &[Ask]) -> Vec<Vec<usize>> {
        let mut groups: Vec<(u16, Vec<usize>)> = Vec::new();
        for (at, ask) in asks.iter().enumerate() {
            let together = self.backend.together(&ask.key);
            match groups.iter_mut().find(|(other, _)| *other == together) {
                Some((_, group)) => group.push(at),
                None => groups.push((together, vec![at])),
            }
        }
        groups.into_iter().map(|(_, group)| group).collect()
    }

    /// The decision, counted.
    pub(super) fn told(&self, asks: &[Ask], decided: &Decided) -> Decision {
        for (ask, answer) in asks.iter().zip(&decided.answers) {
            let Some(answer) = answer else { continue };
            let outcome = match (answer.row.admits, ask.demand.is_shadow) {
                (true, _) if decided.admitted => Some(Outcome::Admitted),
                (true, _) => None,
                (false, true) => Some(Outcome::ShadowDenied),
                (false, false) => Some(Outcome::Denied),
            };
            if let Some(outcome) = outcome {
                self.count(&ask.limit, outcome, || Some(ask.key.clone()));
                if answer.by == By::Fallback {
                    self.recorder_of(&ask.limit, Recorder::degraded);
                }
            }
        }
        decided.decision(asks)
    }

    #[inline]
    fn count(&self, limit: &Limit, outcome: Outcome, key: impl FnOnce() -> Option<Key>) {
        self.recorder_of(limit, |recorder| {
            if let Some(weight) = recorder.count(outcome)
                && let Some(key) = key()
            {
                recorder.sampled(&key, weight);
            }
        });
    }

    #[inline]
    fn recorder_of(&self, limit: &Limit, record: impl FnOnce(&Recorder)) {
        let found = limit.recorder().get_or_init(|| (self.id, self.recorder(limit.name())));
        match found.0 == self.id {
            true => record(&found.1),
            false => record(&self.recorder(limit.name())),
        }
    }

    pub(super) fn recorder(&self, name: &str) -> Arc<Recorder> {
        if let Some(recorder) = self.recorders.get(name) {
            return Arc::clone(&recorder);
        }
        // Each is a set of counters and of metrics: names made up by strangers share one.
        let name = if self.recorders.len() < RECORDERS_MAX { name } else { OTHER_LIMITS };
        let recorder = self.recorders.entry(name.to_owned());
        Arc::clone(&recorder.or_insert_with(|| Arc::new(Recorder::new(name))))
    }

    pub(crate) fn stats(&self) -> BTreeMap<String, LimitStats> {
        self.recorders.iter().map(|each| (each.key().clone(), each.stats())).collect()
    }

    /// The subjects of one tenant that a limit decided on most here.
    pub(super) fn busiest(&self, scope: &Scope, limit: &str, count: usize) -> Vec<BusySubject> {
        // What the key of no text at all is, all others begin with.
        let prefix = LimitName::new(limit).and_then(|name| scope.limit(&name, &Path::of("")));
        let Ok(prefix) = prefix else { return Vec::new() };
        let recorder = self.recorders.get(limit).or_else(|| self.recorders.get(OTHER_LIMITS));
        recorder.map_or_else(Vec::new, |recorder| recorder.busiest(prefix.as_str(), count))
    }

    /// Tells the others that this process lives, and learns how many do, from now on.
    pub(super) fn be_counted(self: &Arc<Self>) {
        let is_counted = &self.is_counted;
        if self.backend.is_local()
            || is_counted.load(Ordering::Relaxed)
            || is_counted.swap(true, Ordering::Relaxed)
        {
            return;
        }
        let engine = Arc::downgrade(self);
        let beats = async move {
            let mut is_refused = false;
            while let Some(engine) = engine.upgrade() {
                match engine.backend.beat(engine.process).await {
                    Ok(processes) => engine.fallback.heard_of(processes),
                    Err(error) if error.kind() == ErrorKind::Denied && !is_refused => {
                        is_refused = true;
                        tracing::warn!(%error, "this process cannot be counted: while Redis is away, it and the others take too large a share of their limits");
                    }
                    // While Redis does not answer, what was heard last counts.
                    Err(_) => {}
                }
                drop(engine);
                tokio::time::sleep(BEAT_EVERY).await;
            }
        };
        // Not on that of whoever asks first, which may end before this client does.
        match &self.runtime {
            Some(runtime) => runtime.spawn(beats),
            None => tokio::spawn(beats),
        };
    }
}

impl Decided {
    fn take(&mut self, group: &[usize], reply: &Reply, by: By) {
        self.admitted &= reply.admitted;
        for (at, row) in group.iter().zip(&reply.rows) {
            self.answers[*at] = Some(Answer { row: *row, by, now_us: reply.now_us });
        }
    }

    /// What was charged so far was given back.
    fn take_back(&mut self) {
        for Answer { row, .. } in self.answers.iter_mut().flatten() {
            row.remaining += row.granted;
            row.granted = 0;
        }
    }

    fn decision(&self, asks: &[Ask]) -> Decision {
        let answers = asks.iter().zip(&self.answers).enumerate();
        let mut standings = answers.filter_map(|(at, (ask, answer))| {
            answer.as_ref().map(|answer| Standing {
                is_degraded: answer.by == By::Fallback,
                ..Standing::of_row(at, &ask.limit, &answer.row)
            })
        });
        let standings = match (standings.next(), standings.next()) {
            (Some(one), None) => Standings::One([one]),
            (first, second) => {
                Standings::Some(first.into_iter().chain(second).chain(standings).collect())
            }
        };
        let is_degraded = self.answers.iter().flatten().any(|answer| answer.by == By::Fallback);
        let report = Report { standings, is_degraded };
        match self.admitted {
            true => Decision::Allowed(report),
            false => Decision::Denied(report),
        }
    }
}

fn key_of(scope: &Scope, check: &Check<'_>) -> Result<Key> {
    scope.limit(check.limit.key_name()?, &check.subject)
}
