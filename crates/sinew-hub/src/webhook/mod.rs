//! What all webhooks have in common: where they may lead, how a request is signed and sent, how many are under way at once,
//! when an endpoint is left alone, and what runs them in a hub. [`crate::stream::webhook`] delivers events by it,
//! [`crate::job::webhook`] jobs.

pub(crate) mod address;
pub(crate) mod body;
pub(crate) mod endpoint;
pub(crate) mod post;
pub(crate) mod room;
pub(crate) mod runs;
pub(crate) mod settings;
pub(crate) mod sign;
