//! Sessions in front of a service: [`SessionLayer`], the extractors, and [`CsrfLayer`] for forms.
//!
//! ```
//! # use axum::{Router, routing::get};
//! use sinew::Sinew;
//! use sinew::http::Problem;
//! use sinew::session::http::{Csrf, CsrfLayer, SessionUser};
//! use sinew::session::{Login, Session};
//!
//! async fn form(csrf: Csrf) -> String {
//!     format!(r#"<form method="post"><input type="hidden" name="csrf_token" value="{}"></form>"#, csrf.token())
//! }
//!
//! async fn login(session: Session) -> Result<&'static str, Problem> {
//!     // Once the password was right:
//!     Ok(match session.login("ada").await? {
//!         Login::Done => "welcome",
//!         _ => "not now", // as many sessions as may be, or it was ended meanwhile
//!     })
//! }
//!
//! async fn hello(SessionUser(user): SessionUser) -> String {
//!     format!("hello {user}")
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> sinew::Result<()> {
//! let sessions = Sinew::embedded().tenant("acme")?.sessions().build()?;
//! let app: Router = Router::new()
//!     .route("/login", get(form).post(login))
//!     .route("/", get(hello))
//!     .layer(CsrfLayer) // before the sessions' own, which goes around it
//!     .layer(sessions.layer());
//! # drop(app);
//! # Ok(()) }
//! ```
//!
//! The layer asks Redis nothing: a handler that does not use its [`Session`](crate::session::Session) costs no
//! round trip. What a handler has changed is saved after it, whatever its status is, and before its response
//! goes out, so before any of a body that streams. A handler whose client goes away is dropped, and what it
//! had not saved with it.
//!
//! | in the end | the client gets |
//! | --- | --- |
//! | nothing was stored, or nothing changed | the service's response, and no cookie |
//! | a session was begun, or has another token, as by a login | the response, and the cookie |
//! | [`Session::logout`](crate::session::Session::logout) has ended it | the response, and the cookie's removal |
//! | another has ended it meanwhile | the response; nothing was saved, and the cookie is of no use |
//! | Redis does not answer where the changes are to be saved | 503, instead of the response |
//! | the changes cannot be saved, since they are too many or too large | 500, and an error in the log |
//!
//! What is not the service's own is `application/problem+json` (RFC 9457).
//!
//! # The cookie
//! As [`SessionCookie`] says. Only a request with exactly one cookie of the name has a session: of several, one may
//! have been planted by a neighbour. One that is no token is as none, and is not repeated in an answer. The cookie
//! is only removed by the request that ends the session: one that came late would take away
//! the cookie that a login beside it has just set. A request that still carries the token of before a login, and stores
//! something after it, begins a session of nobody, and its cookie takes the place of the login's: let a page send
//! nothing else while it signs in.
//!
//! # Caches
//! A response that sets or removes the cookie, or after which the session has another bearer token, says
//! `Cache-Control: no-store`, whatever it said before: a cache that kept it would give one client's session to the
//! next. Where a request came with a session, a response that says nothing of caching says `private`. One that says
//! how long it may be kept, and by whom, is believed. A cache in the same service goes around this layer, so after it
//! in `.layer(…)`: one inside of it hears none of this.
//!
//! # When Redis is down
//! Whoever asks a session gets an error, which as a [`Problem`](crate::http::Problem) is 503: never "signed
//! out", never "signed in". Requests that need no session are served.

mod cookie;
mod csrf;
mod extract;
mod layer;

pub use cookie::{SameSite, SessionCookie};
pub use csrf::{CSRF_FIELD, CSRF_HEADER, CsrfLayer, CsrfService};
pub use extract::{Csrf, SessionUser};
pub use layer::{SessionBody, SessionLayer, SessionService};
