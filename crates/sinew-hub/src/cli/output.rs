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
            Self::Failed(message) => (message, 1),
            Self::BadInput(message) => (message, 2),
            Self::NoSuchEntry => ("no such entry".to_owned(), 3),
        };
        eprintln!("error: {}", message.replace('\n', "\nerror: "));
        ExitCode::from(code)
    }
}
