//! What workers and their register tell of sessions. It knows nothing of how sessions are made.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use parking_lot::Mutex;

use crate::lock_torture::history::Attempt;

/// In the place of a session, a user or a number that there is not.
pub const NONE: &str = "-";
/// So many sessions are offered to be used, live or not.
const BOARD_LEN_MAX: usize = 500;
/// Of which the last ones are used as often as all others.
const RECENT: usize = 64;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Someone comes, or a user logs in.
    Begins,
    /// Someone asks whether a session is live.
    Reads,
    Saves,
    /// It is to have another id.
    Rotates,
    /// A user logs in who comes with a session.
    LogsIn,
    LogsOut,
    /// It is ended by its id.
    Revokes,
    /// All of a user's are.
    LogsOutAll,
    /// All of a user's but this one are.
    LogsOutOthers,
    /// Someone asks which sessions a user has, and is told how many.
    Lists,
    /// One of those.
    Listed,
}

const WHATS: [What; 11] = [
    What::Begins,
    What::Reads,
    What::Saves,
    What::Rotates,
    What::LogsIn,
    What::LogsOut,
    What::Revokes,
    What::LogsOutAll,
    What::LogsOutOthers,
    What::Lists,
    What::Listed,
];

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It has not come back yet, or never: its process was killed.
    Nothing,
    /// The session is live.
    Live,
    /// It has ended.
    Gone,
    Done,
    Refused,
    /// Redis did not answer: it may be done or not, or be done later.
    Failed,
}

const SAIDS: [Said; 6] =
    [Said::Nothing, Said::Live, Said::Gone, Said::Done, Said::Refused, Said::Failed];

/// Something that is done, from before it was sent to after it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    pub by: Attempt,
    pub what: What,
    pub began_ns: u64,
    pub ended_ns: u64,
    pub said: Said,
    /// What it was about.
    pub session: String,
    pub user: String,
    /// The session that was made of it; of a list, how many there were.
    pub new: String,
}

/// As a line.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { by, what, began_ns, ended_ns, said, session, user, new } = self;
        let Attempt { process, life, task, number } = by;
        write!(f, "{what:?} {process} {life} {task} {number} {began_ns} {ended_ns} ")?;
        write!(f, "{said:?} {session} {user} {new}")
    }
}

impl Op {
    /// Nothing for what is no whole line: its process was killed.
    pub fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.strip_suffix('\n')?.split(' ').collect();
        let [what, numbers @ .., said, session, user, new] = words.as_slice() else { return None };
        let numbers: Option<Vec<u64>> = numbers.iter().map(|number| number.parse().ok()).collect();
        let numbers: [u64; 6] = numbers?.try_into().ok()?;
        let [process, life, task, number, began_ns, ended_ns] = numbers;
        Some(Self {
            by: Attempt { process, life, task, number },
            what: WHATS.into_iter().find(|known| format!("{known:?}") == *what)?,
            began_ns,
            ended_ns,
            said: SAIDS.into_iter().find(|known| format!("{known:?}") == *said)?,
            session: (*session).to_owned(),
            user: (*user).to_owned(),
            new: (*new).to_owned(),
        })
    }
}

/// A session that anyone may use.
#[derive(Clone, Debug)]
pub struct Known {
    pub token: String,
    pub id: String,
    pub user: String,
}

/// As a line.
impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token, id, user } = self;
        write!(f, "{token} {id} {user}")
    }
}

impl Known {
    pub fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.strip_suffix('\n')?.split(' ').collect();
        let [token, id, user] = <[&str; 3]>::try_from(words).ok()?.map(str::to_owned);
        Some(Self { token, id, user })
    }
}

/// Hears of everything, and offers sessions.
#[derive(Default)]
pub struct Register {
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    // What was told last of each.
    ops: HashMap<Attempt, Op>,
    board: VecDeque<Known>,
}

impl Register {
    pub fn hear(&self, op: Op) {
        self.shared.lock().ops.insert(op.by, op);
    }

    pub fn offer(&self, known: Known) {
        let mut shared = self.shared.lock();
        if shared.board.len() == BOARD_LEN_MAX {
            shared.board.pop_front();
        }
        shared.board.push_back(known);
    }

    /// One of those that are offered, mostly of the last ones.
    pub fn pick(&self, random: &mut fastrand::Rng) -> Option<Known> {
        let shared = self.shared.lock();
        let len = shared.board.len();
        let from = if random.bool() { len.saturating_sub(RECENT) } else { 0 };
        shared.board.get(random.usize(from..len.max(from + 1))).cloned()
    }

    pub fn offered(&self) -> Vec<Known> {
        self.shared.lock().board.iter().cloned().collect()
    }

    /// Whether a process has ever had an answer.
    pub fn has_heard_of(&self, process: u64) -> bool {
        let shared = self.shared.lock();
        let is_answer = |op: &Op| op.by.process == process && op.said != Said::Nothing;
        shared.ops.values().any(is_answer)
    }

    /// All of it.
    pub fn ops(&self) -> Vec<Op> {
        self.shared.lock().ops.values().cloned().collect()
    }
}
