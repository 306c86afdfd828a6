//! How fast jobs are done that wait, a hundred at a time.

use super::place::Place;
use super::side::{Rates, Side, Sides, System, in_turns, rate_of, rows_of};
use crate::measure::{Effort, Row};

const BENCH: &str = "job.consume";
/// Of the best peer.
const BAR: (&str, f64) = ("bar: 4 of the best peer", 4.0);
/// What the first look at each has wait.
const WAITING_FIRST: u64 = 10_000;
const WAITING_MIN: f64 = 2_000.0;
/// How much more waits than was done in that time when it was looked at first.
const TO_SPARE: f64 = 1.5;

/// Beside the rows, ours and the two fastest of other products.
pub async fn rows(effort: Effort, place: &Place, sides: &Sides) -> (Vec<Row>, Vec<System>) {
    let rates = rates(effort, place, sides, effort.rounds.div_ceil(4), BENCH).await;
    let mut rows = rows_of(BENCH, &rates, Some(BAR));
    rows.extend(sides.absent(BENCH));
    (rows, with_two_best(rates))
}

/// Jobs a second that each does.
pub async fn rates(
    effort: Effort,
    place: &Place,
    sides: &Sides,
    rounds: usize,
    title: &str,
) -> Rates {
    let all = sides.of(|_| true);
    let look = async |system: System, side: &Side| {
        side.consume(WAITING_FIRST.min(system.waiting_max()), effort.each).await
    };
    let looks = in_turns(place, &all, 1, title, look).await;
    let consume = async |system: System, side: &Side| {
        let likely = rate_of(&looks, system) * effort.each.as_secs_f64() * TO_SPARE;
        let waiting = (likely.max(WAITING_MIN) as u64).min(system.waiting_max());
        side.consume(waiting, effort.each).await
    };
    in_turns(place, &all, rounds, title, consume).await
}

fn with_two_best(mut rates: Rates) -> Vec<System> {
    rates.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let mut best = vec![System::Ours];
    for (system, _) in rates {
        if best.iter().all(|better| better.product() != system.product()) {
            best.push(system);
        }
    }
    best.truncate(3);
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_best_are_of_two_products() {
        let rates = vec![
            (System::Official, 40.0),
            (System::OxanaInBatches, 60.0),
            (System::Oxana, 50.0),
            (System::Ours, 45.0),
            (System::Node, 33.0),
        ];
        let two_best = [System::Ours, System::OxanaInBatches, System::Official];
        assert!(with_two_best(rates) == two_best);
    }
}
