//! Where limits are.

use clap::Args;
use sinew::Sinew;
use sinew::limit::{Limit, Limiter};

use crate::cli::Outcome;
pub(super) use crate::cli::place::AtHub;
use crate::cli::request::Bearer;
use crate::cli::whose::Whose;
use crate::config::{Config, Flags};
use crate::limit::table::LimitTable;

/// Of a hub's paths.
const ROOT: [&str; 2] = ["v1", "limits"];

pub(super) type Place = crate::cli::place::Place<InRedis>;

/// Limits in Redis itself.
pub(super) struct InRedis {
    pub(super) limiter: Limiter,
    pub(super) table: LimitTable,
}

impl InRedis {
    /// The limit that is said, or else the one that is defined.
    pub(super) async fn limit(&self, name: &str, said: Option<Limit>) -> Result<Limit, Outcome> {
        if let Some(limit) = said {
            return Ok(limit);
        }
        let defined = self.table.get(name).await.map_err(|e| Outcome::of(&e))?;
        defined.ok_or_else(|| {
            Outcome::NoSuchLimit(format!(
                "no limit {name:?} is defined: expected one, as by `sinew limit define {name} --quota 100 --per 1m`, or --quota and --per here"
            ))
        })
    }
}

fn open(sinew: &Sinew, config: &Config) -> sinew::Result<InRedis> {
    let table = LimitTable::new(sinew, config.limits.clone());
    Ok(InRedis { limiter: sinew.limiter(), table })
}

pub(super) async fn place(whose: &Whose) -> Result<Place, Outcome> {
    whose.place(&ROOT, open).await
}

/// The same, whether or not Redis is up.
pub(super) async fn place_up_or_down(whose: &Whose) -> Result<Place, Outcome> {
    whose.place_up_or_down(&ROOT, open).await
}

/// Refuses a limit that is said and not defined where a hub is asked, which has its own.
pub(super) fn refuse_terms_at_hub(said: Option<&Limit>) -> Result<(), Outcome> {
    match said {
        None => Ok(()),
        Some(_) => Err(Outcome::BadInput(
            "--quota: a hub knows the limits that are defined: expected none, or --store redis://… beside it"
                .to_owned(),
        )),
    }
}

/// Where what all tenants share is.
#[derive(Args)]
pub struct OfAll {
    // Taken, to say why it is not.
    #[arg(long, hide = true)]
    tenant: Option<String>,
    #[command(flatten)]
    bearer: Bearer,
    #[command(flatten)]
    flags: Flags,
}

/// The same, for what all tenants share.
pub(super) async fn place_of_all(of_all: &OfAll) -> Result<Place, Outcome> {
    if of_all.tenant.is_some() {
        return Err(Outcome::BadInput(
            "--tenant: limits are defined for all tenants: expected none".to_owned(),
        ));
    }
    place(&Whose::of_no_tenant(&of_all.flags, &of_all.bearer)).await
}
