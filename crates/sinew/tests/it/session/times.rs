//! When sessions and their data end by themselves.

use std::time::{Duration, Instant, UNIX_EPOCH};

use sinew::session::{Evict, Login, Saved};
use sinew::{Clock, Session, Sinew};

use super::{SECOND, is_live, log_in, number, sessions, token};
use crate::laws::{eventually, keep};

const MINUTE: Duration = Duration::from_secs(60);

laws! {
    async fn a_session_that_is_used_outlives_its_idle_time_and_one_that_is_not_ends(store: Store) {
        let sessions = store.tenant("acme").await.sessions().idle(SECOND).build().unwrap();
        let unused = [log_in(&sessions, "ada").await, sessions.begin()];
        unused[1].set("number", &1).unwrap();
        assert_eq!(unused[1].save().await.unwrap(), Saved::Done);
        'again: loop {
            let began = Instant::now();
            let (used, mut last) = (log_in(&sessions, "bob").await, began);
            while began.elapsed() < 2 * SECOND {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let now = Instant::now();
                if !is_live(&sessions, &token(&used)).await {
                    // That it is used is noted when a tenth of the time is over.
                    assert!(last.elapsed() > SECOND * 4 / 5, "it was used {:?} ago", last.elapsed());
                    // A machine that stalls uses nothing.
                    continue 'again;
                }
                last = now;
            }
            break;
        }
        for session in unused {
            let old = token(&session);
            assert!(!is_live(&sessions, &old).await);
            session.set("number", &1).unwrap();
            assert_eq!(session.save().await.unwrap(), Saved::Gone);
            assert!(!is_live(&sessions, &old).await);
        }
        assert!(sessions.list("ada").await.unwrap().is_empty());
    }

    async fn the_one_that_makes_room_was_not_used_for_the_longest_time(store: Store) {
        let builder = store.tenant("acme").await.sessions().max_per_user(2, Evict::Oldest);
        let sessions = builder.clone().build().unwrap();
        // Its sessions end sooner, and that they are used is noted at once.
        let sooner = builder.idle(MINUTE).build().unwrap();
        let used = log_in(&sessions, "ada").await;
        // When one was used is told in milliseconds.
        tokio::time::sleep(Duration::from_millis(3)).await;
        let unused = log_in(&sessions, "ada").await;
        tokio::time::sleep(Duration::from_millis(3)).await;
        assert!(is_live(&sooner, &token(&used)).await);
        let last = log_in(&sessions, "ada").await;
        assert!(is_live(&sooner, &token(&used)).await, "it ends first, and was used since");
        assert!(!is_live(&sessions, &token(&unused)).await);
        assert!(is_live(&sessions, &token(&last)).await);
    }

    async fn a_logout_where_its_time_is_over_ends_it_where_it_is_not(store: Store) {
        let builder = store.tenant("acme").await.sessions();
        let (longer, sooner) = (builder.clone().build().unwrap(), builder.idle(SECOND).build().unwrap());
        for user in [None, Some("ada")] {
            let session = longer.begin();
            session.set("number", &1).unwrap();
            match user {
                None => assert_eq!(session.save().await.unwrap(), Saved::Done),
                Some(user) => assert_eq!(session.login(user).await.unwrap(), Login::Done),
            }
            tokio::time::sleep(SECOND * 11 / 10).await;
            let opened = sooner.open(token(&session));
            assert!(!opened.is_live().await.unwrap());
            assert!(is_live(&longer, &token(&session)).await);
            opened.logout().await.unwrap();
            assert!(!is_live(&longer, &token(&session)).await);
        }
    }

    async fn a_session_ends_in_the_end_however_much_it_is_used(store: Store) {
        let lasts = SECOND * 3 / 2;
        let sessions = store.tenant("acme").await.sessions().absolute(lasts).build().unwrap();
        let began = Instant::now();
        let session = log_in(&sessions, "ada").await;
        let mut n = 0_u64;
        let ended = loop {
            session.set("number", &n).unwrap();
            n += 1;
            match session.save().await.unwrap() {
                Saved::Done => tokio::time::sleep(Duration::from_millis(20)).await,
                ended => break ended,
            }
        };
        assert_eq!(ended, Saved::Gone);
        // The store's milliseconds are whole.
        assert!(began.elapsed() + SECOND / 100 >= lasts, "{:?}", began.elapsed());
        assert!(sessions.list("ada").await.unwrap().is_empty());
    }

    async fn a_datum_is_gone_after_its_time_and_the_others_stay(store: Store) {
        let sessions = sessions(&store).await;
        let session = log_in(&sessions, "ada").await;
        session.set("stays", &1).unwrap();
        session.set_for("goes", &2, SECOND / 5).unwrap();
        session.set_for("later", &3, 10 * MINUTE).unwrap();
        assert_eq!(session.save().await.unwrap(), Saved::Done);
        assert_eq!(number(&session, "goes").await, Some(2));
        let open = || sessions.open(token(&session));
        eventually("its time is over", || async { number(&open(), "goes").await.is_none() }).await;
        let after = open();
        assert_eq!((number(&after, "stays").await, number(&after, "later").await), (Some(1), Some(3)));
        assert_eq!(after.info().await.unwrap().unwrap().names, ["later", "stays"]);
        assert_eq!(sessions.list("ada").await.unwrap()[0].names, ["later", "stays"]);
        assert_eq!(after.take::<u64>("goes").await.unwrap(), None);
        // Set anew without a time, it stays.
        after.set("goes", &4).unwrap();
        assert_eq!(after.save().await.unwrap(), Saved::Done);
        tokio::time::sleep(SECOND / 4).await;
        assert_eq!(number(&open(), "goes").await, Some(4));
        // Its time goes along with a login.
        let visitor = sessions.begin();
        visitor.set_for("goes", &5, SECOND / 5).unwrap();
        assert_eq!(visitor.save().await.unwrap(), Saved::Done);
        assert_eq!(visitor.login("bob").await.unwrap(), Login::Done);
        let bobs = || sessions.open(token(&visitor));
        eventually("its time is over", || async { number(&bobs(), "goes").await.is_none() }).await;
        assert!(bobs().is_live().await.unwrap());
    }
}

#[test]
fn both_times_hold_to_the_millisecond_by_the_stores_clock() {
    keep(|| async {
        let (clock, hands) = Clock::manual();
        let sinew = Sinew::builder().clock(clock).embedded().unwrap();
        let sessions = sinew.sessions().idle(10 * MINUTE).absolute(60 * MINUTE).build().unwrap();
        let ms = Duration::from_millis(1);
        let began = log_in(&sessions, "ada").await.info().await.unwrap().unwrap();
        assert_eq!(began.expires_at.duration_since(began.created_at).unwrap(), 10 * MINUTE);
        assert_eq!(began.ends_at.duration_since(began.created_at).unwrap(), 60 * MINUTE);
        assert!(began.created_at > UNIX_EPOCH);

        let idle = log_in(&sessions, "ada").await;
        hands.advance(10 * MINUTE - ms);
        assert!(is_live(&sessions, &token(&idle)).await, "and it is used so");
        hands.advance(10 * MINUTE - ms);
        assert!(is_live(&sessions, &token(&idle)).await);
        hands.advance(10 * MINUTE);
        assert!(!is_live(&sessions, &token(&idle)).await);

        let used = log_in(&sessions, "ada").await;
        for _ in 0..6 {
            assert!(is_live(&sessions, &token(&used)).await);
            hands.advance(10 * MINUTE - ms);
        }
        assert!(is_live(&sessions, &token(&used)).await, "6 ms before its end");
        hands.advance(5 * ms);
        assert!(is_live(&sessions, &token(&used)).await);
        hands.advance(ms);
        assert!(!is_live(&sessions, &token(&used)).await);
        assert!(sessions.list("ada").await.unwrap().is_empty());

        // A login begins anew, another id does not.
        let again = log_in(&sessions, "ada").await;
        for _ in 0..5 {
            hands.advance(9 * MINUTE);
            assert!(is_live(&sessions, &token(&again)).await);
        }
        assert!(again.rotate().await.unwrap());
        let left = |session: Session| async move {
            let info = session.info().await.unwrap().unwrap();
            info.ends_at.duration_since(info.seen_at).unwrap()
        };
        assert_eq!(left(again.clone()).await, 15 * MINUTE);
        assert_eq!(again.login("ada").await.unwrap(), Login::Done);
        assert_eq!(left(again.clone()).await, 60 * MINUTE);
        hands.advance(9 * MINUTE);
        assert!(is_live(&sessions, &token(&again)).await);
    });
}

#[test]
fn a_datum_has_its_time_from_when_it_was_saved_also_in_a_session_that_was_read_long_before() {
    keep(|| async {
        let (clock, hands) = Clock::manual();
        let sessions =
            Sinew::builder().clock(clock).embedded().unwrap().sessions().build().unwrap();
        let visitor = sessions.begin();
        visitor.set("number", &1).unwrap();
        assert_eq!(visitor.save().await.unwrap(), Saved::Done);
        hands.advance(20 * MINUTE);
        visitor.set_for("code", &2, 5 * MINUTE).unwrap();
        assert_eq!(visitor.save().await.unwrap(), Saved::Done);
        assert_eq!(visitor.login("ada").await.unwrap(), Login::Done);
        let opened = || sessions.open(token(&visitor));
        assert_eq!(number(&opened(), "code").await, Some(2), "it goes along with the login");
        hands.advance(5 * MINUTE);
        assert_eq!(
            (number(&opened(), "code").await, number(&opened(), "number").await),
            (None, Some(1))
        );
    });
}
