//! What the pages of flags take from a request.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::Deserialize;
use sinew::Tenant;
use sinew::flag::Flags;

use crate::auth::Actor;
use crate::dashboard::extract::Asked;
pub(super) use crate::dashboard::extract::Said;
use crate::dashboard::show::{Fault, in_words};
use crate::hub::Hub;

/// How a change is said to have come, where no one has to say who they are.
const BY: &str = "dashboard";
const KEY_CHARS_MAX: usize = 100;

/// Whose flags, and of which environment, as the page says it.
#[derive(Clone, Deserialize)]
pub(super) struct Place {
    /// Empty for flags that belong to none.
    #[serde(default)]
    pub(super) tenant: String,
    /// Empty for the one that the configuration names.
    #[serde(default)]
    pub(super) env: String,
}

/// The flags of a place.
pub(super) struct OfFlags {
    pub(super) flags: Flags,
    pub(super) place: Place,
    pub(super) tenant: Option<Tenant>,
    /// By whom a change is said to be.
    pub(super) by: String,
}

/// A flag of a place. It need not be there.
pub(super) struct OfFlag {
    pub(super) flags: Flags,
    pub(super) place: Place,
    pub(super) tenant: Option<Tenant>,
    pub(super) by: String,
    pub(super) key: String,
}

impl FromRequestParts<Hub> for OfFlags {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Fault> {
        let Asked(asked) = Asked::<Place>::from_request_parts(parts, hub).await?;
        let actor = Actor::from_request_parts(parts, hub).await.map_err(|_| {
            Fault::page("it is not known who asks: expected a user who is signed in")
        })?;
        let tenant = match asked.tenant.trim() {
            "" => None,
            name => Some(Tenant::new(name).map_err(|error| Fault::Page(in_words(&error)))?),
        };
        let env = asked.env.trim();
        let flags = hub.flags(tenant.as_ref(), Some(env).filter(|env| !env.is_empty())).await;
        let place = Place {
            tenant: tenant.as_ref().map(|tenant| tenant.as_str().to_owned()).unwrap_or_default(),
            env: env.to_owned(),
        };
        let flags = flags.map_err(|what| Fault::page(&what))?;
        Ok(Self { flags, place, tenant, by: actor.by(BY).to_owned() })
    }
}

impl FromRequestParts<Hub> for OfFlag {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Fault> {
        let wrong =
            "the address names no flag: expected 1 to 100 letters, digits, '.', '_' and '-'";
        let path = Path::<String>::from_request_parts(parts, hub).await.ok();
        let key = path.map(|Path(key)| key).filter(|key| is_key(key));
        let key = key.ok_or_else(|| Fault::page(wrong))?;
        let OfFlags { flags, place, tenant, by } = OfFlags::from_request_parts(parts, hub).await?;
        Ok(Self { flags, place, tenant, by, key })
    }
}

/// Whether a flag in the store can be called so. A plain key may have another name.
pub(super) fn is_key(name: &str) -> bool {
    let is_in = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    (1..=KEY_CHARS_MAX).contains(&name.len()) && name.bytes().all(is_in)
}

impl Place {
    /// For an address. What it says was found to be good.
    pub(super) fn query(&self) -> String {
        let parts = [("tenant", &self.tenant), ("env", &self.env)];
        let said = parts.iter().filter(|(_, value)| !value.is_empty());
        said.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
    }

    /// The environment, for the log: the configured one where the page says none.
    pub(super) fn env_at<'a>(&'a self, hub: &'a Hub) -> &'a str {
        if self.env.is_empty() { hub.flags_env() } else { &self.env }
    }

    /// For a sentence: ` of tenant acme in environment prod`.
    pub(super) fn in_words(&self) -> String {
        let parts = [(" of tenant ", &self.tenant), (" in environment ", &self.env)];
        let said = parts.iter().filter(|(_, value)| !value.is_empty());
        said.map(|(title, value)| format!("{title}{value}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, is_key};

    #[test]
    fn a_key_is_one_that_an_address_can_have() {
        let (longest, longer) = ("x".repeat(100), "x".repeat(101));
        for good in ["a", "new-ui", "a.b_C-9", longest.as_str()] {
            assert!(is_key(good), "{good}");
        }
        for bad in ["", "a b", "a:b", "ä", "a/b", longer.as_str()] {
            assert!(!is_key(bad), "{bad}");
        }
    }

    #[test]
    fn a_place_says_what_is_not_as_ever() {
        let place = |tenant: &str, env: &str| Place { tenant: tenant.into(), env: env.into() };
        assert_eq!(
            (place("", "").query(), place("", "").in_words()),
            (String::new(), String::new())
        );
        assert_eq!(place("acme", "prod").query(), "tenant=acme&env=prod");
        assert_eq!(place("", "prod").in_words(), " in environment prod");
    }
}
