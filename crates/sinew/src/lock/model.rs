//! Who is granted a lock, and who is next: pure decisions over the state of one lock.
//!
//! The scripts are the twin of this: what is changed here is changed there.

use std::fmt;
use std::time::Duration;

use crate::kernel::ttl::Ttl;

/// For so long, what was freed is reserved for the first in line.
pub(super) const CLAIM: Duration = Duration::from_millis(50);
/// A waiter that was not heard of for so long is dead.
pub(super) const WAITER_ALIVE: Duration = Duration::from_secs(3);
/// How often a waiter is heard of, at least.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(1);

/// A number that grows with every grant of a lock.
///
/// Send it along with what you write. A resource that remembers the largest fence it has seen, and
/// refuses smaller ones, is safe even from a holder that was paused for longer than its lock lasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(pub(crate) u64);

impl Fence {
    /// That of a semaphore's permit, of which several are held at once: no resource that looks at
    /// fences should take it.
    pub const NONE: Self = Self(0);

    /// The number: about the microseconds since 1970, so it fits a database's signed 64 bits.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a token asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// To hold alone: a mutex, or the writer.
    Alone,
    /// To hold beside others of this kind: a reader.
    Shared,
    /// To be one of so many at most.
    Permit { of: u32 },
}

/// Names one attempt to get a lock, from its first request to its release: `KIND.PROCESS.OWN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Token {
    pub(super) kind: Kind,
    pub(super) process: u64,
    pub(super) own: u64,
}

impl Token {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (kind, process, own) = (parts.next()?, parts.next()?, parts.next()?);
        let kind = match kind {
            "x" => Kind::Alone,
            "r" => Kind::Shared,
            permit => Kind::Permit { of: permit.strip_prefix('s')?.parse().ok()? },
        };
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some(Self { kind, process: number(process)?, own: number(own)? })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Alone => f.write_str("x")?,
            Kind::Shared => f.write_str("r")?,
            Kind::Permit { of } => write!(f, "s{of}")?,
        }
        write!(f, ".{:016x}.{:016x}", self.process, self.own)
    }
}

/// A request for a lock.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(super) token: Token,
    pub(super) ttl: Ttl,
    pub(super) waits: bool,
    /// When it came, as it was told before: it keeps its place although it was taken for dead.
    pub(super) arrival: Option<u64>,
    pub(super) replicas: Option<Replicas>,
}

/// How many replicas must have a grant, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replicas {
    pub(super) count: u32,
    pub(super) within: Duration,
}

/// The answer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Granted {
        fence: Fence,
    },
    NotNow {
        again_in: Duration,
        /// Where it waits.
        arrival: Option<u64>,
    },
}

/// A waiter that is to ask again, and after how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wake {
    pub(super) token: Token,
    pub(super) after: Duration,
}

/// The state of a lock, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// By the store's calendar, as fences are.
    pub(super) now_us: u64,
    pub(super) fence: u64,
    pub(super) holding: u64,
    pub(super) waiting: u64,
    /// Some of those who hold, and for how long still.
    pub(super) holders: Vec<(Token, Duration)>,
}

/// One moment, for what expires and for what only grows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(super) ms: u64,
    /// Of the calendar.
    pub(super) us: u64,
}

/// For how long a holder may take itself for one, from before it asked: clocks that differ by a
/// thousandth, and a store that counts whole milliseconds, must not let two hold at once.
pub(super) fn validity(ttl: Ttl) -> Duration {
    let ttl = ttl.duration();
    ttl.saturating_sub(ttl / 1_000 + Duration::from_millis(1))
}

/// A lock.
#[derive(Debug, Default)]
pub(crate) struct State {
    fence: u64,
    holders: Vec<Holder>,
    /// By arrival.
    line: Vec<Waiter>,
    claim: Option<Claim>,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    token: Token,
    until_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    token: Token,
    arrival: u64,
    alive_until_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Claim {
    token: Token,
    ends_ms: u64,
}

impl State {
    pub(crate) fn acquire(&mut self, ask: &Ask, now: Now, wakes: &mut Vec<Wake>) -> Answer {
        self.tidy(now);
        let (token, until_ms) = (ask.token, now.ms + ask.ttl.as_millis());
        if let Some(mine) = self.holders.iter_mut().find(|holder| holder.token == token) {
            mine.until_ms = mine.until_ms.max(until_ms);
            return self.granted(token, now, wakes);
        }
        let (mut is_free, mut free_at) = (self.fits(token), None);
        if is_free && self.is_behind_another(token) {
            free_at = self.claim_of_first(now);
            if free_at.is_some_and(|at| at <= now.ms) {
                // It did not come: it is dead. If it only was slow, it comes back to its place.
                self.line.remove(0);
                (self.claim, free_at) = (None, None);
            }
            if self.is_behind_another(token) {
                is_free = false;
                free_at = free_at.or_else(|| self.wake(now, wakes));
            }
        }
        if is_free {
            if token.kind == Kind::Alone {
                self.fence = now.us.max(self.fence + 1);
            }
            self.holders.push(Holder { token, until_ms });
            return self.granted(token, now, wakes);
        }
        let arrival = ask.waits.then(|| self.wait(ask, now));
        let free_at = free_at.unwrap_or_else(|| self.runs_out_at(token.kind, now));
        let place = self.line.iter().position(|waiter| waiter.token == token);
        // The first two in line look when it is free, each one behind them a claim later: no herd.
        let before = place.unwrap_or(self.line.len()).saturating_sub(1);
        let queues_for = CLAIM.saturating_mul(u32::try_from(before).unwrap_or(u32::MAX));
        let free_in = Duration::from_millis(free_at.saturating_sub(now.ms).max(1));
        Answer::NotNow { again_in: free_in.saturating_add(queues_for), arrival }
    }

    /// Whether it is still held.
    pub(crate) fn extend(&mut self, token: Token, ttl: Ttl, now: Now) -> bool {
        let is_mine = |holder: &&mut Holder| holder.token == token && holder.until_ms > now.ms;
        match self.holders.iter_mut().find(is_mine) {
            Some(mine) => {
                mine.until_ms = mine.until_ms.max(now.ms + ttl.as_millis());
                true
            }
            None => false,
        }
    }

    /// Whether it was held.
    pub(crate) fn release(&mut self, token: Token, now: Now, wakes: &mut Vec<Wake>) -> bool {
        let (holding, waiting) = (self.holders.len(), self.line.len());
        self.holders.retain(|holder| holder.token != token);
        self.line.retain(|waiter| waiter.token != token);
        let was_held = self.holders.len() < holding;
        if was_held || self.line.len() < waiting {
            self.tidy(now);
            self.wake(now, wakes);
        }
        was_held
    }

    /// How many held it.
    pub(crate) fn force_release(&mut self, now: Now, wakes: &mut Vec<Wake>) -> u64 {
        self.tidy(now);
        let held = self.holders.len() as u64;
        self.holders.clear();
        self.wake(now, wakes);
        held
    }

    pub(crate) fn look(&self, now: Now, holders_max: usize) -> Look {
        let left = |holder: &Holder| Duration::from_millis(holder.until_ms.saturating_sub(now.ms));
        let mut holders: Vec<_> =
            self.holders.iter().map(|holder| (holder.token, left(holder))).collect();
        holders.retain(|(_, left)| !left.is_zero());
        holders.sort_by_key(|(_, left)| *left);
        let holding = holders.len() as u64;
        holders.truncate(holders_max);
        let waiting = self.line.iter().filter(|waiter| waiter.alive_until_ms > now.ms).count();
        Look { now_us: now.us, fence: self.fence, holding, waiting: waiting as u64, holders }
    }

    /// Whether nobody holds it or waits for it.
    pub(crate) fn is_idle(&self, now: Now) -> bool {
        self.holders.iter().all(|holder| holder.until_ms <= now.ms)
            && self.line.iter().all(|waiter| waiter.alive_until_ms <= now.ms)
    }

    /// Forgets those whose time is over.
    fn tidy(&mut self, now: Now) {
        self.holders.retain(|holder| holder.until_ms > now.ms);
        self.line.retain(|waiter| waiter.alive_until_ms > now.ms);
    }

    /// Whether a token can be granted beside those who hold.
    fn fits(&self, token: Token) -> bool {
        let Some(other) = self.holders.first() else { return true };
        match (token.kind, other.token.kind) {
            (Kind::Shared, Kind::Shared) => true,
            (Kind::Permit { of }, Kind::Permit { .. }) => self.holders.len() < of as usize,
            _ => false,
        }
    }

    fn is_behind_another(&self, token: Token) -> bool {
        self.line.first().is_some_and(|first| first.token != token)
    }

    /// Until when the first in line has what is free to itself, if it was told so.
    fn claim_of_first(&self, now: Now) -> Option<u64> {
        let first = self.line.first()?.token;
        // One that could not have come is not late. A claim that lasts too long was made before the
        // clock was set back.
        let counts = |claim: &Claim| {
            claim.token == first && claim.ends_ms <= now.ms + millis(CLAIM) && self.fits(first)
        };
        self.claim.filter(counts).map(|claim| claim.ends_ms)
    }

    /// What a holder is told. It waits no more, and the next in line may fit beside it.
    fn granted(&mut self, token: Token, now: Now, wakes: &mut Vec<Wake>) -> Answer {
        self.line.retain(|waiter| waiter.token != token);
        if token.kind != Kind::Alone {
            self.wake(now, wakes);
        }
        if let Kind::Permit { .. } = token.kind {
            return Answer::Granted { fence: Fence::NONE };
        }
        if self.fence == 0 {
            // It was lost. Later than any before, earlier than any after.
            self.fence = now.us;
        }
        Answer::Granted { fence: Fence(self.fence) }
    }

    /// Reserves what is free for the first in line, for a while, and wakes it. Says until when, or
    /// nothing if it could not have it now.
    fn wake(&mut self, now: Now, wakes: &mut Vec<Wake>) -> Option<u64> {
        let first = self.line.first()?.token;
        if !self.fits(first) {
            return None;
        }
        let ends_ms = now.ms + millis(CLAIM);
        self.claim = Some(Claim { token: first, ends_ms });
        wakes.push(Wake { token: first, after: Duration::ZERO });
        // It may be dead, and its process with it: one of another process is to look when the
        // claim ends.
        let others = || self.line.iter().skip(1).take(15).map(|waiter| waiter.token);
        let elsewhere = others().find(|other| other.process != first.process);
        if let Some(second) = elsewhere.or_else(|| others().next()) {
            wakes.push(Wake { token: second, after: CLAIM });
        }
        Some(ends_ms)
    }

    /// Puts it in line, or hears that it is still there. Says its place.
    fn wait(&mut self, ask: &Ask, now: Now) -> u64 {
        let alive_until_ms = now.ms + millis(WAITER_ALIVE);
        if let Some(there) = self.line.iter_mut().find(|waiter| waiter.token == ask.token) {
            there.alive_until_ms = alive_until_ms;
            return there.arrival;
        }
        let next = self.line.last().map_or(0, |last| last.arrival + 1);
        let arrival = ask.arrival.unwrap_or(now.us.max(next));
        let at = self.line.partition_point(|waiter| waiter.arrival <= arrival);
        self.line.insert(at, Waiter { token: ask.token, arrival, alive_until_ms });
        arrival
    }

    /// When it will be free if nobody releases: for a permit, the first hold that runs out will do;
    /// for others, the last has to.
    fn runs_out_at(&self, kind: Kind, now: Now) -> u64 {
        let ends = self.holders.iter().map(|holder| holder.until_ms);
        let free_at = match kind {
            Kind::Permit { .. } => ends.min(),
            Kind::Alone | Kind::Shared => ends.max(),
        };
        free_at.unwrap_or(now.ms)
    }
}

/// Whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
