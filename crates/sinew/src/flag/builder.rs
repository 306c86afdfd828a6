//! Opening an environment's flags.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::Flags;
use super::backend::Backend as _;
use super::disk::DiskCopy;
use super::engine::Engine;
use super::known::{Book, Shared};
use super::plain::keep as keep_plain;
use super::watch::keep as keep_document;
use crate::kernel::error::{Error, Result};
use crate::kernel::key::{PlainFlags, Scope};
use crate::kernel::name::EnvName;

const ENV_DEFAULT: &str = "default";
const PREFIX_LEN_MAX: usize = 256;

/// How to open flags: [`FlagsBuilder::open`] does.
#[derive(Clone)]
#[must_use = "flags are opened by open()"]
pub struct FlagsBuilder {
    engine: Arc<Engine>,
    scope: Scope,
    env: String,
    overlay_prefix: Option<String>,
    disk_copy: Option<PathBuf>,
}

impl FlagsBuilder {
    pub(crate) fn new(engine: Arc<Engine>, scope: Scope) -> Self {
        Self { engine, scope, env: ENV_DEFAULT.to_owned(), overlay_prefix: None, disk_copy: None }
    }

    /// The environment: 1 to 64 of `[A-Za-z0-9.-]`; `default` unless said. Each has flags of its own.
    pub fn env(mut self, name: impl Into<String>) -> Self {
        self.env = name.into();
        self
    }

    /// A file in which the last known flags are kept, for a start without Redis. Plain keys are not in it.
    /// It is of one tenant and environment: another one's is not read.
    ///
    /// Where it cannot be read or written, a warning says so.
    pub fn disk_cache(mut self, path: impl Into<PathBuf>) -> Self {
        self.disk_copy = Some(path.into());
        self
    }

    /// What plain keys begin with, 1 to 256 bytes, wherever that is: prefix and tenant are not put before
    /// it. `{prefix}{tenant}:feature:` unless said.
    pub fn overlay_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.overlay_prefix = Some(prefix.into());
        self
    }

    /// Begins to watch the flags, and waits until they are known, for as long as a call of Redis may take.
    ///
    /// # Errors
    /// `Rejected` for a bad setting.
    ///
    /// # Cancellation
    /// Dropping the future ends the watching.
    ///
    /// # When Redis is down
    /// It succeeds with what [`FlagsBuilder::disk_cache`] has, or without any flags, and goes on trying:
    /// see [`Flags::state`].
    pub async fn open(self) -> Result<Flags> {
        let Self { engine, scope, env, overlay_prefix, disk_copy } = self;
        let keys = scope.flags(&EnvName::new(&env)?);
        let plain = match overlay_prefix {
            None => scope.plain_flags(),
            Some(prefix) => plain_at(&prefix)?,
        };
        let key = keys.document().to_owned();
        let disk = disk_copy.map(|path| DiskCopy { path, key });
        let (copies, of_copies) = watch::channel(None);
        let copies = disk.is_some().then_some(copies);
        let shared = Arc::new(Shared::new(Arc::clone(&engine), keys, plain, copies));
        if let Some(disk) = disk {
            recall(&shared, &disk).await;
            // Ends once no one has anything to copy any more.
            tokio::spawn(disk.keep(of_copies));
        }
        engine.opened(&shared);
        let (looked, mut looks) = mpsc::channel(1);
        let mut tasks = Vec::new();
        if !engine.backend.is_local() {
            tasks.push(tokio::spawn(keep_plain(Arc::clone(&shared), looked.clone())));
        }
        tasks.push(tokio::spawn(keep_document(Arc::clone(&shared), looked)));
        let flags = Flags::new(shared, tasks);
        // Nothing is sent: it is over when the last sender is dropped.
        let _ = tokio::time::timeout(engine.backend.deadline(), looks.recv()).await;
        Ok(flags)
    }
}

fn plain_at(prefix: &str) -> Result<PlainFlags> {
    match prefix.len() {
        1..=PREFIX_LEN_MAX => Ok(PlainFlags::at(prefix)),
        len => Err(Error::rejected(format!(
            "a prefix of plain keys of {len} bytes: expected 1 to {PREFIX_LEN_MAX}"
        ))),
    }
}

/// Takes what is on disk, if it is of use.
async fn recall(flags: &Shared, disk: &DiskCopy) {
    let reading = disk.clone();
    let read = tokio::task::spawn_blocking(move || reading.read()).await;
    let read = match read.unwrap_or_else(|_| Err("expected a file".to_owned())) {
        Ok(None) => return,
        Ok(Some(stored)) => Book::read(stored).await.map_err(|error| error.to_string()),
        Err(why) => Err(why),
    };
    match read {
        Ok(book) => flags.recall(book),
        Err(why) => {
            let path = disk.path.display();
            tracing::warn!(%path, why, "the copy of flags on disk is of no use, and is left out");
        }
    }
}

impl fmt::Debug for FlagsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlagsBuilder")
            .field("scope", &self.scope)
            .field("env", &self.env)
            .field("overlay_prefix", &self.overlay_prefix)
            .field("disk_cache", &self.disk_copy)
            .finish_non_exhaustive()
    }
}
