//! Feature flags with promises.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use sinew::Sinew;
//! use sinew::flag::{EvalContext, PercentExt};
//!
//! let acme = Sinew::embedded().tenant("acme")?;
//! let flags = acme.flags().env("prod").open().await?;
//! let cx = EvalContext::user("ada").with("plan", "pro");
//! assert!(!flags.enabled("new-ui", &cx), "there is no such flag yet");
//!
//! flags.edit("new-ui").rollout(100.percent()).by("bob").save().await?;
//! assert!(flags.enabled("new-ui", &cx));
//! flags.kill("new-ui", "bob").await?;
//! assert!(!flags.enabled("new-ui", &cx));
//! # Ok(()) }
//! ```
//!
//! # What it promises
//!
//! 1. **Evaluating asks no one.** All flags of an environment are in this process, ready to be evaluated.
//! 2. **A change is known soon.** At once in the process that makes it; in all others that are connected
//!    within milliseconds, since Redis tells them. What a lost message did not tell is found within ten
//!    seconds, and after every reconnect everything is read again.
//! 3. **Redis may be down.** Then the last known flags count, also after a restart where
//!    [`FlagsBuilder::disk_cache`] names a file, and without any the code's own default. [`Flags::enabled`]
//!    never fails. What cannot be done then is changing them.
//! 4. **Every change is written down:** who, when, before and after. Of two who change the same revision,
//!    one does.
//! 5. **The same subject gets the same variant** in every process and in every language: see [`Serve`].
//!
//! A failover of Redis that loses acknowledged writes loses changes of flags in them: all processes go
//! back to what the new primary has.
//!
//! # Plain keys
//!
//! `SET feature:new-ui:global true EX 604800` in redis-cli turns a flag on for everyone for a week, and
//! `feature:new-ui:user:ada` for one user, who comes first. Both stand above the document, for flags that are
//! true or false and for those that are in no document; only the kill switch stands above them. What holds
//! neither `true` nor `false`, in any case, counts as if it were not there. The names lie under prefix and
//! tenant, or under [`FlagsBuilder::overlay_prefix`]; up to 100,000 are kept. They are found by looking at
//! all keys of Redis, in small steps, at the start and after every reconnect. The embedded store has none.
//!
//! # Where it is kept
//!
//! All flags of an environment `prod` of a tenant `acme` are under `acme:flag:{acme:prod}:doc`, a prefix before
//! both `acme`: 2,000 flags at most, and 4 MiB. Under `…:audit` are the last changes. The braces are part of the
//! keys: in a cluster, both lie together, and each tenant's elsewhere. They are
//! configuration and have no expiry: a Redis that evicts any key (`allkeys-lru`) may lose them. Where the
//! flags are gone from Redis, processes that know them keep them, with a warning, and the first of them that
//! changes one puts all of them back with it.

mod backend;
mod builder;
mod compiled;
mod condition;
mod context;
mod disk;
mod document;
mod edit;
mod engine;
mod evaluation;
mod history;
mod known;
mod memory;
mod murmur;
#[cfg(feature = "open-feature")]
mod open_feature;
mod overlays;
mod percent;
mod plain;
mod preview;
#[cfg(feature = "redis")]
mod redis;
mod scans;
mod watch;
mod write;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::task::JoinHandle;

pub use crate::kernel::expected::Expected;
pub(crate) use backend::Store;
pub use builder::FlagsBuilder;
pub use condition::{Condition, Op};
pub use context::{AttributeValue, EvalContext};
pub use document::{Flag, FlagType, Rule, Segment, Serve};
pub use edit::FlagEdit;
pub(crate) use engine::Engine;
pub use evaluation::{DecidedBy, EvalError, Evaluation, Explanation, Reason};
pub use history::{ChangeId, FlagChange, SegmentChange};
use known::Shared;
pub(crate) use memory::MemoryBackend;
#[cfg(feature = "open-feature")]
pub use open_feature::OpenFeature;
pub use percent::{Percent, PercentExt};
pub use plain::Overlay;
pub use preview::FlagPreview;
#[cfg(feature = "redis")]
pub(crate) use redis::RedisBackend;
pub use write::Written;

/// The flags of one tenant and environment, kept up to date. Cheap to clone.
///
/// The watching ends with the last clone.
#[derive(Clone)]
pub struct Flags(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// Where what is known of flags is from, and how old it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlagsState {
    /// From the store, which has answered within the last ten seconds.
    Live,
    /// From the store, which has not answered since then.
    Stale {
        /// When it last answered.
        since: SystemTime,
    },
    /// From the store, which answers, and has lost them: the last known hold, and the next change puts them
    /// back.
    Lost {
        /// When it was found to have none.
        since: SystemTime,
    },
    /// From the copy on disk: the store has not answered yet.
    Disk,
    /// Nothing is known: everything is what the code says.
    Defaults,
}

impl FlagsState {
    /// A fixed word for logs, replies and pages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Stale { .. } => "stale",
            Self::Lost { .. } => "lost",
            Self::Disk => "disk",
            Self::Defaults => "defaults",
        }
    }
}

impl Flags {
    fn new(shared: Arc<Shared>, tasks: Vec<JoinHandle<()>>) -> Self {
        Self(Arc::new(Handle { shared, tasks }))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// Whether a flag is on; false where there is none that is true or false. Nothing is waited for,
    /// allocated, or able to fail.
    #[must_use]
    pub fn enabled(&self, key: &str, cx: &EvalContext) -> bool {
        self.enabled_or(key, cx, false)
    }

    /// The same, with a default of one's own.
    #[must_use]
    pub fn enabled_or(&self, key: &str, cx: &EvalContext, default: bool) -> bool {
        let shared = self.shared();
        let (known, now) = (shared.known(), shared.engine.clock.wall());
        // How old it is shows in reasons only.
        known.rules.enabled(key, cx, now, false).unwrap_or(default)
    }

    /// What a flag is, and why: `default` where there is no such flag, it leaves it to the code, or its
    /// value is none of this type.
    #[must_use]
    pub fn evaluate<T: DeserializeOwned>(
        &self,
        key: &str,
        cx: &EvalContext,
        default: T,
    ) -> Evaluation<T> {
        let shared = self.shared();
        let (known, now) = (shared.known(), shared.engine.clock.wall());
        known.rules.evaluate(key, cx, default, now, shared.is_stale(&known, now))
    }

    /// The same for whoever answers others, as OFREP has it. A value of `None` leaves it to their default.
    ///
    /// # Errors
    /// Why it cannot be evaluated, in OpenFeature's words.
    pub fn try_evaluate(
        &self,
        key: &str,
        cx: &EvalContext,
    ) -> Result<Evaluation<Option<Value>>, EvalError> {
        let shared = self.shared();
        let (known, now) = (shared.known(), shared.engine.clock.wall());
        known.rules.try_evaluate(key, cx, now, shared.is_stale(&known, now))
    }

    /// What a flag is, and step by step how that came about.
    #[must_use]
    pub fn explain(&self, key: &str, cx: &EvalContext) -> Explanation {
        let shared = self.shared();
        let (known, now) = (shared.known(), shared.engine.clock.wall());
        known.rules.explain(key, cx, now, shared.is_stale(&known, now))
    }

    /// What a draft would be if it were saved under this key, where a flag that is killed stays killed. It is
    /// made ready here, once: the preview is asked for as many as one likes.
    #[must_use]
    pub fn preview(&self, key: &str, draft: &Flag) -> FlagPreview {
        FlagPreview::new(self.clone(), key, draft)
    }

    /// A flag of the document.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Arc<Flag>> {
        self.shared().known().book.flags.get(key).cloned()
    }

    /// All flags of the document, by key.
    #[must_use]
    pub fn list(&self) -> Vec<(String, Arc<Flag>)> {
        let known = self.shared().known();
        known.book.flags.iter().map(|(key, flag)| (key.clone(), Arc::clone(flag))).collect()
    }

    /// All segments of the document, by name.
    #[must_use]
    pub fn segments(&self) -> Vec<(String, Segment)> {
        let known = self.shared().known();
        let segments = known.book.segments.iter();
        segments.map(|(name, segment)| (name.clone(), segment.clone())).collect()
    }

    /// The plain keys that hold now, by flag and user.
    #[must_use]
    pub fn overlays(&self) -> Vec<Overlay> {
        plain::overlays(self.shared())
    }

    /// The version of the document, greater with every change; 0 where there is none.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.shared().known().book.version
    }

    /// A text that is another whenever a flag may be something else: by a change of the document or a plain
    /// key, or by time. The same in all processes that know the same.
    #[must_use]
    pub fn revision(&self) -> String {
        self.shared().revision()
    }

    /// Where what is known is from, and how old it is.
    #[must_use]
    pub fn state(&self) -> FlagsState {
        self.shared().state()
    }

    /// Tells whenever the revision has changed.
    #[must_use]
    pub fn changes(&self) -> FlagChanges {
        FlagChanges(self.shared().revisions())
    }

    /// Changes parts of a flag, or makes one that is true or false.
    pub fn edit(&self, key: &str) -> FlagEdit {
        FlagEdit::new(self.clone(), key)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flags")
            .field("key", &self.shared().keys.document())
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

/// Tells whenever the revision of flags has changed. It keeps no one watching.
#[derive(Clone, Debug)]
pub struct FlagChanges(tokio::sync::watch::Receiver<u64>);

impl FlagChanges {
    /// Comes back once the revision is another than it was when this was made, or last came back; several
    /// changes may be told as one. `None` once the last clone of the flags is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<()> {
        self.0.changed().await.ok()
    }
}
