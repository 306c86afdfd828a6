//! What a topic keeps, and for how long.

use std::time::Duration;

use sinew::ErrorKind;
use sinew::stream::{Ack, Force, GroupChange, Seek};

use super::hearing::{Hearing, all_done};
use super::{SECOND, publish, streams};
use crate::laws::eventually;

laws! {
    async fn a_full_topic_refuses_and_takes_again_once_there_is_room(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("orders").len_max(5).declare().await.unwrap();
        // A group that has joined keeps what it has not finished.
        let mut group = Hearing::start(there.subscribe("orders", "billing"), all_done);
        publish(&here, "orders", 0).await;
        assert_eq!(group.numbers(1).await, [0]);
        eventually("it is acked", || async { here.lag("orders").await.unwrap()[0].held == 0 }).await;
        group.stop().await;
        let mut taken = 0;
        let refused = loop {
            match here.publish("orders", &1_u64).await {
                Ok(_) => taken += 1,
                Err(error) => break error,
            }
            assert!(taken <= 5, "more than it has room for");
        };
        assert_eq!(refused.kind(), ErrorKind::Unavailable { maybe_applied: false });
        assert!(refused.to_string().contains("is full"), "{refused}");
        assert!(taken >= 4);
        let mut group = Hearing::start(there.subscribe("orders", "billing"), all_done);
        assert_eq!(group.numbers(taken).await, vec![1; taken], "nothing was robbed");
        eventually("there is room again", || async { here.publish("orders", &2_u64).await.is_ok() })
            .await;
        assert_eq!(group.numbers(1).await, [2]);
    }

    async fn a_trim_keeps_what_is_pending_and_unread(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        here.topic("orders").keep(Duration::from_millis(1)).declare().await.unwrap();
        let subscribe = there.subscribe("orders", "billing").concurrency(1);
        let mut holds = Hearing::start_with(subscribe, |heard| async move {
            if heard.number == 3 {
                std::future::pending::<()>().await;
            }
            Ok(Ack::Done)
        });
        for number in 0..10 {
            publish(&here, "orders", number).await;
        }
        assert_eq!(holds.numbers(4).await, [0, 1, 2, 3]);
        eventually("the others are acked", || async {
            let told = here.lag("orders").await.unwrap().remove(0);
            told.held + told.waiting.n == 7
        })
        .await;
        assert_eq!(here.trim("orders").await.unwrap().held_by.as_deref(), Some("billing"));
        let left = here.events("orders", None, 100).await.unwrap();
        let left: Vec<_> = left.iter().map(|stored| stored.event.data.clone()).collect();
        for number in 3..10 {
            assert!(left.iter().any(|data| **data == *number.to_string().as_bytes()), "{number}");
        }
        // What it was given comes back once its lease is over; here it is taken from it.
        drop(holds);
    }

    async fn a_group_whose_events_are_held_is_neither_moved_nor_forgotten(store: Store) {
        let (here, there) = (streams(&store).await, streams(&store).await);
        let subscribe = there.subscribe("orders", "billing").lease(600 * SECOND);
        let mut holds = Hearing::start_with(subscribe, |_| std::future::pending());
        publish(&here, "orders", 1).await;
        assert_eq!(holds.numbers(1).await, [1]);
        let sought = here.seek("orders", "billing", Seek::End, Force::No).await.unwrap();
        assert_eq!(sought, GroupChange::Pending(1));
        let forgot = here.forget_group("orders", "billing", Force::No).await.unwrap();
        assert_eq!(forgot, GroupChange::Pending(1));
        let consumers = here.consumers("orders", "billing").await.unwrap();
        assert_eq!(consumers.iter().map(|one| one.held).sum::<u64>(), 1);
    }
}
