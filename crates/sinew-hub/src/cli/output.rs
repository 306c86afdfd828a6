//! How a command ends: what it says, and its exit code.

use std::process::ExitCode;

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
    /// 75, as `EX_TEMPFAIL` of sysexits: someone else holds the lock
    Held(String),
    /// As a command that was run, and what is to be said of it
    Ended { code: u8, told: Option<String> },
}

impl Outcome {
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
            Self::Held(message) => (message, 75),
            Self::Failed(message) => (message, 1),
            Self::BadInput(message) => (message, 2),
            Self::NoSuchEntry => ("no such entry".to_owned(), 3),
        };
        eprintln!("error: {}", message.replace('\n', "\nerror: "));
        ExitCode::from(code)
    }
}
