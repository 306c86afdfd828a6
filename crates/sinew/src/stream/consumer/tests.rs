//! What no history of a whole process brings about for certain.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::*;
use crate::kernel::clock::Clock;
use crate::kernel::key::Scope;
use crate::kernel::name::{GroupName, Prefix, Tenancy, TopicName};
use crate::stream::event::Event;
use crate::stream::handler::{Ack, Ctx};
use crate::stream::model::{Backoff, Claim, GroupMode, Joining, Outgoing, Start};
use crate::stream::subscribe::Handled;
use crate::stream::twin::redis;

const LEASE: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(60);

fn settings() -> Settings {
    let handler = |_: Event<Bytes>, _: Ctx| -> BoxFuture<'static, Handled> {
        Box::pin(std::future::ready(Handled::Said(Ack::Done)))
    };
    Settings {
        topic: TopicName::new("orders").unwrap(),
        group: GroupName::new("billing").unwrap(),
        mode: GroupMode::Any,
        concurrency: 1,
        lease: LEASE,
        backoff: Backoff::default(),
        inbox: Some(LONG),
        start: Start::First,
        only: Vec::new(),
        breaker: None,
        label: "one".to_owned(),
        forget_after: None,
        drain: LONG,
        handler: Arc::new(handler),
    }
}

async fn within(work: impl Future<Output = ()>) {
    tokio::time::timeout(LONG, work).await.expect("it never comes to that");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_has_by_now_is_not_finished_under_a_new_name() {
    let (_server, link) = redis().await;
    let clock = Clock::system();
    let engine = Engine::on_redis(link, clock.clone(), &Prefix::default(), 1 << 20);
    let settings = Arc::new(settings());
    let scope = Scope::unscoped(&Prefix::default(), Tenancy::Multi);
    let keys = scope.stream(&settings.topic, 0);
    let group = keys.group(&settings.group);
    let checkpoints = Checkpoints::open(clock, None).await;
    let (queue, _to_start) = mpsc::channel(1);
    let of = std::slice::from_ref(&keys);
    let (consumer, outcomes) =
        Consumer::new(Arc::clone(&engine), settings, of, checkpoints, queue).unwrap();
    let (consumer, backend) = (Arc::new(consumer), &engine.backend);
    let part = &consumer.parts[0];

    let data = (Bytes::from_static(b"data"), Bytes::from_static(b"1"));
    let event = Outgoing { fields: vec![data], dedup: None, delay_ms: 0 };
    backend.declare(&keys, Some(1), None, None).await.unwrap();
    backend.publish(&keys, 1, vec![event.clone(), event]).await.unwrap();
    consumer.join_first(0).await.unwrap();
    let former = consumer.name();
    let read = backend.read_new(&keys, &group, &former, 2).await.unwrap();
    let Reply::Ok(entries) = read else { panic!("{read:?}") };
    for entry in &entries {
        part.held.deliver(entry.id);
        assert!(part.held.ended(entry.id), "it has run, and the store is to hear of it");
    }

    // It was cut off for so long that another has the first of them.
    let joining = Joining {
        who: "other",
        lease_ms: millis(LONG),
        mode: GroupMode::Any,
        start: Start::First,
        forget_ms: None,
        checkpoints: &[],
    };
    backend.join(&keys, &group, &joining).await.unwrap();
    let ticking = consumer.ticking("other", Whom::Members);
    within(async {
        loop {
            match backend.claim(&keys, &group, &ticking, &former, 1).await.unwrap() {
                Claim::Took { taken, has_more } => {
                    assert!(has_more && taken.entries[0].id == entries[0].id, "{taken:?}");
                    break;
                }
                // Its lease and its grace are not over yet.
                Claim::Refused => tokio::time::sleep(LEASE).await,
                Claim::NoGroup => panic!("the group is gone"),
            }
        }
    })
    .await;

    // The keeper has heard of it before the store is told of the runs.
    consumer.take_new_name().unwrap();
    let mut told = JoinSet::new();
    for (index, outcome) in outcomes.into_iter().enumerate() {
        told.spawn(settle(Arc::clone(&consumer), index, outcome));
    }
    for (entry, name) in entries.iter().zip(["first", "second"]) {
        let becomes = Becomes::Ack { event_id: Some(name.to_owned()) };
        part.ended.send(Ended { id: entry.id, becomes }).await.unwrap();
    }
    within(async {
        while part.held.len() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let held: Vec<_> = backend.consumers(&keys, &group).await.unwrap();
    let held = held.into_iter().filter(|one| one.held > 0).map(|one| (one.name, one.held));
    assert_eq!(held.collect::<Vec<_>>(), [("other".to_owned(), 1)]);
    assert_eq!(backend.inbox(&group, &["first", "second"]).await.unwrap(), [false, true]);
    let finished = consumer.tally.finished();
    assert_eq!((finished.handled, finished.lost), (1, 1));
}
