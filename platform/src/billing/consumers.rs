//! What others tell that is to be billed.

use sinew::Streams;
use sinew::stream::{Ack, Ctx, Event, HandlerError, Subscription};

use super::repository::Repository;
use super::usage::UsageInput;
use crate::database::Database;
use crate::date::day;
use crate::events::{self, BILLING, Fact, ImageGenerated, OrderPlaced, PARTITIONS};

const UNITS_PER_IMAGE: i64 = 1;

/// Something that is billed.
trait Used: Fact {
    fn units(&self) -> i64;
}

impl Used for ImageGenerated {
    fn units(&self) -> i64 {
        UNITS_PER_IMAGE
    }
}

impl Used for OrderPlaced {
    fn units(&self) -> i64 {
        self.units
    }
}

/// Billing's consumers, of all tenants.
pub(crate) fn consumers(
    streams: &Streams,
    database: &Database,
) -> sinew::Result<Vec<Subscription>> {
    let rows = Repository::new(database.clone());
    Ok(vec![
        consumer_of::<ImageGenerated>(streams, &rows)?,
        consumer_of::<OrderPlaced>(streams, &rows)?,
    ])
}

fn consumer_of<F: Used>(streams: &Streams, rows: &Repository) -> sinew::Result<Subscription> {
    let rows = rows.clone();
    events::subscribe::<F>(streams, BILLING).ordered_by_key(PARTITIONS).start(
        move |event: Event<F>, _: Ctx| {
            let rows = rows.clone();
            async move { note(&rows, event).await }
        },
    )
}

/// Notes what was used, on the day on which it happened.
async fn note<F: Used>(rows: &Repository, event: Event<F>) -> Result<Ack, HandlerError> {
    let tenant = match events::whose(&event) {
        Ok(tenant) => tenant,
        Err(ack) => return Ok(ack),
    };
    let used = UsageInput {
        user_id: event.data.user().to_owned(),
        used_on: day(event.time()),
        units: event.data.units(),
    };
    // It will never be otherwise.
    if let Err(error) = used.check() {
        return Ok(Ack::DeadLetter { reason: error.to_string() });
    }
    match rows.record_usage_once(&tenant, &used, &events::name_of(&event)).await? {
        true => Ok(Ack::Done),
        false => Ok(Ack::Drop),
    }
}
