//! The keys of flags.

use std::sync::Arc;

use super::{KEY_LEN_MAX, Scope};
use crate::kernel::name::EnvName;

/// The keys of an environment of one tenant: one hash tag, hence one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FlagKeys {
    document: Arc<str>,
    changes: Arc<str>,
}

impl FlagKeys {
    /// All flags and segments.
    pub(crate) fn document(&self) -> &str {
        &self.document
    }

    /// Who has changed what.
    pub(crate) fn changes(&self) -> &str {
        &self.changes
    }
}

impl Scope {
    /// The keys of this tenant's flags.
    pub(crate) fn flags(&self, env: &EnvName) -> FlagKeys {
        // Each tenant's elsewhere in a cluster, though most call an environment the same.
        let tagged = format!("{0}flag:{{{0}{1}}}", self.as_str(), env.as_str());
        FlagKeys {
            document: format!("{tagged}:doc").into(),
            changes: format!("{tagged}:audit").into(),
        }
    }

    /// The plain keys of this tenant, where the services being replaced write them.
    pub(crate) fn plain_flags(&self) -> PlainFlags {
        PlainFlags(format!("{}feature:", self.as_str()).into())
    }
}

/// Keys that people write by hand: `{prefix}{flag}:global`, `{prefix}{flag}:user:{id}`. Nothing in them is
/// encoded, so that an id may be anything, and a flag anything without a colon.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PlainFlags(Arc<str>);

impl PlainFlags {
    /// Those that begin so, wherever that is.
    pub(crate) fn at(prefix: &str) -> Self {
        Self(prefix.into())
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.0
    }

    pub(crate) fn key(&self, flag: &str, user: Option<&str>) -> String {
        match user {
            Some(user) => format!("{}{flag}:user:{user}", self.0),
            None => format!("{}{flag}:global", self.0),
        }
    }

    /// The flag and the user of a key, if it is one.
    pub(crate) fn parts<'a>(&self, key: &'a str) -> Option<(&'a str, Option<&'a str>)> {
        if key.len() > KEY_LEN_MAX {
            return None;
        }
        let (flag, whose) = key.strip_prefix(&*self.0)?.split_once(':')?;
        let user = match whose {
            "global" => None,
            _ => Some(whose.strip_prefix("user:").filter(|user| !user.is_empty())?),
        };
        (!flag.is_empty()).then_some((flag, user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::name::{Prefix, Tenancy, Tenant};

    #[test]
    fn flags_lie_under_their_tenant_and_plain_keys_where_they_always_were() {
        let prefix = Prefix::new("Shop_").unwrap();
        let acme = Scope::tenant(&prefix, &Tenant::new("acme").unwrap());
        let keys = acme.flags(&EnvName::new("prod").unwrap());
        assert_eq!(keys.document(), "Shop_acme:flag:{Shop_acme:prod}:doc");
        assert_eq!(keys.changes(), "Shop_acme:flag:{Shop_acme:prod}:audit");
        assert_eq!(acme.plain_flags().prefix(), "Shop_acme:feature:");
        let other = Scope::tenant(&prefix, &Tenant::new("other").unwrap());
        let other = other.flags(&EnvName::new("prod").unwrap());
        assert_eq!(other.document(), "Shop_other:flag:{Shop_other:prod}:doc");
        let alone = Scope::unscoped(&Prefix::default(), Tenancy::Single);
        assert_eq!(alone.plain_flags().key("ui", None), "feature:ui:global");
    }

    #[test]
    fn a_plain_key_says_whose_it_is() {
        let plain = PlainFlags::at("feature:");
        for (flag, user) in [("ui", None), ("ui", Some("u1")), ("a b", Some("mail:ada@x:global"))] {
            assert_eq!(plain.parts(&plain.key(flag, user)), Some((flag, user)));
        }
        let long = plain.key("ui", Some(&"u".repeat(KEY_LEN_MAX)));
        for other in [
            "feature:ui",
            "feature:ui:",
            "feature::global",
            "feature:ui:user:",
            "ui:global",
            long.as_str(),
        ] {
            assert_eq!(plain.parts(other), None, "{other}");
        }
    }
}
