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
