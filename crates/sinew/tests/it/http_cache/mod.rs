//! What the HTTP cache promises, through a real server and a real client.

mod asking;
mod changing;
mod content;
mod freshness;
mod selecting;
mod sharing;
mod stale;
mod storing;
mod validating;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use axum::routing::any;
use axum::{Router, http};
use parking_lot::Mutex;
use reqwest::Client;
use reqwest::redirect::Policy;
use sinew::{CacheLayer, Sinew};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

pub type Fields<'a> = &'a [(&'static str, &'a str)];

/// A call of the service.
pub struct Call {
    /// The first is 1.
    pub n: usize,
    pub method: Method,
    pub headers: HeaderMap,
}

impl Call {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A service whose responses a test writes. Requests with `x-wait` wait at its gate.
pub struct Origin {
    answer: Box<dyn Fn(&Call) -> Response + Send + Sync>,
    calls: Mutex<Vec<Arc<Call>>>,
    begun: watch::Sender<usize>,
    gate: Semaphore,
}

impl Origin {
    pub fn new(answer: impl Fn(&Call) -> Response + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            answer: Box::new(answer),
            calls: Mutex::default(),
            begun: watch::Sender::new(0),
            gate: Semaphore::new(0),
        })
    }

    async fn call(self: Arc<Self>, request: Request) -> Response {
        let (parts, _) = request.into_parts();
        let call = {
            let mut calls = self.calls.lock();
            let n = calls.len() + 1;
            let call = Arc::new(Call { n, method: parts.method, headers: parts.headers });
            calls.push(Arc::clone(&call));
            call
        };
        self.begun.send_modify(|n| *n += 1);
        if call.headers.contains_key("x-wait") {
            let _passed = self.gate.acquire().await.expect("never closed");
        }
        (self.answer)(&call)
    }

    /// All paths and methods.
    pub fn router(self: &Arc<Self>) -> Router {
        let origin = Arc::clone(self);
        let handler = move |request: Request| Arc::clone(&origin).call(request);
        Router::new().route("/", any(handler.clone())).route("/{*path}", any(handler))
    }

    pub fn calls(&self) -> usize {
        self.calls.lock().len()
    }

    pub fn last_call(&self) -> Arc<Call> {
        self.calls.lock().last().cloned().expect("a call")
    }

    /// Waits until so many calls have begun.
    pub async fn begun(&self, calls: usize) {
        let mut begun = self.begun.subscribe();
        begun.wait_for(|n| *n >= calls).await.expect("kept by self");
    }

    pub fn open_gate(&self) {
        self.gate.add_permits(1 << 20);
    }
}

/// A layer as most tests want it.
pub fn layer() -> CacheLayer {
    let acme = Sinew::embedded().tenant("acme").expect("multi-tenant");
    CacheLayer::new(acme.cache("pages")).expect("a cache")
}

/// A server on a port of its own, and a client that follows no redirection. Cheap to clone.
#[derive(Clone)]
pub struct Site {
    pub origin: Arc<Origin>,
    url: String,
    client: Client,
}

impl Site {
    /// Behind a layer of its own, a service that answers so.
    pub async fn new(answer: impl Fn(&Call) -> Response + Send + Sync + 'static) -> Self {
        Self::behind(layer(), answer).await
    }

    pub async fn behind(
        layer: CacheLayer,
        answer: impl Fn(&Call) -> Response + Send + Sync + 'static,
    ) -> Self {
        let origin = Origin::new(answer);
        let router = origin.router().layer(layer);
        Self::serving(origin, router).await
    }

    pub async fn serving(origin: Arc<Origin>, router: Router) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a port");
        tokio::spawn(axum::serve(listener, router).into_future());
        let client = Client::builder().no_proxy().redirect(Policy::none()).build();
        let client = client.expect("a client");
        Self { origin, url: format!("http://{address}"), client }
    }

    /// A service that always answers 200 with these fields, and the number of the call as content.
    pub async fn saying(fields: Fields<'_>) -> Self {
        Self::new(always(200, fields)).await
    }

    pub fn calls(&self) -> usize {
        self.origin.calls()
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.get_with(path, &[]).await
    }

    pub async fn get_with(&self, path: &str, fields: Fields<'_>) -> Reply {
        self.send(Method::GET, path, fields).await
    }

    pub async fn send(&self, method: Method, path: &str, fields: Fields<'_>) -> Reply {
        self.try_send(method, path, fields).await.expect("a response")
    }

    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        fields: Fields<'_>,
    ) -> reqwest::Result<Reply> {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        for &(name, value) in fields {
            request = request.header(name, value);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Reply { status, headers, content: response.bytes().await?.to_vec() })
    }

    /// What comes back for a request that a client would not send. It has to ask for the end of the
    /// connection.
    pub async fn send_raw(&self, request: &str) -> String {
        let address = self.url.strip_prefix("http://").expect("an address");
        let mut socket = TcpStream::connect(address).await.expect("a connection");
        socket.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("text");
        answer
    }
}

/// What a client gets.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub content: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.content).expect("text")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn cache_status(&self) -> &str {
        self.header("cache-status").expect("every answer has one")
    }

    pub fn is_hit(&self) -> bool {
        self.cache_status().starts_with("sinew; hit")
    }
}

/// Always this status and these fields, and the number of the call as content.
pub fn always(status: u16, fields: Fields<'_>) -> impl Fn(&Call) -> Response + use<> {
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    move |call| {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let content = if status == 204 { String::new() } else { call.n.to_string() };
        response(status, &fields, content)
    }
}

pub fn response(status: u16, fields: Fields<'_>, content: impl Into<Body>) -> Response {
    let mut response = http::Response::new(content.into());
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    for &(name, value) in fields {
        let value = HeaderValue::from_str(value).expect("a value");
        response.headers_mut().append(HeaderName::from_static(name), value);
    }
    response
}

/// So many seconds ago.
pub fn ago(seconds: u64) -> String {
    httpdate::fmt_http_date(SystemTime::now() - Duration::from_secs(seconds))
}

/// So many seconds from now.
pub fn ahead(seconds: u64) -> String {
    httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds))
}
