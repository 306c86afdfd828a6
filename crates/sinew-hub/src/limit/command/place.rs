//! Where limits are.

use clap::Args;
use sinew::limit::Limiter;

use crate::cli::Outcome;
pub(super) use crate::cli::place::AtHub;
use crate::cli::whose::Whose;
use crate::config::Flags;
use crate::limit::table::LimitTable;

pub(super) type Place = crate::cli::place::Place<InRedis>;

/// Limits in Redis itself.
pub(super) struct InRedis {
    pub(super) limiter: Limiter,
    pub(super) table: LimitTable,
}

pub(super) async fn place(whose: &Whose) -> Result<Place, Outcome> {
    whose
        .place(&["v1", "limits"], |sinew, config| {
            let table = LimitTable::new(sinew, config.limits.clone());
            Ok(InRedis { limiter: sinew.limiter(), table })
        })
        .await
}

/// Where what all tenants share is.
#[derive(Args)]
pub struct OfAll {
    // Taken, to say why it is not.
    #[arg(long, hide = true)]
    tenant: Option<String>,
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
    place(&Whose::of_no_tenant(&of_all.flags)).await
}
