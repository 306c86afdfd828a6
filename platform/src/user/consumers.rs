//! What others tell that a user is to know.

use sinew::Streams;
use sinew::stream::{Ack, Ctx, Event, HandlerError, Subscription};

use super::notice::Noticed;
use super::repository::Repository;
use crate::database::Database;
use crate::date::timestamp;
use crate::events::{self, InvoiceCreated, NOTICES, OrderPlaced};

/// The consumers of the user service, of all tenants.
pub(crate) fn consumers(
    streams: &Streams,
    database: &Database,
) -> sinew::Result<Vec<Subscription>> {
    let rows = Repository::new(database.clone());
    Ok(vec![
        consumer_of::<InvoiceCreated>(streams, &rows)?,
        consumer_of::<OrderPlaced>(streams, &rows)?,
    ])
}

fn consumer_of<F: Noticed>(streams: &Streams, rows: &Repository) -> sinew::Result<Subscription> {
    let rows = rows.clone();
    events::subscribe::<F>(streams, NOTICES).start(move |event: Event<F>, _: Ctx| {
        let rows = rows.clone();
        async move { note(&rows, event).await }
    })
}

/// Writes a notice for the user whom it is about, unless it is written.
async fn note<F: Noticed>(rows: &Repository, event: Event<F>) -> Result<Ack, HandlerError> {
    let tenant = match events::whose(&event) {
        Ok(tenant) => tenant,
        Err(ack) => return Ok(ack),
    };
    let (user, words) = (event.data.user(), event.data.words());
    let at = timestamp(event.time()).to_string();
    let name = events::name_of(&event);
    match rows.write_notice(&tenant, user, name, (F::KIND, words, at)).await? {
        true => Ok(Ack::Done),
        false => Ok(Ack::Drop),
    }
}
