//! Plain keys that people set by hand, and how processes hear of changes, whatever goes wrong.

use std::time::Duration;

use sinew::flag::{EvalContext, Expected, Flag, Flags, FlagsState, Reason};
use sinew::{Sinew, Status};

use crate::flag::{ada, for_all_but, open};
use crate::laws::{LAW_MAX, eventually, keep, keep_for};
use crate::outage::{blocking, connect, process_at};
use crate::world::{
    Cluster, Proxy, SHARED_CLUSTER, SHARED_REDIS, Sentinels, Server, Store, redis_cli, start_redis,
    wait_until,
};

/// A person's redis-cli, on one server.
fn cli(port: u16, words: &[&str]) {
    let said = redis_cli(port, words);
    assert!(!said.contains("ERR"), "{words:?}: {said}");
}

async fn is_on(flags: &Flags, key: &str, cx: &EvalContext) {
    eventually("it is on", || async { flags.enabled(key, cx) }).await;
}

async fn is_off(flags: &Flags, key: &str, cx: &EvalContext) {
    eventually("it is off", || async { !flags.enabled(key, cx) }).await;
}

/// Two processes that watch one tenant's flags, and what its keys begin with.
async fn on_the_shared_redis() -> ([Flags; 2], String) {
    let store = Store::redis().await;
    let flags = [open(&store.tenant("acme").await).await, open(&store.tenant("acme").await).await];
    (flags, format!("{}acme:", store.prefix))
}

#[test]
fn a_plain_key_set_by_hand_holds_in_all_processes_until_it_ends_by_itself() {
    keep(|| async {
        let (flags, scope) = on_the_shared_redis().await;
        let key = format!("{scope}feature:advanced-ai-models:global");
        let before = flags[0].revision();
        cli(SHARED_REDIS.port, &["SET", &key, "True", "EX", "8"]);
        for flags in &flags {
            is_on(flags, "advanced-ai-models", &ada()).await;
            assert_ne!(flags.revision(), before);
            let overlays = flags.overlays();
            assert_eq!((overlays.len(), overlays[0].value, &overlays[0].user), (1, true, &None));
            assert_eq!(overlays[0].key, "advanced-ai-models");
            assert!(overlays[0].expires_at.is_some());
        }
        let mut changes = flags[0].changes();
        for flags in &flags {
            is_off(flags, "advanced-ai-models", &ada()).await;
            eventually("it is gone", || async { flags.overlays().is_empty() }).await;
            eventually("all is as before", || async { flags.revision() == before }).await;
        }
        assert_eq!(changes.next().await, Some(()));
    });
}

#[test]
fn plain_keys_stand_above_the_document_and_a_users_own_above_everyones() {
    keep(|| async {
        let (flags, scope) = on_the_shared_redis().await;
        let set = |name: &str, value: &str| {
            cli(SHARED_REDIS.port, &["SET", &format!("{scope}feature:{name}"), value]);
        };
        let eve = EvalContext::user("eve@example.com:1");
        flags[0].put("new-ui", Flag::bool(), Expected::Any, "bob").await.unwrap();
        set("new-ui:global", "TRUE");
        is_on(&flags[1], "new-ui", &ada()).await;
        let why = flags[1].evaluate("new-ui", &ada(), false).reason;
        assert_eq!(why, Reason::Static);
        set("new-ui:user:eve@example.com:1", "False");
        is_off(&flags[1], "new-ui", &eve).await;
        assert_eq!(flags[1].evaluate("new-ui", &eve, true).reason, Reason::TargetingMatch);
        assert!(flags[1].enabled("new-ui", &ada()));
        // The kill switch alone stands above them.
        is_on(&flags[0], "new-ui", &ada()).await;
        flags[0].kill("new-ui", "bob").await.unwrap();
        assert!(!flags[0].enabled("new-ui", &ada()));
        flags[0].revive("new-ui", "bob").await.unwrap();
        cli(SHARED_REDIS.port, &["DEL", &format!("{scope}feature:new-ui:global")]);
        is_off(&flags[0], "new-ui", &ada()).await;
    });
}

#[test]
fn what_is_a_plain_key_alone_can_be_killed() {
    keep(|| async {
        let (flags, scope) = on_the_shared_redis().await;
        let key = format!("{scope}feature:by-hand:global");
        cli(SHARED_REDIS.port, &["SET", &key, "true"]);
        for flags in &flags {
            is_on(flags, "by-hand", &ada()).await;
        }
        let refused = flags[0].revive("by-hand", "bob").await.unwrap_err();
        assert_eq!(refused.kind(), sinew::ErrorKind::Conflict, "{refused:#}");
        let killed = flags[0].kill("by-hand", "bob").await.unwrap();
        assert!(killed.before.is_none() && killed.after.is_some_and(|flag| flag.killed));
        assert!(!flags[0].enabled("by-hand", &ada()));
        is_off(&flags[1], "by-hand", &ada()).await;
        flags[0].revive("by-hand", "bob").await.unwrap();
        assert!(flags[0].enabled("by-hand", &ada()), "the key decides again");
        cli(SHARED_REDIS.port, &["DEL", &key]);
        for flags in &flags {
            let is_codes = || async {
                flags.enabled_or("by-hand", &ada(), true) && !flags.enabled("by-hand", &ada())
            };
            eventually("the code decides again", is_codes).await;
        }
    });
}

#[test]
fn a_plain_key_that_was_not_found_yet_is_killed_by_its_name() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let user = |rules: &[&str]| {
            let words = [&["ACL", "SETUSER", "blind"], rules].concat();
            assert_eq!(redis_cli(server.port, &words), "OK");
        };
        user(&["on", ">pass", "~*", "&*", "+@all"]);
        for (name, value) in [("by-hand", "True"), ("neither", "maybe")] {
            cli(server.port, &["SET", &format!("_:feature:{name}:global"), value]);
        }
        let url = format!("redis://blind:pass@127.0.0.1:{}", server.port);
        let builder = Sinew::builder().deadline(Duration::from_secs(10));
        let sinew = builder.connect(&url).await.unwrap();
        user(&["-scan"]);
        let flags = open(&sinew).await;
        assert!(flags.overlays().is_empty(), "it cannot look for them");
        let killed = flags.kill("by-hand", "bob").await.unwrap();
        assert!(killed.before.is_none() && killed.after.is_some_and(|flag| flag.killed));
        for key in ["neither", "unknown"] {
            let refused = flags.kill(key, "bob").await.unwrap_err();
            assert_eq!(refused.kind(), sinew::ErrorKind::Conflict, "{refused:#}");
        }
        let other = open(&process_at(server.port).await).await;
        assert!(!other.enabled_or("by-hand", &ada(), true));
    });
}

#[test]
fn what_is_no_plain_key_counts_as_if_it_were_not_there() {
    keep(|| async {
        let (flags, scope) = on_the_shared_redis().await;
        let port = SHARED_REDIS.port;
        let key = |name: &str| format!("{scope}feature:{name}");
        for (name, value) in [
            ("one:global", "1"),
            ("one:user:ada", "yes"),
            ("one", "true"),
            ("one:everyone", "true"),
            ("one:user:", "true"),
            (":global", "true"),
        ] {
            cli(port, &["SET", &key(name), value]);
        }
        cli(port, &["LPUSH", &key("two:global"), "true"]);
        cli(port, &["SET", &key("three:global"), "true"]);
        cli(port, &["SET", &key("three:global"), &"true".repeat(1_000)]);
        // Told after the others, and read with them.
        cli(port, &["SET", &key("last:global"), "true"]);
        for flags in [&flags[0], &open_beside(&flags[0], &scope).await] {
            is_on(flags, "last", &ada()).await;
            for name in ["one", "two", "three", ""] {
                is_off(flags, name, &ada()).await;
            }
            assert_eq!(flags.overlays().len(), 1);
        }
        cli(port, &["SET", &key("one:global"), "true"]);
        is_on(&flags[1], "one", &ada()).await;
    });
}

#[test]
fn other_keys_that_begin_so_take_no_plain_keys_place() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let fill = "for i = 1, 150000 do redis.call('SET', KEYS[1] .. i, 'x') end";
        cli(server.port, &["EVAL", fill, "1", "_:feature:usage-"]);
        for flag in 0..20 {
            cli(server.port, &["SET", &format!("_:feature:flag-{flag}:global"), "true"]);
        }
        let flags = open(&process_at(server.port).await).await;
        for flag in 0..20 {
            is_on(&flags, &format!("flag-{flag}"), &ada()).await;
        }
        assert_eq!(flags.overlays().len(), 20);
    });
}

/// One that comes when all is there already.
async fn open_beside(flags: &Flags, scope: &str) -> Flags {
    let prefix = scope.strip_suffix("acme:").expect("a prefix");
    let url = format!("redis://127.0.0.1:{}", SHARED_REDIS.port);
    let builder = Sinew::builder().prefix(prefix).deadline(Duration::from_secs(10));
    let late = open(&builder.connect(&url).await.unwrap().tenant("acme").unwrap()).await;
    assert_eq!(late.version(), flags.version());
    late
}

#[test]
fn plain_keys_of_others_are_not_ours_and_those_elsewhere_are_if_we_say_so() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let sinew = process_at(server.port).await;
        let (acme, other) = (sinew.tenant("acme").unwrap(), sinew.tenant("other").unwrap());
        let seed = "feature:";
        let elsewhere = acme.flags().overlay_prefix(seed).open().await.unwrap();
        // All that begins with it is told of by one watch already.
        let within = other.flags().overlay_prefix("feature:x-").open().await.unwrap();
        let (acme, other) = (open(&acme).await, open(&other).await);
        cli(server.port, &["SET", "feature:x-ui:global", "true", "EX", "604800"]);
        cli(server.port, &["SET", "acme:feature:own:global", "true"]);
        is_on(&elsewhere, "x-ui", &ada()).await;
        is_on(&within, "ui", &ada()).await;
        is_on(&acme, "own", &ada()).await;
        for (flags, name) in
            [(&acme, "x-ui"), (&other, "x-ui"), (&other, "own"), (&elsewhere, "own")]
        {
            assert!(!flags.enabled(name, &ada()), "{name}");
        }
    });
}

#[test]
fn every_primary_of_a_cluster_tells() {
    keep(|| async {
        let store = Store::cluster().await;
        let flags =
            [open(&store.tenant("acme").await).await, open(&store.tenant("acme").await).await];
        let port = SHARED_CLUSTER.nodes[0].server.port;
        for user in 0..30 {
            let key = format!("{}acme:feature:new-ui:user:{user}", store.prefix);
            // As `redis-cli -c` goes where the key is.
            cli(port, &["-c", "SET", &key, "true"]);
        }
        for user in 0..30 {
            for flags in &flags {
                is_on(flags, "new-ui", &EvalContext::user(user.to_string())).await;
            }
        }
        assert!(!flags[0].enabled("new-ui", &ada()));
    });
}

#[test]
fn however_many_flags_a_process_watches_one_connection_tells_of_them() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let sinew = process_at(server.port).await;
        let mut all = Vec::new();
        for tenant in 0..20 {
            all.push(open(&sinew.tenant(tenant.to_string()).unwrap()).await);
        }
        for tenant in 0..20 {
            let key = format!("{tenant}:feature:new-ui:user:{tenant}");
            cli(server.port, &["SET", &key, "true"]);
        }
        for (tenant, flags) in all.iter().enumerate() {
            is_on(flags, "new-ui", &EvalContext::user(tenant.to_string())).await;
            assert_eq!(flags.overlays().len(), 1);
        }
        assert_eq!(telling(&server), 1);
        all.truncate(1);
        cli(server.port, &["SET", "0:feature:new-ui:global", "true"]);
        is_on(&all[0], "new-ui", &ada()).await;
        all.clear();
        eventually("no one is told any more", || async { telling(&server) == 0 }).await;
    });
}

/// How many connections are told of all changes: `B` among their flags.
fn telling(server: &Server) -> usize {
    let clients = redis_cli(server.port, &["CLIENT", "LIST"]);
    let flags = clients.lines().filter_map(|line| line.split(" flags=").nth(1)?.split(' ').next());
    flags.filter(|flags| flags.contains('B')).count()
}

#[test]
fn what_no_one_tells_of_is_found_all_the_same() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let deaf =
            ["ACL", "SETUSER", "deaf", "on", ">pass", "~*", "&*", "+@all", "-client|tracking"];
        assert_eq!(redis_cli(server.port, &deaf), "OK");
        let url = format!("redis://deaf:pass@127.0.0.1:{}", server.port);
        let builder = Sinew::builder().deadline(Duration::from_secs(10));
        let deaf = open(&builder.connect(&url).await.unwrap()).await;
        let writer = open(&process_at(server.port).await).await;
        let written = writer.put("new-ui", for_all_but("eve"), Expected::Any, "bob").await.unwrap();
        is_on(&deaf, "new-ui", &ada()).await;
        assert_eq!(deaf.get("new-ui").as_deref(), written.after.as_ref());
    });
}

struct Behind {
    server: Server,
    proxy: Proxy,
    sinew: Sinew,
    flags: Flags,
    /// Goes to the server directly.
    writer: Flags,
}

async fn behind_a_proxy() -> Behind {
    let (server, proxy) = blocking(|| {
        let server = start_redis();
        let proxy = Proxy::start(server.port);
        (server, proxy)
    })
    .await;
    let sinew = Sinew::connect(&format!("redis://127.0.0.1:{}", proxy.port)).await.unwrap();
    let flags = open(&sinew).await;
    let writer = open(&process_at(server.port).await).await;
    Behind { server, proxy, sinew, flags, writer }
}

#[test]
fn what_changed_while_one_was_away_is_known_after_the_reconnect() {
    keep(|| async {
        let Behind { server, proxy, sinew, flags, writer } = behind_a_proxy().await;
        let key = "_:feature:by-hand:global";
        cli(server.port, &["SET", key, "true"]);
        is_on(&flags, "by-hand", &ada()).await;
        for (round, connection) in ["cut", "away", "half open"].into_iter().enumerate() {
            let name = format!("flag-{round}");
            match connection {
                "cut" => proxy.cut(),
                "away" => {
                    proxy.refuse();
                    eventually("it is away", || async { !matches!(sinew.status(), Status::Up) })
                        .await;
                }
                _ => proxy.half_open(),
            }
            writer.put(&name, for_all_but("eve"), Expected::Any, "bob").await.unwrap();
            let (hand, now_on) = if round % 2 == 0 { ("false", false) } else { ("true", true) };
            cli(server.port, &["SET", key, hand]);
            if connection == "away" {
                assert!(!flags.enabled(&name, &ada()), "no one could tell");
                proxy.pass();
            }
            is_on(&flags, &name, &ada()).await;
            let is_heard = || async { flags.enabled("by-hand", &ada()) == now_on };
            eventually("the plain key is heard of too", is_heard).await;
            assert_eq!(flags.state(), FlagsState::Live, "{connection}");
        }
    });
}

#[test]
fn what_the_store_says_counts_also_if_it_is_older() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let flags = open(&process_at(server.port).await).await;
        let other = open(&process_at(server.port).await).await;
        let first = flags.put("new-ui", for_all_but("eve"), Expected::Any, "bob").await.unwrap();
        let key = "_:flag:{_:prod}:doc";
        let body = redis_cli(server.port, &["HGET", key, "body"]);
        flags.kill("new-ui", "bob").await.unwrap();
        is_off(&other, "new-ui", &ada()).await;
        // As a replica that has missed the last write takes over.
        let version = first.revision.to_string();
        cli(server.port, &["HSET", key, "version", &version, "body", &body]);
        for flags in [&flags, &other] {
            is_on(flags, "new-ui", &ada()).await;
            assert_eq!(flags.version(), first.revision);
        }
        let next = other.kill("new-ui", "bob").await.unwrap();
        assert!(next.revision > first.revision);
        is_off(&flags, "new-ui", &ada()).await;
        // As another writes a version in place of one that was lost.
        let revision = flags.revision();
        cli(server.port, &["HSET", key, "body", &body]);
        for flags in [&flags, &other] {
            is_on(flags, "new-ui", &ada()).await;
            assert_eq!(flags.version(), next.revision);
            assert_ne!(flags.revision(), revision);
        }
    });
}

#[test]
fn flags_that_vanish_from_the_store_stay_as_they_were_known() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let flags = open(&process_at(server.port).await).await;
        flags.put("new-ui", for_all_but("eve"), Expected::Any, "bob").await.unwrap();
        cli(server.port, &["SET", "_:feature:by-hand:global", "true"]);
        is_on(&flags, "by-hand", &ada()).await;
        cli(server.port, &["FLUSHALL"]);
        let is_lost = || async { matches!(flags.state(), FlagsState::Lost { .. }) };
        eventually("they are called lost", is_lost).await;
        assert!(flags.enabled("new-ui", &ada()));
        assert_eq!(flags.evaluate("new-ui", &ada(), false).reason, Reason::Stale);
        is_off(&flags, "by-hand", &ada()).await;
        assert!(open(&connect(&server).await).await.list().is_empty(), "who comes now finds none");
    });
}

#[test]
fn garbage_in_the_store_changes_nothing_that_is_known() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let flags = open(&process_at(server.port).await).await;
        flags.put("new-ui", for_all_but("eve"), Expected::Any, "bob").await.unwrap();
        let key = "_:flag:{_:prod}:doc";
        let body = redis_cli(server.port, &["HGET", key, "body"]);
        // One flag that a later version has written, one that is none at all, and one of no revision.
        let others =
            r#"{"flags":{"later":{"type":"bool","dice":6},"worse":7,"bare":{"type":"bool"},"#;
        let mixed = body.replacen(r#"{"flags":{"#, others, 1);
        cli(server.port, &["HSET", key, "version", "5", "body", &mixed]);
        eventually("it is read", || async { flags.version() == 5 }).await;
        assert!(flags.enabled("new-ui", &ada()));
        assert_eq!(flags.list().len(), 2);
        for (key, kind) in
            [("later", sinew::ErrorKind::Corrupt), ("bare", sinew::ErrorKind::Conflict)]
        {
            let put = flags.put(key, for_all_but("eve"), Expected::Absent, "bob").await;
            assert_eq!(put.unwrap_err().kind(), kind, "{key} is there");
        }
        let refused = flags.kill("later", "bob").await.unwrap_err();
        assert_eq!(refused.kind(), sinew::ErrorKind::Corrupt, "{refused:#}");
        // Whoever changes another flag does not lose them.
        flags.put("other", Flag::bool(), Expected::Any, "bob").await.unwrap();
        let body = redis_cli(server.port, &["HGET", key, "body"]);
        assert!(body.contains(r#""dice":6"#));

        for words in [
            &["HSET", key, "version", "9", "body", "garbage"][..],
            &["HSET", key, "version", "18446744073709551615", "body", body.as_str()],
            &["HSET", key, "version", "007", "body", body.as_str()],
            &["HSET", key, "version", "0", "body", body.as_str()],
            &["SET", key, "mine"],
        ] {
            cli(server.port, words);
            let refused =
                flags.put("new-ui", Flag::bool(), Expected::Any, "bob").await.unwrap_err();
            assert_eq!(refused.kind(), sinew::ErrorKind::Corrupt, "{refused:#}");
            assert!(flags.enabled("new-ui", &ada()) && flags.get("other").is_some());
        }
        assert_eq!(redis_cli(server.port, &["GET", key]), "mine");
    });
}

#[test]
fn a_large_change_takes_no_more_of_the_history_than_it_needs() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let flags = open(&process_at(server.port).await).await;
        flags.put("new-ui", Flag::bool(), Expected::Any, "bob").await.unwrap();
        let (document, changes) = ("_:flag:{_:prod}:doc", "_:flag:{_:prod}:audit");
        let fill = "for _ = 1, tonumber(ARGV[2]) do redis.call('XADD', KEYS[1], '*', 'change', ARGV[1]) end";
        let fill = |count: &str| {
            cli(server.port, &["EVAL", fill, "1", changes, &"x".repeat(100), count]);
        };
        let kept = || redis_cli(server.port, &["XLEN", changes]);
        fill("2999");
        let large = |user: usize| (format!("{user:0>200}"), "on".to_owned());
        let mut draft = Flag::bool();
        draft.users = (0..5_000).map(large).collect();
        flags.put("new-ui", draft, Expected::Any, "bob").await.unwrap();
        assert_eq!(kept(), "3001", "nothing else is forgotten");
        assert_eq!(flags.history(None, 1).await.unwrap()[0].by, "bob");

        // Those of one flag are looked for among the last two thousand of all.
        let of_one = flags.history(Some("new-ui"), 10).await.unwrap();
        assert_eq!(of_one.len(), 1, "the first one is three thousand back");
        let first = flags.history(None, 1).await.unwrap();
        assert_eq!(
            flags.past_change("new-ui", &first[0].id).await.unwrap().as_ref(),
            first.first()
        );

        fill("7009");
        flags.kill("new-ui", "bob").await.unwrap();
        assert_eq!(kept(), "10000");
        // As many bytes too many as the next change is long: a dozen or so of the others make room.
        let len = ((256 << 20) - 1).to_string();
        cli(server.port, &["HSET", document, "changes_len", &len]);
        flags.edit("other").describe("y".repeat(1_000)).by("bob").save().await.unwrap();
        let kept: usize = kept().parse().unwrap();
        assert!((9_980..9_995).contains(&kept), "{kept}");
    });
}

#[test]
fn what_takes_the_place_of_a_killed_flag_that_cannot_be_read_is_killed() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let flags = open(&process_at(server.port).await).await;
        for user in ["eve", "cyd"] {
            flags.put("new-ui", for_all_but(user), Expected::Any, "ada").await.unwrap();
        }
        let changed = flags.history(Some("new-ui"), 1).await.unwrap().remove(0).id;
        // As a later version writes them.
        let later = r#"{"flags":{"new-ui":{"type":"bool","killed":true,"dice":6},
            "calm":{"type":"bool","dice":6}}}"#;
        let write = || cli(server.port, &["HSET", "_:flag:{_:prod}:doc", "body", later]);
        write();
        for (key, is_killed) in [("new-ui", true), ("calm", false)] {
            let put = flags.put(key, for_all_but("eve"), Expected::Any, "deploy").await.unwrap();
            assert_eq!(put.after.map(|flag| flag.killed), Some(is_killed), "{key}");
        }
        assert!(!flags.enabled("new-ui", &ada()) && flags.enabled("calm", &ada()));
        // Whoever takes a change back says so.
        write();
        flags.roll_back("new-ui", &changed, Expected::Any, "bob").await.unwrap();
        assert!(flags.enabled("new-ui", &ada()));
    });
}

#[test]
fn what_was_written_before_it_was_refused_can_be_edited() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let flags = open(&process_at(server.port).await).await;
        let body = r#"{"flags":{"new-ui":{"type":"bool","owner":"","description":""}}}"#;
        cli(server.port, &["HSET", "_:flag:{_:prod}:doc", "version", "5", "body", body]);
        flags.edit("new-ui").default("on").by("bob").save().await.unwrap();
        assert!(flags.enabled("new-ui", &ada()));
        flags.edit("new-ui").owner("growth").by("bob").save().await.unwrap();
        let refused = flags.edit("new-ui").owner("").by("bob").save().await.unwrap_err();
        assert_eq!(refused.kind(), sinew::ErrorKind::Rejected, "{refused:#}");
    });
}

#[test]
fn a_failover_is_followed_by_whoever_watches() {
    keep_for(LAW_MAX * 2, || async {
        let mut world = blocking(Sentinels::start).await;
        let builder = || Sinew::builder().deadline(Duration::from_secs(5));
        let watcher = open(&builder().connect(&world.url()).await.unwrap()).await;
        let sinew = builder().connect(&world.url()).await.unwrap();
        let writer = open(&sinew).await;
        writer.put("new-ui", for_all_but("eve"), Expected::Any, "bob").await.unwrap();
        is_on(&watcher, "new-ui", &ada()).await;
        let old = world.servers[0].port;
        let (world, new) = blocking(move || {
            for replica in &world.servers[1..] {
                wait_until("the replica has it", || {
                    redis_cli(replica.port, &["EXISTS", "_:flag:{_:prod}:doc"]) == "1"
                });
            }
            world.servers[0].kill();
            let new = world.wait_primary_after(old);
            (world, new)
        })
        .await;
        assert!(watcher.enabled("new-ui", &ada()), "whoever serves it");
        let killed = || async { writer.kill("new-ui", "bob").await.is_ok() };
        eventually("it is written to the new primary", killed).await;
        is_off(&watcher, "new-ui", &ada()).await;
        cli(new, &["SET", "_:feature:by-hand:global", "true"]);
        is_on(&watcher, "by-hand", &ada()).await;
        drop(world);
    });
}

#[test]
fn a_cluster_that_loses_a_primary_goes_on_telling() {
    keep_for(LAW_MAX * 2, || async {
        let mut cluster = blocking(|| Cluster::start(1)).await;
        let builder = Sinew::builder().deadline(Duration::from_secs(5));
        let flags = open(&builder.connect(&cluster.url()).await.unwrap()).await;
        let cluster = blocking(move || {
            let lost = cluster.master_of(0);
            cluster.nodes[lost].server.kill();
            wait_until("the replica is promoted", || {
                let others = cluster.nodes.iter().enumerate().filter(|(n, _)| *n != lost);
                let mut infos = others.map(|(_, node)| node.cli(&["CLUSTER", "INFO"]));
                infos.all(|info| info.contains("cluster_state:ok")) && cluster.master_of(0) != lost
            });
            cluster
        })
        .await;
        let alive = cluster.nodes.iter().find(|node| node.cli(&["PING"]) == "PONG").unwrap();
        for user in 0..30 {
            let key = format!("_:feature:new-ui:user:{user}");
            cli(alive.server.port, &["-c", "SET", &key, "true"]);
        }
        for user in 0..30 {
            is_on(&flags, "new-ui", &EvalContext::user(user.to_string())).await;
        }
        drop(cluster);
    });
}
