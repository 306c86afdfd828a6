//! What workers and their register tell of locks. It knows nothing of how locks are made.

use std::collections::HashMap;
use std::fmt;

use parking_lot::Mutex;

use crate::tortured::now_ns;

/// One attempt of one task to get a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt {
    pub process: u64,
    /// A process that was killed lives again, under the next number.
    pub life: u64,
    pub task: u64,
    pub number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It asks, and waits.
    Asks,
    /// It asks once.
    Tries,
    /// It was granted the lock.
    Got,
    /// At this time, it took the lock for its own.
    Sure,
    /// It wants to write. What came of it, the register says.
    Writes,
    Wrote,
    Refused,
    /// It gives the lock back.
    Ends,
    /// Someone else had it, for as long as it was ready to wait.
    Held,
    /// Redis did not answer.
    Failed,
}

const ALL: [What; 10] = [
    What::Asks,
    What::Tries,
    What::Got,
    What::Sure,
    What::Writes,
    What::Wrote,
    What::Refused,
    What::Ends,
    What::Held,
    What::Failed,
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub what: What,
    /// On the clock of this machine that counts all time, the same for all processes.
    pub at_ns: u64,
    pub by: Attempt,
    pub lock: u64,
    /// Beside how many others it may be held.
    pub beside: u64,
    pub fence: u64,
}

/// As a line.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, at_ns, by, lock, beside, fence } = self;
        let Attempt { process, life, task, number } = by;
        write!(f, "{what:?} {at_ns} {process} {life} {task} {number} {lock} {beside} {fence}")
    }
}

impl Event {
    /// Nothing for what is no whole line: its process was killed.
    pub fn parse(line: &str) -> Option<Self> {
        let (word, numbers) = line.strip_suffix('\n')?.split_once(' ')?;
        let what = ALL.into_iter().find(|what| format!("{what:?}") == word)?;
        let numbers: Option<Vec<u64>> = numbers.split(' ').map(|n| n.parse().ok()).collect();
        let numbers: [u64; 8] = numbers?.try_into().ok()?;
        let [at_ns, process, life, task, number, lock, beside, fence] = numbers;
        let by = Attempt { process, life, task, number };
        Some(Self { what, at_ns, by, lock, beside, fence })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A process was ended, in this life.
    Killed { process: u64, life: u64 },
    /// A process stood still.
    Stopped { process: u64 },
    /// Connections were cut or slow.
    Cut,
    /// Redis had no room, and granted nothing.
    Full,
    /// Redis may have forgotten what it had granted: flushed, or failed over.
    Forgot,
}

#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub kind: FaultKind,
    pub from_ns: u64,
    pub to_ns: u64,
}

#[derive(Clone, Debug, Default)]
pub struct History {
    /// As the register heard of them: the order of its writes.
    pub events: Vec<Event>,
    pub faults: Vec<Fault>,
}

/// A resource that remembers the greatest fence it has seen, and takes nothing with a smaller one.
#[derive(Default)]
pub struct Register {
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    history: History,
    greatest: HashMap<u64, u64>,
}

impl Register {
    /// Takes note. Whether what was to be written is taken.
    pub fn hear(&self, mut event: Event) -> bool {
        let mut shared = self.shared.lock();
        let mut is_taken = false;
        if event.what == What::Writes {
            let greatest = shared.greatest.entry(event.lock).or_default();
            is_taken = event.fence >= *greatest;
            *greatest = (*greatest).max(event.fence);
            event.what = if is_taken { What::Wrote } else { What::Refused };
        }
        shared.history.events.push(event);
        is_taken
    }

    pub fn note(&self, kind: FaultKind, from_ns: u64) {
        let fault = Fault { kind, from_ns, to_ns: now_ns() };
        self.shared.lock().history.faults.push(fault);
    }

    /// Whether a process was ever granted a lock.
    pub fn has_granted(&self, process: u64) -> bool {
        let shared = self.shared.lock();
        let is_grant = |event: &Event| event.what == What::Got && event.by.process == process;
        shared.history.events.iter().any(is_grant)
    }

    /// How many events there were so far.
    pub fn heard(&self) -> usize {
        self.shared.lock().history.events.len()
    }

    pub fn history(&self) -> History {
        self.shared.lock().history.clone()
    }
}
