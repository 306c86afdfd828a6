//! Redis has lost the flags: who still knows them puts them back with the first change.

use std::time::Duration;

use serde_json::json;
use sinew::flag::{Expected, Flag, Flags, FlagsState, Reason, Segment};
use sinew::{Error, ErrorKind, Result, Sinew};

use crate::flag::{ada, for_all_but, open};
use crate::laws::{LAW_MAX, eventually, keep, keep_for};
use crate::outage::{blocking, down, process_at};
use crate::world::{Proxy, Server, redis_cli, start_redis, start_redis_on, temporary_folder};

/// Every kind of change that there is.
const CHANGES: [&str; 11] = [
    "put a new one",
    "put by revision",
    "put as it is",
    "edit",
    "kill",
    "kill again",
    "revive",
    "remove",
    "roll back",
    "put a segment",
    "remove a segment",
];

async fn make(change: &str, flags: &Flags) -> Result<()> {
    let one = flags.get("one").expect("it is known");
    let expected = Expected::Revision(one.revision);
    match change {
        "put a new one" => {
            flags.put("three", Flag::bool(), Expected::Absent, "bob").await.map(drop)
        }
        "put by revision" => flags.put("one", Flag::bool(), expected, "bob").await.map(drop),
        "put as it is" => flags.put("one", Flag::clone(&one), expected, "bob").await.map(drop),
        "edit" => flags.edit("one").owner("growth").by("bob").save().await.map(drop),
        "kill" => flags.kill("one", "bob").await.map(drop),
        "kill again" => flags.kill("killed", "bob").await.map(drop),
        "revive" => flags.revive("killed", "bob").await.map(drop),
        "remove" => flags.remove("one", expected, "bob").await.map(drop),
        "roll back" => {
            let last = flags.history(Some("one"), 1).await?.remove(0);
            flags.roll_back("one", &last.id, Expected::Any, "bob").await.map(drop)
        }
        "put a segment" => flags.put_segment("gamma", segment(), "bob").await.map(drop),
        "remove a segment" => flags.remove_segment("beta", "bob").await.map(drop),
        unknown => panic!("{unknown}"),
    }
}

fn segment() -> Segment {
    let condition = json!({ "attribute": "plan", "op": "is", "values": ["pro"] });
    serde_json::from_value(json!({ "any": [[condition]] })).expect("a segment")
}

/// Three flags and a segment, one of the flags off for everyone.
async fn fill(flags: &Flags) {
    for key in ["one", "two", "killed"] {
        flags.put(key, for_all_but("eve"), Expected::Absent, "ada").await.unwrap();
    }
    flags.edit("one").owner("ada").by("ada").save().await.unwrap();
    flags.put_segment("beta", segment(), "ada").await.unwrap();
    flags.kill("killed", "ada").await.unwrap();
}

async fn in_env(sinew: &Sinew, env: &str) -> Flags {
    sinew.flags().env(env).open().await.expect("flags")
}

fn is_lost(flags: &Flags) -> bool {
    matches!(flags.state(), FlagsState::Lost { .. })
}

async fn lost(flags: &Flags) {
    eventually("the loss is noticed", || async { is_lost(flags) }).await;
}

/// Waits until two processes know the same.
async fn agree(one: &Flags, other: &Flags) {
    let is_same = || async { one.revision() == other.revision() };
    eventually("they know the same", is_same).await;
    assert_eq!((one.list(), one.segments()), (other.list(), other.segments()));
    assert_eq!((one.state(), other.state()), (FlagsState::Live, FlagsState::Live));
}

/// As soon as Redis takes changes again.
async fn kill(flags: &Flags, key: &str) {
    eventually("it is killed", || async { flags.kill(key, "bob").await.is_ok() }).await;
}

fn keys(flags: &Flags) -> Vec<String> {
    flags.list().into_iter().map(|(key, _)| key).collect()
}

fn kind(error: Error) -> ErrorKind {
    error.kind()
}

async fn flush(server: &Server) {
    let port = server.port;
    assert_eq!(blocking(move || redis_cli(port, &["FLUSHALL"])).await, "OK");
}

#[test]
fn the_first_change_after_a_loss_puts_all_flags_back_whatever_it_is() {
    keep_for(LAW_MAX * 2, || async {
        let server = blocking(start_redis).await;
        let sinews = [
            process_at(server.port).await,
            process_at(server.port).await,
            process_at(server.port).await,
        ];
        for (round, change) in CHANGES.into_iter().enumerate() {
            let env = format!("env-{round}");
            let (here, there) = (in_env(&sinews[0], &env).await, in_env(&sinews[1], &env).await);
            fill(&here).await;
            agree(&here, &there).await;
            let (before, version) = (here.list(), here.version());
            match change {
                // What is taken back has to be remembered.
                "roll back" => {
                    let document = format!("_:flag:{{_:{env}}}:doc");
                    assert_eq!(redis_cli(server.port, &["DEL", &document]), "1");
                }
                _ => flush(&server).await,
            }
            // Who has noticed and who has not do the same.
            if round % 2 == 0 {
                lost(&here).await;
                lost(&there).await;
                assert_eq!(here.list(), before, "the last known hold");
            }
            make(change, &here).await.unwrap_or_else(|error| panic!("{change}: {error:#}"));

            assert!(here.version() > version, "{change}");
            for (key, flag) in &before {
                let now = here.get(key);
                match (change, key.as_str()) {
                    ("remove", "one") => assert_eq!(now, None),
                    (_, "two") => assert_eq!(now.as_ref(), Some(flag), "{change}"),
                    _ => assert!(now.is_some(), "{change} {key}"),
                }
            }
            agree(&here, &there).await;
            let latecomer = in_env(&sinews[2], &env).await;
            agree(&here, &latecomer).await;
            let segments = here.segments().len();
            let expected = match change {
                "put a segment" => 2,
                "remove a segment" => 0,
                _ => 1,
            };
            assert_eq!(segments, expected, "{change}");

            let newest = latecomer.history(None, 1).await.unwrap().remove(0);
            let back = if change == "remove" { 2 } else { 3 };
            assert_eq!((newest.put_back, newest.by.as_str()), (Some(back), "bob"), "{change}");
            there.edit("two").describe("as ever").by("eve").save().await.unwrap();
            let newest = there.history(None, 1).await.unwrap().remove(0);
            assert_eq!((newest.put_back, newest.by.as_str()), (None, "eve"), "{change}");
        }
    });
}

#[test]
fn after_a_loss_a_change_expects_what_was_known_last() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let flags = open(&process_at(server.port).await).await;
        fill(&flags).await;
        let known = flags.get("one").unwrap().revision;
        flush(&server).await;
        for expected in [Expected::Absent, Expected::Revision(known - 1)] {
            let refused = flags.put("one", Flag::bool(), expected, "bob").await;
            assert_eq!(refused.map_err(kind), Err(ErrorKind::Conflict), "{expected:?}");
        }
        let unknown = flags.kill("unknown", "bob").await;
        assert_eq!(unknown.map_err(kind), Err(ErrorKind::Conflict));
        let nothing = flags.remove("unknown", Expected::Any, "bob").await.unwrap();
        assert_eq!((nothing.revision, nothing.before), (0, None));
        assert_eq!(redis_cli(server.port, &["DBSIZE"]), "0", "what is no change writes nothing");

        let before = flags.get("one").unwrap();
        let expected = Expected::Revision(known);
        let put = flags.put("one", for_all_but("x"), expected, "bob").await.unwrap();
        assert_eq!(put.before.as_ref(), Some(&*before));
        assert!(put.revision > known);
        assert_eq!(keys(&flags), ["killed", "one", "two"]);
    });
}

#[test]
fn of_two_who_change_first_after_a_loss_neither_loses_the_others_change() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let (here, there) = (
            open(&process_at(server.port).await).await,
            open(&process_at(server.port).await).await,
        );
        fill(&here).await;
        for round in 0..20 {
            agree(&here, &there).await;
            let revision = there.get("two").unwrap().revision;
            flush(&server).await;
            let text = round.to_string();
            let (one, two) = tokio::join!(
                here.edit("one").describe(text.clone()).by("ada").save(),
                there.put("two", for_all_but(&text), Expected::Revision(revision), "bob"),
            );
            let (one, two) = (one.unwrap().after.unwrap(), two.unwrap().after.unwrap());
            agree(&here, &there).await;
            assert_eq!(here.get("one").as_deref(), Some(&one));
            assert_eq!(here.get("two").as_deref(), Some(&two));
            assert_eq!(keys(&here), ["killed", "one", "two"]);
            let history = here.history(None, 10).await.unwrap();
            let put_back: Vec<_> = history.iter().map(|change| change.put_back).collect();
            assert_eq!(put_back, [None, Some(3)], "once, and by who came first");
        }
    });
}

#[test]
fn whoever_changes_a_flag_first_after_a_loss_decides_what_all_know() {
    keep(|| async {
        let (server, proxy) = blocking(|| {
            let server = start_redis();
            let proxy = Proxy::start(server.port);
            (server, proxy)
        })
        .await;
        let builder = Sinew::builder().deadline(Duration::from_secs(10));
        let sinew = builder.connect(&format!("redis://127.0.0.1:{}", proxy.port)).await.unwrap();
        let behind = open(&sinew).await;
        let direct = open(&process_at(server.port).await).await;
        fill(&direct).await;
        agree(&behind, &direct).await;
        proxy.refuse();
        down(&sinew).await;
        direct.put("late", for_all_but("eve"), Expected::Absent, "ada").await.unwrap();
        let newest = direct.version();
        flush(&server).await;
        lost(&direct).await;
        proxy.pass();
        lost(&behind).await;
        // It knows an older version than the other, and comes first.
        kill(&behind, "one").await;
        assert!(behind.version() > newest);
        agree(&behind, &direct).await;
        assert_eq!(keys(&direct), ["killed", "one", "two"]);

        // One that knows nothing at all counts too: it cannot tell a loss from a beginning.
        flush(&server).await;
        lost(&behind).await;
        lost(&direct).await;
        let newest = direct.version();
        let stranger = open(&process_at(server.port).await).await;
        assert!(stranger.list().is_empty());
        let refused = stranger.kill("one", "eve").await;
        assert_eq!(refused.map_err(kind), Err(ErrorKind::Conflict));
        stranger.put("only", for_all_but("eve"), Expected::Absent, "eve").await.unwrap();
        assert!(stranger.version() > newest);
        for flags in [&behind, &direct] {
            agree(&stranger, flags).await;
            assert_eq!(keys(flags), ["only"]);
        }
    });
}

#[test]
fn what_one_handle_of_a_process_knows_comes_back_by_any_other() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let sinew = process_at(server.port).await;
        let flags = open(&sinew).await;
        fill(&flags).await;
        flush(&server).await;
        let late = open(&sinew).await;
        assert!(late.list().is_empty(), "it finds none");
        late.kill("one", "bob").await.unwrap();
        agree(&late, &flags).await;
        assert_eq!(keys(&flags), ["killed", "one", "two"]);
        assert!(!flags.enabled("one", &ada()) && flags.enabled("two", &ada()));
    });
}

#[test]
fn an_outage_and_a_loss_are_told_apart() {
    keep_for(LAW_MAX * 2, || async {
        let mut server = blocking(start_redis).await;
        let port = server.port;
        let flags = open(&process_at(port).await).await;
        fill(&flags).await;
        flush(&server).await;
        lost(&flags).await;
        assert_eq!(flags.state().name(), "lost");
        assert_eq!(flags.evaluate("two", &ada(), false).reason, Reason::Stale);
        let server = blocking(move || {
            server.kill();
            server.wait_gone();
            server
        })
        .await;
        let is_away = || async { matches!(flags.state(), FlagsState::Stale { .. }) };
        eventually("it does not answer", is_away).await;
        assert!(flags.enabled("two", &ada()));
        let error = flags.kill("two", "bob").await.unwrap_err();
        assert!(error.is_retryable(), "{error:#}");
        drop(server);

        let server = blocking(move || start_redis_on(port, &[])).await;
        lost(&flags).await;
        kill(&flags, "two").await;
        assert_eq!(flags.state(), FlagsState::Live);
        assert!(!flags.enabled("two", &ada()) && flags.enabled("one", &ada()));
        agree(&flags, &open(&process_at(port).await).await).await;
        drop(server);
    });
}

#[test]
fn an_embedded_store_that_begins_anew_gets_back_what_the_disk_has() {
    keep(|| async {
        let folder = temporary_folder("flags");
        let path = folder.join("prod.flags");
        let start = async || {
            let builder = Sinew::embedded().flags().env("prod").disk_cache(&path);
            builder.open().await.unwrap()
        };
        let flags = start().await;
        fill(&flags).await;
        let version = flags.version();
        let is_copied = || async {
            let copy = std::fs::read_to_string(&path).unwrap_or_default();
            copy.lines().next().is_some_and(|head| head.contains(&version.to_string()))
        };
        eventually("it is copied", is_copied).await;
        drop(flags);
        let flags = start().await;
        lost(&flags).await;
        assert!(flags.enabled("two", &ada()));
        flags.kill("one", "bob").await.unwrap();
        assert_eq!((flags.state(), keys(&flags).len()), (FlagsState::Live, 3));
        assert!(flags.version() > version);
        let newest = flags.history(None, 1).await.unwrap().remove(0);
        assert_eq!((newest.put_back, newest.by.as_str()), (Some(3), "bob"));
        let _ = std::fs::remove_dir_all(folder);
    });
}
