//! What sessions promise that Redis alone can show.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use sinew::session::{Evict, Login, Saved, SessionToken};
use sinew::{Error, ErrorKind, Session, Sessions, Sinew};

use super::{SECOND, is_live, log_in, number, token, user_of};
use crate::laws::keep;
use crate::outage::{blocking, connect, down, process_at, up};
use crate::world::{Cluster, Proxy, free_port, redis_cli, start_redis, start_redis_on, wait_until};

pub(super) fn all(sinew: &Sinew) -> Sessions {
    sinew.sessions().build().unwrap()
}

/// The only key that matches.
pub(super) fn key(port: u16, glob: &str) -> String {
    let keys = redis_cli(port, &["KEYS", glob]);
    assert_eq!(keys.lines().count(), 1, "{glob}: {keys}");
    keys
}

#[test]
fn redis_holds_no_token_and_every_key_of_a_session_has_a_ttl() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let sessions = all(&connect(&server).await);
        let (user, visitor) = (log_in(&sessions, "ada").await, sessions.begin());
        for session in [&user, &visitor] {
            session.set("number", &1).unwrap();
            session.set_for("flash", &1, 60 * SECOND).unwrap();
            assert_eq!(session.save().await.unwrap(), Saved::Done);
        }
        let other = log_in(&sessions, "ada").await;
        assert!(other.rotate().await.unwrap());
        sessions.logout_others("ada", &user.id().unwrap()).await.unwrap();
        let mut dump = String::new();
        let keys = redis_cli(server.port, &["KEYS", "*"]);
        for key in keys.lines().filter(|key| key.contains(":session:")) {
            let left: i64 = redis_cli(server.port, &["PTTL", key]).parse().unwrap();
            assert!(left > 0, "{key}: {left}");
            dump.push_str(key);
            let read = match redis_cli(server.port, &["TYPE", key]).as_str() {
                "zset" => vec!["ZRANGE", key, "0", "-1"],
                _ => vec!["GET", key],
            };
            dump.push_str(&redis_cli(server.port, &read));
        }
        // Two of them where others were.
        assert_eq!(keys.lines().filter(|key| key.contains(":session:")).count(), 6, "{keys}");
        for session in [&user, &visitor] {
            let token = token(session);
            let (slot, secret) = token.as_str().split_once('.').unwrap();
            assert!(dump.contains(slot) && dump.contains(&session.id().unwrap().to_string()));
            assert!(!dump.contains(secret) && !dump.contains(&secret[..12]), "{dump}");
        }
    });
}

#[test]
fn an_epoch_that_is_lost_ends_the_sessions_and_brings_none_back() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let sessions = all(&process_at(server.port).await);
        let old = log_in(&sessions, "ada").await;
        let read = sessions.open(token(&old));
        assert!(read.is_live().await.unwrap());
        let epoch = key(server.port, "*:epoch");
        let value = redis_cli(server.port, &["GET", &epoch]);
        redis_cli(server.port, &["DEL", &epoch]);
        assert!(!is_live(&sessions, &token(&old)).await);
        read.set("number", &1).unwrap();
        assert_eq!(read.save().await.unwrap(), Saved::Gone);
        let new = log_in(&sessions, "ada").await;
        assert!(redis_cli(server.port, &["GET", &epoch]) > value);
        assert!(is_live(&sessions, &token(&new)).await);
        assert!(!is_live(&sessions, &token(&old)).await, "not by the new epoch either");
        assert_eq!(sessions.list("ada").await.unwrap().len(), 1);
        // Garbage is no epoch that anyone began in.
        redis_cli(server.port, &["SET", &epoch, "garbage", "KEEPTTL"]);
        assert!(!is_live(&sessions, &token(&new)).await);
        sessions.logout_all("ada").await.unwrap();
        assert!(is_live(&sessions, &token(&log_in(&sessions, "ada").await)).await);
    });
}

#[test]
fn all_are_logged_out_also_where_the_clock_was_set_back() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let sessions = all(&process_at(server.port).await);
        log_in(&sessions, "ada").await;
        let epoch = key(server.port, "*:epoch");
        // As if it had been a day later.
        let now: u64 = redis_cli(server.port, &["GET", &epoch]).parse().unwrap();
        let later = (now + 86_400_000_000).to_string();
        redis_cli(server.port, &["SET", &epoch, &later, "KEEPTTL"]);
        let session = log_in(&sessions, "ada").await;
        assert!(is_live(&sessions, &token(&session)).await);
        sessions.logout_all("ada").await.unwrap();
        assert!(!is_live(&sessions, &token(&session)).await);
        let after: u64 = redis_cli(server.port, &["GET", &epoch]).parse().unwrap();
        assert_eq!(after, now + 86_400_000_001, "greater than any before");
        assert!(is_live(&sessions, &token(&log_in(&sessions, "ada").await)).await);
    });
}

#[test]
fn what_redis_has_evicted_is_not_saved_anew_and_takes_no_ones_place() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let builder = process_at(server.port).await.sessions();
        let sessions = builder.max_per_user(2, Evict::Refuse).build().unwrap();
        let evicted = log_in(&sessions, "ada").await;
        let gone = key(server.port, "*:s:*");
        let kept = log_in(&sessions, "ada").await;
        assert_eq!(sessions.begin().login("ada").await.unwrap(), Login::Refused);
        assert_eq!(redis_cli(server.port, &["DEL", &gone]), "1");
        evicted.set("number", &1).unwrap();
        assert_eq!(evicted.save().await.unwrap(), Saved::Gone);
        assert_eq!(redis_cli(server.port, &["EXISTS", &gone]), "0");
        assert_eq!(sessions.list("ada").await.unwrap().len(), 1);
        assert_eq!(sessions.begin().login("ada").await.unwrap(), Login::Done);
        assert!(is_live(&sessions, &token(&kept)).await);
    });
}

#[test]
fn a_full_redis_begins_no_session_and_ends_all_that_it_is_told_to() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let sinew = process_at(server.port).await;
        let sessions = all(&sinew);
        let capped = sinew.sessions().max_per_user(9, Evict::Oldest).build().unwrap();
        let (ada, bob) = (log_in(&sessions, "ada").await, log_in(&sessions, "bob").await);
        ada.set("number", &1).unwrap();
        assert_eq!(ada.save().await.unwrap(), Saved::Done);
        let (eve, other) = (log_in(&sessions, "eve").await, log_in(&sessions, "eve").await);
        assert_eq!(redis_cli(server.port, &["CONFIG", "SET", "maxmemory", "1"]), "OK");
        for sessions in [&sessions, &capped] {
            let visitor = sessions.begin();
            visitor.set("number", &1).unwrap();
            assert!(visitor.save().await.unwrap_err().is_retryable(), "it is full");
            assert!(visitor.login("ada").await.unwrap_err().is_retryable());
            assert!(visitor.login("new").await.unwrap_err().is_retryable());
        }
        // That one is used is noted: no one is logged out because Redis is full.
        let sooner = sinew.sessions().idle(60 * SECOND).build().unwrap();
        assert!(is_live(&sooner, &token(&ada)).await);
        let stored = key(server.port, &format!("*:s:{}", ada.id().unwrap()));
        let left: u64 = redis_cli(server.port, &["PTTL", &stored]).parse().unwrap();
        assert!(left <= 60_000, "{left}");
        let smaller = sooner.open(token(&ada));
        assert!(smaller.is_live().await.unwrap());
        smaller.remove("number").unwrap();
        assert_eq!(smaller.save().await.unwrap(), Saved::Done);
        assert!(ada.rotate().await.unwrap());
        sessions.logout_others("eve", &eve.id().unwrap()).await.unwrap();
        assert!(is_live(&sessions, &token(&eve)).await);
        assert!(!is_live(&sessions, &token(&other)).await);
        sessions.logout_all("bob").await.unwrap();
        assert!(!is_live(&sessions, &token(&bob)).await);
        let adas = token(&ada);
        ada.logout().await.unwrap();
        assert!(!is_live(&sessions, &adas).await);
        assert_eq!(redis_cli(server.port, &["CONFIG", "SET", "maxmemory", "0"]), "OK");
        assert!(is_live(&sessions, &token(&log_in(&sessions, "bob").await)).await);
    });
}

#[test]
fn the_one_that_stays_is_never_found_ended_while_the_others_are() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let sessions = all(&process_at(server.port).await);
        let there = all(&process_at(server.port).await);
        let stays = log_in(&sessions, "ada").await;
        let (token, id) = (token(&stays), stays.id().unwrap());
        let (running, keep) = (Arc::new(AtomicBool::new(true)), id.clone());
        let runs = Arc::clone(&running);
        let ending = tokio::spawn(async move {
            while runs.load(Ordering::SeqCst) {
                there.logout_others("ada", &keep).await.unwrap();
            }
        });
        for _ in 0..40 {
            // More than Redis reads at once.
            let opened: Vec<_> = (0..256).map(|_| sessions.open(token.clone())).collect();
            for is_live in join_all(opened.iter().map(Session::is_live)).await {
                assert!(is_live.unwrap());
            }
            let listed = sessions.list("ada").await.unwrap();
            assert!(listed.iter().map(|one| &one.id).eq([&id]), "the one that stays");
        }
        running.store(false, Ordering::SeqCst);
        ending.await.unwrap();
    });
}

/// Each of the ways to ask, or to change something.
async fn errors(sessions: &Sessions, token: &SessionToken) -> Vec<Error> {
    let open = || {
        let session = sessions.open(token.clone());
        session.set("number", &1).unwrap();
        session
    };
    let fresh = sessions.begin();
    fresh.set("number", &1).unwrap();
    let id = open().id().unwrap();
    vec![
        open().is_live().await.unwrap_err(),
        open().user().await.unwrap_err(),
        open().get::<u64>("number").await.unwrap_err(),
        open().get::<u64>("other").await.unwrap_err(),
        open().data().await.unwrap_err(),
        open().info().await.unwrap_err(),
        open().take::<u64>("number").await.unwrap_err(),
        open().save().await.unwrap_err(),
        open().save_if_unchanged().await.unwrap_err(),
        open().login("ada").await.unwrap_err(),
        open().rotate().await.unwrap_err(),
        open().logout().await.unwrap_err(),
        fresh.save().await.unwrap_err(),
        fresh.login("ada").await.unwrap_err(),
        sessions.list("ada").await.unwrap_err(),
        sessions.revoke("ada", &id).await.unwrap_err(),
        sessions.logout_all("ada").await.unwrap_err(),
        sessions.logout_others("ada", &id).await.unwrap_err(),
    ]
}

#[test]
fn without_redis_nobody_is_told_to_be_logged_out_or_in() {
    keep(|| async {
        let mut server = blocking(start_redis).await;
        let port = server.port;
        let sinew = connect(&server).await;
        let sessions = all(&sinew);
        let session = log_in(&sessions, "ada").await;
        let held = sessions.open(token(&session));
        assert!(held.is_live().await.unwrap());
        server = blocking(move || {
            server.kill();
            server.wait_gone();
            server
        })
        .await;
        down(&sinew).await;
        for error in errors(&sessions, &token(&session)).await {
            assert!(matches!(error.kind(), ErrorKind::Unavailable { .. }), "{error:#}");
        }
        held.set("number", &1).unwrap();
        assert!(held.save().await.unwrap_err().is_retryable());
        assert!(held.logout().await.unwrap_err().is_retryable());
        assert!(held.token().is_some(), "no one knows that it has ended");
        drop(server);
        let never = Sinew::connect_lazy(&format!("redis://127.0.0.1:{}", free_port())).unwrap();
        for error in errors(&all(&never), &token(&session)).await {
            assert!(error.is_retryable(), "{error:#}");
        }
        // It comes back empty: what was live has ended, and that is an answer.
        let _server = blocking(move || start_redis_on(port, &[])).await;
        up(&sinew).await;
        assert_eq!(held.save().await.unwrap(), Saved::Gone);
        assert!(!is_live(&sessions, &token(&session)).await);
    });
}

#[test]
fn a_login_whose_reply_was_lost_is_made_once() {
    keep(|| async {
        let (server, proxy) = blocking(|| {
            let server = start_redis();
            let proxy = Proxy::start(server.port);
            (server, proxy)
        })
        .await;
        let sinew = process_at(proxy.port).await;
        let sessions = all(&sinew);
        let warm = log_in(&sessions, "warm").await;
        assert!(warm.rotate().await.unwrap());
        for round in 0..5 {
            // A connection that ends sooner is not replaced at once.
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            let user = format!("user {round}");
            let session = sessions.begin();
            proxy.cut_at_next_reply();
            assert_eq!(session.login(&user).await.unwrap(), Login::Done);
            up(&sinew).await;
            proxy.pass();
            assert_eq!(sessions.list(&user).await.unwrap().len(), 1);
            assert_eq!(user_of(&sessions, &token(&session)).await.as_ref(), Some(&user));
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            let before = token(&session);
            proxy.cut_at_next_reply();
            assert!(session.rotate().await.unwrap());
            up(&sinew).await;
            proxy.pass();
            assert!(!is_live(&sessions, &before).await);
            assert_eq!(user_of(&sessions, &token(&session)).await.as_ref(), Some(&user));
            assert_eq!(sessions.list(&user).await.unwrap().len(), 1);
        }
        // What may not run twice is told to be unsure.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let session = log_in(&sessions, "ada").await;
        session.set("flash", &1).unwrap();
        assert_eq!(session.save().await.unwrap(), Saved::Done);
        proxy.cut_at_next_reply();
        let error = session.take::<u64>("flash").await.unwrap_err();
        assert!(error.maybe_applied(), "{error:#}");
        up(&sinew).await;
        proxy.pass();
        // That the connection is lost may not be known everywhere yet.
        assert_eq!(sessions.list("ada").await.unwrap().len(), 1);
        let again = session.take::<u64>("flash").await.unwrap();
        assert!(matches!(again, None | Some(1)), "it was taken, or it was not");
        assert_eq!(session.take::<u64>("flash").await.unwrap(), None);
        drop(server);
    });
}

#[test]
fn a_session_is_found_while_its_slot_moves() {
    keep(|| async {
        let cluster = blocking(|| Cluster::start(0)).await;
        let sinew = Sinew::builder().deadline(10 * SECOND).connect(&cluster.url()).await.unwrap();
        let sessions = all(&sinew);
        let (user, visitor) = (log_in(&sessions, "ada").await, sessions.begin());
        visitor.set("number", &1).unwrap();
        for session in [&user, &visitor] {
            session.set("moved", &0).unwrap();
            assert_eq!(session.save().await.unwrap(), Saved::Done);
            let token = token(session);
            let (slot, _) = token.as_str().split_once('.').unwrap();
            let slot = cluster.slot_of(&format!("{{{slot}}}"));
            let from = cluster.master_of(slot);
            let (from, to) = (&cluster.nodes[from], &cluster.nodes[(from + 1) % 3]);
            let (slot, ids) = (slot.to_string(), (from.id(), to.id()));
            to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids.0]);
            from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids.1]);
            // The epoch of a visitor is nowhere: the node that the slot leaves sends us on for it.
            assert!(is_live(&sessions, &token).await);
            let read = sessions.open(token.clone());
            assert!(read.is_live().await.unwrap());
            let keys = from.cli(&["CLUSTER", "GETKEYSINSLOT", &slot, "9"]);
            let port = to.server.port.to_string();
            for key in keys.lines().filter(|key| key.contains(":s:") || key.ends_with(":epoch")) {
                from.cli(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
                assert!(is_live(&sessions, &token).await, "once {key} is there");
            }
            read.set("moved", &1).unwrap();
            assert_eq!(read.save().await.unwrap(), Saved::Done, "where it is now");
            let read = sessions.open(token.clone());
            assert_eq!(number(&read, "moved").await, Some(1));
            assert_eq!(
                number(&read, "number").await.is_some(),
                session.user().await.unwrap().is_none()
            );
        }
    });
}

#[test]
fn a_logout_that_no_replica_has_is_an_error_and_the_session_has_ended() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let sinew = process_at(server.port).await;
        let builder = sinew.sessions().require_replicas(1, Duration::from_millis(50));
        let (sessions, plain) = (builder.build().unwrap(), all(&sinew));
        let session = log_in(&sessions, "ada").await;
        let error = session.logout().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable { maybe_applied: true }, "{error}");
        assert!(!is_live(&plain, &token(&session)).await);
        // A login that cannot end the one before is none.
        let visitor = sessions.begin();
        visitor.set("number", &1).unwrap();
        assert_eq!(visitor.save().await.unwrap(), Saved::Done);
        assert!(visitor.login("bob").await.unwrap_err().is_retryable());
        assert!(plain.list("bob").await.unwrap().is_empty());
        assert!(sessions.logout_all("ada").await.is_err());
        let (embedded, once) = (Sinew::embedded(), Duration::from_secs(1));
        let error = embedded.sessions().require_replicas(1, once).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        for bad in [(0, once), (1, Duration::ZERO), (1, 61 * SECOND)] {
            let error = sinew.sessions().require_replicas(bad.0, bad.1).build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Rejected);
        }
    });
}

#[test]
fn what_ends_sessions_has_reached_a_replica_where_that_is_required() {
    keep(|| async {
        let (server, replica) = blocking(|| {
            let server = start_redis();
            let primary = server.port.to_string();
            let replica = start_redis_on(free_port(), &["--replicaof", "127.0.0.1", &primary]);
            wait_until("the replica follows", || {
                redis_cli(replica.port, &["INFO", "replication"]).contains("master_link_status:up")
            });
            (server, replica)
        })
        .await;
        let sinew = process_at(server.port).await;
        let sessions = sinew.sessions().require_replicas(1, 10 * SECOND).build().unwrap();
        let there = |glob: &str| {
            let keys = redis_cli(replica.port, &["KEYS", glob]);
            keys.lines().filter(|key| redis_cli(replica.port, &["GET", key]) != "ended").count()
        };
        for _ in 0..5 {
            let session = log_in(&sessions, "ada").await;
            assert!(session.rotate().await.unwrap());
            assert_eq!(there("*:s:*"), 1, "under its new id");
            session.logout().await.unwrap();
            assert_eq!(there("*:s:*"), 0);
            log_in(&sessions, "ada").await;
            let before = redis_cli(replica.port, &["GET", &key(server.port, "*:epoch")]);
            sessions.logout_all("ada").await.unwrap();
            assert_eq!(there("*:s:*"), 0);
            let after = redis_cli(replica.port, &["GET", &key(server.port, "*:epoch")]);
            assert!(after > before, "{before} {after}");
        }
    });
}

#[test]
fn what_cannot_be_looked_at_is_logged_out_all_the_same() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let sessions = all(&process_at(server.port).await);
        let visitor = sessions.begin();
        visitor.set("number", &1).unwrap();
        assert_eq!(visitor.save().await.unwrap(), Saved::Done);
        let may = |look: &str| {
            assert_eq!(redis_cli(server.port, &["ACL", "SETUSER", "default", look]), "OK");
        };
        for token in [token(&log_in(&sessions, "ada").await), token(&visitor)] {
            may("-mget");
            let session = sessions.open(token.clone());
            session.is_live().await.unwrap_err();
            session.logout().await.unwrap();
            may("+mget");
            assert!(!is_live(&sessions, &token).await);
        }
        assert!(sessions.list("ada").await.unwrap().is_empty());
    });
}
