//! Billing: what users used, and the invoice that each of them gets for a month.
//!
//! | Route | |
//! | --- | --- |
//! | `POST /api/billing/usage` | what a user used on a day |
//! | `POST /api/billing/orders` | units that a user orders: [an event](crate::events), and nothing else |
//! | `POST /api/billing/runs` | writes the invoices of a month: one instance at a time |
//! | `GET /api/billing/runs/{month}` | how far that is |
//! | `GET /api/billing/users/{userId}/invoices` | cached under `{tenant}:billing:invoices:{userId}`, evicted by a run |
//!
//! # What a run promises
//!
//! 1. **One at a time.** A tenant's run holds the lock `job:generate-invoices:monthly`. Who comes
//!    second is told so, and when to ask again.
//! 2. **Once.** What was used is in one invoice, and a user has one invoice for a month. What is told
//!    after it was written goes into the next one.
//! 3. **No stale writer.** An instance that lost the lock, and was too busy to notice, writes nothing
//!    once another has begun: each invoice is written in a transaction with the lock's fence.
//! 4. **Who gets one is told.** An invoice is committed with its [event](crate::events).
//! 5. **It goes on.** A run that ends in the middle leaves whole invoices. The next one writes the rest.

mod cache_keys;
mod consumers;
mod error;
mod fence;
mod invoice;
mod month;
mod order;
mod repository;
mod routes;
mod run;
mod service;
pub(crate) mod usage;

pub(crate) use consumers::consumers;
pub use error::BillingError;
pub use month::Month;
pub(crate) use routes::router;
pub use run::MonthlyRun;
pub use service::Billing;
