//! What a store loses, and what becomes of it: flushes, crashes, lost replies, restarts, and primaries that are behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sinew::stream::{Ack, Ctx, Event, HandlerError, Published, Subscribe};
use sinew::{Sinew, Streams};
use tokio::sync::watch;

use crate::laws::{LAW_MAX, eventually, keep, keep_for};
use crate::outage::{blocking, process_at, up};
use crate::stream::LEASE;
use crate::stream::runs::{Runs, log_of, noted, publish, settled};
use crate::world::{
    Proxy, Sentinels, Server, free_port, redis_cli, start_redis, start_redis_on, wait_until,
};

const DAY_MS: u64 = 86_400_000;

/// Publishes each once, however often it takes.
async fn publish_in_the_end(streams: &Streams, events: std::ops::Range<u64>) {
    for event in events {
        let published = || async {
            let publish = streams.publish("orders", &event).dedup(format!("order {event}"));
            publish.await.is_ok()
        };
        eventually("it is published", published).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Two servers, of which the second follows the first.
fn pair_of_redis() -> (Server, Server) {
    let (first, second) = (start_redis(), start_redis());
    redis_cli(second.port, &["REPLICAOF", "127.0.0.1", &first.port.to_string()]);
    wait_until("the replica follows", || {
        redis_cli(second.port, &["INFO", "replication"]).contains("master_link_status:up")
    });
    (first, second)
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set");
    u64::try_from(now.as_millis()).unwrap()
}

#[test]
fn what_a_flush_takes_from_handlers_is_told_them_and_counted() {
    flush_under_handlers(|subscribe| subscribe);
}

#[test]
fn what_a_flush_takes_from_an_ordered_group_is_told_and_counted() {
    flush_under_handlers(|subscribe| subscribe.ordered_by_key(1));
}

fn flush_under_handlers(group: impl FnOnce(Subscribe<u64>) -> Subscribe<u64>) {
    keep(|| async {
        let server = blocking(start_redis).await;
        let streams = process_at(server.port).await.streams();
        let (begun, told) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let handler = {
            let (begun, told) = (Arc::clone(&begun), Arc::clone(&told));
            move |event: Event<u64>, cx: Ctx| {
                let (begun, told) = (Arc::clone(&begun), Arc::clone(&told));
                async move {
                    begun.fetch_add(1, Ordering::SeqCst);
                    if event.data < 3 {
                        cx.lost().await;
                        assert!(cx.is_lost());
                        told.fetch_add(1, Ordering::SeqCst);
                    }
                    Ok::<_, HandlerError>(Ack::Done)
                }
            }
        };
        let subscribe = group(streams.subscribe("orders", "billing").lease(LEASE));
        let subscription = subscribe.start(handler).unwrap();
        publish(&streams, 0..3).await;
        eventually("all are held", || async { begun.load(Ordering::SeqCst) == 3 }).await;
        // Longer than they would be its own without a tick; and how many are pending is told by one.
        tokio::time::sleep(2 * LEASE).await;
        assert_eq!(told.load(Ordering::SeqCst), 0, "nothing is lost yet");
        redis_cli(server.port, &["FLUSHALL"]);
        eventually("their handlers are told", || async { told.load(Ordering::SeqCst) == 3 }).await;
        publish(&streams, 3..10).await;
        eventually("new ones are run", || async { begun.load(Ordering::SeqCst) == 10 }).await;
        settled(&streams, "billing").await;
        let finished = subscription.stop().await.unwrap();
        assert_eq!((finished.handled, finished.lost), (7, 3), "{finished:?}");
    });
}

#[test]
fn what_a_stranger_took_is_pulled_in_the_end() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let streams = process_at(server.port).await.streams();
        publish(&streams, 0..2).await;
        let log = log_of(server.port);
        redis_cli(server.port, &["XGROUP", "CREATE", &log, "billing", "0"]);
        // As to a connection that was gone before its reply came.
        let read = ["XREADGROUP", "GROUP", "billing", "gone", "COUNT", "1", "STREAMS", &log, ">"];
        assert!(redis_cli(server.port, &read).contains('0'));
        let puller = streams.pull("orders", "billing").lease(LEASE);
        let seen = Runs::default();
        eventually("both are pulled", || async {
            let pulled = puller.pull(10, Duration::from_millis(100)).await.unwrap();
            if let Some(pulled) = pulled {
                let places: Vec<_> = pulled.events.iter().map(|one| one.event.place()).collect();
                for one in &pulled.events {
                    seen.note(serde_json::from_slice(&one.event.data).unwrap());
                }
                assert_eq!(puller.ack(&pulled.lease, &places).await.unwrap().done, places);
            }
            seen.len() == 2
        })
        .await;
        seen.each_once(0..2);
    });
}

#[test]
fn an_event_whose_deliveries_all_ended_with_their_process_is_not_run_again() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let streams = process_at(server.port).await.streams();
        let runs = Runs::default();
        let (_closed, gate) = watch::channel(false);
        let killed = runs.subscribe_behind(&streams, "billing", gate);
        publish(&streams, 0..1).await;
        eventually("it is held", || async {
            streams.lag("orders").await.unwrap().iter().any(|told| told.held == 1)
        })
        .await;
        drop(killed);
        // As if it were the twentieth.
        let log = log_of(server.port);
        let id = streams.events("orders", None, 1).await.unwrap()[0].place.entry;
        let tries = log.replace(":log", ":g:billing:tries");
        redis_cli(server.port, &["HSET", &tries, &format!("{id}:d"), "19"]);
        let _subscription = runs.subscribe(&streams, "billing");
        let dead = streams.dead("orders", "billing");
        eventually("it is dead", || async { dead.list(None, 1).await.unwrap().len() == 1 }).await;
        let letter = dead.list(None, 1).await.unwrap().remove(0);
        assert_eq!((letter.crashes, letter.attempts), (20, 0));
        assert!(letter.reason.contains("ended with their process"), "{}", letter.reason);
        settled(&streams, "billing").await;
        assert_eq!(runs.len(), 0, "it was run although it is known to end its process");
    });
}

#[test]
fn a_forgotten_group_holds_nothing_and_is_named() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let streams = process_at(server.port).await.streams();
        let topic = streams.topic("orders").keep(Duration::from_millis(1));
        topic.declare().await.unwrap();
        publish(&streams, 0..10).await;
        let pulled = streams.pull("orders", "mail").pull(3, 10 * LEASE).await.unwrap();
        assert_eq!(pulled.expect("they are there").events.len(), 3);
        let runs = Runs::default();
        let subscription = runs.subscribe(&streams, "billing");
        runs.until_all(0..10).await;
        settled(&streams, "billing").await;
        subscription.stop().await.unwrap();
        let trimmed = streams.trim("orders").await.unwrap();
        assert_eq!((trimmed.removed, trimmed.held_by.as_deref()), (0, Some("mail")));
        assert!(trimmed.forgotten.is_empty());

        let groups = log_of(server.port).replace(":log", ":groups");
        let long_ago = (now_ms() - 8 * DAY_MS).to_string();
        redis_cli(server.port, &["HSET", &groups, "mail:seen", &long_ago]);
        let is_forgotten = |name: &'static str| {
            let streams = &streams;
            async move {
                let lag = streams.lag("orders").await.unwrap();
                lag.into_iter().find(|told| told.group == name).expect("a group").is_forgotten
            }
        };
        assert!(is_forgotten("mail").await && !is_forgotten("billing").await);
        let looked = streams.look("orders").await.unwrap().expect("a topic");
        assert_eq!((looked.held_by.as_deref(), looked.len), (Some("billing"), 10));
        let trimmed = streams.trim("orders").await.unwrap();
        assert_eq!((trimmed.removed, &trimmed.forgotten[..]), (9, &["mail".to_owned()][..]));
        // Whoever comes back is a group like any other.
        let pulled = streams.pull("orders", "mail").pull(10, 10 * LEASE).await.unwrap();
        assert!(pulled.is_some());
        assert!(!is_forgotten("mail").await);
    });
}

#[test]
fn a_lost_reply_publishes_once_with_a_dedup_id() {
    keep_for(LAW_MAX * 2, || async {
        let server = blocking(start_redis).await;
        let observer = process_at(server.port).await.streams();
        let mut processes = Vec::new();
        for _ in 0..16 {
            let proxy = Proxy::start(server.port);
            let sinew = process_at(proxy.port).await;
            // The scripts are known, and so is the topic.
            sinew.streams().publish("orders", &1_000).await.unwrap();
            sinew.streams().publish("orders", &1_001).dedup("warm").await.unwrap();
            processes.push((proxy, sinew));
        }
        // A connection that ends sooner is not replaced at once.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let (mut sent_again, mut unsure) = (0, 0);
        for (round, (proxy, sinew)) in (0_u64..).zip(&processes) {
            let publish = sinew.streams().publish("orders", &round);
            let has_id = round % 2 == 0;
            proxy.cut_at_next_reply();
            let published = match has_id {
                true => publish.dedup(format!("order {round}")).await,
                false => publish.await,
            };
            up(sinew).await;
            proxy.pass();
            let events = observer.events("orders", None, 1_000).await.unwrap();
            let data = round.to_string();
            let of_round: Vec<_> =
                events.iter().filter(|one| *one.event.data == *data.as_bytes()).collect();
            match published {
                Ok(published) => {
                    assert_eq!(of_round.len(), 1, "{published:?}");
                    assert_eq!(published.place(), Some(&of_round[0].place));
                    sent_again += u32::from(matches!(published, Published::Duplicate(_)));
                }
                Err(error) => {
                    assert!(!has_id, "it could have been sent again: {error:#}");
                    assert!(of_round.len() <= 1, "sent again although it may be there");
                    assert!(error.maybe_applied() || of_round.is_empty(), "{error:#}");
                    unsure += 1;
                }
            }
        }
        assert!(sent_again > 0 && unsure > 0, "{sent_again} and {unsure}: the proxy cuts nothing");
    });
}

#[test]
fn a_redis_that_is_killed_under_consumption_and_keeps_its_log_costs_nothing() {
    keep_for(LAW_MAX * 2, || async {
        let folder = tempfile::tempdir().unwrap();
        let (port, dir) = (free_port(), folder.path().to_str().unwrap().to_owned());
        let start = move || {
            let settings = ["--appendonly", "yes", "--appendfsync", "always", "--dir", &dir];
            start_redis_on(port, &settings)
        };
        let mut server: Server = blocking(start.clone()).await;
        let (publisher, consumer) = (process_at(port).await, process_at(port).await);
        let runs = Runs::default();
        let subscription = runs.subscribe(&consumer.streams(), "billing");
        let streams = publisher.streams();
        let publishing = tokio::spawn(async move { publish_in_the_end(&streams, 0..300).await });
        for killed_at in [40, 120, 200] {
            eventually("some are run", || async { runs.len() >= killed_at }).await;
            let start = start.clone();
            server = blocking(move || {
                server.kill();
                server.wait_gone();
                start()
            })
            .await;
        }
        publishing.await.unwrap();
        runs.until_all(0..300).await;
        settled(&consumer.streams(), "billing").await;
        // No other member could have taken one meanwhile.
        runs.each_once(0..300);
        let finished = subscription.stop().await.unwrap();
        assert_eq!((finished.dead, finished.lost), (0, 0), "{finished:?}");
        assert_eq!(publisher.streams().look("orders").await.unwrap().unwrap().lost, 0);
        drop(server);
    });
}

#[test]
fn a_new_primary_with_a_slow_clock_loses_no_event() {
    keep(|| async {
        let (old, new) = blocking(pair_of_redis).await;
        let (old_port, new_port) = (old.port, new.port);
        let proxy = Proxy::start(old_port);
        let streams = process_at(proxy.port).await.streams();
        let runs = Runs::default();
        let _subscription = runs.subscribe(&streams, "billing");
        publish(&streams, 0..10).await;
        runs.until_all(0..10).await;
        settled(&streams, "billing").await;
        noted(&streams, "billing").await;
        let log = log_of(old_port);
        let replicated = || async { redis_cli(new_port, &["XLEN", &log]) == "10" };
        eventually("the replica has them", replicated).await;
        assert_eq!(redis_cli(new_port, &["REPLICAOF", "NO", "ONE"]), "OK");
        // The old one's clock is an hour ahead, and what it has written since is on no other.
        let ahead_ms = now_ms() + 3_600_000;
        for event in 10..12_u64 {
            let id = format!("{ahead_ms}-{event}");
            redis_cli(old_port, &["XADD", &log, &id, "data", &event.to_string()]);
        }
        runs.until_all(10..12).await;
        settled(&streams, "billing").await;
        noted(&streams, "billing").await;
        proxy.lead_to(new_port);
        let there = process_at(new_port).await.streams();
        publish(&there, 12..30).await;
        let last = there.events("orders", None, 100).await.unwrap().pop().expect("the last");
        assert!(last.place.entry.ms < ahead_ms, "it is below what the group had finished");
        runs.until_all(12..30).await;
        settled(&there, "billing").await;
        runs.each_once(0..30);
        drop((old, new));
    });
}

#[test]
fn a_failover_behind_moves_the_group_forward() {
    keep_for(LAW_MAX * 3, || async {
        let world = blocking(Sentinels::start).await;
        let sinew = Sinew::builder().deadline(Duration::from_secs(10));
        let streams = sinew.connect(&world.url()).await.unwrap().streams();
        let ports: Vec<u16> = world.servers.iter().map(|server| server.port).collect();
        let (primary, replicas) = (ports[0], ports[1..].to_vec());
        let (billing, mail) = (Runs::default(), Runs::default());
        let (open, gate) = watch::channel(true);
        let first = billing.subscribe(&streams, "billing");
        let _mail = mail.subscribe_behind(&streams, "mail", gate);
        publish(&streams, 0..20).await;
        for (runs, group) in [(&billing, "billing"), (&mail, "mail")] {
            runs.until_all(0..20).await;
            settled(&streams, group).await;
        }
        first.stop().await.unwrap();
        // One group has not read these, the other has and is not done with them.
        open.send_replace(false);
        publish(&streams, 20..40).await;
        eventually("the other holds them", || async {
            let lag = streams.lag("orders").await.unwrap();
            lag.iter().any(|told| told.group == "mail" && told.held == 20)
        })
        .await;
        let log = log_of(primary);
        let held = |port: u16| {
            let pending = redis_cli(port, &["XPENDING", &log, "mail"]);
            (redis_cli(port, &["XLEN", &log]), pending.lines().next().map(str::to_owned))
        };
        let expected = ("40".to_owned(), Some("20".to_owned()));
        eventually("the replicas know as much", || async {
            replicas.iter().all(|port| held(*port) == expected)
        })
        .await;
        // From here on they hear nothing: they give a password that the primary does not ask for.
        for port in &replicas {
            assert_eq!(redis_cli(*port, &["CONFIG", "SET", "masterauth", "unknown"]), "OK");
        }
        redis_cli(primary, &["CLIENT", "KILL", "TYPE", "replica"]);
        let is_cut = |port: &u16| {
            redis_cli(*port, &["INFO", "replication"]).contains("master_link_status:down")
        };
        eventually("they are cut off", || async { replicas.iter().all(is_cut) }).await;
        let _billing = billing.subscribe(&streams, "billing");
        open.send_replace(true);
        for (runs, group) in [(&billing, "billing"), (&mail, "mail")] {
            runs.until_all(20..40).await;
            settled(&streams, group).await;
            noted(&streams, group).await;
        }
        let behind = replicas.iter().all(|port| held(*port) == expected);
        assert!(behind, "they do not know that these are finished");
        let world = blocking(move || {
            let mut world = world;
            world.servers[0].kill();
            for port in &replicas {
                redis_cli(*port, &["CONFIG", "SET", "masterauth", ""]);
            }
            world.wait_primary_after(primary);
            world
        })
        .await;
        publish_in_the_end(&streams, 40..50).await;
        for (runs, group) in [(&billing, "billing"), (&mail, "mail")] {
            runs.until_all(40..50).await;
            settled(&streams, group).await;
            runs.each_once(0..50);
        }
        drop(world);
    });
}

#[test]
fn a_run_that_does_not_end_holds_up_its_own_key_alone_when_another_primary_comes() {
    keep_for(LAW_MAX * 2, || async {
        let (old, new) = blocking(pair_of_redis).await;
        let (old_port, new_port) = (old.port, new.port);
        let proxy = Proxy::start(old_port);
        let streams = process_at(proxy.port).await.streams();
        let (runs, begun) = (Runs::default(), Runs::default());
        let handler = {
            let (runs, begun) = (runs.clone(), begun.clone());
            move |event: Event<u64>, _: Ctx| {
                let (runs, begun) = (runs.clone(), begun.clone());
                async move {
                    begun.note(event.data);
                    if event.data == 0 {
                        std::future::pending::<()>().await;
                    }
                    runs.note(event.data);
                    Ok::<_, HandlerError>(Ack::Done)
                }
            }
        };
        let subscribe = streams.subscribe("orders", "billing").ordered_by_key(1).lease(LEASE);
        let subscription = subscribe.drain(LEASE).start(handler).unwrap();
        streams.publish("orders", &0_u64).key("slow").await.unwrap();
        streams.publish("orders", &1_u64).key("slow").await.unwrap();
        streams.publish("orders", &2_u64).key("other").await.unwrap();
        begun.until_all(0..1).await;
        runs.until_all(2..3).await;
        let log = log_of(old_port);
        let replicated = || async {
            let pending = redis_cli(new_port, &["XPENDING", &log, "billing"]);
            pending.lines().next() == Some("2")
        };
        eventually("the replica has them", replicated).await;
        assert_eq!(redis_cli(new_port, &["REPLICAOF", "NO", "ONE"]), "OK");
        proxy.lead_to(new_port);
        let there = process_at(new_port).await.streams();
        for event in 3..6_u64 {
            there.publish("orders", &event).key("other").await.unwrap();
        }
        runs.until_all(3..6).await;
        assert_eq!(begun.of(1), 0, "its key waits");
        assert_eq!(begun.of(0), 1, "and it is not run beside itself");
        subscription.stop().await.unwrap();
        drop((old, new));
    });
}
