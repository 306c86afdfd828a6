//! Checks by 256 tasks on one Redis, about a thousand subjects, none of which is denied; and how many
//! commands one takes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use sinew::limit::{Down, HOUR, Limit, Per};
use tokio::task::spawn_blocking;

use super::{Ours, QUOTA, connect};
use crate::measure::{Effort, Row, in_turn, rate};
use crate::peer::flexible::{self, Flexible};
use crate::peer::limits::{Ask, Counted, Limitador, Trypema};
use crate::peer::raw_connection;
use crate::world::start_redis;

const TASKS: u64 = 256;
const SUBJECTS: u64 = 1_000;
const LIMITS: usize = 5;

pub async fn rows(effort: Effort, url: &str, flexible: &Result<Flexible, String>) -> Vec<Row> {
    let limiter = connect(url).await;
    let (ours, quota) = (Ours::<1>::new(&limiter), u64::from(QUOTA));
    let of = Measured { effort, bench: "limit.check", ours: &ours };
    let mut rows = Vec::new();
    rows.push(of.beside("raw", &Counted::connect(url, quota).await).await);
    rows.push(of.beside("limitador", &Limitador::connect(url, "check", quota, 1).await).await);
    rows.push(of.beside("trypema", &Trypema::connect(url, "check", QUOTA).await).await);
    rows.push(of.beside_flexible(url, flexible).await);
    let ours = Ours::<LIMITS>::new(&limiter);
    let of = Measured { effort, bench: "limit.check_5", ours: &ours };
    let five = Limitador::connect(url, "check_5", quota, LIMITS as u64).await;
    rows.push(of.beside("limitador", &five).await);
    rows.push(commands().await);
    rows
}

/// What a row is about, but for the peer.
struct Measured<'a, A> {
    effort: Effort,
    bench: &'static str,
    ours: &'a A,
}

impl<A: Ask> Measured<'_, A> {
    async fn beside(&self, peer: &'static str, theirs: &impl Ask) -> Row {
        let title = format!("{}: {peer}", self.bench);
        let ours = async |time| checks(self.ours, time).await;
        let theirs = async |time| checks(theirs, time).await;
        let (ours, theirs) = in_turn(self.effort, &title, ours, theirs).await;
        Row::of_rates(self.bench, peer, ours, theirs)
    }

    /// With as many tasks and subjects, which are counted in the process that they run in.
    async fn beside_flexible(&self, url: &str, flexible: &Result<Flexible, String>) -> Row {
        let started = flexible.as_ref().map_err(String::clone).and_then(|it| it.start(url));
        let process = match started {
            Ok(process) => Arc::new(Mutex::new(process)),
            Err(why) => return Row::unavailable(self.bench, flexible::NAME, &why),
        };
        let title = format!("{}: {}", self.bench, flexible::NAME);
        let ours = async |time| checks(self.ours, time).await;
        let theirs = async |time| flexible::rate(&process, time).await;
        let (ours, theirs) = in_turn(self.effort, &title, ours, theirs).await;
        Row::of_rates(self.bench, flexible::NAME, ours, theirs)
    }
}

async fn checks(limiter: &impl Ask, time: Duration) -> f64 {
    let limiter = limiter.clone();
    let check = move |n: u64| {
        let limiter = limiter.clone();
        async move { assert!(limiter.ask(n % SUBJECTS).await, "nothing is denied") }
    };
    rate(TASKS, time, check).await
}

/// What a check of five limits takes, on a server to which nobody else sends any. Of ours, fewer limits
/// take one as well.
async fn commands() -> Row {
    let server = spawn_blocking(start_redis).await.expect("a server");
    let url = format!("redis://127.0.0.1:{}", server.port);
    let (limiter, mut raw) = (connect(&url).await, raw_connection(&url).await);
    // Nothing that says how many processes there are.
    let limit = |nth| Limit::gcra(format!("limit-{nth}"), 1_000_000.per(HOUR)).on_down(Down::Open);
    let limits: [Limit; LIMITS] = std::array::from_fn(limit);
    let checks = limits.each_ref().map(|limit| limit.of(7_u64));
    let mut ours = 0.0;
    for named in 1..=LIMITS {
        let ask = async || {
            let decision = limiter.check(&checks[..named]).await.expect("an answer");
            assert!(decision.is_allowed() && !decision.is_degraded());
        };
        ours = commands_each(&mut raw, ask).await;
        assert_eq!(ours, 1.0, "commands a check of {named} limits");
    }
    let limitador = Limitador::connect(&url, "commands", 1_000_000, LIMITS as u64).await;
    let ask = async || assert!(limitador.ask(7).await, "nothing is denied");
    let theirs = commands_each(&mut raw, ask).await;
    Row::of_times("limit.commands_5", "limitador", ours, theirs, "commands")
}

/// How many commands each takes: scripts, and what is read beside them.
async fn commands_each(server: &mut MultiplexedConnection, ask: impl AsyncFn()) -> f64 {
    const CHECKS: u64 = 1_000;
    // What scripts call is counted by the server like what is sent to it.
    const OF_SCRIPTS: [&str; 8] =
        ["expire", "get", "incrby", "pexpire", "pttl", "sadd", "set", "time"];
    ask().await;
    let before = calls(server).await;
    for _ in 0..CHECKS {
        ask().await;
    }
    let mut after = calls(server).await;
    after.retain(|command, _| !OF_SCRIPTS.contains(&command.as_str()));
    for (command, count) in &mut after {
        *count -= before.get(command).unwrap_or(&0);
    }
    let asked: u64 = ["evalsha", "mget"].iter().filter_map(|sent| after.remove(*sent)).sum();
    let others: u64 = after.values().sum();
    // A connection is looked after now and then.
    assert!(others < CHECKS / 10, "{after:?}");
    asked as f64 / CHECKS as f64
}

/// How often a server was called, by command.
async fn calls(server: &mut MultiplexedConnection) -> BTreeMap<String, u64> {
    let info = redis::cmd("INFO").arg("commandstats").query_async::<String>(server).await;
    let info = info.expect("statistics");
    let calls = info.lines().filter_map(|line| {
        let (command, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((command.to_owned(), rest.split(',').next()?.parse().ok()?))
    });
    calls.collect()
}
