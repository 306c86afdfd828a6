//! Jobs that recur.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sinew::job::{Dst, Missed, Overlap, Queue, RecurringJob, Worker};
use sinew::{Clock, ErrorKind, Jobs, Sinew};
use tokio::sync::watch;

use super::hearing::{self, Hearing, Number, all_done, behind};
use super::{QUEUE, SECOND, drained, jobs, look, one_by_one, worker};
use crate::laws::{LAW_MAX, eventually, keep, keep_for};

const NAME: &str = "nightly";
const HOUR: Duration = Duration::from_secs(3_600);

pub fn ms(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("a time that can be")
}

async fn recurring(jobs: &Jobs) -> RecurringJob {
    jobs.recurring_at(NAME).look().await.unwrap().expect("it is defined")
}

async fn last_tick_ms(jobs: &Jobs) -> u64 {
    ms(recurring(jobs).await.last_tick)
}

/// At every whole second.
async fn each_second(jobs: &Jobs, overlap: Overlap) {
    let definition = jobs.recurring(NAME).every(SECOND).missed(Missed::FireAll).overlap(overlap);
    definition.job(&Number { n: 1 }).unwrap().upsert().await.unwrap();
}

/// Waits until so many more ticks have come.
async fn ticks(jobs: &Jobs, count: u64) {
    let begin = last_tick_ms(jobs).await;
    eventually("ticks come", || async { last_tick_ms(jobs).await >= begin + 1_000 * count }).await;
}

laws! {
    async fn each_tick_makes_one_job_over_three_schedulers(store: Store) {
        let processes = [jobs(&store).await, jobs(&store).await, jobs(&store).await];
        let (tell, mut heard) = hearing::channel();
        let workers = processes.each_ref().map(|jobs| {
            hearing::start(worker(jobs), &tell, |_| std::future::ready(Ok(())))
        });
        let mut begin = None;
        // Each says it when it starts, as services do.
        for jobs in &processes {
            each_second(jobs, Overlap::Allow).await;
            begin.get_or_insert(last_tick_ms(jobs).await);
        }
        heard.numbers(4).await;
        let mut done = 0;
        for worker in workers {
            done += worker.stop().await.done;
        }
        // No one is there who could go on.
        let looked = look(&processes[0], QUEUE).await;
        let end = last_tick_ms(&processes[0]).await;
        let ticks = end / 1_000 - begin.expect("it was looked at") / 1_000;
        assert!(ticks >= 4, "{ticks}");
        assert_eq!(done + looked.waiting + looked.running, ticks, "one for each");
    }

    async fn a_tick_makes_no_job_while_the_one_before_it_goes_on(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let (open, gate) = watch::channel(false);
        let mut worker = Hearing::start_with(worker(&there), behind(gate));
        each_second(&here, Overlap::Skip).await;
        worker.next().await;
        ticks(&here, 3).await;
        assert!(worker.ear.is_silent());
        let looked = look(&here, QUEUE).await;
        assert_eq!((looked.running, looked.waiting), (1, 0));
        open.send(true).unwrap();
        worker.next().await;
        worker.stop().await;
    }

    async fn ticks_make_jobs_beside_each_other_where_they_may(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let (_open, gate) = watch::channel(false);
        let worker = worker(&there).drain(SECOND / 10);
        let mut worker = Hearing::start_with(worker, behind(gate));
        each_second(&here, Overlap::Allow).await;
        assert_eq!(worker.numbers(3).await.len(), 3);
        assert!(look(&here, QUEUE).await.running >= 3);
        worker.stop().await;
    }

    async fn a_tick_takes_the_place_of_the_one_before_it(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let never = |_: hearing::Heard| std::future::pending();
        let worker = worker(&there).drain(SECOND / 10);
        let mut worker = Hearing::start_with(worker, never);
        each_second(&here, Overlap::Replace).await;
        let first = worker.next().await;
        let second = worker.next().await;
        assert_ne!(first.cx.id(), second.cx.id());
        let told = tokio::time::timeout(LAW_MAX / 3, first.cx.cancelled()).await;
        assert!(told.is_ok(), "the first is to stop");
        assert!(here.queue(QUEUE).find(first.cx.id()).await.unwrap().is_none());
        worker.stop().await;
    }

    async fn a_definition_that_is_said_again_goes_on_and_another_begins_anew(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let daily = |jobs: &Jobs, expression: &str| {
            jobs.recurring(NAME).cron(expression).tz("Europe/Berlin").job(&Number { n: 1 }).unwrap()
        };
        daily(&here, "0 2 * * *").upsert().await.unwrap();
        let first = recurring(&here).await;
        tokio::time::sleep(SECOND / 20).await;
        daily(&there, "0 2 * * *").upsert().await.unwrap();
        let again = recurring(&here).await;
        assert_eq!((again.revision, again.last_tick), (first.revision, first.last_tick));
        daily(&there, "0 3 * * *").upsert().await.unwrap();
        let other = recurring(&here).await;
        assert!(other.revision > first.revision && other.last_tick > first.last_tick);
        let wrong = daily(&here, "0 25 * * *").upsert().await.unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::Rejected, "{wrong}");
        assert_eq!(here.recurring_list().await.unwrap().len(), 1);
        assert!(here.recurring_at(NAME).drop().await.unwrap());
        assert!(!here.recurring_at(NAME).drop().await.unwrap());
        assert!(there.recurring_at(NAME).look().await.unwrap().is_none());
        assert!(there.recurring_list().await.unwrap().is_empty());
    }

    async fn what_is_paused_or_dropped_fires_no_more(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let mut worker = Hearing::start(worker(&there), all_done);
        each_second(&here, Overlap::Allow).await;
        worker.next().await;
        here.recurring_at(NAME).pause().await.unwrap();
        drained(&here, QUEUE).await;
        // Whoever had looked before has fired by then.
        while !worker.is_silent_for(2 * SECOND).await {}
        here.recurring_at(NAME).resume().await.unwrap();
        worker.next().await;
        assert!(here.recurring_at(NAME).drop().await.unwrap());
        while !worker.is_silent_for(2 * SECOND).await {}
        worker.stop().await;
    }

    async fn one_that_is_due_next_year_fires_when_it_is_told_to(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let mut worker = Hearing::start(worker(&there), all_done);
        let yearly = here.recurring(NAME).cron("@yearly").job(&Number { n: 7 }).unwrap();
        yearly.upsert().await.unwrap();
        here.recurring_at(NAME).fire_now().await.unwrap();
        assert_eq!(worker.next().await.n, 7);
        drained(&here, QUEUE).await;
        assert_eq!(worker.stop().await.done, 1);
    }
}

fn embedded(clock: Clock) -> Jobs {
    Sinew::builder().clock(clock).embedded().expect("an embedded store").jobs()
}

/// How many of ten ticks are made up for that nobody was there for; whether the next comes all the same.
async fn missed(policy: Missed) -> (usize, bool) {
    let (clock, hands) = Clock::manual();
    let jobs = embedded(clock);
    let hourly = jobs.recurring(NAME).cron("0 * * * *").missed(policy).overlap(Overlap::Allow);
    hourly.job(&Number { n: 1 }).unwrap().upsert().await.unwrap();
    let begin = last_tick_ms(&jobs).await;
    hands.advance(10 * HOUR + HOUR / 3);
    let mut worker = Hearing::start(one_by_one(&jobs), all_done);
    if policy != Missed::Skip {
        eventually("it is made up for", || async { last_tick_ms(&jobs).await > begin }).await;
    }
    let mut made_up = 0;
    while !worker.is_silent_for(SECOND / 2).await {
        made_up += 1;
    }
    let (now, hour_ms) = (begin + 37_200_000, 3_600_000);
    let next = (now / hour_ms + 1) * hour_ms;
    hands.advance(Duration::from_millis(next - now));
    worker.next().await;
    worker.stop().await;
    (made_up, last_tick_ms(&jobs).await == next)
}

#[test]
fn ticks_that_nobody_was_there_for_follow_their_policy() {
    keep(|| async {
        for (policy, made_up) in [(Missed::FireOnce, 1), (Missed::FireAll, 10), (Missed::Skip, 0)] {
            assert_eq!(missed(policy).await, (made_up, true), "{policy:?}");
        }
    });
}

#[test]
fn what_was_due_in_a_pause_is_not_made_up_for() {
    keep(|| async {
        let (clock, hands) = Clock::manual();
        let jobs = embedded(clock);
        let hourly = || {
            let hourly = jobs.recurring(NAME).cron("0 * * * *");
            let hourly = hourly.missed(Missed::FireAll).overlap(Overlap::Allow);
            hourly.job(&Number { n: 1 }).unwrap()
        };
        hourly().upsert().await.unwrap();
        let mut worker = Hearing::start(one_by_one(&jobs), all_done);
        for is_by_name in [true, false] {
            match is_by_name {
                true => assert!(jobs.recurring_at(NAME).pause().await.unwrap()),
                false => assert!(hourly().paused().upsert().await.unwrap().is_paused),
            }
            hands.advance(5 * HOUR);
            match is_by_name {
                true => assert!(jobs.recurring_at(NAME).resume().await.unwrap()),
                false => assert!(!hourly().upsert().await.unwrap().is_paused),
            }
            let resumed = last_tick_ms(&jobs).await;
            // Long enough for a look at what is defined.
            hands.advance(10 * SECOND);
            assert!(worker.is_silent_for(SECOND / 2).await, "one of the pause");
            let (now, hour_ms) = (resumed + 10_000, 3_600_000);
            let next = (now / hour_ms + 1) * hour_ms;
            hands.advance(Duration::from_millis(next - now));
            worker.next().await;
            assert!(worker.is_silent_for(SECOND / 2).await, "one for the hour");
            assert_eq!(last_tick_ms(&jobs).await, next);
        }
        worker.stop().await;
    });
}

#[test]
fn what_is_next_is_told_without_a_store() {
    keep(|| async {
        let (clock, _) = Clock::manual();
        let jobs = embedded(clock);
        let daily = jobs.recurring(NAME).cron("0 2 * * *").tz("Europe/Berlin");
        let next = daily.job(&Number { n: 1 }).unwrap().next(3).unwrap();
        // From the 14th of November 2023, 22:13 UTC, on.
        let first = 1_700_010_000_000;
        assert_eq!(
            next.into_iter().map(ms).collect::<Vec<_>>(),
            [first, first + 86_400_000, first + 2 * 86_400_000]
        );
        assert!(jobs.recurring_list().await.unwrap().is_empty());
    });
}

const ZONES: [&str; 3] = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"];
const POLICIES: [Dst; 3] = [Dst::RunOnce, Dst::Skip, Dst::RunTwice];
/// Skipped, or repeated, in each of these zones.
const EXPRESSION: &str = "15,45 1,2 * * *";
const QUARTER_MS: u64 = 900_000;
const DAY_MS: u64 = 86_400_000;

fn wall(zone: &TimeZone, at_ms: u64) -> DateTime {
    let at = Timestamp::from_millisecond(i64::try_from(at_ms).unwrap()).unwrap();
    at.to_zoned(zone.clone()).datetime()
}

fn is_meant(wall: DateTime) -> bool {
    matches!((wall.hour(), wall.minute()), (1 | 2, 15 | 45))
}

/// By looking at the clock on the wall every quarter of an hour.
fn expected(zone: &str, dst: Dst, from_ms: u64, to_ms: u64) -> Vec<u64> {
    let zone = TimeZone::get(zone).expect("a zone");
    let quarter = SignedDuration::from_mins(15);
    let first = (from_ms / QUARTER_MS + 1) * QUARTER_MS;
    let (mut ticks, mut seen) = (Vec::new(), HashSet::new());
    let mut before = wall(&zone, first - QUARTER_MS);
    for at in (first..=to_ms).step_by(usize::try_from(QUARTER_MS).unwrap()) {
        let now = wall(&zone, at);
        let mut skipped = before.checked_add(quarter).unwrap();
        let mut is_tick = is_meant(now) && (seen.insert(now) || dst == Dst::RunTwice);
        while skipped < now {
            is_tick |= is_meant(skipped) && dst != Dst::Skip;
            skipped = skipped.checked_add(quarter).unwrap();
        }
        if is_tick {
            ticks.push(at);
        }
        before = now;
    }
    ticks
}

/// Whether a clock is put forward or back within a day.
fn is_near_a_change(at_ms: u64) -> bool {
    ZONES.iter().any(|zone| {
        let zone = TimeZone::get(zone).expect("a zone");
        let offset = |at_ms: u64| {
            zone.to_offset(Timestamp::from_millisecond(i64::try_from(at_ms).unwrap()).unwrap())
        };
        offset(at_ms - DAY_MS) != offset(at_ms + DAY_MS)
    })
}

#[test]
fn a_year_of_ticks_in_three_zones_is_as_it_is_written() {
    keep_for(LAW_MAX * 4, || async {
        let (clock, hands) = Clock::manual();
        let jobs = embedded(clock);
        let (tell, mut heard) = hearing::channel();
        let schedulers: Vec<_> = (0..3)
            .map(|_| {
                let queue = Queue::new(QUEUE).lease(HOUR);
                let worker = Worker::new(&jobs).queue(queue);
                hearing::start(worker, &tell, |_| std::future::ready(Ok(())))
            })
            .collect();
        let of_all = ZONES.iter().flat_map(|zone| POLICIES.map(|dst| (*zone, dst)));
        let known: Vec<_> =
            of_all.map(|(zone, dst)| (format!("{zone} {dst:?}"), zone, dst)).collect();
        for (n, (words, zone, dst)) in (0..).zip(&known) {
            let name = words.replace(['/', ' '], "-");
            let definition = jobs.recurring(&name).cron(EXPRESSION).tz(zone).dst(*dst);
            let definition = definition.missed(Missed::FireAll).overlap(Overlap::Allow);
            definition.job(&Number { n }).unwrap().upsert().await.unwrap();
        }
        let begin = ms(jobs.recurring_list().await.unwrap()[0].last_tick);
        let end = begin + 366 * DAY_MS;
        let all: Vec<Vec<u64>> =
            known.iter().map(|(_, zone, dst)| expected(zone, *dst, begin, end)).collect();
        assert!(all.iter().all(|ticks| ticks.len() > 1_400));
        // Day by day, and tick by tick where clocks are put forward and back.
        let mut steps: Vec<u64> = (1..=366).map(|day| begin + day * DAY_MS).collect();
        steps.extend(all.iter().flatten().filter(|at| is_near_a_change(**at)));
        // Just before each of those, too: nothing comes early.
        let early: Vec<u64> = steps[366..].iter().map(|at| at - 1_000).collect();
        steps.extend(early);
        steps.sort_unstable();
        steps.dedup();
        let (mut now, mut runs) = (begin, BTreeMap::<u64, usize>::new());
        for step in steps {
            hands.advance(Duration::from_millis(step - now));
            now = step;
            let due = |ticks: &Vec<u64>| ticks.iter().take_while(|at| **at <= now).count();
            let total: usize = all.iter().map(due).sum();
            while runs.values().sum::<usize>() < total {
                *runs.entry(heard.next().await.n).or_default() += 1;
            }
            drained(&jobs, QUEUE).await;
            let listed = jobs.recurring_list().await.unwrap();
            for (n, ((words, ..), ticks)) in (0..).zip(known.iter().zip(&all)) {
                let count = due(ticks);
                assert_eq!(runs.get(&n).copied().unwrap_or(0), count, "{words} at {now}");
                let name = words.replace(['/', ' '], "-");
                let told = listed.iter().find(|told| told.name == name).expect("it is there");
                let expected = count.checked_sub(1).map_or(begin, |newest| ticks[newest]);
                assert_eq!(ms(told.last_tick), expected, "{words} at {now}");
            }
            assert!(heard.is_silent(), "more than there are ticks at {now}");
        }
        for scheduler in schedulers {
            scheduler.stop().await;
        }
    });
}
