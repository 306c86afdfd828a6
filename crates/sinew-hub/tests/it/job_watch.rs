//! `sinew job watch`: how jobs go, for whoever looks on.

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout};

use serde_json::{Value, json};
use sinew::job::PullEnd;

use crate::hub::exit_code;
use crate::job_cli::{Fleet, begun, job, worked};
use crate::world::redis_cli;

#[test]
fn a_watch_tells_how_fast_jobs_end() {
    let fleet = Fleet::start();
    fleet.enqueue(4);
    let taken = fleet.take(4);
    for (place, taken) in fleet.places().iter().zip(taken.chunks(2)) {
        let (watch, mut lines) = begun(&["watch", "--json", "--count", "4"], place);
        let mut next =
            || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
        let first = next();
        let queue = &first["queues"][0];
        assert_eq!((&queue["queue"], &queue["done_per_second"]), (&json!("mail"), &Value::Null));
        for job in taken {
            fleet.finish(job, PullEnd::Done(None));
        }
        let rates: Vec<f64> = (0..3)
            .map(|_| next()["queues"][0]["done_per_second"].as_f64().expect("a rate"))
            .collect();
        assert!(rates.iter().any(|rate| *rate > 0.0), "{rates:?}");
        assert_eq!(exit_code(&watch.wait_with_output().unwrap()), 0);
        let told = worked(&job(&["watch", "mail", "--count", "1"], place));
        assert!(told.lines().count() == 3 && told.contains("QUEUE "), "{told}");
        assert!(!told.contains('\x1b') && told.lines().all(|line| line.chars().count() <= 80));
    }
}

#[test]
fn jobs_are_watched_through_an_outage() {
    let mut fleet = Fleet::start();
    fleet.enqueue(1);
    let watches = fleet.places().map(|place| watched(&["watch", "mail"], &place));
    fleet.server.kill();
    see_it_looks_again(watches);
}

#[test]
fn jobs_are_watched_while_their_queue_is_not_there() {
    let fleet = Fleet::start();
    fleet.enqueue(1);
    let watches = fleet.places().map(|place| watched(&["watch", "mail", "--json"], &place));
    redis_cli(fleet.server.port, &["flushall"]);
    see_it_looks_again(watches);
}

/// A watch that has looked.
fn watched(words: &[&str], place: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let (child, mut lines) = begun(words, place);
    assert!(!lines.next().unwrap().unwrap().is_empty());
    (child, lines)
}

fn see_it_looks_again(watches: [(Child, Lines<BufReader<ChildStdout>>); 2]) {
    // What it prints is kept open: it ends with its reader.
    for (mut watch, _lines) in watches {
        let stderr = BufReader::new(watch.stderr.as_mut().unwrap());
        let lines = stderr.lines().map(Result::unwrap);
        let told = lines.filter(|line| line.starts_with("not known now: ")).take(2);
        assert_eq!(told.count(), 2, "it looks again");
        watch.kill().unwrap();
        watch.wait().unwrap();
    }
}
