//! What a job takes that waits.

use super::BAR;
use super::place::Place;
use super::side::{Side, Sides, System};
use crate::measure::Row;

const BENCH: &str = "job.memory";
const JOBS: u64 = 100_000;
const BAR_BYTES: f64 = 420.0;

pub async fn rows(place: &Place, sides: &Sides) -> Vec<Row> {
    let ours = bytes_a_job(place, sides.get(System::Ours)).await;
    let mut rows = vec![Row::of_times(BENCH, BAR, ours, BAR_BYTES, "bytes a job")];
    for (system, side) in sides.of(|s| s != System::Ours && s != System::OxanaInBatches) {
        eprint!("\r{BENCH}: {:<20}", system.name());
        let theirs = bytes_a_job(place, side).await;
        rows.push(Row::of_times(BENCH, system.name(), ours, theirs, "bytes a job"));
    }
    eprintln!();
    rows.extend(sides.absent(BENCH));
    rows
}

async fn bytes_a_job(place: &Place, side: &Side) -> f64 {
    // Scripts and buffers of connections are there from now on.
    side.fill(1).await;
    place.clear().await;
    let before = place.used_memory().await;
    side.fill(JOBS).await;
    let after = place.used_memory().await;
    place.clear().await;
    (after - before) / JOBS as f64
}
