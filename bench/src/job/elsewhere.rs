//! Ours and the two fastest of the others where a server is farther away, and where it writes all down; and ours on a
//! cluster.

use std::time::Duration;

use tokio::task::spawn_blocking;

use super::distance::Distance;
use super::ours::Ours;
use super::place::Place;
use super::side::{Rates, Side, Sides, System, in_turns, rate_of, rows_of};
use super::{consume, pickup};
use crate::measure::{Effort, Row};
use crate::peer::jobs::node::BullMq;
use crate::world::{Cluster, free_port, start_redis, start_redis_on};

const ROUND_TRIP: Duration = Duration::from_millis(1);
const AOF: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "everysec"];
const PARTITIONS: u16 = 8;
/// The peer of rows about the cluster.
const ONE_SERVER: &str = "one server";

/// What rows are called: consuming, enqueueing many with a call, and one.
type Titles = [&'static str; 3];

const FAR: Titles = ["job.far_consume", "job.far_enqueue_many", "job.far_enqueue"];
const LOGGED: Titles = ["job.aof_consume", "job.aof_enqueue_many", "job.aof_enqueue"];
const CLUSTER: Titles = ["job.cluster_consume", "job.cluster_enqueue_many", "job.cluster_enqueue"];

pub async fn rows(effort: Effort, systems: &[System], node: &Result<BullMq, String>) -> Vec<Row> {
    let server = spawn_blocking(start_redis).await.expect("a server");
    let one = Place::at(server.port).await;
    let near = measured(effort, &one, &only_ours(&one).await, ["job.near"; 3]).await;
    let distance = Distance::start(server.port, ROUND_TRIP);
    let far = one.by_way_of(distance.port);
    let sides = Sides::connect(systems, &far.url, node).await;
    let mut rows = beside(effort, &far, &sides, FAR).await;
    rows.extend(pickup::rows(effort, &far, &sides, &pickup::FAR).await);
    drop((sides, far, distance, server));

    let server = spawn_blocking(|| start_redis_on(free_port(), &AOF)).await.expect("a server");
    let logged = Place::at(server.port).await;
    let sides = Sides::connect(systems, &logged.url, node).await;
    rows.extend(beside(effort, &logged, &sides, LOGGED).await);
    drop((sides, logged, server));

    let cluster = spawn_blocking(|| Cluster::start(0)).await.expect("a cluster");
    let cluster = Place::of(cluster);
    let ours = Ours::connect(&cluster.url).await.in_partitions(PARTITIONS).await;
    let spread = measured(effort, &cluster, &Sides::only(ours), CLUSTER).await;
    for (title, (spread, near)) in CLUSTER.into_iter().zip(spread.iter().zip(&near)) {
        let (ours, near) = (rate_of(spread, System::Ours), rate_of(near, System::Ours));
        rows.push(Row::of_rates(title, ONE_SERVER, ours, near));
    }
    rows
}

async fn only_ours(place: &Place) -> Sides {
    Sides::only(Ours::connect(&place.url).await)
}

async fn beside(effort: Effort, place: &Place, sides: &Sides, titles: Titles) -> Vec<Row> {
    let all = measured(effort, place, sides, titles).await;
    let rows = titles.into_iter().zip(&all);
    rows.flat_map(|(title, rates)| rows_of(title, rates, None)).collect()
}

async fn measured(effort: Effort, place: &Place, sides: &Sides, titles: Titles) -> [Rates; 3] {
    let rounds = effort.rounds.div_ceil(8);
    let [consume, many, singles] = titles;
    // The one of them that enqueues one at a time.
    let others = sides.of(|system| system != System::Sidekiq);
    let by_many = async |_: System, side: &Side| side.many(effort.each).await;
    let singly = async |_: System, side: &Side| side.singles(effort.each).await;
    [
        consume::rates(effort, place, sides, rounds, consume).await,
        in_turns(place, &others, rounds, many, by_many).await,
        in_turns(place, &sides.of(|_| true), rounds, singles, singly).await,
    ]
}
