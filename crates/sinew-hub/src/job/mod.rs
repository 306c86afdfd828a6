//! Background jobs, for services in other languages and for people at a terminal.

pub(crate) mod audit;
pub(crate) mod body;
pub mod command;
pub(crate) mod dead;
pub(crate) mod http;
pub(crate) mod settings;
pub(crate) mod tend;
pub(crate) mod terms;
pub(crate) mod webhook;
