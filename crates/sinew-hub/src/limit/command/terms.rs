//! What a limit is to be, on the command line.

use clap::Args;

use crate::cli::Outcome;
use crate::limit::body::{LimitBody, limit_of};

/// What may be left out.
#[derive(Args)]
pub struct Terms {
    /// How it counts [default: gcra]
    #[arg(long, requires = "quota", value_parser = ["gcra", "fixed-window", "sliding-window", "sliding-log"])]
    algorithm: Option<String>,
    /// How much may be taken at once, by gcra [default: the quota]
    #[arg(long, value_name = "N", requires = "quota")]
    burst: Option<u64>,
    /// What a subject may owe, when a reservation has cost more [default: 0]
    #[arg(long, value_name = "N", requires = "quota")]
    debt_max: Option<u64>,
    /// What is answered while Redis is down: this process's share, everything, or nothing [default: local]
    #[arg(long, requires = "quota", value_parser = ["local", "open", "closed"])]
    on_down: Option<String>,
    /// Decide and count, and stop no one
    #[arg(long, requires = "quota")]
    shadow: bool,
}

impl Terms {
    /// A limit that can be.
    pub(super) fn body(&self, name: &str, quota: u64, per: &str) -> Result<LimitBody, Outcome> {
        let or = |said: &Option<String>, default: &str| {
            said.clone().unwrap_or_else(|| default.to_owned())
        };
        let body = LimitBody {
            name: name.to_owned(),
            algorithm: or(&self.algorithm, "gcra"),
            quota,
            per: per.to_owned(),
            burst: self.burst,
            debt_max: self.debt_max.unwrap_or(0),
            // `define` alone says one: a command that ends can hand out nothing.
            lease: 0,
            on_down: or(&self.on_down, "local"),
            shadow: self.shadow,
        };
        limit_of(&body).map_err(Outcome::BadInput)?;
        Ok(body)
    }
}
