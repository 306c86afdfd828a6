//! Customers, and how they get into Fortnox.
//!
//! | Route | Cached under | For | Evicted by |
//! | --- | --- | --- | --- |
//! | `POST /api/customers` | | | |
//! | `GET /api/customers` | `customer:list` | 5 minutes | a new customer, and its number |
//! | `GET /api/customers/{id}` | `customer:{id}` | 10 minutes | its number |
//!
//! Every key is under `{prefix}{tenant}:`. A customer is committed with [a job](crate::jobs) that makes it known to Fortnox, and
//! has its `fortnoxNumber` once that is done.
//!
//! # What the job promises
//!
//! 1. **One at a time.** A tenant's holds the lock `job:create-customer`. Who finds it held comes again.
//! 2. **Once.** Fortnox is told a reference, by which it knows a customer that it has made before.
//! 3. **No stale writer.** Whoever lost the lock, and was too busy to notice, writes no number once another has begun: a
//!    customer has the fence of whoever was at it last.
//! 4. **It goes on.** Where Fortnox is away it is tried again, after a second, then longer and longer, and when Fortnox says
//!    so; what it refuses is dead, with its words.

mod cache_keys;
mod customer;
mod error;
mod fortnox;
mod repository;
mod routes;
mod service;

pub(crate) use fortnox::{Books, register};
pub(crate) use routes::router;
