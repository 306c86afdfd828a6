//! Event streams, for services in other languages and for people at a terminal.

pub(crate) mod audit;
pub(crate) mod body;
pub mod command;
pub(crate) mod http;
pub(crate) mod settings;
pub(crate) mod terms;
pub(crate) mod webhook;
