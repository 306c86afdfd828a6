//! Charging first, and settling when it is known what it cost.

use std::sync::Arc;

use super::decision::{Decision, Standing};
use super::engine::{Answer, Ask, Engine};
use crate::kernel::errand::to_the_end;
use crate::kernel::error::Result;

/// The answer to a request for a reservation.
#[derive(Debug)]
#[must_use = "what was denied should not go on"]
pub enum Reserve {
    /// It is charged, and to be settled.
    Granted(Reservation),
    /// It is not charged. The decision is [`Decision::Denied`].
    Denied(Decision),
}

/// A cost that was charged before it was known. See [`Limiter::reserve`](super::Limiter::reserve).
///
/// Dropped without being settled, it stays charged as it was reserved.
#[must_use = "a reservation is settled by settle(), or stays charged as it is"]
pub struct Reservation {
    engine: Arc<Engine>,
    charge: Box<(Ask, Answer)>,
    decision: Decision,
}

impl Reservation {
    pub(super) fn new(engine: Arc<Engine>, ask: Ask, answer: Answer, decision: Decision) -> Self {
        Self { engine, charge: Box::new((ask, answer)), decision }
    }

    /// How the limit stood when it was reserved.
    #[must_use]
    pub fn standing(&self) -> Option<&Standing> {
        self.decision.limits().first()
    }

    /// Whether it was decided on without Redis.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.decision.is_degraded()
    }

    /// Replaces what was reserved by what it cost.
    ///
    /// What it cost less is given back: by GCRA as far as it would still be there now, and in windows
    /// if theirs is not over, so that never more passes than if the cost had been known. What it cost
    /// more is charged, whatever the limit: beyond it as a debt of up to
    /// [`Limit::debt_max`](super::Limit::debt_max), and the rest is let off.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down: it may or may not be settled, and is never sent
    /// twice.
    ///
    /// # Cancellation
    /// It is settled even if the future is dropped once it was polled.
    pub async fn settle(self, actual: u64) -> Result<()> {
        let Self { engine, charge, .. } = self;
        let (ask, answer) = *charge;
        // Nothing was charged, by a shadow that denies or while everything is open.
        if answer.row.granted == 0 || answer.row.granted == actual {
            return Ok(());
        }
        to_the_end(async move { engine.settle(&ask, &answer, actual).await }).await
    }
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reservation")
            .field("limit", &self.charge.0.limit)
            .field("reserved", &self.charge.1.row.granted)
            .finish_non_exhaustive()
    }
}
