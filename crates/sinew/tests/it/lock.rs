//! What locks promise, on every store.

mod on_redis;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sinew::lock::AcquireDetached;
use sinew::{
    Acquire, Clock, ErrorKind, Fence, Guard, LockBuilder, LockMode, Locks, Loss, Ran, Released,
    Sinew,
};

use crate::laws::{LAW_MAX, eventually, keep};
use crate::world::Store;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// Longer than any law takes: what is left to its TTL is not freed by it.
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// For so long, what was freed is reserved for the first in line.
const CLAIM: Duration = Duration::from_millis(50);

async fn locks(store: &Store) -> Locks {
    store.tenant("acme").await.locks()
}

async fn got(lock: LockBuilder) -> Guard {
    lock.acquire().await.expect("the store answers").got().expect("it is free")
}

async fn is_held(lock: LockBuilder) -> bool {
    matches!(lock.acquire().await.expect("the store answers"), Acquire::Held { .. })
}

async fn waiting(locks: &Locks, name: &str) -> u64 {
    locks.look(name).await.expect("the store answers").map_or(0, |held| held.waiting)
}

async fn line_is(locks: &Locks, name: &str, length: u64) {
    eventually("the line is as long", || async { waiting(locks, name).await == length }).await;
}

/// Who was served, and when.
type Served = Arc<Mutex<Vec<(usize, Instant)>>>;

/// Waits in line for a lock; says so in `served` when its turn comes, and holds it for a moment.
fn queue(lock: LockBuilder, number: usize, served: &Served) -> Task {
    let served = Arc::clone(served);
    tokio::spawn(async move {
        let guard = got(lock.wait(MINUTE)).await;
        served.lock().push((number, Instant::now()));
        tokio::task::yield_now().await;
        guard.release().await.expect("the store answers");
    })
}

fn order(served: &Served) -> Vec<usize> {
    served.lock().iter().map(|(number, _)| *number).collect()
}

type Task = tokio::task::JoinHandle<()>;

laws! {
    async fn no_two_hold_a_lock_and_every_grant_has_a_greater_fence(store: Store) {
        let (inside, fences) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let mut tasks = Vec::new();
        for _ in 0..3 {
            let locks = locks(&store).await;
            for _ in 0..5 {
                let (lock, inside) = (locks.lock("a").wait(MINUTE), Arc::clone(&inside));
                let fences = Arc::clone(&fences);
                tasks.push(tokio::spawn(async move {
                    for _ in 0..4 {
                        let guard = got(lock.clone()).await;
                        assert!(!inside.swap(true, Ordering::SeqCst), "two are inside");
                        fences.lock().push(guard.fence());
                        tokio::task::yield_now().await;
                        assert!(inside.swap(false, Ordering::SeqCst));
                        assert_eq!(guard.release().await.unwrap(), Released::Freed);
                    }
                }));
            }
        }
        for task in tasks {
            task.await.unwrap();
        }
        let fences = fences.lock();
        assert_eq!(fences.len(), 60);
        assert!(fences.windows(2).all(|two| two[0] < two[1]), "{fences:?}");
    }

    async fn sixteen_waiters_are_served_in_the_order_of_their_coming(store: Store) {
        let (first, second) = (locks(&store).await, locks(&store).await);
        loop {
            let guard = got(first.lock("a")).await;
            let (served, mut tasks) = (Served::default(), Vec::new());
            for number in 0..16_u8 {
                let from = if number % 2 == 0 { &first } else { &second };
                tasks.push(queue(from.lock("a"), number.into(), &served));
                line_is(&first, "a", u64::from(number) + 1).await;
            }
            let freed = Instant::now();
            guard.release().await.unwrap();
            for task in tasks {
                task.await.unwrap();
            }
            let times: Vec<Instant> =
                [freed].into_iter().chain(served.lock().iter().map(|(_, at)| *at)).collect();
            // On a machine that stalls, one misses its turn, and the next one comes first.
            if times.windows(2).all(|two| two[1] - two[0] < CLAIM) {
                assert_eq!(order(&served), (0..16).collect::<Vec<usize>>());
                break;
            }
        }
    }

    async fn a_waiter_is_woken_by_a_message_and_not_by_its_timer(store: Store) {
        let (here, there) = (locks(&store).await, locks(&store).await);
        let began = Instant::now();
        let mut guard = got(here.lock("a")).await;
        for round in 0..40 {
            let from = if round % 2 == 0 { there.clone() } else { here.clone() };
            let waiter = tokio::spawn(async move { got(from.lock("a").wait(MINUTE)).await });
            line_is(&here, "a", 1).await;
            guard.release().await.unwrap();
            guard = waiter.await.unwrap();
        }
        // Timers alone would take a second each.
        assert!(began.elapsed() < 20 * SECOND, "{:?}", began.elapsed());
    }

    async fn one_try_says_held_and_a_wait_ends_in_time(store: Store) {
        let locks = locks(&store).await;
        let guard = got(locks.lock("a")).await;
        match locks.lock("a").acquire().await.unwrap() {
            Acquire::Held { retry_after } => assert!(retry_after <= 31 * SECOND, "{retry_after:?}"),
            Acquire::Got(_) => panic!("it is held"),
        }
        let began = Instant::now();
        assert!(is_held(locks.lock("a").wait(SECOND / 5)).await);
        assert!(began.elapsed() >= SECOND / 5);
        // Whoever gave up is not waited for.
        line_is(&locks, "a", 0).await;
        guard.release().await.unwrap();
        got(locks.lock("a")).await.release().await.unwrap();
    }

    async fn a_guard_renews_itself_for_longer_than_its_ttl(store: Store) {
        let (here, there) = (locks(&store).await, locks(&store).await);
        let guard = got(here.lock("a").ttl(SECOND)).await;
        tokio::time::sleep(SECOND * 5 / 2).await;
        assert!(!guard.is_lost());
        assert!(is_held(there.lock("a")).await);
        assert_eq!(guard.release().await.unwrap(), Released::Freed);
    }

    async fn a_lock_is_held_no_longer_than_max_hold(store: Store) {
        let (here, there) = (locks(&store).await, locks(&store).await);
        let began = Instant::now();
        let guard = got(here.lock("a").ttl(SECOND).max_hold(SECOND * 3 / 2)).await;
        guard.lost().await;
        assert!(guard.is_lost());
        assert!(began.elapsed() >= SECOND, "it was renewed once: {:?}", began.elapsed());
        assert_eq!(guard.loss(), Some(Loss::MaxHold));
        got(there.lock("a").wait(MINUTE)).await.release().await.unwrap();
        assert_eq!(guard.release().await.unwrap(), Released::Gone);
    }

    async fn a_holder_learns_that_its_lock_was_taken_away(store: Store) {
        let (here, admin) = (locks(&store).await, locks(&store).await);
        let guard = got(here.lock("a").ttl(SECOND)).await;
        assert_eq!(admin.force_release("a").await.unwrap(), 1);
        assert_eq!(admin.force_release("a").await.unwrap(), 0);
        let next = got(admin.lock("a")).await;
        assert!(next.fence() > guard.fence());
        guard.lost().await;
        assert!(guard.is_lost());
        assert_eq!((guard.loss(), next.loss()), (Some(Loss::Gone), None));
        assert!(!guard.extend(MINUTE).await.unwrap(), "it is not brought back");
        assert_eq!(guard.release().await.unwrap(), Released::Gone);
        assert!(is_held(here.lock("a")).await, "its successor still holds it");
        next.release().await.unwrap();
    }

    async fn an_extension_prolongs_and_never_shortens(store: Store) {
        let locks = locks(&store).await;
        let guard = got(locks.lock("a").ttl(10 * SECOND)).await;
        let left = async || locks.look("a").await.unwrap().unwrap().holders[0].expires_in;
        assert!(guard.extend(MINUTE).await.unwrap());
        assert!(left().await > 40 * SECOND);
        assert!(guard.extend(SECOND).await.unwrap());
        assert!(left().await > 40 * SECOND);
        assert_eq!(guard.extend(Duration::ZERO).await.unwrap_err().kind(), ErrorKind::Rejected);
    }

    async fn a_lock_held_twice_is_freed_with_its_last_guard(store: Store) {
        let locks = locks(&store).await;
        let outer = got(locks.lock("a")).await;
        let inner = outer.again();
        assert_eq!(inner.fence(), outer.fence());
        assert_eq!(inner.release().await.unwrap(), Released::Kept);
        drop(outer.again());
        assert!(is_held(locks.lock("a")).await);
        assert!(!outer.is_lost());
        assert_eq!(outer.release().await.unwrap(), Released::Freed);
        got(locks.lock("a")).await.release().await.unwrap();
    }

    async fn a_guard_that_is_dropped_frees_its_lock(store: Store) {
        let locks = locks(&store).await;
        drop(got(locks.lock("a").ttl(DAY)).await);
        let guard = got(locks.lock("a").ttl(DAY).wait(MINUTE)).await;
        // Where there is no runtime.
        std::thread::spawn(move || drop(guard)).join().unwrap();
        got(locks.lock("a").wait(MINUTE)).await.release().await.unwrap();
    }

    async fn a_detached_lock_is_its_tokens_through_any_process_and_renewed_by_none(store: Store) {
        let (here, there) = (locks(&store).await, locks(&store).await);
        let taken = here.lock("a").ttl(SECOND).acquire_detached().await.unwrap();
        let AcquireDetached::Got(held) = taken else { panic!("it is free") };
        drop(here);
        let token = held.token.to_string().parse().unwrap();
        assert!(is_held(there.lock("a")).await);
        assert!(there.extend("a", token, 2 * SECOND).await.unwrap());
        assert!(!there.extend("b", token, SECOND).await.unwrap(), "it is of another lock");
        let (began, asked) = (Instant::now(), there.lock("a").ttl(MINUTE).wait(MINUTE));
        let taken = asked.acquire_detached().await.unwrap();
        let AcquireDetached::Got(next) = taken else { panic!("it is free in the end") };
        assert!(next.fence > held.fence);
        assert!((SECOND / 2..=began.elapsed()).contains(&next.waited), "{next:?}");
        let left = there.look("a").await.unwrap().unwrap().holders[0].expires_in;
        assert!(began.elapsed() + left >= next.waited + next.ttl - SECOND / 100, "{next:?}");
        assert!(!there.extend("a", token, SECOND).await.unwrap(), "it is not brought back");
        assert_eq!(there.release("a", token).await.unwrap(), Released::Gone);
        assert!(is_held(there.lock("a")).await, "its successor still holds it");
        assert_eq!(there.release("a", next.token).await.unwrap(), Released::Freed);
    }

    async fn a_waiter_that_goes_away_leaves_the_line(store: Store) {
        let locks = locks(&store).await;
        loop {
            let guard = got(locks.lock("a").wait(MINUTE)).await;
            let served = Served::default();
            let leaves = queue(locks.lock("a"), 1, &served);
            line_is(&locks, "a", 1).await;
            let stays = queue(locks.lock("a"), 2, &served);
            line_is(&locks, "a", 2).await;
            let began = Instant::now();
            leaves.abort();
            line_is(&locks, "a", 1).await;
            let took = began.elapsed();
            guard.release().await.unwrap();
            stays.await.unwrap();
            assert_eq!(order(&served), [2]);
            // After two, it may be forgotten as one that is dead; or the machine stalls.
            if took < SECOND {
                break;
            }
        }
    }

    async fn a_request_that_is_dropped_at_any_point_leaves_nothing_held(store: Store) {
        let locks = locks(&store).await;
        for polls in 0..12 {
            {
                let mut acquiring = std::pin::pin!(locks.lock("a").ttl(DAY).wait(MINUTE).acquire());
                for _ in 0..polls {
                    if futures_util::poll!(&mut acquiring).is_ready() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            }
            got(locks.lock("a").wait(MINUTE)).await.release().await.unwrap();
        }
        eventually("no one holds it", || async { locks.list().await.unwrap().is_empty() }).await;
    }

    async fn readers_hold_together_and_a_writer_alone(store: Store) {
        let (here, there) = (locks(&store).await, locks(&store).await);
        let writer = got(here.write("a")).await;
        assert!(is_held(there.read("a")).await);
        let last = writer.fence();
        writer.release().await.unwrap();
        let readers = [got(here.read("a")).await, got(there.read("a")).await];
        assert!(readers.iter().all(|reader| reader.fence() == last), "the last writer's");
        assert!(is_held(there.write("a")).await);
        assert!(is_held(there.lock("a")).await, "a mutex is a writer");
        let [one, other] = readers;
        one.release().await.unwrap();
        assert!(is_held(there.write("a")).await);
        other.release().await.unwrap();
        assert!(got(there.write("a")).await.fence() > last);
    }

    async fn a_writer_is_not_starved_by_readers(store: Store) {
        let (here, there) = (locks(&store).await, locks(&store).await);
        let reader = got(here.read("a")).await;
        let served = Served::default();
        let mut tasks = vec![queue(there.write("a"), 1, &served)];
        line_is(&here, "a", 1).await;
        assert!(is_held(here.read("a")).await, "it would overtake the writer");
        for number in [2, 3] {
            tasks.push(queue(here.read("a"), number, &served));
            line_is(&here, "a", number as u64).await;
        }
        reader.release().await.unwrap();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(order(&served)[0], 1);
    }

    async fn a_semaphore_has_as_many_holders_as_permits(store: Store) {
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = Vec::new();
        for _ in 0..2 {
            let locks = locks(&store).await;
            for _ in 0..6 {
                let lock = locks.semaphore("pool", 3).wait(MINUTE);
                let (inside, most) = (Arc::clone(&inside), Arc::clone(&most));
                tasks.push(tokio::spawn(async move {
                    let guard = got(lock).await;
                    assert_eq!(guard.fence(), Fence::NONE);
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::time::sleep(SECOND / 10).await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    guard.release().await.unwrap();
                }));
            }
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }

    async fn work_runs_under_its_lock_and_ends_with_it(store: Store) {
        let (here, there) = (locks(&store).await, locks(&store).await);
        let held = || is_held(there.lock("a"));
        let work = |fence: Fence| async move { (fence > Fence::NONE, held().await) };
        assert_eq!(here.lock("a").run(work).await.unwrap(), Ran::Done((true, true)));
        let guard = got(there.lock("a")).await;
        // It would never come back.
        let ran = here.lock("a").run(|_| std::future::pending::<()>()).await.unwrap();
        assert!(matches!(ran, Ran::Held { .. }));
        guard.release().await.unwrap();
        let taken_away = |_| async {
            there.force_release("a").await.unwrap();
            std::future::pending::<()>().await;
        };
        assert_eq!(here.lock("a").ttl(SECOND).run(taken_away).await.unwrap(), Ran::Lost);
        got(there.lock("a").wait(MINUTE)).await.release().await.unwrap();
    }

    async fn one_leads_until_it_resigns_goes_away_or_loses_its_lock(store: Store) {
        let (here, there) = (locks(&store).await, locks(&store).await);
        let mut first = here.lock("scheduler").ttl(SECOND).elect().unwrap();
        let reign = first.changed().await.expect("it leads");
        assert_eq!(first.fence(), Some(reign));
        let mut second = there.lock("scheduler").ttl(SECOND).elect().unwrap();
        line_is(&here, "scheduler", 1).await;
        assert_eq!(second.fence(), None);
        first.resign().await.unwrap();
        let next = second.changed().await.expect("it leads");
        assert!(next > reign);
        here.force_release("scheduler").await.unwrap();
        eventually("it stands again", || async { second.fence().is_some_and(|f| f > next) }).await;
        let mut third = here.elect("scheduler").unwrap();
        line_is(&here, "scheduler", 1).await;
        drop(second);
        assert!(third.changed().await.expect("it leads") > next);
    }

    async fn locks_are_listed_by_the_names_that_they_were_given(store: Store) {
        let (locks, others) = (locks(&store).await, store.tenant("other").await.locks());
        let names = ["a:b", "a{b}", "a%3Ab", "ü *", "plain"];
        let mut guards = Vec::new();
        for name in names {
            guards.push(got(locks.lock(name)).await);
        }
        guards.push(got(locks.semaphore("pool", 2)).await);
        guards.push(got(locks.semaphore("pool", 2)).await);
        assert!(others.list().await.unwrap().is_empty(), "tenants never meet");
        let mine = got(others.lock("plain")).await;
        assert_eq!(others.force_release("a:b").await.unwrap(), 0);
        let mut expected: Vec<&str> = names.into_iter().chain(["pool"]).collect();
        expected.sort_unstable();
        let listed = locks.list().await.unwrap();
        assert_eq!(listed.iter().map(|held| held.name.as_str()).collect::<Vec<_>>(), expected);
        let pool = locks.look("pool").await.unwrap().unwrap();
        assert_eq!((pool.mode, pool.holding), (LockMode::Semaphore { permits: 2 }, 2));
        assert_eq!(pool.held_for, None);
        let plain = locks.look("plain").await.unwrap().unwrap();
        assert_eq!(plain.mode, LockMode::Exclusive);
        assert!(plain.held_for.is_some_and(|time| time < LAW_MAX), "{plain:?}");
        drop((guards, mine));
        eventually("all are free", || async { locks.list().await.unwrap().is_empty() }).await;
    }

    async fn bad_input_to_a_lock_is_rejected(store: Store) {
        let locks = locks(&store).await;
        let long = "x".repeat(2_000);
        for bad in [
            locks.lock(""),
            locks.lock(&long),
            locks.lock("a").ttl(Duration::from_millis(9)),
            locks.lock("a").ttl(1_500 * MINUTE),
            locks.lock("a").max_hold(Duration::ZERO),
            locks.semaphore("a", 0),
        ] {
            assert_eq!(bad.acquire().await.unwrap_err().kind(), ErrorKind::Rejected);
        }
        assert!(locks.elect("").is_err());
        assert!(locks.list().await.unwrap().is_empty());
    }
}

#[test]
fn a_lock_is_lost_when_its_time_has_run_out_by_the_holders_clock() {
    keep(|| async {
        let (clock, hands) = Clock::manual();
        let locks = Sinew::builder().clock(clock).embedded().unwrap().locks();
        let guard = got(locks.lock("a").ttl(30 * SECOND)).await;
        hands.advance(29 * SECOND);
        assert!(!guard.is_lost());
        assert_eq!(guard.loss(), None);
        // As a machine that was suspended: no renewal came in between.
        hands.advance(30 * SECOND);
        assert!(guard.is_lost());
        assert_eq!(guard.loss(), Some(Loss::NotRenewed));
        guard.lost().await;
        assert!(got(locks.lock("a")).await.fence() > guard.fence());
    });
}
