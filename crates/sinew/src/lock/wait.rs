//! Getting a lock, and waiting for it in line.

use std::sync::Arc;
use std::time::Duration;

use super::backend::Backend as _;
use super::builder::Acquire;
use super::engine::Engine;
use super::guard::Guard;
use super::hold::Hold;
use super::model::{Answer, Ask, HEARTBEAT, Kind, Replicas};
use super::owed::{Debt, Owed};
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::LockKeys;
use crate::kernel::ttl::Ttl;

/// Pauses between attempts of a waiter, while the store does not answer.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LAST: Duration = Duration::from_millis(500);

/// What a lock is asked for on.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) key: Arc<LockKeys>,
    pub(super) kind: Kind,
    pub(super) ttl: Ttl,
    pub(super) patience: Patience,
    pub(super) max_hold: Option<Duration>,
    pub(super) replicas: Option<Replicas>,
}

/// For how long a caller waits in line.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    OneTry,
    For(Duration),
    ForEver,
}

/// Asks once, or waits in line for as long as its patience lasts.
///
/// A waiter first has itself listed, then asks: a wake-up in between finds it, and one that came
/// before made the lock free, which the answer shows. Messages may get lost, so it also looks when
/// the answer said, and as often as its place in line needs to be kept.
///
/// *Cancellation*: what it may have been granted, and its place in line, are given up.
///
/// # Errors
/// As the first request. What goes wrong after it was put in line is waited out; but where too few
/// replicas have what was granted, it is given back, also then.
pub(super) async fn acquire(engine: &Arc<Engine>, terms: &Terms) -> Result<Acquire> {
    let Terms { key, kind, ttl, .. } = terms;
    let token = engine.token(*kind)?;
    let owed = Owed::new(engine, key, token, (Debt::Asked, ttl.duration()));
    let waits_for = match terms.patience {
        Patience::OneTry => None,
        Patience::For(time) => Some(time),
        Patience::ForEver => Some(Duration::MAX),
    };
    let gives_up = engine.clock.now().after(waits_for.unwrap_or_default());
    let mut waiting = waits_for.map(|_| {
        // It outlives this caller, and perhaps its runtime.
        let _on_ours = engine.runtime.enter();
        engine.backend.listen();
        engine.wakes.enlist(token)
    });
    let mut ask =
        Ask { token, ttl: *ttl, waits: waiting.is_some(), arrival: None, replicas: terms.replicas };
    let mut pause = PAUSE_FIRST;
    loop {
        if let Some(waiting) = &waiting {
            waiting.asks();
        }
        let sent = engine.clock.now();
        let again_in = match engine.backend.acquire(key, &ask).await {
            Ok(Answer::Granted { fence }) => {
                engine.backend.replicate(key, &ask).await?;
                let hold = Hold::new(engine, key, token, fence, (*ttl, terms.max_hold), sent);
                let guard = Guard::new(hold);
                // From here on, the guard gives it up.
                owed.settle();
                return if guard.is_lost() { Err(too_late()) } else { Ok(Acquire::Got(guard)) };
            }
            Ok(Answer::NotNow { again_in, arrival }) => {
                if waiting.is_none() {
                    owed.settle();
                    return Ok(Acquire::Held { retry_after: again_in });
                }
                if sent >= gives_up {
                    // It leaves the line in the background.
                    return Ok(Acquire::Held { retry_after: again_in });
                }
                (ask.arrival, pause) = (arrival, PAUSE_FIRST);
                again_in
            }
            Err(error) if ask.arrival.is_some() && error.is_retryable() && sent < gives_up => {
                let again_in = pause;
                pause = (pause * 2).min(PAUSE_LAST);
                again_in
            }
            Err(error) => {
                if ask.arrival.is_none() && !error.maybe_applied() {
                    owed.settle();
                }
                return Err(error);
            }
        };
        if let Some(waiting) = &mut waiting {
            let next = engine.clock.now().after(again_in.min(HEARTBEAT));
            waiting.until(next.min(gives_up)).await;
        }
    }
}

fn too_late() -> Error {
    Error::new(
        ErrorKind::Timeout { maybe_applied: true },
        "the lock was granted so late that its TTL had run out: expected a TTL well above what Redis takes to answer",
    )
}
