//! Renews what is held before it runs out: one task for all guards of a client.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::hold::Hold;
use crate::kernel::clock::{Clock, Monotonic};

/// A machine that was suspended is noticed within this time: timers stand still meanwhile.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pauses between attempts to renew, while the store does not answer.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// What is to be renewed, and when.
#[derive(Default)]
pub(super) struct Keeper {
    // A mutex that is held for a look into a map, twice a grant. A task a guard would cost more.
    plan: Mutex<Plan>,
    sooner: Notify,
}

#[derive(Default)]
struct Plan {
    /// By time, and by what makes equal times distinct.
    due: BTreeMap<(Monotonic, u64), Weak<Hold>>,
    /// When the task looks again by itself, if it does.
    next_look: Option<Monotonic>,
}

impl Keeper {
    /// Renews a hold at some time, unless it is over by then.
    pub(super) fn keep(&self, hold: &Arc<Hold>, at: Monotonic) {
        let mut plan = self.plan.lock();
        // Under the lock: a hold that ends now is forgotten after this.
        if !hold.renews_at(at) {
            return;
        }
        plan.due.insert((at, hold.number()), Arc::downgrade(hold));
        if plan.next_look.is_none_or(|next| at < next) {
            plan.next_look = Some(at);
            self.sooner.notify_one();
        }
    }

    /// A hold is over.
    pub(super) fn forget(&self, hold: &Hold) {
        let mut plan = self.plan.lock();
        if let Some(at) = hold.renews_no_more() {
            plan.due.remove(&(at, hold.number()));
        }
    }

    /// What is due, and when to look again.
    fn due(&self, now: Monotonic) -> (Vec<Arc<Hold>>, Option<Monotonic>) {
        let (mut plan, mut due) = (self.plan.lock(), Vec::new());
        while let Some(first) = plan.due.first_entry()
            && first.key().0 <= now
        {
            due.extend(first.remove().upgrade());
        }
        plan.next_look = plan.due.first_key_value().map(|((at, _), _)| *at);
        (due, plan.next_look)
    }
}

/// Renews for ever.
pub(super) async fn keep(keeper: Arc<Keeper>, clock: Clock) {
    loop {
        let now = clock.now();
        let (due, next_look) = keeper.due(now);
        for hold in due {
            tokio::spawn(renew(hold));
        }
        let Some(next_look) = next_look else {
            keeper.sooner.notified().await;
            continue;
        };
        tokio::select! {
            () = keeper.sooner.notified() => {}
            () = clock.sleep_until(next_look.min(now.after(LOOK_EVERY))) => {}
        }
    }
}

/// Renews one, and tries on while the store does not answer, until it is lost. It never brings one
/// back.
async fn renew(hold: Arc<Hold>) {
    let engine = Arc::clone(hold.engine());
    let pause = (hold.ttl().duration() / 20).clamp(PAUSE_MIN, PAUSE_MAX);
    loop {
        let now = engine.clock.now();
        let Some(ttl) = hold.renewable_for(now) else { return };
        match hold.extend(ttl).await {
            Ok(true) => return engine.keeper.keep(&hold, now.after(hold.ttl().duration() / 3)),
            Ok(false) => return,
            Err(error) => {
                let lock = hold.name();
                tracing::debug!(lock, %error, "a lock could not be renewed: trying again");
            }
        }
        engine.clock.sleep_until(now.after(pause).max(engine.clock.now())).await;
    }
}
