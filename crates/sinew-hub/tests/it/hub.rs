//! The built binary, started and asked.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use crate::world::{Server, temporary_folder, wait_until};

pub const BINARY: &str = env!("CARGO_BIN_EXE_sinew");

/// A running `sinew`.
pub struct Hub {
    pub server: Server,
    pub url: String,
    /// Of the platform, where there is one.
    pub platform: String,
    client: Client,
}

pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub cache: Option<String>,
    pub content_type: String,
    pub text: String,
    pub body: Value,
}

impl Hub {
    pub fn serve(arguments: &[&str]) -> Self {
        let all = [&["serve", "--listen", "127.0.0.1:0"], arguments].concat();
        let server = start(&all);
        let url = told(&server, "address=");
        Self::new(server, format!("http://{url}"), String::new())
    }

    pub fn demo(arguments: &[&str]) -> Self {
        let fixed = ["demo", "--listen", "127.0.0.1:0", "--platform-listen", "127.0.0.1:0"];
        let server = start(&[&fixed, arguments].concat());
        wait_until("the demonstration is up", || server.log().contains("Ctrl-C stops it."));
        let url = told(&server, "Dashboard  ").trim_end_matches('/').to_owned();
        let platform = told(&server, "Platform   ").trim_end_matches("/api/properties").to_owned();
        Self::new(server, url, platform)
    }

    fn new(server: Server, url: String, platform: String) -> Self {
        let client = Client::builder().timeout(Duration::from_secs(30)).no_proxy().build();
        Self { server, url, platform, client: client.expect("a client") }
    }

    /// The lines that the demonstration offers for pasting and that ask something at once.
    pub fn curl_lines(&self) -> Vec<String> {
        let log = self.server.log();
        log.lines().map(str::trim).filter(|l| l.starts_with("curl ")).map(str::to_owned).collect()
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, &format!("{}{path}", self.url), None, None).await
    }

    pub async fn platform(
        &self,
        method: Method,
        path: &str,
        tenant: &str,
        body: Option<Value>,
    ) -> Reply {
        let url = format!("{}{path}", self.platform);
        self.send(method, &url, Some(tenant), body.map(|b| b.to_string())).await
    }

    pub async fn send(
        &self,
        method: Method,
        url: &str,
        tenant: Option<&str>,
        body: Option<String>,
    ) -> Reply {
        let json = ("content-type", "application/json");
        let tenant = tenant.map(|tenant| ("X-Tenant-Id", tenant));
        let headers: Vec<(&str, &str)> = [json].into_iter().chain(tenant).collect();
        self.send_with(method, url, &headers, body).await
    }

    /// With these headers, and no others.
    pub async fn send_with(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Reply {
        let mut request = self.client.request(method, url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let reply = request.send().await.expect("a reply");
        let (status, headers) = (reply.status(), reply.headers().clone());
        let header = |name: &str| headers.get(name).map(|v| v.to_str().unwrap().to_owned());
        let (cache, content_type) = (header("x-cache"), header("content-type").unwrap_or_default());
        let text = reply.text().await.expect("a body");
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Reply { status, headers, cache, content_type, text, body }
    }

    /// Waits until the hub calls itself `ready`, `degraded` or what it is to be.
    pub async fn until(&self, word: &str) {
        let wait = async {
            loop {
                let reply = self.get("/health/ready").await;
                if reply.status == StatusCode::OK && reply.body["status"] == word {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect(word);
    }

    /// The value of a metric, 0 when it was never counted.
    pub async fn metric(&self, line_begins: &str) -> u64 {
        let metrics = self.get("/metrics").await.text;
        let line = metrics.lines().find_map(|line| line.strip_prefix(line_begins));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    }
}

/// Asks the API below `/v1`, with these headers.
pub async fn call(
    hub: &Hub,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Reply {
    let url = format!("{}/v1{path}", hub.url);
    let json = body.is_some().then_some(("content-type", "application/json"));
    let headers: Vec<(&str, &str)> = headers.iter().copied().chain(json).collect();
    hub.send_with(method, &url, &headers, body.map(|body| body.to_string())).await
}

/// The signature of a request, by a program that is not ours.
pub fn by_openssl(secret: &str, headers: &HeaderMap, body: &[u8]) -> String {
    let secret = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let key = format!("hexkey:{hex}");
    let arguments = ["dgst", "-sha256", "-mac", "HMAC", "-macopt", &key, "-binary"];
    let mut openssl = Command::new("openssl");
    openssl.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut openssl = openssl.spawn().expect("openssl");
    let header = |name: &str| headers[name].to_str().unwrap();
    let signed = format!("{}.{}.", header("webhook-id"), header("webhook-timestamp"));
    openssl.stdin.take().unwrap().write_all(&[signed.as_bytes(), body].concat()).unwrap();
    let mac = openssl.wait_with_output().unwrap().stdout;
    assert_eq!(mac.len(), 32);
    format!("v1,{}", STANDARD.encode(mac))
}

/// Work that waits, off the threads that others' work is done on.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

fn start(arguments: &[&str]) -> Server {
    let mut command = vec!["env".to_owned(), "RUST_LOG=info".to_owned(), BINARY.to_owned()];
    command.extend(arguments.iter().map(|a| (*a).to_owned()));
    Server::start(&command, 0, &temporary_folder("hub"), "KILL")
}

/// The word after a title in the log.
fn told(server: &Server, title: &str) -> String {
    let find = || {
        let log = server.log();
        let (_, rest) = log.split_once(title)?;
        // A line that is still being written is not read.
        let (line, _) = rest.split_once('\n')?;
        Some(line.split_whitespace().next()?.to_owned())
    };
    wait_until(&format!("{title:?} in the log:\n{}", server.log()), || find().is_some());
    find().expect("just seen")
}

/// Runs the binary to its end.
pub fn sinew(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).stdin(Stdio::null()).output().expect("the binary")
}

pub fn exit_code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
