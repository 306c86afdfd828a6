//! Keeps what is known of the document up to date, until it is aborted.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::backend::Backend as _;
use super::known::Shared;
use crate::kernel::error::{Error, Result};
use crate::kernel::telemetry;

/// How often the version is asked for: what a lost message did not tell is known within twice this time.
const POLL_EVERY: Duration = Duration::from_secs(5);
/// How soon after a look that failed.
pub(super) const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long the first look waits until the store tells of changes, so that no second one is needed.
pub(super) const TELLS_WITHIN: Duration = Duration::from_millis(50);

/// `looked` is dropped after the first look.
pub(super) async fn keep(flags: Arc<Shared>, looked: mpsc::Sender<()>) {
    let mut watching = flags.engine.backend.watch(flags.keys.document());
    if !flags.engine.backend.is_local() {
        let _ = timeout(TELLS_WITHIN, watching.changed()).await;
    }
    let (mut looked, mut trouble) = (Some(looked), Trouble::default());
    let mut is_told = true;
    loop {
        let look = look(&flags, is_told).await;
        drop(looked.take());
        trouble.tell("the flags", look.as_ref().err());
        let pause = match look {
            Ok(()) => POLL_EVERY.mul_f64(0.5 + fastrand::f64() / 2.0),
            Err(_) => AGAIN_AFTER,
        };
        let next = Instant::now() + pause;
        is_told = loop {
            tokio::select! {
                _ = watching.changed() => break true,
                // What it was told of, it has not seen yet.
                () = sleep_until(next) => break look.is_err(),
                () = flags.until_turn() => flags.turn(),
            }
        };
    }
}

/// Asks the store, and makes the turns that come meanwhile, however long it takes to answer.
async fn look(flags: &Shared, is_told: bool) -> Result<()> {
    let mut looking = pin!(async {
        match is_told {
            true => flags.fetch().await,
            false => flags.poll().await,
        }
    });
    loop {
        tokio::select! {
            looked = &mut looking => return looked,
            () = flags.until_turn() => flags.turn(),
        }
    }
}

/// Tells a trouble once, and not with every attempt.
#[derive(Default)]
pub(super) struct Trouble {
    is_told: bool,
}

impl Trouble {
    pub(super) fn tell(&mut self, what: &str, error: Option<&Error>) {
        let outcome = if error.is_some() { "error" } else { "ok" };
        metrics::counter!(telemetry::FLAG_LOOKS, "outcome" => outcome).increment(1);
        let Some(error) = error else {
            self.is_told = false;
            return;
        };
        // That Redis is down, its link has told already.
        if !error.is_retryable() && !self.is_told {
            tracing::warn!(%error, "{what} cannot be read: the last that were known stay");
            self.is_told = true;
        }
    }
}
