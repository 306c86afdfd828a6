//! One error type that answers "what now?".

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// The result of every fallible call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong and what a caller can do about it.
///
/// Ordinary outcomes (a miss, a held lock) are values, never errors. No message
/// holds a secret or a cached value.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    context: Cow<'static, str>,
    // Shared, because one failed load may be reported to many callers.
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The kinds of [`Error`], by what the caller can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Redis could not be reached, or refused for now. `maybe_applied` says
    /// whether the command may have run all the same.
    Unavailable {
        /// The command was sent, and its reply was lost.
        maybe_applied: bool,
    },
    /// No reply within the deadline. The command may still run.
    Timeout {
        /// The command was sent, and may run even after newer ones.
        maybe_applied: bool,
    },
    /// The input is not acceptable; the message says what was expected.
    Rejected,
    /// The key holds something of another kind. Of a function under `#[locked]`: someone else holds
    /// the lock. Of a limit's definition, or a flag: another revision is there than was expected.
    Conflict,
    /// The reply or the stored bytes are not what Sinew writes.
    Corrupt,
    /// The set-up is wrong; trying again will not help.
    Misconfigured,
    /// Redis refused the credentials or the permission.
    Denied,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, context: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    pub(crate) fn rejected(context: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Rejected, context)
    }

    pub(crate) fn misconfigured(context: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Misconfigured, context)
    }

    pub(crate) fn corrupt(context: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Corrupt, context)
    }

    pub(crate) fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Says of which of several it is.
    pub(crate) fn within(mut self, place: &str) -> Self {
        self.context = format!("{place}: {}", self.context).into();
        self
    }

    /// The same error of a call whose earlier attempt may have run.
    pub(crate) fn made_unsure(mut self) -> Self {
        if let ErrorKind::Unavailable { maybe_applied } | ErrorKind::Timeout { maybe_applied } =
            &mut self.kind
        {
            *maybe_applied = true;
        }
        self
    }

    /// The kind, to decide on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later without a change on your side.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, ErrorKind::Unavailable { .. } | ErrorKind::Timeout { .. })
    }

    /// Whether the same call will fail the same way however often it is tried.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self.kind, ErrorKind::Rejected | ErrorKind::Misconfigured | ErrorKind::Denied)
    }

    /// Whether it is the store that is away, as far as it can be told, and not this very call that it refuses.
    pub(crate) fn is_outage(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Timeout { .. } | ErrorKind::Unavailable { maybe_applied: false }
        )
    }

    /// Whether the command may have run although it failed.
    #[must_use]
    pub fn maybe_applied(&self) -> bool {
        match self.kind {
            ErrorKind::Unavailable { maybe_applied } | ErrorKind::Timeout { maybe_applied } => {
                maybe_applied
            }
            _ => false,
        }
    }
}

impl ErrorKind {
    /// A fixed word for logs and metric labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::Timeout { .. } => "timeout",
            Self::Rejected => "rejected",
            Self::Conflict => "conflict",
            Self::Corrupt => "corrupt",
            Self::Misconfigured => "misconfigured",
            Self::Denied => "denied",
        }
    }
}

/// With its causes as `{:#}`, each once: some say their cause's words as their own.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)?;
        if !f.alternate() {
            return Ok(());
        }
        let (mut told, mut cause) = (self.context.to_string(), self.source());
        while let Some(error) = cause {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            if !told.contains(line) {
                write!(f, ": {line}")?;
                told.push_str(line);
            }
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|s| s as _)
    }
}
