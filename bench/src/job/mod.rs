//! Background jobs beside others that do them, and beside what was promised: jobs that take no time, of 150 bytes.

mod backlog;
mod consume;
mod distance;
mod elsewhere;
mod enqueue;
mod memory;
mod ours;
mod pickup;
mod place;
mod side;

use std::time::Duration;

use tokio::task::spawn_blocking;

use crate::measure::{Effort, Row};
use crate::peer::jobs::node::BullMq;
use crate::world::start_redis;

pub use backlog::TEN_MILLION;
use place::Place;
use side::{Sides, System};

/// The peer of rows that nobody else has: what was promised.
const BAR: &str = "bar";

/// How many jobs a worker does at a time.
const CONCURRENCY: usize = 100;
/// Who enqueues one at a time, at the same time.
const TASKS: u64 = 64;
/// Who enqueues many at a time, at the same time, and how many with a call.
const PRODUCERS: u64 = 4;
const BULK: u64 = 1_000;
/// Generous: some look again only after seconds.
const DONE_WITHIN: Duration = Duration::from_secs(60);

pub async fn run(effort: Effort) -> Vec<Row> {
    let server = spawn_blocking(start_redis).await.expect("a server");
    let place = Place::at(server.port).await;
    let node = spawn_blocking(BullMq::install).await.expect("a thread that does not panic");
    let sides = Sides::connect(&System::ALL, &place.url, &node).await;
    let (mut rows, best) = consume::rows(effort, &place, &sides).await;
    rows.extend(enqueue::rows(effort, &place, &sides).await);
    rows.extend(pickup::rows(effort, &place, &sides, &pickup::NEAR).await);
    rows.extend(memory::rows(&place, &sides).await);
    rows.extend(backlog::rows(effort, &place).await);
    drop((sides, server));
    rows.extend(elsewhere::rows(effort, &best, &node).await);
    rows
}

/// The same with ten million jobs waiting, which takes gigabytes and minutes.
pub async fn ten_million(effort: Effort) -> Vec<Row> {
    let server = spawn_blocking(start_redis).await.expect("a server");
    let place = Place::at(server.port).await;
    backlog::ten_million(effort, &place).await
}
