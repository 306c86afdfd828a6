//! Plain keys in a fleet: processes of their own, each of which has to hear of them. Each is run as [`member`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use crate::flag::{ada, open};
use crate::laws::{eventually, keep_for};
use crate::member::{Member, a_line};
use crate::outage::process_at;
use crate::world::{redis_cli, start_redis};

const PROCESSES: usize = 4;
const PORT: &str = "SINEW_FLAG_FLEET_PORT";
const FLAG: &str = "advanced-ai-models";

/// Counts what of plain keys does not count.
#[derive(Default)]
struct Ignored(Arc<AtomicU64>);

impl Recorder for Ignored {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match key.name() {
            "sinew_flag_overlays_ignored_total" => Counter::from_arc(Arc::clone(&self.0)),
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Not a test by itself: it watches the store that the environment names.
#[test]
fn member() {
    let Ok(port) = std::env::var(PORT) else { return };
    let ignored = Ignored::default();
    let count = Arc::clone(&ignored.0);
    metrics::set_global_recorder(ignored).expect("the only one");
    keep_for(Duration::from_secs(300), || async move {
        let flags = open(&process_at(port.parse().expect("a port")).await).await;
        println!("@ready");
        loop {
            match a_line().await.as_str() {
                "" => return,
                "is ignored" => println!("@{}", count.load(Ordering::Relaxed) > 0),
                word => {
                    eventually(word, || async { flags.enabled(FLAG, &ada()) == (word == "on") })
                        .await;
                    println!("@{word}");
                }
            }
        }
    });
}

#[test]
fn a_plain_key_set_by_hand_is_heard_of_in_every_process() {
    let server = start_redis();
    let variables = [(PORT, server.port.to_string())];
    let mut members: Vec<Member> =
        (0..PROCESSES).map(|_| Member::start("flag_fleet::member", &variables)).collect();
    for member in &members {
        assert_eq!(member.hear(), "ready");
    }
    let mut all_say = |asked: &str, expected: &str| {
        for member in &mut members {
            member.tell(asked);
        }
        for (n, member) in members.iter().enumerate() {
            assert_eq!(member.hear(), expected, "process {n}, asked {asked:?}");
        }
    };
    let key = format!("_:feature:{FLAG}:global");
    all_say("off", "off");
    redis_cli(server.port, &["SET", &key, "True", "EX", "604800"]);
    all_say("on", "on");
    all_say("is ignored", "false");
    // Garbage is as good as nothing, and counted.
    redis_cli(server.port, &["SET", &key, "yes"]);
    all_say("off", "off");
    all_say("is ignored", "true");
    redis_cli(server.port, &["SET", &key, "true"]);
    all_say("on", "on");
    redis_cli(server.port, &["DEL", &key]);
    all_say("off", "off");
}
