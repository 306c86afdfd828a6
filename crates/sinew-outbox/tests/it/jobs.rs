//! Jobs that are committed with what they follow from.

use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use sinew::job::{Job, JobError, NewJob, Queue, QueueLook, QueueSettings, RunningWorker, Worker};
use sinew::{Jobs, Sinew};
use sinew_outbox::{Outbox, OutboxRow};

use crate::relay::{WAITING, deletes, relay_all};
use crate::{Database, End, eventually, on_databases, sinew};

on_databases! {
    what_is_committed_is_enqueued_once_and_what_is_rolled_back_never
    relays_that_run_together_enqueue_each_job_once_and_in_order
    what_was_done_before_its_row_was_deleted_is_not_run_again
    a_full_queue_keeps_its_rows_and_others_go_on
    a_job_that_can_never_be_enqueued_is_set_aside
    a_job_goes_to_its_tenant
}

pub const QUEUE: &str = "orders";

#[derive(Job, Serialize, Deserialize)]
#[job(name = "order", queue = "orders")]
pub struct Order {
    name: String,
}

/// The job of an order.
pub fn job(key: &str, name: &str) -> NewJob {
    let job = NewJob::of(&Order { name: name.to_owned() }).expect("JSON");
    NewJob { key: Some(key.to_owned()), ..job }
}

fn row(key: &str, name: &str) -> OutboxRow {
    Outbox::new().job(job(key, name)).expect("a row")
}

/// A worker that notes which orders it was told of.
pub struct Noting {
    worker: RunningWorker,
    names: Arc<Mutex<Vec<String>>>,
}

impl Noting {
    /// One at a time, so that they come in their order.
    pub fn start(jobs: &Jobs) -> Self {
        let names = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&names);
        let note = move |order: Order| {
            into.lock().expect("a list").push(order.name);
            std::future::ready(Ok::<(), JobError>(()))
        };
        let worker = Worker::new(jobs).queue(Queue::new(QUEUE).concurrency(1));
        let worker = worker.register(note).expect("a handler").start().expect("a worker");
        Self { worker, names }
    }

    /// All that it was told of, once there is nothing left to do.
    pub async fn until_all_are_done(self, jobs: &Jobs) -> Vec<String> {
        eventually("all is done", || async {
            let look = look(jobs, QUEUE).await;
            look.waiting + look.scheduled + look.running == 0
        })
        .await;
        assert_eq!(self.worker.stop().await.failed, 0);
        self.names.lock().expect("a list").clone()
    }
}

async fn look(jobs: &Jobs, queue: &str) -> QueueLook {
    jobs.queue(queue).look().await.expect("an answer").expect("a queue")
}

async fn what_is_committed_is_enqueued_once_and_what_is_rolled_back_never(database: Database) {
    let sinew = sinew().await;
    database.migrate(&Outbox::new()).await;
    let mut expected = Vec::new();
    for number in 0..30 {
        let names: Vec<String> = (0..10).map(|n| format!("{number} {n}")).collect();
        let rows = names.iter().map(|name| row("ada", name)).collect();
        let end = if number % 3 == 2 { End::RollBack } else { End::Commit };
        database.write(rows, end).await.expect("an end");
        if end == End::Commit {
            expected.extend(names);
        }
    }
    assert_eq!(relay_all(database.relay(), &sinew, &database).await, 200);
    let jobs = sinew.jobs();
    assert_eq!(Noting::start(&jobs).until_all_are_done(&jobs).await, expected);
}

async fn relays_that_run_together_enqueue_each_job_once_and_in_order(database: Database) {
    let sinew = sinew().await;
    database.migrate(&Outbox::new()).await;
    for n in 0..60 {
        let rows = (0..5).map(|key| row(&format!("key {key}"), &format!("{key} {n:02}")));
        database.write(rows.collect(), End::Commit).await.expect("a commit");
    }
    tokio::join!(
        relay_all(database.relay().batch(7), &sinew, &database),
        relay_all(database.relay().batch(11), &sinew, &database),
        relay_all(database.relay().batch(13), &sinew, &database)
    );
    let jobs = sinew.jobs();
    let names = Noting::start(&jobs).until_all_are_done(&jobs).await;
    assert_eq!(names.len(), 300);
    for key in 0..5 {
        let of_key: Vec<&String> =
            names.iter().filter(|name| name.starts_with(&format!("{key} "))).collect();
        let expected: Vec<String> = (0..60).map(|n| format!("{key} {n:02}")).collect();
        assert_eq!(of_key, expected.iter().collect::<Vec<_>>());
    }
}

async fn what_was_done_before_its_row_was_deleted_is_not_run_again(database: Database) {
    let sinew = sinew().await;
    let jobs = sinew.jobs();
    database.migrate(&Outbox::new()).await;
    let rows = vec![row("ada", "one"), row("ada", "two")];
    database.write(rows, End::Commit).await.expect("a commit");
    let (refuse, allow) = deletes(&database).await;
    database.run(refuse).await;
    let noting = Noting::start(&jobs);
    let of_relay = sinew.clone();
    let until = eventually("both are done", || async {
        jobs.queue(QUEUE).done(10).await.expect("an answer").len() == 2
    });
    database.relay().run(move |_| Ok(of_relay.clone()), until).await.expect("a table");
    // The next one knows nothing of what that one has done.
    database.run(allow).await;
    assert_eq!(relay_all(database.relay(), &sinew, &database).await, 2);
    assert_eq!(noting.until_all_are_done(&jobs).await, ["one", "two"]);
}

async fn a_full_queue_keeps_its_rows_and_others_go_on(database: Database) {
    let sinew = sinew().await;
    let jobs = sinew.jobs();
    database.migrate(&Outbox::new()).await;
    let full = jobs.queue("full");
    full.declare(QueueSettings::new().len_max(2)).await.expect("a queue");
    let to_full = |n: u32| {
        let job = NewJob { queue: "full".to_owned(), ..job("ada", &n.to_string()) };
        Outbox::new().job(job).expect("a row")
    };
    // Of the full one, more than a relay reads at once.
    let mut rows: Vec<_> = (0..20).map(to_full).collect();
    rows.push(row("ada", "other"));
    database.write(rows, End::Commit).await.expect("a commit");
    let of_relay = sinew.clone();
    let until = async {
        eventually("the other one is there", || async {
            let look = jobs.queue(QUEUE).look().await.expect("an answer");
            look.is_some_and(|look| look.waiting == 1)
        })
        .await;
        assert!(database.number(WAITING).await >= 18);
        full.declare(QueueSettings::new().len_max(1_000)).await.expect("a queue");
        eventually("all is relayed", || async { database.number(WAITING).await == 0 }).await;
    };
    let relay = database.relay().batch(1);
    relay.run(move |_| Ok(of_relay.clone()), until).await.expect("a table");
    assert_eq!(look(&jobs, "full").await.waiting, 20);
}

async fn a_job_that_can_never_be_enqueued_is_set_aside(database: Database) {
    let sinew = sinew().await;
    database.migrate(&Outbox::new()).await;
    let rows = vec![row("ada", "one"), row("ada", &"7".repeat(2 << 20)), row("ada", "three")];
    database.write(rows, End::Commit).await.expect("a commit");
    assert_eq!(relay_all(database.relay(), &sinew, &database).await, 2);
    assert_eq!(database.number("SELECT COUNT(*) FROM sinew_outbox").await, 1, "it is kept");
    let jobs = sinew.jobs();
    assert_eq!(Noting::start(&jobs).until_all_are_done(&jobs).await, ["one", "three"]);
}

async fn a_job_goes_to_its_tenant(database: Database) {
    let sinew = sinew().await;
    database.migrate(&Outbox::new()).await;
    let rows = vec![row("ada", "acme's").tenant("acme"), row("ada", "nobody's")];
    database.write(rows, End::Commit).await.expect("a commit");
    let all = sinew.clone();
    let of = move |tenant: Option<&str>| match tenant {
        Some(tenant) => all.tenant(tenant),
        None => Ok(all.clone()),
    };
    let until = eventually("all is relayed", || async { database.number(WAITING).await == 0 });
    database.relay().run(of, until).await.expect("a table");
    let acme: Sinew = sinew.tenant("acme").expect("a tenant");
    for (sinew, expected) in [(acme, "acme's"), (sinew, "nobody's")] {
        let jobs = sinew.jobs();
        assert_eq!(Noting::start(&jobs).until_all_are_done(&jobs).await, [expected]);
    }
}
