//! Waiting for jobs, on one connection for all partitions that one command may name together.

use std::sync::Arc;

use super::Team;
use super::part::Part;
use crate::kernel::again::Again;
use crate::kernel::key::QueueKeys;

/// Hands tokens to lanes that have nothing to do, until it is aborted.
///
/// It waits while any of them has nothing to do, hence also takes tokens of partitions whose lanes have all their slots
/// full: these pass them on with their next turn, which puts another token there. Redis gives it to whoever has waited
/// longest, and that is not this one.
pub(super) async fn wait(team: Arc<Team>, parts: Vec<Arc<Part>>) {
    let keys: Vec<QueueKeys> = parts.iter().map(|part| part.keys.clone()).collect();
    let mut waker = team.engine().backend.waker(&keys);
    let mut again = Again::new();
    loop {
        until_any_is_idle(&parts).await;
        match waker.next().await {
            Ok(Some(index)) => {
                again.well();
                if let Some(part) = parts.get(index) {
                    part.has_token();
                }
            }
            // A token may have been lost with a connection: all look.
            Ok(None) => {
                again.well();
                parts.iter().for_each(|part| part.look());
            }
            Err(error) => {
                tracing::debug!(%error, "jobs are waited for again");
                again.pause().await;
                // What came meanwhile may have gone with the connection.
                parts.iter().for_each(|part| part.look());
            }
        }
    }
}

async fn until_any_is_idle(parts: &[Arc<Part>]) {
    let all = parts.iter().map(|part| Box::pin(part.until_idle()));
    futures_util::future::select_all(all).await;
}
