//! When a breaker opens, and for how long.

use std::time::Duration;

use crate::kernel::error::{Error, Result};

#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    pub(super) in_a_row: u32,
    pub(super) percent: u8,
    pub(super) at_least: u32,
    pub(super) window: Duration,
    pub(super) open_for: Duration,
    pub(super) open_for_max: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            in_a_row: 3,
            percent: 50,
            at_least: 20,
            window: Duration::from_secs(10),
            open_for: Duration::from_secs(1),
            open_for_max: Duration::from_secs(60),
        }
    }
}

impl Policy {
    pub(super) fn check(&self) -> Result<()> {
        let bad = |what: &str| Err(Error::rejected(format!("a breaker's {what}")));
        if self.in_a_row == 0 || self.at_least == 0 {
            return bad("numbers (failures_in_a_row, failure_percent) are at least 1");
        }
        if self.percent == 0 || self.percent > 100 {
            return bad("share of failures (failure_percent) is 1 to 100");
        }
        if self.window < Duration::from_millis(10) || self.window > Duration::from_secs(3_600) {
            return bad("window (failure_percent) is 10 ms to an hour");
        }
        let day = Duration::from_secs(24 * 3_600);
        if self.open_for < Duration::from_millis(1)
            || self.open_for_max < self.open_for
            || self.open_for_max > day
        {
            return bad(
                "time open (open_for) is 1 ms to a day, its longest no shorter than its first",
            );
        }
        Ok(())
    }
}
