//! One typed door per script.

use crate::flag::backend::{CHANGES_MAX, Write};
use crate::kernel::error::Result;
use crate::kernel::key::FlagKeys;
use crate::kernel::redis::{Link, Script};

/// The most bytes that the changes of an environment take.
const CHANGES_LEN_MAX: usize = 256 << 20;

// It would meet what it has written itself, and call that another version.
static WRITE: Script = Script::once(include_str!("../scripts/write.lua"));

pub(super) async fn write(link: &Link, keys: &FlagKeys, write: &Write<'_>) -> Result<bool> {
    link.script(&WRITE, &[keys.document(), keys.changes()])
        .arg(write.read)
        .arg(write.version)
        .arg(write.body)
        .arg(write.change)
        .arg(CHANGES_MAX)
        .arg(CHANGES_LEN_MAX)
        .run()
        .await
}
