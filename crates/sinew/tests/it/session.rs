//! What sessions promise, on every store.

mod appended;
mod on_redis;
mod times;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use sinew::session::{Evict, Login, Saved, SessionToken};
use sinew::{ErrorKind, Session, Sessions};

use crate::laws::eventually;
use crate::world::Store;

const SECOND: Duration = Duration::from_secs(1);

async fn sessions(store: &Store) -> Sessions {
    store.tenant("acme").await.sessions().build().expect("settings that can be")
}

async fn log_in(sessions: &Sessions, user: &str) -> Session {
    let session = sessions.begin();
    assert_eq!(session.login(user).await.expect("the store answers"), Login::Done);
    session
}

fn token(session: &Session) -> SessionToken {
    session.token().expect("it is stored")
}

async fn is_live(sessions: &Sessions, token: &SessionToken) -> bool {
    sessions.open(token.clone()).is_live().await.expect("the store answers")
}

async fn user_of(sessions: &Sessions, token: &SessionToken) -> Option<String> {
    let user = sessions.open(token.clone()).user().await.expect("the store answers");
    user.map(|user| user.to_string())
}

async fn number(session: &Session, name: &str) -> Option<u64> {
    session.get(name).await.expect("a number")
}

/// How a session may end that another process has read.
const ENDS: [&str; 7] =
    ["logout", "login", "rotate", "revoke", "logout_all", "logout_others", "one too many"];

async fn end(how: &str, there: &Sessions, old: &SessionToken) {
    let session = there.open(old.clone());
    match how {
        "logout" => session.logout().await.unwrap(),
        "login" => assert_eq!(session.login("bob").await.unwrap(), Login::Done),
        "rotate" => assert!(session.rotate().await.unwrap()),
        "revoke" => {
            assert!(session.is_live().await.unwrap());
            assert!(there.revoke("ada", &session.id().unwrap()).await.unwrap());
        }
        "logout_all" => there.logout_all("ada").await.unwrap(),
        "logout_others" => {
            let other = log_in(there, "ada").await;
            there.logout_others("ada", &other.id().unwrap()).await.unwrap();
            assert!(is_live(there, &token(&other)).await);
        }
        _ => {
            // Which is the oldest is told in milliseconds.
            tokio::time::sleep(Duration::from_millis(3)).await;
            for _ in 0..3 {
                log_in(there, "ada").await;
            }
        }
    }
}

laws! {
    async fn a_session_is_the_same_in_every_process_until_it_is_logged_out(store: Store) {
        let (here, there) = (sessions(&store).await, sessions(&store).await);
        let session = here.begin();
        assert!(!session.is_live().await.unwrap() && session.token().is_none());
        session.set("number", &1).unwrap();
        assert_eq!(number(&session, "number").await, Some(1), "as it was changed here");
        assert_eq!(session.save().await.unwrap(), Saved::Done);
        assert_eq!(session.save().await.unwrap(), Saved::Unchanged);
        let other = there.open(token(&session).as_str().parse().unwrap());
        assert_eq!(other.id(), session.id());
        assert_eq!((number(&other, "number").await, other.user().await.unwrap()), (Some(1), None));
        other.logout().await.unwrap();
        assert_eq!(other.token(), None);
        assert!(!is_live(&here, &token(&session)).await);
        other.logout().await.unwrap();
        assert_eq!(other.login("ada").await.unwrap(), Login::Gone, "it stays ended");
    }

    async fn a_login_changes_the_token_and_the_one_before_opens_nothing(store: Store) {
        let (here, there) = (sessions(&store).await, sessions(&store).await);
        let session = here.begin();
        session.set("cart", "tea").unwrap();
        assert_eq!(session.save().await.unwrap(), Saved::Done);
        let planted = token(&session);
        // Another request changes it before this one, which has read it, logs in.
        let other = there.open(planted.clone());
        other.set("seen", &7).unwrap();
        assert_eq!(other.save().await.unwrap(), Saved::Done);
        session.set("lang", "en").unwrap();
        assert_eq!(session.login("ada").await.unwrap(), Login::Done);
        assert!(token(&session) != planted);
        assert!(!is_live(&there, &planted).await);
        assert_eq!(other.save().await.unwrap(), Saved::Unchanged);
        other.set("seen", &8).unwrap();
        assert_eq!(other.save().await.unwrap(), Saved::Gone);
        let after = there.open(token(&session));
        assert_eq!(after.user().await.unwrap().as_deref(), Some("ada"));
        assert_eq!(after.get::<String>("cart").await.unwrap().as_deref(), Some("tea"));
        assert_eq!(after.get::<String>("lang").await.unwrap().as_deref(), Some("en"));
        assert_eq!(number(&after, "seen").await, Some(7), "what came between goes along");
    }

    async fn a_token_that_opens_nothing_is_never_adopted(store: Store) {
        let sessions = sessions(&store).await;
        let planted: SessionToken = format!("{}.{}", "A".repeat(22), "A".repeat(43)).parse().unwrap();
        for logs_in in [false, true] {
            let session = sessions.open(planted.clone());
            assert_eq!(number(&session, "number").await, None);
            session.set("number", &1).unwrap();
            match logs_in {
                false => assert_eq!(session.save().await.unwrap(), Saved::Done),
                true => assert_eq!(session.login("ada").await.unwrap(), Login::Done),
            }
            assert!(token(&session) != planted);
            assert!(is_live(&sessions, &token(&session)).await);
            assert!(!is_live(&sessions, &planted).await);
        }
    }

    async fn what_has_ended_is_never_brought_back_by_a_late_save(store: Store) {
        let acme = store.tenant("acme").await;
        let here = acme.sessions().build().unwrap();
        let there = store.tenant("acme").await.sessions().max_per_user(3, Evict::Oldest);
        let there = there.build().unwrap();
        for how in ENDS {
            here.logout_all("ada").await.unwrap();
            let session = log_in(&here, "ada").await;
            session.set("number", &1).unwrap();
            assert_eq!(session.save().await.unwrap(), Saved::Done, "{how}");
            let old = token(&session);
            let read = here.open(old.clone());
            assert_eq!(number(&read, "number").await, Some(1), "{how}");
            end(how, &there, &old).await;
            read.set("number", &2).unwrap();
            for _ in 0..2 {
                assert_eq!(read.save().await.unwrap(), Saved::Gone, "{how}");
                read.set("number", &3).unwrap();
            }
            assert_eq!(read.token(), None, "{how}");
            assert_eq!(here.open(old.clone()).take::<u64>("number").await.unwrap(), None, "{how}");
            assert!(!is_live(&here, &old).await, "{how}");
            let listed = here.list("ada").await.unwrap();
            assert!(listed.iter().all(|one| Some(&one.id) != session.id().as_ref()), "{how}");
            // Neither does what only asks the store, or would move it.
            assert!(!session.rotate().await.unwrap(), "{how}");
            assert_eq!(session.login("ada").await.unwrap(), Login::Gone, "{how}");
            assert!(!is_live(&here, &old).await, "{how}");
        }
    }

    async fn a_logout_among_saves_that_race_it_is_final(store: Store) {
        let (here, there) = (sessions(&store).await, sessions(&store).await);
        for round in 0..10 {
            let first = if round % 2 == 0 { log_in(&here, "ada").await } else { here.begin() };
            first.set("number", &0).unwrap();
            assert_eq!(first.save().await.unwrap(), Saved::Done);
            let old = token(&first);
            let (mut saves, saved) = (Vec::new(), Arc::new(AtomicU64::new(0)));
            for n in 0..8 {
                let session = [&here, &there][n % 2].open(old.clone());
                assert!(session.is_live().await.unwrap());
                let saved = Arc::clone(&saved);
                saves.push(tokio::spawn(async move {
                    for count in 0_u64.. {
                        session.set(&format!("n{n}"), &count).unwrap();
                        match session.save().await.unwrap() {
                            Saved::Done => saved.fetch_add(1, Ordering::Relaxed),
                            ended => return Some(ended),
                        };
                        tokio::task::yield_now().await;
                    }
                    None
                }));
            }
            eventually("they save", || async { saved.load(Ordering::Relaxed) >= 40 }).await;
            match round % 3 {
                0 => there.logout_all("ada").await.unwrap(),
                _ => there.open(old.clone()).logout().await.unwrap(),
            }
            if round % 2 == 0 || round % 3 > 0 {
                for _ in 0..20 {
                    assert!(!is_live(&here, &old).await);
                }
            } else {
                first.logout().await.unwrap();
            }
            for ended in join_all(saves).await {
                assert_eq!(ended.unwrap(), Some(Saved::Gone));
            }
            assert!(!is_live(&there, &old).await);
        }
    }

    async fn a_save_after_one_that_was_dropped_stores_what_there_is_then(store: Store) {
        let sessions = sessions(&store).await;
        for polls in 0..6 {
            let session = sessions.begin();
            session.set("first", &1).unwrap();
            {
                let mut save = std::pin::pin!(session.save());
                for _ in 0..polls {
                    if futures_util::poll!(&mut save).is_ready() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_micros(50)).await;
                }
            }
            session.remove("first").unwrap();
            session.set("second", &2).unwrap();
            assert_eq!(session.save().await.unwrap(), Saved::Done);
            let after = sessions.open(token(&session));
            let found = (number(&after, "first").await, number(&after, "second").await);
            assert_eq!(found, (None, Some(2)), "after {polls} polls");
        }
    }

    async fn changes_of_different_data_at_once_all_stay(store: Store) {
        let (here, there) = (sessions(&store).await, sessions(&store).await);
        let first = log_in(&here, "ada").await;
        first.set("kept", &1).unwrap();
        first.set("removed", &1).unwrap();
        assert_eq!(first.save().await.unwrap(), Saved::Done);
        let handles: Vec<Session> = (0..16)
            .map(|n| [&here, &there][n % 2].open(token(&first)))
            .collect();
        // Each has read the same.
        for (n, session) in handles.iter().enumerate() {
            assert_eq!(number(session, "kept").await, Some(1));
            session.set(&format!("n{n}"), &n).unwrap();
            session.remove("removed").unwrap();
        }
        let saved = join_all(handles.iter().map(Session::save)).await;
        assert!(saved.into_iter().all(|saved| saved.unwrap() == Saved::Done));
        let after = there.open(token(&first));
        for n in 0..16 {
            assert_eq!(number(&after, &format!("n{n}")).await, Some(n));
        }
        assert_eq!((number(&after, "kept").await, number(&after, "removed").await), (Some(1), None));
        assert_eq!(after.data().await.unwrap().unwrap().len(), 17);
    }

    async fn a_save_that_is_to_find_it_unchanged_is_a_conflict_where_another_has_saved(store: Store) {
        let (here, there) = (sessions(&store).await, sessions(&store).await);
        let first = log_in(&here, "ada").await;
        let (one, other) = (here.open(token(&first)), there.open(token(&first)));
        for session in [&one, &other] {
            assert!(session.is_live().await.unwrap());
            session.set("number", &1).unwrap();
        }
        assert_eq!(one.save_if_unchanged().await.unwrap(), Saved::Done);
        assert_eq!(other.save_if_unchanged().await.unwrap(), Saved::Conflict);
        assert_eq!(other.save().await.unwrap(), Saved::Done);
        other.set("number", &2).unwrap();
        let blind = "what another wrote in between was never read";
        assert_eq!(other.save_if_unchanged().await.unwrap(), Saved::Conflict, "{blind}");
        let after = here.open(token(&first));
        after.set("number", &3).unwrap();
        assert_eq!(after.save_if_unchanged().await.unwrap(), Saved::Done);
        assert_eq!(after.info().await.unwrap().unwrap().version, 4);
        after.set("number", &4).unwrap();
        assert_eq!(after.save_if_unchanged().await.unwrap(), Saved::Done, "its own is none");
    }

    async fn of_all_who_take_a_datum_one_gets_it(store: Store) {
        let (here, there) = (sessions(&store).await, sessions(&store).await);
        let first = log_in(&here, "ada").await;
        for round in 0..5_u64 {
            first.set("flash", &round).unwrap();
            assert_eq!(first.save().await.unwrap(), Saved::Done);
            let handles: Vec<Session> =
                (0..12).map(|n| [&here, &there][n % 2].open(token(&first))).collect();
            for session in &handles {
                assert_eq!(number(session, "flash").await, Some(round));
            }
            let taken = join_all(handles.iter().map(|session| session.take::<u64>("flash"))).await;
            let got: Vec<u64> = taken.into_iter().filter_map(Result::unwrap).collect();
            assert_eq!(got, [round]);
            for session in &handles {
                assert_eq!(number(session, "flash").await, None, "it was taken");
            }
        }
        first.set("flash", &9).unwrap();
        assert_eq!(first.take::<u64>("flash").await.unwrap(), Some(9), "also before it is saved");
        assert_eq!(first.save().await.unwrap(), Saved::Unchanged);
    }

    async fn a_user_has_no_more_sessions_than_may_be_however_many_log_in_at_once(store: Store) {
        for evict in [Evict::Oldest, Evict::Refuse] {
            let mut logins = Vec::new();
            let user = format!("{evict:?}");
            for _ in 0..2 {
                let sessions = store.tenant("acme").await.sessions().max_per_user(5, evict);
                let sessions = sessions.build().unwrap();
                logins.extend((0..10).map(|_| {
                    let (session, user) = (sessions.begin(), user.clone());
                    tokio::spawn(async move { (session.login(&user).await.unwrap(), session) })
                }));
            }
            let logins: Vec<(Login, Session)> =
                join_all(logins).await.into_iter().map(Result::unwrap).collect();
            let done: Vec<&Session> =
                logins.iter().filter(|(login, _)| *login == Login::Done).map(|(_, s)| s).collect();
            let sessions = sessions(&store).await;
            let mut live = BTreeSet::new();
            for session in &done {
                if is_live(&sessions, &token(session)).await {
                    live.insert(session.id().unwrap());
                }
            }
            assert_eq!((live.len(), done.len()), (5, if evict == Evict::Refuse { 5 } else { 20 }));
            let listed = sessions.list(&user).await.unwrap();
            assert_eq!(listed.into_iter().map(|one| one.id).collect::<BTreeSet<_>>(), live);
            for (login, session) in &logins {
                if *login == Login::Refused {
                    assert_eq!(session.token(), None);
                    assert_eq!(session.save().await.unwrap(), Saved::Unchanged, "nothing changed");
                }
            }
            // One that ends makes room.
            let first = live.pop_first().unwrap();
            assert!(sessions.revoke(&user, &first).await.unwrap());
            let one_more = store.tenant("acme").await.sessions().max_per_user(5, Evict::Refuse);
            let one_more = one_more.build().unwrap();
            assert_eq!(one_more.begin().login(&user).await.unwrap(), Login::Done);
            assert_eq!(one_more.begin().login(&user).await.unwrap(), Login::Refused);
        }
    }

    async fn the_oldest_of_a_user_goes_first_and_a_refused_login_changes_nothing(store: Store) {
        let builder = store.tenant("acme").await.sessions();
        let sessions = builder.clone().max_per_user(3, Evict::Oldest).build().unwrap();
        let mut tokens = Vec::new();
        for _ in 0..5 {
            tokens.push(token(&log_in(&sessions, "ada").await));
            // Which is the oldest is told in milliseconds.
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        for (n, token) in tokens.iter().enumerate() {
            assert_eq!(is_live(&sessions, token).await, n > 1, "{n}");
        }
        let refusing = builder.max_per_user(3, Evict::Refuse).build().unwrap();
        let visitor = refusing.begin();
        visitor.set("cart", &1).unwrap();
        assert_eq!(visitor.save().await.unwrap(), Saved::Done);
        let before = token(&visitor);
        assert_eq!(visitor.login("ada").await.unwrap(), Login::Refused);
        assert!(token(&visitor) == before && is_live(&refusing, &before).await);
        visitor.set("cart", &2).unwrap();
        assert_eq!(visitor.save().await.unwrap(), Saved::Done);
        // Whoever has one already logs in again with it.
        let again = refusing.open(tokens[4].clone());
        assert_eq!(again.login("ada").await.unwrap(), Login::Done);
        assert!(!is_live(&refusing, &tokens[4]).await && is_live(&refusing, &token(&again)).await);
        assert_eq!(refusing.list("ada").await.unwrap().len(), 3);
    }

    async fn all_sessions_of_a_user_end_at_once_or_all_but_one(store: Store) {
        let (here, there) = (sessions(&store).await, sessions(&store).await);
        let mut tokens = Vec::new();
        // More than are removed one by one.
        for _ in 0..130 {
            tokens.push(token(&log_in(&here, "ada").await));
        }
        let (other, visitor) = (log_in(&here, "bob").await, here.begin());
        visitor.set("number", &1).unwrap();
        assert_eq!(visitor.save().await.unwrap(), Saved::Done);
        let kept = here.open(tokens[77].clone());
        assert!(kept.is_live().await.unwrap());
        there.logout_others("ada", &kept.id().unwrap()).await.unwrap();
        for (n, token) in tokens.iter().enumerate() {
            assert_eq!(is_live(&here, token).await, n == 77, "{n}");
        }
        kept.set("number", &1).unwrap();
        assert_eq!(kept.save().await.unwrap(), Saved::Done, "it is as it was");
        assert_eq!(here.list("ada").await.unwrap().len(), 1);
        let late = log_in(&here, "ada").await;
        there.logout_all("ada").await.unwrap();
        for gone in [&kept, &late] {
            gone.set("number", &2).unwrap();
            assert_eq!(gone.save().await.unwrap(), Saved::Gone);
        }
        assert!(here.list("ada").await.unwrap().is_empty());
        assert_eq!(user_of(&here, &token(&other)).await.as_deref(), Some("bob"));
        assert!(is_live(&here, &token(&visitor)).await);
        let after = log_in(&here, "ada").await;
        assert!(is_live(&there, &token(&after)).await, "a new login is of a new epoch");
        there.logout_others("ada", &other.id().unwrap()).await.unwrap();
        assert!(!is_live(&here, &token(&after)).await, "where the one to stay is not there, all end");
    }

    async fn sessions_are_listed_with_their_devices_and_revoked_one_by_one(store: Store) {
        let sessions = sessions(&store).await;
        let (phone, laptop) = (sessions.begin(), sessions.begin());
        phone.device("phone");
        phone.address(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)));
        phone.set("cart", &1).unwrap();
        phone.set("flash", &1).unwrap();
        assert_eq!(phone.login("ada").await.unwrap(), Login::Done);
        tokio::time::sleep(Duration::from_millis(3)).await;
        laptop.device(&"x".repeat(1_000));
        assert_eq!(laptop.login("ada").await.unwrap(), Login::Done);
        let listed = sessions.list("ada").await.unwrap();
        let [last, first] = &listed[..] else { panic!("{listed:?}") };
        assert_eq!((Some(&last.id), Some(&first.id)), (laptop.id().as_ref(), phone.id().as_ref()));
        assert_eq!(first.device.as_deref(), Some("phone"));
        assert_eq!(first.address.unwrap().to_string(), "203.0.113.7");
        assert_eq!(first.names, ["cart", "flash"]);
        assert_eq!(last.device.as_ref().unwrap().len(), 256);
        assert!(last.created_at > first.created_at && last.expires_at < last.ends_at);
        assert_eq!(phone.info().await.unwrap().as_ref(), Some(first));
        assert_eq!(first.user.as_deref(), Some("ada"));
        // Only of its own user.
        assert!(!sessions.revoke("bob", &first.id).await.unwrap());
        assert!(is_live(&sessions, &token(&phone)).await);
        assert!(sessions.revoke("ada", &first.id.to_string().parse().unwrap()).await.unwrap());
        assert!(!sessions.revoke("ada", &first.id).await.unwrap());
        assert!(!is_live(&sessions, &token(&phone)).await);
        assert_eq!(sessions.list("ada").await.unwrap().len(), 1);
        assert!(sessions.list("nobody").await.unwrap().is_empty());
    }

    async fn a_token_of_one_tenant_opens_nothing_of_another(store: Store) {
        let (acme, other) = (sessions(&store).await, store.tenant("other").await);
        let other = other.sessions().build().unwrap();
        let mine = log_in(&acme, "ada").await;
        let theirs = log_in(&other, "ada").await;
        assert!(!is_live(&other, &token(&mine)).await && is_live(&acme, &token(&mine)).await);
        let stranger = other.open(token(&mine));
        stranger.logout().await.unwrap();
        assert!(!other.revoke("ada", &mine.id().unwrap()).await.unwrap());
        other.logout_all("ada").await.unwrap();
        assert!(is_live(&acme, &token(&mine)).await);
        assert!(!is_live(&other, &token(&theirs)).await);
        assert_eq!(acme.list("ada").await.unwrap().len(), 1);
    }

    async fn data_of_one_user_do_not_go_to_another(store: Store) {
        let sessions = sessions(&store).await;
        let session = log_in(&sessions, "ada").await;
        session.set("cart", &1).unwrap();
        assert_eq!(session.save().await.unwrap(), Saved::Done);
        let adas = token(&session);
        session.set("lang", &2).unwrap();
        assert_eq!(session.login("bob").await.unwrap(), Login::Done);
        assert!(!is_live(&sessions, &adas).await);
        let bobs = sessions.open(token(&session));
        assert_eq!(bobs.user().await.unwrap().as_deref(), Some("bob"));
        assert_eq!((number(&bobs, "cart").await, number(&bobs, "lang").await), (None, Some(2)));
        assert!(sessions.list("ada").await.unwrap().is_empty());
    }

    async fn another_id_keeps_user_and_data_and_what_is_unsaved(store: Store) {
        let sessions = sessions(&store).await;
        for user in [None, Some("ada")] {
            let session = match user {
                None => sessions.begin(),
                Some(user) => log_in(&sessions, user).await,
            };
            assert_eq!(session.rotate().await.unwrap(), user.is_some(), "nothing to rotate");
            session.set("cart", &1).unwrap();
            assert_eq!(session.save().await.unwrap(), Saved::Done);
            let (before, info) = (token(&session), session.info().await.unwrap().unwrap());
            session.set("later", &2).unwrap();
            assert!(session.rotate().await.unwrap());
            assert!(token(&session) != before && !is_live(&sessions, &before).await);
            assert_eq!(session.save().await.unwrap(), Saved::Done);
            let after = sessions.open(token(&session));
            assert_eq!(after.user().await.unwrap().as_deref(), user);
            assert_eq!((number(&after, "cart").await, number(&after, "later").await), (Some(1), Some(2)));
            let now = after.info().await.unwrap().unwrap();
            assert_eq!((now.created_at, now.ends_at), (info.created_at, info.ends_at));
        }
    }

    async fn a_login_that_is_dropped_at_any_point_leaves_one_session_or_the_other(store: Store) {
        let sessions = sessions(&store).await;
        for polls in 0..12 {
            let session = sessions.begin();
            session.set("number", &1).unwrap();
            assert_eq!(session.save().await.unwrap(), Saved::Done);
            let before = token(&session);
            {
                let mut login = std::pin::pin!(session.login("ada"));
                for _ in 0..polls {
                    if futures_util::poll!(&mut login).is_ready() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            }
            if polls == 0 {
                assert!(token(&session) == before && is_live(&sessions, &before).await);
                continue;
            }
            eventually("the login goes on to its end", || async {
                user_of(&sessions, &token(&session)).await.is_some()
            })
            .await;
            assert!(token(&session) != before);
            assert!(!is_live(&sessions, &before).await, "after {polls} polls");
        }
    }

    async fn bad_input_to_a_session_is_rejected_and_nothing_is_stored(store: Store) {
        let builder = store.tenant("acme").await.sessions();
        let day = Duration::from_secs(24 * 3_600);
        for bad in [
            builder.clone().idle(SECOND / 2),
            builder.clone().idle(13 * day),
            builder.clone().absolute(401 * day),
            builder.clone().absolute(Duration::ZERO),
            builder.clone().max_per_user(0, Evict::Oldest),
            builder.clone().max_per_user(1_001, Evict::Oldest),
        ] {
            assert_eq!(bad.build().unwrap_err().kind(), ErrorKind::Rejected);
        }
        let sessions = builder.build().unwrap();
        let session = sessions.begin();
        for name in ["", "_user", &"x".repeat(129)] {
            for error in [
                session.set(name, &1).unwrap_err(),
                session.set_for(name, &1, SECOND).unwrap_err(),
                session.remove(name).unwrap_err(),
                session.get::<u64>(name).await.unwrap_err(),
                session.take::<u64>(name).await.unwrap_err(),
            ] {
                assert_eq!(error.kind(), ErrorKind::Rejected, "{name:?}: {error}");
            }
        }
        for user in ["", &"x".repeat(513)] {
            assert_eq!(session.login(user).await.unwrap_err().kind(), ErrorKind::Rejected);
            assert_eq!(sessions.logout_all(user).await.unwrap_err().kind(), ErrorKind::Rejected);
        }
        let unwritable = std::collections::HashMap::from([((1, 2), 3)]);
        assert_eq!(session.set("map", &unwritable).unwrap_err().kind(), ErrorKind::Rejected);
        assert_eq!(session.set_for("a", &1, Duration::ZERO).unwrap_err().kind(), ErrorKind::Rejected);
        assert_eq!(session.set("a", &"x".repeat(2 << 20)).unwrap_err().kind(), ErrorKind::Rejected);
        assert_eq!(session.save().await.unwrap(), Saved::Unchanged);
        assert_eq!(session.token(), None);
        session.set("word", "secret-word").unwrap();
        assert_eq!(session.save().await.unwrap(), Saved::Done);
        let error = session.get::<u64>("word").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(!format!("{error:#} {error:?}").contains("secret-word"), "{error:#}");
    }

    async fn a_session_has_so_many_data_and_no_more_whoever_saves_them(store: Store) {
        let (here, there) = (sessions(&store).await, sessions(&store).await);
        let first = log_in(&here, "ada").await;
        let (one, other) = (here.open(token(&first)), there.open(token(&first)));
        assert!(one.is_live().await.unwrap() && other.is_live().await.unwrap());
        for n in 0..100 {
            one.set(&format!("one{n}"), &n).unwrap();
            other.set(&format!("other{n}"), &n).unwrap();
        }
        assert_eq!(one.save().await.unwrap(), Saved::Done);
        let error = other.save().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
        let after = there.open(token(&first));
        assert_eq!(after.data().await.unwrap().unwrap().len(), 100, "all of a save or nothing");
        let large = "x".repeat(600 << 10);
        after.set("large", &large).unwrap();
        assert_eq!(after.save().await.unwrap(), Saved::Done);
        let later = here.open(token(&first));
        later.set("also large", &large).unwrap();
        assert_eq!(later.save().await.unwrap_err().kind(), ErrorKind::Rejected);
        later.remove("large").unwrap();
        assert_eq!(later.save().await.unwrap(), Saved::Done, "in the place of the other");
        for n in 0..128 {
            first.set(&format!("n{n}"), &n).unwrap();
        }
        assert_eq!(first.set("n128", &1).unwrap_err().kind(), ErrorKind::Rejected);
    }
}
