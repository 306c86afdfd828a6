//! Users: what somebody says of oneself, how one likes it, and where one is signed in.
//!
//! | Route | Cached under | For |
//! | --- | --- | --- |
//! | `GET`, `PUT /api/users/me` | `profile:{userId}` | 30 minutes |
//! | `GET`, `PUT /api/users/me/preferences` | `preferences:{userId}` | 10 minutes |
//! | `GET /api/users/me/sessions` | never | |
//! | `GET /api/users/me/notices` | never | |
//! | `DELETE /api/users/me/sessions/{id}` | never | |
//!
//! Every key is under `{prefix}{tenant}:`, and a write evicts its own. `me` is whose token it is: nobody reads
//! or ends what is another's. Who has said nothing yet has an empty profile and the preferences of everyone.
//! A `PUT` replaces all that it is about: of two at once, the later one stays as a whole. Notices come of what
//! [other modules tell](crate::events).

mod cache_keys;
mod consumers;
mod error;
mod notice;
mod preferences;
mod profile;
mod repository;
mod routes;
mod service;

pub(crate) use consumers::consumers;
pub(crate) use routes::router;
