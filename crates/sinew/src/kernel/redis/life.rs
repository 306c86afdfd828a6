//! Is the other end still there, and still what it was?

use std::time::Duration;

use super::connect::is_primary;
use super::connection::Connection;
use super::reply::Verdict;
use crate::kernel::breaker::{Breaker, BreakerState};

/// How often a server is asked for its role.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// While calls are held back, an answer lets them pass again.
const ASK_EVERY_WHILE_OPEN: Duration = Duration::from_millis(100);
/// A server that says nothing at all for so long after being asked is gone.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// Why a connection is to be given up.
pub(super) enum End {
    Silent,
    NotPrimary,
    Lost,
}

/// Watches over a connection for as long as it is of use.
///
/// The question is `ROLE`, which an idle primary answers as fast as `PING`; it tells a demotion
/// too, also to a process that only reads. A reply within `prompt` closes the breaker.
pub(super) async fn watch(connection: &Connection, breaker: &Breaker, prompt: Duration) -> End {
    let mut changes = breaker.watch();
    loop {
        let pause = match *changes.borrow_and_update() {
            BreakerState::Closed | BreakerState::Isolated => ASK_EVERY,
            BreakerState::Open | BreakerState::HalfOpen => ASK_EVERY_WHILE_OPEN,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // It opened, or closed: another pace.
            Ok(()) = changes.changed() => continue,
        }
        let heard = connection.heard();
        let asked = tokio::time::Instant::now();
        match tokio::time::timeout(SILENCE_MAX, connection.send(&redis::cmd("ROLE"))).await {
            Ok(Ok(role)) if is_primary(&role) => {
                if asked.elapsed() <= prompt {
                    breaker.recovered();
                }
            }
            Ok(Ok(_)) => return End::NotPrimary,
            Ok(Err(error)) => match Verdict::on(&error) {
                Verdict::Lost => return End::Lost,
                Verdict::NotPrimary => return End::NotPrimary,
                // Busy in a script, for one: not well, and there.
                _ => {}
            },
            // A long reply to someone else is a sign of life.
            Err(_) if connection.heard() != heard => {}
            Err(_) => return End::Silent,
        }
    }
}
