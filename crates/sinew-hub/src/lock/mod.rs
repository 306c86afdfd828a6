//! Locks, for services in other languages and for people at a terminal.

pub(crate) mod body;
pub mod command;
pub(crate) mod http;

use sinew::LockMode;

/// How a lock is held, in words.
pub(crate) fn kind_in_words(mode: LockMode) -> String {
    match mode {
        LockMode::Exclusive => "exclusive".to_owned(),
        LockMode::Shared => "shared".to_owned(),
        LockMode::Semaphore { permits } => format!("semaphore of {permits}"),
        _ => "other".to_owned(),
    }
}
