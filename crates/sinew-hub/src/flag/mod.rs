//! Feature flags, for services in other languages and for people at a terminal.

pub(crate) mod body;
pub mod command;
pub(crate) mod context;
pub(crate) mod diff;
pub(crate) mod env;
pub(crate) mod http;
mod ofrep;
mod schema;
pub(crate) mod table;
