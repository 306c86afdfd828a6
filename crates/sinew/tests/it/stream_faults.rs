//! Subscriptions through what goes wrong with their store, with them, and with what they need.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sinew::stream::{Ack, Backoff, Ctx, Event, HandlerError, Streams, Subscribe, Subscription};
use sinew::{Breaker, BreakerError, Sinew};

use crate::laws::{LAW_MAX, eventually, keep, keep_for};
use crate::member::{Member, a_line};
use crate::outage::{blocking, process_at};
use crate::world::{Proxy, Sentinels, redis_cli, signal, start_redis};

const LEASE: Duration = Duration::from_secs(1);
const PORT: &str = "SINEW_STREAM_MEMBER_PORT";

/// How often each event was run to its end.
#[derive(Clone, Default)]
struct Runs(Arc<Mutex<BTreeMap<u64, u64>>>);

impl Runs {
    fn note(&self, event: u64) {
        *self.0.lock().unwrap().entry(event).or_default() += 1;
    }

    fn of(&self, event: u64) -> u64 {
        self.0.lock().unwrap().get(&event).copied().unwrap_or(0)
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    async fn until_all(&self, events: std::ops::Range<u64>) {
        let all = || async { events.clone().all(|event| self.of(event) > 0) };
        eventually("all events are run", all).await;
    }

    fn subscribe(&self, streams: &Streams) -> Subscription {
        let runs = self.clone();
        let handler = move |event: Event<u64>, _: Ctx| {
            runs.note(event.data);
            async { Ok::<_, HandlerError>(Ack::Done) }
        };
        let subscribe = streams.subscribe("orders", "billing").lease(LEASE);
        subscribe.retry(Backoff::fixed(Duration::from_millis(50))).start(handler).unwrap()
    }
}

async fn publish(streams: &Streams, events: std::ops::Range<u64>) {
    for event in events {
        streams.publish("orders", &event).await.unwrap();
    }
}

/// Waits until the group has finished all that was published.
async fn settled(streams: &Streams) {
    let is_settled = || async {
        let lag = streams.lag("orders").await.unwrap_or_default();
        lag.iter().any(|group| {
            group.group == "billing" && group.waiting.n + group.held + group.parked == 0
        })
    };
    eventually("the group has finished everything", is_settled).await;
}

/// The only log that a server has.
fn log_of(port: u16) -> String {
    redis_cli(port, &["--scan", "--pattern", "*:log"])
}

#[test]
fn an_outage_is_waited_out_and_what_was_finished_in_it_is_told_afterwards() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let proxy = Proxy::start(server.port);
        let (direct, through) = (process_at(server.port).await, process_at(proxy.port).await);
        let (begun, goes_on) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let handler = {
            let (begun, goes_on) = (Arc::clone(&begun), Arc::clone(&goes_on));
            move |_: Event<u64>, _: Ctx| {
                begun.fetch_add(1, Ordering::SeqCst);
                let goes_on = Arc::clone(&goes_on);
                async move {
                    eventually("it may go on", || async { goes_on.load(Ordering::SeqCst) }).await;
                    Ok::<_, HandlerError>(Ack::Done)
                }
            }
        };
        // A lease that lasts longer than the outage: no one may run it twice.
        let subscribe = through.streams().subscribe("orders", "billing").lease(LAW_MAX);
        let subscription = subscribe.start(handler).unwrap();
        publish(&direct.streams(), 0..3).await;
        eventually("all have begun", || async { begun.load(Ordering::SeqCst) == 3 }).await;
        proxy.refuse();
        proxy.cut();
        goes_on.store(true, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let held = direct.streams().lag("orders").await.unwrap()[0].held;
        assert_eq!(held, 3, "the store has heard of nothing");
        proxy.pass();
        settled(&direct.streams()).await;
        let finished = subscription.stop().await.unwrap();
        assert_eq!((finished.handled, begun.load(Ordering::SeqCst)), (3, 3));
    });
}

#[test]
fn what_was_read_and_never_heard_of_is_run() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let proxy = Proxy::start(server.port);
        let (direct, through) = (process_at(server.port).await, process_at(proxy.port).await);
        let runs = Runs::default();
        let _subscription = runs.subscribe(&through.streams());
        publish(&direct.streams(), 0..1).await;
        runs.until_all(0..1).await;
        settled(&direct.streams()).await;
        // The reader asks, the store gives, and the answer does not arrive.
        proxy.lose_replies();
        publish(&direct.streams(), 1..5).await;
        let given = || async { direct.streams().lag("orders").await.unwrap()[0].held > 0 };
        eventually("they are given to it", given).await;
        assert_eq!(runs.len(), 1);
        proxy.cut();
        proxy.pass();
        runs.until_all(0..5).await;
        settled(&direct.streams()).await;
    });
}

#[test]
fn a_flush_under_consumption_replays_nothing() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let streams = process_at(server.port).await.streams();
        let runs = Runs::default();
        let subscription = runs.subscribe(&streams);
        publish(&streams, 0..50).await;
        runs.until_all(0..50).await;
        settled(&streams).await;
        // The checkpoint is told by a tick.
        tokio::time::sleep(2 * LEASE).await;
        redis_cli(server.port, &["FLUSHALL"]);
        publish(&streams, 50..100).await;
        runs.until_all(50..100).await;
        assert!((0..100).all(|event| runs.of(event) == 1), "{:?}", runs.0);
        settled(&streams).await;
        assert_eq!(subscription.stop().await.unwrap().handled, 100);
    });
}

#[test]
fn a_destroyed_group_goes_on_where_it_was() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let streams = process_at(server.port).await.streams();
        let runs = Runs::default();
        let _subscription = runs.subscribe(&streams);
        publish(&streams, 0..50).await;
        runs.until_all(0..50).await;
        settled(&streams).await;
        tokio::time::sleep(2 * LEASE).await;
        let log = log_of(server.port);
        assert_eq!(redis_cli(server.port, &["XGROUP", "DESTROY", &log, "billing"]), "1");
        publish(&streams, 50..60).await;
        runs.until_all(50..60).await;
        settled(&streams).await;
        assert!((0..60).all(|event| runs.of(event) == 1), "{:?}", runs.0);
    });
}

#[test]
fn a_fallen_consumer_goes_on_under_another_name() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let streams = process_at(server.port).await.streams();
        let goes_on = Arc::new(AtomicBool::new(false));
        let lost = Arc::new(AtomicU64::new(0));
        let handler = {
            let (goes_on, lost) = (Arc::clone(&goes_on), Arc::clone(&lost));
            move |_: Event<u64>, cx: Ctx| {
                let (goes_on, lost) = (Arc::clone(&goes_on), Arc::clone(&lost));
                async move {
                    eventually("it may go on", || async { goes_on.load(Ordering::SeqCst) }).await;
                    lost.fetch_add(u64::from(cx.is_lost()), Ordering::SeqCst);
                    Ok::<_, HandlerError>(Ack::Done)
                }
            }
        };
        let subscribe = streams.subscribe("orders", "billing").lease(10 * LEASE);
        let subscription = subscribe.start(handler).unwrap();
        publish(&streams, 0..3).await;
        let held = || async {
            streams.lag("orders").await.is_ok_and(|lag| lag.iter().any(|g| g.held == 3))
        };
        eventually("all are held", held).await;
        let before = streams.consumers("orders", "billing").await.unwrap()[0].name.clone();
        // What another leaves that takes it for dead, before it takes anything.
        let members = log_of(server.port).replace(":log", ":g:billing:members");
        redis_cli(server.port, &["ZADD", &members, "-1", &before]);
        let renamed = || async {
            let consumers = streams.consumers("orders", "billing").await.unwrap();
            consumers.iter().any(|consumer| consumer.name != before && consumer.held == 3)
        };
        eventually("another name has what it held", renamed).await;
        goes_on.store(true, Ordering::SeqCst);
        settled(&streams).await;
        assert_eq!(lost.load(Ordering::SeqCst), 0, "nothing of it was taken");
        assert_eq!(subscription.stop().await.unwrap().handled, 3);
    });
}

/// In a process of its own: begins with an event, and says what its handler is told of it.
#[test]
fn a_member_that_is_stopped() {
    let Ok(port) = std::env::var(PORT) else { return };
    keep_for(LAW_MAX * 2, || async {
        let streams = process_at(port.parse().unwrap()).await.streams();
        let handler = |_: Event<u64>, cx: Ctx| async move {
            println!("@begun");
            cx.lost().await;
            println!("@lost");
            Ok::<_, HandlerError>(Ack::Done)
        };
        let subscription =
            streams.subscribe("orders", "billing").lease(LEASE).start(handler).unwrap();
        a_line().await;
        let finished = subscription.stop().await.unwrap();
        println!("@handled {}", finished.handled);
    });
}

#[test]
fn a_stopped_consumer_that_wakes_is_refused_and_told() {
    keep_for(LAW_MAX * 2, || async {
        let server = blocking(start_redis).await;
        let streams = process_at(server.port).await.streams();
        publish(&streams, 0..1).await;
        let port = server.port.to_string();
        let test = "stream_faults::a_member_that_is_stopped";
        let mut member = Member::start(test, &[(PORT, port)]);
        let (member, said) = blocking(move || {
            let said = member.hear();
            signal(member.process.id(), "STOP");
            member.tell("stop");
            (member, said)
        })
        .await;
        assert_eq!(said, "begun");
        let runs = Runs::default();
        let _subscription = runs.subscribe(&streams);
        runs.until_all(0..1).await;
        settled(&streams).await;
        let said = blocking(move || {
            signal(member.process.id(), "CONT");
            (member.hear(), member.hear())
        })
        .await;
        assert_eq!(said, ("lost".to_owned(), "handled 0".to_owned()));
        assert_eq!(runs.of(0), 1);
    });
}

#[test]
fn a_failover_under_consumption_loses_nothing_that_replicas_had() {
    keep_for(LAW_MAX * 3, || async {
        let world = blocking(Sentinels::start).await;
        let sinew = Sinew::builder().deadline(Duration::from_secs(10));
        let streams = sinew.connect(&world.url()).await.unwrap().streams();
        let runs = Runs::default();
        let _subscription = runs.subscribe(&streams);
        publish(&streams, 0..50).await;
        runs.until_all(0..50).await;
        settled(&streams).await;
        let port = world.servers[0].port;
        // All of it is on a replica.
        assert_ne!(blocking(move || redis_cli(port, &["WAIT", "1", "10000"])).await, "0");
        tokio::time::sleep(2 * LEASE).await;
        let world = blocking(move || {
            let mut world = world;
            let old = world.servers[0].port;
            world.servers[0].kill();
            world.wait_primary_after(old);
            world
        })
        .await;
        for event in 50..60 {
            let written = || async { streams.publish("orders", &event).await.is_ok() };
            eventually("it is published", written).await;
        }
        runs.until_all(0..60).await;
        settled(&streams).await;
        assert!((0..50).all(|event| runs.of(event) == 1), "{:?}", runs.0);
        drop(world);
    });
}

#[test]
fn nothing_uses_up_its_attempts_while_the_breaker_is_open() {
    keep(|| async {
        let streams = Sinew::embedded().streams();
        let breaker = Breaker::new("a database");
        let (is_well, runs) = (Arc::new(AtomicBool::new(true)), Runs::default());
        let handler = {
            let (breaker, runs) = (breaker.clone(), runs.clone());
            let is_well = Arc::clone(&is_well);
            move |event: Event<u64>, _: Ctx| {
                let (breaker, runs) = (breaker.clone(), runs.clone());
                let is_well = is_well.load(Ordering::SeqCst);
                async move {
                    let call = || async { if is_well { Ok(()) } else { Err("it is down") } };
                    match breaker.call(call).await {
                        Ok(()) => runs.note(event.data),
                        Err(BreakerError::Open { .. }) => return Ok(Ack::Retry { after: LEASE }),
                        Err(BreakerError::Inner(error)) => return Err(HandlerError::from(error)),
                    }
                    Ok(Ack::Done)
                }
            }
        };
        breaker.isolate();
        let subscribe = streams.subscribe("orders", "billing").pause_while_open(&breaker);
        let subscription =
            subscribe.retry(Backoff::default().max_attempts(1)).start(handler).unwrap();
        publish(&streams, 0..10).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(runs.len(), 0, "isolated, and still run");
        breaker.reset();
        runs.until_all(0..10).await;
        settled(&streams).await;
        let finished = subscription.stop().await.unwrap();
        assert_eq!((finished.handled, finished.dead), (10, 0));
    });
}

/// Whose handler calls a database, which is down at first. Many events at a time, and few failures until it is known.
async fn a_breaker_that_opens_by_failures(group: impl FnOnce(Subscribe<u64>) -> Subscribe<u64>) {
    let streams = Sinew::embedded().streams();
    let brief = Duration::from_millis(200);
    let breaker = Breaker::builder("a database").failures_in_a_row(1).open_for(brief, brief);
    let breaker = breaker.build().unwrap();
    let (is_well, runs) = (Arc::new(AtomicBool::new(false)), Runs::default());
    let calls = Arc::new(AtomicU64::new(0));
    let handler = {
        let (breaker, runs) = (breaker.clone(), runs.clone());
        let (is_well, calls) = (Arc::clone(&is_well), Arc::clone(&calls));
        move |event: Event<u64>, _: Ctx| {
            let (breaker, runs) = (breaker.clone(), runs.clone());
            let (is_well, calls) = (Arc::clone(&is_well), Arc::clone(&calls));
            async move {
                let call = || async {
                    calls.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    match is_well.load(Ordering::SeqCst) {
                        true => Ok(()),
                        false => Err(std::io::Error::other("it is down")),
                    }
                };
                breaker.call(call).await?;
                runs.note(event.data);
                Ok::<_, HandlerError>(Ack::Done)
            }
        }
    };
    // One that is tried while it is down uses up an attempt, and waits.
    let backoff = Backoff::fixed(Duration::from_millis(50)).max_attempts(1_000);
    let subscribe = group(streams.subscribe("orders", "billing")).retry(backoff);
    let subscription = subscribe.pause_while_open(&breaker).start(handler).unwrap();
    publish(&streams, 0..10).await;
    // Opened by the first, and tried again each time that it may be.
    eventually("it is tried again", || async { calls.load(Ordering::SeqCst) >= 13 }).await;
    assert_eq!(runs.len(), 0);
    is_well.store(true, Ordering::SeqCst);
    runs.until_all(0..10).await;
    settled(&streams).await;
    let finished = subscription.stop().await.unwrap();
    assert_eq!((finished.handled, finished.dead), (10, 0));
}

#[test]
fn a_group_goes_on_after_its_breaker_was_open() {
    keep(|| a_breaker_that_opens_by_failures(|subscribe| subscribe));
}

#[test]
fn an_ordered_group_goes_on_after_its_breaker_was_open() {
    keep(|| a_breaker_that_opens_by_failures(|subscribe| subscribe.ordered_by_key(1)));
}

#[test]
fn an_owner_that_lost_a_reply_leaves_none_of_its_backlog_out() {
    keep_for(LAW_MAX * 2, || async {
        let server = blocking(start_redis).await;
        let proxy = Proxy::start(server.port);
        let (direct, through) = (process_at(server.port).await, process_at(proxy.port).await);
        let streams = direct.streams();
        let heard = Arc::new(Mutex::new(Vec::new()));
        // The first waits for a retry from the beginning to the end, and is pending all the time.
        let handler = {
            let heard = Arc::clone(&heard);
            move |event: Event<u64>, _: Ctx| {
                let heard = Arc::clone(&heard);
                async move {
                    if event.data == 0 {
                        return Ok(Ack::Retry { after: 10 * LAW_MAX });
                    }
                    heard.lock().unwrap().push(event.data);
                    Ok::<_, HandlerError>(Ack::Done)
                }
            }
        };
        let subscribe = |streams: &Streams| {
            let subscribe = streams.subscribe("orders", "billing").ordered_by_key(1);
            subscribe.lease(LAW_MAX).concurrency(64).start(handler.clone()).unwrap()
        };
        streams.publish("orders", &0_u64).key("waits").await.unwrap();
        let before = subscribe(&streams);
        let parked =
            || async { streams.lag("orders").await.unwrap().iter().any(|g| g.parked == 1) };
        eventually("it waits for its retry", parked).await;
        before.stop().await.unwrap();
        // More than an owner has in memory: it reads on for as long as they are run.
        let events: Vec<u64> = (1..=20_000).collect();
        for some in events.chunks(128) {
            let some = streams.publish_many("orders", some.to_vec());
            some.key(|event| (event % 16).to_string()).await.unwrap();
        }
        let _subscription = subscribe(&through.streams());
        let len = || heard.lock().unwrap().len();
        eventually("it reads", || async { len() > 0 }).await;
        for _ in 0..3 {
            proxy.cut_at_next_reply();
            // A connection that ends sooner is not replaced at once.
            tokio::time::sleep(Duration::from_millis(1_100)).await;
        }
        proxy.pass();
        eventually("all are run", || async { len() >= events.len() }).await;
        let heard = heard.lock().unwrap().clone();
        for key in 0..16 {
            let of_key = |all: &[u64]| -> Vec<u64> {
                all.iter().copied().filter(|event| event % 16 == key).collect()
            };
            assert_eq!(of_key(&heard), of_key(&events), "each once, in order");
        }
    });
}

/// One run that began before the breaker opened never ends.
async fn a_run_from_before_holds_up_nothing(group: impl FnOnce(Subscribe<u64>) -> Subscribe<u64>) {
    let streams = Sinew::embedded().streams();
    let brief = Duration::from_millis(200);
    let breaker = Breaker::builder("a database").failures_in_a_row(1).open_for(brief, brief);
    let breaker = breaker.build().unwrap();
    let (is_well, runs) = (Arc::new(AtomicBool::new(false)), Runs::default());
    let calls = Arc::new(AtomicU64::new(0));
    let handler = {
        let (breaker, runs) = (breaker.clone(), runs.clone());
        let (is_well, calls) = (Arc::clone(&is_well), Arc::clone(&calls));
        move |event: Event<u64>, _: Ctx| {
            let (breaker, runs) = (breaker.clone(), runs.clone());
            let (is_well, calls) = (Arc::clone(&is_well), Arc::clone(&calls));
            async move {
                if event.data == 0 {
                    runs.note(0);
                    std::future::pending::<()>().await;
                }
                let call = || async {
                    calls.fetch_add(1, Ordering::SeqCst);
                    match is_well.load(Ordering::SeqCst) {
                        true => Ok(()),
                        false => Err(std::io::Error::other("it is down")),
                    }
                };
                breaker.call(call).await?;
                runs.note(event.data);
                Ok::<_, HandlerError>(Ack::Done)
            }
        }
    };
    let backoff = Backoff::fixed(Duration::from_millis(50)).max_attempts(1_000);
    let subscribe = group(streams.subscribe("orders", "billing")).retry(backoff).drain(brief);
    let subscription = subscribe.pause_while_open(&breaker).start(handler).unwrap();
    streams.publish("orders", &0_u64).key("slow").await.unwrap();
    runs.until_all(0..1).await;
    for event in 1..10_u64 {
        streams.publish("orders", &event).key(event.to_string()).await.unwrap();
    }
    eventually("it is tried again", || async { calls.load(Ordering::SeqCst) >= 3 }).await;
    is_well.store(true, Ordering::SeqCst);
    runs.until_all(1..10).await;
    subscription.stop().await.unwrap();
}

#[test]
fn a_slow_run_holds_up_nothing_once_the_breaker_is_tried() {
    keep(|| a_run_from_before_holds_up_nothing(|subscribe| subscribe));
}

#[test]
fn a_slow_run_of_an_ordered_group_holds_up_nothing_once_the_breaker_is_tried() {
    keep(|| a_run_from_before_holds_up_nothing(|subscribe| subscribe.ordered_by_key(1)));
}
