//! The name of a pull, which is a secret of whoever has pulled.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::kernel::error::{Error, Result};
use crate::kernel::key::Code;
use crate::stream::model::PULL;

/// How much of it is shown: it tells pulls apart, and proves nothing.
const SHOWN_LEN: usize = PULL.len() + 6;

/// What names one pull, and proves that its events are the caller's.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LeaseToken(pub(super) Arc<str>);

impl LeaseToken {
    pub(super) fn new() -> Result<Self> {
        Ok(Self(format!("{PULL}{}", Code::random()?).into()))
    }
}

impl fmt::Display for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whoever has all of it may acknowledge.
impl fmt::Debug for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseToken(..)")
    }
}

impl FromStr for LeaseToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.strip_prefix(PULL).map(str::parse::<Code>) {
            Some(Ok(_)) => Ok(Self(text.into())),
            _ => Err(Error::rejected("not a lease: expected the one that a pull answered")),
        }
    }
}

/// A consumer's name as others may see it.
pub(in crate::stream) fn shown(consumer: &str) -> String {
    match consumer.parse::<LeaseToken>() {
        Ok(token) => format!("{}…", crate::stream::model::cut(&token.0, SHOWN_LEN)),
        Err(_) => consumer.to_owned(),
    }
}
