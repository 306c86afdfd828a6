//! Who asks, and what of it is believed.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sinew::http::{Problem, TENANT_HEADER};
use sinew::limit::http::TrustedProxies;
use sinew::session::SessionToken;
use sinew::{Sinew, Tenant};

use super::fields::remove_hop_by_hop;
use crate::auth::sessions;

const USER: HeaderName = HeaderName::from_static("x-user-id");
const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");
const USER_LEN_MAX: usize = 128;
const CORRELATION_LEN_MAX: usize = 128;

/// Who asks, as far as the gateway believes it. An extension of each request.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// Who is connected.
    pub(super) peer: IpAddr,
    user: Option<String>,
}

impl Caller {
    pub(super) fn user_of(request: &Parts) -> Option<String> {
        request.extensions.get::<Self>()?.user.clone()
    }

    pub(super) fn is_signed_in(request: &Parts) -> bool {
        request.extensions.get::<Self>().is_some_and(|caller| caller.user.is_some())
    }
}

/// Tells limits and upstreams who asks, and the client under which id to look for its request.
pub(super) async fn identify(
    State(witness): State<Witness>,
    mut request: Request,
    next: Next,
) -> Response {
    // First: whoever sends the request chooses what goes with the connection, so the gateway is to read
    // nothing that upstreams do not get, and what it adds is to stay.
    remove_hop_by_hop(request.headers_mut());
    let correlation = correlation_of(request.headers());
    request.headers_mut().insert(CORRELATION, correlation.clone());
    let mut response = match witness.caller_of(&mut request).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    response.headers_mut().insert(CORRELATION, correlation);
    response
}

/// Who says who asks.
#[derive(Clone)]
pub(super) struct Witness {
    pub(super) sinew: Sinew,
    pub(super) trusted: TrustedProxies,
}

impl Witness {
    async fn caller_of(&self, request: &mut Request) -> Result<Caller, Problem> {
        let address = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let Some(peer) = address.map(|ConnectInfo(address)| address.ip().to_canonical()) else {
            tracing::error!(
                "nobody is let in: expected a gateway that is served with into_make_service_with_connect_info::<SocketAddr>()"
            );
            return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error"));
        };
        let headers = request.headers_mut();
        forget(headers, is_claim_in_disguise);
        if !self.trusted.trusts(peer) {
            forget(headers, is_claim);
        }
        let user = match user_of(headers)? {
            Some(user) => Some(user),
            None => self.signed_in(headers).await,
        };
        Ok(Caller { peer, user })
    }

    /// Whose session the token opens. Nobody's where Redis does not say: then the address is limited, and
    /// whether the token is good is for the module to say that it is for.
    async fn signed_in(&self, headers: &HeaderMap) -> Option<String> {
        let tenant = Tenant::new(only(headers, TENANT_HEADER)?).ok()?;
        let (scheme, token) = only(headers, AUTHORIZATION.as_str())?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let token: SessionToken = token.trim().parse().ok()?;
        let session = sessions::of(&self.sinew, &tenant).ok()?.open(token);
        let user = session.user().await.ok()??;
        // Two tenants may each have a user of this name.
        Some(format!("{}/{user}", tenant.as_str()))
    }
}

/// The value of a field that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok()
}

fn forget(headers: &mut HeaderMap, what: impl Fn(&str) -> bool) {
    let claims: Vec<HeaderName> =
        headers.keys().filter(|name| what(name.as_str())).cloned().collect();
    for claim in claims {
        headers.remove(claim);
    }
}

fn is_claim(name: &str) -> bool {
    ["forwarded", "x-real-ip", USER.as_str()].contains(&name) || name.starts_with("x-forwarded-")
}

/// `X_User_Id`: to many upstreams (CGI, WSGI) it is the same field. No proxy writes it, so it is a
/// client's that a trusted one has passed on.
fn is_claim_in_disguise(name: &str) -> bool {
    name.contains('_') && is_claim(&name.replace('_', "-"))
}

/// The one user that a trusted proxy names, if it names one.
fn user_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(&USER).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return match headers.contains_key(&USER) {
            true => Err(bad_user()),
            false => Ok(None),
        };
    };
    let user = value.to_str().ok().filter(|user| (1..=USER_LEN_MAX).contains(&user.len()));
    user.map(|user| Some(user.to_owned())).ok_or_else(bad_user)
}

fn bad_user() -> Problem {
    Problem::bad_request(format!(
        "invalid {USER}: expected 1 to {USER_LEN_MAX} characters of ASCII, once"
    ))
}

/// The id that the client gave its request, if it can be one, or a new one.
fn correlation_of(headers: &HeaderMap) -> HeaderValue {
    let mut values = headers.get_all(&CORRELATION).iter();
    let given = values.next().filter(|_| values.next().is_none());
    match given.filter(|id| is_plain(id.as_bytes())) {
        Some(id) => id.clone(),
        None => new_id(),
    }
}

/// What may stand in any log.
fn is_plain(id: &[u8]) -> bool {
    (1..=CORRELATION_LEN_MAX).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}

fn new_id() -> HeaderValue {
    let id = format!("{:032x}", fastrand::u128(..));
    // Hexadecimal digits are a value.
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("none"))
}
