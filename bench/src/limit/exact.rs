//! How many are admitted of 1,600 that ask at the same time, 400 in each of four processes, where a
//! hundred may pass. Processes of ours and of Rust peers are this program again.

use std::process::Command;

use sinew::limit::{DAY, Limit, Per};
use tokio::task::spawn_blocking;

use super::{Ours, connect};
use crate::measure::Row;
use crate::peer::flexible::{self, Flexible};
use crate::peer::limits::{Ask, Limitador, Trypema};
use crate::process::{Process, next_line};

/// The argument that makes this program one of the processes.
pub const MEMBER: &str = "member";

const PROCESSES: usize = 4;
const CALLERS: u64 = 400;
const BURST: u32 = 100;
/// Each about a subject of its own.
const ROUNDS: u64 = 5;

pub async fn rows(url: String, flexible: Result<Flexible, String>) -> Vec<Row> {
    let rows = spawn_blocking(move || {
        let mut ours = of_rust("ours", &url);
        let mut subjects = 0_u64..;
        let mut beside = |peer, mut theirs: Fleet| {
            eprintln!("limit.exact: {peer}, {ROUNDS} rounds");
            let rounds = subjects.by_ref().take(ROUNDS as usize);
            let (ours, theirs): (Vec<f64>, Vec<f64>) =
                rounds.map(|subject| (ours.admitted(subject), theirs.admitted(subject))).unzip();
            Row::of_times("limit.exact", peer, worst(&ours), worst(&theirs), "admitted of 100")
        };
        let mut rows = vec![
            beside("limitador", of_rust("limitador", &url)),
            beside("trypema", of_rust("trypema", &url)),
        ];
        let start = |flexible: &Flexible| Fleet::start(|| flexible.start(&url));
        rows.push(match flexible.as_ref().map_err(String::clone).and_then(start) {
            Ok(theirs) => beside(flexible::NAME, theirs),
            Err(why) => Row::unavailable("limit.exact", flexible::NAME, &why),
        });
        rows
    });
    rows.await.expect("a thread that does not panic")
}

/// What was farthest from what it should be.
fn worst(admitted: &[f64]) -> f64 {
    let off = |admitted: f64| (admitted - f64::from(BURST)).abs();
    admitted.iter().copied().max_by(|a, b| off(*a).total_cmp(&off(*b))).expect("rounds")
}

struct Fleet(Vec<Process>);

impl Fleet {
    fn start(process: impl Fn() -> Result<Process, String>) -> Result<Self, String> {
        (0..PROCESSES).map(|_| process()).collect::<Result<_, _>>().map(Self)
    }

    fn admitted(&mut self, subject: u64) -> f64 {
        for process in &mut self.0 {
            process.tell(&format!("crowd {subject} {CALLERS}"));
        }
        self.0.iter().map(Process::hear).sum()
    }
}

fn of_rust(whose: &str, url: &str) -> Fleet {
    let program = std::env::current_exe().expect("this program");
    let start = || {
        let process = Process::start(Command::new(&program).args([MEMBER, whose, url]));
        process.map_err(|e| e.to_string())
    };
    Fleet::start(start).expect("processes")
}

/// One of the processes: does by lines what it is told, and answers by lines.
pub async fn member(whose: &str, url: &str) {
    match whose {
        "limitador" => crowds(Limitador::connect(url, "exact", BURST.into(), 1).await).await,
        "trypema" => crowds(Trypema::connect(url, "exact", BURST).await).await,
        _ => {
            let limit = Limit::gcra("exact", 1.per(DAY)).burst(BURST.into());
            crowds(Ours::of(&connect(url).await, limit)).await;
        }
    }
}

async fn crowds(limiter: impl Ask) {
    println!("ready");
    while let Some((subject, callers)) = next_crowd().await {
        let ask = || {
            let limiter = limiter.clone();
            tokio::spawn(async move { limiter.ask(subject).await })
        };
        let asked: Vec<_> = (0..callers).map(|_| ask()).collect();
        let mut admitted = 0;
        for caller in asked {
            admitted += u64::from(caller.await.expect("a task that does not panic"));
        }
        println!("{admitted}");
    }
}

/// Subject and callers; nothing where nobody asks any more.
async fn next_crowd() -> Option<(u64, u64)> {
    let line = next_line().await?;
    let (subject, callers) = line.strip_prefix("crowd ")?.split_once(' ')?;
    Some((subject.parse().expect("a subject"), callers.parse().expect("callers")))
}
