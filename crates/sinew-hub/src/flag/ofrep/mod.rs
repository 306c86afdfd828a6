//! `/ofrep/v1/…`: flags for the clients of OpenFeature in any language (OFREP 0.3).

mod body;
mod evaluate;
mod events;
mod extract;

use utoipa_axum::router::OpenApiRouter;

use crate::hub::Hub;

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new().merge(evaluate::routes()).merge(events::routes())
}
