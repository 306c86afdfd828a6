//! What producers, workers and their register tell of events. It knows nothing of how streams are made.

use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;

use crate::tortured::now_ns;
pub use crate::tortured::{Fault, FaultKind, Worker};

/// Who is called by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    pub key: u64,
    /// The how many-th of its key, from 0.
    pub n: u64,
}

/// As an event's id.
impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.key, self.n)
    }
}

impl Id {
    pub fn parse(text: &str) -> Option<Self> {
        let (key, n) = text.split_once(':')?;
        Some(Self { key: key.parse().ok()?, n: n.parse().ok()? })
    }

    /// It fails whenever it is run.
    pub fn is_poison(self) -> bool {
        (self.key + self.n) % 97 == 50
    }

    /// It fails when it is run for the first time.
    pub fn fails_first(self) -> bool {
        (self.key + self.n).is_multiple_of(16)
    }

    /// Its run takes several leases.
    pub fn is_slow(self) -> bool {
        (self.key + self.n) % 200 == 7
    }

    /// It has an effect in the database.
    pub fn has_effect(self) -> bool {
        (self.key + self.n) % 4 == 1
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// In any order.
    Any,
    /// In the order of each key.
    Key,
}

pub const GROUPS: [Group; 2] = [Group::Any, Group::Key];

impl Group {
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Key => "key",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A producer is about to publish it.
    Sends,
    /// Its publication was confirmed.
    Published,
    /// A handler begins with it.
    Begins,
    /// The handler is done with it, and is about to say so.
    Done,
    /// It failed, and is to be tried again.
    Failed,
    /// It failed for the last time.
    Last,
    /// The handler was told that it is another's by now, and stopped.
    Told,
}

const WHATS: [What; 7] =
    [What::Sends, What::Published, What::Begins, What::Done, What::Failed, What::Last, What::Told];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub what: What,
    /// On the clock of this machine that counts all time, the same for all processes.
    pub at_ns: u64,
    pub by: Worker,
    pub group: Group,
    pub id: Id,
    /// Which run it is of all that this life of the process has begun.
    pub run: u64,
    pub partition: u64,
    /// Of an ordered group.
    pub fence: u64,
}

/// As a line.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, at_ns, by, group, id, run, partition, fence } = self;
        let (Worker { process, life }, Id { key, n }) = (by, id);
        write!(f, "{what:?} {} {at_ns} {process} {life} ", group.name())?;
        write!(f, "{key} {n} {run} {partition} {fence}")
    }
}

impl Event {
    /// Nothing for what is no whole line: its process was killed.
    pub fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.strip_suffix('\n')?.split(' ').collect();
        let [what, group, numbers @ ..] = words.as_slice() else { return None };
        let numbers: Option<Vec<u64>> = numbers.iter().map(|number| number.parse().ok()).collect();
        let numbers: [u64; 8] = numbers?.try_into().ok()?;
        let [at_ns, process, life, key, n, run, partition, fence] = numbers;
        Some(Self {
            what: WHATS.into_iter().find(|known| format!("{known:?}") == *what)?,
            group: GROUPS.into_iter().find(|known| known.name() == *group)?,
            at_ns,
            by: Worker { process, life },
            id: Id { key, n },
            run,
            partition,
            fence,
        })
    }
}

/// All that was told, and what was found in the end.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub events: Vec<Event>,
    pub faults: Vec<Fault>,
    /// Dead letters.
    pub dead: Vec<(Group, Id)>,
    /// Effects in the database, as often as they are there.
    pub effects: Vec<(Group, Id)>,
}

impl History {
    /// For how long Redis stood still, each time.
    pub fn pauses(&self) -> impl Iterator<Item = Duration> + '_ {
        let still = self.faults.iter().filter(|fault| fault.kind == FaultKind::StoodStill);
        still.map(|fault| Duration::from_nanos(fault.to_ns - fault.from_ns))
    }
}

/// Hears of everything.
#[derive(Default)]
pub struct Register {
    history: Mutex<History>,
}

impl Register {
    pub fn hear(&self, event: Event) {
        self.history.lock().events.push(event);
    }

    pub fn note(&self, kind: FaultKind, from_ns: u64) {
        self.history.lock().faults.push(Fault { kind, from_ns, to_ns: now_ns() });
    }

    /// Whether a process has ever got something done.
    pub fn has_heard_of(&self, process: u64) -> bool {
        let history = self.history.lock();
        let is_it = |event: &Event| {
            event.by.process == process && matches!(event.what, What::Published | What::Done)
        };
        history.events.iter().any(is_it)
    }

    /// How many events there were so far.
    pub fn heard(&self) -> usize {
        self.history.lock().events.len()
    }

    pub fn history(&self) -> History {
        self.history.lock().clone()
    }
}
