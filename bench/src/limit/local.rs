//! What is answered in this process, on one thread: to who was denied a moment ago, and of permits that
//! were leased. Ours asks Redis in between, once a second or when the permits are used up, and counts
//! what it decides; peers know no other process.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::Quota;
use sinew::limit::{DAY, Limit, Limiter, Per, SECOND};

use crate::measure::{Effort, Row, at_once, in_turn, tight_rate};
use crate::peer::limits::{self, AskHere, SUBJECT};

/// Calls from one look at whether the turn is over to the next.
const BATCH: u64 = 1_024;
/// More in a second than anyone asks for.
const PLENTY: NonZeroU32 = NonZeroU32::new(1_000_000_000).expect("not 0");
const LEASE: u64 = 1_000_000;

pub async fn rows(effort: Effort, limiter: &Limiter) -> Vec<Row> {
    let one = Limit::gcra("one", 1.per(DAY));
    let ours = here(limiter.clone(), one.clone());
    assert!(limiter.check([one.of(SUBJECT)]).await.expect("an answer").is_allowed());
    let of = Measured { effort, bench: "limit.local_denial", ours, answer: false };
    let mut rows = of.rows(Quota::per_hour(NonZeroU32::MIN), 1).await;
    let plenty = Limit::gcra("plenty", u64::from(PLENTY.get()).per(SECOND)).lease(LEASE);
    let ours = here(limiter.clone(), plenty);
    let of = Measured { effort, bench: "limit.local_lease", ours, answer: true };
    rows.extend(of.rows(Quota::per_second(PLENTY), u64::MAX / 2).await);
    rows
}

fn here(limiter: Limiter, limit: Limit) -> impl AskHere {
    move || {
        let decision = at_once(limiter.check([limit.of(SUBJECT)])).expect("an answer");
        assert!(!decision.is_degraded(), "Redis is up");
        decision.is_allowed()
    }
}

/// What a row is about, but for the peer.
struct Measured<A> {
    effort: Effort,
    bench: &'static str,
    ours: A,
    /// What all of them say.
    answer: bool,
}

impl<A: AskHere> Measured<A> {
    async fn rows(&self, quota: Quota, limitador_quota: u64) -> Vec<Row> {
        vec![
            self.beside("governor", limits::governor(quota)).await,
            self.beside("governor direct", limits::governor_direct(quota)).await,
            self.beside("limitador", limits::limitador(limitador_quota)).await,
        ]
    }

    async fn beside(&self, peer: &'static str, theirs: impl AskHere) -> Row {
        // The first one passes.
        theirs();
        let title = format!("{}: {peer}", self.bench);
        let ours = async |time| self.asked(self.ours.clone(), time).await;
        let theirs = async |time| self.asked(theirs.clone(), time).await;
        let (ours, theirs) = in_turn(self.effort, &title, ours, theirs).await;
        Row::of_times(self.bench, peer, 1e9 / ours, 1e9 / theirs, "ns")
    }

    async fn asked(&self, ask: impl AskHere, time: Duration) -> f64 {
        let answer = self.answer;
        let batch = move |_| {
            for _ in 0..BATCH {
                assert_eq!(ask(), answer);
            }
        };
        tight_rate(1, time, batch).await * BATCH as f64
    }
}
