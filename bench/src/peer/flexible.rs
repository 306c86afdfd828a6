//! rate-limiter-flexible, which runs on Node.js.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::node::{File, Program, ask};
use crate::process::Process;

pub const NAME: &str = "rate-limiter-flexible";

const FILES: [File; 3] = [
    ("main.js", include_str!("../../peers/rate-limiter-flexible/main.js")),
    ("package.json", include_str!("../../peers/rate-limiter-flexible/package.json")),
    ("package-lock.json", include_str!("../../peers/rate-limiter-flexible/package-lock.json")),
];

/// Where it is installed.
pub struct Flexible(Program);

impl Flexible {
    /// Installs it beside what cargo has built, or says why that cannot be.
    pub fn install() -> Result<Self, String> {
        Program::install(NAME, &FILES).map(Self)
    }

    pub fn start(&self, url: &str) -> Result<Process, String> {
        self.0.start(url)
    }
}

/// Checks a second, measured over there.
pub async fn rate(process: &Arc<Mutex<Process>>, time: Duration) -> f64 {
    ask(process, format!("rate {}", time.as_millis())).await
}
