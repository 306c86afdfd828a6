//! Redis itself, for operators.

pub mod command;
pub(crate) mod http;
