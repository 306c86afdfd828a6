//! A save behind a look is appended to its session, without a script: what becomes of it on Redis.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sinew::Sessions;
use sinew::session::{Saved, SessionToken};

use super::on_redis::{all, key};
use super::{is_live, log_in, number, token};
use crate::laws::keep;
use crate::outage::{blocking, process_at};
use crate::world::{redis_cli, start_redis};

/// More saves than are appended before a session is written whole.
const MANY: u64 = 60;

/// How often each command was called, those that failed included.
fn calls<const N: usize>(port: u16, commands: [&str; N]) -> [u64; N] {
    let info = redis_cli(port, &["INFO", "commandstats"]);
    commands.map(|command| {
        let prefix = format!("cmdstat_{command}:calls=");
        let line = info.lines().find_map(|line| line.strip_prefix(prefix.as_str()));
        line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
    })
}

async fn save(sessions: &Sessions, token: &SessionToken, name: &str, value: u64) -> Saved {
    let session = sessions.open(token.clone());
    assert!(session.is_live().await.unwrap());
    session.set(name, &value).unwrap();
    session.save().await.unwrap()
}

#[test]
fn a_load_is_one_command_and_so_is_a_save_behind_it() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let sessions = all(&process_at(server.port).await);
        let session = log_in(&sessions, "ada").await;
        let token = token(&session);
        // The script is there from here on.
        session.set("number", &0).unwrap();
        assert_eq!(session.save().await.unwrap(), Saved::Done);
        let counted = || calls(server.port, ["mget", "append", "evalsha"]);
        let before = counted();
        for round in 0..20 {
            assert_eq!(save(&sessions, &token, "number", round).await, Saved::Done);
            let opened = sessions.open(token.clone());
            assert_eq!(opened.user().await.unwrap().as_deref(), Some("ada"));
            assert_eq!(number(&opened, "number").await, Some(round));
            assert!(opened.is_live().await.unwrap() && opened.info().await.unwrap().is_some());
        }
        assert_eq!(counted(), [before[0] + 40, before[1] + 20, before[2]]);
        assert_eq!(session.save().await.unwrap(), Saved::Unchanged);
        // What needs another look is one script.
        session.set("number", &2).unwrap();
        assert_eq!(session.save_if_unchanged().await.unwrap(), Saved::Conflict);
        assert_eq!(counted(), [before[0] + 40, before[1] + 20, before[2] + 1]);
    });
}

#[test]
fn however_often_a_session_is_saved_it_grows_no_further() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let sessions = all(&process_at(server.port).await);
        let session = log_in(&sessions, "ada").await;
        let stored = key(server.port, "*:s:*");
        for handle in [&session, &sessions.open(token(&session))] {
            assert!(handle.is_live().await.unwrap());
            for round in 0..MANY {
                handle.set("number", &round).unwrap();
                assert_eq!(handle.save().await.unwrap(), Saved::Done);
                let len: u64 = redis_cli(server.port, &["STRLEN", &stored]).parse().unwrap();
                assert!(len < 2_500, "{len} bytes after {round} saves");
            }
            let now = sessions.open(token(&session));
            assert_eq!(number(&now, "number").await, Some(MANY - 1));
            assert_eq!(now.data().await.unwrap().unwrap().len(), 1);
        }
        let versions = 1 + 2 * MANY;
        assert_eq!(sessions.list("ada").await.unwrap()[0].version, versions);
        let before = sessions.open(token(&session));
        assert!(before.is_live().await.unwrap());
        assert_eq!(save(&sessions, &token(&session), "number", 1).await, Saved::Done);
        before.set("number", &0).unwrap();
        assert_eq!(before.save_if_unchanged().await.unwrap(), Saved::Conflict, "one was appended");
    });
}

#[test]
fn of_many_that_save_at_once_each_keeps_what_is_its_own() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let sessions = all(&process_at(server.port).await);
        let token = token(&log_in(&sessions, "ada").await);
        let own = |nth: usize| format!("own{nth}");
        for nth in 0..8 {
            assert_eq!(save(&sessions, &token, &own(nth), 0).await, Saved::Done);
        }
        let before = calls(server.port, ["append"]);
        for round in 0..MANY {
            let handles: Vec<_> = (0..8).map(|_| sessions.open(token.clone())).collect();
            for handle in &handles {
                assert!(handle.is_live().await.unwrap());
            }
            let saves = handles.iter().enumerate().map(|(nth, handle)| async move {
                handle.set(&format!("own{nth}"), &round).unwrap();
                assert_eq!(handle.save().await.unwrap(), Saved::Done);
            });
            join_all(saves).await;
        }
        assert!(calls(server.port, ["append"])[0] > before[0] + MANY, "that is what was tried");
        let now = sessions.open(token);
        for nth in 0..8 {
            assert_eq!(number(&now, &own(nth)).await, Some(MANY - 1));
        }
        assert_eq!(now.info().await.unwrap().unwrap().version, 1 + 8 + 8 * MANY);
    });
}

#[test]
fn a_save_that_comes_after_the_end_is_no_session_and_goes_with_what_is_left() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let sessions = all(&process_at(server.port).await);
        let (mut ends, started) = (0, Instant::now());
        while ends < 3 {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "too slow to save within a second"
            );
            let session = log_in(&sessions, "ada").await;
            session.set("number", &0).unwrap();
            assert_eq!(session.save().await.unwrap(), Saved::Done);
            let (token, before) = (token(&session), calls(server.port, ["append"]));
            let late: Vec<_> = (0..3).map(|_| sessions.open(token.clone())).collect();
            for handle in &late {
                assert!(handle.is_live().await.unwrap());
            }
            let id = session.id().unwrap();
            match ends {
                0 => session.logout().await.unwrap(),
                1 => sessions.logout_all("ada").await.unwrap(),
                _ => assert!(session.rotate().await.unwrap()),
            }
            for handle in &late {
                handle.set("number", &1).unwrap();
                assert_eq!(handle.save().await.unwrap(), Saved::Gone);
                assert!(!is_live(&sessions, &token).await);
            }
            // A look that is a second old is not gone by.
            ends += u64::from(calls(server.port, ["append"]) == [before[0] + 3]);
            let stored = key(server.port, &format!("*:s:{id}"));
            let left: i64 = redis_cli(server.port, &["PTTL", &stored]).parse().unwrap();
            assert!((1..=60_000).contains(&left), "{left}");
            sessions.logout_all("ada").await.unwrap();
            assert!(sessions.list("ada").await.unwrap().is_empty());
        }
    });
}

#[test]
fn a_save_of_what_redis_has_evicted_leaves_nothing() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let sessions = all(&process_at(server.port).await);
        let session = log_in(&sessions, "ada").await;
        session.set("number", &0).unwrap();
        assert_eq!(session.save().await.unwrap(), Saved::Done);
        let stored = key(server.port, "*:s:*");
        let (read, before) = (sessions.open(token(&session)), calls(server.port, ["append"]));
        assert!(read.is_live().await.unwrap());
        assert_eq!(redis_cli(server.port, &["DEL", &stored]), "1");
        read.set("number", &1).unwrap();
        assert_eq!(read.save().await.unwrap(), Saved::Gone);
        assert_eq!(redis_cli(server.port, &["EXISTS", &stored]), "0");
        assert!(calls(server.port, ["append"])[0] <= before[0] + 1);
    });
}

#[test]
fn a_session_whose_key_has_lost_its_time_still_ends() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let sinew = process_at(server.port).await;
        let sessions = sinew.sessions().idle(Duration::from_secs(3)).build().unwrap();
        let token = token(&log_in(&sessions, "ada").await);
        let stored = key(server.port, "*:s:*");
        assert_eq!(redis_cli(server.port, &["PERSIST", &stored]), "1");
        tokio::time::sleep(Duration::from_millis(3_200)).await;
        assert_eq!(redis_cli(server.port, &["EXISTS", &stored]), "1");
        assert!(!is_live(&sessions, &token).await);
    });
}
