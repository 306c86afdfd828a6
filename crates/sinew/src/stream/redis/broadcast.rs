//! Telling everyone who listens now.

use redis::cmd;

use crate::kernel::error::Result;
use crate::kernel::redis::{Link, Rerun};

/// Tells who listens now, and says how many heard it.
pub(in crate::stream) async fn tell(link: &Link, channel: &str, message: &[u8]) -> Result<u64> {
    let mut publish = cmd("PUBLISH");
    publish.arg(channel).arg(message);
    link.call(publish, channel, Rerun::Harmful).run().await
}
