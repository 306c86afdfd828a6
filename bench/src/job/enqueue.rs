//! How fast jobs are enqueued, where nobody does them.

use super::place::Place;
use super::side::{Side, Sides, System, in_turns, rows_of};
use crate::measure::{Effort, Row};

const MANY: &str = "job.enqueue_many";
const SINGLES: &str = "job.enqueue";
/// Of the best peer.
const BAR: (&str, f64) = ("bar: 1.5 of the best peer", 1.5);

pub async fn rows(effort: Effort, place: &Place, sides: &Sides) -> Vec<Row> {
    let rounds = effort.rounds.div_ceil(4);
    // Who does jobs in batches enqueues as who does not; and rusty-sidekiq enqueues one at a time.
    let singly = |system: System| system != System::OxanaInBatches;
    let by_many = |system: System| singly(system) && system != System::Sidekiq;
    let many = async |_: System, side: &Side| side.many(effort.each).await;
    let many = in_turns(place, &sides.of(by_many), rounds, MANY, many).await;
    let single = async |_: System, side: &Side| side.singles(effort.each).await;
    let singles = in_turns(place, &sides.of(singly), rounds, SINGLES, single).await;
    let mut rows = rows_of(MANY, &many, Some(BAR));
    rows.push(Row::unavailable(MANY, System::Sidekiq.name(), "it enqueues one at a time"));
    rows.extend(sides.absent(MANY));
    rows.extend(rows_of(SINGLES, &singles, Some(BAR)));
    rows.extend(sides.absent(SINGLES));
    rows
}
