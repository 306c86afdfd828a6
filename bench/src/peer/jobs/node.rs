//! BullMQ on Node.js, which measures itself: its process is told what to do, and answers how fast it was, or how late.
//!
//! Its `package.json` has natives of other machines lead to that of this one, since a registry may lack them, and
//! `npm ci` asks for all.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::peer::node::{File, Program, ask, ask_all};
use crate::process::Process;

const FILES: [File; 3] = [
    ("main.js", include_str!("../../../peers/bullmq/main.js")),
    ("package.json", include_str!("../../../peers/bullmq/package.json")),
    ("package-lock.json", include_str!("../../../peers/bullmq/package-lock.json")),
];

/// Where it is installed.
pub struct BullMq(Program);

impl BullMq {
    /// Installs it beside what cargo has built, or says why that cannot be.
    pub fn install() -> Result<Self, String> {
        Program::install("bullmq", &FILES).map(Self)
    }

    pub fn start(&self, url: &str) -> Result<BullMqProcess, String> {
        let process = self.0.start(url)?;
        Ok(BullMqProcess(Arc::new(Mutex::new(process))))
    }
}

/// One that runs. All rates are jobs a second, as those of the others are measured.
pub struct BullMqProcess(Arc<Mutex<Process>>);

impl BullMqProcess {
    /// Enqueues so many.
    pub async fn fill(&self, jobs: u64) {
        ask(&self.0, format!("fill {jobs}")).await;
    }

    /// Enqueueing many with a call.
    pub async fn many(&self, time: Duration) -> f64 {
        ask(&self.0, format!("many {}", time.as_millis())).await
    }

    /// Enqueueing one with a call.
    pub async fn singles(&self, time: Duration) -> f64 {
        ask(&self.0, format!("singles {}", time.as_millis())).await
    }

    /// Doing so many that wait, or as many of them as it can in that time.
    pub async fn consume(&self, waiting: u64, time: Duration) -> f64 {
        ask(&self.0, format!("consume {waiting} {}", time.as_millis())).await
    }

    /// How long after the begin of its enqueueing each job begins that comes in that time, after a warm-up.
    pub async fn pickup(&self, time: Duration) -> Vec<Duration> {
        let delays_ms = ask_all(&self.0, format!("pickup {}", time.as_millis())).await;
        delays_ms.into_iter().map(|ms| Duration::from_secs_f64(ms / 1_000.0)).collect()
    }
}
