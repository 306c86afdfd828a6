//! Scripts by digest: sent whole only to a server that does not know them.

use std::sync::OnceLock;

use redis::Cmd;

use super::call::Rerun;

/// A file in a `scripts/` folder.
pub(crate) struct Script {
    source: &'static str,
    rerun: Rerun,
    digest: OnceLock<String>,
}

impl Script {
    /// A second run of it does nothing more, even after other writes came between.
    pub(crate) const fn rerunnable(source: &'static str) -> Self {
        Self { source, rerun: Rerun::Harmless, digest: OnceLock::new() }
    }

    /// It is to run once at most.
    pub(crate) const fn once(source: &'static str) -> Self {
        Self { source, rerun: Rerun::Harmful, digest: OnceLock::new() }
    }

    pub(super) fn rerun(&self) -> Rerun {
        self.rerun
    }

    pub(super) fn digest(&self) -> &str {
        self.digest.get_or_init(|| redis::Script::new(self.source).get_hash().to_owned())
    }

    pub(super) fn load(&self) -> Cmd {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(self.source);
        load
    }
}
