//! Telling everyone who is there.

use std::time::Duration;

use sinew::ErrorKind;
use sinew::stream::{Heard, Hearing};

use super::streams;
use crate::laws::LAW_MAX;

async fn next(hearing: &mut Hearing<u64>) -> Heard<u64> {
    let next = tokio::time::timeout(LAW_MAX / 3, hearing.next()).await;
    next.expect("never heard").expect("the client is there")
}

async fn is_silent(hearing: &mut Hearing<u64>) -> bool {
    tokio::time::timeout(Duration::from_millis(300), hearing.next()).await.is_err()
}

laws! {
    async fn everyone_who_listens_is_told_and_no_one_else(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let other_tenant = store.tenant("globex").await.streams();
        assert_eq!(here.broadcast("prices", &0_u64).await.unwrap(), 0, "no one listens");
        let mut all = [here.hear("prices"), there.hear("prices"), there.hear("prices")];
        let mut others = [there.hear("rates"), other_tenant.hear("prices")];
        for hearing in all.iter_mut().chain(&mut others) {
            assert_eq!(next(hearing).await, Heard::Gap, "what was told before is not known");
        }
        for number in 1..=20_u64 {
            here.broadcast("prices", &number).await.unwrap();
        }
        for hearing in &mut all {
            for number in 1..=20 {
                assert_eq!(next(hearing).await, Heard::Message(number), "in order");
            }
        }
        for hearing in all.iter_mut().chain(&mut others) {
            assert!(is_silent(hearing).await);
        }
    }

    async fn it_is_told_how_many_have_heard_wherever_the_channel_is(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        for channel in ["rates", "prices", "stock", "news", "fees", "holidays"] {
            let mut both = [there.hear(channel), here.hear(channel)];
            for hearing in &mut both {
                assert_eq!(next(hearing).await, Heard::Gap);
            }
            assert_eq!(here.broadcast(channel, &7_u64).await.unwrap(), 2, "{channel}");
            for hearing in &mut both {
                assert_eq!(next(hearing).await, Heard::Message(7));
            }
        }
    }

    async fn what_is_of_another_type_is_passed_over(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let mut hearing = there.hear::<u64>("prices");
        assert_eq!(next(&mut hearing).await, Heard::Gap);
        here.broadcast("prices", "no number").await.unwrap();
        here.broadcast("prices", &7_u64).await.unwrap();
        assert_eq!(next(&mut hearing).await, Heard::Message(7));
    }

    async fn a_channel_that_cannot_be_is_refused(store: Store) {
        let here = streams(&store).await;
        let long = "x".repeat(129);
        for channel in ["", "a b", "a:b", "{a}", long.as_str()] {
            let refused = here.broadcast(channel, &1_u64).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Rejected, "{channel}: {refused}");
            assert_eq!(here.hear::<u64>(channel).next().await, None, "{channel}");
        }
    }
}
