//! Auth: who somebody is, and for how long that is believed.
//!
//! | Route | |
//! | --- | --- |
//! | `POST /api/auth/register` | an account, of an email and a password |
//! | `POST /api/auth/login` | a token, for an account's email and password |
//! | `GET /api/auth/validate-token` | whose it is, and until when |
//! | `POST /api/auth/logout` | ends it |
//! | `POST /api/auth/logout-all` | ends all of its user's |
//!
//! A token is sent in `Authorization: Bearer`, and is that of a [session](sinew::session). It lives for an hour
//! after it was last used, and for 12 hours at most; so one token does what a pair for access and refresh
//! does elsewhere. `validate-token` names the account, which is cached under `{tenant}:auth:user:{userId}` for 5
//! minutes; whether the token is good is never cached.
//!
//! # What it promises
//!
//! 1. **Ended is ended.** A token that was logged out opens nothing any more, at no instance.
//! 2. **Nobody is sent away by an outage.** While the store does not answer, routes that need to know who
//!    asks answer 503, and the token is good again afterwards.
//! 3. **Guessing is slow.** An address has 20 attempts a minute, an account 5, over all instances. An
//!    account that does not exist takes as long to refuse as a wrong password, and is told alike. To register
//!    does say whether an email has an account: to tell that by mail only, one has to send mail.
//! 4. **Guessing locks nobody out** where he was let in during the last 30 days: an address from which
//!    somebody was has 5 attempts of its own. From a new one he waits while someone guesses.
//! 5. **What is stored opens nothing.** The database has a hash of the password (Argon2id), and Redis
//!    one of the token.

mod account;
mod cache_keys;
mod error;
mod limits;
mod password;
mod repository;
mod routes;
mod service;
pub(crate) mod sessions;

pub(crate) use error::AuthError;
pub(crate) use password::hash_of;
pub(crate) use repository::Repository;
pub(crate) use routes::router;
