//! Enqueueing elsewhere what is to follow on what has ended here.

use std::sync::Arc;
use std::time::Duration;

use super::super::backend::Backend as _;
use super::super::chain::pay;
use super::super::model::{OUTBOX_MAX, Owed};
use super::Team;
use super::part::Part;
use crate::kernel::error::{ErrorKind, Result};

/// How often it is looked for what a process has left that ended before it was done.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Relays what a partition owes, until it is aborted.
pub(super) async fn relay(team: Arc<Team>, part: Arc<Part>) {
    loop {
        match relay_some(&team, &part).await {
            Ok(OUTBOX_MAX..) => continue,
            Ok(_) => {}
            Err(error) => {
                let queue = part.keys.queue().as_str();
                tracing::debug!(queue, %error, "what follows on jobs is relayed later");
            }
        }
        let clock = team.clock();
        tokio::select! {
            () = part.owing.notified() => {}
            () = clock.sleep_until(clock.now().after(LOOK_EVERY)) => {}
        }
    }
}

/// How many there were.
async fn relay_some(team: &Team, part: &Part) -> Result<usize> {
    let backend = &team.engine().backend;
    let owed = backend.owed(&part.keys).await?;
    let mut paid = Vec::new();
    for one in &owed {
        if is_paid(team, part, one).await {
            paid.push(one.member.clone());
        }
    }
    if !paid.is_empty() {
        backend.paid(&part.keys, &paid).await?;
    }
    Ok(owed.len())
}

/// Whether it is enqueued. Where it is not, it is tried again once the store hands it out again.
async fn is_paid(team: &Team, part: &Part, owed: &Owed) -> bool {
    let Err(error) = pay(&team.settings.jobs, owed).await else { return true };
    let (queue, member) = (part.keys.queue().as_str(), owed.member.as_str());
    match error.kind() {
        ErrorKind::Unavailable { .. } | ErrorKind::Timeout { .. } => {
            tracing::debug!(queue, member, %error, "what follows on a job is enqueued later");
        }
        _ => {
            tracing::error!(queue, member, %error, "what follows on a job cannot be enqueued, and is kept");
        }
    }
    false
}
