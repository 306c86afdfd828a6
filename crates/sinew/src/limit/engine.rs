//! What the limiters of one client share, and how a check goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;

use super::algorithm::{Demand, Mode, Receipt, Row};
use super::backend::{Backend as _, Reply, Store, Token};
use super::decision::{Decision, Report, Standing, Standings};
use super::definition::{Check, Limit};
use super::deny::{Denials, Note};
use super::down::{BEAT_EVERY, Down, Fallback};
use super::stats::{LimitStats, Outcome, Recorder};
use super::stock::{Refill, Stocks};
use super::whose::Of;
use crate::kernel::clock::Clock;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::{Key, Scope};

/// The limits that one call may name.
const CHECKS_MAX: usize = 16;
/// Limits beyond this number are counted together, as one of this name.
const RECORDERS_MAX: usize = 1_000;
const OTHER_LIMITS: &str = "other";

/// What all limiters of one client share.
pub(crate) struct Engine {
    /// Tells clients apart in what a definition remembers.
    id: u64,
    pub(super) backend: Store,
    pub(super) fallback: Fallback,
    pub(super) clock: Clock,
    pub(super) process: Token,
    denials: Denials,
    stocks: Stocks,
    is_counted: AtomicBool,
    // By name, over all tenants.
    recorders: DashMap<String, Arc<Recorder>>,
}

/// A check, ready to be asked.
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
            denials: Denials::new(),
            stocks: Stocks::new(),
            is_counted: AtomicBool::new(false),
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
            self.count(check.limit, Outcome::Admitted);
            return Some(Decision::Allowed(Report::of_one(standing)));
        }
        let denied = checks.iter().enumerate().find_map(|(at, check)| {
            self.denials.find(Of::new(scope, check), at, check.cost, now)
        })?;
        self.count(checks[denied.check].limit, Outcome::Denied);
        Some(Decision::Denied(Report::of_one(denied)))
    }

    /// Asks the store, or does what each limit says where it does not answer.
    pub(super) async fn check(
        self: &Arc<Self>,
        scope: &Scope,
        checks: &[Check<'_>],
    ) -> Result<Decision> {
        let mut asks = self.asks(scope, checks)?;
        let refill = self.refill(scope, checks);
        if let ([ask], Some(refill)) = (&mut asks[..], &refill) {
            ask.demand.want = ask.demand.cost.saturating_add(refill.room);
        }
        let (asks, decided) = self.decide(asks).await?;
        if let ([ask], [Some(answer)], Some(refill)) = (&asks[..], &decided.answers[..], refill)
            && decided.admitted
            && answer.by == By::Store
            && answer.row.admits
        {
            let lasts = Duration::from_micros(ask.demand.rule.period_us());
            refill.fill(answer.row, ask.demand.cost, ask.note.at(), lasts);
        }
        if !decided.admitted && !self.backend.is_local() {
            self.learn(scope, checks, &asks, &decided);
        }
        Ok(self.told(&asks, &decided))
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
    pub(super) async fn peek(&self, scope: &Scope, checks: &[Check<'_>]) -> Result<Decision> {
        let asks = self.asks(scope, checks)?;
        let mut decided = Decided { admitted: true, answers: vec![None; asks.len()] };
        for group in self.groups(&asks) {
            let reply = self.ask(&asks, &group, Mode::Look).await?;
            decided.take(&group, &reply, By::Store);
        }
        Ok(decided.decision(&asks))
    }

    /// Forgets all that was charged.
    pub(super) async fn reset(&self, scope: &Scope, check: &Check<'_>) -> Result<()> {
        let ask = self.ask_of(scope, check)?;
        let outcome = self.backend.reset(&ask.key).await;
        // Also where it failed: it may have been done all the same.
        self.denials.forget(&ask.key);
        self.stocks.forget(Of::new(scope, check));
        self.fallback.local.reset_now(&ask.key);
        outcome
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
        let key = scope.limit(limit.key_name()?, &check.subject)?;
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

    fn refill(&self, scope: &Scope, checks: &[Check<'_>]) -> Option<Refill> {
        let [check] = checks else { return None };
        let is_leased = check.limit.permits() > 0 && !self.backend.is_local();
        is_leased.then(|| self.stocks.refill(Of::new(scope, check), self.clock.now()))?
    }

    /// Decides on all of them together.
    ///
    /// *Cancellation*: where that takes several steps, they are made to the end, so that what was
    /// charged is given back where it has to be.
    pub(super) async fn decide(self: &Arc<Self>, asks: Vec<Ask>) -> Result<(Vec<Ask>, Decided)> {
        for ask in &asks {
            if ask.limit.down() == Down::Local {
                self.be_counted();
            }
        }
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
    async fn decide_in_turn(&self, asks: &[Ask], groups: &[Vec<usize>]) -> Result<Decided> {
        let mut decided = Decided { admitted: true, answers: vec![None; asks.len()] };
        for group in groups {
            let (reply, by) = match self.ask(asks, group, Mode::Charge).await {
                Ok(reply) => (reply, By::Store),
                Err(error) if error.is_retryable() => {
                    let asks: Vec<&Ask> = group.iter().map(|at| &asks[*at]).collect();
                    (self.fallback.check(&asks), By::Fallback)
                }
                Err(error) => {
                    self.give_back(asks, &decided).await;
                    return Err(error);
                }
            };
            if !reply.admitted {
                self.give_back(asks, &decided).await;
                decided.take_back();
            }
            decided.take(group, &reply, by);
            if !reply.admitted {
                break;
            }
        }
        Ok(decided)
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

    /// What was charged for a request that is denied after all. Sent once: what is lost on the way
    /// stays charged, and lets less pass for a while, never more.
    async fn give_back(&self, asks: &[Ask], decided: &Decided) {
        for (ask, answer) in asks.iter().zip(&decided.answers) {
            if let Some(answer) = answer.filter(|answer| answer.row.granted > 0)
                && let Err(error) = self.settle(ask, &answer, 0).await
            {
                tracing::debug!(limit = ask.limit.name(), %error, "a charge could not be given back");
            }
        }
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
                self.count(&ask.limit, outcome);
                if answer.by == By::Fallback {
                    self.recorder_of(&ask.limit, Recorder::degraded);
                }
            }
        }
        decided.decision(asks)
    }

    #[inline]
    fn count(&self, limit: &Limit, outcome: Outcome) {
        self.recorder_of(limit, |recorder| recorder.count(outcome));
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
        tokio::spawn(async move {
            while let Some(engine) = engine.upgrade() {
                // While Redis does not answer, what was heard last counts.
                if let Ok(processes) = engine.backend.beat(engine.process).await {
                    engine.fallback.heard_of(processes);
                }
                drop(engine);
                tokio::time::sleep(BEAT_EVERY).await;
            }
        });
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
            answer.as_ref().map(|answer| Standing::of_row(at, &ask.limit, &answer.row))
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

/// Runs to its end even if the caller goes away.
pub(super) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::new(
                ErrorKind::Unavailable { maybe_applied: true },
                "the runtime is stopping",
            )),
        },
    }
}
