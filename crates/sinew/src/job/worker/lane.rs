//! A lane: it tells of ends and takes jobs, one turn after the other, and has them run.

mod life;
mod turn;

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use self::life::new_name;
use self::turn::{Refused, Told};
use super::super::context::Stop;
use super::super::model::{End, FLUSH_AFTER, Pace, millis};
use super::ends::Ends;
use super::hold::Hold;
use super::keeper::keep;
use super::part::{Idle, Part};
use super::runs::Ended;
use super::shares::{Granted, Shares};
use super::suspect::Suspect;
use super::tally::Statistics;
use super::vain::Vain;
use super::{Phase, Team};
use crate::kernel::again::Again;
use crate::kernel::clock::Monotonic;
use crate::kernel::error::{Error, Result};

/// A lane of a worker.
pub(super) struct Lane {
    team: Arc<Team>,
    part: Arc<Part>,
    hold: Arc<Hold>,
    slots: usize,
    /// Where there is not enough for all: what it is called there.
    shares: Option<(Arc<Shares>, usize)>,
    phase: watch::Receiver<Phase>,

    name: Arc<str>,
    /// It has fallen, or another had it.
    is_used_up: bool,
    is_joined: bool,
    joining: Again,
    /// Grows with each name: what was taken under another is another's.
    generation: u64,
    request: u64,

    running: usize,
    ends: Arc<Ends>,
    /// How long runs take, about: each moves it an eighth of the way to its own time.
    took: Duration,
    /// Empty, and kept for its room.
    taken_in: Vec<Ended>,
    /// Ends that the store has not been told of.
    unsent: VecDeque<Ended>,
    unsent_since: Option<Monotonic>,
    /// What it was told of and has not answered, where the worker's time was over before.
    unanswered: Option<Told>,
    statistics: Statistics,

    /// There is work, as far as is known.
    has_work: bool,
    /// A token has come since the last turn.
    has_token: bool,
    /// A token has come that it could not use.
    passes_on: bool,
    /// The first end has waited long enough.
    is_late: bool,
    /// It waits for its share.
    is_hungry: bool,
    vain: Vain,
    /// The same, of tokens that it only passes on: these may come back to it.
    passed: Vain,
    /// It might not ask for a suspect, since another in this process did, and looks again once that is over.
    is_denied: bool,
    refused: Refused,
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.hold.abort_all();
    }
}

impl Lane {
    pub(super) fn new(
        team: Arc<Team>,
        part: Arc<Part>,
        slots: usize,
        shares: Option<(Arc<Shares>, usize)>,
        phase: watch::Receiver<Phase>,
    ) -> Result<Self> {
        Ok(Self {
            hold: Hold::new(team.clock().clone()),
            team,
            part,
            slots,
            shares,
            phase,
            name: new_name()?,
            is_used_up: false,
            is_joined: false,
            joining: Again::new(),
            generation: 0,
            request: 0,
            running: 0,
            ends: Arc::new(Ends::new()),
            took: FLUSH_AFTER,
            taken_in: Vec::new(),
            unsent: VecDeque::new(),
            unsent_since: None,
            unanswered: None,
            statistics: Statistics::default(),
            has_work: true,
            has_token: false,
            passes_on: false,
            is_late: false,
            is_hungry: false,
            vain: Vain::default(),
            passed: Vain::default(),
            is_denied: false,
            refused: Refused::default(),
        })
    }

    /// Works until the worker ends, and has handed back what it had.
    pub(super) async fn work(mut self) {
        let mut keeping = JoinSet::new();
        let (team, part, hold) =
            (Arc::clone(&self.team), Arc::clone(&self.part), Arc::clone(&self.hold));
        keeping.spawn(keep(team, part, hold));
        while self.goes_on().await {}
        self.leave().await;
        // The keeper goes last: what it holds is handed back.
        drop(keeping);
    }

    /// Does what is next. Whether there is more to do.
    async fn goes_on(&mut self) -> bool {
        self.take_in_ends();
        let phase = *self.phase.borrow_and_update();
        if phase == Phase::Over {
            return false;
        }
        if self.is_joined && self.hold.name().is_none() {
            self.fall();
        }
        if phase >= Phase::Draining {
            self.has_work = false;
            self.passes_on |= mem::take(&mut self.has_token);
            if self.running == 0 && self.unsent.is_empty() && !self.passes_on {
                return false;
            }
        }
        if phase == Phase::Ending {
            self.hold.tell_all(Stop::Ending);
        }
        if !self.is_joined || !self.is_taking(phase) {
            self.asks_no_more();
        }
        if !self.is_joined {
            self.join().await;
            return true;
        }
        match self.pause(phase) {
            Some(pause) if pause.is_zero() => {
                let granted = self.ask(phase);
                let is_needed = granted.count > 0 || !self.unsent.is_empty() || self.passes_on;
                if is_needed {
                    // Others are not to wait for it for as long as the store may take.
                    self.asks_no_more();
                    self.turn(granted).await;
                } else {
                    self.wait(phase, None).await;
                }
            }
            pause => self.wait(phase, pause).await,
        }
        true
    }

    /// How long to wait before the next turn; nothing where there is no reason for one.
    fn pause(&self, phase: Phase) -> Option<Duration> {
        if self.is_late && !self.unsent.is_empty() {
            return Some(Duration::ZERO);
        }
        let rest = self.vain.left();
        let has_work = self.has_work && self.is_taking(phase) && rest.is_none();
        let wait = self.pace(has_work).wait(self.team.clock().now());
        let passing = self.passes_on.then(|| self.passed.left().unwrap_or_default());
        // Also without work: once it has rested, it waits for tokens again.
        [wait, passing, rest].into_iter().flatten().min()
    }

    fn pace(&self, has_work: bool) -> Pace {
        Pace {
            slots: self.slots,
            running: self.running,
            unsent: self.unsent.len(),
            unsent_since: self.unsent_since,
            has_work,
            is_quick: self.took < FLUSH_AFTER / 2,
        }
    }

    /// Whether it may begin jobs.
    fn is_taking(&self, phase: Phase) -> bool {
        phase == Phase::Running && self.hold.is_leased()
    }

    /// How many it may begin. What the next turn does not tell of, it has yet, as the store sees it; and what it is about
    /// to hand back, another is to have.
    fn free(&self) -> usize {
        let told = self.count_to_tell();
        let backs = self.unsent.iter().take(told);
        let backs = backs.filter(|ended| ended.settle.end == End::Back).count();
        self.slots.saturating_sub(self.running + backs + self.unsent.len() - told)
    }

    /// Asks for as many as it may begin. Where it is granted none, it waits for its share from then on.
    fn ask(&mut self, phase: Phase) -> Granted {
        let want = if self.is_taking(phase) { self.free() } else { 0 };
        let granted = match &self.shares {
            Some((shares, lane)) => shares.take(*lane, want),
            None => Granted::free(want),
        };
        self.is_hungry = want > 0 && granted.count == 0;
        // Elsewhere there may be room for the job at once.
        let has_token = mem::take(&mut self.has_token);
        self.passes_on |= has_token && granted.count == 0;
        granted
    }

    /// Waits until there is something to do, this time at most.
    async fn wait(&mut self, phase: Phase, pause: Option<Duration>) {
        let is_idle = self.is_taking(phase)
            && !self.is_hungry
            // Else it looks in a moment by itself, and who waits elsewhere has the token sooner.
            && self.unsent.is_empty()
            && self.free() > 0
            && self.vain.left().is_none();
        let idle: Option<Idle<'_>> = is_idle.then(|| self.part.idle());
        let hungry = self.shares.as_ref().filter(|_| self.is_hungry);
        let turn = async {
            match hungry {
                Some((shares, lane)) => shares.turn(*lane).await,
                None => std::future::pending().await,
            }
        };
        let over = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        let enough = self.pace(false).ends_to_wait_for();
        tokio::select! {
            () = self.ends.until(enough) => {}
            () = self.part.token.notified(), if is_idle => {
                self.has_work = true;
                self.has_token = true;
            }
            // It may have come while the last turn was under way, and be for this one.
            () = self.part.pass_on.notified() => {
                self.has_work = true;
                self.passes_on |= !is_idle;
            }
            () = self.hold.news.notified() => self.has_work = true,
            () = turn => self.has_work = true,
            () = Suspect::freed(), if self.is_denied && self.is_taking(phase) => {
                self.is_denied = false;
                self.has_work = true;
            }
            () = over => self.is_late = !self.unsent.is_empty(),
            // Without a sender, this lane is about to end as well.
            _ = self.phase.changed() => {}
        }
        drop(idle);
    }

    /// It waits for no share, until it asks again.
    fn asks_no_more(&mut self) {
        if let Some((shares, lane)) = self.shares.as_ref().filter(|_| self.is_hungry) {
            shares.content(*lane);
        }
        self.is_hungry = false;
    }

    fn take_in_ends(&mut self) {
        let mut ended = mem::take(&mut self.taken_in);
        self.ends.swap(&mut ended);
        for ended in ended.drain(..) {
            self.note_end(ended);
        }
        self.taken_in = ended;
    }

    /// A run is over. The store is to hear of it, unless it was taken under another name.
    fn note_end(&mut self, ended: Ended) {
        self.running = self.running.saturating_sub(1);
        self.part.counts.running.decrement(1.0);
        if let Some(place) = ended.place {
            self.hold.end(place);
        }
        self.took = (self.took * 7 + ended.took) / 8;
        if ended.generation == self.generation {
            self.statistics.add(ended.kind, ended.outcome, millis(ended.took));
            self.tell_of(ended);
        }
    }

    fn tell_of(&mut self, ended: Ended) {
        let now = self.team.clock().now();
        self.unsent_since.get_or_insert(now);
        self.unsent.push_back(ended);
    }

    fn queue(&self) -> &str {
        self.part.keys.queue().as_str()
    }

    fn note_trouble(&self, error: &Error) {
        tracing::debug!(queue = self.queue(), %error, "the store is asked again");
    }
}
