//! Rate limits beside the least that the job needs, and beside other limiters.

mod check;
mod exact;
mod local;

use std::sync::Arc;

use sinew::Sinew;
use sinew::limit::{HOUR, Limit, Limiter, Per};
use tokio::task::spawn_blocking;

use crate::measure::{Effort, Row};
use crate::peer::flexible::Flexible;
use crate::peer::limits::Ask;
use crate::world::start_redis;

pub use exact::{MEMBER, member};

/// More than anyone asks for during a run: nothing is denied.
const QUOTA: u32 = 1_000_000;

pub async fn run(effort: Effort) -> Vec<Row> {
    let server = spawn_blocking(start_redis).await.expect("a server");
    let url = format!("redis://127.0.0.1:{}", server.port);
    let flexible = spawn_blocking(Flexible::install).await.expect("a thread that does not panic");
    let mut rows = check::rows(effort, &url, &flexible).await;
    rows.extend(local::rows(effort, &connect(&url).await).await);
    rows.extend(exact::rows(url, flexible).await);
    rows
}

async fn connect(url: &str) -> Limiter {
    let sinew = Sinew::connect(url).await.expect("a connection");
    sinew.tenant("acme").expect("a tenant").limiter()
}

/// So many of our limits, all of which a check is about.
#[derive(Clone)]
struct Ours<const LIMITS: usize> {
    limiter: Limiter,
    limits: Arc<[Limit; LIMITS]>,
}

impl Ours<1> {
    fn of(limiter: &Limiter, limit: Limit) -> Self {
        Self { limiter: limiter.clone(), limits: Arc::new([limit]) }
    }
}

impl<const LIMITS: usize> Ours<LIMITS> {
    fn new(limiter: &Limiter) -> Self {
        let limit =
            |nth| Limit::gcra(format!("check-{nth}-of-{LIMITS}"), u64::from(QUOTA).per(HOUR));
        Self { limiter: limiter.clone(), limits: Arc::new(std::array::from_fn(limit)) }
    }
}

impl<const LIMITS: usize> Ask for Ours<LIMITS> {
    async fn ask(&self, subject: u64) -> bool {
        let checks = self.limits.each_ref().map(|limit| limit.of(subject));
        let decision = self.limiter.check(checks).await.expect("an answer");
        assert!(!decision.is_degraded(), "Redis is up");
        decision.is_allowed()
    }
}
