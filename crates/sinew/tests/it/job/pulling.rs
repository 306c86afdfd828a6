//! Jobs that are taken by hand: for workers that are no Rust.

use std::time::{Instant, SystemTime};

use sinew::job::{Grain, JobState, JobToken, NewJob, PullEnd, QueueSettings, Waited};
use sinew::{Clock, Sinew};

use super::hearing::{Hearing, Number, all_done};
use super::{
    LEASE, LONG, QUEUE, SECOND, SOON, drained, enqueue, enqueue_all, find, jobs, look, new, worker,
};
use crate::laws::{eventually, keep};

laws! {
    async fn jobs_are_taken_and_their_ends_are_told(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let pull = there.pull(QUEUE).label("python");
        assert!(pull.reserve(10, LONG).await.unwrap().is_empty());
        let handle = here.enqueue(&Number { n: 0 }).retain(LONG).await.unwrap().handle();
        enqueue_all(&here, 1..5).await;
        let taken = pull.reserve(10, LONG).await.unwrap();
        let payloads: Vec<_> = taken.iter().map(|one| one.payload.clone()).collect();
        assert_eq!(payloads[..2], [&b"{\"n\":0}"[..], b"{\"n\":1}"]);
        assert!(taken.iter().all(|one| one.kind == "number" && one.attempt == 1));
        assert!(pull.reserve(10, LONG).await.unwrap().is_empty(), "all are taken");
        // A token is text on its way.
        let tokens = taken.iter().map(|one| one.token.to_string().parse().unwrap());
        let tokens: Vec<JobToken> = tokens.collect();
        let ends = [
            PullEnd::Done(Some("\"sent\"".into())),
            PullEnd::Failed { error: "no route".to_owned(), after: Some(LONG) },
            PullEnd::Snooze(LONG),
            PullEnd::Dead("no such user".to_owned()),
            PullEnd::Back,
        ];
        for (token, end) in tokens.iter().zip(ends) {
            assert!(pull.finish(token, end).await.unwrap());
        }
        let sent = handle.wait::<String>(SECOND).await.unwrap();
        assert_eq!(sent, Waited::Done("sent".to_owned()));
        let states = [
            JobState::Done,
            JobState::Scheduled,
            JobState::Scheduled,
            JobState::Dead,
            JobState::Waiting,
        ];
        for (at, (one, state)) in taken.iter().zip(states).enumerate() {
            let found = find(&here, one.id).await.expect("it is there");
            let failures = u32::from(at == 1 || at == 3);
            assert_eq!((found.state, found.failures), (state, failures), "{at}");
        }
        assert_eq!(look(&here, QUEUE).await.lanes, 0, "who has nothing left is gone");
        let again = pull.reserve(10, LONG).await.unwrap();
        assert_eq!((again.len(), again[0].id, again[0].attempt), (1, taken[4].id, 1));
        assert!(!pull.finish(&tokens[4], PullEnd::Done(None)).await.unwrap(), "another has it");
    }

    async fn one_that_waits_for_a_job_has_it_when_it_comes(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        for n in 0..3 {
            let waits = tokio::spawn({
                let pull = there.pull(QUEUE).wait(20 * SECOND);
                async move { (pull.reserve(1, LONG).await.unwrap(), Instant::now()) }
            });
            tokio::time::sleep(SECOND / 10).await;
            let began = Instant::now();
            let id = enqueue(&here, n).await;
            let (taken, at) = waits.await.unwrap();
            assert_eq!(taken[0].id, id);
            assert!(at - began < SOON, "{:?}", at - began);
        }
        let began = Instant::now();
        let none = there.pull(QUEUE).wait(SECOND / 2).reserve(1, LONG).await.unwrap();
        assert!(none.is_empty() && began.elapsed() >= SECOND / 2);
    }

    async fn one_of_a_high_priority_is_not_behind_all_that_were_due_before_it(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let due = SystemTime::now() + SECOND;
        let many = here.enqueue_many((0..600).map(|n| Number { n })).at(due);
        assert_eq!(many.await.unwrap().len(), 600);
        let at = due + SECOND / 100;
        let urgent = new(here.enqueue(&Number { n: 600 }).priority(9).at(at).await.unwrap());
        let all_are_due = || std::future::ready(SystemTime::now() > at + SECOND);
        eventually("all are due", all_are_due).await;
        let mut met = 0;
        while there.pull(QUEUE).reserve(1, LONG).await.unwrap()[0].id != urgent {
            met += 1;
            assert!(met < 60, "a tenth of those before it were given");
        }
        let all = look(&here, QUEUE).await;
        assert_eq!(all.waiting + all.scheduled, 600 - met, "nothing is lost on the way");
    }

    async fn one_that_is_due_behind_many_of_a_busy_key_is_given_at_once(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        here.queue(QUEUE).declare(QueueSettings::new().per_key(1)).await.unwrap();
        here.enqueue(&Number { n: 0 }).key("ada").await.unwrap();
        there.pull(QUEUE).reserve(1, LONG).await.unwrap().remove(0);
        let due = SystemTime::now() + 2 * SECOND;
        for n in 1..400 {
            here.enqueue(&Number { n }).key("ada").at(due).await.unwrap();
        }
        let at = due.max(SystemTime::now()) + SECOND / 100;
        let free = new(here.enqueue(&Number { n: 400 }).at(at).await.unwrap());
        let all_are_due = || std::future::ready(SystemTime::now() > at + SECOND);
        eventually("all are due", all_are_due).await;
        let taken = there.pull(QUEUE).reserve(1, LONG).await.unwrap();
        assert_eq!(taken.iter().map(|one| one.id).collect::<Vec<_>>(), [free]);
    }

    async fn who_renews_hears_of_what_it_has_no_more_beside_what_it_has(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        enqueue_all(&here, 0..3).await;
        let mine = here.pull(QUEUE).reserve(3, LONG).await.unwrap();
        let tokens: Vec<JobToken> = mine.iter().map(|one| one.token.clone()).collect();
        assert!(here.pull(QUEUE).finish(&tokens[0], PullEnd::Back).await.unwrap());
        assert!(here.pull(QUEUE).finish(&tokens[1], PullEnd::Done(None)).await.unwrap());
        let theirs = there.pull(QUEUE).reserve(1, LONG).await.unwrap().remove(0);
        assert_eq!(theirs.id, mine[0].id);
        assert_eq!(here.pull(QUEUE).renew(&tokens, LONG).await.unwrap(), tokens[..2]);
        assert!(there.pull(QUEUE).renew(&[theirs.token], LONG).await.unwrap().is_empty());
    }

    async fn an_end_that_does_not_count_is_in_no_statistics(store: Store) {
        let jobs = jobs(&store).await;
        enqueue_all(&jobs, 0..2).await;
        let pull = jobs.pull(QUEUE);
        let taken = pull.reserve(2, LONG).await.unwrap();
        assert!(pull.finish(&taken[0].token, PullEnd::Snooze(LONG)).await.unwrap());
        for end in [PullEnd::Done(None), PullEnd::Dead("no".to_owned())] {
            assert!(!pull.finish(&taken[0].token, end).await.unwrap());
        }
        let days = jobs.queue(QUEUE).stats(Grain::Day, 2).await.unwrap();
        let counts = days.iter().flat_map(|day| &day.counts);
        let is_of_ends = |name: &str| name.contains("done") || name.contains("dead");
        assert_eq!(counts.clone().find(|(name, _)| is_of_ends(name)), None);
        let lost = counts.filter(|(name, _)| *name == "lost").map(|(_, count)| count);
        assert_eq!(lost.sum::<u64>(), 2);
    }

    async fn jobs_of_who_is_silent_are_anothers(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let id = new(here.enqueue(&Number { n: 1 }).key("ada").await.unwrap());
        let pull = there.pull(QUEUE);
        let silent = pull.reserve(1, LEASE).await.unwrap().remove(0);
        let again = there.pull(QUEUE).wait(20 * SECOND).reserve(1, LONG).await.unwrap().remove(0);
        assert_eq!((again.id, again.crashes, again.failures), (id, 1, 0));
        assert!(!pull.finish(&silent.token, PullEnd::Done(None)).await.unwrap());
        assert!(pull.finish(&again.token, PullEnd::Done(None)).await.unwrap());
        assert_eq!(look(&here, QUEUE).await.running, 0);
    }

    async fn those_who_pull_and_workers_share_a_queue(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        enqueue_all(&here, 0..100).await;
        let by_hand = tokio::spawn({
            let pull = here.pull(QUEUE);
            async move {
                let mut ended = 0;
                loop {
                    let taken = pull.reserve(7, LONG).await.unwrap();
                    if taken.is_empty() {
                        return ended;
                    }
                    for one in taken {
                        assert!(pull.finish(&one.token, PullEnd::Done(None)).await.unwrap());
                        ended += 1;
                    }
                }
            }
        });
        let mut worker = Hearing::start(worker(&there), all_done);
        let by_hand: u64 = by_hand.await.unwrap();
        drained(&here, QUEUE).await;
        assert_eq!(by_hand + worker.stop().await.done, 100, "each once");
    }

    async fn long_jobs_come_a_few_at_a_time_and_none_is_missed(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let payload = bytes::Bytes::from(vec![b'x'; 300_000]);
        let of = |_| NewJob::new("image", payload.clone());
        here.enqueue_many_raw(QUEUE, (0..12).map(of).collect()).await.unwrap();
        let (pull, mut ids) = (there.pull(QUEUE), Vec::new());
        while ids.len() < 12 {
            let some = pull.reserve(12, LONG).await.unwrap();
            assert!((1..=4).contains(&some.len()), "{some:?}");
            ids.extend(some.iter().map(|one| one.id));
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((ids.len(), look(&here, QUEUE).await.running), (12, 12));
    }

    async fn tokens_of_nobody_are_refused_and_harm_nothing(store: Store) {
        let jobs = jobs(&store).await;
        enqueue(&jobs, 1).await;
        let taken = jobs.pull(QUEUE).reserve(1, LONG).await.unwrap().remove(0);
        for wrong in ["", "x", "work", &"a".repeat(500)] {
            assert!(wrong.parse::<JobToken>().is_err(), "{wrong}");
        }
        // Of another queue.
        let other = jobs.pull("other").finish(&taken.token, PullEnd::Done(None)).await;
        assert!(other.is_err() || !other.unwrap());
        assert_eq!(look(&jobs, QUEUE).await.running, 1);
        for max in [0, 101] {
            assert!(jobs.pull(QUEUE).reserve(max, LONG).await.is_err(), "{max}");
        }
        assert!(jobs.pull(QUEUE).finish(&taken.token, PullEnd::Done(None)).await.unwrap());
    }
}

#[test]
fn a_lease_of_who_pulls_is_over_when_the_clock_says_so() {
    keep(|| async {
        let (clock, hands) = Clock::manual();
        let jobs = Sinew::builder().clock(clock).embedded().unwrap().jobs();
        let id = enqueue(&jobs, 1).await;
        let silent = jobs.pull(QUEUE).reserve(1, LONG).await.unwrap().remove(0);
        assert!(jobs.pull(QUEUE).reserve(1, LONG).await.unwrap().is_empty());
        hands.advance(LONG + 60 * SECOND);
        let again = || async {
            // A store that no one reached has nobody suffer for it at once.
            hands.advance(10 * SECOND);
            let taken = jobs.pull(QUEUE).reserve(1, LONG).await.unwrap();
            taken.first().is_some_and(|one| one.id == id && one.crashes == 1)
        };
        eventually("another has it", again).await;
        assert!(!jobs.pull(QUEUE).finish(&silent.token, PullEnd::Done(None)).await.unwrap());
    });
}
