//! The generator: pages made from a few words, by a model that a flag chooses.
//!
//! | Route | Cached under | Evicted by |
//! | --- | --- | --- |
//! | `POST /api/generator/projects` | | |
//! | `GET /api/generator/projects` | `project:user:{userId}:list` | a new project of this user |
//! | `GET /api/generator/projects/{id}` | `project:{id}` | nothing: it never changes |
//! | `POST /api/generator/projects/{id}/image` | | |
//! | `GET /api/generator/projects/{id}/image` | never | |
//! | `GET /api/generator/images/{jobId}` | never | |
//!
//! Every key is under `{prefix}{tenant}:`, for 10 minutes. A project is its user's: nobody else finds it.
//!
//! A page is committed with its [event](crate::events), and is billed for it.
//!
//! # Images
//!
//! A project has an image once its user has ordered one: [a job](crate::jobs) paints it, part by part. The answer to the order
//! says where to ask how far it is, until an hour after its end. An image is billed as a page is, once, and committed with
//! its event.
//!
//! # Which model
//!
//! `local-advanced` where the flag `advanced-ai-models` is on for the user, else `local-simple`. Every project says
//! which it was, and why. The flag is the deployment's, not a tenant's: of which tenant a user is, its rules and
//! overrides may ask. It may be in the flags' document, or a plain key, as the seed has it:
//!
//! ```console
//! $ redis-cli SET RentTracker__:feature:advanced-ai-models:global true EX 604800
//! $ redis-cli SET RentTracker__:feature:advanced-ai-models:user:ada true
//! ```
//!
//! Both models are stand-ins that run in this process, and say so in what they make. While the store does not
//! answer, the flag is what it last was.

mod cache_keys;
mod error;
mod image;
mod model;
mod painting;
mod project;
mod repository;
mod routes;
mod service;

pub(crate) use painting::{Painting, register};
pub(crate) use routes::router;
