//! May this user run what Sinew will run? Asked at every connect, not found out at the first write.

use std::sync::Arc;

use redis::Cmd;

use super::Hook;
use super::script::Script;
use crate::kernel::error::{Error, ErrorKind, Result};

static PERMITTED: Script = Script::once(include_str!("scripts/permitted.lua"));

/// A hook that checks `commands`, each with arguments. `user` is named in the error, and
/// `prefix` in the rule that grants what is missing.
pub(crate) fn permission_hook(user: String, prefix: String, commands: Vec<String>) -> Hook {
    Arc::new(move |connection| {
        let (user, prefix, commands) = (user.clone(), prefix.clone(), commands.clone());
        Box::pin(async move {
            let denied = |missing: &str| {
                Error::new(
                    ErrorKind::Denied,
                    format!(
                        "user {user:?} of Redis may not run {missing} on keys that begin with {prefix:?}, which Sinew needs: expected the prefix of the keys that this user may use, or ACL SETUSER {user} {} for those",
                        grants(missing)
                    ),
                )
            };
            let named = |name: &'static str, result: Result<_>| {
                result.map_err(|error| match error.kind() {
                    ErrorKind::Denied => denied(name).with_source(error),
                    _ => error,
                })
            };
            // Loaded and run by digest, as every script is: the same permissions.
            let _: String = named("SCRIPT", connection.call(&PERMITTED.load()).await)?;
            let mut ask: Cmd = redis::cmd("EVALSHA");
            ask.arg(PERMITTED.digest()).arg(0).arg(&commands);
            let refused: Vec<String> = match connection.call(&ask).await {
                Err(error) if error.kind() == ErrorKind::Denied => {
                    return Err(denied("EVALSHA").with_source(error));
                }
                reply => reply?,
            };
            match refused.is_empty() {
                true => Ok(()),
                false => Err(denied(&refused.join(", "))),
            }
        })
    })
}

fn grants(missing: &str) -> String {
    let grants = missing.split(", ").map(|name| format!("+{}", name.to_ascii_lowercase()));
    grants.collect::<Vec<_>>().join(" ")
}
