//! Limits of a fleet: processes of their own, that share a limit on one store. Each is run as
//! [`member`], with its part in the environment.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sinew::Sinew;
use sinew::limit::{DAY, Down, Limit, Limiter, Per};

use crate::laws::{eventually, keep_for};
use crate::member::{Member, a_line, setting};
use crate::world::{SHARED_CLUSTER, SHARED_REDIS, SHARED_VALKEY, start_redis};

const PROCESSES: usize = 4;
const TASKS: usize = 400;
const RUNS: usize = 20;
const BURST: u64 = 100;
/// No window of any limit ends while a test runs, and nothing drains.
const FOR_EVER: Duration = DAY.saturating_mul(366);
/// Of a hundred, so that shares have to be rounded.
const CUT_OFF: usize = 3;

fn start(part: &str, store: &str, variables: &[(&str, String)]) -> Member {
    let part = [("SINEW_LIMIT_PART", part.to_owned()), ("SINEW_LIMIT_STORE", store.to_owned())];
    Member::start("limit_fleet::member", &[&part[..], variables].concat())
}

/// Not a test by itself: it plays the part that the environment names.
#[test]
fn member() {
    let Ok(part) = std::env::var("SINEW_LIMIT_PART") else { return };
    keep_for(Duration::from_secs(600), || async move {
        let url = std::env::var("SINEW_LIMIT_STORE").expect("a URL");
        match part.as_str() {
            "crowd" => crowd(&url).await,
            _ => cut_off(&url).await,
        }
    });
}

fn hundreds(period: Duration) -> [Limit; 4] {
    [
        Limit::gcra("gcra", BURST.per(period)),
        Limit::fixed_window("fixed", BURST.per(period)),
        Limit::sliding_window("sliding", BURST.per(period)),
        Limit::sliding_log("log", BURST.per(period)),
    ]
}

/// Hundreds of tasks that want the same at once, again and again.
async fn crowd(url: &str) {
    let prefix = std::env::var("SINEW_LIMIT_PREFIX").expect("a prefix");
    let builder = Sinew::builder().prefix(&prefix).deadline(Duration::from_secs(10));
    let limiter = builder.connect(url).await.unwrap().limiter();
    println!("@ready");
    for run in 0..RUNS {
        a_line().await;
        let mut said = Vec::new();
        for limit in hundreds(FOR_EVER) {
            said.push(admitted(&limiter, &limit, run).await.to_string());
        }
        println!("@{}", said.join(" "));
    }
    a_line().await;
}

async fn admitted(limiter: &Limiter, limit: &Limit, run: usize) -> usize {
    let asked = (0..TASKS).map(|_| {
        let (limiter, limit) = (limiter.clone(), limit.clone());
        tokio::spawn(async move {
            let decision = limiter.check([limit.of(run as u64)]).await.unwrap();
            assert!(!decision.is_degraded(), "{decision:?}");
            decision.is_allowed()
        })
    });
    join_all(asked).await.into_iter().filter(|allowed| *allowed.as_ref().unwrap()).count()
}

fn sixteen_hundred_ask_for_a_hundred(store: &str, url: &str) {
    let prefix = format!("crowd{}_", std::process::id());
    let variables = [("SINEW_LIMIT_PREFIX", prefix)];
    let mut members: Vec<Member> =
        (0..PROCESSES).map(|_| start("crowd", url, &variables)).collect();
    for member in &members {
        assert_eq!(member.hear(), "ready");
    }
    for run in 0..RUNS {
        for member in &mut members {
            member.tell("go");
        }
        let mut admitted = [0; 4];
        for member in &members {
            let said = member.hear();
            let counts = said.split(' ').map(|count| count.parse::<u64>().expect("a count"));
            admitted.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
        }
        assert_eq!(admitted, [BURST; 4], "run {run} on {store}");
    }
    println!(
        "{PROCESSES} processes of {TASKS} tasks on {store}: {BURST} admitted by each algorithm, in each of {RUNS} runs"
    );
}

#[test]
fn a_crowd_of_processes_gets_its_burst_and_no_more_on_redis() {
    sixteen_hundred_ask_for_a_hundred("redis", &format!("redis://127.0.0.1:{}", SHARED_REDIS.port));
}

#[test]
fn a_crowd_of_processes_gets_its_burst_and_no_more_on_valkey() {
    let url = format!("redis://127.0.0.1:{}", SHARED_VALKEY.port);
    sixteen_hundred_ask_for_a_hundred("valkey", &url);
}

#[test]
fn a_crowd_of_processes_gets_its_burst_and_no_more_on_a_cluster() {
    sixteen_hundred_ask_for_a_hundred("cluster", &SHARED_CLUSTER.url());
}

/// One of a few that lose Redis, and take what they can get by themselves for a period.
async fn cut_off(url: &str) {
    let sinew = Sinew::builder().deadline(Duration::from_millis(250)).connect(url).await.unwrap();
    let limiter = sinew.limiter();
    let period = Duration::from_secs(setting("SINEW_LIMIT_PERIOD", 0));
    let limits = hundreds(period).map(|limit| limit.on_down(Down::Local));
    // It is counted from its first check on.
    let first = Limit::gcra("first", BURST.per(period)).on_down(Down::Local);
    assert!(!limiter.check([first.of("ada")]).await.unwrap().is_degraded());
    let all = CUT_OFF as u64;
    eventually("it hears of the others", || async { limiter.processes() == all }).await;
    println!("@ready");
    a_line().await;
    eventually("it is cut off", || async {
        limiter.check([first.of("ada")]).await.unwrap().is_degraded()
    })
    .await;
    println!("@alone");
    a_line().await;
    let mut admitted = [0_u64; 4];
    let began = Instant::now();
    while began.elapsed() < period {
        for (count, limit) in admitted.iter_mut().zip(&limits) {
            let decision = limiter.check([limit.of("ada")]).await.unwrap();
            assert!(decision.is_degraded(), "{decision:?}");
            *count += u64::from(decision.is_allowed());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("@{}", admitted.map(|count| count.to_string()).join(" "));
    a_line().await;
}

/// `cargo xtask torture limit --seconds 60` has them cut off for a minute.
#[test]
fn processes_that_are_cut_off_admit_the_limit_between_them() {
    let seconds = setting("SINEW_TORTURE_SECONDS", 6);
    let mut server = start_redis();
    let url = format!("redis://127.0.0.1:{}", server.port);
    let variables = [("SINEW_LIMIT_PERIOD", seconds.to_string())];
    let mut members: Vec<Member> =
        (0..CUT_OFF).map(|_| start("cut off", &url, &variables)).collect();
    for member in &members {
        assert_eq!(member.hear(), "ready");
    }
    server.kill();
    for member in &mut members {
        member.tell("it is gone");
    }
    for member in &members {
        assert_eq!(member.hear(), "alone");
    }
    for member in &mut members {
        member.tell("go");
    }
    let mut admitted = [0_u64; 4];
    for member in &members {
        let said = member.hear();
        let counts = said.split(' ').map(|count| count.parse::<u64>().expect("a count"));
        admitted.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
    }
    let rounding = CUT_OFF as u64;
    let [gcra, fixed, sliding, log] = admitted;
    println!(
        "{CUT_OFF} processes without Redis, {seconds} s, {BURST} per {seconds} s: admitted {gcra} by gcra, {fixed} by fixed_window, {sliding} by sliding_window, {log} by sliding_log"
    );
    assert!((BURST - rounding..=BURST + rounding).contains(&log), "{log}");
    // As the others are defined: a burst and a quota, or two windows.
    for count in [gcra, fixed, sliding] {
        assert!((BURST - rounding..=2 * BURST + 2 * rounding).contains(&count), "{count}");
    }
}
