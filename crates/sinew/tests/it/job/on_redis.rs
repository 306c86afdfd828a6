//! What background jobs promise that Redis alone can show, and what they rest on.

use std::time::Duration;

use sinew::job::{Expected, NewJob, Overlap, PullEnd, Queue, QueueSettings, Waited, Worker};
use sinew::{ErrorKind, Jobs};
use tokio::sync::{mpsc, oneshot, watch};

use super::hearing::{After, Heard, Hearing, Number, all_done, behind, failed};
use super::{
    LONG, QUEUE, SECOND, drained, enqueue, enqueue_all, look, new, one_by_one, queue, worker,
};
use crate::laws::{eventually, keep};
use crate::outage::{blocking, process_at};
use crate::world::{
    SHARED_REDIS, SHARED_VALKEY, free_port, redis_cli, start_redis, start_redis_on,
};

pub async fn at(port: u16) -> Jobs {
    process_at(port).await.jobs()
}

/// The keys of the only queue, without what all begin with.
pub fn keys(port: u16) -> Vec<String> {
    let keys = redis_cli(port, &["KEYS", "*job:{*}:*"]);
    let mut keys: Vec<String> = keys
        .lines()
        .filter_map(|key| key.split_once("}:"))
        .map(|(_, key)| key.to_owned())
        .collect();
    keys.sort_unstable();
    keys
}

/// One of them, in full.
pub fn key(port: u16, of: &str) -> String {
    let meta = redis_cli(port, &["KEYS", "*job:{*:meta"]);
    assert_eq!(meta.lines().count(), 1, "{meta}");
    meta.replace(":meta", &format!(":{of}"))
}

#[test]
fn every_key_of_a_queue_is_in_one_slot_and_a_done_job_leaves_none_but_history() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let jobs = at(server.port).await;
        let mut worker = Hearing::start(worker(&jobs), |heard| match heard.cx.attempt() {
            1 => Err(failed("at first")),
            _ => Ok(()),
        });
        for n in 0..50 {
            let unique = sinew::job::Unique::by(format!("name {n}"));
            let job = jobs.enqueue(&Number { n }).unique(unique).key("ada").delay(SECOND / 20);
            job.await.unwrap();
        }
        worker.numbers(100).await;
        drained(&jobs, QUEUE).await;
        worker.stop().await;
        let all = redis_cli(server.port, &["KEYS", "*job:{*"]);
        let mut tags: Vec<&str> =
            all.lines().filter_map(|key| key.split(['{', '}']).nth(1)).collect();
        tags.dedup();
        assert!(tags.len() == 1 && tags[0].ends_with("work:p0"), "{all}");
        let left = keys(server.port);
        let is_known = |key: &&String| {
            matches!(key.as_str(), "meta" | "past")
                || key.starts_with("s:")
                || key.starts_with("d:")
        };
        assert_eq!(left.iter().filter(is_known).count(), left.len(), "{left:?}");
        let counters = left.iter().filter(|key| key.starts_with("s:") || key.starts_with("d:"));
        for counter in counters {
            let ttl = redis_cli(server.port, &["TTL", &key(server.port, counter)]);
            assert!(ttl.parse::<i64>().unwrap() > 0, "{counter}: {ttl}");
        }
    });
}

#[test]
fn a_full_redis_refuses_what_is_enqueued_and_lets_workers_finish() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let (here, there) = (at(server.port).await, at(server.port).await);
        enqueue_all(&here, 0..100).await;
        let set = |bytes: &str| {
            assert_eq!(redis_cli(server.port, &["CONFIG", "SET", "maxmemory", bytes]), "OK");
        };
        set("1");
        let refused = here.enqueue(&Number { n: 100 }).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable { maybe_applied: false }, "{refused}");
        // Also one that begins only now, and what fails.
        let mut worker =
            Hearing::start(worker(&there), |heard| match (heard.n % 10, heard.cx.attempt()) {
                (0, _) => Err(sinew::job::JobError::Dead { reason: "no".to_owned() }),
                (1, 1) => Err(failed("at first")),
                _ => Ok(()),
            });
        assert_eq!(worker.numbers(110).await.len(), 110);
        drained(&here, QUEUE).await;
        let finished = worker.stop().await;
        assert_eq!((finished.done, finished.dead, finished.lost), (90, 10, 0));
        set("0");
        enqueue(&here, 100).await;
    });
}

#[test]
fn a_worker_refuses_a_redis_that_may_remove_jobs_unless_it_is_told_not_to() {
    keep(|| async {
        let evicting = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"];
        let server = blocking(move || start_redis_on(free_port(), &evicting)).await;
        let jobs = at(server.port).await;
        enqueue(&jobs, 1).await;
        let (tell, _heard) = super::hearing::channel();
        let of = |worker| super::hearing::telling(worker, &tell, |_| std::future::ready(Ok(())));
        let refused =
            of(worker(&jobs)).run_until(std::future::pending(), SECOND).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Misconfigured, "{refused}");
        assert!(refused.to_string().contains("allkeys-lru"), "{refused}");
        assert_eq!(look(&jobs, QUEUE).await.waiting, 1);
        let mut worker = Hearing::start(worker(&jobs).allow_eviction(), all_done);
        assert_eq!(worker.next().await.n, 1);
        worker.stop().await;
    });
}

#[test]
fn a_key_of_another_type_is_a_conflict_and_nothing_is_written() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let jobs = at(server.port).await;
        enqueue(&jobs, 1).await;
        let list = key(server.port, "w5");
        assert_eq!(redis_cli(server.port, &["DEL", &list]), "1");
        redis_cli(server.port, &["SET", &list, "no list"]);
        let before = keys(server.port);
        let refused = jobs.enqueue(&Number { n: 2 }).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused:#}");
        assert_eq!(keys(server.port), before);
        // Those of other priorities go on.
        jobs.enqueue(&Number { n: 3 }).priority(7).await.unwrap();
        let mut worker = Hearing::start(worker(&jobs), all_done);
        assert_eq!(worker.next().await.n, 3);
        worker.stop().await;
    });
}

#[test]
fn a_key_of_another_type_that_is_met_in_a_turn_takes_no_job_away() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let jobs = at(server.port).await;
        enqueue_all(&jobs, 0..3).await;
        for n in 3..6 {
            jobs.enqueue(&Number { n }).key("ada").await.unwrap();
            let named = sinew::job::Unique::by(format!("name {n}"));
            jobs.enqueue(&Number { n: n + 3 }).unique(named).await.unwrap();
        }
        jobs.queue(QUEUE).declare(QueueSettings::new().per_key(1)).await.unwrap();
        // What a turn comes by after it has popped a job.
        let names = redis_cli(server.port, &["KEYS", "*job:{*}:u:*"]);
        assert_eq!(names.lines().count(), 3);
        for name in names.lines() {
            redis_cli(server.port, &["DEL", name]);
            redis_cli(server.port, &["RPUSH", name, "of someone else"]);
        }
        for of in ["past", "act"] {
            redis_cli(server.port, &["SET", &key(server.port, of), "of someone else"]);
        }
        let mut worker = Hearing::start(worker(&jobs), all_done);
        let mut heard = worker.numbers(6).await;
        heard.sort_unstable();
        assert_eq!(heard, [0, 1, 2, 6, 7, 8], "how many of its key run, nobody knows");
        redis_cli(server.port, &["DEL", &key(server.port, "act")]);
        assert_eq!(worker.numbers(3).await, [3, 4, 5]);
        drained(&jobs, QUEUE).await;
        let finished = worker.stop().await;
        assert_eq!((finished.done, finished.lost), (9, 0));
    });
}

#[test]
fn a_turn_that_is_refused_for_good_lets_its_lane_fall() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let jobs = at(server.port).await;
        let (open, gate) = watch::channel(false);
        let mut worker = Hearing::start_with(one_by_one(&jobs), behind(gate));
        enqueue(&jobs, 1).await;
        assert_eq!(worker.next().await.cx.crashes(), 0);
        let names = async || {
            let lanes = jobs.queue(QUEUE).lanes().await.unwrap();
            lanes.into_iter().map(|lane| lane.lane).collect::<Vec<String>>()
        };
        let before = names().await;
        let waits = key(server.port, "wait");
        redis_cli(server.port, &["SET", &waits, "of someone else"]);
        open.send(true).unwrap();
        eventually("it has another name", || async {
            names().await.iter().any(|name| !before.contains(name))
        })
        .await;
        redis_cli(server.port, &["DEL", &waits]);
        // Nobody knows that it was done.
        assert_eq!(worker.next().await.cx.crashes(), 1);
        drained(&jobs, QUEUE).await;
        let finished = worker.stop().await;
        assert_eq!((finished.done, finished.lost), (1, 1));
    });
}

#[test]
fn what_recurs_is_there_again_once_it_is_defined_in_a_store_that_lost_it() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let jobs = at(server.port).await;
        let define = async || {
            let hourly = jobs.recurring("hourly").every(3_600 * SECOND);
            hourly.job(&Number { n: 1 }).unwrap().expected(Expected::Absent).upsert().await.unwrap()
        };
        define().await;
        assert_eq!(redis_cli(server.port, &["FLUSHALL"]), "OK");
        assert!(jobs.recurring_at("hourly").look().await.unwrap().is_none());
        define().await;
        assert!(jobs.recurring_at("hourly").look().await.unwrap().is_some());
    });
}

#[test]
fn recurring_jobs_that_are_refused_hold_up_no_other() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let jobs = at(server.port).await;
        let each_second = async |name: &str, priority: u8| {
            let definition = jobs.recurring(name).every(SECOND).overlap(Overlap::Allow);
            let definition = definition.priority(priority).job(&Number { n: priority.into() });
            definition.unwrap().upsert().await.unwrap();
        };
        // So many that one of them would nearly always be the first of those that are due.
        for n in 0..300 {
            each_second(&format!("refused-{n}"), 1).await;
        }
        each_second("taken", 5).await;
        let list = key(server.port, "w1");
        assert_eq!(redis_cli(server.port, &["SET", &list, "no list"]), "OK");
        let mut worker = Hearing::start(worker(&jobs), all_done);
        assert_eq!(worker.numbers(6).await, [5; 6]);
        // Whoever was refused goes on, too.
        assert_eq!(redis_cli(server.port, &["DEL", &list]), "1");
        while worker.next().await.n != 1 {}
        worker.stop().await;
    });
}

#[test]
fn a_waiting_job_takes_no_more_memory_than_is_promised() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let jobs = at(server.port).await;
        let used = || {
            let info = redis_cli(server.port, &["INFO", "memory"]);
            let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
            used.expect("it is told").trim().parse::<usize>().expect("a number")
        };
        enqueue(&jobs, 1).await;
        let before = used();
        let payload = bytes::Bytes::from(vec![b'x'; 150]);
        let of = |_| NewJob::new("email.send", payload.clone());
        for _ in 0..20 {
            jobs.enqueue_many_raw(QUEUE, (0..1_000).map(of).collect()).await.unwrap();
        }
        let each = (used() - before) / 20_000;
        assert!(each <= 420, "{each} bytes");
    });
}

/// How many commands Redis ran, also those of scripts, but for those that connections live by.
fn commands(port: u16) -> u64 {
    let info = redis_cli(port, &["INFO", "commandstats"]);
    let calls =
        info.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="));
    let counts = calls.filter(|(name, _)| {
        !["ping", "info", "client", "config", "hello", "script", "command"]
            .iter()
            .any(|other| name.starts_with(other))
    });
    counts.filter_map(|(_, rest)| rest.split(',').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn a_backlog_costs_no_step_anything() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let jobs = at(server.port).await;
        let pull = jobs.pull(QUEUE);
        let round = async || {
            let before = commands(server.port);
            let job = jobs.enqueue(&Number { n: 1 }).priority(9).await.unwrap();
            let taken = pull.reserve(1, LONG).await.unwrap();
            assert_eq!(taken[0].id, job.handle().id());
            assert!(pull.finish(&taken[0].token, PullEnd::Done(None)).await.unwrap());
            look(&jobs, QUEUE).await;
            commands(server.port) - before
        };
        // The first learns what there is to know.
        round().await;
        enqueue(&jobs, 0).await;
        let with_one = round().await;
        enqueue_all(&jobs, 0..20_000).await;
        for n in 0..500 {
            jobs.enqueue(&Number { n }).delay(LONG).await.unwrap();
            jobs.enqueue(&Number { n }).key(format!("key {n}")).await.unwrap();
        }
        let with_many = round().await;
        assert!(with_many <= with_one + 5, "{with_many} commands instead of {with_one}");
        assert_eq!(look(&jobs, QUEUE).await.waiting, 20_501);
    });
}

#[test]
fn one_that_waits_looks_only_where_there_is_a_job() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let jobs = at(server.port).await;
        jobs.queue(QUEUE).declare(QueueSettings::new().partitions(32)).await.unwrap();
        let before = commands(server.port);
        assert!(jobs.pull(QUEUE).reserve(100, LONG).await.unwrap().is_empty());
        let at_all = commands(server.port) - before;
        let waits = tokio::spawn({
            let pull = jobs.pull(QUEUE).wait(20 * SECOND);
            async move { pull.reserve(100, LONG).await.unwrap() }
        });
        let is_waiting =
            || async { redis_cli(server.port, &["INFO", "clients"]).contains("blocked_clients:1") };
        eventually("it waits", is_waiting).await;
        let before = commands(server.port);
        let id = enqueue(&jobs, 1).await;
        let taken = waits.await.unwrap();
        assert_eq!((taken.len(), taken[0].id), (1, id));
        let spent = commands(server.port) - before;
        assert!(spent < at_all, "{spent} commands, and {at_all} for a look at all");
    });
}

#[test]
fn what_a_lane_had_without_a_lease_is_found_by_an_audit() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let jobs = at(server.port).await;
        let ids = enqueue_all(&jobs, 0..3).await;
        let taken = jobs.pull(QUEUE).reserve(2, LONG).await.unwrap();
        assert_eq!(taken.len(), 2);
        // As of a version that had a bug: nobody would ever come to them.
        assert_eq!(redis_cli(server.port, &["DEL", &key(server.port, "lanes")]), "1");
        let mut worker = Hearing::start(one_by_one(&jobs), all_done);
        assert_eq!(worker.next().await.cx.id(), ids[2]);
        assert!(worker.is_silent_for(SECOND).await);
        let audited = jobs.queue(QUEUE).audit().await.unwrap();
        assert_eq!((audited.stranded, audited.forgotten_keys), (2, 0));
        assert_eq!(worker.numbers(2).await, [0, 1]);
        drained(&jobs, QUEUE).await;
        // And numbers that are wrong.
        redis_cli(server.port, &["HSET", &key(server.port, "meta"), "running", "7"]);
        assert_eq!(jobs.queue(QUEUE).audit().await.unwrap().miscounted, 1);
        assert_eq!(look(&jobs, QUEUE).await.running, 0);
        worker.stop().await;
    });
}

#[test]
fn who_has_fallen_tells_its_handlers_and_goes_on_under_another_name() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let jobs = at(server.port).await;
        let (tell, mut told) = mpsc::unbounded_channel();
        let handle = move |heard: Heard| {
            let tell = tell.clone();
            async move {
                if heard.cx.crashes() == 0 && heard.n < 10 {
                    heard.cx.cancelled().await;
                    let _ = tell.send(heard.cx.is_lost());
                }
                Ok(())
            }
        };
        // A lease that lasts: nothing but the store's word ends it.
        let mut worker =
            Hearing::start_with(Worker::new(&jobs).queue(Queue::new(QUEUE).lease(LONG)), handle);
        enqueue_all(&jobs, 0..2).await;
        assert_eq!(worker.numbers(2).await, [0, 1]);
        let lanes = jobs.queue(QUEUE).lanes().await.unwrap();
        let before: Vec<String> = lanes.into_iter().map(|lane| lane.lane).collect();
        // What a lane finds that was taken for dead: its jobs wait again.
        assert_eq!(redis_cli(server.port, &["DEL", &key(server.port, "lanes")]), "1");
        assert_eq!(jobs.queue(QUEUE).audit().await.unwrap().stranded, 2);
        for _ in 0..2 {
            assert_eq!(told.recv().await, Some(true), "it was taken");
        }
        assert_eq!(worker.numbers(2).await, [0, 1]);
        enqueue(&jobs, 10).await;
        assert_eq!(worker.next().await.n, 10);
        drained(&jobs, QUEUE).await;
        let lanes = jobs.queue(QUEUE).lanes().await.unwrap();
        assert!(lanes.iter().all(|lane| !before.contains(&lane.lane)), "{lanes:?}");
        let finished = worker.stop().await;
        assert_eq!((finished.done, finished.lost), (3, 2));
    });
}

#[test]
fn there_are_no_more_dead_than_there_may_be() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let jobs = at(server.port).await;
        enqueue(&jobs, 0).await;
        // Not so old that they go for that.
        let fill = "local now = redis.call('TIME')[1] * 1000
            for i = 1, 100000 do
                local at = string.format('%d', now - 200000 + i)
                redis.call('ZADD', KEYS[1], at, string.format('%026d', i))
            end";
        redis_cli(server.port, &["EVAL", fill, "1", &key(server.port, "dead")]);
        let mut worker = Hearing::start(worker(&jobs), |_| {
            Err(sinew::job::JobError::Dead { reason: "no".to_owned() })
        });
        enqueue_all(&jobs, 1..30).await;
        worker.numbers(30).await;
        drained(&jobs, QUEUE).await;
        worker.stop().await;
        assert_eq!(look(&jobs, QUEUE).await.dead, 100_000);
        let newest = redis_cli(server.port, &["ZRANGE", &key(server.port, "dead"), "-30", "-1"]);
        assert!(
            newest.lines().all(|id| !id.starts_with('0') || id.parse::<u64>().is_err()),
            "{newest}"
        );
        let oldest =
            redis_cli(server.port, &["ZSCORE", &key(server.port, "dead"), &format!("{:026}", 1)]);
        assert_eq!(oldest, "", "the oldest went");
    });
}

#[test]
fn what_was_waited_for_in_vain_costs_no_later_turn_anything() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let jobs = at(server.port).await;
        let [soon, late] = [SECOND / 10, LONG];
        let handle = jobs.enqueue(&Number { n: 1 }).delay(LONG).await.unwrap().handle();
        assert_eq!(handle.wait::<()>(soon).await.unwrap(), Waited::Pending);
        eventually("nothing is left of it", || async {
            !keys(server.port).contains(&"wait".to_owned())
        })
        .await;
        // One that waits for less does not end the time of another.
        let waits = tokio::spawn(async move { handle.wait::<()>(late).await });
        eventually("it waits", || async { keys(server.port).contains(&"wait".to_owned()) }).await;
        let other = jobs.enqueue(&Number { n: 2 }).delay(LONG).await.unwrap().handle();
        assert_eq!(other.wait::<()>(soon).await.unwrap(), Waited::Pending);
        let ttl = redis_cli(server.port, &["TTL", &key(server.port, "wait")]);
        assert!(ttl.parse::<u64>().is_ok_and(|left| left > LONG.as_secs() / 2), "{ttl}");
        waits.abort();
    });
}

#[test]
fn a_rate_of_a_queue_that_is_declared_anew_holds_from_then_on() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let jobs = at(server.port).await;
        let settings = sinew::job::QueueSettings::new;
        jobs.queue(QUEUE).declare(settings().rate(2, LONG)).await.unwrap();
        enqueue_all(&jobs, 0..6).await;
        let mut worker = Hearing::start(worker(&jobs), all_done);
        assert_eq!(worker.numbers(2).await, [0, 1]);
        assert!(worker.is_silent_for(SECOND / 2).await, "there is no room in its window");
        jobs.queue(QUEUE).declare(settings().rate(0, SECOND)).await.unwrap();
        assert_eq!(worker.numbers(4).await, [2, 3, 4, 5]);
        worker.stop().await;
    });
}

#[test]
fn what_has_a_next_that_cannot_be_read_holds_up_no_other() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let jobs = at(server.port).await;
        new(jobs.enqueue(&Number { n: 1 }).then(&After { n: 10 }).await.unwrap());
        let (outbox, broken) = (key(server.port, "out"), key(server.port, "outb"));
        redis_cli(server.port, &["ZADD", &outbox, "1", "nonsense"]);
        redis_cli(server.port, &["HSET", &broken, "nonsense", "{"]);
        let mut worker = Hearing::start(Worker::new(&jobs).queue(queue()), all_done);
        assert_eq!(worker.next().await.n, 1);
        eventually("what comes next is there", || async {
            look(&jobs, "after").await.waiting == 1
        })
        .await;
        worker.stop().await;
    });
}

/// A server, and a key of this test alone.
struct Raw(u16, String);

impl Raw {
    async fn servers() -> [Self; 2] {
        let ports = blocking(|| [SHARED_REDIS.port, SHARED_VALKEY.port]).await;
        ports.map(|port| Self(port, format!("facts:{}", std::process::id())))
    }

    /// The reply to a command, in which `KEY` is the key; this one is named apart from those of other tests.
    fn call(&self, test: &str, command: &str) -> String {
        let key = format!("{}:{test}", self.1);
        let words = command.split(' ').map(|word| if word == "KEY" { key.as_str() } else { word });
        redis_cli(self.0, &words.collect::<Vec<_>>())
    }
}

#[test]
fn the_server_pops_as_many_as_there_are_and_none_of_nothing() {
    keep(|| async {
        for raw in Raw::servers().await {
            let call = |command: &str| raw.call("pop", command);
            assert_eq!(call("LPOP KEY 5"), "");
            call("RPUSH KEY a b c");
            assert_eq!(call("LPOP KEY 5"), "a\nb\nc");
            assert_eq!(call("EXISTS KEY"), "0", "an empty list is none");
        }
    });
}

#[test]
fn the_server_renews_only_members_that_are_there() {
    keep(|| async {
        for raw in Raw::servers().await {
            let call = |command: &str| raw.call("renew", command);
            assert_eq!(call("ZADD KEY XX 5 lane"), "0");
            assert_eq!(call("EXISTS KEY"), "0");
            call("ZADD KEY 7 lane");
            call("ZADD KEY XX GT 5 lane");
            assert_eq!(call("ZSCORE KEY lane"), "7", "and never to an earlier moment");
            call("DEL KEY");
        }
    });
}

#[test]
fn the_server_orders_equal_moments_by_their_members_and_bounds_a_range() {
    keep(|| async {
        for raw in Raw::servers().await {
            let call = |command: &str| raw.call("range", command);
            call("ZADD KEY 5 5b 5 5a 7 9a 3 0z");
            assert_eq!(call("ZRANGE KEY -inf 5 BYSCORE LIMIT 0 2"), "0z\n5a");
            assert_eq!(call("ZRANGE KEY -inf (5 BYSCORE LIMIT 0 9"), "0z");
            call("DEL KEY");
        }
    });
}

#[test]
fn a_worker_that_is_stopped_before_it_has_begun_ends() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let jobs = at(server.port).await;
        let (tell, _heard) = super::hearing::channel();
        let worker = super::hearing::telling(worker(&jobs), &tell, |_| std::future::ready(Ok(())));
        let (stop, stopped) = oneshot::channel::<()>();
        drop(stop);
        let shutdown = async {
            let _ = stopped.await;
        };
        let finished = worker.run_until(shutdown, Duration::from_secs(5)).await.unwrap();
        assert_eq!(finished.done, 0);
        assert_eq!(look(&jobs, QUEUE).await.lanes, 0);
    });
}
