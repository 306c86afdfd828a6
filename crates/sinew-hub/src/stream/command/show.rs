//! `sinew stream show`

use clap::Args;

use super::place::{Place, failed, get, place, typed, unreadable};
use crate::cli::whose::Whose;
use crate::cli::{Outcome, print_json};
use crate::stream::body::EventBody;

/// Which event.
#[derive(Args)]
pub struct ShowArgs {
    /// Name of the topic
    topic: String,
    /// Partition and entry, like 3:1795316265410-0
    place: String,
    #[command(flatten)]
    whose: Whose,
}

pub(super) async fn show(args: &ShowArgs) -> Result<(), Outcome> {
    let at = typed(&args.place)?;
    let place = place(&args.whose).await?;
    let event = match &place {
        Place::Redis(streams, _) => {
            let found = streams.event(&args.topic, &at).await.map_err(failed)?;
            let found = found.ok_or_else(|| {
                Outcome::NoSuchStream(format!("no event at {at} of topic {:?}", args.topic))
            })?;
            EventBody::of(&found).map_err(unreadable)?
        }
        Place::Hub(hub) => get(&hub.request(&[&args.topic, "events", &at.to_string()])?).await?,
    };
    print_json(&event)
}
