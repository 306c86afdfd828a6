//! Asking a hub.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sinew::http::TENANT_HEADER;

use super::{Outcome, configured};
use crate::config::Flags;

const REQUEST_MAX: Duration = Duration::from_secs(10);

/// Which hub to ask, and how to print.
#[derive(Args)]
pub struct At {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Read settings from this file
    #[arg(long, value_name = "FILE", env = "SINEW_CONFIG")]
    config: Option<PathBuf>,
    /// Where the hub listens [default: 127.0.0.1:7463]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

impl At {
    /// A request for a path, whose parts are taken as they are.
    pub(crate) fn request(&self, path: &[&str]) -> Result<Request, Outcome> {
        let (config, listen) = (self.config.clone(), self.listen.clone());
        let config = configured(&Flags { config, listen, ..Flags::default() })?;
        Request::to(config.listen, path)
    }
}

/// A request to a hub.
pub(crate) struct Request {
    pub(crate) url: reqwest::Url,
    pub(crate) tenant: Option<String>,
    /// How long a reply may take.
    pub(crate) patience: Duration,
    /// Of a body.
    pub(crate) content_type: &'static str,
}

impl Request {
    /// A request for a path, whose parts are taken as they are.
    pub(crate) fn to(hub: SocketAddr, path: &[&str]) -> Result<Self, Outcome> {
        let bad = |_| Outcome::Failed(format!("no URL for the hub at {hub}"));
        let mut url =
            reqwest::Url::parse(&format!("http://{hub}")).map_err(|e| bad(e.to_string()))?;
        // Takes each part as it is, percent-encoded where need be.
        url.path_segments_mut().map_err(|()| bad(String::new()))?.extend(path);
        Ok(Self::of(url))
    }

    fn of(url: reqwest::Url) -> Self {
        Self { url, tenant: None, patience: REQUEST_MAX, content_type: "application/json" }
    }

    /// The status and body of a reply that says it worked.
    pub(crate) async fn send(
        &self,
        method: Method,
        body: Option<String>,
    ) -> Result<(StatusCode, String), Outcome> {
        let client = reqwest::Client::builder().timeout(self.patience).no_proxy().build();
        let mut request =
            client.map_err(|e| Outcome::Failed(e.to_string()))?.request(method, self.url.clone());
        if let Some(tenant) = &self.tenant {
            request = request.header(TENANT_HEADER, tenant);
        }
        if let Some(body) = body {
            request = request.header("content-type", self.content_type).body(body);
        }
        let hub = self.url.origin().ascii_serialization();
        let unreachable = |error: reqwest::Error| match error.is_timeout() {
            true => Outcome::Failed(format!(
                "{hub} did not answer within {} s; what was asked may still be done",
                self.patience.as_secs()
            )),
            false => Outcome::Failed(format!(
                "no hub answers at {hub}: start one with `sinew serve`, name another with --listen, or work on Redis with --store redis://…"
            )),
        };
        let reply = request.send().await.map_err(unreachable)?;
        let status = reply.status();
        let text = reply.text().await.map_err(unreachable)?;
        if status.is_success() {
            return Ok((status, text));
        }
        let problem = serde_json::from_str::<Value>(&text).ok();
        let detail = problem.and_then(|problem| Some(problem["detail"].as_str()?.to_owned()));
        let Some(detail) = detail else {
            return Err(Outcome::Failed(format!(
                "{hub} answered {status}, and not as a hub does: expected the address of one with --listen"
            )));
        };
        Err(match status {
            StatusCode::NOT_FOUND if self.is_of_an_entry() => Outcome::NoSuchEntry,
            StatusCode::CONFLICT => Outcome::Failed(detail),
            _ if status.is_client_error() => Outcome::BadInput(detail),
            _ => Outcome::Failed(detail),
        })
    }

    /// What a GET replies.
    pub(crate) async fn get<T: DeserializeOwned>(&self) -> Result<T, Outcome> {
        read_reply(&self.send(Method::GET, None).await?.1)
    }

    fn is_of_an_entry(&self) -> bool {
        // /v1/cache/NAME/entries/KEY
        let part = self.url.path_segments().and_then(|mut parts| parts.nth(3));
        part.is_some_and(|part| ["entries", "info"].contains(&part))
    }

    /// Why there was no entry: there is none, or the hub cannot know.
    pub(crate) async fn no_entry(&self) -> Outcome {
        let mut url = self.url.clone();
        url.set_path("/health/ready");
        let health = Self::of(url).send(Method::GET, None).await;
        let health = health.ok().and_then(|(_, text)| serde_json::from_str::<Value>(&text).ok());
        match health.as_ref().and_then(|health| health["reason"].as_str()) {
            Some(reason) => Outcome::Failed(format!("the hub cannot look it up now: {reason}")),
            None => Outcome::NoSuchEntry,
        }
    }
}

/// What a hub replied.
pub(crate) fn read_reply<T: DeserializeOwned>(text: &str) -> Result<T, Outcome> {
    serde_json::from_str(text).map_err(|_| {
        Outcome::Failed(
            "the hub's reply is not what is expected: is it of another version?".to_owned(),
        )
    })
}
