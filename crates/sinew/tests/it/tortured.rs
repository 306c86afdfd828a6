//! What the tortures of fleets have in common.

use std::io::Read as _;
use std::time::Duration;

/// The time of this machine, suspended or not, which all its processes share.
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or_default() * 1_000_000_000 + nanos.unwrap_or_default()
}

pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub fn millis(from: u64, to: u64, random: &mut fastrand::Rng) -> Duration {
    Duration::from_millis(random.u64(from..to))
}

/// In a process: until it is told to come to its end, or the test has ended, however it did.
pub async fn is_told_to_end() {
    let input = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let _ = input.await;
}
