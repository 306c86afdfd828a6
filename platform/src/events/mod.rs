//! What the modules tell each other, and how it gets there.
//!
//! | Topic | Event | Told by | Heard by the groups |
//! | --- | --- | --- | --- |
//! | `orders` | `OrderPlaced` | billing, at once | `billing`: it is used · `notices`: its user is told |
//! | `invoices` | `InvoiceCreated` | billing, through the outbox | `notices`: its user is told |
//! | `images` | `ImageGenerated` | the generator, of pages and images, through the outbox | `billing`: it is used |
//!
//! The topics are the deployment's, not a tenant's: one subscription hears of all tenants. Whose an event is, its
//! extension `tenant` says. Its key is tenant and user, so that a group may ask for what happens to one user in its
//! order. Its source and its id name it: what comes twice has the same name.
//!
//! # What it promises
//!
//! 1. **State and event never part.** An invoice is committed with its event, and a page too; the relay publishes
//!    what is committed, however often processes end in between.
//! 2. **Used once.** `billing` notes the name of an event in the transaction that records what was used: an event
//!    that is delivered again, or published again, is found there.
//! 3. **Told once.** There is one notice for a name.
//! 4. **An order is its event.** While Redis is away it is refused with 503, and may be sent again: one id is one
//!    order. After ten minutes an answer says that it is new although it was there: a second event of its name lies
//!    in `orders` then, which no group takes for another order.

pub(crate) mod inbox;
pub(crate) mod outbox;
mod workers;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sinew::stream::{Ack, Backoff, Event, NewEvent, Subscribe};
use sinew::{Result, Streams, Tenant};

// What an event is called, among all of all topics.
pub(crate) use sinew_outbox::name_of;
pub use workers::Workers;

/// Hears what was used.
pub(crate) const BILLING: &str = "billing";
/// Hears what users are to be told.
pub(crate) const NOTICES: &str = "notices";

/// Of each topic: so many instances share the events of an ordered group.
pub(crate) const PARTITIONS: u16 = 4;
/// Each needs a connection of the database for a moment, and there are not many.
const CONCURRENCY: usize = 4;
/// At pauses of a minute at most, the greater part of an hour without the database.
const ATTEMPTS: u32 = 100;
/// Handlers are done in no time, or wait for a database that does not answer.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);

/// The extension that says whose an event is.
const TENANT: &str = "tenant";

/// Something that happened to a user.
pub(crate) trait Fact: Serialize + DeserializeOwned + Send + Sync + 'static {
    const TOPIC: &'static str;
    /// The seed's name for it.
    const KIND: &'static str;
    /// The module that tells it.
    const SOURCE: &'static str;

    fn user(&self) -> &str;
}

/// Someone ordered units.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrderPlaced {
    pub(crate) order_id: String,
    pub(crate) user_id: String,
    pub(crate) units: i64,
}

impl Fact for OrderPlaced {
    const TOPIC: &'static str = "orders";
    const KIND: &'static str = "OrderPlaced";
    const SOURCE: &'static str = "billing";

    fn user(&self) -> &str {
        &self.user_id
    }
}

/// The invoice of a month was written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InvoiceCreated {
    pub(crate) invoice_id: i64,
    pub(crate) user_id: String,
    /// `YYYY-MM`
    pub(crate) month: String,
    pub(crate) units: i64,
    pub(crate) amount_cents: i64,
}

impl Fact for InvoiceCreated {
    const TOPIC: &'static str = "invoices";
    const KIND: &'static str = "InvoiceCreated";
    const SOURCE: &'static str = "billing";

    fn user(&self) -> &str {
        &self.user_id
    }
}

/// A model has made what it was asked for; here, that is a page, or the image of one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImageGenerated {
    pub(crate) project_id: i64,
    pub(crate) user_id: String,
    pub(crate) model: String,
}

impl Fact for ImageGenerated {
    const TOPIC: &'static str = "images";
    const KIND: &'static str = "ImageGenerated";
    const SOURCE: &'static str = "generator";

    fn user(&self) -> &str {
        &self.user_id
    }
}

const TOPICS: [&str; 3] = [OrderPlaced::TOPIC, InvoiceCreated::TOPIC, ImageGenerated::TOPIC];

/// The event of something that happened to a user of a tenant. It has no id yet.
pub(crate) fn event<F: Fact>(tenant: &Tenant, fact: &F) -> Result<NewEvent> {
    let tenant = tenant.as_str();
    Ok(NewEvent {
        source: Some(format!("/{tenant}/{}", F::SOURCE)),
        kind: Some(F::KIND.to_owned()),
        key: Some(format!("{tenant}/{}", fact.user())),
        extensions: BTreeMap::from([(TENANT.to_owned(), tenant.to_owned())]),
        ..NewEvent::json(fact)?
    })
}

/// What a group hears of one kind of events, and how it is tried again.
pub(crate) fn subscribe<F: Fact>(streams: &Streams, group: &str) -> Subscribe<F> {
    streams
        .subscribe::<F>(F::TOPIC, group)
        .concurrency(CONCURRENCY)
        .retry(Backoff::default().max_attempts(ATTEMPTS))
        .drain(DRAIN)
}

/// Whose an event is; where nobody can tell, what becomes of it.
pub(crate) fn whose<F: Fact>(event: &Event<F>) -> std::result::Result<Tenant, Ack> {
    let tenant = event.extension(TENANT).and_then(|name| Tenant::new(name).ok());
    tenant.ok_or_else(|| Ack::DeadLetter { reason: "its extension names no tenant".to_owned() })
}
