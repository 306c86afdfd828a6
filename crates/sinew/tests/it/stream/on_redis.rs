//! What streams promise that Redis alone can show, and what they rest on.

use std::time::Duration;

use sinew::stream::{Ack, Backoff, Force, GroupChange, Published, Pulled, PulledEvent, Seek};
use sinew::{ErrorKind, Streams};

use super::hearing::{Heard, Hearing, all_done};
use super::runs::settled;
use super::{LEASE, publish};
use crate::laws::{eventually, keep};
use crate::outage::{blocking, process_at};
use crate::world::{SHARED_REDIS, SHARED_VALKEY, Server, redis_cli, start_redis};

async fn at(port: u16) -> Streams {
    process_at(port).await.streams()
}

/// Keeps a law on a server of its own.
fn alone(law: impl AsyncFnOnce(Server, Streams)) {
    keep(|| async {
        let server = blocking(start_redis).await;
        let streams = at(server.port).await;
        law(server, streams).await;
    });
}

/// The only key that matches.
fn key(port: u16, glob: &str) -> String {
    let keys = redis_cli(port, &["KEYS", glob]);
    assert_eq!(keys.lines().count(), 1, "{glob}: {keys}");
    keys
}

#[test]
fn what_others_add_is_an_event_or_a_dead_letter_and_never_holds_up_the_rest() {
    alone(async |server, streams| {
        publish(&streams, "orders", 1).await;
        let log = key(server.port, "*:log");
        redis_cli(server.port, &["XADD", &log, "*", "nothing", "to read"]);
        redis_cli(server.port, &["XADD", &log, "*", "data", "2", "more", "of it"]);
        redis_cli(server.port, &["XADD", &log, "*", "data", "not a number"]);
        // More names and values than Lua hands on at once.
        let wide: Vec<String> = (0..4_100).map(|n| format!("f{n}")).collect();
        let mut add = vec!["XADD", &log, "*"];
        add.extend(wide.iter().flat_map(|name| [name.as_str(), "v"]));
        redis_cli(server.port, &add);
        redis_cli(server.port, &["XADD", &log, "*", "dl-group", "mail", "dl-id", "1-1"]);
        publish(&streams, "orders", 3).await;
        let mut billing = Hearing::start(streams.subscribe("orders", "billing"), all_done);
        assert_eq!(billing.numbers(3).await, [1, 2, 3]);
        eventually("what cannot be read is dead", || async {
            streams.dead("orders", "billing").list(None, 10).await.unwrap().len() == 4
        })
        .await;
        assert_eq!(streams.dead("orders", "billing").redrive_all().await.unwrap(), 4);
        eventually("and dead once more", || async {
            streams.dead("orders", "billing").list(None, 10).await.unwrap().len() == 4
        })
        .await;
        billing.stop().await;
        assert_eq!(
            redis_cli(server.port, &["XPENDING", &log, "billing"]).lines().next(),
            Some("0")
        );
    });
}

#[test]
fn a_full_redis_refuses_what_is_published_and_lets_its_consumers_finish() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let (here, there) = (at(server.port).await, at(server.port).await);
        here.publish_many("orders", 0..100_u64).await.unwrap();
        let set = |bytes: &str| {
            assert_eq!(redis_cli(server.port, &["CONFIG", "SET", "maxmemory", bytes]), "OK");
        };
        set("1");
        let refused = here.publish("orders", &100_u64).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable { maybe_applied: false }, "{refused}");
        let decide = |heard: &Heard| match (heard.number % 10, heard.cx.attempt()) {
            (0, _) => Ok(Ack::DeadLetter { reason: "no good".to_owned() }),
            (1, 1) => Err("at first".into()),
            _ => Ok(Ack::Done),
        };
        // Also one that begins only now.
        let subscribe = there.subscribe("orders", "billing").lease(LEASE);
        let subscribe = subscribe.inbox(Duration::from_secs(600));
        let subscribe = subscribe.retry(Backoff::fixed(Duration::from_millis(20)));
        let mut billing = Hearing::start(subscribe, decide);
        assert_eq!(billing.numbers(110).await.len(), 110, "those that failed run once more");
        eventually("all is finished", || async {
            let lag = here.lag("orders").await.unwrap().remove(0);
            (lag.held, lag.parked, lag.waiting.n, lag.dead) == (0, 0, 0, 10)
        })
        .await;
        let finished = billing.stop().await;
        assert_eq!((finished.handled, finished.dead, finished.lost), (90, 10, 0));
        set("0");
        publish(&here, "orders", 100).await;
    });
}

#[test]
fn a_group_of_someone_else_is_kept_for_as_long_as_it_is_read() {
    alone(async |server, streams| {
        streams.topic("orders").len_max(3).declare().await.unwrap();
        for number in 0..3 {
            publish(&streams, "orders", number).await;
        }
        let log = key(server.port, "*:log");
        redis_cli(server.port, &["XGROUP", "CREATE", &log, "foreign", "0"]);
        let read = || {
            let read = ["XREADGROUP", "GROUP", "foreign", "x", "COUNT", "1", "STREAMS", &log, ">"];
            assert!(redis_cli(server.port, &read).contains("data"));
        };
        let is_full = || async { streams.publish("orders", &3_u64).await.is_err() };
        assert!(is_full().await, "it has read nothing yet");
        let groups = key(server.port, "*:groups");
        let was_seen_long_ago =
            || assert_eq!(redis_cli(server.port, &["HSET", &groups, "foreign:seen", "1"]), "0");
        was_seen_long_ago();
        read();
        assert!(is_full().await, "it is read now");
        was_seen_long_ago();
        assert!(!is_full().await, "no one reads it any more");
    });
}

#[test]
fn a_group_that_is_to_be_kept_for_a_month_is_not_robbed_in_a_week() {
    alone(async |server, streams| {
        streams.topic("orders").len_max(5).declare().await.unwrap();
        let day = Duration::from_secs(86_400);
        let monthly = || streams.subscribe("orders", "monthly").forget_after(30 * day);
        let mut group = Hearing::start(monthly(), all_done);
        let is_there = || async { !streams.lag("orders").await.unwrap().is_empty() };
        eventually("the group is there", is_there).await;
        // Before it has trimmed anything.
        group.stop().await;
        // Who says nothing of it changes nothing.
        let mut other = Hearing::start(streams.subscribe("orders", "other"), all_done);
        let are_two = || async { streams.lag("orders").await.unwrap().len() == 2 };
        eventually("another group is there", are_two).await;
        for number in 0..5 {
            publish(&streams, "orders", number).await;
        }
        assert_eq!(other.numbers(5).await, [0, 1, 2, 3, 4]);
        settled(&streams, "other").await;
        other.stop().await;
        let groups = key(server.port, "*:groups");
        let was_seen_before = |days: u32| {
            let then = std::time::SystemTime::now() - days * day;
            let then = then.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis().to_string();
            let set = ["HSET", &groups, "monthly:seen", &then];
            assert_eq!(redis_cli(server.port, &set), "0");
        };
        was_seen_before(8);
        let refused = streams.publish("orders", &5_u64).await.unwrap_err();
        assert!(refused.to_string().contains("monthly"), "{refused}");
        let trimmed = streams.trim("orders").await.unwrap();
        assert_eq!((trimmed.removed, trimmed.held_by.as_deref()), (0, Some("monthly")));
        let lag = streams.lag("orders").await.unwrap();
        assert!(lag.iter().all(|told| !told.is_forgotten), "{lag:?}");
        was_seen_before(31);
        publish(&streams, "orders", 5).await;
        was_seen_before(31);
        assert_eq!(streams.trim("orders").await.unwrap().forgotten, ["monthly"]);
    });
}

fn acl(port: u16, rule: &str) {
    assert_eq!(redis_cli(port, &["ACL", "SETUSER", "default", rule]), "OK");
}

fn numbers(pulled: Option<Pulled>) -> Vec<(u64, u32)> {
    let events = pulled.map(|pulled| pulled.events).unwrap_or_default();
    let number = |one: &PulledEvent| serde_json::from_slice(&one.event.data).expect("a number");
    events.iter().map(|one| (number(one), one.attempt)).collect()
}

#[test]
fn what_a_pull_found_and_cannot_hand_over_is_given_back_without_a_crash() {
    alone(async |server, streams| {
        publish(&streams, "orders", 1).await;
        let log = key(server.port, "*:log");
        redis_cli(server.port, &["XADD", &log, "*", "nothing", "to read"]);
        let puller = streams.pull("orders", "billing").lease(Duration::from_secs(600));
        // No dead letter can be written.
        acl(server.port, "-xadd");
        for _ in 0..3 {
            let refused = puller.pull(10, Duration::ZERO).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
        }
        acl(server.port, "+xadd");
        assert_eq!(numbers(puller.pull(10, Duration::ZERO).await.unwrap()), [(1, 1)]);
        let dead = streams.dead("orders", "billing").list(None, 10).await.unwrap();
        assert_eq!((dead.len(), dead[0].crashes), (1, 0));
    });
}

#[test]
fn a_pull_hands_over_what_it_found_although_it_cannot_leave_the_other_partitions() {
    alone(async |server, streams| {
        streams.topic("orders").partitions(4).declare().await.unwrap();
        publish(&streams, "orders", 1).await;
        let puller = streams.pull("orders", "billing").lease(Duration::from_secs(600));
        acl(server.port, "-xgroup|delconsumer");
        assert_eq!(numbers(puller.pull(10, Duration::ZERO).await.unwrap()), [(1, 1)]);
    });
}

#[test]
fn an_event_without_room_among_the_dead_keeps_no_other_from_a_pull() {
    alone(async |server, streams| {
        publish(&streams, "orders", 0).await;
        let log = key(server.port, "*:log");
        let dead = log.replace(":log", ":dead");
        let puller = streams.pull("orders", "billing").lease(Duration::from_secs(600));
        assert_eq!(numbers(puller.pull(1, Duration::ZERO).await.unwrap()), [(0, 1)]);
        let fill = "for i = 1, 100000 do redis.call('XADD', KEYS[1], '*', 'dl-id', '1-1') end";
        for (number, no_room) in
            [(1, ["SET", &dead, "of another type", "GET"]), (2, ["EVAL", fill, "1", &dead])]
        {
            redis_cli(server.port, &["DEL", &dead]);
            redis_cli(server.port, &no_room);
            redis_cli(server.port, &["XADD", &log, "*", "nothing", "to read"]);
            publish(&streams, "orders", number).await;
            // The first in the line, one at a time.
            let first = puller.pull(1, Duration::ZERO).await.unwrap();
            assert!(numbers(first).is_empty());
            let second = puller.pull(1, Duration::ZERO).await.unwrap();
            assert_eq!(numbers(second), [(number, 1)]);
        }
        let lag = streams.lag("orders").await.unwrap().remove(0);
        assert_eq!(lag.parked, 2, "they wait for room");
    });
}

#[test]
fn every_key_of_a_partition_is_in_one_slot_and_a_done_event_leaves_none() {
    alone(async |server, streams| {
        let mut billing =
            Hearing::start(streams.subscribe("orders", "billing").lease(LEASE), all_done);
        publish(&streams, "orders", 1).await;
        billing.numbers(1).await;
        billing.stop().await;
        let keys = redis_cli(server.port, &["KEYS", "*stream:{*"]);
        let tags = keys.lines().map(|key| key.split(['{', '}']).nth(1).unwrap().to_owned());
        let mut tags: Vec<String> = tags.collect();
        tags.dedup();
        assert!(tags.len() == 1 && tags[0].ends_with("orders:p0"), "{keys}");
        for nothing in [":due", ":tries", ":members", ":bodies", ":later", ":dead"] {
            assert!(!keys.lines().any(|key| key.ends_with(nothing)), "{nothing} in {keys}");
        }
        let consumers =
            redis_cli(server.port, &["XINFO", "CONSUMERS", &key(server.port, "*:log"), "billing"]);
        assert_eq!(consumers, "", "who has left is no consumer any more");
    });
}

#[test]
fn what_was_deleted_under_a_consumer_is_counted_as_lost() {
    alone(async |server, streams| {
        for number in 1..=3 {
            publish(&streams, "orders", number).await;
        }
        let log = key(server.port, "*:log");
        // A consumer that takes all and is never heard of again, and then someone who deletes.
        redis_cli(server.port, &["XGROUP", "CREATE", &log, "billing", "0"]);
        let read = ["XREADGROUP", "GROUP", "billing", "gone", "STREAMS", &log, ">"];
        redis_cli(server.port, &read);
        let second = redis_cli(server.port, &["XRANGE", &log, "-", "+", "COUNT", "2"]);
        let second = second.lines().filter(|line| line.contains('-')).nth(1).unwrap().to_owned();
        assert_eq!(redis_cli(server.port, &["XDEL", &log, &second]), "1");
        let mut billing =
            Hearing::start(streams.subscribe("orders", "billing").lease(LEASE), all_done);
        assert_eq!(billing.numbers(2).await, [1, 3]);
        eventually("it is counted", || async {
            streams.look("orders").await.unwrap().unwrap().lost == 1
        })
        .await;
        billing.stop().await;
    });
}

#[test]
fn a_log_of_another_type_is_a_conflict() {
    alone(async |server, streams| {
        publish(&streams, "orders", 1).await;
        let log = key(server.port, "*:log");
        redis_cli(server.port, &["DEL", &log]);
        redis_cli(server.port, &["SET", &log, "no stream"]);
        let refused = streams.publish("orders", &2).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused:#}");
    });
}

#[test]
fn a_group_that_people_moved_back_is_not_moved_forward_by_what_is_known_of_it() {
    alone(async |server, streams| {
        let mut billing =
            Hearing::start(streams.subscribe("orders", "billing").lease(LEASE), all_done);
        for number in 1..=5 {
            publish(&streams, "orders", number).await;
        }
        assert_eq!(billing.numbers(5).await, [1, 2, 3, 4, 5]);
        eventually("all is acknowledged", || async {
            streams.lag("orders").await.unwrap()[0].held == 0
        })
        .await;
        streams.seek("orders", "billing", Seek::Start, Force::No).await.unwrap();
        // Whoever was waiting joins anew, with its checkpoints.
        redis_cli(server.port, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        assert_eq!(billing.numbers(5).await, [1, 2, 3, 4, 5]);
        billing.stop().await;
    });
}

#[test]
fn a_group_is_moved_in_one_step_however_much_it_holds() {
    alone(async |server, streams| {
        publish(&streams, "orders", 0).await;
        let log = key(server.port, "*:log");
        let many = "for i = 1, 10500 do redis.call('XADD', KEYS[1], '*', 'data', i) end";
        redis_cli(server.port, &["EVAL", many, "1", &log]);
        redis_cli(server.port, &["XGROUP", "CREATE", &log, "billing", "0"]);
        // All of it waits for a retry, under no lease.
        let take =
            "redis.call('XREADGROUP', 'GROUP', 'billing', '~parked', 'STREAMS', KEYS[1], '>')";
        let pending = || {
            let pending = redis_cli(server.port, &["XPENDING", &log, "billing"]);
            pending.lines().next().map(str::to_owned)
        };
        let scripts = || {
            let info = redis_cli(server.port, &["INFO", "commandstats"]);
            let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
            line.and_then(|line| line.split(',').next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        let seek = || async {
            let sought = streams.seek("orders", "billing", Seek::Start, Force::No).await.unwrap();
            assert_eq!(sought, GroupChange::Done);
        };
        // The server knows the script from here on.
        seek().await;
        let mut calls = Vec::new();
        for held in ["0", "10501"] {
            assert_eq!(pending().as_deref(), Some(held));
            let before = scripts();
            seek().await;
            calls.push(scripts() - before);
            assert_eq!(pending().as_deref(), Some("0"));
            redis_cli(server.port, &["EVAL", take, "1", &log]);
        }
        assert_eq!(
            calls[0], calls[1],
            "between two steps some would be lost, and the rest refused"
        );
    });
}

#[test]
fn what_waits_is_counted_whatever_redis_believes() {
    alone(async |server, streams| {
        for number in 0..3 {
            publish(&streams, "orders", number).await;
        }
        let log = key(server.port, "*:log");
        let cli = |command: &str| {
            let words = command.split(' ').map(|word| if word == "LOG" { &log } else { word });
            redis_cli(server.port, &words.collect::<Vec<_>>())
        };
        let waiting = || async {
            let told = streams.lag("orders").await.unwrap().remove(0).waiting;
            (told.n, told.is_exact)
        };
        let lag = || cli("XINFO GROUPS LOG").lines().last().map(str::to_owned);
        // As it is after some restarts.
        cli("XGROUP CREATE LOG billing $ ENTRIESREAD 1");
        assert_eq!(lag().as_deref(), Some("2"), "it is wrong");
        assert_eq!(waiting().await, (0, true));
        assert_eq!(lag().as_deref(), Some("0"), "it is put right");
        let last = cli("XREVRANGE LOG + - COUNT 1");
        let last = last.lines().next().unwrap();
        assert_eq!(cli(&format!("XSETID LOG {last} ENTRIESADDED 1000000")), "OK");
        cli(&format!("XGROUP SETID LOG billing {last} ENTRIESREAD 1"));
        for number in 3..8 {
            publish(&streams, "orders", number).await;
        }
        assert_eq!(lag().as_deref(), Some("1000004"));
        assert_eq!(waiting().await, (5, true));
        streams.publish_many("orders", 8..200_u64).await.unwrap();
        assert_eq!(waiting().await, (200, false), "no more than are there");
        // Where it has no count at all, as after a seek.
        let middle = cli("XRANGE LOG - + COUNT 40");
        let ids: Vec<&str> =
            middle.lines().filter(|line| line.ends_with(char::is_numeric)).collect();
        let middle = ids.iter().rfind(|line| line.contains('-')).unwrap();
        cli(&format!("XGROUP SETID LOG billing {middle}"));
        assert_eq!(lag().as_deref(), Some("lag"), "there is none");
        let (about, is_exact) = waiting().await;
        assert!((100..=200).contains(&about) && !is_exact, "{about}");
        // Few, and long: they are not all read to be counted.
        cli("XTRIM LOG MAXLEN 0");
        let long = "x".repeat(30_000);
        streams.publish_many("orders", vec![long.clone(); 20]).await.unwrap();
        cli(&format!("XGROUP SETID LOG billing {} ENTRIESREAD 1", ids[0]));
        assert_eq!(waiting().await, (20, true), "it has read none that is there");
        let first = cli("XRANGE LOG - + COUNT 1");
        cli(&format!("XGROUP SETID LOG billing {} ENTRIESREAD 1", first.lines().next().unwrap()));
        assert_eq!(
            waiting().await,
            (20, false),
            "more than are counted, and no more than are there"
        );
        cli("XTRIM LOG MAXLEN 0");
        publish(&streams, "orders", 0).await;
        publish(&streams, "orders", 1).await;
        let short = cli("XRANGE LOG - + COUNT 1");
        streams.publish_many("orders", vec![long; 20]).await.unwrap();
        let last = cli("XREVRANGE LOG + - COUNT 1");
        cli(&format!("XGROUP SETID LOG billing {} ENTRIESREAD 1", short.lines().next().unwrap()));
        let (about, is_exact) = waiting().await;
        assert!((4..=22).contains(&about) && !is_exact, "a short one says nothing of the next");
        cli(&format!("XGROUP SETID LOG billing {} ENTRIESREAD 1", last.lines().next().unwrap()));
        assert_eq!(waiting().await, (0, true));
        // What no one can have read up to.
        cli("XGROUP SETID LOG billing 18446744073709551615-18446744073709551615");
        assert_eq!(waiting().await, (0, true));
    });
}

#[test]
fn a_delayed_event_and_a_dedup_id_are_kept_by_redis() {
    alone(async |server, streams| {
        let later = streams.publish("orders", &1).delay(Duration::from_secs(3_600)).dedup("a b{c}");
        assert!(matches!(later.await.unwrap(), Published::Later { .. }));
        let again = at(server.port).await;
        let again = again.publish("orders", &1).dedup("a b{c}").await.unwrap();
        assert!(matches!(again, Published::Duplicate(None)), "{again:?}");
        assert_eq!(redis_cli(server.port, &["ZCARD", &key(server.port, "*:later")]), "1");
        assert_eq!(redis_cli(server.port, &["HLEN", &key(server.port, "*:bodies")]), "1");
        let left: i64 =
            redis_cli(server.port, &["PTTL", &key(server.port, "*:dup:*")]).parse().unwrap();
        assert!((1..=600_000).contains(&left), "{left} ms");
    });
}

/// A server, and a log of this test alone.
struct Raw(u16, String);

impl Raw {
    async fn servers() -> [Self; 2] {
        let ports = blocking(|| [SHARED_REDIS.port, SHARED_VALKEY.port]).await;
        ports.map(|port| Self(port, format!("facts:{}", std::process::id())))
    }

    /// The reply to a command, in which `LOG` is the log; this one is named apart from those of other tests.
    fn call(&self, test: &str, command: &str) -> String {
        let log = format!("{}:{test}", self.1);
        let words = command.split(' ').map(|word| if word == "LOG" { log.as_str() } else { word });
        redis_cli(self.0, &words.collect::<Vec<_>>())
    }
}

#[test]
fn the_server_does_not_look_at_whose_an_entry_is() {
    keep(|| async {
        for raw in Raw::servers().await {
            let call = |command: &str| raw.call("own", command);
            call("XGROUP CREATE LOG g 0 MKSTREAM");
            call("XADD LOG 5-1 data 1");
            call("XREADGROUP GROUP g a STREAMS LOG >");
            assert_eq!(call("XCLAIM LOG g b 0 5-1 JUSTID"), "5-1", "from anyone");
            assert_eq!(call("XACK LOG g 5-1"), "1", "by anyone");
            assert_eq!(call("XACK LOG g 5-1"), "0");
            call("DEL LOG");
        }
    });
}

#[test]
fn the_server_drops_what_was_deleted_without_a_word() {
    keep(|| async {
        for raw in Raw::servers().await {
            let call = |command: &str| raw.call("deleted", command);
            call("XGROUP CREATE LOG g 0 MKSTREAM");
            call("XADD LOG 5-1 data 1");
            call("XREADGROUP GROUP g a STREAMS LOG >");
            call("XDEL LOG 5-1");
            let history = call("XREADGROUP GROUP g a STREAMS LOG 0");
            assert!(history.contains("5-1") && !history.contains("data"), "{history}");
            assert_eq!(call("XCLAIM LOG g b 0 5-1 JUSTID"), "");
            assert_eq!(call("XPENDING LOG g").lines().next(), Some("0"));
            // And what a consumer has goes with it.
            call("XADD LOG 6-1 data 1");
            call("XREADGROUP GROUP g a STREAMS LOG >");
            assert_eq!(call("XGROUP DELCONSUMER LOG g a"), "1");
            assert_eq!(call("XPENDING LOG g").lines().next(), Some("0"));
            call("DEL LOG");
        }
    });
}

#[test]
fn the_server_says_that_a_group_is_gone_in_words_that_are_known() {
    keep(|| async {
        for raw in Raw::servers().await {
            let call = |command: &str| raw.call("gone", command);
            for command in
                ["XPENDING LOG g", "XCLAIM LOG g a 0 5-1", "XREADGROUP GROUP g a STREAMS LOG >"]
            {
                let told = call(command);
                assert!(told.starts_with("NOGROUP"), "{command}: {told}");
            }
            assert!(call("XINFO GROUPS LOG").contains("no such key"));
            assert!(call("XGROUP CREATECONSUMER LOG g a").contains("requires the key to exist"));
            assert_eq!(call("XACK LOG g 5-1"), "0");
            call("XGROUP CREATE LOG g 0 MKSTREAM");
            for command in ["XGROUP DESTROY LOG g", "DEL LOG"] {
                call("XGROUP CREATE LOG g 0 MKSTREAM");
                let (port, log) = (raw.0, format!("{}:gone", raw.1));
                let blocked = tokio::task::spawn_blocking(move || {
                    let read = [
                        "XREADGROUP",
                        "GROUP",
                        "g",
                        "waits",
                        "BLOCK",
                        "20000",
                        "STREAMS",
                        &log,
                        ">",
                    ];
                    redis_cli(port, &read)
                });
                // Sinew's own connections have names.
                eventually("it waits", || async {
                    let clients = redis_cli(port, &["CLIENT", "LIST"]);
                    clients.lines().any(|client| {
                        client.contains(" name= ") && client.contains("cmd=xreadgroup")
                    })
                })
                .await;
                call(command);
                let told = blocked.await.unwrap();
                let is_known = ["NOGROUP", "UNBLOCKED"].iter().any(|word| told.starts_with(word));
                assert!(is_known, "{command}: {told}");
            }
        }
    });
}

#[test]
fn the_server_trims_what_is_pending_and_keeps_whole_nodes() {
    keep(|| async {
        for raw in Raw::servers().await {
            let call = |command: &str| raw.call("trim", command);
            call("XGROUP CREATE LOG g 0 MKSTREAM");
            for id in 1..=5 {
                call(&format!("XADD LOG {id}-1 data 1"));
            }
            call("XREADGROUP GROUP g a STREAMS LOG >");
            assert_eq!(call("XTRIM LOG MINID ~ 4-1"), "0", "a node has more");
            assert_eq!(call("XTRIM LOG MINID = 4-1"), "3", "although they are pending");
            assert_eq!(call("XPENDING LOG g").lines().next(), Some("5"));
            call("DEL LOG");
        }
    });
}
