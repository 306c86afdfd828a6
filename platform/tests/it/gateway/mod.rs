//! The gateway: its limits, shared through a real Redis, and what goes through it.

mod forward;
mod limits;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use sinew::Sinew;
use sinew::limit::http::TrustedProxies;
use sinew_platform::gateway::{Settings, Upstream, Upstreams, router};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::SHARED_REDIS;

const LONG: Duration = Duration::from_secs(60);
/// Whoever sends the tests' requests.
const LOOPBACK: &[&str] = &["127.0.0.0/8"];
/// Not whoever sends them.
const ELSEWHERE: &[&str] = &["10.0.0.0/8"];

/// An instance of the gateway, with one upstream below `/api`.
struct Door {
    address: SocketAddr,
    client: reqwest::Client,
}

impl Door {
    /// One whose limits no other has.
    async fn open(upstream: Upstream, trusted: &[&str]) -> Self {
        Self::open_as(&a_prefix(), upstream, settings(trusted)).await
    }

    async fn open_as(prefix: &str, upstream: Upstream, settings: Settings) -> Self {
        let port = tokio::task::spawn_blocking(|| SHARED_REDIS.port).await.unwrap();
        let sinew = Sinew::builder().prefix(prefix).deadline(Duration::from_secs(10));
        let sinew = sinew.connect(&format!("redis://127.0.0.1:{port}")).await.unwrap();
        let upstreams = Upstreams::new().with("/api", upstream).unwrap();
        Self::serve(router(&sinew, upstreams, &settings).unwrap()).await
    }

    async fn serve(app: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let client = reqwest::Client::builder().timeout(LONG).no_proxy().build().unwrap();
        Self { address, client }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn get(&self, path: &str, fields: &[(&str, &str)]) -> reqwest::Response {
        let request = self.client.get(self.url(path));
        let request =
            fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.expect("an answer")
    }

    /// A connection on which just this was sent.
    async fn send(&self, text: &str) -> Wire {
        let mut wire = Wire(TcpStream::connect(self.address).await.unwrap());
        wire.send(text).await;
        wire
    }
}

/// A connection, byte by byte.
struct Wire(TcpStream);

impl Wire {
    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// What comes up to this text, with it.
    async fn up_to(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        let reading = async {
            while !read.ends_with(end.as_bytes()) {
                read.push(self.0.read_u8().await.expect("more to come"));
            }
        };
        let outcome = tokio::time::timeout(LONG, reading).await;
        let text = String::from_utf8_lossy(&read).into_owned();
        assert!(outcome.is_ok(), "{end:?} after {text:?}");
        text
    }

    /// The head of a message, in lower case.
    async fn head(&mut self) -> String {
        self.up_to("\r\n\r\n").await.to_ascii_lowercase()
    }
}

/// An upstream whose every byte the test sends.
struct Puppet(TcpListener);

impl Puppet {
    async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn upstream(&self) -> Upstream {
        Upstream::url(&format!("http://{}", self.0.local_addr().unwrap())).unwrap()
    }

    /// The next request, as far as its head, and the connection to answer on.
    async fn asked(&self) -> (String, Wire) {
        let accepted = tokio::time::timeout(LONG, self.0.accept()).await.expect("a request");
        let mut wire = Wire(accepted.unwrap().0);
        (wire.head().await, wire)
    }

    async fn answer(&self, text: &str) -> (String, Wire) {
        let (head, mut wire) = self.asked().await;
        wire.send(text).await;
        (head, wire)
    }
}

fn hello() -> Upstream {
    Upstream::Router(Router::new().route("/api/hello", get(|| async { "hello" })))
}

fn settings(trusted: &[&str]) -> Settings {
    Settings::behind(TrustedProxies::new(trusted).unwrap())
}

fn a_prefix() -> String {
    format!("g{:x}_", fastrand::u64(..))
}
