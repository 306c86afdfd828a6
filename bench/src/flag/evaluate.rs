//! One evaluation, on one thread: a percentage of those on whom three conditions hold. The least that the
//! job needs is the same written in code, with a hash of one's own.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sinew::flag::{EvalContext, Flags};

use super::{BAR, FLAGS, put};
use crate::allocations::allocations_of;
use crate::measure::{Effort, Row, in_turn, tight_rate};
use crate::peer::flags::Unleash;

const KEY: &str = "new-checkout";
const BAR_NS: f64 = 500.0;
/// Evaluations from one look at whether the turn is over to the next, each of another user.
const BATCH: usize = 1_024;

/// Half of those on whom the conditions hold.
pub fn rule() -> Value {
    json!({
        "if": [
            { "attribute": "plan", "op": "in", "values": ["pro", "team"] },
            { "attribute": "country", "op": "is", "values": ["NO"] },
            { "attribute": "seats", "op": "at_least", "values": [10] },
        ],
        "split": { "on": 50, "off": 50 },
    })
}

pub async fn rows(effort: Effort, flags: &Flags) -> Vec<Row> {
    put(flags, KEY, json!({ "rules": [rule()] })).await;
    let contexts: Arc<[EvalContext]> = (0..BATCH).map(context).collect();
    let users: Arc<[User]> = (0..BATCH).map(user).collect();
    let on = (0..BATCH).filter(|n| flags.enabled(KEY, &contexts[*n])).count();
    assert!((BATCH / 3..BATCH * 2 / 3).contains(&on), "half of {BATCH}, and not {on}");
    let ours = async |time| evaluations(flags, &contexts, time).await;
    let theirs = async |time| in_code(&users, time).await;
    let (raw_ours, theirs) = in_turn(effort, "flag.evaluate: raw", ours, theirs).await;
    let beside_raw = Row::of_times("flag.evaluate", "raw", 1e9 / raw_ours, 1e9 / theirs, "ns");
    let unleash = Unleash::new(KEY, FLAGS, BATCH);
    let on = (0..BATCH).filter(|n| unleash.is_on(KEY, *n)).count();
    assert!((BATCH / 3..BATCH * 2 / 3).contains(&on), "half of {BATCH}, and not {on}");
    let ours = async |time| evaluations(flags, &contexts, time).await;
    let theirs = async |time| of_unleash(&unleash, time).await;
    let (ours, theirs) = in_turn(effort, "flag.evaluate: unleash", ours, theirs).await;
    vec![
        beside_raw,
        Row::of_times("flag.evaluate", "unleash-yggdrasil", 1e9 / ours, 1e9 / theirs, "ns"),
        Row::of_times("flag.evaluate", BAR, 1e9 / ours, BAR_NS, "ns"),
        allocations(flags, &contexts),
    ]
}

fn context(number: usize) -> EvalContext {
    let user = EvalContext::user(format!("user-{number}")).with("plan", "pro");
    user.with("country", "NO").with("seats", 12)
}

async fn evaluations(flags: &Flags, contexts: &Arc<[EvalContext]>, time: Duration) -> f64 {
    let (flags, contexts) = (flags.clone(), Arc::clone(contexts));
    let batch = move |_| {
        for cx in &*contexts {
            black_box(flags.enabled(black_box(KEY), cx));
        }
    };
    tight_rate(1, time, batch).await * BATCH as f64
}

struct User {
    id: String,
    plan: String,
    country: String,
    seats: f64,
}

fn user(number: usize) -> User {
    let (plan, country) = ("pro".to_owned(), "NO".to_owned());
    User { id: format!("user-{number}"), plan, country, seats: 12.0 }
}

impl User {
    fn is_in(&self, key: &str) -> bool {
        let mut hash = DefaultHasher::new();
        (key, &self.id).hash(&mut hash);
        let holds = matches!(&*self.plan, "pro" | "team") && self.country == "NO";
        holds && self.seats >= 10.0 && hash.finish() % 100 < 50
    }
}

async fn in_code(users: &Arc<[User]>, time: Duration) -> f64 {
    let users = Arc::clone(users);
    let batch = move |_| {
        for user in &*users {
            black_box(user.is_in(black_box(KEY)));
        }
    };
    tight_rate(1, time, batch).await * BATCH as f64
}

async fn of_unleash(unleash: &Unleash, time: Duration) -> f64 {
    let unleash = unleash.clone();
    let batch = move |_| {
        for user in 0..BATCH {
            black_box(unleash.is_on(black_box(KEY), user));
        }
    };
    tight_rate(1, time, batch).await * BATCH as f64
}

/// Of all of these together, and of a flag that is not there.
fn allocations(flags: &Flags, contexts: &[EvalContext]) -> Row {
    // What a thread does once.
    black_box(flags.enabled(KEY, &contexts[0]));
    let count = allocations_of(|| {
        for cx in contexts {
            black_box(flags.enabled(KEY, cx));
            black_box(flags.enabled("there is none", cx));
        }
    });
    Row::of_times("flag.allocations", BAR, count as f64, 0.0, "allocations")
}
