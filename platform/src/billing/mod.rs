//! Billing: what users used, and the invoice that each of them gets for a month.
//!
//! | Route | |
//! | --- | --- |
//! | `POST /api/billing/usage` | what a user used on a day |
//! | `POST /api/billing/orders` | units that a user orders: [an event](crate::events), and nothing else |
//! | `POST /api/billing/runs` | writes the invoices of a month by hand: one instance at a time |
//! | `GET /api/billing/runs/{month}` | how far that is |
//! | `POST /api/billing/invoices/{id}/mail` | mails one again: [a job](crate::jobs), and one at a time |
//! | `GET /api/billing/users/{userId}/invoices` | cached under `{tenant}:billing:invoices:{userId}`, evicted by a run |
//!
//! On the first of each month, at midnight in Berlin, the recurring job `generate-monthly-invoices` has the invoices of the month
//! before written, of each tenant by a job. What the clock does by then makes no difference, nor how many instances there are.
//! It is defined where it is not there, at the start as in a store that came back empty. What people change of it stays, whatever
//! is deployed after; removed, it comes again: whoever wants no invoices pauses it. A release that bills at another time gives it
//! another name, and removes this one.
//!
//! # What a run promises
//!
//! 1. **One at a time.** A tenant's run holds the lock `job:generate-invoices:monthly`. Who comes
//!    second is told so, and when to ask again.
//! 2. **Once.** What was used is in one invoice, and a user has one invoice for a month. What is told
//!    after it was written goes into the next one.
//! 3. **No stale writer.** An instance that lost the lock, and was too busy to notice, writes nothing
//!    once another has begun: each invoice is written in a transaction with the lock's fence.
//! 4. **Who gets one is told.** An invoice is committed with its [event](crate::events), and with the job that mails it.
//! 5. **It goes on.** A run that ends in the middle leaves whole invoices. The next one writes the rest.

mod cache_keys;
mod consumers;
mod error;
mod fence;
mod invoice;
mod jobs;
mod month;
mod order;
mod repository;
mod routes;
mod run;
mod service;
pub(crate) mod usage;

pub(crate) use consumers::consumers;
pub use error::BillingError;
pub(crate) use jobs::{Letters, register, schedule};
pub use month::Month;
pub(crate) use routes::router;
pub use run::MonthlyRun;
pub use service::Billing;
