//! Signing in to the dashboard, and out.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::extract::rejection::FormRejection;
use axum::extract::{ConnectInfo, Form, FromRequestParts as _, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use sinew::Status;
use sinew::session::{Login, Saved, Session};

use super::refusal::{Asked, led_to, local, part};
use super::settings::UserSetting;
use super::shell::Viewer;
use super::{Auth, Digest, PROOF, USER_PREFIX};
use crate::dashboard::{OurPage, in_words, render};
use crate::hub::Hub;

const SIGN_IN: &str = "/login";
const WRONG: &str = "The name or the password is not right.";
const AGAIN: &str = "That did not work. Try again.";
const BUSY: &str = "Too many people sign in at once. Try again soon.";
const AWAY: &str = "The store does not answer now, and it keeps who is signed in. Try again soon.";
const NOT_OURS: &str = "This form is not as the page /login sends it, which takes scripts: expected the header HX-Request.";
const TOO_LONG: &str = "The name or the password is too long.";
const NO_FORM: &str = "This is no form: expected Content-Type: application/x-www-form-urlencoded.";
const INCOMPLETE: &str = "The form is not complete: expected a name and a password.";

#[derive(Template)]
#[template(path = "login.html")]
struct Page {
    /// Where to go on.
    to: String,
    has_users: bool,
}

#[derive(Template)]
#[template(path = "refused.html")]
struct Away {
    message: String,
}

#[derive(Default, Deserialize)]
struct Going {
    #[serde(default)]
    to: String,
}

/// As the form says it.
#[derive(Deserialize)]
struct Attempt {
    name: String,
    password: String,
    #[serde(default)]
    to: String,
}

/// How an attempt to sign in ends.
enum Ended {
    SignedIn,
    Wrong,
    TooMany(Duration),
    Busy,
    /// Something else happened to the session meanwhile.
    Overtaken,
    /// Without the store, and what is said of that.
    Away(String),
}

pub(crate) fn routes() -> Router<Hub> {
    Router::new().route(SIGN_IN, get(page).post(sign_in)).route("/logout", post(sign_out))
}

async fn page(State(hub): State<Hub>, mut parts: Parts) -> Response {
    let Some(auth) = hub.auth() else { return Redirect::to("/").into_response() };
    let going = Query::<Going>::try_from_uri(&parts.uri).map(|Query(going)| going);
    let to = local(&going.unwrap_or_default().to).to_owned();
    let session = match Session::from_request_parts(&mut parts, &hub).await {
        Ok(session) => session,
        Err(problem) => return problem.into_response(),
    };
    match auth.signed_in(&session).await {
        Ok(Some(_)) => Redirect::to(&to).into_response(),
        // Without the store, nobody gets in: better said before a password is typed.
        Ok(None) if !matches!(hub.sinew().status(), Status::Up) => away(AWAY),
        Ok(None) => render(&Page { to, has_users: !auth.users.is_empty() }),
        Err(error) => away(&in_words(&error)),
    }
}

fn away(message: &str) -> Response {
    let page = render(&Away { message: message.to_owned() });
    (StatusCode::SERVICE_UNAVAILABLE, page).into_response()
}

async fn sign_in(
    State(hub): State<Hub>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut parts: Parts,
    form: Result<Form<Attempt>, FormRejection>,
) -> Response {
    // Another site could send the form, and sign someone in as someone else. It cannot send the header.
    let asked = Asked::by(&parts);
    if !asked.is_for_a_part() {
        return asked.told(StatusCode::FORBIDDEN, NOT_OURS.to_owned(), Viewer::Nobody);
    }
    let Some(auth) = hub.auth() else {
        return led_to(StatusCode::NO_CONTENT.into_response(), "/");
    };
    let session = match Session::from_request_parts(&mut parts, &hub).await {
        Ok(session) => session,
        Err(problem) => return problem.into_response(),
    };
    let attempt = match form {
        Ok(Form(attempt)) => attempt,
        Err(rejection) => return part(StatusCode::FORBIDDEN, unreadable(&rejection).to_owned()),
    };
    let address = peer.ip().to_canonical();
    let ended = auth.attempt(&session, address, &attempt).await;
    metrics::counter!("sinew_hub_sign_ins_total", "outcome" => ended.name()).increment(1);
    match ended {
        Ended::SignedIn => {
            // Known from here on: what is typed by someone else may be a password.
            tracing::info!(user = attempt.name, %address, "signed in on the dashboard");
            led_to(StatusCode::NO_CONTENT.into_response(), local(&attempt.to))
        }
        Ended::Wrong => {
            tracing::warn!(%address, "a sign-in with a wrong name or password");
            part(StatusCode::FORBIDDEN, WRONG.to_owned())
        }
        Ended::TooMany(wait) => {
            tracing::warn!(%address, "a sign-in after too many others");
            too_many(wait)
        }
        Ended::Busy => part(StatusCode::TOO_MANY_REQUESTS, BUSY.to_owned()),
        Ended::Overtaken => part(StatusCode::FORBIDDEN, AGAIN.to_owned()),
        // The page says so, in place of the form.
        Ended::Away(message) => led_to(part(StatusCode::SERVICE_UNAVAILABLE, message), SIGN_IN),
    }
}

fn unreadable(rejection: &FormRejection) -> &'static str {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => TOO_LONG,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => NO_FORM,
        _ => INCOMPLETE,
    }
}

fn too_many(wait: Duration) -> Response {
    let seconds = wait.as_secs().max(1);
    let told = format!("Too many attempts. Try again in {seconds} s.");
    let mut response = part(StatusCode::TOO_MANY_REQUESTS, told);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

impl Ended {
    fn name(&self) -> &'static str {
        match self {
            Self::SignedIn => "signed_in",
            Self::Wrong => "wrong",
            Self::TooMany(_) => "too_many",
            Self::Busy => "busy",
            Self::Overtaken => "overtaken",
            Self::Away(_) => "away",
        }
    }
}

impl Auth {
    async fn attempt(&self, session: &Session, address: IpAddr, attempt: &Attempt) -> Ended {
        match self.try_attempt(session, address, attempt).await {
            Ok(ended) => ended,
            Err(error) => Ended::Away(in_words(&error)),
        }
    }

    async fn try_attempt(
        &self,
        session: &Session,
        address: IpAddr,
        attempt: &Attempt,
    ) -> sinew::Result<Ended> {
        // Not the name itself: what someone types there may be their password.
        let name = Digest::of(&attempt.name).to_string();
        let asked = [self.by_name.of(&name), self.by_address.of(network(address))];
        let decision = self.limiter.check(asked).await?;
        // No one can be signed in then. What is guessed meanwhile is not counted with what was guessed before,
        // and another answer to the right password would tell that it is right.
        if decision.is_degraded() {
            return Ok(Ended::Away(AWAY.to_owned()));
        }
        if !decision.is_allowed() {
            // Rounded up, so that then it passes.
            let wait = decision.retry_after().unwrap_or_default() + Duration::from_millis(999);
            return Ok(Ended::TooMany(wait));
        }
        let user = match self.known(attempt).await {
            Known::Yes(user) => user,
            Known::No => return Ok(Ended::Wrong),
            Known::Later => return Ok(Ended::Busy),
        };
        // With a new token: one that someone else has planted is worth nothing after this.
        match session.login(&format!("{USER_PREFIX}{}", user.name)).await? {
            Login::Done => session.set(PROOF, &user.proof().to_string())?,
            Login::Refused | Login::Gone => return Ok(Ended::Overtaken),
        }
        Ok(match session.save().await? {
            Saved::Done | Saved::Unchanged => Ended::SignedIn,
            Saved::Gone | Saved::Conflict => Ended::Overtaken,
        })
    }

    /// Whose name and password it is. It takes as long for a name that nobody has.
    async fn known(&self, attempt: &Attempt) -> Known<'_> {
        let user = self.user(&attempt.name);
        let Some(compared) = user.or_else(|| self.users.first()) else { return Known::No };
        let Ok(place) = Arc::clone(&self.hashing).try_acquire_owned() else {
            return Known::Later;
        };
        let (hashed, password) = (compared.password.clone(), attempt.password.clone());
        // Off the threads that others' requests are answered on. The place is taken until here, whether
        // or not the client is still there.
        let is_right = tokio::task::spawn_blocking(move || (hashed.is_of(&password), place)).await;
        let is_right = is_right.is_ok_and(|(is_right, _)| is_right);
        match user.filter(|_| is_right) {
            Some(user) => Known::Yes(user),
            None => Known::No,
        }
    }
}

/// Whose guesses count together: whoever has an IPv6 address may take any of its 64 bits of network.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

enum Known<'a> {
    Yes(&'a UserSetting),
    No,
    Later,
}

async fn sign_out(State(hub): State<Hub>, _: OurPage, mut parts: Parts) -> Response {
    if hub.auth().is_none() {
        return led_to(StatusCode::NO_CONTENT.into_response(), "/");
    }
    let session = match Session::from_request_parts(&mut parts, &hub).await {
        Ok(session) => session,
        Err(problem) => return problem.into_response(),
    };
    match session.logout().await {
        Ok(()) => led_to(StatusCode::NO_CONTENT.into_response(), SIGN_IN),
        // Still signed in, and the page has to say so.
        Err(error) => part(StatusCode::FORBIDDEN, in_words(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_another_address_of_a_network_of_ipv6_guesses_no_more() {
        let of = |address: &str| network(address.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("203.0.113.9"), "203.0.113.9");
    }
}
