//! `sinew token …` and `sinew user …`
//!
//! They only reckon: what they print goes into the configuration of every hub.

mod secret;
mod token;
mod user;

pub(crate) use token::{TOKEN_PREFIX, TokenCommand};
pub(crate) use user::UserCommand;
