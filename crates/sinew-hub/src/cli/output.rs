//! How a command ends: what it says, and its exit code.

use std::process::ExitCode;

use serde::Serialize;
use sinew::{Error, ErrorKind};

/// The end of a command.
pub(crate) enum Outcome {
    /// 0
    Worked,
    /// 1, and why
    Failed(String),
    /// 2, and what was expected
    BadInput(String),
    /// 3
    NoSuchEntry,
    /// 3, and which
    NoSuchLimit(String),
    /// 3, and which
    NoSuchSession(String),
    /// 3, and which
    NoSuchFlag(String),
    /// 3, and which: a topic, a group, an event
    NoSuchStream(String),
    /// 3, and which: a queue, a job, a recurring job
    NoSuchJob(String),
    /// 75, as `EX_TEMPFAIL` of sysexits: someone else holds the lock, or a limit denies it
    NotNow(String),
    /// As a command that was run, and what is to be said of it
    Ended { code: u8, told: Option<String> },
}

impl Outcome {
    /// The exit code of [`Outcome::NotNow`].
    pub(crate) const NOT_NOW: u8 = 75;

    /// The end that an error of the library means.
    pub(crate) fn of(error: &Error) -> Self {
        let message = format!("{error:#}");
        match error.kind() {
            ErrorKind::Rejected => Self::BadInput(message),
            _ => Self::Failed(message),
        }
    }

    pub(crate) fn tell(self) -> ExitCode {
        let (message, code) = match self {
            Self::Worked => return ExitCode::SUCCESS,
            Self::Ended { code, told: None } => return ExitCode::from(code),
            Self::Ended { code, told: Some(message) } => (message, code),
            Self::NotNow(message) => (message, Self::NOT_NOW),
            Self::Failed(message) => (message, 1),
            Self::BadInput(message) => (message, 2),
            Self::NoSuchEntry => ("no such entry".to_owned(), 3),
            Self::NoSuchLimit(message)
            | Self::NoSuchSession(message)
            | Self::NoSuchFlag(message)
            | Self::NoSuchStream(message)
            | Self::NoSuchJob(message) => (message, 3),
        };
        eprintln!("error: {}", message.replace('\n', "\nerror: "));
        ExitCode::from(code)
    }
}

/// For scripts, on one line.
pub(crate) fn print_json(reply: &impl Serialize) -> Result<(), Outcome> {
    let text = serde_json::to_string(reply).map_err(|e| Outcome::Failed(e.to_string()))?;
    println!("{text}");
    Ok(())
}
