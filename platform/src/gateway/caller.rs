//! Who asks, and what of it is believed.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sinew::http::Problem;
use sinew::limit::http::TrustedProxies;

use super::fields::remove_hop_by_hop;

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
    State(trusted): State<TrustedProxies>,
    mut request: Request,
    next: Next,
) -> Response {
    // First: whoever sends the request chooses what goes with the connection, so the gateway is to read
    // nothing that upstreams do not get, and what it adds is to stay.
    remove_hop_by_hop(request.headers_mut());
    let correlation = correlation_of(request.headers());
    request.headers_mut().insert(CORRELATION, correlation.clone());
    let mut response = match caller_of(&mut request, &trusted) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    response.headers_mut().insert(CORRELATION, correlation);
    response
}

fn caller_of(request: &mut Request, trusted: &TrustedProxies) -> Result<Caller, Problem> {
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let Some(peer) = address.map(|ConnectInfo(address)| address.ip().to_canonical()) else {
        tracing::error!(
            "nobody is let in: expected a gateway that is served with into_make_service_with_connect_info::<SocketAddr>()"
        );
        return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error"));
    };
    let headers = request.headers_mut();
    forget(headers, is_claim_in_disguise);
    if !trusted.trusts(peer) {
        forget(headers, is_claim);
    }
    Ok(Caller { peer, user: user_of(headers)? })
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
