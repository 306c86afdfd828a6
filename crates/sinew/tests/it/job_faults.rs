//! Workers through what goes wrong with their store, and with them.

use std::collections::BTreeMap;
use std::future::Ready;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sinew::Jobs;
use sinew::job::{Enqueued, Grain, JobContext, JobError, PullEnd, Queue, RunningWorker, Worker};
use tokio::sync::watch;

use crate::job::hearing::{After, Doomed, Heard, Hearing, Number, all_done, behind, failed};
use crate::job::{
    LEASE, LONG, QUEUE, SECOND, drained, enqueue, enqueue_all, find, look, new, queue, worker,
};
use crate::laws::{LAW_MAX, eventually, keep, keep_for};
use crate::member::{Member, a_line};
use crate::outage::{blocking, process_at};
use crate::world::{
    Proxy, Sentinels, Server, Store, free_port, redis_cli, signal, start_redis, start_redis_on,
};

const PORT: &str = "SINEW_JOB_MEMBER_PORT";

async fn at(port: u16) -> Jobs {
    process_at(port).await.jobs()
}

/// A server, and two processes: the second through a proxy.
async fn parted() -> (Server, Proxy, Jobs, Jobs) {
    let server = blocking(start_redis).await;
    let proxy = Proxy::start(server.port);
    let (direct, through) = (at(server.port).await, at(proxy.port).await);
    (server, proxy, direct, through)
}

/// How often each job was run.
#[derive(Clone, Default)]
struct Runs(Arc<Mutex<BTreeMap<u64, u64>>>);

impl Runs {
    fn note(&self, n: u64) {
        *self.0.lock().unwrap().entry(n).or_default() += 1;
    }

    fn counting(
        &self,
    ) -> impl Fn(Heard) -> Ready<Result<(), JobError>> + Clone + Send + Sync + 'static + use<> {
        let runs = self.clone();
        move |heard| {
            runs.note(heard.n);
            std::future::ready(Ok(()))
        }
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    async fn until(&self, count: usize) {
        eventually("all are run", || async { self.len() >= count }).await;
    }

    fn each_once(&self, numbers: std::ops::Range<u64>) {
        let expected: BTreeMap<u64, u64> = numbers.map(|n| (n, 1)).collect();
        assert_eq!(*self.0.lock().unwrap(), expected);
    }
}

#[test]
fn what_was_done_in_an_outage_is_told_afterwards() {
    keep(|| async {
        let (_server, proxy, direct, through) = parted().await;
        let (open, gate) = watch::channel(false);
        // A lease that lasts longer than the outage: no one may run it twice.
        let longs = Worker::new(&through).queue(Queue::new(QUEUE).lease(LONG));
        let mut worker = Hearing::start_with(longs, behind(gate));
        enqueue_all(&direct, 0..3).await;
        assert_eq!(worker.numbers(3).await, [0, 1, 2]);
        proxy.refuse();
        open.send(true).unwrap();
        tokio::time::sleep(SECOND / 3).await;
        assert_eq!(look(&direct, QUEUE).await.running, 3, "the store has heard of nothing");
        proxy.pass();
        drained(&direct, QUEUE).await;
        let finished = worker.stop().await;
        assert_eq!((finished.done, finished.lost, worker.ear.is_silent()), (3, 0, true));
    });
}

#[test]
fn a_lost_reply_changes_nothing() {
    keep_for(LAW_MAX * 2, || async {
        let (_server, proxy, direct, through) = parted().await;
        // No lease is over in the meantime: whatever runs twice does so for a reply.
        let longs = Worker::new(&through).queue(Queue::new(QUEUE).lease(LONG).concurrency(8));
        let (tell, _heard) = crate::job::hearing::channel();
        let runs = Runs::default();
        let worker = crate::job::hearing::start(longs, &tell, runs.counting());
        enqueue_all(&direct, 0..1).await;
        runs.until(1).await;
        let mut enqueued = 1;
        for round in 0..8_u64 {
            // A connection that ends sooner is not replaced at once.
            tokio::time::sleep(SECOND + SECOND / 10).await;
            match round % 2 {
                0 => proxy.cut_at_next_reply(),
                _ => proxy.halve_next_reply(),
            }
            // The reply may be to the one who enqueues, too.
            for _ in 0..20 {
                // Kept, it is known although it has ended before it is sent again.
                let job = through.enqueue(&Number { n: enqueued }).retain(LONG);
                let job = std::future::IntoFuture::into_future(job);
                let job = tokio::time::timeout(LAW_MAX / 3, job).await.expect("an answer");
                match job {
                    Ok(Enqueued::New(_)) => enqueued += 1,
                    other => panic!("a reply that was lost is asked for again: {other:?}"),
                }
            }
            let all = usize::try_from(enqueued).unwrap();
            runs.until(all).await;
        }
        proxy.pass();
        drained(&direct, QUEUE).await;
        runs.each_once(0..enqueued);
        let finished = worker.stop().await;
        assert_eq!((finished.done, finished.lost), (enqueued, 0));
    });
}

#[test]
fn an_end_whose_reply_was_lost_is_not_said_to_be_anothers() {
    keep_for(LAW_MAX * 2, || async {
        let (_server, proxy, direct, through) = parted().await;
        let (pull, rounds, mut unsure) = (through.pull(QUEUE), 6, 0);
        for n in 0..rounds {
            // A connection that ends sooner is not replaced at once.
            tokio::time::sleep(SECOND + SECOND / 10).await;
            enqueue(&direct, n).await;
            let token = pull.reserve(1, LONG).await.unwrap().remove(0).token;
            // The job is looked at, and then its end is told. At first the scripts are told too.
            proxy.cut_after_replies(1);
            match pull.finish(&token, PullEnd::Done(None)).await {
                Ok(counts) => assert!(counts, "it is the caller's"),
                Err(error) => unsure += u64::from(error.maybe_applied()),
            }
            proxy.pass();
            let again = || async { pull.finish(&token, PullEnd::Done(None)).await.is_ok() };
            eventually("it is heard at last", again).await;
            assert_eq!(look(&direct, QUEUE).await.running, 0);
        }
        assert!(unsure > 0, "a reply was lost");
        let days = direct.queue(QUEUE).stats(Grain::Day, 2).await.unwrap();
        let done: u64 = days.iter().filter_map(|day| day.counts.get("done")).sum();
        assert_eq!(done, rounds, "each counts once");
    });
}

#[test]
fn one_that_waits_for_a_job_keeps_its_connection() {
    keep(|| async {
        let (_server, proxy, direct, through) = parted().await;
        direct.queue(QUEUE).pause().await.unwrap();
        assert!(through.pull(QUEUE).reserve(1, LONG).await.unwrap().is_empty());
        // It looks when each is due, and may have none.
        for n in 1..=6 {
            let delay = SECOND / 5 * u32::try_from(n).unwrap();
            new(direct.enqueue(&Number { n }).delay(delay).await.unwrap());
        }
        let before = proxy.connections();
        let none = through.pull(QUEUE).wait(2 * SECOND).reserve(1, LONG).await.unwrap();
        assert!(none.is_empty());
        let opened = proxy.connections() - before;
        assert!(opened <= 2, "{opened}");
    });
}

#[test]
fn what_was_taken_and_never_heard_of_is_run() {
    keep(|| async {
        let (_server, proxy, direct, through) = parted().await;
        let (open, gate) = watch::channel(false);
        let longs = Worker::new(&through).queue(Queue::new(QUEUE).lease(LONG));
        let mut worker = Hearing::start_with(longs, behind(gate));
        enqueue(&direct, 0).await;
        worker.next().await;
        // The worker tells of the one and asks for others, the store gives, and the answer does not arrive.
        proxy.lose_replies();
        enqueue_all(&direct, 1..5).await;
        open.send(true).unwrap();
        eventually("they are given to it", || async { look(&direct, QUEUE).await.running == 4 })
            .await;
        assert!(worker.ear.is_silent());
        proxy.cut();
        proxy.pass();
        for _ in 0..4 {
            assert_eq!(worker.next().await.cx.crashes(), 0, "it had them all the time");
        }
        drained(&direct, QUEUE).await;
        assert_eq!(worker.stop().await.done, 5);
    });
}

#[test]
fn no_job_is_buried_by_an_outage() {
    keep_for(LAW_MAX * 2, || async {
        let server = blocking(start_redis).await;
        let proxy = Proxy::start(server.port);
        let direct = at(server.port).await;
        let processes = [at(proxy.port).await, at(proxy.port).await];
        let told = Arc::new(AtomicU64::new(0));
        let (tell, mut heard) = crate::job::hearing::channel();
        let workers = processes.each_ref().map(|jobs| {
            let told = Arc::clone(&told);
            crate::job::hearing::start(worker(jobs), &tell, move |heard| {
                let told = Arc::clone(&told);
                async move {
                    if told.load(Ordering::SeqCst) < 6 {
                        heard.cx.cancelled().await;
                        told.fetch_add(1, Ordering::SeqCst);
                        return Err(failed("its lease is over"));
                    }
                    Ok(())
                }
            })
        });
        for n in 0..6 {
            // A failure would be their last.
            direct.enqueue(&Number { n }).attempts(1).await.unwrap();
        }
        assert_eq!(heard.numbers(6).await, [0, 1, 2, 3, 4, 5]);
        // Longer than any lease here, and than that the store itself may have been away.
        proxy.refuse();
        eventually("all are told", || async { told.load(Ordering::SeqCst) == 6 }).await;
        tokio::time::sleep(25 * SECOND).await;
        proxy.pass();
        for _ in 0..6 {
            let Heard { cx, .. } = heard.next().await;
            assert_eq!((cx.crashes(), cx.failures()), (0, 0));
        }
        drained(&direct, QUEUE).await;
        assert_eq!(look(&direct, QUEUE).await.dead, 0);
        for worker in workers {
            worker.stop().await;
        }
    });
}

#[test]
fn workers_go_on_by_themselves_as_soon_as_redis_is_back() {
    keep_for(LAW_MAX * 2, || async {
        let (port, folder) = (free_port(), crate::world::temporary_folder("job-restarts"));
        let path = folder.to_string_lossy().into_owned();
        let start = move || {
            let settings = ["--dir", &path, "--appendonly", "yes", "--appendfsync", "always"];
            start_redis_on(port, &settings)
        };
        let mut server = blocking(start.clone()).await;
        let jobs = at(port).await;
        let mut worker = Hearing::start(worker(&jobs), all_done);
        let mut took = Vec::new();
        for n in 0..3 {
            enqueue(&jobs, 2 * n).await;
            assert_eq!(worker.next().await.n, 2 * n);
            drained(&jobs, QUEUE).await;
            jobs.enqueue(&Number { n: 2 * n + 1 }).delay(SECOND / 2).await.unwrap();
            let down = blocking(move || {
                server.kill();
                server.wait_gone();
                server
            })
            .await;
            drop(down);
            tokio::time::sleep(2 * SECOND).await;
            let start = start.clone();
            server = blocking(start).await;
            let began = Instant::now();
            let heard = worker.next().await;
            assert_eq!((heard.n, heard.cx.crashes()), (2 * n + 1, 0));
            took.push(heard.at.saturating_duration_since(began));
        }
        // The others may have met a machine that was busy.
        assert!(took.iter().min().is_some_and(|took| *took < SECOND), "{took:?}");
        assert_eq!(worker.stop().await.lost, 0);
        drop(server);
        let _ = std::fs::remove_dir_all(folder);
    });
}

#[test]
fn workers_go_on_with_a_store_that_lost_everything() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let jobs = at(server.port).await;
        let (_open, gate) = watch::channel(false);
        let mut worker = Hearing::start_with(worker(&jobs), move |heard| {
            let waits = behind(gate.clone());
            async move {
                if heard.n < 3 {
                    let cx = heard.cx.clone();
                    tokio::select! {
                        ended = waits(heard) => return ended,
                        () = cx.cancelled() => assert!(cx.is_lost()),
                    }
                }
                Ok(())
            }
        });
        enqueue_all(&jobs, 0..3).await;
        assert_eq!(worker.numbers(3).await, [0, 1, 2]);
        redis_cli(server.port, &["FLUSHALL"]);
        enqueue_all(&jobs, 10..20).await;
        assert_eq!(worker.numbers(10).await, (10..20).collect::<Vec<_>>());
        drained(&jobs, QUEUE).await;
        let finished = worker.stop().await;
        assert_eq!((finished.done, finished.lost), (10, 3));
    });
}

/// In a process of its own: begins with a job, and says what its handler is told of it.
#[test]
fn a_member_that_is_stopped() {
    let Ok(port) = std::env::var(PORT) else { return };
    keep_for(LAW_MAX * 2, || async {
        let jobs = at(port.parse().unwrap()).await;
        let handler = |_: Number, cx: JobContext| async move {
            println!("@begun");
            cx.cancelled().await;
            println!("@{}", if cx.is_lost() { "lost" } else { "cancelled" });
            Ok::<(), JobError>(())
        };
        let worker = worker(&jobs).register(handler).unwrap().start().unwrap();
        a_line().await;
        println!("@done {}", worker.stop().await.done);
    });
}

#[test]
fn a_paused_process_hears_that_it_lost_its_job() {
    keep_for(LAW_MAX * 2, || async {
        let server = blocking(start_redis).await;
        let jobs = at(server.port).await;
        enqueue(&jobs, 1).await;
        let port = server.port.to_string();
        let test = "job_faults::a_member_that_is_stopped";
        let mut member = Member::start(test, &[(PORT, port)]);
        let (member, said) = blocking(move || {
            let said = member.hear();
            signal(member.process.id(), "STOP");
            member.tell("stop");
            (member, said)
        })
        .await;
        assert_eq!(said, "begun");
        let mut other = Hearing::start(worker(&jobs), all_done);
        assert_eq!(other.next().await.cx.crashes(), 1);
        drained(&jobs, QUEUE).await;
        let said = blocking(move || {
            signal(member.process.id(), "CONT");
            (member.hear(), member.hear())
        })
        .await;
        assert_eq!(said, ("lost".to_owned(), "done 0".to_owned()));
        let finished = other.stop().await;
        assert_eq!((finished.done, other.ear.is_silent()), (1, true));
    });
}

/// In a process of its own: ends it with what is to end it.
#[test]
fn a_member_that_aborts() {
    let Ok(port) = std::env::var(PORT) else { return };
    keep_for(LAW_MAX * 2, || async {
        let jobs = at(port.parse().unwrap()).await;
        let handler = |job: Number, _: JobContext| async move {
            if job.n == 666 {
                std::process::abort();
            }
            println!("@{}", job.n);
            Ok::<(), JobError>(())
        };
        let _worker = worker(&jobs).register(handler).unwrap().start().unwrap();
        a_line().await;
    });
}

#[test]
fn a_job_that_aborts_its_process_is_dead_after_five_and_the_queue_flows() {
    keep_for(LAW_MAX * 2, || async {
        let server = blocking(start_redis).await;
        let jobs = at(server.port).await;
        let culprit = enqueue(&jobs, 666).await;
        let port = server.port;
        for delivery in 1..=5_u64 {
            enqueue_all(&jobs, 10 * delivery..10 * delivery + 3).await;
            blocking(move || {
                let test = "job_faults::a_member_that_aborts";
                let mut member = Member::start(test, &[(PORT, port.to_string())]);
                // To wait would close it, and the member ends with its input.
                let input = member.process.stdin.take();
                let ended = member.process.wait().expect("it ends");
                assert!(!ended.success(), "it was aborted");
                drop(input);
            })
            .await;
        }
        let mut well = Hearing::start(worker(&jobs), all_done);
        eventually("it is dead", || async { look(&jobs, QUEUE).await.dead == 1 }).await;
        drained(&jobs, QUEUE).await;
        let found = find(&jobs, culprit).await.expect("it is kept");
        assert_eq!((found.crashes, found.failures), (5, 0));
        enqueue(&jobs, 100).await;
        loop {
            let n = well.next().await.n;
            assert_ne!(n, 666);
            if n == 100 {
                break;
            }
        }
        well.stop().await;
    });
}

fn following(jobs: &Jobs, runs: &Runs) -> RunningWorker {
    let runs = runs.clone();
    let handler = move |job: After, _: JobContext| {
        runs.note(job.n);
        async { Ok::<(), JobError>(()) }
    };
    let worker = Worker::new(jobs).queue(Queue::new("after").lease(LEASE));
    worker.register(handler).unwrap().start().unwrap()
}

#[test]
fn what_comes_next_comes_although_whoever_was_to_enqueue_it_is_killed() {
    keep_for(LAW_MAX * 3, || async {
        let store = Store::redis().await;
        let jobs = crate::job::jobs(&store).await;
        let runs = Runs::default();
        let follows = following(&jobs, &runs);
        let mut count = 0;
        for _ in 0..6 {
            let mut killed = Doomed::start(&store, worker, |_| std::future::ready(Ok(()))).await;
            for _ in 0..5 {
                jobs.enqueue(&Number { n: count }).then(&After { n: count }).await.unwrap();
                count += 1;
            }
            // In the middle of whatever follows.
            killed.ear.next().await;
            killed.kill();
        }
        let mut well = Hearing::start(worker(&jobs), all_done);
        // Whom one was about to enqueue, no other does for half a minute.
        let began = Instant::now();
        while runs.len() < usize::try_from(count).unwrap() {
            assert!(began.elapsed() < LAW_MAX * 2, "only {} of {count}", runs.len());
            tokio::time::sleep(SECOND / 20).await;
        }
        drained(&jobs, QUEUE).await;
        well.stop().await;
        follows.stop().await;
    });
}

#[test]
fn those_who_wait_for_jobs_do_so_through_an_outage() {
    keep(|| async {
        let (_server, proxy, direct, through) = parted().await;
        let handle = through.enqueue(&Number { n: 1 }).retain(LONG).await.unwrap().handle();
        let waiting = tokio::spawn(async move { handle.wait::<()>(LAW_MAX / 2).await });
        eventually("it is awaited", || async { look(&direct, QUEUE).await.waiting == 1 }).await;
        proxy.refuse();
        let mut worker = Hearing::start(worker(&direct), all_done);
        worker.next().await;
        drained(&direct, QUEUE).await;
        tokio::time::sleep(SECOND / 2).await;
        proxy.pass();
        let waited = waiting.await.unwrap();
        // Where its first look came too late, it says so.
        assert!(
            waited.as_ref().is_err_and(sinew::Error::is_retryable)
                || waited.as_ref().is_ok_and(|waited| *waited == sinew::job::Waited::Done(())),
            "{waited:?}"
        );
        worker.stop().await;
    });
}

#[test]
fn ticks_are_made_up_for_after_an_outage_and_none_comes_twice() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let proxy = Proxy::start(server.port);
        let direct = at(server.port).await;
        let processes = [at(proxy.port).await, at(proxy.port).await];
        let (tell, mut heard) = crate::job::hearing::channel();
        let workers = processes.each_ref().map(|jobs| {
            crate::job::hearing::start(worker(jobs), &tell, |_| std::future::ready(Ok(())))
        });
        let each_second = direct.recurring("each-second").every(SECOND);
        let each_second = each_second.missed(sinew::job::Missed::FireAll);
        let each_second = each_second.overlap(sinew::job::Overlap::Allow);
        each_second.job(&Number { n: 1 }).unwrap().upsert().await.unwrap();
        let last_ms = async || {
            let told = direct.recurring_at("each-second").look().await.unwrap();
            crate::job::recurring::ms(told.expect("it is defined").last_tick)
        };
        let begin = last_ms().await;
        heard.numbers(2).await;
        for _ in 0..3 {
            proxy.refuse();
            tokio::time::sleep(2 * SECOND).await;
            proxy.pass();
            heard.numbers(2).await;
        }
        let mut done = 0;
        for worker in workers {
            done += worker.stop().await.done;
        }
        let looked = look(&direct, QUEUE).await;
        let ticks = last_ms().await / 1_000 - begin / 1_000;
        assert!(ticks >= 8, "{ticks}");
        assert_eq!(done + looked.waiting + looked.scheduled + looked.running, ticks);
    });
}

#[test]
fn a_failover_under_workers_loses_nothing_that_replicas_had() {
    keep_for(LAW_MAX * 3, || async {
        let world = blocking(Sentinels::start).await;
        let sinew = sinew::Sinew::builder().deadline(Duration::from_secs(10));
        let jobs = sinew.connect(&world.url()).await.unwrap().jobs();
        let runs = Runs::default();
        let (tell, _heard) = crate::job::hearing::channel();
        let worker = Worker::new(&jobs).queue(queue());
        let worker = crate::job::hearing::start(worker, &tell, runs.counting());
        enqueue_all(&jobs, 0..50).await;
        runs.until(50).await;
        drained(&jobs, QUEUE).await;
        for n in 50..60 {
            new(jobs.enqueue(&Number { n }).delay(4 * SECOND).await.unwrap());
        }
        let port = world.servers[0].port;
        // All of it is on a replica.
        assert_ne!(blocking(move || redis_cli(port, &["WAIT", "1", "10000"])).await, "0");
        let world = blocking(move || {
            let mut world = world;
            let old = world.servers[0].port;
            world.servers[0].kill();
            world.wait_primary_after(old);
            world
        })
        .await;
        for n in 60..70 {
            let written = || async { jobs.enqueue(&Number { n }).await.is_ok() };
            eventually("it is enqueued", written).await;
        }
        runs.until(70).await;
        drained(&jobs, QUEUE).await;
        let runs = runs.0.lock().unwrap().clone();
        assert!((0..50).all(|n| runs.get(&n) == Some(&1)), "{runs:?}");
        assert_eq!(look(&jobs, QUEUE).await.dead, 0);
        worker.stop().await;
        drop(world);
    });
}
