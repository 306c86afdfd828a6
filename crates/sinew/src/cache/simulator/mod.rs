//! The protocol under random schedules: the code that ships, on a store and a network that are
//! simulated.
//!
//! Three processes share one store (`server.rs`, the scripts once more in Rust) over connections that
//! delay, lose and run late (`client.rs`). A history (`history.rs`) is a few dozen operations at random
//! moments of virtual time, with faults between them; an oracle (`oracle.rs`) knows how old a value
//! each call may see. The same seed gives the same history.
//!
//! Bugs can be planted, in the code and in the store: each has to be found.

mod client;
mod history;
mod oracle;
mod server;

use std::cell::Cell;

pub(crate) use client::Client;

/// What can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    // In the code that ships.
    FlightsJoinedByAnyone,
    FlightsJoinedPastTags,
    TideNotedAfterTheLoad,
    TokensSentTwice,
    NoTouchAfterTheReply,
    LocalHitsSkipTags,
    // In the client: what the link does.
    GenerationNotedAfterTheReply,
    EpochsThatStandStill,
    // In the store: what the scripts do.
    LeaseKeptByInvalidate,
    LeaseKeptByPut,
    LeaseWithoutNonce,
    FillIgnoresTheToken,
    InvalidationWithoutTombstone,
    TagsBroughtBack,
    // In the replay.
    NothingRepeatedAfterAFailover,
}

/// Events of a history, where someone wants to read them.
macro_rules! tell {
    ($($words:tt)*) => {
        if $crate::cache::simulator::IS_TOLD.get() {
            println!("{:>6} {}", $crate::cache::simulator::millis(), format_args!($($words)*));
        }
    };
}
use tell;

thread_local! {
    static IS_TOLD: Cell<bool> = const { Cell::new(false) };
    static BEGAN: Cell<Option<tokio::time::Instant>> = const { Cell::new(None) };
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

fn millis() -> u128 {
    let began = BEGAN.get().unwrap_or_else(tokio::time::Instant::now);
    BEGAN.set(Some(began));
    began.elapsed().as_millis()
}

pub(crate) fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

mod tests {
    use std::ops::Range;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::history::{self, Counts, Setting};
    use super::*;

    /// How many histories a plain test run plays; `SINEW_SIMULATE` says another number.
    const HISTORIES: u64 = 20_000;
    const HISTORIES_TO_FIND_A_BUG: u64 = 60_000;

    fn histories() -> u64 {
        std::env::var("SINEW_SIMULATE").ok().and_then(|n| n.parse().ok()).unwrap_or(HISTORIES)
    }

    /// Plays histories on all cores, until one breaks a promise or all were played.
    fn play(seeds: Range<u64>, bug: Option<Bug>) -> (Counts, Option<String>) {
        let (next, broken) = (AtomicU64::new(seeds.start), parking_lot::Mutex::new(None::<String>));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let counts = parking_lot::Mutex::new(Counts::default());
        std::thread::scope(|scope| {
            for _ in 0..cores {
                scope.spawn(|| {
                    PLANTED.set(bug);
                    let mut own = Counts::default();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end || broken.lock().is_some() {
                            break;
                        }
                        match history::play(seed, Setting::of(seed)) {
                            Ok(counted) => own += counted,
                            Err(why) => {
                                let mut broken = broken.lock();
                                broken.get_or_insert(format!("seed {seed}: {why}"));
                            }
                        }
                    }
                    *counts.lock() += own;
                });
            }
        });
        (counts.into_inner(), broken.into_inner())
    }

    #[test]
    fn no_schedule_breaks_a_promise() {
        let seeds = histories();
        let (counts, broken) = play(0..seeds, None);
        println!("{seeds} interleavings: {counts}");
        assert_eq!(broken, None);
        assert!(
            counts.hits > seeds && counts.loads > seeds && counts.fills > seeds / 2,
            "{counts}"
        );
    }

    /// Each is looked for from near where it was found once, so that it takes no minutes.
    #[test]
    fn every_planted_bug_is_found() {
        let mut missed = Vec::new();
        for (bug, near) in [
            (Bug::FlightsJoinedByAnyone, 400),
            (Bug::FlightsJoinedPastTags, 19_800),
            (Bug::TideNotedAfterTheLoad, 100),
            (Bug::TokensSentTwice, 104_100),
            (Bug::NoTouchAfterTheReply, 25_200),
            (Bug::LocalHitsSkipTags, 1100),
            (Bug::GenerationNotedAfterTheReply, 600),
            (Bug::EpochsThatStandStill, 1700),
            (Bug::LeaseKeptByInvalidate, 0),
            (Bug::LeaseKeptByPut, 700),
            (Bug::LeaseWithoutNonce, 100),
            (Bug::FillIgnoresTheToken, 0),
            (Bug::InvalidationWithoutTombstone, 3400),
            (Bug::TagsBroughtBack, 100),
            (Bug::NothingRepeatedAfterAFailover, 600),
        ] {
            match play(near..near + HISTORIES_TO_FIND_A_BUG, Some(bug)).1 {
                Some(why) => println!("{bug:?}: {why}"),
                None => missed.push(bug),
            }
        }
        assert!(missed.is_empty(), "not found: {missed:?}");
    }

    /// `SINEW_SEED=50 cargo test -p sinew --lib one_history -- --nocapture` tells one history.
    #[test]
    fn one_history_is_told() {
        let seed = std::env::var("SINEW_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
        IS_TOLD.set(true);
        let played = history::play(seed, Setting::of(seed));
        IS_TOLD.set(false);
        played.unwrap();
    }

    #[test]
    fn a_seed_gives_the_same_history_again() {
        for seed in 0..200 {
            let once = history::play(seed, Setting::of(seed)).unwrap();
            let again = history::play(seed, Setting::of(seed)).unwrap();
            assert_eq!(once, again, "seed {seed}");
        }
    }
}
