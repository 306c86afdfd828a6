//! Where flags are: in Redis itself, or at a hub.

use std::fmt;

use clap::Args;
use reqwest::{Method, StatusCode};
use sinew::flag::{ChangeId, Flag, Flags, FlagsState, Written};
use sinew::limit::Expected;
use sinew::{ErrorKind, Tenant};

use super::EXPECTED;
use crate::cli::Outcome;
use crate::cli::place::{AtHub, Place};
use crate::cli::request::{Request, read_reply};
use crate::cli::whose::Whose;
use crate::flag::body::{FlagChangeBody, FlagListBody, RollBackBody, WhyBody, WrittenBody};
use crate::flag::{context, env};

/// By whom a change on Redis itself is said to be.
const BY: &str = "command line";

/// Whose flags, in which environment, and where.
#[derive(Args)]
pub struct Whereabouts {
    /// In which environment [default: the one that is configured]
    #[arg(long, value_name = "ENV", value_parser = checked)]
    env: Option<String>,
    #[command(flatten)]
    whose: Whose,
}

fn checked(text: &str) -> Result<String, String> {
    env::check(text).map(|()| text.to_owned())
}

/// Flags of an environment.
pub(super) struct FlagPlace {
    place: Place<Flags>,
    tenant: Option<Tenant>,
    env: Option<String>,
}

impl fmt::Display for FlagPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.place, f)
    }
}

/// What is done to a flag that is there.
pub(super) enum Act<'a> {
    Kill,
    Revive,
    /// A change is taken back.
    RollBack(&'a str),
}

impl Whereabouts {
    pub(super) async fn place(&self) -> Result<FlagPlace, Outcome> {
        let tenant = self.whose.tenant.as_ref().map(Tenant::new).transpose();
        let tenant = tenant.map_err(|e| Outcome::of(&e))?;
        let opened = self.whose.place(&["v1"], |sinew, config| {
            Ok(sinew.flags().env(self.env.as_deref().unwrap_or(&config.flags_env)))
        });
        let place = match opened.await? {
            Place::Hub(hub) => Place::Hub(hub),
            Place::Redis(builder, address) => {
                let flags = builder.open().await.map_err(|e| Outcome::of(&e))?;
                if matches!(flags.state(), FlagsState::Defaults) {
                    return Err(Outcome::Failed(format!("{address} does not tell of its flags")));
                }
                Place::Redis(flags, address)
            }
        };
        Ok(FlagPlace { place, tenant, env: self.env.clone() })
    }

    /// Whose, in words, to be put after a key.
    pub(super) fn shown(&self) -> String {
        self.whose.shown()
    }
}

impl FlagPlace {
    /// At a hub, whose own environment holds where none is said.
    fn request(&self, hub: &AtHub, path: &[&str]) -> Result<Request, Outcome> {
        let mut request = hub.request(path)?;
        if let Some(env) = &self.env {
            request.url.query_pairs_mut().append_pair("env", env);
        }
        Ok(request)
    }

    pub(super) async fn list(&self) -> Result<FlagListBody, Outcome> {
        match &self.place {
            Place::Redis(flags, _) => Ok(FlagListBody::of(flags)),
            Place::Hub(hub) => self.request(hub, &["flags"])?.get().await,
        }
    }

    pub(super) async fn flag(&self, key: &str) -> Result<Option<Flag>, Outcome> {
        match &self.place {
            Place::Redis(flags, _) => Ok(flags.get(key).map(|flag| Flag::clone(&flag))),
            Place::Hub(hub) => match self.request(hub, &["flags", key])?.get().await {
                Ok(flag) => Ok(Some(flag)),
                Err(Outcome::NoSuchFlag(_)) => Ok(None),
                Err(outcome) => Err(outcome),
            },
        }
    }

    /// Puts a flag in the place of one of this revision, or where none is.
    pub(super) async fn put(
        &self,
        key: &str,
        flag: Flag,
        revision: Option<u64>,
    ) -> Result<Option<Flag>, Outcome> {
        match &self.place {
            Place::Redis(flags, _) => {
                let expected = revision.map_or(Expected::Absent, Expected::Revision);
                match flags.put(key, flag, expected, BY).await {
                    Ok(written) => Ok(written.after),
                    Err(error) if error.kind() == ErrorKind::Conflict => Err(overtaken(key)),
                    Err(error) => Err(Outcome::of(&error)),
                }
            }
            Place::Hub(hub) => {
                let mut request = self.request(hub, &["flags", key])?;
                request.revision = Some(revision.unwrap_or(0));
                let (status, text) = request.reply(Method::PUT, Some(json(&flag)?)).await?;
                match status {
                    StatusCode::PRECONDITION_FAILED => Err(overtaken(key)),
                    status if status.is_success() => read_reply(&text),
                    _ => Err(request.refused(status, &text)),
                }
            }
        }
    }

    pub(super) async fn act(&self, key: &str, act: Act<'_>) -> Result<WrittenBody, Outcome> {
        match &self.place {
            Place::Redis(flags, _) => {
                let done = match act {
                    Act::Kill | Act::Revive if flags.get(key).is_none() => {
                        return Err(no_such(key));
                    }
                    Act::Kill => flags.kill(key, BY).await,
                    Act::Revive => flags.revive(key, BY).await,
                    Act::RollBack(change) => {
                        let change: ChangeId =
                            change.parse().map_err(|e: sinew::Error| Outcome::of(&e))?;
                        flags.roll_back(key, &change, BY).await
                    }
                };
                written(done, key)
            }
            Place::Hub(hub) => {
                let (last, body) = match act {
                    Act::Kill => ("kill", None),
                    Act::Revive => ("revive", None),
                    Act::RollBack(change) => {
                        let body = RollBackBody { change: change.to_owned() };
                        ("roll-back", Some(json(&body)?))
                    }
                };
                let request = self.request(hub, &["flags", key, last])?;
                let (status, text) = request.reply(Method::POST, body).await?;
                match status {
                    StatusCode::PRECONDITION_FAILED => Err(overtaken(key)),
                    status if status.is_success() => read_reply(&text),
                    _ => Err(request.refused(status, &text)),
                }
            }
        }
    }

    pub(super) async fn remove(&self, key: &str) -> Result<(), Outcome> {
        match &self.place {
            Place::Redis(flags, _) => {
                let removed = flags.remove(key, Expected::Any, BY).await;
                let removed = removed.map_err(|e| Outcome::of(&e))?;
                removed.before.map(|_| ()).ok_or_else(|| no_such(key))
            }
            Place::Hub(hub) => {
                let request = self.request(hub, &["flags", key])?;
                request.send(Method::DELETE, None).await.map(|_| ())
            }
        }
    }

    pub(super) async fn history(
        &self,
        key: Option<&str>,
        count: usize,
    ) -> Result<Vec<FlagChangeBody>, Outcome> {
        match &self.place {
            Place::Redis(flags, _) => {
                let changes = flags.history(key, count).await.map_err(|e| Outcome::of(&e))?;
                Ok(changes.into_iter().map(FlagChangeBody::from).collect())
            }
            Place::Hub(hub) => {
                let mut request = self.request(hub, &["audit"])?;
                let count = count.to_string();
                request
                    .url
                    .query_pairs_mut()
                    .extend_pairs([("kind", "flag"), ("count", count.as_str())]);
                if let Some(key) = key {
                    request.url.query_pairs_mut().append_pair("key", key);
                }
                request.get().await
            }
        }
    }

    pub(super) async fn why(
        &self,
        key: &str,
        user: Option<&str>,
        attributes: &[String],
    ) -> Result<WhyBody, Outcome> {
        match &self.place {
            Place::Redis(flags, _) => {
                let cx = context::written(user, attributes, self.tenant.as_ref());
                let cx = cx.map_err(Outcome::BadInput)?;
                let why = WhyBody::new(key, flags.version(), flags.explain(key, &cx));
                match why.is_of_nothing() {
                    true => Err(no_such(key)),
                    false => Ok(why),
                }
            }
            Place::Hub(hub) => {
                let mut request = self.request(hub, &["flags", key, "why"])?;
                let user = user.map(|user| ("user", user));
                let attributes = attributes.iter().map(|text| ("attribute", text.as_str()));
                request.url.query_pairs_mut().extend_pairs(user.into_iter().chain(attributes));
                request.get().await
            }
        }
    }
}

fn json(body: &impl serde::Serialize) -> Result<String, Outcome> {
    serde_json::to_string(body).map_err(|e| Outcome::Failed(e.to_string()))
}

fn written(done: sinew::Result<Written>, key: &str) -> Result<WrittenBody, Outcome> {
    match done {
        Ok(written) => Ok(written.into()),
        Err(error) if error.kind() == ErrorKind::Conflict => Err(overtaken(key)),
        Err(error) => Err(Outcome::of(&error)),
    }
}

pub(super) fn no_such(key: &str) -> Outcome {
    Outcome::NoSuchFlag(format!("no flag {key:?}: {EXPECTED}"))
}

fn overtaken(key: &str) -> Outcome {
    Outcome::Failed(format!(
        "someone else has changed flag {key:?} meanwhile, and nothing was done: look at what it is now, and try again"
    ))
}
