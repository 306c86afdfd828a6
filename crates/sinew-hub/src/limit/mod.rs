//! Rate limits, for services in other languages, for proxies, and for people at a terminal.

pub(crate) mod body;
pub mod command;
pub(crate) mod http;
mod name;
pub(crate) mod rls;
pub(crate) mod table;
mod words;

pub(crate) use name::check_name;
pub(crate) use words::in_words;
