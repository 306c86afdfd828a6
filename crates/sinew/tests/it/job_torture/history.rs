//! What producers, workers and their register tell of jobs. It knows nothing of how queues are made.

use std::fmt;

use parking_lot::Mutex;

use crate::tortured::now_ns;
pub use crate::tortured::{Fault, FaultKind, Worker};

/// Who is called by what. What comes after a job has its number, and is in another queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub u64);

const AFTER: u64 = 1 << 63;
/// How many names and keys there are, so that jobs meet.
const NAMES: u64 = 9;
const KEYS: u64 = 7;

/// A name, and the key that it counts within.
pub type Name = (u64, Option<u64>);

impl Id {
    pub fn is_after(self) -> bool {
        self.0 & AFTER != 0
    }

    /// What comes after it, where something does.
    pub fn after(self) -> Option<Self> {
        (!self.is_after() && self.0 % 10 == 4).then_some(Self(self.0 | AFTER))
    }

    /// What it comes after.
    pub fn before(self) -> Option<Self> {
        self.is_after().then_some(Self(self.0 & !AFTER))
    }

    pub fn key(self) -> Option<u64> {
        (!self.is_after() && self.0.is_multiple_of(3)).then_some(self.0 / 3 % KEYS)
    }

    /// The name that no other of its key, or without one, has while it waits or runs.
    pub fn name(self) -> Option<Name> {
        (!self.is_after() && self.0 % 8 == 3).then_some((self.0 / 8 % NAMES, self.key()))
    }

    pub fn is_delayed(self) -> bool {
        self.0 % 5 == 1
    }

    /// It fails when it is run for the first time.
    pub fn fails_first(self) -> bool {
        self.0 % 6 == 2
    }

    /// It fails whenever it is run.
    pub fn is_poison(self) -> bool {
        self.0 % 50 == 7
    }

    /// Its run takes several leases.
    pub fn is_slow(self) -> bool {
        self.0 % 100 == 9
    }

    /// What it brought is kept to the end.
    pub fn is_kept(self) -> bool {
        self.0.is_multiple_of(2)
    }

    /// It has an effect in the database.
    pub fn has_effect(self) -> bool {
        self.0 % 4 == 1
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A producer is about to enqueue it.
    Sends,
    /// It was confirmed.
    Enqueued,
    /// Another had its name: it was not enqueued.
    Refused,
    /// A handler begins with it.
    Begins,
    /// The handler is done with it, and is about to say so.
    Done,
    /// It failed, and is to be tried again.
    Failed,
    /// It failed for the last time.
    Last,
    /// The handler was told that it is no more its own, and stopped.
    Told,
    /// Whoever has taken it by hand asked at this time whether it is still his, and was told that it is.
    Renewed,
    /// Whoever has taken it by hand was told that its end counts.
    Accepted,
}

const WHATS: [What; 10] = [
    What::Sends,
    What::Enqueued,
    What::Refused,
    What::Begins,
    What::Done,
    What::Failed,
    What::Last,
    What::Told,
    What::Renewed,
    What::Accepted,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub what: What,
    /// On the clock of this machine that counts all time, the same for all processes.
    pub at_ns: u64,
    pub by: Worker,
    pub id: Id,
    /// Which run it is of all that this life of the process has begun.
    pub run: u64,
    pub fence: u64,
}

/// As a line.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, at_ns, by: Worker { process, life }, id: Id(id), run, fence } = self;
        write!(f, "{what:?} {at_ns} {process} {life} {id} {run} {fence}")
    }
}

impl Event {
    /// Nothing for what is no whole line: its process was killed.
    pub fn parse(line: &str) -> Option<Self> {
        let (what, numbers) = line.strip_suffix('\n')?.split_once(' ')?;
        let numbers: Option<Vec<u64>> =
            numbers.split(' ').map(|number| number.parse().ok()).collect();
        let numbers: [u64; 6] = numbers?.try_into().ok()?;
        let [at_ns, process, life, id, run, fence] = numbers;
        Some(Self {
            what: WHATS.into_iter().find(|known| format!("{known:?}") == what)?,
            at_ns,
            by: Worker { process, life },
            id: Id(id),
            run,
            fence,
        })
    }
}

/// Which run has brought what a job brought.
pub fn brought(by: Worker, run: u64) -> String {
    format!("{} {} {run}", by.process, by.life)
}

pub fn parse_brought(text: &str) -> Option<(Worker, u64)> {
    let numbers: Option<Vec<u64>> = text.split(' ').map(|number| number.parse().ok()).collect();
    let numbers: [u64; 3] = numbers?.try_into().ok()?;
    let [process, life, run] = numbers;
    Some((Worker { process, life }, run))
}

/// A job that was given up, and how many deliveries of it ended with their process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dead {
    pub id: Id,
    pub crashes: u32,
}

/// All that was told, and what was found in the end.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub events: Vec<Event>,
    pub faults: Vec<Fault>,
    pub dead: Vec<Dead>,
    /// Jobs that are done and kept, each with the run that brought it about.
    pub kept: Vec<(Id, (Worker, u64))>,
    /// Effects in the database, as often as they are there.
    pub effects: Vec<Id>,
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
        let is_it = |event: &Event| {
            event.by.process == process && matches!(event.what, What::Enqueued | What::Done)
        };
        self.history.lock().events.iter().any(is_it)
    }

    /// How many events there were so far.
    pub fn heard(&self) -> usize {
        self.history.lock().events.len()
    }

    pub fn history(&self) -> History {
        self.history.lock().clone()
    }
}
