//! One POST, to exactly the address that was looked at: no redirects, no proxy, no connection that is kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use url::{Host, Position, Url};

use super::address::{Addresses, Checked};
use super::room::Place;

/// Of a reply's body, in bytes. It is read and thrown away.
const REPLY_LEN_MAX: usize = 64 << 10;
/// For how long it is read, at most: only so that its sender is not cut off.
const BODY_MAX: Duration = Duration::from_secs(1);
/// So many addresses of a name are tried, each for its part of the time, and for a second at least.
const ADDRESSES_MAX: usize = 8;
const CONNECT_MIN: Duration = Duration::from_secs(1);
/// The longest pause that an endpoint may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// Sends deliveries. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Poster {
    addresses: Arc<Addresses>,
    tls: TlsConnector,
}

/// What an endpoint has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// What it asks for before the next try, at most an hour.
    pub(crate) retry_after: Option<Duration>,
}

/// An answer whose body is still to come.
struct Reply {
    answer: Answer,
    body: Incoming,
    /// Its connection ends with it.
    driving: JoinSet<hyper::Result<()>>,
}

impl Poster {
    /// # Errors
    /// A sentence, where TLS cannot be set up.
    pub(crate) fn new(addresses: Addresses) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        let (_, ignored) = roots.add_parsable_certificates(native.certs);
        if roots.is_empty() {
            tracing::warn!(ignored, "webhooks to https:// fail: this system has no authorities");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self { addresses: Arc::new(addresses), tls })
    }

    /// Sends a body, within a time that is for all of it. The place for a look-up is free as soon as that has ended.
    ///
    /// # Errors
    /// A sentence for whoever reads a dead letter: never with the URL, which may have a token in it.
    pub(crate) async fn post(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
        within: Duration,
        looking_up: Place,
    ) -> Result<Answer, String> {
        let began = Instant::now();
        let sending = self.send(url, headers, body, within, looking_up);
        let reply = tokio::time::timeout(within, sending)
            .await
            .unwrap_or_else(|_| Err(format!("no reply within {within:?}")))?;
        let (answer, left) = (reply.answer, within.saturating_sub(began.elapsed()));
        // Its status has settled it: a body that does not end makes no failure of it.
        let _ = tokio::time::timeout(left.min(BODY_MAX), reply.pass_over()).await;
        Ok(answer)
    }

    async fn send(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
        within: Duration,
        looking_up: Place,
    ) -> Result<Reply, String> {
        let url = self.addresses.url(url)?;
        let checked = self.addresses.resolve(&url, looking_up).await?;
        let request = request(&url, headers, body)?;
        let stream = connect(&checked, within).await?;
        if url.scheme() == "http" {
            return exchange(stream, request).await;
        }
        let name = server_name(&url)?;
        let stream = self.tls.connect(name, stream).await;
        exchange(stream.map_err(|error| format!("no TLS: {error}"))?, request).await
    }
}

/// One after another: one that is silent leaves time for the next.
async fn connect(Checked(addresses): &Checked, within: Duration) -> Result<TcpStream, String> {
    let mut refused = "its host has no address".to_owned();
    let some = addresses.iter().take(ADDRESSES_MAX);
    let parts = u32::try_from(some.len()).unwrap_or(u32::MAX).max(1);
    let each = (within / parts).max(CONNECT_MIN);
    for address in some {
        refused = match tokio::time::timeout(each, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => format!("no connection: {error}"),
            Err(_) => format!("no connection within {each:?}"),
        };
    }
    Err(refused)
}

fn server_name(url: &Url) -> Result<ServerName<'static>, String> {
    match url.host() {
        Some(Host::Ipv4(ip)) => Ok(ServerName::from(std::net::IpAddr::V4(ip))),
        Some(Host::Ipv6(ip)) => Ok(ServerName::from(std::net::IpAddr::V6(ip))),
        Some(Host::Domain(name)) => {
            let name = name.strip_suffix('.').unwrap_or(name).to_owned();
            ServerName::try_from(name).map_err(|_| "its host is no name for TLS".to_owned())
        }
        None => Err("invalid url: expected a host".to_owned()),
    }
}

fn request(url: &Url, headers: HeaderMap, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
    let host = HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort])
        .map_err(|_| "its host is no header".to_owned())?;
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&url[Position::BeforePath..Position::AfterQuery])
        .body(Full::new(body))
        .map_err(|_| "its path cannot be asked for".to_owned())?;
    *request.headers_mut() = headers;
    request.headers_mut().insert(header::HOST, host);
    request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Reply, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| format!("the connection broke: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // It ends also when the call is given up.
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let reply = sender.send_request(request).await.map_err(broken)?;
    let answer = Answer { status: reply.status(), retry_after: retry_after(reply.headers()) };
    Ok(Reply { answer, body: reply.into_body(), driving })
}

impl Reply {
    async fn pass_over(self) {
        let Self { mut body, driving: _driving, .. } = self;
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > REPLY_LEN_MAX {
                break;
            }
        }
    }
}

/// In seconds, or as a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let after = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?;
            Duration::try_from(at.timestamp().duration_since(jiff::Timestamp::now())).ok()?
        }
    };
    Some(after.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_asks_for_a_pause_of_an_hour_at_most() {
        let asked = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(text));
            retry_after(&headers)
        };
        assert_eq!(asked("120"), Some(Duration::from_secs(120)));
        assert_eq!(asked("86400"), Some(RETRY_AFTER_MAX));
        assert_eq!(asked("Tue, 31 Dec 2999 23:59:59 GMT"), Some(RETRY_AFTER_MAX));
        assert_eq!(asked("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn a_request_names_its_host_and_asks_for_path_and_query_alone() {
        let url = Url::parse("https://example.com:8443/in/a%20b?token=x#part").unwrap();
        let request = request(&url, HeaderMap::new(), Bytes::new()).unwrap();
        assert_eq!(request.uri(), "/in/a%20b?token=x");
        assert_eq!(request.headers()[header::HOST], "example.com:8443");
    }
}
