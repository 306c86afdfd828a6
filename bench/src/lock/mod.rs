//! Locks beside the least that the job needs, and beside other locks.

mod handoff;
mod uncontended;

use std::time::Duration;

use sinew::Sinew;

use crate::measure::{Effort, Row};
use crate::peer::locks::{Rslock, SetNx};
use crate::world::start_redis;

/// Longer than a run.
const TTL: Duration = Duration::from_secs(30);

pub async fn run(effort: Effort) -> Vec<Row> {
    let server = tokio::task::spawn_blocking(start_redis).await.expect("a server");
    let url = format!("redis://127.0.0.1:{}", server.port);
    let sinew = Sinew::connect(&url).await.expect("a connection");
    let locks = sinew.tenant("acme").expect("a tenant").locks();
    let (bare, rslock) = (SetNx::connect(&url).await, Rslock::connect(&url));
    let mut rows = uncontended::rows(effort, &locks, &bare, &rslock).await;
    rows.extend(handoff::rows(effort, &locks, &rslock).await);
    rows
}
