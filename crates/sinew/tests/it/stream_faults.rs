//! Subscriptions through what goes wrong with their store, with them, and with what they need.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sinew::stream::{Ack, Backoff, Ctx, Event, HandlerError, Subscribe, Subscription};
use sinew::{Breaker, BreakerError, Sinew, Streams};

use crate::laws::{LAW_MAX, eventually, keep, keep_for};
use crate::member::{Member, a_line};
use crate::outage::{blocking, process_at};
use crate::stream::LEASE;
use crate::stream::runs::{Runs, log_of, noted, publish, settled};
use crate::world::{Proxy, Sentinels, redis_cli, signal, start_redis};

const PORT: &str = "SINEW_STREAM_MEMBER_PORT";

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
        settled(&direct.streams(), "billing").await;
        let finished = subscription.stop().await.unwrap();
        assert_eq!((finished.handled, begun.load(Ordering::SeqCst)), (3, 3));
    });
}

#[test]
fn an_outage_uses_up_no_attempts_of_a_handler_that_stops_when_it_is_told() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let proxy = Proxy::start(server.port);
        let (direct, through) = (process_at(server.port).await, process_at(proxy.port).await);
        let [begun, told] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
        let handler = {
            let (begun, told) = (Arc::clone(&begun), Arc::clone(&told));
            move |_: Event<u64>, cx: Ctx| {
                let (run, told) = (begun.fetch_add(1, Ordering::SeqCst), Arc::clone(&told));
                async move {
                    if run == 2 {
                        return Ok::<_, HandlerError>(Ack::Done);
                    }
                    cx.lost().await;
                    told.fetch_add(1, Ordering::SeqCst);
                    Err("its lease is over".into())
                }
            }
        };
        let subscribe = through.streams().subscribe("orders", "billing").lease(LEASE);
        let once = Backoff::fixed(Duration::from_millis(50)).max_attempts(1);
        let subscription = subscribe.retry(once).start(handler).unwrap();
        publish(&direct.streams(), 0..1).await;
        for outage in 1..=2 {
            eventually("it runs", || async { begun.load(Ordering::SeqCst) == outage }).await;
            proxy.refuse();
            proxy.cut();
            eventually("it is told", || async { told.load(Ordering::SeqCst) == outage }).await;
            proxy.pass();
        }
        settled(&direct.streams(), "billing").await;
        let finished = subscription.stop().await.unwrap();
        assert_eq!((finished.handled, finished.dead, begun.load(Ordering::SeqCst)), (1, 0, 3));
    });
}

#[test]
fn what_waits_for_its_turn_through_an_outage_is_run_afterwards() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let proxy = Proxy::start(server.port);
        let (direct, through) = (process_at(server.port).await, process_at(proxy.port).await);
        let runs: [Arc<AtomicU64>; 2] = Default::default();
        let is_told = Arc::new(AtomicBool::new(false));
        let handler = {
            let (runs, is_told) = (runs.clone(), Arc::clone(&is_told));
            move |event: Event<u64>, cx: Ctx| {
                let of_it = &runs[usize::try_from(event.data).unwrap()];
                let (run, is_told) = (of_it.fetch_add(1, Ordering::SeqCst), Arc::clone(&is_told));
                let others = Arc::clone(&runs[1]);
                async move {
                    match (event.data, run) {
                        // It is put off until the other runs, and has its turn after that.
                        (0, _) if others.load(Ordering::SeqCst) == 0 => {
                            Ok(Ack::Retry { after: LEASE })
                        }
                        (1, 0) => {
                            // The other is due, and there is one place.
                            cx.lost().await;
                            is_told.store(true, Ordering::SeqCst);
                            Err::<_, HandlerError>("its lease is over".into())
                        }
                        _ => Ok(Ack::Done),
                    }
                }
            }
        };
        let subscribe = through.streams().subscribe("orders", "billing").lease(LEASE);
        let subscription = subscribe.concurrency(1).start(handler).unwrap();
        let held_and_parked = || async {
            let lag = direct.streams().lag("orders").await.unwrap_or_default();
            lag.first().map(|told| (told.held, told.parked))
        };
        publish(&direct.streams(), 0..1).await;
        // As the store has it: what it is not told yet would be told once more.
        eventually("it is put off", || async { held_and_parked().await == Some((0, 1)) }).await;
        publish(&direct.streams(), 1..2).await;
        eventually("the other runs", || async { runs[1].load(Ordering::SeqCst) == 1 }).await;
        eventually("it is due, and waits", || async { held_and_parked().await == Some((2, 0)) })
            .await;
        proxy.refuse();
        proxy.cut();
        eventually("it is told", || async { is_told.load(Ordering::SeqCst) }).await;
        // The one that waited has its turn before the store is back.
        tokio::time::sleep(LEASE / 10).await;
        proxy.pass();
        settled(&direct.streams(), "billing").await;
        assert_eq!(subscription.stop().await.unwrap().handled, 2);
    });
}

#[test]
fn what_was_read_and_never_heard_of_is_run() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let proxy = Proxy::start(server.port);
        let (direct, through) = (process_at(server.port).await, process_at(proxy.port).await);
        let runs = Runs::default();
        let _subscription = runs.subscribe(&through.streams(), "billing");
        publish(&direct.streams(), 0..1).await;
        runs.until_all(0..1).await;
        settled(&direct.streams(), "billing").await;
        // The reader asks, the store gives, and the answer does not arrive.
        proxy.lose_replies();
        publish(&direct.streams(), 1..5).await;
        let given = || async { direct.streams().lag("orders").await.unwrap()[0].held > 0 };
        eventually("they are given to it", given).await;
        assert_eq!(runs.len(), 1);
        proxy.cut();
        proxy.pass();
        runs.until_all(0..5).await;
        settled(&direct.streams(), "billing").await;
    });
}

#[test]
fn a_flush_under_consumption_replays_nothing() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let streams = process_at(server.port).await.streams();
        let runs = Runs::default();
        let subscription = runs.subscribe(&streams, "billing");
        publish(&streams, 0..50).await;
        runs.until_all(0..50).await;
        settled(&streams, "billing").await;
        noted(&streams, "billing").await;
        redis_cli(server.port, &["FLUSHALL"]);
        publish(&streams, 50..100).await;
        runs.until_all(50..100).await;
        settled(&streams, "billing").await;
        runs.each_once(0..100);
        assert_eq!(subscription.stop().await.unwrap().handled, 100);
    });
}

#[test]
fn a_destroyed_group_goes_on_where_it_was() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let streams = process_at(server.port).await.streams();
        let runs = Runs::default();
        let _subscription = runs.subscribe(&streams, "billing");
        publish(&streams, 0..50).await;
        runs.until_all(0..50).await;
        settled(&streams, "billing").await;
        noted(&streams, "billing").await;
        let log = log_of(server.port);
        assert_eq!(redis_cli(server.port, &["XGROUP", "DESTROY", &log, "billing"]), "1");
        publish(&streams, 50..60).await;
        runs.until_all(50..60).await;
        settled(&streams, "billing").await;
        runs.each_once(0..60);
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
        settled(&streams, "billing").await;
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
        let _subscription = runs.subscribe(&streams, "billing");
        runs.until_all(0..1).await;
        settled(&streams, "billing").await;
        let said = blocking(move || {
            signal(member.process.id(), "CONT");
            (member.hear(), member.hear())
        })
        .await;
        assert_eq!(said, ("lost".to_owned(), "handled 0".to_owned()));
        runs.each_once(0..1);
    });
}

#[test]
fn a_failover_under_consumption_loses_nothing_that_replicas_had() {
    keep_for(LAW_MAX * 3, || async {
        let world = blocking(Sentinels::start).await;
        let sinew = Sinew::builder().deadline(Duration::from_secs(10));
        let streams = sinew.connect(&world.url()).await.unwrap().streams();
        let runs = Runs::default();
        let _subscription = runs.subscribe(&streams, "billing");
        publish(&streams, 0..50).await;
        runs.until_all(0..50).await;
        settled(&streams, "billing").await;
        let port = world.servers[0].port;
        // All of it is on a replica.
        assert_ne!(blocking(move || redis_cli(port, &["WAIT", "1", "10000"])).await, "0");
        noted(&streams, "billing").await;
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
        settled(&streams, "billing").await;
        assert!((0..50).all(|event| runs.of(event) == 1), "{runs:?}");
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
        settled(&streams, "billing").await;
        let finished = subscription.stop().await.unwrap();
        assert_eq!((finished.handled, finished.dead), (10, 0));
    });
}

/// A database that is down at first, and how often it was called.
#[derive(Default)]
struct Database {
    is_well: AtomicBool,
    calls: AtomicU64,
}

impl Database {
    async fn call(&self) -> std::io::Result<()> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(10)).await;
        match self.is_well.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(std::io::Error::other("it is down")),
        }
    }

    async fn until_called(&self, times: u64) {
        let is_called = || async { self.calls.load(Ordering::SeqCst) >= times };
        eventually("it is tried again", is_called).await;
    }

    /// A group that calls it behind a breaker, which the first failure opens. The run of event 0 never ends.
    fn subscribe(self: &Arc<Self>, subscribe: Subscribe<u64>, runs: &Runs) -> Subscription {
        let brief = Duration::from_millis(200);
        let breaker = Breaker::builder("a database").failures_in_a_row(1).open_for(brief, brief);
        let breaker = breaker.build().unwrap();
        let handler = {
            let (database, breaker, runs) = (Arc::clone(self), breaker.clone(), runs.clone());
            move |event: Event<u64>, _: Ctx| {
                let (database, breaker) = (Arc::clone(&database), breaker.clone());
                let runs = runs.clone();
                async move {
                    if event.data == 0 {
                        runs.note(0);
                        std::future::pending::<()>().await;
                    }
                    breaker.call(|| database.call()).await?;
                    runs.note(event.data);
                    Ok::<_, HandlerError>(Ack::Done)
                }
            }
        };
        // One that is tried while it is down uses up an attempt, and waits.
        let backoff = Backoff::fixed(Duration::from_millis(50)).max_attempts(1_000);
        let subscribe = subscribe.retry(backoff).drain(brief).pause_while_open(&breaker);
        subscribe.start(handler).unwrap()
    }
}

/// Many events at a time, and few failures until it is known.
async fn a_breaker_that_opens_by_failures(group: impl FnOnce(Subscribe<u64>) -> Subscribe<u64>) {
    let streams = Sinew::embedded().streams();
    let (database, runs) = (Arc::new(Database::default()), Runs::default());
    let subscription = database.subscribe(group(streams.subscribe("orders", "billing")), &runs);
    publish(&streams, 1..11).await;
    // Opened by the first, and tried again each time that it may be.
    database.until_called(13).await;
    assert_eq!(runs.len(), 0);
    database.is_well.store(true, Ordering::SeqCst);
    runs.until_all(1..11).await;
    settled(&streams, "billing").await;
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
    let (database, runs) = (Arc::new(Database::default()), Runs::default());
    let subscription = database.subscribe(group(streams.subscribe("orders", "billing")), &runs);
    streams.publish("orders", &0_u64).key("slow").await.unwrap();
    runs.until_all(0..1).await;
    for event in 1..10_u64 {
        streams.publish("orders", &event).key(event.to_string()).await.unwrap();
    }
    database.until_called(3).await;
    database.is_well.store(true, Ordering::SeqCst);
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
