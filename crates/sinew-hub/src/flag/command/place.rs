//! Where flags are: in Redis itself, or at a hub.

use std::fmt;

use clap::Args;
use reqwest::{Method, StatusCode};
use sinew::flag::{ChangeId, Flag, Flags, FlagsState};
use sinew::limit::Expected;
use sinew::{ErrorKind, Tenant};

use super::EXPECTED;
use crate::cli::Outcome;
use crate::cli::place::{AtHub, Place};
use crate::cli::request::{Request, read_reply};
use crate::cli::whose::Whose;
use crate::config::StoreSetting;
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
    /// Whose and in which environment, in words.
    whose: String,
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
    /// A change is taken back, on top of the flag of this revision, or where none is.
    RollBack {
        change: &'a str,
        revision: Option<u64>,
    },
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
        Ok(FlagPlace { place, tenant, env: self.env.clone(), whose: self.shown() })
    }

    /// Whose and in which environment, in words, to be put after a key.
    pub(super) fn shown(&self) -> String {
        self.whose.shown() + &in_env(self.env.clone().or_else(|| self.configured_env()).as_deref())
    }

    /// The environment that the settings name, where they decide: a hub has its own.
    fn configured_env(&self) -> Option<String> {
        let config = self.whose.configured().ok()?;
        let is_here = matches!(config.store, StoreSetting::Redis(_));
        Some(config.flags_env).filter(|env| is_here && env != env::DEFAULT)
    }

    /// As it was said, to be put after a key in another command.
    pub(super) fn words(&self) -> String {
        let env = self.env.as_deref().map(|env| format!(" --env {env}"));
        self.whose.words() + &env.unwrap_or_default()
    }
}

impl FlagPlace {
    pub(super) fn no_such(&self, key: &str) -> Outcome {
        Outcome::NoSuchFlag(format!("no flag {key:?}{}: {EXPECTED}", self.whose))
    }

    /// What a hub says of a flag that is not there, in the words that hold here, too.
    fn refusal(&self, key: &str, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::NoSuchFlag(told) if told.starts_with("no flag ") => self.no_such(key),
            outcome => outcome,
        }
    }

    /// Someone else was faster.
    pub(super) fn overtaken(&self, key: &str) -> Outcome {
        Outcome::Failed(format!(
            "someone else has changed flag {key:?}{} meanwhile, and nothing was done: look at what it is now, and try again",
            self.whose
        ))
    }

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

    /// Puts a flag in the place of one of this revision, or where none is; else it ends as `late` says.
    pub(super) async fn put(
        &self,
        key: &str,
        flag: Flag,
        revision: Option<u64>,
        late: Outcome,
    ) -> Result<Option<Flag>, Outcome> {
        match &self.place {
            Place::Redis(flags, _) => match flags.put(key, flag, expected(revision), BY).await {
                Ok(written) => Ok(written.after),
                Err(error) if error.kind() == ErrorKind::Conflict => Err(late),
                Err(error) => Err(Outcome::of(&error)),
            },
            Place::Hub(hub) => {
                let mut request = self.request(hub, &["flags", key])?;
                request.revision = Some(revision.unwrap_or(0));
                let (status, text) = request.reply(Method::PUT, Some(json(&flag)?)).await?;
                match status {
                    StatusCode::PRECONDITION_FAILED => Err(late),
                    status if status.is_success() => read_reply(&text),
                    _ => Err(self.refusal(key, request.refused(status, &text))),
                }
            }
        }
    }

    pub(super) async fn act(&self, key: &str, act: Act<'_>) -> Result<WrittenBody, Outcome> {
        let is_switch = matches!(act, Act::Kill | Act::Revive);
        match &self.place {
            Place::Redis(flags, _) => {
                let done = match act {
                    Act::Kill => flags.kill(key, BY).await,
                    Act::Revive => flags.revive(key, BY).await,
                    Act::RollBack { change, revision } => {
                        let change = change_id(change)?;
                        flags.roll_back(key, &change, expected(revision), BY).await
                    }
                };
                match done {
                    Ok(written) => Ok(written.into()),
                    Err(error) if error.kind() != ErrorKind::Conflict => Err(Outcome::of(&error)),
                    // A switch is in conflict with nothing but that there is no flag.
                    Err(_) if is_switch && flags.get(key).is_none() => Err(self.no_such(key)),
                    Err(_) => Err(self.overtaken(key)),
                }
            }
            Place::Hub(hub) => {
                let (last, revision, body) = match act {
                    Act::Kill => ("kill", None, None),
                    Act::Revive => ("revive", None, None),
                    Act::RollBack { change, revision } => {
                        let body = RollBackBody { change: change.to_owned() };
                        ("roll-back", Some(revision.unwrap_or(0)), Some(json(&body)?))
                    }
                };
                let mut request = self.request(hub, &["flags", key, last])?;
                request.revision = revision;
                let (status, text) = request.reply(Method::POST, body).await?;
                match status {
                    StatusCode::PRECONDITION_FAILED => Err(self.overtaken(key)),
                    status if status.is_success() => read_reply(&text),
                    _ => Err(self.refusal(key, request.refused(status, &text))),
                }
            }
        }
    }

    pub(super) async fn remove(&self, key: &str) -> Result<(), Outcome> {
        match &self.place {
            Place::Redis(flags, _) => {
                let removed = flags.remove(key, Expected::Any, BY).await;
                let removed = removed.map_err(|e| Outcome::of(&e))?;
                removed.before.map(|_| ()).ok_or_else(|| self.no_such(key))
            }
            Place::Hub(hub) => {
                let request = self.request(hub, &["flags", key])?;
                let removed = request.send(Method::DELETE, None).await;
                removed.map(|_| ()).map_err(|outcome| self.refusal(key, outcome))
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

    /// A change of a flag, if there is one of this id.
    pub(super) async fn change(
        &self,
        key: &str,
        change: &str,
    ) -> Result<Option<FlagChangeBody>, Outcome> {
        let change = change_id(change)?;
        match &self.place {
            Place::Redis(flags, _) => {
                let found = flags.past_change(key, &change).await.map_err(|e| Outcome::of(&e))?;
                Ok(found.map(FlagChangeBody::from))
            }
            Place::Hub(hub) => {
                let mut request = self.request(hub, &["audit"])?;
                request.url.query_pairs_mut().extend_pairs([
                    ("kind", "flag"),
                    ("key", key),
                    ("change", change.as_str()),
                ]);
                Ok(request.get::<Vec<FlagChangeBody>>().await?.into_iter().next())
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
                let why = WhyBody::new(key, flags, flags.explain(key, &cx));
                match why.is_of_nothing() {
                    true => Err(self.no_such(key)),
                    false => Ok(why),
                }
            }
            Place::Hub(hub) => {
                let mut request = self.request(hub, &["flags", key, "why"])?;
                let user = user.map(|user| ("user", user));
                let attributes = attributes.iter().map(|text| ("attribute", text.as_str()));
                request.url.query_pairs_mut().extend_pairs(user.into_iter().chain(attributes));
                request.get().await.map_err(|outcome| self.refusal(key, outcome))
            }
        }
    }
}

fn json(body: &impl serde::Serialize) -> Result<String, Outcome> {
    serde_json::to_string(body).map_err(|e| Outcome::Failed(e.to_string()))
}

fn expected(revision: Option<u64>) -> Expected {
    revision.map_or(Expected::Absent, Expected::Revision)
}

fn change_id(text: &str) -> Result<ChangeId, Outcome> {
    text.parse().map_err(|_: sinew::Error| {
        Outcome::BadInput(
            "invalid id of a change: expected one like 1795300000000-0, as `sinew flag audit KEY` shows it"
                .to_owned(),
        )
    })
}

fn in_env(env: Option<&str>) -> String {
    env.map(|env| format!(" in environment {env:?}")).unwrap_or_default()
}

/// A file is of a revision that is not there.
pub(super) fn outdated(key: &str, revision: u64) -> Outcome {
    Outcome::Failed(format!(
        "flag {key:?} is not of revision {revision}, as the file says, and nothing was done: look at what it is now, or take `revision` out of the file to overwrite it"
    ))
}

#[cfg(test)]
mod tests {
    use super::in_env;

    #[test]
    fn an_environment_is_named_where_one_is_said() {
        assert_eq!(in_env(Some("prod")), " in environment \"prod\"");
        assert_eq!(in_env(None), "");
    }
}
