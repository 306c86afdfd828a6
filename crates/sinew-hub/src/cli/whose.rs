//! Whose data a command is about, and which settings it works under.

use clap::Args;
use sinew::{Sinew, Tenancy, Tenant};

use super::request::Bearer;
use super::{Outcome, configured};
use crate::config::{Config, Flags, StoreSetting};

/// Whose, and where.
#[derive(Args)]
pub struct Whose {
    /// Whose: the name of a tenant
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    #[command(flatten)]
    pub(crate) bearer: Bearer,
    #[command(flatten)]
    flags: Flags,
}

impl Whose {
    /// For what all tenants share.
    pub(crate) fn of_no_tenant(flags: &Flags, bearer: &Bearer) -> Self {
        Self { tenant: None, bearer: bearer.clone(), flags: flags.clone() }
    }

    /// The settings, under which no flag goes without effect.
    pub(crate) fn configured(&self) -> Result<Config, Outcome> {
        let config = configured(&self.flags)?;
        refuse_idle(&self.flags, &self.bearer, &config.store)?;
        if self.tenant.is_some() && config.tenancy() == Tenancy::Single {
            return Err(Outcome::BadInput(
                "--tenant: this deployment is single-tenant: expected no tenant".to_owned(),
            ));
        }
        if let Some(tenant) = &self.tenant {
            Tenant::new(tenant).map_err(|e| Outcome::of(&e))?;
        }
        Ok(config)
    }

    /// A store as the tenant sees it.
    ///
    /// # Errors
    /// As [`Sinew::tenant`].
    pub(crate) fn scope_of(&self, sinew: &Sinew) -> sinew::Result<Sinew> {
        match &self.tenant {
            Some(tenant) => sinew.tenant(tenant),
            None => Ok(sinew.clone()),
        }
    }

    /// In words, to be put after a name.
    pub(crate) fn shown(&self) -> String {
        match &self.tenant {
            Some(tenant) => format!(" of tenant {tenant:?}"),
            // A tenant's are another's.
            None => " of no tenant".to_owned(),
        }
    }

    /// As it was said, to be put into another command. A secret is left out.
    pub(crate) fn words(&self) -> String {
        let Flags { config, store, prefix, tenancy, listen, .. } = &self.flags;
        let config = config.as_ref().map(|file| file.display().to_string());
        // Who is named in a URL has a password there.
        let store = store.as_deref().map(|url| if url.contains('@') { "…" } else { url });
        let said = [
            ("tenant", self.tenant.as_deref()),
            ("config", config.as_deref()),
            ("store", store),
            ("prefix", prefix.as_deref()),
            ("tenancy", tenancy.as_deref()),
            ("listen", listen.as_deref()),
        ];
        let said = said.into_iter().filter_map(|(flag, value)| Some((flag, value?)));
        said.map(|(flag, value)| format!(" --{flag} {}", quoted(value))).collect()
    }
}

/// As a shell takes it for one word.
fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/=,[]".contains(&byte);
    match !text.is_empty() && text.bytes().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// Refuses a flag that has no effect where the command works.
fn refuse_idle(flags: &Flags, bearer: &Bearer, store: &StoreSetting) -> Result<(), Outcome> {
    let (idle, why) = match store {
        StoreSetting::Redis(_) => (
            match (flags.listen.is_some(), bearer.is_said()) {
                (true, _) => Some("--listen"),
                (false, true) => Some("--token"),
                (false, false) => None,
            },
            format!(
                "names a hub, and {} says that the store is Redis itself: expected one of them; --store embedded asks the hub",
                who_names_the_store(flags)
            ),
        ),
        StoreSetting::Embedded => {
            let prefix = flags.prefix.is_some().then_some("--prefix");
            (
                prefix.or(flags.tenancy.is_some().then_some("--tenancy")),
                "a hub is asked, which has its own: expected it beside --store redis://… only"
                    .to_owned(),
            )
        }
    };
    match idle {
        Some(flag) => Err(Outcome::BadInput(format!("{flag}: {why}"))),
        None => Ok(()),
    }
}

/// Where it comes from that the store is Redis, as settings are laid over each other.
fn who_names_the_store(flags: &Flags) -> String {
    match (&flags.store, std::env::var("SINEW_STORE"), &flags.config) {
        (None, Ok(_), _) => "SINEW_STORE".to_owned(),
        (None, Err(_), Some(file)) => file.display().to_string(),
        _ => "--store".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_command_is_about_the_same_and_has_no_password() {
        let flags = Flags {
            config: Some("my file.toml".into()),
            store: Some("redis://ada:hunter2@127.0.0.1:6379".to_owned()),
            prefix: Some("App_".to_owned()),
            ..Flags::default()
        };
        let mut whose = Whose::of_no_tenant(&flags, &Bearer::default());
        whose.tenant = Some("acme".to_owned());
        let words = " --tenant acme --config 'my file.toml' --store '…' --prefix App_";
        assert_eq!(whose.words(), words);
        whose.flags = Flags { store: Some("redis://127.0.0.1/0".to_owned()), ..Flags::default() };
        assert_eq!(whose.words(), " --tenant acme --store redis://127.0.0.1/0");
        assert_eq!((quoted("a'b").as_str(), quoted("").as_str()), (r"'a'\''b'", "''"));
    }
}
